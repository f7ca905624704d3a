"""MIMIC-III as the multimodal benchmark has it: what is known at admission, and the first 24 hours.

The file is made from MIMIC-III by the benchmark's own scripts and must not be passed on, so nothing is
downloaded here: whoever has access to MIMIC-III makes it or asks the benchmark's authors for it. The open
demo of MIMIC-III (100 patients) in the same layout shows that the reader works, and no more than that.
"""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np

from primo_pyro.data.scaling import standardise
from primo_pyro.data.source import AnyPath, DataFile, fetch, homes, not_found
from primo_pyro.data.splits import Splits
from primo_pyro.errors import DataFileError, PrimoError
from primo_pyro.modalities import Modalities

__all__ = [
    "ICD9",
    "MORTALITY",
    "STATIC_COLUMNS",
    "ArrayUnpickler",
    "load_mimic3",
    "mortality",
    "read_admissions",
]

HOME = "mimic3"
NAMES = ("im.pk", "imputed-normed-ep_1_24.npz")
KEYS: dict[str, tuple[int, ...] | None] = {
    "ep_tdata": (24, 12),
    "adm_features_all": (5,),
    "adm_labels_all": (6,),
    "y_icd9": None,
}
OBTAIN = (
    "MIMIC-III is open to credentialed users: request access at https://physionet.org/content/mimiciii/, "
    "then make the processed file with the scripts of github.com/USC-Melady/Benchmarking_DL_MIMICIII, or "
    "show your access to the authors of MultiBench (github.com/pliang279/MultiBench) and ask for im.pk. Put "
    f"im.pk or {NAMES[1]} into a folder named {HOME}."
)
LICENCE = "MIMIC-III (Johnson et al. 2016), PhysioNet Credentialed Health Data License"
DEMO = DataFile(
    home="mimic3demo",
    name="benchmark_layout_24h.npz",
    sha256="48346a6467c25ebdacc37e2cf8970b201f86bc83834820d061191ad20a2721e0",
    licence="MIMIC-III clinical database demo 1.4, Open Database License 1.0",
    obtain="It is the open demo (https://physionet.org/content/mimiciii-demo/1.4/) in the benchmark's "
    "layout; another file in that layout is read by its path, without demo=True.",
)

# Age in days; a diagnosis or none; 0 medical, 1 scheduled surgical, 2 unscheduled surgical.
STATIC_COLUMNS = ("age", "AIDS", "hematologic malignancy", "metastatic cancer", "admission type")
MORTALITY = ("longer", "1 day", "2 days", "3 days", "30 days", "1 year")
ICD9 = {"icd9_140_239": 1, "icd9_460_519": 7}  # columns of y_icd9: neoplasms, respiratory system


def load_mimic3(
    path: AnyPath | None = None,
    task: str = "mortality",
    standardise_on: str = "train",
    seed: int = 10,
    demo: bool = False,
) -> Splits:
    """Admissions with 24 hours of records, standardised.

    Parameters
    ----------
    path
        The processed file, a pickle (``im.pk``; nothing but arrays is unpickled from it) or an npz, or a
        folder with ``im.pk`` or ``imputed-normed-ep_1_24.npz``. Arrays by name: ``ep_tdata`` [N, 24, 12],
        ``adm_features_all`` [N, 5], ``adm_labels_all`` [N, 6], ``y_icd9`` [N, at least 8]. Without it
        ``PRIMO_DATA`` and the cache are asked, see :mod:`primo_pyro.data.source`.
    task
        ``"mortality"``, 6 classes: the first positive one of columns 1 to 5 of ``adm_labels_all`` is the
        class, none is 0. ``"icd9_140_239"`` or ``"icd9_460_519"``, 2 classes: a diagnosis of that chapter.
    standardise_on
        ``"train"``: mean and deviation of the training rows. ``"all"``: of all rows, as the benchmark's usual
        loader does, which tells the training a little of the test rows.
    seed
        Of the shuffle. With 10, the default, the rows of each part are those of the usual loader: Python's
        ``random`` shuffles the rows, the first tenth is for validation, the second for test, the rest for
        training. Where the file has ``subject_id``, patients are shuffled instead, and none is in two parts.
    demo
        Read the open demo, 118 admissions, instead.

    Returns
    -------
    Splits
        ``"static"`` [N, 5] (see `STATIC_COLUMNS`) and
        ``"series"`` [N, 24, 12] (hourly: Glasgow coma scale, systolic pressure, heart rate, temperature,
        PaO2/FiO2, urine, urea nitrogen, white cells, bicarbonate, sodium, potassium, bilirubin), float32,
        in standard deviations; both are present in every row. NaN and infinities count as 0 before that,
        as in the usual loader.

    Raises
    ------
    DataFileError
        Where the file is nowhere, is damaged, lacks an array, or holds anything but arrays.
    PrimoError
        For an unknown task or ``standardise_on``.

    Notes
    -----
    Sources: Johnson et al., MIMIC-III, 2016; Purushotham et al., benchmark of deep learning on MIMIC-III,
    2018; Liang et al., MultiBench, 2021.

    Examples
    --------
    A file of noise in the benchmark's layout:

    >>> import tempfile
    >>> noise = np.random.default_rng(0)
    >>> file = Path(tempfile.mkdtemp()) / "noise.npz"
    >>> np.savez(
    ...     file,
    ...     ep_tdata=noise.normal(size=(50, 24, 12)),
    ...     adm_features_all=noise.normal(size=(50, 5)),
    ...     adm_labels_all=noise.random((50, 6)) < 0.1,
    ...     y_icd9=noise.random((50, 20)) < 0.5,
    ... )
    >>> load_mimic3(file, task="icd9_460_519")
    Splits(mimic3: 40 train, 5 validation, 5 test; 2 classes; static, series)
    """
    if task != "mortality" and task not in ICD9:
        raise PrimoError(f"task is {task!r}; expected one of {('mortality', *ICD9)}. Choose one of them.")
    if standardise_on not in ("train", "all"):
        raise PrimoError(
            f"standardise_on is {standardise_on!r}; expected 'train' or 'all'. Choose one of them."
        )
    arrays = read_admissions(path, demo)
    n = len(arrays["ep_tdata"])
    if task == "mortality":
        y = mortality(arrays["adm_labels_all"])
    else:
        y = (arrays["y_icd9"][:, ICD9[task]] > 0).astype(np.int64)
    rows = _usual_rows(arrays.get("subject_id", np.arange(n)), seed)
    on: np.ndarray | slice = rows["train"] if standardise_on == "train" else slice(None)
    blocks = {
        name: standardise(np.nan_to_num(arrays[key].astype(float), posinf=0, neginf=0), on)
        for name, key in (("static", "adm_features_all"), ("series", "ep_tdata"))
    }
    classes = MORTALITY if task == "mortality" else ("no", "yes")
    return Splits.of_rows("mimic3", Modalities(blocks), y, classes, rows, DEMO.licence if demo else LICENCE)


