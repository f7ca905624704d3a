"""The builder on tones instead of voices, so that every row says where it came from; the reader."""

import json
import re
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.io import wavfile

from primo_pyro.data import avmnist, build_avmnist, load_avmnist, source
from primo_pyro.data.avmnist import (
    SAMPLES,
    Mixer,
    Settings,
    principal_components,
    spectrograms,
    write_avmnist,
)
from primo_pyro.data.mnist import Mnist, load_mnist, read_idx
from primo_pyro.data.sounds import Noise, SpokenDigits, load_noise, load_spoken_digits
from primo_pyro.errors import DataFileError

SPEAKERS, TAKES = 2, 8
WIDTH = 8000 / 224  # Hz from one tone of the spectrogram to the next


def tone(number, samples):
    """The sound whose power stands in row ``number`` of the spectrogram."""
    return (4000 * np.sin(2 * np.pi * (number + 1) * WIDTH * np.arange(samples) / 8000)).astype(np.int16)


def tone_of(digit, test):
    return 10 + 8 * digit + (4 if test else 0)


NOISE_TONE = {False: 95, True: 103}  # training folds, test fold


@pytest.fixture(scope="module")
def digits():
    random = np.random.default_rng(0)
    label = np.repeat(np.arange(10), SPEAKERS * TAKES)
    index = np.tile(np.arange(TAKES), 10 * SPEAKERS)
    # Some are longer than the second that a row has.
    waves = [
        tone(tone_of(d, i < 5), random.integers(2000, 10_000)) for d, i in zip(label, index, strict=True)
    ]
    return SpokenDigits(
        audio=np.concatenate(waves),
        offsets=np.cumsum([0, *map(len, waves)]),
        digit=label.astype(np.uint8),
        speaker=np.tile(np.repeat(np.arange(SPEAKERS), TAKES), 10).astype(np.uint8),
        index=index.astype(np.uint8),
    )


@pytest.fixture(scope="module")
def noise():
    fold = np.tile(np.arange(1, 6), 2).astype(np.uint8)
    audio = np.stack([tone(NOISE_TONE[f == 5], 40_000) for f in fold])
    audio[:5, 12_000:] = 0  # half of the clips are mostly silent, as many real ones are
    return Noise(audio=audio, category=np.repeat(np.arange(2), 5).astype(np.uint8), fold=fold)


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(1)
    templates = random.integers(0, 256, (10, 28, 28))
    labels = {
        part: random.integers(10, size=n).astype(np.uint8) for part, n in (("train", 300), ("test", 80))
    }
    pixels = {
        part: np.clip(templates[y] + random.integers(-9, 9, (len(y), 28, 28)), 0, 255)
        for part, y in labels.items()
    }
    return Mnist(
        pixels["train"].astype(np.uint8), labels["train"], pixels["test"].astype(np.uint8), labels["test"]
    )


def settings(rows=210, snr_db=30.0, seed=0, separate_pca=False):
    return Settings(snr_db, rows, seed, separate_pca)


@pytest.fixture(scope="module")
def built(tmp_path_factory, images, digits, noise):
    folder = tmp_path_factory.mktemp("avmnist") / "built"
    write_avmnist(folder, images, digits, noise, settings())
    return folder


def loudest_tone(audio):
    power = 10 ** (audio[:, 0] * (8 / 255))  # 80 dB are spread over the bytes
    return power.sum(2).argmax(1)


def test_every_image_is_paired_with_a_recording_of_its_own_digit(built):
    splits = load_avmnist(built)
    for part, test in (("train", False), ("validation", False), ("test", True)):
        x, y = getattr(splits, part)
        # Tones differ between the takes of training and test: no recording is in both.
        assert (loudest_tone(x.values["audio"]) == [tone_of(d, test) for d in y]).all()


def test_images_and_labels_are_those_of_the_source(built, images):
    splits = load_avmnist(built)
    labels = {part: getattr(splits, part).y for part in ("train", "validation", "test")}
    pictures = {part: getattr(splits, part).x.values["image"] for part in labels}
    # The first four of the templates' components tell all but the closest templates apart.
    centres = np.stack([pictures["train"][labels["train"] == d].mean(0) for d in range(10)])
    for part in labels:
        distances = np.square(pictures[part][:, None] - centres).sum((2, 3, 4))
        assert (distances.argmin(1) == labels[part]).mean() > 0.8
    assert len(labels["train"]) + len(labels["validation"]) == 180
    assert len(labels["test"]) == 30


