"""Progress bars: in notebooks a widget, elsewhere a line of text on the standard error."""

from __future__ import annotations

from typing import Any

__all__ = ["progress_bar"]


def progress_bar(*rows: Any, shown: bool = True, **settings: Any) -> Any:
    """A bar of tqdm.

    Parameters
    ----------
    *rows
        What is gone through, if anything.
    shown
        Whether there is a bar. Only then tqdm looks for the notebook's widgets, and warns where a notebook
        lacks them (``pip install ipywidgets``).
    **settings
        As of ``tqdm.tqdm``.

    Examples
    --------
    >>> [row for row in progress_bar("ab", shown=False, unit="row")]
    ['a', 'b']
    """
    if shown:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return tqdm(*rows, disable=not shown, **settings)
