"""A table that is not written as columns, once it has become columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Decoded:
    """Columns made of packed or implied numbers; the twin of a `ColumnFile`.

    Attributes
    ----------
    path
        Where it was read.
    header
        Lines as a column file would have them.
    numbers
        Shape ``(column, row)``, the axis first.
    label
        Which of the tables of the file it is, where there are several.
    """

    path: Path
    header: tuple[str, ...]
    numbers: np.ndarray
    label: str = ""
    seems_cut: bool = False

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.numbers)

    def ends(self, column: int = 0) -> tuple[float, float]:
        """Return the first and last number of a column."""
        return float(self.numbers[column, 0]), float(self.numbers[column, -1])

    def read(self, columns: Sequence[int]) -> np.ndarray:
        """Return the chosen columns as float64, shape ``(column, row)``."""
        return self.numbers[list(columns)].astype(np.float64)

    def line_of(self, row: int) -> int | None:
        """Return None: rows have no line of their own."""
        return None


def decoded(
    path: Path,
    columns: Mapping[str, np.ndarray],
    header: Sequence[str] = (),
    label: str = "",
) -> Decoded:
    """Return columns as a table.

    Parameters
    ----------
    path
        Where they were read.
    columns
        Name with units, such as ``"two_theta deg"`` -> numbers; the axis first.
    header
        Lines of the header that say more.
    label
        Which table of the file it is.
    """
    names = [f"# Column.{i}: {name}" for i, name in enumerate(columns, 1)]
    return Decoded(path, (*header, *names), np.array(list(columns.values())), label)
