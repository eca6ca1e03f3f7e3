"""Merge repeated scans with their error, and rebin them to a grid for XANES."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import attributes, label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import EnergyStep, PhotonEnergy
    from batteryxr.core.checks import Pair

_Threshold = Annotated[float, Bounds(low=3.0)]
#: Wavenumber of a photoelectron squared, per energy above the edge: 1/(eV Angstrom2).
_K2 = 0.2624683
#: Least excess of an outlier's distance over the usual one, as a fraction of it.
_FAR = 0.5
#: Edge energy over the step of a grid across the edge (core holes live shorter there).
_FINE = 25_000.0


@recorded
def merge(
    spectra: xr.DataArray | xr.Dataset,
    *,
    dim: str = "scan",
    threshold: _Threshold = 6.0,
) -> xr.Dataset:
    """Merge repeated scans to their mean and its error, without outliers.

    *Reads once* to find the outliers; the mean is *lazy*.

    Parameters
    ----------
    spectra
        Spectra along `energy` and `dim`, on one energy scale (`calibrate_energy`,
        `align`).
    dim
        Dimension along which they repeat.
    threshold
        Number of deviations: a scan is left out if its distance from the median of
        all exceeds the usual one by more than that, and by half.

    Returns
    -------
    xarray.Dataset
        The mean under the name of the spectra, with `_error`, its standard error (NaN
        for a single scan). Along `dim`: `distance` of each scan from the median and
        `outlier`, 1 for scans left out. Further `n_scans`.

    Warns
    -----
    DataQualityWarning
        If scans were left out; the message gives their labels.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> result = spectra.xanes.merge()
    >>> list(result.data_vars)
    ['absorption', 'absorption_error', 'n_scans', 'distance', 'outlier']
    """
    array = as_spectra(spectra, caller="merge")
    require_dims(array, [dim], caller="merge")
    middle = array.median(dim)
    size = np.abs(middle).max()
    # Squares of what is far from 1 are too large or too small for numbers.
    unit = xr.where(size > 0, size, 1.0)
    square = ((array - middle) / unit) ** 2
    others = [d for d in square.dims if d != dim]
    both = xr.Dataset(
        {"distance": unit * square.mean(others) ** 0.5, "size": size}
    ).compute()
    distance = both["distance"]
    if not bool(distance.notnull().any()):
        raise DataError("spectra", "no scan has a value", "Look at them first.")
    usual = float(np.nanmedian(distance))
    far = distance - usual
    spread = 1.4826 * float(np.nanmedian(np.abs(far)))
    # With few scans the spread may be almost zero by chance.
    reach = max(threshold * spread, _FAR * usual, 1e-9 * float(both["size"]))
    outlier = (far > reach) | distance.isnull()
    if bool(outlier.all()):
        raise DataError("spectra", "no scan is like the others", "Look at them first.")
    kept = array.where(~outlier.reset_coords(drop=True))
    count = kept.notnull().sum(dim)
    error = unit * (kept / unit).std(dim, ddof=1) / np.sqrt(count)
    name = str(array.name or "absorption")
    units = str(array.attrs.get("units", "1"))
    text = str(array.attrs.get("long_name", name))
    parts: list[tuple[str, Any, str, str]] = [
        (name, kept.mean(dim), units, text),
        (f"{name}_error", error, units, f"{text}, standard error"),
        ("n_scans", count, "1", "Scans"),
        ("distance", distance, units, "Distance from the median"),
        ("outlier", outlier.astype(np.uint8), "1", "Left out"),
    ]
    result = xr.Dataset(
        {n: label(a, n, units=u, long_name=long) for n, a, u, long in parts}
    )
    if bool(outlier.any()):
        labels = array[dim].values if dim in array.coords else np.arange(outlier.size)
        said = ", ".join(str(v) for v in labels[outlier.values][:10])
        warn_quality(
            f"merge: {int(outlier.sum())} of {outlier.size} scans are unlike the "
            f"others and left out: {dim} {said}. See `outlier` and `distance`."
        )
    return inherit(result, array)


@recorded
def rebin_energy(
    spectra: xr.DataArray | xr.Dataset,
    *,
    e0: PhotonEnergy,
    step: EnergyStep | None = None,
    window: Pair = (-30.0, 30.0),
) -> xr.DataArray:
    """Rebin spectra to a grid for XANES: fine over the edge, coarse elsewhere.

    *Lazy*. Quick scans have thousands of energies, and each new value is the mean of
    those in its bin. Bins are ten fine steps wide below the edge, and 0.05 per
    Angstrom of the photoelectron's wavenumber above it.

    Parameters
    ----------
    spectra
        Spectra along `energy`, in any other dimensions.
    e0
        Edge energy in eV.
    step
        Step over the edge in eV. Default: a part in 25,000 of `e0`, a fraction of the
        core-hole width, rounded to 0.05 eV.
    window
        Range of the fine grid, in eV relative to `e0`.

    Returns
    -------
    xarray.DataArray
        The spectra on the new energies.

    Raises
    ------
    ArgumentError
        If the window is smaller than a few steps.
    DataError
        If the spectra do not span the edge.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> coarse = spectra.xanes.rebin_energy(e0=8345.0, step=0.5)
    >>> coarse.sizes["energy"]
    140
    """
    array = as_spectra(spectra, caller="rebin_energy")
    x = array.energy.values
    if not x[0] < e0 < x[-1]:
        raise DataError(
            "energy",
            f"{x[0]:g} to {x[-1]:g} eV do not hold e0={e0:g}",
            "Pass an e0 between them, in eV.",
        )
    fine = float(step or max(0.05 * round(e0 / _FINE / 0.05), 0.05))
    grid = _grid(x, float(e0), fine, window)
    values = blocks.apply(
        _in_bins,
        array,
        core_dims=[["energy"]],
        output_dims=[["points"]],
        output_sizes={"points": grid.size},
        dtypes=[float],
        caller="rebin_energy",
        x=x,
        centres=grid,
    )
    attrs = attributes("energy") | array.energy.attrs
    result = values.rename(points="energy").transpose(*array.dims)
    result = result.assign_coords(energy=("energy", grid, attrs)).rename(array.name)
    result.attrs = dict(array.attrs)
    return result


def _grid(
    x: np.ndarray, e0: float, fine: float, window: tuple[float, float]
) -> np.ndarray:
    """Return the new energies, inside the range of the old ones."""
    low, high = (float(v) for v in window)
    if low > x[-1] - e0 or high < x[0] - e0:
        raise ArgumentError(
            "window",
            window,
            f"eV relative to e0={e0:g}",
            f"Was it an energy? Pass ({low - e0:g}, {high - e0:g}).",
        )
    if not 3 * fine <= high - low:
        raise ArgumentError(
            "window",
            window,
            f"eV, that holds several steps of {fine:g}",
            f"Was it keV? Pass ({low * 1e3:g}, {high * 1e3:g})."
            if high - low < 1
            else f"Was the step in meV? Pass step={fine * 1e-3:g}.",
        )
    over = e0 + fine * np.arange(np.ceil(low / fine), np.floor(high / fine) + 1)
    if not over.size:
        raise ArgumentError(
            "window", window, f"(low, high) in eV, with a multiple of {fine:g} between"
        )
    before = over[0] - 10 * fine * np.arange(1, max((over[0] - x[0]) / (10 * fine), 1))
    k = np.sqrt(_K2 * max(over[-1] - e0, 1.0))
    end = np.sqrt(_K2 * max(x[-1] - e0, 0.0))
    after = e0 + np.arange(k + 0.05, max(end, k), 0.05) ** 2 / _K2
    grid = np.concatenate([before[::-1], over, after])
    return grid[(grid >= x[0]) & (grid <= x[-1])]


def _in_bins(data: np.ndarray, **options: Any) -> np.ndarray:
    from batteryxr.xanes.kernels.smoothing import in_bins

    return in_bins(data, **options)
