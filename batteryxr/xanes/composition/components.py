"""Find how many spectra span a series, and test candidates for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from batteryxr.core.decompose import principal_components
from batteryxr.core.labels import OwnLabels, require_once
from batteryxr.core.model import label, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.xanes.composition.standards import NAMES, curves, on_grid
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra
from batteryxr.xanes.spectra import window as in_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.xanes.spectra import Range


@recorded
def pca(
    data: xr.DataArray | xr.Dataset,
    n_components: int | None = None,
    *,
    window: Range | None = None,
    centre: bool = True,
) -> xr.Dataset:
    """Find the fewest spectra that span a series or stack.

    *Reads once* for the components (a sum over blocks in fixed order); the scores are
    *lazy*.

    Parameters
    ----------
    data
        Spectra along `energy`, in any other dimensions. Spectra with a missing value
        are left out, and get NaN scores.
    n_components
        Number of components; default: from Malinowski's indicator function, at most
        10 (noise that is correlated between energies misleads it).
    window
        Energies to use, in eV; default: all.
    centre
        Whether to subtract the mean spectrum first.

    Returns
    -------
    xarray.Dataset
        `components` (component, energy), orthonormal; `scores` (component, ...);
        `explained_variance` and `explained_variance_ratio` (component); `mean`
        (energy), zero if not subtracted. For every possible component along
        `eigenvalue_number` (the first 20 of more than 300): `eigenvalue` and
        `indicator`, whose minimum gives the number of components above noise.

    Raises
    ------
    ArgumentError
        If `n_components` is too large.
    DataError
        If there are fewer than two whole spectra.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> principal = spectra.xanes.pca()
    >>> principal.sizes["component"]
    2
    """
    array = as_spectra(data, caller="pca", names=NAMES)
    if window is not None:
        inside = in_window(array.energy.values, window, name="window", least=2)
        array = array.isel(energy=inside)
    result = principal_components(array, "energy", n_components, centre=centre)
    count = int(result["n_patterns"])
    result["scores"] = result["scores"].transpose("component", ...)
    return inherit(result, array, **result.attrs, n_spectra=count)


@recorded
def target_transform(
    result: xr.Dataset,
    *,
    standards: Annotated[xr.DataArray | Mapping[str, xr.DataArray], OwnLabels()],
) -> xr.Dataset:
    """Test whether spectra lie in the space of the principal components.

    *Lazy*.

    Parameters
    ----------
    result
        Result of `pca`.
    standards
        Candidate spectra by name, or along the dimension `standard`.

    Returns
    -------
    xarray.Dataset
        `transformed` (standard, energy): each standard as a sum of components;
        `r_factor`, sum (standard - transformed)² / sum standard²: small for a
        standard that is present.

    Raises
    ------
    DataError
        If the standards do not cover the energies of the components.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> series = cell["scans"].to_dataset()["absorption"]
    >>> pure = cell["truth"].to_dataset()["components"]
    >>> references = {
    ...     name: pure.sel(component=name) for name in pure["component"].values
    ... }
    >>> principal = series.xanes.pca(3)
    >>> tested = batteryxr.xanes.target_transform(principal, standards=references)
    >>> tested["r_factor"].dims
    ('standard',)
    """
    require_variables(result, ["components", "mean"], caller="target_transform")
    basis = result["components"].transpose("component", "energy")
    require_once(basis.energy, caller="target_transform")
    names, matrix = on_grid(curves(standards), basis.energy.values)
    origin, b = result["mean"].values, basis.values
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
    found = xr.Dataset(
        {
            "transformed": label(
                transformed, "transformed", units="1", long_name=long_name
            ),
            "r_factor": label(r_factor, "r_factor", units="1", long_name="R factor"),
        }
    )
    return inherit(found, result)
