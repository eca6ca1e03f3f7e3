"""Classes of voxels: between thresholds, or patches that differ from the rest.

Patches lie above or below the usual value of a crystal, in each state separately. The
usual value is the mode of the field, and the noise is its roughness. Other states do
not enter, so that a bad one hides nothing in the others.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

#: Standard deviations of the smoothed field by which a patch stands out.
_ABOVE = 5.0
#: Width of the smoothing, in voxels.
_SIGMA = 1.0
#: Quantile of a patch that is its plateau; its edge is at half the plateau.
_PLATEAU = 0.8
#: Standard deviations of a normal distribution per median of its modulus.
_MAD = 1.4826
#: Shortest interval with half of a normal distribution, in standard deviations.
_HALF = 1.349


class Patches(NamedTuple):
    """Hold patches of one volume.

    Parameters
    ----------
    classes
        (i, j, k) 1 where the field is lower than usual, 3 where it is higher, else 0.
    inner, outer
        The same classes, with edges one standard deviation of noise farther in and out.
    """

    classes: np.ndarray
    inner: np.ndarray
    outer: np.ndarray


def patches(values: np.ndarray, minimum: int) -> Patches:
    """Find the patches of a field.

    Parameters
    ----------
    values
        (i, j, k); NaN outside the crystal.
    minimum
        Fewest voxels of a patch.
    """
    inside = np.isfinite(values)
    out = Patches(*(np.zeros(values.shape, np.int8) for _ in range(3)))
    if inside.sum() < 2 * minimum:
        return out
    smooth, noise = smoothed(values, inside)
    usual = mode(smooth[inside])
    for sign, number in ((-1.0, 1), (1.0, 3)):
        excess = np.where(inside, sign * (smooth - usual), -np.inf)
        for region, edge in _regions(excess, noise, minimum):
            for name, limit in (
                ("classes", edge),
                ("inner", edge + noise),
                ("outer", max(edge - noise, 0.0)),
            ):
                getattr(out, name)[_piece(excess > limit, region)] = number
    return out


def smoothed(values: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a field smoothed within the crystal, and the noise that remains."""
    from scipy import ndimage

    weight = ndimage.gaussian_filter(inside.astype(float), _SIGMA)
    smooth = ndimage.gaussian_filter(np.where(inside, values, 0.0), _SIGMA)
    smooth = np.where(inside, smooth / np.maximum(weight, 1e-6), np.nan)
    rough = (values - smooth)[inside]
    rough = _MAD * float(np.median(np.abs(rough - np.median(rough))))
    # Usual values scatter by the noise, and by whatever else is no patch. Smoothing
    # leaves about a third of the roughness, depending on correlations of the noise.
    low, high = _half(np.sort(smooth[inside].astype(float)))
    return smooth, max((high - low) / _HALF, rough / 3)


def _half(ordered: np.ndarray) -> tuple[float, float]:
    """Return the ends of the shortest interval that holds half of the values."""
    half = (ordered.size + 1) // 2
    widths = ordered[half - 1 :] - ordered[: ordered.size - half + 1]
    first = int(widths.argmin())
    return float(ordered[first]), float(ordered[first + half - 1])


def mode(values: np.ndarray) -> float:
    """Find where values are densest, by taking the shortest half repeatedly.

    Robertson & Cryer, J. Am. Stat. Assoc. 69, 1012 (1974).
    """
    ordered = np.sort(values[np.isfinite(values)].astype(float))
    while ordered.size > 8:
        low, high = _half(ordered)
        kept = ordered[(ordered >= low) & (ordered <= high)]
        if kept.size == ordered.size:
            break
        ordered = kept
    return float(ordered.mean()) if ordered.size else math.nan


def _regions(
    excess: np.ndarray, noise: float, minimum: int
) -> list[tuple[np.ndarray, float]]:
    """Return the regions that stand out, and the edge of each: half its plateau."""
    from scipy import ndimage

    top = float(excess.max())
    found: list[tuple[np.ndarray, float]] = []
    if not top > _ABOVE * noise or top <= 0:
        return found
    parts, n = ndimage.label(excess > max(_ABOVE * noise, 1e-6 * top))
    for number in range(1, n + 1):
        region = parts == number
        if region.sum() < minimum:
            continue
        # Iterate: a wide foot would make the plateau low.
        edge = 0.5 * float(np.quantile(excess[region], 0.95))
        for _ in range(20):
            before, high = edge, excess[region & (excess > edge)]
            edge = 0.5 * float(np.quantile(high, _PLATEAU))
            if edge <= before * (1 + 1e-3):
                break
        found.append((region, edge))
    return found


def _piece(above: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return the connected parts of a mask that touch a region."""
    from scipy import ndimage

    parts, _ = ndimage.label(above)
    touched = np.unique(parts[region & above])
    return np.isin(parts, touched[touched > 0])


def depths(inside: np.ndarray, basis: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the depth of places below the surface of a crystal.

    Parameters
    ----------
    inside
        (i, j, k) bool.
    basis
        (3, 3) step of each index in space.
    places
        (m, 3) in space, from index ``n // 2``.

    Returns
    -------
    numpy.ndarray
        (m,) distance from the nearest voxel of the surface, plus half a voxel.
    """
    from scipy import ndimage
    from scipy.spatial import KDTree

    shell = inside & ~ndimage.binary_erosion(inside)
    out = np.full(len(places), np.nan)
    known = np.isfinite(places).all(axis=1)
    if shell.any() and known.any():
        middle = np.array([n // 2 for n in inside.shape])
        tree = KDTree((np.argwhere(shell) - middle) @ basis)
        half = 0.5 * float(np.cbrt(abs(np.linalg.det(basis))))
        out[known] = tree.query(places[known])[0] + half
    return out


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
    # An empty valley has equal merit everywhere: cut it in the middle.
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
