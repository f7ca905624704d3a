"""Rows and labels of every kind: read as an independent reading says, or refused in our own words."""

import datetime
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from primo_pyro import Modalities, PrimoClassifier, TableReader
from primo_pyro.data import make_xor
from primo_pyro.errors import LabelError, ModalityError, PrimoError, PrimoWarning
from primo_pyro.labels import ClassLabels, IndicatorLabels, NumberLabels, OrderedLabels
from tests.attacks.conftest import examples

COMPLETE, Y = make_xor(60, random_state=0)
X = COMPLETE.drop_at_random("m", random_state=0)
SMALL = {"latent_dim": 2, "hidden_dim": 4, "max_epochs": 1, "num_samples": 8, "random_state": 0}

SCALARS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-2, 2),
    st.floats(),
    st.text(max_size=3),
    st.booleans(),
    st.none(),
    st.sampled_from(["$$", "\ud800", np.nan, pd.NA, pd.NaT, Decimal(1), 1j, b"a", (1,), object(), int]),
    st.sampled_from([np.float16(1), np.longdouble(1), np.datetime64("2020"), datetime.date(2020, 1, 1)]),
)
DTYPES = ["?", "i1", "u1", "i8", "u8", "f2", "f4", "f8", "g", "c8", "O", "U3", "S3", "M8[D]", "m8[D]", "V4"]
TORCH = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.uint8, torch.bool]
TORCH += [torch.complex64, torch.float8_e4m3fn]


@st.composite
def arrays(draw):
    """Something that an array can be made of, or not."""
    kind = draw(st.integers(0, 4))
    rows, columns = draw(st.integers(0, 5)), draw(st.sampled_from([None, 0, 1, 2]))
    shape = (rows,) if columns is None else (rows, columns)
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if kind == 0:
        return draw(st.lists(SCALARS, max_size=5))
    if kind == 1:
        values = random.integers(0, 3, shape)
        dtype = draw(st.sampled_from(DTYPES))
        return values.astype("S4").view("V4") if dtype == "V4" else values.astype(dtype)
    if kind == 2:
        tensor = torch.as_tensor(random.integers(0, 3, shape)).to(draw(st.sampled_from(TORCH)))
        view = draw(st.sampled_from(["plain", "conjugate", "negated", "meta", "sparse"]))
        if view == "conjugate" and tensor.is_complex():
            return tensor.conj()
        if view == "negated" and tensor.dtype == torch.float32:
            return torch._neg_view(tensor)
        if view == "sparse" and tensor.dtype == torch.float32:
            return tensor.to_sparse()
        return tensor.to("meta") if view == "meta" else tensor
    if kind == 3:
        return np.ma.array(random.normal(size=shape), mask=random.random(shape) < 0.3)
    series = pd.Series(random.integers(0, 3, rows))
    dtype = draw(st.sampled_from(["Int64", "Float32", "category", "string", "boolean", "float"]))
    return (series > 0 if dtype == "boolean" else series).astype(dtype)


def read_alone(values):
    """Another reading of a block, for what needs no decision."""
    if isinstance(values, torch.Tensor):
        return np.array(values.to_dense().double().tolist(), float)
    if isinstance(values, np.ma.MaskedArray):
        return values.filled(np.nan)
    missing = (None, pd.NA)
    flat = [np.nan if any(v is m for m in missing) else float(v) for v in np.asarray(values, object).ravel()]
    return np.array(flat).reshape(np.shape(values))


@given(arrays())
@examples(300)
def test_a_block_is_read_as_it_is_or_refused(values):
    try:
        x = Modalities({"o": values})
    except ModalityError as error:
        assert len(str(error)) > 40  # noqa: PT017
        return
    expected = read_alone(values)
    expected = expected[:, None] if expected.ndim == 1 else expected
    if not expected.size:
        return
    rows = x.present["o"]
    np.testing.assert_allclose(x.values["o"][rows].astype(float), expected[rows], rtol=1e-6, equal_nan=True)
    if expected.shape[1]:
        assert (rows == ~np.isnan(expected).all(1)).all()


@st.composite
def columns(draw):
    """A column of a table: with cells of any kind, or of one type."""
    values = draw(arrays())
    raw = getattr(values, "dtype", None) == "V4"  # which pandas takes, and cannot print
    if isinstance(values, list) or raw or draw(st.booleans()):
        cells = values.filled(np.nan) if isinstance(values, np.ma.MaskedArray) else values
        return pd.Series([*cells] * draw(st.sampled_from([1, 6])), dtype=object)
    values = values[:, 0] if np.ndim(values) == 2 and np.shape(values)[1] else values
    try:
        return pd.Series(values.numpy() if isinstance(values, torch.Tensor) else values)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):  # pandas has no such columns
        return pd.Series(dtype=float)


