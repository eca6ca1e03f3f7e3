"""Fit edges with widths or positions common to all pixels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.blocks import stream_rows
from batteryxr.core.errors import ConvergenceError
from batteryxr.core.model import label
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded
from batteryxr.xanes.fit.preparation import FitOptions, prepare
from batteryxr.xanes.fit.terms import Terms, as_edge, as_peaks, columns
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.checks import NonNegative
    from batteryxr.xanes.fit.preparation import PixelFit
    from batteryxr.xanes.fit.terms import Degree, Edge, Peak
    from batteryxr.xanes.kernels.problem import Model
    from batteryxr.xanes.spectra import Range

_Shared = Literal["edge_energy", "edge_width", "peak_position", "peak_width"]
#: Largest number of iterations, and the relative decrease of chi2 at which to stop.
_STEPS, _TOLERANCE = 40, 1e-9


@recorded
def fit_edge_shared(
    spectra: xr.DataArray | xr.Dataset,
    *,
    shared: Sequence[_Shared],
    edge: Edge | Range,
    peaks: Peak | Range | Sequence[Peak | Range] = (),
    baseline: Degree = 0,
    pre: Range | None = None,
    post: Range | None = None,
    threshold: NonNegative = 5.0,
    noise: NonNegative | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Fit the edge model with widths or positions common to all pixels.

    This stabilises thin pixels: all pixels determine what a single one cannot.
    *Reads n times*, once for each iteration and block by block; the maps are then
    *lazy*.

    Parameters
    ----------
    spectra
        Absorption along `energy`, in any other dimensions.
    shared
        Names among "edge_energy", "edge_width", "peak_position" and "peak_width" (of
        all peaks).
    edge, peaks, baseline, pre, post, threshold, noise
        As in `fit_edge`; the pixels are those above the pooled noise.
    progress
        Show a progress bar; None: in terminals and notebooks only.

    Returns
    -------
    xarray.Dataset
        As from `fit_edge`. Shared parameters have no pixels, and an error from all of
        them. The errors of the maps hold for these values of the shared parameters.

    Raises
    ------
    ArgumentError
        If a range holds too few energies.
    ConvergenceError
        If no pixel rises above the noise, or the iterations do not converge.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=24)
    >>> objects = study["objects"].to_dataset()["transmission"].sel(particle="P1")
    >>> stack = objects.xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge_shared(
    ...     shared=("edge_width",),
    ...     edge=(5470, 5486),
    ...     peaks=[(5463, 5470), (5483, 5496)],
    ... )
    """
    terms = Terms(as_edge(edge), as_peaks(peaks), baseline)
    options = FitOptions(
        mask="pooled", pre=pre, post=post, threshold=threshold, noise=noise
    )
    array = as_spectra(spectra, caller="fit_edge_shared")
    fit = prepare(array, terms, options, caller="fit_edge_shared")
    known = columns(fit.problem.model)
    at: dict[str, list[int]] = {name: known[name] for name in shared if name in known}
    theta, errors = _descend(array, fit, _flat(at), progress)
    fixed = dict(zip(_flat(at), theta, strict=True))
    held = _held(terms, fit.problem.model, fixed)
    options = dataclasses.replace(options, noise=fit.problem.noise.sd)
    last = prepare(array, held, options, caller="fit_edge_shared")
    result = last.apply(array, caller="fit_edge_shared")
    spread = dict(zip(_flat(at), errors, strict=True))
    for name, places in at.items():
        for suffix, values in (("", fixed), ("_error", spread)):
            old = result[name + suffix]
            new = np.array([values[k] for k in places])
            along = ("peak",) if "peak" in old.dims else ()
            data = xr.DataArray(new if along else new[0], dims=along)
            result[name + suffix] = label(data, name + suffix, **old.attrs)
    result.attrs["shared"] = list(at)
    return result


