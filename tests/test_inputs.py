"""Numbers of any type and scale, and missing cells: the layers before networks, and estimators."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from torch import nn

from primo_pyro import Modalities, PrimoClassifier
from primo_pyro.baselines import CMMDClassifier, ImputationClassifier, MultimodalClassifier
from primo_pyro.baselines.base import NetworkClassifier
from primo_pyro.errors import MissingCellsWarning, ModalityError
from primo_pyro.program import MLP, Encoders
from primo_pyro.program.encoders import Prepared, encoder_for
from primo_pyro.program.inputs import FeatureInput, RobustScale, Standardise

NAN = np.nan
SMALL = {"latent_dim": 2, "hidden_dim": 16, "num_samples": 16, "batch_size": 64, "random_state": 0}


@pytest.fixture
def random():
    return np.random.default_rng(0)


def of(layer, values):
    return layer(torch.as_tensor(values)).numpy()


# --- Layers --------------------------------------------------------------------------------------------

# A change of unit or offset rounds each value once, to 53 bits: on top of 1e9 to 1e-7, as single precision
# does with numbers near 1. Ranks divide that by the width of a bin, a tenth or more here.
UNITS = {
    "tiny": lambda v: v * 1e-9,
    "huge": lambda v: v * 1e30,
    "on top of 1e9": lambda v: v + 1e9,
    "tiny on top": lambda v: (v + 1e6) * 1e-12,
    "negative": lambda v: v - 1e8,
}


@pytest.mark.parametrize("change", UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("cls", [RobustScale, FeatureInput])
def test_units_and_offsets_change_nothing(cls, change, random):
    values = random.normal(size=(500, 3))
    plain, other = (of(cls.from_rows(v), v) for v in (values, change(values)))
    np.testing.assert_allclose(other, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float32, np.float64, bool])
@pytest.mark.parametrize("cls", [RobustScale, FeatureInput, Standardise])
def test_the_type_of_the_same_numbers_changes_nothing(cls, kind, random):
    values = random.integers(0, 2 if kind is bool else 200, (300, 4))
    plain, other = cls.from_rows(values), cls.from_rows(values.astype(kind))
    for layer in plain, other:
        for rows in values, values.astype(kind):
            np.testing.assert_array_equal(of(layer, rows), of(plain, values))


def test_large_integers_keep_their_differences(random):
    values = 2**52 + random.integers(0, 100, (300, 1))
    np.testing.assert_array_equal(
        of(RobustScale.from_rows(values), values), of(RobustScale.from_rows(values - 2**52), values - 2**52)
    )


@pytest.mark.parametrize("share", [1 / 1000, 0.02])
@pytest.mark.parametrize("code", [1e6, -9999, -1e30, 3e38])
def test_outliers_and_codes_leave_room_for_the_rest(code, share, random):
    """The median and the median distance move by at most share / (2 density), here by .025 and .02."""
    values = random.normal(size=(1000, 2))
    spoilt = values.copy()
    spoilt[: int(share * 1000)] = code
    layer = FeatureInput.from_rows(spoilt)
    out, plain = of(layer, spoilt), of(FeatureInput.from_rows(values), values)
    rest = slice(int(share * 1000), None)
    assert np.abs(out[rest] - plain[rest]).max() < 0.1
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 3


def test_a_normal_feature_keeps_its_scale(random):
    """Up to where the bending begins: within one standard deviation it takes 1 - (1 + 1/9)^-.5 = 5 %."""
    values = random.normal(5, 10, (20_000, 1))
    out = of(RobustScale.from_rows(values), values)[:, 0]
    near = np.abs(values[:, 0] - 5) < 10
    np.testing.assert_allclose(out[near], (values[near, 0] - 5) / 10, rtol=0, atol=0.05 + 0.05)


@pytest.mark.parametrize(
    "column",
    [
        np.full(200, 7.0),
        np.zeros(200),
        np.where(np.arange(200) % 2, 0.1 + 0.2, 0.3),
        1e15 + 0.125 * (np.arange(200) % 2),
        np.full(200, 3, np.int64),
        np.full(200, NAN),
    ],
    ids=["seven", "zero", "rounding", "a last digit", "integers", "all missing"],
)
def test_constants_and_rounding_errors_are_zero(column):
    """And stay it, whatever comes at prediction: nothing was learnt about how much it matters."""
    layer = FeatureInput.from_rows(column[:, None])
    assert (of(layer, column[:, None])[:, :2] == [[0, of(layer, column[:1, None])[0, 1]]]).all()
    assert np.isfinite(of(layer, np.array([[1e38], [-5.0], [0.0]]))).all()
    assert (of(layer, np.array([[1e38], [-5.0], [0.0]]))[:, 0] == 0).all()


@pytest.mark.parametrize("ones", [1, 5, 100, 199])
def test_rare_values_are_kept_apart(ones):
    values = (np.arange(200) < ones).astype(float)[:, None]
    out = of(RobustScale.from_rows(values), values)[:, 0]
    assert 0.5 < out[0] - out[-1] < 2


def test_ranks_give_skewed_values_room(random):
    """Between the outer quantiles, 7/8 of all values lie evenly from -1 to 1; within bins up to a curve."""
    values = np.exp(3 * random.normal(size=(5000, 1)))
    rank = of(FeatureInput.from_rows(values), values)[:, 1]
    assert (np.diff(rank[np.argsort(values[:, 0])]) >= 0).all()
    for share in np.linspace(1 / 16, 15 / 16, 8):
        at = np.quantile(rank, share)
        assert at == pytest.approx(2 * (share - 1 / 16) / (7 / 8) - 1, abs=0.02)


@pytest.mark.parametrize("shape", [(4,), (5, 4)])
def test_missing_cells_are_the_median_and_indicated(shape, random):
    values = random.normal(size=(300, *shape))
    values[::3, ..., 1] = NAN
    layer = FeatureInput.from_rows(values)
    new = values[:9].copy()
    new[..., 2] = NAN  # no training row lacked it
    out = of(layer, new)
    value, rank, indicator = np.split(out, 3, axis=-1)
    assert out.shape == (9, *shape[:-1], 12)
    assert (value[np.isnan(new)] == 0).all()
    assert (rank[np.isnan(new)] == 0).all()
    np.testing.assert_array_equal(indicator[..., 1], np.isnan(new[..., 1]))
    assert (indicator[..., [0, 2, 3]] == 0).all()
    whole = of(layer, np.nan_to_num(new))
    np.testing.assert_array_equal(out[~np.isnan(np.tile(new, 3))], whole[~np.isnan(np.tile(new, 3))])


def test_missing_cells_do_not_move_the_scale(random):
    values = random.normal(size=(400, 2))
    lacking = np.concatenate([values, np.full((200, 2), NAN)])
    np.testing.assert_array_equal(
        of(FeatureInput.from_rows(lacking), values), of(FeatureInput.from_rows(values), values)
    )
    np.testing.assert_allclose(
        of(Standardise.from_rows(lacking), values), of(Standardise.from_rows(values), values), atol=1e-6
    )


def test_channels_of_images_have_a_scale_each(random):
    images = random.normal([[[1e-6]], [[1e5]]], [[[1e-7]], [[10.0]]], (50, 2, 6, 6))
    images[3, 1, 2, 2] = NAN
    out = of(RobustScale.from_rows(images, channels_first=True), images)
    assert out.shape == images.shape
    assert out[3, 1, 2, 2] == 0
    for channel in out[:, 0], out[:, 1]:  # bent at 3, a standard normal has a deviation of .87
        assert channel.std() == pytest.approx(0.87, abs=0.05)


def test_what_is_learnt_is_in_tensors_whose_shapes_are_known_without_the_rows(random):
    """So that a saved model is filled in without them."""
    for shape in (4,), (5, 4), (2, 8, 8):
        values = random.normal(size=(60, *shape))
        values[0, ..., 0] = NAN
        learnt, empty = (encoder_for("m", v, 8, 6) for v in (values, np.zeros((1, *shape), np.float32)))
        empty.load_state_dict(learnt.state_dict())
        for encoder in learnt, empty:
            encoder.eval()
        rows = torch.as_tensor(values)
        assert torch.equal(learnt(rows), empty(rows))


def test_standardising_keeps_constants_and_goes_back(random):
    values = random.normal([5.0, -3e8, 2.0], [10.0, 0.1, 0.0], (500, 3))
    layer = Standardise.from_rows(values)
    out = layer(torch.as_tensor(values))
    torch.testing.assert_close(out.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.std(0, correction=0)[:2], torch.ones(2), rtol=0, atol=1e-4)
    np.testing.assert_allclose(layer.inverse(out).numpy(), values, rtol=0, atol=1e-5)


# --- Estimators: scales --------------------------------------------------------------------------------


def table(rows, seed=0):
    """Two blocks, the second absent in a third of the rows, and a label that hangs on both."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(rows, 3)), random.normal(size=(rows, 3))
    y = (2 * a[:, 0] - a[:, 1] + 2 * b[:, 0] + b[:, 1] * a[:, 2] + random.logistic(size=rows) > 0).astype(int)
    b[random.random(rows) < 1 / 3] = NAN
    return {"a": a, "b": b}, y


