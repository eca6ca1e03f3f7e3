"""Objects that are not what a method takes them for, told as they are computed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    OBJECT,
    PHOTONS,
    SLOPES,
    VOLUME,
    bare,
    each_volume,
    inside,
    known_sign,
    require_scale,
    space_axes,
)
from batteryxr.cdi.bragg.kernels.counting import not_counts, photons_of
from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.errors import warn_quality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Mean change of phase (rad) from voxel to voxel that splines do not follow.
_STEEP = 1.0
#: Misfit of bright pixels that no retrieval leaves.
_STRANGE = 0.1
#: Relative difference of sums of counts that rounding does not make.
_OTHER = 1e-6
#: Least difference of slopes (rad) of an image, and share of it that is the image's.
_TURNED, _NEAR = 1e-3, 0.05
#: Amplitude of a voxel that holds nothing, and share of them that no support has.
_DIM, _MOSTLY = 0.02, 0.6
#: Share of neighbours that jump in a phase that is none.
_JUMPY = 0.05
#: Counts of a pixel that is bright, and fewest of them for a judgement.
_BRIGHT, _ENOUGH = 9.0, 20


def looked_at(
    judge: Callable[..., str | None],
    *arrays: xr.DataArray,
    axes: Sequence[Sequence[str]],
    caller: str,
) -> xr.DataArray:
    """Return the first array; warn of the first volume that a judge finds wrong.

    Arrays in memory are judged at once, lazy ones where they are computed.

    Parameters
    ----------
    judge
        Takes one volume of each array; returns what is wrong with them, or None. What
        it tells of arrays in memory ends with the place of the volume.
    arrays
        They match by position. The first of dimensions that only others have is judged.
    axes
        Axes of a volume of each array.
    caller
        Name of the public function.
    """
    first = arrays[0]
    own = {d for d in first.dims if d not in axes[0]}
    plain = [
        bare(a).isel({d: 0 for d in a.dims if d not in own and d not in whole})
        for a, whole in zip(arrays, axes, strict=True)
    ]

    # A block of lazy arrays does not know its place.
    many = max(a.ndim for a in plain) > 3 and not any(map(is_lazy, plain))

    def walk(*parts: np.ndarray) -> Any:
        lead = parts[0].shape[: parts[0].ndim - len(axes[0])]
        spread = [
            np.broadcast_to(p, lead + p.shape[p.ndim - len(whole) :])
            for p, whole in zip(parts, axes, strict=True)
        ]
        for index in np.ndindex(lead):
            if told := judge(*(p[index] for p in spread)):
                place = f" (Volume {list(index)} of {list(lead)}.)" if many else ""
                warn_quality(f"{caller}: {told}{place}")
                break
        return parts[0]

    seen = apply(
        walk,
        *plain,
        core_dims=axes,
        output_dims=[axes[0]],
        dtypes=[first.dtype],
        caller=caller,
    )
    return first.copy(data=seen.transpose(*first.dims).data) if is_lazy(seen) else first


def warn_of_support(
    amplitude: xr.DataArray, support: xr.DataArray, *, caller: str
) -> xr.DataArray:
    """Return a given support; warn where it and the object hardly meet."""
    dims = space_axes(amplitude, caller=caller)
    return looked_at(_empty, support, amplitude, axes=[dims, dims], caller=caller)


def _empty(support: np.ndarray, amplitude: np.ndarray) -> str | None:
    power = np.nan_to_num(amplitude).astype(float) ** 2
    where = inside(xr.DataArray(support)).values
    held = float(power[where].sum())
    if held >= 0.1 * float(power.sum()):
        dim = np.nan_to_num(amplitude)[where] < _DIM * float(power.max()) ** 0.5
        if dim.mean() < _MOSTLY:
            return None
        return (
            f"{dim.mean():.0%} of the support's voxels hold nothing of the object: "
            "their phase is noise. Is it of another crystal, or not of booleans?"
        )
    return (
        f"the support holds {held / float(power.sum()):.0%} of the "
        "object's power. Is it inverted (True is inside), or of another crystal?"
    )


def warn_of_corners(amplitude: xr.DataArray, *, caller: str) -> xr.DataArray:
    """Return moduli; warn of objects at both ends of an axis, and not in between."""
    dims = space_axes(amplitude, caller=caller)

    def at_ends(one: np.ndarray) -> str | None:
        dense = one > 0.25 * np.nanmax(one, initial=0.0)
        for axis, dim in enumerate(dims):
            lit = dense.any(tuple(a for a in range(3) if a != axis))
            places = np.flatnonzero(lit)
            if places.size < 2 or not (lit[0] and lit[-1]):
                continue
            if np.diff(places).max() > lit.size / 4:
                return (
                    f"the object lies at both ends of {dim!r}, as if its origin "
                    "were the first voxel: move it to the middle, np.fft.fftshift."
                )
        return None

    return looked_at(at_ends, amplitude, axes=[dims], caller=caller)


def warn_of_wraps(phase: xr.DataArray, *, caller: str) -> xr.DataArray:
    """Return phases; warn of wrapped or torn ones. The cut of a dislocation stays."""
    dims = space_axes(phase, caller=caller)
    return looked_at(_wrapped, phase, axes=[dims], caller=caller)


def warn_of_degrees(phase: xr.DataArray, *, caller: str) -> xr.DataArray:
    """Return phases in memory, wrapped or not; warn where they jump as degrees do."""
    if is_lazy(phase):  # it may be split, and is read several times
        return phase
    dims = space_axes(phase, caller=caller)
    return looked_at(_in_degrees, phase, axes=[dims], caller=caller)


def _in_degrees(phase: np.ndarray) -> str | None:
    if not np.nanmax(np.abs(phase), initial=0.0) > np.pi + 1e-3:
        return None
    pairs = sum(int(np.isfinite(np.diff(phase, axis=a)).sum()) for a in range(3))
    if (jumps := _jumps(phase)) <= max(_JUMPY * pairs, _ENOUGH):
        return None
    return (
        "the phase changes by more than half a turn between "
        f"{jumps / pairs:.0%} of the neighbours. Is it in deg? Note its units."
    )


def _wrapped(phase: np.ndarray) -> str | None:
    known = np.isfinite(phase)
    jumps = _jumps(phase)
    if not jumps:
        return None
    if np.abs(phase[known]).max() > np.pi + 1e-3:
        return _in_degrees(phase)
    try:
        from skimage.restoration import unwrap_phase
    except ImportError:  # the user has none: jumps alone are told
        left = 0
    else:
        masked = np.ma.masked_array(np.where(known, phase, 0.0), ~known)
        free = np.where(known, np.asarray(unwrap_phase(masked, rng=0)), np.nan)
        left = _jumps(free)
    if left >= 0.5 * jumps:
        return None
    return (
        f"the phase is wrapped: it stays within half a turn and "
        f"jumps {jumps} times by more. Unwrap the object first: `unwrap`."
    )


def _jumps(phase: np.ndarray) -> int:
    """Return the number of neighbours that differ by more than half a turn."""
    return sum(
        int((np.abs(np.diff(phase, axis=a)) > np.pi).sum()) for a in range(phase.ndim)
    )


def warn_of_ramp(field: xr.DataArray, *, caller: str) -> xr.DataArray:
    """Return objects; warn where a phase turns too fast for interpolation."""
    if field.dtype.kind != "c":
        return field
    field = require_scale(field)
    dims = space_axes(field, caller=caller)

    def steep(one: np.ndarray) -> str | None:
        for axis, dim in enumerate(dims):
            turned = np.moveaxis(np.nan_to_num(one), axis, 0)
            angle = abs(float(np.angle((turned[:-1].conj() * turned[1:]).sum())))
            if angle > _STEEP:
                return (
                    f"the phase turns by {angle:.1f} rad from voxel to voxel "
                    f"along {dim!r}, which interpolation does not follow. Crop round "
                    "the peak before the retrieval, or pass unwrapped fields."
                )
        return None

    return looked_at(steep, field, axes=[dims], caller=caller)


def warn_of_images(
    objects: xr.DataArray, modulus: xr.DataArray | None = None, *, caller: str
) -> xr.DataArray:
    """Return objects, or phases; warn of images of what was retrieved.

    Parameters
    ----------
    objects
        In the detector's frame, else nothing is judged. Complex, or phases (rad).
    modulus
        Amplitude beside a phase.
    caller
        Name of the public function.
    """
    sign = known_sign(objects)
    known = set(SLOPES) <= set(objects.coords) and sign is not None
    if not known or not set(OBJECT) <= set(objects.dims):
        return objects
    if objects.dtype.kind != "c" and modulus is None:
        return objects
    noted = [bare(objects.coords[n]) * -float(sign or -1) for n in SLOPES]
    beside = [] if modulus is None else [modulus]
    given = (objects, *beside, *noted)
    axes = [OBJECT] * (1 + len(beside)) + [()] * len(SLOPES)
    return looked_at(_image, *given, axes=axes, caller=caller)


def with_slopes(fields: xr.Dataset) -> xr.Dataset:
    """Return unwrapped fields that note the slopes of what their support holds."""
    sign = known_sign(fields)
    phase, modulus = fields["phase"], fields["amplitude"]
    known = set(SLOPES) <= set(phase.coords) and sign is not None
    if not known or not set(OBJECT) <= set(phase.dims):
        return fields
    found = apply(
        each_volume(_slopes_of, "(i,j,k),(i,j,k)->(a)"),
        bare(phase),
        bare(modulus),
        core_dims=[OBJECT, OBJECT],
        output_dims=[["axis"]],
        output_sizes={"axis": len(SLOPES)},
        dtypes=[np.float64],
        caller="unwrap",
    )
    found = found * -float(sign or -1)
    notes = {
        name: found.isel(axis=k).assign_attrs(phase.coords[name].attrs)
        for k, name in enumerate(SLOPES)
    }
    return fields.assign_coords(notes)


def _slopes_of(phase: np.ndarray, modulus: np.ndarray) -> np.ndarray:
    from batteryxr.cdi.bragg.kernels.phases import slopes

    return slopes(modulus * np.exp(1j * phase))


def _image(*parts: np.ndarray) -> str | None:
    from batteryxr.cdi.bragg.kernels.phases import slopes

    one, *beside = parts[: -len(SLOPES)]
    here = _slopes_of(one, beside[0]) if beside else slopes(one)
    noted = np.array(parts[-len(SLOPES) :], float)
    if not np.isfinite(noted).all() or not np.isfinite(here).all():
        return None
    size = float(np.linalg.norm(noted))
    for name, image in _images(noted):
        near = float(np.linalg.norm(here - image))
        apart = min(size, float(np.linalg.norm(noted - image)))
        if apart > _TURNED and near < _NEAR * apart:
            return (
                f"the object is {name} what was retrieved: displacement and strain "
                "would be wrong, in sign or in place. Pass it as `retrieve` gave it; "
                "of a conjugate that is meant, `.assign_coords(fourier_sign=1)`."
            )
    return None


def _images(noted: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what an object may have become, and the slopes that it would have."""
    yield "the conjugate of", -noted
    for signs in itertools.product((1, -1), repeat=3):
        for order in itertools.permutations(range(3)):
            yield (
                "a mirror image, or another order of the axes, of",
                (noted * signs)[list(order)],
            )


