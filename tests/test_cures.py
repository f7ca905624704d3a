"""Typical first mistakes: each message names a cure that, written down, leads to a working line."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.ensemble import BaggingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from primo_pyro import Modalities, PrimoClassifier, TableReader, read_table
from primo_pyro.errors import CostError, DataFileError, LabelError, ModalityError, PrimoError, TableWarning

ROWS = 40


def a_frame():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(20, 90, ROWS),
            "sex": np.resize(["f", "m", "f"], ROWS),
            "lab": random.normal(size=ROWS),
            "gas": random.normal(size=ROWS),
            "died": np.resize([0, 1, 1], ROWS),
        },
        index=[f"p{i}" for i in range(ROWS)],
    )
    frame.loc[frame.index[::2], "lab"] = np.nan
    frame.loc[frame.index[::3], "gas"] = np.nan
    return frame


BLOCKS = {"history": ["age", "sex"], "labs": "lab", "gas": "gas"}


def small(**settings):
    return PrimoClassifier(
        **{"hidden_dim": 4, "latent_dim": 1, "max_epochs": 1, "num_samples": 8, "random_state": 0} | settings
    )


@pytest.fixture(scope="module")
def fitted():
    return small(blocks=BLOCKS).fit(a_frame(), "died")


# Name: what is written at first, what is raised, what its message says, and the cure of the message.
READ = "TableReader({'a': 'c'}).fit_transform(frame)"
MISTAKES = {
    "texts as a block": (
        "Modalities({'m': frame[['age', 'sex']]})",
        *(ModalityError, "TableReader({'m': ['age', 'sex']}).fit_transform(frame)"),
        "TableReader({'m': ['age', 'sex']}).fit_transform(frame)",
    ),
    "a frame as blocks": (
        "Modalities(frame)",
        *(ModalityError, "TableReader({'history': ['age', 'sex']}).fit_transform(frame)"),
        "TableReader({'history': ['age', 'sex']}).fit_transform(frame)",
    ),
    "a frame without blocks": (
        "small().fit(frame[['age', 'sex']], y)",
        *(ModalityError, "give such blocks to the estimator"),
        "small(blocks={'x': ['age', 'sex']}).fit(frame[['age', 'sex']], y)",
    ),
    "a path for a frame": (
        "TableReader({'a': 'age'}).fit(path)",
        *(ModalityError, "read_table(path)"),
        "TableReader({'a': 'age'}).fit(read_table(path))",
    ),
    "another kind of file": ("read_table(path + 'x')", DataFileError, "Correct the path", "read_table(path)"),
    "a column misspelt": (
        "TableReader({'a': 'Age'}).fit(frame)",
        *(ModalityError, "expected some like 'age'"),
        "TableReader({'a': 'age'}).fit(frame)",
    ),
    "a column in two blocks": (
        "TableReader({'a': '*a*', 'b': 'gas'}).fit(frame)",
        *(ModalityError, '"!gas"'),
        "TableReader({'a': ['*a*', '!gas', '!lab'], 'b': 'gas'}).fit(frame)",
    ),
    "a decimal comma": (
        "frame['c'] = np.resize(['1,5', '2,5'], len(frame)); " + READ,
        *(ModalityError, "frame['c'].str.replace(',', '.').astype(float)"),
        "frame['c'] = frame['c'].str.replace(',', '.').astype(float); " + READ,
    ),
    "thousands": (
        "frame['c'] = np.resize(['1,500', '2,500,000'], len(frame)); " + READ,
        *(ModalityError, "frame['c'].str.replace(',', '').astype(float)"),
        "frame['c'] = frame['c'].str.replace(',', '').astype(float); " + READ,
    ),
    "units": (
        "frame['c'] = np.resize(['5 mg', '7.5 mg'], len(frame)); " + READ,
        *(
            ModalityError,
            r"frame['c'].str.extract(r'([-+]?\d+\.?\d*)')[0].astype(float)",
        ),
        r"frame['c'] = frame['c'].str.extract(r'([-+]?\d+\.?\d*)')[0].astype(float); " + READ,
    ),
    "a word among numbers": (
        "frame['c'] = np.resize(['1', '2', '3', 'many'], len(frame)); " + READ,
        *(ModalityError, "frame['c'] = pd.to_numeric(frame['c'], errors='coerce')"),
        "frame['c'] = pd.to_numeric(frame['c'], errors='coerce'); " + READ,
    ),
    "codes that are categories": (
        "frame['c'] = np.resize(['5 a', '7 a', '5 a'], len(frame)); " + READ,
        *(ModalityError, "frame['c'] = frame['c'].astype('category')"),
        "frame['c'] = frame['c'].astype('category'); " + READ,
    ),
    "dates": (
        "frame['c'] = pd.date_range('2020-01-01', periods=len(frame)); " + READ,
        *(ModalityError, """(pd.to_datetime(frame['c']) - pd.Timestamp("2000-01-01")).dt.days"""),
        "frame['c'] = (pd.to_datetime(frame['c']) - pd.Timestamp('2000-01-01')).dt.days; " + READ,
    ),
    "dates as a block": (
        "frame['c'] = pd.date_range('2020-01-01', periods=len(frame), tz='UTC'); "
        "Modalities({'m': frame[['c']]})",
        *(
            ModalityError,
            """(pd.to_datetime(frame['c']).dt.tz_convert(None) - pd.Timestamp("2000-01-01")).dt.days""",
        ),
        "frame['c'] = (pd.to_datetime(frame['c']).dt.tz_convert(None) - pd.Timestamp('2000-01-01')).dt.days; "
        "Modalities({'m': frame[['c']]})",
    ),
    "spans of time": (
        "frame['c'] = pd.to_timedelta(np.arange(len(frame)), 'D'); " + READ,
        *(ModalityError, "frame['c'].dt.total_seconds() / 86400"),
        "frame['c'] = frame['c'].dt.total_seconds() / 86400; " + READ,
    ),
    "a block of one value": (
        "frame['c'] = 1; TableReader({'a': 'age', 'b': 'c'}).fit(frame)",
        *(ModalityError, "Leave 'b' out of blocks"),
        "TableReader({'a': 'age'}).fit(frame)",
    ),
    "infinities": (
        "frame['c'] = frame['age'] / (frame['age'] - frame['age'].iloc[1]); " + READ,
        *(ModalityError, "frame['c'] = frame['c'].where(frame['c'].abs() < 1e38)"),
        "frame['c'] = frame['c'].where(frame['c'].abs() < 1e38); " + READ,
    ),
    "a column twice": (
        "frame = pd.concat([frame, frame['age']], axis=1); TableReader({'a': 'age'}).fit(frame)",
        *(ModalityError, "frame = frame.loc[:, ~frame.columns.duplicated()]"),
        "frame = frame.loc[:, ~frame.columns.duplicated()]; TableReader({'a': 'age'}).fit(frame)",
    ),
    "a sparse block": (
        "values = csr_matrix(np.eye(3)); Modalities({'m': values})",
        *(ModalityError, "values.toarray()"),
        "Modalities({'m': values.toarray()})",
    ),
    "blocks of other rows": (
        "o, m = frame[['age']], frame[['gas']].dropna(); Modalities({'o': o, 'm': m})",
        *(ModalityError, "m.reindex(o.index)"),
        "Modalities({'o': o, 'm': m.reindex(o.index)})",
    ),
    "labels of other rows": (
        "x, y = Modalities({'o': frame[['age']]}), y.iloc[5:]; small().fit(x, y)",
        *(LabelError, "x[x.index.isin(y.index)] and y[y.index.isin(x.index)]"),
        "small().fit(x[x.index.isin(y.index)], y[y.index.isin(x.index)])",
    ),
    "the index lost on one side": (
        "x = Modalities({'o': frame[['age']]}); small().fit(x, y.reset_index(drop=True))",
        *(LabelError, "pass .to_numpy()"),
        "small().fit(x, y.reset_index(drop=True).to_numpy())",
    ),
    "a column of labels misspelt": (
        "small(blocks=BLOCKS).fit(frame, 'dead')",
        *(LabelError, "'died'"),
        "small(blocks=BLOCKS).fit(frame, 'died')",
    ),
    "masked labels": (
        "x = frame[['age']].to_numpy(); y = np.ma.array(y, mask=y.index == 'p3'); small().fit(x, y)",
        *(LabelError, "x[~mask], y[~mask] with mask = np.ma.getmaskarray(y)"),
        "mask = np.ma.getmaskarray(y); small().fit(x[~mask], y[~mask])",
    ),
    "present, and nothing but NaN": (
        "m = [[1.0], [np.nan]]; Modalities({'m': m}, present={'m': [True, True]})",
        *(ModalityError, "Leave 'm' out of present"),
        "Modalities({'m': m})",
    ),
    "optional as a string": (
        "small(blocks=BLOCKS, optional='labs').fit(frame, 'died')",
        *(ModalityError, "optional=('labs',)"),
        "small(blocks={k: BLOCKS[k] for k in ('history', 'labs')}, optional=('labs',)).fit(frame, 'died')",
    ),
    "to hide what some rows do not have": (
        "estimator.impact_gap(frame, 'labs')",
        *(ModalityError, "Write x = estimator.read(x), and pass x[x.present['labs']]"),
        "x = estimator.read(frame); estimator.impact_gap(x[x.present['labs']], 'labs')",
    ),
    "to hide a set": (
        "estimator.impact_gap(frame, ['labs', 'gas'])",
        *(ModalityError, "x[x.present['gas'] & x.present['labs']]"),
        "x = estimator.read(frame); "
        "estimator.impact_gap(x[x.present['gas'] & x.present['labs']], ['labs', 'gas'])",
    ),
    "to hide from rows that have nothing": (
        "estimator.impact_gap(frame)",
        *(ModalityError, "x[x.present['gas'] | x.present['labs']]"),
        "x = estimator.read(frame); estimator.impact_gap(x[x.present['gas'] | x.present['labs']])",
    ),
    "costs of other rows": (
        "x, cost = estimator.read(frame), pd.Series(2.0, index=frame.index[:9]); "
        "estimator.rank_acquisitions(x, {'labs': cost, 'gas': 1})",
        *(CostError, "x[x.index.isin("),
        "estimator.rank_acquisitions(x[x.index.isin(cost.index)], {'labs': cost, 'gas': 1})",
    ),
    "a tool for arrays": (
        "x = Modalities({'o': frame[['age']]}); BaggingClassifier(small(), 2).fit(x, y)",
        *(ModalityError, "give x.positions, and make_pipeline(FunctionTransformer(x.recombine), clf)"),
        "clf = small(); BaggingClassifier(make_pipeline(FunctionTransformer(x.recombine), clf), 2).fit("
        "x.positions, y.to_numpy())",
    ),
    "square images": (
        "x = {'i': np.random.default_rng(0).normal(size=(40, 28, 28))}; small().fit(x, y)",
        *(TableWarning, "values[:, None]"),
        "small().fit({'i': x['i'][:, None]}, y)",
    ),
    "colours last": (
        "x = {'i': np.random.default_rng(0).normal(size=(40, 16, 16, 3))}; small().fit(x, y)",
        *(TableWarning, "np.moveaxis(values, -1, 1)"),
        "small().fit({'i': np.moveaxis(x['i'], -1, 1)}, y)",
    ),
}


def test_thirty_mistakes():
    assert len(MISTAKES) >= 30


@pytest.mark.filterwarnings("ignore::primo_pyro.errors.CollapseWarning")
@pytest.mark.filterwarnings("ignore::primo_pyro.errors.UnseenPatternWarning")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_cure_works(mistake, fitted, tmp_path):
    written, error, said, cure = MISTAKES[mistake]
    path = tmp_path / "t.csv"
    a_frame().to_csv(path)
    names = {
        **{"np": np, "pd": pd, "csr_matrix": csr_matrix, "BaggingClassifier": BaggingClassifier},
        **{"make_pipeline": make_pipeline, "FunctionTransformer": FunctionTransformer},
        **{"Modalities": Modalities, "TableReader": TableReader, "read_table": read_table},
        **{"small": small, "BLOCKS": BLOCKS, "estimator": fitted, "path": str(path)},
        **{"frame": a_frame(), "y": a_frame()["died"]},
    }
    with pytest.raises(error) as caught:
        exec(written, names)
    assert isinstance(caught.value, PrimoError | TableWarning)
    assert said in str(caught.value)
    exec(cure, names)
