"""Saved models come back whole, or say what is wrong with them."""

import copy
import hashlib
import json
import os
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from primo_pyro import Modalities, Objective, PrimoClassifier
from primo_pyro.analysis.calibration import ImpactCalibrator
from primo_pyro.data import make_xor
from primo_pyro.errors import SavedModelError
from primo_pyro.labels import ClassLabels, IndicatorLabels, Labels, NumberLabels, OrderedLabels
from primo_pyro.persistence import KINDS, MANIFEST, SETTINGS, WEIGHTS, from_json, to_json
from primo_pyro.program.encoders import MLP
from tests.conftest import subclasses

SMALL = {"latent_dim": 2, "hidden_dim": 8, "max_epochs": 2, "num_samples": 16, "random_state": 0}
COMPLETE, Y = make_xor(120, random_state=0)
X = COMPLETE.drop_at_random("m", random_state=0)


@pytest.fixture(scope="module")
def fitted():
    return PrimoClassifier(**SMALL).fit(X, Y)


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def assert_same_answers(a, b, x=X):
    """To the last bit: the same numbers go through the same operations."""
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))
    np.testing.assert_array_equal(a.predict(x), b.predict(x))
    pd.testing.assert_frame_equal(a.predictive_impact(x), b.predictive_impact(x), check_exact=True)


def edit_manifest(folder, **changes):
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- What comes back -----------------------------------------------------------------------------------


def test_loaded_gives_the_same_answers(fitted, saved):
    again = PrimoClassifier.load(saved)
    assert_same_answers(fitted, again)
    pd.testing.assert_frame_equal(fitted.history_, again.history_, check_exact=True)
    assert again.get_params() == fitted.get_params()
    for name in ("patterns_", "optional_", "shapes_", "seed_"):
        assert getattr(again, name) == getattr(fitted, name)
        assert type(getattr(again, name)) is type(getattr(fitted, name))
    assert not again.model_.training
    assert not again.guide_.training


def test_every_learnt_attribute_comes_back(fitted, tmp_path):
    """Also those that other methods than fit learn, and those of arrays and frames."""
    other = copy.deepcopy(fitted)
    v = np.linspace(0, 0.5, 50)
    other.impact_calibrators_ = {
        None: ImpactCalibrator().fit(v, v / 2),
        "m": ImpactCalibrator().fit(v, v / 3),
    }
    other.save(tmp_path / "calibrated")
    again = PrimoClassifier.load(tmp_path / "calibrated")
    assert vars(again).keys() == vars(other).keys()
    for name, calibrator in other.impact_calibrators_.items():
        np.testing.assert_array_equal(again.impact_calibrators_[name].predict(v), calibrator.predict(v))

    frame = pd.DataFrame(X.values["o"], columns=["length"])
    of_frame = PrimoClassifier(**SMALL).fit(frame, Y)
    of_frame.save(tmp_path / "frame")
    again = PrimoClassifier.load(tmp_path / "frame")
    assert again.n_features_in_ == 1
    assert list(again.feature_names_in_) == ["length"]
    assert_same_answers(of_frame, again, frame)


