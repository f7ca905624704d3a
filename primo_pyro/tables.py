"""A table as it is, read into modalities: what each column is, is learnt on training rows and kept."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from primo_pyro.blocks import check_name
from primo_pyro.columns import NA_VALUES, Column, learn_column, missing_cells
from primo_pyro.errors import ModalityError, TableWarning, UnfittedError, warn
from primo_pyro.identity import listed
from primo_pyro.modalities import Modalities
from primo_pyro.parameters import Markers, Range, Real, as_python, check_parameters
from primo_pyro.patterns import rows_by_set
from primo_pyro.table_files import as_frame, read_table

__all__ = ["Blocks", "TableReader", "read_table"]

Blocks = Mapping[str, Sequence[str] | str]
FEW_PRESENT = 50  # rows; a block present in fewer teaches a latent little


class TableReader(BaseEstimator):
    """Reads a DataFrame into `Modalities`, as it learnt to on training rows.

    Estimators do this themselves when they are given ``blocks``. A reader by hand is for other settings,
    ``PrimoClassifier(blocks=TableReader({...}, present_from=0.5))``, and for looking at a table before a fit.

    ==================  ===================================================================================
    cells               what they become
    ==================  ===================================================================================
    numbers, also as    one feature; units, decimal commas and thousands separators are refused
    text
    booleans            0 or 1
    texts, categories   a feature for each category, one for all rare ones together, one for those that no
                        training row had
    ordered categories  their rank from 0; one that was not declared is a missing cell
    missing cells       NaN in all features of the column; beside NaN and NA these are the markers
                        ``na_values``. Blanks around texts do not count
    dates               refused, with the line that makes them days
    one value in all    nothing, with a warning: nothing can be learnt of it
    rows, or none
    ==================  ===================================================================================

    A block is absent in a row where all of its cells are missing, which is decided on the cells, before
    anything is encoded.

    Parameters
    ----------
    blocks
        Modality to its columns: names, or patterns as of files, ``"lab_*"``; ``"!lab_time*"`` takes columns
        out again. A lone string is one name or pattern. Other columns of the table are not looked at.
    na_values
        Cells that say "not known". Numbers may be among them, as -999.
    rare
        A category of fewer than this share of the rows that have the column, or of one row, is rare.
    present_from
        The least share of its cells that a block needs to be present in a row; at least one cell in any case.

    Attributes
    ----------
    columns_ : dict from modality to its columns as learnt, a list of `primo_pyro.columns.Column`
    index_name_ : name of the training rows' index, None where it had none

    Raises
    ------
    ModalityError
        In ``fit`` and ``transform``, for columns that are missing, or that cannot be read: all of them in one
        message, each with examples and a cure.

    Warns
    -----
    TableWarning
        In ``fit``, once, for columns that are left out.

    Examples
    --------
    >>> frame = pd.DataFrame(
    ...     {"age": [71, 40, 55], "sex": ["f", "m", "f"], "lactate": ["1.2", "?", "0.8"]},
    ...     index=["ann", "bob", "cy"],
    ... )
    >>> reader = TableReader({"history": ["age", "sex"], "blood": "lac*"}, rare=0).fit(frame)
    >>> x = reader.transform(frame)
    >>> x
    Modalities(3 rows: history [4] in all, blood [1] in 2)
    >>> x.columns["history"]
    ('age', 'sex=f', 'sex=(rare)', 'sex=(unknown)')
    >>> x.index[~x.present["blood"]].tolist()
    ['bob']
    >>> reader.check().query("about == 'column'")[["block", "name", "became", "missing"]].round(2)
         block     name    became  missing
    0  history      age    number     0.00
    1  history      sex  category     0.00
    2    blood  lactate    number     0.33
    """

    parameter_ranges: ClassVar[dict[str, Range]] = {
        "na_values": Markers(),
        "rare": Real(0, 1, below=True),
        "present_from": Real(0, 1),
    }

    def __init__(
        self,
        blocks: Blocks,
        *,
        na_values: Sequence[object] = NA_VALUES,
        rare: float = 0.01,
        present_from: float = 0.0,
    ):
        self.blocks = blocks
        self.na_values = na_values
        self.rare = rare
        self.present_from = present_from

    def fit(self, frame: pd.DataFrame, y: object = None) -> Self:
        """Learn what each column is. ``y`` is not looked at."""
        frame = as_frame(frame)
        columns, problems = self._learn(frame)
        if problems:
            raise ModalityError(" ".join(problems.values()))
        left_out = [f"{c.name!r} ({c.note})" for block in columns.values() for c in block if not c.features]
        for name, block in columns.items():
            if not any(column.features for column in block):
                raise ModalityError(
                    f"Block {name!r} of {len(frame)} rows has no column that could tell anything: "
                    f"{', '.join(f'{c.name!r}: {c.note}' for c in block)}; expected one with several values. "
                    f"Leave {name!r} out of blocks, or add columns."
                )
        if left_out:
            warn(
                f"{len(left_out)} columns are left out: {', '.join(left_out[:8])}"
                f"{', ...' if len(left_out) > 8 else ''}; expected several values in each. Take them out of "
                "blocks to read this no more.",
                TableWarning,
            )
        self.columns_: dict[str, list[Column]] = columns
        self._lines: list[dict[str, Any]] = self._lines_of(frame, columns, {})
        self.index_name_ = None if frame.index.name is None else str(frame.index.name)
        return self

    def transform(self, frame: pd.DataFrame) -> Modalities:
        """Rows as `Modalities`, with the index of the frame as their labels. Extra columns are ignored."""
        self._require_fitted()
        frame = as_frame(frame)
        self._require(frame, [c.name for block in self.columns_.values() for c in block if c.features])
        values, present, problems = {}, {}, []
        for name, block in self.columns_.items():
            parts, known = [], []
            for column in block:
                if column.features:
                    cells = frame[column.name]
                    missing = missing_cells(cells, self.na_values)
                    try:
                        parts.append(column.encode(cells, missing))
                    except ModalityError as error:
                        problems.append(str(error))
                    known.append(~missing)
            features = [feature for column in block for feature in column.features]
            if problems:
                continue
            numbers = np.concatenate(parts, axis=1)
            values[name] = pd.DataFrame(numbers, index=frame.index, columns=features)
            present[name] = self._present(known) & ~np.isnan(numbers).all(1)
        if problems:
            raise ModalityError(" ".join(problems))
        return Modalities(values, present)

    def fit_transform(self, frame: pd.DataFrame, y: object = None) -> Modalities:
        """``fit`` and ``transform`` of the same rows."""
        return self.fit(frame).transform(frame)

    def _require_fitted(self) -> None:
        if not hasattr(self, "columns_"):
            raise UnfittedError(
                "This TableReader is not fitted; expected a fitted one. Call fit(frame) first."
            )

    def _present(self, known: Sequence[np.ndarray]) -> np.ndarray:
        share = np.mean(known, axis=0)
        return (share > 0) & (share >= self.present_from)

    # --- Which columns -----------------------------------------------------------------------------------

    def _resolve(self, frame: pd.DataFrame) -> dict[str, list[Hashable]]:
        if not isinstance(self.blocks, Mapping) or not self.blocks:
            raise ModalityError(
                f"blocks is {type(self.blocks).__name__} ({self.blocks!r:.60}); expected a mapping from "
                'names to columns. Write blocks={"history": ["age", "sex"], "labs": "lab_*"}.'
            )
        check_parameters(self)
        found: dict[str, list[Hashable]] = {}
        for name, given in self.blocks.items():
            check_name(name, known=self.blocks)
            chosen: dict[Hashable, None] = {}
            for entry in _asked(name, given):
                taken_out = isinstance(entry, str) and entry.startswith("!") and entry not in frame.columns
                matching = _matching(frame, entry[1:] if taken_out else entry)
                if not matching:
                    self._require(frame, [entry], name)
                for column in matching:
                    if taken_out:
                        chosen.pop(column, None)
                    else:
                        chosen[column] = None
            if not chosen:
                raise ModalityError(
                    f"Block {name!r} names no column ({given!r}); expected at least one. Name some, or leave "
                    f"{name!r} out of blocks."
                )
            found[name] = list(chosen)
        block_of: dict[Hashable, str] = {}
        for name, listed_columns in found.items():
            for column in listed_columns:
                if column in block_of:
                    raise ModalityError(
                        f"Column {column!r} is in the blocks {block_of[column]!r} and {name!r}; expected it "
                        f'in one. Take it out of one of them: "!{column}" behind a pattern does.'
                    )
                block_of[column] = name
        return found

    def _require(self, frame: pd.DataFrame, names: Iterable[Hashable], block: str | None = None) -> None:
        """Refuse a frame that lacks columns, or has one of them twice."""
        names = list(names)
        lacking = [name for name in names if not _matching(frame, name, patterns=block is not None)]
        if lacking:
            known = {str(column).casefold(): str(column) for column in frame.columns}
            asked = str(lacking[0]).lstrip("!").casefold()
            close = [known[c] for c in difflib.get_close_matches(asked, known, 3, 0.5)] or [*known.values()][
                :8
            ]
            of = f"Block {block!r}: the" if block else "The"
            has = f"some like {listed(close)}" if block else f"all of training (it has {listed(close)})"
            raise ModalityError(
                f"{of} table of {len(frame)} rows has {len(known)} columns and lacks {len(lacking)} "
                f"({listed(lacking)}); expected {has if close else 'a table with columns'}. Correct the "
                "names, or add the columns, NaN where nothing is known."
            )
        twice = frame.columns[frame.columns.duplicated()]
        double = [name for name in names if name in twice]
        if double:
            raise ModalityError(
                f"The table of {len(frame)} rows has several columns named {listed(double)}; expected one of "
                "each name. Write frame = frame.loc[:, ~frame.columns.duplicated()]."
            )

    # --- What they are -----------------------------------------------------------------------------------

    def _learn(self, frame: pd.DataFrame) -> tuple[dict[str, list[Column]], dict[Hashable, str]]:
        """The columns of each block, and what is wrong with those that cannot be read."""
        found = self._resolve(frame)
        if len(frame) == 0:
            raise ModalityError("The table has 0 rows; expected training rows. Pass some rows.")
        self._require(frame, [name for names in found.values() for name in names])
        columns: dict[str, list[Column]] = {}
        problems: dict[Hashable, str] = {}
        for block, names in found.items():
            columns[block] = []
            for name in names:
                cells = frame[name]
                try:
                    column = learn_column(name, cells, missing_cells(cells, self.na_values), self.rare)
                except ModalityError as error:
                    problems[name] = str(error)
                    column = Column(name, "refused", note=str(error))
                columns[block].append(column)
        return columns, problems

    def check(self, frame: pd.DataFrame | None = None) -> pd.DataFrame:
        """What each column becomes, how blocks are absent, and what to worry about.

        Parameters
        ----------
        frame
            A table to look at as ``fit`` would, without learning and without refusing it; None: the training
            rows.

        Returns
        -------
        DataFrame
            A line per column, per block and per pattern of absence, as ``about`` says: ``block``, ``name``,
            ``became`` (of a column its kind, ``"refused"`` if ``fit`` would; of a block ``"observed"`` or
            ``"optional"``), the number of ``features``, the ``rows`` that have it, the share ``missing``
            (of a column of its cells, of a block of the rows), ``detail`` (range or categories) and ``note``
            (what to worry about).
        """
        if frame is None:
            self._require_fitted()
            return pd.DataFrame(self._lines)
        frame = as_frame(frame)
        return pd.DataFrame(self._lines_of(frame, *self._learn(frame)))

    def _lines_of(
        self, frame: pd.DataFrame, columns: Mapping[str, Sequence[Column]], problems: Mapping[Hashable, str]
    ) -> list[dict[str, Any]]:
        def line(
            about: str, block: str, name: str, became: str, features: int, known: np.ndarray, **more: str
        ) -> dict[str, Any]:
            rows = int(known.sum())
            said = {"about": about, "block": block, "name": name, "became": became, "features": features}
            return said | {"rows": rows, "missing": 1 - rows / len(known), "detail": "", "note": ""} | more

        lines, present = [], {}
        for block, listed_columns in columns.items():
            known = {c.name: ~missing_cells(frame[c.name], self.na_values) for c in listed_columns}
            used = [known[c.name] for c in listed_columns if c.features or c.name in problems]
            present[block] = self._present(used) if used else np.zeros(len(frame), bool)
            for c in listed_columns:
                note = c.note
                if c.features and not note and known[c.name][present[block]].mean() < 0.5:
                    note = "missing in more than half of the rows that have the block"
                more = {"detail": c.detail, "note": note}
                lines.append(
                    line("column", block, str(c.name), c.kind, len(c.features), known[c.name], **more)
                )
        for block, is_in in present.items():
            features = sum(len(c.features) for c in columns[block])
            note = f"present in few rows ({int(is_in.sum())})" if is_in.sum() < FEW_PRESENT else ""
            same = [other for other in present if other != block and (present[other] == is_in).all()]
            if same and not is_in.all():
                note = "; ".join(filter(None, [note, f"absent in the same rows as {', '.join(same)}"]))
            role = "observed" if is_in.all() else "optional"
            lines.append(line("block", block, block, role, features, is_in, note=note))
        for names, rows in sorted(rows_by_set(present), key=lambda found: -len(found[1])):
            note = "" if names else "nothing is known of these rows"
            of_pattern = np.isin(np.arange(len(frame)), rows)
            lines.append(line("pattern", "", " + ".join(names) or "nothing", "", 0, of_pattern, note=note))
        return lines

    # --- JSON --------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Parameters and what was learnt, in values that JSON knows."""
        content: dict[str, Any] = {
            "blocks": {name: _asked(name, given) for name, given in self.blocks.items()},
            "na_values": list(self.na_values),
            "rare": self.rare,
            "present_from": self.present_from,
        }
        if hasattr(self, "columns_"):
            learnt = {block: [asdict(column) for column in cs] for block, cs in self.columns_.items()}
            content |= {"columns": learnt, "lines": self._lines, "index_name": self.index_name_}
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The reader that `to_json` described."""
        reader = cls(
            dict(content["blocks"]),
            na_values=tuple(content["na_values"]),
            rare=content["rare"],
            present_from=content["present_from"],
        )
        if "columns" in content:
            reader.columns_ = {
                block: [
                    Column(**c | {"categories": tuple(c["categories"]), "rare": tuple(c["rare"])}) for c in cs
                ]
                for block, cs in content["columns"].items()
            }
            reader._lines = [dict(line) for line in content["lines"]]
            reader.index_name_ = content["index_name"]
        return reader


def _asked(name: str, given: Any) -> list[Any]:
    """The names and patterns of a block, of one of them too, in types that JSON knows.

    Raises
    ------
    ModalityError
        Where they are neither.
    """
    asked = [given] if isinstance(given, str | int | np.integer) else given
    are_listed = isinstance(asked, Sequence | pd.Index | np.ndarray)
    if not are_listed or not all(isinstance(entry, Hashable) and entry is not None for entry in asked):
        raise ModalityError(
            f"Block {name!r} is {type(given).__name__} ({given!r:.60}); expected names of columns, or "
            f'patterns, in a list. Write {name!r}: ["age", "lab_*"].'
        )
    return [as_python(entry) for entry in asked]


def _matching(frame: pd.DataFrame, entry: Hashable, patterns: bool = True) -> list[Hashable]:
    """Columns of this name, or, where there is none, of this pattern."""
    if entry in frame.columns:
        return [entry]
    if not patterns or not isinstance(entry, str):
        return []
    return [column for column in frame.columns if fnmatchcase(str(column), entry)]
