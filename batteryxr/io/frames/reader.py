"""Read detector frames of a rocking curve as a lazy array."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.io import clock
from batteryxr.io.door.counts import FLAG
from batteryxr.io.door.files import named
from batteryxr.io.door.folders import files_in
from batteryxr.io.formats import Format
from batteryxr.io.frames.hdf5 import SUFFIXES, is_hdf5

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from batteryxr.core.bounds.kinds import DetectorPixel, Distance, PhotonEnergy
    from batteryxr.core.checks import Count
    from batteryxr.io.frames.hdf5 import Held
    from batteryxr.io.frames.spec import SpecScan

#: Formats of frames, and of files beside them, by name.
FORMATS = {
    "tiff": Format("frames.tiff", (".tif", ".tiff"), function="open_tiff"),
    "hdf5": Format("frames.hdf5", SUFFIXES, function="open_hdf5"),
    "edf": Format("frames.edf", (".edf", ".edf.gz"), function="open_edf"),
    "npy": Format("frames.npy", (".npy",), function="open_npy"),
    "npz": Format("frames.npy", (".npz",), function="open_npz"),
    "spec": Format("frames.spec", function="read_spec"),
    "fio": Format("frames.spec", (".fio",), function="read_fio"),
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
        A folder of TIFF or EDF files (also ``.edf.gz``), a pattern, a list, one TIFF or
        EDF of many frames, one HDF5, NeXus or CXI file (for an Eiger the master file,
        whose ``data_000001`` ... are joined), or an array of three axes in ``.npy`` or
        ``.npz``.
    spec, scan
        SPEC file and number of the scan, or a ``.fio`` file of PETRA III: they give
        rocking angles, motors, exposure. HDF5 files of BLISS (ID01, ID27), NanoMAX,
        I16, SIXS and CRISTAL tell these themselves; there `scan` is the number of the
        scan, where a file has several.
    dataset
        Path of the frames inside an HDF5 file, or name of the array in ``.npz``. None:
        the usual place in CXI or NeXus, or the only array of three axes.
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
    paths = paths_of(path)
    scanned = None if spec is None else _scan_of(spec, scan)
    held = _held(
        paths,
        {
            "dataset": dataset,
            "rocking": rocking if isinstance(rocking, str) else None,
            "scan": scan if spec is None else None,
            "chunk": _chunk(chunks),
        },
    )
    angles, motor = _rocking(rocking, scanned, held)
    numbered = not motor and held.rocking is None and rocking is None
    about = {"units": "1", "long_name": "Number of the frame"}
    about = about if numbered else attributes("rocking")
    _, height, width = held.data.shape
    array = xr.DataArray(
        held.data,
        dims=("rocking", "detector_y", "detector_x"),
        coords={
            "rocking": ("rocking", angles, about),
            "detector_y": pixel_axis("y", origin[0], height),
            "detector_x": pixel_axis("x", origin[1], width),
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
    columns = {k: v for k, v in held.columns.items() if k != motor}
    array = array.assign_coords(_columns(columns))
    for moved in (array.attrs["rocking_motor"], *columns):
        held.motors.pop(moved, None)
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
    return bounds.told(array)


def _scan_of(spec: str | os.PathLike[str], scan: int | str | None) -> SpecScan:
    """Read what a SPEC or .fio file tells of a scan."""
    path = Path(spec)
    with named(path):
        if path.suffix.lower() == ".fio":
            return FORMATS["fio"].read(path)
        return FORMATS["spec"].read(path, scan)


def _held(paths: list[Path], options: dict[str, Any]) -> Held:
    """Open the frames with the options that their format takes."""
    if is_hdf5(paths[0]):
        if len(paths) > 1:
            told = "one HDF5 file"
            raise ArgumentError(
                "path", len(paths), told, "Read each, then concatenate."
            )
        return FORMATS["hdf5"].read(paths[0], **options)
    if options["scan"] is not None:
        told = "None without a SPEC or HDF5 file"
        raise ArgumentError("scan", options["scan"], told, "Pass spec=...")
    kind = _kind(paths[0])
    takes = ("dataset", "chunk") if kind == "npz" else ("chunk",)
    taken = {name: options[name] for name in takes}
    return FORMATS[kind].read(paths, **taken)


def _kind(path: Path) -> str:
    """Return the format of frames that a file's name tells; else TIFF."""
    name = path.name.lower()
    kinds = ("edf", "npy", "npz")
    return next((k for k in kinds if name.endswith(FORMATS[k].suffixes)), "tiff")