@pytest.mark.parametrize(
    "classes",
    [
        np.array([3, -5]),
        np.array([3, 5], np.uint8),
        np.array([2.0, 1.0]),
        np.array(["no", "yes"]),
        np.array(["no", "yes"], object),
        np.array([False, True]),
    ],
    ids=lambda classes: classes.dtype.name,
)
def test_labels_come_back_as_they_were(classes, tmp_path):
    fitted = PrimoClassifier(**SMALL).fit(X, classes[Y])
    fitted.save(tmp_path / "model")
    again = PrimoClassifier.load(tmp_path / "model")
    assert again.classes_.dtype == fitted.classes_.dtype == classes.dtype
    np.testing.assert_array_equal(again.classes_, np.unique(classes))
    assert [type(label) for label in again.predict(X)] == [type(label) for label in fitted.predict(X)]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -0.0,
        0.1 + 0.2,
        float("inf"),
        "text",
        ("a", ("b",)),
        ["a", 1],
        {None: 1, "a": {2.5}},
        np.float32(0.1),
        np.bool_(True),
        np.array([[1.5, np.nan], [-np.inf, 0]], np.float32),
        np.array(["a", None, 1], object),
        np.zeros((0, 3), np.int16),
        Objective(tie=0.3),
        torch.device("cpu"),
        ClassLabels(np.array(["a", "b"])),
        OrderedLabels(np.array([3, 1])),
        IndicatorLabels(np.array(["fever", "cough"], object)),
        NumberLabels(0.1 + 0.2, 1e-300),
    ],
    ids=repr,
)
def test_values_that_json_does_not_know_survive_it(value):
    again = from_json(json.loads(json.dumps(to_json(value, "it"), allow_nan=False)))
    assert type(again) is type(value)
    if isinstance(value, np.ndarray):
        assert again.dtype == value.dtype
        np.testing.assert_array_equal(again, value)
    else:
        assert repr(again) == repr(value)


def test_every_kind_of_labels_can_be_saved():
    kinds = {kind for kind, *_ in KINDS.values()}
    assert {cls for cls in subclasses(Labels) if cls.__module__.startswith("primo_pyro")} <= kinds


def test_random_state_object_survives():
    random_state = np.random.RandomState(3)
    random_state.normal(size=3)
    again = from_json(json.loads(json.dumps(to_json(random_state, "random_state"))))
    assert (again.normal(size=5) == random_state.normal(size=5)).all()


def test_settings_of_every_kind_come_back(tmp_path):
    settings = SMALL | {
        "objective": replace(Objective.named("paper"), tie=0.5),
        "optional": ["m"],
        "gamma": np.float64(0.7),  # as a grid search gives it
        "patience": None,
        "draws": "independent",
    }
    fitted = PrimoClassifier(**settings).fit(X, Y)
    fitted.save(tmp_path / "model")
    again = PrimoClassifier.load(tmp_path / "model")
    assert again.get_params() == fitted.get_params()
    assert not again.guide_.proposes_from_prior
    assert_same_answers(fitted, again)


def test_images_series_and_batch_statistics_come_back(tmp_path):
    random = np.random.default_rng(0)
    x = Modalities(
        {
            "image": random.integers(0, 256, (40, 1, 8, 8), np.uint8),
            "series": random.normal(size=(40, 5, 2)),
            "table": random.normal(3, 9, size=(40, 4)),
        }
    ).drop_at_random("image", "series", rate=0.3, random_state=0)
    fitted = PrimoClassifier(**SMALL).fit(x, np.arange(40) % 3)
    fitted.save(tmp_path / "model")
    assert_same_answers(fitted, PrimoClassifier.load(tmp_path / "model"), x)


def test_shared_encoders_are_written_once_and_shared_again(fitted, saved):
    again = PrimoClassifier.load(saved)
    assert again.guide_.encoder is again.model_.encoder
    assert again.guide_.prior is again.model_.prior
    tensors = {id(t): t.nbytes for t in nn.ModuleList([fitted.model_, fitted.guide_]).state_dict().values()}
    parameters = sum(p.nbytes for p in nn.ModuleList([fitted.model_, fitted.guide_]).parameters())
    assert (saved / WEIGHTS).stat().st_size < parameters + 8192  # a header and a few buffers, no second copy
    assert sum(tensors.values()) > parameters


def test_training_goes_on_after_loading(fitted, saved):
    """With the same seed, going on from the loaded model is going on from the model."""
    before = PrimoClassifier.load(saved)
    a = copy.deepcopy(fitted).set_params(warm_start=True).fit(X, Y)
    b = PrimoClassifier.load(saved).set_params(warm_start=True).fit(X, Y)
    assert_same_answers(a, b)
    assert not np.array_equal(a.predict_proba(X), before.predict_proba(X))


