"""Read objects that other programs retrieved: complex crystals with their support."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import FileFormatError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.io.door.arrays import arrays_in, unpacked
from batteryxr.io.door.datasets import read_all
from batteryxr.io.door.hdf5 import attribute, opened, text
from batteryxr.io.door.images import npy
from batteryxr.io.frames.hdf5 import is_hdf5

if TYPE_CHECKING:
    import os

    import h5py

_DIMS = ("along_rocking", "along_y", "along_x")
#: Places of objects in CXI, as PyNX and others write it.
_OBJECTS = ("image_1/data", "data_1/data", "result_1/data")
_SUPPORTS = ("image_1/support", "image_1/mask")
_PROGRAMS = ("program_name", "image_1/process_1/program_name", "creator")
#: Sign of the exponent in the transform from object to pattern: PyNX
#: and we take a forward transform, cohere an inverse one.
_SIGNS: dict[str, Literal[1, -1]] = {"pynx": -1, "batteryxr": -1, "cohere": 1}


#: What an axis notes of the box that was phased: its first voxel, points and centre.
NOTES = ("first", "points", "box_centre")


class _Found(NamedTuple):
    """Hold a file's content: objects, their support, the program's name, the axes."""

    values: np.ndarray
    support: np.ndarray | None
    program: str
    axes: tuple[dict[str, Any], ...] = ({}, {}, {})


@recorded
def read_object(
    path: str | os.PathLike[str],
    *,
    dataset: str = "entry_1",
    sign: Literal[1, -1] | None = None,
) -> xr.Dataset:
    """Read a crystal that another program retrieved, for strain and states.

    Parameters
    ----------
    path
        CXI (``image_1/data`` and ``image_1/support``, as PyNX and `write_object` write
        them); a complex array in ``.npy`` with ``support.npy`` beside it, as cohere
        writes them; or ``.npz`` with one complex volume (bcdi, AutoPhaseNN) and maybe
        its support. Axes in the order rocking, detector_y, detector_x, the centre at
        ``n // 2``.
    dataset
        Name of a group in a CXI file, or of an array in ``.npz`` that holds several.
    sign
        Sign of the exponent in the transform from this object to its pattern. None:
        by the file's program, PyNX -1 and cohere +1. For other programs it is
        unknown, and `displacement` asks for it.

    Returns
    -------
    xarray.Dataset
        ``object`` on ``along_rocking``, ``along_y``, ``along_x`` (the first mode if
        there are several: all in ``modes``), and ``support`` if there is one. Objects
        with sign +1 are conjugated, so that ``fourier_sign`` is -1 as in `retrieve`.

    Raises
    ------
    FileFormatError
        If the file holds no complex volume or no finite number, or its support has
        another shape.
    MissingDependencyError
        If h5py is not installed, for CXI.

    Notes
    -----
    The voxels of a cropped object belong to the box that was phased. Store the points
    of that box in the axes, ``crystal.along_x.attrs["points"] = 256``; otherwise
    `displacement` refuses the geometry of the box.

    Examples
    --------
    >>> import h5py
    >>> import numpy as np
    >>> ball = np.fromfunction(
    ...     lambda *i: sum((k - 8) ** 2 for k in i) < 25, (16, 16, 16)
    ... )
    >>> with h5py.File("modes.cxi", "w") as file:
    ...     file["cxi_version"] = 150
    ...     file["entry_1/image_1/data"] = ball.astype(complex)
    ...     file["entry_1/image_1/data_space"] = b"real"
    ...     file["entry_1/data_1"] = h5py.SoftLink("/entry_1/image_1")
    >>> crystal = batteryxr.read_object("modes.cxi", sign=-1)
    >>> crystal["object"].dims
    ('along_rocking', 'along_y', 'along_x')
    """
    path = Path(path)
    if is_hdf5(path):
        found = _of_cxi(path, dataset)
    else:
        found = _of_npz(path, dataset) if path.suffix == ".npz" else _of_npy(path)
    values = found.values
    if values.dtype.kind != "c" or not 3 <= values.ndim <= 4:
        raise FileFormatError(
            path,
            f"holds {values.dtype} of {values.shape}, not a complex volume. Counts are "
            "read with read_frames.",
        )
    if not np.isfinite(values).any():
        raise FileFormatError(path, f"holds no number in {values.shape} voxels.")
    support = found.support
    if support is not None and support.shape[-3:] != values.shape[-3:]:
        told = f"its support is {support.shape}, its object {values.shape}"
        raise FileFormatError(path, told)
    if sign is None:
        sign = next((s for p, s in _SIGNS.items() if p in found.program.lower()), None)
    values = np.conj(values) if sign == 1 else values
    return _labelled(values.astype(np.complex64), found, sign, path)


def _labelled(
    values: np.ndarray, found: _Found, sign: int | None, path: Path
) -> xr.Dataset:
    support = found.support
    axes: dict[str, Any] = {}
    for dim, n, note in zip(_DIMS, values.shape[-3:], found.axes, strict=True):
        attrs = {"units": "1", "long_name": f"Voxel {dim.replace('_', ' ')}"}
        begin = int(note.get("first", -(n // 2)))
        kept = {k: v for k, v in note.items() if k != "first"}
        axes[dim] = (dim, np.arange(n) + begin, attrs | kept)
    if sign is not None:
        note = {"units": "1", "long_name": "Sign of the forward transform"}
        axes["fourier_sign"] = ((), -1, note)
    first = xr.DataArray(values.reshape(-1, *values.shape[-3:])[0], dims=_DIMS)
    out = {"object": label(first, "object", units="1", long_name="Complex density")}
    if values.ndim == 4:
        modes = xr.DataArray(values, dims=("mode", *_DIMS))
        out["modes"] = label(modes, "modes", units="1", long_name="Mode")
        number = {"units": "1", "long_name": "Mode"}
        axes["mode"] = ("mode", np.arange(len(values)), number)
    if support is not None:
        inside = support.reshape(-1, *support.shape[-3:])[0] > 0
        where = xr.DataArray(inside, dims=_DIMS)
        out["support"] = label(where, "support", units="1", long_name="Support")
    return xr.Dataset(out, coords=axes, attrs={"source_files": [path.name]})


def _of_cxi(path: Path, dataset: str) -> _Found:
    with opened(path) as file:
        if dataset not in file:
            told = f"no group {dataset!r}; it holds {sorted(file)[:12]}. Pass dataset=."
            raise FileFormatError(path, told)
        group = file[dataset]
        names = [n for n in _OBJECTS if n in group and group[n].dtype.kind == "c"]
        if not names:
            told = f"no complex volume: looked for {', '.join(_OBJECTS)} in {dataset!r}"
            raise FileFormatError(path, told)
        values = np.asarray(read_all(group[names[0]]))
        held = next((n for n in _SUPPORTS if n in group), None)
        support = None if held is None else np.asarray(read_all(group[held]))
        notes = tuple(
            {
                k: np.asarray(value).item()
                for k in NOTES
                if (value := attribute(group[names[0]], f"{d}_{k}", None)) is not None
            }
            for d in _DIMS
        )
        return _Found(values, support, _program(file, group), notes)


def _program(file: h5py.Group, group: h5py.Group) -> str:
    """Return the file's text about the program that wrote it."""
    told = [text(attribute(file, n)) for n in ("creator", "program_name")]
    told += [
        text(np.ravel(read_all(group[name]))[0])
        for name in _PROGRAMS
        if name in group and group[name].shape in ((), (1,))
    ]
    return " ".join(told)


def _of_npz(path: Path, dataset: str) -> _Found:
    """Return the complex volume of an archive; of several, the named one."""
    held = arrays_in(path)
    found = [k for k, (n, t) in held.items() if t.kind == "c" and len(n) in (3, 4)]
    chosen = [dataset] if dataset in found else found
    if len(chosen) != 1:
        shapes = {k: n for k, (n, _) in held.items()}
        told = f"holds {len(found)} complex volumes among {shapes}"
        mend = "Fields that were computed from an object are no object."
        if found:
            mend = f"Pass dataset=, one of {found}."
        raise FileFormatError(path, f"{told}. {mend}")
    inside = next((n for n in ("support", "mask") if n in held), None)
    support = None if inside is None else unpacked(path, inside)
    return _Found(unpacked(path, chosen[0]), support, "")


def _of_npy(path: Path) -> _Found:
    values = npy(path)
    beside = path.with_name("support.npy")
    support = npy(beside) if beside.is_file() and beside != path else None
    return _Found(np.asarray(values), support, "")
