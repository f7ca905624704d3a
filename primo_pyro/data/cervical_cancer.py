"""Cervical cancer: what 858 women said of their lives, where not all answered every group of questions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from primo_pyro.data.source import AnyPath, DataFile, fetch
from primo_pyro.data.table import Table

__all__ = ["CLASSES", "MODALITIES", "load_cervical_cancer"]

_DISEASES = (
    *("condylomatosis", "cervical condylomatosis", "vaginal condylomatosis", "vulvo-perineal condylomatosis"),
    *("syphilis", "pelvic inflammatory disease", "genital herpes", "molluscum contagiosum"),
    *("AIDS", "HIV", "Hepatitis B", "HPV"),
)
MODALITIES = {
    "base": (
        *("Age", "Number of sexual partners", "First sexual intercourse", "Num of pregnancies"),
        *("Smokes", "Smokes (years)", "Smokes (packs/year)"),
        *("Dx:Cancer", "Dx:CIN", "Dx:HPV", "Dx", "STDs: Number of diagnosis"),
    ),
    "hormones": ("Hormonal Contraceptives", "Hormonal Contraceptives (years)"),
    "iud": ("IUD", "IUD (years)"),
    "stds": ("STDs", "STDs (number)", *(f"STDs:{disease}" for disease in _DISEASES)),
}
CLASSES = ("no cancer", "cancer")
CERVICAL_CANCER = DataFile(
    home="tables",
    name="cervical_cancer.csv",
    sha256="f749419274544950bdb971781b26187bc16440b0a86ad96f932854ac7dc530a7",
    licence="Cervical cancer (Risk Factors) (UCI Machine Learning Repository, CC BY 4.0 by its entry; cite "
    "Fernandes, Cardoso and Fernandes 2017)",
    obtain="It is open: get risk_factors_cervical_cancer.csv from "
    "github.com/denisect/cervical_cancer_dataset, name it cervical_cancer.csv and put it into a folder named "
    "tables.",
)


def load_cervical_cancer(path: AnyPath | None = None) -> Table:
    """Women of a hospital in Caracas: their answers, and what a biopsy found.

    Parameters
    ----------
    path
        The file ``cervical_cancer.csv``, its folder, or the folder above. Without it ``PRIMO_DATA`` and the
        cache are asked, see :mod:`primo_pyro.data.source`.

    Returns
    -------
    Table
        858 rows; the label is ``Biopsy`` (55 positive). Cells as the source has them, ``?`` as empty. In
        brackets the share of rows that lack the modality:

        * ``"base"`` (0): age, partners, pregnancies, smoking, earlier diagnoses, and the number of diagnoses
          of sexually transmitted diseases, which is known of every woman;
        * ``"hormones"`` (13 %): hormonal contraceptives, and for how many years;
        * ``"iud"`` (14 %): intrauterine device, and for how many years;
        * ``"stds"`` (12 %): sexually transmitted diseases, one by one.

        Left out: ``Hinselmann, Schiller, Cytology``, which are other targets; and the two columns of times
        since a diagnosis, empty in 92 % of the rows.

    Raises
    ------
    DataFileError
        Where the file is nowhere, or is not the known one.

    Notes
    -----
    Source: Fernandes, Cardoso and Fernandes, Transfer Learning with Partial Observability Applied to
    Cervical Cancer Screening, IbPRIA 2017. 23 rows are copies of others.

    Examples
    --------
    >>> load_cervical_cancer("nowhere")
    Traceback (most recent call last):
    primo_pyro.errors.DataFileError: nowhere does not exist; expected a file or a folder. Correct the path,
    or leave it out.
    """
    source = pd.read_csv(fetch(CERVICAL_CANCER, path), na_values="?")
    y = source["Biopsy"].to_numpy(np.int64)
    return Table("cervical cancer", source, y, MODALITIES, CLASSES, f"{CERVICAL_CANCER.licence}.")
