"""Ptychographic scans in the HDF5 files of beamlines: found by a table of layouts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.core.units import affine
from batteryxr.core.xray import HC
from batteryxr.io.cxi import read_cxi
from batteryxr.io.hdf5_frames import FileFrames, opened, text
from batteryxr.io.ptychography_layouts import (
    ARRAYS,
    LAYOUTS,
    QUANTITIES,
    Layout,
    datasets,
    matching,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Source = str | os.PathLike[str]

_JOULE = 1.602176634e-19  # per eV
_DIMS = ("position", "detector_y", "detector_x")
#: Frames per chunk of a file that is stored in one piece, and the fewest at a time.
_CHUNK = 64


@recorded
def read_ptychography(
    path: Source | Sequence[Source],
    *,
    layout: str | Mapping[str, str | tuple[str, str]] | None = None,
    position_y: npt.ArrayLike | None = None,
    position_x: npt.ArrayLike | None = None,
    positions_from: Source | None = None,
    energy: float | None = None,
    distance: float | None = None,
    pixel_pitch: float | None = None,
    centre: tuple[float, float] | None = None,
    size: int | None = None,
    signs: tuple[int, int] | None = None,
) -> xr.Dataset:
    """Open a ptychographic scan of any beamline, or one scan per energy.

    Lazy: frames stay in the file until they are needed.

    Parameters
    ----------
    path
        An HDF5 file; or several, one per energy, which become one stack.
    layout
        Name of a known layout: ``"cxi"`` or one of `ptychography_layouts.LAYOUTS`. None
        tries them. Or where a file of your own keeps what:
        ``{"frames": "scan/eiger", "x": ("scan/piezo_x", "um"), ...}``, with the keys
        ``frames``, ``y`` and ``x`` (or ``positions``, columns x and y), ``energy`` (or
        ``wavelength``), ``distance``, ``pixel_pitch``, ``mask``, ``probe``; units where
        the file names none.
    position_y, position_x
        Where the beam hits, nm, instead of what the file tells.
    positions_from
        Another file that holds the positions, in the same layout.
    energy, distance, pixel_pitch
        In eV, mm and µm, instead of what the file tells.
    centre, size
        Row and column of the direct beam, and the side of the square to cut out round
        it. Without `size` whole frames are returned.
    signs
        Factors of positions y and x: -1 where the sample is what moves, or a motor
        runs against the detector's rows or columns. None: as usual for the layout.

    Returns
    -------
    xarray.Dataset
        `frames` (position, detector_y, detector_x), or with `energy` first; `mask`
        (True at bad pixels) and `probe` where the file has them; `position_y`,
        `position_x` (nm), `energy` (eV), `distance` (mm), `pixel_pitch` (µm). What
        `cdi.ptycho` takes, once it has a probe.

    Raises
    ------
    FileFormatError
        If something is missing or has no units: tells what the file holds instead.
    ArgumentError
        If there is no such layout, or sizes do not fit.

    Examples
    --------
    >>> scan = read_ptychography("scan_000123.h5", centre=(512, 514), size=256)
    >>> stack = read_ptychography(sorted(folder.glob("*.h5")), distance=2000)
    """
    told = {"energy": energy, "distance": distance, "pixel_pitch": pixel_pitch}
    at = {"position_y": position_y, "position_x": position_x}
    if isinstance(path, (list, tuple)):
        if not path:
            raise ArgumentError("path", path, "at least one file")
        each = [
            _read(Path(p), layout, at, positions_from, told, centre, size, signs)
            for p in path
        ]
        return _stacked(each)
    one = Path(path)  # type: ignore[arg-type]
    return _read(one, layout, at, positions_from, told, centre, size, signs)


def _read(
    path: Path,
    layout: str | Mapping[str, Any] | None,
    at: dict[str, Any],
    positions_from: Source | None,
    told: dict[str, float | None],
    centre: tuple[float, float] | None,
    size: int | None,
    signs: tuple[int, int] | None,
) -> xr.Dataset:
    with opened(path) as file:
        held = datasets(file)
        name = _recognised(held) if layout is None else layout
        if name == "cxi":
            scan = _adjusted(read_cxi(path), at, told, signs)
        else:
            found = _Found(path, held, _layout(name, held))
            frames, shape = found.frames()
            if positions_from is not None:
                with opened(Path(positions_from)) as other:
                    places = _Found(Path(positions_from), datasets(other), found.layout)
                    where = places.positions(shape[:-2], at)
            else:
                where = found.positions(shape[:-2], at)
            scan = found.scan(frames, where, told, signs)
            centre = centre or found.centre()
    return _cut(scan, centre, size)


def _recognised(held: Mapping[str, Any]) -> str:
    """Return the layout of which a file holds most; CXI by its fixed names."""
    cxi = ("entry_1/instrument_1/detector_1/distance", "entry_1/data_1/data")
    moves = [p for p in held if p.startswith("entry_1") and p.endswith("/translation")]
    if all(p in held for p in cxi) and moves and len(held[cxi[1]].shape) == 3:
        return "cxi"
    scores = {
        name: sum(_first(held, patterns) is not None for patterns in one.paths.values())
        for name, one in LAYOUTS.items()
        if _first(held, one.paths["frames"], axes=(3, 4))
    }
    return max(scores, key=lambda name: scores[name]) if scores else "nexus"


def _layout(name: str | Mapping[str, Any], held: Mapping[str, Any]) -> Layout:
    if isinstance(name, str):
        if name not in LAYOUTS:
            raise ArgumentError("layout", name, f"one of {['cxi', *LAYOUTS]}")
        return LAYOUTS[name]
    known = {*QUANTITIES, *ARRAYS}
    if unknown := name.keys() - known:
        raise ArgumentError("layout", min(unknown), f"keys among {sorted(known)}")
    pairs = {k: (v, "") if isinstance(v, str) else tuple(v) for k, v in name.items()}
    for key, (place, _) in pairs.items():
        if not matching(held, place):
            raise ArgumentError(f"layout[{key!r}]", place, f"one of {_listed(held)}")
    paths = {key: (place,) for key, (place, _) in pairs.items()}
    own = dict.fromkeys(QUANTITIES, "?")  # nothing is assumed of a user's file
    units = own | {key: unit for key, (_, unit) in pairs.items() if unit}
    return Layout("yours", paths, units)


def _first(
    held: Mapping[str, Any],
    patterns: tuple[str, ...],
    axes: tuple[int, ...] | None = None,
    size: tuple[int, ...] | None = None,
) -> str | None:
    for pattern in patterns:
        for path in matching(held, pattern):
            item = held[path]
            if item.dtype.kind not in "iufcb":
                continue
            fits = axes is None or len(item.shape) in axes
            if fits and (size is None or item.size in size):
                return path
    return None


class _Found:
    """What a layout finds in a file."""

    def __init__(self, path: Path, held: Mapping[str, Any], layout: Layout) -> None:
        self.path, self.held, self.layout = path, held, layout

    def frames(self) -> tuple[Any, tuple[int, ...]]:
        """Return lazy frames (position, y, x), and the shape as it is stored."""
        import dask.array as da

        patterns = self.layout.paths.get("frames", ())
        name = _first(self.held, patterns, axes=(3, 4))
        if name is None:
            raise FileFormatError(
                self.path,
                f"no frames at {self._looked('frames')}. Datasets of 3 or more axes: "
                f"{_listed(self.held, 3)}. Tell where they are with "
                "layout={'frames': path, ...}.",
            )
        pattern = next(p for p in patterns if name in matching(self.held, p))
        names = [
            n
            for n in matching(self.held, pattern)
            if self.held[n].shape[1:] == self.held[name].shape[1:]
        ]
        parts = [self._lazy(n) for n in names]
        shape = self.held[name].shape
        if len(shape) == 3:
            shape = (sum(len(p) for p in parts), *shape[1:])
        return da.concatenate(parts) if len(parts) > 1 else parts[0], shape

    def _lazy(self, name: str) -> Any:
        import dask.array as da

        item = self.held[name]
        shape = item.shape
        stored = (item.chunks or (1,))[0]
        wanted = _CHUNK if len(shape) == 3 else max(1, _CHUNK // shape[1])
        step = min(shape[0], max(stored, -(-wanted // stored) * stored))
        stamp = self.path.stat().st_mtime_ns
        lazy = da.from_array(
            FileFrames(self.path, name, shape, item.dtype),
            chunks=(step, *shape[1:]),
            name=f"ptychography-{self.path}-{stamp}-{name}",
            asarray=False,
        )
        return lazy if len(shape) == 3 else lazy.reshape(-1, *shape[2:])

    def quantity(self, name: str, size: tuple[int, ...] | None = None) -> Any:
        """Return values in our units, or None where the file has none."""
        path = _first(self.held, self.layout.paths.get(name, ()), size=size)
        if path is None:
            return None
        item = self.held[path]
        theirs, ours = QUANTITIES[name]
        units = text(item.attrs.get("units", "")).strip()
        units = units or self.layout.units.get(name, theirs)
        if units == "?":
            raise FileFormatError(
                self.path,
                f"{path} names no units: pass layout={{{name!r}: ({path!r}, 'um')}}, "
                "with the right ones.",
            )
        values = np.asarray(item[()], float)
        if ours == "1":
            return values
        if units == "J":
            return values / _JOULE
        try:
            return values * affine(units, ours)[0]
        except ValueError as error:
            raise FileFormatError(self.path, f"{path}: {error}") from error

    def positions(self, scan: tuple[int, ...], at: dict[str, Any]) -> np.ndarray | None:
        """Return where the beam hits (2, n) in nm; None where nothing tells."""
        n = math.prod(scan)
        sizes = (n, *scan) if len(scan) == 2 else (n,)
        given = [v for v in at.values() if v is not None]
        if len(given) == 1:
            raise ArgumentError("position_y, position_x", "one of them", "both")
        if given:
            return np.stack([_checked(k, v, n) for k, v in at.items()])
        both = [self.quantity(axis, sizes) for axis in "yx"]
        if both[0] is not None and both[1] is not None:
            y, x = (np.ravel(v) for v in both)
            if len(scan) == 2 and (y.size, x.size) == scan:
                y, x = (v.ravel() for v in np.meshgrid(y, x, indexing="ij"))
            if y.size == x.size == n:
                return np.stack([y, x])
        columns = self.quantity("positions")
        if columns is not None and columns.ndim == 2:
            columns = columns if len(columns) == n else columns.T
            if len(columns) == n:
                order = [self.layout.columns.index(axis) for axis in "yx"]
                return columns[:, order].T
        return None

    def scan(
        self,
        frames: Any,
        where: np.ndarray | None,
        told: dict[str, float | None],
        signs: tuple[int, int] | None,
    ) -> xr.Dataset:
        """Return the scan."""
        n = frames.shape[0]
        if where is None:
            raise FileFormatError(
                self.path,
                f"no positions for {n} frames: looked at {self._looked('y', 'x')}. "
                f"Datasets of that length: {_listed(self.held, 0, n)}. Tell which with "
                "layout={'x': path, 'y': path, ...}, the file that holds them with "
                "positions_from=..., or pass position_y and position_x.",
            )
        factors = np.array(signs or self.layout.signs, float)[:, None]
        y, x = where * factors
        found = {name: self._geometry(name, value) for name, value in told.items()}
        coords: dict[str, Any] = {
            "position_y": ("position", y, attributes("position_y")),
            "position_x": ("position", x, attributes("position_x")),
            **_labels(found),
        }
        counts = attributes("frames", units="1", long_name="Counts")
        variables: dict[str, Any] = {"frames": (_DIMS, frames, counts)}
        mask = _first(self.held, self.layout.paths.get("mask", ()), axes=(2,))
        if mask is not None and self.held[mask].shape == frames.shape[1:]:
            bad = np.asarray(self.held[mask][()]) != 0
            named = attributes("mask", units="1", long_name="Bad pixels")
            variables["mask"] = (_DIMS[1:], bad, named)
        probe = _first(self.held, self.layout.paths.get("probe", ()), axes=(2, 3))
        if probe is not None:
            modes = np.asarray(self.held[probe][()], np.complex64)
            modes = modes[None] if modes.ndim == 2 else modes
            dims = ("probe_mode", "probe_y", "probe_x")
            named = attributes("probe", units="1", long_name="Probe")
            variables["probe"] = (dims, modes, named)
        scan = xr.Dataset(variables, coords=coords)
        scan.attrs["source_files"] = [self.path.name]
        return scan

    def _geometry(self, name: str, value: float | None) -> float:
        found = None if value is not None else self.quantity(name)
        if value is None and found is None and name == "energy":
            wavelength = self.quantity("wavelength")
            found = None if wavelength is None else HC / wavelength
        if value is None and found is None:
            near = [p for p in self.held if name.split("_")[-1][:6] in p.lower()]
            raise FileFormatError(
                self.path,
                f"no {name}: looked at {self._looked(name)}. Pass {name}=..., or say "
                f"where it is with layout={{{name!r}: path, ...}}"
                + (f"; perhaps {near[:6]}." if near else "."),
            )
        number = float(np.ravel(found)[0] if value is None else value)  # type: ignore[arg-type]
        if not (np.isfinite(number) and number > 0):
            raise FileFormatError(
                self.path, f"{name} is {number}; pass {name}=... instead."
            )
        return number

    def centre(self) -> tuple[float, float] | None:
        """Return row and column of the direct beam, where the file tells."""
        both = [self.quantity(f"centre_{axis}") for axis in "yx"]
        if both[0] is None or both[1] is None:
            return None
        y, x = (float(np.ravel(v)[0]) for v in both)
        return (y, x) if y > 0 and x > 0 else None

    def _looked(self, *names: str) -> str:
        return ", ".join(p for n in names for p in self.layout.paths.get(n, ())) or "-"


def _labels(geometry: Mapping[str, float]) -> dict[str, Any]:
    return {
        "energy": ((), geometry["energy"], attributes("energy")),
        "distance": (
            *((), geometry["distance"]),
            {"units": "mm", "long_name": "Sample to detector"},
        ),
        "pixel_pitch": (
            *((), geometry["pixel_pitch"]),
            {"units": "um", "long_name": "Detector pixel"},
        ),
    }


def _checked(name: str, values: Any, n: int) -> np.ndarray:
    found = np.asarray(values, float)
    if found.shape != (n,):
        raise ArgumentError(name, found.shape, f"one per frame, ({n},)")
    return found


def _adjusted(
    scan: xr.Dataset,
    at: dict[str, Any],
    told: dict[str, float | None],
    signs: tuple[int, int] | None,
) -> xr.Dataset:
    """Return a scan with what the user tells instead of what the file does."""
    n = scan.sizes["position"]
    fresh = {
        **{k: _checked(k, v, n) for k, v in at.items() if v is not None},
        **{k: v for k, v in told.items() if v is not None},
    }
    for name, value in fresh.items():
        scan = scan.assign_coords({name: scan[name].copy(data=value)})
    if signs is not None:
        for axis, sign in zip("yx", signs, strict=True):
            name = f"position_{axis}"
            scan = scan.assign_coords({name: scan[name] * sign})
            scan[name].attrs.update(attributes(name))
    return scan


def _cut(
    scan: xr.Dataset, centre: tuple[float, float] | None, size: int | None
) -> xr.Dataset:
    if size is None:
        return scan
    shape = scan.sizes["detector_y"], scan.sizes["detector_x"]
    middle = centre or (shape[0] // 2, shape[1] // 2)
    cut = {}
    for dim, at, whole in zip(_DIMS[1:], middle, shape, strict=True):
        start = round(at) - size // 2
        if start < 0 or start + size > whole:
            raise ArgumentError(
                "size",
                size,
                f"a square inside {shape[0]} x {shape[1]} round {middle}",
                "Take less, or another centre.",
            )
        cut[dim] = slice(start, start + size)
    return scan.isel(cut)


def _stacked(scans: list[xr.Dataset]) -> xr.Dataset:
    """Return scans of several energies as one, in rising order."""
    scans = sorted(scans, key=lambda s: float(s.energy))
    shapes = [s["frames"].shape for s in scans]
    if len(set(shapes)) > 1:
        odd = next(s for s in scans if s["frames"].shape != shapes[0])
        raise ArgumentError(
            "path",
            f"{odd.attrs['source_files'][0]} with frames {odd['frames'].shape}",
            f"files of the same size, {shapes[0]}",
        )
    energies = np.array([float(s.energy) for s in scans])
    if np.any(np.diff(energies) <= 0):
        raise ArgumentError("path", "two files of one energy", "one file per energy")
    names = [s.attrs["source_files"][0] for s in scans]
    masks = [s["mask"] for s in scans if "mask" in s]
    scans = [s.drop_vars("mask", errors="ignore") for s in scans]
    whole = xr.concat(scans, "energy", coords="different", compat="equals",
                      join="override", combine_attrs="drop")  # fmt: skip
    if masks:  # bad once, bad at every energy
        bad = masks[0].copy(data=np.any([m.values for m in masks], axis=0))
        whole = whole.assign(mask=bad)
    for name in ("position_y", "position_x", "distance", "pixel_pitch", "energy"):
        whole[name].attrs.update(scans[0][name].attrs)
    whole.attrs["source_files"] = names
    return whole


def _listed(held: Mapping[str, Any], axes: int = 0, size: int | None = None) -> str:
    found = [
        f"{path} {item.shape}"
        for path, item in held.items()
        if len(item.shape) >= axes and (size is None or item.size == size)
    ]
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return (", ".join(found[:12]) or "none") + more
