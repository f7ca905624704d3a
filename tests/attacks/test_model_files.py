"""Damaged and made-up files: a SavedModelError or CheckpointError, little memory, and never another model."""

import copy
import hashlib
import json
import os
import re
import shutil
import struct
import warnings

import numpy as np
import pytest

from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor
from primo_pyro.data import make_xor
from primo_pyro.errors import CheckpointError, PrimoError, PrimoWarning, SavedModelError
from primo_pyro.persistence import MANIFEST, SETTINGS, WEIGHTS
from tests.attacks.conftest import TIMES
from tests.attacks.forks import in_a_fork

SMALL = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 1, "num_samples": 16, "random_state": 0}
COMPLETE, Y = make_xor(80, random_state=0)
X = COMPLETE.drop_at_random("m", random_state=0)
HOSTILE = [
    None,
    True,
    -1,
    0,
    10**9,
    10**400,
    1e308,
    float("nan"),
    "",
    "__class__",
    "../../etc/passwd",
    [],
    [[[]]],
    {},
    {"array": ["<f8", {"tuple": [-1]}, []]},
    {"array": ["<U300000000", [1], ["a"]]},
    {"array": ["O", [10**12], []]},
    {"scalar": ["<U300000000", "a"]},
    {"scalar": ["V8", "a"]},
    {"float": "nan"},
    {"set": [1, "a"]},
    {"dict": [[1, 2, 3]]},
    {"frame": {"dict": [["a", [1]], ["b", [1, 2]]]}},
    {"random_state": {"tuple": ["MT19937", {"array": ["<u4", [1], [1]]}, 10**6, 0, 0.0]}},
    {"objective": {"dict": [["tie", -1.0]]}},
    {"class_labels": {"dict": []}},
    {"number_labels": {"dict": [["mean", "a"], ["scale", 0]]}},
    {"unknown": 1},
    {"device": "meta"},
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    model = PrimoClassifier(**SMALL).fit(X, Y)
    model.save(folder)
    return folder, model.predict_proba(X)


@pytest.fixture
def copied(saved, tmp_path):
    """A function that puts a fresh copy in place."""

    def put():
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved[0], folder)
        return folder

    return put


def mend(folder):
    """Make the manifest agree with the files, as someone would who means harm."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["sha256"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (SETTINGS, WEIGHTS)
    }
    path.write_text(json.dumps(manifest))


def damaged(content, random):
    """Bytes with one flipped, cut short, doubled, moved or overwritten."""
    content, at = bytearray(content), int(random.integers(len(content)))
    kind = int(random.integers(5))
    if kind == 0:
        content[at] ^= 1 << int(random.integers(8))
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        content[at:at] = content[at : at + int(random.integers(1, 50))] + b"\0"
    elif kind == 3:
        content[at : at + 8] = bytes(random.integers(0, 256, 8, np.uint8))
    else:
        content = content[at:] + content[:at] if at else content[::-1]
    return bytes(content)


def test_damage_is_found(saved, copied, tried):
    random = np.random.default_rng(0)
    for _ in range(60 * TIMES):
        folder = copied()
        name = (MANIFEST, SETTINGS, WEIGHTS)[int(random.integers(3))]
        content = damaged((folder / name).read_bytes(), random)
        if content == (folder / name).read_bytes():
            continue
        (folder / name).write_bytes(content)
        with pytest.raises(SavedModelError):
            PrimoClassifier.load(folder)
        tried["damaged model files"] += 1


def places(value, path=()):
    """All places in a JSON value."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i, entry in enumerate(value[:20]):
            yield from places(entry, (*path, i))


def changed(settings, random):
    """With a hostile value somewhere, or something left out."""
    settings = copy.deepcopy(settings)
    where = list(places(settings))[1:]
    *path, last = where[int(random.integers(len(where)))]
    inner = settings
    for key in path:
        inner = inner[key]
    if random.random() < 0.2:
        del inner[last]
    else:
        inner[last] = HOSTILE[int(random.integers(len(HOSTILE)))]
    return settings


def test_settings_that_were_made_up_are_refused_or_work(saved, copied, tried):
    """With mended checksums nothing tells of an edit: what does not fit is refused all the same."""
    random = np.random.default_rng(1)
    settings = json.loads((saved[0] / SETTINGS).read_text())
    for _ in range(60 * TIMES):
        folder = copied()
        (folder / SETTINGS).write_text(json.dumps(changed(settings, random)))
        mend(folder)
        try:
            model = PrimoClassifier.load(folder)
        except SavedModelError:
            tried["made-up settings, refused"] += 1
            continue
        tried["made-up settings that fit"] += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PrimoWarning)  # of patterns that the settings leave out
                p = model.predict_proba(X)
        except PrimoError:
            continue
        assert p.shape == (80, 2)
        assert np.isfinite(p).all()


def header_of(content):
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, rest):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def test_headers_that_lie_are_refused(saved, copied, tried):
    random = np.random.default_rng(2)
    header, rest = header_of((saved[0] / WEIGHTS).read_bytes())
    names = [name for name in header if name != "__metadata__"]
    for _ in range(30 * TIMES):
        folder, lying = copied(), copy.deepcopy(header)
        name = names[int(random.integers(len(names)))]
        entry = lying[name]
        kind = int(random.integers(6))
        if kind == 0:
            entry["shape"] = [10**6, 10**6]
        elif kind == 1:
            others = [kind for kind in ("F64", "I64", "nonsense", "F8_E4M3") if kind != entry["dtype"]]
            entry["dtype"] = others[int(random.integers(len(others)))]
        elif kind == 2:
            entry["data_offsets"] = [0, int(random.integers(2**40))]
        elif kind == 3:
            del lying[name]
        elif kind == 4:
            lying[name] = HOSTILE[int(random.integers(len(HOSTILE)))]
        else:
            lying[f"{name}.more"] = lying.pop(name)
        (folder / WEIGHTS).write_bytes(with_header(lying, rest))
        mend(folder)
        with pytest.raises(SavedModelError):
            PrimoClassifier.load(folder)
        tried["headers that lie"] += 1


