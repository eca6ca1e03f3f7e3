"""Read ptychographic scans from HDF5 files of beamlines, by a table of layouts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.core.provenance import recorded
from batteryxr.io.door.hdf5 import opened, walk
from batteryxr.io.frames.cxi import judged, read_cxi
from batteryxr.io.frames.ptychography_found import (
    DIMS,
    LayoutSearch,
    Signs,
    checked,
    first,
    listed,
    turned,
)
from batteryxr.io.frames.ptychography_layouts import (
    ARRAYS,
    LAYOUTS,
    QUANTITIES,
    Layout,
    matching,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt

    from batteryxr.core.bounds.kinds import DetectorPixel, Distance, PhotonEnergy

    Source = str | os.PathLike[str]


@recorded
def read_ptychography(
    path: Source | Sequence[Source],
    *,
    format: str | Mapping[str, str | tuple[str, str]] | None = None,
    position_y: npt.ArrayLike | None = None,
    position_x: npt.ArrayLike | None = None,
    positions_from: Source | None = None,
    energy: PhotonEnergy | None = None,
    distance: Distance | None = None,
    pixel_pitch: DetectorPixel | None = None,
    centre: tuple[float, float] | None = None,
    size: int | None = None,
    sign: tuple[int, int] | tuple[str, str] | None = None,
    narrow: bool = False,
) -> xr.Dataset:
    """Open a ptychographic scan of any beamline, or one scan per energy.

    Lazy: frames stay in the file until they are needed.

    Parameters
    ----------
    path
        An HDF5 file, or several files, one per energy, which become one stack.
    format
        Name of a known layout: ``"cxi"`` or one of `ptychography_layouts.LAYOUTS`.
        None tries them. For a file of your own, the place of each quantity:
        ``{"frames": "scan/eiger", "x": ("scan/piezo_x", "um"), ...}``, with the keys
        ``frames``, ``y`` and ``x`` (or ``positions``, columns x and y), ``energy`` (or
        ``wavelength``), ``distance``, ``pixel_pitch``, ``mask``, ``probe``. Give units
        if the file has none.
    position_y, position_x
        Beam positions in nm; they replace those in the file.
    positions_from
        Another file of the same layout that holds the positions.
    energy, distance, pixel_pitch
        Values in eV, mm and µm; they replace those in the file.
    centre, size
        Row and column of the direct beam, and the side of the square to cut out around
        it. Without `size` as much is cut off as puts the beam in the middle, and
        without both nothing.
    sign
        Factors of positions y and x: -1 if the sample moves, or if a motor runs
        against the detector's rows or columns. None: as usual for the layout. Or
        two names, as `cdi.orientation` finds them: ``("x", "-y")`` takes the usual x
        as y, and the negative of the usual y as x.
    narrow
        Convert counts to uint16, which halves the memory and usually suffices. Bad
        pixels become 0; reading fails if another count does not fit.

    Returns
    -------
    xarray.Dataset
        `frames` (position, detector_y, detector_x), or with `energy` first; `mask`
        (True at bad pixels) and `probe` if the file has them; `position_y`,
        `position_x` (nm), `energy` (eV), `distance` (mm), `pixel_pitch` (µm). It is a
        scan for `cdi.ptycho`; add a probe first if the file has none.

    Raises
    ------
    FileFormatError
        If something is missing or has no units; the message lists what is there.
    ArgumentError
        If the layout is unknown, or sizes do not fit.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> path = batteryxr.write_cxi(scan.isel(energy=0), "scan.cxi")
    >>> batteryxr.read_ptychography(path)["frames"].dims
    ('position', 'detector_y', 'detector_x')
    """
    told = {"energy": energy, "distance": distance, "pixel_pitch": pixel_pitch}
    at = {"position_y": position_y, "position_x": position_x}
    if isinstance(path, (list, tuple)):
        if not path:
            raise ArgumentError("path", path, "at least one file")
        each = [
            _read(Path(p), format, at, positions_from, told, centre, size, sign)
            for p in path
        ]
        return _stacked([_narrowed(scan) for scan in each] if narrow else each)
    one = Path(path)  # type: ignore[arg-type]
    scan = _read(one, format, at, positions_from, told, centre, size, sign)
    return _narrowed(scan) if narrow else scan


def _read(
    path: Path,
    layout: str | Mapping[str, Any] | None,
    at: dict[str, Any],
    positions_from: Source | None,
    told: dict[str, float | None],
    centre: tuple[float, float] | None,
    size: int | None,
    signs: Signs | None,
) -> xr.Dataset:
    with opened(path) as file:
        held = _held(file, layout)
        name = _recognised(held) if layout is None else layout
        if name == "cxi":
            scan = _adjusted(read_cxi(path), at, told, signs)
        else:
            found = LayoutSearch(path, held, _layout(name, held))
            frames, shape = found.frames()
            if positions_from is not None:
                with opened(Path(positions_from)) as other:
                    held = _held(other, layout)
                    places = LayoutSearch(Path(positions_from), held, found.layout)
                    where = places.positions(shape[:-2], at)
            else:
                where = found.positions(shape[:-2], at)
            scan = found.scan(frames, where, told, signs)
            centre = centre or found.centre()
    return _cut(judged(scan), centre, size)


def _held(file: Any, layout: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the datasets that a layout names if all exist, else all of a file."""
    if not isinstance(layout, Mapping):
        return dict(walk(file))
    paths = [v if isinstance(v, str) else v[0] for v in layout.values() if v]
    if any("*" in path or "?" in path or "[" in path for path in paths):
        return dict(walk(file))
    given = {path.strip("/"): file.get(path) for path in paths}
    found = {k: v for k, v in given.items() if hasattr(v, "shape")}
    return found if len(found) == len(given) else dict(walk(file))


