"""Name and label the results of fits, and read initial guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes, label
from batteryxr.xanes.fit.terms import columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.xanes.fit.terms import Terms
    from batteryxr.xanes.kernels.problem import Model

#: Bits of the variable `flag`.
FLAGS = {
    1: "below_noise",
    2: "no_data",
    4: "not_converged",
    8: "at_bound",
    16: "ambiguous",
    32: "imprecise",
}
#: Dimension, kind of units and long name of the variables of a model.
_NAMES = {
    "edge_jump": ("", "data", "Edge jump Δμt"),
    "edge_energy": ("", "axis", "Edge energy"),
    "edge_width": ("", "axis", "Edge width"),
    "level": ("", "data", "Pre-edge level"),
    "baseline": ("order", "data", "Baseline coefficient"),
    "peak_height": ("peak", "data", "Peak height"),
    "peak_position": ("peak", "axis", "Peak position"),
    "peak_width": ("peak", "axis", "Half width at half maximum"),
    "lorentzian_share": ("peak", "1", "Lorentzian share"),
}


class Fitted(NamedTuple):
    """Hold the kernel's results for every pixel; see `Out` of the kernel."""

    values: xr.DataArray
    errors: xr.DataArray
    peaks: xr.DataArray
    quality: xr.DataArray
    flags: xr.DataArray


def label_fit(
    fitted: Fitted, model: Model, terms: Terms, units: str, *, scaled: bool
) -> xr.Dataset:
    """Label the kernel's results; `scaled` tells if residuals are over errors."""
    quality = fitted.quality
    axis_unit = attributes(terms.dim)["units"]
    area_unit = axis_unit if units == "1" else f"{units} {axis_unit}"
    units_of = {"data": units, "axis": axis_unit, "1": "1"}
    out: dict[str, xr.DataArray] = {}
    for name, at in columns(model).items():
        along, kind, long_name = _NAMES[name]
        pair = _take(fitted.values, at, along), _take(fitted.errors, at, along)
        out |= _with_error(name, pair, units_of[kind], long_name)
    if terms.peaks:
        pair = fitted.peaks[..., 0], fitted.peaks[..., 1]
        out |= _with_error("peak_area", pair, area_unit, "Peak area")
        if terms.edge is not None:
            pair, text = (
                (fitted.peaks[..., 2], fitted.peaks[..., 3]),
                "Peak area / edge jump",
            )
            out |= _with_error("normalised_peak_area", pair, axis_unit, text)
    left = "1" if scaled else units
    squared = "1" if left == "1" else f"({left})2"
    residual = (quality[..., 0] / quality[..., 1]) ** 0.5
    for name, value, unit, long_name in (
        ("chi2", quality[..., 0], squared, "Sum of squared residuals"),
        ("r_factor", quality[..., 2], "1", "R factor"),
        ("residual_sd", residual, left, "Standard deviation of the residuals"),
    ):
        out[name] = label(value, name, units=unit, long_name=long_name)
    if terms.edge is not None:
        text = "Edge energy of the other solution, where two are ambiguous"
        other = "edge_energy_other"
        out[other] = label(quality[..., 3], other, units=axis_unit, long_name=text)
    out["flag"] = label(
        fitted.flags,
        "flag",
        units="1",
        long_name="Quality of the fit",
        flag_masks=list(FLAGS),
        flag_meanings=" ".join(FLAGS.values()),
    )
    result = xr.Dataset(out)
    if terms.peaks:
        attrs = {"units": "1", "long_name": "Peak"}
        result = result.assign_coords(peak=("peak", terms.labels(), attrs))
        result = result.transpose("peak", ...)
    if "order" in result.dims:
        attrs = {"units": "1", "long_name": "Power of the scaled axis"}
        powers = np.arange(terms.baseline + 1)
        result = result.assign_coords(order=("order", powers, attrs))
        result = result.transpose("order", ...)
    return result


def start_values(
    start: Mapping[str, Any] | xr.Dataset, model: Model
) -> tuple[np.ndarray, xr.DataArray | None]:
    """Convert initial values to a vector; an earlier result also to one per spectrum.

    Raises
    ------
    ArgumentError
        If a name is unknown, or the number of values differs from the model's.
    """
    from batteryxr.xanes.kernels.starts import middle

    first, known = middle(model), columns(model)
    start = with_half_widths(start)
    named = () if isinstance(start, xr.Dataset) else start
    if unknown := [str(name) for name in named if name not in known]:
        raise ArgumentError("start", unknown[0], f"names among {sorted(known)}")
    own: dict[int, xr.DataArray] = {}
    for name, at in known.items():
        if name not in start:
            continue
        along = _NAMES[name][0]
        value = start[name]
        if not isinstance(value, xr.DataArray):
            value = xr.DataArray(np.atleast_1d(value), dims=along or "one")
        along = along or ("one" if "one" in value.dims else "")
        if value.sizes.get(along, 1) != len(at):
            raise ArgumentError(
                "start", name, f"{len(at)} values, as many as the model has"
            )
        for i, k in enumerate(at):
            if k >= 0:
                own[k] = value.isel({along: i}, drop=True) if along else value
    for k, value in own.items():
        if value.ndim == 0 and np.isfinite(value):
            first[k] = float(value)
    if all(value.ndim == 0 for value in own.values()):
        return first, None
    parts = [own.get(k, xr.DataArray(first[k])) for k in range(first.size)]
    parts = [p.reset_coords(drop=True) for p in xr.broadcast(*parts)]
    every = xr.concat(parts, "parameter", coords="minimal", compat="override")
    return first, every if every.chunks is None else every.chunk(parameter=-1)


def with_half_widths(
    values: Mapping[str, Any] | xr.Dataset,
) -> Mapping[str, Any] | xr.Dataset:
    """Return values by the names of the model, converting FWHM to half widths."""
    if "peak_fwhm" not in values:
        return values
    half = 0.5 * (
        values["peak_fwhm"]
        if isinstance(values, xr.Dataset)
        else np.asarray(values["peak_fwhm"], dtype=float)
    )
    if isinstance(values, xr.Dataset):
        return values.assign(peak_width=half)
    return {k: v for k, v in values.items() if k != "peak_fwhm"} | {"peak_width": half}


def _take(source: xr.DataArray, at: list[int], along: str) -> xr.DataArray:
    """Select parameters; NaN where a peak lacks one."""
    if not along:
        return source.isel(parameter=at[0])
    picked = source.isel(parameter=[max(k, 0) for k in at])
    if min(at) < 0:
        has = xr.DataArray([k >= 0 for k in at], dims="parameter")
        picked = picked.where(has)
    return picked.rename(parameter=along)


def _with_error(
    name: str, pair: tuple[xr.DataArray, xr.DataArray], units: str, long_name: str
) -> dict[str, xr.DataArray]:
    value, error = pair
    text = f"{long_name}, standard error"
    return {
        name: label(value, name, units=units, long_name=long_name),
        f"{name}_error": label(error, f"{name}_error", units=units, long_name=text),
    }
