"""Align objects in what the intensity leaves free: twin, shift, ramp and phase.

Arrays are whole and periodic; the object may lie anywhere in them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

#: Difference of overlaps above which a reference tells an object from its twin.
_SURE = 0.05
#: Least divisor, a number of single precision.
_TINY = 1e-30


@dataclass(frozen=True)
class Aligned:
    """Hold an object aligned to another.

    Parameters
    ----------
    field
        The object after twin, shift, ramp and phase, complex64.
    overlap
        Modulus of the normalised complex overlap, 0 to 1.
    twin
        True if the conjugate twin was taken.
    shift
        Shift in voxels, of the twin if that was taken.
    """

    field: np.ndarray
    overlap: float
    twin: bool
    shift: tuple[float, ...]


def align(
    reference: np.ndarray, field: np.ndarray, *, ramp: bool = True, twin: bool = True
) -> Aligned:
    """Align a complex object to a reference.

    The object or its conjugate twin is taken, whichever has the larger *complex*
    overlap after shift, ramp and phase are removed. Moduli or supports do not
    distinguish the two where a crystal is nearly centrosymmetric.

    Parameters
    ----------
    reference, field
        Complex objects of one shape.
    ramp
        Remove the phase ramp between the two. Objects that were retrieved from one
        pattern have none.
    twin
        Consider the conjugate twin.

    Returns
    -------
    Aligned
    """
    if not twin:
        return _aligned(reference, field, ramp, False)
    return max(candidates(reference, field, ramp=ramp), key=lambda a: a.overlap)


def candidates(
    reference: np.ndarray, field: np.ndarray, *, ramp: bool = True
) -> tuple[Aligned, Aligned]:
    """Return the aligned object and its aligned twin."""
    twin = conjugate_twin(field)
    own = _aligned(reference, field, ramp, False)
    return own, _aligned(reference, twin, ramp, True)


def align_state(
    reference: np.ndarray, before: np.ndarray, field: np.ndarray, *, keep_ramp: bool
) -> tuple[np.ndarray, float, bool, np.ndarray, np.ndarray]:
    """Align one state to a reference, with or without its own phase ramp.

    Parameters
    ----------
    reference, before, field
        Complex objects of one shape; the second is the state before this one.
    keep_ramp
        Keep the ramp of `field`. Twin and shift are found without it either way: with
        their ramps, the fields of two states need not overlap.

    Returns
    -------
    field
        complex64; its mean phase is that of the reference.
    overlap
        Modulus of the normalised complex overlap without the ramp between them.
    twin
        Whether the conjugate twin was taken.
    shift
        Voxels along each axis.
    gains
        How much more the object than its twin overlaps with the reference, and with
        the state before; the latter is 0 where the reference tells them apart.
    """
    reference = np.ascontiguousarray(reference, np.complex64)
    field = np.ascontiguousarray(field, np.complex64)
    if not reference.any() or not field.any():
        return field, 0.0, False, np.zeros(field.ndim), np.zeros(2)
    both = candidates(reference, field)
    gains = np.array([both[0].overlap - both[1].overlap, 0.0])
    if abs(gains[0]) < _SURE and before.any():
        beside = candidates(np.ascontiguousarray(before, np.complex64), field)
        gains[1] = beside[0].overlap - beside[1].overlap
    taken = _with_ramp(reference, field, both[int(gains[0] < 0)], keep_ramp)
    return *taken, gains


def _with_ramp(
    reference: np.ndarray, field: np.ndarray, found: Aligned, keep_ramp: bool
) -> tuple[np.ndarray, float, bool, np.ndarray]:
    moved = found.field
    if keep_ramp:
        moved = shifted(conjugate_twin(field) if found.twin else field, found.shift)
        agreement = np.vdot(moved, reference)
        if agreement:
            moved = moved * np.complex64(agreement / abs(agreement))
    moved = moved.astype(np.complex64, copy=False)
    return moved, found.overlap, found.twin, np.asarray(found.shift, float)


def twins_of_series(gains: np.ndarray, reference: int) -> np.ndarray:
    """Decide which states of a series are twins of the reference.

    A crystal without strain is its own twin where its shape is centrosymmetric: it does
    not tell those of other states apart. Each state is therefore compared with the
    reference and with the state before it, and decided along the links that tell most:
    the largest spanning tree (Kruskal, Proc. Am. Math. Soc. 7, 48 (1956)).

    Parameters
    ----------
    gains : (states, 2)
        See `align_state`.
    reference
        Number of the reference.

    Returns
    -------
    numpy.ndarray of bool
        One for each state.
    """
    n = len(gains)
    links = [(abs(g), reference, k, g < 0) for k, g in enumerate(gains[:, 0])]
    links += [(abs(g), k - 1, k, g < 0) for k, g in enumerate(gains[:, 1]) if k]
    tree, twin = np.arange(n), np.zeros(n, bool)
    for _, a, b, turned in sorted(links, key=lambda link: -link[0]):
        if tree[a] != tree[b]:
            twin[tree == tree[b]] ^= twin[b] ^ twin[a] ^ turned
            tree[tree == tree[b]] = tree[a]
    return twin ^ twin[reference]


def turn_state(
    reference: np.ndarray,
    field: np.ndarray,
    found: tuple[np.ndarray, float, bool, np.ndarray],
    wanted: bool,
    *,
    keep_ramp: bool,
) -> tuple[np.ndarray, float, bool, np.ndarray]:
    """Return an aligned state as its other twin, where that is wanted.

    Parameters
    ----------
    reference, field
        See `align_state`.
    found
        What `align_state` returned, without the gains.
    wanted
        Whether the twin is wanted.
    """
    if bool(wanted) == bool(found[2]) or not field.any() or not reference.any():
        return found
    reference = np.ascontiguousarray(reference, np.complex64)
    field = np.ascontiguousarray(field, np.complex64)
    other = candidates(reference, field)[int(wanted)]
    return _with_ramp(reference, field, other, keep_ramp)


def conjugate_twin(field: np.ndarray) -> np.ndarray:
    """Return the object mirrored at the origin and conjugated.

    Its transform is the conjugate of the object's, so the intensity is the same.
    """
    axes = tuple(range(field.ndim))
    return np.conj(np.roll(np.flip(field, axes), (1,) * field.ndim, axes))


def agreement(reference: np.ndarray, field: np.ndarray) -> float:
    """Return the modulus of the overlap without the ramp between two objects."""
    return abs(overlap(reference, without_ramp(reference, field)))


def best_mirror(
    reference: np.ndarray, field: np.ndarray
) -> tuple[tuple[int, ...], float, float]:
    """Find the mirror image of an object that agrees best with a reference.

    An object mirrored along all axes is the conjugate of its twin: it is of the same
    crystal if someone conjugated it. Along some axes, its counts were mirrored. Objects
    are compared at half the resolution: this costs an eighth.

    Parameters
    ----------
    reference, field
        Complex objects of one shape.

    Returns
    -------
    axes
        Axes of the image.
    here, there
        Overlap with the reference of the object, and of its image.
    """
    reference, field = _coarse(reference), _coarse(field)
    every = range(field.ndim)
    found = {}
    for n in range(field.ndim + 1):
        for axes in itertools.combinations(every, n):
            image = np.roll(np.flip(field, axes), (1,) * n, axes)
            found[axes] = align(reference, image, ramp=True).overlap
    here = found.pop(())
    best = max(found, key=lambda axes: found[axes])
    return best, here, found[best]


def _coarse(field: np.ndarray, least: int = 17) -> np.ndarray:
    """Return an object on half the points along each axis, for the same length.

    Their number is odd: the last frequency of an even one has no mirror image.
    """
    import scipy.fft

    spectrum = np.fft.fftshift(scipy.fft.fftn(np.fft.ifftshift(field)))
    for axis, n in enumerate(field.shape):
        few = min(n, max(least, 2 * (n // 4) + 1))
        start = n // 2 - few // 2
        spectrum = spectrum.take(range(start, start + few), axis)
    whole = np.fft.fftshift(scipy.fft.ifftn(np.fft.ifftshift(spectrum)))
    return whole.astype(np.complex64)


def overlap(a: np.ndarray, b: np.ndarray) -> complex:
    """Return the normalised complex overlap of two objects."""
    product = _inner(a, b)
    power = math.sqrt(_inner(a, a).real * _inner(b, b).real)
    return product / power if power else 0j


def _inner(a: np.ndarray, b: np.ndarray) -> complex:
    # Sum each line in single precision (pairwise), then add the lines in double.
    lines = np.einsum("...i,...i->...", np.conj(a), b)
    return complex(np.sum(lines, dtype=np.complex128))


def _aligned(
    reference: np.ndarray, field: np.ndarray, ramp: bool, twin: bool
) -> Aligned:
    import scipy.fft

    modulus = scipy.fft.fftn(np.abs(reference))
    coarse = _peak(modulus * np.conj(scipy.fft.fftn(np.abs(field))))
    shift = np.asarray(coarse, float)
    spectrum = scipy.fft.fftn(reference)
    moved = field
    # The moduli place the object roughly whatever its ramp; the complex fields place it
    # finely once the ramp is gone. Do this twice, since each step helps the other.
    for _ in range(2):
        moved = shifted(field, shift)
        straight = without_ramp(reference, moved) if ramp else moved
        shift = shift + _fine_peak(spectrum * np.conj(scipy.fft.fftn(straight)))
    moved = shifted(field, shift)
    if ramp:
        moved = without_ramp(reference, moved)
    agreement = overlap(moved, reference)
    phase = agreement / abs(agreement) if agreement else 1.0
    return Aligned(
        (moved * np.complex64(phase)).astype(np.complex64, copy=False),
        abs(agreement),
        twin,
        tuple(float(s) for s in shift),
    )


def shifted(field: np.ndarray, shift: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Return the object moved by `shift` voxels, exact for band-limited objects."""
    shift = np.asarray(shift, float)
    if np.array_equal(shift, np.round(shift)):
        whole = tuple(int(s) for s in shift)
        return np.roll(field, whole, tuple(range(field.ndim)))
    import scipy.fft

    spectrum = scipy.fft.fftn(field)
    for axis, (n, s) in enumerate(zip(field.shape, shift, strict=True)):
        wave = np.exp(-2j * np.pi * np.fft.fftfreq(n) * s).astype(np.complex64)
        spectrum *= _along(wave, axis, field.ndim)
    return scipy.fft.ifftn(spectrum, overwrite_x=True)


