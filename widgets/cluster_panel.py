"""The panel of clusters: linked label maps and feature space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from batteryxr.core.seeds import generator
from batteryxr.widgets.drawing import curve, image_plot, lines_plot, title_of
from batteryxr.widgets.models.clusters import Beside, ClusterModel
from batteryxr.widgets.view import WIDE, Figure, Panel, control, on_front_end
from batteryxr.widgets.work import Work

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.widgets.work import Job

#: Number of points in feature space, and of particles with maps.
_POINTS, _PARTICLES = 4000, 6
#: Colours of the clusters, equal to those of the label map.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#999933", "#8C564B", "#6A51A3", "#1B9E9E", "#B2B2B2", "#E7298A"),
)


class ClusterPanel(Panel, of=ClusterModel):
    """Choose by hand the maps to cluster pixels by, and the number of clusters.

    A lasso in feature space highlights the map, and a lasso on the map highlights
    feature space. The pixels inside are in ``panel.selected``. The spectrum of the
    pixel under the pointer is drawn with its fit and residual.

    Parameters
    ----------
    data
        Maps on (y, x) or (particle, y, x), such as the result of `fit_edge`.
    spectra
        The stack behind the maps, for spectra of clusters and pixels.
    weights
        Weight of each pixel, such as the projected density.
    mask
        True for the pixels to use.
    name
        Name of the data in the code; by default their variable in the notebook.
    **choice
        Further choices, as in ``panel.choice``: ``n_clusters``, ``features``,
        ``method``, ``seed``.

    Raises
    ------
    VariableError
        If there are no maps.
    """

    model: ClusterModel

    def __init__(
        self,
        data: xr.Dataset,
        *,
        spectra: xr.DataArray | None = None,
        weights: xr.DataArray | None = None,
        mask: xr.DataArray | None = None,
        name: str | None = None,
        **choice: Any,
    ) -> None:
        model = ClusterModel(data, Beside(spectra, weights, mask), name=name)
        if choice:
            model.choose(**choice)
        self.model = model
        self.figure, self.pixel = Figure(), Figure()
        self.figure.on_msg(on_front_end(self._of_figure))
        self._looking = Work()
        #: True for the pixels inside the lasso.
        self.selected = model.select(np.empty(0, dtype=int))
        super().__init__(
            model,
            title="Clusters",
            hint="draw a loop in one picture to light up the other",
            controls=self._controls(),
            body=ipywidgets.VBox([self.figure, self.pixel]),
        )
        model.observe(lambda _: self._draw(), ["answer", "judged"])
        model.observe(lambda _: model.judge(), list(model.judged_by))
        model.judge()
        self._draw()

    @property
    def order(self) -> xr.Dataset | None:
        """Return the indicators for each number of clusters; see `cluster_orders`."""
        return self.model.wait_for_judging()

    def _controls(self) -> list[ipywidgets.Widget]:
        model = self.model
        k = control(model, "n_clusters", description="k")
        method = control(model, "method", 210, description="method")
        features = ipywidgets.SelectMultiple(
            options=model.maps, value=tuple(model.features), description="features",
            rows=min(5, len(model.maps)), style=WIDE, layout={"width": "280px"},
        )  # fmt: skip
        features.observe(
            lambda change: setattr(model, "features", list(change["new"])), "value"
        )
        model.observe(
            lambda change: setattr(features, "value", tuple(change["new"])), "features"
        )
        said = ipywidgets.Label("")
        model.observe(lambda change: setattr(said, "value", change["new"]), "judging")
        return [features, k, method, said]

    # actions of the user
    def _of_figure(self, content: dict[str, Any]) -> None:
        if content["kind"] == "lasso":
            self.selected = self.model.select(np.array(content["ids"], dtype=int))
            n = int(self.selected.sum())
            self.foot.note = f"{n} pixels chosen: panel.selected" if n else ""
        elif content["kind"] == "look":
            self._look(content)

    def _look(self, content: dict[str, Any]) -> None:
        """Draw the spectrum of the pixel where the pointer is now."""
        at = dict(zip(("y", "x"), content["at"], strict=True))
        if "particle" in self.selected.dims:
            at["particle"] = int(content["plot"].split()[-1])

        def read(job: Job) -> None:
            found = self.model.behind(at)
            if found:
                job.post(lambda: self._show_pixel(found, at))

        self._looking.submit(
            read, failed=self.model.fail, progress=lambda *_: None, delay=0.0
        )

    def _show_pixel(self, found: dict[str, xr.DataArray], at: dict[str, int]) -> None:
        measured = found["measured"]
        axis = measured[measured.dims[0]]
        place = ", ".join(f"{d} {i}" for d, i in at.items())
        styles: dict[str, dict[str, Any]] = {
            "measured": {"colour": "text", "line": False, "points": True, "size": 2},
            "fit": {"colour": 1},
            "residual": {"colour": "faint"},
        }
        series = [
            curve(axis.values, v.values, name=n, **styles[n]) for n, v in found.items()
        ]
        plot = lines_plot(
            "pixel", f"Pixel {place}", title_of(axis), title_of(measured), series,
            legend=True, height=210,
        )  # fmt: skip
        self.pixel.figure = {"columns": 1, "plots": [plot]}

    # drawing
    def _draw(self) -> None:
        answer = self.model.answer
        if answer is None:
            self.figure.figure = {"columns": 1, "plots": []}
            return
        plots = [*self._label_maps(), self._feature_space()]
        if answer.spectra is not None:
            plots.append(self._mean_spectra(answer.spectra))
        plots += self._densities(answer.density)
        plots.append(self._shares())
        if self.model.order is not None:
            plots += self._orders(self.model.order)
        self.figure.figure = {"columns": 3, "plots": plots}

    def _label_maps(self) -> list[dict[str, Any]]:
        labels = self.model.answer.clusters["label"]
        k = self.model.answer.clusters.sizes["cluster"]
        names = [f"cluster {c + 1}" for c in range(k)]
        common: dict[str, Any] = {"names": names, "lasso": "pixels", "look": True}
        if "particle" not in labels.dims:
            values = labels.transpose("y", "x").values
            return [image_plot("labels", "Clusters", values, 0, k) | common]
        values = labels.transpose("particle", "y", "x")
        particles = (
            values["particle"].values
            if "particle" in values.coords
            else np.arange(values.sizes["particle"])
        )
        size = values.sizes["y"] * values.sizes["x"]
        return [
            image_plot(f"labels {i}", f"Clusters: {name}", values.values[i], 0, k)
            | common
            | {"first": i * size}
            for i, name in enumerate(particles[:_PARTICLES])
        ]

    def _feature_space(self) -> dict[str, Any]:
        model = self.model
        order = [d for d in ("particle", "y", "x") if d in self.selected.dims]
        labels = model.answer.clusters["label"].transpose(*order).values.ravel()
        there = model.answer.clusters.attrs["features"]
        there = [there] if isinstance(there, str) else list(there)
        first, second = there[0], there[1] if len(there) > 1 else there[0]
        x, y = (
            model.data[n].transpose(*order).values.ravel().astype(float)
            for n in (first, second)
        )
        ids = np.flatnonzero((labels > 0) & np.isfinite(x + y))
        if ids.size > _POINTS:
            ids = np.sort(generator(0).choice(ids, _POINTS, replace=False))
        series = []
        for c in range(model.answer.clusters.sizes["cluster"]):
            mine = ids[labels[ids] == c + 1]
            series.append(
                curve(x[mine], y[mine], name=f"cluster {c + 1}", points=True,
                      colour=_COLOURS[c], dots=True, quiet=True)
                | {"points": False, "ids": mine.astype(np.int32).tobytes()}
            )  # fmt: skip
        return lines_plot(
            "space", "Feature space", title_of(model.data[first]),
            title_of(model.data[second]), series, lasso="pixels", height=280,
        )  # fmt: skip

    def _mean_spectra(self, means: xr.Dataset) -> dict[str, Any]:
        name = next(str(n) for n in means.data_vars if f"{n}_error" in means)
        axis = means[next(str(d) for d in means[name].dims if d != "cluster")]
        series = [
            curve(axis.values, means[name].values[c], name=f"cluster {c + 1}",
                  colour=_COLOURS[c], spread=means[f"{name}_error"].values[c])
            for c in range(means.sizes["cluster"])
        ]  # fmt: skip
        return lines_plot(
            "spectra", "Mean spectra", title_of(axis), title_of(means[name]), series,
            height=280,
        )  # fmt: skip

    def _densities(self, density: xr.Dataset) -> list[dict[str, Any]]:
        plots = []
        for key, array in density.data_vars.items():
            axis = array[array.dims[1]]
            series = [
                curve(axis.values, v, name=f"cluster {c + 1}", colour=_COLOURS[c])
                for c, v in enumerate(array.values)
            ]
            plots.append(
                lines_plot(str(key), str(array.attrs["long_name"]), title_of(axis),
                           "Density", series, height=200)
            )  # fmt: skip
        return plots

    def _shares(self) -> dict[str, Any]:
        """Return bars of each particle; circles are the shares without weights."""
        answer = self.model.answer
        plain, weighted = answer.shares, answer.weighted
        columns = (plain if weighted is None else weighted).transpose("cluster", ...)
        heights = columns.values.reshape(columns.sizes["cluster"], -1)
        bare = plain.transpose("cluster", ...).values.reshape(heights.shape)
        n, count = heights.shape
        gap, at = np.full(count, np.nan), np.arange(count, dtype=float)
        series = []
        for k, name in enumerate(columns["cluster"].values):
            x = at + (k - (n - 1) / 2) * 0.8 / n
            bars = np.stack([heights[k], np.zeros(count), gap], axis=1).ravel()
            series.append(
                curve(np.repeat(x, 3), bars, name=f"cluster {name}", colour=k,
                      bars=True, width=float(np.clip(150 / n / count, 3, 18)))
            )  # fmt: skip
            if weighted is not None:
                series.append(
                    curve(x, bare[k], colour="text", line=False, points=True,
                          quiet=True, hollow=True)
                )  # fmt: skip
        words = "by pixels" if weighted is None else "weighted; circles: by pixels"
        return lines_plot(
            "shares", f"Shares, {words}", "Particle", "Share", series,
            xticks=_particles(columns), legend=True, height=200,
        )  # fmt: skip

    def _orders(self, order: xr.Dataset) -> list[dict[str, Any]]:
        ns, k = order["n_clusters"].values, self.model.n_clusters
        here: dict[str, Any] = {"shade": [[k - 0.5, k + 0.5]], "link": "order"}
        wanted = {
            "inertia": ("Elbow", "Squares per pixel"),
            "silhouette": ("Silhouette", "Silhouette"),
        }
        return [
            lines_plot(f"order {name}", title, "Number of clusters",
                       title_of(order[name]),
                       [curve(ns, order[name].values, points=True)],
                       height=200, ylog=name == "inertia", **here)
            for name, (title, word) in wanted.items()
        ]  # fmt: skip


def _particles(shares: xr.DataArray) -> list[str]:
    """Return the names of the particles, or their numbers from 1."""
    others = [dim for dim in shares.dims if dim != "cluster"]
    if not others:
        return ["all"]
    if len(others) == 1 and others[0] in shares.coords:
        return [str(name) for name in shares[others[0]].values]
    return [str(k + 1) for k in range(shares.size // shares.sizes["cluster"])]
