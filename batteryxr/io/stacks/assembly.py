"""Describe a raw energy stack, and build its lazy frames one file at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import FileFormatError
from batteryxr.io.door.counts import counts_type, only_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: Largest frame in bytes; a header that gives more is damaged.
LARGEST = 2_000_000_000
#: Range of photon energies at beamlines (eV).
_ENERGIES = (1.0, 1e6)


@dataclass(frozen=True)
class RawStack:
    """Hold frames or spectra of one scan, in eV and nm, not yet labelled.

    Parameters
    ----------
    data
        Dask array along `dims`.
    energy
        Energy of each frame (eV); None if the file does not give it.
    dims
        Names of the axes of `data`.
    y, x
        Positions (nm) of rows and columns; None if the file does not give them.
    quantity
        "intensity", "transmission" (complex) or "absorption".
    i0
        (energy,) incident intensity, if it was measured with the scan.
    flat, dark
        Frames without sample, and frames without beam: their mean (y, x), or one for
        each energy (energy, y, x).
    instrument
        Kind of file.
    header
        Other entries of the file's header.
    notes
        Warnings for the user, as sentences.
    """

    data: Any
    energy: np.ndarray | None
    dims: tuple[str, ...] = ("energy", "y", "x")
    y: np.ndarray | None = None
    x: np.ndarray | None = None
    quantity: str = "intensity"
    i0: np.ndarray | None = None
    flat: Any = None
    dark: Any = None
    instrument: str = ""
    header: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def frame_by_frame(
    load: Callable[..., np.ndarray],
    places: Sequence[tuple[Any, ...]],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    *,
    counts: bool = True,
) -> Any:
    """Return a dask array (frame, y, x) whose frames `load` reads one at a time.

    Parameters
    ----------
    load
        Function of one of `places`, then `shape` and `dtype`.
    places
        Place of each frame: the stamp of its file, and further arguments of `load`.
    shape, dtype
        Shape and type of one frame in the file.
    counts
        Whether integers are counts, which become float32.
    """

    def one(place: tuple[Any, ...]) -> Any:
        return blocks.from_call(
            _frame,
            load,
            place,
            shape,
            dtype,
            counts,
            shape=(1, *shape),
            dtype=counts_type(dtype) if counts else dtype,
        )

    return blocks.concatenate([one(place) for place in places])


def _frame(
    load: Callable[..., np.ndarray],
    place: tuple[Any, ...],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    counts: bool,
) -> np.ndarray:
    about = place[0]
    about.check()
    frame = load(*place, shape, dtype)
    if counts:
        return only_counts(frame, about.path.name)[None]
    return frame.astype(dtype, copy=False)[None]


def check_shape(path: Path, shape: tuple[int, ...], itemsize: int) -> None:
    """Raise if a header gives a frame size that no instrument has.

    Raises
    ------
    FileFormatError
        If a side is below one, or the frame is larger than `LARGEST`.
    """
    size = itemsize
    for side in shape:
        size *= int(side)
    if min(shape) < 1 or size > LARGEST:
        raise FileFormatError(
            path, f"frames of {shape} pixels cannot be: the header is damaged."
        )


def check_energies(path: Path, energies: np.ndarray) -> None:
    """Raise if energies in eV are impossible.

    Raises
    ------
    FileFormatError
        If an energy is not finite, below 1 eV or above 1 MeV.
    """
    low, high = _ENERGIES
    wrong = ~((energies >= low) & (energies <= high))
    if wrong.any():
        k = int(np.argmax(wrong))
        raise FileFormatError(
            path,
            f"energy {k + 1} of {energies.size} is {energies[k]:g} eV, which cannot "
            "be. The file looks damaged, or pass energy=.",
        )
