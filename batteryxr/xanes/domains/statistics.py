"""Describe domains: shares, spectra, distributions, and depth below the rim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError, VariableError
from batteryxr.core.labels import OwnLabels, even_step, matched
from batteryxr.core.model import label, require_dims, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.xanes.domains.features import gather
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from collections.abc import Sequence

_Bins = Annotated[int, Bounds(low=2)]


@recorded
def cluster_shares(
    result: xr.DataArray | xr.Dataset,
    *,
    weights: xr.DataArray | None = None,
    by: str | None = "particle",
) -> xr.DataArray:
    """Return the share of each cluster in every particle.

    *Lazy*.

    Parameters
    ----------
    result
        Result of `cluster`, or its `label`.
    weights
        Weight of each pixel: the projected density gives shares of the absorber's
        atoms. Default: equal weights. Pixels without a weight are left out.
    by
        Dimension along which shares are separate; None: all together.

    Returns
    -------
    xarray.DataArray
        `share` (cluster, `by`); sums to one over the clusters, NaN where no pixel has
        a weight.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> clusters = maps.xanes.cluster(n_clusters=3, features=["edge_energy"])
    >>> shares = clusters.xanes.cluster_shares()
    """
    labels = _labels(result)
    if by is not None and by not in labels.dims:
        by = None
    heavy = _weights(labels, weights)
    counted = heavy.where((labels > 0) & np.isfinite(heavy), 0.0)
    dims = [d for d in counted.dims if d != by]
    parts = [counted.where(labels == c, 0.0).sum(dims) for c in _numbers(result)]
    amount = xr.concat(
        parts, _cluster_axis(result), coords="minimal", compat="override"
    )
    total = amount.sum("cluster")
    share = label(
        amount / total.where(total > 0), "share", units="1", long_name="Share"
    )
    if by is not None and by in labels.coords:
        share = share.assign_coords({by: labels[by]})
    return share


@recorded
def cluster_spectra(
    spectra: xr.DataArray | xr.Dataset,
    *,
    labels: Annotated[xr.DataArray | xr.Dataset, OwnLabels()],
    weights: Annotated[xr.DataArray | None, OwnLabels()] = None,
    by: str | None = None,
) -> xr.Dataset:
    """Return the mean spectrum of each cluster.

    *Lazy*.

    Parameters
    ----------
    spectra
        A stack along `energy`.
    labels
        Result of `cluster`, or its `label`. Pixels of the stack without a label are
        left out.
    weights
        Weight of each pixel. Default: equal weights.
    by
        Dimension along which means are separate, such as "particle". Default: all
        particles together.

    Returns
    -------
    xarray.Dataset
        The mean spectra under the name of the stack (so that they can be fitted), with
        `_error`, the standard error of the mean, and `count` of pixels.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> groups = maps.xanes.cluster(n_clusters=3, features=["edge_energy"])
    >>> means = stack["absorption"].xanes.cluster_spectra(labels=groups["label"])
    """
    array = as_spectra(spectra, caller="cluster_spectra")
    numbers, axis = _numbers(labels), _cluster_axis(labels)
    where = _labels(labels).reset_coords(drop=True)
    if missing := set(where.dims) - set(array.dims):
        raise VariableError(
            f"cluster_spectra: the labels have {sorted(map(str, missing))}, "
            f"the stack has {array.dims}."
        )
    dims = [d for d in where.dims if d != by]
    array = matched(where, array, argument="spectra")
    heavy = _weights(where, weights)
    finite = np.isfinite(array)
    values = array.where(finite, 0.0).astype(float)
    rows: list[xr.Dataset] = []
    for c in numbers:
        w = heavy.where((where == c) & (heavy > 0), 0.0)
        total = (w * finite).sum(dims)
        squares = (w**2 * finite).sum(dims)
        mean = (w * values).sum(dims) / total.where(total > 0)
        spread = (w * (values**2) * finite).sum(dims) / total.where(total > 0)
        variance = xr.where(spread > mean**2, spread - mean**2, 0.0)
        error = np.sqrt(variance * squares) / total.where(total > 0)
        count = ((w > 0) & finite).sum(dims)
        rows.append(xr.Dataset({"mean": mean, "error": error, "count": count}))
    whole = xr.concat(rows, axis, coords="minimal", compat="override")
    name = str(array.name or "absorption")
    units = str(array.attrs.get("units", "1"))
    text = str(array.attrs.get("long_name", name))
    result = xr.Dataset(
        {
            name: label(whole["mean"], name, units=units, long_name=text),
            f"{name}_error": label(
                whole["error"],
                f"{name}_error",
                units=units,
                long_name=f"{text}, standard error",
            ),
            "count": label(whole["count"], "count", units="1", long_name="Pixels"),
        }
    )
    order = [d for d in ("cluster", by, "energy") if d in result.dims]
    return inherit(result.transpose(*order, ...), array)


@recorded
def cluster_density(
    maps: xr.Dataset,
    *,
    clusters: xr.Dataset,
    features: Sequence[str] | None = None,
    weights: xr.DataArray | None = None,
    bins: _Bins = 100,
) -> xr.Dataset:
    """Return the distribution of each feature in each cluster.

    *Reads once*.

    Parameters
    ----------
    maps
        Maps of the features.
    clusters
        Result of `cluster`.
    features
        Names of features. Default: those that were clustered.
    weights
        Weight of each pixel. Default: equal weights.
    bins
        Number of bins, within four standard deviations of the clusters' means.

    Returns
    -------
    xarray.Dataset
        For every feature `<feature>_density` (cluster, <feature>), which integrates to
        one (to less if pixels lie outside the bins).

    Raises
    ------
    ArgumentError
        If a feature was not clustered.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> fitted = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> groups = fitted.xanes.cluster(n_clusters=3, features=["edge_energy"])
    >>> density = batteryxr.xanes.cluster_density(fitted, clusters=groups)
    """
    from batteryxr.xanes.kernels.partition import histograms

    names = list(clusters.attrs.get("features", [])) if features is None else features
    if wrong := [n for n in names if f"{n}_mean" not in clusters]:
        raise ArgumentError(
            "features", features, f"features that were clustered; {wrong} were not"
        )
    chosen = gather(maps, list(names), caller="cluster_density")
    first = next(iter(chosen.values()))
    labels = _labels(clusters).reset_coords(drop=True).transpose(*first.dims)
    heavy = _weights(labels, weights)
    heavy = heavy.broadcast_like(labels).transpose(*first.dims)
    k = clusters.sizes["cluster"]
    edges = {n: _edges(clusters, n, bins) for n in chosen}
    sums = {n: np.zeros((k, bins)) for n in chosen}
    amount = np.zeros(k)
    dim = str(first.dims[-2] if first.ndim > 1 else first.dims[0])
    for where, w, *values in blocks.stream(labels, heavy, *chosen.values(), dim=dim):
        flat, weight = where.ravel(), w.ravel().astype(float)
        good = (flat > 0) & np.isfinite(weight)
        amount += np.bincount(flat[good] - 1, weight[good], minlength=k)[:k]
        for n, value in zip(chosen, values, strict=True):
            part = value.ravel().astype(float)
            sums[n] += histograms(flat, part, weight, k=k, edges=edges[n])
    axis = _cluster_axis(clusters)
    out = {}
    for n in chosen:
        units = str(maps[n].attrs.get("units", "1"))
        text = str(maps[n].attrs.get("long_name", n))
        middle = 0.5 * (edges[n][1:] + edges[n][:-1])
        step = edges[n][1] - edges[n][0]
        with np.errstate(invalid="ignore", divide="ignore"):
            density = sums[n] / amount[:, None] / step
        array = xr.DataArray(
            density,
            dims=("cluster", n),
            coords={
                "cluster": axis,
                n: (n, middle, {"units": units, "long_name": text}),
            },
        )
        inverse = "1" if units == "1" else f"({units})-1"
        key = f"{n}_density"
        out[key] = label(array, key, units=inverse, long_name=f"Density of {text}")
    return inherit(xr.Dataset(out), maps)


@recorded
def rim_distance(maps: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the depth of each pixel inside its particle.

    *Lazy*; `y` and `x` must be in one chunk. Domains of a few pixels at the rim are
    often due to blur, drift or the phase of vacuum: leave them out with ``depth > 30``.

    Parameters
    ----------
    maps
        True inside particles, along `y` and `x`; or a result of `fit_edge`, whose
        particles are where its `flag` is 0. Holes are filled; the frame's border is no
        rim.

    Returns
    -------
    xarray.DataArray
        `rim_distance` in the units of `y`, from the pixel to the outline; NaN outside,
        infinite if a frame has no outside.

    Raises
    ------
    DimensionError, ChunkingError
        If there are no images, or chunks split them.
    DataError
        If the values are not boolean.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> depth = maps.xanes.rim_distance()
    """
    from batteryxr.xanes.kernels.partition import rim

    if isinstance(maps, xr.Dataset):
        require_variables(maps, ["flag"], caller="rim_distance")
        maps = maps["flag"] == 0
    require_dims(maps, ["y", "x"], caller="rim_distance")
    if maps.dtype.kind != "b":
        raise DataError(
            "maps", f"hold {maps.dtype}, no booleans", "For example maps.flag == 0."
        )
    steps = tuple(abs(even_step(maps, d, caller="rim_distance")) for d in ("y", "x"))
    depth = blocks.apply(
        rim,
        maps,
        core_dims=[["y", "x"]],
        output_dims=[["y", "x"]],
        dtypes=[np.float32],
        caller="rim_distance",
        steps=steps,
    )
    units = str(maps["y"].attrs.get("units", "1")) if "y" in maps.coords else "1"
    return label(
        depth.transpose(*maps.dims),
        "rim_distance",
        units=units,
        long_name="Depth below the rim",
    )


