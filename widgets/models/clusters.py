"""Model of the choice of clusters: features, number, and pixels picked by hand."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import traitlets
import xarray as xr

from batteryxr.core.errors import ArgumentError, VariableError
from batteryxr.widgets.models.base import Plan
from batteryxr.widgets.models.judging import JudgingModel
from batteryxr.widgets.models.naming import literal
from batteryxr.xanes import (
    cluster,
    cluster_density,
    cluster_orders,
    cluster_shares,
    cluster_spectra,
)
from batteryxr.xanes.domains.clusters import Method

if TYPE_CHECKING:
    from collections.abc import Callable

METHODS = get_args(Method)
#: Pixels used for a preview, and number of pixels above which a preview is made.
_PREVIEW = 20_000
QUICK = 200_000
#: Words in the names of maps that describe the fit, not the material.
_QUALITY = ("chi2", "flag", "residual", "label", "certainty")


class Beside(NamedTuple):
    """Hold data that go with the maps: spectra of pixels, weights, and a mask."""

    spectra: xr.DataArray | None = None
    weights: xr.DataArray | None = None
    mask: xr.DataArray | None = None


NOTHING = Beside()


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class Clustered:
    """Hold clusters, and the results shown for them."""

    clusters: xr.Dataset
    density: xr.Dataset
    shares: xr.DataArray
    weighted: xr.DataArray | None
    spectra: xr.Dataset | None


class ClusterModel(JudgingModel):
    """Choose clusters of pixels from their maps."""

    choices = ("n_clusters", "features", "method", "seed")
    judged_by = ("features", "method", "seed")
    parts = "clusters"
    nothing = "choose at least one feature"

    n_clusters = traitlets.Int(3, min=1, max=12, help="Number of clusters.")
    features: Any = traitlets.List(traitlets.Unicode(), help="Maps to cluster by.")
    method = traitlets.Enum(METHODS, "kmeans").tag(argument="method")
    seed = traitlets.Int(0, min=0).tag(argument="seed")

    def __init__(
        self,
        data: xr.Dataset,
        beside: Beside = NOTHING,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(data, accessor="xanes.panel", name=name)
        self.maps = _maps(data)
        self.spectra, self.weights, self.mask = beside
        self.suppose("features", self.maps[:2])
        self.refresh(delay=0.0)

    @traitlets.validate("features")
    def _check_features(self, proposal: Any) -> list[str]:
        if wrong := [f for f in proposal["value"] if f not in self.maps]:
            raise traitlets.TraitError(f"{wrong} are not among the maps {self.maps}")
        return list(proposal["value"])

    @property
    def result(self) -> Any:
        """Return the clusters, as in `batteryxr.xanes.cluster`."""
        return super().result.clusters

    def plan(self) -> Plan | None:
        """Return how to cluster the pixels, and the results to show."""
        if not self.features:
            return None
        options: dict[str, Any] = {"n_clusters": self.n_clusters}
        options |= {"features": list(self.features)} | self.arguments() | self._given()

        def made(**quick: Any) -> Clustered:
            found = cluster(self.data, **(options | quick)).compute()
            density = cluster_density(self.data, clusters=found, weights=self.weights)
            weighted = None
            if self.weights is not None:
                weighted = cluster_shares(found, weights=self.weights).compute()
            seen = None
            if self.spectra is not None and not quick:
                seen = cluster_spectra(self.spectra, labels=found, weights=self.weights)
                seen = seen.compute()
            shares = cluster_shares(found).compute()
            return Clustered(found, density.compute(), shares, weighted, seen)

        size = self.data[self.maps[0]].size
        long = size > QUICK or self.spectra is not None
        quick: dict[str, Any] = {"n_starts": 2, "max_pixels": _PREVIEW}
        return Plan(made, (lambda: made(**quick)) if long else None)

    def write_code(self, data: str) -> str:
        """Return the call of `cluster`."""
        words = [
            f"n_clusters={self.n_clusters}",
            f"features={literal(list(self.features))}",
        ]
        words += [f"{n}={self.called(v, n)}" for n, v in self._given().items()]
        words += [f"{n}={literal(v)}" for n, v in self.arguments().items()]
        return f"{data}.xanes.cluster({', '.join(words)})"

    def _given(self) -> dict[str, Any]:
        given = {"mask": self.mask}
        if self.method != "gaussian_mixture":
            given["weights"] = self.weights
        return {n: v for n, v in given.items() if v is not None}

    # number of clusters
    def comparison(self) -> Callable[[], xr.Dataset] | None:
        """Return how to compare numbers of clusters."""
        if not self.features:
            return None
        options = {"features": list(self.features)} | self._given()
        options |= {"n_clusters": 8, "n_references": 0, "seed": self.seed}
        return functools.partial(cluster_orders, self.data, **options)

    def behind(self, at: dict[str, int]) -> dict[str, xr.DataArray]:
        """Return the spectrum of a pixel, and its fit on the same axis if there is one.

        Reads the chunks of that pixel.
        """
        from batteryxr.xanes import model_curve

        if self.spectra is None:
            return {}
        here = {d: i for d, i in at.items() if d in self.spectra.dims}
        spectrum = self.spectra.isel(here).compute()
        found = {"measured": spectrum}
        if "model" in self.data.attrs:
            axis = spectrum[spectrum.dims[0]]
            fit = model_curve(self.data.isel(at), axis=axis).compute()
            found |= {"fit": fit, "residual": spectrum.copy(data=spectrum - fit.values)}
        return found

    def select(self, pixels: np.ndarray) -> xr.DataArray:
        """Return a mask of the pixels with these numbers, counted row by row."""
        like = self.data[self.maps[0]]
        mask = np.zeros(like.size, dtype=bool)
        if pixels.size and not 0 <= pixels.min() <= pixels.max() < like.size:
            raise ArgumentError("pixels", int(pixels.max()), f"below {like.size}")
        mask[pixels] = True
        attrs = {"units": "1", "long_name": "Chosen by hand"}
        chosen = xr.DataArray(mask.reshape(like.shape), dims=like.dims, attrs=attrs)
        return chosen.assign_coords({d: like[d] for d in like.dims if d in like.coords})


def _maps(data: xr.Dataset) -> list[str]:
    """Return the variables of a dataset that are maps of a quantity."""
    if not isinstance(data, xr.Dataset):
        raise VariableError(
            f"panel needs a Dataset of maps; found a {type(data).__name__}. Fit the "
            "stack first: `stack.xanes.fit_edge(...).xanes.panel(spectra=stack)`."
        )
    maps = [
        str(name)
        for name, v in data.data_vars.items()
        if {"y", "x"} <= set(v.dims) <= {"particle", "y", "x"}
        and v.dtype.kind == "f"
        and not str(name).endswith("_error")
        and not any(word in str(name) for word in _QUALITY)
    ]
    if not maps:
        raise VariableError(
            "panel needs maps on ('y', 'x') or ('particle', 'y', 'x'); the dataset has "
            f"{list(map(str, data.data_vars))}."
        )
    return maps
