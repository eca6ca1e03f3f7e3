"""Put the objects of all energies on one grid, and relate them to one another."""

from __future__ import annotations

import tempfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.core.units import in_units
from batteryxr.core.xray import absorptive_factor

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from batteryxr.cdi.ptycho.kernels.registration import CommonGrid, Registered
    from batteryxr.cdi.ptycho.settings import KramersKronig, Registration
    from batteryxr.cdi.ptycho.states import Stack, StoredObjects
    from batteryxr.core.store import Location

#: Range of the table that the Kramers-Kronig integral uses beyond the window, eV.
_TABLE = (100.0, 2e5)
#: Bytes, over all energies, that are processed at once.
TILE = 16_000_000


@contextmanager
def registered(
    objects: StoredObjects, store: Location, registration: Registration
) -> Iterator[Registered]:
    """Yield objects on one grid; a file beside the store holds them meanwhile."""
    from batteryxr.cdi.ptycho.kernels.registration import common_grid, register

    grid = common_grid(objects)
    vacuum = registration.vacuum
    empty = None if vacuum is None else _on_grid(vacuum, grid)
    with ImageFile(store, (len(objects), *grid.inside.shape)) as fields:
        yield register(objects, grid, fields, vacuum=empty, shifts=registration.shifts)


def _on_grid(vacuum: xr.DataArray, grid: CommonGrid) -> np.ndarray:
    axes = {
        d: in_units(axis, "nm", caller="vacuum")
        for d, axis in vacuum.coords.items()
        if d in ("y", "x") and "units" in axis.attrs
    }
    there = vacuum.assign_coords(axes).astype(float).interp(y=grid.y, x=grid.x)
    empty: np.ndarray = there.transpose("y", "x").fillna(0.0).values > 0.5
    if not (empty & grid.inside).any():
        raise DataError(
            "vacuum", "no pixel in the field is True", "Mark where the beam went."
        )
    return empty


class Change(NamedTuple):
    """Hold factors (energy, y, x) for the objects, and the misfit before (y, x)."""

    factor: ImageFile
    misfit: np.ndarray


@contextmanager
def constrained(
    found: Registered, energy: np.ndarray, relation: KramersKronig, store: Location
) -> Iterator[Change]:
    """Yield the factors that make absorption and phase agree, in a temporary file.

    Parameters
    ----------
    found
        Objects on one grid.
    energy : (energy,)
        Energies in eV.
    relation
        Known relation of absorption and phase.
    store
        Location of the store of the objects.
    """
    from batteryxr.cdi.ptycho.kernels.constraint import Constraint, constrain

    near = np.linspace(0.8, 1.2, 400) * energy.mean()
    table = np.unique(np.r_[np.geomspace(*_TABLE, 1000), near])
    values = absorptive_factor(relation.formula, table)
    constraint = Constraint(energy, table, values, relation.degree)
    with ImageFile(store, (energy.size, *found.grid.inside.shape)) as factor:
        share = relation.relaxation
        yield Change(factor, constrain(found, energy, constraint, share, factor))


def coupled_objects(
    objects: StoredObjects, found: Registered, change: Change
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield number and changed object of each energy, on its own grid.

    One object is in memory at a time.
    """
    from batteryxr.cdi.ptycho.kernels.alignment import resampled

    grid = found.grid
    for k, (y, x) in enumerate(found.shifts):
        own_y, own_x = objects.axes(k)
        there = own_y + y, own_x + x
        factor = resampled(change.factor.read(k), grid.y, grid.x, *there, order=1)
        yield str(k), (objects.obj(k) * factor).astype(np.complex64)


def apply_change(found: Registered, change: Change) -> Registered:
    """Multiply registered objects by the factors that make them agree."""
    from dataclasses import replace

    from batteryxr.cdi.ptycho.kernels.images import mean_of

    for k in range(len(change.factor)):
        found.fields.write(k, found.fields.read(k) * change.factor.read(k))
    return replace(found, mean=mean_of(found.fields))


class ImageFile:
    """Hold a stack (energy, y, x) of complex64 on disk, with few rows in memory.

    The file has no name where the system allows it, and disappears once it is closed,
    also after a kill. It is read in parts: a memory map would count as memory of the
    process.

    Parameters
    ----------
    store
        Store that the file belongs to: the file lies beside it if that is a folder.
    shape
        Numbers of energies, rows and columns.
    """

    dtype = np.dtype("<c8")

    def __init__(self, store: Location, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        folder = store.folder.parent if store.folder else None
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
        """Yield row ranges that are small enough to hold for all energies at once."""
        line = len(self) * self.shape[2] * self.dtype.itemsize
        step = max(1, TILE // max(line, 1))
        for start in range(0, self.shape[1], step):
            yield slice(start, min(start + step, self.shape[1]))

    def close(self) -> None:
        """Release the space on the disk."""
        self._file.close()

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def tied(stack: Stack, found: Registered) -> tuple[Registered, np.ndarray | None]:
    """Return the objects after the last iteration, and the Kramers-Kronig misfit."""
    relation = stack.kramers_kronig
    if relation is None:
        return found, None
    with constrained(found, stack.energy, relation, stack.store) as change:
        if relation.is_due(stack.settings.iterations):
            found = apply_change(found, change)
        return found, change.misfit
