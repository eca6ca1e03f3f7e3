"""Connected regions of one class: their shapes, and matches between states."""

from __future__ import annotations

from typing import Any

import numpy as np

from batteryxr.cdi.bragg.kernels.classes import Patches, depths, patches

#: Shared fraction of the smaller of two domains above which they are the same.
_SAME = 0.2


def segment(
    values: np.ndarray,
    crystal: np.ndarray,
    basis: np.ndarray,
    *,
    edges: np.ndarray | None,
    minimum: int,
    room: int,
) -> tuple[Any, ...]:
    """Give numbers to the connected regions of each class, the largest first.

    Parameters
    ----------
    values
        (i, j, k); NaN outside.
    crystal
        (i, j, k) bool; includes parts without a value, and defines the surface.
    basis
        (3, 3) step of each index in space (nm): axis, then (x, y, z).
    edges
        (e,) increasing values between classes. None finds patches that differ from the
        usual value of this volume; they are of class 0 and 2.
    minimum
        Fewest voxels of a region.
    room
        Number of rows of the tables.

    Returns
    -------
    numbers
        (i, j, k) int32, 0 for none.
    size, level, mean
        (room,) volume, class, mean value; NaN where there is no such region.
    centre, long_axis
        (room, 3) in space, from index ``n // 2``; the axis has unit length, and is NaN
        for fewer than four voxels.
    depth
        (room,) depth of the centre below the surface.
    errors
        (room, 5) errors of size, centre (largest component), depth, angle of the axis
        (deg) and mean, from edges that noise moves; NaN for given edges.
    found
        Number of regions, also beyond `room`.
    """
    if edges is None:
        found = patches(values, minimum)
        numbers, *table, count = _numbered(values, basis, found.classes, minimum, room)
        errors = _errors(values, crystal, basis, numbers, (found, room))
    else:
        inside = np.isfinite(values)
        classes = np.where(inside, np.digitize(values, edges) + 1, 0)
        numbers, *table, count = _numbered(values, basis, classes, minimum, room)
        errors = np.full((room, 5), np.nan)
    depth = depths(crystal, basis, table[3])
    return numbers, *table, depth, errors, count


def _errors(
    values: np.ndarray,
    crystal: np.ndarray,
    basis: np.ndarray,
    numbers: np.ndarray,
    of: tuple[Patches, int],
) -> np.ndarray:
    """Return the change of each patch's properties as its edge moves in and out."""
    found, room = of
    out = np.full((room, 5), np.nan)
    pixel = float(np.cbrt(abs(np.linalg.det(basis))))
    for row in range(int(numbers.max(initial=0))):
        own = numbers == row + 1
        kind = found.classes[own].max()
        ends = [
            _measures(values, crystal, basis, _grown(classes == kind, own))
            for classes in (found.inner, found.outer)
        ]
        if any(end is None for end in ends):
            continue
        (s0, c0, d0, a0, m0), (s1, c1, d1, a1, m1) = ends
        turn = np.degrees(np.arccos(min(1.0, abs(float(a0 @ a1)))))
        shell = pixel / np.sqrt(12.0)
        out[row] = (
            # As for a ball: the edge is known to a tenth of a voxel all round.
            np.hypot((s1 - s0) / 2, 0.48 * pixel**3 * own.sum() ** (2 / 3)),
            np.hypot(np.abs(c1 - c0).max() / 2, shell / np.cbrt(own.sum())),
            np.hypot((d1 - d0) / 2, shell),
            np.hypot(turn / 2, np.degrees(shell / (pixel * np.cbrt(own.sum())))),
            abs(m1 - m0) / 2,
        )
    return out


def _grown(classes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the part of a class that is connected with a patch."""
    from scipy import ndimage

    parts, _ = ndimage.label(classes)
    touched = np.unique(parts[own & classes])
    return np.isin(parts, touched[touched > 0])


def _measures(
    values: np.ndarray, crystal: np.ndarray, basis: np.ndarray, where: np.ndarray
) -> Any:
    """Return size, centre, depth, axis and mean of a region; None for few voxels."""
    if where.sum() < 4:
        return None
    middle = np.array([n // 2 for n in values.shape])
    points = (np.argwhere(where) - middle) @ basis
    centre = points.mean(axis=0)
    depth = float(depths(crystal, basis, centre[None])[0])
    axis = np.linalg.eigh(np.cov(points.T))[1][:, -1]
    size = len(points) * abs(float(np.linalg.det(basis)))
    return size, centre, depth, axis, float(values[where].mean(dtype=float))


def _numbered(
    values: np.ndarray, basis: np.ndarray, classes: np.ndarray, minimum: int, room: int
) -> tuple[Any, ...]:
    """Give numbers to the connected regions of each class, and measure them."""
    from scipy import ndimage

    labels = np.zeros(values.shape, np.int32)
    levels = [0]
    for level in range(1, int(classes.max(initial=0)) + 1):
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
        if len(points) > 3:  # fewer have no direction
            axis[row] = np.linalg.eigh(np.cov(points.T))[1][:, -1]
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
        (room, room) voxels in both over voxels in either.
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
        rotation[k] = np.degrees(np.arccos(np.minimum(1.0, cosine)))  # keeps NaN
    return overlap, later, growth, migration, rotation


def chains(
    numbers: list[np.ndarray], level: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Follow domains through all states, also through those where one is not seen.

    Parameters
    ----------
    numbers
        (i, j, k) numbers of the domains of each state, 0 for none.
    level, size
        (state, room) class and size of each domain.

    Returns
    -------
    chain
        (state, room) number that a domain keeps through all states, from 1; 0 for none.
    parent
        (state, room) chain that a domain has split from; 0 for none.
    """
    chain, parent = np.zeros(level.shape, int), np.zeros(level.shape, int)
    last: list[tuple[np.ndarray, float]] = []
    for state, now in enumerate(numbers):
        places = [np.flatnonzero(now == k + 1) for k in range(level.shape[1])]
        known = [k for k, place in enumerate(places) if place.size]
        taken: set[int] = set()
        # Largest first: where a domain splits, the largest part keeps the number.
        for k in sorted(known, key=lambda k: -size[state, k]):
            shares = [
                np.isin(places[k], place).sum() / min(place.size, places[k].size)
                if kind == level[state, k]
                else 0.0
                for place, kind in last
            ]
            best = int(np.argmax(shares)) if shares else -1
            same = best >= 0 and shares[best] > _SAME
            if same and best not in taken:
                chain[state, k] = best + 1
                taken.add(best)
                continue
            parent[state, k] = best + 1 if same else 0
            last.append((places[k], float(level[state, k])))
            chain[state, k] = len(last)
            taken.add(len(last) - 1)
        for k in known:
            last[chain[state, k] - 1] = places[k], float(level[state, k])
    return chain, parent
