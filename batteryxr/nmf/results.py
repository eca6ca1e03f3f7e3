"""The result of a factorisation: order, scale and labels of the components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply
from batteryxr.core.errors import warn_quality
from batteryxr.core.kernels.cores import single
from batteryxr.core.model import label
from batteryxr.nmf.phases.measured import told
from batteryxr.nmf.starting import ORIGINS

if TYPE_CHECKING:
    from batteryxr.nmf.data import Patterns
    from batteryxr.nmf.held import Facts
    from batteryxr.nmf.kernels.alternate import Rules
    from batteryxr.nmf.solving import Factors
    from batteryxr.nmf.starting import Starts

#: Meanings of the flags of scans, of all that factorise a series.
FLAGS = {
    "units": "1",
    "long_name": "Quality flag",
    "flag_values": [0, 1, 2, 3, 4, 5, 6],
    "flag_meanings": "good no_data no_beam other_intensity spikes strange misfit",
}


def arrange(
    factors: Factors, rules: Rules, scale: str, axis: xr.DataArray, *, series: bool
) -> np.ndarray:
    """Scale the free components in place, and return the order of all components.

    Series are ordered by the centre of mass of the weights, so that the first to
    appear comes first. Images are ordered by total weight, the largest first.
    """
    from batteryxr.nmf.kernels.comparing import appearance

    if not rules.closure:
        free = ~rules.fixed
        length = lengths(factors.components[free], scale, axis)
        factors.components[free] /= length[:, None]
        factors.used[free] *= length
        for spread, power in (
            (factors.components_spread, -1),
            (factors.weights, 1),
            (factors.weights_spread, 1),
        ):
            if spread is not None:
                spread[free] *= length[:, None] ** power
    if series and factors.weights is not None:
        return appearance(np.nan_to_num(factors.weights))
    return np.argsort(-factors.used, kind="stable")


def lengths(components: np.ndarray, scale: str, axis: xr.DataArray) -> np.ndarray:
    """Return the number (k,) that each component is divided by to get a scale."""
    rows = np.nan_to_num(components)
    if scale == "max":
        length = np.abs(rows).max(axis=1)
    elif scale == "area":
        length = np.abs(np.trapezoid(rows, axis.values.astype(np.float64), axis=1))
    else:
        length = np.linalg.norm(rows, axis=1)
    return np.where(length > 0, length, 1.0)


class Legend(NamedTuple):
    """Hold what a result takes over from its data: names, coordinates, units.

    Parameters
    ----------
    signal, units, attrs
        Dimension of a pattern, units of the data, and what else they say.
    coords
        Coordinates of the points, and of all patterns together.
    shift
        (points,) the curve that was subtracted; None for none.
    levels
        Number that each pattern was divided by; or None.
    """

    signal: str
    units: str
    attrs: dict[str, Any]
    coords: dict[Any, xr.DataArray]
    shift: np.ndarray | None
    levels: xr.DataArray | None


def legend_of(patterns: Patterns) -> Legend:
    """Return what a result takes over from its data."""
    signal = patterns.signal
    return Legend(
        signal=signal,
        units=patterns.units,
        attrs=told(patterns.whole.attrs),
        coords={
            name: coord
            for name, coord in patterns.data.coords.items()
            if coord.dims == (signal,) or signal not in coord.dims
        },
        shift=patterns.shift,
        levels=patterns.levels,
    )


def label_result(
    legend: Legend,
    unmixed: dict[str, xr.DataArray],
    starts: Starts,
    factors: Factors,
    *,
    rules: Rules,
    order: np.ndarray,
) -> xr.Dataset:
    """Return the Dataset of components, weights, residuals and facts on the fit."""
    closure = rules.closure
    out = label_components(
        legend, starts, factors.components[order], order, closure=closure
    )
    out |= unmixed
    out |= _spreads(factors, order, out)
    if rules.weight_smoothness and factors.weights is not None:
        out["weights"] = out["weights"].copy(data=factors.weights[order].T)
    out |= _story(factors)
    result = _as_dataset(out)
    result.attrs = {
        "full_passes": factors.full_passes,
        "converged": int(any(factors.start_converged)),
        "signal": legend.signal,
    }
    return result


def label_components(
    legend: Legend,
    starts: Starts,
    rows: np.ndarray,
    order: np.ndarray,
    *,
    closure: bool,
) -> dict[str, xr.DataArray]:
    """Return the components with their shift undone, and facts about them.

    Parameters
    ----------
    legend, starts
        What the data say, and the fixed components.
    rows
        (n, points) the components, shifted like the data, in the order of the result.
    order
        (n,) original index of each component.
    closure
        Weights sum to one.
    """
    signal, shift, units = legend.signal, legend.shift, legend.units
    lying = _on_bound(rows)
    fixed = starts.is_fixed[order]
    if closure and shift is not None:
        rows = rows + shift
        # Keep the given values exactly: shifting there and back would round.
        rows[fixed] = starts.raw[order[fixed]]
    names = xr.DataArray(
        _names(starts, order),
        dims="component",
        attrs={"units": "1", "long_name": "Component"},
    )
    curve = np.zeros(rows.shape[1]) if shift is None else shift
    unit = units if closure else "1"
    table: dict[str, tuple[Any, Any, str, str]] = {
        "components": (("component", signal), rows, unit, "Component"),
        "fixed": ("component", fixed, "1", "Component was held fixed"),
        "on_bound": ("component", lying, "1", "Share of a component on the bound"),
        "shift_curve": (signal, curve, units, "Curve subtracted from every pattern"),
    }
    out = {name: labelled(name, *parts) for name, parts in table.items()}
    out["components"].attrs |= {"origin": "found"} | legend.attrs
    kinds = [ORIGINS.index(origin) for origin in starts.origins]
    kinds += [0] * (starts.n - len(kinds))
    out["origin"] = label(
        xr.DataArray(np.array(kinds, dtype=np.int8)[order], dims="component"),
        "origin",
        units="1",
        long_name="What a component is",
        flag_values=list(range(len(ORIGINS))),
        flag_meanings=" ".join(ORIGINS),
    )
    if (levels := legend.levels) is not None:
        out["pattern_scale"] = label(
            levels,
            "pattern_scale",
            units=str(levels.attrs.get("units", "1")),
            long_name="Number that each pattern was divided by",
        )
    return out | legend.coords | {"component": names}


def _on_bound(rows: np.ndarray) -> np.ndarray:
    """Return the fraction of points at which a shifted component is not above zero."""
    finite = np.isfinite(rows)
    highest = np.max(np.where(finite, rows, 0.0), axis=1, initial=0.0)
    low = finite & (np.nan_to_num(rows) <= 1e-9 * highest[:, None])
    return np.asarray(low.sum(axis=1) / np.maximum(finite.sum(axis=1), 1))


def labelled(
    name: str, dims: Any, values: Any, units: str, long_name: str
) -> xr.DataArray:
    """Return an array with name, units and long name."""
    attrs = {"units": units, "long_name": long_name}
    return xr.DataArray(values, dims=dims, name=name, attrs=attrs)


def _names(starts: Starts, order: np.ndarray) -> list[str]:
    """Name free components CP1, CP2, ... in their order, around names in use."""
    known = starts.names + starts.called
    fresh = (f"CP{i}" for i in range(1, 2 * starts.n + 1))
    free = (name for name in fresh if name not in known)
    return [known[i] if i < len(known) else next(free) for i in order]


def _spreads(
    factors: Factors, order: np.ndarray, out: dict[str, xr.DataArray]
) -> dict[str, xr.DataArray]:
    """Return the ranges over equally good starts, where there are several."""
    spreads = {
        "components": factors.components_spread,
        "weights": factors.weights_spread,
    }
    ranges: dict[str, xr.DataArray] = {}
    for name, spread in spreads.items():
        like = out[name]
        if spread is None or like.ndim != 2:
            continue
        values = spread[order] if name == "components" else spread[order].T
        ranges[f"{name}_spread"] = label(
            like.copy(data=values),
            f"{name}_spread",
            units=str(like.attrs["units"]),
            long_name=f"Range of a {name[:-1]} over equally good starts",
        )
    return ranges


def unmix(
    patterns: Patterns, components: np.ndarray, closure: bool
) -> dict[str, xr.DataArray]:
    """Return exact weights, residuals and flags; lazy where the data are."""
    data, signal, errors = patterns.data, patterns.signal, patterns.errors
    inputs: list[xr.DataArray] = [data.drop_vars(list(data.coords))]
    core = [[signal]]
    sigma = None
    if errors is not None and errors.ndim > 1:
        inputs.append(errors.drop_vars(list(errors.coords)))
        core.append([signal])
    elif errors is not None:
        sigma = errors.values
    kind = np.float32 if data.dtype == np.float32 else np.float64
    weights, residual, relative, chi2, flag = apply(
        _unmix_block,
        *inputs,
        core_dims=core,
        output_dims=[["component"], [], [], [], []],
        output_sizes={"component": len(components)},
        dtypes=[kind, kind, kind, kind, np.int8],
        caller="fit",
        components=np.nan_to_num(components),
        missing=np.flatnonzero(~np.isfinite(components).all(axis=0)),
        closure=closure,
        sigma=sigma,
        shift=patterns.shift,
    )
    if not patterns.series:
        weights = weights.transpose("component", *patterns.samples)
    units = patterns.units
    texts = {
        "weights": (weights, *(("1", "Ratio") if closure else (units, "Weight"))),
        "residual": (residual, units, "Root mean square residual"),
        "relative_residual": (relative, "1", "Residual relative to the pattern"),
    }
    if errors is not None:
        texts["chi2"] = (chi2, "1", "Mean squared residual over errors")
    out = {
        name: label(array, name, units=unit, long_name=text)
        for name, (array, unit, text) in texts.items()
    }
    return out | {"flag": label(flag, "flag", **FLAGS)}


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
    from batteryxr.nmf.kernels import passes

    samples = x.shape[:-1]
    rows = x.reshape(-1, x.shape[-1])
    if missing.size:
        rows = rows.copy()
        rows[:, missing] = np.nan
    if errors is not None:
        sigma = np.broadcast_to(errors, x.shape).reshape(rows.shape)
    with single():
        u = passes.unmix(rows, components, closure=closure, sigma=sigma, shift=shift)
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = np.sqrt(u.misfit / u.count)
        relative = np.sqrt(u.misfit / np.where(u.power > 0, u.power, np.nan))
        chi2 = u.chi2 / u.count
    kind = u.weights.dtype
    return (
        u.weights.reshape(*samples, -1),
        residual.astype(kind).reshape(samples),
        relative.astype(kind).reshape(samples),
        chi2.astype(kind).reshape(samples),
        (u.count == 0).astype(np.int8).reshape(samples),
    )


def _story(factors: Factors) -> dict[str, xr.DataArray]:
    """Return the scalars of the fit, and the outcome of each start."""
    columns = {
        "start_error": (factors.start_error, "Relative error of a start"),
        "start_iterations": (factors.start_iterations, "Alternations of a start"),
        "start_converged": (factors.start_converged, "A start converged"),
        "start_similarity": (
            factors.start_similarity,
            "Lowest cosine to the components of the best start",
        ),
    }
    scalars = {
        "relative_error": (factors.error, "Relative error of the factorisation"),
        "svd_error": (factors.svd_error, "Relative error of the best rank-n matrix"),
    }
    out = {n: labelled(n, (), v, "1", text) for n, (v, text) in scalars.items()}
    if factors.start_error:
        out |= {n: labelled(n, "start", v, "1", t) for n, (v, t) in columns.items()}
        number = np.arange(1, len(factors.start_error) + 1)
        out["start"] = labelled("start", "start", number, "1", "Start")
    return out


def _as_dataset(arrays: dict[str, xr.DataArray]) -> xr.Dataset:
    """Return arrays of one fit together, without comparing their labels.

    Those that are named as a dimension, or have themselves as a label, are labels.
    """
    labels = {n: a for n, a in arrays.items() if n in a.coords or n in a.dims}
    indexes = {
        name: index
        for array in labels.values()
        for name, index in array.xindexes.items()
        if name in labels
    }
    variables = {n: a.variable for n, a in labels.items()}
    for name, variable in variables.items():
        if name in variable.dims and name not in indexes:
            kind = variable.dtype
            own = xr.indexes.PandasIndex(variable.values, name, coord_dtype=kind)
            indexes[name] = own
            variables |= own.create_variables({name: variable})
    data = {
        n: a if a.coords else a.variable for n, a in arrays.items() if n not in labels
    }
    return xr.Dataset(data, xr.Coordinates(variables, indexes))


def noise_memory(value: float) -> dict[str, xr.DataArray]:
    """Return by name how much the noise of neighbouring points adds up in a weight."""
    text = "Variance of a weight over that for noise without memory"
    return {"noise_memory": labelled("noise_memory", (), value, "1", text)}


def with_knowledge(
    result: xr.Dataset,
    noise: tuple[np.ndarray, np.ndarray] | None,
    given: np.ndarray | None = None,
) -> xr.Dataset:
    """Return the result with the known noise and weights, from which ranges follow.

    Parameters
    ----------
    result
        Result for a series.
    noise
        Noise of each sample, and of each point, over the usual, where it is known.
    given
        (component, samples) known weights, in the order of the result.
    """
    out: dict[str, xr.DataArray] = {}
    if given is not None:
        known = result["weights"].transpose("component", ...).copy(data=given)
        out["weights_known"] = known.transpose(*result["weights"].dims)
    if noise is not None:
        out["noise_level"] = result["residual"].copy(data=noise[0])
        out["noise_profile"] = result["shift_curve"].copy(data=noise[1])
    texts = {
        "weights_known": "Weight that was known",
        "noise_level": "Noise of a pattern over the usual",
        "noise_profile": "Noise of a point over the usual",
    }
    for name, array in out.items():
        out[name] = label(array, name, units="1", long_name=texts[name])
    return result.assign(out) if out else result


def with_signs(result: xr.Dataset, rules: Rules, order: np.ndarray) -> xr.Dataset:
    """Return the result with which components are unimodal or may be negative."""
    if rules.unimodal is not None:
        bent = rules.unimodal[order]
        array = labelled("unimodal", "component", bent, "1", "Weights have one maximum")
        result = result.assign(unimodal=array)
    if rules.signed is None:
        return result
    warn_quality(
        "a component that may be negative may hold any share of the others: nothing "
        "bounds its range, nor theirs. Fix the others where their patterns are known."
    )
    array = labelled(
        "signed", "component", rules.signed[order], "1", "Component may be negative"
    )
    return result.assign(signed=array)


def as_constrained(result: xr.Dataset, facts: Facts, order: np.ndarray) -> xr.Dataset:
    """Return the result with weights and residuals that obey the constraints.

    Parameters
    ----------
    result
        Result whose weights are free.
    facts
        Weights and residuals of the factors that obey the constraints.
    order
        (n,) original index of each component.
    """
    known = [n for n in ("residual", "relative_residual", "chi2") if n in result]
    before = result[known].compute()
    old = before["residual"].values
    share = before["relative_residual"].values
    new = {
        "residual": facts.residual,
        "relative_residual": share * facts.residual / np.where(old > 0, old, np.nan),
        "chi2": facts.chi2,
        "weights": facts.weights[order].T,
    }
    return result.assign(
        {
            name: label(
                result[name].copy(data=new[name]),
                name,
                units=str(result[name].attrs["units"]),
                long_name=str(result[name].attrs["long_name"]),
            )
            for name in [*known, "weights"]
        }
    )
