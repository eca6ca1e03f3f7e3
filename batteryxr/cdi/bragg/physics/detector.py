"""Distance, centre and tilt of the detector, from the direct beam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg import instrument
from batteryxr.cdi.bragg.axes import VECTOR, VOLUME
from batteryxr.core import bounds
from batteryxr.core.blocks import stream
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batteryxr.cdi.bragg.instrument import Beamline
    from batteryxr.core.bounds.kinds import DetectorPixel
    from batteryxr.core.checks import Word

#: Pixels fainter than this part of the brightest are no part of the beam.
_FAINT = 0.1
#: Scatter of the beam's centres (pixels) that a detector on an arm does not explain.
_SCATTERED = 2.0


@recorded
def calibrate_detector(
    frames: xr.DataArray,
    *,
    beamline: Word | str | Path | Beamline,
    pixel_size: DetectorPixel | tuple[DetectorPixel, DetectorPixel] | None = None,
    rocking: str | None = None,
    motors: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Find distance, centre and tilt of a detector from frames of the direct beam.

    Reads once.

    Parameters
    ----------
    frames
        Counts on ``(rocking, detector_y, detector_x)``: the attenuated beam, at several
        angles of the arm. ``rocking`` holds the angles of the circle that moved;
        circles that also moved are coordinates on ``rocking``.
    beamline
        See `geometry`; its sample circles do not matter.
    pixel_size
        Size of the pixels (um; one number or y, x), where it is no coordinate.
    rocking
        The circle of the detector that moved. None: the one noted by the reader.
    motors
        Angles (deg) of circles that stood still and are no coordinates.

    Returns
    -------
    xarray.Dataset
        ``distance`` (mm), ``centre`` (row and column of the pixel to which the angles
        of the arm refer, which `geometry` takes), ``tilt`` (deg, about x, y and z of
        the laboratory at zero of the arm, which `Beamline` takes), their errors
        (``tilt_error`` is NaN where the frames do not tell a tilt, and zero was taken)
        and ``residual`` on ``rocking`` (pixels).

    Raises
    ------
    ArgumentError
        If the motor is no circle of the detector, or the beamline is not known.
    DataError
        If there are fewer than three frames with a beam, an angle is not known, the
        edge cuts the beam, a hot pixel outshines it, or it moves against the directions
        that the beamline gives.
    DimensionError
        If an axis is missing.

    Warns
    -----
    DataQualityWarning
        If the frames do not tell a tilt, or centres scatter by pixels.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> angle = np.linspace(-0.1, 0.1, 9)  # deg, of an arm 800 mm long
    >>> row = 32 + 800 / 0.055 * np.tan(np.radians(angle))
    >>> y, x = np.mgrid[:64, :64]
    >>> beam = [1e4 * np.exp(-((y - r) ** 2 + (x - 32) ** 2) / 8) for r in row]
    >>> frames = xr.DataArray(
    ...     np.array(beam), {"rocking": angle}, ("rocking", "detector_y", "detector_x")
    ... )
    >>> found = frames.cdi.calibrate_detector(
    ...     beamline="ID01", pixel_size=55, rocking="delta", motors={"nu": 0.0}
    ... )
    >>> round(float(found["distance"]))
    800
    """
    from batteryxr.cdi.bragg.kernels.voxels import Detector, place

    require_dims(frames, VOLUME, caller="calibrate_detector")
    known = instrument.find(beamline, argument="beamline")
    frames = frames.transpose(*VOLUME)
    moved = _circle(frames, known, rocking)
    angles = [
        _angles(frames, c.motor, moved, motors or {}, known.name) - c.zero
        for c in known.detector
    ]
    circles = tuple(
        tuple((c.axis, float(a)) for c, a in zip(known.detector, row, strict=True))
        for row in np.stack(angles, axis=1)
    )
    centres = _centres(frames)
    if len(centres) < 3 or np.ptp(centres, axis=0).max() < 1:
        told = (
            f"shows the beam at {len(centres)} angles of the arm, which do not move it"
        )
        mend = "Take three frames or more, pixels apart, and take out hot pixels and "
        raise DataError(
            "frames", told, mend + "background: correct(hot=..., dark=...)."
        )
    detector = Detector(circles, known.rows, known.columns, _pixels(frames, pixel_size))
    found = place(detector, centres)
    if found.values[0] <= 0:
        raise DataError(
            "frames",
            "show the beam moving against the arm, as this beamline has its axes",
            "Look at rows, columns and the signs of its circles: see Beamline.",
        )
    bounds.check("detector distance", found.values[0], argument="distance", data=True)
    _report(found.errors[3:], found.residual)
    return _labelled(found, frames)


