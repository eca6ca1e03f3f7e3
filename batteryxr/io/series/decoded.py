"""Hold a table that was not written as columns, once it is decoded into columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Decoded:
    """Hold columns made from packed or implied numbers, used like a `ColumnFile`.

    Attributes
    ----------
    path
        Path of the file.
    header
        Header lines as a column file would have them.
    numbers
        Shape ``(column, row)``, the axis first.
    label
        Name of this table, if the file holds several.
    """

    path: Path
    header: tuple[str, ...]
    numbers: np.ndarray
    label: str = ""
    seems_cut: bool = False

    @property
    def raw(self) -> bytes:
        """Return the numbers as bytes, to recognise copies by."""
        return self.numbers.tobytes()

    @property
    def n_columns(self) -> int:
        """Return the number of columns."""
        return len(self.numbers)

    def ends(self, column: int = 0) -> tuple[float, float]:
        """Return the first and last number of a column."""
        return float(self.numbers[column, 0]), float(self.numbers[column, -1])

    def read(self, columns: Sequence[int]) -> np.ndarray:
        """Return the chosen columns as float64, shape ``(column, row)``."""
        return self.numbers[list(columns)].astype(np.float64)

    def line_of(self, row: int) -> int | None:
        """Return None, because decoded rows have no line in the file."""
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
        Path of the file.
    columns
        Name with units, such as ``"two_theta deg"`` -> numbers; the axis first.
    header
        Further lines of the header.
    label
        Name of this table, if the file holds several.
    """
    names = [f"# Column.{i}: {name}" for i, name in enumerate(columns, 1)]
    return Decoded(path, (*header, *names), np.array(list(columns.values())), label)
