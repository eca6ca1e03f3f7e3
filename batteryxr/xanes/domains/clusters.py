"""Domains: pixels of one chemical state, found by clustering over all particles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.core.model import label
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.xanes.domains.features import Sample, gather, sample
from batteryxr.xanes.spectra import inherit

if TYPE_CHECKING:
    from collections.abc import Sequence

#: As `METHODS` of the kernel, which is imported when called.
_METHODS = ("kmeans", "gaussian_mixture", "bisecting", "mini_batch")


@recorded
def cluster(
    obj: xr.Dataset,
    *,
    k: int,
    features: Sequence[str] | None = None,
    mask: xr.DataArray | None = None,
    method: str = "kmeans",
    standardise: bool = True,
    weights: xr.DataArray | None = None,
    order_by: str | None = None,
    n_init: int = 10,
    most: int = 200_000,
    seed: int = 0,
) -> xr.Dataset:
    """Cluster the pixels of all particles together by their maps.

    *Reads once* to fit; the map of clusters is *lazy*. Store fitted maps before:
    lazy ones would be fitted again for it.

    Parameters
    ----------
    obj
        Maps, such as edge energy, normalised peak area and electron ratio.
    k
        Number of clusters.
    features
        Variables to use; by default all. What they are decides what a cluster is.
    mask
        Pixels count where it is True (and all features are finite), for example
        ``(maps.flag == 0) & (depth > 30)``.
    method
        "kmeans"; "gaussian_mixture" for clusters of unlike widths; "bisecting" or
        "mini_batch" for large `k` or many pixels.
    standardise
        Scale each feature to unit standard deviation. Otherwise the one with the
        largest numbers decides alone.
    weights
        Weight of each pixel in the fit, such as the projected density.
    order_by
        Feature by whose mean the clusters are numbered, rising; by default the first.
    n_init
        Starts, of which the best is kept.
    most
        Pixels that are fitted. If more count, so many are drawn at random.
    seed
        Random seed.

    Returns
    -------
    xarray.Dataset
        `label`: cluster of each pixel, from 1; 0 where it does not count.
        `certainty`: 1 - d1/d2 of the distances to the own and the next centre, or the
        probability in a mixture. Along `cluster`: `share` of the pixels (of the weight)
        and `<feature>_mean`, `<feature>_sd`, over the fitted pixels. Attributes hold
        `inertia`, `n_pixels` and `n_fitted`.

    Raises
    ------
    ArgumentError
        If an option is unknown, or fewer pixels count than clusters are asked for.
    VariableError
        If a feature is missing, or they differ in dimensions.
    """
    from batteryxr.xanes.kernels import partition

    if method not in _METHODS:
        raise ArgumentError("method", method, f"one of {list(_METHODS)}")
    if weights is not None and method == "gaussian_mixture":
        raise ArgumentError(
            "weights", "given", "None for a Gaussian mixture", "Use method='kmeans'."
        )
    maps = gather(obj, features, caller="cluster")
    _check_order(order_by, maps)
    drawn = _drawn(maps, mask, weights, k, most, seed, "cluster")
    points, centre, scale = drawn.standardised(standardise)
    model = partition.fit(
        points, drawn.weights, k, method=method, n_init=n_init, seed=seed
    )
    found = model.predict(points)
    table = _table(drawn, found, k)
    column = list(maps).index(order_by or next(iter(maps)))
    order = np.argsort(table["mean"][:, column], kind="stable")
    rank = np.empty(k, np.int16)
    rank[order] = np.arange(1, k + 1)
    inputs = list(maps.values()) + ([] if mask is None else [_on(mask)])
    labels, certainty = blocks.apply(
        partition.assign,
        *inputs,
        core_dims=[[]] * len(inputs),
        output_dims=[(), ()],
        dtypes=[np.int16, np.float32],
        caller="cluster",
        model=model,
        centre=centre,
        scale=scale,
        rank=rank,
        keep=mask is not None,
    )
    result = xr.Dataset(
        {
            "label": label(labels, "label", units="1", long_name="Cluster (0: none)"),
            "certainty": label(
                certainty, "certainty", units="1", long_name="Certainty of the cluster"
            ),
            "share": _along(table["share"][order], "share", "1", "Share"),
        }
    )
    for i, name in enumerate(maps):
        units = str(obj[name].attrs.get("units", "1"))
        text = str(obj[name].attrs.get("long_name", name))
        for kind, word in (("mean", "mean"), ("sd", "standard deviation")):
            key = f"{name}_{kind}"
            values = table[kind][order, i]
            result[key] = _along(values, key, units, f"{text}, {word}")
    result = _with_image_coordinates(result, obj)
    inertia = float(getattr(model, "inertia_", np.nan))
    return inherit(
        result,
        obj,
        features=list(maps),
        n_pixels=drawn.total,
        n_fitted=len(points),
        inertia=inertia,
        feature_centre=[float(c) for c in centre],
        feature_scale=[float(s) for s in scale],
    )


@recorded
def cluster_orders(
    obj: xr.Dataset,
    *,
    k_max: int = 12,
    features: Sequence[str] | None = None,
    mask: xr.DataArray | None = None,
    standardise: bool = True,
    weights: xr.DataArray | None = None,
    n_init: int = 3,
    n_references: int = 10,
    most: int = 10_000,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Show side by side what speaks for each number of clusters.

    *Reads once*.

    Parameters
    ----------
    obj, features, mask, standardise, weights, seed
        As in `cluster`.
    k_max
        Largest number.
    n_init
        Starts for each number.
    n_references
        Reference sets for the gap statistic; 0 leaves it out.
    most
        Pixels that are used, drawn at random.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        Along `n_clusters`: `inertia` (within-cluster sum of squares, per pixel),
        `silhouette` (on 5000 pixels) and `gap` with `gap_error`. Attributes `elbow`
        (sharpest bend of the logarithm of the inertia), `best_silhouette` and
        `first_gap` (rule of one standard error) name what each would choose; they need
        not agree.

    Raises
    ------
    ArgumentError
        If `k_max` is below 2 or above the number of pixels.
    """
    from threadpoolctl import threadpool_limits

    from batteryxr.xanes.kernels import partition

    if isinstance(k_max, bool) or k_max < 2:
        raise ArgumentError("k_max", k_max, "an integer >= 2")
    maps = gather(obj, features, caller="cluster_orders")
    drawn = _drawn(maps, mask, weights, k_max, most, seed, "cluster_orders")
    points, _, _ = drawn.standardised(standardise)
    numbers = np.arange(1, k_max + 1)
    what = "Counting clusters"
    # Many short fits: threads would wait for one another longer than they work.
    with (
        threadpool_limits(1),
        bar(None, what, total=numbers.size, progress=progress) as shown,
    ):
        found = partition.orders(
            points,
            drawn.weights,
            numbers,
            n_init=n_init,
            n_references=n_references,
            seed=seed,
            step=lambda: shown.update(1),
        )
    names = {
        "inertia": "Within-cluster sum of squares per pixel",
        "silhouette": "Silhouette",
        "gap": "Gap",
        "gap_error": "Gap, standard error",
    }
    attrs = {"units": "1", "long_name": "Number of clusters"}
    total = len(points) if drawn.weights is None else drawn.weights.sum()
    result = xr.Dataset(
        {
            name: (
                "n_clusters",
                found[name] / (total if name == "inertia" else 1.0),
                {"units": "1", "long_name": text},
            )
            for name, text in names.items()
        },
        coords={"n_clusters": ("n_clusters", numbers, attrs)},
    )
    choices = {
        "elbow": partition.elbow(numbers, found["inertia"]),
    }
    if np.isfinite(found["silhouette"]).any():
        best = int(np.nanargmax(found["silhouette"]))
        choices["best_silhouette"] = int(numbers[best])
    if n_references:
        gaps = found["gap"], found["gap_error"]
        choices["first_gap"] = partition.gap_choice(numbers, *gaps)
    return inherit(result, obj, features=list(maps), n_fitted=len(points), **choices)


