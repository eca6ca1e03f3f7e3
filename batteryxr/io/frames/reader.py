"""Read detector frames of a rocking curve (TIFF, SPEC, NeXus, CXI) as a lazy array."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.checks import checked
from batteryxr.core.errors import (
    ArgumentError,
    FileFormatError,
    warn_quality,
)
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.io import clock
from batteryxr.io.door.counts import FLAG, only_counts
from batteryxr.io.door.files import head, named
from batteryxr.io.door.folders import files_in
from batteryxr.io.door.images import (
    check_page,
    npy,
    page_at,
    page_places,
    pixels,
    tiff,
)
from batteryxr.io.formats import Format
from batteryxr.io.frames.hdf5 import SUFFIXES, is_hdf5

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from batteryxr.core.bounds.kinds import DetectorPixel, Distance, PhotonEnergy
    from batteryxr.core.checks import Count
    from batteryxr.io.frames.spec import SpecScan

#: Formats of frames, and of files beside them, by name.
FORMATS = {
    "tiff": Format("frames.tiff", (".tif", ".tiff"), function="open_tiff"),
    "hdf5": Format("frames.hdf5", SUFFIXES, function="open_hdf5"),
    "npy": Format("frames.npy", (".npy",), function="open_npy"),
    "spec": Format("frames.spec", function="read_spec"),
    "gwyddion": Format("frames.gwyddion", (".gsf", ".txt")),
}
#: Names of coordinates of the frames; a motor with the same name gets a prefix.
_RESERVED = frozenset(
    {"rocking", "detector_y", "detector_x", "state", "repeat", "energy", "time"}
    | {"exposure", "distance", "pixel_size_y", "pixel_size_x", "voltage", "direction"}
)
#: Bytes of one chunk of frames.
_CHUNK = 32_000_000


@recorded
def read_frames(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    spec: str | os.PathLike[str] | None = None,
    scan: int | str | None = None,
    dataset: str | None = None,
    rocking: str | npt.ArrayLike | None = None,
    energy: PhotonEnergy | None = None,
    distance: Distance | None = None,
    pixel_size: DetectorPixel | tuple[DetectorPixel, DetectorPixel] | None = None,
    motors: Mapping[str, float] | None = None,
    origin: tuple[int, int] = (0, 0),
    timezone: str | None = None,
    chunks: Count | None = None,
) -> xr.DataArray:
    """Open the frames of one rocking curve as one array.

    Lazy: headers are read now, frames in groups when they are needed.

    Parameters
    ----------
    path
        A folder of TIFF files, a pattern, a list, one TIFF of many pages, one HDF5,
        NeXus or CXI file (for an Eiger the master file, whose ``data_000001`` ... are
        joined), or a NumPy ``.npy`` file of three axes.
    spec, scan
        SPEC file and number of the scan: they give rocking angles, motors, exposure.
    dataset
        Path of the frames inside an HDF5 file. None: the usual place in CXI or NeXus.
    rocking
        Rocking angles (deg), or the name of the scanned column or dataset that
        holds them. None: the first column of the SPEC scan, or the angle beside the
        frames in the file; if neither exists, the numbers of the frames.
    energy, distance, pixel_size
        Photon energy (eV), distance of the detector (mm), size of its pixels (um;
        one number or y, x). They replace missing or wrong values in the file.
    motors
        Further motor positions by name (deg).
    origin
        Index (y, x) of the first pixel in the files on the whole detector.
    timezone
        Zone of the clock that wrote the SPEC file. Without it ``time`` is NaT.
    chunks
        Frames per chunk; None takes about 32 MB.

    Returns
    -------
    xarray.DataArray
        ``counts`` on ``(rocking, detector_y, detector_x)``, integers as float32: NaN
        where they are no counts (gaps, bad and saturated pixels). Coordinates: pixel
        indices on the whole detector, ``rocking`` in deg (numbers if no angles are
        known), the motors at the start of the scan under their own names (blanks
        become ``_``), ``energy`` (eV), ``distance`` (mm), ``pixel_size_y`` and
        ``pixel_size_x`` (um) if they are known. Measured columns of the SPEC
        scan are coordinates on ``rocking``.
        ``attrs["rocking_motor"]`` names the motor that moved. Pixels that a CXI file
        flags are in the coordinate ``mask``.

    Raises
    ------
    ArgumentError
        If files, scan or dataset are ambiguous, or the numbers of frames and
        angles differ.
    FileFormatError
        If a file is damaged; damaged pixels raise on computing.

    Warns
    -----
    DataQualityWarning
        If no rocking angles are known.

    Examples
    --------
    >>> import h5py
    >>> import numpy as np
    >>> with h5py.File("rocking.h5", "w") as file:
    ...     file["frames"] = np.random.default_rng(0).poisson(3, (9, 32, 32))
    >>> frames = batteryxr.read_frames(
    ...     "rocking.h5",
    ...     dataset="frames",
    ...     rocking=np.linspace(14.3, 14.5, 9),
    ...     energy=9000,
    ...     distance=1000,
    ...     pixel_size=55,
    ... )
    >>> frames.dims
    ('rocking', 'detector_y', 'detector_x')
    """
    paths = _paths(path)
    scanned: SpecScan | None = None
    if spec is not None:
        with named(Path(spec)):
            scanned = FORMATS["spec"].read(spec, scan)
    if scan is not None and spec is None:
        raise ArgumentError("scan", scan, "None without a SPEC file", "Pass spec=...")
    if is_hdf5(paths[0]):
        if len(paths) > 1:
            raise ArgumentError(
                "path", len(paths), "one HDF5 file", "Read each, then concatenate."
            )
        name = rocking if isinstance(rocking, str) else None
        held = FORMATS["hdf5"].read(
            paths[0], dataset=dataset, rocking=name, chunk=_chunk(chunks)
        )
    else:
        kind = "npy" if paths[0].suffix.lower() == ".npy" else "tiff"
        held = FORMATS[kind].read(paths, chunk=_chunk(chunks))
    angles, motor = _rocking(rocking, scanned, held.rocking, held.data.shape[0])
    numbered = not motor and held.rocking is None and rocking is None
    about = {"units": "1", "long_name": "Number of the frame"}
    about = about if numbered else attributes("rocking")
    _, height, width = held.data.shape
    array = xr.DataArray(
        held.data,
        dims=("rocking", "detector_y", "detector_x"),
        coords={
            "rocking": ("rocking", angles, about),
            "detector_y": _pixels("y", origin[0], height),
            "detector_x": _pixels("x", origin[1], width),
        },
    )
    array = label(array, "counts", units="1", long_name="Counts", flag=FLAG)
    array.attrs |= {
        "rocking_motor": motor or held.rocking_motor,
        "source_files": [paths[0].name, paths[-1].name] if paths[1:] else paths[0].name,
        "title": scanned.command if scanned else "",
        "timezone": timezone or "",
    }
    array = array.assign_coords(_conditions(scanned, timezone))
    held.motors.pop(array.attrs["rocking_motor"], None)
    known = _motors(scanned, held.motors | dict(motors or {}))
    given = {"energy": energy, "distance": distance}
    instrument = held.instrument | {k: v for k, v in given.items() if v is not None}
    if pixel_size is not None:
        pair = np.broadcast_to(np.asarray(pixel_size, float), (2,))
        instrument |= {"pixel_size_y": pair[0], "pixel_size_x": pair[1]}
    array = array.assign_coords(known | _instrument(instrument))
    if held.mask is not None:
        flags = {"units": "1", "long_name": "Pixel flags of the file (0 is good)"}
        pixels = ("detector_y", "detector_x")
        array = array.assign_coords(mask=(pixels, held.mask, flags))
    if numbered:
        warn_quality(
            f"{paths[0].name}: no rocking angles known; frames are numbered instead. "
            "Pass spec= and scan=, or rocking=."
        )
    return array


@checked
def read_image(path: str | os.PathLike[str], *, page: int = 0) -> xr.DataArray:
    """Read one image: a dark, a flat field, a mask, or the map of a scanning probe.

    Reads once.

    Parameters
    ----------
    path
        A TIFF file, a NumPy ``.npy`` file; a Gwyddion simple field (``.gsf``), or a
        channel that Gwyddion wrote as text.
    page
        Number of the page in a TIFF of several, from 0.

    Returns
    -------
    xarray.DataArray
        ``image`` on ``(detector_y, detector_x)`` with pixel indices. Integers become
        float32, NaN where they are no counts. A mask, which holds at most two
        numbers (such as 0 and 1, or 0 and 255), stays as it is. A Gwyddion file gives
        ``map`` on ``(y, x)``, the pixel centres in nm (pixel numbers if the file gives
        no lengths), with the units and title of the file.

    Raises
    ------
    ArgumentError, FileFormatError
        If there is no such file or page, or it is damaged.

    Warns
    -----
    DataQualityWarning
        If some pixels are no counts.

    Examples
    --------
    >>> import numpy as np
    >>> np.save("flat.npy", np.full((32, 32), 900.0))
    >>> batteryxr.read_image("flat.npy").shape
    (32, 32)
    """
    (only,) = _paths(path)[:1]
    if FORMATS["gwyddion"].suffixes[0] == only.suffix.lower() or _is_text_map(only):
        with named(only):
            found: xr.DataArray = FORMATS["gwyddion"].read(only)
        return found
    if only.suffix == ".npy":
        image = npy(only)
    else:
        with tiff(only) as file:
            places = page_places(only, file)
            if not 0 <= page < len(places):
                raise ArgumentError("page", page, f"0 to {len(places) - 1}")
            wanted = page_at(file, places[page])
            check_page(only, wanted)
            image = pixels(only, wanted)
    if image.ndim != 2:
        raise FileFormatError(only, f"an image has 2 axes; found {image.ndim}.")
    if image.dtype.kind == "c":
        raise FileFormatError(only, "holds complex numbers, which no detector counts.")
    if not _is_mask(image):
        image = only_counts(image, only.name)
    array = xr.DataArray(
        image,
        dims=("detector_y", "detector_x"),
        coords={
            "detector_y": _pixels("y", 0, image.shape[0]),
            "detector_x": _pixels("x", 0, image.shape[1]),
        },
    )
    return label(array, "image", units="1", long_name="Counts", flag=FLAG)


def _is_text_map(path: Path) -> bool:
    """Tell whether a file is a channel that Gwyddion wrote as text."""
    return path.suffix.lower() == ".txt" and head(path, 16).startswith(b"# Channel:")


def _is_mask(image: np.ndarray) -> bool:
    """Tell whether an image is a mask: it holds no more than two numbers.

    Images with -1, or the largest number of 16 or 32 bits, are dark images with gaps.
    """
    if image.dtype.kind not in "iub":
        return False
    if image.dtype.kind == "b" or not image.size:
        return True
    low, high = image.min(), image.max()
    gaps = low < 0 or (image.dtype.itemsize > 1 and high >= np.iinfo(image.dtype).max)
    return bool(not gaps and ((image == low) | (image == high)).all())


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in FORMATS["tiff"].suffixes


def _paths(files: Any) -> list[Path]:
    from batteryxr.io.cycler.reader import find
    from batteryxr.io.series.labels import natural

    items = files if isinstance(files, list | tuple) else [files]
    paths: list[Path] = []
    for item in items:
        folder = Path(item).expanduser()
        if os.path.isdir(folder):
            inside = sorted(files_in(folder, _is_tiff), key=natural)
            if not inside:
                raise ArgumentError("path", str(folder), "a folder with TIFF files")
            paths += inside
        else:
            paths += find(item)
    if not paths:
        raise ArgumentError("path", files, "at least one path")
    return paths


def _chunk(n: int | None) -> Any:
    """Return a function of (frame bytes, frames) that gives frames per chunk."""

    def size(nbytes: int, frames: int) -> int:
        return min(frames, n or max(1, _CHUNK // max(nbytes, 1)))

    return size


def _rocking(
    rocking: Any, scan: SpecScan | None, held: np.ndarray | None, n: int
) -> tuple[np.ndarray, str]:
    """Return the angles, and the name of the motor if SPEC gives it."""
    motor = ""
    if isinstance(rocking, str) and scan is not None:
        if rocking not in scan.columns:
            known = f"a column of scan {scan.number}: {list(scan.columns)}"
            raise ArgumentError("rocking", rocking, known)
        angles, motor = scan.columns[rocking], rocking
    elif rocking is not None and not isinstance(rocking, str):
        angles = np.asarray(rocking, dtype=float)
        bounds.check("angle", angles, argument="rocking")
    elif scan is not None and scan.columns:
        motor, angles = next(iter(scan.columns.items()))
    elif held is not None:
        angles = held
    else:
        angles = np.arange(n, dtype=float)
    if angles.shape != (n,):
        raise ArgumentError(
            "rocking",
            f"{angles.size} angles",
            f"one for each of the {n} frames",
            "The scan was stopped early, or files of several scans lie together: "
            "pass a pattern that names the files of one scan.",
        )
    return angles, motor


def _pixels(axis: str, first: int, n: int) -> tuple[str, np.ndarray, dict[str, Any]]:
    long_name = f"Detector {'row' if axis == 'y' else 'column'}"
    index = np.arange(first, first + n)
    return f"detector_{axis}", index, {"units": "1", "long_name": long_name}


def _conditions(scan: SpecScan | None, timezone: str | None) -> dict[str, Any]:
    """Return start, exposure and measured columns of a SPEC scan."""
    where = clock.zone(timezone)
    if scan is None:
        return {}
    moment = np.datetime64(clock.stamp(scan.start, where), "ns")
    coords: dict[str, Any] = {"time": ((), moment, {"long_name": "Start of the scan"})}
    for name, values in list(scan.columns.items())[1:]:
        if name == "Seconds":
            if np.all(values == values[0]):
                coords["exposure"] = ((), float(values[0]), attributes("exposure"))
            else:
                coords["exposure"] = ("rocking", values, attributes("exposure"))
        else:
            attrs = {"units": "1", "long_name": name}
            coords[_clean(name)] = ("rocking", values, attrs)
    return coords


def _motors(
    scan: SpecScan | None, motors: Mapping[str, float] | None
) -> dict[str, Any]:
    taken = {_clean(c) for c in scan.columns} if scan else set()
    known = dict(scan.motors if scan else {}) | dict(motors or {})
    coords = {}
    for name, value in known.items():
        clean = _clean(name)
        # A motor named like a measured column gets a prefix, so that both are kept.
        # The scanned motor needs none: its column is the rocking axis.
        if clean in taken and scan and name != next(iter(scan.columns), None):
            clean = f"motor_{clean}"
        attrs = {"units": "1", "long_name": f"Motor {name}"}
        coords[clean] = ((), float(value), attrs)
    return coords


def _clean(name: str) -> str:
    clean = name.strip().replace(" ", "_").replace("/", "_")
    return f"motor_{clean}" if clean.lower() in _RESERVED else clean


def _instrument(values: Mapping[str, float]) -> dict[str, Any]:
    named = {
        "energy": ("eV", "Photon energy"),
        "distance": ("mm", "Distance of the detector"),
        "pixel_size_y": ("um", "Height of a pixel"),
        "pixel_size_x": ("um", "Width of a pixel"),
    }
    coords = {}
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ArgumentError(name, value, f"a number > 0 in {named[name][0]}")
        units, long_name = named[name]
        coords[name] = ((), float(value), {"units": units, "long_name": long_name})
    return coords
