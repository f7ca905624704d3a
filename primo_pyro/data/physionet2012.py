"""PhysioNet/CinC Challenge 2012: 12,000 stays in intensive care, openly licensed.

What is known of a stay when it begins (age, sex, height, weight, unit), and 12 variables over its first 24
hours, in the layout of the MIMIC-III benchmark: an open stand-in for it with the same two modalities. A
second view cuts the hours in vital signs, watched at the bedside, and laboratory values, for which blood
must be drawn; there a modality is absent where the stay really has none of it.

From events to hours:

* an hour holds the mean of its values; values outside the range in ``VARIABLES`` count as not measured;
* the systolic pressure is the arterial one, and the cuff's where an hour has no arterial one;
* hours without a value take the last one before, else the first one after; urine takes the mean of the
  stay's hours;
* PaO2/FiO2 is taken after that, and counts as measured in hours in which both were.
"""

from __future__ import annotations

import re
from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np

from primo_pyro.data.scaling import standardise
from primo_pyro.data.source import DataFile, check, homes, not_found
from primo_pyro.data.splits import Splits, random_rows
from primo_pyro.errors import DataFileError, PrimoError
from primo_pyro.modalities import Modalities

HOURS = 24
SHARES = {"train": 0.64, "validation": 0.16, "test": 0.2}
SETS = ("a", "b", "c")

