"""Modes of several objects: what they share, and how much of each that is."""

from __future__ import annotations

import numpy as np


def modes(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decompose aligned objects into orthogonal modes.

    The eigenvectors of the small Gram matrix of the objects combine them; the large
    matrix over voxels is never formed.

    Parameters
    ----------
    objects : (n, ...) complex
        Aligned objects.

    Returns
    -------
    modes : (n, ...) complex64
        Orthogonal, largest first; their squared norms sum to those of the objects.
        Each has the phase that suits the first object best.
    weights : (n,) float64
        Fractions of the squared norm, summing to 1. One object seen n times: 1, 0, ...
    """
    n = len(objects)
    flat = objects.reshape(n, -1)
    gram = np.empty((n, n), np.complex128)
    for i in range(n):
        for j in range(i, n):
            gram[i, j] = np.vdot(flat[i], flat[j])
            gram[j, i] = gram[i, j].conj()
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    phases = np.exp(-1j * np.angle(vectors[0]))
    mixed = (vectors * phases).T.astype(np.complex64) @ flat
    values = np.maximum(values, 0.0)
    return mixed.reshape(objects.shape), values / values.sum()