def _circle(frames: xr.DataArray, known: Beamline, given: str | None) -> str:
    """Return the name of the circle that moved."""
    circles = {c.motor.lower(): c.motor for c in known.detector}
    motor = str(given or frames.attrs.get("rocking_motor", ""))
    if motor.lower() in circles:
        return circles[motor.lower()]
    expected = f"a detector circle of {known.name}: {list(circles.values())}"
    if given:
        raise ArgumentError("rocking", given, expected)
    told = f"the attribute rocking_motor is {motor!r}, not {expected}"
    raise DataError("frames", told, "Pass rocking=...")


def _angles(
    frames: xr.DataArray,
    motor: str,
    moved: str,
    motors: Mapping[str, float],
    name: str,
) -> np.ndarray:
    """Return the angle of a circle in each frame."""
    if motor == moved:
        values: Any = frames["rocking"].values
    elif motor in motors:
        values = motors[motor]
    elif motor in frames.coords:
        values = frames[motor].values
    else:
        raise DataError(
            "frames",
            f"the angle of {motor!r}, a circle of {name}, is not among its coordinates",
            f"Pass motors={{{motor!r}: ...}} in deg.",
        )
    bounds.check("angle", values, argument=motor, data=True)
    return np.broadcast_to(np.asarray(values, float), (frames.sizes["rocking"],))


def _centres(frames: xr.DataArray) -> np.ndarray:
    """Return row and column of the beam in each frame, counted on the detector."""
    rows, columns = (
        frames[d].values.astype(float)
        if d in frames.coords
        else np.arange(frames.sizes[d])
        for d in VOLUME[1:]
    )
    found: list[tuple[float, float]] = []
    brightest: set[int] = set()
    for (block,) in stream(frames, dim="rocking", block=1):
        image = np.nan_to_num(np.asarray(block[0], float))
        if not image.max() > 0:
            number = len(found)
            raise DataError("frames", f"frame {number} holds no beam", "Leave it out.")
        brightest.add(int(image.argmax()))
        image = np.where(image >= _FAINT * image.max(), image, 0.0)
        if image[[0, -1]].any() or image[:, [0, -1]].any():
            told = f"frame {len(found)} shows a beam that the edge cuts"
            raise DataError("frames", told, "Leave it out: its centre is not known.")
        total = image.sum()
        found.append((image.sum(1) @ rows / total, image.sum(0) @ columns / total))
    if len(found) > 1 and len(brightest) == 1:
        told = "have their brightest pixel at one place: hot, or the arm stood still"
        raise DataError("frames", told, "Take hot pixels out: correct(hot=...).")
    return np.array(found)


def _pixels(frames: xr.DataArray, given: Any) -> tuple[float, float]:
    """Return height and width of a pixel in mm."""
    if given is None:
        names = ("pixel_size_y", "pixel_size_x")
        if any(name not in frames.coords for name in names):
            raise DataError(
                "frames", "do not tell pixel_size", "Pass pixel_size=... in um."
            )
        given = [float(frames[name]) for name in names]
    y, x = np.broadcast_to(np.asarray(given, float), (2,)) / 1000
    return float(y), float(x)


def _report(errors: np.ndarray, residual: np.ndarray) -> None:
    if lost := [axis for axis, e in zip(VECTOR, errors, strict=True) if np.isnan(e)]:
        warn_quality(
            f"calibrate_detector: the frames do not tell the tilt about {lost}: zero "
            "is taken. Move the arm farther, and in both directions."
        )
    if (worst := float(np.abs(residual).max())) > _SCATTERED:
        warn_quality(
            f"calibrate_detector: the beam lies up to {worst:.1f} pixels from where "
            "such a detector sees it: an angle or a circle is wrong."
        )


def _labelled(found: Any, frames: xr.DataArray) -> xr.Dataset:
    """Label distance, centre and tilt."""

    def named(units: str, words: str) -> dict[str, str]:
        return {"units": units, "long_name": words}

    made: dict[str, Any] = {}
    for name, dims, part, units, words in (
        ("distance", (), 0, "mm", "Distance of the detector"),
        ("centre", ("pixel",), slice(1, 3), "1", "Pixel of the arm's angles"),
        ("tilt", ("vector",), slice(3, 6), "deg", "Tilt of the detector"),
    ):
        made[name] = (dims, found.values[part], named(units, words))
        title = f"Standard deviation of the {words[:1].lower()}{words[1:]}"
        made[f"{name}_error"] = (dims, found.errors[part], named(units, title))
    words = "Beam less the pixel where it is expected"
    made["residual"] = (("rocking", "pixel"), found.residual, named("1", words))
    coords = {
        "pixel": ("pixel", list(VOLUME[1:]), named("1", "Axis of the detector")),
        "vector": ("vector", list(VECTOR), named("1", "Laboratory axis")),
        "rocking": frames["rocking"],
    }
    return xr.Dataset(made, coords=coords)
