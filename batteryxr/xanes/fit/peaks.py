"""Bands and reflections on a polynomial baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes.fit.degrees import choose_degree
from batteryxr.xanes.fit.preparation import FitOptions, prepare
from batteryxr.xanes.fit.robust import fit_robustly
from batteryxr.xanes.fit.terms import Terms, as_multistart, as_peaks
from batteryxr.xanes.preparing.inputs import SIGNALS
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from batteryxr.core.checks import Positive
    from batteryxr.xanes.fit.terms import Degree, Multistart, Peak, When
    from batteryxr.xanes.spectra import Range


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

    *Reads once* for the mean spectrum, then *lazy*; altogether lazy with `start`.

    Parameters
    ----------
    spectra
        Spectra along `dim`, in any other dimensions (state, polarisation, y, x, ...).
    peaks
        `Peak` objects, or ranges of positions.
    baseline
        Degree of the baseline; -1 for none. Several degrees: all are fitted, the best
        by Bayes' criterion is given, and the errors hold what the others would say,
        each weighted by how well it fits.
    dim
        The axis: "shift" (1/cm), "energy" (eV), "two_theta" (deg), "q" (1/Angstrom) or
        "d" (Angstrom). Reflections with a K-alpha doublet: `fit_reflections`.
    method
        "robust": points far from the model count little (Tukey's biweight), so that
        rays or foreign lines left in the spectra do not pull the bands.
    mask
        Fitted is where it is True.
    errors, start, multistart
        As in `fit_edge`.

    Returns
    -------
    xarray.Dataset
        Along `peak`: `peak_height`, `peak_position`, `peak_fwhm`, `peak_area`; along
        `order`: `baseline`; each with `_error`. `chi2`, `r_factor`, `residual_sd` and
        `flag` as in `fit_edge`. `outlier_count` where the fit is robust;
        `baseline_degree` and `baseline_weight` (along `degree`) where several were
        asked for: weights near each other say that chi2 does not choose.

    Raises
    ------
    ArgumentError
        If there is no peak.
    DataError
        If the model has more parameters than there are points.

    Examples
    --------
    >>> raman.xanes.fit_peaks(peaks=[(580, 600)], baseline=(1, 2, 3), method="robust")
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
            fits[degree] = fit_robustly(array, terms, options, caller="fit_peaks")
        else:
            fit = prepare(array, terms, options, caller="fit_peaks")
            fits[degree] = fit.apply(array, caller="fit_peaks")
    result = choose_degree(fits, array.sizes[dim])
    for name in ("peak_width", "peak_width_error"):  # bands are told by their FWHM
        wide = 2.0 * result[name]
        new = name.replace("width", "fwhm")
        long_name = str(result[name].attrs["long_name"]).replace("Half", "Full", 1)
        result[new] = label(
            wide, new, units=result[name].attrs["units"], long_name=long_name
        )
    return result.drop_vars(["peak_width", "peak_width_error"])
