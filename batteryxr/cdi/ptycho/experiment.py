"""An experiment: a scan at one energy as plain arrays, checked and read once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.ptycho.scan import FRAME, geometry_of, squared
from batteryxr.core.errors import DataError, DimensionError, warn_quality
from batteryxr.core.model import require_variables

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.facts import FrameFacts
    from batteryxr.cdi.ptycho.scan import Geometry

#: Margin around the object for positions that move, in pixels.
MARGIN = 6
#: Step of a scan over the field of a frame at which neighbours hardly overlap.
_WIDE = 0.35
#: Share of frames apart from the others that may be another part of the sample.
_ISLAND = 0.1
#: Times the usual distance to the nearest frame that a scan hardly has.
_LONE = 4.0
_PROBE = "(.cdi.ptycho_probe makes one, from the frames if need be)"
_REGRID = "or cut or pad yours to the same pixels."


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """Hold the input of a reconstruction; it travels to a worker as it is.

    Shapes and types of all arrays that enter the compiled loops are checked when the
    experiment is made.

    Parameters
    ----------
    frames : (position, n, n)
        Counts as stored, the direct beam in the middle; an array that may be lazy.
    weight : (n, n)
        1 where a detector pixel counts, 0 where it does not; origin in the corner.
    corners : (position, 2)
        Upper left corner of each frame's patch, in pixels of the object.
    y, x
        Axes of the object, nm.
    pixel
        Size of the object's pixel, nm.
    energy
        Photon energy, eV.
    probe : (mode, n, n) or None
        Initial probe; an array that may be lazy.
    ignored : (position, n, n) or None
        Not 0 where a pixel does not count in one frame; may be lazy.
    numbers : (position,) or None
        Numbers of the frames in the scan, if some are left out.
    background : (n, n) or None
        Counts of a frame besides the pattern; origin in the corner.
    seen
        Findings in the frames, once they were examined.
    held
        Frames as the engines use them, if they were read already.
    near
        λ z / pixel² for near-field frames; 0: far field.
    dark : (n, n)
        Pixels that count in no frame, the beam in the middle; follows from `weight`.
    """

    frames: Any
    weight: np.ndarray
    corners: np.ndarray
    y: np.ndarray
    x: np.ndarray
    pixel: float
    energy: float
    probe: Any = None
    ignored: Any = None
    numbers: np.ndarray | None = None
    background: np.ndarray | None = None
    seen: FrameFacts | None = None
    held: np.ndarray | None = None
    near: float = 0.0
    dark: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        j, n, frame = len(self.corners), len(self.weight), self.frames.shape
        if frame[0] == 0:
            raise DataError("frames", "none is left", "Look at positions and frames.")
        if frame != (j, n, n):
            raise DataError("frames", f"of {frame}; expected {(j, n, n)}")
        if self.frames.dtype.kind not in "iuf":
            raise DataError(
                "frames",
                f"numbers of type {self.frames.dtype}, no counts",
                "Pass the counts of the detector.",
            )
        if not self.weight.any():
            raise DataError("mask", "no pixel counts", "Set it to 0 where pixels work.")
        if self.ignored is not None and self.ignored.shape != frame:
            raise DataError("mask", f"of {self.ignored.shape}; expected {frame}")
        shape = None if self.probe is None else tuple(self.probe.shape)
        if shape is not None and (shape[1:] != (n, n) or not shape[0]):
            raise DataError(
                "probe",
                f"it has {shape[0]} mode(s) of {' x '.join(map(str, shape[1:]))} "
                f"pixels, and frames have {n} x {n}",
                f"Make one with .cdi.ptycho_probe(...), {_REGRID}",
            )
        if self.probe is not None and self.probe.dtype.kind not in "biufc":
            raise DataError(
                "probe",
                f"numbers of type {self.probe.dtype}, no field",
                "Pass a complex probe.",
            )
        room = np.array([self.y.size, self.x.size]) - n
        inside = (self.corners >= 0) & (self.corners <= room)
        if self.corners.shape != (j, 2) or not inside.all():
            raise DataError("position_y, position_x", "patches leave the object")
        object.__setattr__(self, "dark", np.fft.fftshift(self.weight) == 0)

    def only(self, kept: np.ndarray) -> Experiment:
        """Return the experiment of some frames, its object as small as possible.

        Parameters
        ----------
        kept : (position,)
            Numbers of frames of this experiment, rising.
        """
        from batteryxr.cdi.ptycho.kernels.state import frame_of

        start, stop = int(kept[0]), int(kept[-1]) + 1
        part: Any = slice(start, stop) if stop - start == kept.size else kept
        numbers = np.arange(len(self.corners)) if self.numbers is None else self.numbers
        shape, origin = frame_of(self.corners[part], len(self.weight), MARGIN)
        y, x = (int(v) for v in origin)
        return replace(
            self,
            frames=self.frames[part],
            ignored=None if self.ignored is None else self.ignored[part],
            corners=self.corners[part] - origin,
            y=self.y[y : y + shape[0]],
            x=self.x[x : x + shape[1]],
            numbers=numbers[part],
        )


def placed_on(experiment: Experiment, y: np.ndarray, x: np.ndarray) -> Experiment:
    """Return an experiment on the axes (nm, rising) of a known object.

    Raises
    ------
    DataError
        If the object has other pixels, or its frames lie beyond it.
    """
    pixel = experiment.pixel
    step = float(y[-1] - y[0]) / max(y.size - 1, 1)
    if abs(step / pixel - 1) > 1e-3:
        raise DataError(
            "result: object",
            f"pixels of {step:.5g} nm; the scan has {pixel:.5g} nm",
            "Pass a result of this scan.",
        )
    origin = np.array([experiment.y[0] - y[0], experiment.x[0] - x[0]]) / pixel
    corners = experiment.corners + origin
    room = np.array([y.size, x.size]) - len(experiment.weight)
    if (corners < -0.5).any() or (corners > room + 0.5).any():
        raise DataError(
            "result: object",
            f"{y.size} x {x.size} pixels from ({y[0]:.4g}, {x[0]:.4g}) nm on do not "
            "hold all frames of the scan",
            "Take the result as it came, not a part of it.",
        )
    return replace(experiment, corners=np.clip(corners, 0, room), y=y, x=x)


def widened(experiment: Experiment, more: int) -> Experiment:
    """Return an experiment whose object has `more` pixels on each side."""

    def longer(axis: np.ndarray) -> np.ndarray:
        pixels = np.arange(-more, axis.size + more)
        return np.asarray(axis[0] + pixels * experiment.pixel)

    y, x = longer(experiment.y), longer(experiment.x)
    return replace(experiment, corners=experiment.corners + more, y=y, x=x)


def lateral(n: int, pixel: float) -> np.ndarray:
    """Return the axis of a probe of `n` pixels in nm, 0 in the middle."""
    return (np.arange(n) - n // 2) * pixel


def experiment_of(scan: xr.Dataset, *, caller: str, probe: bool = True) -> Experiment:
    """Return the experiment of a labelled scan of one energy.

    Frames whose positions are no numbers are left out, and reported.

    Parameters
    ----------
    scan
        See `ptycho_scan`.
    caller
        Name of the calling function, for messages.
    probe
        Whether an initial probe is required.

    Raises
    ------
    DataError, DimensionError, UnitsError, VariableError
        If the scan is no scan of ptychography, or has several energies.
    """
    geometry = geometry_of(scan, caller=caller)
    frames = scan["frames"].variable
    if "energy" in frames.dims:
        raise DimensionError(
            f"{caller} works on one energy; found {scan.sizes['energy']}. Choose one "
            "with .isel(energy=0), or reconstruct all with .cdi.ptycho_energies(...)."
        )
    if probe:
        require_variables(scan, ["probe"], caller=f"{caller} {_PROBE}")
    first, known = (scan.variables.get(name) for name in ("probe", "background"))
    first = None if first is None else _modes(first, stacked=False, caller=caller)
    masks = _Masks(scan.variables.get("mask"), frames, caller=caller)
    made = _experiment(squared(frames, 0), first, masks.of(None), geometry)
    return replace(made, background=_background(known, made.weight, caller=caller))


def experiments_of(scan: xr.Dataset, *, caller: str) -> list[Experiment]:
    """Return the experiments of a scan along `energy`; see `experiment_of`."""
    geometry = geometry_of(scan, caller=caller)
    frames = scan["frames"].variable
    if "energy" not in frames.dims:
        raise DimensionError(
            f"{caller} needs frames along 'energy'; for one energy use ptycho, "
            "or .expand_dims('energy') on the frames."
        )
    if np.any(np.diff(geometry.energy) <= 0):
        raise DataError("energy", "not rising", "Use .sortby('energy').")
    require_variables(scan, ["probe"], caller=f"{caller} {_PROBE}")
    probe = _modes(scan.variables["probe"], stacked=True, caller=caller)
    each = "energy" in probe.dims
    mask, known = (scan.variables.get(name) for name in ("mask", "background"))
    masks = _Masks(mask, frames, caller=caller)
    frames = squared(frames, 0)
    made = [
        _experiment(
            frames.isel(energy=k),
            probe.isel(energy=k) if each else probe,
            masks.of(k),
            geometry.at(k),
        )
        for k in range(scan.sizes["energy"])
    ]
    return [
        replace(e, background=_background(known, e.weight, caller=caller)) for e in made
    ]


def _background(
    told: xr.Variable | None, weight: np.ndarray, *, caller: str
) -> np.ndarray | None:
    """Return the background of a scan, origin in the corner; 0 under a mask."""
    if told is None:
        return None
    if {*told.dims} != {*FRAME[1:]}:
        raise DimensionError(
            f"{caller} needs background on {FRAME[1:]}; found {told.dims}."
        )
    values = np.fft.ifftshift(squared(told.transpose(*FRAME[1:]), 0).values)
    kind, good = values.dtype.kind, values[weight > 0]
    if kind not in "iuf" or not np.all((good >= 0) & np.isfinite(good)):
        raise DataError(
            "background",
            "below 0, or no number, at some pixels",
            "Set it to 0 there, or mask these pixels.",
        )
    return np.where(weight > 0, values, 0).astype(np.float32)


def _modes(probe: xr.Variable, *, stacked: bool, caller: str) -> xr.Variable:
    """Return the probe as (mode, y, x), with its energies first if any."""
    own = [d for d in ("energy", "probe_mode") if d in probe.dims]
    rest = [d for d in probe.dims if d not in own]
    order = ["probe_y", "probe_x"] if {*rest} == {"probe_y", "probe_x"} else rest
    if len(rest) != 2 or ("energy" in own and not stacked):
        raise DimensionError(
            f"{caller} needs a probe on (probe_mode, probe_y, probe_x)"
            f"{', energy first if it has one' if stacked else ''}; "
            f"found {probe.dims}."
        )
    probe = probe.transpose(*own, *order)
    if "probe_mode" in own:
        return probe
    at = own.index("energy") + 1 if "energy" in own else 0
    wide: Any = probe.expand_dims("probe_mode")
    return wide.transpose(*own[:at], "probe_mode", *order)


class _Masks:
    """Hold masks of a scan: for all frames, for one energy, or for each frame."""

    def __init__(
        self, mask: xr.Variable | None, frames: xr.Variable, *, caller: str
    ) -> None:
        sides = [frames.sizes[d] for d in FRAME[1:]]
        self._n, self._mask = max(sides), mask
        self._common: np.ndarray | None = None
        if mask is None and sides[0] != sides[1]:
            mask = xr.Variable(FRAME[1:], np.zeros(sides, bool))
        if mask is None:
            return
        allowed = [d for d in ("energy", *FRAME) if d in frames.dims]
        dims = mask.dims
        if not {*FRAME[1:]} <= {*dims} <= {*allowed}:
            raise DimensionError(
                f"{caller} needs a mask on (detector_y, detector_x), with "
                f"{' and '.join(allowed[:-2])} where it differs; found {dims}."
            )
        mask = squared(mask, 1)
        self._mask = mask.transpose(*(d for d in allowed if d in dims))
        if self._mask.dims == FRAME[1:]:
            self._common = self._weight(self._mask)

    def of(self, k: int | None) -> tuple[np.ndarray, Any]:
        """Return the weight of pixels of energy `k`, and the mask of each frame."""
        mask = self._mask
        if mask is None:
            return np.ones((self._n, self._n), np.float32), None
        if self._common is not None:
            return self._common, None
        if "energy" in mask.dims:
            mask = mask.isel(energy=k)
        if "position" in mask.dims:
            return np.ones((self._n, self._n), np.float32), mask
        return self._weight(mask), None

    def _weight(self, mask: xr.Variable) -> np.ndarray:
        return np.fft.ifftshift((mask.values == 0).astype(np.float32))


def _experiment(
    frames: xr.Variable,
    probe: Any,
    masks: tuple[np.ndarray, Any],
    geometry: Geometry,
) -> Experiment:
    from batteryxr.cdi.ptycho.kernels.state import frame_of

    n, pixel = geometry.n, float(geometry.pixel)
    counts, kept = frames.transpose(*FRAME), None
    weight, ignored = masks
    finite = np.isfinite(geometry.positions).all(axis=-1)
    if not finite.any():
        raise DataError(
            "position_y, position_x",
            "no frame has a finite position",
            "Pass the positions when you read the scan.",
        )
    if not finite.all():
        kept = np.flatnonzero(finite)
        lost = np.flatnonzero(~finite)
        warn_quality(f"no position is known of {numbered(lost)}: left out")
        counts = counts[kept]
        ignored = None if ignored is None else ignored[kept]
    positions = geometry.positions[finite]
    numbers = np.flatnonzero(finite)
    _check_overlap(positions, n * pixel, numbers, near=bool(geometry.near))
    corners = positions / pixel - n // 2
    shape, origin = frame_of(corners, n, MARGIN)
    y, x = (
        (first + np.arange(m)) * pixel for first, m in zip(origin, shape, strict=True)
    )
    return Experiment(
        frames=counts,
        weight=weight,
        corners=corners - origin,
        y=y,
        x=x,
        pixel=pixel,
        energy=float(geometry.energy),
        probe=probe,
        ignored=ignored,
        numbers=kept,
        near=float(geometry.near),
    )


def _check_overlap(
    positions: np.ndarray, field: float, numbers: np.ndarray, *, near: bool
) -> None:
    """Raise where frames with a `field` in nm cannot overlap, warn where hardly."""
    if len(positions) < 2:
        return
    from scipy.spatial import KDTree

    if not np.ptp(positions, axis=0).any():
        raise DataError(
            "position_y, position_x",
            f"all {len(positions)} frames lie at one place",
            "Pass the positions when you read the scan.",
        )
    nearest = KDTree(positions).query(positions, k=2)[0][:, 1]
    step = np.median(nearest)
    if step > field:
        raise DataError(
            "position_y, position_x",
            f"steps of {step:.3g} nm, and what a frame sees is {field:.3g} nm wide: "
            "frames do not overlap",
            "Look at the units of positions (nm), at distance and pixel_pitch.",
        )
    _check_apart(positions, nearest, field, numbers)
    if not near and step > _WIDE * field:
        warn_quality(
            f"steps of {step:.3g} nm are more than {_WIDE:g} of what a far-field frame "
            f"sees, {field:.3g} nm, and a beam may fill half of it: neighbours hardly "
            f"overlap. Was the distance in cm? Pass ten times it. Or positions in "
            f"Angstrom? Pass a tenth of them."
        )


def _check_apart(
    positions: np.ndarray, nearest: np.ndarray, field: float, numbers: np.ndarray
) -> None:
    """Name the frames that do not overlap with the others: a few are refused."""
    apart = nearest > field
    for along in positions.T:
        order = np.argsort(along, kind="stable")
        part = np.cumsum(np.diff(along[order], prepend=along[order[0]]) > field)
        apart[order] |= part != np.bincount(part).argmax()
    if apart.any():
        way = np.abs(positions[apart] - np.median(positions, axis=0)).max()
        told = (
            f"{numbered(numbers[apart])} do not overlap with the others: they lie up "
            f"to {way:.4g} nm from the middle, and what a frame sees is {field:.4g} nm "
            "wide"
        )
        if np.count_nonzero(apart) < _ISLAND * apart.size:
            mend = "Set these positions right, or to NaN: then they are left out."
            raise DataError("position_y, position_x", told, mend)
        warn_quality(f"{told}. Nothing but the probe ties them to one another")
        return
    lone = nearest > max(_LONE * float(np.median(nearest)), _WIDE * field)
    if lone.any():
        warn_quality(
            f"{numbered(numbers[lone])} lie {nearest[lone].max():.4g} nm from the "
            f"nearest other, and most {np.median(nearest):.4g} nm: are these positions "
            "right? Set them to NaN if not"
        )


def numbered(frames: np.ndarray, name: str = "frame") -> str:
    """Return numbers of frames in words, with ranges, for messages."""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    parts = [f"{r[0]}" if r.size == 1 else f"{r[0]} to {r[-1]}" for r in runs if r.size]
    more = f" and {len(parts) - 8} more" if len(parts) > 8 else ""
    return f"{name}{'s' if frames.size > 1 else ''} {', '.join(parts[:8])}{more}"
