"""Align objects in what the intensity leaves free: twin, shift, ramp and phase.

Arrays are whole and periodic; the object may lie anywhere in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


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
    candidates = [_aligned(reference, field, ramp, False)]
    if twin:
        candidates.append(_aligned(reference, conjugate_twin(field), ramp, True))
    return max(candidates, key=lambda a: a.overlap)


def align_state(
    reference: np.ndarray, field: np.ndarray, *, keep_ramp: bool
) -> tuple[np.ndarray, float, bool, np.ndarray]:
    """Align one state to a reference, with or without its own phase ramp.

    Parameters
    ----------
    reference, field
        Complex objects of one shape.
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
    """
    reference = np.ascontiguousarray(reference, np.complex64)
    field = np.ascontiguousarray(field, np.complex64)
    if not reference.any() or not field.any():
        return field, 0.0, False, np.zeros(field.ndim)
    found = align(reference, field, ramp=True)
    moved = found.field
    if keep_ramp:
        moved = shifted(conjugate_twin(field) if found.twin else field, found.shift)
        agreement = np.vdot(moved, reference)
        if agreement:
            moved = moved * np.complex64(agreement / abs(agreement))
    moved = moved.astype(np.complex64, copy=False)
    return moved, found.overlap, found.twin, np.asarray(found.shift, float)


def conjugate_twin(field: np.ndarray) -> np.ndarray:
    """Return the object mirrored at the origin and conjugated.

    Its transform is the conjugate of the object's, so the intensity is the same.
    """
    axes = tuple(range(field.ndim))
    return np.conj(np.roll(np.flip(field, axes), (1,) * field.ndim, axes))


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
