"""Find domains: pixels of one chemical state, clustered over all particles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded
from batteryxr.xanes.domains.features import Pixels, gather, sample
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.checks import Count, Seed, Whole

#: Methods of clustering pixels.
Method = Literal["kmeans", "gaussian_mixture", "bisecting", "mini_batch"]
_Several = Annotated[int, Bounds(low=2)]
_Pixels = Annotated[int, Bounds(low=10)]


@recorded
def cluster(
    maps: xr.Dataset,
    *,
    n_clusters: Count,
    features: Sequence[str] | None = None,
    mask: xr.DataArray | None = None,
    method: Method = "kmeans",
    standardise: bool = True,
    weights: xr.DataArray | None = None,
    order_by: str | None = None,
    n_starts: Count = 10,
    max_pixels: _Pixels = 200_000,
    seed: Seed = 0,
) -> xr.Dataset:
    """Cluster the pixels of all particles together by their maps.

    *Reads once* to fit; the map of clusters is *lazy*. Store fitted maps first: lazy
    ones would be fitted again.

    Parameters
    ----------
    maps
        Maps, such as edge energy, normalised peak area and electron ratio.
    n_clusters
        Number of clusters.
    features
        Variables to use; default: all. They decide what a cluster is.
    mask
        Pixels are used where it is True (and all features are finite), for example
        ``(maps.flag == 0) & (depth > 30)``.
    method
        "kmeans"; "gaussian_mixture" for clusters of different widths; "bisecting" or
        "mini_batch" for many clusters or pixels.
    standardise
        Scale each feature to unit standard deviation. Without it the feature with the
        largest numbers decides alone. Lone outliers (at most 2 % of the pixels, over 8
        robust standard deviations off and far from each other) neither change the
        scale nor become a cluster: they are left out of the fit, with a warning.
    weights
        Weight of each pixel in the fit, such as the projected density.
    order_by
        Feature whose mean numbers the clusters, rising; default: the first.
    n_starts
        Number of initial guesses, of which the best is kept.
    max_pixels
        Largest number of pixels in the fit, drawn at random from more.
    seed
        Random seed.

    Returns
    -------
    xarray.Dataset
        `label`: cluster of each pixel, from 1; 0 for unused pixels. `certainty`: 1 -
        d1/d2 of the distances to the own and the next centre, or the probability in a
        mixture. Along `cluster`: `share` of the pixels (or of the weight) and
        `<feature>_mean`, `<feature>_sd`, over the fitted pixels. Attributes hold
        `inertia`, `n_pixels` (those with a cluster), `n_unassigned` (with a value, but
        without a cluster: masked, or another value is missing) and `n_fitted`.

    Raises
    ------
    ArgumentError
        If `order_by` is no feature, or there are fewer pixels than clusters.
    VariableError
        If a feature is missing, or features differ in dimensions.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> fitted = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> clusters = fitted.xanes.cluster(n_clusters=3, features=["edge_energy"])
    >>> clusters["label"].dims
    ('particle', 'y', 'x')
    """
    from batteryxr.xanes.kernels import partition

    if weights is not None and method == "gaussian_mixture":
        raise ArgumentError(
            "method",
            method,
            "a method that takes weights",
            "A Gaussian mixture takes none: leave them out, or use 'kmeans'.",
        )
    pixels = Pixels(gather(maps, features, caller="cluster"), mask, weights)
    names = list(pixels.features)
    if order_by is not None and order_by not in names:
        raise ArgumentError("order_by", order_by, f"one of the features {names}")
    drawn = sample(pixels, most=max_pixels, seed=seed)
    drawn.check_holds("n_clusters", n_clusters)
    drawn = drawn.without_wild(names, caller="cluster")
    points, centre, scale = drawn.standardised(standardise)
    model = partition.fit(
        points, drawn.weights, n_clusters, method=method, n_init=n_starts, seed=seed
    )
    table = partition.describe(
        drawn.values, drawn.weights, model.predict(points), n_clusters
    )
    order = np.argsort(table.mean[:, names.index(order_by or names[0])], kind="stable")
    rank = np.empty(n_clusters, np.int16)
    rank[order] = np.arange(1, n_clusters + 1)
    inputs = list(pixels.features.values()) + ([] if mask is None else [_on(mask)])
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
        }
    )
    result = result.assign(_described(maps, names, table, order))
    return inherit(
        _with_image_coordinates(result, maps),
        maps,
        features=names,
        n_pixels=drawn.total,
        n_unassigned=drawn.unused,
        n_fitted=len(points),
        inertia=float(getattr(model, "inertia_", np.nan)),
        feature_centre=[float(c) for c in centre],
        feature_scale=[float(s) for s in scale],
    )


@recorded
def cluster_orders(
    maps: xr.Dataset,
    *,
    n_clusters: _Several = 12,
    features: Sequence[str] | None = None,
    mask: xr.DataArray | None = None,
    standardise: bool = True,
    weights: xr.DataArray | None = None,
    n_starts: Count = 3,
    n_references: Whole = 10,
    max_pixels: _Pixels = 10_000,
    seed: Seed = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Compute criteria for each number of clusters.

    *Reads once*.

    Parameters
    ----------
    maps, features, mask, standardise, weights, seed
        As in `cluster`.
    n_clusters
        Largest number of clusters.
    n_starts
        Number of initial guesses for each number.
    n_references
        Number of reference sets for the gap statistic; 0 leaves it out.
    max_pixels
        Largest number of pixels, drawn at random.
    progress
        Show a progress bar; None: in terminals and notebooks only.

    Returns
    -------
    xarray.Dataset
        Along `n_clusters`: `inertia` (within-cluster sum of squares, per pixel),
        `silhouette` (on 5000 pixels) and `gap` with `gap_error`. Attributes `elbow`
        (sharpest bend of the logarithm of the inertia), `best_silhouette` and
        `first_gap` (rule of one standard error) hold the number that each criterion
        chooses; they need not agree.

    Raises
    ------
    ArgumentError
        If there are fewer pixels than `n_clusters`.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> fitted = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> orders = fitted.xanes.cluster_orders(n_clusters=4, features=["edge_energy"])
    >>> list(orders.data_vars)[:4]
    ['inertia', 'silhouette', 'gap', 'gap_error']
    """
    from threadpoolctl import threadpool_limits

    from batteryxr.xanes.kernels import partition

    pixels = Pixels(gather(maps, features, caller="cluster_orders"), mask, weights)
    drawn = sample(pixels, most=max_pixels, seed=seed)
    drawn.check_holds("n_clusters", n_clusters)
    drawn = drawn.without_wild(list(pixels.features), caller="cluster_orders")
    points, _, _ = drawn.standardised(standardise)
    numbers = np.arange(1, n_clusters + 1)
    what = "Counting clusters"
    # Many short fits: threads would wait for each other longer than they work.
    with (
        threadpool_limits(1),
        bar(None, what, total=numbers.size, progress=progress) as shown,
    ):
        found = partition.orders(
            points,
            drawn.weights,
            numbers,
            n_init=n_starts,
            n_references=n_references,
            seed=seed,
            step=lambda: shown.update(1),
        )
    meanings = {
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
            for name, text in meanings.items()
        },
        coords={"n_clusters": ("n_clusters", numbers, attrs)},
    )
    choices = {"elbow": partition.elbow(numbers, found["inertia"])}
    if np.isfinite(found["silhouette"]).any():
        best = int(np.nanargmax(found["silhouette"]))
        choices["best_silhouette"] = int(numbers[best])
    if n_references:
        gaps = found["gap"], found["gap_error"]
        choices["first_gap"] = partition.gap_choice(numbers, *gaps)
    names = list(pixels.features)
    return inherit(result, maps, features=names, n_fitted=len(points), **choices)


