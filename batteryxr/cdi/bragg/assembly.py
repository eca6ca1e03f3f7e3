"""Sum repeats into one volume, and stack volumes along the voltage states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import VOLUME
from batteryxr.cdi.bragg.kernels.counting import require_counts
from batteryxr.cdi.bragg.peak import whole_volumes
from batteryxr.core import bounds
from batteryxr.core.blocks import is_lazy, running_sum
from batteryxr.core.blocks.digests import digest
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError, DimensionError, warn_quality
from batteryxr.core.model import attributes, label, require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.checks import Whole


#: Distance (pixels) between the peaks of repeats that are of one place.
_MOVED = 1
#: Relative difference of energies and distances that is none.
_BEAM = 1e-3


@recorded
def sum_repeats(
    frames: xr.DataArray,
    *,
    max_shift: Whole = 0,
    threshold: Annotated[float, Bounds(low=0, below=1)] = 0.0,
) -> xr.DataArray:
    """Add the repeats of one state.

    Lazy. With `max_shift` or `threshold` each repeat is read once before, one at a
    time.

    Parameters
    ----------
    frames
        Intensity on ``repeat`` and the three axes of a rocking curve:
        ``xr.concat(list_of_frames, "repeat")``.
    max_shift
        Largest shift, in whole voxels, by which a repeat is moved onto the first before
        adding. A larger shift is an error. 0 moves none.
    threshold
        Leave out repeats whose correlation with the first is lower.

    Returns
    -------
    xarray.DataArray
        The sum over ``repeat``. Where a repeat has no value, the sum of the others is
        scaled up; NaN where no repeat has one. ``repeats_used`` counts the repeats.

    Raises
    ------
    ArgumentError
        If a threshold is out of range.
    DataError
        If a repeat has moved farther than `max_shift`, or repeats differ in energy,
        distance or pixels.
    DimensionError
        If there is no ``repeat``.

    Warns
    -----
    DataQualityWarning
        If the peak moved between repeats, and `max_shift` is 0.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> repeats = volumes[:2].rename(state="repeat").drop_vars(["voltage", "direction"])
    >>> total = repeats.cdi.sum_repeats()
    >>> total.dims
    ('rocking', 'detector_y', 'detector_x')
    """
    require_dims(frames, ["repeat", *VOLUME], caller="sum_repeats")
    repeats = frames.transpose("repeat", ...)
    parts = [repeats.isel(repeat=k) for k in range(repeats.sizes["repeat"])]
    _require_one_beam(parts, "frames", "repeat")
    _tell_of_copies(parts, "sum_repeats", "repeat")
    if max_shift or threshold > 0:
        kept = _alike(parts, max_shift, threshold)
        repeats = xr.concat(kept, "repeat", coords="minimal", compat="override")
    elif not is_lazy(repeats):
        _tell_of_moves(repeats.values)
    n = repeats.sizes["repeat"]
    # Sum the values (real part) and count them (imaginary part) in one pass.
    total = repeats.isel(repeat=0, drop=True).copy(data=_sum(repeats.data))
    out = (total.real * (np.float32(n) / total.imag.where(total.imag > 0))).astype(
        np.float32
    )
    out = label(out, "intensity", units="1", long_name="Intensity")
    known = ("rocking_motor", "title", "timezone")
    out.attrs |= {k: v for k, v in repeats.attrs.items() if k in known}
    note = {"units": "1", "long_name": "Repeats in the sum"}
    return out.assign_coords(repeats_used=((), n, note))


def _tell_of_copies(parts: Sequence[xr.DataArray], caller: str, called: str) -> None:
    """Warn of counts that are there twice: of arrays in memory, or one lazy array."""
    seen: dict[str, int] = {}
    for number, part in enumerate(parts):
        mark = str(part.data.name) if is_lazy(part) else digest(part.values)
        if (first := seen.setdefault(mark, number)) != number:
            warn_quality(
                f"{caller}: {called} {number} has the counts of {called} {first}, one "
                "by one, as no two scans have: was a file passed twice?"
            )


def _tell_of_moves(values: np.ndarray) -> None:
    """Warn of repeats whose brightest pixel moved."""
    frames = [np.nan_to_num(one).max(axis=0) for one in values]
    peaks = np.array([np.unravel_index(f.argmax(), f.shape) for f in frames])
    away = np.abs(peaks - peaks[0]).max(axis=1)
    if (moved := np.flatnonzero(away > _MOVED)).size:
        warn_quality(
            f"sum_repeats: the peak of the repeats {moved.tolist()} lies up to "
            f"{away.max()} pixels from that of the first: pass max_shift, or leave "
            "them out."
        )


def _sum(values: Any) -> Any:
    """Return sum (real part) and count (imaginary part) of values along axis 0."""
    if isinstance(values, np.ndarray):
        total = _coded(values[0])
        for one in values[1:]:
            total += _coded(one)
        return total
    coded = values.rechunk({0: 1}).map_blocks(_coded, dtype=np.complex64)
    return running_sum(coded)


def _coded(values: np.ndarray) -> np.ndarray:
    require_counts(values)
    coded = np.empty(values.shape, np.complex64)
    coded.real = np.nan_to_num(values)
    coded.imag = np.isfinite(values)
    return coded


def _alike(parts: list[xr.DataArray], largest: int, least: float) -> list[xr.DataArray]:
    from batteryxr.cdi.bragg.kernels.align import drift

    for part in parts:
        require_counts(part.values)
    first = np.nan_to_num(parts[0].transpose(*VOLUME).values)
    kept = [parts[0]]
    for number, part in enumerate(parts[1:], start=1):
        volume = np.nan_to_num(part.transpose(*VOLUME).values)
        shift, correlation = drift(first, volume, move=largest > 0)
        if largest and max(map(abs, shift)) > largest:
            raise DataError(
                "frames",
                f"repeat {number} has moved by {shift} voxels",
                "Leave it out if the crystal was lost, or raise max_shift.",
            )
        if correlation >= least:
            by = dict(zip(VOLUME, shift, strict=True))
            kept.append(part.shift(by) if any(shift) else part)
    return kept


@recorded
def stack_states(
    states: Sequence[xr.DataArray] | xr.DataArray,
    *,
    labels: Sequence[tuple[Literal["charge", "discharge", "rest"], float]],
) -> xr.DataArray:
    """Put the volumes of a series on one axis of voltage states.

    Lazy: one chunk for each state.

    Parameters
    ----------
    states
        One volume for each state, cropped to one shape.
    labels
        Direction and applied voltage of each state: ``[("charge", 2.5), ...]``.

    Returns
    -------
    xarray.DataArray
        On ``(state, rocking, detector_y, detector_x)`` with the coordinates
        ``direction`` and ``voltage``. The three axes count from the middle of the box.
        The position of the middle is in ``rocking_centre`` (deg), ``detector_y_centre``
        and ``detector_x_centre`` (pixels).

    Raises
    ------
    ArgumentError
        If the numbers of volumes and labels differ, or there is no volume.
    DataError
        If an axis of a volume has other steps than that of the first, or energy,
        distance or pixels differ.
    DimensionError
        If a volume has other axes or another shape.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> labels = [("charge", 2.5), ("charge", 3.0)]
    >>> two = batteryxr.cdi.stack_states([volumes[0], volumes[1]], labels=labels)
    >>> two.dims
    ('state', 'rocking', 'detector_y', 'detector_x')
    """
    parts = list(states)
    if len(parts) != len(labels) or not parts:
        raise ArgumentError("labels", list(labels), f"{len(parts)} states, one each")
    for part in parts:
        require_dims(part, VOLUME, caller="stack_states")
    _require_one_shape(parts)
    _require_one_beam(parts, "states", "state")
    for _, volts in labels:
        bounds.check("voltage", volts, argument="labels")
    _tell_of_copies(parts, "stack_states", "state")
    centred = [_from_centre(part) for part in parts]
    _require_one_step(centred)
    stacked = xr.concat(
        centred,
        dim="state",
        coords="different",
        compat="equals",
        join="override",
        combine_attrs="drop_conflicts",
    )
    stacked = stacked.transpose("state", *VOLUME)
    text = {"units": "1", "long_name": "Direction"}
    stacked = stacked.assign_coords(
        state=("state", np.arange(len(parts)), {"units": "1", "long_name": "State"}),
        direction=("state", [str(d) for d, _ in labels], text),
        voltage=("state", [float(v) for _, v in labels], attributes("voltage")),
    )
    return whole_volumes(stacked)


def _from_centre(volume: xr.DataArray) -> xr.DataArray:
    """Count the axes from the middle of the box, and note where the middle was."""
    coords: dict[str, Any] = {}
    for dim in VOLUME:
        axis = volume[dim]
        middle = axis.values[axis.size // 2]
        long_name = axis.attrs.get("long_name", dim)
        attrs = _axis_attributes(dim, f"{long_name} from the centre")
        # The same nominal angles differ by rounding from state to state.
        values = axis.values - middle
        if dim == "rocking":
            values = np.round(values, 5)
        coords[dim] = (dim, values, attrs)
        if f"{dim}_centre" not in volume.coords:
            place = _axis_attributes(dim, f"{long_name} of the centre")
            coords[f"{dim}_centre"] = ((), float(middle), place)
    return volume.assign_coords(coords)


def _require_one_shape(volumes: Sequence[xr.DataArray]) -> None:
    """Raise unless volumes are of one shape along the three axes."""
    shapes = {tuple(v.sizes.get(d, 0) for d in VOLUME) for v in volumes}
    if len(shapes) > 1:
        raise DimensionError(
            f"stack_states needs volumes of one shape; found {sorted(shapes)}. "
            "Crop them with one shape=."
        )


def _require_one_beam(parts: Sequence[xr.DataArray], what: str, called: str) -> None:
    """Raise where energy, distance or pixels differ: voxels would differ in size."""
    for name in ("energy", "distance", "pixel_size_y", "pixel_size_x"):
        told = [p[name].values for p in parts if name in p.coords and p[name].size == 1]
        values = np.ravel(np.array(told, float))
        if values.size < 2 or np.ptp(values) <= _BEAM * np.abs(values).max():
            continue
        number = int(np.argmax(np.abs(values - values[0])))
        raise DataError(
            what,
            f"{called} {number} has the {name} {values[number]:g}, the first "
            f"{values[0]:g}",
            "Voxels of one size are needed: leave it out, or phase it alone.",
        )


def _require_one_step(volumes: Sequence[xr.DataArray]) -> None:
    """Raise where an axis of a state has other steps than that of the first."""
    for dim in VOLUME:
        first = volumes[0][dim].values.astype(float)
        step = np.abs(np.diff(first)).max(initial=0.0)
        for number, volume in enumerate(volumes):
            away = float(np.abs(volume[dim].values - first).max(initial=0.0))
            if away > 0.5 * step:
                raise DataError(
                    "states",
                    f"state {number} goes from {volume[dim].values[0]:.5g} to "
                    f"{volume[dim].values[-1]:.5g} of its middle along {dim}, the "
                    f"first from {first[0]:.5g} to {first[-1]:.5g}",
                    "Phase states of other steps one by one, with their own geometry.",
                )


def _axis_attributes(name: str, long_name: str) -> dict[str, Any]:
    """Return attributes of a detector axis that counts from the box's centre."""
    units = attributes("rocking")["units"] if name == "rocking" else "1"
    return {"units": units, "long_name": long_name}
