"""What is fitted to each spectrum: an edge, peaks and a baseline, within bounds."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import replayable

if TYPE_CHECKING:
    from collections.abc import Sequence

Range = tuple[float, float]
_EDGES = ("erf", "arctan")
_PEAKS = ("lorentzian", "gaussian", "pseudo_voigt")
# The order is that of the codes in kernels/shapes.py.
_CODES = {name: code for code, name in enumerate((*_EDGES, *_PEAKS, "polynomial"))}


@replayable
@dataclass(frozen=True)
class Edge:
    """An absorption edge: a step with bounds on its energy, width and jump.

    Parameters
    ----------
    energy
        Range of the edge energy, in eV. Equal ends fix it, here and below.
    width
        Range of the width b3 in erf[(E - b2) / b3], in eV. By default from half the
        smallest energy step to the width of `energy`.
    jump
        Range of the edge jump.
    shape
        "erf" or "arctan".
    """

    energy: Range
    width: Range | None = None
    jump: Range = (0.0, float("inf"))
    shape: str = "erf"

    def __post_init__(self) -> None:
        _check(self, ("energy", "width", "jump"), _EDGES)


@replayable
@dataclass(frozen=True)
class Peak:
    """A peak with bounds on its position, half width and height.

    Parameters
    ----------
    position
        Range of the position, on the axis of the spectra.
    width
        Range of the half width at half maximum. By default from half the smallest
        step of the axis to the width of `position`.
    height
        Range of the height; (-inf, inf) lets a band turn negative.
    shape
        "lorentzian", "gaussian" or "pseudo_voigt" (a Lorentzian and a Gaussian of
        one width, with the Lorentzian's share fitted between 0 and 1).
    name
        Label along the dimension `peak` of the result.
    """

    position: Range
    width: Range | None = None
    height: Range = (0.0, float("inf"))
    shape: str = "lorentzian"
    name: str = ""

    def __post_init__(self) -> None:
        _check(self, ("position", "width", "height"), _PEAKS)


@dataclass(frozen=True)
class Plan:
    """A model compiled for one axis: what the kernels read."""

    kinds: np.ndarray
    offsets: np.ndarray
    low: np.ndarray
    high: np.ndarray
    linear: np.ndarray
    tracked: np.ndarray
    scaled: np.ndarray
    jump: int
    constant: int
    n_peaks: int
    starts: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, 0)))
    start_curves: np.ndarray = dataclasses.field(
        default_factory=lambda: np.empty((0, 0))
    )

    @property
    def peak_offsets(self) -> list[int]:
        """Index of the first parameter of each peak."""
        return [int(o) for o in self.offsets[self._peaks]]

    @property
    def columns(self) -> dict[str, list[int]]:
        """Indices of the parameters behind each variable; -1 where one has none."""
        first = self.peak_offsets
        voigt = self.kinds[self._peaks] == _CODES["pseudo_voigt"]
        found = {
            "peak_height": first,
            "peak_position": [o + 1 for o in first],
            "peak_width": [o + 2 for o in first],
            "lorentzian_share": [
                o + 3 if v else -1 for o, v in zip(first, voigt, strict=True)
            ],
        }
        if self.jump >= 0:
            names = ("edge_jump", "edge_energy", "edge_width")
            found |= {name: [self.jump + k] for k, name in enumerate(names)}
        if self.constant >= 0:
            powers = list(range(self.constant, self.low.size))
            found["baseline" if self.constant + 1 < self.low.size else "level"] = powers
        return {name: at for name, at in found.items() if any(k >= 0 for k in at)}

    @property
    def _peaks(self) -> np.ndarray:
        return (self.kinds >= 2) & (self.kinds < _CODES["polynomial"])


def compile_model(
    axis: np.ndarray, edge: Edge | None, peaks: Sequence[Peak], baseline: int
) -> Plan:
    """Lay the parameters out: edge, then peaks, then baseline coefficients."""
    finest = 0.5 * float(np.diff(axis).min())
    kinds, offsets = [], []
    low: list[float] = []
    high: list[float] = []
    linear: list[bool] = []
    tracked = []

    def add(shape: str, bounds: list[Range]) -> int:
        kinds.append(_CODES[shape])
        offsets.append(len(low))
        low.extend(b[0] for b in bounds)
        high.extend(b[1] for b in bounds)
        linear.extend([True, *[False] * (len(bounds) - 1)])
        return offsets[-1]

    jump = -1
    if edge is not None:
        width = edge.width or _width(edge.energy, finest)
        jump = add(edge.shape, [edge.jump, edge.energy, width])
        tracked = [jump + 1]
    for peak in peaks:
        bounds = [
            peak.height,
            peak.position,
            peak.width or _width(peak.position, finest),
        ]
        if peak.shape == "pseudo_voigt":
            bounds.append((0.0, 1.0))
        first = add(peak.shape, bounds)
        if edge is None:
            tracked.append(first + 1)
    constant = -1
    if baseline >= 0:
        constant = add("polynomial", [(-np.inf, np.inf)] * (baseline + 1))
        linear[constant:] = [True] * (baseline + 1)
    middle, half = _scaling(axis)
    return Plan(
        kinds=np.array(kinds, np.int64),
        offsets=np.array(offsets, np.int64),
        low=np.array(low, float),
        high=np.array(high, float),
        linear=np.array(linear, bool),
        tracked=np.array(tracked, np.int64),
        scaled=(axis - middle) / half,
        jump=jump,
        constant=constant,
        n_peaks=len(peaks),
    )


def as_edge(value: Any) -> Edge:
    """Take an Edge, or a range of energies."""
    if isinstance(value, Edge):
        return value
    return Edge(energy=_range("edge", value))


def as_peaks(values: Any) -> tuple[Peak, ...]:
    """Take Peaks, or ranges of positions."""
    if isinstance(values, Peak):
        return (values,)
    try:
        items = list(values)
    except TypeError:
        items = [values]
    if len(items) == 2 and all(np.isscalar(v) for v in items):
        items = [tuple(items)]
    return tuple(
        v if isinstance(v, Peak) else Peak(position=_range("peaks", v)) for v in items
    )


def peak_labels(peaks: Sequence[Peak]) -> list[int] | list[str]:
    """Return the coordinate of the dimension `peak`: names, or numbers from 1."""
    if any(p.name for p in peaks):
        return [p.name or f"peak {i}" for i, p in enumerate(peaks, 1)]
    return list(range(1, len(peaks) + 1))


def describe(
    axis: np.ndarray, edge: Edge | None, peaks: Sequence[Peak], baseline: int
) -> str:
    """Write a model as JSON, for the attributes of a result."""
    middle, half = _scaling(axis)
    return json.dumps(
        {
            "edge": None if edge is None else edge.shape,
            "peaks": [p.shape for p in peaks],
            "baseline": baseline,
            "baseline_centre": middle,
            "baseline_scale": half,
        }
    )


def _scaling(axis: np.ndarray) -> tuple[float, float]:
    return float(axis[0] + axis[-1]) / 2, float(axis[-1] - axis[0]) / 2


def _width(window: Range, finest: float) -> Range:
    return finest, max(window[1] - window[0], 8 * finest)


def _range(name: str, value: Any) -> Range:
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            name, value, "a range (low, high) in which it lies", "Equal ends fix it."
        ) from error
    return low, high


def _check(item: Any, ranges: Sequence[str], shapes: Sequence[str]) -> None:
    """Turn ranges into ordered tuples of floats, and check the shape."""
    for name in ranges:
        value = getattr(item, name)
        if value is None:
            continue
        low, high = _range(name, value)
        if not low <= high:
            raise ArgumentError(name, (low, high), "a range (low, high), low first")
        if name == "width" and low <= 0:
            raise ArgumentError(name, (low, high), "widths above zero")
        object.__setattr__(item, name, (low, high))
    if item.shape not in shapes:
        raise ArgumentError("shape", item.shape, f"one of {list(shapes)}")
