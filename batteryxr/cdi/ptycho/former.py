"""Go on from a former result: its object, probe, positions, and what was beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.cdi.ptycho.experiment import lateral
from batteryxr.core.device import to_device, to_numpy
from batteryxr.core.errors import DataError, DimensionError, warn_quality
from batteryxr.core.labels import require_even
from batteryxr.core.model import require_dims, require_variables

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.cdi.ptycho.settings import Settings


class Former(NamedTuple):
    """A former result: object (y, x) with its axes, and probe on this scan's pixels.

    `shifts` (position, 2) are corrections of positions in pixels of this scan's frames,
    `light` (position,) is that of each, NaN where it is not known; `background` (n, n)
    has its origin in the corner, None where there is none.
    """

    obj: np.ndarray
    probe: np.ndarray
    y: np.ndarray
    x: np.ndarray
    shifts: np.ndarray
    light: np.ndarray
    background: np.ndarray | None


def former_of(start: xr.Dataset, experiment: Experiment, scan: xr.Dataset) -> Former:
    """Return a former result, to go on from with a scan.

    Raises
    ------
    VariableError, DimensionError
        If it is no result of `ptycho`.
    DataError
        If its axes are uneven, or the labels of its frames repeat.
    """
    from batteryxr.cdi.ptycho.kernels.alignment import resampled

    names = ["transmission", "probe", "y", "x"]
    require_variables(start, names, caller="ptycho start")
    require_dims(start["transmission"], ("y", "x"), caller="ptycho start")
    require_even(start, ("y", "x"), caller="ptycho start")
    sides = (("probe_y", "probe_x"), ("probe_row", "probe_column"))
    found = {*start["probe"].dims}
    order = [("probe_mode", *side) for side in sides if found == {"probe_mode", *side}]
    if start["transmission"].ndim != 2 or not order:
        raise DimensionError(
            "ptycho: start has several energies or is no result of ptycho; choose one "
            "with .isel(energy=0)."
        )
    modes = start["probe"].transpose(*order[0]).values
    y, x = (start[axis].values for axis in "yx")
    theirs = lateral(modes.shape[-1], abs(float(y[1] - y[0])))
    ours = lateral(len(experiment.weight), experiment.pixel)
    probe = np.stack([resampled(m, theirs, theirs, ours, ours) for m in modes])
    moved = [_of_frames(start, f"position_shift_{axis}", scan) for axis in "yx"]
    background = None
    if "background" in start:
        told = start["background"].transpose("detector_y", "detector_x").values
        background = np.fft.ifftshift(told.astype(np.float32))
    return Former(
        obj=np.nan_to_num(start["transmission"].transpose("y", "x").values, nan=1.0),
        probe=probe.astype(np.complex64),
        y=y,
        x=x,
        shifts=np.nan_to_num(np.stack(moved, axis=-1)) / experiment.pixel,
        light=_of_frames(start, "intensity", scan),
        background=background,
    )


def _of_frames(start: xr.Dataset, name: str, scan: xr.Dataset) -> np.ndarray:
    """Return what a former result tells of the frames of a scan; NaN where nothing.

    Frames are the same where their labels are; without labels, where both have as
    many.
    """
    unknown = np.full(scan.sizes["position"], np.nan)
    if name not in start:
        return unknown
    told = np.asarray(start[name].values, float)
    if "position" not in start.indexes or "position" not in scan.indexes:
        return told if told.shape == unknown.shape else unknown
    theirs = start.indexes["position"]
    if not theirs.is_unique:
        raise DataError(
            "start: position",
            "labels that repeat",
            "Keep one frame of each, `.drop_duplicates('position')`.",
        )
    places = theirs.get_indexer(scan.indexes["position"])
    return np.where(places >= 0, told[places], unknown)


def going_on(
    state: State, experiment: Experiment, settings: Settings, former: Former
) -> State:
    """Return a first state with object, probe and positions of a former result."""
    from batteryxr.cdi.ptycho.kernels.alignment import resampled
    from batteryxr.cdi.ptycho.kernels.state import add_modes

    bring = to_device(settings.device, purpose="ptychography")
    obj = resampled(former.obj, former.y, former.x, experiment.y, experiment.x)
    rng = np.random.default_rng(np.random.SeedSequence([*settings.seed, 1]))
    probe = add_modes(_modes(former, settings.n_modes), settings.n_modes, rng)
    numbers = experiment.numbers
    shifts = former.shifts if numbers is None else former.shifts[numbers]
    room = np.array(obj.shape) - probe.shape[-1]
    state.obj = bring(np.ascontiguousarray(obj.astype(np.complex64)))
    state.probe = bring(np.ascontiguousarray(probe.astype(np.complex64)))
    if settings.engine.subpixel:
        state.positions = np.clip(state.positions + shifts, 0, room)
    for name, values in _as_found(state, experiment, settings, former).items():
        state.memory[name] = bring(values)
    return state


def _modes(former: Former, n_modes: int) -> np.ndarray:
    """Return so many modes of a former probe, with the power of all.

    Warns
    -----
    DataQualityWarning
        If there were more.
    """
    have, kept = len(former.probe), former.probe[:n_modes]
    if have <= n_modes:
        return kept
    warn_quality(f"ptycho: start has {have} probe modes; n_modes={n_modes} are kept")
    all_of = np.sum(np.abs(former.probe) ** 2) / np.sum(np.abs(kept) ** 2)
    return np.asarray(kept * np.sqrt(all_of))


def _as_found(
    state: State, experiment: Experiment, settings: Settings, former: Former
) -> dict[str, np.ndarray]:
    """Return what a former result found beside the pattern, where it is sought again.

    Warns
    -----
    DataQualityWarning
        If it found a background, and here there is none.
    """
    from batteryxr.cdi.ptycho.kernels.loop import BACKGROUND, INTENSITY

    found: dict[str, np.ndarray] = {}
    recording, known = settings.recording, former.background
    if known is not None and experiment.background is None:
        if recording.background is None:
            warn_quality(
                "ptycho: start found a background, which is left out here. Seek it "
                "again, instrument=Recording(background=...), or put it into the scan "
                "as background."
            )
        elif known.shape == experiment.weight.shape:
            found[BACKGROUND] = known
    if recording.intensity:
        numbers = experiment.numbers
        light = former.light if numbers is None else former.light[numbers]
        first = to_numpy(state.memory[INTENSITY])
        light = np.where(np.isfinite(light), light, first)
        found[INTENSITY] = light.astype(np.float32)
    return found