def _drawn(
    maps: dict[str, xr.DataArray],
    mask: xr.DataArray | None,
    weights: xr.DataArray | None,
    k: int,
    most: int,
    seed: int,
    caller: str,
) -> Sample:
    generator(seed)  # refuses what is no seed
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ArgumentError("k", k, "an integer >= 1")
    if most < max(k, 10):
        raise ArgumentError("most", most, f"at least {max(k, 10)}")
    dims = next(iter(maps.values())).dims
    for name, other in (("mask", mask), ("weights", weights)):
        if other is not None and not set(other.dims) <= set(dims):
            raise VariableError(
                f"{caller}: {name} lies along {other.dims}, the features along {dims}."
            )
    drawn = sample(maps, mask, weights, most=most, seed=seed, caller=caller)
    if drawn.total < k:
        raise ArgumentError("k", k, f"at most the {drawn.total} pixels that count")
    return drawn


def _check_order(order_by: str | None, maps: dict[str, Any]) -> None:
    if order_by is not None and order_by not in maps:
        raise ArgumentError("order_by", order_by, f"one of the features {list(maps)}")


def _table(drawn: Sample, found: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Return share, mean and spread of the features of each cluster."""
    heavy = np.ones(len(found)) if drawn.weights is None else drawn.weights
    size = np.bincount(found, heavy, minlength=k)
    columns = drawn.values.T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = [np.bincount(found, heavy * c, minlength=k) / size for c in columns]
        square = [
            np.bincount(found, heavy * (c - m[found]) ** 2, minlength=k) / size
            for c, m in zip(columns, mean, strict=True)
        ]
    return {
        "share": size / size.sum(),
        "mean": np.stack(mean, axis=1),
        "sd": np.sqrt(np.stack(square, axis=1)),
    }


def _along(values: np.ndarray, name: str, units: str, long_name: str) -> xr.DataArray:
    attrs = {"units": "1", "long_name": "Cluster"}
    number = ("cluster", np.arange(1, len(values) + 1), attrs)
    array = xr.DataArray(values, dims="cluster", coords={"cluster": number})
    return label(array, name, units=units, long_name=long_name)


def _on(mask: xr.DataArray) -> xr.DataArray:
    return mask.reset_coords(drop=True).astype(bool)


def _with_image_coordinates(result: xr.Dataset, obj: xr.Dataset) -> xr.Dataset:
    """Give back the coordinates that lie along the axes of the maps."""
    dims = set(result["label"].dims)
    kept = {
        n: c.variable for n, c in obj.coords.items() if c.dims and set(c.dims) <= dims
    }
    return result.assign_coords(kept)
