"""The four files of MNIST: images and labels of handwritten digits."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np

from primo_pyro.data.source import AnyPath, DataFile, fetch
from primo_pyro.errors import DataFileError

__all__ = ["CHECKSUMS", "FILES", "LICENCE", "MIRRORS", "Mnist", "load_mnist", "read_idx"]

LICENCE = "MNIST (LeCun, Cortes, Burges), CC BY-SA 3.0"
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
FILES = {
    name: DataFile(
        home="mnist",
        name=name,
        sha256=sha256,
        licence=LICENCE,
        obtain=f"{name} is at {MIRRORS[0]}{name}: put it into a folder named mnist.",
        urls=tuple(mirror + name for mirror in MIRRORS),
    )
    for name, sha256 in CHECKSUMS.items()
}


class Mnist(NamedTuple):
    """Images [N, 28, 28] uint8 and labels [N] uint8, of the training and the test file."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_mnist(path: AnyPath | None = None) -> Mnist:
    """MNIST from ``path``, ``PRIMO_DATA``, the cache or the net (see :mod:`primo_pyro.data.source`).

    Raises
    ------
    DataFileError
        Where a file is nowhere, or is not the known one.
    """
    return Mnist(*(read_idx(fetch(file, path)) for file in FILES.values()))


def read_idx(path: AnyPath) -> np.ndarray:
    """An array of bytes from a (gzipped) file in the IDX format.

    The format: two zero bytes, the type (8 for bytes), the number of axes, the length of each axis as a
    big-endian 32-bit integer, the values.

    Raises
    ------
    DataFileError
        Where the file is not of that format or of another length than it says.
    """
    path = Path(path)
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise DataFileError(
            f"{path} starts with {content[:4]!r}; expected an IDX file of bytes. Get the file again."
        )
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4).tolist()
    if len(values) != np.prod(shape):
        raise DataFileError(
            f"{path} holds {len(values)} bytes of values; expected {shape}, as its head says. Get it again."
        )
    return values.reshape(shape)
