"""Rows of tables that compiled loops copy, and tables that grow while being filled.

Values are copied one by one: where numba fills one array from another, it also compiles
the text of an error, which takes seconds.
"""

from __future__ import annotations

import numpy as np

from batteryxr.core.kernels.compiling import njit


@njit(cache=True, nogil=True)
def grown_table(table: np.ndarray) -> np.ndarray:
    """Return a table with twice the rows that begins with the rows of `table`."""
    rows, columns = table.shape
    more = np.empty((2 * rows, columns), table.dtype)
    for i in range(rows):
        for j in range(columns):
            more[i, j] = table[i, j]
    return more


@njit(cache=True, nogil=True)
def grown_line(line: np.ndarray) -> np.ndarray:
    """Return an array of twice the length that begins with `line`."""
    more = np.empty(2 * line.size, line.dtype)
    for i in range(line.size):
        more[i] = line[i]
    return more


@njit(cache=True, nogil=True)
def copy_row(into: np.ndarray, to: int, table: np.ndarray, row: int) -> None:
    """Write a row of `table` to the row `to` of `into`."""
    for j in range(table.shape[1]):
        into[to, j] = table[row, j]