def test_callbacks_are_left_out(tmp_path):
    rows = []
    PrimoClassifier(**SMALL, callbacks=(rows.append,)).fit(X, Y).save(tmp_path / "model")
    assert len(rows) == SMALL["max_epochs"]
    assert PrimoClassifier.load(tmp_path / "model").callbacks == ()


def test_nothing_global_is_touched(fitted, saved):
    before = torch.get_rng_state()
    PrimoClassifier.load(saved)
    fitted.save(saved)
    assert torch.equal(torch.get_rng_state(), before)


# --- Encoders of the user's own ------------------------------------------------------------------------


def test_given_encoders_are_asked_for_again(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mine, fresh, wrong = MLP(1, 5, 8), MLP(1, 5, 8), MLP(1, 6, 8)
    fitted = PrimoClassifier(**SMALL, encoders={"m": mine}).fit(X, Y)
    fitted.save(tmp_path / "model")
    assert_same_answers(fitted, PrimoClassifier.load(tmp_path / "model", encoders={"m": fresh}))
    for given in (None, {"o": fresh}, {"m": fresh, "o": fresh}):
        with pytest.raises(
            SavedModelError, match=r"encoders of your own for \['m'\].*encoders=\{'m': module\}"
        ):
            PrimoClassifier.load(tmp_path / "model", encoders=given)
    with pytest.raises(
        SavedModelError, match=r"is \[\[5\], .*; expected was \[\[6\], .*\. Give encoders like"
    ):
        PrimoClassifier.load(tmp_path / "model", encoders={"m": wrong})


def test_encoders_that_were_not_given_are_refused(saved):
    with pytest.raises(
        SavedModelError, match=r"encoders of your own for \[\], and load got them for \['m'\]"
    ):
        PrimoClassifier.load(saved, encoders={"m": MLP(1, 5, 8)})


# --- What can be wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [WEIGHTS, SETTINGS])
@pytest.mark.parametrize("damage", ["truncated", "edited"])
def test_damage_is_reported_with_both_checksums(saved, name, damage):
    path = saved / name
    content = bytearray(path.read_bytes())
    expected = json.loads((saved / MANIFEST).read_text())["sha256"][name]
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(SavedModelError) as caught:
        PrimoClassifier.load(saved)
    message = str(caught.value)
    assert str(path) in message
    assert expected in message
    assert hashlib.sha256(content).hexdigest() in message
    assert "Copy the folder anew" in message


def test_a_single_changed_hyperparameter_is_noticed(saved):
    path = saved / SETTINGS
    path.write_text(path.read_text().replace('"gamma": 0.5', '"gamma": 0.6'))
    with pytest.raises(SavedModelError, match="was truncated or edited"):
        PrimoClassifier.load(saved)


@pytest.mark.parametrize("content", [b"", b'{"format": ', b"[]", b"\xff\xfe"])
def test_damaged_manifest(saved, content):
    (saved / MANIFEST).write_bytes(content)
    with pytest.raises(
        SavedModelError, match=rf"{MANIFEST} was truncated or edited: {len(content)} bytes.*Copy"
    ):
        PrimoClassifier.load(saved)


@pytest.mark.parametrize("checksums", [{}, {WEIGHTS: "0" * 64}])
def test_manifest_without_checksums(saved, checksums):
    edit_manifest(saved, sha256=checksums)
    with pytest.raises(SavedModelError, match=rf"{MANIFEST} was edited.*Copy the folder anew"):
        PrimoClassifier.load(saved)


@pytest.mark.parametrize("name", [WEIGHTS, SETTINGS, MANIFEST])
def test_missing_file(saved, name):
    (saved / name).unlink()
    with pytest.raises(SavedModelError, match=rf"{name} does not exist.*copy it as a whole"):
        PrimoClassifier.load(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": 1}, "version 1"),
        ({"format_version": None}, "version None"),
        ({"format": "something.Else"}, r"format 'something\.Else'"),
    ],
)
def test_unknown_formats_are_refused(saved, change, said):
    edit_manifest(saved, **change)
    with pytest.raises(SavedModelError, match=rf"{said}.*this release reads .*version 3.*Load it by"):
        PrimoClassifier.load(saved)


