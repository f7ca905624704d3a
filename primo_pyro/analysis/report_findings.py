"""What a report is made from: numbers about rows whose modalities were hidden and then revealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from primo_pyro.analysis.certificates import Certificate

__all__ = ["BlocksFound", "Findings", "rows_to_show"]

SHORT = 24  # letters


@dataclass(frozen=True)
class BlocksFound:
    """What a page reports about each modality, on all rows as they came.

    Attributes
    ----------
    rows
        How many rows came.
    blocks
        A line per modality: ``block, role, features, present, absent`` (rows), ``share`` (of all rows, that
        have it), ``absent_with``; of an optional one also ``impact_absent, expected_absent`` (means over the
        rows that lack it), ``impact, expected, realised, flip`` (means over the rows that have it, hidden
        and then revealed). NaN where there are no such rows, or impact is not calibrated.
    columns
        What the columns of each block became, as `primo_pyro.tables.TableReader.check` has it; None where
        the rows came as blocks already.
    patterns
        ``present`` (names of modalities) and ``rows``.
    absent
        A line per absent modality of a row: ``row`` (its label), ``modality, impact, expected_change,
        flip_probability, prediction``; the highest first.
    """

    rows: int
    blocks: pd.DataFrame
    columns: pd.DataFrame | None
    patterns: pd.DataFrame
    absent: pd.DataFrame


@dataclass(frozen=True)
class Findings:
    """What a page reports about N rows whose modality was hidden and then revealed.

    Attributes
    ----------
    modality
        Its name.
    classes
        The C labels.
    y
        Labels ``[N]``.
    missing, complete
        Predictions ``[N, C]`` without and with the modality.
    impact
        ``impact`` and ``information_gain`` of each row, without the modality.
    gap
        ``impact_missing, impact_complete, gap, realised_change, flip`` of each row.
    cards
        The rows that are described one by one: positions, the highest V first.
    shares
        Plausible label shares of these rows ``[cards, C]``.
    labels
        What the rows are called ``[N]``; None: their positions.
    found
        What is said of all rows as they came; None: nothing.
    each
        ``row`` (place among the cards), ``modality``, ``impact`` and, where known, ``expected_change``: what
        each hidden modality alone would change; None where only one is asked about.
    certificate
        The same rows as certification rows, by which promises are checked; None leaves that out.
    risks
        Of two classes: risks of the second one under single draws of the cards' rows ``[cards, K]``.
    threshold
        The risk from which one acts.
    curves
        From `primo_pyro.analysis.decisions.decision_curves`.
    """

    modality: str
    classes: Sequence | np.ndarray
    y: np.ndarray
    missing: np.ndarray
    complete: np.ndarray
    impact: pd.DataFrame
    gap: pd.DataFrame
    cards: np.ndarray
    shares: pd.DataFrame
    labels: Sequence | pd.Index | None = None
    found: BlocksFound | None = None
    each: pd.DataFrame | None = None
    certificate: Certificate | None = None
    risks: np.ndarray | None = None
    threshold: float | None = None
    curves: pd.DataFrame | None = None

    @property
    def short_name(self) -> str:
        """What pictures call the modality: their titles have one line."""
        return self.modality if len(self.modality) <= SHORT else "the blocks"


def rows_to_show(impact: ArrayLike, count: int = 3) -> np.ndarray:
    """Positions of the rows with the highest V and of those with the lowest, at most ``count`` of each.

    >>> rows_to_show(np.array([0.1, 0.5, 0.0, 0.3]), count=1)
    array([1, 2])
    """
    order = np.argsort(-np.asarray(impact), kind="stable")
    count = min(count, len(order) // 2)
    return np.concatenate([order[:count], order[len(order) - count :]])
