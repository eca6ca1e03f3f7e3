"""Fit spectra by all subsets of standards, and compare them with the best."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.composition.combination import lcf
from batteryxr.xanes.composition.standards import NAMES, by_name, curves, reached
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import as_spectra
from batteryxr.xanes.spectra import window as in_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.core.checks import Count, NonNegative
    from batteryxr.xanes.spectra import Range

#: Largest number of subsets, and confidence from which one is worse than the best.
_MOST, _WORSE = 5000, 0.95
_KEPT = ("weight", "weight_error", "energy_shift", "energy_shift_error")


@recorded
def lcf_subsets(
    spectra: xr.DataArray | xr.Dataset,
    *,
    standards: Annotated[xr.DataArray | Mapping[str, xr.DataArray], OwnLabels()],
    n_components: Count | None = None,
    n_best: Count = 20,
    window: Range | None = None,
    non_negative: bool = True,
    closure: bool = False,
    baseline: Literal[0, 1] | None = None,
    max_shift: NonNegative = 0.0,
    shared: bool = False,
    errors: NonNegative | Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Fit spectra by every subset of standards, and test which are as good as the best.

    *Reads once*; spectra are held in memory: use a few, or the mean of regions.

    Parameters
    ----------
    spectra
        A spectrum along `energy`, or several that contain the same standards.
    standards
        Spectra by name, or along the dimension `standard`.
    n_components
        Largest number of standards at a time; default: four, or all if fewer.
    n_best
        Number of subsets to return; the smallest good one is always included.
    window, non_negative, closure, baseline, max_shift, shared, errors
        As in `lcf`.

    Returns
    -------
    xarray.Dataset
        Along `subset`, the best first: `weight` and `weight_error` (and
        `energy_shift`) along `standard`, NaN for those left out; `n_standards`;
        `chi2` and `r_factor` over all spectra; `confidence` that the best fit is
        better than this one, and not by chance (W. C. Hamilton, Acta Cryst. 18, 502
        (1965), with the number of independent values from the residuals). Below 0.95
        subsets are equally good: the attribute `smallest` names the one with the
        fewest standards among them.

    Raises
    ------
    ArgumentError
        If there are more than 5000 subsets.
    DataError
        If the spectra hold no data.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> pure = cell["truth"].to_dataset()["components"]
    >>> references = {
    ...     name: pure.sel(component=name) for name in pure["component"].values
    ... }
    >>> subsets = spectra.xanes.lcf_subsets(standards=references)
    >>> subsets.attrs["smallest"]
    'start + intermediate + end'
    """
    array = as_spectra(spectra, caller="lcf_subsets", names=NAMES).compute()
    items = by_name(standards)
    if window is not None:
        inside = in_window(array.energy.values, window, name="window", least=2)
        array = array.isel(energy=inside)
    if max_shift:  # sums of squares are compared over the same energies
        array = array.isel(
            energy=reached(array.energy.values, curves(standards), max_shift)
        )
    most = min(n_components or 4, len(items))
    n_subsets = sum(math.comb(len(items), k) for k in range(1, most + 1))
    if n_subsets > _MOST:
        raise ArgumentError(
            "n_components",
            n_components,
            f"fewer than {_MOST} subsets; there are {n_subsets}",
            "Leave out standards that cannot be there, or take fewer at a time.",
        )
    subsets = [
        chosen
        for size in range(1, most + 1)
        for chosen in itertools.combinations(items, size)
    ]
    with warnings.catch_warnings():  # most subsets fit badly, as expected
        warnings.simplefilter("ignore", DataQualityWarning)
        fits = [
            lcf(
                array,
                standards={name: items[name] for name in chosen},
                non_negative=non_negative,
                closure=closure,
                baseline=baseline,
                max_shift=max_shift,
                shared=shared,
                errors=_of(errors, chosen),
            )
            for chosen in subsets
        ]
    tied = -int(closure), shared
    result = _ranked(fits, subsets, list(items), tied)
    names = result["subset"].values
    kept = (np.arange(names.size) < n_best) | (names == result.attrs["smallest"])
    return inherit(result.isel(subset=kept), array, **result.attrs)


def _of(
    errors: float | Mapping[str, float] | None, chosen: tuple[str, ...]
) -> float | Mapping[str, float] | None:
    if errors is None or isinstance(errors, float | int):
        return errors
    return {name: errors[name] for name in chosen if name in errors}


def _ranked(
    fits: list[xr.Dataset],
    subsets: list[tuple[str, ...]],
    names: list[str],
    tied: tuple[int, bool],
) -> xr.Dataset:
    """Combine fits, the best first, and test the others against it."""
    each = np.stack([np.ravel(fit.chi2.values) for fit in fits])
    told = np.isfinite(each).any(axis=0)
    if not told.any():
        raise DataError("spectra", "they hold nothing to fit", "Look at them first.")
    # Spectra that only smaller subsets could fit are no gain of the larger.
    chi2 = np.where(np.isfinite(each), each, np.inf)[:, told].sum(axis=1)
    order = np.argsort(chi2, kind="stable")
    best = fits[order[0]]
    independent = float(best.n_independent.sum())
    fitted = [_parameters(fit, *tied) * int(told.sum()) for fit in fits]
    left = max(independent - fitted[order[0]], 1.0)
    confidence = [
        _confidence(chi2[order[0]] / chi2[k], left, fitted[order[0]] - fitted[k])
        for k in order
    ]
    labels = [" + ".join(subsets[k]) for k in order]
    sizes = np.array([len(subsets[k]) for k in order])
    r_factor = np.array([float(fits[k].r_factor_free.mean()) for k in order])
    columns = {
        "n_standards": (sizes, "Standards"),
        "chi2": (chi2[order], "Sum of squared residuals"),
        "r_factor": (r_factor, "R factor"),
        "confidence": (np.array(confidence), "Confidence that the best is better"),
    }
    wide = [fits[k][[n for n in _KEPT if n in fits[k]]] for k in order]
    result = xr.concat(
        [fit.reindex(standard=names) for fit in wide], "subset", coords="minimal"
    )
    for name in result.data_vars:
        result[name].attrs = dict(best[name].attrs)
    for name, (values, long_name) in columns.items():
        column = xr.DataArray(values, dims="subset")
        result[name] = label(column, name, units="1", long_name=long_name)
    attrs = {"units": "1", "long_name": "Standards"}
    result = result.assign_coords(subset=("subset", labels, attrs))
    as_good = np.flatnonzero(np.array(confidence) < _WORSE)
    smallest = as_good[np.argmin(sizes[as_good])]
    return result.assign_attrs(
        smallest=labels[smallest],
        n_independent=independent,
    )


def _parameters(fit: xr.Dataset, closed: int, shared: bool) -> int:
    """Return the number of parameters fitted to each spectrum."""
    each = fit.sizes["standard"] + fit.sizes.get("order", 0) + closed
    if "energy_shift" in fit:
        each += 1 if shared else fit.sizes["standard"]
    return int(each)


def _confidence(ratio: float, left: float, more: int) -> float:
    """Return the confidence that a fit is better than one with more squares.

    Parameters
    ----------
    ratio
        Sum of squares of the better fit over that of the other.
    left
        Independent values less parameters of the better fit.
    more
        Additional parameters of the better fit, at least one.
    """
    from scipy.special import betainc

    if not ratio < 1.0:
        return 0.0
    return float(1.0 - betainc(0.5 * left, 0.5 * max(more, 1), ratio))
