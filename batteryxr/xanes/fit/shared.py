"""Edge fits in which widths or positions are common to all pixels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, ConvergenceError
from batteryxr.core.model import label
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded
from batteryxr.xanes.fit.edge import fit_edge
from batteryxr.xanes.fit.starts import round_digits, with_starts
from batteryxr.xanes.fit.task import FitTask, model_windows
from batteryxr.xanes.fit.terms import Edge, Peak, as_edge, as_peaks, compile_model
from batteryxr.xanes.spectra import spectra, stream_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.xanes.fit.terms import Plan, Range

_SHAREABLE = ("edge_energy", "edge_width", "peak_position", "peak_width")
#: Most steps, and the relative decrease of chi2 at which to stop.
_STEPS, _TOLERANCE = 40, 1e-9


@recorded
def fit_edge_shared(
    obj: xr.DataArray | xr.Dataset,
    *,
    shared: Sequence[str],
    edge: Edge | Range,
    peaks: Sequence[Peak | Range] = (),
    baseline: int = 0,
    pre: Range | None = None,
    post: Range | None = None,
    n_sigma: float = 5.0,
    noise: float | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Fit the edge model with widths or positions common to all pixels.

    Steadies thin pixels: what no single one can tell is told by all. *Reads n times*,
    once for each step and block by block; the maps are then *lazy*.

    Parameters
    ----------
    obj
        Absorption along `energy`, in any other dimensions.
    shared
        Among "edge_energy", "edge_width", "peak_position" and "peak_width" (of all
        peaks).
    edge, peaks, baseline, pre, post, n_sigma, noise
        As in `fit_edge`; the pixels are those above the pooled noise.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        As of `fit_edge`; what is shared has no pixels, and an error from all of them.
        The errors of the maps hold for these values of the shared parameters.

    Raises
    ------
    ArgumentError
        If a name in `shared` is unknown.
    ConvergenceError
        If no pixel holds enough, or the steps do not settle.
    """
    for name in shared:
        if name not in _SHAREABLE:
            raise ArgumentError("shared", name, f"names among {list(_SHAREABLE)}")
    array = spectra(obj, caller="fit_edge_shared")
    the_edge, the_peaks = as_edge(edge), as_peaks(peaks)
    plan = compile_model(array.energy.values, the_edge, the_peaks, baseline)
    task = FitTask(array, "energy", "fit_edge_shared", plan, None, noise)
    task.before, task.after = model_windows(
        array.energy.values, the_edge, the_peaks, pre, post
    )
    task.prepare(True)
    columns = {name: plan.columns[name] for name in shared if name in plan.columns}
    theta, errors = _descend(task, columns, n_sigma * task.noise, progress)
    fixed = dict(zip(_flat(columns), theta, strict=True))
    result = fit_edge(
        array,
        edge=_held_edge(the_edge, plan, fixed),
        peaks=_held_peaks(the_peaks, plan, fixed),
        baseline=baseline,
        pre=pre,
        post=post,
        n_sigma=n_sigma,
        noise=task.noise,
    )
    known = dict(zip(_flat(columns), errors, strict=True))
    for name, at in columns.items():
        for suffix, values in (("", fixed), ("_error", known)):
            old = result[name + suffix]
            new = np.array([values[k] for k in at])
            along = ("peak",) if "peak" in old.dims else ()
            data = xr.DataArray(new if along else new[0], dims=along)
            result[name + suffix] = label(data, name + suffix, **old.attrs)
    result.attrs["shared"] = list(columns)
    return result


def _descend(
    task: FitTask,
    columns: dict[str, list[int]],
    threshold: float,
    progress: bool | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the common parameters of least chi2, and their errors."""
    from batteryxr.xanes.kernels.shared import standard_errors, step

    plan = task.plan
    at = np.array(_flat(columns), dtype=int)
    low, high = plan.low[at], plan.high[at]
    theta, damping = plan.starts[0][at], 1e-3
    with bar(None, "Fitting shared parameters", progress=progress) as shown:
        state = _reduced(task, at, theta, threshold)
        if state.used == 0:
            raise ConvergenceError(
                "fit_edge_shared: no pixel rises above the noise. Look at noise_mask, "
                "or lower n_sigma."
            )
        for _ in range(_STEPS):
            shown.update(1)
            trial = step(state.hessian, state.gradient, theta, low, high, damping)
            new = _reduced(task, at, trial, threshold)
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
    own = int((plan.low < plan.high).sum() - (low < high).sum())
    freedom = state.points - state.used * own - at.size
    variance = state.chi2 / max(freedom, 1)
    inside = (theta > low) & (theta < high)
    return round_digits(theta, 10), standard_errors(state.hessian, variance, inside)


@dataclasses.dataclass
class _Reduced:
    """The normal equations of the common parameters, and what they rest on."""

    hessian: np.ndarray
    gradient: np.ndarray
    chi2: float
    points: int
    used: int


def _reduced(
    task: FitTask, at: np.ndarray, theta: np.ndarray, threshold: float
) -> _Reduced:
    from batteryxr.xanes.kernels.block import rises
    from batteryxr.xanes.kernels.shared import reduce_rows

    n, axis = task.plan.low.size, task.array.energy.values
    start = task.plan.starts[0].copy()
    start[at] = theta
    plan = with_starts(task.plan, axis, start[None])
    shared = np.zeros(n, bool)
    shared[at] = True
    total = _Reduced(np.zeros((n, n)), np.zeros(n), 0.0, 0, 0)
    windows = np.stack([task.before, task.after])  # type: ignore[list-item]
    for block in stream_rows(task.array):
        rows = np.ascontiguousarray(block[rises(block, windows, threshold)], np.float64)
        chi2, points, used = reduce_rows(
            axis, plan.scaled, rows, plan.starts[0], plan.start_curves[0], plan.linear,
            plan.constant, plan.low, plan.high, plan.kinds, plan.offsets, shared,
            1e-10, 100, total.hessian, total.gradient,
        )  # fmt: skip
        total.chi2 += chi2
        total.points += points
        total.used += used
    total.hessian, total.gradient = total.hessian[np.ix_(at, at)], total.gradient[at]
    return total


def _flat(columns: dict[str, list[int]]) -> list[int]:
    return [k for at in columns.values() for k in at]


def _held_edge(edge: Edge, plan: Plan, fixed: dict[int, float]) -> Edge:
    """Return the edge with its shared parameters fixed."""
    changes: dict[str, Any] = {}
    for name, k in (("energy", plan.jump + 1), ("width", plan.jump + 2)):
        if k in fixed:
            changes[name] = (fixed[k], fixed[k])
    return dataclasses.replace(edge, **changes)


def _held_peaks(
    peaks: Sequence[Peak], plan: Plan, fixed: dict[int, float]
) -> list[Peak]:
    """Return the peaks with their shared parameters fixed."""
    held = []
    for peak, o in zip(peaks, plan.peak_offsets, strict=True):
        changes: dict[str, Any] = {}
        for name, k in (("position", o + 1), ("width", o + 2)):
            if k in fixed:
                changes[name] = (fixed[k], fixed[k])
        held.append(dataclasses.replace(peak, **changes))
    return held
