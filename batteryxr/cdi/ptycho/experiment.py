"""One reconstruction: from a labelled scan to a state, and from a state to a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho.frames import Streamed, load_all, mean_counts
from batteryxr.cdi.ptycho.scan import pixel_size
from batteryxr.core.device import to_device, to_numpy
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.cdi.ptycho.kernels.loop import Options, Plan, Source
    from batteryxr.cdi.ptycho.kernels.state import State

#: Room round the object for positions that move, in pixels.
MARGIN = 6


@dataclass(frozen=True)
class Task:
    """All that a reconstruction depends on, beside the scan.

    Parameters
    ----------
    options
        Of the engine.
    seed
        Of all randomness.
    n_modes
        Probe modes.
    probe_from, positions_from
        First passes that update the probe, and the positions (None: never).
    calm_from
        First pass of smaller steps; None: never.
    subpixel
        Whether parts of pixels in positions count.
    block
        Frames per block, which sets the order in which they are visited.
    streamed
        Whether blocks are read anew in each pass.
    device
        Where it runs.
    """

    options: Options
    seed: tuple[int, ...]
    n_modes: int
    probe_from: int
    positions_from: int | None
    calm_from: int | None
    subpixel: bool
    block: int | None
    streamed: bool
    device: str

    def plan(self) -> Plan:
        """Return the plan of the passes."""
        from batteryxr.cdi.ptycho.kernels.loop import Plan

        return Plan(
            self.options,
            self.seed,
            probe_from=self.probe_from,
            positions_from=self.positions_from,
            calm_from=self.calm_from,
        )


def weight(scan: xr.Dataset) -> np.ndarray:
    """Return 1 where a detector pixel counts, origin in the corner."""
    n = scan.sizes["detector_x"]
    if "mask" not in scan:
        return np.ones((n, n), np.float32)
    good = (scan["mask"].values == 0).astype(np.float32)
    if not good.any():
        raise ArgumentError("mask", "all bad", "a pixel that counts")
    return np.fft.ifftshift(good)


def geometry(scan: xr.Dataset) -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
    """Return corners (j, 2) in pixels, the object's shape, and its origin in pixels."""
    from batteryxr.cdi.ptycho.kernels.state import frame_of

    pixel = float(pixel_size(scan))
    n = scan.sizes["detector_x"]
    both = [scan[f"position_{axis}"].values for axis in "yx"]
    corners = np.stack(both, axis=-1) / pixel - n // 2
    shape, origin = frame_of(corners, n, MARGIN)
    return corners - origin, shape, origin