def _is_frame(path: Path) -> bool:
    kind = _kind(path)
    return kind == "edf" or path.suffix.lower() in FORMATS["tiff"].suffixes


def paths_of(files: Any) -> list[Path]:
    """Return the files of a folder, a pattern, a name, or a list of them."""
    from batteryxr.io.cycler.reader import find
    from batteryxr.io.series.labels import natural

    items = files if isinstance(files, list | tuple) else [files]
    paths: list[Path] = []
    for item in items:
        folder = Path(item).expanduser()
        if os.path.isdir(folder):
            inside = sorted(files_in(folder, _is_frame), key=natural)
            if not inside:
                raise ArgumentError(
                    "path", str(folder), "a folder with TIFF or EDF files"
                )
            paths += inside
        else:
            paths += find(item)
    if not paths:
        raise ArgumentError("path", files, "at least one path")
    if len(kinds := {_kind(path) for path in paths}) > 1:
        told = f"files of one format, not of {sorted(kinds)}"
        raise ArgumentError("path", files, told, "Pass a pattern, such as '*.edf.gz'.")
    return paths


def _chunk(n: int | None) -> Any:
    """Return a function of (frame bytes, frames) that gives frames per chunk."""

    def size(nbytes: int, frames: int) -> int:
        return min(frames, n or max(1, _CHUNK // max(nbytes, 1)))

    return size


def _rocking(rocking: Any, scan: SpecScan | None, held: Held) -> tuple[np.ndarray, str]:
    """Return the angles, and the name of the motor if SPEC gives it."""
    shape = held.data.shape
    n, motor = shape[0], ""
    if isinstance(rocking, str):
        motor = rocking.rsplit("/", 1)[-1]
        moved = dict(held.columns if scan is None else scan.columns)
        if scan is None and held.rocking is not None:
            moved[held.rocking_motor] = held.rocking
        where = "the files" if scan is None else f"scan {scan.number}"
        if motor not in moved:
            known = f"a column of {where}: {list(moved)}"
            raise ArgumentError("rocking", rocking, known)
        angles = moved[motor]
    elif rocking is not None:
        angles = np.asarray(rocking, dtype=float)
        bounds.check("angle", angles, argument="rocking")
    elif scan is not None and scan.columns:
        motor, angles = next(iter(scan.columns.items()))
    elif held.rocking is not None:
        angles = held.rocking
    else:
        angles = np.arange(n, dtype=float)
    if angles.shape != (n,):
        if angles.size in shape[1:]:
            told = f"one for each of the {n} frames, which lie along the first axis"
            axis = shape.index(angles.size)
            mend = (
                f"Those of the file lie along axis {axis}: np.moveaxis(a, {axis}, 0)."
            )
            raise ArgumentError("rocking", f"{angles.size} angles", told, mend)
        raise ArgumentError(
            "rocking",
            f"{angles.size} angles",
            f"one for each of the {n} frames",
            "The scan was stopped early, or files of several scans lie together: "
            "pass a pattern that names the files of one scan.",
        )
    return angles, motor


def pixel_axis(axis: str, first: int, n: int) -> tuple[str, np.ndarray, dict[str, Any]]:
    """Return the coordinate of a detector's axis, of `n` pixels from `first` on."""
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
            coords |= _columns({name: values})
    return coords


def _columns(columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return measured columns as coordinates on the frames."""
    return {
        _clean(name): ("rocking", values, {"units": "1", "long_name": name})
        for name, values in columns.items()
    }


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
