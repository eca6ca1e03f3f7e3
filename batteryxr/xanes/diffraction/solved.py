"""Hold the lattices found in a series, and label them, with the flags of doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.model import attributes, label
from batteryxr.xanes.diffraction import geometry
from batteryxr.xanes.diffraction.cells import FREE, parameters
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    from batteryxr.xanes.diffraction.cells import Reflections
    from batteryxr.xanes.diffraction.geometry import Asked

#: Bits of ``lattice_flag``.
MISSING, MISFIT, FAINT, FOREIGN, UNCHECKED, UNCERTAIN, COEXISTING, LEANING = (
    2**k for k in range(8)
)
FLAGS = {
    "flag_masks": [
        *(MISSING, MISFIT, FAINT, FOREIGN, UNCHECKED, UNCERTAIN, COEXISTING),
        LEANING,
    ],
    "flag_meanings": (
        "too_few_reflections reflections_disagree hardly_above_noise "
        "foreign_lines_left_out few_reflections_to_check error_may_exceed_100_ppm "
        "another_lattice_is_seen reflections_lean_to_one_side"
    ),
}
#: Relative error of a length above which it is flagged, and by how many errors.
_PRECISE, _SURELY = 1e-4, 1.5
_NAMES = ("a", "b", "c", "alpha", "beta", "gamma", "volume")
_UNITS = ("Angstrom",) * 3 + ("deg",) * 3 + ("Angstrom3",)


class Solved(NamedTuple):
    """Hold the lattices of N patterns.

    Attributes
    ----------
    metric, metric_cov : (N, free), (N, free, free)
        Reciprocal metric and its covariance.
    offset, offset_error : (N,)
        Offset and its error, as fitted.
    misfit : (N,)
        Root mean square residual of positions, in standard deviations.
    flag : (N,) int16
        Bits.
    used : (N, reflections) bool, optional
        Which positions determine the lattice.
    """

    metric: np.ndarray
    metric_cov: np.ndarray
    offset: np.ndarray
    offset_error: np.ndarray
    misfit: np.ndarray
    flag: np.ndarray
    used: np.ndarray | None = None


class Whole(NamedTuple):
    """Hold the fit of one pattern."""

    values: np.ndarray
    covariance: np.ndarray
    areas: np.ndarray
    area_errors: np.ndarray
    curve: np.ndarray
    background: np.ndarray
    chi2: float
    freedom: int
    r_wp: float
    ended: bool
    foreign: np.ndarray
    second: int


def uncertain(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the flag of lattices (N, 7) one of whose lengths may not be precise."""
    with np.errstate(invalid="ignore"):
        wide = _SURELY * errors[:, :3] > _PRECISE * values[:, :3]
    return np.where(wide.any(axis=1), UNCERTAIN, 0).astype(np.int16)


