"""PhysioNet 2012: from events to hours, once in the layout of the MIMIC-III benchmark, once in four blocks.

Both layouts keep to the same rules. The first 24 hours of a stay count.

* An hour holds the mean of its values; values outside the range that is plausible count as not measured.
* Blood pressure is the arterial one, and the cuff's where an hour has no arterial one.
* Hours without a value take the last one before, else the first one after; urine takes the mean of the
  stay's hours, because it is an amount and not a state.
* A variable that a stay does not have at all is NaN; what stands for it is decided later, by training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "BENCHMARK",
    "BLOCKS",
    "DECIDING",
    "FOUR_BLOCKS",
    "HOURLY_BLOCKS",
    "HOURS",
    "LABS",
    "LOGARITHMIC",
    "MORE_VARIABLES",
    "PLACES",
    "SERIES",
    "VARIABLES",
    "VITALS",
    "Layout",
    "block_hours",
    "hours",
    "measured_hours",
]

HOURS = 24

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

# What the benchmark leaves out. Of the 37 variables of the source only weight, which is known at admission,
# and mechanical ventilation, which is a treatment and no measurement, are in neither table.
MORE_VARIABLES = {
    "DiasABP": (10, 200),  # mmHg; a line that is flushed or disconnected says 0
    "MAP": (20, 250),  # mmHg
    "RespRate": (1, 100),  # breaths a minute
    "pH": (6.5, 8),
    "PaCO2": (5, 200),  # mmHg
    "SaO2": (20, 100),  # %
    "Lactate": (0.1, 50),  # mmol/L
    "Creatinine": (0.1, 50),  # mg/dL
    "Glucose": (5, 2000),  # mg/dL
    "Mg": (0.2, 20),  # mmol/L
    "Albumin": (0.5, 10),  # g/dL
    "ALP": (1, 10_000),  # IU/L
    "ALT": (1, 50_000),  # IU/L
    "AST": (1, 50_000),  # IU/L
    "Cholesterol": (20, 1000),  # mg/dL
    "TroponinI": (0.01, 200),  # micrograms a litre
    "TroponinT": (0.01, 100),  # micrograms a litre
    "HCT": (5, 75),  # %
    "Platelets": (1, 3000),  # thousands a microlitre
    "NIDiasABP": (10, 200),  # mmHg, merged into DiasABP
    "NIMAP": (20, 250),  # mmHg, merged into MAP
}
CUFF = {"SysABP": "NISysABP", "DiasABP": "NIDiasABP", "MAP": "NIMAP"}
BLOCKS = {
    "vitals": ("GCS", "SysABP", "DiasABP", "MAP", "HR", "RespRate", "Temp", "Urine"),
    "blood_gas": ("pH", "PaCO2", "PaO2", "FiO2", "SaO2", "Lactate"),
    "chemistry": (
        *("Na", "K", "HCO3", "BUN", "Creatinine", "Glucose", "Mg"),
        *("Albumin", "Bilirubin", "ALP", "ALT", "AST", "Cholesterol", "TroponinI", "TroponinT"),
    ),
    "haematology": ("HCT", "Platelets", "WBC"),
}
# FiO2 is set at the ventilator or the mask: it is known without any blood drawn, so it alone is no blood gas.
DECIDING = {name: tuple(v for v in variables if v != "FiO2") for name, variables in BLOCKS.items()}
# Concentrations over one to four powers of ten, whose logarithm the clinical scores and studies use (MELD has
# those of bilirubin and creatinine). On their own scale a few stays would set the deviation, and most values
# would lie within a tenth of it.
LOGARITHMIC = (
    *("BUN", "Creatinine", "Glucose", "Bilirubin", "ALP", "ALT", "AST"),
    *("TroponinI", "TroponinT", "Lactate", "WBC"),
)


class Layout(NamedTuple):
    """Which events are read, and what becomes of them.

    ``places``: from the name of a variable in the source to its code. ``to_hours``: from stay, minute, code
    and value of each event, and the number of stays, to series and measured, as in `hours`.
    """

    places: Mapping[str, int]
    to_hours: Callable[..., tuple[np.ndarray, np.ndarray]]


def hours(
    stay: np.ndarray, minute: np.ndarray, variable: np.ndarray, value: ArrayLike, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Events in the layout of the benchmark, by the rules at the head of this module.

    The ratio PaO2/FiO2 is taken after the gaps are filled. It counts as measured in hours in which both were.

    Parameters
    ----------
    stay, minute, variable, value : arrays [E]
        Number of the stay (below ``n``), minutes since admission, place in ``VARIABLES`` (-1: none), value.

    Returns
    -------
    series : array [n, 24, 12], float32
        NaN where the stay has no value of the variable.
    measured : booleans [n, 24, 12]

    Examples
    --------
    >>> series, measured = hours(np.zeros(2, int), np.array([65, 70]), np.full(2, PLACES["HR"]), [80, 90], 1)
    >>> series[0, :3, SERIES.index("HR")], measured[0, :3, SERIES.index("HR")]
    (array([85., 85., 85.], dtype=float32), array([False,  True, False]))
    """
    means = _hourly_means(stay, minute, variable, value, n, VARIABLES)
    raw = means[..., :-1]
    raw[..., 1] = np.where(np.isnan(raw[..., 1]), means[..., -1], raw[..., 1])
    measured = ~np.isnan(raw)
    filled = _filled(raw, measured, urine=6)
    ratio = filled[..., 4] / filled[..., 5]
    series = np.concatenate([filled[..., :4], ratio[..., None], filled[..., 6:]], -1)
    both = measured[..., 4] & measured[..., 5]
    measured = np.concatenate([measured[..., :4], both[..., None], measured[..., 6:]], -1)
    return series.astype(np.float32), measured


