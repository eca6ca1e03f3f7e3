"""Name and label the results of fits, and read initial guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes, label, together
from batteryxr.xanes.fit.terms import columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.xanes.fit.terms import Terms
    from batteryxr.xanes.kernels.problem import Model, Out

#: Bits of the variable `flag`.
FLAGS = {
    1: "below_noise",
    2: "no_data",
    4: "not_converged",
    8: "at_bound",
    16: "ambiguous",
    32: "imprecise",
    64: "misfit",
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
_OTHER = "Edge energy of the other solution, where two are ambiguous"


class Columns(NamedTuple):
    """Tell where one array of all results of a pixel holds which.

    Parameters
    ----------
    parameters, peaks
        Numbers of parameters and of peaks.
    """

    parameters: int
    peaks: int

    @property
    def quality(self) -> int:
        """First column of chi2, R factor, residuals, rival's energy and flags."""
        return 2 * self.parameters + 4 * self.peaks

    @property
    def size(self) -> int:
        """Number of columns."""
        return self.quality + 5

    def parameter(self, at: list[int]) -> tuple[list[int], list[int]]:
        """Return the columns of parameters, and of their errors; -1 stays."""
        return at, [k + self.parameters if k >= 0 else k for k in at]

    def area(self, kind: int) -> list[int]:
        """Return the columns of one of the four areas, for each peak."""
        return [2 * self.parameters + 4 * k + kind for k in range(self.peaks)]


def as_columns(out: Out, model: Model, moved: np.ndarray) -> np.ndarray:
    """Join the kernel's results for every pixel, in the order of `Columns`.

    Errors hold what missing terms move.
    """
    from batteryxr.xanes.kernels.misfit import widen

    out = widen(out, model, moved)
    chi2, freedom, r_factor, other = np.moveaxis(out.quality, -1, 0)
    areas = out.peaks.reshape(*out.flags.shape, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        residual = np.sqrt(chi2 / freedom)
    single = [chi2, r_factor, residual, other, out.flags]
    parts = [out.values, out.errors, areas, np.stack(single, axis=-1)]
    return np.concatenate(parts, axis=-1, dtype=out.values.dtype)


def label_fit(
    fitted: xr.DataArray, model: Model, terms: Terms, units: str, *, scaled: bool
) -> xr.Dataset:
    """Label the results of pixels; `scaled` tells if residuals are over errors."""
    held = Columns(model.low.size, len(model.peak_offsets))
    axis_unit = attributes(terms.dim)["units"]
    area_unit = axis_unit if units == "1" else f"{units} {axis_unit}"
    units_of = {"data": units, "axis": axis_unit, "1": "1"}
    out: dict[str, xr.DataArray] = {}
    for name, at in columns(model).items():
        along, kind, long_name = _NAMES[name]
        pair = _picked(fitted, held.parameter(at), along)
        out |= _with_error(name, pair, units_of[kind], long_name)
    if terms.peaks:
        pair = _picked(fitted, (held.area(0), held.area(1)), "peak")
        out |= _with_error("peak_area", pair, area_unit, "Peak area")
        if terms.edge is not None:
            pair = _picked(fitted, (held.area(2), held.area(3)), "peak")
            text = "Peak area / edge jump"
            out |= _with_error("normalised_peak_area", pair, axis_unit, text)
    left = "1" if scaled else units
    squared = "1" if left == "1" else f"({left})2"
    about = [
        ("chi2", squared, "Sum of squared residuals"),
        ("r_factor", "1", "R factor"),
        ("residual_sd", left, "Standard deviation of the residuals"),
        ("edge_energy_other", axis_unit, _OTHER),
    ]
    for k, (name, unit, long_name) in enumerate(about, held.quality):
        if name != "edge_energy_other" or terms.edge is not None:
            value = blocks.pick(fitted, k)
            out[name] = label(value, name, units=unit, long_name=long_name)
    out["flag"] = label(
        blocks.pick(fitted, held.quality + 4, dtype=np.uint8),
        "flag",
        units="1",
        long_name="Quality of the fit",
        flag_masks=list(FLAGS),
        flag_meanings=" ".join(FLAGS.values()),
    )
    coords: dict[str, Any] = {}
    if terms.peaks:
        attrs = {"units": "1", "long_name": "Peak"}
        coords["peak"] = ("peak", terms.labels(), attrs)
    if "baseline" in out:
        attrs = {"units": "1", "long_name": "Power of the scaled axis"}
        coords["order"] = ("order", np.arange(terms.baseline + 1), attrs)
    return together(out, xr.Coordinates(coords))


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


def _picked(
    fitted: xr.DataArray, at: tuple[list[int], list[int]], along: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return parameters and their errors; NaN where a peak lacks one."""
    value, error = (blocks.pick(fitted, k if along else k[0], along) for k in at)
    return value, error


def _with_error(
    name: str, pair: tuple[xr.DataArray, xr.DataArray], units: str, long_name: str
) -> dict[str, xr.DataArray]:
    value, error = pair
    text = f"{long_name}, standard error"
    return {
        name: label(value, name, units=units, long_name=long_name),
        f"{name}_error": label(error, f"{name}_error", units=units, long_name=text),
    }
