"""Open energy stacks in HDF5: NXstxm, NXxas, NXdata along energy, and CXI results."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, FileFormatError, UnitsError
from batteryxr.core.kernels.monitors import doubts
from batteryxr.core.units import affine
from batteryxr.io.door.chunks import grows, rows_there
from batteryxr.io.door.counts import only_counts
from batteryxr.io.door.datasets import frames_of, read_all
from batteryxr.io.door.hdf5 import attribute, opened, text, walk
from batteryxr.io.stacks.assembly import RawStack, check_energies, check_shape
from batteryxr.io.stacks.fields import read_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import h5py

_JOULE = 1.602176634e-19
_CHUNK = 16_000_000  # bytes
#: Names of energies in keV, from NSLS-II (FXI).
_KEV = ("X_eng", "xray_eng")
_ENERGIES = ("energy", "photon_energy", "incident_energy", "energies", *_KEV)
_SIGNALS = (
    *("data", "intensity", "absorbed_beam", "counts", "absorption"),
    *("img_xanes", "spectroscopy_normalized"),
)
_POSITIONS = {"y": ("y", "sample_y"), "x": ("x", "sample_x")}
#: Places of reconstructed objects from ptychography codes, and of their pixel size.
_OBJECT = re.compile(r"(?:.*/)?image_?\d*/data")
_PIXELS = ("pixel_size", "pixnm", "object_pixel_size")


def open_hdf5_stack(
    path: Path,
    *,
    dataset: str | None = None,
    n_energies: int = 0,
    counts: bool = True,
) -> RawStack:
    """Open the stack, spectra or object of one file lazily.

    Parameters
    ----------
    path
        The file.
    dataset
        Path of the values in the file; None: as NeXus or CXI give it.
    n_energies
        Number of energies that the caller gives, for a file without them; 0 for none.
    counts
        Whether integers are counts, unless the file says otherwise.

    Raises
    ------
    ArgumentError
        If the dataset is ambiguous; the message lists the candidates.
    FileFormatError
        If the file is damaged.
    """
    with opened(path) as file:
        return _described(file, path, dataset, n_energies, counts)


def _described(
    file: h5py.Group, path: Path, dataset: str | None, n_energies: int, counts: bool
) -> RawStack:
    if dataset is not None:
        if dataset not in file or not hasattr(file[dataset], "shape"):
            raise ArgumentError("dataset", dataset, f"one of {_arrays(file)}")
        values = file[dataset]
        if values.dtype.kind == "c":
            return _object(file, path, values)
        return _along_energy(path, values.parent, values, n_energies, counts)
    every = list(_walk(file))
    objects = [v for v in every if v.dtype.kind == "c" and v.ndim in (2, 3)]
    named = [v for v in objects if _OBJECT.fullmatch(v.name.strip("/"))] or objects
    if len(named) == 1:
        return _object(file, path, named[0])
    found = list(_signals(every))
    cubes = [v for v in every if v.ndim == 3 and n_energies in v.shape]
    if not found and len(cubes) == 1 and n_energies:
        return _along_energy(path, cubes[0].parent, cubes[0], n_energies, counts)
    if not found:
        raise ArgumentError(
            "dataset",
            None,
            f"one of {_arrays(file)}",
            f"{path.name} does not tell which of them lies along energy. Pass "
            "dataset=, and energy= if the file has none.",
        )
    group, values = found[0]
    spectra = {_entry(v): (g, v) for g, v in reversed(found) if v.ndim == 1}
    if values.ndim == 1 and len(spectra) > 1:
        return _spectra(path, dict(reversed(spectra.items())), n_energies, counts)
    return _along_energy(path, group, values, n_energies, counts)


def _entry(values: h5py.Dataset) -> str:
    return str(values.name.strip("/").split("/")[0])


def _spectra(
    path: Path,
    found: dict[str, tuple[h5py.Group, h5py.Dataset]],
    n_energies: int,
    counts: bool,
) -> RawStack:
    """Return the spectra of all entries of a file along ``scan``.

    Raises
    ------
    ArgumentError
        If their energies differ; the message lists the spectra.
    """
    entries = sorted(found)
    each = [_along_energy(path, *found[e], n_energies, counts) for e in entries]
    first = each[0]
    for raw in each[1:]:
        here, there = raw.energy, first.energy
        same = here is not None and there is not None and np.array_equal(here, there)
        if not same or raw.quantity != first.quantity:
            raise ArgumentError(
                "dataset",
                None,
                f"one of {[found[e][1].name.strip('/') for e in entries]}",
                f"{path.name} holds spectra on different energies: read them apart.",
            )
    note = f"{path.name} holds {len(entries)} spectra, along scan: {', '.join(entries)}"
    return replace(
        first,
        data=blocks.stack([raw.data for raw in each]),
        dims=("scan", *first.dims),
        header={"entries": entries},
        i0=None,
        notes=(*first.notes, note),
    )


def _walk(file: h5py.Group) -> Iterator[h5py.Dataset]:
    """Yield all datasets of numbers, the default branch first."""
    return (item for _, item in walk(file, 6) if item.dtype.kind in "iufc")


def _arrays(file: h5py.Group) -> list[str]:
    return [v.name.strip("/") for v in _walk(file) if v.ndim in (1, 2, 3)][:40]


def _signals(
    every: Sequence[h5py.Dataset],
) -> Iterator[tuple[h5py.Group, h5py.Dataset]]:
    """Yield (group, values) for values beside an energy, NXdata and images first.

    Values have a usual name, or are the only images along the energies in their group.
    """
    groups: dict[str, h5py.Group] = {}
    for values in every:
        name = values.name.rpartition("/")[0] or "/"
        if name not in groups:
            groups[name] = values.parent
    found: list[tuple[bool, int, int, h5py.Group, h5py.Dataset]] = []
    for group in groups.values():
        energy = _energy(group)
        if energy is None:
            continue
        named = text(attribute(group, "signal"))
        cubes = [
            values.name.rpartition("/")[2]
            for values in every
            if values.ndim == 3
            and energy.size in values.shape
            and (values.name.rpartition("/")[0] or "/") == group.name
        ]
        for name in (named, *_SIGNALS, *(cubes if len(cubes) == 1 else ())):
            if not name or name not in group or not hasattr(group[name], "shape"):
                continue
            values = group[name]
            fits = energy.size in values.shape or _grows(values)
            if values.dtype.kind in "iuf" and fits:
                plain = text(attribute(group, "NX_class")) != "NXdata"
                found.append((plain, -values.ndim, len(found), group, values))
                break
    for *_, group, values in sorted(found, key=lambda f: f[:3]):
        yield group, values


def _grows(values: h5py.Dataset) -> bool:
    """Tell whether frames are being written, one for each energy that is reached."""
    return grows(values) and values.ndim == 3


def _energy(group: h5py.Group) -> Any:
    for name in _ENERGIES:
        if name in group and getattr(group[name], "ndim", 0) == 1:
            return group[name]
    return None


def _along_energy(
    path: Path, group: h5py.Group, values: h5py.Dataset, n_energies: int, counts: bool
) -> RawStack:
    node = _energy(group)
    if node is None and not n_energies:
        raise ArgumentError(
            "energy", None, "the energies", f"None lie beside {values.name}."
        )
    energy = None if node is None else np.ravel(read_all(node)).astype(float)
    if energy is not None:
        energy = energy[: rows_there(node)] * _energy_factor(path, node)
        check_energies(path, energy)
    notes: list[str] = []
    n = n_energies if energy is None else energy.size
    if _grows(values):
        n = n if n in values.shape else values.shape[0]
    dims = _dims(path, group, values, n, notes)
    positions = {
        axis: _positions(path, group, axis, size, notes)
        for axis, size in zip(dims, values.shape, strict=True)
        if axis in _POSITIONS
    }
    entry = group.file[group.name.strip("/").split("/")[0] or "/"]
    definition = text(read_all(entry["definition"])) if "definition" in entry else ""
    i0 = None
    for name in ("control/data", "monitor/data", "incoming_beam"):
        for place in (entry, group):
            if name in place and energy is not None and place[name].size == energy.size:
                monitor = np.ravel(read_all(place[name]))
                known = np.isfinite(only_counts(monitor, path.name))
                i0 = np.where(known, monitor.astype(float), np.nan)
                notes += [f"{place[name].name} {k}: {v}" for k, v in doubts(i0).items()]
    # NXxas of the contributed definitions stores the absorption under this name.
    absorbed = definition.startswith("NXxas") and values.name.endswith("/intensity")
    sizes = dict(zip(dims, values.shape, strict=True))
    title = read_all(entry["title"]) if "title" in entry else b""
    told = read_fields(
        path, group, values, sizes, lambda v: _lazy(path, v, counts=True)
    )
    raw = RawStack(
        data=_lazy(path, values, counts=counts and not absorbed),
        energy=energy,
        dims=dims,
        quantity="absorption" if absorbed else "intensity",
        i0=told.i0 if i0 is None else i0,
        flat=told.flat if i0 is None else None,
        dark=told.dark,
        instrument=definition or "HDF5",
        header={"title": text(title)} if isinstance(title, str | bytes) else {},
        notes=(*notes, *told.notes),
        **positions,
    )
    return _so_far(raw) if _grows(values) and dims[0] == "energy" else raw


def _so_far(raw: RawStack) -> RawStack:
    """Cut a growing stack to the frames that are there and have an energy."""
    along = {
        name: values
        for name in ("data", "energy", "i0", "flat", "dark")
        if (values := getattr(raw, name)) is not None and values.ndim != 2
    }
    n = min(len(values) for values in along.values())
    return replace(raw, **{name: values[:n] for name, values in along.items()})


def _dims(
    path: Path, group: h5py.Group, values: h5py.Dataset, n: int, notes: list[str]
) -> tuple[str, ...]:
    axes = attribute(group, "axes", attribute(values, "axes", ()))
    if isinstance(axes, str | bytes):
        axes = text(axes).split(":")
    told = tuple(_dim(text(name)) for name in axes)
    if len(told) == values.ndim and "" not in told and len(set(told)) == len(told):
        dims = told
    elif values.ndim == 3:
        dims = _cube(path, values, n, notes)
    else:
        dims = {1: ("energy",), 2: ("scan", "energy")}.get(values.ndim, ())
    sizes = dict(zip(dims, values.shape, strict=False))
    if not dims or (n and sizes.get("energy") != n):
        raise FileFormatError(
            path,
            f"{values.name} of shape {values.shape} does not fit its {n} energies.",
        )
    return dims


def _cube(
    path: Path, values: h5py.Dataset, n: int, notes: list[str]
) -> tuple[str, ...]:
    """Return the order of unlabelled axes; energy is the one of length `n`."""
    fits = [axis for axis, size in enumerate(values.shape) if size == n]
    at = fits[0] if fits else 0
    if len(fits) > 1:
        notes.append(
            f"{path.name}: {len(fits)} axes of {values.name} {values.shape} fit {n} "
            f"energies; axis {at} is taken"
        )
    dims = ["y", "x"]
    dims.insert(at, "energy")
    return tuple(dims)


def _dim(name: str) -> str:
    low = name.lower()
    if "energy" in low:
        return "energy"
    return low[-1] if low and low[-1] in "yx" and len(low) < 12 else ""


def _positions(
    path: Path, group: h5py.Group, axis: str, size: int, notes: list[str]
) -> np.ndarray | None:
    for name in _POSITIONS[axis]:
        if name in group and group[name].shape == (size,):
            node = group[name]
            units = text(attribute(node, "units"))
            if not units:
                notes.append(
                    f"{path.name}: {name} has no units and is taken as um. If it is "
                    "not, pass pixel_size="
                )
            values = np.asarray(read_all(node), dtype=float) * _factor(
                path, node.name, units or "um", "nm"
            )
            if not np.isfinite(values).all():
                raise FileFormatError(path, f"{node.name} is not finite.")
            return values
    said = group.get("Pixel Size")  # of FXI, such as "40.6nm"
    if said is not None and said.shape == ():
        length = re.fullmatch(r"\s*(\d+\.?\d*)\s*nm\s*", text(read_all(said)))
        if length and float(length[1]) > 0:
            return float(length[1]) * np.arange(size)
    node = group.get(f"{axis}_pixel_size")
    if node is not None and hasattr(node, "size") and node.size:
        units = text(attribute(node, "units")) or "um"  # the unit at ALBA
        pixel = float(np.ravel(read_all(node))[0]) * _factor(
            path, node.name, units, "nm"
        )
        if math.isfinite(pixel) and pixel > 0:
            return pixel * np.arange(size)
    return None


def _object(file: h5py.Group, path: Path, values: h5py.Dataset) -> RawStack:
    """Describe a reconstructed object, with energy and pixel size if they are known."""
    shape = values.shape
    if values.ndim == 2:
        dims: tuple[str, ...] = ("y", "x")
    elif values.ndim == 3:
        dims = ("energy", "y", "x")
    else:
        raise FileFormatError(path, f"{values.name} has {values.ndim} axes.")
    energy = _object_energy(file, path)
    if energy is not None and values.ndim == 3 and energy.size != shape[0]:
        raise FileFormatError(
            path, f"{shape[0]} objects, but {energy.size} energies: the file is cut."
        )
    pixel = _pixel(file, path, values)
    data = _lazy(path, values)
    return RawStack(
        data=data[None] if values.ndim == 2 else data,
        energy=energy,
        dims=("energy", *dims) if values.ndim == 2 else dims,
        y=None if pixel is None else pixel * np.arange(shape[-2]),
        x=None if pixel is None else pixel * np.arange(shape[-1]),
        quantity="transmission",
        instrument="CXI",
    )


def _object_energy(file: h5py.Group, path: Path) -> np.ndarray | None:
    for node in _walk(file):
        if node.name.rsplit("/", 1)[-1] in _ENERGIES and node.size >= 1:
            units = text(attribute(node, "units"))
            values = np.ravel(read_all(node)).astype(float)
            # CXI writes joules, usually without the unit.
            if not units and (values < 1e-10).all():
                units = "J"
            factor = _factor(path, node.name, units or "eV", "eV")
            check_energies(path, values * factor)
            return np.asarray(values * factor)
    return None


def _pixel(file: h5py.Group, path: Path, values: h5py.Dataset) -> float | None:
    """Return the pixel size of an object in nm, or None."""
    for node in _walk(file):
        name = node.name.rsplit("/", 1)[-1]
        beside = node.parent.name == values.parent.name
        if name in _PIXELS and (beside or name != "pixel_size"):
            units = "nm" if name == "pixnm" else "m"
        elif name == "image_size" and beside:
            units = "m"
        else:
            continue
        units = text(attribute(node, "units")) or units
        size = float(np.ravel(read_all(node))[0]) * _factor(
            path, node.name, units, "nm"
        )
        if name == "image_size":
            size /= values.shape[-1]
        if not (math.isfinite(size) and 0 < size < 1e6):
            raise FileFormatError(path, f"{node.name}: a pixel of {size:g} nm.")
        return size
    return None


def _lazy(path: Path, values: h5py.Dataset, *, counts: bool = False) -> Any:
    check_shape(path, values.shape[-2:] or (1,), values.dtype.itemsize)
    source = frames_of(path, values, counts=counts)
    chunks = _chunks(values.shape, values.chunks, values.dtype.itemsize)
    return blocks.from_source(source, chunks, asarray=True, lock=False)


def _chunks(
    shape: Sequence[int], stored: Sequence[int] | None, itemsize: int
) -> tuple[int, ...]:
    """Return chunks made of whole chunks of the file: none is decompressed twice."""
    if len(shape) < 3:
        return tuple(shape)
    chunk = [min(a, b) for a, b in zip(stored or (1, *shape[1:]), shape, strict=True)]
    unit = list(chunk)
    for axis in (2, 1, 0):  # grow rows, then frames, then energies
        room = max(1, _CHUNK // (math.prod(chunk) * itemsize))
        most = -(-shape[axis] // unit[axis])
        chunk[axis] = min(shape[axis], unit[axis] * min(room, most))
    return tuple(chunk)


def _energy_factor(path: Path, node: h5py.Dataset) -> float:
    usual = "keV" if node.name.rsplit("/", 1)[-1] in _KEV else "eV"
    units = text(attribute(node, "units")) or usual
    return _factor(path, node.name, units, "eV")


def _factor(path: Path, name: str, units: str, to: str) -> float:
    if to == "eV" and units in ("J", "joule", "Joule"):
        return 1 / _JOULE
    try:
        return affine(units, to)[0]
    except UnitsError as error:
        raise FileFormatError(path, f"{name}: {error}") from error
