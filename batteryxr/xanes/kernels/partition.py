"""Cluster points: fit on a sample, assign all, describe and count."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from batteryxr.core.optional import load

#: Number of points for silhouettes, which need all pairs.
_PAIRS = 5000
_LARGEST_SEED = 2**32


def random_keys(index: np.ndarray, seed: int) -> np.ndarray:
    """Return a random number for each index, independent of the order of indices.

    It is SplitMix64 (Steele et al., OOPSLA 2014) of index and seed.
    """
    z = index.astype(np.uint64) + np.uint64((seed * 0xD1342543DE82EF95) % 2**64)
    z += np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def fit(
    points: np.ndarray,
    weights: np.ndarray | None,
    k: int,
    *,
    method: str,
    n_init: int,
    seed: int,
) -> Any:
    """Return a fitted estimator of scikit-learn."""
    cluster, mixture = load("sklearn.cluster"), load("sklearn.mixture")
    state = seed % _LARGEST_SEED
    if method == "gaussian_mixture":
        model = mixture.GaussianMixture(k, n_init=n_init, random_state=state)
        return model.fit(points)
    kinds = {
        "kmeans": cluster.KMeans,
        "bisecting": cluster.BisectingKMeans,
        "mini_batch": cluster.MiniBatchKMeans,
    }
    model = kinds[method](n_clusters=k, n_init=n_init, random_state=state)
    return model.fit(points, sample_weight=weights)


def assign(
    *features: np.ndarray,
    model: Any,
    centre: np.ndarray,
    scale: np.ndarray,
    rank: np.ndarray,
    keep: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of every pixel, from 1 (0: none), and its certainty.

    Parameters
    ----------
    *features : (...)
        Maps; the last one is a boolean mask of used pixels if `keep`.
    model
        Estimator from `fit`.
    centre, scale : (feature,)
        Standardisation of the fit: ``(value - centre) / scale``.
    rank : (k,)
        Number of each of the model's clusters, from 1.
    keep
        Whether the last of `features` is a mask.

    Returns
    -------
    labels, certainty : (...)
        Certainty is 1 - d1/d2, from the distances to the own and the next centre, or
        the probability of a mixture.
    """
    maps = features[:-1] if keep else features
    shape = np.broadcast_shapes(*(f.shape for f in features))
    points = np.stack([np.broadcast_to(f, shape).ravel() for f in maps], axis=-1)
    good = np.isfinite(points).all(axis=1)
    if keep:
        good &= np.broadcast_to(features[-1], shape).ravel().astype(bool)
    labels = np.zeros(good.size, np.int16)
    certainty = np.full(good.size, np.nan, np.float32)
    if good.any():
        scaled = (points[good].astype(float) - centre) / scale
        labels[good] = rank[model.predict(scaled)]
        certainty[good] = _certainty(model, scaled)
    return labels.reshape(shape), certainty.reshape(shape)


def _certainty(model: Any, points: np.ndarray) -> np.ndarray:
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(points).max(axis=1))
    centres = model.cluster_centers_
    if len(centres) == 1:
        return np.ones(len(points))
    distance = np.sqrt(
        np.maximum(
            (points**2).sum(axis=1)[:, None]
            - 2 * points @ centres.T
            + (centres**2).sum(axis=1),
            0,
        )
    )
    near = np.partition(distance, 1, axis=1)[:, :2]
    return np.asarray(1 - near[:, 0] / np.maximum(near[:, 1], 1e-300))


