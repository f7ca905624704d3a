"""All pictures of a data set from the models that its example has kept, and these models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.data import load_mimic3, load_physionet2012
from primo_pyro.data.mimic3 import ICD9, MORTALITY, STATIC_COLUMNS, read_admissions
from primo_pyro.data.physionet2012 import CLASSES, read_stays
from primo_pyro.errors import DataNotFoundError, SavedModelError
from primo_pyro.modalities import Modalities
from primo_pyro.studies import tasks
from primo_pyro.studies.figures import (
    acquisition_picture,
    bias_picture,
    calibration_picture,
    groups_picture,
    impact_picture,
    rows_picture,
)
from primo_pyro.studies.revealed import RevealedRows, hide_and_reveal, impact_checks, print_checks

__all__ = [
    "DATA_SETS",
    "DEMO_NOTICE",
    "MIMIC3_CLASSES",
    "THREE",
    "draw_figures",
    "keep_models",
    "load_models",
    "mimic3_needs_demo",
]

LABELS = {
    "in_hospital_death": "outcome in hospital",
    "mortality6": "death within",
    "mortality": "death within",
    "icd9_140_239": "neoplasm",
    "icd9_460_519": "respiratory disease",
}
THREE = "_three"  # end of the names of models of PhysioNet 2012's three modalities
UNITS = {1: "coronary unit", 2: "cardiac surgery unit", 3: "medical unit", 4: "surgical unit"}
UNKNOWN = "unit unknown"
ADMISSIONS = {0: "medical", 1: "scheduled surgery", 2: "unscheduled surgery"}
MIMIC3_CLASSES = {"mortality": MORTALITY} | dict.fromkeys(ICD9, ("no", "yes"))
DEMO_NOTICE = """
***********************************************************************************************
  THE OPEN DEMO OF 118 ADMISSIONS. Its numbers show that the reader works, and are no result.
