"""Test whether spectra are those of a stable cell, by Kramers-Kronig relations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units
from batteryxr.echem.impedance import spectra as reading
from batteryxr.echem.impedance.drift import changes

if TYPE_CHECKING:
    from batteryxr.core.checks import Count, Part

#: Fraction of the threshold above which correlated residuals count: a chain fits most
#: of a drift, so little of it is left.
_PLAIN = 0.1
#: Standard deviations by which a drift is told.
_SURE = 4.0
#: Residual of an outlier, as a multiple of the median (noise: once in 10 million).
_FAR = 5.0
#: Bits of ``kk_flag``.
_FLAGS = {
    "flag_masks": [1, 2, 4, 8, 16, 32],
    "flag_meanings": "inconsistent drifted too_few_points noisy undecided outliers",
}


@recorded
def kramers_kronig(
    spectra: xr.DataArray | xr.Dataset,
    *,
    n_components: Count | None = None,
    threshold: Part = 0.01,
) -> xr.Dataset:
    """Test spectra by the linear Kramers-Kronig relations.

    *Lazy*. A chain of RC elements, with an inductor and a capacitor, fits every
    spectrum of a stable, linear and causal cell, and no other (Boukamp, J.
    Electrochem. Soc. 142, 1885 (1995)). The Bayesian criterion chooses the number of
    elements. Where elements cancel each other, ``mu`` (Schönleber et al., Electrochim.
    Acta 131, 20 (2014)) falls below 0.85.

    Parameters
    ----------
    spectra
        Complex impedance along ``frequency``. With ``point_time`` and ``time``, as
        from `read_impedance`, the change during each spectrum is found from its
        neighbours, if the cell changed evenly from one to the next. Without times, a
        point is taken to last its period, from high to low frequencies; if it was from
        low to high, ``drift`` has the other sign.
    n_components
        Number of RC elements; a spectrum needs two points more. Default: chosen for
        each spectrum.
    threshold
        Residual (root mean square, relative to the modulus) above which a spectrum is
        flagged: as inconsistent if neighbouring residuals are correlated, else as
        noisy. It is also the limit of the change while a spectrum was taken.
        Residuals with a ``correlation`` above 0.35, which noise never has, are
        flagged as inconsistent from a tenth of it on: a chain fits most of a drift.
        A ``drift`` above the threshold, and above four errors, is flagged as drifted.

    Returns
    -------
    xarray.Dataset
        For each frequency ``residual`` (complex, relative to the modulus),
        ``impedance`` (as given) and ``fitted``. For each spectrum ``n_components``,
        ``mu``, ``misfit`` (root mean square residual), ``correlation`` (of
        neighbouring residuals), ``drift`` with ``drift_error`` (growth of the
        impedance while it was taken, from the spectrum itself), ``change`` (largest
        change of the impedance while it was taken, relative to the modulus, from the
        neighbours; where times are known) and ``kk_flag``: inconsistent, drifted, too
        few points, noisy, undecided (the residual is above the threshold, and with as
        many elements as there are points for, or alternates from point to point: a
        process between sparse points looks like noise or an inconsistency), outliers
        (a ``residual`` is above the threshold and above five times the median, and
        the spectrum is neither inconsistent nor undecided).

    Raises
    ------
    DimensionError, VariableError, UnitsError, DataError
        If the input is no impedance.

    See Also
    --------
    correct_drift : return spectra with all points at one time.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> test = spectra.echem.kramers_kronig()
    >>> list(test.data_vars)[:4]
    ['residual', 'impedance', 'fitted', 'n_components']
    """
    from batteryxr.echem.impedance.kernels import linear

    array = reading.as_impedance(spectra, caller="kramers_kronig")
    fitted, residual, count, mu = blocks.apply(
        linear.test,
        array,
        core_dims=[["frequency"]],
        output_dims=[["frequency"], ["frequency"], [], []],
        dtypes=[complex, complex, np.int32, float],
        caller="kramers_kronig",
        omega=reading.omega_of(array),
        number=n_components or 0,
    )
    size = abs(residual)
    misfit = np.sqrt((size**2).mean("frequency"))
    correlation = blocks.apply(
        linear.correlation,
        residual,
        core_dims=[["frequency"]],
        dtypes=[float],
        caller="kramers_kronig",
        omega=reading.omega_of(array),
    )
    flag = xr.where(
        misfit > threshold, xr.where(correlation > linear.SYSTEMATIC, 1, 8), 0
    )
    # At the most elements, or alternating: a process may lie between the points.
    most = array.notnull().sum("frequency") - linear.LESS
    short = (count >= most) & (n_components is None)
    short |= correlation < -2 * linear.SYSTEMATIC
    flag = xr.where((misfit > threshold) & short, 16, flag)
    plain = (correlation > linear.NO_NOISE) & (misfit > _PLAIN * threshold)
    flag = xr.where(plain & (flag != 16), 1, flag)
    usual = size.where(size.notnull().any("frequency"), 0.0).median("frequency")
    limit = np.maximum(_FAR * usual, threshold)
    far = (size > limit).any("frequency") & ((flag & 17) == 0)
    flag = flag | xr.where(far, 32, 0)
    found: dict[str, xr.DataArray] = {
        "residual": reading.named(residual, "1", "Residual, of the modulus"),
        "impedance": reading.measured_in(array),
        "fitted": reading.named(fitted, "ohm", "Impedance of the chain"),
        "n_components": reading.named(count, "1", "Number of RC elements"),
        "mu": reading.named(mu, "1", "Share of positive resistances"),
        "misfit": reading.named(misfit, "1", "Residual, of the modulus, rms"),
        "correlation": reading.named(correlation, "1", "Of residuals side by side"),
    }
    grown, sd = _drift(spectra, array, fitted, count)
    found |= {"drift": grown, "drift_error": sd}
    told = (abs(grown) > threshold) & (abs(grown) > _SURE * sd)
    change = changes(spectra)
    if change is not None:
        told = told | (change > threshold)
        found["change"] = reading.named(change, "1", "Change while taken, of |Z|")
    flag = xr.where(count == 0, 4, flag | xr.where(told, 2, 0)).astype(np.int8)
    found["kk_flag"] = reading.named(
        flag, "1", "What is odd about the spectrum", **_FLAGS
    )
    result = xr.Dataset({n: v.reset_coords(drop=True) for n, v in found.items()})
    coords = reading.kept_coords(spectra) | {"frequency": array["frequency"].variable}
    return result.assign_coords(coords).assign_attrs(threshold=threshold)


def _drift(
    spectra: xr.DataArray | xr.Dataset,
    array: xr.DataArray,
    fitted: xr.DataArray,
    count: xr.DataArray,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the growth of each spectrum while it was taken, and one sd of it."""
    from batteryxr.echem.impedance.kernels import linear

    grown, sd = blocks.apply(
        linear.drift,
        array,
        fitted,
        count,
        _elapsed(spectra, array),
        core_dims=[["frequency"], ["frequency"], [], ["frequency"]],
        output_dims=[[], []],
        dtypes=[float, float],
        caller="kramers_kronig",
        omega=reading.omega_of(array),
    )
    words = "Growth while the spectrum was taken, of the impedance"
    error = reading.named(sd, "1", f"{words}, one sd")
    return reading.named(grown, "1", words), error


def _elapsed(spectra: xr.DataArray | xr.Dataset, array: xr.DataArray) -> xr.DataArray:
    """Return the time of each point (s); NaN where it is unknown."""
    if isinstance(spectra, xr.Dataset) and "point_time" in spectra.variables:
        times = in_units(spectra["point_time"], "s", caller="kramers_kronig")
        if "frequency" in times.dims:
            return times.drop_vars("frequency", errors="ignore").assign_coords(
                frequency=array["frequency"]
            )
    unknown = np.full(array.sizes["frequency"], np.nan)
    return xr.DataArray(unknown, {"frequency": array["frequency"]}, ["frequency"])
