"""Read and write ptychography in HDF5: CXI and NXcxi_ptycho."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks, bounds
from batteryxr.core.checks import checked
from batteryxr.core.errors import FileFormatError
from batteryxr.core.files import whole_hdf5
from batteryxr.core.model import attributes
from batteryxr.core.optional import require
from batteryxr.core.provenance import recorded
from batteryxr.core.xray import HC
from batteryxr.io.door.chunks import grows
from batteryxr.io.door.counts import FLAG
from batteryxr.io.door.datasets import frames_of, gaps, paired, read_all
from batteryxr.io.door.hdf5 import attribute, opened, text
from batteryxr.io.frames.hdf5 import factor_of

if TYPE_CHECKING:
    import h5py

_JOULE = 1.602176634e-19  # per eV
#: Frames per chunk of a file that is stored in one piece.
_CHUNK = 64
#: Places of the photon energy. The source is the last, since its energy is that of
#: the photons in CXI, but that of the machine in NeXus.
_ENERGIES = (
    "instrument_1/beam_1/incident_beam_energy",
    "instrument_1/beam_1/energy",
    "beam_1/energy",
    "sample_1/beam_1/incident_energy",
    "instrument_1/source_1/energy",
)
#: Larger photon energies (eV) belong to the machine.
_PHOTONS = 1e6


@recorded
def read_cxi(path: str | Path, *, dataset: str = "entry_1") -> xr.Dataset:
    """Read a ptychographic scan from a CXI or NXcxi_ptycho file.

    Lazy: frames stay in the file until they are needed.

    Parameters
    ----------
    path
        The file.
    dataset
        Name of the group that holds the scan.

    Returns
    -------
    xarray.Dataset
        `frames` (position, detector_y, detector_x), `mask` (True at bad pixels) and
        `probe` if the file has them; coordinates `position_y`,
        `position_x` (nm), `energy` (eV), `distance` (mm), `pixel_pitch` (µm). It is a
        scan for `cdi.ptycho`; add a probe first if the file has none.

    Raises
    ------
    FileFormatError
        If the file lacks something that a reconstruction needs.
    MissingDependencyError
        If h5py is not installed.

    Notes
    -----
    `read_ptychography` reads other layouts.
    Translations in CXI are those of the sample: the beam position is their negative,
    in y as in x. If `basis_vectors` say that detector axes run against those of the
    laboratory, positions are turned accordingly.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> path = batteryxr.write_cxi(scan.isel(energy=0), "scan.cxi")
    >>> batteryxr.read_cxi(path)["frames"].sizes["position"]
    25
    """
    path = Path(path)
    with opened(path) as file:
        group = _group(file, path, dataset)
        data = _found(group, path, "frames", "data_1/data", *_detector("data"))
        if len(data.shape) != 3:
            told = f"{data.name} is {data.shape}, not (frame, y, x)"
            raise FileFormatError(path, told)
        source = frames_of(path, data, counts=True)
        shape = source.shape
        missing = gaps(source)
        chunks = (data.chunks or (_CHUNK,))[0]
        detector = group["instrument_1/detector_1"]
        coords = _coordinates(group, detector, path, shape[0])
        extra = _extras(group, detector, missing)
    frames = blocks.from_source(
        source, (max(chunks, _CHUNK), *shape[1:]), asarray=False
    )[: len(coords["position_y"][1])]
    counts = attributes("frames", units="1", long_name="Counts", flag=FLAG)
    dims = ("position", "detector_y", "detector_x")
    scan = xr.Dataset({"frames": (dims, frames, counts), **extra}, coords=coords)
    scan.attrs["source_files"] = [path.name]
    return judged(scan)


def judged(scan: xr.Dataset) -> xr.Dataset:
    """Tell of numbers of a file that are unlikely, and of its positions."""
    places = [scan[f"position_{axis}"].values for axis in "yx"]
    known = [p[np.isfinite(p)] for p in places]
    span = max(float(np.ptp(p)) if p.size else 0.0 for p in known) or None
    name = "span of position_y, position_x"
    bounds.check("span of positions", span, argument=name, data=True)
    return bounds.told(scan)


def _detector(name: str) -> tuple[str, ...]:
    return (f"instrument_1/detector_1/{name}",)


def _group(file: h5py.Group, path: Path, dataset: str) -> h5py.Group:
    if dataset not in file:
        raise FileFormatError(
            path,
            f"no group {dataset!r}; it holds {sorted(file)[:12]}. Pass dataset=...",
        )
    return file[dataset]


def _found(group: h5py.Group, path: Path, what: str, *names: str) -> h5py.Dataset:
    for name in names:
        if name in group:
            return group[name]
    raise FileFormatError(path, f"no {what}: looked for {', '.join(names)}")


def _lengths(path: Path, item: h5py.Dataset) -> np.ndarray:
    """Return lengths in m, as which they count if the file tells no units."""
    factor = factor_of(path, item, "m", "m")
    return np.asarray(read_all(item), dtype=float) * factor


def _coordinates(
    group: h5py.Group, detector: h5py.Group, path: Path, n: int
) -> dict[str, Any]:
    energy = _energy(group, path)
    far = _found(detector, path, "detector distance", "distance", "corner_position")
    distance = abs(_lengths(path, far).flat[-1])
    pitch, rows = (
        float(_lengths(path, _found(detector, path, "pixel size", name)).flat[0])
        for name in ("x_pixel_size", "y_pixel_size")
    )
    if not np.isclose(pitch, rows):
        raise FileFormatError(path, f"pixels of {pitch} x {rows} m are not square")
    translations = _found(
        group, path, "translations",
        "sample_1/geometry_1/translation", "data_1/translation",
        "instrument_1/detector_1/translation", "sample_1/transformations/translation",
    )  # fmt: skip
    moves = _lengths(path, translations)
    if grows(translations):
        n = paired(path, translations, n)
        moves = moves[:n]
    if moves.ndim != 2 or len(moves) != n or moves.shape[1] < 2:
        raise FileFormatError(path, f"translations are {moves.shape} for {n} frames")
    along_y, along_x = _axes(detector)
    where = -np.pad(moves[:, :3], ((0, 0), (0, 3 - min(moves.shape[1], 3)))) * 1e9
    return {
        "position_y": ("position", where @ along_y, attributes("position_y")),
        "position_x": ("position", where @ along_x, attributes("position_x")),
        "energy": ((), energy, attributes("energy")),
        "distance": (
            (),
            distance * 1e3,
            {"units": "mm", "long_name": "Sample to detector"},
        ),
        "pixel_pitch": (
            (),
            pitch * 1e6,
            {"units": "um", "long_name": "Detector pixel"},
        ),
    }


def _axes(detector: h5py.Group) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors along which detector rows and columns count up."""
    if "basis_vectors" not in detector:
        return np.array([0.0, -1.0, 0.0]), np.array([-1.0, 0.0, 0.0])
    basis = np.asarray(read_all(detector["basis_vectors"]), float)
    basis = basis if basis.shape == (3, 2) else basis.T
    unit = basis / np.linalg.norm(basis, axis=0)
    return unit[:, 0], unit[:, 1]


