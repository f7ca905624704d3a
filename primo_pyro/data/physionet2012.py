"""PhysioNet/CinC Challenge 2012: 12,000 stays in intensive care, openly licensed.

What is known of a stay when it begins (age, sex, height, weight, unit), and 12 variables over its first 24
hours, in the layout of the MIMIC-III benchmark: an open stand-in for it with the same two modalities. A
second view cuts the hours in vital signs, watched at the bedside, and laboratory values, for which blood
must be drawn; in it a modality is absent where the stay really has none of it.

A third view has four blocks of measurements and all variables of the source that are measurements.

How events become hours is said in :mod:`primo_pyro.data.physionet2012_hours`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from primo_pyro.data.physionet2012_hours import (
    BENCHMARK,
    BLOCKS,
    DECIDING,
    FOUR_BLOCKS,
    HOURS,
    LABS,
    SERIES,
    VITALS,
    Layout,
)
from primo_pyro.data.scaling import standardise
from primo_pyro.data.source import AnyPath, DataFile, check, homes, not_found
from primo_pyro.data.splits import Splits, random_rows
from primo_pyro.errors import DataFileError, PrimoError
from primo_pyro.modalities import Modalities, RandomState

__all__ = [
    "CLASSES",
    "LICENCE",
    "STATIC",
    "STATIC_COLUMNS",
    "VIEWS",
    "Stays",
    "load_physionet2012",
    "mortality6",
    "read_stays",
]

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.2}
SETS = ("a", "b", "c")

STATIC = {"Age": (0, 120), "Gender": (0, 1), "Height": (100, 230), "ICUType": (1, 4), "Weight": (20, 350)}
STATIC_COLUMNS = (
    *("Age", "Height", "Weight", "Gender"),
    *("HeightKnown", "WeightKnown", "GenderKnown"),
    *("CoronaryUnit", "CardiacSurgeryUnit", "MedicalUnit", "SurgicalUnit"),
)

CLASSES = {
    "in_hospital_death": ("survived", "died"),
    "mortality6": ("longer", "1 day", "2 days", "3 days", "1 week", "1 year"),
}
VIEWS = ("two", "three", "five")
LICENCE = "PhysioNet/CinC Challenge 2012, Open Data Commons Attribution 1.0 (cite Silva et al. 2012)"
OBTAIN = (
    "It is open. Get set-a, set-b and set-c (.tar.gz) and Outcomes-a.txt, -b and -c from "
    "https://physionet.org/content/challenge-2012/1.0.0/ and unpack them into a folder named physionet2012."
)
LAYOUT = DataFile(
    home="physionet2012",
    name="benchmark_layout_24h.npz",
    sha256="77202b686bf145352914e7ea380c3c741779023b91e4a982dc95bd3b216d7c19",
    licence=LICENCE,
    obtain=OBTAIN,
)
EVENTS = DataFile(
    home="physionet2012",
    name="events_48h.npz",
    sha256="5348787765a20de7e4ef321fa4b2f074437387fc59cf26d90c1a695951aa339b",
    licence=LICENCE,
    obtain=OBTAIN,
)


class Stays(NamedTuple):
    """N stays in hours; V variables, the 12 of the benchmark or the 32 of the four blocks.

    ``series`` [N, 24, V] float32, imputed within the stay, NaN where a stay has no value of a variable;
    ``measured`` [N, 24, V] bool; ``static`` [N, 5] float32 as in ``STATIC``, NaN unknown; ``death``
    [N] in hospital; ``survival`` [N] days, -1 where no death is on record; ``record`` [N] number of the stay;
    ``set_id`` [N] 0, 1, 2 for a, b, c.
    """

    series: np.ndarray
    measured: np.ndarray
    static: np.ndarray
    death: np.ndarray
    survival: np.ndarray
    record: np.ndarray
    set_id: np.ndarray


def load_physionet2012(
    path: AnyPath | None = None,
    task: str = "in_hospital_death",
    view: str = "two",
    split: str = "random",
    seed: RandomState = 0,
) -> Splits:
    r"""The stays, standardised by the training rows.

    Parameters
    ----------
    path
        A folder with the original text folders ``set-a``, ``set-b``, ``set-c`` and ``Outcomes-*.txt``
        anywhere below it, or with one of the packed files, or such a file. Of the sets, those that it has are
        read.
        Without it ``PRIMO_DATA`` and the cache are asked, see :mod:`primo_pyro.data.source`.
    task
        ``"in_hospital_death"`` (2 classes, 14 % died), or ``"mortality6"``: death at most 1, 2, 3, 7, 365
        days after admission gives 1 to 5, later or none on record gives 0.
    view
        ``"two"``: ``"static"`` [N, 11] and ``"series"`` [N, 24, 24], both present in every row.
        ``"three"``: ``"static"``, ``"vitals"`` [N, 24, 10] (GCS, systolic pressure, heart rate, temperature,
        urine) and ``"labs"`` [N, 24, 14] (PaO2/FiO2, urea nitrogen, white cells, bicarbonate, sodium,
        potassium, bilirubin). A stay without any laboratory value in its first 24 hours has no ``"labs"``,
        and likewise ``"vitals"``: about 1.6 % each.
        ``"five"``: ``"static"``, ``"vitals"`` [N, 24, 16], ``"blood_gas"`` [N, 24, 12], ``"chemistry"``
        [N, 24, 30] and ``"haematology"`` [N, 24, 6]; the variables are those of
        `primo_pyro.data.physionet2012_hours.BLOCKS`. A block is absent in a stay without any value of its
        variables in its first 24 hours: the blood gas in 24 % of the stays, each other block in about 2 %.
        (A share of oxygen alone is no blood gas: it is set, not measured.) The packed layout file lacks most
        of these variables, so this view is read from the events: ``events_48h.npz`` or the text folders.
    split
        ``"random"``: 64 % training, 16 % validation, 20 % test, shuffled by ``seed``. ``"sets"``: set a for
        training, b for validation, c for test, as the challenge was held. A stay is one row and its patient's
        only one, so no patient is in two parts.
    seed
        Of the random split.

    Returns
    -------
    Splits
        float32. Series hold the values of each hour and then, as many channels again, 1 where the variable
        was measured in that hour and 0 where the value was carried over: without them a network cannot tell
        a steady patient from one whom nobody measured. A variable never measured in a stay is 0, the training
        mean. In view ``"five"`` the logarithm of 1 + v stands for a value v of the skewed variables in
        `primo_pyro.data.physionet2012_hours.LOGARITHMIC`. Values more than 5 standard deviations off are
        moved to 5. Static columns: ``STATIC_COLUMNS``; unknown or impossible heights, weights and sexes take
        the training median and a 0 in the column ``...Known``.

    Raises
    ------
    DataFileError
        Where nothing is found, a file is not the known one, or a text folder lacks stays.
    PrimoError
        For an unknown task, view or split.

    Notes
    -----
    Source: PhysioNet/CinC Challenge 2012, version 1.0.0 (Silva et al., 2012), Open Data Commons Attribution.

    Examples
    --------
    Two stays of an own text folder (a random split needs more):

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "set-a").mkdir()
    >>> for record in (132539, 132540):
    ...     rows = ["Time,Parameter,Value", f"00:00,RecordID,{record}", "00:00,Age,54", "01:10,HR,73"]
    ...     _ = (folder / "set-a" / f"{record}.txt").write_text("\n".join(rows))
    >>> head = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"
    >>> _ = (folder / "Outcomes-a.txt").write_text(head + "\n132539,6,1,5,-1,0\n132540,16,8,8,2,1\n")
    >>> stays = read_stays(folder)
    >>> stays.death, mortality6(stays.survival)
    (array([0, 1]), array([0, 2]))
    >>> stays.series[0, :4, SERIES.index("HR")], stays.measured[0, :4, SERIES.index("HR")]
    (array([73., 73., 73., 73.], dtype=float32), array([False,  True, False, False]))
    """
    if task not in CLASSES:
        raise PrimoError(f"task is {task!r}; expected one of {tuple(CLASSES)}. Choose one of them.")
    if view not in VIEWS:
        raise PrimoError(f"view is {view!r}; expected one of {VIEWS}. Choose one of them.")
    if split not in ("random", "sets"):
        raise PrimoError(f"split is {split!r}; expected 'random' or 'sets'. Choose one of them.")
    stays = read_stays(path, FOUR_BLOCKS if view == "five" else BENCHMARK)
    if split == "sets":
        rows = dict(zip(SHARES, (np.flatnonzero(stays.set_id == i) for i in range(3)), strict=True))
    else:
        rows = random_rows(stays.record, SHARES, seed)
    lacking = [part for part, at in rows.items() if len(at) == 0]
    if lacking:
        raise DataFileError(
            f"Of {len(stays.record)} stays none is for {', '.join(lacking)} with split={split!r}; expected "
            f"at least one. Get all three sets. {OBTAIN}"
        )
    x = _modalities(stays, view, rows["train"])
    y = stays.death if task == "in_hospital_death" else mortality6(stays.survival)
    return Splits.of_rows("physionet2012", x, y, CLASSES[task], rows, f"{LICENCE}.")


def mortality6(survival: np.ndarray) -> np.ndarray:
    """Six classes from days of survival [N] (-1: no death on record); see :func:`load_physionet2012`."""
    classes = 1 + np.searchsorted([1, 2, 3, 7, 365], survival)
    return np.where((survival < 0) | (survival > 365), 0, classes).astype(np.int64)


def _modalities(stays: Stays, view: str, train: np.ndarray) -> Modalities:
    known = ~np.isnan(stays.series)
    values = np.clip(standardise(stays.series, train, known), -5, 5)
    values = np.where(known, values, np.float32(0))
    series = np.stack([values, stays.measured.astype(np.float32)], 2)  # [N, 24, 2, V]
    blocks, present = {"static": _static(stays.static, train)}, {}
    for name, (variables, deciding) in _kinds(view).items():
        blocks[name] = series[..., variables].reshape(len(values), HOURS, -1)
        if view != "two":
            present[name] = stays.measured[..., deciding].any((1, 2))
    return Modalities(blocks, present)


def _kinds(view: str) -> dict[str, tuple[list[int], list[int]]]:
    """The variables of each series, and those of which one must be measured for it to be present."""
    if view == "five":
        at = FOUR_BLOCKS.places
        return {name: ([at[v] for v in BLOCKS[name]], [at[v] for v in DECIDING[name]]) for name in BLOCKS}
    kinds = {"series": range(len(SERIES))} if view == "two" else {"vitals": VITALS, "labs": LABS}
    return {name: (list(variables), list(variables)) for name, variables in kinds.items()}


def _static(static: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The columns of STATIC_COLUMNS, [N, 11]."""
    known = np.stack(
        [(low <= v) & (v <= high) for v, (low, high) in zip(static.T, STATIC.values(), strict=True)]
    )
    age, gender, height, unit, weight = np.where(known, static.T, np.nan)

    def filled(column: np.ndarray) -> np.ndarray:
        median = np.nanmedian(column[train]) if not np.isnan(column[train]).all() else 0
        return np.where(np.isnan(column), median, column)

    numbers = np.stack([filled(column) for column in (age, height, weight)], 1)
    rest = [filled(gender), known[2], known[4], known[1], *(unit == i for i in (1, 2, 3, 4))]
    scaled = np.clip(standardise(numbers, train), -5, 5)
    return np.concatenate([scaled, np.stack(rest, 1).astype(np.float32)], 1)


