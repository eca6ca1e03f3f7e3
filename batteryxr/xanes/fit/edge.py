"""Fit the edge model at every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from batteryxr.core.provenance import recorded
from batteryxr.xanes.fit.preparation import FitOptions, prepare
from batteryxr.xanes.fit.terms import Terms, as_edge, as_multistart, as_peaks
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from batteryxr.core.checks import NonNegative, Positive
    from batteryxr.xanes.fit.terms import Degree, Edge, Multistart, Peak, When
    from batteryxr.xanes.spectra import Range


@recorded
def fit_edge(
    spectra: xr.DataArray | xr.Dataset,
    *,
    edge: Edge | Range,
    peaks: Peak | Range | Sequence[Peak | Range] = (),
    baseline: Degree = 0,
    mask: Literal["pooled", "paper"] | xr.DataArray | None = "pooled",
    pre: Range | None = None,
    post: Range | None = None,
    threshold: NonNegative = 5.0,
    noise: NonNegative | None = None,
    errors: Positive | xr.DataArray | None = None,
    start: Mapping[str, Any] | xr.Dataset | None = None,
    multistart: When | Multistart | None = None,
) -> xr.Dataset:
    """Fit an edge under peaks to every spectrum.

    μt(E) = a + (b1 / 2) {1 + erf[(E - b2) / b3]} + Σ c_i1 / {1 + [(E - c_i2) / c_i3]²}

    *Reads once* for the noise and the mean spectrum, then *lazy*. It is fully lazy
    with `start`, and with `noise` or your own mask.

    Parameters
    ----------
    spectra
        Absorption along `energy`, in any other dimensions: a spectrum, a series, a
        stack.
    edge
        An `Edge`, or the range of its energy in eV.
    peaks
        `Peak` objects, or ranges of their positions in eV: pre-edge, white line, ...
    baseline
        Degree of the polynomial under all terms; 0 is the constant a, -1 none.
    mask
        Pixels that are fitted. "pooled" (default): those whose step over the edge
        exceeds `threshold` times the noise common to all. "paper": all are fitted, then
        a jump below the pixel's own noise is masked (Uematsu et al., PCCP 25, 3867
        (2023)). A boolean array: where it is True. None: all.
    pre, post
        Energies below the pre-edge (at least three) and above the white line, for
        noise and mask. Default: all below and above the ranges of the model.
    threshold
        Threshold of the mask, in standard deviations of the noise.
    noise
        Standard deviation of the absorption, if known.
    errors
        Standard deviation of each value, used as weight; the errors of the result are
        then absolute. Default: `absorption_error` of a Dataset if it has one for every
        value, such as from `ptycho_energies(halves=True)`. Without it the errors
        follow from the residuals.
    start
        Initial guess by the names of the result (`edge_energy`, `edge_width`,
        `peak_position`, ...; amplitudes are found automatically), or an earlier
        result, also of the pixels' mean. Default: the best fit of the mean spectrum,
        itself fitted from 64 guesses spread over the ranges.
    multistart
        "always", "doubtful" (start again if the fit did not converge, ended at a
        bound, or left more than noise) or "never". Default: "always" up to 1000
        spectra, else "doubtful". A `Multistart` also sets when two solutions are
        ambiguous: their edge energies differ by more than three standard errors, and
        their chi2 by less than three standard deviations of the noise, or by less than
        a factor of two if more than noise is left (the model is wrong). The solution
        on the branch of the mean spectrum, or of `start`, is given, and flagged.

    Returns
    -------
    xarray.Dataset
        `edge_jump`, `edge_energy`, `edge_width`, `level`, and along `peak`
        `peak_height`, `peak_position`, `peak_width` (half width at half maximum),
        `peak_area` and `normalised_peak_area` (area / jump). Each has `_error`, one
        standard deviation from the slopes of the model at the solution (NaN at a
        bound; for position and width of a peak near the noise a tenth too small).
        If two solutions are ambiguous, `edge_energy_other` is the edge energy of the
        other, and the error of `edge_energy` reaches to it. `chi2` (sum of squared
        residuals, over their errors if given), `r_factor`, `residual_sd`, and `flag`
        (1: below noise, 2: no data, 4: not converged, 8: at a bound, 16: ambiguous,
        32: imprecise, 64: misfit). Imprecise is an error above a fifth of the edge's
        width, or of that of the mean spectrum; slopes hardly determine it. Misfit is a
        model that lacks a term: what the fits of some 900 spectra leave has a shape in
        common, or a part of them has one, which is then looked for in every spectrum.
        Errors hold how far it may move parameters, and that is more than the noise
        does. It is not tested where the fit is fully lazy. Missing values are NaN.

    Raises
    ------
    ArgumentError
        If a range holds too few energies.
    DataError
        If there are too few energies for the model, or outside its ranges.

    Warns
    -----
    DataQualityWarning
        If fits are flagged as misfit, with the energy where a term is missing.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> maps = stack["absorption"].xanes.fit_edge(edge=(5470, 5486))
    >>> maps["edge_energy"].dims
    ('particle', 'y', 'x')
    """
    terms = Terms(as_edge(edge), as_peaks(peaks), baseline)
    array = as_spectra(spectra, caller="fit_edge")
    options = FitOptions(
        mask=mask,
        pre=pre,
        post=post,
        threshold=threshold,
        noise=noise,
        errors=_own_errors(spectra, array) if errors is None else errors,
        start=start,
        multistart=as_multistart(multistart),
    )
    fit = prepare(array, terms, options, caller="fit_edge")
    return fit.apply(array, caller="fit_edge")


def _own_errors(
    spectra: xr.DataArray | xr.Dataset, array: xr.DataArray
) -> xr.DataArray | None:
    """Return the errors stored with spectra, if every value has one."""
    name = f"{array.name}_error"
    if not hasattr(spectra, "data_vars") or name not in spectra:
        return None
    errors = spectra[name]
    if {*errors.dims} != {*array.dims}:
        return None
    errors = (
        errors.sel({"energy": array["energy"]})
        if "energy" in errors.indexes
        else errors
    )
    known = (errors > 0) | array.isnull()
    return errors if bool(known.all().compute()) else None
