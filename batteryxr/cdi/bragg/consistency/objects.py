"""Objects that are not what a method takes them for: told of those in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batteryxr.cdi.bragg.axes import bare, inside, space_axes
from batteryxr.core.blocks import is_lazy
from batteryxr.core.errors import warn_quality

if TYPE_CHECKING:
    import xarray as xr

#: Mean change of phase (rad) from voxel to voxel that splines do not follow.
_STEEP = 1.0
#: Shift (voxels) between objects that are compared voxel by voxel.
_AWAY = 0.3
#: Misfit of bright pixels that no retrieval leaves.
_STRANGE = 0.1
#: Counts of a pixel that is bright, and fewest of them for a judgement.
_BRIGHT, _ENOUGH = 9.0, 20


def warn_of_support(
    amplitude: xr.DataArray, support: xr.DataArray, *, caller: str
) -> None:
    """Warn where a given support holds next to nothing of the object in memory."""
    if is_lazy(amplitude) or is_lazy(support):
        return
    power = bare(amplitude) ** 2
    held = float(power.where(bare(inside(support)), 0.0).sum())
    if held < 0.1 * float(power.sum()):
        warn_quality(
            f"{caller}: the support holds {held / float(power.sum()):.0%} of the "
            "object's power. Is it inverted (True is inside), or of another crystal?"
        )


def warn_of_corners(amplitude: xr.DataArray, *, caller: str) -> None:
    """Warn of an object that lies at both ends of an axis, and not in between."""
    if is_lazy(amplitude):
        return
    dims = space_axes(amplitude, caller=caller)
    lead = [d for d in amplitude.dims if d not in dims]
    dense = amplitude > 0.25 * amplitude.max(dims)
    for dim in dims:
        lit = dense.any([d for d in (*lead, *dims) if d != dim]).values
        places = np.flatnonzero(lit)
        if places.size < 2 or not (lit[0] and lit[-1]):
            continue
        if np.diff(places).max() > lit.size / 4:
            warn_quality(
                f"{caller}: the object lies at both ends of {dim!r}, as if its origin "
                "were the first voxel: move it to the middle, np.fft.fftshift."
            )
            return


def warn_of_wraps(phase: xr.DataArray, *, caller: str) -> None:
    """Warn of phases that were never unwrapped; the cut of a dislocation stays."""
    if is_lazy(phase):
        return
    dims = space_axes(phase, caller=caller)
    for one in phase.transpose(..., *dims).values.reshape(
        -1, *(phase.sizes[d] for d in dims)
    ):
        known = np.isfinite(one)
        jumps = _jumps(one)
        if not jumps or np.abs(one[known]).max() > np.pi + 1e-3:
            continue
        try:
            from skimage.restoration import unwrap_phase
        except ImportError:  # the user has none: jumps alone are told
            left = 0
        else:
            masked = np.ma.masked_array(np.where(known, one, 0.0), ~known)
            free = np.where(known, np.asarray(unwrap_phase(masked, rng=0)), np.nan)
            left = _jumps(free)
        if left < 0.5 * jumps:
            warn_quality(
                f"{caller}: the phase is wrapped: it stays within half a turn and "
                f"jumps {jumps} times by more. Unwrap the object first: `unwrap`."
            )
            return


def _jumps(phase: np.ndarray) -> int:
    """Return the number of neighbours that differ by more than half a turn."""
    return sum(
        int((np.abs(np.diff(phase, axis=a)) > np.pi).sum()) for a in range(phase.ndim)
    )


def warn_of_ramp(field: xr.DataArray, *, caller: str) -> None:
    """Warn of an object whose phase turns too fast for interpolation."""
    if is_lazy(field) or field.dtype.kind != "c":
        return
    dims = space_axes(field, caller=caller)
    plain = bare(field).fillna(0)
    for dim in dims:
        next_one = plain.isel({dim: slice(1, None)})
        product: xr.DataArray = plain.isel({dim: slice(None, -1)}).conj() * next_one
        angle = float(np.abs(np.angle(product.sum(dims).values)).max(initial=0.0))
        if angle > _STEEP:
            warn_quality(
                f"{caller}: the phase turns by {angle:.1f} rad from voxel to voxel "
                f"along {dim!r}, which interpolation does not follow. Crop round the "
                "peak before the retrieval, or pass unwrapped fields."
            )
            return


def warn_of_strangers(
    objects: xr.DataArray, counts: xr.DataArray, axes: tuple[str, ...], *, caller: str
) -> None:
    """Warn of objects that do not explain the bright pixels of their counts.

    Parameters
    ----------
    objects, counts
        On `axes` and on the axes of a volume in the same order, last; other dimensions
        are walked together where both have them.
    axes
        Axes of the objects.
    caller
        Name of the public function.
    """
    if is_lazy(objects) or is_lazy(counts):
        return
    one, pattern = objects, counts
    for dim in [d for d in objects.dims if d not in axes]:  # the first of each
        one = one.isel({dim: 0})
        pattern = pattern.isel({dim: 0}) if dim in pattern.dims else pattern
    measured = np.nan_to_num(pattern.values.astype(float))
    bright = measured > _BRIGHT
    if bright.sum() < _ENOUGH or not np.isfinite(one.values).all():
        return
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(one.transpose(*axes).values)))
    there, found = np.sqrt(measured[bright]), np.abs(field[bright])
    scale = float(found @ there) / max(float(found @ found), 1e-300)
    misfit = float(((scale * found - there) ** 2).sum() / (there**2).sum())
    if misfit > _STRANGE:
        warn_quality(
            f"{caller}: object and counts differ by {misfit:.0%} in the bright pixels: "
            "they are not of one crystal, one box or one orientation."
        )


def warn_of_places(field: xr.DataArray, dim: str, *, caller: str) -> None:
    """Warn of objects along `dim` that lie elsewhere than the first one, or mirrored.

    Objects that `align_states` or `align` moved are not looked at again.
    """
    if "gauge" in field.attrs or "overlap" in field.coords or is_lazy(field):
        return
    dims = space_axes(field, caller=caller)
    parts = field.transpose(dim, ..., *dims).values
    if parts.ndim != 1 + len(dims):
        return
    from batteryxr.cdi.bragg.kernels.align import align, overlap, without_ramp

    for number, part in enumerate(parts[1:], start=1):
        if not (parts[0].any() and part.any() and np.isfinite(part).all()):
            continue
        found = align(parts[0], part, ramp=True)
        here = abs(overlap(parts[0], without_ramp(parts[0], part)))
        moved = found.twin or max(map(abs, found.shift)) > _AWAY
        if moved and found.overlap > 1.02 * here:
            shift = [round(float(s), 1) for s in found.shift]
            warn_quality(
                f"{caller}: object {number} lies {shift} voxels from the first"
                + (", as its twin" if found.twin else "")
                + ": align them before: `align_states`, or `align`."
            )
            return