def lattice_errors(
    metric: np.ndarray, covariance: np.ndarray, system: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 7) parameters and their errors from the reciprocal metric."""
    values = parameters(metric, system)
    free = metric.shape[1]
    slopes = np.zeros((len(metric), 7, free))
    for k in range(free):
        step = 1e-6 * np.maximum(np.abs(metric).max(axis=1), 1e-12)
        up, down = metric.copy(), metric.copy()
        up[:, k] += step
        down[:, k] -= step
        change = parameters(up, system) - parameters(down, system)
        slopes[:, :, k] = change / (2 * step[:, None])
    variance = np.einsum("nik,nkl,nil->ni", slopes, covariance, slopes)
    return values, np.sqrt(np.maximum(variance, 0.0))


def lattice_variables(
    solved: Solved, system: str, shape: tuple[int, ...], dims: list[str], asked: Asked
) -> dict[str, xr.DataArray]:
    """Return labelled lattice, offset, misfit and flags."""
    values, errors = lattice_errors(solved.metric, solved.metric_cov, system)
    out: dict[str, xr.DataArray] = {}
    words = {"volume": "Volume of the cell"}
    for k, name in enumerate(_NAMES):
        if name not in (*FREE[system], "volume"):
            continue
        text = words.get(name, f"Lattice parameter {name}")
        out |= pair(name, values[:, k], errors[:, k], _UNITS[k], text, shape, dims)
    if asked.shifts:
        radius = asked.instrument.radius
        unit, scale, text = "deg", 1.0, "Zero error"
        if asked.offset == "displacement":
            unit, scale = ("mm", radius) if radius else ("1", 1.0)
            text = "Sample displacement"
            text += "" if radius else " relative to the radius"
        out |= pair(
            "offset",
            solved.offset * scale,
            solved.offset_error * scale,
            unit,
            text,
            shape,
            dims,
        )
    misfit = xr.DataArray(solved.misfit.reshape(shape), dims=dims)
    out["lattice_misfit"] = label(
        misfit,
        "lattice_misfit",
        units="1",
        long_name="What positions leave, in standard deviations",
    )
    every = solved.flag | uncertain(values, errors)
    flag = xr.DataArray(every.reshape(shape), dims=dims)
    out["lattice_flag"] = label(
        flag, "lattice_flag", units="1", long_name="Quality of the lattice", **FLAGS
    )
    return out


def pair(
    name: str,
    value: np.ndarray,
    error: np.ndarray,
    units: str,
    long_name: str,
    shape: tuple[int, ...],
    dims: list[str],
) -> dict[str, xr.DataArray]:
    """Return a labelled value and its error."""
    both = (
        (name, value, long_name),
        (
            f"{name}_error",
            error,
            f"{long_name}, standard error",
        ),
    )
    return {
        n: label(xr.DataArray(v.reshape(shape), dims=dims), n, units=units, long_name=t)
        for n, v, t in both
    }


def label_patterns(
    array: xr.DataArray,
    rows: xr.DataArray,
    lines: Reflections,
    asked: Asked,
    fits: list[Whole],
    x: np.ndarray,
    doubt: np.ndarray,
) -> xr.Dataset:
    """Return the fits of whole patterns, labelled as what was measured."""
    free = lines.metric.size
    shape, dims = rows.shape, [str(d) for d in rows.dims]
    p = np.stack([f.values for f in fits])
    covariance = np.stack([f.covariance for f in fits])
    chi2, freedom = np.array([(f.chi2, f.freedom) for f in fits]).T
    areas = np.stack([f.areas for f in fits])
    errors = np.stack([f.area_errors for f in fits])
    enough = (areas > 4 * errors).sum(axis=1) >= free
    ended = np.array([f.ended for f in fits])
    flag = np.where(ended & enough, 0, MISSING) | doubt
    flag |= np.where(chi2 > 4 * max(1.0, float(np.median(chi2))), MISFIT, 0)
    foreign = np.stack([f.foreign for f in fits])
    flag |= np.where(foreign.any(axis=1), FOREIGN, 0)
    flag |= np.array([f.second for f in fits])
    known = np.where(flag & MISSING, np.nan, 1.0)
    shift, shift_error = np.full((2, len(fits)), np.nan)
    if asked.shifts:
        shift = p[:, free] * known
        shift_error = np.sqrt(np.maximum(covariance[:, free, free], 0)) * known
    solved = Solved(
        p[:, :free] * known[:, None],
        covariance[:, :free, :free],
        shift,
        shift_error,
        np.sqrt(chi2),
        flag.astype(np.int16),
    )
    system = lines.system
    out = lattice_variables(solved, system, shape, dims, asked)
    out["lattice_misfit"].attrs["long_name"] = "What the fit leaves, in counting errors"
    units, data_units = (
        attributes(asked.axis)["units"],
        str(array.attrs.get("units", "1")),
    )
    area_units = units if data_units == "1" else f"{data_units} {units}"
    along = (*shape, lines.form.shape[0]), [*dims, "reflection"]
    out |= pair("peak_area", areas, errors, area_units, "Area", *along)
    at = geometry.place(p[:, :free], lines.form, asked)
    places = xr.DataArray(at.reshape(along[0]), dims=along[1])
    out["peak_position"] = label(
        places, "peak_position", units=units, long_name="Position without offset"
    )
    for name, values, words in (
        ("r_wp", np.array([f.r_wp for f in fits]), "Weighted profile R factor"),
        ("chi2", chi2 * freedom, "Sum of squared residuals over their errors"),
        ("reduced_chi2", chi2, "chi2 per degree of freedom"),
    ):
        told = xr.DataArray(values.reshape(shape), dims=dims)
        out[name] = label(told, name, units="1", long_name=words)
    along_axis = (*shape, x.size), [*dims, asked.axis]
    for name, curves, words in (
        ("fitted", [f.curve for f in fits], "Pattern fitted"),
        ("background", [f.background for f in fits], "Background"),
    ):
        out[name] = _curve(name, curves, data_units, words, *along_axis)
    words = "Left out as lines of another phase"
    out["foreign"] = _curve("foreign", foreign, "1", words, *along_axis)
    result = xr.Dataset(out).assign_coords(_coordinates(rows, lines, asked, x))
    return inherit(result, array, system=system, axis=asked.axis, offset=asked.offset)


def _coordinates(
    rows: xr.DataArray, lines: Reflections, asked: Asked, x: np.ndarray
) -> dict[str, Any]:
    """Return the coordinates of scans, reflections and points."""
    coords: dict[str, Any] = {str(k): v for k, v in rows.coords.items()}
    named = {"units": "1", "long_name": "Reflection"}
    coords["reflection"] = ("reflection", lines.names, named)
    coords[asked.axis] = (asked.axis, x, attributes(asked.axis))
    if asked.wavelength is not None:
        coords["wavelength"] = ((), asked.wavelength, attributes("wavelength"))
    return coords


def _curve(
    name: str,
    curves: Any,
    units: str,
    words: str,
    shape: tuple[int, ...],
    dims: list[str],
) -> xr.DataArray:
    """Return labelled curves (N, m) of patterns."""
    array = xr.DataArray(np.reshape(curves, shape), dims=dims)
    return label(array, name, units=units, long_name=words)