@given(columns())
@examples(300)
def test_a_column_is_read_as_it_is_or_refused(cells):
    """In a table: numbers as they are, of everything else a block that has its rows, or our own words."""
    frame = pd.DataFrame({"a": cells, "row": np.arange(len(cells))})
    reader = TableReader({"o": ["a"], "rows": ["row"]})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrimoWarning)  # of columns left out
            x = reader.fit_transform(frame)
    except PrimoError as error:
        assert len(str(error)) > 40  # noqa: PT017
        return
    assert len(x) == len(cells)
    kind = reader.check().query("about == 'column' and name == 'a'")["became"].item()
    empty = np.array([bool(pd.isna(cell) or (isinstance(cell, str) and not cell.strip())) for cell in cells])
    if "o" in x.names:
        np.testing.assert_array_equal(x.present["o"], ~empty)
    if kind == "number":
        expected = [np.nan if missing else float(cell) for cell, missing in zip(cells, empty, strict=True)]
        np.testing.assert_array_equal(x.values["o"][:, 0], expected)


@pytest.mark.filterwarnings("ignore:A column-vector y")
@given(st.sampled_from([ClassLabels, OrderedLabels, IndicatorLabels, NumberLabels]), arrays())
@examples(300)
def test_labels_come_back_as_they_were_or_are_refused(kind, y):
    try:
        labels = kind.learn(y)
        codes = labels.encode(y)
    except LabelError as error:
        assert len(str(error)) > 30  # noqa: PT017
        return
    back = labels.decode(codes)
    if isinstance(y, torch.Tensor):
        y = y.detach().to_dense().double().numpy()
    if kind is NumberLabels:
        # Networks compute in single precision, in units of the labels' spread.
        expected = np.asarray(y, float).reshape(back.shape)
        np.testing.assert_allclose(back, expected, rtol=1e-5, atol=1e-5 * (1e-5 + np.abs(expected).max()))
    else:
        given_labels = np.asarray(y, object).reshape(back.shape)
        assert all(a == b for a, b in zip(back.ravel().tolist(), given_labels.ravel().tolist(), strict=True))


NAMES = st.one_of(
    st.sampled_from(
        sorted(set(dir(nn.ModuleDict())) | {"out_features", "optional", "z_m", "y", "data", "self"})
    ),
    st.text(max_size=8),
)


@given(NAMES)
@examples(60)
def test_names_of_modalities_work_or_are_refused(name):
    blocks = {"o": COMPLETE.values["o"], name: X.values["m"]}
    try:
        x = Modalities(blocks, {name: X.present["m"]})
        model = PrimoClassifier(**SMALL).fit(x, Y)
    except PrimoError as error:
        assert repr(name) in str(error) or name in str(error)  # noqa: PT017
        return
    assert model.predictive_impact(x).shape[0] == len(x)


@pytest.mark.parametrize(
    "encoder",
    [
        nn.Linear(1, 5),
        nn.Linear(2, 4),
        nn.Identity(),
        nn.Flatten(0),
        nn.GRU(1, 4),
        nn.Module(),
        nn.Linear(1, 4).double(),
    ],
    ids=lambda encoder: str(encoder)[:20],
)
def test_encoders_that_do_not_fit_are_refused_before_training(encoder):
    with pytest.raises(ModalityError, match=r"The encoder given for 'o'.*expected \[2, 4\].*Give a module"):
        PrimoClassifier(**SMALL, encoders={"o": encoder}, callbacks=[pytest.fail]).fit(X, Y)


def test_few_draws_of_many_classes_have_plausible_labels():
    random = np.random.default_rng(0)
    x = Modalities({name: random.normal(size=(300, 2)) for name in "om"}).drop_at_random("m", random_state=0)
    for draws in (2, 3, 5):
        model = PrimoClassifier(**SMALL | {"num_samples": draws}, learning_rate=0.05)
        frame = model.fit(x, np.arange(300) % 30).plausible_labels(x[:20].drop("m"))
        np.testing.assert_allclose(frame.groupby("row")["weight"].sum(), 1)


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("names", [["$$, $a$", "<b>&"], ["a b\t!", "é\\"]])
def test_reports_hold_labels_of_any_kind(names, tmp_path):
    y = np.array(names)[Y]
    model = PrimoClassifier(**SMALL).fit(X, y)
    assert model.report(COMPLETE, y[:, None], tmp_path).stat().st_size > 10_000
    with pytest.raises(LabelError, match="target y is None"):
        model.report(COMPLETE, None, tmp_path)
    with pytest.raises(LabelError, match="60 rows and y 5 labels"):
        model.report(COMPLETE, y[:5], tmp_path)
