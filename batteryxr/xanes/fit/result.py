"""Names, units and meanings of what the fits return, and of what they start from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes, label
from batteryxr.xanes.fit.starts import middle
from batteryxr.xanes.fit.terms import describe, peak_labels
from batteryxr.xanes.spectra import inherit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batteryxr.xanes.fit.terms import Edge, Peak, Plan

    Fitted = tuple[xr.DataArray, xr.DataArray, xr.DataArray, xr.DataArray, xr.DataArray]

#: Bits of the variable `flag`.
FLAGS = {
    1: "below_noise",
    2: "no_data",
    4: "not_converged",
    8: "at_bound",
    16: "ambiguous",
}
#: Dimension and factor of the variables behind the parameters of a model.
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


def label_fit(
    fitted: Fitted,
    array: xr.DataArray,
    plan: Plan,
    dim: str,
    edge: Edge | None,
    peaks: Sequence[Peak],
    baseline: int,
) -> xr.Dataset:
    """Label what the kernel returned."""
    values, errors, derived, quality, flags = fitted
    unit = str(array.attrs.get("units", "1"))
    axis_unit = attributes(dim)["units"]
    area_unit = axis_unit if unit == "1" else f"{unit} {axis_unit}"
    units = {"data": unit, "axis": axis_unit, "1": "1"}
    out: dict[str, xr.DataArray] = {}
    for name, columns in plan.columns.items():
        along, kind, long_name = _NAMES[name]
        value, error = (_take(source, columns, along) for source in (values, errors))
        _pair(out, name, value, error, units[kind], long_name)
    if peaks:
        area = "Peak area", "Peak area / edge jump"
        _pair(out, "peak_area", derived[..., 0], derived[..., 1], area_unit, area[0])
        if edge is not None:
            ratio = derived[..., 2], derived[..., 3]
            _pair(out, "normalised_peak_area", *ratio, axis_unit, area[1])
    squared = "1" if unit == "1" else f"({unit})2"
    residual = (quality[..., 0] / quality[..., 1]) ** 0.5
    for name, value, units_, long_name in (
        ("chi2", quality[..., 0], squared, "Sum of squared residuals"),
        ("r_factor", quality[..., 2], "1", "R factor"),
        ("residual_sd", residual, unit, "Standard deviation of the residuals"),
    ):
        out[name] = label(value, name, units=units_, long_name=long_name)
    out["flag"] = label(
        flags,
        "flag",
        units="1",
        long_name="Quality of the fit",
        flag_masks=list(FLAGS),
        flag_meanings=" ".join(FLAGS.values()),
    )
    result = xr.Dataset(out)
    if peaks:
        attrs = {"units": "1", "long_name": "Peak"}
        result = result.assign_coords(peak=("peak", peak_labels(peaks), attrs))
        result = result.transpose("peak", ...)
    if "order" in result.dims:
        attrs = {"units": "1", "long_name": "Power of the scaled axis"}
        result = result.assign_coords(order=("order", np.arange(baseline + 1), attrs))
        result = result.transpose("order", ...)
    axis = array[dim].values
    model = json.loads(describe(axis, edge, peaks, baseline))
    model |= {"axis": dim, "range": [float(axis[0]), float(axis[-1])], "units": unit}
    return inherit(result, array, model=json.dumps(model))


def start_values(
    start: Mapping[str, Any] | xr.Dataset, plan: Plan
) -> tuple[np.ndarray, xr.DataArray | None]:
    """Turn start values into a vector; an earlier result also into one per spectrum.

    Raises
    ------
    ArgumentError
        If a name is unknown, or its values are not as many as the model has.
    """
    first = middle(plan)
    start = with_half_widths(start)
    named = () if isinstance(start, xr.Dataset) else start
    if unknown := [str(name) for name in named if name not in plan.columns]:
        raise ArgumentError("start", unknown[0], f"names among {sorted(plan.columns)}")
    own: dict[int, xr.DataArray] = {}
    for name, columns in plan.columns.items():
        if name not in start:
            continue
        along = _NAMES[name][0]
        value = start[name]
        if not isinstance(value, xr.DataArray):
            value = xr.DataArray(np.atleast_1d(value), dims=along or "one")
        along = along or ("one" if "one" in value.dims else "")
        if value.sizes.get(along, 1) != len(columns):
            raise ArgumentError(
                "start", name, f"{len(columns)} values, as many as the model has"
            )
        for i, k in enumerate(columns):
            if k >= 0:
                own[k] = value.isel({along: i}, drop=True) if along else value
    for k, value in own.items():
        if value.ndim == 0 and np.isfinite(value):
            first[k] = float(value)
    if all(value.ndim == 0 for value in own.values()):
        return first, None
    columns_ = [own.get(k, xr.DataArray(first[k])) for k in range(first.size)]
    columns_ = [c.reset_coords(drop=True) for c in xr.broadcast(*columns_)]
    return first, xr.concat(columns_, "parameter", coords="minimal", compat="override")


def with_half_widths(
    values: Mapping[str, Any] | xr.Dataset,
) -> Mapping[str, Any] | xr.Dataset:
    """Return values by the names of the model, where bands were told by their FWHM."""
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


def _take(source: xr.DataArray, columns: list[int], along: str) -> xr.DataArray:
    """Pick parameters; NaN where a peak lacks one."""
    if not along:
        return source.isel(parameter=columns[0])
    picked = source.isel(parameter=[max(k, 0) for k in columns])
    if min(columns) < 0:
        has = xr.DataArray([k >= 0 for k in columns], dims="parameter")
        picked = picked.where(has)
    return picked.rename(parameter=along)


def _pair(
    out: dict[str, xr.DataArray],
    name: str,
    value: xr.DataArray,
    error: xr.DataArray,
    units: str,
    long_name: str,
) -> None:
    out[name] = label(value, name, units=units, long_name=long_name)
    out[f"{name}_error"] = label(
        error, f"{name}_error", units=units, long_name=f"{long_name}, standard error"
    )