def without_ramp(reference: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Give `field` the ramp of `reference`: the mean phase step of their product."""
    product = reference * np.conj(field)
    product = product / max(float(np.abs(product).max(initial=0.0)), _TINY)
    for axis, n in enumerate(field.shape):
        a = product.take(range(1, n), axis)
        b = product.take(range(n - 1), axis)
        step = np.angle(_inner(b, a))
        wave = np.exp(1j * step * (np.arange(n) - n // 2)).astype(np.complex64)
        field = field * _along(wave, axis, field.ndim)
    return field


def _peak(spectrum: np.ndarray) -> tuple[int, ...]:
    import scipy.fft

    correlation = np.abs(scipy.fft.ifftn(spectrum))
    return _signed(np.argmax(correlation), correlation.shape)


def _fine_peak(spectrum: np.ndarray) -> np.ndarray:
    """Find a correlation peak near zero shift, to about 0.01 voxels.

    The transform is evaluated on a fine grid around the peak only, one matrix per
    axis (Guizar-Sicairos, Thurman & Fienup, Opt. Lett. 33, 156 (2008)).
    """
    centre = np.zeros(spectrum.ndim)
    for step in (0.25, 0.05, 0.01):
        offsets = np.arange(-5, 6) * step
        found = spectrum
        for axis, n in enumerate(spectrum.shape):
            positions = centre[axis] + offsets
            waves = np.exp(2j * np.pi * np.outer(positions, np.fft.fftfreq(n)))
            # Each contraction moves an axis to the end; after all, the order is
            # restored.
            found = np.tensordot(found, waves.astype(np.complex64), axes=(0, 1))
        best = np.unravel_index(np.argmax(np.abs(found)), found.shape)
        centre = centre + offsets[np.asarray(best)]
    return centre


def _signed(index: np.intp, shape: tuple[int, ...]) -> tuple[int, ...]:
    place = np.unravel_index(index, shape)
    return tuple(
        int(p) - n if p > n // 2 else int(p) for p, n in zip(place, shape, strict=True)
    )


def _along(line: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    return line.reshape([-1 if a == axis else 1 for a in range(ndim)])


def drift(
    first: np.ndarray, other: np.ndarray, *, move: bool
) -> tuple[tuple[int, ...], float]:
    """Find the shift of `other` onto `first`, and their correlation after it.

    Parameters
    ----------
    first, other
        Intensities of one shape, without NaN.
    move
        Search for the shift; False takes it as zero.

    Returns
    -------
    shift
        Whole voxels along each axis.
    correlation
        Pearson's, of the square roots, so that the bright peak does not dominate.
    """
    import scipy.fft

    a, b = (np.sqrt(np.maximum(v, 0.0)).astype(np.float32) for v in (first, other))
    shift = (0,) * a.ndim
    if move:
        field = scipy.fft.rfftn(a) * np.conj(scipy.fft.rfftn(b))
        cross = scipy.fft.irfftn(field, a.shape)
        peak = np.unravel_index(int(cross.argmax()), a.shape)
        shift = tuple(
            int(p) - n if p > n // 2 else int(p)
            for p, n in zip(peak, a.shape, strict=True)
        )
        b = np.roll(b, shift, tuple(range(a.ndim)))
    a, b = a - a.mean(dtype=float), b - b.mean(dtype=float)
    power = np.sqrt(float(np.vdot(a, a)) * float(np.vdot(b, b)))
    return shift, float(np.vdot(a, b)) / power if power else 0.0
