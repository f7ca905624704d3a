"""Data sets as :class:`~primo_pyro.Modalities` and labels: generated, bundled or read from files."""

from primo_pyro.data.avmnist import build_avmnist, load_avmnist
from primo_pyro.data.controls import make_duplicated_modality, make_half_resolvable, make_null_modality
from primo_pyro.data.digits import digit_images, load_digits_halves
from primo_pyro.data.linear import linear_impact, make_linear
from primo_pyro.data.mimic3 import load_mimic3
from primo_pyro.data.missingness import drop_given_label, drop_given_observed
from primo_pyro.data.physionet2012 import load_physionet2012
from primo_pyro.data.xor import make_xor, xor_impact, xor_probability

__all__ = [
    "build_avmnist",
    "digit_images",
    "drop_given_label",
    "drop_given_observed",
    "linear_impact",
    "load_avmnist",
    "load_digits_halves",
    "load_mimic3",
    "load_physionet2012",
    "make_duplicated_modality",
    "make_half_resolvable",
    "make_linear",
    "make_null_modality",
    "make_xor",
    "xor_impact",
    "xor_probability",
]
