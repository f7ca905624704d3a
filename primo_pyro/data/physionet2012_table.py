"""PhysioNet 2012 as a flat table: of each stay one row, of each variable its mean over the first 24 hours."""

from __future__ import annotations

import numpy as np
import pandas as pd

from primo_pyro.data.physionet2012 import CLASSES, LICENCE, STATIC, read_stays
from primo_pyro.data.physionet2012_hours import BLOCKS, DECIDING, HOURLY_BLOCKS
from primo_pyro.data.source import AnyPath
from primo_pyro.data.table import Table

__all__ = ["MODALITIES", "load_physionet2012_table"]

# The share of oxygen is set at the bedside. In a table, whose blocks are present where any cell is filled, it
# must not stand among what is measured in blood.
MODALITIES = {"static": tuple(STATIC), **DECIDING, "vitals": (*BLOCKS["vitals"], "FiO2")}
SEXES = {0.0: "female", 1.0: "male"}
UNITS = {1.0: "coronary", 2.0: "cardiac surgery", 3.0: "medical", 4.0: "surgical"}


def load_physionet2012_table(path: AnyPath | None = None) -> Table:
    """12,000 stays in intensive care, each a row, and whether the patient died in hospital.

    Parameters
    ----------
    path
        As for `primo_pyro.data.load_physionet2012`, view ``"five"``: ``events_48h.npz`` or the text folders.

    Returns
    -------
    Table
        Label 1 (14 %): died in hospital. Numbers in the source's units; a cell is the mean over those of the
        first 24 hours that have a value, and empty where none has. In brackets the share of rows that lack
        the modality:

        * ``"static"`` (0): age, sex, height, weight, unit; sex and unit as texts, impossible values empty;
        * ``"vitals"`` (2 %), ``"blood_gas"`` (24 %), ``"chemistry"`` (2 %), ``"haematology"`` (2 %): the
          variables of `primo_pyro.data.physionet2012_hours.BLOCKS`, but for the share of oxygen, which
          stands among the vital signs here.

    Raises
    ------
    DataFileError
        Where nothing is found, or a file is not the known one.

    Notes
    -----
    Source: PhysioNet/CinC Challenge 2012, version 1.0.0 (Silva et al., 2012), Open Data Commons Attribution.

    Examples
    --------
    >>> load_physionet2012_table("nowhere")
    Traceback (most recent call last):
    primo_pyro.errors.DataFileError: nowhere does not exist; expected a file or a folder. Correct the path,
    or leave it out.
    """
    stays = read_stays(path, HOURLY_BLOCKS)
    known = stays.measured.any(1)
    sums = np.where(stays.measured, stays.series, 0).sum(1, dtype=float)
    means = np.where(known, sums / np.maximum(stays.measured.sum(1), 1), np.nan)
    frame = pd.DataFrame(stays.static.astype(float), columns=list(STATIC))
    for column, (low, high) in STATIC.items():
        frame[column] = frame[column].where(frame[column].between(low, high))
    frame = frame.assign(Gender=frame["Gender"].map(SEXES), ICUType=frame["ICUType"].map(UNITS))
    variables = [variable for listed in BLOCKS.values() for variable in listed]
    frame = pd.concat([frame, pd.DataFrame(means, columns=variables)], axis=1)
    classes = CLASSES["in_hospital_death"]
    return Table("PhysioNet 2012", frame, stays.death.astype(np.int64), MODALITIES, classes, f"{LICENCE}.")
