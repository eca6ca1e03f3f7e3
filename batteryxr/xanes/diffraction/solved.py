"""Hold the lattices found in a series, and label them, with the flags of doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.model import label
from batteryxr.xanes.diffraction.cells import FREE, parameters

if TYPE_CHECKING:
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