def fit(x, y, **settings):
    return PrimoClassifier(**SMALL | {"max_epochs": 12, "learning_rate": 1e-2} | settings).fit(x, y)


def fit_without_latents(x, y, max_epochs=15):
    """The same encoders and likelihood, in a fraction of the time."""
    settings = {"hidden_dim": 16, "batch_size": 64, "learning_rate": 1e-2, "random_state": 0}
    return NetworkClassifier(max_epochs=max_epochs, **settings).fit(x, y)


@pytest.fixture(scope="module")
def plain():
    """Blocks and labels to train on, those to test on, and the predictions of a fit on them."""
    blocks, y = table(1000)
    new, y_new = table(2000, seed=1)
    return blocks, y, new, y_new, fit_without_latents(blocks, y).predict_proba(new)[:, 1]


@pytest.mark.parametrize("change", [UNITS["tiny"], UNITS["on top of 1e9"]], ids=["tiny", "on top of 1e9"])
def test_a_fit_in_other_units_is_the_same(plain, change):
    """But for the last digit of inputs, which hundreds of steps enlarge."""
    blocks, y, new, y_new, p = plain
    blocks, new = ({name: change(v) for name, v in b.items()} for b in (blocks, new))
    other = fit_without_latents(blocks, y).predict_proba(new)[:, 1]
    np.testing.assert_allclose(other, p, rtol=0, atol=1e-2)
    assert roc_auc_score(y_new, other) == pytest.approx(roc_auc_score(y_new, p), abs=1e-3)


