"""AV-MNIST: an image of a digit and the noisy recording of somebody saying it.

The reader takes the usual folder; the builder makes one from open parts. **What the builder makes is our own
build of the same recipe, not the distributed file**, so numbers of the two do not compare digit by digit:

* each image is paired with a recording of its own digit, which a test proves; in the distributed file the
  spectrograms may be out of step with the labels;
* the projection of the images is fitted on the training images and used for the test images too; in the
  distributed file each part has its own (``separate_pca=True`` does that);
* the test part has recordings and noise of its own: takes 0 to 4 of each speaker and digit, and the last
  fold of ESC-10. Validation rows share theirs with the training rows;
* the level of the noise is chosen so that networks come near the accuracies known for the distributed file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy.fft import rfft
from scipy.linalg import eigh
from scipy.signal.windows import hann
from tqdm import tqdm

from primo_pyro.data.mnist import Mnist, load_mnist
from primo_pyro.data.sounds import Noise, SpokenDigits, load_noise, load_spoken_digits
from primo_pyro.data.source import AnyPath, cache_folder, homes, replacing, sha256_of
from primo_pyro.data.splits import Part, Splits
from primo_pyro.errors import DataFileError
from primo_pyro.modalities import Modalities

__all__ = [
    "CLASSES",
    "SAMPLES",
    "SIDE",
    "SNR_DB",
    "Mixer",
    "Settings",
    "build_avmnist",
    "load_avmnist",
    "principal_components",
    "project",
    "spectrograms",
    "write_avmnist",
]

SNR_DB = -18.0
FILE_ROWS = {"train": 60_000, "test": 10_000}
CLASSES = tuple("0123456789")
ABOUT = (
    "AV-MNIST. Images: MNIST (LeCun, Cortes, Burges), CC BY-SA 3.0. Speech: Free Spoken Digit Dataset, "
    "CC BY-SA 4.0. Noise: ESC-10 (Piczak), CC BY 3.0."
)

# A spectrogram: 112 windows of 28 ms, 8.75 ms apart, so 1 s; 113 frequencies less the constant one.
SIDE = 112
WINDOW = 2 * SIDE
HOP = 70
SAMPLES = (SIDE - 1) * HOP + WINDOW
RANGE_DB = 80.0  # what lies further below the loudest point is 0

COMPONENTS = 4
TEST_TAKES = 5  # recordings with a lower index are for the test part
TEST_FOLD = 5  # of the noise
NOISE_STEP = 80  # samples between the places where a piece of noise may start
CHUNK = 500  # rows of one task
SETTINGS = "settings.json"
FORMAT = 1  # of the built folder; a new number makes cached builds void


@dataclass(frozen=True)
class Settings:
    """All that decides what a build contains."""

    snr_db: float = SNR_DB
    rows: int = 70_000
    seed: int = 0
    separate_pca: bool = False
    format: int = FORMAT

    @property
    def name(self) -> str:
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


def load_avmnist(
    path: AnyPath | None = None,
    rows: int | None = None,
    snr_db: float = SNR_DB,
    seed: int = 0,
    n_jobs: int = -1,
    verbose: int = 1,
) -> Splits:
    """AV-MNIST from the usual folder, or else from a build of it in the per-user cache.

    Parameters
    ----------
    path
        A folder in the usual layout (``image/{train,test}_data.npy`` [N, 784],
        ``audio/{train,test}_data.npy`` [N, 112, 112], ``{train,test}_labels.npy`` [N], bytes or reals of 0 to
        255), or one with such a folder named ``avmnist``, or one with the raw parts
        ``mnist``, ``fsdd`` and ``esc10``. Without it ``PRIMO_DATA`` and the cache are asked, see
        :mod:`primo_pyro.data.source`.
    rows
        How many rows of all three parts together, for small runs; None is all. They are drawn at random
        (``seed``), in the file's proportions. A build is made of that size.
    snr_db, seed, n_jobs
        Of the build, where one has to be made; see :func:`build_avmnist`.
    verbose
        0 for no progress bar of a build.

    Returns
    -------
    Splits
        Rows in file order: the first 11/12 of the training file (55,000) for training, the rest (5,000) for
        validation, the test file (10,000). Modalities ``"image"`` [N, 1, 28, 28] and ``"audio"``
        [N, 1, 112, 112] (low tones first, then time): bytes as they lie in the file, mapped and not read,
        which encoders put on a scale of their own; a file of reals comes as float32, divided by 255 here.

    Raises
    ------
    DataFileError
        Where nothing is found, or a file is truncated or of another shape.

    Examples
    --------
    A folder in the usual layout, here with 24 + 6 rows of noise:

    >>> import tempfile
    >>> random = np.random.default_rng(0)
    >>> folder = Path(tempfile.mkdtemp())
    >>> for part, n in (("train", 24), ("test", 6)):
    ...     for kind, shape in (("image", (784,)), ("audio", (112, 112))):
    ...         (folder / kind).mkdir(exist_ok=True)
    ...         values = random.integers(256, size=(n, *shape), dtype=np.uint8)
    ...         np.save(folder / kind / f"{part}_data.npy", values)
    ...     np.save(folder / f"{part}_labels.npy", np.arange(n) % 10)
    >>> load_avmnist(folder)
    Splits(avmnist: 22 train, 2 validation, 6 test; 10 classes; image, audio)
    """
    usual = next((home for home in homes("avmnist", path) if _is_usual(home)), None)
    if usual is not None:
        return _read(usual, rows, seed)
    settings = _settings(snr_db, rows, seed, separate_pca=False)
    built = cache_folder() / "avmnist" / f"build-{settings.name}"
    if not built.exists():
        try:
            _build(built, settings, path, n_jobs, verbose)
        except OSError:
            # Another process may have finished the same build first: then its rows are ours.
            if not built.exists():
                raise
    return _read(built, None, seed)


def build_avmnist(
    folder: AnyPath,
    path: AnyPath | None = None,
    snr_db: float = SNR_DB,
    rows: int | None = None,
    seed: int = 0,
    separate_pca: bool = False,
    n_jobs: int = -1,
    verbose: int = 1,
) -> Path:
    """Build AV-MNIST in the usual layout from MNIST, the Free Spoken Digit Dataset and ESC-10.

    For each image: its projection on 4 principal components, put back to 28 x 28 pixels; a random recording
    of its digit, at a random place within 1 s; a random piece of a random noise clip, scaled so that the
    recording's power is ``snr_db`` above that of the noise; the sum's log-power spectrogram, where 255 is
    its loudest point and 0 is 80 dB below. Deterministic in the settings, whatever ``n_jobs`` is.

    Parameters
    ----------
    folder
        What to create; it must not exist. It appears when all is done.
    path
        Folder with the raw parts ``mnist``, ``fsdd``, ``esc10``, packed or original. Without it
        ``PRIMO_DATA`` and the cache are asked, and MNIST may be downloaded.
    snr_db
        Signal-to-noise ratio in dB.
    rows
        How many, training and test file together, drawn from all 70,000 in the proportion 6 to 1.
    seed
        Of the drawn rows, recordings, places and noise.
    separate_pca
        Fit the test images' components on the test images.
    n_jobs
        Threads, as in joblib; -1 is one for each core.
    verbose
        0 for no progress bar.

    Returns
    -------
    Path
        ``folder``, which holds ``image/``, ``audio/``, labels and ``settings.json``; 930 MB for all rows.

    Raises
    ------
    DataFileError
        Where ``folder`` exists, or a raw part is missing or damaged.

    Examples
    --------
    >>> import tempfile
    >>> build_avmnist(tempfile.mkdtemp())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    primo_pyro.errors.DataFileError: ... exists already; expected a new folder. Remove it, or give another ...
    """
    folder = Path(folder)
    if folder.exists():
        raise DataFileError(
            f"{folder} exists already; expected a new folder. Remove it, or give another name."
        )
    _build(folder, _settings(snr_db, rows, seed, separate_pca), path, n_jobs, verbose)
    return folder


# ---------------------------------------------------------------------------------------------- reading


def _is_usual(folder: Path) -> bool:
    return (folder / "image").is_dir() and (folder / "audio").is_dir()


def _check_build(folder: Path) -> None:
    """What the builder made has checksums beside it; about a second for all rows."""
    try:
        checksums = json.loads((folder / SETTINGS).read_text())["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataFileError(
            f"{folder / SETTINGS} is truncated or was edited ({error!r}); expected checksums. Remove "
            f"{folder}, and it is built again."
        ) from error
    for name, expected in checksums.items():
        found = sha256_of(folder / name) if (folder / name).is_file() else "none (no such file)"
        if found != expected:
            raise DataFileError(
                f"{folder / name} is truncated or was edited: its content has sha256 {found}; expected "
                f"{expected}. Remove {folder}, and it is built again."
            )


def _read(folder: Path, rows: int | None, seed: int) -> Splits:
    if (folder / SETTINGS).is_file():
        _check_build(folder)
    x, y = [], []
    for file in FILE_ROWS:
        labels = _map(folder / f"{file}_labels.npy", ())
        if labels.dtype.kind not in "iuf" or not np.isin(labels, np.arange(10)).all():
            raise DataFileError(
                f"{folder}/{file}_labels.npy holds other values; expected the digits 0 to 9. Get it again."
            )
        n = len(labels)
        image = _bytes_or_reals(_map(folder / "image" / f"{file}_data.npy", (784,), n))
        audio = _bytes_or_reals(_map(folder / "audio" / f"{file}_data.npy", (SIDE, SIDE), n))
        x.append(Modalities({"image": image.reshape(n, 1, 28, 28), "audio": audio.reshape(n, 1, SIDE, SIDE)}))
        y.append(labels.astype(np.int64))
    n_train, n_test = map(len, y)
    n_fit = n_train - n_train // 12
    at = {
        "train": np.arange(n_fit),
        "validation": np.arange(n_fit, n_train),
        "test": n_train + np.arange(n_test),
    }
    if rows is not None:
        at = _thin(at, rows / (n_train + n_test), seed)

    def part(name: str) -> Part:
        which = int(name == "test")
        numbers = at[name] - n_train * which
        # A slice leaves the bytes in the file.
        chosen = numbers if rows is not None else slice(numbers[0], numbers[-1] + 1)
        return Part(x[which][chosen], y[which][chosen])

    return Splits("avmnist", part("train"), part("validation"), part("test"), CLASSES, at, ABOUT)


def _map(path: Path, shape: tuple[int, ...], rows: int | None = None) -> np.ndarray:
    """The array in a file, mapped; ``shape`` is that of a row."""
    try:
        # Copy on write: a tensor may be made of it, and nothing gets into the file.
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        raise DataFileError(f"{path} is missing; expected it beside the other files. Get it again.") from None
    except (ValueError, EOFError) as error:
        raise DataFileError(
            f"{path} cannot be read ({error}); expected an array of numbers. Get it again."
        ) from error
    if array.shape[1:] != shape or (rows is not None and len(array) != rows) or len(array) == 0:
        expected = ["rows" if rows is None else rows, *shape]
        raise DataFileError(f"{path} has shape {list(array.shape)}; expected {expected}. Get it again.")
    return array


def _bytes_or_reals(array: np.ndarray) -> np.ndarray:
    """The bytes themselves where the file holds whole numbers of 0 to 255, else reals divided by 255."""
    if array.dtype == np.uint8:
        return array
    chunks = [array[i : i + CHUNK] for i in range(0, len(array), CHUNK)]
    whole = all((c.min() >= 0) & (c.max() <= 255) and (c == np.floor(c)).all() for c in chunks)
    values = np.empty(array.shape, np.uint8 if whole else np.float32)
    for i, c in enumerate(chunks):
        values[i * CHUNK : i * CHUNK + len(c)] = c if whole else c / 255
    return values


def _thin(at: dict[str, np.ndarray], share: float, seed: int) -> dict[str, np.ndarray]:
    """A random share of each part's rows, still in file order."""
    if not 0 < share <= 1:
        raise DataFileError(
            f"rows asks for {share:.3g} times the rows of the file; expected a share of them. Ask for at "
            "least one and at most all."
        )
    random = np.random.default_rng(seed)
    return {
        part: np.sort(random.choice(numbers, max(1, round(share * len(numbers))), replace=False))
        for part, numbers in at.items()
    }


