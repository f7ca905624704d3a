import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from primo_pyro.data import load_breast_cancer_blocks
from primo_pyro.data.breast_cancer import FEATURES
from primo_pyro.errors import ModalityError


def test_blocks_are_the_columns_of_scikit_learn():
    x, y = load_breast_cancer_blocks()
    source = load_breast_cancer()
    assert x.names == ("mean", "error", "worst")
    assert x.complete.all()
    for name in x.names:
        # Names in the source: "mean radius", "radius error", "worst radius".
        full = [f"{feature} error" if name == "error" else f"{name} {feature}" for feature in FEATURES]
        at = [source.feature_names.tolist().index(feature) for feature in full]
        assert (x.values[name] == source.data[:, at].astype(np.float32)).all()
    assert (y == source.target).all()


def test_standardised_by_the_named_rows_alone():
    train = np.random.default_rng(0).permutation(569)[:398]
    x, _ = load_breast_cancer_blocks(standardise_by=train)
    raw, _ = load_breast_cancer_blocks()
    for name in x.names:
        reference = raw.values[name][train].astype(float)
        expected = (raw.values[name] - reference.mean(0)) / reference.std(0)
        # Both go through single precision, once before and once after the difference: a relative error of
        # 6e-8 of values up to 4254 with a deviation of 570.
        np.testing.assert_allclose(x.values[name], np.clip(expected, -5, 5), atol=1e-5)
        assert np.abs(x.values[name]).max() == 5


@pytest.mark.parametrize("rows", [[], [0, 569], [-1], [0.5], np.ones(569, bool)])
def test_other_row_numbers_are_refused(rows):
    with pytest.raises(ModalityError, match="row numbers from 0 to 568"):
        load_breast_cancer_blocks(standardise_by=rows)
