"""The benchmark's file, invented: as pickles of several kinds and as npz."""

import os
import pickle
import random

import numpy as np
import pytest

from primo_pyro.data import load_mimic3
from primo_pyro.data.mimic3 import ArrayUnpickler, mortality, read_admissions
from primo_pyro.errors import DataFileError, PrimoError

N = 200


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    series = random.normal(50, 9, (N, 24, 12))
    series[3, 5, 2], series[4, 0, 0] = np.nan, np.inf
    static = random.normal(20_000, 5000, (N, 5))
    static[:, 1] = 0  # nobody has it
    labels = random.random((N, 6)) < 0.15
    return {
        "ep_tdata": series,
        "adm_features_all": static,
        "adm_labels_all": labels.astype(float),
        "y_icd9": (random.random((N, 20)) < 0.4).astype(np.int64),
    }


@pytest.fixture
def file(tmp_path, arrays):
    (tmp_path / "mimic3").mkdir()
    (tmp_path / "mimic3" / "im.pk").write_bytes(pickle.dumps(arrays))
    return tmp_path / "mimic3" / "im.pk"


def usual_order(n, seed=10):
    rows = list(range(n))
    random.Random(seed).shuffle(rows)
    return {"train": rows[n // 5 :], "validation": rows[: n // 10], "test": rows[n // 10 : n // 5]}


def test_rows_are_those_of_the_usual_loader(file):
    splits = load_mimic3(file)
    for part, rows in usual_order(N).items():
        assert splits.rows[part].tolist() == rows
    other = load_mimic3(file, seed=11)
    assert other.rows["test"].tolist() == usual_order(N, 11)["test"]


def test_labels(file, arrays):
    splits = load_mimic3(file)
    for part, rows in usual_order(N).items():
        for row, y in zip(rows, getattr(splits, part).y, strict=True):
            first = next((i for i in range(1, 6) if arrays["adm_labels_all"][row, i] > 0), 0)
            assert y == first
    assert (load_mimic3(file, "icd9_140_239").test.y == arrays["y_icd9"][splits.rows["test"], 1]).all()
    assert (load_mimic3(file, "icd9_460_519").test.y == arrays["y_icd9"][splits.rows["test"], 7]).all()
    assert mortality(np.zeros((1, 6))).tolist() == [0]


def test_standardised_by_training_rows(file):
    x = load_mimic3(file).train.x.values
    assert x["series"].mean((0, 1)) == pytest.approx(0, abs=1e-5)
    assert x["series"].std((0, 1)) == pytest.approx(1, abs=1e-5)
    assert x["static"][:, 0].std() == pytest.approx(1, abs=1e-5)
    assert not x["static"][:, 1].any()
    assert np.isfinite(x["series"]).all()


def test_admissions_are_read_in_their_own_units(file, arrays):
    known = read_admissions(file)["adm_features_all"]
    assert (known == arrays["adm_features_all"]).all()
    splits = load_mimic3(file)
    z = splits.test.x.values["static"][:, 0]
    assert np.corrcoef(known[splits.rows["test"], 0], z)[0, 1] == pytest.approx(1, abs=1e-6)


def test_test_rows_teach_nothing(tmp_path, arrays, file):
    splits = load_mimic3(file)
    changed = {name: values.copy() for name, values in arrays.items()}
    changed["ep_tdata"][splits.rows["test"]] += 100
    np.savez(tmp_path / "changed.npz", **changed)
    again = load_mimic3(tmp_path / "changed.npz")
    assert (again.train.x.values["series"] == splits.train.x.values["series"]).all()
    whole = load_mimic3(tmp_path / "changed.npz", standardise_on="all")
    assert whole.train.x.values["series"].mean() < -0.2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(tmp_path, arrays, protocol):
    nested = arrays | {"more": [np.float64(3), "text", b"bytes", None, (1, 2)], "order": arrays["y_icd9"].T}
    (tmp_path / "x.pk").write_bytes(pickle.dumps(nested, protocol))
    assert len(load_mimic3(tmp_path / "x.pk").train.y) == 160


def test_names_of_older_numpy_versions(arrays):
    content = pickle.dumps(arrays["y_icd9"], 2).replace(b"numpy._core.", b"numpy.core.")
    (array,) = [ArrayUnpickler(__import__("io").BytesIO(content), encoding="latin1").load()]
    assert (array == arrays["y_icd9"]).all()


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {}"),
        (eval, "open({!r}, 'w')"),
        (np.load, "{}"),
        (np.lib.format.open_memmap, "{}"),
        (__import__, "this"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_pickle_is_not_run(tmp_path, arrays, function, argument, protocol):
    trace = tmp_path / "trace"
    content = arrays | {"ep_tdata": Call(function, argument.format(str(trace)))}
    (tmp_path / "im.pk").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(DataFileError, match=r"only numpy arrays are allowed"):
        load_mimic3(tmp_path / "im.pk")
    assert not trace.exists()


def test_other_encodings_are_refused(tmp_path):
    import codecs

    (tmp_path / "im.pk").write_bytes(pickle.dumps({"a": Call(codecs.encode, "abc", "rot13")}))
    with pytest.raises(DataFileError, match="rot13"):
        load_mimic3(tmp_path / "im.pk")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("y_icd9"), "y_icd9 is missing; expected"),
        (lambda a: a.update(ep_tdata=a["ep_tdata"][:, :5]), r"ep_tdata has shape \[200, 5, 12\]"),
        (lambda a: a.update(y_icd9=a["y_icd9"][:, :3]), r"y_icd9 has shape \[200, 3\]"),
        (lambda a: a.update(y_icd9=a["y_icd9"][:9]), "as many in each"),
        (lambda a: a.update(ep_tdata=[[1.0]]), "ep_tdata is missing; expected"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, change, message):
    changed = dict(arrays)
    change(changed)
    (tmp_path / "im.pk").write_bytes(pickle.dumps(changed))
    with pytest.raises(DataFileError, match=message):
        load_mimic3(tmp_path)


def test_truncated_files_are_refused(tmp_path, arrays, file):
    whole = file.read_bytes()
    np.savez(tmp_path / "x.npz", **arrays)
    for name, content in (
        ("im.pk", whole[:-1000]),
        ("e.pk", b""),
        ("n.npz", (tmp_path / "x.npz").read_bytes()[:-99]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataFileError, match=f"{name}.*cannot be read"):
            load_mimic3(tmp_path / name)
    (tmp_path / "list.pk").write_bytes(pickle.dumps([1]))
    with pytest.raises(DataFileError, match="holds a list"):
        load_mimic3(tmp_path / "list.pk")


def test_gated_data_says_what_to_request(tmp_path, monkeypatch):
    with pytest.raises(DataFileError, match=r"request access at https://physionet\.org/content/mimiciii"):
        load_mimic3()
    # The demo beside it is not taken for the real thing.
    (tmp_path / "mimic3demo").mkdir()
    (tmp_path / "mimic3demo" / "benchmark_layout_24h.npz").write_bytes(b"")
    monkeypatch.setenv("PRIMO_DATA", str(tmp_path))
    with pytest.raises(DataFileError, match="request access"):
        load_mimic3()
    with pytest.raises(DataFileError, match="truncated"):
        load_mimic3(demo=True)


@pytest.mark.parametrize("wrong", [{"task": "death"}, {"standardise_on": "test"}])
def test_unknown_choices_are_refused(wrong):
    with pytest.raises(PrimoError, match=r"; expected .* Choose one"):
        load_mimic3(**wrong)


def test_patients_stay_together_where_they_are_known(tmp_path, arrays):
    patient = np.random.default_rng(1).integers(60, size=N)
    np.savez(tmp_path / "x.npz", **arrays, subject_id=patient)
    splits = load_mimic3(tmp_path / "x.npz")
    of = [set(patient[at]) for at in splits.rows.values()]
    assert sum(map(len, of)) == len(set(patient))
    assert sum(map(len, splits.rows.values())) == N


def test_the_open_demo(real_data):
    splits = load_mimic3(real_data, demo=True)
    assert sum(len(at) for at in splits.rows.values()) == 118
    y = np.concatenate([splits.train.y, splits.validation.y, splits.test.y])
    assert np.bincount(y).tolist() == [38, 1, 1, 8, 33, 37]
    with np.load(real_data / "mimic3demo" / "benchmark_layout_24h.npz") as content:
        patient = content["subject_id"]
        stored = content["y_mortality6"]
    assert (splits.test.y == stored[splits.rows["test"]]).all()
    assert not set(patient[splits.rows["test"]]) & set(patient[splits.rows["train"]])
    assert splits.train.x.values["series"].shape[1:] == (24, 12)
    assert 0 < load_mimic3(real_data, "icd9_460_519", demo=True).train.y.mean() < 1