# Name in the source, and what is plausible.
VARIABLES = {
    "GCS": (3, 15),  # points
    "SysABP": (21, 300),  # mmHg
    "HR": (0.1, 299),  # beats a minute
    "Temp": (25, 45),  # degrees Celsius
    "PaO2": (1, 1000),  # mmHg
    "FiO2": (0.2, 1),  # share
    "Urine": (0, 4999),  # mL
    "BUN": (0.1, 1000),  # mg/dL
    "WBC": (0.09, 1000),  # thousands a microlitre
    "HCO3": (1, 100),  # mmol/L
    "Na": (1, 300),  # mmol/L
    "K": (0.1, 100),  # mmol/L
    "Bilirubin": (0.09, 1000),  # mg/dL
    "NISysABP": (21, 300),  # mmHg, merged into SysABP
}
PLACES = {name: i for i, name in enumerate(VARIABLES)}
SERIES = ("GCS", "SysBP", "HR", "Temp", "PaO2/FiO2", "Urine", "BUN", "WBC", "HCO3", "Na", "K", "Bilirubin")
VITALS = (0, 1, 2, 3, 5)
LABS = (4, 6, 7, 8, 9, 10, 11)

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
LICENCE = "PhysioNet/CinC Challenge 2012, Open Data Commons Attribution 1.0 (cite Silva et al. 2012)"
OBTAIN = (
    "It is open: get set-a, set-b and set-c (.tar.gz) and Outcomes-a.txt, -b and -c from "
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
    """N stays in hours.

    ``series`` [N, 24, 12] float32, imputed within the stay, NaN where a stay has no value of a variable;
    ``measured`` [N, 24, 12] bool; ``static`` [N, 5] float32 as in ``STATIC``, NaN unknown; ``death``
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


def load_physionet2012(path=None, task="in_hospital_death", view="two", split="random", seed=0) -> Splits:
    r"""The stays, standardised by the training rows.

    Parameters
    ----------
    path
        A folder with the original text folders ``set-a``, ``set-b``, ``set-c`` and ``Outcomes-*.txt``
        anywhere below it, or with one of the packed files, or such a file. Of the sets, those that are there
        are read.
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
        mean. Values more than 5 standard deviations off are moved to 5. Static columns: ``STATIC_COLUMNS``;
        unknown or impossible heights, weights and sexes take the training median and a 0 in the column
        ``...Known``.

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
        raise PrimoError(f"task is {task!r}; one of {tuple(CLASSES)} was wanted.")
    if view not in ("two", "three"):
        raise PrimoError(f"view is {view!r}; 'two' or 'three' was wanted.")
    if split not in ("random", "sets"):
        raise PrimoError(f"split is {split!r}; 'random' or 'sets' was wanted.")
    stays = read_stays(path)
    if split == "sets":
        rows = dict(zip(SHARES, (np.flatnonzero(stays.set_id == i) for i in range(3)), strict=True))
    else:
        rows = random_rows(stays.record, SHARES, seed)
    lacking = [part for part, at in rows.items() if len(at) == 0]
    if lacking:
        raise DataFileError(
            f"Of {len(stays.record)} stays none is left for {', '.join(lacking)} with split={split!r}. "
            f"Get all three sets. {OBTAIN}"
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
    series = np.stack([values, stays.measured.astype(np.float32)], 2)  # [N, 24, 2, 12]
    blocks, present = {"static": _static(stays.static, train)}, {}
    kinds = {"series": range(12)} if view == "two" else {"vitals": VITALS, "labs": LABS}
    for name, variables in kinds.items():
        blocks[name] = series[..., list(variables)].reshape(len(values), HOURS, -1)
        if view == "three":
            present[name] = stays.measured[..., list(variables)].any((1, 2))
    return Modalities(blocks, present)


def _static(static: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The columns of STATIC_COLUMNS, [N, 11]."""
    known = np.stack(
        [(low <= v) & (v <= high) for v, (low, high) in zip(static.T, STATIC.values(), strict=True)]
    )
    age, gender, height, unit, weight = np.where(known, static.T, np.nan)

    def filled(column):
        median = np.nanmedian(column[train]) if not np.isnan(column[train]).all() else 0
        return np.where(np.isnan(column), median, column)

    numbers = np.stack([filled(column) for column in (age, height, weight)], 1)
    rest = [filled(gender), known[2], known[4], known[1], *(unit == i for i in (1, 2, 3, 4))]
    scaled = np.clip(standardise(numbers, train), -5, 5)
    return np.concatenate([scaled, np.stack(rest, 1).astype(np.float32)], 1)


# ---------------------------------------------------------------------------------------------- reading


def read_stays(path=None) -> Stays:
    """All stays, before standardisation; ``path`` as in :func:`load_physionet2012`."""
    looked_in = homes(LAYOUT.home, path)
    file = Path(path) if path is not None and Path(path).is_file() else None
    for home in looked_in:
        for packed, read in ((LAYOUT, _of_layout), (EVENTS, _of_packed_events)):
            where = file or home / packed.name
            if where.name == packed.name and where.is_file():
                check(packed, where)
                with np.load(where) as content:
                    return read(content)
        if file is None and (stays := _of_text(home)) is not None:
            return stays
    raise not_found("PhysioNet 2012", [file] if file else looked_in, OBTAIN)


def _of_layout(content) -> Stays:
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


def _of_packed_events(content) -> Stays:
    code = np.array([PLACES.get(v, -1) for v in content["var_names"].tolist()])
    stay = np.repeat(np.arange(len(content["record_id"])), np.diff(content["offsets"]))
    series, measured = hours(
        stay, content["time_min"], code[content["var"]], content["value"], len(content["record_id"])
    )
    static = np.where(content["static"] == -1, np.float32(np.nan), content["static"])
    outcomes = content["outcomes"].astype(np.int64)
    return Stays(
        series, measured, static, outcomes[:, 4], outcomes[:, 3], content["record_id"], content["set_id"]
    )


def hours(stay, minute, variable, value, n) -> tuple[np.ndarray, np.ndarray]:
    """Events in hours, by the rules at the head of this module.

    Parameters
    ----------
    stay, minute, variable, value : arrays [E]
        Number of the stay (below ``n``), minutes since admission, place in ``VARIABLES`` (-1: none), value.

    Returns
    -------
    series : array [n, 24, 12], float32
        NaN where the stay has no value of the variable.
    measured : booleans [n, 24, 12]
    """
    low, high = np.array([*VARIABLES.values(), (np.inf, -np.inf)]).T  # the last one is -1
    value = np.asarray(value, float)
    kept = (minute < 60 * HOURS) & (value >= low[variable]) & (value <= high[variable] + 1e-6)
    cell = (stay[kept] * HOURS + minute[kept] // 60) * len(VARIABLES) + variable[kept]
    size = n * HOURS * len(VARIABLES)
    counts = np.bincount(cell, minlength=size)
    sums = np.bincount(cell, value[kept], minlength=size)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).reshape(n, HOURS, -1)
    raw = means[..., :-1]
    raw[..., 1] = np.where(np.isnan(raw[..., 1]), means[..., -1], raw[..., 1])
    measured = ~np.isnan(raw)
    filled = _carried(raw)
    urine, there = raw[..., 6], measured[..., 6]
    mean = np.where(there, urine, 0).sum(1) / np.maximum(there.sum(1), 1)
    filled[..., 6] = np.where(there, urine, np.where(there.any(1), mean, np.nan)[:, None])
    ratio = filled[..., 4] / filled[..., 5]
    series = np.concatenate([filled[..., :4], ratio[..., None], filled[..., 6:]], -1)
    both = measured[..., 4] & measured[..., 5]
    measured = np.concatenate([measured[..., :4], both[..., None], measured[..., 6:]], -1)
    return series.astype(np.float32), measured


def _carried(values: np.ndarray) -> np.ndarray:
    """[N, 24, V] with each NaN replaced by the last value before it, else by the first one after it."""
    values = values.copy()
    for order in (range(1, HOURS), range(HOURS - 2, -1, -1)):
        step = -1 if order.step > 0 else 1
        for t in order:
            gap = np.isnan(values[:, t])
            values[:, t][gap] = values[:, t + step][gap]
    return values


def _of_text(home: Path) -> Stays | None:
    """Those of the sets a, b, c that lie anywhere below a folder; None where none does."""
    static, outcomes, record, set_id = [], [], [], []
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
                    f"{file} is not there, but {table.name} names it: the set is not complete. Unpack the "
                    f"archive of set {letter} again."
                )
            static.append(_read_record(file, len(record), events))
            record.append(row[0])
            outcomes.append(row)
            set_id.append(number)
    if not record:
        return None
    series, measured = hours(*map(np.asarray, events), len(record))
    outcomes = np.array(outcomes)
    return Stays(
        series,
        measured,
        np.array(static, np.float32),
        outcomes[:, 5],
        outcomes[:, 4],
        np.array(record),
        np.array(set_id),
    )


def _outcomes(table: Path) -> list[list[int]]:
    """RecordID, SAPS-I, SOFA, length of stay, survival, in-hospital death."""
    lines = table.read_text().split()
    if not lines or not lines[0].startswith("RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"):
        raise DataFileError(f"{table} does not start with the names of its six columns. Get it again.")
    try:
        rows = [[int(number) for number in line.split(",")] for line in lines[1:]]
        short = [row for row in rows if len(row) != 6]
    except ValueError as error:
        raise DataFileError(
            f"{table} holds something else than whole numbers ({error}). Get it again."
        ) from error
    if short:
        raise DataFileError(f"{table} has the row {short[0]}; six numbers were wanted. Get it again.")
    return rows


LINE = re.compile(r"^(\d+):(\d\d),([^,\n]*),([^,\n]*)$", re.MULTILINE)


def _read_record(file: Path, stay: int, events) -> list[float]:
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
            if name in PLACES:
                values.append(float(value))
                minutes.append(int(hour) * 60 + int(minute))
                variables.append(PLACES[name])
                stays.append(stay)
            elif name in static and np.isnan(static[name]) and hour == minute == "00" and value != "-1":
                static[name] = float(value)
        except ValueError:
            raise _bad_line(file, f"{hour}:{minute},{name},{value}") from None
    return list(static.values())


def _bad_line(file: Path, line: str) -> DataFileError:
    return DataFileError(
        f"{file} has the line {line!r}; lines like '00:07,HR,73' under the head 'Time,Parameter,Value' were "
        "wanted. It is truncated or another file: unpack its archive again."
    )
