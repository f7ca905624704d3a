"""Data sets as tasks, and their protocols: every one that the package has, found by looking."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from primo_pyro.data import load_mimic3, xor_impact
from primo_pyro.errors import DataNotFoundError, ModalityError, PrimoError
from primo_pyro.studies import generated, protocols, tasks
from primo_pyro.studies.generated import three_signs, xor_twins
from primo_pyro.studies.methods import METHODS, settings_of
from primo_pyro.studies.protocols import Protocol
from primo_pyro.studies.tasks import Task, av_mnist, breast_cancer, mimic3, physionet2012, support2
from tests.data import test_support2 as support2_table
from tests.test_examples import EXAMPLES, write_avmnist, write_mimic3, write_physionet2012

FACTORIES = {
    name: function
    for module in (tasks, generated)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
}
PROTOCOLS = dict(inspect.getmembers(protocols, lambda member: isinstance(member, Protocol)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_avmnist(folder / "avmnist")
    write_physionet2012(folder / "physionet2012")
    write_mimic3(folder / "mimic3")
    with pytest.MonkeyPatch.context() as patch:
        support2_table.write(folder / "support2", support2_table.invented(), patch)
        yield folder


def make(factory, data, **settings):
    """A task on the files in ``data``, or on rows that need no file."""
    if "path" in inspect.signature(factory).parameters:
        settings["path"] = data
    return factory(**settings)


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_every_task_has_rows_of_its_roles_and_classes(name, data):
    task = make(FACTORIES[name], data)
    assert isinstance(task, Task)
    train, validation, test = task.rows(0)
    classes = set(np.asarray(train[1]))
    for x, y in (train, test) if validation is None else (train, validation, test):
        assert len(x) == len(y) > 0
        assert set(task.optional) <= set(x.names)
        observed = set(x.names) - set(task.optional)
        assert (task.observed in observed) if observed else (task.observed is None)
        assert all(x.present[name].all() for name in observed)
        assert set(np.asarray(y)) <= classes
    assert test[0].complete.any()
    if task.impact is not None:
        exact = task.impact(test[0])
        assert exact.shape == (len(test[1]),)
        assert ((exact >= 0) & (exact <= 1 - 1 / len(classes))).all()
    if task.impact_of is not None:
        hidden = test[0].drop(*task.optional)
        np.testing.assert_array_equal(task.impact_of(hidden, task.optional), task.impact(test[0]))


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_a_seed_gives_the_same_rows_again_and_a_number_bounds_them(name, data):
    task = make(FACTORIES[name], data, rows=50)
    (first, *_), (again, *_) = task.rows(3), task.rows(3)
    assert len(first[0]) <= 50
    np.testing.assert_array_equal(first[1], again[1])
    for modality in first[0].names:
        np.testing.assert_array_equal(first[0].values[modality], again[0].values[modality])


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_has_settings_that_its_methods_take(name):
    protocol = PROTOCOLS[name]
    assert protocol.seeds > 0
    assert protocol.epochs > 0
    assert protocol.own.keys() <= METHODS.keys()
    for method, make_estimator in METHODS.items():
        settings = settings_of(method, protocol.networks, protocol.primo, protocol.own)
        estimator = make_estimator(Task("", "o", ("m",), rows=None), random_state=0, **settings)
        assert settings.items() <= estimator.get_params().items(), method


def test_a_unimodal_network_needs_a_modality_that_is_always_present():
    assert METHODS["unimodal"](Task("", "o", ("m",), rows=None)).modality == "o"
    with pytest.raises(ModalityError, match="each of m, n may be absent"):
        METHODS["unimodal"](Task("", None, ("m", "n"), rows=None))


@pytest.mark.parametrize("name", sorted([*FACTORIES, *PROTOCOLS]))
def test_every_task_and_protocol_has_an_example(name):
    assert any(name in Path(script).read_text() for script in EXAMPLES.glob("*.py"))


def sizes(task, seed=0):
    return [len(y) for _, y in task.rows(seed)]


def test_all_rows_and_some(data):
    assert sizes(av_mnist(path=data)) == [110, 10, 30]
    assert sizes(av_mnist(rows=22, path=data)) == [22, 2, 22]
    assert sizes(physionet2012(path=data)) == [128, 32, 40]
    assert sizes(physionet2012(rows=64, path=data)) == [64, 16, 40]
    assert sizes(mimic3(task="icd9_140_239", rows=1000, path=data)) == [160, 20, 20]


def test_seeds_draw_rows(data):
    task = av_mnist(rows=60, path=data)
    image = [task.rows(seed)[0][0].values["image"] for seed in (0, 0, 1)]
    assert np.array_equal(image[0], image[1])
    assert not np.array_equal(image[0], image[2])


def test_no_row_is_of_a_class_that_training_rows_lack(data):
    _, y = zip(*av_mnist(rows=5, path=data).rows(0), strict=True)
    assert set(y[1]) | set(y[2]) <= set(y[0])


def test_the_split_of_mimic3_is_the_usual_one_for_every_seed(data):
    usual = load_mimic3(data, task="icd9_140_239").test.y
    assert all((mimic3("icd9_140_239", path=data).rows(seed)[-1][1] == usual).all() for seed in (0, 1))


@pytest.mark.parametrize(("modality", "other"), [("audio", "image"), ("image", "audio")])
def test_roles_of_av_mnist(data, modality, other):
    task = av_mnist(modality, path=data)
    assert (task.observed, task.optional) == (other, (modality,))
    assert task.name == f"AV-MNIST, {modality} optional"


@pytest.mark.parametrize(
    ("view", "optional", "absent"),
    [
        ("two", ("series",), ()),
        ("three", ("vitals", "labs"), ("labs",)),
        ("five", ("vitals", "blood_gas", "chemistry", "haematology"), ("blood_gas", "chemistry")),
    ],
)
def test_views_of_physionet_name_what_is_optional_and_really_absent(data, view, optional, absent):
    task = physionet2012(view=view, path=data)
    assert task.optional == optional
    assert task.name == "PhysioNet 2012, in hospital death" + f", {view} modalities" * (view != "two")
    x, _ = task.rows(0)[0]
    assert {m for m in x.names if not x.present[m].all()} == set(absent)


def test_support2_has_two_observed_modalities_and_the_seed_shuffles_patients(data):
    task = support2("six_month_death", path=data)
    assert task.name == "SUPPORT2, six month death"
    assert (task.observed, len(task.optional)) == ("history", 7)
    assert sizes(task) == [256, 64, 80]
    labels = [task.rows(seed)[-1][1] for seed in (0, 1)]
    assert (labels[0] != labels[1]).any()
    x, _ = task.rows(0)[0]
    assert x.present["history"].all()
    assert x.present["physiology"].all()
    assert not any(x.present[name].all() for name in task.optional)


def test_breast_cancer_is_standardised_by_the_training_rows_of_the_seed():
    (x, _), validation, (x_test, _) = breast_cancer().rows(1)
    assert validation is None
    for name in x.names:
        # Of at most one row in a hundred values of up to 10 are moved to 5.
        np.testing.assert_allclose(x.values[name].mean(0), 0, atol=0.05)
        assert not np.allclose(x_test.values[name].mean(0), 0, atol=0.05)


def test_exact_impact_of_sets_and_of_one_given_the_other():
    task = three_signs(300)
    x, _ = task.rows(0)[-1]
    given = task.impact_of(x.drop("m1"), ("m1",))
    assert (given[x.values["o"][:, 0] < -3.5] < 0.05).all()  # both signs are known beforehand
    assert (task.impact_of(x, task.optional) == 0).all()
    task = xor_twins(300)
    x, _ = task.rows(0)[-1]
    np.testing.assert_array_equal(task.impact(x), xor_impact(x.values["o"]))
    assert (task.impact_of(x.drop("m"), ("m",)) == 0).all()


def test_wrong_files_and_numbers_are_said_at_once(data, tmp_path):
    with pytest.raises(DataNotFoundError, match="was not found"):
        mimic3(path=tmp_path)
    with pytest.raises(PrimoError, match="rows is 0; expected at least 1"):
        av_mnist(rows=0, path=data)
    with pytest.raises(PrimoError, match="'audio' or 'image'"):
        av_mnist("smell", path=data)