def orders(
    points: np.ndarray,
    weights: np.ndarray | None,
    numbers: np.ndarray,
    *,
    n_init: int,
    n_references: int,
    seed: int,
    step: Any,
) -> dict[str, np.ndarray]:
    """Return inertia, silhouette and gap for every number of clusters.

    The gap statistic follows Tibshirani, Walther and Hastie, J. R. Stat. Soc. B 63,
    411 (2001), with references uniform in a box along the principal axes.

    Parameters
    ----------
    points : (n, feature)
        Standardised points.
    weights : (n,)
        Weights of the points, or None.
    numbers : (m,)
        Numbers of clusters.
    n_init
        Number of initial guesses for each.
    n_references
        Number of reference sets for the gap.
    seed
        Random seed.
    step
        Function called after each number.
    """
    silhouette_score = load("sklearn.metrics").silhouette_score
    rng = np.random.default_rng(seed)
    few = rng.permutation(len(points))[:_PAIRS]
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
    turned = points @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    references = [rng.uniform(low, high, turned.shape) for _ in range(n_references)]
    out = {
        name: np.full(numbers.size, np.nan)
        for name in ("inertia", "silhouette", "gap", "gap_error")
    }
    for i, k in enumerate(numbers):
        options: dict[str, Any] = {"method": "kmeans", "n_init": n_init, "seed": seed}
        model = fit(points, weights, int(k), **options)
        out["inertia"][i] = model.inertia_
        chosen = model.labels_[few]
        if np.unique(chosen).size > 1:
            out["silhouette"][i] = silhouette_score(points[few], chosen)
        if n_references:
            plain = model if weights is None else fit(points, None, int(k), **options)
            options["n_init"] = 1
            logs = np.log(
                [
                    max(fit(r, None, int(k), **options).inertia_, 1e-300)
                    for r in references
                ]
            )
            out["gap"][i] = logs.mean() - np.log(max(plain.inertia_, 1e-300))
            out["gap_error"][i] = logs.std() * np.sqrt(1 + 1 / n_references)
        step()
    return out


def elbow(numbers: np.ndarray, inertia: np.ndarray) -> int:
    """Return the number after which the fall of the log inertia slows down most."""
    if numbers.size < 3:
        return int(numbers[-1])
    drop = -np.diff(np.log(np.maximum(inertia, 1e-300)))
    return int(numbers[1 + int(np.argmax(drop[:-1] - drop[1:]))])


def gap_choice(numbers: np.ndarray, gap: np.ndarray, error: np.ndarray) -> int:
    """Return the first number whose gap is at least the next one less its error."""
    for i in range(numbers.size - 1):
        if gap[i] >= gap[i + 1] - error[i + 1]:
            return int(numbers[i])
    return int(numbers[-1])


class Table(NamedTuple):
    """Hold share (k,), mean and standard deviation (k, feature) of the clusters."""

    share: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def describe(
    values: np.ndarray, weights: np.ndarray | None, found: np.ndarray, k: int
) -> Table:
    """Return share, mean and spread of the features of each cluster.

    Parameters
    ----------
    values : (n, feature)
        Points.
    weights : (n,)
        Weights of the points, or None.
    found : (n,)
        Cluster of each point, from 0.
    k
        Number of clusters.
    """
    heavy = np.ones(len(found)) if weights is None else weights
    size = np.bincount(found, heavy, minlength=k)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = [np.bincount(found, heavy * c, minlength=k) / size for c in values.T]
        square = [
            np.bincount(found, heavy * (c - m[found]) ** 2, minlength=k) / size
            for c, m in zip(values.T, mean, strict=True)
        ]
    return Table(
        size / size.sum(), np.stack(mean, axis=1), np.sqrt(np.stack(square, axis=1))
    )


def histograms(
    labels: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    *,
    k: int,
    edges: np.ndarray,
) -> np.ndarray:
    """Return the weighted histogram of each cluster, (k, bin)."""
    bins = edges.size - 1
    step = edges[1] - edges[0]
    good = (labels > 0) & np.isfinite(values) & np.isfinite(weights)
    place = np.floor((values[good] - edges[0]) / step)
    inside = (place >= 0) & (place < bins)
    flat = (labels[good][inside].astype(int) - 1) * bins + place[inside].astype(int)
    counted = np.bincount(flat, weights[good][inside], minlength=k * bins)
    return np.asarray(counted[: k * bins].reshape(k, bins))


def rim(mask: np.ndarray, *, steps: tuple[float, float]) -> np.ndarray:
    """Return the distance of each inner pixel to the outline of its particle.

    Parameters
    ----------
    mask : (..., y, x)
        True inside; holes are filled, and the frame's border is no outline.
    steps
        Size of a pixel.
    """
    from scipy import ndimage

    out = np.full(mask.shape, np.nan, np.float32)
    half = 0.5 * min(steps)
    for place in np.ndindex(*mask.shape[:-2]):
        inside = mask[place].astype(bool)
        filled = ndimage.binary_fill_holes(inside)
        if filled.all():
            out[place] = np.inf
            continue
        distance = ndimage.distance_transform_edt(filled, sampling=steps) - half
        out[place] = np.where(inside, distance, np.nan)
    return out