def _labels(clusters: xr.DataArray | xr.Dataset) -> xr.DataArray:
    if isinstance(clusters, xr.Dataset):
        if "label" not in clusters:
            raise VariableError(
                f"a result of cluster is needed; found {[str(v) for v in clusters]}."
            )
        return clusters["label"]
    return clusters


def _weights(labels: xr.DataArray, weights: xr.DataArray | None) -> xr.DataArray:
    if weights is None:
        return xr.ones_like(labels.reset_coords(drop=True), dtype=float)
    plain = weights.reset_coords(drop=True).astype(float)
    return matched(labels, plain, argument="weights")


def _numbers(clusters: xr.DataArray | xr.Dataset) -> np.ndarray:
    if isinstance(clusters, xr.Dataset) and "cluster" in clusters.coords:
        return np.asarray(clusters["cluster"].values)
    return np.arange(1, int(_labels(clusters).max()) + 1)


def _cluster_axis(clusters: xr.DataArray | xr.Dataset) -> Any:
    attrs = {"units": "1", "long_name": "Cluster"}
    return xr.Variable("cluster", _numbers(clusters), attrs)


def _edges(clusters: xr.Dataset, name: str, bins: int) -> np.ndarray:
    mean, sd = clusters[f"{name}_mean"].values, clusters[f"{name}_sd"].values
    low, high = np.nanmin(mean - 4 * sd), np.nanmax(mean + 4 * sd)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)
