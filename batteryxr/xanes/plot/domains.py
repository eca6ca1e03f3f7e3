"""Plot domains: where they lie, what they are made of, and how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.core.model import in_words, require_variables
from batteryxr.core.plotting import (
    BARS,
    COLOURS,
    LOG_Y,
    as_title,
    axis_label,
    dimension,
    load_hvplot,
    plain,
)
from batteryxr.xanes.plot.figures import SMALL, by_particle, colour, picture

if TYPE_CHECKING:
    import holoviews

#: Points of a scatter plot: more are slow in a browser and hide each other.
_POINTS = 20_000


@checked
def plot_clusters(result: xr.Dataset) -> holoviews.Layout:
    """Plot the map of clusters of each particle, one colour for each cluster.

    Computes the labels.

    Parameters
    ----------
    result
        Result of `cluster`.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> simulated = batteryxr.simulate.particles(size=48)
    >>> stack = simulated["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> clusters = maps.xanes.cluster(n_clusters=3, features=["edge_energy"])
    >>> plot = clusters.xanes.plot.clusters()
    """
    hv = load_hvplot()
    require_variables(result, ["label"], caller="plot_clusters")
    labels = result["label"].compute()
    shown = labels.where(labels > 0).assign_attrs(long_name="Cluster", units="1")
    k = result.sizes["cluster"]
    colours = [colour(i) for i in range(k)]
    panels = [
        picture(hv, image, title).opts(
            cmap=colours,
            clim=(0.5, k + 0.5),
            color_levels=k,
            colorbar=True,
            colorbar_opts={"ticker": _ticks(k)},
        )
        for title, image in by_particle(shown, "Clusters")
    ]
    return hv.Layout(panels).cols(3)


@checked
def plot_cluster_spectra(result: xr.Dataset) -> holoviews.Overlay:
    """Plot the mean spectrum of each cluster, with its standard error.

    Parameters
    ----------
    result
        Result of `cluster_spectra`.

    Returns
    -------
    holoviews.Overlay

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> domains = maps.xanes.cluster(n_clusters=3, features=["edge_energy"])
    >>> means = stack["absorption"].xanes.cluster_spectra(labels=domains["label"])
    >>> plot = means.xanes.plot.cluster_spectra()
    """
    hv = load_hvplot()
    require_variables(result, ["count"], caller="plot_cluster_spectra")
    name = next(str(n) for n in result.data_vars if f"{n}_error" in result)
    array = result[name].transpose("cluster", "energy", ...)
    if array.ndim != 2:
        raise DimensionError(
            "plot_cluster_spectra shows spectra along cluster and energy; found "
            f"{array.dims}."
        )
    error = result[f"{name}_error"].transpose("cluster", "energy").values
    x, shapes = array.energy.values, []
    axes = axis_label(array["energy"]), axis_label(array)
    for i, number in enumerate(array["cluster"].values):
        y = array.values[i]
        band = hv.Area((x, y - error[i], y + error[i]), axes[0], [axes[1], "upper"])
        shapes.append(band.opts(color=colour(i), alpha=0.2, line_alpha=0))
        curve = hv.Curve((x, y), *axes, label=f"cluster {number}")
        shapes.append(curve.opts(color=colour(i)))
    return hv.Overlay(shapes).opts(
        hv.opts.Overlay(legend_position="right", title="Clusters", width=560)
    )


@checked
def plot_shares(result: xr.DataArray | xr.Dataset) -> holoviews.core.ViewableElement:
    """Plot the shares of the clusters, a stacked bar for each particle.

    Parameters
    ----------
    result
        Result of `cluster_shares`, or of `cluster` for all particles together.

    Returns
    -------
    holoviews.Bars

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> classes = maps.xanes.cluster(n_clusters=3, features=["edge_energy"])
    >>> plot = classes.xanes.cluster_shares().xanes.plot.shares()
    """
    hv = load_hvplot()
    if isinstance(result, xr.Dataset):
        require_variables(result, ["share"], caller="plot_shares")
        result = result["share"]
    if "cluster" not in result.dims or result.ndim > 2:
        raise DimensionError(
            f"plot_shares needs a result of cluster_shares; found {result.dims}."
        )
    others = [d for d in result.dims if d != "cluster"]
    dim = str(others[0]) if others else "all"
    whole = result if others else result.expand_dims("all")
    values = whole.transpose(dim, "cluster").compute()
    names = values[dim].values if dim in values.coords else range(values.sizes[dim])
    rows = [
        (plain(str(name)), f"cluster {number}", float(values.values[i, j]))
        for i, name in enumerate(names)
        for j, number in enumerate(values["cluster"].values)
    ]
    bars = hv.Bars(rows, [in_words(dim), "cluster"], "Share")
    return bars.opts(
        stacked=True,
        cmap=list(COLOURS),
        legend_position="right",
        title="Shares",
        **SMALL,
    )


@checked
def plot_densities(result: xr.Dataset) -> holoviews.Layout:
    """Plot the distribution of each feature, a curve for each cluster.

    Parameters
    ----------
    result
        Result of `cluster_density`.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> batch = batteryxr.simulate.particles(size=48)
    >>> stack = batch["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> clusters = maps.xanes.cluster(n_clusters=3, features=["edge_energy"])
    >>> density = batteryxr.xanes.cluster_density(maps, clusters=clusters)
    >>> plot = density.xanes.plot.densities()
    """
    hv = load_hvplot()
    panels = []
    for name, array in result.data_vars.items():
        feature = str(name).removesuffix("_density")
        x = array[feature].values
        lines = array.transpose("cluster", feature)
        areas = [
            hv.Area(
                (x, y), axis_label(array[feature]), "Density", label=f"cluster {number}"
            ).opts(color=colour(i), alpha=0.4)
            for i, (number, y) in enumerate(
                zip(lines["cluster"].values, lines.values, strict=True)
            )
        ]
        panels.append(
            hv.Overlay(areas).opts(
                hv.opts.Overlay(
                    legend_position="right", title=as_title(in_words(feature)), **SMALL
                )
            )
        )
    return hv.Layout(panels).cols(2).opts(shared_axes=False)


@checked
def plot_features(
    maps: xr.Dataset,
    *,
    clusters: xr.Dataset,
    features: tuple[str, str] | None = None,
) -> holoviews.Overlay:
    """Plot pixels in the plane of two features, coloured by cluster.

    Computes both maps.

    Parameters
    ----------
    maps
        The maps that were clustered.
    clusters
        Result of `cluster`.
    features
        Two features, along x and y; default: the first two that were clustered.

    Returns
    -------
    holoviews.Overlay

    Examples
    --------
    >>> simulated = batteryxr.simulate.particles(size=48)
    >>> stack = simulated["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> groups = maps.xanes.cluster(n_clusters=3, features=["edge_energy"])
    >>> features = ["edge_energy", "edge_jump"]
    >>> plot = maps.xanes.plot.features(clusters=groups, features=features)
    """
    hv = load_hvplot()
    used = [str(n) for n in maps.data_vars if f"{n}_mean" in clusters]
    if features is None and len(used) < 2:
        raise ArgumentError(
            "features", None, f"two features among {list(maps.data_vars)}"
        )
    first, second = features or used[:2]
    require_variables(maps, [first, second], caller="plot_features")
    labels = clusters["label"].reset_coords(drop=True)
    pair = {"across": maps[first], "up": maps[second]}
    plain = {n: m.reset_coords(drop=True) for n, m in pair.items()}
    part = xr.Dataset({"label": labels} | plain).compute()
    both = xr.broadcast(part["label"], part["across"], part["up"])
    flat = [a.values.ravel() for a in both]
    there = np.flatnonzero(flat[0] > 0)
    # Every n-th pixel: evenly spread, and the same at every call.
    there = there[:: max(1, -(-there.size // _POINTS))]
    axes = [dimension(maps[n]) for n in (first, second)]
    if axes[0].label == axes[1].label:  # two weights, two heights: told by their names
        axes = [a.clone(label=f"{a.name}: {a.label}") for a in axes]
    shapes = [
        hv.Scatter(
            (flat[1][there[at]], flat[2][there[at]]), *axes, label=f"cluster {number}"
        ).opts(color=colour(i), size=2, alpha=0.4)
        for i, number in enumerate(clusters["cluster"].values)
        for at in [flat[0][there] == number]
    ]
    return hv.Overlay(shapes).opts(
        hv.opts.Overlay(legend_position="right", title="Pixels", width=560, height=420)
    )


@checked
def plot_cluster_orders(result: xr.Dataset) -> holoviews.Layout:
    """Plot elbow, silhouette and gap side by side, with the choice of each.

    Parameters
    ----------
    result
        Result of `cluster_orders`.

    Returns
    -------
    holoviews.Layout

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> orders = maps.xanes.cluster_orders(n_clusters=4, features=["edge_energy"])
    >>> plot = orders.xanes.plot.cluster_orders()
    """
    hv = load_hvplot()
    require_variables(result, ["inertia", "silhouette"], caller="plot_cluster_orders")
    n = result["n_clusters"].values
    panels = []
    for name, choice in (
        ("inertia", "elbow"),
        ("silhouette", "best_silhouette"),
        ("gap", "first_gap"),
    ):
        if choice not in result.attrs:
            continue
        y, text = result[name].values, axis_label(result[name])
        axes = "Number of clusters", text
        shape = hv.Curve((n, y), *axes).opts(color="black")
        shape *= hv.Scatter((n, y), *axes).opts(color="black", size=6)
        if name == "gap":
            spread = result["gap_error"].values
            shape *= hv.ErrorBars((n, y, spread), axes[0], [text, "error"]).opts(**BARS)
        best = int(result.attrs[choice])
        shape *= hv.VLine(best).opts(color=COLOURS[1], line_dash="dashed")
        panels.append(
            shape.opts(
                title=f"{choice.replace('_', ' ')}: {best}",
                **(LOG_Y if name == "inertia" else {}),
                xticks=n.tolist(),
                xlim=(n.min() - 0.2, n.max() + 0.2),
                **SMALL,
            )
        )
    return hv.Layout(panels).cols(3).opts(shared_axes=False)


def _ticks(k: int) -> Any:
    from bokeh.models import FixedTicker

    return FixedTicker(ticks=list(range(1, k + 1)))
