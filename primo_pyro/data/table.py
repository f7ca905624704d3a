"""A table as people have it: texts, numbers and empty cells, the columns of each block, and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from primo_pyro.errors import ModalityError

__all__ = ["Table"]


@dataclass(frozen=True, repr=False)
class Table:
    """A data set as one frame, not yet split, scaled or encoded.

    Attributes
    ----------
    name : str
    frame : DataFrame [N, F]
        A row per case, in the order of the source, with the columns of the blocks; others are left out. Empty
        cells are NaN, categories are texts.
    y : integer array [N]
        0 to ``len(classes) - 1``.
    blocks : mapping
        From the name of each modality to its columns. A row lacks a modality where all its cells are empty.
    classes : tuple of str
        What the labels mean.
    about : str
        Source and licence.

    Raises
    ------
    ModalityError
        Where a block names a column that the frame lacks, or two blocks the same, or where labels and rows
        differ in number.

    Examples
    --------
    >>> frame = pd.DataFrame({"age": [71, 40, 55], "ph": [7.4, None, None], "pao2": [90.0, None, 80.0]})
    >>> blocks = {"history": ("age",), "blood_gas": ("ph", "pao2")}
    >>> table = Table("toy", frame, np.array([0, 1, 1]), blocks, ("alive", "died"))
    >>> table
    Table(toy: 3 rows, 3 columns; died 0.67; history, blood_gas absent 0.33)
    >>> table.present["blood_gas"].tolist()
    [True, False, True]
    >>> table.optional
    ('blood_gas',)
    """

    name: str
    frame: pd.DataFrame
    y: np.ndarray
    blocks: Mapping[str, tuple[str, ...]]
    classes: tuple[str, ...]
    about: str = ""

    def __post_init__(self) -> None:
        if len(self.y) != len(self.frame):
            raise ModalityError(
                f"Table {self.name!r} has {len(self.frame)} rows and {len(self.y)} labels; expected as many. "
                "Give one label a row."
            )
        columns = [column for listed in self.blocks.values() for column in listed]
        lacking = [column for column in columns if column not in self.frame.columns]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if lacking or twice:
            raise ModalityError(
                f"The blocks of table {self.name!r} name columns that its frame lacks ({lacking}) or that "
                f"two blocks share ({twice}); expected each column of the frame in one block at most. "
                "Correct blocks."
            )
        object.__setattr__(self, "frame", self.frame[columns])

    def __repr__(self) -> str:
        absent = 1 - self.present.mean()
        blocks = ", ".join(f"{m} absent {absent[m]:.2f}" if absent[m] else m for m in self.blocks)
        shares = ", ".join(
            f"{label} {np.mean(self.y == c):.2f}" for c, label in enumerate(self.classes) if c > 0
        )
        rows, columns = self.frame.shape
        return f"Table({self.name}: {rows} rows, {columns} columns; {shares}; {blocks})"

    @property
    def present(self) -> pd.DataFrame:
        """Booleans [N, M]: in which rows some cell of each modality is filled."""
        return pd.DataFrame({m: self.frame[list(c)].notna().any(axis=1) for m, c in self.blocks.items()})

    @property
    def optional(self) -> tuple[str, ...]:
        """The modalities that some row lacks; all, where no row lacks any."""
        absent = tuple(m for m, present in self.present.items() if not present.all())
        return absent or tuple(self.blocks)

    def hide(self, frame: pd.DataFrame, modalities: Iterable[str]) -> pd.DataFrame:
        """Rows of the frame with every cell of these modalities empty.

        >>> frame = pd.DataFrame({"age": [71, 40], "ph": [7.4, 7.3]})
        >>> table = Table("toy", frame, np.array([0, 1]), {"history": ("age",), "ph": ("ph",)}, ("a", "b"))
        >>> table.hide(frame, ["ph"])["ph"].isna().all()
        np.True_
        """
        empty: dict[str, pd.Series] = {}
        for modality in modalities:
            for column in self.blocks[modality]:
                kind = frame[column].dtype
                kind = kind if kind.kind in "fO" else "float64" if kind.kind in "biu" else kind
                empty[column] = pd.Series(np.nan, index=frame.index, dtype=kind)
        return frame.assign(**empty)