def test_noise_of_the_test_part_is_its_own(tmp_path, images, digits, noise):
    write_avmnist(tmp_path / "a", images, digits, noise, settings(snr_db=-40.0))
    splits = load_avmnist(tmp_path / "a")
    assert (loudest_tone(splits.train.x.values["audio"]) == NOISE_TONE[False]).all()
    assert (loudest_tone(splits.test.x.values["audio"]) == NOISE_TONE[True]).all()


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_same_seed_same_bytes_whatever_the_number_of_threads(
    tmp_path, monkeypatch, built, images, digits, noise
):
    monkeypatch.setattr(avmnist, "CHUNK", 70)
    write_avmnist(tmp_path / "b", images, digits, noise, settings(), n_jobs=3)
    assert files_of(tmp_path / "b") == files_of(built)
    write_avmnist(tmp_path / "c", images, digits, noise, settings(seed=1))
    assert files_of(tmp_path / "c") != files_of(built)


@pytest.mark.parametrize("snr_db", [-18.0, 5.0])
def test_noise_has_the_set_level(digits, noise, snr_db):
    labels = np.arange(40) % 10
    loud, mixed = (
        Mixer(digits, noise, labels, test=False, snr_db=level, seed=0).waves(range(40))
        for level in (200.0, snr_db)
    )
    for row in range(40):
        said = np.abs(loud[row]) > 0.01  # at 200 dB there is nothing but the recording
        speech = np.mean(np.square(loud[row][np.flatnonzero(said)[0] : np.flatnonzero(said)[-1] + 1]))
        seen = 10 * np.log10(speech / np.mean(np.square(mixed[row] - loud[row])))
        assert seen == pytest.approx(snr_db, abs=0.3)