# ---------------------------------------------------------------------------------------------- reading


def read_stays(path: AnyPath | None = None, layout: Layout = BENCHMARK) -> Stays:
    """All stays, before standardisation; ``path`` as in :func:`load_physionet2012`.

    ``layout`` is ``BENCHMARK``, the 12 variables of the first two views, or ``FOUR_BLOCKS``, all 32.
    """
    looked_in = homes(LAYOUT.home, path)
    file = Path(path) if path is not None and Path(path).is_file() else None
    readers: list[tuple[DataFile, Callable[[Mapping[str, np.ndarray]], Stays]]] = [
        (EVENTS, partial(_of_packed_events, layout=layout))
    ]
    if layout is BENCHMARK:
        readers.insert(0, (LAYOUT, _of_layout))
    for home in looked_in:
        for packed, read in readers:
            where = file or home / packed.name
            if where.name == packed.name and where.is_file():
                check(packed, where)
                with np.load(where) as content:
                    return read(content)
        if file is None and (stays := _of_text(home, layout)) is not None:
            return stays
    events = "" if layout is BENCHMARK else f", event by event ({EVENTS.name} or text folders),"
    raise not_found(f"PhysioNet 2012{events}", [file] if file else looked_in, OBTAIN)


def _of_layout(content: Mapping[str, np.ndarray]) -> Stays:
    measured = content["ep_tdata_masking"].astype(bool)
    series = np.where(measured.any(1, keepdims=True), content["ep_tdata"], np.float32(np.nan))
    # The ratio also has values where PaO2 and FiO2 were measured in different hours.
    raw = content["hourly_raw13"]
    both = ~np.isnan(raw[..., [4, 5]]).all(1).any(-1)
    series[both, :, 4] = content["ep_tdata"][both, :, 4]
    return Stays(
        series,
        measured,
        content["static"],
        content["y_mor"].astype(np.int64),
        content["survival_days"].astype(np.int64),
        content["record_id"],
        content["set_id"],
    )


