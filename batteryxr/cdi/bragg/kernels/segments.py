"""Connected regions of one class, their shapes, and how they carry over."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np


def segment(
    values: np.ndarray,
    basis: np.ndarray,
    *,
    edges: np.ndarray,
    minimum: int,
    room: int,
) -> tuple[Any, ...]:
    """Give numbers to connected regions of one class, the largest first.

    Parameters
    ----------
    values
        (i, j, k); NaN outside.
    basis
        (3, 3) step of each index in space (nm): axis, then (x, y, z).
    edges
        (e,) increasing values between classes.
    minimum
        Fewest voxels of a region.
    room
        Rows of the tables.

    Returns
    -------
    numbers
        (i, j, k) int32, 0 for none.
    size, level, mean
        (room,) volume, class, mean value; NaN where there is no such region.
    centre, long_axis
        (room, 3) in space, from index ``n // 2``; the axis has unit length.
    found
        Number of regions, also beyond `room`.
    """
    from scipy import ndimage

    inside = np.isfinite(values)
    classes = np.where(inside, np.digitize(values, edges) + 1, 0)
    labels = np.zeros(values.shape, np.int32)
    levels = [0]
    for level in range(1, len(edges) + 2):
        parts, n = ndimage.label(classes == level)
        labels[parts > 0] = parts[parts > 0] + len(levels) - 1
        levels += [level] * n
    counts = np.bincount(labels.ravel(), minlength=len(levels))
    counts[0] = 0
    order = [k for k in np.argsort(-counts, kind="stable") if counts[k] >= minimum]
    new = np.zeros(len(levels), np.int32)
    new[order[:room]] = np.arange(1, min(len(order), room) + 1)
    numbers = new[labels]
    size, level_of, mean = (np.full(room, np.nan) for _ in range(3))
    centre, axis = np.full((room, 3), np.nan), np.full((room, 3), np.nan)
    middle = np.array([n // 2 for n in values.shape])
    for row, old in enumerate(order[:room]):
        where = labels == old
        points = (np.argwhere(where) - middle) @ basis
        size[row] = counts[old] * abs(np.linalg.det(basis))
        level_of[row] = levels[old] - 1
        mean[row] = values[where].mean(dtype=float)
        centre[row] = points.mean(axis=0)
        axis[row] = np.linalg.eigh(np.cov(points.T))[1][:, -1] if len(points) > 3 else 0
    return numbers, size, level_of, mean, centre, axis, np.int64(len(order))


def follow(
    before: np.ndarray,
    after: np.ndarray,
    one: dict[str, np.ndarray],
    two: dict[str, np.ndarray],
) -> tuple[Any, ...]:
    """Match the domains of two states.

    Parameters
    ----------
    before, after
        (i, j, k) numbers of domains, 0 for none.
    one, two
        Tables ``size``, ``level``, ``centre``, ``long_axis`` of the two states, with
        one row for each domain.

    Returns
    -------
    overlap
        (room, room) common voxels over those of either.
    later
        (room,) number of the match of the same class, 0 for none.
    growth, migration, rotation
        (room,) ratio of sizes, distance of centres, angle between long axes (deg).
    """
    room = len(one["level"])
    pairs = before.astype(np.int64) * (room + 1) + after
    common = np.bincount(pairs.ravel(), minlength=(room + 1) ** 2)
    common = common.reshape(room + 1, room + 1)
    rows, columns = common.sum(axis=1)[1:], common.sum(axis=0)[1:]
    both = common[1:, 1:].astype(float)
    either = rows[:, None] + columns[None, :] - both
    overlap = both / np.where(either > 0, either, 1)
    alike = one["level"][:, None] == two["level"][None, :]
    best = np.where(alike, overlap, 0.0)
    later = np.where(best.max(axis=1) > 0, best.argmax(axis=1) + 1, 0)
    growth, migration, rotation = (np.full(room, np.nan) for _ in range(3))
    for k in np.flatnonzero(later):
        match = later[k] - 1
        growth[k] = two["size"][match] / one["size"][k]
        migration[k] = np.linalg.norm(two["centre"][match] - one["centre"][k])
        cosine = abs(one["long_axis"][k] @ two["long_axis"][match])
        rotation[k] = np.degrees(np.arccos(min(1.0, float(cosine))))
    return overlap, later, growth, migration, rotation


def otsu(counts: np.ndarray, low: float, high: float, n_clusters: int) -> np.ndarray:
    """Return the values that make classes most uniform.

    Parameters
    ----------
    counts
        (bins,) histogram from `low` to `high`.
    n_clusters
        2, 3 or 4.

    Returns
    -------
    numpy.ndarray
        (n_clusters - 1,) increasing values: Otsu, IEEE Trans. Syst. Man Cybern. 9, 62
        (1979), for several classes.
    """
    n = counts.size
    weight = np.concatenate([[0.0], np.cumsum(counts)])
    moment = np.concatenate([[0.0], np.cumsum(counts * (np.arange(n) + 0.5))])
    # Between-class variance of bins a..b-1, up to constants: M^2 / W.
    w = weight[None, :] - weight[:, None]
    m = moment[None, :] - moment[:, None]
    gain = np.where(w > 0, m**2 / np.where(w > 0, w, 1.0), 0.0)
    # Best division of the first b bins into c classes, one class at a time.
    best = gain[0]
    cuts = []
    for _ in range(n_clusters - 1):
        total = np.where(
            np.arange(n + 1)[:, None] <= np.arange(n + 1), best[:, None] + gain, -1
        )
        cuts.append(total.argmax(axis=0))
        best = total.max(axis=0)
    place, found = n, []
    for cut in reversed(cuts):
        place = int(cut[place])
        found.append(place)
    # An empty valley is one plateau of equal merit: cut in its middle.
    edges = [_middle(counts, p) for p in reversed(found)]
    for a, b in itertools.pairwise(range(len(edges))):
        edges[b] = max(edges[b], edges[a] + 1e-9)
    return low + (high - low) * np.asarray(edges) / n


def _middle(counts: np.ndarray, cut: int) -> float:
    left = right = cut
    while left > 0 and counts[left - 1] == 0:
        left -= 1
    while right < counts.size and counts[right] == 0:
        right += 1
    return (left + right) / 2