def _described(
    maps: xr.Dataset, names: list[str], table: Any, order: np.ndarray
) -> dict[str, xr.DataArray]:
    """Label share, mean and standard deviation of the clusters, in their order."""
    out = {"share": _along(table.share[order], "share", "1", "Share")}
    for i, name in enumerate(names):
        units = str(maps[name].attrs.get("units", "1"))
        text = str(maps[name].attrs.get("long_name", name))
        for kind, word in (("mean", "mean"), ("sd", "standard deviation")):
            values = getattr(table, kind)[order, i]
            key = f"{name}_{kind}"
            out[key] = _along(values, key, units, f"{text}, {word}")
    return out


def _along(values: np.ndarray, name: str, units: str, long_name: str) -> xr.DataArray:
    attrs = {"units": "1", "long_name": "Cluster"}
    number = ("cluster", np.arange(1, len(values) + 1), attrs)
    array = xr.DataArray(values, dims="cluster", coords={"cluster": number})
    return label(array, name, units=units, long_name=long_name)


def _on(mask: xr.DataArray) -> xr.DataArray:
    return mask.reset_coords(drop=True).astype(bool)


def _with_image_coordinates(result: xr.Dataset, maps: xr.Dataset) -> xr.Dataset:
    """Restore the coordinates that lie along the axes of the maps."""
    dims = set(result["label"].dims)
    kept = {
        n: c.variable for n, c in maps.coords.items() if c.dims and set(c.dims) <= dims
    }
    return result.assign_coords(kept)