def _of_packed_events(content: Mapping[str, np.ndarray], layout: Layout) -> Stays:
    code = np.array([layout.places.get(v, -1) for v in content["var_names"].tolist()])
    stay = np.repeat(np.arange(len(content["record_id"])), np.diff(content["offsets"]))
    series, measured = layout.to_hours(
        stay, content["time_min"], code[content["var"]], content["value"], len(content["record_id"])
    )
    static = np.where(content["static"] == -1, np.float32(np.nan), content["static"])
    outcomes = content["outcomes"].astype(np.int64)
    return Stays(
        series, measured, static, outcomes[:, 4], outcomes[:, 3], content["record_id"], content["set_id"]
    )


def _of_text(home: Path, layout: Layout) -> Stays | None:
    """Those of the sets a, b, c that lie anywhere below a folder; None where none does."""
    static: list[list[float]] = []
    outcomes: list[list[int]] = []
    record: list[int] = []
    set_id: list[int] = []
    events = array("i"), array("i"), array("i"), array("d")  # stay, minute, variable, value
    for number, letter in enumerate(SETS):
        folder = next((f for f in sorted(home.rglob(f"set-{letter}")) if f.is_dir()), None)
        table = next(iter(sorted(home.rglob(f"Outcomes-{letter}.txt"))), None)
        if folder is None or table is None:
            continue
        for row in _outcomes(table):
            file = folder / f"{row[0]}.txt"
            if not file.is_file():
                raise DataFileError(
                    f"{file} is missing; expected a record for each stay that {table.name} names. Unpack the "
                    f"archive of set {letter} again."
                )
            static.append(_read_record(file, len(record), events, layout.places))
            record.append(row[0])
            outcomes.append(row)
            set_id.append(number)
    if not record:
        return None
    series, measured = layout.to_hours(*map(np.asarray, events), len(record))
    columns = np.array(outcomes)
    return Stays(
        series,
        measured,
        np.array(static, np.float32),
        columns[:, 5],
        columns[:, 4],
        np.array(record),
        np.array(set_id),
    )


