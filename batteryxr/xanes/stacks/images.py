"""Preparing stacks: optical density, binning, energy calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.xanes.edges.normalisation import normalise
from batteryxr.xanes.spectra import spectra

if TYPE_CHECKING:
    from collections.abc import Mapping

_IMAGE = ("y", "x")
_METHODS = ("derivative", "half_jump", "white_line")
#: Widths, in eV, over which a shift between two spectra is looked for.
_REACH = 10.0


@recorded
def optical_density(
    obj: xr.DataArray | xr.Dataset,
    *,
    i0: xr.DataArray | float | None = None,
    dark: xr.DataArray | float = 0.0,
) -> xr.DataArray:
    """Return the optical density -ln((I - dark) / (I0 - dark)).

    *Lazy*; with a mask as `i0`, *reads once* for the mean intensity there.

    Parameters
    ----------
    obj
        Transmitted intensity along `energy` and any other dimensions, or a Dataset
        with `intensity`.
    i0
        Incident intensity: a spectrum along `energy` (interpolated where its energies
        differ), flat fields along `y` and `x` too, a number; or a boolean mask (y, x)
        that is True where the beam meets no sample. None: the coordinate `i0`.
    dark
        What the detector counts without beam.

    Returns
    -------
    xarray.DataArray
        `optical_density`; NaN where an intensity is not above zero. A spectrum of I0
        is kept as the coordinate `i0`.

    Raises
    ------
    ArgumentError
        If there is no `i0`, it is empty, or does not cover the energies.
    VariableError
        If the values are complex.
    """
    array = _intensity(obj)
    if i0 is None:
        if "i0" not in array.coords:
            raise ArgumentError(
                "i0",
                None,
                "an incident intensity, or a mask of empty pixels",
                "For example i0=stack.mean('energy') > 300.",
            )
        incident: Any = array["i0"]
    elif isinstance(i0, xr.DataArray):
        incident = _empty(array, i0) if i0.dtype.kind == "b" else _matched(array, i0)
    else:
        incident = float(i0)
        if not incident > 0:
            raise ArgumentError("i0", i0, "a number > 0")
    array = array.drop_vars("i0", errors="ignore")
    if isinstance(incident, xr.DataArray):
        incident = incident.reset_coords(drop=True)
    above, below = array - dark, incident - dark
    ratio = above / below
    result = -np.log(ratio.where((above > 0) & (below > 0)))
    if np.dtype(array.dtype) == np.float32:
        result = result.astype(np.float32)
    result = label(result.transpose(*array.dims, ...), "optical_density")
    if isinstance(incident, xr.DataArray) and incident.dims == ("energy",):
        attrs = {"units": "1", "long_name": "Incident intensity"}
        result = result.assign_coords(i0=("energy", incident.values, attrs))
    return result


@recorded
def rebin(
    obj: xr.DataArray | xr.Dataset,
    *,
    factor: int | Mapping[str, int] = 2,
    how: str = "mean",
) -> Any:
    """Combine neighbouring pixels for more signal.

    *Lazy*. Pixels that fill no whole bin are left out.

    Parameters
    ----------
    obj
        A stack, maps or objects. Bin intensities or objects before their logarithm is
        taken: the mean of a logarithm favours thin pixels.
    factor
        Pixels per bin along `y` and `x`, or by dimension, as in ``{"energy": 2}``.
    how
        "mean", or "sum" for counts.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        Like `obj`, coordinates at the middle of each bin.

    Raises
    ------
    ArgumentError
        If a factor is not a whole number from 1 to the size.
    """
    if how not in ("mean", "sum"):
        raise ArgumentError("how", how, "'mean' or 'sum'")
    if isinstance(factor, int):
        require_dims(obj, _IMAGE, caller="rebin")
        factor = dict.fromkeys(_IMAGE, factor)
    require_dims(obj, factor, caller="rebin")
    for dim, n in factor.items():
        if isinstance(n, bool) or not 1 <= n <= obj.sizes[dim] or n != int(n):
            limit = obj.sizes[dim]
            raise ArgumentError("factor", {dim: n}, f"integers from 1 to {limit}")
    bins = obj.coarsen({d: int(n) for d, n in factor.items()}, boundary="trim")
    result: Any = getattr(bins, how)(keep_attrs=True)
    for name, coordinate in obj.coords.items():
        if name in result.coords:
            result[name].attrs = dict(coordinate.attrs)
    return result


@recorded
def calibrate_energy(
    obj: xr.DataArray | xr.Dataset,
    *,
    reference: xr.DataArray,
    expected: float | xr.DataArray,
    method: str = "derivative",
) -> Any:
    """Shift the energies so that a reference measured along has its known edge.

    *Lazy*, but for the reference.

    Parameters
    ----------
    obj
        A stack, series or spectrum along `energy`.
    reference
        Spectrum of the reference channel (a foil), on energies of the same
        monochromator scan.
    expected
        Its edge energy in eV by `method`; or its spectrum on true energies, onto
        which it is shifted for the least squared difference (`method` is not used).
    method
        "derivative" (steepest rise, between the points by a parabola), "half_jump" or
        "white_line".

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        `obj` on shifted energies; `attrs["energy_shift"]` is what was added (eV).

    Raises
    ------
    ArgumentError
        If the reference is no single spectrum, or shows no edge.
    """
    require_dims(obj, ["energy"], caller="calibrate_energy")
    if method not in _METHODS:
        raise ArgumentError("method", method, f"one of {list(_METHODS)}")
    if reference.dims != ("energy",):
        raise ArgumentError(
            "reference",
            reference.dims,
            "one spectrum along energy",
            "Average a series first, or calibrate each scan with its own.",
        )
    plain = spectra(reference, caller="calibrate_energy").dropna("energy").compute()
    if isinstance(expected, xr.DataArray):
        known = spectra(expected, caller="calibrate_energy: expected").dropna("energy")
        shift = _best_shift(plain, known.compute())
    else:
        shift = float(expected) - _edge(plain, method)
    if not np.isfinite(shift):
        raise ArgumentError("reference", "no edge found", "a spectrum with an edge")
    attrs = dict(obj["energy"].attrs)
    moved: Any = obj.assign_coords(
        energy=("energy", obj["energy"].values + shift, attrs)
    )
    return moved.assign_attrs(energy_shift=float(shift))


def _intensity(obj: xr.DataArray | xr.Dataset) -> xr.DataArray:
    if isinstance(obj, xr.Dataset):
        if "intensity" not in obj:
            raise VariableError(
                f"optical_density needs 'intensity'; found {[str(v) for v in obj]}."
            )
        obj = obj["intensity"]
    if np.iscomplexobj(obj):
        raise VariableError(
            "optical_density needs intensities; these are complex. "
            "Use from_transmission."
        )
    return obj


def _empty(array: xr.DataArray, mask: xr.DataArray) -> xr.DataArray:
    """Return the mean intensity where a mask is True, read now."""
    if not set(mask.dims) <= set(array.dims):
        raise ArgumentError("i0", mask.dims, f"a mask along {array.dims}")
    inside = mask.reset_coords(drop=True)
    if not bool(inside.any()):
        raise ArgumentError("i0", "no pixel", "a mask with empty pixels")
    dims = [d for d in mask.dims if d != "energy"]
    return array.where(inside).astype(float).mean(dims).compute()


def _matched(array: xr.DataArray, i0: xr.DataArray) -> xr.DataArray:
    """Return I0 on the energies of the stack."""
    if (
        i0.dims != ("energy",)
        or "energy" not in array.coords
        or "energy" not in i0.coords
    ):
        return i0
    own, wanted = (
        i0["energy"].values.astype(float),
        array["energy"].values.astype(float),
    )
    if own.size == wanted.size and np.allclose(own, wanted, rtol=0, atol=1e-6):
        return i0.assign_coords(energy=array["energy"])
    order = np.argsort(own)
    if wanted.min() < own.min() or wanted.max() > own.max():
        raise ArgumentError(
            "i0",
            f"{own.min():g} to {own.max():g} eV",
            f"a spectrum that covers {wanted.min():g} to {wanted.max():g} eV",
        )
    values = np.interp(wanted, own[order], i0.values.astype(float)[order])
    return xr.DataArray(values, dims="energy", coords={"energy": array["energy"]})


def _edge(reference: xr.DataArray, method: str) -> float:
    from batteryxr.xanes.edges.energy import edge_energy

    normal = normalise(reference)
    found = float(edge_energy(normal, method=method).edge_energy)
    if method != "derivative" or not np.isfinite(found):
        return found
    x, y = reference.energy.values, reference.values.astype(float)
    slope = np.gradient(y, x)
    k = int(np.clip(np.argmin(np.abs(x - found)), 1, x.size - 2))
    k = k - 1 + int(np.argmax(slope[k - 1 : k + 2]))
    if not 0 < k < x.size - 1:
        return found
    a, b, _ = np.polyfit(x[k - 1 : k + 2] - x[k], slope[k - 1 : k + 2], 2)
    top = -b / (2 * a) if a < 0 else 0.0
    return float(x[k] + np.clip(top, x[k - 1] - x[k], x[k + 1] - x[k]))


def _best_shift(reference: xr.DataArray, known: xr.DataArray) -> float:
    """Return what to add to the energies of a spectrum to lay it over a known one."""
    from scipy.optimize import minimize_scalar

    x, y = reference.energy.values, reference.values.astype(float)
    true, values = known.energy.values, known.values.astype(float)

    def left(shift: float) -> float:
        inside = (x + shift >= true[0]) & (x + shift <= true[-1])
        if inside.sum() < 8:
            return np.inf
        model = np.interp(x[inside] + shift, true, values)
        basis = np.stack([model, np.ones(model.size), x[inside] - x.mean()], axis=1)
        rest = y[inside] - basis @ np.linalg.lstsq(basis, y[inside], rcond=None)[0]
        return float(rest @ rest) / int(inside.sum())

    grid = np.arange(-_REACH, _REACH + 0.01, 0.25)
    costs = [left(s) for s in grid]
    k = int(np.argmin(costs))
    if not np.isfinite(costs[k]):
        return float("nan")
    span = grid[max(k - 1, 0)], grid[min(k + 1, grid.size - 1)]
    return float(minimize_scalar(left, bounds=span, method="bounded").x)
