"""The result of a factorisation: order, scale and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply
from batteryxr.core.model import label

if TYPE_CHECKING:
    from batteryxr.nmf.layout import Layout
    from batteryxr.nmf.problem import Answer, Problem

_FLAGS = {
    "units": "1",
    "long_name": "Quality flag",
    "flag_values": [0, 1],
    "flag_meanings": "good no_data",
}


def arrange(problem: Problem, answer: Answer, scale: str) -> np.ndarray:
    """Scale the free components, in place, and return the order of all.

    Series: by the centre of mass of the weights, so that what appears first comes
    first. Images: by total weight, the largest first.
    """
    from batteryxr.nmf.kernels.match import appearance

    if not problem.rules.closure:
        free = ~problem.rules.fixed
        length = lengths(answer.components[free], problem, scale)
        answer.components[free] /= length[:, None]
        answer.used[free] *= length
        for spread, power in (
            (answer.components_spread, -1),
            (answer.weights, 1),
            (answer.weights_spread, 1),
        ):
            if spread is not None:
                spread[free] *= length[:, None] ** power
    if problem.layout.series and answer.weights is not None:
        return appearance(np.nan_to_num(answer.weights))
    return np.argsort(-answer.used, kind="stable")


def lengths(components: np.ndarray, problem: Problem, scale: str) -> np.ndarray:
    """Return (k,) what the components are divided by to have the scale asked for."""
    rows = np.nan_to_num(components)
    if scale == "max":
        length = np.abs(rows).max(axis=1)
    elif scale == "area":
        axis = problem.layout.data[problem.layout.signal].values.astype(np.float64)
        length = np.abs(np.trapezoid(rows, axis, axis=1))
    else:
        length = np.linalg.norm(rows, axis=1)
    return np.where(length > 0, length, 1.0)


def label_result(
    problem: Problem,
    answer: Answer,
    order: np.ndarray,
    *,
    scale: str,
    levels: xr.DataArray | None,
) -> xr.Dataset:
    """Return the Dataset: components, weights, residuals, and how it went."""
    layout, closure = problem.layout, problem.rules.closure
    units = str(layout.data.attrs.get("units", "1"))
    names = _names(problem, order)
    shifted = answer.components[order]
    patterns = shifted + problem.shift if closure and problem.shifted else shifted
    fixed = problem.rules.fixed[order]
    if problem.shifted and closure:
        # Exactly what was given: shifting there and back would round.
        patterns[fixed] = problem.raw[order[fixed]]
    component = xr.DataArray(
        names, dims="component", attrs={"units": "1", "long_name": "Component"}
    )
    like = layout.data.coords
    axis = {layout.signal: like[layout.signal]} if layout.signal in like else {}
    coords = {"component": component, **axis}
    dims = ("component", layout.signal)
    out: dict[str, xr.DataArray] = {}
    pattern_units = units if closure else "1"
    out["components"] = label(
        xr.DataArray(patterns, dims=dims, coords=coords),
        "components",
        units=pattern_units,
        long_name="Component",
    )
    out |= _unmixed(problem, shifted, coords, units)
    if answer.components_spread is not None:
        out["components_spread"] = label(
            xr.DataArray(answer.components_spread[order], dims=dims, coords=coords),
            "components_spread",
            units=pattern_units,
            long_name="Range of a component over equally good starts",
        )
    if layout.series and answer.weights_spread is not None:
        out["weights_spread"] = label(
            out["weights"].copy(data=answer.weights_spread[order].T),
            "weights_spread",
            units="1" if closure else units,
            long_name="Range of a weight over equally good starts",
        )
    if problem.rules.weight_smoothness and answer.weights is not None:
        out["weights"] = out["weights"].copy(data=answer.weights[order].T)
    out["fixed"] = label(
        xr.DataArray(fixed, dims="component", coords={"component": component}),
        "fixed",
        units="1",
        long_name="Component was held fixed",
    )
    out["shift_curve"] = label(
        xr.DataArray(problem.shift, dims=layout.signal, coords=axis),
        "shift_curve",
        units=units,
        long_name="Curve subtracted from every pattern",
    )
    if levels is not None:
        out["pattern_scale"] = label(
            levels,
            "pattern_scale",
            units=str(levels.attrs.get("units", "1")),
            long_name="Number that each pattern was divided by",
        )
    result = xr.Dataset(out | _story(problem, answer))
    result.attrs = {
        "scale": "closure" if closure else scale,
        "full_passes": answer.full_passes,
        "converged": int(any(answer.start_converged)),
        "signal": layout.signal,
    }
    return result.assign_coords(sample_coords(layout))


def _names(problem: Problem, order: np.ndarray) -> list[str]:
    """Name free components CP1, CP2, ... in their order, around names in use."""
    taken = set(problem.known.names)
    fresh = (f"CP{i}" for i in range(1, 2 * problem.n + 1))
    free = (name for name in fresh if name not in taken)
    return [
        problem.known.names[i] if i < len(problem.known) else next(free) for i in order
    ]


def sample_coords(layout: Layout) -> dict[Any, xr.DataArray]:
    """Return the coordinates of the data that do not run along the signal."""
    return {
        name: coord
        for name, coord in layout.data.coords.items()
        if layout.signal not in coord.dims
    }


def _unmixed(
    problem: Problem, components: np.ndarray, coords: dict[str, Any], units: str
) -> dict[str, xr.DataArray]:
    """Return exact weights, residuals and flags; lazy where the data are."""
    layout, closure = problem.layout, problem.rules.closure
    inputs: list[xr.DataArray] = [layout.data.drop_vars(list(layout.data.coords))]
    core = [[layout.signal]]
    per_sample = problem.errors is not None and problem.errors.ndim > 1
    if problem.errors is not None and per_sample:
        wide = problem.errors.drop_vars(list(problem.errors.coords))
        inputs.append(wide)
        core.append([layout.signal])
    sigma = (
        problem.errors.values if problem.errors is not None and not per_sample else None
    )
    kind = np.float32 if layout.data.dtype == np.float32 else np.float64
    weights, residual, relative, chi2, flag = apply(
        _unmix_block,
        *inputs,
        core_dims=core,
        output_dims=[["component"], [], [], [], []],
        output_sizes={"component": problem.n},
        dtypes=[kind, kind, kind, kind, np.int8],
        caller="fit",
        components=np.nan_to_num(components),
        missing=np.flatnonzero(~np.isfinite(components).all(axis=0)),
        closure=closure,
        sigma=sigma,
        shift=problem.shift if problem.shifted else None,
    )
    if not layout.series:
        weights = weights.transpose("component", *layout.samples)
    out = {
        "weights": label(
            weights.assign_coords(component=coords["component"]),
            "weights",
            units="1" if closure else units,
            long_name="Ratio" if closure else "Weight",
        ),
        "residual": label(
            residual,
            "residual",
            units=units,
            long_name="Root mean square residual",
        ),
        "relative_residual": label(
            relative,
            "relative_residual",
            units="1",
            long_name="Residual relative to the pattern",
        ),
        "flag": label(flag, "flag", **_FLAGS),
    }
    if problem.errors is not None:
        out["chi2"] = label(
            chi2, "chi2", units="1", long_name="Mean squared residual over errors"
        )
    return out


def _unmix_block(
    x: np.ndarray,
    errors: np.ndarray | None = None,
    *,
    components: np.ndarray,
    missing: np.ndarray,
    closure: bool,
    sigma: np.ndarray | None,
    shift: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """Unmix (..., points) and summarise each pattern."""
    from threadpoolctl import threadpool_limits

    from batteryxr.nmf.kernels.passes import unmix

    samples = x.shape[:-1]
    rows = x.reshape(-1, x.shape[-1])
    if missing.size:
        rows = rows.copy()
        rows[:, missing] = np.nan
    if errors is not None:
        sigma = np.broadcast_to(errors, x.shape).reshape(rows.shape)
    with threadpool_limits(1, "blas"):
        u = unmix(rows, components, closure=closure, sigma=sigma, shift=shift)
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = np.sqrt(u.misfit / u.count)
        relative = np.sqrt(u.misfit / u.power)
        chi2 = u.chi2 / u.count
    kind = u.weights.dtype
    return (
        u.weights.reshape(*samples, -1),
        residual.astype(kind).reshape(samples),
        relative.astype(kind).reshape(samples),
        chi2.astype(kind).reshape(samples),
        (u.count == 0).astype(np.int8).reshape(samples),
    )


def _story(problem: Problem, answer: Answer) -> dict[str, xr.DataArray]:
    """Return the scalars of the fit, and how each start fared."""
    start = xr.DataArray(
        np.arange(1, len(answer.start_error) + 1),
        dims="start",
        attrs={"units": "1", "long_name": "Start"},
    )
    columns = {
        "start_error": (answer.start_error, "Relative error of a start"),
        "start_iterations": (answer.start_iterations, "Alternations of a start"),
        "start_converged": (answer.start_converged, "A start converged"),
        "start_similarity": (
            answer.start_similarity,
            "Lowest cosine to the components of the best start",
        ),
    }
    scalars = {
        "relative_error": (answer.error, "Relative error of the factorisation"),
        "svd_error": (answer.svd_error, "Relative error of the best rank-n matrix"),
    }
    out = {
        name: label(xr.DataArray(v), name, units="1", long_name=text)
        for name, (v, text) in scalars.items()
    }
    if answer.start_error:
        out |= {
            name: label(
                xr.DataArray(v, dims="start", coords={"start": start}),
                name,
                units="1",
                long_name=text,
            )
            for name, (v, text) in columns.items()
        }
    return out
