"""The edge model at every pixel, and peaks on a baseline: one engine, labelled."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.fit.result import label_fit
from batteryxr.xanes.fit.task import FitTask, model_windows
from batteryxr.xanes.fit.terms import as_edge, as_peaks, compile_model
from batteryxr.xanes.spectra import spectra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batteryxr.xanes.fit.terms import Edge, Peak, Range


@recorded
def fit_edge(
    obj: xr.DataArray | xr.Dataset,
    *,
    edge: Edge | Range,
    peaks: Sequence[Peak | Range] = (),
    baseline: int = 0,
    mask: str | xr.DataArray | None = "pooled",
    pre: Range | None = None,
    post: Range | None = None,
    n_sigma: float = 5.0,
    noise: float | None = None,
    sigma: float | xr.DataArray | None = None,
    start: Mapping[str, Any] | xr.Dataset | None = None,
    multistart: str | None = None,
    ambiguity: float = 3.0,
) -> xr.Dataset:
    """Fit an edge under peaks to every spectrum.

    μt(E) = a + (b1 / 2) {1 + erf[(E - b2) / b3]} + Σ c_i1 / {1 + [(E - c_i2) / c_i3]²}

    *Reads once* for the noise and the mean spectrum, then *lazy*; altogether lazy with
    `start`, and `noise` or a mask of your own.

    Parameters
    ----------
    obj
        Absorption along `energy`, in any other dimensions: a spectrum, a series, a
        stack.
    edge
        An `Edge`, or the range of its energy in eV.
    peaks
        `Peak` objects, or ranges of their positions in eV: pre-edge, white line, ...
    baseline
        Degree of the polynomial under all; 0 is the model's constant a.
    mask
        Which pixels are fitted. "pooled" (default): those whose step over the edge
        exceeds `n_sigma` times the noise common to all. "paper": all are fitted, then
        a jump below the pixel's own noise is masked (Uematsu et al., PCCP 25, 3867
        (2023)). A boolean array: where it is True. None: all.
    pre, post
        Energies below the pre-edge (at least three) and above the white line, for
        noise and mask. By default all below and above the ranges of the model.
    n_sigma
        See `mask`.
    noise
        Standard deviation of the absorption, where it is known.
    sigma
        Standard deviation of each value, to weight by; the errors are then absolute.
        Without it they follow from the residuals.
    start
        Start values by the names of the result (`edge_energy`, `edge_width`,
        `peak_position`, ...; amplitudes are found by themselves), or an earlier
        result, also of other pixels' mean. By default the best fit of the mean
        spectrum, itself fitted from 64 starts spread over the ranges.
    multistart
        "always", "doubtful" (start again where the fit did not converge, ended at a
        bound, or left more than noise) or "never". By default "always" up to 1000
        spectra, else "doubtful".
    ambiguity
        Solutions with edge energies further apart than three standard errors, between
        which noise could choose (chi2 within the square of this many standard
        deviations), are called ambiguous: the one on the branch of the mean spectrum,
        or of `start`, is given, and flagged.

    Returns
    -------
    xarray.Dataset
        `edge_jump`, `edge_energy`, `edge_width`, `level`, and along `peak`
        `peak_height`, `peak_position`, `peak_width` (half width at half maximum),
        `peak_area` and `normalised_peak_area` (area / jump); each with `_error`, one
        standard deviation from the slopes of the model at the solution (NaN at a
        bound; for position and width of a peak near the noise a tenth too small).
        `chi2`, `r_factor`, `residual_sd`, and `flag` (bits, see its attributes).
        Missing is NaN.

    Raises
    ------
    ArgumentError
        If a range holds too few energies, or the model has too many parameters.
    """
    array = spectra(obj, caller="fit_edge")
    the_edge, the_peaks = as_edge(edge), as_peaks(peaks)
    axis = array.energy.values
    plan = compile_model(axis, the_edge, the_peaks, baseline)
    task = FitTask(array, "energy", "fit_edge", plan, start, noise, multistart)
    if isinstance(mask, str) and mask not in ("pooled", "paper"):
        raise ArgumentError("mask", mask, "'pooled', 'paper', a boolean array or None")
    needed = isinstance(mask, str) or pre is not None or post is not None
    with contextlib.nullcontext() if needed else contextlib.suppress(ArgumentError):
        task.before, task.after = model_windows(axis, the_edge, the_peaks, pre, post)
    pooled = isinstance(mask, str) and mask == "pooled"
    task.prepare(pooled)
    options: dict[str, Any] = {}
    if pooled and task.before is not None and task.after is not None:
        options["threshold"] = n_sigma * task.noise
        options["windows"] = np.stack([task.before, task.after])
    elif isinstance(mask, str):
        options["paper"] = task.before
    fitted = task.run(
        keep=mask if isinstance(mask, xr.DataArray) else None,
        sigma=sigma,
        ambiguity=ambiguity,
        **options,
    )
    result = label_fit(
        fitted, array, task.plan, "energy", the_edge, the_peaks, baseline
    )
    if task.noise:
        result.attrs["noise_sd"] = float(task.noise)
    return result


@recorded
def fit_peaks(
    obj: xr.DataArray | xr.Dataset,
    *,
    peaks: Sequence[Peak | Range],
    baseline: int = 1,
    dim: str = "shift",
    mask: xr.DataArray | None = None,
    sigma: float | xr.DataArray | None = None,
    start: Mapping[str, Any] | xr.Dataset | None = None,
    multistart: str | None = None,
    ambiguity: float = 3.0,
) -> xr.Dataset:
    """Fit bands on a polynomial baseline to every spectrum: Raman, FTIR, pre-edges.

    *Reads once* for the mean spectrum, then *lazy*; altogether lazy with `start`.

    Parameters
    ----------
    obj
        Spectra along `dim`, in any other dimensions (state, polarisation, y, x, ...).
    peaks
        `Peak` objects, or ranges of positions.
    baseline
        Degree of the baseline; -1 for none.
    dim
        The axis: "shift" (1/cm) or "energy" (eV).
    mask
        Fitted is where it is True.
    sigma, start, multistart, ambiguity
        As in `fit_edge`.

    Returns
    -------
    xarray.Dataset
        Along `peak`: `peak_height`, `peak_position`, `peak_fwhm`, `peak_area`; along
        `order`: `baseline`; each with `_error`. `chi2`, `r_factor`, `residual_sd` and
        `flag` as in `fit_edge`.

    Raises
    ------
    ArgumentError
        If there is no peak, or more parameters than points.
    """
    the_peaks = as_peaks(peaks)
    if not the_peaks:
        raise ArgumentError("peaks", peaks, "at least one Peak or range of positions")
    array = spectra(obj, caller="fit_peaks", dim=dim, names=("intensity",))
    plan = compile_model(array[dim].values, None, the_peaks, baseline)
    task = FitTask(array, dim, "fit_peaks", plan, start, None, multistart)
    task.prepare(False)
    fitted = task.run(keep=mask, sigma=sigma, ambiguity=ambiguity)
    result = label_fit(fitted, array, task.plan, dim, None, the_peaks, baseline)
    for name in ("peak_width", "peak_width_error"):  # bands are told by their FWHM
        wide = 2.0 * result[name]
        new = name.replace("width", "fwhm")
        long_name = str(result[name].attrs["long_name"]).replace("Half", "Full", 1)
        result[new] = label(
            wide, new, units=result[name].attrs["units"], long_name=long_name
        )
    return result.drop_vars(["peak_width", "peak_width_error"])
