"""Compute sizes and strains of crystallites from the widths of reflections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DimensionError, warn_quality
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import label, require_variables
from batteryxr.core.provenance import recorded
from batteryxr.xanes.results import inherit

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import ScherrerFactor

#: Bits of ``size_flag``.
UNRESOLVED, NEGATIVE, UNKNOWN = 1, 2, 4
_FLAGS = {
    "flag_masks": [UNRESOLVED, NEGATIVE, UNKNOWN],
    "flag_meanings": "no_wider_than_instrument negative_strain instrument_unknown",
}
#: Units and long names of the results.
_TOLD = {
    "size": ("nm", "Size of crystallites"),
    "size_error": ("nm", "Size, standard error"),
    "strain": ("1", "Strain"),
    "strain_error": ("1", "Strain, standard error"),
    "reflection_size": ("nm", "Size by reflection"),
    "reflection_size_error": ("nm", "Size, standard error"),
}


@recorded
def crystallite_size(
    result: xr.Dataset,
    *,
    method: Literal["williamson_hall", "scherrer"] = "williamson_hall",
    reference: Annotated[xr.Dataset | None, OwnLabels()] = None,
    factor: ScherrerFactor = 0.9,
) -> xr.Dataset:
    """Compute the size of crystallites from the widths of their reflections.

    Parameters
    ----------
    result
        Result of `fit_lattice`.
    method
        "williamson_hall": widths grow with q by strain, and are raised by size; both
        are fitted. "scherrer": each reflection gives a size, without strain.
    reference
        Result of `fit_lattice` for a standard of large crystallites, measured in the
        same way. It gives the instrument's widths; without it sizes are lower limits.
    factor
        Scherrer's factor for the full width at half maximum.

    Returns
    -------
    xarray.Dataset
        ``size`` (nm) with ``size_error``; for "williamson_hall" ``strain`` with its
        error, for "scherrer" also ``reflection_size``. ``size_flag`` (bits). The size
        is missing if reflections are no wider than the instrument.

    Raises
    ------
    ArgumentError
        If "williamson_hall" has fewer than three usable reflections.

    Notes
    -----
    Widths in q are 2 pi K / L + 2 e q. The instrument's width is subtracted with the
    power 1 + (1 - share)2, which is 1 for Lorentzians and 2 for Gaussians. Errors
    include those of the widths, of the instrument's, and of the share.

    Examples
    --------
    >>> from batteryxr.xanes import Cell, Diffractometer
    >>> folder = batteryxr.simulate.write_samples("samples")
    >>> patterns = batteryxr.read_series("samples/xrd/*.xrdml")
    >>> cells = patterns.xanes.fit_lattice(
    ...     candidate=Cell("hexagonal", a=2.88, c=14.2, centring="R"),
    ...     instrument=Diffractometer(tube="Cu"),
    ... )
    >>> sizes = batteryxr.xanes.crystallite_size(cells, method="scherrer")
    >>> list(sizes.data_vars)[:2]
    ['size', 'size_error']
    """
    require_variables(result, ["peak_fwhm"], caller="crystallite_size")
    if "reflection" not in result["peak_fwhm"].dims:
        raise DimensionError("crystallite_size needs widths along 'reflection'.")
    q, width, error = _in_q(result)
    share, share_error = _share(result)
    flag = xr.zeros_like(share, dtype=np.int8)
    own = xr.zeros_like(width)
    modes: list[xr.DataArray] = []
    if reference is None:
        warn_quality(
            "sizes are lower limits: the width of the instrument is not known. Pass "
            "reference=, a result of fit_lattice on a standard."
        )
        flag = flag + np.int8(UNKNOWN)
    else:
        own, modes = _instrument(reference, q)
    told = _scherrer if method == "scherrer" else _williamson_hall
    if method == "williamson_hall":
        _require_three(_pure(width, own, share))
    scale = 0.1 * 2 * np.pi * factor

    def found(share: xr.DataArray, own: xr.DataArray) -> dict[str, xr.DataArray]:
        return told(q, width, error, _pure(width, own, share), scale)

    out = found(share, own)
    # Errors common to all reflections do not average out: move each by its error, and
    # add the resulting change.
    others = [found((share + share_error).clip(0, 1), own)]
    others += [found(share, own + mode) for mode in modes]
    for name in list(out):
        if f"{name}_error" in out:
            moved = sum(
                ((other[name] - out[name]) ** 2).fillna(0.0) for other in others
            )
            out[f"{name}_error"] = (out[f"{name}_error"] ** 2 + moved) ** 0.5
    flag = flag + out["size"].isnull() * np.int8(UNRESOLVED)
    if "strain" in out:
        flag = flag + (out["strain"] < 0) * np.int8(NEGATIVE)
    labelled = {
        name: label(array, name, units=_TOLD[name][0], long_name=_TOLD[name][1])
        for name, array in out.items()
    }
    labelled["size_flag"] = label(
        flag.astype(np.int8), "size_flag", units="1", long_name="Quality", **_FLAGS
    )
    return inherit(xr.Dataset(labelled), result)


def _share(result: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the mean Lorentzian share of the reflections, and its error."""
    each = result["lorentzian_share"].clip(0, 1)
    count = each.notnull().sum("reflection").clip(min=1)
    spread = each.std("reflection", ddof=1).fillna(0.0)
    return each.mean("reflection"), spread / count**0.5