# ---------------------------------------------------------------------------------------------- building


def _settings(snr_db: float, rows: int | None, seed: int, separate_pca: bool) -> Settings:
    total = sum(FILE_ROWS.values())
    rows = total if rows is None else rows
    if not 14 <= rows <= total:  # 12 training rows, of which one for validation, and 2 test rows
        raise DataFileError(f"rows is {rows}; expected a number between 14 and {total}. Correct it.")
    return Settings(float(snr_db), int(rows), int(seed), bool(separate_pca))


def _build(folder: Path, settings: Settings, path: AnyPath | None, n_jobs: int, verbose: int) -> None:
    digits, noise = load_spoken_digits(path), load_noise(path)
    images = load_mnist(path)  # last: it may be a download, in vain if the sounds are missing
    if verbose:
        print(f"Building {folder}. {ABOUT}", file=sys.stderr)
    write_avmnist(folder, images, digits, noise, settings, n_jobs, verbose)


def write_avmnist(
    folder: Path,
    images: Mnist,
    digits: SpokenDigits,
    noise: Noise,
    settings: Settings,
    n_jobs: int = 1,
    verbose: int = 0,
) -> None:
    """Build from parts in memory; see :func:`build_avmnist`."""
    random = np.random.default_rng([settings.seed, 2])
    n_train = round(settings.rows * 6 / 7)
    chosen, labels, pictures = {}, {}, {}
    for part, n in (("train", n_train), ("test", settings.rows - n_train)):
        pictures[part] = getattr(images, f"{part}_images")
        chosen[part] = np.sort(random.permutation(len(pictures[part]))[:n])
        pictures[part] = pictures[part][chosen[part]].reshape(n, -1)
        labels[part] = getattr(images, f"{part}_labels")[chosen[part]]
    basis = principal_components(pictures["train"][: n_train - n_train // 12])
    bases = {
        "train": basis,
        "test": principal_components(pictures["test"]) if settings.separate_pca else basis,
    }
    with replacing(folder) as partial:
        for kind in ("image", "audio"):
            (partial / kind).mkdir(parents=True)
        for number, part in enumerate(("train", "test")):
            np.save(partial / f"{part}_labels.npy", labels[part])
            np.save(partial / "image" / f"{part}_data.npy", project(pictures[part], *bases[part]))
            mixer = Mixer(
                digits,
                noise,
                labels[part],
                test=part == "test",
                snr_db=settings.snr_db,
                seed=[settings.seed, number],
            )
            _write_audio(partial / "audio" / f"{part}_data.npy", mixer, part, n_jobs, verbose)
        checksums = {
            file.relative_to(partial).as_posix(): sha256_of(file) for file in sorted(partial.rglob("*.npy"))
        }
        (partial / SETTINGS).write_text(json.dumps(asdict(settings) | {"sha256": checksums}, indent=1) + "\n")


def principal_components(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [784] and first 4 principal directions [4, 784] of images [N, 784]."""
    mean = images.mean(0, dtype=np.float64)
    # The covariance has 784 x 784 numbers, whatever N is.
    covariance = np.zeros((images.shape[1],) * 2)
    for i in range(0, len(images), 5000):
        centred = images[i : i + 5000] - mean
        covariance += centred.T @ centred
    _, directions = eigh(covariance, subset_by_index=[len(covariance) - COMPONENTS, len(covariance) - 1])
    return mean, directions.T[::-1]


def project(images: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Images [N, 784] with nothing left but their principal components, rounded to bytes."""
    projected = np.empty_like(images)
    for i in range(0, len(images), 5000):
        scores = (images[i : i + 5000] - mean) @ directions.T
        projected[i : i + 5000] = np.clip(np.rint(mean + scores @ directions), 0, 255)
    return projected


class Mixer:
    """Which recording, noise and places each row gets, and the spectrograms that come of it.

    All random numbers are drawn here, before the work is shared out, so no order of work changes a row.
    """

    def __init__(
        self,
        digits: SpokenDigits,
        noise: Noise,
        labels: np.ndarray,
        *,
        test: bool,
        snr_db: float,
        seed: int | Sequence[int],
    ):
        random = np.random.default_rng(seed)
        n = len(labels)
        self.digits, self.noise, self.snr_db = digits, noise, snr_db
        take, place, clip, piece = random.random((4, n))
        # Only as loud as this is a piece of a clip noise at all; many clips are silent in part.
        self.starts = [_loud_starts(clip) for clip in noise.audio]
        of_part = (noise.fold == TEST_FOLD) == test
        clips = np.flatnonzero(of_part & [len(starts) > 0 for starts in self.starts])
        if len(clips) == 0:
            raise DataFileError(
                f"Of {len(noise.fold)} noise clips none is for the {_part_name(test)} part; expected one. "
                "Get the whole set."
            )
        self.clip = clips[(clip * len(clips)).astype(int)]
        self.start = np.array(
            [self.starts[c][int(u * len(self.starts[c]))] for c, u in zip(self.clip, piece, strict=True)], int
        )
        self.recording = np.empty(n, int)
        for digit in np.unique(labels):
            pool = np.flatnonzero((digits.digit == digit) & ((digits.index < TEST_TAKES) == test))
            if len(pool) == 0:
                raise DataFileError(
                    f"No recording of the digit {digit} is for the {_part_name(test)} part; "
                    f"{len(digits.digit)} recordings were read, and expected one at least. Get the whole set."
                )
            rows = labels == digit
            self.recording[rows] = pool[(take[rows] * len(pool)).astype(int)]
        # A short recording starts anywhere in the second; of a long one a second is cut out anywhere.
        spare = SAMPLES - np.diff(digits.offsets)[self.recording]
        self.place = (place * (np.abs(spare) + 1)).astype(int) * np.sign(spare)

    def __len__(self) -> int:
        return len(self.recording)

    def waves(self, rows: range) -> np.ndarray:
        """Sums of speech and noise [rows, 7994], float32."""
        waves = np.empty((len(rows), SAMPLES), np.float32)
        for wave, row in zip(waves, rows, strict=True):
            begin, end = self.digits.offsets[self.recording[row] : self.recording[row] + 2]
            place = self.place[row]
            speech = self.digits.audio[begin - min(place, 0) : end].astype(np.float32)[:SAMPLES]
            start = self.start[row]
            wave[:] = self.noise.audio[self.clip[row], start : start + SAMPLES]
            power = np.mean(speech**2) / 10 ** (self.snr_db / 10)
            wave *= np.sqrt(power / np.mean(wave**2))
            wave[max(place, 0) : max(place, 0) + len(speech)] += speech
        return waves


def _part_name(test: bool) -> str:
    return "test" if test else "training"


def _loud_starts(clip: np.ndarray) -> np.ndarray:
    """Where a piece of a clip may start: its power is at least a hundredth of the whole clip's."""
    energy = np.cumsum(np.square(clip, dtype=np.float64))
    starts = np.arange(0, len(clip) - SAMPLES + 1, NOISE_STEP)
    power = (energy[starts + SAMPLES - 1] - energy[starts]) / SAMPLES
    return starts[(power > 0) & (power >= 0.01 * energy[-1] / len(clip))]


def spectrograms(waves: np.ndarray) -> np.ndarray:
    """Log-power spectrograms [N, 112, 112] uint8 of waves [N, 7994]: axes are tone (low first) and time."""
    frames = np.lib.stride_tricks.sliding_window_view(waves, WINDOW, axis=1)[:, ::HOP]
    tones = rfft(frames * hann(WINDOW, sym=False).astype(np.float32), axis=2)[..., 1:]
    power = tones.real**2 + tones.imag**2
    floor = power.max((1, 2), keepdims=True) * np.float32(10 ** (-RANGE_DB / 10)) + np.float32(1e-20)
    decibels = 10 * np.log10(np.maximum(power / floor, 1))
    return np.rint(decibels * (255 / RANGE_DB)).astype(np.uint8).transpose(0, 2, 1)


def _write_audio(path: Path, mixer: Mixer, part: str, n_jobs: int, verbose: int) -> None:
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (len(mixer), SIDE, SIDE))

    def task(rows: range) -> int:
        # 50 rows at a time keep the intermediate arrays of a thread below 10 MB.
        for i in range(0, len(rows), 50):
            some = rows[i : i + 50]
            file[some.start : some.stop] = spectrograms(mixer.waves(some))
        return len(rows)

    everything = range(len(mixer))
    tasks = [everything[i : i + CHUNK] for i in range(0, len(mixer), CHUNK)]
    # Threads: Fourier transforms and logarithms leave the interpreter free, and nothing has to be copied.
    with tqdm(total=len(mixer), desc=f"AV-MNIST {part} audio", unit="row", disable=not verbose) as bar:
        for done in Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(
            delayed(task)(rows) for rows in tasks
        ):
            bar.update(done)
    file.flush()
