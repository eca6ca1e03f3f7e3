"""Components have no order of their own: matching those of two fits."""

from __future__ import annotations

import numpy as np


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosines between rows of a (k, points) and of b (l, points)."""
    a = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300)
    b = b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-300)
    return a @ b.T


def match(reference: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `other` that go with those of `reference`, and cosines."""
    from scipy.optimize import linear_sum_assignment

    table = cosines(reference, other)
    _, order = linear_sum_assignment(-table)
    return order, table[np.arange(len(order)), order]


def appearance(weights: np.ndarray) -> np.ndarray:
    """Return the order in which components appear along the samples.

    Sorted by the centre of mass of their weights (k, samples).
    """
    place = np.arange(weights.shape[1])
    mass = np.maximum(weights.sum(axis=1), 1e-300)
    return np.argsort((weights @ place) / mass, kind="stable")