def _energy(group: h5py.Group, path: Path) -> float:
    """Return the photon energy in eV; if units are missing, its size decides."""
    for name in _ENERGIES:
        if name in group:
            value = float(np.ravel(read_all(group[name]))[0])
            units = text(attribute(group[name], "units")).lower()
            scale = {"ev": 1.0, "kev": 1e3, "j": 1 / _JOULE}.get(units)
            if scale is None:  # one joule is no photon energy
                scale = 1.0 if value > 1.0 else 1 / _JOULE
            if 0 < value * scale < _PHOTONS:
                return value * scale
    name = "instrument_1/source_1/wavelength"
    if name in group:
        return HC / float(_lengths(path, group[name]).flat[0])
    raise FileFormatError(path, f"no photon energy: looked for {', '.join(_ENERGIES)}")


def _extras(
    group: h5py.Group, detector: h5py.Group, gaps: np.ndarray
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "mask" in detector or gaps.any():
        bad = gaps
        if "mask" in detector:
            bad = bad | (np.asarray(read_all(detector["mask"])) != 0)
        named = attributes("mask", units="1", long_name="Bad pixels")
        found["mask"] = (("detector_y", "detector_x"), bad, named)
    for name in ("instrument_1/source_1/illumination", "instrument_1/source_1/probe"):
        if name in group:
            modes = np.asarray(read_all(group[name]))
            modes = modes[None] if modes.ndim == 2 else modes
            named = attributes("probe", units="1", long_name="Probe")
            dims = ("probe_mode", "probe_y", "probe_x")
            found["probe"] = (dims, modes.astype(np.complex64), named)
            break
    return found


@checked
def write_cxi(scan: xr.Dataset, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a ptychographic scan of one energy as CXI that is also NXcxi_ptycho.

    Reads once, a block at a time.

    Parameters
    ----------
    scan
        Scan as from `read_cxi` or `cdi.ptycho_scan`.
    path
        File to write.
    overwrite
        Replace an existing file.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileFormatError
        If the scan has several energies.
    StoreError
        If the file exists and `overwrite` is False, or it cannot be written.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> batteryxr.write_cxi(scan.isel(energy=0), "scan.cxi").name
    'scan.cxi'
    """
    require("h5py", extra="io", purpose="writing CXI files")
    path = Path(path)
    if "energy" in scan["frames"].dims:
        raise FileFormatError(path, "CXI holds one energy: .isel(energy=0) first")
    with whole_hdf5(path, overwrite=overwrite) as file:
        file["cxi_version"] = 160
        entry = _nexus(file, "entry_1", "NXentry")
        entry["definition"] = "NXcxi_ptycho"
        _write_instrument(entry, scan)
        _write_frames(entry, scan)
    return path


def _nexus(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _quantity(group: h5py.Group, name: str, value: Any, units: str) -> None:
    group[name] = value
    group[name].attrs["units"] = units


def _write_instrument(entry: h5py.Group, scan: xr.Dataset) -> None:
    joule = float(scan["energy"]) * _JOULE
    instrument = _nexus(entry, "instrument_1", "NXinstrument")
    source = _nexus(instrument, "source_1", "NXsource")
    _quantity(source, "energy", joule, "J")
    _quantity(source, "wavelength", HC / float(scan["energy"]), "m")
    if "probe" in scan:
        source["illumination"] = scan["probe"].values
    beam = _nexus(instrument, "beam_1", "NXbeam")
    _quantity(beam, "incident_beam_energy", joule, "J")
    beam_1 = _nexus(entry, "beam_1", "NXbeam")
    _quantity(beam_1, "energy", joule, "J")
    detector = _nexus(instrument, "detector_1", "NXdetector")
    pitch = float(scan["pixel_pitch"]) * 1e-6
    _quantity(detector, "distance", float(scan["distance"]) * 1e-3, "m")
    _quantity(detector, "x_pixel_size", pitch, "m")
    _quantity(detector, "y_pixel_size", pitch, "m")
    basis = np.array([[0.0, -pitch], [-pitch, 0.0], [0.0, 0.0]])
    detector["basis_vectors"] = basis
    if "mask" in scan:
        detector["mask"] = scan["mask"].values.astype(np.uint32)
    # The sample moves against the beam, and detector axes against the laboratory's.
    moves = np.zeros((scan.sizes["position"], 3))
    moves[:, 1] = scan["position_y"].values * 1e-9
    moves[:, 0] = scan["position_x"].values * 1e-9
    _quantity(detector, "translation", moves, "m")
    sample = _nexus(entry, "sample_1", "NXsample")
    place = _nexus(sample, "geometry_1", "NXgeometry")
    place["translation"] = detector["translation"]


def _write_frames(entry: h5py.Group, scan: xr.Dataset) -> None:
    frames = scan["frames"].transpose("position", "detector_y", "detector_x")
    detector = entry["instrument_1/detector_1"]
    chunk = (min(_CHUNK, frames.shape[0]), *frames.shape[1:])
    stored = detector.create_dataset(
        "data",
        frames.shape,
        frames.dtype,
        chunks=chunk,
        compression="lzf",
        shuffle=True,
    )
    for start in range(0, frames.shape[0], _CHUNK):
        part = slice(start, start + _CHUNK)
        stored[part] = frames.isel(position=part).values
    data = _nexus(entry, "data_1", "NXdata")
    data.attrs["signal"] = "data"
    data["data"] = stored
    data["translation"] = detector["translation"]