def warn_of_strangers(
    objects: xr.DataArray, counts: xr.DataArray, *, caller: str
) -> xr.DataArray:
    """Return objects; warn where they do not explain bright pixels of their counts.

    Parameters
    ----------
    objects, counts
        On the axes of an object and of a volume.
    caller
        Name of the public function.
    """
    axes: list[Sequence[str]] = [OBJECT, VOLUME, ()]
    photons = objects.coords.get(PHOTONS, xr.DataArray(np.nan))
    return looked_at(_strange, objects, counts, photons, axes=axes, caller=caller)


def _strange(one: np.ndarray, counts: np.ndarray, photons: np.ndarray) -> str | None:
    if not_counts(counts):
        return None  # which is refused where they are used
    here, phased = photons_of(counts), float(photons)
    if abs(here - phased) > _OTHER * here:
        return (
            f"the object was phased from {phased:.10g} counts, and these are "
            f"{here:.10g}: of another state, mask or crop. Pass the counts that were "
            "phased."
        )
    measured = np.nan_to_num(counts.astype(float))
    bright = measured > _BRIGHT
    if bright.sum() < _ENOUGH or not np.isfinite(one).all():
        return None
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(one)))
    there, found = np.sqrt(measured[bright]), np.abs(field[bright])
    scale = float(found @ there) / max(float(found @ found), 1e-300)
    misfit = float(((scale * found - there) ** 2).sum() / (there**2).sum())
    if misfit <= _STRANGE:
        return None
    return (
        f"object and counts differ by {misfit:.0%} in the bright pixels: "
        "they are not of one crystal, one box or one orientation."
    )