def axes(scan: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x of the object in nm."""
    pixel = float(pixel_size(scan))
    _, shape, origin = geometry(scan)
    y, x = ((origin[i] + np.arange(shape[i])) * pixel for i in (0, 1))
    return y, x


def start(scan: xr.Dataset, task: Task) -> State:
    """Return the first state: a unit object and the probe with the frames' power."""
    from batteryxr.cdi.ptycho.kernels.state import State, add_modes

    positions, shape, _ = geometry(scan)
    if not task.subpixel:
        positions = np.rint(positions)
    probe = scan["probe"].values.astype(np.complex64)
    power = np.sum(np.abs(probe) ** 2)
    if not power > 0:
        raise ArgumentError("probe", "zero", "a probe with power")
    used = [m for m in probe if np.any(m)]
    probe = np.ascontiguousarray(used[: task.n_modes])
    counts = mean_counts(scan["frames"], weight(scan))
    if not counts > 0:
        raise ArgumentError("frames", "no counts", "light where the mask leaves pixels")
    rng = np.random.default_rng(np.random.SeedSequence([*task.seed, 1]))
    probe = add_modes(probe, task.n_modes, rng)
    probe = probe * np.sqrt(counts / np.sum(np.abs(probe) ** 2))
    bring = to_device(task.device, purpose="ptychography")
    obj = np.ones(shape, np.complex64)
    return State(bring(obj), bring(probe.astype(np.complex64)), positions)


def follow(
    scan: xr.Dataset,
    task: Task,
    obj: np.ndarray,
    probe: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
) -> State:
    """Return the first state: object and probe of another energy on this one's grids.

    Parameters
    ----------
    scan, task
        What is to be reconstructed.
    obj : (y, x)
    probe : (mode, n, n)
    y, x
        Of the object, in nm.
    """
    from batteryxr.cdi.ptycho.kernels.registration import resampled

    state = start(scan, task)
    n, bring = probe.shape[-1], to_device(task.device, purpose="ptychography")
    lateral = np.arange(n) - n // 2
    theirs, ours = lateral * (y[1] - y[0]), lateral * float(pixel_size(scan))
    modes = np.stack([resampled(m, theirs, theirs, ours, ours) for m in probe])
    power = float(np.sum(np.abs(to_numpy(state.probe)) ** 2))
    modes *= np.sqrt(power / np.sum(np.abs(modes) ** 2))
    state.obj = bring(resampled(obj, y, x, *axes(scan)).astype(np.complex64))
    state.probe = bring(modes.astype(np.complex64))
    return state


def source(scan: xr.Dataset, task: Task) -> Source:
    """Return where the frames come from."""
    from batteryxr.cdi.ptycho.kernels.loop import InMemory, edges

    frames = scan["frames"].transpose("position", "detector_y", "detector_x")
    bring = to_device(task.device, purpose="ptychography")
    if task.streamed:
        return Streamed(frames, edges(frames.shape[0], task.block), bring)
    return InMemory(bring(load_all(frames)), task.block)


def power(scan: xr.Dataset, frames: Source) -> float:
    """Return the counts of all frames where the mask leaves pixels."""
    total = 0.0
    for _, block in frames.blocks(np.random.default_rng(0)):
        counts = to_numpy(block.sum(0, dtype=sum_type(block)))
        total += float(np.sum(counts * weight(scan), dtype=float))
    return total


def sum_type(block: Any) -> Any:
    """Return a type of the array's library in which counts add up exactly."""
    if hasattr(block, "detach"):
        import torch

        return torch.float64
    return np.float64


def advance(
    scan: xr.Dataset,
    task: Task,
    state: State,
    until: int,
    watch: Callable[[State, float], None] | None = None,
    frames: Source | None = None,
) -> list[float]:
    """Run passes until `until`; return the amplitude residual of each."""
    from batteryxr.cdi.ptycho.kernels.loop import run

    used = weight(scan)
    frames = source(scan, task) if frames is None else frames
    misfits = run(
        task.plan(),
        state,
        frames,
        to_device(task.device, purpose="ptychography")(used),
        until,
        watch=watch,
    )
    return misfits


def result(scan: xr.Dataset, state: State, misfits: np.ndarray) -> xr.Dataset:
    """Label a state: object and probe in nm, positions, residuals and modes."""
    from batteryxr.cdi.ptycho.kernels.state import orthogonalise

    pixel = float(pixel_size(scan))
    _, _, origin = geometry(scan)
    obj = to_numpy(state.obj)
    probe, shares = orthogonalise(to_numpy(state.probe))
    n = probe.shape[-1]
    corners = state.positions + origin
    light = to_numpy(state.light())
    nm = {"units": "nm"}
    lateral = (np.arange(n) - n // 2) * pixel
    moved = corners + n // 2
    at = [scan[f"position_{a}"].values for a in "yx"]
    per_pass = np.asarray(misfits, float)

    def known(name: str, units: str, long_name: str) -> dict[str, Any]:
        return attributes(name, units=units, long_name=long_name)

    variables = {
        "transmission": (
            ("y", "x"),
            obj,
            known("transmission", "1", "Transmission"),
        ),
        "probe": (
            ("probe_mode", "probe_y", "probe_x"),
            probe,
            known("probe", "1", "Probe, in roots of counts"),
        ),
        "illumination": (
            ("y", "x"),
            light,
            known("illumination", "1", "Counts per object pixel"),
        ),
        "amp_residual": (
            ("iteration",),
            per_pass,
            known("amp_residual", "1", "Σ(|F| - √I)² / ΣI"),
        ),
        "mode_weight": (
            ("probe_mode",),
            shares,
            known("mode_weight", "1", "Share of the power"),
        ),
    }
    for k, axis in enumerate("yx"):
        variables[f"position_shift_{axis}"] = (
            ("position",),
            moved[:, k] * pixel - at[k],
            known(f"position_shift_{axis}", "nm", f"Correction of the position {axis}"),
        )
    steps = np.arange(1, per_pass.size + 1)
    coords: dict[str, Any] = {
        "y": ("y", (origin[0] + np.arange(obj.shape[0])) * pixel, nm),
        "x": ("x", (origin[1] + np.arange(obj.shape[1])) * pixel, nm),
        "probe_y": ("probe_y", lateral, nm | {"long_name": "y in the probe"}),
        "probe_x": ("probe_x", lateral, nm | {"long_name": "x in the probe"}),
        "probe_mode": (
            "probe_mode",
            np.arange(1, probe.shape[0] + 1),
            {"units": "1", "long_name": "Probe mode"},
        ),
        "iteration": ("iteration", steps, {"units": "1", "long_name": "Pass"}),
    }
    for axis in "yx":
        coords[axis][2].setdefault("long_name", axis)
    kept = {
        str(name): c
        for name, c in scan.coords.items()
        if set(c.dims) <= {"position"} and name not in coords
    }
    return xr.Dataset(variables, coords=coords | kept)
