"""Killed, interrupted, out of room, beside others: a file is the old one or the new one, whole."""

import copy
import json
import os
import signal
import time

import numpy as np
import pytest
import safetensors.torch

from primo_pyro import PrimoClassifier
from primo_pyro.checkpoints import read_checkpoint, write_checkpoint
from primo_pyro.data import make_xor
from primo_pyro.errors import CheckpointError, FileError, SavedModelError
from primo_pyro.files import locked, write_atomically
from primo_pyro.model_files import SETTINGS, WEIGHTS, open_model, write_model
from tests.attacks.conftest import TIMES
from tests.attacks.forks import in_a_fork, killed_at

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")

SMALL = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 1, "num_samples": 16}
COMPLETE, Y = make_xor(80, random_state=0)
X = COMPLETE.drop_at_random("m", random_state=0)
FILES = ["manifest.json", "settings.json", "weights.safetensors"]


class Model:
    """A fitted model, with the bytes of its files: what is killed here is writing, not making them."""

    def __init__(self, seed, folder):
        self.fitted = PrimoClassifier(**SMALL, random_state=seed).fit(X, Y)
        self.fitted.save(folder)
        self.files = {name: (folder / name).read_bytes() for name in (SETTINGS, WEIGHTS)}
        self.expected = self.fitted.predict_proba(X)

    def write(self, folder):
        write_model(folder, self.files)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two of them."""
    return [Model(seed, tmp_path_factory.mktemp("models") / str(seed)) for seed in (0, 1)]


def which(folder, models):
    """0 or 1: the model that a folder holds, as a reader finds it."""
    with open_model(folder) as saved:
        saved.declared()
        found = saved.settings, {name: t.tolist() for name, t in saved.tensors().items()}
    (number,) = [i for i, model in enumerate(models) if found == content(model)]
    return number


def content(model):
    return json.loads(model.files[SETTINGS]), {
        name: t.tolist() for name, t in safetensors.torch.load(model.files[WEIGHTS]).items()
    }


def test_a_save_killed_at_any_step_leaves_the_old_or_the_new_model(models, tmp_path, tried):
    old, new = models
    came = set()
    for step in range(200):
        folder = tmp_path / f"{step}" / "model"
        folder.parent.mkdir()
        old.write(folder)
        if not killed_at(step, lambda to=folder: new.write(to)):
            break
        tried["kills of a save in the place of a model"] += 1
        came.add(which(folder, models))
        # The next one sweeps what was left.
        old.write(folder)
        assert which(folder, models) == 0
        assert sorted(os.listdir(folder)) == FILES
        assert os.listdir(folder.parent) == ["model"]
    assert step > 10
    assert came == {0, 1}


def test_a_first_save_killed_at_any_step_leaves_nothing_or_the_model(models, tmp_path, tried):
    for step in range(200):
        folder = tmp_path / f"{step}" / "model"
        folder.parent.mkdir()
        if not killed_at(step, lambda to=folder: models[1].write(to)):
            break
        tried["kills of a first save"] += 1
        if folder.exists():
            assert which(folder, models) == 1
        else:
            with pytest.raises(SavedModelError, match="does not exist"):
                PrimoClassifier.load(folder)
        models[0].write(folder)
        assert which(folder, models) == 0
        assert os.listdir(folder.parent) == ["model"]
    assert step > 10


def test_kills_one_after_another(models, tmp_path, tried):
    random = np.random.default_rng(0)
    folder = tmp_path / "model"
    models[0].write(folder)
    for _ in range(20 * TIMES):
        number = int(random.integers(2))
        step = int(random.integers(40))
        before = which(folder, models)
        if not killed_at(step, lambda to=folder, new=models[number]: new.write(to)):
            assert which(folder, models) == number
        assert which(folder, models) in (before, number)
        tried["kills one after another"] += 1
    models[0].write(folder)
    assert sorted(os.listdir(folder)) == FILES


@pytest.mark.parametrize("kind", ["checkpoint", "page"])
def test_a_file_killed_at_any_step_is_old_or_new(kind, tmp_path, tried):
    def write(path, content):
        if kind == "page":
            write_atomically(path, content * 5000)
        else:
            write_checkpoint(path, {"of": "this"}, {"content": content.hex()})

    def read(path):
        if kind == "page":
            return path.read_bytes()
        return read_checkpoint(path, {"of": "this"})["content"]

    for again in range(TIMES):
        for step in range(100):
            path = tmp_path / f"{again}-{step}" / "file"
            path.parent.mkdir()
            write(path, b"old")
            old = read(path)
            came_to_an_end = not killed_at(step, lambda to=path: write(to, b"new"))
            left = read(path)
            write(path, b"new")
            assert left in (old, read(path))
            assert os.listdir(path.parent) == ["file"]
            if came_to_an_end:
                break
            tried[f"kills of a {kind}"] += 1
        assert step > 4


def test_a_full_disk_leaves_what_was(models, tmp_path, tried):
    import resource

    folder, path = tmp_path / "model", tmp_path / "file"
    models[0].write(folder)
    write_atomically(path, b"old" * 50_000)
    write_checkpoint(tmp_path / "run", {}, {"content": 1})

    def within(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        for save, expected in (
            (lambda: models[1].fitted.save(folder), SavedModelError),
            (lambda: models[1].fitted.save(tmp_path / "another"), SavedModelError),
            (lambda: write_atomically(path, b"new" * 50_000), FileError),
            (lambda: write_checkpoint(tmp_path / "run", {}, {"content": "2" * 100_000}), CheckpointError),
        ):
            with pytest.raises(expected, match="cannot be written"):
                save()

    for size in (0, 100, 3000):
        assert in_a_fork(lambda size=size: within(size)) == 0
        tried["full disks"] += 4
        assert which(folder, models) == 0
        assert path.read_bytes() == b"old" * 50_000
        assert read_checkpoint(tmp_path / "run", {}) == {"content": 1}
        assert sorted(os.listdir(tmp_path)) == ["file", "model", "run"]


def test_loading_beside_two_that_save_never_mixes(models, tmp_path, tried):
    folder = tmp_path / "model"
    models[0].write(folder)
    parent, children = os.getpid(), []
    for number in (0, 1):
        child = os.fork()
        if child == 0:
            while os.getppid() == parent:
                models[number].write(folder)
            os._exit(0)
        children.append(child)
    try:
        seen = [which(folder, models) for _ in range(100 * TIMES)]
        p = PrimoClassifier.load(folder).predict_proba(X)
        assert any(np.array_equal(p, model.expected) for model in models)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    tried["loads beside two that save"] += len(seen)
    assert which(folder, models) in (0, 1)


def test_two_fits_with_one_checkpoint_end_as_if_alone(tmp_path, tried):
    """Each writes whole files under names of its own, and each refuses a checkpoint of the other."""
    path = tmp_path / "run"

    def fit():
        settings = SMALL | {"max_epochs": 6, "checkpoint": path, "random_state": 0}
        expected = PrimoClassifier(**settings | {"checkpoint": None}).fit(X, Y).predict_proba(X)
        np.testing.assert_array_equal(PrimoClassifier(**settings).fit(X, Y).predict_proba(X), expected)

    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                fit()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    tried["fits that share a checkpoint"] += 2
    assert os.listdir(tmp_path) == []


def test_a_training_killed_at_any_time_resumes_to_the_same_parameters(tmp_path, tried):
    settings = SMALL | {"max_epochs": 5, "random_state": 0}
    expected = PrimoClassifier(**settings).fit(X, Y).predict_proba(X)
    path = tmp_path / "run"
    for step in range(0, 40, max(1, 8 // TIMES)):
        with_checkpoint = PrimoClassifier(**settings, checkpoint=path)
        killed_at(step, lambda it=with_checkpoint: copy.deepcopy(it).fit(X, Y))
        np.testing.assert_array_equal(with_checkpoint.fit(X, Y).predict_proba(X), expected)
        tried["trainings killed and resumed"] += 1
        assert os.listdir(tmp_path) == []


def test_rights_follow_the_mask(models, tmp_path):
    models[0].fitted.save(tmp_path / "model")
    (tmp_path / "plain").write_text("")
    rights = (tmp_path / "plain").stat().st_mode
    assert {path.stat().st_mode for path in (tmp_path / "model").iterdir()} == {rights}


def test_a_folder_of_another_program_is_never_replaced(models, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for content in ('{"name": "an app"}', "not JSON", '{"format": "another"}'):
        (folder / "manifest.json").write_text(content)
        with pytest.raises(SavedModelError, match=r"no manifest of a saved model.*Name another folder"):
            models[0].write(folder)
        assert [path.read_text() for path in folder.iterdir()] == [content]


def test_a_writer_waits_for_another_one(models, tmp_path):
    """Who holds the folder for a while keeps others waiting, and harms none."""
    folder = tmp_path / "model"
    models[0].write(folder)
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(tmp_path):
            os.write(done, b"1")
            time.sleep(0.3)
        os._exit(0)
    os.read(ready, 1)
    models[1].fitted.save(folder)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert which(folder, models) == 1