def _descend(
    array: xr.DataArray, fit: PixelFit, columns: list[int], progress: bool | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the common parameters of least chi2, and their errors."""
    from batteryxr.xanes.kernels.shared import standard_errors, step
    from batteryxr.xanes.kernels.starts import round_digits

    model, at = fit.problem.model, np.array(columns, dtype=int)
    low, high = model.low[at], model.high[at]
    theta, damping = fit.problem.search.starts[0][at], 1e-3
    with bar(None, "Fitting shared parameters", progress=progress) as shown:
        state = _reduced(array, fit, at, theta)
        if state.used == 0:
            raise ConvergenceError(
                "fit_edge_shared: no pixel rises above the noise. Look at noise_mask, "
                "or lower threshold."
            )
        for _ in range(_STEPS):
            shown.update(1)
            trial = step(
                state.hessian,
                state.gradient,
                theta,
                low=low,
                high=high,
                damping=damping,
            )
            new = _reduced(array, fit, at, trial)
            if new.chi2 <= state.chi2:
                gain = (state.chi2 - new.chi2) / state.chi2 if state.chi2 else 0.0
                theta, state, damping = trial, new, damping * 0.1
                if gain < _TOLERANCE:
                    break
            elif np.allclose(trial, theta, rtol=1e-12, atol=0.0):
                break
            else:
                damping *= 10.0
        else:
            raise ConvergenceError(
                f"fit_edge_shared: chi2 still falls after {_STEPS} steps. Narrow the "
                "ranges, or share fewer parameters."
            )
    own = model.n_free - int((low < high).sum())
    freedom = state.points - state.used * own - at.size
    variance = state.chi2 / max(freedom, 1)
    inside = (theta > low) & (theta < high)
    return round_digits(theta, 10), standard_errors(state.hessian, variance, inside)


@dataclasses.dataclass
class _Reduced:
    """Hold the normal equations of the common parameters, and the data behind them."""

    hessian: np.ndarray
    gradient: np.ndarray
    chi2: float
    points: int
    used: int


def _reduced(
    array: xr.DataArray, fit: PixelFit, at: np.ndarray, theta: np.ndarray
) -> _Reduced:
    from batteryxr.xanes.kernels.block import rises
    from batteryxr.xanes.kernels.shared import reduce_rows
    from batteryxr.xanes.kernels.starts import make_search

    axis, model, search, _ = fit.problem
    windows, threshold = fit.selection.windows, fit.selection.threshold
    n = model.low.size
    start = search.starts[:1].copy()
    start[0, at] = theta
    search = make_search(axis, model, start)._replace(tolerance=1e-10)
    problem = fit.problem._replace(search=search)
    shared = np.zeros(n, bool)
    shared[at] = True
    total = _Reduced(np.zeros((n, n)), np.zeros(n), 0.0, 0, 0)
    for block in stream_rows(array, "energy"):
        risen = rises(block, windows, threshold) if windows is not None else slice(None)
        rows = np.ascontiguousarray(block[risen], np.float64)
        chi2, points, used = reduce_rows(
            problem, rows, shared, total.hessian, total.gradient
        )
        total.chi2 += chi2
        total.points += points
        total.used += used
    total.hessian, total.gradient = total.hessian[np.ix_(at, at)], total.gradient[at]
    return total


def _flat(columns: dict[str, list[int]]) -> list[int]:
    return [k for at in columns.values() for k in at]


def _held(terms: Terms, model: Model, fixed: dict[int, float]) -> Terms:
    """Return the terms with their shared parameters fixed."""

    def changes(first: int, place: str) -> dict[str, Any]:
        return {
            name: (fixed[k], fixed[k])
            for name, k in ((place, first + 1), ("width", first + 2))
            if k in fixed
        }

    edge = terms.edge and dataclasses.replace(
        terms.edge, **changes(model.jump, "energy")
    )
    peaks = tuple(
        dataclasses.replace(peak, **changes(first, "position"))
        for peak, first in zip(terms.peaks, model.peak_offsets, strict=True)
    )
    return dataclasses.replace(terms, edge=edge, peaks=peaks)
