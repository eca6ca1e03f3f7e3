"""Continue from a former result: its object, probe, positions and background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.cdi.ptycho.experiment import lateral
from batteryxr.cdi.ptycho.frames import load
from batteryxr.cdi.ptycho.scan import squared
from batteryxr.core.device import to_device, to_numpy
from batteryxr.core.errors import DataError, DimensionError, warn_quality
from batteryxr.core.labels import require_even
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.units import in_units

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.cdi.ptycho.settings import Settings

#: Axes of the object and the probe of one reconstruction.
IMAGE, MODES = ("y", "x"), ("probe_mode", "probe_y", "probe_x")
#: Frames that show how bright a scan is, and the largest change that is ignored.
_FRAMES, _SAME = 32, 0.05


class Former(NamedTuple):
    """Hold a former result: object (y, x) with axes, probe on this scan's pixels.

    `shifts` (position, 2) are corrections of positions in pixels of this scan's frames.
    `light` (position,) is the intensity of each frame, NaN if unknown. `background` (n,
    n) has its origin in the corner; None if there is none.
    """

    obj: np.ndarray
    probe: np.ndarray
    y: np.ndarray
    x: np.ndarray
    shifts: np.ndarray
    light: np.ndarray
    background: np.ndarray | None


def former_of(start: xr.Dataset, experiment: Experiment, scan: xr.Dataset) -> Former:
    """Return a former result, prepared to continue with a scan.

    Raises
    ------
    VariableError, DimensionError
        If it is no result of `ptycho`, nor one energy of `ptycho_energies`.
    DataError
        If its axes are uneven, its object is unknown everywhere, or labels of its
        frames or of the scan's frames repeat.
    """
    from batteryxr.cdi.ptycho.kernels.alignment import resampled

    start = single(start, caller="ptycho start")
    if not np.isfinite(start["transmission"].values).any():
        raise DataError(
            "start: transmission", "not finite at any pixel", "Choose another start."
        )
    modes = start["probe"].values
    y, x = (start[axis].values for axis in "yx")
    theirs = lateral(modes.shape[-1], float(y[1] - y[0]))
    ours = lateral(len(experiment.weight), experiment.pixel)
    probe = np.stack(
        [resampled(m, theirs, theirs, ours, ours, outside=0.0) for m in modes]
    )
    places = places_of(start, scan, experiment.pixel, caller="ptycho start")
    moved = [of_frames(start, f"position_shift_{axis}", places) for axis in "yx"]
    background = None
    if "background" in start:
        told = start["background"].transpose("detector_y", "detector_x").variable
        background = np.fft.ifftshift(squared(told, 0).values.astype(np.float32))
    return Former(
        obj=np.nan_to_num(start["transmission"].values, nan=1.0),
        probe=probe.astype(np.complex64),
        y=y,
        x=x,
        shifts=np.nan_to_num(np.stack(moved, axis=-1)) / experiment.pixel,
        light=of_frames(start, "intensity", places),
        background=background,
    )


def single(result: xr.Dataset, *, caller: str) -> xr.Dataset:
    """Return one reconstruction with its own object and with rising axes.

    For one energy of `ptycho_energies` it is the object before it was put on the common
    grid.

    Raises
    ------
    VariableError, DimensionError
        If it is no result of `ptycho`, nor one energy of `ptycho_energies`.
    DataError
        If its axes are uneven.
    UnitsError
        If its axes are no lengths.
    """
    require_variables(result, ["transmission", "probe", "y", "x"], caller=caller)
    own = "own_transmission" in result and result["own_transmission"].ndim == 2
    if own and {*result["probe"].dims} == {"probe_mode", "probe_row", "probe_column"}:
        result = _unpacked(result)
    require_dims(result["transmission"], IMAGE, caller=caller)
    if result["transmission"].ndim != 2 or {*result["probe"].dims} != {*MODES}:
        raise DimensionError(
            f"{caller}: it has several energies or is no result of ptycho, whose probe "
            f"is on {MODES}; found {result['probe'].dims}. Choose one energy with "
            ".isel(energy=0)."
        )
    for axis in (*IMAGE, *MODES[1:]):
        if axis in result.coords and "units" in result[axis].attrs:
            told = in_units(result[axis], "nm", caller=caller)
            result = result.assign_coords({axis: (axis, told.values, told.attrs)})
    require_even(result, IMAGE, caller=caller)
    for axis in (*IMAGE, *MODES[1:]):
        falls = axis in result.indexes and result[axis][0] > result[axis][-1]
        result = result.sortby(axis) if falls else result
    names = ["transmission", "probe"]
    turned = {
        n: result[n].transpose(*d) for n, d in zip(names, (IMAGE, MODES), strict=True)
    }
    return result.assign(turned)


def _unpacked(result: xr.Dataset) -> xr.Dataset:
    """Return an energy of a stack as `ptycho` would give it."""
    axes = {"y": result["own_y"].values, "x": result["own_x"].values}
    known = {name: np.isfinite(v) for name, v in axes.items()}
    field = result["own_transmission"].transpose("row", "column").values
    sides = {"probe_row": "probe_y", "probe_column": "probe_x"}
    kept = [n for n in result.data_vars if {*result[n].dims} <= {"position"}]
    beside = [n for n in ("background",) if n in result]
    on_frames = [n for n, c in result.coords.items() if {*c.dims} == {"position"}]
    bare = result[[*kept, *beside]]
    bare = bare.drop_vars([n for n in bare.coords if n not in on_frames])
    return bare.assign(
        transmission=(IMAGE, field[np.ix_(known["y"], known["x"])]),
        probe=result["probe"].rename(sides).variable,
    ).assign_coords({name: (name, v[known[name]]) for name, v in axes.items()})


def places_of(
    start: xr.Dataset, scan: xr.Dataset, pixel: float, *, caller: str
) -> np.ndarray:
    """Match the frames of a scan to those of a former result; -1 where none matches.

    Frames match by their labels; without labels by their nominal positions, to a
    twentieth of a `pixel` in nm; without positions by their order.

    Raises
    ------
    DataError
        If labels repeat in the scan or in the former result.

    Warns
    -----
    DataQualityWarning
        If frames are matched by their order, or none matches.
    """
    j = scan.sizes["position"]
    if "position" in start.indexes and "position" in scan.indexes:
        labels = start.indexes["position"], scan.indexes["position"]
        named = f"{caller.removeprefix('ptycho ')}: position", "position"
        for one, name in zip(labels, named, strict=True):
            if not one.is_unique:
                raise DataError(
                    name,
                    "labels that repeat",
                    "Keep one frame of each, `.drop_duplicates('position')`.",
                )
        return _told(np.asarray(labels[0].get_indexer(labels[1])), caller)
    names = ("position_y", "position_x")
    if all(n in start.variables for n in names):
        both = [
            np.stack([in_units(d[n], "nm", caller=caller).values for n in names], -1)
            for d in (start, scan)
        ]
        places = _nearest(both[0], both[1], 0.05 * pixel)
    else:
        same = start.sizes.get("position", 0) == j
        places = np.arange(j) if same else np.full(j, -1)
        if same:
            warn_quality(f"{caller}: it tells no positions; frames go by their order")
    return _told(places, caller)


def _told(places: np.ndarray, caller: str) -> np.ndarray:
    """Return the place of each frame in the former scan; warn where none has one."""
    if (places < 0).all():
        warn_quality(
            f"{caller}: no frame of the scan is one of it; what it found of frames is "
            "left out"
        )
    return places


def _nearest(theirs: np.ndarray, ours: np.ndarray, limit: float) -> np.ndarray:
    """Match our positions to theirs (k, 2); -1 where none matches, or two do."""
    from scipy.spatial import KDTree

    if theirs.shape == ours.shape:
        known = np.isfinite(ours) & np.isfinite(theirs)
        if np.all(np.abs(theirs - ours)[known] < limit):
            return np.arange(len(ours))
    found = np.full(len(ours), -1)
    rows, mine = (np.flatnonzero(np.isfinite(p).all(-1)) for p in (theirs, ours))
    if rows.size and mine.size:
        tree = KDTree(theirs[rows])
        away, at = tree.query(ours[mine], k=2)
        one = (away[:, 0] < limit) & ~(away[:, 1] < limit)
        found[mine[one]] = rows[at[one, 0]]
    return found


def of_frames(start: xr.Dataset, name: str, places: np.ndarray) -> np.ndarray:
    """Return a former result's values for the frames of a scan; NaN where unknown."""
    unknown = np.full(len(places), np.nan)
    if name not in start or (places < 0).all():
        return unknown
    told = np.asarray(start[name].values, float)
    return np.where(places >= 0, told[places], unknown)


