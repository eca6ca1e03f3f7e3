"""Compute distributions of relaxation times for a series of impedance spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import warn_quality
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.echem.impedance import spectra as reading
from batteryxr.echem.impedance.kernels import arcs, distribution, relaxation_peaks

if TYPE_CHECKING:
    from batteryxr.core.checks import Part, Positive

#: Relaxation times per decade, and decades beyond those of the frequencies.
_PER_DECADE, _BEYOND = 12, 0.7
_UNFINISHED = 8
_FLAGS = {
    "flag_masks": [1, 2, 4, _UNFINISHED],
    "flag_meanings": "not_converged too_few_points misfit unfinished",
}
#: Share of the polarisation that may be slower than the lowest frequency.
_SLOWER = 0.05
_TAU = {"units": "s", "long_name": "Relaxation time"}
_NO_ARCS = {
    "units": "1",
    "long_name": "What is odd about the peaks",
    "flag_masks": [1],
    "flag_meanings": "of_the_smoothed_distribution",
}


@recorded
def drt(
    spectra: xr.DataArray | xr.Dataset,
    *,
    method: Literal[
        "l_curve", "discrepancy", "cross_validation", "evidence"
    ] = "l_curve",
    smoothing: Positive | None = None,
    kind: Literal["conducting", "blocking"] = "conducting",
) -> xr.Dataset:
    """Return the distribution of relaxation times of every spectrum.

    *Lazy*. Tikhonov's method finds the smoothest distribution (second differences over
    ln τ) that fits and is nowhere negative. A resistance and an inductance are fitted
    too.

    Parameters
    ----------
    spectra
        Complex impedance along ``frequency``; NaN where there is no point.
    method
        Rule for the smoothness: "l_curve" (where more smoothing begins to cost
        misfit), "discrepancy" (as smooth as the noise allows), "cross_validation"
        (robust generalised) or "evidence" (the most likely; follows noise the most).
        Where the first three leave a misfit that "evidence" does not, as for the sharp
        peak of a capacitor, it is taken: see ``smoothing``.
    smoothing
        The regularisation itself, in place of `method`: a number such as the result
        has under this name.
    kind
        "blocking" adds a capacitor, for spectra that rise at low frequencies.

    Returns
    -------
    xarray.Dataset
        ``gamma`` (ohm per unit of ln τ) on ``tau`` (s); ``gamma_low`` and
        ``gamma_high``, the 95 % credible band. The band is widened by what smoothing
        takes from tops and adds beside them, and by the height of depressed arcs where
        these fit the spectrum to its noise. Further ``resistance`` and
        ``inductance``, ``capacitance`` if blocking; ``polarisation`` (ohm), the
        integral; ``impedance`` (as given), ``fitted``, ``residual`` (relative to the
        modulus), ``smoothing`` and ``drt_flag``: not converged, too few points, misfit
        (residuals above twice the noise, as for a spectrum that is inductive at low
        frequencies), unfinished (more than 5 % of the polarisation is slower than the
        lowest frequency, as diffusion into a large particle: its share, and peaks
        near the end, are of the range and not of the cell; `fit_circuit` has a
        Warburg element for it).

    Raises
    ------
    DimensionError, VariableError, UnitsError, DataError
        If the input is no impedance.

    Warns
    -----
    DataQualityWarning
        If distributions do not fit, unless the data are lazy.

    See Also
    --------
    drt_peaks : return positions and areas of peaks along the series.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> distribution = spectra.echem.drt()
    >>> distribution["gamma"].dims
    ('spectrum', 'tau')
    """
    array = reading.as_impedance(spectra, caller="drt")
    omega = reading.omega_of(array)
    beyond, step = _BEYOND * np.log(10), np.log(10) / _PER_DECADE
    first, last = -np.log(omega.max()) - beyond, -np.log(omega.min()) + beyond
    log_tau = np.arange(first, last + step, step)
    grid = distribution.basis(omega, log_tau, blocking=kind == "blocking")
    search = distribution.Regularisation(
        "given" if smoothing else method, smoothing or 0.0
    )
    over = ["tau"]
    found = blocks.apply(
        distribution.distributions,
        array,
        core_dims=[["frequency"]],
        output_dims=[over, over, over, ["beside"], ["frequency"], [], [], []],
        output_sizes={"tau": log_tau.size, "beside": distribution.EXTRA},
        dtypes=[float, float, float, float, complex, float, float, np.int8],
        caller="drt",
        grid=grid,
        search=search,
        omega=omega,
    )
    gamma, low, high, beside, fitted, strength, rms, flag = found
    resistance, inductance, inverse = (beside.isel(beside=k) for k in range(3))
    words = "Distribution of relaxation times"
    whole = gamma.sum("tau", skipna=False) * step
    slower = gamma.isel(tau=log_tau > -np.log(omega.min())).sum("tau") * step
    unfinished = (flag == 0) & (slower > _SLOWER * whole)
    flag = flag + unfinished.astype(np.int8) * np.int8(_UNFINISHED)
    variables = {
        "gamma": reading.named(gamma, "ohm", words),
        "gamma_low": reading.named(low, "ohm", f"{words}, lower bound"),
        "gamma_high": reading.named(high, "ohm", f"{words}, upper bound"),
        "polarisation": reading.named(whole, "ohm", "Polarisation"),
        "resistance": reading.named(resistance, "ohm", "Resistance at high frequency"),
        "inductance": reading.named(inductance, "H", "Inductance"),
        "impedance": reading.measured_in(array),
        "fitted": reading.named(
            fitted.transpose(*array.dims), "ohm", "Fitted impedance"
        ),
        "residual": reading.named(rms, "1", "What is left, of the modulus, rms"),
        "smoothing": reading.named(strength, "1", "Regularisation"),
        "drt_flag": reading.named(
            flag, "1", "What is odd about the distribution", **_FLAGS
        ),
    }
    if kind == "blocking":
        variables["capacitance"] = reading.named(
            1.0 / inverse, "F", "Blocking capacitance"
        )
    coords: dict[str, Any] = {"tau": ("tau", np.exp(log_tau), _TAU)}
    result = xr.Dataset({n: v.reset_coords(drop=True) for n, v in variables.items()})
    result = result.assign_coords(coords | reading.kept_coords(spectra))
    result.attrs = {"method": "given" if smoothing else method, "kind": kind}
    if not blocks.is_lazy(result):
        _warn(result["drt_flag"].values)
    return result


def _warn(flags: np.ndarray) -> None:
    words = "leave more than twice the noise: no distribution is like them"
    if odd := int((flags & distribution.MISFIT > 0).sum()):
        warn_quality(f"drt: {odd} of {flags.size} spectra {words}. See drt_flag.")
    if odd := int((flags & _UNFINISHED > 0).sum()):
        warn_quality(
            f"drt: {odd} of {flags.size} spectra go on below their lowest frequency: "
            "the slow end of the distribution is cut there. kind='blocking' or "
            "fit_circuit with a Warburg element has a term for it. See drt_flag."
        )


@recorded
def drt_peaks(result: xr.Dataset, *, prominence: Part = 0.1) -> xr.Dataset:
    """Return the peaks of distributions of relaxation times, followed along a series.

    The data are read once. The peaks give the number of processes, and one arc for each
    is fitted to the spectrum: R/(1 + (jωτ)ⁿ)ᵇ, depressed (b = 1) or skewed, as of a
    Gerischer element (n = 1, b = 1/2). Where arcs fit it to its noise, they give place
    and area, with errors. Elsewhere (Warburg) the distribution gives them: its peaks
    are separated by shapes of arcs, and each takes the share of its shape where two
    overlap. A peak of another shape is placed at its top. In the next spectrum the
    same peak is the nearest one, within a factor of 4.5 in time.

    The top of a Gerischer element is its τ, where its distribution is infinite. A
    smooth distribution has its top at a shorter time, by up to a half: take the place
    from here, not from a plot.

    Parameters
    ----------
    result
        Result of `drt`, on ``spectrum``.
    prominence
        Height of a peak above its valleys, as a fraction of the largest peak, at least.

    Returns
    -------
    xarray.Dataset
        On (``spectrum``, ``peak``), from fast to slow: ``position`` (s, of the top),
        ``centre`` (s, the mean of ln τ), ``area`` (ohm) and ``height`` (ohm, of the
        distribution); NaN where a spectrum has no such peak. ``position_error`` and
        ``area_error``, one standard deviation, for arcs; NaN for other peaks.
        On ``spectrum``: ``n_peaks``, and ``peak_flag``, 1 where no arcs fit: places
        and areas are then those of a smoothed distribution, off by some per cent.

    Raises
    ------
    DimensionError, VariableError
        If the input is no result of `drt`.

    Warns
    -----
    DataQualityWarning
        If no arcs fit some of the spectra.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> peaks = spectra.echem.drt().echem.drt_peaks()
    >>> list(peaks.dims)
    ['spectrum', 'peak']
    """
    require_variables(result, ("gamma", "tau"), caller="drt_peaks")
    require_dims(result, ("spectrum", "tau"), caller="drt_peaks")
    log_tau = np.log(in_units(result["tau"], "s", caller="drt_peaks").values)
    (gamma,) = blocks.compute(result["gamma"].transpose("spectrum", "tau"))
    found = _arcs(result, gamma.values, log_tau, prominence)
    series = [
        relaxation_peaks.peaks_of(g, log_tau, prominence)
        if one is None
        else arcs.peaks_of(one, g, relaxation_peaks.tops_of(g, prominence), log_tau)
        for g, one in zip(gamma.values, found, strict=True)
    ]
    smoothed = np.array(
        [one is None and len(p) > 0 for one, p in zip(found, series, strict=True)]
    )
    if smoothed.any():
        warn_quality(
            f"drt_peaks: no arcs fit {int(smoothed.sum())} of {smoothed.size} spectra, "
            "as with diffusion into a layer: places and areas are those of a smoothed "
            "distribution, off by some per cent. fit_circuit has Warburg elements. See "
            "peak_flag."
        )
    table = relaxation_peaks.followed(series)
    on = ("spectrum", "peak")
    variables: dict[str, Any] = {
        "position": (
            on,
            np.exp(table[..., 0]),
            _TAU | {"long_name": "Top of the peak"},
        ),
        "centre": (on, np.exp(table[..., 1]), _TAU | {"long_name": "Mean of the peak"}),
        "area": (on, table[..., 2], {"units": "ohm", "long_name": "Resistance"}),
        "height": (
            on,
            table[..., 3],
            {"units": "ohm", "long_name": "Height of the peak"},
        ),
        "position_error": (
            on,
            np.exp(table[..., 0]) * table[..., 4],
            _TAU | {"long_name": "Top of the peak, one sd"},
        ),
        "area_error": (
            on,
            table[..., 5],
            {"units": "ohm", "long_name": "Resistance, one sd"},
        ),
        "n_peaks": (
            "spectrum",
            np.array([len(peaks) for peaks in series]),
            {"units": "1", "long_name": "Number of peaks"},
        ),
        "peak_flag": ("spectrum", smoothed.astype(np.int8), _NO_ARCS),
    }
    coords = {n: c for n, c in reading.kept_coords(result).items() if n != "tau"}
    coords["peak"] = xr.Variable("peak", np.arange(1, table.shape[1] + 1))
    return xr.Dataset(variables, coords).assign_attrs(prominence=prominence)


def _arcs(
    result: xr.Dataset, gamma: np.ndarray, log_tau: np.ndarray, least: float
) -> list[arcs.Arcs | None]:
    """Return the arcs of each spectrum; None where arcs do not fit it."""
    wanted = ("impedance", "resistance", "inductance")
    if any(name not in result for name in wanted):
        return [None] * len(gamma)
    array = reading.as_impedance(result, caller="drt_peaks")
    (z,) = blocks.compute(array.transpose("spectrum", "frequency"))
    inverse = 1.0 / result["capacitance"] if "capacitance" in result else 0.0
    beside = blocks.compute(
        result["resistance"], result["inductance"], inverse + 0.0 * result["resistance"]
    )
    omega = reading.omega_of(array)
    terms = np.column_stack([one.values for one in beside])
    noise = arcs.noise_of(z.values, omega)
    starts = arcs.starts(gamma, log_tau, least)
    plain = arcs.fitted(z.values, omega, starts, terms, noise)
    return arcs.skewed(z.values, omega, (gamma, log_tau, least), terms, plain)
