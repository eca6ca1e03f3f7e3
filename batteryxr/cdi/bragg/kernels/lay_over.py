"""One state's object over another's, and the gaps that it shows."""

from __future__ import annotations

import numpy as np

from batteryxr.cdi.bragg.kernels.align import align, conjugate_twin, shifted


def lay_over(
    reference: np.ndarray, field: np.ndarray, *, keep_ramp: bool
) -> tuple[np.ndarray, float, bool, np.ndarray]:
    """Return a field laid over a reference, with or without its own phase ramp.

    Parameters
    ----------
    reference, field
        Complex objects of one shape.
    keep_ramp
        Twin and shift are found without the ramp either way: with it, the fields of
        two states need not overlap.

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


def gaps(missing: np.ndarray, smallest: int) -> np.ndarray:
    """Return the connected parts of a mask of at least `smallest` voxels."""
    from scipy import ndimage

    parts, _ = ndimage.label(missing)
    large = np.bincount(parts.ravel()) >= smallest
    large[0] = False
    return np.asarray(large[parts])
