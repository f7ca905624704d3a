"""Rows that stay in files: the same rows, the same answers, and never more than a few shards in memory."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from primo_pyro import Modalities, PrimoClassifier, PrimoRegressor
from primo_pyro.baselines import UnimodalClassifier
from primo_pyro.errors import (
    CheckpointError,
    DataFileError,
    ModalityError,
    TableWarning,
    UnseenPatternWarning,
)
from primo_pyro.row_files import ArrayRows, DatasetRows, ParquetRows
from primo_pyro.rows import POOLED, StoredRows, shuffled

pytest.importorskip("pyarrow.parquet")
# Two epochs on few rows teach little, which is not what is tested.
pytestmark = pytest.mark.filterwarnings("ignore::primo_pyro.errors.CollapseWarning")

BLOCKS = {"history": ["age", "sex"], "labs": "lab_*"}
SETTINGS = {"hidden_dim": 8, "max_epochs": 2, "num_samples": 16, "random_state": 0}
ROWS, GROUP = 600, 50
# Logits of single precision (1.2e-7) near 1, through two layers of eight terms; the order of sums depends on
# the number of rows.
ROUNDING = 2e-6


def table(rows=ROWS):
    random = np.random.default_rng(0)
    labs = random.normal(size=(rows, 3))
    frame = pd.DataFrame(labs, columns=["lab_a", "lab_b", "lab_c"])
    frame["age"] = random.integers(20, 90, rows)
    frame["sex"] = random.choice(["f", "m"], rows)
    frame["died"] = np.where(labs[:, 0] + (frame["age"] - 55) / 20 > 0, "yes", "no")
    frame.loc[random.random(rows) < 0.4, ["lab_a", "lab_b", "lab_c"]] = np.nan
    frame.loc[::7, "lab_b"] = np.nan  # single cells are missing, too
    frame.insert(0, "patient", [f"p{row:04d}" for row in random.permutation(rows)])
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two files, of several row groups each."""
    place, frame = tmp_path_factory.mktemp("rows"), table()
    frame[:250].to_parquet(place / "part-0.parquet", row_group_size=GROUP, index=False)
    frame[250:].to_parquet(place / "part-1.parquet", row_group_size=GROUP, index=False)
    return place


@pytest.fixture(scope="module")
def fitted(folder):
    return PrimoClassifier(blocks=BLOCKS, **SETTINGS).fit(ParquetRows(folder, id="patient"), "died")


# --- Sources -------------------------------------------------------------------------------------------


def image_rows(rows=40):
    random = np.random.default_rng(1)
    image = random.integers(0, 255, size=(rows, 1, 4, 4), dtype=np.uint8)
    series = random.normal(size=(rows, 3, 2))
    has = random.random(rows) < 0.6
    return image, series, has, random.integers(0, 2, rows)


def parquet_source(place):
    image, series, has, y = image_rows()
    frame = pd.DataFrame({"image": image.tolist(), "series": series.tolist(), "y": y})
    frame["series"] = frame["series"].where(has)
    frame.to_parquet(place / "rows.parquet", row_group_size=7)
    return ParquetRows(place / "rows.parquet", {"image": "image", "series": "series"})


def array_source(place):
    image, series, has, y = image_rows()
    for name, values in {"image": image, "series": series, "series.present": has, "y": y}.items():
        np.save(place / f"{name}.npy", values)
    return ArrayRows(place, ["image", "series"])


class Items(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, row):
        image, series, has, y = image_rows()
        return {
            "image": torch.as_tensor(image[row]),
            "series": series[row] if has[row] else None,
            "y": int(y[row]),
        }


def dataset_source(place):
    return DatasetRows(Items(), ["image", "series"])


class ManyItems(Items):
    """That gives items by several alone, as data sets of Hugging Face do best."""

    def __getitems__(self, rows):
        return [Items()[row] for row in rows]

    def __getitem__(self, row):
        raise NotImplementedError


def many_items_source(place):
    return DatasetRows(ManyItems(), ["image", "series"])


SOURCES = [parquet_source, array_source, dataset_source, many_items_source]


@pytest.mark.parametrize("source", SOURCES)
def test_every_storage_has_the_rows_that_were_put_in(source, tmp_path, monkeypatch):
    monkeypatch.setattr("primo_pyro.row_files.SHARD", 9)
    monkeypatch.setattr("primo_pyro.row_files.ITEMS", 9)
    stored = source(tmp_path)
    image, series, has, y = image_rows()
    whole = Modalities({"image": image, "series": series}, {"series": has})
    assert (len(stored), stored.names, stored.column("y").tolist()) == (40, whole.names, y.tolist())
    assert stored.present["series"].tolist() == has.tolist()
    for rows in (slice(None), slice(5, 31, 2), np.array([39, 0, 17, 17, 3]), has, 12):
        some, expected = stored[rows], whole[rows]
        assert some.present["series"].tolist() == expected.present["series"].tolist()
        assert np.array_equal(some.values["image"], expected.values["image"])
        known = expected.present["series"]
        assert np.array_equal(some.values["series"][known], expected.values["series"][known])
    again = pickle.loads(pickle.dumps(stored.part(np.array([4, 30, 31]))))
    assert again.row_labels.tolist() == [4, 30, 31]
    assert np.array_equal(again[:].values["image"], image[[4, 30, 31]])


