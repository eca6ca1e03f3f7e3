"""Fit bands and reflections on a polynomial baseline, also robustly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.fit.curve import model_curve
from batteryxr.xanes.fit.preparation import FitOptions, prepare
from batteryxr.xanes.fit.terms import Terms, as_multistart, as_peaks
from batteryxr.xanes.preparing.inputs import SIGNALS
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.core.checks import Positive
    from batteryxr.xanes.fit.terms import Degree, Multistart, Peak, When
    from batteryxr.xanes.spectra import Range

#: Residual (standard deviations) above which a point has no weight: efficiency 95 %.
_REACH = 4.685
#: Number of robust passes, each with weights from the last residuals.
_PASSES = 4
#: Least weight of a point.
_LEAST = 1e-4


@recorded
def fit_peaks(
    spectra: xr.DataArray | xr.Dataset,
    *,
    peaks: Peak | Range | Sequence[Peak | Range],
    baseline: Degree | Sequence[Degree] = 1,
    dim: Literal["shift", "energy", "two_theta", "q", "d"] = "shift",
    method: Literal["least_squares", "robust"] = "least_squares",
    mask: xr.DataArray | None = None,
    errors: Positive | xr.DataArray | None = None,
    start: Mapping[str, Any] | xr.Dataset | None = None,
    multistart: When | Multistart | None = None,
) -> xr.Dataset:
    """Fit bands on a polynomial baseline to every spectrum: Raman, FTIR, reflections.

    *Reads once* for the mean spectrum, then *lazy*; fully lazy with `start`.

    Parameters
    ----------
    spectra
        Spectra along `dim`, in any other dimensions (state, polarisation, y, x, ...).
    peaks
        `Peak` objects, or ranges of positions.
    baseline
        Degree of the baseline; -1 for none. If several degrees are given, all are
        fitted, and the best by Bayes' criterion is returned. The errors include the
        results of the others, weighted by how well they fit.
    dim
        Axis: "shift" (1/cm), "energy" (eV), "two_theta" (deg), "q" (1/Angstrom) or
        "d" (Angstrom). For reflections with a K-alpha doublet use `fit_reflections`.
    method
        "robust": points far from the model get little weight (Tukey's biweight), so
        cosmic rays or foreign lines left in the spectra do not distort the bands.
    mask
        Pixels are fitted where it is True.
    errors, start, multistart
        As in `fit_edge`.

    Returns
    -------
    xarray.Dataset
        Along `peak`: `peak_height`, `peak_position`, `peak_fwhm`, `peak_area`; along
        `order`: `baseline`; each with `_error`. `chi2`, `r_factor`, `residual_sd` and
        `flag` as in `fit_edge`. `outlier_count` if the fit is robust. For several
        degrees `baseline_degree` and `baseline_weight` (along `degree`): similar
        weights mean that chi2 does not choose.

    Raises
    ------
    ArgumentError
        If there is no peak.
    DataError
        If the model has more parameters than there are points.

    Examples
    --------
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> raman = batteryxr.read_series("samples/raman/*.txt")
    >>> bands = raman.xanes.fit_peaks(peaks=[(470, 520), (580, 620)], method="robust")
    >>> bands["peak_area"].dims
    ('peak', 'scan')
    """
    degrees = list(baseline) if isinstance(baseline, Sequence) else [baseline]
    found = as_peaks(peaks)
    if not found:
        raise ArgumentError("peaks", peaks, "at least one Peak or range of positions")
    if not degrees or len(set(degrees)) < len(degrees):
        raise ArgumentError("baseline", baseline, "degrees that differ, at least one")
    options = FitOptions(
        mask=mask, errors=errors, start=start, multistart=as_multistart(multistart)
    )
    array = as_spectra(spectra, caller="fit_peaks", dim=dim, names=SIGNALS)
    fits = {}
    for degree in sorted(degrees):
        terms = Terms(None, found, degree, dim)
        if method == "robust":
            fits[degree] = _fit_robustly(array, terms, options, caller="fit_peaks")
        else:
            fit = prepare(array, terms, options, caller="fit_peaks")
            fits[degree] = fit.apply(array, caller="fit_peaks")
    result = _choose_degree(fits, array.sizes[dim])
    for name in ("peak_width", "peak_width_error"):  # bands are given by their FWHM
        wide = 2.0 * result[name]
        new = name.replace("width", "fwhm")
        long_name = str(result[name].attrs["long_name"]).replace("Half", "Full", 1)
        result[new] = label(
            wide, new, units=result[name].attrs["units"], long_name=long_name
        )
    return result.drop_vars(["peak_width", "peak_width_error"])


def _choose_degree(fits: Mapping[int, xr.Dataset], points: int) -> xr.Dataset:
    """Return the best of fits with different baselines, with their disagreement.

    Parameters
    ----------
    fits
        Fits by degree, lowest first, that differ in nothing else.
    points
        Number of points of a spectrum.
    """
    if len(fits) == 1:
        return next(iter(fits.values()))
    degrees = list(fits)
    highest = degrees[-1]
    widened = [_up_to(fit, highest) for fit in fits.values()]
    along = xr.DataArray(degrees, dims="degree", name="degree")
    attrs = {"units": "1", "long_name": "Degree of the baseline"}
    every = xr.concat(
        widened, "degree", coords="minimal", compat="override", join="outer"
    )
    # For equal fits the lower degree comes first; more terms must improve the fit.
    criterion = points * np.log(every["chi2"] / points) + np.log(points) * along
    relative = np.exp(-0.5 * (criterion - criterion.min("degree")))
    weight = relative / relative.sum("degree")
    best = xr.where(np.isfinite(criterion), criterion, np.inf).argmin("degree")
    chosen = xr.DataArray(np.arange(len(degrees)), dims="degree") == best
    result = xr.Dataset(
        {
            name: array.where(chosen, 0).sum("degree", skipna=False).astype(array.dtype)
            for name, array in every.data_vars.items()
        }
    )
    for name in every.data_vars:
        error = f"{name}_error"
        if error in every and "order" not in every[name].dims:
            apart = (every[name] - result[name]) ** 2
            total = (weight * (every[error] ** 2 + apart)).sum("degree", skipna=False)
            result[error] = np.sqrt(total).assign_attrs(every[error].attrs)
    for name in result.data_vars:
        dims = [d for d in widened[-1][name].dims if d in result[name].dims]
        result[name] = result[name].transpose(*dims)
        result[name].attrs = dict(widened[-1][name].attrs)
    words = "Degree of the baseline"
    degree = (chosen * along.drop_vars("degree", errors="ignore")).sum("degree")
    result["baseline_degree"] = label(
        degree, "baseline_degree", units="1", long_name=words
    )
    result["baseline_weight"] = label(
        weight.assign_coords(degree=("degree", degrees, attrs)),
        "baseline_weight",
        units="1",
        long_name=f"Weight of a {words.lower()}",
    )
    result.attrs = dict(widened[-1].attrs)
    return result


def _up_to(fit: xr.Dataset, highest: int) -> xr.Dataset:
    """Return a fit whose baseline is padded to the highest degree."""
    model = json.loads(fit.attrs["model"])
    n = highest + 1
    if model["baseline"] == highest:
        return fit
    like = fit["chi2"] * 0.0
    name = "level" if "level" in fit else "baseline"
    parts = {}
    for suffix in ("", "_error"):
        full = like.expand_dims(order=np.arange(n)).copy()
        if f"{name}{suffix}" in fit:
            known = fit[f"{name}{suffix}"]
            known = known if "order" in known.dims else known.expand_dims(order=[0])
            full = known.reindex(order=np.arange(n), fill_value=0.0)
        parts[f"baseline{suffix}"] = full.drop_attrs()
    out = fit.drop_vars([name, f"{name}_error", "order"], errors="ignore")
    out = out.assign(parts)
    out.attrs = fit.attrs | {"model": json.dumps(model | {"baseline": highest})}
    return out


def _fit_robustly(
    array: xr.DataArray, terms: Terms, options: FitOptions, *, caller: str
) -> xr.Dataset:
    """Fit repeatedly, each time with weights from the last residuals."""
    dim = terms.dim
    known = options.errors
    base = array.copy(data=array.data * 0 + 1.0).drop_attrs()
    if known is not None:
        base = base * known
    sd, weight = blocks.apply(
        _first_weights,
        array,
        base,
        core_dims=[[dim], [dim]],
        output_dims=[[dim], [dim]],
        dtypes=[float, float],
        caller=caller,
        given=known is not None,
    )
    result = None
    for _ in range(_PASSES):
        spread = base * sd / np.sqrt(weight.clip(min=_LEAST))
        chosen = replace(options, errors=spread)
        if result is not None:
            chosen = replace(chosen, start=_start(result))
        result = prepare(array, terms, chosen, caller=caller).apply(
            array, caller=caller
        )
        curve = model_curve(result, axis=array[dim].values).transpose(*array.dims)
        sd, weight = blocks.apply(
            _weights,
            array - curve,
            curve,
            base,
            core_dims=[[dim], [dim], [dim]],
            output_dims=[[dim], [dim]],
            dtypes=[float, float],
            caller=caller,
            given=known is not None,
        )
    assert result is not None
    out = (weight < 0.1).sum(dim)
    result["outlier_count"] = label(
        out, "outlier_count", units="1", long_name="Points that hardly count"
    )
    units = str(array.attrs.get("units", "1"))
    attrs = result["residual_sd"].attrs | {"units": units}
    result["residual_sd"] = (sd * base).mean(dim).assign_attrs(attrs)
    return result


def _start(result: xr.Dataset) -> xr.Dataset:
    names = ("peak_position", "peak_width", "peak_height", "lorentzian_share")
    return result[[n for n in names if n in result]]


def _first_weights(
    values: np.ndarray, base: np.ndarray, *, given: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return a first spread, with zero weight for cosmic rays."""
    from batteryxr.xanes.preparing import spikes

    y = np.nan_to_num(np.array(values, np.float64))
    if y.shape[-1] < 16:
        return np.ones(y.shape), np.ones(y.shape)
    rays = spikes.single(y, threshold=6.0, window=7).spike
    near = np.diff(y, 2, axis=-1)
    sd = 1.4826 * np.median(np.abs(near), axis=-1) / np.sqrt(6.0)
    sd = np.ones_like(sd) if given else np.where(sd > 0, sd, 1.0)
    return sd[..., None] + np.zeros(y.shape), np.where(rays, 0.0, 1.0)


def _weights(
    left: np.ndarray, curve: np.ndarray, base: np.ndarray, *, given: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spread of the residuals, and the weight of every point."""
    scaled = np.abs(left / base)
    sd = np.ones_like(scaled) if given else _spread(scaled, curve)
    u = scaled / (_REACH * sd)
    return sd, np.nan_to_num((1 - np.minimum(u, 1) ** 2) ** 2)


def _spread(left: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Return the robust spread of residuals, larger where the model is high."""
    groups = max(1, min(12, left.shape[-1] // 30))
    order = np.argsort(curve, axis=-1)
    ranked = [np.take_along_axis(a, order, -1) for a in (left, curve)]
    pieces, levels = (np.array_split(a, groups, axis=-1) for a in ranked)
    power = np.stack([(1.4826 * np.nanmedian(p, axis=-1)) ** 2 for p in pieces], -1)
    level = np.stack([p.mean(axis=-1) for p in levels], -1)
    # For counts the variance rises linearly with the level.
    weight = 1 / np.maximum(power, 1e-6 * power.max(axis=-1, keepdims=True) + 1e-300)
    middle, mean = (
        (weight * a).sum(-1, keepdims=True) / weight.sum(-1, keepdims=True)
        for a in (level, power)
    )
    away = level - middle
    squared = (weight * away**2).sum(-1, keepdims=True)
    slope = (weight * away * (power - mean)).sum(-1, keepdims=True)
    slope = np.maximum(np.divide(slope, squared, where=squared > 0, out=0 * slope), 0.0)
    variance = np.maximum(mean + slope * (curve - middle), 0.1 * mean)
    return np.sqrt(np.where(variance > 0, variance, 1.0))
