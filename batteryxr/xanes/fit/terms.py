"""Define the terms fitted to each spectrum: edge, peaks and baseline, with bounds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np

from batteryxr.core.checks import Bounds, NonNegative, check_fields
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import replayable
from batteryxr.xanes.kernels.problem import (
    ALWAYS,
    DOUBTFUL,
    NEVER,
    PSEUDO_VOIGT,
    Axis,
    Model,
)

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import EdgeWidth
    from batteryxr.xanes.spectra import Range

#: Degree of a baseline; -1 for none.
Degree = Annotated[int, Bounds(low=-1)]
#: When a spectrum is fitted from further initial guesses.
When = Literal["always", "doubtful", "never"]
EdgeShape = Literal["erf", "arctan"]
PeakShape = Literal["lorentzian", "gaussian", "pseudo_voigt"]
# The order is that of the codes in kernels/problem.py.
_SHAPES = (*get_args(EdgeShape), *get_args(PeakShape), "polynomial")
_CODES = {name: code for code, name in enumerate(_SHAPES)}
_WHEN = {"never": NEVER, "doubtful": DOUBTFUL, "always": ALWAYS}
#: Largest number of spectra that are fitted from all guesses by default.
FEW = 1000


@replayable
@dataclass(frozen=True)
class Edge:
    """Define an absorption edge: a step with bounds on its energy, width and jump.

    Parameters
    ----------
    energy
        Range of the edge energy, in eV. Equal ends fix a parameter, here and below.
    width
        Range of the width b3 in erf[(E - b2) / b3], in eV. Default: from half the
        smallest energy step to the width of `energy`.
    jump
        Range of the edge jump.
    shape
        "erf" or "arctan".
    """

    energy: Range
    width: EdgeWidth | None = None
    jump: Range = (0.0, float("inf"))
    shape: EdgeShape = "erf"

    def __post_init__(self) -> None:
        _settle(self, ("energy", "width", "jump"))


@replayable
@dataclass(frozen=True)
class Peak:
    """Define a peak with bounds on its position, half width and height.

    Parameters
    ----------
    position
        Range of the position, on the axis of the spectra.
    width
        Range of the half width at half maximum. Default: from half the smallest step
        of the axis to the width of `position`.
    height
        Range of the height; (-inf, inf) allows negative bands.
    shape
        "lorentzian", "gaussian" or "pseudo_voigt" (a Lorentzian and a Gaussian of
        one width, with the Lorentzian's fraction fitted between 0 and 1).
    name
        Label along the dimension `peak` of the result.
    """

    position: Range
    width: Range | None = None
    height: Range = (0.0, float("inf"))
    shape: PeakShape = "lorentzian"
    name: str = ""

    def __post_init__(self) -> None:
        _settle(self, ("position", "width", "height"))


@replayable
@dataclass(frozen=True)
class Multistart:
    """Set when a spectrum is fitted from further guesses, and when results conflict.

    Parameters
    ----------
    when
        "always", "doubtful" (start again if the fit did not converge, ended at a
        bound, or left more than noise) or "never". Default: "always" up to 1000
        spectra, else "doubtful".
    ambiguity
        Number of standard deviations. Two solutions are ambiguous if their chi2 differ
        by less than its square, in units of the residual variance of the better one.
    """

    when: When | None = None
    ambiguity: NonNegative = 3.0

    def __post_init__(self) -> None:
        check_fields(self)

    def code(self, n_spectra: int) -> int:
        """Return the kernel's code; the default depends on the number of spectra."""
        when = self.when or ("always" if n_spectra <= FEW else "doubtful")
        return _WHEN[when]


@dataclass(frozen=True)
class Terms:
    """Hold the terms of a model, and the dimension of its spectra."""

    edge: Edge | None
    peaks: tuple[Peak, ...]
    baseline: int
    dim: str = "energy"

    def labels(self) -> list[int] | list[str]:
        """Return the coordinate of the dimension `peak`: names, or numbers from 1."""
        if any(p.name for p in self.peaks):
            return [p.name or f"peak {i}" for i, p in enumerate(self.peaks, 1)]
        return list(range(1, len(self.peaks) + 1))

    def describe(self, x: np.ndarray, units: str) -> str:
        """Return the model as JSON, for the attributes of a result."""
        middle, half = _scaling(x)
        return json.dumps(
            {
                "edge": None if self.edge is None else self.edge.shape,
                "peaks": [p.shape for p in self.peaks],
                "baseline": self.baseline,
                "baseline_centre": middle,
                "baseline_scale": half,
                "axis": self.dim,
                "range": [float(x[0]), float(x[-1])],
                "units": units,
            }
        )


def compile_model(x: np.ndarray, terms: Terms) -> tuple[Axis, Model]:
    """Lay the parameters out: edge, then peaks, then baseline coefficients."""
    finest = 0.5 * float(np.diff(x).min())
    kinds: list[int] = []
    offsets: list[int] = []
    bounds: list[Range] = []
    linear: list[bool] = []
    tracked = []

    def add(shape: str, ranges: list[Range], n_linear: int = 1) -> int:
        kinds.append(_CODES[shape])
        offsets.append(len(bounds))
        bounds.extend(ranges)
        linear.extend(k < n_linear for k in range(len(ranges)))
        return offsets[-1]

    jump = -1
    if terms.edge is not None:
        edge = terms.edge
        width = edge.width or _width(edge.energy, finest)
        jump = add(edge.shape, [edge.jump, edge.energy, width])
        tracked = [jump + 1]
    for peak in terms.peaks:
        ranges = [
            peak.height,
            peak.position,
            peak.width or _width(peak.position, finest),
        ]
        if peak.shape == "pseudo_voigt":
            ranges.append((0.0, 1.0))
        first = add(peak.shape, ranges)
        if terms.edge is None:
            tracked.append(first + 1)
    constant = -1
    if terms.baseline >= 0:
        n = terms.baseline + 1
        constant = add("polynomial", [(-np.inf, np.inf)] * n, n_linear=n)
    middle, half = _scaling(x)
    low, high = np.array(bounds, float).reshape(-1, 2).T.copy()
    model = Model(
        kinds=np.array(kinds, np.int64),
        offsets=np.array(offsets, np.int64),
        low=low,
        high=high,
        linear=np.array(linear, bool),
        constant=constant,
        jump=jump,
        tracked=np.array(tracked, np.int64),
    )
    # A copy: indices are read-only, and would be compiled separately.
    return Axis(np.array(x, float), (x - middle) / half), model


def columns(model: Model) -> dict[str, list[int]]:
    """Return the parameter indices of each variable; -1 for a missing one."""
    first = model.peak_offsets
    voigt = set(model.offsets[model.kinds == PSEUDO_VOIGT].tolist())
    found = {
        "peak_height": first,
        "peak_position": [o + 1 for o in first],
        "peak_width": [o + 2 for o in first],
        "lorentzian_share": [o + 3 if o in voigt else -1 for o in first],
    }
    if model.jump >= 0:
        names = ("edge_jump", "edge_energy", "edge_width")
        found |= {name: [model.jump + k] for k, name in enumerate(names)}
    if model.constant >= 0:
        powers = list(range(model.constant, model.low.size))
        found["baseline" if len(powers) > 1 else "level"] = powers
    return {name: at for name, at in found.items() if any(k >= 0 for k in at)}


def as_edge(value: Any) -> Edge:
    """Return an `Edge`, made from a range of energies if needed."""
    if isinstance(value, Edge):
        return value
    return Edge(energy=value)


def as_peaks(values: Any) -> tuple[Peak, ...]:
    """Return a tuple of `Peak`, made from one or several ranges if needed."""
    if isinstance(values, Peak):
        return (values,)
    items = list(values)
    if len(items) == 2 and all(np.isscalar(v) for v in items):
        items = [tuple(items)]
    return tuple(v if isinstance(v, Peak) else Peak(position=v) for v in items)


def as_multistart(value: Any) -> Multistart:
    """Return a `Multistart`, made from its `when` if needed."""
    return value if isinstance(value, Multistart) else Multistart(value)


def _scaling(axis: np.ndarray) -> tuple[float, float]:
    return float(axis[0] + axis[-1]) / 2, float(axis[-1] - axis[0]) / 2


def _width(window: Range, finest: float) -> Range:
    return finest, max(window[1] - window[0], 8 * finest)


def _settle(item: Edge | Peak, ranges: tuple[str, ...]) -> None:
    """Check the fields, and convert ranges to tuples of floats."""
    check_fields(item)
    for name in ranges:
        value = getattr(item, name)
        if value is None:
            continue
        low, high = (float(v) for v in value)
        if name == "width" and low <= 0:
            raise ArgumentError(name, value, "widths above zero")
        object.__setattr__(item, name, (low, high))
