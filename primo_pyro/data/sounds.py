"""Spoken digits and environmental noise, 8 kHz, from the packed files or from the original recordings."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, fields
from math import gcd
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

from primo_pyro.data.source import AnyPath, DataFile, find, homes, not_found
from primo_pyro.errors import DataFileError

__all__ = [
    "CLIP",
    "DIGITS",
    "NOISE",
    "RATE",
    "Noise",
    "SpokenDigits",
    "load_noise",
    "load_spoken_digits",
]

RATE = 8000  # samples a second
CLIP = 5 * RATE  # samples of a noise clip

DIGITS = DataFile(
    home="fsdd",
    name="fsdd_8k.npz",
    sha256="2618e2c3747ad595afb9af4ee09323e212fceb2b278f6507ce9f39b417d74162",
    licence="Free Spoken Digit Dataset, CC BY-SA 4.0",
    obtain="Get the Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset, commit "
    "26eb9aaf) and put its folder 'recordings' of 3,000 wav files into a folder named fsdd.",
)
NOISE = DataFile(
    home="esc10",
    name="esc10_8k.npz",
    sha256="7ad0db4cc8fed8a9b1077d0fd83d8b642b968d2f860a170c13e30fda8d7fdeca",
    licence="ESC-10 (Piczak), CC BY 3.0; its clips under CC0, CC BY or CC Sampling+",
    obtain="Get ESC-50, which includes ESC-10 (github.com/karolpiczak/ESC-50), and put its folder 'audio' of "
    "2,000 wav files into a folder named esc10.",
)

# The classes of ESC-50 that make up ESC-10: dog, rooster, rain, sea waves, crackling fire, crying baby,
# sneezing, clock tick, helicopter, chainsaw. A file is named FOLD-CLIP-TAKE-CLASS.wav.
ESC10_CLASSES = {"0", "1", "10", "11", "12", "20", "21", "38", "40", "41"}
NOISE_NAME = re.compile(r"(?P<fold>\d)-(?P<clip>\d+)-(?P<take>[A-Z])-(?P<category>\d+)\.wav")
DIGIT_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav")


@dataclass(frozen=True)
class SpokenDigits:
    """Recording i is ``audio[offsets[i]:offsets[i + 1]]`` (int16, 8 kHz) and says ``digit[i]``."""

    audio: np.ndarray
    offsets: np.ndarray
    digit: np.ndarray
    speaker: np.ndarray
    index: np.ndarray


@dataclass(frozen=True)
class Noise:
    """Clips [M, 40000] int16 of 5 s, with category [M] and cross-validation fold [M] (1 to 5)."""

    audio: np.ndarray
    category: np.ndarray
    fold: np.ndarray


def load_spoken_digits(path: AnyPath | None = None) -> SpokenDigits:
    """The Free Spoken Digit Dataset: ``fsdd/fsdd_8k.npz``, or the wav files anywhere below ``fsdd``.

    Raises
    ------
    DataFileError
        Where neither is found, the file is not the known one, or recordings are missing.
    """
    packed = find(DIGITS, path)
    if packed is not None:
        with np.load(packed) as file:
            return SpokenDigits(**{f.name: file[f.name] for f in fields(SpokenDigits)})
    names = _named_files(DIGITS, DIGIT_NAME, path)
    names.sort(key=lambda pair: (pair[1]["digit"], pair[1]["speaker"], int(pair[1]["index"])))
    _refuse_gaps([(m["digit"], m["speaker"]) for _, m in names], "recordings", names[0][0].parent)
    waves = [_read_wav(path) for path, _ in names]
    return SpokenDigits(
        audio=np.concatenate(waves),
        offsets=np.cumsum([0, *map(len, waves)]),
        digit=np.array([int(m["digit"]) for _, m in names], np.uint8),
        speaker=np.unique([m["speaker"] for _, m in names], return_inverse=True)[1].astype(np.uint8),
        index=np.array([int(m["index"]) for _, m in names], np.uint8),
    )


def load_noise(path: AnyPath | None = None) -> Noise:
    """ESC-10: ``esc10/esc10_8k.npz``, or the wav files of ESC-50 anywhere below ``esc10``.

    Raises
    ------
    DataFileError
        Where neither is found, the file is not the known one, or clips are missing.
    """
    packed = find(NOISE, path)
    if packed is not None:
        with np.load(packed) as file:
            return Noise(**{f.name: file[f.name] for f in fields(Noise)})
    names = [(path, m) for path, m in _named_files(NOISE, NOISE_NAME, path) if m["category"] in ESC10_CLASSES]
    if not names:
        raise not_found("ESC-10", homes(NOISE.home, path), NOISE.obtain)
    names.sort(key=lambda pair: pair[0].name)
    _refuse_gaps([(m["category"], m["fold"]) for _, m in names], "clips", names[0][0].parent)
    clips = np.zeros((len(names), CLIP), np.int16)
    for clip, (path, _) in zip(clips, names, strict=True):
        wave = _read_wav(path)[:CLIP]
        clip[: len(wave)] = wave
    categories = np.array([int(m["category"]) for _, m in names])
    return Noise(
        audio=clips,
        category=np.unique(categories, return_inverse=True)[1].astype(np.uint8),
        fold=np.array([int(m["fold"]) for _, m in names], np.uint8),
    )


def _named_files(
    file: DataFile, pattern: re.Pattern[str], path: AnyPath | None
) -> list[tuple[Path, re.Match[str]]]:
    """The original files of the first home that has any."""
    looked_in = homes(file.home, path)
    for home in looked_in:
        found = [(wav, m) for wav in home.rglob("*.wav") if (m := pattern.fullmatch(wav.name))]
        if found:
            return found
    raise not_found(f"{file.home}/{file.name}", looked_in, file.obtain)


def _refuse_gaps(groups: list[tuple[str, str]], what: str, folder: Path) -> None:
    """Both sets are rectangular: as many files for each pair of (digit, speaker) or (class, fold)."""
    counts = {pair: groups.count(pair) for pair in set(groups)}
    full = {(a, b) for a, _ in counts for _, b in counts}
    short = sorted(pair for pair in full if counts.get(pair, 0) < max(counts.values()))
    if short:
        raise DataFileError(
            f"{folder} lacks {what}: of its {len(groups)}, {counts.get(short[0], 0)} are of {short[0]}; "
            f"expected {max(counts.values())}, as of others. Unpack the whole archive."
        )


def _read_wav(path: Path) -> np.ndarray:
    """Samples at 8 kHz, mono, int16."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", wavfile.WavFileWarning)  # scipy only warns of a truncated file
            rate, wave = wavfile.read(path)
    except (ValueError, EOFError, wavfile.WavFileWarning) as error:
        raise DataFileError(
            f"{path} cannot be read ({error}); expected a wav file. Unpack the archive again."
        ) from error
    if wave.dtype != np.int16 or wave.ndim != 1:
        raise DataFileError(
            f"{path} holds {wave.dtype} {list(wave.shape)}; expected 16-bit mono. Unpack the archive again."
        )
    if rate == RATE:
        return wave
    common = gcd(rate, RATE)
    resampled = resample_poly(wave.astype(np.float32), RATE // common, rate // common)
    return np.clip(np.rint(resampled), -32768, 32767).astype(np.int16)
