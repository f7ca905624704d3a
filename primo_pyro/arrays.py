"""Tensors of any kind as arrays: what NumPy cannot read of torch itself is resolved first."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["array_of"]


def array_of(values: Any) -> Any:
    """A tensor as an array; anything else as it is.

    Gradients, conjugate and negated views, sparse and quantised forms, and types that NumPy does not know are
    resolved.

    Raises
    ------
    TypeError
        For a tensor without data.

    >>> array_of(torch.ones(2, dtype=torch.bfloat16, requires_grad=True))
    array([1., 1.], dtype=float32)
    """
    if not hasattr(values, "detach"):
        return values
    if values.device.type == "meta":
        raise TypeError(f"a tensor of shape {list(values.shape)} on the device 'meta' has no data")
    values = values.detach()
    if values.is_quantized:
        values = values.dequantize()
    if values.layout != torch.strided:
        values = values.to_dense()
    values = values.cpu().resolve_conj().resolve_neg()
    if not values.dtype.is_complex and values.dtype.is_floating_point and values.dtype.itemsize < 4:
        values = values.float()  # NumPy knows neither bfloat16 nor what is shorter
    return np.asarray(values.numpy())
