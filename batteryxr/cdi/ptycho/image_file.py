"""Images of all energies in a file: written one by one, read one by one or by rows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from batteryxr.cdi.ptycho.store import STATES

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of all energies that are worked on at once.
TILE = 16_000_000


class Scratch:
    """A stack (energy, y, x) of complex64 on disk, of which little is in memory.

    To zarr it is an array of one chunk without compression. That chunk's file is read
    and written in parts: chunks would be small for one of the two directions, and a
    memory map would count as the process's own memory.

    Parameters
    ----------
    store
        The zarr store.
    name
        Of the array; replaced if it is there.
    shape
        Numbers of energies, rows and columns.
    """

    dtype = np.dtype("<c8")

    def __init__(self, store: str, name: str, shape: tuple[int, int, int]) -> None:
        import zarr

        self.shape = shape
        self._folder = Path(store) / STATES / name
        zarr.create_array(
            store, name=f"{STATES}/{name}", shape=shape, chunks=shape,
            dtype=self.dtype, compressors=None, overwrite=True,
        )  # fmt: skip
        self.path = self._folder / "c" / "0" / "0" / "0"
        self.path.parent.mkdir(parents=True)
        with self.path.open("wb") as file:
            file.truncate(int(np.prod(shape)) * self.dtype.itemsize)

    def __len__(self) -> int:
        """Return the number of energies."""
        return self.shape[0]

    def read(self, k: int, rows: slice = slice(None)) -> np.ndarray:
        """Return the image of energy `k`, or rows of it."""
        with self.path.open("rb") as file:
            return self._part(file, k, rows)

    def rows(self, rows: slice) -> np.ndarray:
        """Return rows (energy, r, x) of all energies."""
        with self.path.open("rb") as file:
            return np.stack([self._part(file, k, rows) for k in range(len(self))])

    def _part(self, file: BinaryIO, k: int, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[1])
        file.seek(self._place(k, start))
        found = np.fromfile(file, self.dtype, (stop - start) * self.shape[2])
        return found.reshape(-1, self.shape[2])

    def write(self, k: int, values: np.ndarray, start: int = 0) -> None:
        """Write rows from `start` on of the image of energy `k`."""
        with self.path.open("r+b") as file:
            file.seek(self._place(k, start))
            file.write(np.ascontiguousarray(values, self.dtype).data)

    def _place(self, k: int, row: int) -> int:
        return (k * self.shape[1] + row) * self.shape[2] * self.dtype.itemsize

    def tiles(self) -> Iterator[slice]:
        """Yield rows that are few enough to hold those of all energies."""
        line = len(self) * self.shape[2] * self.dtype.itemsize
        step = max(1, TILE // max(line, 1))
        for start in range(0, self.shape[1], step):
            yield slice(start, min(start + step, self.shape[1]))

    def remove(self) -> None:
        """Delete the array."""
        shutil.rmtree(self._folder)
