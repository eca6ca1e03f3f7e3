"""How many spectra span a series, and which can be among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.composition.standards import NAMES, on_grid
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra, stream_rows
from batteryxr.xanes.spectra import window as in_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.xanes.fit.terms import Range

#: Most components that are returned unasked.
MOST = 10


@recorded
def pca(
    obj: xr.DataArray | xr.Dataset,
    *,
    n_components: int | None = None,
    window: Range | None = None,
    centre: bool = True,
) -> xr.Dataset:
    """Find the fewest spectra that span a series or stack.

    *Reads once* for the components (a sum over blocks in fixed order); the scores are
    *lazy*.

    Parameters
    ----------
    obj
        Spectra along `energy`, in any other dimensions. Spectra with a missing value
        are left out, and get scores of NaN.
    n_components
        How many to return; by default as many as Malinowski's indicator function
        finds, at most 10 (noise that is alike at neighbouring energies misleads it).
    window
        Energies to use, in eV; by default all.
    centre
        Take the mean spectrum off first.

    Returns
    -------
    xarray.Dataset
        `component_spectrum` (component, energy), orthonormal; `score` (component,
        ...); `mean_spectrum`; and for every possible component along
        `eigenvalue_number`: `explained_variance_ratio` and `indicator` (its minimum
        tells how many components are not noise).

    Raises
    ------
    ArgumentError
        If there are fewer than two whole spectra, or too many components are asked
        for.
    """
    array = as_spectra(obj, caller="pca", names=NAMES)
    if window is not None:
        inside = in_window(array.energy.values, window, name="window", least=2)
        array = array.isel(energy=inside)
    count, mean, scatter = _moments(array)
    if count < 2:
        raise ArgumentError("obj", count, "at least two spectra without gaps")
    square = scatter - count * np.outer(mean, mean) if centre else scatter
    values, vectors = np.linalg.eigh(square)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    limit = min(count - int(centre), values.size)
    indicator = _indicator(values[:limit], max(count, array.sizes["energy"]))
    if n_components is None:
        wanted = int(np.nanargmin(indicator)) + 1 if limit > 1 else 1
        n_components = min(wanted, MOST)
    if not 1 <= n_components <= limit:
        raise ArgumentError("n_components", n_components, f"from 1 to {limit}")
    basis = vectors[:, :n_components].T
    # An eigenvector has no sign of its own: its largest value points up.
    basis = (
        basis
        * np.sign(basis[np.arange(len(basis)), np.abs(basis).argmax(axis=1)])[:, None]
    )
    dims = "component", "energy"
    components = xr.DataArray(basis, dims=dims, coords={"energy": array.energy})
    origin = mean if centre else np.zeros_like(mean)
    score = blocks.apply(
        _scores,
        array,
        core_dims=[["energy"]],
        output_dims=[["component"]],
        output_sizes={"component": n_components},
        dtypes=[float],
        caller="pca",
        basis=basis,
        origin=origin,
    )
    ratio = values[:limit] / values.sum()
    number = "eigenvalue_number"
    parts = {
        "component_spectrum": (components, "Component spectrum"),
        "score": (score.transpose("component", ...), "Score"),
        "mean_spectrum": (
            xr.DataArray(origin, dims="energy", coords={"energy": array.energy}),
            "Spectrum taken off",
        ),
        "explained_variance_ratio": (
            xr.DataArray(ratio, dims=number),
            "Share of the variance",
        ),
        "indicator": (xr.DataArray(indicator, dims=number), "Malinowski's indicator"),
    }
    result = xr.Dataset(
        {
            name: label(value, name, units="1", long_name=long_name)
            for name, (value, long_name) in parts.items()
        }
    )
    for name, size in (("component", n_components), (number, limit)):
        attrs = {"units": "1", "long_name": name.replace("_", " ").capitalize()}
        result = result.assign_coords({name: (name, np.arange(1, size + 1), attrs)})
    return inherit(result, array, n_spectra=count)


@recorded
def target_transform(
    components: xr.Dataset, *, targets: xr.DataArray | Mapping[str, xr.DataArray]
) -> xr.Dataset:
    """Test whether spectra lie in the space of the principal components.

    *Lazy*.

    Parameters
    ----------
    components
        A result of `pca`.
    targets
        Spectra by name, or along the dimension `standard`: what may be in the mixture.

    Returns
    -------
    xarray.Dataset
        `transformed` (standard, energy): each target as the components give it;
        `r_factor`, sum (target - transformed)² / sum target²: small for a target that
        is there.

    Raises
    ------
    ArgumentError
        If the targets do not cover the energies of the components.
    """
    basis = components.component_spectrum.transpose("component", "energy")
    names, matrix = on_grid(targets, basis.energy.values, "targets")
    origin, b = components.mean_spectrum.values, basis.values
    inside = (matrix - origin) @ b.T @ b + origin
    left = np.sum((matrix - inside) ** 2, axis=1) / np.sum(matrix**2, axis=1)
    coords = {
        "standard": ("standard", names, {"units": "1", "long_name": "Target"}),
        "energy": basis.energy,
    }
    dims = "standard", "energy"
    transformed = xr.DataArray(inside, dims=dims, coords=coords)
    r_factor = xr.DataArray(left, dims="standard")
    long_name = "Target in the space of the components"
    result = xr.Dataset(
        {
            "transformed": label(
                transformed, "transformed", units="1", long_name=long_name
            ),
            "r_factor": label(r_factor, "r_factor", units="1", long_name="R factor"),
        }
    )
    return inherit(result, components)


def _scores(data: np.ndarray, basis: np.ndarray, origin: np.ndarray) -> np.ndarray:
    return np.asarray((data.astype(float) - origin) @ basis.T)


def _moments(array: xr.DataArray) -> tuple[int, np.ndarray, np.ndarray]:
    """Return number, mean and scatter matrix of the whole spectra, in one pass."""
    m = array.sizes["energy"]
    count, total, scatter = 0, np.zeros(m), np.zeros((m, m))
    for block in stream_rows(array):
        rows = block.astype(float)
        rows = rows[np.isfinite(rows).all(axis=1)]
        count += len(rows)
        total += rows.sum(axis=0)
        scatter += rows.T @ rows
    return count, total / max(count, 1), scatter


def _indicator(values: np.ndarray, n: int) -> np.ndarray:
    """Malinowski's IND, Anal. Chem. 49, 612 (1977), after 1, 2, ... components."""
    size = values.size
    out = np.full(size, np.nan)
    for k in range(1, size):
        real_error = np.sqrt(values[k:].sum() / (n * (size - k)))
        out[k - 1] = real_error / (size - k) ** 2
    return out
