"""A ptychographic scan: frames with positions, units and masks, and its geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    warn_quality,
)
from batteryxr.core.labels import even_step
from batteryxr.core.model import attributes, require_dims, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.core.xray import HC

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from batteryxr.core.bounds.kinds import Defocus, DetectorPixel

FRAME = ("position", "detector_y", "detector_x")
_PROBE = ("probe_mode", "probe_y", "probe_x")
#: Units in which the geometry is kept, and long names.
GEOMETRY = {
    "energy": ("eV", "Photon energy"),
    "distance": ("mm", "Sample to detector"),
    "pixel_pitch": ("um", "Detector pixel"),
    "position_y": ("nm", "Scan position y"),
    "position_x": ("nm", "Scan position x"),
}
#: Coordinates of the near field only.
NEAR = {"defocus": ("um", "Focus to sample")}

#: Frames that are made square together.
_TOGETHER: dict[Any, int] = {"position": 64, "energy": 1}
_QUANTITIES = {
    "energy": "photon energy",
    "distance": "detector distance",
    "pixel_pitch": "detector pixel",
    "defocus": "defocus",
}


@recorded
def ptycho_scan(
    frames: xr.DataArray | Any,
    *,
    position_y: ArrayLike,
    position_x: ArrayLike,
    energy: ArrayLike,
    distance: ArrayLike,
    pixel_pitch: DetectorPixel,
    defocus: Defocus | None = None,
    mask: ArrayLike | None = None,
    probe: ArrayLike | None = None,
) -> xr.Dataset:
    """Make a labelled scan of frames and their geometry.

    Lazy.

    Parameters
    ----------
    frames
        Counts, (position, detector_y, detector_x), or (energy, position, ...); NumPy or
        dask. The direct beam is at index ``n // 2`` of each detector axis. What a
        rectangular detector lacks of a square counts as masked.
    position_y, position_x
        Position where the beam hits the sample, nm, in object space: (position,), or
        (energy, position). Rows of the object count up with y.
    energy
        Photon energy in eV; one for each entry where frames have an energy axis.
    distance
        Sample to detector in mm; one number, or one per energy.
    pixel_pitch
        Size of a detector pixel in µm.
    defocus
        For near-field frames, which show a magnified shadow of the sample: distance
        from the focus of the beam down to the sample, µm. None: frames are far field.
    mask : (detector_y, detector_x)
        Not 0 where a pixel is dead, hot or in a gap.
    probe : (probe_mode, probe_y, probe_x)
        Initial probe; see `ptycho_probe` for computed ones.

    Returns
    -------
    xarray.Dataset
        `frames`, and `mask` and `probe` where they are given.

    Raises
    ------
    ArgumentError
        If shapes do not fit together.
    DataError
        If energies or distances are not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> frames = xr.DataArray(
    ...     np.random.default_rng(0).poisson(3.0, (25, 32, 32)),
    ...     dims=("position", "detector_y", "detector_x"),
    ... )
    >>> y, x = np.mgrid[-2:3, -2:3] * 90.0
    >>> scan = batteryxr.cdi.ptycho_scan(
    ...     frames,
    ...     position_y=y.ravel(),  # nm
    ...     position_x=x.ravel(),
    ...     energy=8000.0,  # eV
    ...     distance=2000.0,  # mm
    ...     pixel_pitch=75.0,  # um
    ... )
    """
    named = _in_order(frames, ("energy", *FRAME))
    data = named.data if isinstance(named, xr.DataArray) else named
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
    if defocus is not None:
        given["defocus"] = defocus
    sizes = dict(zip(dims, data.shape, strict=True))
    coords = {name: _coordinate(name, v, sizes) for name, v in given.items()}
    counts = attributes("frames", units="1", long_name="Counts")
    variables: dict[str, Any] = {"frames": (dims, data, counts)}
    if mask is not None:
        bad = np.asarray(_in_order(mask, FRAME[1:])) != 0
        if bad.shape != data.shape[-2:]:
            raise ArgumentError("mask", bad.shape, f"the shape {data.shape[-2:]}")
        variables["mask"] = (
            FRAME[1:],
            bad,
            attributes("mask", units="1", long_name="Bad pixels"),
        )
    if probe is not None:
        modes = np.asarray(_in_order(probe, _PROBE), np.complex64)
        modes = modes[None] if modes.ndim == 2 else modes
        if modes.ndim != 3:
            raise ArgumentError("probe", modes.shape, "(probe_mode, probe_y, probe_x)")
        variables["probe"] = (
            _PROBE,
            modes,
            attributes("probe", units="1", long_name="Probe"),
        )
    scan = xr.Dataset(variables, coords=coords)
    _pixel(scan.variables, max(data.shape[-2:]))
    return scan


def squared(told: xr.Variable, outside: float) -> xr.Variable:
    """Return frames, or what lies on them, made square; lazy where they have positions.

    The beam stays at ``n // 2``, `n` the longer side.

    Parameters
    ----------
    told
        Variable with the dimensions of the detector, and others.
    outside
        Value of the pixels that are added.
    """
    rows, columns = (told.sizes[d] for d in FRAME[1:])
    if rows == columns:
        return told
    if "position" in told.dims and told.chunks is None:
        blocks = {d: _TOGETHER.get(d, told.sizes[d]) for d in told.dims}
        # Any name: that of dask would be a digest of all frames.
        told = told.chunk(blocks, name=False)  # type: ignore[arg-type]
    return told.pad(_beside(told.sizes), constant_values=outside)


def unsquared(result: xr.Dataset, sizes: Mapping[Any, int]) -> xr.Dataset:
    """Return a result on a detector of the rows and columns of `sizes`."""
    parts = {
        d: slice(low, low + sizes[d])
        for d, (low, _) in _beside(sizes).items()
        if d in result.dims
    }
    return result.isel(parts)


def _beside(sizes: Mapping[Any, int]) -> dict[Any, tuple[int, int]]:
    """Return how many pixels make a detector square, before and behind its own."""
    n = max(sizes[d] for d in FRAME[1:])
    low = {d: n // 2 - sizes[d] // 2 for d in FRAME[1:]}
    return {d: (k, n - sizes[d] - k) for d, k in low.items()}


def _in_order(array: Any, dims: tuple[str, ...]) -> Any:
    """Return an array with its axes in the given order, where they are named."""
    if isinstance(array, xr.DataArray) and {*array.dims} <= {*dims}:
        return array.transpose(*(d for d in dims if d in array.dims))
    return array


def _coordinate(name: str, value: Any, sizes: dict[str, int]) -> Any:
    units, long_name = (GEOMETRY | NEAR)[name]
    value = _in_order(value, ("energy", "position"))
    if isinstance(value, xr.DataArray) and "units" in value.attrs:
        value = in_units(value, units, caller="ptycho_scan")
    values = np.asarray(value, float)
    axes = ("position",) if name.startswith("position") else ()
    stacked = ("energy", *axes) if "energy" in sizes else axes
    for dims in (axes, stacked):
        if values.shape == tuple(sizes[d] for d in dims):
            if name == "energy" and not dims and "energy" in sizes:
                break
            return dims, values, {"units": units, "long_name": long_name}
    wanted = tuple(sizes[d] for d in stacked)
    raise ArgumentError(name, values.shape, f"the shape {wanted}")


class Geometry(NamedTuple):
    """Hold the geometry of a scan as plain numbers.

    With several energies, all but `n` have a first axis for them where they differ.

    Parameters
    ----------
    n
        Detector pixels along the longer side.
    energy
        Energies in eV.
    pixel
        Size of the object's pixel, nm: λ z / (n pitch); in the near field the
        detector's pixel over the magnification.
    positions : (position, 2)
        Positions where the beam hit the sample, y and x in nm.
    near
        λ z / pixel² in the near field, with z of a parallel beam; 0: far field.
    """

    n: int
    energy: np.ndarray
    pixel: np.ndarray
    positions: np.ndarray
    near: np.ndarray

    @property
    def wavelength(self) -> np.ndarray:
        """Return the wavelength in nm."""
        return np.asarray(HC * 1e9 / self.energy)

    def at(self, k: int) -> Geometry:
        """Return the geometry of energy `k` alone."""
        each = (self.energy, self.pixel, self.near)
        energy, pixel, near = (v[k] if v.ndim else v for v in each)
        places = self.positions
        here = places[k] if places.ndim == 3 else places
        return Geometry(self.n, energy, pixel, here, near)


def geometry_of(scan: xr.Dataset, *, caller: str) -> Geometry:
    """Check a scan, and return its geometry in the units of `GEOMETRY`.

    Raises
    ------
    VariableError, DimensionError, UnitsError
        If something is missing or has other units.
    DataError
        If a number is not finite, or a length not above 0.
    """
    require_variables(scan, ["frames", *GEOMETRY], caller=caller)
    require_dims(scan["frames"], FRAME, caller=caller)
    for dim in FRAME[-2:]:
        even_step(scan[dim], dim, caller=caller)
    named = ("frames", *GEOMETRY, *(n for n in NEAR if n in scan.variables))
    _check_dims({name: scan[name].dims for name in named}, caller=caller)
    found = {
        name: _read(in_units(scan[name], units, caller=caller))
        for name, (units, _) in (GEOMETRY | NEAR).items()
        if name in GEOMETRY or name in scan.variables
    }
    n = max(scan.sizes[d] for d in FRAME[1:])
    places = [found[f"position_{a}"].transpose(..., "position").values for a in "yx"]
    return Geometry(
        n,
        found["energy"].values,
        _pixel(found, n).values,
        np.stack(np.broadcast_arrays(*places), axis=-1),
        _near(found),
    )


def _check_dims(dims: Mapping[str, tuple[Any, ...]], *, caller: str) -> None:
    along: tuple[str, ...] = ("energy",) if "energy" in dims["frames"] else ()
    for name, there in dims.items():
        own = FRAME if name == "frames" else ("position",)
        allowed = {*along, *(own if name[:2] in ("fr", "po") else ())}
        found = {*there}
        if not found <= allowed or (name.startswith("po") and "position" not in found):
            raise DimensionError(
                f"{caller} needs {name} on {tuple(sorted(allowed))}; found {there}."
            )


def _read(array: xr.DataArray) -> xr.Variable:
    values = array.values
    if values.dtype.kind not in "iuf":
        raise DataError(
            str(array.name), f"{values.dtype}, no real numbers", "Pass real numbers."
        )
    # A frame whose position is unknown can be left out; other unknowns are errors.
    named = str(array.name).startswith("position_")
    if not np.isfinite(values).all() and not named:
        raise DataError(
            str(array.name), "not finite for every frame", "Leave the other frames out."
        )
    return xr.Variable(array.dims, values)


def _pixel(geometry: Mapping[Any, Any], n: int) -> xr.Variable:
    """Return the pixel of the object in nm; one number per energy.

    λ z / (n pitch); in the near field the detector's pixel over the magnification.
    """
    energy, distance, pitch = (
        geometry[name] for name in ("energy", "distance", "pixel_pitch")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        size = HC * 1e9 / energy * distance * 1e3 / (n * pitch)
        if "defocus" in geometry:
            size = pitch * 1e3 / _magnification(geometry) * (energy > 0)
    if not bool(((size > 0) & np.isfinite(size)).all()):
        raise DataError(
            "energy, distance, pixel_pitch",
            f"pixels of the object would be {np.ravel(size.values)[:3].tolist()} nm",
            "All must be above 0.",
        )
    told = {k: v for k, v in _QUANTITIES.items() if k in geometry}
    for name, quantity in told.items():
        bounds.check(quantity, geometry[name].values, argument=name, data=True)
    places = [geometry[f"position_{axis}"].values for axis in "yx"]
    known = [p[np.isfinite(p)] for p in places]
    span = max(float(np.ptp(p)) if p.size else 0.0 for p in known) or None
    bounds.check("span of positions", span, argument="span of position_y, position_x")
    bounds.check("pixel size", size.values, argument="pixel of the object", data=True)
    if span is not None and 0 < span < float(size.max()):
        warn_quality(
            f"positions span {span:.4g} nm, less than a pixel of the object, "
            f"{float(size.max()):.4g} nm. Was one of position_y, energy, distance, "
            "pixel_pitch in other units? They are in nm, eV, mm and µm."
        )
    return size


def _magnification(geometry: Mapping[Any, Any]) -> Any:
    """Return how much larger the shadow on the detector is than the sample."""
    defocus = geometry["defocus"]
    if not bool((defocus > 0).all()):
        raise DataError(
            "defocus",
            f"{np.ravel(defocus.values)[:3].tolist()} µm, and near-field frames need "
            "the focus before the sample",
            "Leave it away where frames are far field.",
        )
    return (defocus + geometry["distance"] * 1e3) / defocus


def _near(geometry: Mapping[Any, Any]) -> np.ndarray:
    """Return λ z / pixel², z as of a parallel beam; 0 in the far field.

    An expanding beam acts as a parallel one over z / M, magnified M times: the Fresnel
    scaling theorem (Paganin, Coherent X-Ray Optics, Oxford 2006, appendix B).
    """
    if "defocus" not in geometry:
        return np.zeros(())
    larger = _magnification(geometry)
    wavelength = HC * 1e9 / geometry["energy"]
    way, pixel = geometry["distance"] * 1e6 / larger, geometry["pixel_pitch"] * 1e3
    return np.asarray((wavelength * way * (larger / pixel) ** 2).values)