def going_on(
    state: State, experiment: Experiment, settings: Settings, former: Former
) -> State:
    """Return an initial state with object, probe and positions of a former result.

    The probe is scaled to the counts of these frames; beyond the former object is
    vacuum.
    """
    from batteryxr.cdi.ptycho.kernels.alignment import resampled
    from batteryxr.cdi.ptycho.kernels.loop import BACKGROUND
    from batteryxr.cdi.ptycho.kernels.state import State, add_modes

    bring = to_device(settings.device, purpose="ptychography")
    obj = resampled(
        former.obj, former.y, former.x, experiment.y, experiment.x, outside=1.0
    ).astype(np.complex64)
    rng = np.random.default_rng(np.random.SeedSequence([*settings.seed, 1]))
    probe = add_modes(_modes(former, settings.n_modes), settings.n_modes, rng)
    numbers = experiment.numbers
    shifts = former.shifts if numbers is None else former.shifts[numbers]
    room = np.array(obj.shape) - probe.shape[-1]
    if settings.engine.subpixel:
        state.positions = np.clip(state.positions + shifts, 0, room)
    told = _as_found(state, experiment, settings, former)
    beside: dict[str, Any] = {k: to_numpy(v) for k, v in state.memory.items()} | told
    ready = State(obj, np.asarray(probe), state.positions, memory=beside)
    change = _exposure(ready, experiment, own=BACKGROUND in told)
    if abs(change - 1) > _SAME:
        probe = probe * np.sqrt(change)
        if BACKGROUND in told:
            told[BACKGROUND] = told[BACKGROUND] * np.float32(change)
    state.obj = bring(np.ascontiguousarray(obj))
    state.probe = bring(np.ascontiguousarray(probe.astype(np.complex64)))
    for name, values in told.items():
        state.memory[name] = bring(values)
    return state


