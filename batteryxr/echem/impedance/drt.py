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
from batteryxr.echem.impedance.kernels import (
    arc_fits,
    arcs,
    distribution,
    relaxation_peaks,
)

if TYPE_CHECKING:
    from batteryxr.core.checks import Part, Positive

#: Relaxation times per decade, and decades beyond those of the frequencies.
_PER_DECADE, _BEYOND = 12, 0.7
_FLAGS = {
    "flag_masks": [1, 2, 4, 8],
    "flag_meanings": "not_converged too_few_points misfit unfinished",
}
#: Exponents of the term for processes slower than the range; the first one is
#: preferred, 0 is none.
_KINDS = {
    "auto": (0.0, *distribution.EXPONENTS),
    "conducting": (0.0,),
    "blocking": (1.0,),
    "diffusing": (0.5,),
}
#: Exponents of slower processes (0: any), and forms of the slowest one, that are tried.
_SLOWEST = {
    "auto": ((0.5, 1.0, 0.0), (arcs.SHORT, arcs.OPEN)),
    "conducting": ((), (arcs.SHORT,)),
    "blocking": ((1.0,), (arcs.OPEN,)),
    "diffusing": ((0.5,), ()),
}
#: Types of flag, exponent and whether a peak is sharp.
_TOLD = np.int8, float, np.int8
_TAU = {"units": "s", "long_name": "Relaxation time"}
_NO_ARCS = {
    "units": "1",
    "long_name": "What is odd about the peaks",
    "flag_masks": [1, 2, 4],
    "flag_meanings": "of_the_smoothed_distribution ambiguous poorly_determined",
}
_SMOOTHED, _AMBIGUOUS, _POOR = 1, 2, 4
#: Error of ln tau, and of an area relative to it, above which a peak is told.
_COARSE = 0.1
_SHAPES = {
    "units": "1",
    "long_name": "Shape of the peak",
    "flag_values": [0, 1, 2, 3, 4, 5],
    "flag_meanings": "none arc skewed gerischer_like warburg_short warburg_open",
}