def one_outlier(v, random):
    v[5] = np.where(np.isnan(v[5]), NAN, 1e6)


def codes(v, random):
    v[(random.random(v.shape) < 0.02) & ~np.isnan(v)] = -9999


@pytest.mark.parametrize("spoil", [one_outlier, codes])
def test_outliers_and_codes_cost_nothing_elsewhere(plain, spoil):
    """AUROC of new rows as they are; 0.01 is what the project promises, 2,000 rows tell the same fits."""
    blocks, y, new, y_new, p = plain
    random = np.random.default_rng(3)
    spoilt = {name: v.copy() for name, v in blocks.items()}
    for v in spoilt.values():
        spoil(v, random)
    other = fit_without_latents(spoilt, y).predict_proba(new)[:, 1]
    assert roc_auc_score(y_new, other) > roc_auc_score(y_new, p) - 0.01


@pytest.mark.slow
def test_skewed_columns_are_learnt_as_well_as_by_trees(plain):
    blocks, y, new, y_new, _ = plain
    skewed, skewed_new = ({name: np.exp(2 * v) for name, v in b.items()} for b in (blocks, new))
    trees = HistGradientBoostingClassifier(random_state=0).fit(np.hstack(list(skewed.values())), y)
    best = roc_auc_score(y_new, trees.predict_proba(np.hstack(list(skewed_new.values())))[:, 1])
    ours = roc_auc_score(y_new, fit_without_latents(skewed, y, max_epochs=30).predict_proba(skewed_new)[:, 1])
    assert ours > best - 0.02


@pytest.mark.parametrize("shape", [(4,), (5, 4), (1, 8, 8)])
def test_bytes_and_other_integers_are_one(shape, random):
    values = random.integers(0, 200, (120, *shape), np.uint8)
    y = np.arange(120) % 2
    classifier = fit({"m": values, "o": y}, y, max_epochs=1)
    p = classifier.predict_proba({"m": values, "o": y})
    for kind in np.int64, np.float32, np.float64:
        np.testing.assert_array_equal(classifier.predict_proba({"m": values.astype(kind), "o": y}), p)


def test_an_encoder_of_ones_own_gets_the_numbers_themselves(random):
    values = random.integers(0, 200, (6, 4), np.uint8)
    own = Encoders({"m": nn.Identity(), "like": MLP(1, 4, 4)}, out_features=4)
    for kind in np.uint8, np.int64, np.float64:
        h = own(Modalities({"m": values.astype(kind), "like": np.ones(6)}))
        np.testing.assert_array_equal(h.values["m"].detach().numpy(), values)


def test_an_array_is_not_rounded_before_it_is_scaled(random):
    x, y = random.normal(size=(200, 3)), np.arange(200) % 2
    p = [fit(v, y, max_epochs=1).predict_proba(v) for v in (x, x + 1e9)]
    np.testing.assert_allclose(*p, rtol=0, atol=1e-4)


# --- Estimators: missing cells -------------------------------------------------------------------------


