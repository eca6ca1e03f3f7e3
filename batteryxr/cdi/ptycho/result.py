"""Labelled results: one state, or a stack with one energy in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho.experiment import lateral
from batteryxr.core import blocks
from batteryxr.core.device import to_numpy
from batteryxr.core.model import attributes
from batteryxr.core.store import STACK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.metrics import TwoHalves
    from batteryxr.cdi.ptycho.kernels.registration import Registered
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.cdi.ptycho.states import StoredObjects

IMAGE, ALL = ("y", "x"), ("energy", "y", "x")
RESIDUAL = "Σ(|F| - √I)² / ΣI"
_NOISE = f"{RESIDUAL} of counting noise, at most"


class Labelled(NamedTuple):
    """Hold a variable of a result, before its name is known."""

    dims: str | tuple[str, ...]
    values: Any
    units: str
    long_name: str

    def under(self, name: str) -> tuple[Any, Any, dict[str, Any]]:
        """Return the variable as xarray takes it."""
        named = attributes(name, units=self.units, long_name=self.long_name)
        return self.dims, self.values, named


def labelled_state(
    experiment: Experiment, state: State, coords: Mapping[Any, Any], frames: int
) -> xr.Dataset:
    """Label a state: object and probe in nm, positions, residuals and modes.

    Frames that were left out get NaN as corrections of their positions.

    Parameters
    ----------
    experiment
        Experiment that was reconstructed.
    state
        State after the last iteration.
    coords
        Coordinates of the scan to keep.
    frames
        Number of frames of the scan, with those that were left out.
    """
    from batteryxr.cdi.ptycho.kernels.loop import BACKGROUND, INTENSITY
    from batteryxr.cdi.ptycho.kernels.state import orthogonalise
    from batteryxr.cdi.ptycho.kernels.unsteady import FIELDS, SHARES

    probe, shares = orthogonalise(to_numpy(state.probe))
    residuals, seen = state.residuals(), experiment.seen
    assert seen is not None, "look at the frames first: `examined`"
    modes = ("probe_mode", "probe_y", "probe_x")
    found = {
        "transmission": Labelled(IMAGE, to_numpy(state.obj), "1", "Transmission"),
        "probe": Labelled(modes, probe, "1", "Probe, in roots of counts"),
        "illumination": Labelled(
            IMAGE, to_numpy(state.light()), "1", "Counts per object pixel"
        ),
        "amp_residual": Labelled("iteration", residuals, "1", RESIDUAL),
        "noise_residual": Labelled((), seen.noise_residual, "1", _NOISE),
        "mode_weight": Labelled("probe_mode", shares, "1", "Fraction of the power"),
    }
    shifts = np.full((frames, 2), np.nan)
    numbers = slice(None) if experiment.numbers is None else experiment.numbers
    shifts[numbers] = (state.positions - experiment.corners) * experiment.pixel
    for k, axis in enumerate("yx"):
        found[f"position_shift_{axis}"] = Labelled(
            "position", shifts[:, k], "nm", f"Correction of the position {axis}"
        )
    if BACKGROUND in state.memory:
        background = np.fft.fftshift(to_numpy(state.memory[BACKGROUND]))
        light = np.full(frames, np.nan)
        light[numbers] = to_numpy(state.memory[INTENSITY])
        found["background"] = Labelled(
            ("detector_y", "detector_x"), background, "1", "Background, counts"
        )
        found["intensity"] = Labelled("position", light, "1", "Light of a frame")
    if FIELDS in state.memory:
        fields = to_numpy(state.memory[FIELDS])
        parts = np.full((frames, len(fields)), np.nan, np.complex64)
        parts[numbers] = to_numpy(state.memory[SHARES])
        found["probe_variation"] = Labelled(
            ("variation", *modes[1:]), fields, "1", "Variation of the first mode"
        )
        found["variation_share"] = Labelled(
            ("position", "variation"), parts, "1", "Variations in a frame's probe"
        )
    beside = lateral(probe.shape[-1], experiment.pixel)
    axes = {
        "y": Labelled("y", experiment.y, "nm", "y"),
        "x": Labelled("x", experiment.x, "nm", "x"),
        "probe_y": Labelled("probe_y", beside, "nm", "y in the probe"),
        "probe_x": Labelled("probe_x", beside, "nm", "x in the probe"),
        "probe_mode": Labelled(
            "probe_mode", np.arange(1, len(probe) + 1), "1", "Probe mode"
        ),
        "iteration": Labelled(
            "iteration", np.arange(1, residuals.size + 1), "1", "Pass"
        ),
    }
    own = {name: axis.under(name) for name, axis in axes.items()}
    kept = {str(name): c for name, c in coords.items() if name not in own}
    return xr.Dataset({k: v.under(k) for k, v in found.items()}, coords=own | kept)


def labelled_stack(
    objects: StoredObjects,
    found: Registered,
    misfit: np.ndarray | None,
    energy: np.ndarray,
    frames: int,
) -> xr.Dataset:
    """Label the registered stack; absorption, phase, object and probe are lazy.

    Parameters
    ----------
    objects
        Objects, each on its own grid.
    found
        Objects on the common grid.
    misfit : (y, x) or None
        Misfit between absorption and phase, rad.
    energy : (energy,)
        Energies in eV.
    frames
        Number of frames at each energy, with those that were left out.
    """
    dark = ~found.grid.inside
    modes = (len(objects), *objects.probe(0).shape)
    every = range(len(objects))
    residuals = np.stack([objects.residuals(k) for k in every])
    moves = np.stack([objects.shifts(k, frames) for k in every])
    probe = _Lazy(modes, "c8", lambda k, rows: objects.probe(k)[rows])
    dims = ("energy", "probe_mode", "probe_row", "probe_column")
    named = _images(found, energy) | {
        "amp_residual": Labelled(
            "energy", residuals[:, -1], "1", f"{RESIDUAL} in the last pass"
        ),
        "residuals": Labelled(("energy", "iteration"), residuals, "1", RESIDUAL),
        "noise_residual": Labelled("energy", objects.noise(), "1", _NOISE),
        "vacuum": Labelled(IMAGE, found.vacuum, "1", "Vacuum"),
        "flag": Labelled(
            IMAGE, dark.astype(np.int8), "1", "1: an energy has no light there"
        ),
        "probe": Labelled(
            dims, probe.chunked((1, *modes[1:])), "1", "Probe, in roots of counts"
        ),
    }
    named |= _own_objects(objects)
    told = [b for b in map(objects.background, every) if b is not None]
    if told:
        named["background"] = Labelled(
            ("detector_y", "detector_x"), np.max(told, 0), "1", "Background, counts"
        )
    for k, axis in enumerate("yx"):
        named[f"shift_{axis}"] = Labelled(
            "energy", found.shifts[:, k], "nm", f"Shift onto the other energies, {axis}"
        )
        named[f"position_shift_{axis}"] = Labelled(
            ("energy", "position"),
            moves[:, :, k],
            "nm",
            f"Correction of the position {axis}",
        )
    if misfit is not None:
        known = np.where(dark, np.nan, misfit)
        named["kk_misfit"] = Labelled(
            IMAGE, known, "rad", "Phase against absorption, rms"
        )
    coords: dict[str, Any] = {
        "energy": ("energy", energy, attributes("energy")),
        "y": ("y", found.grid.y, attributes("y")),
        "x": ("x", found.grid.x, attributes("x")),
        "iteration": (
            "iteration",
            np.arange(1, residuals.shape[1] + 1),
            {"units": "1", "long_name": "Pass"},
        ),
    }
    return xr.Dataset({k: v.under(k) for k, v in named.items()}, coords=coords)


def _own_objects(objects: StoredObjects) -> dict[str, Labelled]:
    """Return each object on its own grid, lazily; NaN outside."""
    axes = [objects.axes(k) for k in range(len(objects))]
    shape = [max(pair[side].size for pair in axes) for side in (0, 1)]

    def padded(values: np.ndarray, sizes: list[int]) -> np.ndarray:
        more = [(0, n - m) for n, m in zip(sizes, values.shape, strict=True)]
        return np.pad(values, more, constant_values=np.nan)

    whole = _Lazy(
        (len(axes), *shape), "c8", lambda k, rows: padded(objects.obj(k), shape)[rows]
    )
    dims = ("energy", "row", "column")
    own = {
        "own_transmission": Labelled(
            dims, whole.chunked((1, *shape)), "1", "Transmission on its own grid"
        )
    }
    for side, axis in enumerate("yx"):
        values = np.stack([padded(pair[side], shape[side : side + 1]) for pair in axes])
        name = f"{axis} of the own grid"
        own[f"own_{axis}"] = Labelled(("energy", dims[side + 1]), values, "nm", name)
    return own


def labelled_scatter(found: TwoHalves, whole: Registered, unseen: float) -> xr.Dataset:
    """Label the comparison of two half scans: errors, ring correlation, resolution.

    Parameters
    ----------
    found
        Differences of the halves.
    whole
        Registered stack.
    unseen
        Share of a value that the comparison cannot see.
    """
    from batteryxr.cdi.ptycho.kernels.alignment import unwrapped
    from batteryxr.cdi.ptycho.kernels.metrics import half_period, transfer_of

    dark, pixel = ~whole.grid.inside, whole.grid.pixel
    mean = np.where(dark, 1.0, whole.mean)
    values = (
        -2 * np.log(np.maximum(np.abs(mean), 1e-6)),
        unwrapped(np.angle(mean), whole.vacuum),
    )
    n = len(whole.fields)
    rings = ("energy", "frequency")
    prtf = transfer_of(found.correlation)
    named = {
        "frc": Labelled(rings, found.correlation, "1", "FRC of two halves"),
        "frc_half_bit": Labelled(rings, found.limit, "1", "½-bit threshold"),
        "prtf": Labelled(rings, prtf, "1", "√(2 C / (1 + C)) of the FRC"),
    }
    ends = {
        "half_bit": (found.correlation, found.limit, "½-bit threshold"),
        "prtf": (prtf, np.full(found.limit.shape, np.exp(-1.0)), "PRTF of 1/e"),
    }
    for name, (curves, limits, text) in ends.items():
        pairs = zip(curves, limits, strict=True)
        half = [half_period(found.frequency, c, t) * pixel for c, t in pairs]
        named[f"half_period_{name}"] = Labelled(
            "energy", half, "nm", f"Half period at the {text}"
        )
    for i, (name, units) in enumerate({"absorption": "1", "phase": "rad"}.items()):

        def error(k: int, rows: slice, i: int = i) -> np.ndarray:
            sd = np.sqrt(np.maximum(found.maps[i][rows], 0.0) * found.shares[i, k])
            return np.where(dark[rows], np.nan, sd)

        lazy = _Lazy((n, *dark.shape), float, error).chunked((1, *dark.shape))
        text = f"{name.capitalize()}, standard deviation"
        named[f"{name}_error"] = Labelled(ALL, lazy, units, text)
        common = np.hypot(found.common[i], unseen * values[i])
        common = np.where(dark, np.nan, common)
        named[f"{name}_error_common"] = Labelled(
            IMAGE, common, units, f"{text} common to all energies"
        )
    along = {"units": "1/nm", "long_name": "Spatial frequency"}
    coords = {"frequency": ("frequency", found.frequency / pixel, along)}
    return xr.Dataset({k: v.under(k) for k, v in named.items()}, coords=coords)


def _images(found: Registered, energy: np.ndarray) -> dict[str, Labelled]:
    """Return absorption, phase and object, NaN where an energy has no light."""
    from batteryxr.cdi.ptycho.kernels.constraint import Spectra

    spectra = Spectra(found, energy)
    relative, fields = spectra.relative, found.fields
    dark = ~found.grid.inside

    def known(values: np.ndarray, rows: slice) -> np.ndarray:
        return np.where(dark[rows], np.nan, values).astype(values.dtype)

    def absorption(k: int, rows: slice) -> np.ndarray:
        a, _ = spectra.of(fields.read(k, rows), relative[k], rows)
        return known(2 * a * relative[k], rows)

    def phase(k: int, rows: slice) -> np.ndarray:
        _, p = spectra.of(fields.read(k, rows), relative[k], rows)
        return known(-p * relative[k], rows)

    def transmission(k: int, rows: slice) -> np.ndarray:
        return known(fields.read(k, rows), rows)

    def lazy(kind: Any, image: Callable[[int, slice], np.ndarray]) -> Any:
        pairs = zip(fields.shape, STACK.values(), strict=True)
        return _Lazy(fields.shape, kind, image).chunked(
            tuple(min(n, c) for n, c in pairs)
        )

    return {
        "absorption": Labelled(ALL, lazy(float, absorption), "1", "Absorption μt"),
        "phase": Labelled(ALL, lazy(float, phase), "rad", "Phase φ"),
        "transmission": Labelled(ALL, lazy("c8", transmission), "1", "Transmission"),
    }


class _Lazy:
    """Hold images (energy, ...) that are computed on demand."""

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

    def chunked(self, chunks: tuple[int, ...]) -> Any:
        """Return the images as a lazy array."""
        return blocks.from_source(self, chunks, name=False)