@pytest.mark.parametrize("source", [parquet_source, dataset_source])
def test_images_and_series_are_trained_on_and_asked_about(source, tmp_path):
    stored = source(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few rows teach nothing
        clf = PrimoClassifier(**SETTINGS).fit(stored, "y")
    assert clf.optional_ == ("series",)
    assert clf.predict_proba(stored) == pytest.approx(clf.predict_proba(stored[:]), abs=ROUNDING)


def test_numbers_side_by_side_with_nulls(tmp_path):
    frame = pd.DataFrame({"a": [1, None, None], "b": [0.5, 2.0, None], "text": ["x", "y", "z"]})
    frame.to_parquet(tmp_path / "rows.parquet")
    x = ParquetRows(tmp_path, {"ab": ["a", "b"]})[:]
    assert x.present["ab"].tolist() == [True, True, False]
    assert np.array_equal(x.values["ab"][:2], [[1, 0.5], [np.nan, 2]], equal_nan=True)
    with pytest.raises(
        ModalityError, match=r"3 rows of .*string; expected numbers\. Name such columns in blocks"
    ):
        ParquetRows(tmp_path, {"t": ["text"]})[:]
    with pytest.raises(ModalityError, match="no column 'c'; expected one of"):
        ParquetRows(tmp_path, {"t": ["c"]})[:]


# --- Order ---------------------------------------------------------------------------------------------


class Counted(StoredRows):
    """100 shards of 10 rows, that counts what is read."""

    def __init__(self):
        super().__init__([10] * 100, ["o"])
        self.read = []

    def read_shard(self, shard):
        self.read.append(shard)
        return Modalities({"o": np.arange(10 * shard, 10 * shard + 10)})

    def read_column(self, name):
        return np.arange(1000)

    @property
    def files(self):
        return []


def test_an_epoch_reads_each_shard_once_and_mixes_rows():
    x = Counted()
    order = shuffled(x)
    assert sorted(order.tolist()) == list(range(1000))
    seen = [x[rows].values["o"][:, 0] for rows in np.array_split(order, 31)]  # batches that cross pools
    assert np.array_equal(np.concatenate(seen), order)
    assert sorted(x.read) == list(range(100))
    assert max(len(set(rows // 10)) for rows in np.array_split(order, 31)) <= 2 * POOLED
    # Within a pool of 80 rows at random: the first twenty come from nearly all of its eight shards.
    assert len(set(order[:20] // 10)) >= 5
    torch.manual_seed(1)
    assert not np.array_equal(order, shuffled(x))


def test_no_more_than_a_pool_is_kept():
    x = Counted()
    x[np.arange(0, 1000, 5)]
    assert len(x._kept) == POOLED


# --- The same answers ----------------------------------------------------------------------------------


def test_what_is_learnt_is_that_of_a_table_in_memory(folder, fitted):
    """The sample holds all of these few rows, so that nothing but the order in an epoch differs."""
    frame = table().set_index("patient")
    whole = PrimoClassifier(blocks=BLOCKS, **SETTINGS).fit(frame, "died")
    for name in ("shapes_", "optional_", "patterns_", "columns_", "seed_"):
        assert getattr(fitted, name) == getattr(whole, name)
    assert fitted.classes_.tolist() == ["no", "yes"]
    assert np.array_equal(fitted.missing_cells_["labs"], whole.missing_cells_["labs"])
    for one, other in zip(fitted.model_.encoder.buffers(), whole.model_.encoder.buffers(), strict=True):
        assert torch.equal(one, other)
    assert fitted.history_["val_log_loss"].iloc[-1] == pytest.approx(
        whole.history_["val_log_loss"].iloc[-1], abs=0.1
    )


@pytest.mark.parametrize(
    "question",
    ["predictive_impact", "predict", "predict_proba", "plausible_labels", "uncertainty", "summarise"],
)
def test_answers_by_chunks_are_those_of_all_rows(question, folder, fitted):
    stored = getattr(fitted, question)(ParquetRows(folder, id="patient"))
    whole = getattr(fitted, question)(table().set_index("patient"))
    if question == "summarise":
        stored, whole = stored.impact, whole.impact
    if isinstance(stored, pd.DataFrame):
        pd.testing.assert_frame_equal(stored, whole, rtol=0, atol=ROUNDING)
    elif question == "predict":
        assert np.array_equal(stored, whole)
    else:
        assert stored == pytest.approx(whole, abs=ROUNDING)


def test_each_modality_of_rows_without_names_has_their_positions(folder, fitted):
    frame = fitted.predictive_impact(ParquetRows(folder), "each")
    assert frame["row"].tolist() == list(range(ROWS))


def test_a_warning_is_given_once(folder, tmp_path):
    frame = table()
    frame.assign(age=np.nan, sex=None)[:300].to_parquet(tmp_path / "a.parquet", row_group_size=50)
    clf = PrimoClassifier(blocks=BLOCKS, optional=("history", "labs"), **SETTINGS).fit(
        ParquetRows(folder), "died"
    )
    with pytest.warns(UnseenPatternWarning) as caught:
        clf.predict(ParquetRows(tmp_path))
    assert len(caught) == 1


def test_numbers_several_members_groups_and_weights(folder, tmp_path):
    x = ParquetRows(folder, {"labs": ["lab_a", "lab_b", "lab_c"], "age": ["age"]}, id="patient")
    y = pd.Series(x.column("age"), x.index).iloc[::-1].astype(float)  # put into the order of the rows
    reg = PrimoRegressor(members=2, **SETTINGS)
    groups = np.arange(ROWS) // 3
    reg.fit(x, y, groups=groups, sample_weight=np.ones(ROWS))
    assert sorted(np.bincount(reg.fold_of_)) == [300, 300]
    assert reg.predict(x).shape == (ROWS,)


def test_resume_after_a_break(folder, tmp_path):
    """The same parameters as without a break; other files are refused."""
    x, settings = ParquetRows(folder), SETTINGS | {"max_epochs": 3}

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    file = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        PrimoClassifier(blocks=BLOCKS, checkpoint=file, callbacks=[stop], **settings).fit(x, "died")
    (tmp_path / "other").mkdir()
    table().to_parquet(tmp_path / "other" / "a.parquet", row_group_size=60)
    with pytest.raises(CheckpointError, match="rows"):
        PrimoClassifier(blocks=BLOCKS, checkpoint=file, **settings).fit(
            ParquetRows(tmp_path / "other"), "died"
        )
    again = PrimoClassifier(blocks=BLOCKS, checkpoint=file, **settings).fit(x, "died")
    whole = PrimoClassifier(blocks=BLOCKS, **settings).fit(x, "died")
    assert all(map(torch.equal, again.model_.parameters(), whole.model_.parameters()))


# --- Refusals ------------------------------------------------------------------------------------------


def test_what_needs_all_rows_says_so(folder, fitted):
    x = ParquetRows(folder, id="patient")
    with pytest.raises(ModalityError, match=r"needs all rows at once; expected rows in memory\. Pass some"):
        fitted.rank_acquisitions(x)
    some = fitted.read(x)[:100]
    assert fitted.rank_acquisitions(some)["row"].isin(x.index[:100]).all()
    assert fitted.score(x, "died") == fitted.score(table().set_index("patient"), "died")
    with pytest.raises(ModalityError, match="UnimodalClassifier needs all rows at once"):
        UnimodalClassifier("labs", blocks=BLOCKS, random_state=0).fit(x, "died")
    with pytest.raises(ModalityError, match="a warm start needs all rows"):
        fitted.__class__(blocks=BLOCKS, warm_start=True, **SETTINGS).fit(x, "died").fit(x, "died")
    with pytest.raises(ModalityError, match=r"expected an array\. Take some rows into memory"):
        np.asarray(x)


def test_columns_are_named_in_one_place(folder, tmp_path):
    with pytest.raises(ModalityError, match="came without columns, to an estimator without blocks"):
        PrimoClassifier(**SETTINGS).fit(ParquetRows(folder), "died")
    with pytest.raises(ModalityError, match="has no columns, and the estimator has blocks"):
        PrimoClassifier(blocks=BLOCKS, **SETTINGS).fit(array_source(tmp_path), "y")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataFileError, match=r"holds no file \*\.parquet"):
        ParquetRows(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1, and then nothing of the kind")
    with pytest.raises(DataFileError, match="cannot be read"):
        ParquetRows(tmp_path)
    with pytest.raises(DataFileError, match="cannot be read"):
        ArrayRows(tmp_path, ["image"])
    np.save(tmp_path / "image.npy", np.zeros((3, 2)))
    np.save(tmp_path / "sound.npy", np.zeros((4, 2)))
    with pytest.raises(ModalityError, match="expected as many in each"):
        ArrayRows(tmp_path, ["image", "sound"])
    with pytest.raises(ModalityError, match="not all mappings"):
        DatasetRows([1, 2], ["image"])[:]
    with pytest.raises(ModalityError, match="with a length"):
        DatasetRows(iter([]), ["image"])


def test_lists_of_several_lengths_and_large_row_groups(tmp_path, monkeypatch):
    pd.DataFrame({"wave": [[1.0], [1.0, 2.0]]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ModalityError, match=r"lists of several lengths \(.*\) in 2 rows; expected one\. Pad"):
        ParquetRows(tmp_path, {"wave": "wave"})[:]
    monkeypatch.setattr("primo_pyro.row_files.LARGE", 1)
    with pytest.warns(TableWarning, match=r"row groups of 2 rows.*row_group_size"):
        ParquetRows(tmp_path)
