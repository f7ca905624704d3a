"""Modalities that rows have are hidden and revealed again: what is predicted before and after, and V."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from primo_pyro.analysis.impact import Revealed
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities
from primo_pyro.patterns import rows_by_set
from primo_pyro.prediction import Summary, summarise
from primo_pyro.program.model import PrimoModel

__all__ = ["hide_then_reveal", "part_of_what_rows_have"]


def hide_then_reveal(
    model: PrimoModel,
    x: Modalities,
    optional: Sequence[str],
    names: Sequence[str] | Mapping[str, np.ndarray] | None,
    drawn: Mapping[str, Any],
) -> Revealed:
    """What is predicted of rows without and with modalities that they have.

    Parameters
    ----------
    model
        The program.
    x
        Rows ``[N]``.
    optional
        Its optional modalities.
    names
        Those to hide, which each row has; None: in each row all optional ones that it has; or by name in
        which rows ``[N]``. V is about what was hidden of the row alone: what it lacks cannot be revealed, and
        stays absent.
    drawn
        Number, kind and seed of the draws, as `primo_pyro.prediction.summarise` takes them.

    Raises
    ------
    ModalityError
        Where a row has nothing to hide, or lacks one of ``names``.
    """
    hidden = dict(names) if isinstance(names, Mapping) else _hidden(x, optional, names)
    missing = x
    for name, rows in hidden.items():
        missing = missing.drop(name, where=rows)
    before, after = (summarise(model, rows, **drawn) for rows in (missing, x))
    if set(hidden) == set(optional) and np.all(list(hidden.values())):
        return Revealed(before.prediction, after.prediction, before, after.spread)
    order, parts = [], []
    for about, rows in rows_by_set(hidden):
        order.append(rows)
        parts.append(summarise(model, missing[rows], **drawn, about=about))
    joined = Summary.joined(parts)
    back = np.argsort(np.concatenate(order))
    impact = replace(joined, **{name: v[back] for name, v in vars(joined).items() if v is not None})
    remaining = summarise(model, x, **drawn, about=())
    return Revealed(before.prediction, after.prediction, impact, remaining.spread)


def _hidden(x: Modalities, optional: Sequence[str], names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """For each modality in which rows it is to be hidden."""
    if names is None:
        hidden = {m: x.present[m] for m in optional}
        without = int((~np.any(list(hidden.values()), axis=0)).sum())
        if without:
            raise ModalityError(
                f"{without} of {len(x)} rows have none of the optional modalities ({', '.join(hidden)}); "
                "expected rows with something to hide. Write x = estimator.read(x), and pass "
                f"x[{' | '.join(f'x.present[{m!r}]' for m in hidden)}], and their labels."
            )
        return hidden
    for name in names:
        absent = len(x) - int(x.present[name].sum())
        if absent:
            raise ModalityError(
                f"Modality {name!r} is absent in {absent} of {len(x)} rows; expected rows that have it. "
                "Write x = estimator.read(x), and pass "
                f"x[{' & '.join(f'x.present[{m!r}]' for m in names)}], and their labels."
            )
    return {m: np.ones(len(x), bool) for m in names}


def part_of_what_rows_have(x: Modalities, names: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """For each modality in which rows ``[N]`` it is hidden: a random part of what a row has, at least one.

    >>> x = Modalities({"a": np.ones(4), "b": np.ones(4)}).drop("b", where=[0, 0, 1, 1])
    >>> hidden = part_of_what_rows_have(x, ["a", "b"], seed=0)
    >>> hidden["a"] | hidden["b"], hidden["b"] & ~x.present["b"]
    (array([ True,  True,  True,  True]), array([False, False, False, False]))
    """
    present = np.stack([x.present[name] for name in names])
    chance = np.where(present, np.random.default_rng(seed).random(present.shape), -1.0)
    hidden = present & ((chance > 0.5) | (chance == chance.max(0)))
    return dict(zip(names, hidden, strict=True))
