"""Run the kernels of differential curves over half cycles, threaded or streamed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.kernels.cores import allowed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.echem.counting import HalfCycleTable
    from batteryxr.echem.kernels.histogram import (
        Bins,
        Curves,
        Deposits,
        HalfCycles,
        Making,
    )
    from batteryxr.echem.record import Columns

Method = Literal["gaussian", "savgol"]

#: Largest number of bins in one kernel: no converter resolves more.
_WIDEST = 20_000
#: Columns of a record that curves need.
_NEEDED = ("test_time", "voltage", "current", "file")


@dataclass(frozen=True)
class Smoothing:
    """Set how a curve is smoothed; widths in V or as fractions of a capacity.

    Raises
    ------
    ArgumentError
        If the fields are inconsistent.
    """

    smoothing: float
    bin: float
    method: Method
    order: int

    def __post_init__(self) -> None:
        if self.smoothing > _WIDEST * self.bin:
            finest = self.smoothing / _WIDEST
            raise ArgumentError("bin", self.bin, f"bins no finer than {finest:.3g} V")
        if self.method == "savgol" and not 0 <= self.order < self._window:
            raise ArgumentError(
                "order",
                self.order,
                f"0 to {self._window - 1} for a window of {self._window} bins",
            )

    @property
    def _window(self) -> int:
        return round(self.smoothing / self.bin) // 2 * 2 + 1

    def weights(self) -> np.ndarray:
        """Return the weights of the smoother.

        Raises
        ------
        ConvergenceError
            If they do not sum to one.
        """
        from batteryxr.echem.kernels import smoothers

        if self.method == "gaussian":
            return smoothers.gaussian(self.smoothing / self.bin)
        return smoothers.savitzky_golay(self._window, self.order)

    def to_attrs(self) -> dict[str, Any]:
        """Return the settings as attributes of a result."""
        return {
            "smoothing": float(self.smoothing),
            "bin": float(self.bin),
            "method": self.method,
            "order": self.order,
        }

    @classmethod
    def from_attrs(cls, attrs: Mapping[Any, Any]) -> Smoothing:
        """Return the settings stored with a result.

        Raises
        ------
        DataError
            If none are stored.
        """
        names = ("smoothing", "bin", "method", "order")
        if missing := [name for name in names if name not in attrs]:
            raise DataError(
                "attrs",
                f"lack {missing}, which `dqdv` leaves there",
                "Pass its result as it is.",
            )
        return cls(*(attrs[name] for name in names))


def lay_out(
    rows: Columns,
    table: HalfCycleTable,
    chosen: np.ndarray,
    grid: Bins,
    *,
    weights: np.ndarray,
) -> Curves:
    """Return the curves of the chosen half cycles.

    In memory, half cycles are shared between threads; lazy records are streamed.
    """
    from batteryxr.echem.kernels import histogram, parts, segments, smoothers

    shape = (chosen.size, grid.centres.size)
    out = histogram.Curves(np.empty(shape), np.empty(shape), np.empty((chosen.size, 2)))
    deposits, places = _deposits(table, chosen)
    halves = histogram.HalfCycles(
        table.integers[chosen, parts.FIRST],
        table.integers[chosen, parts.LAST_ACTIVE] + 1,
        table.integers[chosen, parts.DIRECTION].astype(np.float64),
        np.abs(table.floats[chosen, parts.CHARGE]),
        *places,
    )
    making = histogram.Making(table.rule, grid, smoothers.smoother(weights))
    if rows.lazy:
        _stream(rows, halves, deposits, making, out)
        return out
    (block,) = rows.blocks(_NEEDED)

    def share(some: slice) -> None:
        mine = histogram.HalfCycles(*(column[some] for column in halves))
        into = histogram.Curves(*(array[some] for array in out))
        histogram.curves(block, mine, deposits, making, into)

    shares = _shares(halves.stop - halves.first, allowed())
    segments.in_threads(share, [(some,) for some in shares])
    return out


def _deposits(
    table: HalfCycleTable, chosen: np.ndarray
) -> tuple[Deposits, tuple[np.ndarray, np.ndarray]]:
    """Return the charge at switches, in the order of the chosen half cycles."""
    from batteryxr.echem.kernels import parts
    from batteryxr.echem.kernels.histogram import Deposits

    owner, volts, charge = table.switched()
    order = np.argsort(owner, kind="stable")
    owner, volts, charge = owner[order], volts[order], charge[order]
    deposits = Deposits(volts, charge * table.integers[owner, parts.DIRECTION])
    ends = [np.searchsorted(owner, chosen, side) for side in ("left", "right")]
    return deposits, (ends[0], ends[1])


def _stream(
    rows: Columns, halves: HalfCycles, deposits: Deposits, making: Making, out: Curves
) -> None:
    """Lay out one half cycle after the other while the record is streamed."""
    from batteryxr.echem.kernels import histogram

    rule, grid, smoother = making
    bins = np.zeros(grid.centres.size)
    room = np.empty(bins.size + smoother.weights.size)
    carry, before = np.zeros(histogram.CARRIED), np.zeros(histogram.CARRIED)
    row = k = 0
    for block in rows.blocks(_NEEDED):
        n = block.t.size
        while k < halves.first.size and halves.first[k] < row + n:
            a, b = max(halves.first[k] - row, 0), min(halves.stop[k] - row, n)
            if halves.first[k] >= row and not histogram.seed(block, a, carry):
                carry[:] = before
            if halves.first[k] >= row:
                histogram.deposit(halves, k, deposits, grid, bins, carry)
            here = histogram.Rows(a, b, halves.direction[k])
            histogram.lay_out(block, here, rule, grid, bins, carry)
            if halves.stop[k] > row + n:
                break
            charge = halves.charge[k]
            histogram.finish(bins, charge, smoother, grid, carry, room, out, k)
            bins[:], carry[:] = 0.0, 0.0
            k += 1
        histogram.seed(block, n, before)
        row += n


def _shares(rows: np.ndarray, workers: int) -> list[slice]:
    """Cut half cycles into runs of about the same number of rows."""
    total = np.cumsum(rows)
    if not total.size:
        return []
    cuts = np.searchsorted(total, total[-1] * np.arange(1, workers) / workers)
    edges = np.unique(np.concatenate([[0], cuts, [rows.size]]))
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