def _exposure(state: State, experiment: Experiment, *, own: bool) -> float:
    """Return the counts of some frames over those that a state expects.

    Parameters
    ----------
    state
        State with NumPy arrays.
    experiment
        Experiment with the frames.
    own
        Whether the background is that of the former result, which scales with its
        light.
    """
    from batteryxr.cdi.ptycho.kernels.loop import BACKGROUND, INTENSITY
    from batteryxr.cdi.ptycho.kernels.propagation import Propagation

    n, corners = state.probe.shape[-1], state.corners()
    way = Propagation(state.probe, experiment.near)
    zero = np.zeros((n, n), np.float32)
    background = np.asarray(state.memory.get(BACKGROUND, zero))
    light = np.asarray(state.memory.get(INTENSITY, np.ones(len(corners))))
    measured = expected = 0.0
    for j in np.unique(np.linspace(0, len(corners) - 1, _FRAMES).astype(int)):
        held = experiment.held
        frame = load(experiment, j, j + 1)[0] if held is None else held[j]
        seen = experiment.weight * (frame >= 0)
        y, x = corners[j]
        waves = way.forward(state.probe * state.obj[y : y + n, x : x + n]) / n
        beside = light[j] * float(np.sum(seen * background))
        measured += float(np.sum(seen * frame)) - (0.0 if own else beside)
        expected += light[j] * float(np.sum(seen * np.abs(waves) ** 2))
        expected += beside if own else 0.0
    return measured / expected if measured > 0 and expected > 0 else 1.0


def _modes(former: Former, n_modes: int) -> np.ndarray:
    """Return `n_modes` modes of a former probe, with the power of all modes.

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
    """Return background and intensities of a former result, where sought again.

    Warns
    -----
    DataQualityWarning
        If it found a background, and none is sought here.
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
