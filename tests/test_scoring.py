"""One function from frame to frame: the same answers in this process, in others, and by every engine."""

import pickle

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed

from primo_pyro import PrimoClassifier, PrimoRegressor
from primo_pyro.errors import ParameterError, SavedModelError
from primo_pyro.row_files import ParquetRows
from primo_pyro.scoring import QUESTIONS, Scorer, main, score_files

pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.filterwarnings("ignore::primo_pyro.errors.CollapseWarning")

SETTINGS = {"hidden_dim": 8, "max_epochs": 1, "num_samples": 16, "random_state": 0}


def table(rows=90):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(rows, 3)), columns=["age", "lab_a", "lab_b"])
    frame["sex"] = random.choice(["f", "m"], rows)
    frame.loc[random.random(rows) < 0.5, ["lab_a", "lab_b"]] = np.nan
    return frame.set_axis(pd.Index([f"p{row}" for row in range(rows)], name="patient"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A classifier, and the folder of it."""
    frame = table()
    clf = PrimoClassifier(blocks={"history": ["age", "sex"], "labs": "lab_*"}, **SETTINGS)
    clf.fit(frame, np.where(frame["age"] > 0, "old", "young"))
    folder = tmp_path_factory.mktemp("saved") / "model"
    clf.save(folder)
    return clf, folder


def direct(clf, question, frame):
    answer = getattr(clf, QUESTIONS[question])(frame)
    return answer if isinstance(answer, pd.DataFrame) else pd.DataFrame(answer, index=frame.index)


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_answers_are_those_of_the_estimator(question, saved):
    clf, folder = saved
    scorer = pickle.loads(pickle.dumps(Scorer(folder, question)))
    expected, answer = direct(clf, question, table()), scorer(table())
    assert np.array_equal(answer.to_numpy(), expected.to_numpy())
    assert answer.index.equals(expected.index)
    none = scorer(table().iloc[:0])
    assert len(none) == 0
    assert none.columns.tolist() == answer.columns.tolist()
    assert none.index.dtype == answer.index.dtype


def test_joblib(saved):
    clf, folder = saved
    parts = [table()[start : start + 30] for start in (0, 30, 60)]
    answers = Parallel(n_jobs=2)(delayed(Scorer(folder))(part) for part in parts)
    for part, answer in zip(parts, answers, strict=True):
        pd.testing.assert_frame_equal(answer, clf.predictive_impact(part), rtol=0, atol=0)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_dask(scheduler, saved):
    dd = pytest.importorskip("dask.dataframe")
    clf, folder = saved
    scorer = Scorer(folder, settings={"modality": "labs"})
    parts = dd.from_pandas(table(), npartitions=3, sort=False)
    answer = parts.map_partitions(scorer, meta=scorer(parts.head(0))).compute(
        scheduler=scheduler, num_workers=2
    )
    pieces = [clf.predictive_impact(part.compute(), "labs") for part in parts.partitions]
    pd.testing.assert_frame_equal(answer, pd.concat(pieces), rtol=0, atol=0, check_index_type=False)


def test_the_form_that_spark_takes(saved):
    """Frames without an index come, as many as there are, and the answers name rows in a column."""
    clf, folder = saved
    frames = (table()[start : start + 45].reset_index() for start in (0, 45))
    first, second = Scorer(folder, "probabilities", id="patient").each(frames)
    assert first.columns.tolist() == ["patient", "p_old", "p_young"]
    assert first["patient"].tolist() == table().index[:45].tolist()
    assert np.array_equal(second[["p_old", "p_young"]], clf.predict_proba(table()[45:]))
    lines = Scorer(folder, "plausible_labels", id="patient")(table().reset_index())
    assert "row" not in lines
    assert set(lines["patient"]) == set(table().index)


def test_lists_and_numbers_without_blocks(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"age": random.normal(size=60), "wave": list(random.normal(size=(60, 5, 2)))})
    frame["wave"] = frame["wave"].where(random.random(60) < 0.6, None)
    frame["wave"] = [wave.tolist() if isinstance(wave, np.ndarray) else None for wave in frame["wave"]]
    frame.to_parquet(tmp_path / "rows.parquet")
    columns = {"history": ["age"], "ecg": "wave"}
    x = ParquetRows(tmp_path / "rows.parquet", columns)
    reg = PrimoRegressor(**SETTINGS).fit(x, frame["age"].to_numpy())
    reg.save(tmp_path / "model")
    scorer = Scorer(tmp_path / "model", columns=columns)
    assert np.array_equal(scorer(frame), reg.predictive_impact(x[:]))
    assert scorer(frame[:0]).columns.tolist() == scorer(frame).columns.tolist()


def test_files_part_by_part(saved, tmp_path):
    """Each row group once, whichever part it falls to; what exists is not computed again."""
    clf, folder = saved
    table().to_parquet(tmp_path / "rows.parquet", row_group_size=20)
    rows = ParquetRows(tmp_path / "rows.parquet", id="patient")
    second = score_files(Scorer(folder), rows, tmp_path / "out", shard=(2, 2), n_jobs=2)
    assert [file.name for file in second] == ["rows-000001.parquet", "rows-000003.parquet"]
    before = second[0].stat().st_mtime_ns
    main([str(folder), str(tmp_path / "rows.parquet"), str(tmp_path / "out"), "--id", "patient"])
    assert second[0].stat().st_mtime_ns == before
    answers = pd.read_parquet(sorted((tmp_path / "out").glob("*.parquet")))
    pieces = [clf.predictive_impact(table()[start : start + 20]) for start in range(0, 90, 20)]
    pd.testing.assert_frame_equal(answers, pd.concat(pieces), rtol=0, atol=0)
    with pytest.raises(ParameterError, match="answers of another scorer"):
        score_files(Scorer(folder, "label"), rows, tmp_path / "out")
    with pytest.raises(ParameterError, match=r"shard is 3/2; expected from 1/2 to 2/2"):
        score_files(Scorer(folder), rows, tmp_path / "out", shard=(3, 2))


def test_another_model_in_the_folder_is_refused(saved, tmp_path):
    clf, _ = saved
    clf.save(tmp_path / "model")
    scorer = Scorer(tmp_path / "model", "label")
    other = PrimoClassifier(blocks=clf.blocks, **SETTINGS | {"random_state": 1})
    other.fit(table(), np.where(table()["age"] > 0, "old", "young")).save(tmp_path / "model")
    with pytest.raises(SavedModelError, match="holds another model than when the scorer was made"):
        scorer(table())
    with pytest.raises(SavedModelError, match="holds no saved model"):
        Scorer(tmp_path)
    with pytest.raises(ParameterError, match=r"question is 'v'; expected one of 'impact', 'label'"):
        Scorer(tmp_path / "model", "v")
