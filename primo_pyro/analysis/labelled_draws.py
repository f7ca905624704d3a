"""Draws with the names of what they are about: an ``xarray.Dataset``, for labelled selection and ArviZ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from primo_pyro.errors import PrimoError

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["labelled_draws"]


def labelled_draws(
    arrays: Mapping[str, np.ndarray],
    rows: pd.Index,
    *,
    last: Mapping[str, tuple[str, Sequence[object]]] | None = None,
    num_members: int = 1,
) -> Dataset:
    """Arrays of draws as one data set.

    Parameters
    ----------
    arrays
        Name to ``[K, N]`` or ``[K, N, D]``, the draws first.
    rows
        What the N rows are called.
    last
        Name to the name of the last dimension and what its D places are called. Others have
        ``<name>_dim``, without names of places.
    num_members
        With more than one, the draws are those of one member after another, and each says whose it is.

    Returns
    -------
    Dataset
        Dimensions ``draw``, ``row`` and those of ``last``.

    Raises
    ------
    PrimoError
        Where xarray is not installed.

    Examples
    --------
    >>> p = np.full((4, 2, 2), 0.5)
    >>> draws = labelled_draws({"p": p}, pd.Index(["ann", "bob"]), last={"p": ("class", ["no", "yes"])})
    >>> dict(draws.sizes)
    {'draw': 4, 'row': 2, 'class': 2}
    >>> draws["p"].sel({"row": "ann", "class": "yes"}).mean().item()
    0.5
    """
    try:
        import xarray
    except ImportError as error:
        raise PrimoError(
            "xarray is not installed, and draws with labels were asked for; expected it. Run pip install "
            "'primo-pyro[xarray]'."
        ) from error
    last = last or {}
    num_draws = len(next(iter(arrays.values())))
    variables = {}
    for name, values in arrays.items():
        inner, _ = last.get(name, (f"{name}_dim", ()))
        variables[name] = (("draw", "row", inner)[: values.ndim], values)
    coords: dict[str, object] = {"draw": np.arange(num_draws), "row": ("row", np.asarray(rows))}
    coords |= {inner: np.asarray(places) for inner, places in last.values()}
    if num_members > 1:
        coords["member"] = ("draw", np.repeat(np.arange(num_members), num_draws // num_members))
    return xarray.Dataset(variables, coords)
