"""Cell nuclei of breast tumours, from the set that scikit-learn brings along: three optional blocks."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.datasets import load_breast_cancer

from primo_pyro.data.scaling import standardise
from primo_pyro.data.table import Table
from primo_pyro.errors import ModalityError
from primo_pyro.modalities import Modalities

__all__ = ["BLOCKS", "FEATURES", "load_breast_cancer_blocks", "load_breast_cancer_table"]

FEATURES = (
    *("radius", "texture", "perimeter", "area", "smoothness"),
    *("compactness", "concavity", "concave points", "symmetry", "fractal dimension"),
)
BLOCKS = ("mean", "error", "worst")


def load_breast_cancer_blocks(standardise_by: ArrayLike | None = None) -> tuple[Modalities, np.ndarray]:
    """569 tumours, each with ten features of the cell nuclei in its image, summarised in three ways.

    The blocks are redundant: a tumour with a large mean radius has a large worst radius. No block is meant as
    always observed, so that a task may drop each of them, every pattern of absence.

    Parameters
    ----------
    standardise_by
        Numbers of the rows, usually those for training, over which each feature gets mean 0 and standard
        deviation 1; values more than 5 deviations off are then moved to 5. None keeps the source's units.

    Returns
    -------
    x : Modalities
        ``"mean"`` [N, 10], ``"error"`` [N, 10] and ``"worst"`` [N, 10], float32, columns as in ``FEATURES``:
        mean, standard error, and mean of the three largest values over the nuclei of an image. Lengths are in
        pixels of that image, without a common unit. All are present in every row.
    y : integer array [N]
        0 malignant, 1 benign (63 %), as in scikit-learn.

    Raises
    ------
    ModalityError
        Where ``standardise_by`` names no rows, or others than 0 to 568.

    Notes
    -----
    Source: Wolberg, Mangasarian, Street and Street, Breast Cancer Wisconsin (Diagnostic), UCI repository,
    CC BY 4.0, as ``sklearn.datasets.load_breast_cancer`` holds it.

    Examples
    --------
    >>> x, y = load_breast_cancer_blocks(standardise_by=np.arange(400))
    >>> x
    Modalities(569 rows: mean [10] in all, error [10] in all, worst [10] in all)
    >>> x.drop_at_random("mean", "error", "worst", random_state=0)
    Modalities(569 rows: mean [10] in 313, error [10] in 276, worst [10] in 280)
    """
    source = load_breast_cancer()
    values = source.data.astype(np.float32)
    if standardise_by is not None:
        rows = np.asarray(standardise_by)
        if rows.size == 0 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= len(values):
            raise ModalityError(
                f"standardise_by holds {rows.size} entries of type {rows.dtype.name}; expected row numbers "
                f"from 0 to {len(values) - 1}, at least one. Pass the numbers of the training rows."
            )
        values = np.clip(standardise(source.data, rows), -5, 5)
    blocks = zip(BLOCKS, np.split(values, len(BLOCKS), axis=1), strict=True)
    return Modalities(dict(blocks)), source.target.astype(np.int64)


def load_breast_cancer_table() -> Table:
    """The same tumours as one frame of 569 rows, in the source's units; nothing is absent.

    Returns
    -------
    Table
        Blocks ``"mean"``, ``"error"`` and ``"worst"`` of ten columns each; labels and source as for
        `load_breast_cancer_blocks`.

    Examples
    --------
    >>> load_breast_cancer_table()
    Table(breast cancer: 569 rows, 30 columns; benign 0.63; mean, error, worst)
    """
    source = load_breast_cancer()
    blocks = {block: tuple(f"{block} {feature}" for feature in FEATURES) for block in BLOCKS}
    columns = [column for listed in blocks.values() for column in listed]
    frame = pd.DataFrame(source.data, columns=columns)
    about = "Breast Cancer Wisconsin (Diagnostic), UCI repository, CC BY 4.0."
    return Table(
        "breast cancer", frame, source.target.astype(np.int64), blocks, ("malignant", "benign"), about
    )