def _recognised(held: Mapping[str, Any]) -> str:
    """Return the layout that matches most datasets; CXI by its fixed names."""
    cxi = ("entry_1/instrument_1/detector_1/distance", "entry_1/data_1/data")
    moves = [p for p in held if p.startswith("entry_1") and p.endswith("/translation")]
    if all(p in held for p in cxi) and moves and len(held[cxi[1]].shape) == 3:
        return "cxi"
    # A single number is no scan position, whatever its name.
    axes = dict.fromkeys(("y", "x", "positions"), (1, 2, 3))
    scores = {
        name: sum(
            first(held, patterns, axes.get(key)) is not None
            for key, patterns in one.paths.items()
        )
        for name, one in LAYOUTS.items()
        if first(held, one.paths["frames"], axes=(3, 4))
    }
    return max(scores, key=lambda name: scores[name]) if scores else "nexus"


def _layout(name: str | Mapping[str, Any], held: Mapping[str, Any]) -> Layout:
    if isinstance(name, str):
        if name not in LAYOUTS:
            raise ArgumentError("format", name, f"one of {['cxi', *LAYOUTS]}")
        return LAYOUTS[name]
    known = {*QUANTITIES, *ARRAYS}
    if unknown := name.keys() - known:
        raise ArgumentError("format", min(unknown), f"keys among {sorted(known)}")
    pairs = {k: (v, "") if isinstance(v, str) else tuple(v) for k, v in name.items()}
    for key, (place, _) in pairs.items():
        if not matching(held, place):
            raise ArgumentError(f"format[{key!r}]", place, f"one of {listed(held)}")
    paths = {key: (place,) for key, (place, _) in pairs.items()}
    own = dict.fromkeys(QUANTITIES, "?")  # no units are assumed for a user's file
    units = own | {key: unit for key, (_, unit) in pairs.items() if unit}
    return Layout("yours", paths, units)


def _adjusted(
    scan: xr.Dataset,
    at: dict[str, Any],
    told: dict[str, float | None],
    signs: Signs | None,
) -> xr.Dataset:
    """Return a scan in which the user's values replace those of the file."""
    n = scan.sizes["position"]
    fresh = {
        **{k: checked(k, v, n) for k, v in at.items() if v is not None},
        **{k: v for k, v in told.items() if v is not None},
    }
    for name, value in fresh.items():
        scan = scan.assign_coords({name: scan[name].copy(data=value)})
    if signs is not None:
        told_places = [scan[f"position_{axis}"].values for axis in "yx"]
        for axis, values in zip(
            "yx", turned(np.stack(told_places), signs), strict=True
        ):
            name = f"position_{axis}"
            scan = scan.assign_coords({name: scan[name].copy(data=values)})
    return scan


def _cut(
    scan: xr.Dataset, centre: tuple[float, float] | None, size: int | None
) -> xr.Dataset:
    if size is None and centre is None:
        return scan
    shape = scan.sizes["detector_y"], scan.sizes["detector_x"]
    middle = centre or (shape[0] // 2, shape[1] // 2)
    cut = {}
    for dim, at, whole in zip(DIMS[1:], middle, shape, strict=True):
        if not 0 <= round(at) < whole:
            raise ArgumentError("centre", centre, f"a pixel of {shape[0]} x {shape[1]}")
        side = size or min(2 * round(at) + 1, 2 * (whole - round(at)))
        start = round(at) - side // 2
        if start < 0 or start + side > whole:
            raise ArgumentError(
                "size",
                size,
                f"a square inside {shape[0]} x {shape[1]} round {middle}",
                "Take less, or another centre.",
            )
        cut[dim] = slice(start, start + side)
    return scan.isel(cut)


def _narrowed(scan: xr.Dataset) -> xr.Dataset:
    bad = scan["mask"].values if "mask" in scan else False
    (source,) = scan.attrs["source_files"]
    counts = scan["frames"].data.map_blocks(_uint16, bad, source, dtype=np.uint16)
    return scan.assign(frames=scan["frames"].copy(data=counts))


def _uint16(block: np.ndarray, bad: np.ndarray | bool, source: str) -> np.ndarray:
    values = np.where(bad, block.dtype.type(0), block)
    if n := int(np.isnan(values).sum()):
        raise FileFormatError(
            source,
            f"{n} pixels are no counts and not in the mask: open it without "
            "narrow=True, or tell the mask of bad pixels.",
        )
    least, most = values.min(initial=0), values.max(initial=0)
    with np.errstate(invalid="ignore"):
        counts = values.astype(np.uint16)
    if least < 0 or most > 65535 or not np.array_equal(counts, values):
        raise FileFormatError(
            source,
            f"counts from {least:.9g} to {most:.9g} are no whole numbers of 16 bits: "
            "open it without narrow=True, or tell the mask of bad pixels.",
        )
    return counts


def _stacked(scans: list[xr.Dataset]) -> xr.Dataset:
    """Return scans of several energies as one, in rising order of energy."""
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
    if masks:  # bad at one energy counts as bad at all
        bad = masks[0].copy(data=np.any([m.values for m in masks], axis=0))
        whole = whole.assign(mask=bad)
    for name in ("position_y", "position_x", "distance", "pixel_pitch", "energy"):
        whole[name].attrs.update(scans[0][name].attrs)
    whole.attrs["source_files"] = names
    return whole
