"""Whether spectra can be those of a cell that stayed as it was: Kramers-Kronig."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.provenance import recorded
from batteryxr.echem.impedance import spectra as reading
from batteryxr.echem.impedance.drift import changes

if TYPE_CHECKING:
    from batteryxr.core.checks import Count, Part

#: Share of the threshold from which residuals count that cannot be noise: a chain fits
#: most of a drift.
_PLAIN = 0.1
#: Bits of ``kk_flag``.
_FLAGS = {
    "flag_masks": [1, 2, 4, 8],
    "flag_meanings": "inconsistent drifted too_few_points noisy",
}


@recorded
def kramers_kronig(
    spectra: xr.DataArray | xr.Dataset,
    *,
    n_components: Count | None = None,
    threshold: Part = 0.01,
) -> xr.Dataset:
    """Test spectra by the linear Kramers-Kronig relations.

    *Lazy*. A chain of RC elements, with an inductor and a capacitor, fits whatever a
    stable, linear and causal cell can show, and nothing else (Boukamp, J. Electrochem.
    Soc. 142, 1885 (1995)). How many elements is chosen by the Bayesian criterion; where
    they cancel each other, ``mu`` (Schönleber et al., Electrochim. Acta 131, 20 (2014))
    falls below 0.85.

    Parameters
    ----------
    spectra
        Complex impedance along ``frequency``; with ``point_time`` and ``time``, as
        `read_impedance` gives them, what changed while a spectrum was taken is known
        from its neighbours, if the cell changed evenly from one to the next.
    n_components
        Number of RC elements; a spectrum must have two points more. Default: chosen
        for each.
    threshold
        Residual (root mean square, of the modulus) above which a spectrum is flagged,
        as inconsistent where residuals side by side are alike, else as noisy; and
        change while it was taken. Residuals that no noise has (``correlation`` above
        0.35) are inconsistent from a tenth of it on: a chain fits most of a drift.

    Returns
    -------
    xarray.Dataset
        For each frequency ``residual`` (complex, of the modulus), ``impedance`` (as it
        came) and ``fitted``; for each spectrum ``n_components``, ``mu``, ``misfit``
        (root mean square of the
        residuals), ``correlation`` (of residuals side by side), ``change`` (largest
        change of the impedance while it was taken, of the modulus; where times are
        known) and ``kk_flag``: inconsistent, drifted, noisy.

    Raises
    ------
    DimensionError, VariableError, UnitsError, DataError
        If it is no impedance.

    See Also
    --------
    correct_drift : spectra as they were at one time.

    Examples
    --------
    Keep what can be trusted::

        test = spectra.echem.kramers_kronig(threshold=0.01)
        sound = spectra.isel(spectrum=test["kk_flag"].values == 0)
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
    misfit = np.sqrt((abs(residual) ** 2).mean("frequency"))
    correlation = blocks.apply(
        linear.correlation,
        residual,
        core_dims=[["frequency"]],
        dtypes=[float],
        caller="kramers_kronig",
        omega=reading.omega_of(array),
    )
    # Noise differs from one frequency to the next; what no cell can do goes on.
    flag = xr.where(
        misfit > threshold, xr.where(correlation > linear.SYSTEMATIC, 1, 8), 0
    )
    plain = (correlation > linear.NO_NOISE) & (misfit > _PLAIN * threshold)
    flag = xr.where(plain, 1, flag)
    found: dict[str, xr.DataArray] = {
        "residual": reading.named(residual, "1", "Residual, of the modulus"),
        "impedance": reading.measured_in(array),
        "fitted": reading.named(fitted, "ohm", "Impedance of the chain"),
        "n_components": reading.named(count, "1", "Number of RC elements"),
        "mu": reading.named(mu, "1", "Share of positive resistances"),
        "misfit": reading.named(misfit, "1", "Residual, of the modulus, rms"),
        "correlation": reading.named(correlation, "1", "Of residuals side by side"),
    }
    change = changes(spectra)
    if change is not None:
        flag = flag | xr.where(change > threshold, 2, 0)
        words = "Change while the spectrum was taken, of the modulus"
        found["change"] = reading.named(change, "1", words)
    flag = xr.where(count == 0, 4, flag).astype(np.int8)
    found["kk_flag"] = reading.named(
        flag, "1", "What is odd about the spectrum", **_FLAGS
    )
    result = xr.Dataset({n: v.reset_coords(drop=True) for n, v in found.items()})
    coords = reading.kept_coords(spectra) | {"frequency": array["frequency"].variable}
    return result.assign_coords(coords).assign_attrs(threshold=threshold)