def block_hours(
    stay: np.ndarray, minute: np.ndarray, variable: np.ndarray, value: ArrayLike, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Events in the order of ``BLOCKS``: 8 vital signs, 6 of a blood gas, 15 of chemistry, 3 of haematology.

    The logarithm of 1 + v stands for the value v of each variable in ``LOGARITHMIC``, taken after the gaps
    are filled. Parameters are those of `hours`, but for codes from ``FOUR_BLOCKS.places``.

    Returns
    -------
    series : array [n, 24, 32], float32
        NaN where the stay has no value of the variable.
    measured : booleans [n, 24, 32]

    Examples
    --------
    >>> code = FOUR_BLOCKS.places["Lactate"]
    >>> series, measured = block_hours(np.array([0]), np.array([130]), np.array([code]), np.array([4.0]), 1)
    >>> series.shape, measured[0, :, code].nonzero()[0], bool(np.isclose(series[0, 0, code], np.log(5)))
    ((1, 24, 32), array([2]), True)
    """
    raw, measured = measured_hours(stay, minute, variable, value, n)
    series = _filled(raw, measured, urine=_ORDER.index("Urine")).astype(np.float32)
    skewed = [_ORDER.index(name) for name in LOGARITHMIC]
    series[..., skewed] = np.log1p(series[..., skewed])
    return series, measured


def measured_hours(
    stay: np.ndarray, minute: np.ndarray, variable: np.ndarray, value: ArrayLike, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `block_hours`, in the source's units, with gaps left open.

    Returns
    -------
    series : array [n, 24, 32], float64
        NaN in hours without a value.
    measured : booleans [n, 24, 32]

    Examples
    --------
    >>> code = HOURLY_BLOCKS.places["Lactate"]
    >>> series, _ = measured_hours(np.array([0]), np.array([130]), np.array([code]), np.array([4.0]), 1)
    >>> series[0, 1:4, code]
    array([nan,  4., nan])
    """
    means = _hourly_means(stay, minute, variable, value, n, _RANGES)
    raw = means[..., : len(_ORDER)]
    for arterial, cuff in CUFF.items():
        at, instead = _ORDER.index(arterial), means[..., FOUR_BLOCKS.places[cuff]]
        raw[..., at] = np.where(np.isnan(raw[..., at]), instead, raw[..., at])
    return raw, ~np.isnan(raw)


_ALL = VARIABLES | MORE_VARIABLES
_ORDER = [variable for block in BLOCKS.values() for variable in block]
_RANGES = {name: _ALL[name] for name in (*_ORDER, *CUFF.values())}
BENCHMARK = Layout(PLACES, hours)
FOUR_BLOCKS = Layout({name: i for i, name in enumerate(_RANGES)}, block_hours)
HOURLY_BLOCKS = Layout(FOUR_BLOCKS.places, measured_hours)


def _hourly_means(
    stay: np.ndarray,
    minute: np.ndarray,
    variable: np.ndarray,
    value: ArrayLike,
    n: int,
    ranges: Mapping[str, tuple[float, float]],
) -> np.ndarray:
    """[n, 24, V] float64 in the order of ``ranges``, NaN where an hour has no plausible value."""
    low, high = np.array([*ranges.values(), (np.inf, -np.inf)]).T  # the last one is -1
    values = np.asarray(value, float)
    kept = (minute < 60 * HOURS) & (values >= low[variable]) & (values <= high[variable] + 1e-6)
    cell = (stay[kept] * HOURS + minute[kept] // 60) * len(ranges) + variable[kept]
    size = n * HOURS * len(ranges)
    counts = np.bincount(cell, minlength=size)
    sums = np.bincount(cell, values[kept], minlength=size)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).reshape(n, HOURS, -1)


def _filled(raw: np.ndarray, measured: np.ndarray, urine: int) -> np.ndarray:
    """[N, 24, V] with the gaps within a stay filled; ``urine`` is its place."""
    filled = _carried(raw)
    values, known = raw[..., urine], measured[..., urine]
    mean = np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1)
    filled[..., urine] = np.where(known, values, np.where(known.any(1), mean, np.nan)[:, None])
    return filled


def _carried(values: np.ndarray) -> np.ndarray:
    """[N, 24, V] with each NaN replaced by the last value before it, else by the first one after it."""
    values = values.copy()
    for order in (range(1, HOURS), range(HOURS - 2, -1, -1)):
        step = -1 if order.step > 0 else 1
        for t in order:
            gap = np.isnan(values[:, t])
            values[:, t][gap] = values[:, t + step][gap]
    return values
