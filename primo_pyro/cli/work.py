"""What the commands do, without their flags."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.cli.settings import OUTCOMES, READER, Settings
from primo_pyro.cli.tables import Model, of_file, read_labels
from primo_pyro.columns import NA_VALUES
from primo_pyro.errors import CostError, FewRowsWarning, PrimoWarning, SettingsError, TableWarning
from primo_pyro.identity import listed
from primo_pyro.modalities import Modalities
from primo_pyro.regressor import PrimoRegressor
from primo_pyro.tables import TableReader

__all__ = [
    "calibrated",
    "check_costs",
    "estimator_of",
    "fitted",
    "guarantee_columns",
    "impacts",
    "predictions",
    "ranked",
    "reader_of",
]

PART = 5000  # rows at a time, between steps of the progress bar


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
    """The estimator that the settings describe, not yet fitted."""
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
        return PrimoRegressor(**options)
    return PrimoClassifier(outcome=settings.outcome, **options)


def fitted(frame: pd.DataFrame, settings: Settings, path: Path) -> Model:
    """An estimator trained on a part of the rows and calibrated on the others.

    In Python this is::

        train, held_out = train_test_split(frame, test_size=0.2, stratify=y, random_state=seed)
        clf = PrimoClassifier(blocks=blocks, random_state=seed).fit(train, label).calibrate_impact(held_out)
    """
    y = read_labels(frame, settings.label, path)
    if not 0 <= settings.calibrate < 1:
        raise SettingsError(
            f"calibrate is {settings.calibrate}; expected a share from 0 to below 1. Correct --calibrate."
        )
    if not 0 <= settings.seed < 2**31:
        raise SettingsError(
            f"seed is {settings.seed}; expected a number from 0 to 2**31 - 1. Correct --seed."
        )
    train, held_out = frame, frame[:0]
    if settings.calibrate:
        common = settings.outcome != "number" and y.value_counts().min() > 1
        train, held_out = train_test_split(
            frame,
            test_size=settings.calibrate,
            stratify=y if common else None,
            random_state=settings.seed,
        )
    model = estimator_of(settings, verbose=int(sys.stderr.isatty()))
    with of_file(path):
        with warnings.catch_warnings():  # what cannot be read is refused wherever it is, before the work
            warnings.simplefilter("ignore", TableWarning)
            reader_of(settings).fit(frame.drop(columns=y.name))
        model.fit(train, str(y.name))
        model.set_params(verbose=0)  # a bar is this command's business, not the model's
        return calibrated(model, held_out) if len(held_out) else model


def calibrated(model: Model, held_out: pd.DataFrame) -> Model:
    """The model with its impact calibrated, where the rows held out allow it."""
    present = model.read(held_out).present
    without = [name for name in model.optional_ if not present[name].any()]
    if without:
        warnings.warn(
            f"Impact is not calibrated: none of the {len(held_out)} rows held out has {listed(without)}; "
            "expected some hundreds. Raise --calibrate, or leave the block out.",
            FewRowsWarning,
            stacklevel=2,
        )
    return model.calibrate_impact(held_out) if model.optional_ and not without else model


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
    """What was certified about each line of ``lines``, in columns of their own; none yet."""
    return pd.DataFrame(index=lines.index)


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
    if settings.budget is not None and not settings.budget >= 0:
        raise CostError(f"The budget is {settings.budget}; expected a number from 0. Correct --budget.")
    free = [name for name in model.optional_ if name not in settings.costs]
    if free and settings.costs:
        warnings.warn(f"No cost was given for {listed(free, 20)}: taken as 1.", PrimoWarning, stacklevel=2)
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
