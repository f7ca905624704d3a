"""Data sets as :class:`~primo_pyro.Modalities` and labels: generated, bundled or read from files."""

from primo_pyro.data.avmnist import build_avmnist, load_avmnist
from primo_pyro.data.breast_cancer import load_breast_cancer_blocks, load_breast_cancer_table
from primo_pyro.data.cervical_cancer import load_cervical_cancer
from primo_pyro.data.controls import make_duplicated_modality, make_half_resolvable, make_null_modality
from primo_pyro.data.digits import digit_images, load_digits_halves, load_digits_table
from primo_pyro.data.heart_disease import load_heart_disease
from primo_pyro.data.linear import linear_impact, make_linear
from primo_pyro.data.mimic3 import load_mimic3
from primo_pyro.data.missingness import drop_given_label, drop_given_observed
from primo_pyro.data.physionet2012 import load_physionet2012
from primo_pyro.data.physionet2012_table import load_physionet2012_table
from primo_pyro.data.support2 import load_support2, load_support2_table
from primo_pyro.data.table import Table
from primo_pyro.data.three_signs import make_three_signs, three_signs_impact, three_signs_probability
from primo_pyro.data.weak_signals import make_weak_signals, weak_signals_impact
from primo_pyro.data.xor import make_xor, make_xor_twins, xor_impact, xor_probability, xor_twins_impact

__all__ = [
    "Table",
    "build_avmnist",
    "digit_images",
    "drop_given_label",
    "drop_given_observed",
    "linear_impact",
    "load_avmnist",
    "load_breast_cancer_blocks",
    "load_breast_cancer_table",
    "load_cervical_cancer",
    "load_digits_halves",
    "load_digits_table",
    "load_heart_disease",
    "load_mimic3",
    "load_physionet2012",
    "load_physionet2012_table",
    "load_support2",
    "load_support2_table",
    "make_duplicated_modality",
    "make_half_resolvable",
    "make_linear",
    "make_null_modality",
    "make_three_signs",
    "make_weak_signals",
    "make_xor",
    "make_xor_twins",
    "three_signs_impact",
    "three_signs_probability",
    "weak_signals_impact",
    "xor_impact",
    "xor_probability",
    "xor_twins_impact",
]
