"""Settings of the command line: from flags, and from a TOML file. Flags win."""

from __future__ import annotations

import csv
import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from primo_pyro.classifier import PrimoClassifier
from primo_pyro.errors import SettingsError
from primo_pyro.identity import listed

__all__ = [
    "OPTIONS",
    "OUTCOMES",
    "READER",
    "Settings",
    "parse_blocks",
    "parse_costs",
    "parse_options",
    "read_settings",
]

OUTCOMES = ("categorical", "ordinal", "number")
# Parameters of the estimator that the command line sets itself, or that are code.
OUTSIDE = ("blocks", "callbacks", "encoders", "outcome", "random_state", "verbose", "warm_start")
READER = ("rare", "present_from")  # parameters of the reader of tables
OPTIONS = (*READER, *(name for name in PrimoClassifier().get_params(deep=False) if name not in OUTSIDE))


@dataclass(frozen=True)
class Settings:
    """What a command was told.

    Attributes
    ----------
    blocks
        Modality to its columns, names or patterns.
    label, id
        Names of columns.
    seed
        Of everything random.
    calibrate
        Share of the rows that are held out to calibrate impact; 0: none. None: 0.2, or none where members
        calibrate on the rows that each of them held out.
    certify
        Share of further rows that are held out for guarantees, and serve nothing else; 0: none.
    weighted
        Whether certification rows stand for rows that lack a block, by weights.
    outcome
        What the label is: one of `OUTCOMES`.
    na
        Cells that say "not known", beside the usual ones.
    options
        Parameters of the estimator and of the reader, by the names that they have in Python.
    costs
        Modality to the cost of acquiring it.
    budget
        What may be spent on all rows together; None: no bound.

    Examples
    --------
    >>> Settings(seed=1).changed(seed=None, label="died").seed
    1
    """

    blocks: Mapping[str, list[str]] = field(default_factory=dict)
    label: str | None = None
    id: str | None = None
    seed: int = 0
    calibrate: float | None = None
    certify: float = 0.0
    weighted: bool = False
    outcome: str = "categorical"
    na: Sequence[object] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    budget: float | None = None

    def changed(self, **flags: Any) -> Settings:
        """With the flags that were given; mappings are joined entry by entry."""
        given = {name: flag for name, flag in flags.items() if flag not in (None, {}, [])}
        for name, flag in given.items():
            if isinstance(flag, Mapping):
                given[name] = {**getattr(self, name), **flag}
        return replace(self, **given)


# The kind of each setting, and how a message says it.
KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "blocks": (dict, 'a table, as [blocks] and below it labs = ["lab_*"]'),
    "label": (str, "a column's name in quotes"),
    "id": (str, "a column's name in quotes"),
    "seed": (int, "a whole number"),
    "calibrate": ((int, float), "a number from 0 to below 1"),
    "certify": ((int, float), "a number from 0 to below 1"),
    "weighted": (bool, "true or false"),
    "outcome": (str, f"one of {listed(OUTCOMES)}"),
    "na": (list, 'a list, as na = ["unknown", -999]'),
    "options": (dict, "a table, as [options] and below it max_epochs = 40"),
    "costs": (dict, "a table, as [costs] and below it labs = 3"),
    "budget": ((int, float), "a number"),
}


def read_settings(path: Path | None) -> Settings:
    """Settings of a TOML file; None: the defaults.

    Raises
    ------
    SettingsError
        Where the file cannot be read, or holds a setting that is not known or of another kind.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "settings.toml")
    ...     _ = path.write_text('seed = 3\\n[blocks]\\nlabs = "lab_*"\\n[options]\\nmax_epochs = 5\\n')
    ...     read_settings(path).blocks
    {'labs': ['lab_*']}
    """
    if path is None:
        return Settings()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path} does not exist; expected a TOML file. Correct the path.") from error
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are such
        raise SettingsError(
            f"{path} cannot be read as TOML ({error}); expected TOML. Correct it there."
        ) from error
    known = [f.name for f in fields(Settings)]
    for name, value in content.items():
        check_known(name, known, f"{path}: setting")
        kind, expected = KINDS[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise SettingsError(
                f"{path}: {name} is {type(value).__name__} ({value!r:.60}); expected {expected}. Correct it."
            )
    for name in content.get("options", {}):
        check_known(name, OPTIONS, f"{path}: option")
    blocks = {n: [c] if isinstance(c, str) else c for n, c in content.get("blocks", {}).items()}
    for name, columns in blocks.items():
        if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
            raise SettingsError(
                f"{path}: block {name!r} is {columns!r:.60}; expected names of columns or patterns. Write "
                f'{name} = ["age", "lab_*"].'
            )
    for cell in content.get("na", ()):
        if not isinstance(cell, str | int | float):
            raise SettingsError(
                f'{path}: na holds {cell!r:.60}; expected texts and numbers. Write na = ["unknown", -999].'
            )
    for name, cost in content.get("costs", {}).items():
        if isinstance(cost, bool) or not isinstance(cost, int | float):
            raise SettingsError(
                f"{path}: the cost of {name!r} is {cost!r:.60}; expected a number. Correct it."
            )
    return Settings(**content | ({"blocks": blocks} if blocks else {}))


def check_known(name: str, known: Iterable[str], what: str) -> None:
    """Refuse a name that is not known, and name the nearest one."""
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(name, known, 1, 0.0)[0]
        raise SettingsError(
            f"{what} {name!r} is not known; the nearest known one is {close!r}. Correct the name; expected "
            f"one of {', '.join(known)}."
        )


# --- Flags ---------------------------------------------------------------------------------------------


def parse_blocks(texts: Iterable[str]) -> dict[str, list[str]]:
    """Blocks from ``name=column,pattern*``; columns with commas in quotes, and a name may repeat.

    >>> parse_blocks(["labs=lab_*,!lab_time", 'labs="ph, arterial"', "sex=sex"])
    {'labs': ['lab_*', '!lab_time', 'ph, arterial'], 'sex': ['sex']}
    """
    blocks: dict[str, list[str]] = {}
    for text in texts:
        name, columns = _halves(text, "--block", "history=age,sex,dz*")
        names = [column.strip() for column in next(csv.reader([columns], skipinitialspace=True))]
        blocks.setdefault(name, []).extend(filter(None, names))
    return blocks


def parse_costs(texts: Iterable[str]) -> dict[str, float]:
    """Costs from ``name=number``.

    >>> parse_costs(["gas=3", "scan=40.5"])
    {'gas': 3.0, 'scan': 40.5}
    """
    costs = {}
    for text in texts:
        name, number = _halves(text, "--cost", "gas=3")
        try:
            costs[name] = float(number)
        except ValueError as error:
            raise SettingsError(
                f"--cost {text!r} has no number; expected one. Write --cost {name}=3."
            ) from error
    return costs


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """Parameters from ``name=value``, the value as in TOML, or else a text.

    >>> parse_options(["max_epochs=5", "objective=paper", "rare=0.02"])
    {'max_epochs': 5, 'objective': 'paper', 'rare': 0.02}
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, value = _halves(text, "--set", "max_epochs=40")
        check_known(name, OPTIONS, "--set:")
        try:
            options[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[name] = None if value == "none" else value
    return options


def _halves(text: str, flag: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise SettingsError(
            f"{flag} {text!r} lacks a name, '=' or what follows; expected all three. Write {flag} {example}."
        )
    return name.strip(), value.strip()