def lacking(rows, seed=0, shape=(3,)):
    """Rows of a modality whose first feature is missing in half of the cells, where it would be high."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, *shape))
    y = (values[..., 0].reshape(rows, -1)[:, -1] > 0).astype(int)
    m = values.copy()
    m[..., 0] = np.where(values[..., 0] > 0, NAN, m[..., 0])
    m[random.random(rows) < 0.2] = NAN
    return Modalities({"m": m, "o": random.normal(size=rows)}), y


@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_what_is_missing_tells(shape, tmp_path):
    """A fit, a prediction, save and load; that a cell is missing is the label itself here."""
    x, y = lacking(300, shape=shape)
    classifier = fit(x, y, max_epochs=30)
    new, y_new = lacking(200, 1, shape)
    has = new.present["m"]
    assert 0 < has.sum() < 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = classifier.predict_proba(new)
    assert (p.argmax(1)[has] == y_new[has]).mean() > 0.9
    assert (classifier.predictive_impact(new)["impact"] > 0).tolist() == (~has).tolist()
    classifier.save(tmp_path / "model")
    again = PrimoClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(new), p)
    lacks = new.values["m"].copy()
    lacks[..., 2] = NAN
    with pytest.warns(MissingCellsWarning, match=r"m, features \[2\]"):
        again.predict_proba({"m": lacks, "o": new.values["o"]})


def test_pixels_are_filled(random):
    images = random.normal(size=(80, 1, 8, 8))
    images[::4, :, 2, 3] = NAN
    y = np.arange(80) % 2
    p = fit({"m": images, "o": y}, y, max_epochs=1).predict_proba({"m": images, "o": y})
    assert np.isfinite(p).all()


def test_cells_that_training_never_lacked_are_warned_of(random):
    values, y = random.normal(size=(100, 3)), np.arange(100) % 2
    classifier = fit({"m": values, "o": y}, y, max_epochs=1)
    new = values.copy()
    new[3, 1] = NAN
    with pytest.warns(MissingCellsWarning, match=r"m, features \[1\].*Fill") as caught:
        p = classifier.predict_proba({"m": new, "o": y})
    assert len(caught) == 1
    assert np.isfinite(p).all()
    median = new.copy()
    median[3, 1] = np.median(values[:, 1])
    expected = classifier.predict_proba({"m": median, "o": y})
    np.testing.assert_array_equal(np.delete(p, 3, 0), np.delete(expected, 3, 0))
    new[3] = NAN  # the row is absent: not a cell of it is missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)
        warnings.simplefilter("error", category=MissingCellsWarning)
        classifier.predict_proba({"m": new, "o": y})


class Own(nn.Sequential):
    """An encoder that knows nothing of NaN."""

    def __init__(self):
        super().__init__(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16))


class Filled(Own):
    """One that deals with it."""

    takes_nan = True

    def forward(self, values):
        return super().forward(values.nan_to_num(0.0))


@pytest.mark.parametrize("cls", [PrimoClassifier, MultimodalClassifier])
def test_an_encoder_that_does_not_take_nan_is_refused_before_training(cls):
    x, y = lacking(60)
    x = x[x.present["m"]]
    y = y[: len(x)]
    words = r"m, features \[0\].*'m', Own, does not.*Leave 'm' out.*fill them first.*takes_nan = True"
    classifier = cls(encoders={"m": Own()}, hidden_dim=16, max_epochs=1, callbacks=(pytest.fail,))
    with pytest.raises(ModalityError, match=words):
        classifier.fit(x, y)
    assert not hasattr(classifier, "model_")
    whole = Modalities({"m": np.nan_to_num(x.values["m"]), "o": x.values["o"]})
    with pytest.raises(ModalityError, match=words):
        classifier.fit(whole, y, validation=(x, y))
    classifier.set_params(callbacks=()).fit(whole, y)
    with pytest.raises(ModalityError, match=words):
        classifier.predict_proba(x)


def test_each_cure_leads_on():
    x, y = lacking(60)
    has = x.present["m"]
    filled = x.values["m"].copy()
    filled[has] = SimpleImputer().fit_transform(filled[has])
    declared = Own()
    declared.register_forward_pre_hook(lambda _, given: (given[0].nan_to_num(0.0),))
    declared.takes_nan = True
    for encoders, rows in (
        (None, x),
        ({"m": Own()}, Modalities({"m": filled, "o": x.values["o"]})),
        ({"m": Filled()}, x),
        ({"m": declared}, x),
    ):
        p = fit(rows, y, encoders=encoders, max_epochs=1).predict_proba(rows)
        assert np.isfinite(p).all()


def test_encoders_refuse_what_they_cannot_take():
    """Also where no estimator looks first."""
    with pytest.raises(ModalityError, match="Cells are missing"):
        Encoders({"m": Own()}, out_features=16)(Modalities({"m": [[1.0, 2.0, NAN]]}))


@pytest.mark.parametrize("cls", [CMMDClassifier, ImputationClassifier])
def test_baselines_take_missing_cells(cls):
    x, y = lacking(120)
    settings = {"max_epochs": 1} if cls is CMMDClassifier else {"max_iter": 5}
    p = cls(random_state=0, **settings).fit(x, y).predict_proba(x)
    assert np.isfinite(p).all()
    assert isinstance(encoder_for("m", x.values["m"], 4, 4), Prepared)