def test_weights_that_are_not_finite_or_of_another_model_say_so_or_load(saved, copied):
    """Numbers of the right form can mean anything; the checksum is what tells that they are others."""
    folder = copied()
    header, rest = header_of((folder / WEIGHTS).read_bytes())
    (folder / WEIGHTS).write_bytes(with_header(header, rest[::-1]))
    with pytest.raises(SavedModelError, match="SHA-256"):
        PrimoClassifier.load(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="measures a process of its own")
def test_no_file_takes_much_memory(saved, copied, tried):
    import resource

    plain = json.loads((saved[0] / SETTINGS).read_text())

    def edited(**parameters):
        settings = copy.deepcopy(plain)
        settings["parameters"] |= parameters
        return settings

    wide = copy.deepcopy(plain)
    wide["learnt"]["shapes_"] = json.loads(
        json.dumps(wide["learnt"]["shapes_"]).replace("[1]", "[1000000000]")
    )
    assert wide != plain
    files = [edited(hidden_dim=65_536), edited(latent_dim=4096, hidden_dim=60_000), wide]
    files.append(edited(gamma={"array": ["<f8", [10**9], [0.0]]}))
    for settings in files:
        folder = copied()
        (folder / SETTINGS).write_text(json.dumps(settings))
        mend(folder)

        def load(folder=folder):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with pytest.raises(SavedModelError):
                PrimoClassifier.load(folder)
            taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            assert taken < 2**28

        assert in_a_fork(load) == 0
        tried["files that ask for memory"] += 1


def test_other_classes_do_not_load(saved):
    with pytest.raises(SavedModelError, match="holds a PrimoClassifier"):
        PrimoRegressor.load(saved[0])


def test_flipped_bits_of_a_checkpoint_are_found(tmp_path, tried):
    class Stop(Exception):
        pass

    def stop(row):
        raise Stop

    path = tmp_path / "run"
    settings = SMALL | {"checkpoint": path, "max_epochs": 2}
    with pytest.raises(Stop):
        PrimoClassifier(**settings, callbacks=[stop]).fit(X, Y)
    whole, random = path.read_bytes(), np.random.default_rng(3)
    for _ in range(30 * TIMES):
        content = damaged(whole, random)
        if content == whole:
            continue
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot be read as a checkpoint.*Delete it"):
            PrimoClassifier(**settings).fit(X, Y)
        tried["damaged checkpoints"] += 1


def variants():
    """Everything that leads to other parameters, one at a time."""
    import torch
    from torch import nn

    class Scaled(nn.Linear):
        def __init__(self, factor):
            super().__init__(1, 8)
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)
            self.factor = factor

        def forward(self, values):
            return super().forward(values) * self.factor

    class Buffered(Scaled):
        def __init__(self, factor):
            super().__init__(1.0)
            self.register_buffer("shift", torch.tensor(factor))

    o = X.values["o"]
    yield "values", (Modalities({"o": o + 1e-6, "m": X.values["m"]}, X.present), Y), {}
    yield "row order", (X[::-1], Y[::-1]), {}
    yield "labels", (X, np.roll(Y, 1)), {}
    yield "presence", (X.drop("m", where=np.arange(80) < 3), Y), {}
    yield "gamma", (X, Y), {"gamma": 0.51}
    yield "averaging", (X, Y), {"averaging": 0.98}
    yield "encoder", (X, Y), {"encoders": {"o": Scaled(1.0)}}
    yield "constant in an encoder", (X, Y), {"encoders": {"o": Scaled(2.0)}}
    yield "buffer in an encoder", (X, Y), {"encoders": {"o": Buffered(1.0)}}
    yield "other buffer in an encoder", (X, Y), {"encoders": {"o": Buffered(2.0)}}
    yield "validation rows", (X, Y, (COMPLETE[:20], Y[:20])), {}
    yield "other validation rows", (X, Y, (COMPLETE[20:40], Y[20:40])), {}


def test_a_checkpoint_knows_its_training(tmp_path, tried):
    class Stop(Exception):
        pass

    def stop(row):
        raise Stop

    path = tmp_path / "run"
    written = []
    for name, rows, settings in [("plain", (X, Y), {}), *variants()]:
        made = PrimoClassifier(**SMALL | settings, checkpoint=path)
        for other in written:
            path.write_bytes(other)
            with pytest.raises(CheckpointError, match=r"other settings or rows.*differ"):
                made.fit(*rows)
            tried["checkpoints of other trainings"] += 1
        path.unlink(missing_ok=True)
        with pytest.raises(Stop):
            copy.deepcopy(made).set_params(callbacks=[stop]).fit(*rows)
        written.append(path.read_bytes())
        made.fit(*rows)  # its own is taken
        assert not path.exists(), name


def test_messages_have_a_cure(saved, copied):
    folder = copied()
    (folder / SETTINGS).write_text("{}")
    mend(folder)
    with pytest.raises(SavedModelError) as caught:
        PrimoClassifier.load(folder)
    assert re.search(r"expected .*\. Copy the folder anew", str(caught.value))
