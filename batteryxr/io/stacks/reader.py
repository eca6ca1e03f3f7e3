"""Read energy stacks (STXM, full field, TIFF, NeXus, CXI) as one lazy array."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks, bounds
from batteryxr.core.errors import (
    ArgumentError,
    FileFormatError,
    warn_quality,
)
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.io.cycler.reader import find
from batteryxr.io.door.counts import FLAG
from batteryxr.io.door.files import head, named, refuse_other, text
from batteryxr.io.door.folders import files_in
from batteryxr.io.door.images import pixel_size as told_pixel
from batteryxr.io.door.images import tiff
from batteryxr.io.door.words import refuse_many
from batteryxr.io.formats import Format
from batteryxr.io.frames.hdf5 import SUFFIXES, is_hdf5
from batteryxr.io.series.columns import read_columns
from batteryxr.io.series.labels import natural
from batteryxr.io.stacks import fields
from batteryxr.io.stacks.assembly import RawStack, check_energies

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batteryxr.core.bounds.kinds import PixelSize

#: Quantities that a stack may hold.
_QUANTITIES: dict[str, dict[str, str]] = {
    "intensity": {"units": "1", "long_name": "Intensity"},
    "transmission": {"units": "1", "long_name": "Complex transmission"},
    "absorption": {},
    "optical_density": {},
}
#: Formats by name. For STXM the header is read, which names its images.
FORMATS = {
    "stxm": Format("stacks.stxm", (".hdr",), function="open_stxm"),
    "xradia": Format("stacks.xradia", (".xrm", ".txrm"), function="open_xradia"),
    "tiff": Format("frames.tiff", (".tif", ".tiff"), function="open_tiff"),
    "hdf5": Format("stacks.hdf5", SUFFIXES, function="open_hdf5_stack"),
}
_ENDINGS = ", ".join(e for f in FORMATS.values() for e in f.suffixes)
#: Energies in file names: 5465.5eV, 5.4655keV, 5465p5_eV, E5465.5, energy_5465.
_IN_NAME = re.compile(
    r"(?P<k>\d+(?:[.p]\d+)?)[_ ]?keV"
    r"|(?P<a>\d+(?:[.p]\d+)?)[_ ]?eV"
    r"|(?:^|[_\- ])(?:E|energy)[_ ]?(?P<b>\d+(?:[.p]\d+)?)",
    re.IGNORECASE,
)
#: Many images are joined into about so many blocks, none with more bytes than this.
_BLOCKS, _BLOCK = 1000, 32_000_000
_FIELDS = {"i0": "Incident intensity, flat field", "dark": "Dark field"}
#: Relative difference of pixel sizes that is more than rounding.
_SAME = 1e-4


@recorded
def read_stack(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    energy: npt.ArrayLike | str | os.PathLike[str] | None = None,
    pixel_size: PixelSize | tuple[PixelSize, PixelSize] | None = None,
    dataset: str | None = None,
    region: int = 1,
    quantity: str | None = None,
) -> xr.DataArray:
    """Open an energy stack as one array (energy, y, x).

    Lazy: headers are read now, frames when they are needed.

    Parameters
    ----------
    path
        A STXM header ``.hdr`` (its ``.xim`` images beside it); ``.xrm`` or ``.txrm``;
        TIFF files, one of many pages or one for each energy; a NeXus file (NXstxm,
        NXxas, any NXdata along energy); HDF5 of FXI (NSLS-II), Mistral (ALBA) and
        Data Exchange, or with a single 3-D dataset if `energy` is passed, in any
        order of axes; CXI files of ptychographic objects, one for each energy or one
        for all. A folder, a pattern, a list, or one path.
    energy
        Photon energies (eV) in the order of the frames, or a text file whose first
        column holds them. None: from the headers or names of the files
        (``_5465.5eV``, ``_5.4655keV``).
    pixel_size
        Size of a pixel (nm), one number or (y, x). It replaces a missing or wrong
        size in the file.
    dataset
        Path of the values inside an HDF5 file.
    region
        Number of the region in a STXM scan with several, from 1.
    quantity
        Quantity of the values: "intensity", "transmission", "absorption" or
        "optical_density". None: as usual for the format; intensity for images.

    Returns
    -------
    xarray.DataArray
        Along rising ``energy`` (eV), ``y`` and ``x`` (nm; pixel numbers with units
        "1" if the size is unknown). Objects of ptychography are complex and named
        ``transmission``. Coordinates: ``i0``, the incident intensity along energy, or
        flat frames (one for each energy if there are so many, else their mean; 1 if
        the file holds frames that are divided by them); ``dark``, dark frames alike.
        Spectra without images (NXxas) lie along ``energy`` alone, or
        ``(scan, energy)``.

    Raises
    ------
    ArgumentError
        If files, energies or dataset are ambiguous.
    FileFormatError
        If a file is damaged; the message names it. Damaged images raise on computing.
    MissingDependencyError
        If the format needs a library that is not installed.

    Warns
    -----
    DataQualityWarning
        If images are missing, energies were measured twice, pixels differ in size,
        flat frames are fewer than energies, or a monitor is stuck or saturates.

    Examples
    --------
    >>> import h5py
    >>> import numpy as np
    >>> with h5py.File("stack.h5", "w") as file:
    ...     file["images"] = np.random.default_rng(0).poisson(900, (5, 32, 32))
    >>> energy = np.linspace(8320, 8360, 5)
    >>> stack = batteryxr.read_stack("stack.h5", energy=energy, pixel_size=40)
    >>> stack.dims
    ('energy', 'y', 'x')
    """
    if quantity not in (None, *_QUANTITIES):
        raise ArgumentError("quantity", quantity, f"one of {list(_QUANTITIES)}")
    paths = _paths(path)
    given = _given_energies(energy)
    with named(paths[0]):
        count = 0 if given is None else given.size
        raw = _open(paths, dataset, region, count, quantity)
    messages = list(raw.notes)
    values = _energies(raw, paths, given)
    array = xr.DataArray(raw.data, dims=raw.dims)
    array = array.assign_coords(energy=("energy", values, attributes("energy")))
    if raw.i0 is not None:
        attrs = {"units": "1", "long_name": "Incident intensity"}
        array = array.assign_coords(i0=("energy", raw.i0, attrs))
    for name, image in (("i0", raw.flat), ("dark", raw.dark)):
        if image is not None:
            attrs = {"units": "1", "long_name": _FIELDS[name]}
            dims = ("energy", "y", "x")[3 - image.ndim :]
            array = array.assign_coords({name: (dims, image, attrs)})
    array = array.assign_coords(_positions(raw, array, pixel_size))
    order = np.argsort(values, kind="stable")
    if (order != np.arange(order.size)).any():
        array = array.isel(energy=order)
    twice = int((np.diff(values[order]) == 0).sum())
    if twice:
        messages.append(
            f"{twice} energies were measured twice. Average them: "
            "`stack.groupby('energy').mean()`"
        )
    kind = quantity or raw.quantity
    array = label(array, kind, **_QUANTITIES[kind])
    if kind == "intensity":
        array.attrs["flag"] = FLAG
    array.attrs |= {
        "instrument": raw.instrument,
        "source_files": [p.name for p in dict.fromkeys((paths[0], paths[-1]))],
        "header": json.dumps(raw.header, default=str),
    }
    for message in messages:
        warn_quality(message + ".")
    images = [d for d in ("scan", "energy", "y", "x") if d in array.dims]
    for dim in ("y", "x"):
        if (
            dim in array.dims
            and array[dim].attrs["units"] == "nm"
            and array[dim].size > 1
        ):
            step = float(np.abs(np.diff(array[dim].values)).max())
            bounds.check("pixel size", step, argument=f"step of {dim}", data=True)
    return bounds.told(array.transpose(*images))


def _paths(files: Any) -> list[Path]:
    items = files if isinstance(files, list | tuple) else [files]
    paths: list[Path] = []
    for item in items:
        folder = Path(item).expanduser()
        paths += _in_folder(folder) if os.path.isdir(folder) else find(item)
    if not paths:
        raise ArgumentError("path", files, "at least one path")
    return sorted(paths, key=natural) if len(items) == 1 else paths


def _in_folder(folder: Path) -> list[Path]:
    """Return the files of one kind in a folder; a header stands for its images."""
    known = {suffix for form in FORMATS.values() for suffix in form.suffixes}
    inside = sorted(files_in(folder, lambda p: p.suffix.lower() in known), key=natural)
    kinds = [
        [p for p in inside if p.suffix.lower() in form.suffixes]
        for form in FORMATS.values()
    ]
    found = [kind for kind in kinds if kind]
    if not found:
        raise ArgumentError(
            "path",
            str(folder),
            f"a folder with files that end in one of {_ENDINGS}",
        )
    if len(found) > 1 or (found[0] is kinds[0] and len(found[0]) > 1):
        raise ArgumentError(
            "path",
            str(folder),
            "a folder with one stack",
            f"It holds {[p.name for kind in found for p in kind][:6]}: pass a pattern.",
        )
    return found[0]


def _open(
    paths: list[Path],
    dataset: str | None,
    region: int,
    n_energies: int,
    quantity: str | None,
) -> RawStack:
    counts = quantity in (None, "intensity")
    kinds = {p.suffix.lower() for p in paths}
    if ".hdr" in kinds:
        if len(paths) > 1:
            raise ArgumentError(
                "path", len(paths), "one .hdr file", "Read each, then concatenate."
            )
        raw: RawStack = FORMATS["stxm"].read(paths[0], region=region, counts=counts)
        return raw
    if ".xim" in kinds:
        raise ArgumentError(
            "path", paths[0].name, "the .hdr file", "It names its .xim images."
        )
    if kinds <= set(FORMATS["xradia"].suffixes):
        raw = FORMATS["xradia"].read(paths, counts=counts)
        return raw
    images = FORMATS["tiff"]
    if kinds <= set(images.suffixes):
        held = images.read(paths, chunk=_images, counts=counts)
        return _tiff(held.data, paths)
    if is_hdf5(paths[0]):
        wanted = {"dataset": dataset, "n_energies": n_energies, "counts": counts}
        read = FORMATS["hdf5"].read
        return _joined([read(p, **wanted) for p in paths], paths)
    refuse_other(paths[0], head(paths[0]))
    raise ArgumentError(
        "path",
        paths[0].name,
        f"a file that ends in one of {_ENDINGS}",
        "Single spectra are read by read_series, Athena projects by read_athena.",
    )


def _tiff(data: Any, paths: list[Path]) -> RawStack:
    """Return frames of TIFF files, with the pixel size that OME or ImageJ wrote."""
    energy = _from_names(paths)
    if energy is not None and energy.size != data.shape[0]:
        energy = None
    with tiff(paths[0]) as file:
        pixel = told_pixel(file)
    if pixel is None:
        return RawStack(data, energy=energy, instrument="TIFF")
    y, x = (p * np.arange(n) for p, n in zip(pixel, data.shape[1:], strict=True))
    return RawStack(data, energy=energy, y=y, x=x, instrument="TIFF")


def _images(nbytes: int, n: int) -> int:
    """Return images per chunk: one, or more if there are thousands of small ones."""
    return max(1, min(n // _BLOCKS, _BLOCK // max(nbytes, 1)))


def _joined(parts: list[RawStack], paths: list[Path]) -> RawStack:
    """Return one stack from HDF5 files that each hold some of the energies."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if "y" not in first.dims:
        raise ArgumentError(
            "path",
            f"{len(parts)} files of spectra",
            "images, or one file",
            "Read spectra one by one, and join them with xr.concat.",
        )
    for part, path in zip(parts, paths, strict=True):
        if part.dims != first.dims or part.data.shape[1:] != first.data.shape[1:]:
            raise FileFormatError(
                path,
                f"holds frames of {part.data.shape[1:]}, {paths[0].name} of "
                f"{first.data.shape[1:]}. Objects of different energies differ in "
                "size where their pixels do: crop or resample them first.",
            )
    notes = [note for part in parts for note in part.notes]
    pixels = [float(p.x[1] - p.x[0]) for p in parts if p.x is not None and p.x.size > 1]
    if pixels and max(pixels) > min(pixels) * (1 + _SAME):
        notes.append(
            f"pixels run from {min(pixels):.4g} to {max(pixels):.4g} nm: their size "
            "follows the wavelength. Resample before registering"
        )
    energies = [p.energy for p in parts if p.energy is not None]
    flat, dark = fields.joined(parts, "flat"), fields.joined(parts, "dark")
    return RawStack(
        data=blocks.concatenate([p.data for p in parts]),
        energy=np.concatenate(energies) if len(energies) == len(parts) else None,
        dims=first.dims,
        y=first.y,
        x=first.x,
        quantity=first.quantity,
        flat=flat,
        dark=dark,
        instrument=first.instrument,
        header=first.header,
        notes=tuple(dict.fromkeys(notes)),
    )