def _outcomes(table: Path) -> list[list[int]]:
    """RecordID, SAPS-I, SOFA, length of stay, survival, in-hospital death."""
    lines = table.read_text().split()
    if not lines or not lines[0].startswith("RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"):
        raise DataFileError(
            f"{table} starts with {' '.join(lines[:1])[:80]!r}; expected the names of its six columns. Get "
            "it again."
        )
    try:
        rows = [[int(number) for number in line.split(",")] for line in lines[1:]]
        short = [row for row in rows if len(row) != 6]
    except ValueError as error:
        raise DataFileError(
            f"{table} holds other entries ({error}); expected whole numbers. Get it again."
        ) from error
    if short:
        raise DataFileError(f"{table} has the row {short[0]}; expected six numbers. Get it again.")
    return rows


LINE = re.compile(r"^(\d+):(\d\d),([^,\n]*),([^,\n]*)$", re.MULTILINE)


def _read_record(
    file: Path,
    stay: int,
    events: tuple[array[int], array[int], array[int], array[float]],
    places: Mapping[str, int],
) -> list[float]:
    """Append a stay's events to the columns; return its static values, NaN where unknown."""
    static = dict.fromkeys(STATIC, np.nan)
    text = file.read_text().strip()
    head, _, body = text.partition("\n")
    if head != "Time,Parameter,Value":
        raise _bad_line(file, head)
    rows = LINE.findall(body)
    if len(rows) != body.count("\n") + bool(body):
        raise _bad_line(file, next(line for line in body.split("\n") if not LINE.fullmatch(line)))
    stays, minutes, variables, values = events
    for hour, minute, name, value in rows:
        try:
            if name in places:
                values.append(float(value))
                minutes.append(int(hour) * 60 + int(minute))
                variables.append(places[name])
                stays.append(stay)
            elif name in static and np.isnan(static[name]) and hour == minute == "00" and value != "-1":
                static[name] = float(value)
        except ValueError:
            raise _bad_line(file, f"{hour}:{minute},{name},{value}") from None
    return list(static.values())


def _bad_line(file: Path, line: str) -> DataFileError:
    return DataFileError(
        f"{file} has the line {line!r}; expected lines like '00:07,HR,73' under the head "
        "'Time,Parameter,Value'. Unpack its archive again."
    )
