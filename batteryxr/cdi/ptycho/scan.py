"""A ptychographic scan: frames with positions, units and masks, and its geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.core.model import attributes, require_dims, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.core.xray import HC

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FRAME = ("position", "detector_y", "detector_x")
#: Units in which the geometry is kept, and what it is called.
GEOMETRY = {
    "energy": ("eV", "Photon energy"),
    "distance": ("mm", "Sample to detector"),
    "pixel_pitch": ("um", "Detector pixel"),
    "position_y": ("nm", "Scan position y"),
    "position_x": ("nm", "Scan position x"),
}


@recorded
def ptycho_scan(
    frames: xr.DataArray | Any,
    *,
    position_y: ArrayLike,
    position_x: ArrayLike,
    energy: ArrayLike,
    distance: ArrayLike,
    pixel_pitch: float,
    mask: ArrayLike | None = None,
    probe: ArrayLike | None = None,
) -> xr.Dataset:
    """Make a labelled scan of frames and what is known of the experiment.

    Lazy.

    Parameters
    ----------
    frames
        Counts, (position, detector_y, detector_x), or (energy, position, ...); NumPy or
        dask. The direct beam is at index ``n // 2`` of both detector axes.
    position_y, position_x
        Where the beam hits the sample, nm, in object space: (position,), or
        (energy, position). Rows of the object count up with y.
    energy
        Photon energy in eV; one for each entry where frames have an energy axis.
    distance
        Sample to detector in mm; one number, or one per energy.
    pixel_pitch
        Size of a detector pixel in µm.
    mask : (detector_y, detector_x)
        Not 0 where a pixel is dead, hot or in a gap.
    probe : (probe_mode, probe_y, probe_x)
        First guess; see `ptycho_probe` for computed ones.

    Returns
    -------
    xarray.Dataset
        `frames`, and `mask` and `probe` where they are known.

    Raises
    ------
    ArgumentError
        If shapes do not fit together.
    """
    data = frames.data if isinstance(frames, xr.DataArray) else frames
    if not hasattr(data, "ndim"):
        data = np.asarray(data)
    if data.ndim not in (3, 4):
        raise ArgumentError(
            "frames", data.shape, "(position, y, x) or (energy, position, y, x)"
        )
    dims = FRAME if data.ndim == 3 else ("energy", *FRAME)
    given = {
        "position_y": position_y,
        "position_x": position_x,
        "energy": energy,
        "distance": distance,
        "pixel_pitch": pixel_pitch,
    }
    sizes = dict(zip(dims, data.shape, strict=True))
    coords = {name: _coordinate(name, v, sizes) for name, v in given.items()}
    counts = attributes("frames", units="1", long_name="Counts")
    variables: dict[str, Any] = {"frames": (dims, data, counts)}
    if mask is not None:
        bad = np.asarray(mask) != 0
        if bad.shape != data.shape[-2:]:
            raise ArgumentError("mask", bad.shape, f"the shape {data.shape[-2:]}")
        variables["mask"] = (
            FRAME[1:],
            bad,
            attributes("mask", units="1", long_name="Bad pixels"),
        )
    if probe is not None:
        modes = np.asarray(probe, np.complex64)
        modes = modes[None] if modes.ndim == 2 else modes
        variables["probe"] = (
            ("probe_mode", "probe_y", "probe_x"),
            modes,
            attributes("probe", units="1", long_name="Probe"),
        )
    scan = xr.Dataset(variables, coords=coords)
    pixel_size(scan)
    return scan


def _coordinate(name: str, value: Any, sizes: dict[str, int]) -> Any:
    values = np.asarray(value, float)
    axes = ("position",) if name.startswith("position") else ()
    stacked = ("energy", *axes) if "energy" in sizes else axes
    units, long_name = GEOMETRY[name]
    for dims in (axes, stacked):
        if values.shape == tuple(sizes[d] for d in dims):
            if name == "energy" and not dims and "energy" in sizes:
                break
            return dims, values, {"units": units, "long_name": long_name}
    wanted = tuple(sizes[d] for d in stacked)
    raise ArgumentError(name, values.shape, f"the shape {wanted}")


def check_scan(scan: xr.Dataset, *, caller: str) -> xr.Dataset:
    """Return a scan with its geometry in the units of `GEOMETRY`.

    Raises
    ------
    VariableError, DimensionError, UnitsError
        If something is missing or measures something else.
    ArgumentError
        If frames are not square or not finite in geometry.
    """
    require_variables(scan, ["frames", *GEOMETRY], caller=caller)
    require_dims(scan["frames"], FRAME, caller=caller)
    converted = {
        name: in_units(scan[name], units, caller=caller)
        for name, (units, _) in GEOMETRY.items()
    }
    for name, values in converted.items():
        if not np.isfinite(values.values).all():
            raise ArgumentError(name, "NaN", "a finite number for every frame")
    rows, columns = scan.sizes["detector_y"], scan.sizes["detector_x"]
    if rows != columns:
        raise DimensionError(
            f"{caller} needs square frames; found {rows} x {columns}. Crop them with "
            ".isel(detector_y=..., detector_x=...), the direct beam at n // 2."
        )
    return scan.assign_coords(converted)


def pixel_size(scan: xr.Dataset) -> xr.DataArray:
    """Return the pixel of the object in nm: λ z / (N pitch); one number per energy.

    Raises
    ------
    ArgumentError
        If the geometry is not positive.
    """
    wavelength = HC * 1e9 / scan["energy"]
    n = scan.sizes["detector_x"]
    with np.errstate(divide="ignore", invalid="ignore"):
        size = wavelength * scan["distance"] * 1e3 / (n * scan["pixel_pitch"])
    if not bool(((size > 0) & np.isfinite(size)).all()):
        raise ArgumentError(
            "energy, distance, pixel_pitch", size.values.tolist(), "all above 0"
        )
    size = size.drop_vars([n for n in size.coords if n != "energy"])
    size.attrs = {"units": "nm", "long_name": "Object pixel"}
    return size.rename("pixel_size")


def single(scan: xr.Dataset, *, caller: str) -> xr.Dataset:
    """Return the scan if it is of one energy.

    Raises
    ------
    DimensionError
        If it has an energy axis.
    """
    if "energy" in scan["frames"].dims:
        raise DimensionError(
            f"{caller} works on one energy; found {scan.sizes['energy']}. Choose one "
            "with .isel(energy=0), or reconstruct all with .cdi.ptycho_energies(...)."
        )
    return scan