def mortality(labels: np.ndarray) -> np.ndarray:
    """Six classes [N] from ``adm_labels_all`` [N, 6] (in hospital; 1, 2, 3, 30 days; 1 year).

    >>> mortality(np.array([[1, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1]]))
    array([3, 0, 1])
    """
    positive = labels[:, 1:] > 0
    return np.where(positive.any(1), 1 + positive.argmax(1), 0)


def _usual_rows(patient: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The usual loader's shuffle, of patients; where each has one row, it is that of the rows."""
    _, patient = np.unique(patient, return_inverse=True)
    order = list(range(patient.max() + 1))
    random.Random(seed).shuffle(order)
    place = np.argsort(order)[patient]  # of each row's patient in the shuffled order
    tenth, fifth = len(order) // 10, len(order) // 5
    shuffled = np.argsort(place, kind="stable")
    place = place[shuffled]
    return {
        "train": shuffled[place >= fifth],
        "validation": shuffled[place < tenth],
        "test": shuffled[(place >= tenth) & (place < fifth)],
    }


# ---------------------------------------------------------------------------------------------- reading


def read_admissions(path: AnyPath | None = None, demo: bool = False) -> dict[str, np.ndarray]:
    """The file's arrays in their own units; ``path`` and ``demo`` as in :func:`load_mimic3`."""
    return _read(fetch(DEMO, path) if demo else _find(path))


def _find(path: AnyPath | None) -> Path:
    if path is not None and Path(path).is_file():
        return Path(path)
    looked_in = homes(HOME, path)
    found = next((home / name for home in looked_in for name in NAMES if (home / name).is_file()), None)
    if found is None:
        raise not_found("The processed MIMIC-III file", looked_in, OBTAIN)
    return found


def _read(file: Path) -> dict[str, np.ndarray]:
    """The arrays that are needed, and ``subject_id`` where the file has it."""
    try:
        with file.open("rb") as stream:
            zipped = stream.read(2) == b"PK"  # as an npz is
            stream.seek(0)
            if zipped:
                content = np.load(stream, allow_pickle=False)
                arrays = {name: content[name] for name in (*KEYS, "subject_id") if name in content.files}
            else:
                arrays = ArrayUnpickler(stream, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataFileError(
            f"{file} ({file.stat().st_size} bytes) cannot be read: {error}. It is truncated, or not the "
            f"processed MIMIC-III file; expected arrays named {', '.join(KEYS)}. {OBTAIN}"
        ) from error
    if not isinstance(arrays, dict):
        raise DataFileError(
            f"{file} holds a {type(arrays).__name__}; expected a dictionary of arrays. {OBTAIN}"
        )
    for name, shape in KEYS.items():
        found: tuple[int, ...] | None = getattr(arrays.get(name), "shape", None)
        if found is not None and shape is None:
            fits = len(found) == 2 and found[1] >= 8
        else:
            fits = found is not None and len(found) > 0 and found[1:] == shape
        if not fits:
            raise DataFileError(
                f"{file}: {name} {'is missing' if found is None else f'has shape {list(found)}'}; expected "
                f"{['rows', *(shape or ['at least 8'])]}. {OBTAIN}"
            )
    lengths = {name: len(arrays[name]) for name in KEYS}
    if len(set(lengths.values())) > 1 or not lengths["ep_tdata"]:
        raise DataFileError(f"{file}: the arrays have {lengths} rows; expected as many in each. {OBTAIN}")
    return arrays


# What numpy names in its pickles; asked of numpy, because its versions keep them in different places.
REBUILDERS: dict[str, Any] = {
    "_reconstruct": np.zeros(1).__reduce__()[0],
    "_frombuffer": np.zeros(1).__reduce_ex__(5)[0],
    "scalar": np.float64(0).__reduce__()[0],
    "ndarray": np.ndarray,
    "dtype": np.dtype,
}


def _latin1(text: str, encoding: str) -> bytes:
    """Old pickles hold bytes as text that is encoded when read; other encodings are not needed."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin1")


class ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, strings and numpy arrays, and refuses all that could run code.

    A pickle names the functions that rebuild its objects; whoever made the file may name any. Here a name
    is only looked up in this table.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if module.split(".")[0] == "numpy" and name in REBUILDERS:
            return REBUILDERS[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only numpy arrays are allowed in it")
