"""Convert ptychographic objects to absorption and phase, both zero in vacuum."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import DataError, VariableError
from batteryxr.core.labels import require_even
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.xanes.results import inherit

_IMAGE = ("y", "x")


@recorded
def from_transmission(stack: xr.DataArray | xr.Dataset) -> xr.Dataset:
    """Return absorption and phase of complex objects: μt = -2 ln|T|, φ = arg T.

    *Lazy*. The factor 2 is there since objects are amplitudes: the intensity is |T|².

    Parameters
    ----------
    stack
        Complex transmission in any dimensions, or a Dataset with `transmission`. It
        must be referenced to vacuum first (`reference_phase`).

    Returns
    -------
    xarray.Dataset
        `absorption`, and `phase` in rad from -π to π. NaN where the object is zero.
        Samples that shift the phase by more than π (some 4 µm of an oxide at 5 keV)
        wrap. Unwrap them before computing effective electrons.

    Raises
    ------
    VariableError
        If the transmission is not complex.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> objects = study["objects"].to_dataset()["transmission"]
    >>> stack = objects.xanes.from_transmission()
    >>> list(stack.data_vars)
    ['absorption', 'phase']
    """
    field = _complex(stack, "from_transmission")
    modulus = abs(field)
    there = modulus > 0
    absorption: Any = -2 * np.log(modulus.where(there))
    phase = _phase(field).where(there)
    result = xr.Dataset(
        {
            "absorption": label(absorption, "absorption"),
            "phase": label(phase, "phase", units="rad", long_name="Phase φ"),
        }
    )
    return inherit(result, field)


@recorded
def reference_phase(
    stack: xr.DataArray | xr.Dataset, *, vacuum: xr.DataArray, ramp: bool = False
) -> Any:
    """Set the phase of vacuum to zero and its modulus to one, in every frame.

    *Reads once* for the vacuum (twice with `ramp`), then *lazy*. An offset of the
    phase matters most where the sample is thin: it makes false rims in the composition.

    Parameters
    ----------
    stack
        Complex transmission, or the phase in rad, along `y` and `x` and any other
        dimensions; or a Dataset with `transmission` or `phase`.
    vacuum
        True where the beam misses the sample.
    ramp
        Remove a plane, not only an offset: ptychography determines neither.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        Like `stack`, with the phase between -π and π. Coordinates are `vacuum_phase`
        (rad, in the middle of the frame), with `ramp` also `phase_ramp_y` and
        `phase_ramp_x` (rad per pixel). `vacuum_phase_sd` is the scatter of the phase
        in vacuum: an error to pass to `effective_electrons`.

    Raises
    ------
    DataError
        If `vacuum` is not boolean, or is True nowhere in a frame.
    VariableError, UnitsError
        If there is neither transmission nor phase, or the phase is not in rad.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> objects = study["objects"].to_dataset()["transmission"].sel(particle=["P1"])
    >>> vacuum = abs(objects).min("energy") > 0.99
    >>> referred = objects.xanes.reference_phase(vacuum=vacuum)
    >>> referred.dims
    ('particle', 'energy', 'y', 'x')
    """
    name, array = _field(stack)
    require_dims(array, _IMAGE, caller="reference_phase")
    if ramp:
        require_even(array, _IMAGE, caller="reference_phase")
    if vacuum.dtype.kind != "b" or not set(vacuum.dims) <= set(array.dims):
        raise DataError(
            "vacuum",
            f"it is {vacuum.dtype} on {vacuum.dims}; booleans along y and x are needed",
        )
    if not bool(vacuum.any(_IMAGE).all()):
        raise DataError(
            "vacuum", "is True nowhere in a frame", "Mark at least one pixel of each."
        )
    vacuum = vacuum.reset_coords(drop=True)
    is_complex = np.iscomplexobj(array)
    field: Any = array if is_complex else np.exp(1j * array)
    modulus: Any = abs(field)
    good = vacuum & (modulus > 0) & np.isfinite(modulus)
    unit = (field / modulus).where(good, 0)
    rows, columns = _centred(array)
    slopes = _slopes(unit) if ramp else (0.0, 0.0)
    flat = unit * np.exp(-1j * (slopes[0] * rows + slopes[1] * columns))
    first = xr.Dataset({"sum": flat.sum(_IMAGE), "n": good.sum(_IMAGE)})
    if is_complex:
        first["log"] = np.log(modulus.where(good)).sum(_IMAGE)
    first = first.compute()
    offset = _angle(first["sum"])
    spread = np.sqrt(np.maximum(2 * (1 - abs(first["sum"]) / first["n"]), 0))
    if ramp:
        c, y, x = _plane(flat, good, offset, (rows, columns))
        offset, slopes = offset + c, (slopes[0] + y, slopes[1] + x)
    plane = offset + slopes[0] * rows + slopes[1] * columns
    corrected: Any = field * np.exp(-1j * plane)
    result: Any
    if is_complex:
        result = (corrected / np.exp(first["log"] / first["n"])).astype(array.dtype)
    else:
        result = _phase(corrected).astype(array.dtype)
    result = result.transpose(*array.dims)
    result.attrs = dict(array.attrs)
    coords: dict[str, tuple[Any, str, str]] = {
        "vacuum_phase": (offset, "rad", "Phase of vacuum, taken off"),
        "vacuum_phase_sd": (spread, "rad", "Scatter of the phase in vacuum"),
    }
    if ramp:
        for dim, slope in zip(_IMAGE, slopes, strict=True):
            coords[f"phase_ramp_{dim}"] = (slope, "rad", f"Phase per pixel of {dim}")
    labels = {
        key: label(value, key, units=units, long_name=long_name)
        for key, (value, units, long_name) in coords.items()
    }
    new: Any = stack.assign({name: result}) if isinstance(stack, xr.Dataset) else result
    if isinstance(new, xr.DataArray):
        new = new.rename(name)
    return new.assign_coords(labels)


def _complex(stack: xr.DataArray | xr.Dataset, caller: str) -> xr.DataArray:
    if isinstance(stack, xr.Dataset):
        if "transmission" not in stack:
            raise VariableError(
                f"{caller} needs 'transmission'; found {[str(v) for v in stack]}."
            )
        stack = stack["transmission"]
    if not np.iscomplexobj(stack):
        raise VariableError(
            f"{caller} needs complex transmission; {stack.name!r} is {stack.dtype}. "
            "For intensities use optical_density(i0=...)."
        )
    return stack


def _field(stack: xr.DataArray | xr.Dataset) -> tuple[Any, xr.DataArray]:
    """Return name and values of transmission or phase (in rad)."""
    if isinstance(stack, xr.Dataset):
        for name in ("transmission", "phase"):
            if name in stack:
                array = stack[name]
                break
        else:
            raise VariableError(
                "reference_phase needs 'transmission' or 'phase'; "
                f"found {[str(v) for v in stack]}."
            )
    else:
        array = stack
    if not np.iscomplexobj(array):
        array = in_units(array, "rad", caller="reference_phase")
    return array.name, array


def _centred(array: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the pixel numbers along y and x, counted from the middle."""
    rows, columns = (
        xr.DataArray(
            np.arange(array.sizes[d]) - 0.5 * (array.sizes[d] - 1), dims=d
        ).astype(np.float32)
        for d in _IMAGE
    )
    return rows, columns