def _given_energies(energy: Any) -> np.ndarray | None:
    if energy is None:
        return None
    if isinstance(energy, str | Path) or hasattr(energy, "__fspath__"):
        (path,) = find(energy)[:1]
        return _energy_list(path)
    values = np.asarray(energy, dtype=float).ravel()
    if not (np.isfinite(values) & (values > 0)).all():
        raise ArgumentError("energy", energy, "finite energies > 0 in eV")
    bounds.check("photon energy", values, argument="energy")
    return values


def _energy_list(path: Path) -> np.ndarray:
    """Return the energies in a text file: one per line, or the first column."""
    raw = text(path)
    with named(path):
        refuse_many(raw)
    try:
        values = np.array(raw.split(), dtype=float)
    except ValueError:
        values = read_columns(path).read([0])[0]
    else:
        lines = [ln for ln in raw.splitlines() if ln]
        if len({len(ln.split()) for ln in lines}) == 1 and len(lines[0].split()) > 1:
            values = values.reshape(len(lines), -1)[:, 0]
    check_energies(path, values)
    return values


def _from_names(paths: list[Path]) -> np.ndarray | None:
    found = [_IN_NAME.search(p.stem) for p in paths]
    if not all(found):
        return None
    texts = [(m["k"] or m["a"] or m["b"]) for m in found if m]
    factors = [1e3 if m["k"] else 1.0 for m in found if m]
    values = np.array([float(t.lower().replace("p", ".")) for t in texts])
    return np.round(values * factors, 6)


