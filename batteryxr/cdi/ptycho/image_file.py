"""Images of all energies in a file: written one by one, read one by one or by rows."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of all energies that are worked on at once.
TILE = 16_000_000


class ImageFile:
    """A stack (energy, y, x) of complex64 on disk, of which little is in memory.

    The file has no name where the system can do so, and is gone once it is closed,
    also after a kill. It is read in parts: a memory map would count as the process's
    own memory.

    Parameters
    ----------
    store
        The store that it belongs to: the file lies on the same disk, beside it.
    shape
        Numbers of energies, rows and columns.
    """

    dtype = np.dtype("<c8")

    def __init__(self, store: str | Path, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        folder = Path(store).absolute().parent
        self._file: Any = tempfile.TemporaryFile(  # noqa: SIM115 (`close`)
            dir=folder, prefix=".batteryxr-"
        )
        self._file.truncate(int(np.prod(shape)) * self.dtype.itemsize)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of energies."""
        return self.shape[0]

    def read(self, k: int, rows: slice = slice(None)) -> np.ndarray:
        """Return the image of energy `k`, or rows of it."""
        start, stop, _ = rows.indices(self.shape[1])
        found = np.empty((stop - start, self.shape[2]), self.dtype)
        with self._lock:
            self._file.seek(self._place(k, start))
            self._file.readinto(found.view(np.uint8).data)
        return found

    def rows(self, rows: slice) -> np.ndarray:
        """Return rows (energy, r, x) of all energies."""
        return np.stack([self.read(k, rows) for k in range(len(self))])

    def write(self, k: int, values: np.ndarray, start: int = 0) -> None:
        """Write rows from `start` on of the image of energy `k`."""
        part = np.ascontiguousarray(values, self.dtype)
        with self._lock:
            self._file.seek(self._place(k, start))
            self._file.write(part.view(np.uint8).data)

    def _place(self, k: int, row: int) -> int:
        return (k * self.shape[1] + row) * self.shape[2] * self.dtype.itemsize

    def tiles(self) -> Iterator[slice]:
        """Yield rows that are few enough to hold those of all energies."""
        line = len(self) * self.shape[2] * self.dtype.itemsize
        step = max(1, TILE // max(line, 1))
        for start in range(0, self.shape[1], step):
            yield slice(start, min(start + step, self.shape[1]))

    def close(self) -> None:
        """Give its place on the disk back."""
        self._file.close()

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
