"""Geometry of a rocking curve: scattering vector, voxels and sample frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg import instrument
from batteryxr.cdi.bragg.axes import VECTOR, VOLUME
from batteryxr.cdi.bragg.consistency.beam import OF_BEAM, numbers_of_file
from batteryxr.cdi.bragg.consistency.scan import (
    number_of,
    tell_of_centre,
    tell_of_difference,
)
from batteryxr.cdi.bragg.space import box_of, middle_of, step_of
from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import require_dims
from batteryxr.core.provenance import recorded
from batteryxr.core.units import affine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batteryxr.cdi.bragg.instrument import Beamline
    from batteryxr.cdi.bragg.kernels.voxels import Setup
    from batteryxr.core.bounds.kinds import DetectorPixel, Distance, PhotonEnergy
    from batteryxr.core.checks import Word

#: hc in eV Angstrom.
_HC = 12398.419843320026
_QUANTITIES = {
    "energy": "photon energy",
    "distance": "detector distance",
    "pixel_size": "detector pixel",
}
_UNITS = {"energy": "eV", "distance": "mm", "pixel_size": "um"}


class _Measurement(NamedTuple):
    """Hold circles, and numbers that replace coordinates; None: read them."""

    beamline: Beamline
    rocking: int
    motors: dict[str, float]
    energy: float | None
    distance: float | None
    pixel_size: float | tuple[float, float] | None


@recorded
def geometry(
    volume: xr.DataArray,
    *,
    beamline: Word | str | Path | Beamline,
    rocking: str | None = None,
    motors: Mapping[str, float] | None = None,
    energy: PhotonEnergy | None = None,
    distance: Distance | None = None,
    pixel_size: DetectorPixel | tuple[DetectorPixel, DetectorPixel] | None = None,
    centre: tuple[float, float] | None = None,
) -> xr.Dataset:
    """Compute the scattering vector and the voxels of a rocking curve.

    Lazy: reads coordinates only.

    Parameters
    ----------
    volume
        Intensity on ``(rocking, detector_y, detector_x)``, whole or cropped for phase
        retrieval, with or without ``state``.
    beamline
        Name (see `beamlines`), path of a TOML file, or a `Beamline`.
    rocking
        The circle that rocked. None: the one noted by the reader in the attributes.
    motors
        Angles (deg) by motor name, where they are not coordinates of the volume.
    energy, distance, pixel_size
        Photon energy (eV), detector distance (mm), pixel size (um; one number or
        y, x), where they are not coordinates.
    centre
        Row and column, counted on the whole detector, of the pixel to which the
        detector's angles refer. None: the middle of the box (of the first state). A
        detector without an arm needs it: the pixel of the direct beam.

    Returns
    -------
    xarray.Dataset
        ``q`` (1/Angstrom) at the middle of the box, ``reciprocal_step`` (1/Angstrom)
        and ``voxel`` (nm) on ``axis`` and ``vector`` (x, y, z of the laboratory: z
        along the beam, y up), ``q_length``, ``d_spacing`` (Angstrom),
        ``voxel_volume`` (nm3), and ``sample_rotation``, from the frame of the sample
        (all sample circles at zero) to the laboratory. ``n_points``, ``box_centre`` and
        ``box_step`` describe the box; methods that take a geometry refuse objects of
        another box. The result has ``state`` where angles or centres differ between
        states.

    Raises
    ------
    ArgumentError
        If a number is out of range, the motor is no sample circle or turns the
        detector as well, or a detector without an arm has no `centre`.
    DataError
        If the volume lacks a number that was not passed, or rocking does not move the
        pattern out of the detector's plane.
    DimensionError
        If the volume is no rocking curve.

    Warns
    -----
    DataQualityWarning
        If an argument is far from what the volume tells, or row and column of `centre`
        fit better the other way round.

    Notes
    -----
    A pixel at fixed angles sees one Q; rocking the crystal by dw about n moves the
    pattern in the crystal by -dw n x Q. Steps are central differences of the exact
    Q; voxels D follow from B, the reciprocal steps times the numbers of points:
    B D^T = 2 pi.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> volume = xr.DataArray(
    ...     np.ones((16, 32, 32)),
    ...     dims=("rocking", "detector_y", "detector_x"),
    ...     coords={"rocking": np.linspace(14.3, 14.5, 16)},
    ... )
    >>> geometry = volume.cdi.geometry(
    ...     beamline="ID01",
    ...     rocking="eta",
    ...     motors={"phi": 0.0, "nu": 0.0, "delta": 28.8},
    ...     energy=9000.0,
    ...     distance=1000.0,
    ...     pixel_size=55.0,
    ... )
    >>> float(geometry["d_spacing"].round(2))
    2.77
    """
    require_dims(volume, VOLUME, caller="geometry")
    arrangement = instrument.find(beamline, argument="beamline")
    circles = [c.motor for c in (*arrangement.sample, *arrangement.detector)]
    if unknown := sorted(set(motors or {}) - set(circles)):
        told = f"circles of {arrangement.name}: {circles}"
        raise ArgumentError("motors", unknown, told)
    rocked = _rocking_circle(volume, arrangement, rocking)
    _require_plain(arrangement, rocked, centre)
    measurement = _Measurement(
        arrangement,
        rocked,
        dict(motors or {}),
        energy,
        distance,
        pixel_size,
    )
    n = volume.sizes.get("state")
    parts = [volume] if n is None else [volume.isel(state=k) for k in range(n)]
    reference = centre or _middle_pixel(parts[0])
    if arrangement.detector:  # without an arm it is the direct beam, far from the peak
        tell_of_centre(reference, _middle_pixel(parts[0]))
    results = [_one(part, measurement, reference) for part in parts]
    if n is None or all(results[0].equals(r) for r in results[1:]):
        result = results[0]
    else:
        result = xr.concat(results, dim="state")
        of_state = {
            name: c for name, c in volume.coords.items() if c.dims == ("state",)
        }
        result = result.assign_coords(of_state)
    motor = arrangement.sample[rocked].motor
    result.attrs |= {"beamline": arrangement.name, "rocking_motor": motor}
    return result


def _rocking_circle(
    volume: xr.DataArray, arrangement: Beamline, given: str | None
) -> int:
    """Return the index of the sample circle that rocked."""
    circles = [c.motor for c in arrangement.sample]
    noted = str(volume.attrs.get("rocking_motor", ""))
    if given and noted and noted.lower() != given.lower():
        warn_quality(
            f"geometry: {given!r} rocked by argument, {noted!r} by the file. The "
            "argument is used."
        )
    motor = given or noted
    known = {c.lower(): k for k, c in enumerate(circles)}.get(motor.lower())
    if known is not None:
        return known
    expected = f"a sample circle of {arrangement.name}: {circles}"
    if given:
        raise ArgumentError("rocking", given, expected)
    raise DataError(
        "volume",
        f"the attribute rocking_motor is {motor!r}, not {expected}",
        "Pass rocking=...",
    )


def _require_plain(arrangement: Beamline, rocking: int, centre: Any) -> None:
    """Raise where the detector moved with the sample, or its place is not told."""
    motor = arrangement.sample[rocking].motor
    if motor in [c.motor for c in arrangement.detector]:
        others = [c.motor for c in arrangement.sample if c.motor != motor]
        told = f"one of {others}: {motor} turns the detector as well"
        raise ArgumentError("rocking", motor, told)
    if not arrangement.detector and centre is None:
        told = f"row and column of the direct beam, as {arrangement.name} has no arm"
        raise ArgumentError("centre", centre, told)


def _one(
    volume: xr.DataArray, measurement: _Measurement, reference: tuple[float, float]
) -> xr.Dataset:
    """Work out the geometry of one volume."""
    from batteryxr.cdi.bragg.kernels.voxels import (
        carried,
        scattering_vector,
        steps,
        voxels,
    )

    setup = _setup(volume, measurement)
    row, column = (a - b for a, b in zip(_middle_pixel(volume), reference, strict=True))
    spacing = tuple(step_of(volume, dim) for dim in VOLUME)
    reciprocal = steps(setup, (0.0, row, column), spacing)
    lengths = np.linalg.norm(reciprocal, axis=1)
    if abs(np.linalg.det(reciprocal)) <= 1e-3 * np.prod(lengths):
        motor = measurement.beamline.sample[measurement.rocking].motor
        raise DataError(
            "volume",
            f"rocking about {motor!r} at these angles opens no third direction",
            "Pass the circle that rocked: rocking=...",
        )
    shape = tuple(volume.sizes[dim] for dim in VOLUME)
    voxel = voxels(reciprocal, shape) / 10
    q = scattering_vector(setup, *map(np.asarray, (0.0, row, column)))
    length = float(np.linalg.norm(q))
    bounds.check("Bragg peak", length, argument="q_length", data=True)
    seen = float(f"{0.2 * np.pi / lengths[1:].max():.4g}")
    bounds.check("width that a detector sees", seen, argument="seen width")
    return xr.Dataset(
        {
            "q": ("vector", q, _named("1/Angstrom", "Scattering vector")),
            "reciprocal_step": (
                ("axis", "vector"),
                reciprocal,
                _named("1/Angstrom", "Change of Q by one index"),
            ),
            "voxel": (("axis", "vector"), voxel, _named("nm", "Step of the voxels")),
            "sample_rotation": (
                ("vector", "sample"),
                carried(setup.sample),
                _named("1", "Rotation of the sample into the laboratory"),
            ),
            "q_length": ((), length, _named("1/Angstrom", "|Q|")),
            **box_of(volume),
            "d_spacing": (
                (),
                2 * np.pi / length,
                _named("Angstrom", "Lattice spacing d"),
            ),
            "voxel_volume": (
                (),
                abs(float(np.linalg.det(voxel))),
                _named("nm3", "Volume of a voxel"),
            ),
        },
        coords={
            "axis": ("axis", list(VOLUME), _named("1", "Axis of the volume")),
            "vector": ("vector", list(VECTOR), _named("1", "Laboratory axis")),
            "sample": ("sample", list(VECTOR), _named("1", "Sample axis")),
            **_of_file(volume, measurement),
        },
    )


def _of_file(volume: xr.DataArray, measurement: _Measurement) -> dict[str, Any]:
    """Return the numbers that the volume told, and no argument replaced."""
    arrangement, rocking, motors, *given = measurement
    circles = [c.motor for c in (*arrangement.sample, *arrangement.detector)]
    rocked = arrangement.sample[rocking].motor
    units = {m: "deg" for m in circles if m not in motors and m != rocked}
    for name, number in zip(_UNITS, given, strict=True):
        units |= {n: u for n, u in OF_BEAM.items() if number is None and name in n}
    return numbers_of_file(volume, units)


def _setup(volume: xr.DataArray, measurement: _Measurement) -> Setup:
    from batteryxr.cdi.bragg.kernels.voxels import Setup

    arrangement, rocking, motors, *_ = measurement
    sample = []
    for number, circle in enumerate(arrangement.sample):
        # The angle of the rocked motor is the one at the middle of the box.
        if number == rocking and circle.motor not in motors:
            angle = middle_of(volume, "rocking")
        else:
            angle = _angle(volume, circle.motor, measurement)
        sample.append((circle.axis, angle - circle.zero))
    detector = [
        (c.axis, _angle(volume, c.motor, measurement) - c.zero)
        for c in arrangement.detector
    ]
    ev = _number(volume, "energy", measurement.energy, arrangement.energy)
    mm = _number(volume, "distance", measurement.distance, arrangement.distance)
    sizes = [
        _number(volume, f"pixel_size_{axis}", size, (f"pixel_size_{axis}", "um"))
        for axis, size in zip("yx", _pair(measurement.pixel_size), strict=True)
    ]
    return Setup(
        tuple(sample),
        tuple(detector),
        rocking,
        arrangement.rows,
        arrangement.columns,
        2 * np.pi * ev / _HC,
        (sizes[0] / (1000 * mm), sizes[1] / (1000 * mm)),
        arrangement.tilt,
    )


def _pair(value: Any) -> tuple[Any, Any]:
    if value is None:
        return None, None
    y, x = np.broadcast_to(np.asarray(value, dtype=float), (2,))
    return float(y), float(x)


def _angle(volume: xr.DataArray, motor: str, measurement: _Measurement) -> float:
    if motor in measurement.motors:
        given = float(measurement.motors[motor])
        bounds.check("angle", given, argument=f"motors[{motor!r}]")
        tell_of_difference(volume, motor, given, "deg")
        return given
    if motor in volume.coords:
        found = number_of(volume, motor, "deg")
        bounds.check("angle", found, argument=motor, data=True)
        return found
    if (name := measurement.beamline.name) == "general":  # it may lack this circle
        return 0.0
    raise DataError(
        "volume",
        f"the angle of {motor!r}, a circle of {name}, is not among its coordinates",
        f"Pass motors={{{motor!r}: ...}} in deg.",
    )


def _number(
    volume: xr.DataArray, name: str, given: float | None, where: tuple[str, str]
) -> float:
    """Return a number > 0: the given one, else that of a coordinate.

    Parameters
    ----------
    volume
        Volume whose coordinates are read.
    name
        Name of the argument and of its coordinate.
    given
        Value of the argument.
    where
        Name and units of the coordinate at this beamline.
    """
    argument = "pixel_size" if name.startswith("pixel") else name
    units = _UNITS[argument]
    if given is not None:
        if not (np.isfinite(given) and given > 0):
            raise ArgumentError(argument, given, f"a number > 0 in {units}")
        tell_of_difference(volume, name, float(given), units)
        return float(given)
    if name in volume.coords:
        value = number_of(volume, name, units)
    elif where[0] in volume.coords:
        # The beamline's file tells the units of its own coordinate.
        value = number_of(volume, where[0], where[1]) * affine(where[1], units)[0]
    else:
        raise DataError(
            "volume", f"does not tell {name}", f"Pass {argument}=... in {units}."
        )
    if not (np.isfinite(value) and value > 0):
        raise DataError(
            "volume", f"{name} is {value:g}, not > 0", f"Pass {argument}=..."
        )
    bounds.check(_QUANTITIES[argument], value, argument=name, data=True)
    return float(value)


def _middle_pixel(volume: xr.DataArray) -> tuple[float, float]:
    return middle_of(volume, "detector_y"), middle_of(volume, "detector_x")


def _named(units: str, long_name: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name}