def test_spectrogram_has_tones_along_rows_and_time_along_columns():
    wave = np.zeros((2, SAMPLES), np.float32)
    wave[0] = tone(30, SAMPLES)
    wave[1, SAMPLES // 2 :] = tone(60, SAMPLES)[SAMPLES // 2 :]
    first, second = spectrograms(wave)
    assert first.shape == (112, 112)
    assert (first.argmax(0) == 30).all()
    assert first.max() == second.max() == 255
    assert second[:, :50].max() == 0
    assert (second[:, 60:].argmax(0) == 60).all()
    assert not spectrograms(np.zeros((1, SAMPLES), np.float32)).any()


def test_projection_is_that_of_scikit_learn(images):
    from sklearn.decomposition import PCA

    flat = images.train_images.reshape(300, -1)
    mean, directions = principal_components(flat)
    pca = PCA(4, svd_solver="full").fit(flat.astype(float))
    expected = np.clip(np.rint(pca.inverse_transform(pca.transform(flat))), 0, 255)
    assert np.abs(avmnist.project(flat, mean, directions) - expected).max() <= 1


def test_separate_components_change_only_the_test_images(tmp_path, built, images, digits, noise):
    write_avmnist(tmp_path / "s", images, digits, noise, settings(separate_pca=True))
    ours, theirs = files_of(built), files_of(tmp_path / "s")
    differing = {str(name) for name in ours if ours[name] != theirs[name]}
    assert differing == {"image/test_data.npy", "settings.json"}


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch, images, digits, noise):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(avmnist, "spectrograms", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_avmnist(tmp_path / "new", images, digits, noise, settings())
    assert list(tmp_path.iterdir()) == []


def test_bytes_stay_mapped(built):
    splits = load_avmnist(built)
    assert splits.train.x.values["audio"].dtype == np.uint8
    base = splits.train.x.values["audio"]
    while not isinstance(base, np.memmap):
        base = base.base
    assert base.mode == "c"


def test_rows_draws_from_every_part(built):
    splits, whole = load_avmnist(built, rows=105), load_avmnist(built)
    assert [len(splits.rows[part]) for part in splits.rows] == [82, 8, 15]
    x, y = splits.validation
    at = np.searchsorted(whole.rows["validation"], splits.rows["validation"])
    assert (x.values["audio"] == whole.validation.x.values["audio"][at]).all()
    assert (y == whole.validation.y[at]).all()
    with pytest.raises(DataFileError, match="at most all"):
        load_avmnist(built, rows=1000)


def usual_folder(folder, dtype, n=(24, 6)):
    random = np.random.default_rng(0)
    for part, rows in zip(("train", "test"), n, strict=True):
        for kind, shape in (("image", (784,)), ("audio", (112, 112))):
            (folder / kind).mkdir(exist_ok=True, parents=True)
            values = random.integers(256, size=(rows, *shape)) + (0.25 if dtype == "reals" else 0)
            np.save(folder / kind / f"{part}_data.npy", values.astype("f8" if dtype == "reals" else dtype))
        np.save(folder / f"{part}_labels.npy", np.arange(rows) % 10)
    return folder


@pytest.mark.parametrize("dtype", ["u1", "i8", "f8"])
def test_whole_numbers_stay_bytes(tmp_path, dtype):
    x = load_avmnist(usual_folder(tmp_path / "avmnist", dtype)).test.x
    assert x.values["image"].dtype == x.values["audio"].dtype == np.uint8
    stored = np.load(tmp_path / "avmnist" / "audio" / "test_data.npy")
    assert (x.values["audio"][:, 0] == stored).all()


def test_reals_are_divided_by_255(tmp_path):
    x = load_avmnist(usual_folder(tmp_path, "reals")).validation.x
    stored = np.load(tmp_path / "image" / "train_data.npy")[22:]
    assert x.values["image"].dtype == np.float32
    assert x.values["image"].reshape(2, 784) == pytest.approx(stored / 255)


def test_the_environment_names_the_folder_above(tmp_path, monkeypatch):
    usual_folder(tmp_path / "avmnist", "u1")
    monkeypatch.setenv("PRIMO_DATA", str(tmp_path))
    assert len(load_avmnist().train.y) == 22


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: cut(f / "audio" / "train_data.npy"), r"train_data.npy cannot be read"),
        (lambda f: (f / "test_labels.npy").unlink(), "test_labels.npy is missing; expected"),
        (lambda f: np.save(f / "test_labels.npy", np.arange(6) + 9), "digits 0 to 9"),
        (lambda f: np.save(f / "test_labels.npy", np.zeros(7, int)), r"expected \[7, 784\]"),
        (lambda f: np.save(f / "audio" / "test_data.npy", np.zeros((6, 20))), r"expected \[6, 112, 112\]"),
        (
            lambda f: np.save(f / "image" / "test_data.npy", [{}], allow_pickle=True),
            "expected an array of numbers",
        ),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, damage, message):
    usual_folder(tmp_path, "u1")
    damage(tmp_path)
    with pytest.raises(DataFileError, match=message):
        load_avmnist(tmp_path)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: flip_a_byte(f / "image" / "test_data.npy"), "test_data.npy is truncated or was edited"),
        (lambda f: cut(f / "settings.json"), "settings.json is truncated"),
        (lambda f: (f / "train_labels.npy").unlink(), "no such file"),
    ],
)
def test_a_damaged_build_is_refused(tmp_path, built, damage, message):
    copy = shutil.copytree(built, tmp_path / "copy")
    damage(copy)
    with pytest.raises(DataFileError, match=message):
        load_avmnist(copy)


def test_an_existing_folder_is_never_overwritten(tmp_path):
    with pytest.raises(DataFileError, match="exists already"):
        build_avmnist(tmp_path)


def test_a_build_is_cached_by_its_settings(monkeypatch, capsys, images, digits, noise):
    monkeypatch.setattr(avmnist, "load_mnist", lambda path: images)
    monkeypatch.setattr(avmnist, "load_spoken_digits", lambda path: digits)
    monkeypatch.setattr(avmnist, "load_noise", lambda path: noise)
    first = load_avmnist(rows=140)
    assert "100%" in capsys.readouterr().err
    monkeypatch.setattr(avmnist, "load_noise", lambda path: pytest.fail("built again"))
    again = load_avmnist(rows=140, verbose=0)
    assert (first.test.x.values["audio"] == again.test.x.values["audio"]).all()
    builds = list((source.cache_folder() / "avmnist").iterdir())
    assert len(builds) == 1
    assert json.loads((builds[0] / "settings.json").read_text())["rows"] == 140
    with pytest.raises(pytest.fail.Exception, match="built again"):
        load_avmnist(rows=140, seed=1)