def _energies(raw: RawStack, paths: list[Path], given: np.ndarray | None) -> np.ndarray:
    n = raw.data.shape[raw.dims.index("energy")]
    told = raw.energy if raw.energy is not None else _from_names(paths)
    values = given if given is not None else told
    if values is None:
        raise ArgumentError(
            "energy",
            None,
            f"the {n} energies in eV, or a text file of them",
            f"{paths[0].name} does not tell them.",
        )
    if values.shape != (n,):
        raise ArgumentError(
            "energy", f"{values.size} energies", f"one for each of the {n} frames"
        )
    check_energies(paths[0], values)
    if values.max() < 100:
        raise ArgumentError(
            "energy",
            f"up to {values.max():g}",
            "energies in eV",
            "These look like keV: multiply by 1000.",
        )
    return values


def _positions(
    raw: RawStack, array: xr.DataArray, pixel_size: float | tuple[float, float] | None
) -> dict[str, Any]:
    sizes: dict[str, float] = {}
    if pixel_size is not None:
        pair = np.broadcast_to(np.asarray(pixel_size, dtype=float), (2,))
        if not all(math.isfinite(p) and p > 0 for p in pair):
            raise ArgumentError("pixel_size", pixel_size, "a number > 0 in nm")
        sizes = {"y": float(pair[0]), "x": float(pair[1])}
    coords: dict[str, Any] = {}
    for dim, told in (("y", raw.y), ("x", raw.x)):
        if dim not in array.dims:
            continue
        n = array.sizes[dim]
        if dim in sizes:
            coords[dim] = (dim, sizes[dim] * np.arange(n), attributes(dim))
        elif told is not None:
            coords[dim] = (dim, told, attributes(dim))
        else:
            attrs = {"units": "1", "long_name": f"{dim} (pixel)"}
            coords[dim] = (dim, np.arange(n), attrs)
    return coords