@recorded
def drt(
    spectra: xr.DataArray | xr.Dataset,
    *,
    method: Literal[
        "l_curve", "discrepancy", "cross_validation", "evidence"
    ] = "l_curve",
    smoothing: Positive | None = None,
    kind: Literal["auto", "conducting", "blocking", "diffusing"] = "auto",
) -> xr.Dataset:
    """Return the distribution of relaxation times of every spectrum.

    *Lazy*. Tikhonov's method finds the smoothest distribution (second differences over
    ln τ) that fits and is nowhere negative. A resistance and an inductance are fitted
    too, and what is slower than the range: 1/(Q (jω)ⁿ).

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
        What the lowest frequencies lead to: "conducting", a resistance (no term beside
        the distribution); "blocking", a capacitor (n = 1), as behind diffusion into
        particles; "diffusing", an infinite Warburg element (n = 1/2). "auto":
        conducting where that fits and little is slower than the range, else what is
        most likely, with any n from 1/2 to 1.

    Returns
    -------
    xarray.Dataset
        ``gamma`` (ohm per unit of ln τ) on ``tau`` (s); ``gamma_low`` and
        ``gamma_high``, the 95 % credible band. The band is widened by what smoothing
        takes from tops and adds beside them, and by the height of depressed arcs where
        these fit the spectrum to its noise. Further ``resistance``, ``inductance``,
        ``slow_Q`` and ``slow_n`` (NaN where there is no such term), ``capacitance`` if
        blocking; ``polarisation`` (ohm), the integral; ``impedance`` (as given),
        ``fitted``, ``residual`` (relative to the modulus), ``smoothing``, ``sharp`` (1
        where "evidence" was taken in place of `method`) and ``drt_flag``: not
        converged, too few points, misfit (residuals above twice the noise, as for a
        spectrum that is inductive at low frequencies), unfinished (what is below the
        lowest frequency decides: more than 5 % of the polarisation is slower, or two
        kinds fit, as with diffusion into a large particle; shares, and peaks near the
        end, are of the range and not of the cell).

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
    grids = distribution.bases(omega, log_tau, _KINDS[kind])
    search = distribution.Regularisation(
        "given" if smoothing else method, smoothing or 0.0
    )
    over = ["tau"]
    found = blocks.apply(
        distribution.distributions,
        array,
        core_dims=[["frequency"]],
        output_dims=[over, over, over, ["beside"], ["frequency"], [], [], [], [], []],
        output_sizes={"tau": log_tau.size, "beside": distribution.EXTRA},
        dtypes=[float, float, float, float, complex, float, float, *_TOLD],
        caller="drt",
        grids=grids,
        search=search,
        omega=omega,
    )
    gamma, low, high, beside, fitted, strength, rms, flag, slow, sharp = found
    resistance, inductance, inverse = (beside.isel(beside=k) for k in range(3))
    words = "Distribution of relaxation times"
    whole = gamma.sum("tau", skipna=False) * step
    slow = slow.where(inverse > 0)
    variables = {
        "gamma": reading.named(gamma, "ohm", words),
        "gamma_low": reading.named(low, "ohm", f"{words}, lower bound"),
        "gamma_high": reading.named(high, "ohm", f"{words}, upper bound"),
        "polarisation": reading.named(whole, "ohm", "Polarisation"),
        "resistance": reading.named(resistance, "ohm", "Resistance at high frequency"),
        "inductance": reading.named(inductance, "H", "Inductance"),
        "slow_Q": reading.named(
            (1.0 / inverse).where(inverse > 0), "ohm-1 s^n", "Slower processes, Q"
        ),
        "slow_n": reading.named(slow, "1", "Slower processes, exponent"),
        "impedance": reading.measured_in(array),
        "fitted": reading.named(
            fitted.transpose(*array.dims), "ohm", "Fitted impedance"
        ),
        "residual": reading.named(rms, "1", "What is left, of the modulus, rms"),
        "smoothing": reading.named(strength, "1", "Regularisation"),
        "sharp": reading.named(sharp, "1", "Least smoothing taken for a sharp peak"),
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
        _warn(result["drt_flag"].values, kind)
    return result


def _warn(flags: np.ndarray, kind: str) -> None:
    mend = "drt_peaks gives the processes inside it, which do not depend on that end"
    if kind == "auto":
        mend = "kind='blocking' or 'diffusing' names what follows"
    words = "leave more than twice the noise: no distribution is like them"
    if odd := int((flags & distribution.MISFIT > 0).sum()):
        warn_quality(f"drt: {odd} of {flags.size} spectra {words}. See drt_flag.")
    if odd := int((flags & distribution.UNFINISHED > 0).sum()):
        warn_quality(
            f"drt: {odd} of {flags.size} spectra go on below their lowest frequency, "
            "and do not tell how: the slow end of the distribution is that of the "
            f"range. {mend}. See drt_flag."
        )


@recorded
def drt_peaks(result: xr.Dataset, *, prominence: Part = 0.1) -> xr.Dataset:
    """Return the peaks of distributions of relaxation times, followed along a series.

    The data are read once. The peaks tell where to begin, and one arc for each is
    fitted to the spectrum: R/(1 + (jωτ)ⁿ)ᵇ, depressed (b = 1) or skewed, as of a
    Gerischer element (n = 1, b = 1/2). The slowest may be a Warburg element of finite
    length instead: the ladder of peaks of one is one process here, placed at its
    largest (0.405 τ short, 0.101 τ open), with all of its resistance (open: R/3, that
    in series with its capacitor). The Bayesian criterion chooses their number and
    shapes. Where they fit the spectrum to its noise, they give place and area, with
    errors, which hold how far others that are as likely differ. Elsewhere the
    distribution gives them: its peaks are separated by shapes of arcs, and each takes
    the share of its shape where two overlap. A peak of another shape is placed at its
    top. In the next spectrum the same peak is the nearest one, within a factor of 4.5
    in time.

    The top of a Gerischer element is its τ, where its distribution is infinite. A
    smooth distribution has its top at a shorter time, by up to a half: take the place
    from here, not from a plot.

    Noise sets a bound (Cramér-Rao) that these fits reach: of two arcs of 10 and 8 ohm,
    1.5 decades apart, 71 frequencies place the lesser one within 0.3 % in noise of
    0.1 %, 1.3 % in 0.5 % and 2.7 % in 1 %, and its area within 0.2, 0.9 and 1.8 %.
    Of three a decade apart (10, 6 and 8 ohm) it leaves the middle area an error of 28 %
    in noise of 0.5 %: that is poorly determined, even where it is right by chance.
    Arcs that are nearer may be one to the data, which no flag tells: of 8 and 4 ohm, a
    factor of five apart, in noise of 1 %, they are one of n = 0.76 beside a third arc.

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
        ``area_error``, one standard deviation; NaN where nothing fits.
        ``peak_shape``: arc, skewed, gerischer_like (skewed with n = 1), warburg_short,
        warburg_open, or none. On ``spectrum``: ``n_peaks``, and ``peak_flag``: of the
        smoothed distribution (nothing fits: places and areas are off by some per cent),
        or ambiguous (another number or other shapes fit as well; or an arc is broad, n
        below 0.7, or skewed and no Gerischer element, as two that overlap look like
        one), or poorly determined (an error of a place or an area above 10 %, as where
        arcs overlap: see which in ``position_error`` and ``area_error``).

    Raises
    ------
    DimensionError, VariableError
        If the input is no result of `drt`.

    Warns
    -----
    DataQualityWarning
        If no arcs fit some of the spectra, two numbers of them fit, or errors of a
        place or an area are above 10 %.

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
        else arcs.peaks_of(one, g, log_tau)
        for g, one in zip(gamma.values, found, strict=True)
    ]
    flag = np.array(
        [
            _AMBIGUOUS * one.ambiguous if one is not None else _SMOOTHED * bool(peaks)
            for one, peaks in zip(found, series, strict=True)
        ],
        np.int8,
    )
    table = relaxation_peaks.followed(series)
    errors = np.stack([table[..., 4], table[..., 5] / table[..., 2]])
    flag |= (_POOR * (errors > _COARSE).any(axis=(0, 2))).astype(np.int8)
    _warn_of_peaks(flag, errors)
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
        "peak_shape": (on, np.nan_to_num(table[..., 6]).astype(np.int8), _SHAPES),
        "peak_flag": ("spectrum", flag, _NO_ARCS),
    }
    coords = {n: c for n, c in reading.kept_coords(result).items() if n != "tau"}
    coords["peak"] = xr.Variable("peak", np.arange(1, table.shape[1] + 1))
    return xr.Dataset(variables, coords).assign_attrs(prominence=prominence)


