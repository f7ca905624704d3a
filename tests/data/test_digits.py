import numpy as np
import pytest
from sklearn.datasets import load_digits

from primo_pyro import Modalities
from primo_pyro.data import digit_images, load_digits_halves
from primo_pyro.errors import ModalityError


def test_halves_are_the_images_of_scikit_learn():
    x, y = load_digits_halves()
    digits = load_digits()
    assert x.values["top"].shape == x.values["bottom"].shape == (1797, 32)
    assert (digit_images(x) * 16 == digits.images).all()
    assert (y == digits.target).all()
    assert x.values["top"].max() == 1
    assert x.complete.all()


def test_an_absent_half_is_blank_in_the_image():
    x, _ = load_digits_halves()
    images = digit_images(x[:5].drop("bottom", where=[True, False, True, False, True]))
    assert np.isnan(images[::2, 4:]).all()
    assert not np.isnan(images[:, :4]).any()
    assert not np.isnan(images[1::2]).any()


def test_other_rows_are_refused():
    with pytest.raises(ModalityError, match="load_digits_halves"):
        digit_images(Modalities({"o": [1.0]}))
