"""From the states of all energies to a labelled stack, one energy in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho import store as _ptycho_store
from batteryxr.cdi.ptycho import task as _ptycho_task
from batteryxr.cdi.ptycho.coupling import Spectra
from batteryxr.core import blocks
from batteryxr.core.model import attributes
from batteryxr.core.store import STACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.cdi.ptycho.coupling import Registered


class Objects:
    """The objects of all energies in a store, read when they are asked for.

    Parameters
    ----------
    scan
        The stack; its frames are not read.
    path
        Store of the states.
    """

    def __init__(self, scan: xr.Dataset, path: str) -> None:
        frames = scan["frames"]
        empty = np.broadcast_to(np.zeros((), frames.dtype), frames.shape)
        self._scan = scan.assign(frames=(frames.dims, empty)).drop_vars(
            "probe", errors="ignore"
        )
        self._path = path

    def __len__(self) -> int:
        """Return the number of energies."""
        return self._scan.sizes["energy"]

    def axes(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return y and x of energy `k` in nm."""
        return _ptycho_task.axes(self._scan.isel(energy=k))

    def obj(self, k: int) -> np.ndarray:
        """Return the object of energy `k` (y, x)."""
        return _ptycho_store.read_state(self._path, k, "obj")

    def probe(self, k: int) -> np.ndarray:
        """Return the probe of energy `k` (mode, y, x), its modes orthogonal."""
        from batteryxr.cdi.ptycho.kernels.state import orthogonalise

        modes, _ = orthogonalise(_ptycho_store.read_state(self._path, k, "probe"))
        return np.asarray(modes)

    def light(self, k: int) -> np.ndarray:
        """Return the illumination of energy `k` (y, x)."""
        from batteryxr.cdi.ptycho.kernels.state import State

        probe = _ptycho_store.read_state(self._path, k, "probe")
        positions = _ptycho_store.read_state(self._path, k, "positions")
        light: np.ndarray = State(self.obj(k), probe, positions).light()
        return light

    def residual(self, k: int) -> float:
        """Return the amplitude residual of energy `k` in its last pass."""
        return float(_ptycho_store.read_state(self._path, k, "misfits")[-1])


class _Lazy:
    """Images (energy, ...) that are made when they are asked for."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        image: Callable[[int, slice], np.ndarray],
    ) -> None:
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        self._image = image

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        energies, rows, *rest = key
        chosen = range(*energies.indices(self.shape[0]))
        return np.stack([self._image(k, rows)[(slice(None), *rest)] for k in chosen])


def labelled(
    objects: Objects, found: Registered, misfit: np.ndarray | None, energy: np.ndarray
) -> xr.Dataset:
    """Return the registered stack; absorption, phase and probe are lazy."""
    spectra = Spectra(found, energy)
    relative = spectra.relative
    dark = ~found.grid.inside

    def known(values: np.ndarray, rows: slice) -> np.ndarray:
        return np.where(dark[rows], np.nan, values).astype(values.dtype)

    def absorption(k: int, rows: slice) -> np.ndarray:
        a, _ = spectra.of(found.fields.read(k, rows), relative[k], rows)
        return known(2 * a * relative[k], rows)

    def phase(k: int, rows: slice) -> np.ndarray:
        _, p = spectra.of(found.fields.read(k, rows), relative[k], rows)
        return known(-p * relative[k], rows)

    def transmission(k: int, rows: slice) -> np.ndarray:
        return known(found.fields.read(k, rows), rows)

    def probe(k: int, modes: slice) -> np.ndarray:
        return objects.probe(k)[modes]

    def lazy(kind: Any, image: Callable[[int, slice], np.ndarray]) -> Any:
        shape = found.fields.shape
        chunks = tuple(min(n, c) for n, c in zip(shape, STACK.values(), strict=True))
        return blocks.from_source(_Lazy(shape, kind, image), chunks, name=False)

    stack, image = ("energy", "y", "x"), ("y", "x")
    modes = (len(objects), *objects.probe(0).shape)
    residuals = [objects.residual(k) for k in range(len(objects))]
    one = "1"
    variables: dict[str, tuple[Any, Any, str, str]] = {
        "absorption": (stack, lazy(float, absorption), one, "Absorption μt"),
        "phase": (stack, lazy(float, phase), "rad", "Phase φ"),
        "transmission": (stack, lazy("c8", transmission), one, "Transmission"),
        "amp_residual": (
            "energy",
            residuals,
            one,
            "Σ(|F| - √I)² / ΣI in the last pass",
        ),
        "shift_y": (
            *("energy", found.shifts[:, 0], "nm"),
            "Shift onto the other energies, y",
        ),
        "shift_x": (
            *("energy", found.shifts[:, 1], "nm"),
            "Shift onto the other energies, x",
        ),
        "vacuum": (image, found.vacuum, one, "Vacuum"),
        "flag": (image, dark.astype(np.int8), one, "1: an energy has no light there"),
        "probe": (
            ("energy", "probe_mode", "probe_row", "probe_column"),
            blocks.from_source(_Lazy(modes, "c8", probe), (1, *modes[1:]), name=False),
            one,
            "Probe, in roots of counts",
        ),
    }
    if misfit is not None:
        found_misfit = np.where(dark, np.nan, misfit)
        text = "Phase against absorption, rms"
        variables["kk_misfit"] = (image, found_misfit, "rad", text)
    named = {
        name: (dims, values, attributes(name, units=units, long_name=long_name))
        for name, (dims, values, units, long_name) in variables.items()
    }
    coords: dict[str, Any] = {
        "energy": ("energy", energy, attributes("energy")),
        "y": ("y", found.grid.y, attributes("y")),
        "x": ("x", found.grid.x, attributes("x")),
    }
    return xr.Dataset(named, coords=coords)
