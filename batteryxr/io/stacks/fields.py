"""Read frames without sample and without beam that lie beside a stack in HDF5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core import blocks
from batteryxr.io.door.counts import only_counts
from batteryxr.io.door.datasets import read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import h5py

    from batteryxr.io.stacks.assembly import RawStack

#: Names of flat and dark frames: Data Exchange, FXI (NSLS-II).
_FLATS, _DARKS = ("data_white", "img_bkg"), ("data_dark", "img_dark")
#: Signal of FXI, which most of its programs divide by the flat frames.
_DIVIDED = "img_xanes"
#: Largest transmission, and least counts of a flat frame.
_TRANSMITTED, _COUNTED = 5.0, 20.0
#: Brightest part of a raw frame, as a share of a flat frame.
_LEAST, _MOST = 0.02, 1.5


class Fields(NamedTuple):
    """Hold flat and dark frames, an I0 of 1 for divided frames, and notes."""

    flat: Any = None
    dark: Any = None
    i0: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def read_fields(
    path: Path,
    group: h5py.Group,
    values: h5py.Dataset,
    sizes: dict[str, int],
    lazy: Callable[[h5py.Dataset], Any],
) -> Fields:
    """Return the flat and dark frames beside a stack, and what they are for.

    Parameters
    ----------
    path, group, values
        File, group and frames of the stack.
    sizes
        Length of each axis of the frames.
    lazy
        Opens a dataset lazily.
    """
    notes: list[str] = []
    flat, dark = (_frames(group, names, sizes) for names in (_FLATS, _DARKS))
    if flat is not None and values.name.endswith(_DIVIDED):
        signal, empty = _level(values), _level(flat)
        if signal <= _TRANSMITTED and empty >= _COUNTED:
            note = f"{path.name}: frames are divided by flat frames already, so i0 is 1"
            return Fields(i0=np.ones(sizes["energy"]), notes=(note,))
        if empty < _COUNTED or not _LEAST < signal / empty < _MOST:
            note = (
                f"{path.name}: {flat.name} does not look like the flat frames of "
                f"{values.name}, and is left out. Pass i0= to optical_density"
            )
            return Fields(notes=(note,))
    flats, darks = (_each(path, node, sizes, lazy, notes) for node in (flat, dark))
    return Fields(flats, darks, None, tuple(notes))


def joined(parts: Sequence[RawStack], name: str) -> Any:
    """Return flat or dark frames of several files, one for each energy, or None."""
    fields = [getattr(part, name) for part in parts]
    if any(field is None for field in fields):
        return None
    wide = []
    for part, field in zip(parts, fields, strict=True):
        n = part.data.shape[part.dims.index("energy")]
        wide += [field] if field.ndim == 3 else [np.stack([field] * n)]
    return blocks.concatenate(wide)


def _frames(
    group: h5py.Group, names: Sequence[str], sizes: dict[str, int]
) -> h5py.Dataset | None:
    """Return the first dataset of that name with images like those of the stack."""
    images = sizes.get("y"), sizes.get("x")
    nodes = [group[name] for name in names if name in group]
    fit = (v for v in nodes if getattr(v, "ndim", 0) in (2, 3))
    return next((v for v in fit if v.shape[-2:] == images), None)


def _level(node: h5py.Dataset) -> float:
    """Return what most pixels of a middle frame do not exceed."""
    frame = node[len(node) // 2] if node.ndim == 3 else node[()]
    return float(np.nanpercentile(np.asarray(frame, dtype=float), 90))


def _each(
    path: Path,
    node: h5py.Dataset | None,
    sizes: dict[str, int],
    lazy: Callable[[h5py.Dataset], Any],
    notes: list[str],
) -> Any:
    """Return one frame for each energy if there are so many, else their mean."""
    if node is None:
        return None
    n = sizes.get("energy", 1)
    count = node.shape[0] if node.ndim == 3 else 1
    if count == n and n > 1:
        return lazy(node)
    if n > 1 and node.name.endswith(_FLATS):
        notes.append(
            f"{path.name}: {count} flat frames for {n} energies, whose mean is used at "
            "all of them: how the beam changes with energy stays in the spectra"
        )
    frames = only_counts(np.asarray(read_all(node)), path.name).astype(float)
    return np.asarray(frames.reshape(-1, *node.shape[-2:]).mean(axis=0))
