"""Heart disease: 920 patients of four hospitals, and tests that only one of the hospitals did for nearly all.

**Absence here depends on the hospital.** Fluoroscopy and scan are absent nearly everywhere outside Cleveland,
and the hospitals differ in how many of their patients are ill. The hospital itself is no column of the table.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from primo_pyro.data.source import AnyPath, DataFile, fetch
from primo_pyro.data.table import Table

__all__ = ["CLASSES", "MODALITIES", "load_heart_disease"]

MODALITIES = {
    "history": ("age", "sex", "cp", "trestbps"),
    "blood": ("chol", "fbs"),
    "ecg": ("restecg",),
    "exercise": ("thalch", "exang", "oldpeak", "slope"),
    "fluoroscopy": ("ca",),
    "scan": ("thal",),
}
CLASSES = ("healthy", "ill")
HEART_DISEASE = DataFile(
    home="tables",
    name="heart_disease.csv",
    sha256="5d9b38f21e71e058df9e6b4af553830890be527de64795040bdadd7ca225565b",
    licence="Heart Disease (UCI Machine Learning Repository, CC BY 4.0 by its entry; cite Detrano et al. "
    "1989)",
    obtain="It is open: get the table of all four hospitals (heart_disease_uci.csv, columns id to num) from "
    "github.com/DakshDashora/HeartDiseasePrediction, name it heart_disease.csv and put it into a folder "
    "named tables.",
)


def load_heart_disease(path: AnyPath | None = None) -> Table:
    """Patients whose coronary arteries were X-rayed, and what was known of them before.

    Parameters
    ----------
    path
        The file ``heart_disease.csv``, its folder, or the folder above. Without it ``PRIMO_DATA`` and the
        cache are asked, see :mod:`primo_pyro.data.source`.

    Returns
    -------
    Table
        920 rows; label 1 (55 %) where ``num``, the number of narrowed vessels, is above 0. Cells as the
        source has them, texts as categories. In brackets the share of rows that lack the modality:

        * ``"history"`` (0): age in years, sex, kind of chest pain, blood pressure at rest (mmHg);
        * ``"blood"`` (0): cholesterol (mg/dL), fasting blood sugar above 120 mg/dL. A cholesterol of 0, in
          172 rows, stands for "not measured" in the source, and is left as it is;
        * ``"ecg"`` (0.2 %): electrocardiogram at rest;
        * ``"exercise"`` (6 %): largest heart rate, angina, depression of the ST segment and its slope under
          exercise;
        * ``"fluoroscopy"`` (66 %): number of large vessels that were coloured;
        * ``"scan"`` (53 %): thallium scan.

        Left out: ``id``, and the hospital, ``dataset``.

    Raises
    ------
    DataFileError
        Where the file is nowhere, or is not the known one.

    Notes
    -----
    Source: Janosi, Steinbrunn, Pfisterer and Detrano, Heart Disease, UCI repository; Detrano et al.,
    American Journal of Cardiology 64, 1989.

    Examples
    --------
    >>> load_heart_disease("nowhere")
    Traceback (most recent call last):
    primo_pyro.errors.DataFileError: nowhere does not exist; expected a file or a folder. Correct the path,
    or leave it out.
    """
    source = pd.read_csv(fetch(HEART_DISEASE, path))
    y = (source["num"] > 0).to_numpy(np.int64)
    return Table("heart disease", source, y, MODALITIES, CLASSES, f"{HEART_DISEASE.licence}.")