def _pure(width: xr.DataArray, own: xr.DataArray, share: xr.DataArray) -> Pure:
    """Return widths without the instrument, and d(pure)/d(width)."""
    power = 1 + (1 - share) ** 2
    difference = width**power - own**power
    pure = difference.where(difference > 0) ** (1 / power)
    # A small remainder is uncertain.
    return Pure(pure, (width / pure) ** (power - 1))


class Pure(NamedTuple):
    """Hold the crystallites' widths, and their derivatives by the measured ones."""

    width: xr.DataArray
    slope: xr.DataArray


def _scherrer(
    q: xr.DataArray, width: xr.DataArray, error: xr.DataArray, pure: Pure, scale: float
) -> dict[str, xr.DataArray]:
    """Return the size from each reflection, and from their mean width."""
    error = error * pure.slope
    weight = (1 / error**2).where(pure.width.notnull() & error.notnull(), 0.0)
    good = weight > 0
    total = weight.sum("reflection")
    total = total.where(total > 0)
    # Widths are averaged and not sizes: small sizes have the smaller errors.
    mean = (weight * pure.width.fillna(0)).sum("reflection") / total
    spread = (weight * (pure.width - mean) ** 2).sum("reflection")
    free = (good.sum("reflection") - 1).clip(min=1)
    mean_error = (1 / total) ** 0.5 * ((spread / free).clip(min=1)) ** 0.5
    size, each = scale / mean, scale / pure.width
    return {
        "size": size,
        "size_error": size * mean_error / mean,
        "reflection_size": each,
        "reflection_size_error": each * error / pure.width,
    }


def _in_q(result: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return positions, widths and their errors in 1/Angstrom."""
    axis = str(result.attrs.get("axis", "two_theta"))
    at, width = result["peak_position"], result["peak_fwhm"]
    error = result["peak_fwhm_error"]
    if axis == "q":
        return at, width, error
    half, wavelength = np.radians(at) / 2, result["wavelength"]
    q = 4 * np.pi / wavelength * np.sin(half)
    per_degree = 2 * np.pi / wavelength * np.radians(1.0) * np.cos(half)
    return q, width * per_degree, error * per_degree


def _instrument(
    reference: xr.Dataset, q: xr.DataArray
) -> tuple[xr.DataArray, list[xr.DataArray]]:
    """Return the instrument's widths at given q, and their changes by their errors.

    Squared widths are fitted by a parabola in q through the standard's widths.
    """
    there, width, error = _in_q(reference)
    others = [d for d in width.dims if d != "reflection"]
    x = there.mean(others).values
    y = width.median(others).values
    count = width.notnull().sum(others).values.clip(min=1)
    sd = error.median(others).values / np.sqrt(count)
    good = np.isfinite(x) & np.isfinite(y) & np.isfinite(sd) & (sd > 0)
    if not good.any():
        raise ArgumentError("reference", "...", "a result with widths")
    x, squared, sd = x[good], y[good] ** 2, 2 * y[good] * sd[good]
    degree = min(2, x.size - 1)
    middle, half = x.mean(), max(float(np.ptp(x)) / 2, 1e-9)
    basis = np.vander((x - middle) / half, degree + 1) / sd[:, None]
    known, *_ = np.linalg.lstsq(basis, squared / sd, rcond=None)
    left = float(((squared / sd - basis @ known) ** 2).sum())
    inverse = np.linalg.pinv(basis.T @ basis) * max(1.0, left / max(x.size - 3, 1))
    places = (np.clip(q.values, x.min(), x.max()) - middle) / half

    def at(coefficients: np.ndarray) -> xr.DataArray:
        told = np.polyval(coefficients, places)
        return q.copy(data=np.sqrt(np.maximum(told, 0.25 * float(squared.min()))))

    strength, axes = np.linalg.eigh(inverse)
    moves = (axes * np.sqrt(np.maximum(strength, 0))).T
    own = at(known)
    return own, [at(known + move) - own for move in moves]


def _require_three(pure: Pure) -> None:
    """Raise if fewer than three reflections are wider than the instrument."""
    if int(pure.width.notnull().sum("reflection").max()) < 3:
        raise ArgumentError(
            "method",
            "williamson_hall",
            "three reflections wider than the instrument",
            "Use method='scherrer'.",
        )


def _williamson_hall(
    q: xr.DataArray, width: xr.DataArray, error: xr.DataArray, pure: Pure, scale: float
) -> dict[str, xr.DataArray]:
    """Return size and strain from a line through the widths."""
    error = error * pure.slope
    weight = (1 / error**2).where(np.isfinite(pure.width) & np.isfinite(error), 0.0)
    count = (weight > 0).sum("reflection")
    q, y = q.fillna(0.0), pure.width.fillna(0.0)
    total = weight.sum("reflection")
    total = total.where(count >= 3)
    middle = (weight * q).sum("reflection") / total
    level = (weight * y).sum("reflection") / total
    squared = (weight * (q - middle) ** 2).sum("reflection")
    slope = (weight * (q - middle) * (y - level)).sum("reflection") / squared
    raised = level - slope * middle
    left = (weight * (y - raised - slope * q) ** 2).sum("reflection") / (
        count - 2
    ).clip(min=1)
    factor = left.clip(min=1) ** 0.5
    slope_error = factor / squared**0.5
    raised_error = factor * (1 / total + middle**2 / squared) ** 0.5
    size = scale / raised.where(raised > 0)
    return {
        "size": size,
        "size_error": size * raised_error / raised,
        "strain": slope / 2,
        "strain_error": slope_error / 2,
    }