def _warn_of_peaks(flag: np.ndarray, errors: np.ndarray) -> None:
    if smoothed := int((flag & _SMOOTHED > 0).sum()):
        warn_quality(
            f"drt_peaks: no arcs fit {smoothed} of {flag.size} spectra: places "
            "and areas are those of a smoothed distribution, off by some per cent. "
            "fit_circuit fits a circuit that you name. See peak_flag."
        )
    if unsure := int((flag & _AMBIGUOUS > 0).sum()):
        warn_quality(
            f"drt_peaks: in {unsure} of {flag.size} spectra another number or "
            "other shapes of processes fit as well, or one may be two. See peak_flag."
        )
    if poor := int((flag & _POOR > 0).sum()):
        place, area = np.nanmax(errors, axis=(1, 2))
        warn_quality(
            f"drt_peaks: in {poor} of {flag.size} spectra a place or an area has an "
            f"error above {_COARSE:.0%} (one sd): of places up to {place:.0%}, of "
            f"areas up to {area:.0%}. Processes overlap, or the noise is large for "
            "them. See peak_flag, position_error and area_error."
        )


def _arcs(
    result: xr.Dataset, gamma: np.ndarray, log_tau: np.ndarray, least: float
) -> list[arcs.Arcs | None]:
    """Return the arcs of each spectrum; None where arcs do not fit it."""
    wanted = ("impedance", "resistance", "inductance", "slow_Q", "slow_n")
    if any(name not in result for name in wanted):
        return [None] * len(gamma)
    array = reading.as_impedance(result, caller="drt_peaks")
    (z,) = blocks.compute(array.transpose("spectrum", "frequency"))
    resistance, inductance, q, n = blocks.compute(*(result[k] for k in wanted[1:]))
    columns = resistance, inductance, 1.0 / q, n
    terms = np.nan_to_num(np.column_stack([one.values for one in columns]))
    omega = reading.omega_of(array)
    data = arc_fits.NoisySpectra(z.values, omega, arc_fits.noise_of(z.values, omega))
    tails, finite = _SLOWEST[result.attrs.get("kind", "auto")]
    beside = arc_fits.BesideArcs(terms, tails, finite)
    return arc_fits.likeliest(data, (gamma, log_tau, least), beside)