def test_too_few_recordings_or_rows_are_refused(tmp_path, images, digits, noise):
    with pytest.raises(DataFileError, match="between 14 and 70000"):
        load_avmnist(rows=3)
    some = replace(digits, index=np.full_like(digits.index, 9))
    with pytest.raises(DataFileError, match="for the test part"):
        write_avmnist(tmp_path / "x", images, some, noise, settings())
    with pytest.raises(DataFileError, match="none is for the test part"):
        write_avmnist(tmp_path / "x", images, digits, replace(noise, fold=noise.fold * 0 + 1), settings())


def write_idx(path, values):
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    path.write_bytes(head + values.tobytes())


def test_idx(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "v", values)
    assert (read_idx(tmp_path / "v") == values).all()
    cut_file = (tmp_path / "v").read_bytes()[:-1]
    (tmp_path / "v").write_bytes(cut_file)
    with pytest.raises(DataFileError, match=re.escape("holds 23 bytes of values; expected [2, 3, 4]")):
        read_idx(tmp_path / "v")
    (tmp_path / "v").write_bytes(b"no idx at all")
    with pytest.raises(DataFileError, match="IDX"):
        read_idx(tmp_path / "v")


def test_original_recordings(tmp_path, digits):
    folder = tmp_path / "fsdd" / "free-spoken-digit-dataset" / "recordings"
    folder.mkdir(parents=True)
    for i in range(len(digits.digit)):
        name = f"{digits.digit[i]}_{'ab'[digits.speaker[i]]}_{digits.index[i]}.wav"
        wavfile.write(folder / name, 8000, digits.audio[digits.offsets[i] : digits.offsets[i + 1]])
    read = load_spoken_digits(tmp_path)
    for f in fields(read):
        assert (getattr(read, f.name) == getattr(digits, f.name)).all()
    (folder / "3_a_2.wav").unlink()
    with pytest.raises(DataFileError, match=r"7 are of \('3', 'a'\); expected 8"):
        load_spoken_digits(tmp_path)


def test_original_noise_is_brought_to_8_khz(tmp_path):
    folder = tmp_path / "esc10" / "audio"
    folder.mkdir(parents=True)
    long = (4000 * np.sin(2 * np.pi * 440 * np.arange(44_100 * 5) / 44_100)).astype(np.int16)
    for fold in (1, 2):
        for category in (0, 41, 7):  # 7 is not of ESC-10
            wavfile.write(
                folder / f"{fold}-{100 + category}-A-{category}.wav", 44_100, long[: len(long) // fold]
            )
    seen = load_noise(tmp_path)
    assert seen.audio.shape == (4, 40_000)
    assert seen.fold.tolist() == [1, 1, 2, 2]
    assert sorted(seen.category) == [0, 0, 1, 1]
    expected = 4000 * np.sin(2 * np.pi * 440 * np.arange(40_000) / 8000)
    assert seen.audio[0, 1000:-1000] == pytest.approx(expected[1000:-1000], abs=40)
    assert not seen.audio[2, 20_010:].any()
    broken = folder / "1-141-A-41.wav"
    broken.write_bytes(broken.read_bytes()[:5000])
    with pytest.raises(DataFileError, match=r"1-141-A-41\.wav"):
        load_noise(tmp_path)


def test_missing_parts_say_where_to_get_them(tmp_path):
    for load, page in (
        (load_mnist, "cvdf-datasets/mnist"),
        (load_spoken_digits, "Jakobovski"),
        (load_noise, "ESC-50"),
    ):
        with pytest.raises(DataFileError, match=page):
            load(tmp_path)


def test_real_parts(real_data, tmp_path):
    images = load_mnist(real_data)
    assert [len(part) for part in images] == [60_000, 60_000, 10_000, 10_000]
    digits, noise = load_spoken_digits(real_data), load_noise(real_data)
    assert len(digits.digit) == 3000
    assert noise.audio.shape == (400, 40_000)
    folder = build_avmnist(tmp_path / "real", real_data, rows=280, n_jobs=1, verbose=0)
    splits = load_avmnist(folder)
    assert [len(splits.rows[part]) for part in splits.rows] == [220, 20, 40]
    # Four components keep about half of the variance of MNIST; noise leaves no part of the scale unused.
    assert splits.train.x.values["image"].reshape(220, -1).std(0).mean() > 20
    assert splits.train.x.values["audio"].max() == 255
