"""Distances between predictions (to become outcomes)."""

from __future__ import annotations

import scipy.special
import torch


def total_variation(p, r):
    """TVD(p, r) = 1/2 sum_c |p_c - r_c|, between 0 and 1.

    >>> import numpy as np
    >>> total_variation(np.array([0.9, 0.1]), np.array([0.5, 0.5])).item()
    0.4
    """
    return abs(p - r).sum(-1) / 2


def entropy(p):
    """H(p) = -sum_c p_c log p_c in nats; 0 log 0 is 0.

    >>> import numpy as np
    >>> round(float(entropy(np.array([0.5, 0.5]))), 4), float(entropy(np.array([1.0, 0.0])))
    (0.6931, 0.0)
    """
    entr = torch.special.entr if isinstance(p, torch.Tensor) else scipy.special.entr
    return entr(p).sum(-1)