def _slopes(unit: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the mean phase step from pixel to pixel, free of wraps."""
    bare = unit.drop_vars([c for c in unit.coords if c in _IMAGE])
    pair = xr.Dataset(
        {
            d: (
                bare.isel({d: slice(1, None)})
                * np.conj(bare.isel({d: slice(None, -1)}))
            ).sum(_IMAGE)
            for d in _IMAGE
        }
    ).compute()
    return _angle(pair["y"]), _angle(pair["x"])


def _plane(
    flat: xr.DataArray,
    good: xr.DataArray,
    offset: xr.DataArray,
    grid: tuple[xr.DataArray, xr.DataArray],
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return the plane (offset and two slopes) that remains after `offset`."""
    from batteryxr.xanes.kernels.phase import N_MOMENTS, fit_plane, plane_moments

    moments = blocks.apply(
        plane_moments,
        *(a.drop_vars([c for c in a.coords if c in _IMAGE]) for a in (flat, good)),
        offset,
        *grid,
        core_dims=[[]] * 5,
        output_dims=[["moment"]],
        output_sizes={"moment": N_MOMENTS},
        dtypes=[float],
        caller="reference_phase",
    )
    found = blocks.apply(
        fit_plane,
        moments.sum(_IMAGE).compute(),
        core_dims=[["moment"]],
        output_dims=[["term"]],
        output_sizes={"term": 3},
        dtypes=[float],
        caller="reference_phase",
    )
    c, y, x = (found.isel(term=k) for k in range(3))
    return c, y, x


def _angle(value: xr.DataArray) -> xr.DataArray:
    return xr.apply_ufunc(np.angle, value)


def _phase(field: xr.DataArray) -> xr.DataArray:
    """Return arg T, lazily if T is lazy."""
    result: xr.DataArray = xr.apply_ufunc(np.angle, field, dask="allowed")
    return result
