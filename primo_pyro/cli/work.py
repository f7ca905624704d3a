"""What the commands do, without their flags."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.cli.settings import OUTCOMES, READER, Settings
from primo_pyro.cli.tables import Model, of_file, read_labels
from primo_pyro.columns import NA_VALUES
from primo_pyro.errors import (
    CostError,
    FewRowsWarning,
    ModalityError,
    PrimoWarning,
    SettingsError,
    TableWarning,
    warn,
)
from primo_pyro.identity import listed
from primo_pyro.modalities import Modalities
from primo_pyro.parameters import check_parameters
from primo_pyro.regressor import PrimoRegressor
from primo_pyro.tables import TableReader

__all__ = [
    "Parts",
    "calibrated",
    "certified",
    "check_costs",
    "estimator_of",
    "fitted",
    "guarantee_columns",
    "impacts",
    "parts_of",
    "predictions",
    "ranked",
    "reader_of",
]

PART = 5000  # rows at a time, between steps of the progress bar
CALIBRATE = 0.2  # share of the rows, where none was asked for
COVERAGE, RATE, CONFIDENCE = 0.9, 0.05, 0.9  # of what is promised


def reader_of(settings: Settings) -> TableReader:
    """The reader of the blocks, not yet fitted.

    Raises
    ------
    SettingsError
        Where no blocks were named.
    """
    if not settings.blocks:
        raise SettingsError(
            "No blocks were named; expected columns for each kind of data. Add --block history=age,sex, once "
            "for each block."
        )
    given = {name: settings.options[name] for name in READER if name in settings.options}
    return TableReader(dict(settings.blocks), na_values=(*NA_VALUES, *settings.na), **given)


def estimator_of(settings: Settings, verbose: int = 0) -> Model:
    """The estimator that the settings describe, not yet fitted.

    Raises
    ------
    ParameterError, SettingsError
        Where a parameter is out of its range, or not one of this kind of label.
    """
    if settings.outcome not in OUTCOMES:
        raise SettingsError(
            f"outcome is {settings.outcome!r}; expected one of {listed(OUTCOMES)}. Correct --outcome."
        )
    options = {name: value for name, value in settings.options.items() if name not in READER}
    reader = reader_of(settings)
    plain = not settings.na and not settings.options.keys() & set(READER)
    options |= {"blocks": reader.blocks if plain else reader}  # the same files as of blocks= in Python
    options |= {"random_state": settings.seed, "verbose": verbose}
    if settings.outcome == "number":
        unknown = options.keys() - PrimoRegressor().get_params(deep=False).keys()
        if unknown:
            raise SettingsError(
                f"{listed(sorted(unknown))} is set, and labels are numbers; expected parameters of "
                "PrimoRegressor. Leave it out, or set --outcome."
            )
        model: Model = PrimoRegressor(**options)
    else:
        model = PrimoClassifier(outcome=settings.outcome, **options)
    check_parameters(model)
    check_parameters(reader)
    return model


@dataclass(frozen=True)
class Parts:
    """Rows that have nothing in common: to train on, to calibrate impact on, and to certify on."""

    train: pd.DataFrame
    calibrate: pd.DataFrame
    certify: pd.DataFrame


def parts_of(frame: pd.DataFrame, label: str, settings: Settings, out_of_fold: bool) -> Parts:
    """The rows of a table in three parts, at random, with about the same share of each class.

    Parameters
    ----------
    frame, label
        All rows, and the column of their labels.
    settings
        The shares that are held out.
    out_of_fold
        Whether members calibrate on what each of them held out, so that no rows are needed for it.

    Raises
    ------
    SettingsError
        Where a share is none, or nothing is left to train on.
    """
    calibrate = settings.calibrate
    if calibrate is None:
        calibrate = 0.0 if out_of_fold else CALIBRATE
    for name, share in (("calibrate", calibrate), ("certify", settings.certify)):
        if not 0 <= share < 1:
            raise SettingsError(f"{name} is {share}; expected a share from 0 to below 1. Correct --{name}.")
    counts = [math.ceil(share * len(frame)) for share in (calibrate, settings.certify)]
    if sum(counts) >= len(frame):
        raise SettingsError(
            f"{sum(counts)} of {len(frame)} rows are held out to calibrate and to certify; expected some to "
            "be left to train on. Add rows, or lower --calibrate and --certify."
        )
    train, parts = frame, []
    for count in counts:
        held_out = train[:0]
        if count:
            classes = train[label] if settings.outcome != "number" else None
            train, held_out = train_test_split(
                train,
                test_size=count,
                stratify=classes if _can_be_shared(classes, count) else None,
                random_state=settings.seed,
            )
        parts.append(held_out)
    return Parts(train, *parts)


def fitted(frame: pd.DataFrame, settings: Settings, path: Path) -> tuple[Model, Parts]:
    """An estimator trained on a part of the rows and calibrated on others; certified on others again.

    In Python this is::

        train, held_out = train_test_split(frame, test_size=0.2, stratify=y, random_state=seed)
        clf = PrimoClassifier(blocks=blocks, random_state=seed).fit(train, label).calibrate_impact(held_out)

    Members that were trained on different parts calibrate themselves, ``fit(frame, label)``.
    """
    y = read_labels(frame, settings.label, path)
    if not 0 <= settings.seed < 2**31:
        raise SettingsError(
            f"seed is {settings.seed}; expected a number from 0 to 2**31 - 1. Correct --seed."
        )
    model = estimator_of(settings, verbose=int(sys.stderr.isatty()))
    out_of_fold = model.members > 1 and model.validation_fraction > 0
    with of_file(path):
        parts = parts_of(frame, str(y.name), settings, out_of_fold)
        with warnings.catch_warnings():  # what cannot be read is refused wherever it is, before the work
            warnings.simplefilter("ignore", TableWarning)
            reader_of(settings).fit(frame.drop(columns=y.name))
        model.fit(parts.train, str(y.name))
        model.set_params(verbose=0)  # a bar is this command's business, not the model's
        if len(parts.calibrate):
            calibrated(model, parts.calibrate)
        elif out_of_fold and model.optional_ and "impact_calibrators_" not in vars(model):
            warn(
                f"Impact is not calibrated: of the {len(frame)} rows too few have each of "
                f"{listed(model.optional_)}; expected some hundreds. Add rows, or leave a block out.",
                FewRowsWarning,
            )
        if len(parts.certify):
            certified(model, parts.certify, str(y.name), settings.weighted)
    return model, parts


def _can_be_shared(classes: pd.Series | None, count: int) -> bool:
    """Whether each class can have rows in both parts, one of ``count`` rows."""
    if classes is None:
        return False
    rows = classes.value_counts()
    return bool(rows.min() > 1 and len(rows) <= count <= len(classes) - len(rows))


def calibrated(model: Model, held_out: pd.DataFrame) -> Model:
    """The model with its impact calibrated, where the rows held out allow it."""
    allowed = _all_present(model, held_out, "Impact is not calibrated", "--calibrate")
    return model.calibrate_impact(held_out) if allowed else model


def certified(model: Model, held_out: pd.DataFrame, label: str, weighted: bool) -> Model:
    """The model with what it can promise, where the rows held out for this alone allow it.

    They are not those that calibrated it: what is promised holds for rows that are like these in everything,
    and nothing may have been fitted to them.
    """
    if not _all_present(model, held_out, "Nothing is certified", "--certify"):
        return model
    try:
        return model.certify(held_out, held_out[label], weighted=weighted)
    except ModalityError as error:  # as of too few rows for weights; the model is worth keeping
        warn(f"Nothing is certified: {error}", FewRowsWarning)
        return model


def _all_present(model: Model, held_out: pd.DataFrame, consequence: str, flag: str) -> bool:
    """Whether some row has each optional block; if not, a note says what follows."""
    present = model.read(held_out).present
    without = [name for name in model.optional_ if not present[name].any()]
    if without:
        warn(
            f"{consequence}: none of the {len(held_out)} rows held out has {listed(without)}; expected some "
            f"hundreds. Raise {flag}, or leave the block out.",
            FewRowsWarning,
        )
    return bool(model.optional_) and not without


def predictions(model: Model, frame: pd.DataFrame) -> pd.DataFrame:
    """The label predicted for each row, and of classes the probability of each."""

    def part(x: Modalities) -> pd.DataFrame:
        label = pd.DataFrame({"prediction": model.predict(x)})
        if isinstance(model, PrimoRegressor):
            return label
        p = pd.DataFrame(model.predict_proba(x), columns=[f"p_{name}" for name in model.classes_])
        return pd.concat([label, p], axis=1)

    x = model.read(frame)
    return _in_parts(part, x, "predict").set_axis(x.row_labels)


def impacts(model: Model, frame: pd.DataFrame) -> pd.DataFrame:
    """A line per row and optional modality that it lacks: what revealing it would change."""

    def part(x: Modalities) -> pd.DataFrame:
        lines = model.predictive_impact(x, "each")
        lines = lines.set_axis(pd.Index(lines.pop("row")))
        absent = np.stack([~x.present[name] for name in model.optional_], axis=1)
        return pd.concat([lines, guarantee_columns(model, x, lines)], axis=1)[absent.ravel()]

    return _in_parts(part, model.read(frame), "impact", keep_index=True)


def guarantee_columns(model: Model, x: Modalities, lines: pd.DataFrame) -> pd.DataFrame:
    """What is promised about each line of ``lines``, a line per row and optional modality.

    ``change_at_most`` is not exceeded by 9 rows in 10. Of the rows that are ``safe_to_skip`` at most 5 %
    would have got another label, with a confidence of 90 % (of numbers there is no such column).
    ``approximate`` says whether this rests on weights. No columns where nothing was certified.
    """
    certificates = getattr(model, "certificates_", {})
    known = [name for name in model.optional_ if name in certificates]
    columns = pd.DataFrame(index=lines.index)
    if not known:
        return columns
    columns["change_at_most"] = np.nan
    for name in known:
        at = (lines["modality"] == name).to_numpy()
        answers = {"change_at_most": model.change_at_most(x, COVERAGE, name)}
        if certificates[name].flip is not None:
            answers["safe_to_skip"] = model.safe_to_skip(
                x, "flip", RATE, confidence=CONFIDENCE, modality=name
            ).rename(columns={"skip": "safe_to_skip"})
        answers["approximate"] = answers["change_at_most"]
        for column, answer in answers.items():
            if column not in columns:
                columns[column] = pd.array([None] * len(columns), dtype="boolean")
            columns.loc[at, column] = answer[column].to_numpy()
    return columns


def check_costs(model: Model, settings: Settings) -> dict[str, float]:
    """The cost of each optional modality; 1 where none was given.

    Raises
    ------
    CostError
        Where a cost is of something else, or the budget is negative.
    """
    unknown = [name for name in settings.costs if name not in model.optional_]
    if unknown:
        raise CostError(
            f"There is a cost of {listed(unknown)}; expected costs of what may be absent "
            f"({listed(model.optional_, 20)}). Correct the name."
        )
    unusable = [name for name, cost in settings.costs.items() if not 0 < cost < math.inf]
    if unusable:
        raise CostError(
            f"The cost of {unusable[0]!r} is {settings.costs[unusable[0]]}; expected a number above 0. Write "
            f"--cost {unusable[0]}=3."
        )
    if settings.budget is not None and not settings.budget >= 0:
        raise CostError(f"The budget is {settings.budget}; expected a number from 0. Correct --budget.")
    free = [name for name in model.optional_ if name not in settings.costs]
    if free and settings.costs:
        warn(
            f"No cost was given for {listed(free, 20)}: taken as 1, and one was expected for each. Add "
            f"--cost {free[0]}=3.",
            PrimoWarning,
        )
    return dict.fromkeys(model.optional_, 1.0) | dict(settings.costs)


def ranked(model: Model, frame: pd.DataFrame, costs: dict[str, float], budget: float | None) -> pd.DataFrame:
    """What to acquire, by expected change for its cost; with a budget what it pays for, in this order."""
    lines = model.rank_acquisitions(frame, costs)
    lines = lines.set_axis(pd.Index(lines.pop("row")))
    if budget is None:
        return lines
    spent, kept = 0.0, np.zeros(len(lines), bool)
    for at, cost in enumerate(lines["cost"]):
        if spent + cost <= budget:
            spent, kept[at] = spent + cost, True
    lines = lines[kept]
    return lines.assign(spent=lines["cost"].cumsum())


def _in_parts(
    answer: Callable[[Modalities], pd.DataFrame], x: Modalities, what: str, keep_index: bool = False
) -> pd.DataFrame:
    """Answers for some rows at a time; each row's own does not depend on the others."""
    starts = tqdm(range(0, len(x), PART), desc=what, unit="part", disable=None)  # no bar into a file
    frames = [answer(x[start : start + PART]) for start in starts]
    return pd.concat(frames, ignore_index=not keep_index)