def test_nothing_is_saved_before_fit(tmp_path):
    with pytest.raises(NotFittedError):
        PrimoClassifier().save(tmp_path / "model")
    assert not any(tmp_path.iterdir())


def test_device_that_is_not_there(fitted, tmp_path):
    elsewhere = copy.deepcopy(fitted).set_params(device="cuda:99")
    elsewhere.save(tmp_path / "model")
    with pytest.raises(SavedModelError, match=r"device='cuda:99'.*load\(folder, device='cpu'\)"):
        PrimoClassifier.load(tmp_path / "model")
    assert_same_answers(fitted, PrimoClassifier.load(tmp_path / "model", device="cpu"))


def test_parameters_changed_after_fit(fitted, saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(SavedModelError, match=r"changed after fit, set them back or fit again"):
        copy.deepcopy(fitted).set_params(hidden_dim=9).save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


class Odd(Objective):
    pass


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("checkpoint", b"bytes", "checkpoint holds bytes"),
        ("objective", Odd(), "Odd is a Objective with code"),
    ],
)
def test_what_json_cannot_hold_is_named(fitted, tmp_path, parameter, value, said):
    with pytest.raises(SavedModelError, match=said + r".*before saving"):
        copy.deepcopy(fitted).set_params(**{parameter: value}).save(tmp_path / "model")
    assert not any(tmp_path.iterdir())


# --- Files -----------------------------------------------------------------------------------------------


def test_saving_again_replaces_the_old_model(fitted, saved):
    other = PrimoClassifier(**SMALL | {"random_state": 1}).fit(X, Y)
    other.save(saved)
    assert_same_answers(other, PrimoClassifier.load(saved))
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_failed_write_leaves_the_old_model(fitted, saved, monkeypatch):
    """Where the new manifest cannot take its place, the old model stands, and nothing else."""

    def breaking(source, target):
        raise OSError("no space left")

    other = PrimoClassifier(**SMALL | {"random_state": 1}).fit(X, Y)
    monkeypatch.setattr(os, "replace", breaking)
    with pytest.raises(SavedModelError, match=r"no space left.*Make room"):
        other.save(saved)
    monkeypatch.undo()
    assert_same_answers(fitted, PrimoClassifier.load(saved))
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
    assert {path.name for path in saved.iterdir()} == {MANIFEST, SETTINGS, WEIGHTS}


def test_other_files_are_never_deleted(fitted, saved):
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(SavedModelError, match=r"holds notes\.txt, which saving would delete.*another folder"):
        fitted.save(saved)
    with pytest.raises(SavedModelError, match=r"notes\.txt is a file; expected a folder"):
        fitted.save(saved / "notes.txt")
    assert (saved / "notes.txt").read_text() == "mine"


def test_new_parents_and_relative_folders(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted.save("a/b/model")
    assert_same_answers(fitted, PrimoClassifier.load("a/b/model"))


# --- Other ways to copy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_give_the_same_answers_and_are_independent(fitted, copied):
    before = fitted.predict_proba(X)
    other = copied(fitted)
    assert_same_answers(fitted, other)
    assert other.guide_.encoder is other.model_.encoder
    other.fit(COMPLETE, 1 - Y)
    np.testing.assert_array_equal(fitted.predict_proba(X), before)


def test_clone_copies_parameters_alone(fitted):
    encoder = MLP(1, 5, 8)
    other = clone(clone(fitted).set_params(encoders={"m": encoder}))
    assert not hasattr(other, "model_")
    assert other.encoders["m"] is not encoder
    assert other.set_params(encoders=None).get_params() == fitted.get_params()
    assert_same_answers(fitted, other.fit(X, Y))
