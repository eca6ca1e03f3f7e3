"""Fits that points far from the model do not pull: Tukey's biweight, repeated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.model import label
from batteryxr.xanes.fit.curve import model_curve
from batteryxr.xanes.fit.preparation import prepare

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.xanes.fit.preparation import FitOptions
    from batteryxr.xanes.fit.terms import Terms

#: Where a residual counts nothing, in standard deviations: efficiency of 95 %.
_REACH = 4.685
_PASSES = 4
#: What counts nothing still needs a weight.
_LEAST = 1e-4


def fit_robustly(
    array: xr.DataArray, terms: Terms, options: FitOptions, *, caller: str
) -> xr.Dataset:
    """Fit again and again, each time with weights by what was left."""
    dim = terms.dim
    known = options.errors
    base = array.copy(data=array.data * 0 + 1.0).drop_attrs()
    if known is not None:
        base = base * known
    sd, weight = blocks.apply(
        _first_weights,
        array,
        base,
        core_dims=[[dim], [dim]],
        output_dims=[[dim], [dim]],
        dtypes=[float, float],
        caller=caller,
        given=known is not None,
    )
    result = None
    for _ in range(_PASSES):
        spread = base * sd / np.sqrt(weight.clip(min=_LEAST))
        chosen = replace(options, errors=spread)
        if result is not None:
            chosen = replace(chosen, start=_start(result))
        result = prepare(array, terms, chosen, caller=caller).apply(
            array, caller=caller
        )
        curve = model_curve(result, axis=array[dim].values).transpose(*array.dims)
        sd, weight = blocks.apply(
            _weights,
            array - curve,
            curve,
            base,
            core_dims=[[dim], [dim], [dim]],
            output_dims=[[dim], [dim]],
            dtypes=[float, float],
            caller=caller,
            given=known is not None,
        )
    assert result is not None
    out = (weight < 0.1).sum(dim)
    result["outlier_count"] = label(
        out, "outlier_count", units="1", long_name="Points that hardly count"
    )
    units = str(array.attrs.get("units", "1"))
    attrs = result["residual_sd"].attrs | {"units": units}
    result["residual_sd"] = (sd * base).mean(dim).assign_attrs(attrs)
    return result


def _start(result: xr.Dataset) -> xr.Dataset:
    names = ("peak_position", "peak_width", "peak_height", "lorentzian_share")
    return result[[n for n in names if n in result]]


def _first_weights(
    values: np.ndarray, base: np.ndarray, *, given: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return a first spread, and no weight where a ray stands out."""
    from batteryxr.xanes.preparing import spikes

    y = np.nan_to_num(np.array(values, np.float64))
    if y.shape[-1] < 16:
        return np.ones(y.shape), np.ones(y.shape)
    rays = spikes.single(y, threshold=6.0, window=7).spike
    near = np.diff(y, 2, axis=-1)
    sd = 1.4826 * np.median(np.abs(near), axis=-1) / np.sqrt(6.0)
    sd = np.ones_like(sd) if given else np.where(sd > 0, sd, 1.0)
    return sd[..., None] + np.zeros(y.shape), np.where(rays, 0.0, 1.0)


def _weights(
    left: np.ndarray, curve: np.ndarray, base: np.ndarray, *, given: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spread of what is left, and the weight of every point."""
    scaled = np.abs(left / base)
    sd = np.ones_like(scaled) if given else _spread(scaled, curve)
    u = scaled / (_REACH * sd)
    return sd, np.nan_to_num((1 - np.minimum(u, 1) ** 2) ** 2)


def _spread(left: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Return the robust spread of residuals, larger where the model is high."""
    groups = max(1, min(12, left.shape[-1] // 30))
    order = np.argsort(curve, axis=-1)
    ranked = [np.take_along_axis(a, order, -1) for a in (left, curve)]
    pieces, levels = (np.array_split(a, groups, axis=-1) for a in ranked)
    power = np.stack([(1.4826 * np.nanmedian(p, axis=-1)) ** 2 for p in pieces], -1)
    level = np.stack([p.mean(axis=-1) for p in levels], -1)
    # Counting makes the variance rise with the level, on a straight line.
    weight = 1 / np.maximum(power, 1e-6 * power.max(axis=-1, keepdims=True) + 1e-300)
    middle, mean = (
        (weight * a).sum(-1, keepdims=True) / weight.sum(-1, keepdims=True)
        for a in (level, power)
    )
    away = level - middle
    squared = (weight * away**2).sum(-1, keepdims=True)
    slope = (weight * away * (power - mean)).sum(-1, keepdims=True)
    slope = np.maximum(np.divide(slope, squared, where=squared > 0, out=0 * slope), 0.0)
    variance = np.maximum(mean + slope * (curve - middle), 0.1 * mean)
    return np.sqrt(np.where(variance > 0, variance, 1.0))