***********************************************************************************************
"""


def keep_models(data: str, models: Mapping[str, PrimoClassifier], out: Path) -> None:
    """Save each model in the folder ``out/models/<data>_<name>``."""
    for name, classifier in models.items():
        classifier.save(out / "models" / f"{data}_{name}")


def load_models(data: str, folder: Path) -> dict[str, PrimoClassifier]:
    """The models of a data set that `keep_models` has saved, by name.

    Parameters
    ----------
    data
        Name of the data set.
    folder
        The folder ``models``.

    Raises
    ------
    SavedModelError
        Where it holds no model of the data set.

    Examples
    --------
    >>> load_models("mimic3", Path("empty"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    primo_pyro.errors.SavedModelError: empty holds no model of mimic3 (folders mimic3_<name>); expected ...
    """
    folders = sorted(folder.glob(f"{data}_*"))
    if not folders:
        raise SavedModelError(
            f"{folder} holds no model of {data} (folders {data}_<name>); expected one. Train and keep one: "
            f"python examples/{data}.py"
        )
    return {found.name.removeprefix(f"{data}_"): PrimoClassifier.load(found) for found in folders}


def draw_figures(data: str, models: Mapping[str, PrimoClassifier], out: Path) -> None:
    """Draw all pictures of a data set, and write and print its ``impact_checks.csv``.

    Parameters
    ----------
    data
        One of `DATA_SETS`.
    models
        Fitted on its training rows of seed 0, by their names as for `keep_models`.
    out
        Folder for the files, which is made where it does not exist.
    """
    out.mkdir(parents=True, exist_ok=True)
    parts = DATA_SETS[data](dict(sorted(models.items())), out)
    impact_picture(parts, out / "impact.png")
    calibration_picture(parts, out / "calibration.png")
    curves = [rows.acquisition_curves() for rows in parts]
    acquisition_picture(parts, curves, out / "acquisition.png")
    checks = impact_checks(parts, curves)
    checks.to_csv(out / "impact_checks.csv", index=False)
    print_checks(checks)


@cache
def mimic3_needs_demo() -> bool:
    """Whether MIMIC-III is not found, so that its open demo has to stand in; the first call prints why."""
    try:
        tasks.mimic3()
    except DataNotFoundError as error:
        print(error, DEMO_NOTICE, sep="\n", file=sys.stderr)
        return True
    return False


def _draw_digit(ax: Axes, x: Modalities, modality: str) -> None:
    """The image of a row of AV-MNIST, or its spectrogram."""
    values = x.values[modality][0, 0]
    if modality == "image":
        ax.imshow(values, cmap="Greys")
        ax.set(xticks=[], yticks=[])
    else:  # low tones at the bottom
        ax.imshow(values, cmap="magma", origin="lower", aspect="auto", extent=(0, 1, 0, 4))
        ax.set(xlabel="time, s", ylabel="frequency, kHz")
    ax.set_title(f"observed: the {modality}", loc="left", fontsize="medium")


def _avmnist(models: Mapping[str, PrimoClassifier], out: Path) -> list[RevealedRows]:
    parts = {case: hide_and_reveal(classifier, tasks.av_mnist(case)) for case, classifier in models.items()}
    for case, rows in parts.items():
        rows_picture(
            rows,
            out / f"rows_{case}.png",
            draw_observed=partial(_draw_digit, modality={"audio": "image", "image": "audio"}[case]),
            draw_optional=partial(_draw_digit, modality=case),
            label="digit",
        )
    if (out / "bias.csv").is_file():
        bias_picture(pd.read_csv(out / "bias.csv"), out / "bias.png")
    return list(parts.values())


def _physionet2012(models: Mapping[str, PrimoClassifier], out: Path) -> list[RevealedRows]:
    known = read_stays().static[load_physionet2012(seed=0).rows["test"]]  # in years and centimetres
    parts = []
    for case, classifier in models.items():
        task, view = case.removesuffix(THREE), "three" if case.endswith(THREE) else "two"
        rows = hide_and_reveal(classifier, tasks.physionet2012(task, view), rare=True)
        age, sex, _, unit, _ = known[rows.places].T
        sexes = [{0: "woman", 1: "man"}.get(s, "sex unknown") for s in sex]
        units = [UNITS.get(u, UNKNOWN) for u in unit]
        about = [f"{a:.0f} years, {s}, {u}" for a, s, u in zip(age, sexes, units, strict=True)]
        label = f"{LABELS[task]} likelier than average"
        rows_picture(rows, out / f"rows_{case}.png", about=about, label=label, classes=CLASSES[task])
        groups = {"Age in years": _age_bands(age), "Unit": pd.Categorical(units, [*UNITS.values(), UNKNOWN])}
        groups_picture(rows, out / f"groups_{case}.png", groups, label, CLASSES[task])
        parts.append(rows)
    return parts


def _mimic3(models: Mapping[str, PrimoClassifier], out: Path) -> list[RevealedRows]:
    demo = mimic3_needs_demo()
    test = load_mimic3(demo=demo).rows["test"]
    known = pd.DataFrame(read_admissions(demo=demo)["adm_features_all"][test], columns=STATIC_COLUMNS)
    years = (known["age"] / 365.25).to_numpy()
    conditions = known[[*STATIC_COLUMNS[1:4]]].to_numpy() > 0.5
    # One for each row, the first that it has, in the order of their weights in the SAPS II score.
    condition = np.select(list(conditions.T), STATIC_COLUMNS[1:4], default="none of these")
    kinds = [ADMISSIONS.get(kind, "unknown admission") for kind in known["admission type"]]
    # Ages above 89 are masked in the source.
    ages = [f"{a:.0f} years" if a < 90 else "90 years or more" for a in years]
    about = [f"{a}, {k}" for a, k in zip(ages, kinds, strict=True)]
    about = [a if c == "none of these" else f"{a},\n{c}" for a, c in zip(about, condition, strict=True)]
    parts = []
    for case, classifier in models.items():
        rows = hide_and_reveal(classifier, tasks.mimic3(case, demo=demo))
        label, classes = LABELS[case], MIMIC3_CLASSES[case]
        of_rows = [about[i] for i in rows.places]
        rows_picture(rows, out / f"rows_{case}.png", about=of_rows, label=label, classes=classes)
        groups = {
            "mortality": {"Age in years": _age_bands(years[rows.places])},
            "icd9_140_239": {"Chronic condition": condition[rows.places]},
        }.get(case)
        if groups is not None:
            groups_picture(rows, out / f"groups_{case}.png", groups, label, classes)
        parts.append(rows)
    return parts


def _age_bands(years: np.ndarray) -> pd.Categorical:
    names = ["under 50", "50 to 64", "65 to 79", "80 or more"]
    return pd.cut(years, [-np.inf, 50, 65, 80, np.inf], right=False, labels=names)


# From the models of a data set by their names, and a folder, to their test rows; pictures of rows are drawn.
DATA_SETS: dict[str, Callable[[Mapping[str, PrimoClassifier], Path], list[RevealedRows]]] = {
    "avmnist": _avmnist,
    "physionet2012": _physionet2012,
    "mimic3": _mimic3,
}
