"""Data sets as tasks: whose rows they are, how they shrink, and which roles their modalities have."""

import numpy as np
import pytest

from primo_pyro.data import load_mimic3
from primo_pyro.errors import DataNotFoundError, PrimoError
from primo_pyro.studies.tasks import av_mnist, mimic3, physionet2012
from tests.test_examples import write_avmnist, write_mimic3, write_physionet2012


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_avmnist(folder / "avmnist")
    write_physionet2012(folder / "physionet2012")
    write_mimic3(folder / "mimic3")
    return folder


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


def test_three_modalities_are_absent_where_they_really_are(data):
    task = physionet2012(view="three", path=data)
    x, _ = task.rows(0)[0]
    assert task.optional == ("vitals", "labs")
    assert x.present["static"].all()
    assert 0 < (~x.present["labs"]).sum() < len(x)


def test_wrong_files_and_numbers_are_said_at_once(data, tmp_path):
    with pytest.raises(DataNotFoundError, match="was not found"):
        mimic3(path=tmp_path)
    with pytest.raises(PrimoError, match="rows is 0; expected at least 1"):
        av_mnist(rows=0, path=data)
    with pytest.raises(PrimoError, match="'audio' or 'image'"):
        av_mnist("smell", path=data)
