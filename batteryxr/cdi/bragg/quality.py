"""Fit of an object to its pattern, and resolution of reconstructions."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    OBJECT,
    SPACE,
    VOLUME,
    bare,
    each_volume,
    known_sign,
    require_scale,
    require_sign,
    space_axes,
    variable,
)
from batteryxr.cdi.bragg.consistency.objects import warn_of_strangers
from batteryxr.cdi.bragg.kernels.counting import require_counts
from batteryxr.core.blocks import apply
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import DataError, DimensionError, UnitsError, warn_quality
from batteryxr.core.labels import OwnLabels, even_step, matched
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded

#: Difference from an overlap of 1 that is rounding.
_ITSELF = 1e-9
#: Overlap, over that of aligned objects, from which they are aligned.
_ALIGNED = 0.99
_MISFITS = {
    "amp_residual": "Amplitude residual Σ(|F|−A)²/ΣA²",
    "chi2": "χ² = Σ(√D−√R)²/ΣR",
    "llk": "Poisson log-likelihood per voxel",
}


@recorded
def misfit(crystal: xr.DataArray | xr.Dataset, *, volume: xr.DataArray) -> xr.Dataset:
    """Compare the pattern of a crystal with the measured intensity.

    Lazy.

    Parameters
    ----------
    crystal
        Complex object on the three axes that `retrieve` gives, or its result.
    volume
        Measured counts on ``(..., rocking, detector_y, detector_x)``, NaN where
        nothing was measured.

    Returns
    -------
    xarray.Dataset
        One number for each index of the other dimensions, after scaling the object to
        the sum of the measured counts:

        - ``amp_residual``: sum (|F| - A)^2 / sum A^2, A the measured amplitude;
        - ``chi2``: sum (sqrt|D| - sqrt|R|)^2 / sum |R| of the measured and the
          reconstructed *intensity* D and R (Serban et al., Commun. Chem. (2024),
          eq. (1)); its denominator is the reconstruction;
        - ``llk``: mean of R - D + D ln(D / R), the negative Poisson log-likelihood
          per voxel; 0 is a perfect fit. Free voxels count here like the others.

    Raises
    ------
    DimensionError
        If an axis is missing, or object and volume do not fit one another.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> misfit = result.cdi.misfit(volume=volume)
    """
    values = variable(crystal, "object", caller="misfit")
    require_sign(crystal, -1, what="crystal")
    require_dims(values, OBJECT, caller="misfit")
    require_dims(volume, VOLUME, caller="misfit")
    _same_shape(values, volume)
    parts = apply(
        each_volume(_misfit, "(a,b,c),(d,e,f)->(),(),()"),
        values,
        bare(volume, VOLUME),
        core_dims=[OBJECT, VOLUME],
        output_dims=[(), (), ()],
        dtypes=[np.float64] * 3,
        caller="misfit",
    )
    named = zip(_MISFITS.items(), parts, strict=True)
    return xr.Dataset(
        {n: label(part, n, units="1", long_name=words) for (n, words), part in named}
    )


def _misfit(rho: np.ndarray, counts: np.ndarray) -> tuple[float, float, float]:
    from batteryxr.cdi.bragg.kernels.pattern import judge, prepare

    require_counts(counts)
    if not np.nansum(counts) > 0:
        raise DataError("volume", "holds no counts", "Look at its mask and its region.")
    pattern = prepare(counts, np.random.default_rng(0), free=0.0, support=rho != 0)
    merits = judge(pattern, np.fft.ifftshift(rho))
    return merits["amp_residual"], merits["chi2"], merits["llk"]


@recorded
def prtf(
    crystal: xr.DataArray, *, volume: xr.DataArray, dim: str = "start"
) -> xr.DataArray:
    """Return the phase-retrieval transfer function of several reconstructions.

    Lazy.

    Parameters
    ----------
    crystal
        Complex objects on `dim` and the three axes that `retrieve` gives. Each is
        aligned to the first: twin, shift and phase.
    volume
        Measured counts on ``(..., rocking, detector_y, detector_x)``.
    dim
        Dimension of the reconstructions.

    Returns
    -------
    xarray.DataArray
        |mean of the transforms| / measured amplitude on shells of ``frequency``
        (cycles per voxel of the smallest axis' Nyquist range). Objects of other
        software are scaled to the brightest pixels. The usual resolution is
        where it falls under 1/e. For one reconstruction it only shows how well that one
        fits.

    Raises
    ------
    DimensionError
        If an axis is missing, or objects and volume do not fit one another.

    Warns
    -----
    DataQualityWarning
        If objects and volume are not of one crystal or one orientation.

    Examples
    --------
    >>> import xarray as xr
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> three = [
    ...     volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2, seed=seed)[
    ...         "object"
    ...     ]
    ...     for seed in range(3)
    ... ]
    >>> three = [start.cdi.align(reference=three[0]) for start in three]
    >>> several = xr.concat(three, dim="start")
    >>> transfer = several.cdi.prtf(volume=volume)
    """
    require_dims(crystal, [dim, *OBJECT], caller="prtf")
    crystal = require_scale(crystal)
    require_sign(crystal, -1, what="crystal")
    require_dims(volume, VOLUME, caller="prtf")
    _same_shape(crystal, volume)
    if crystal.sizes[dim] == 1:
        warn_quality(
            "prtf: of one reconstruction it tells how well that one fits, and nothing "
            "of a resolution. Pass several: `retrieve` with other seeds."
        )
    crystal = warn_of_strangers(crystal, volume, caller="prtf")
    n = max(1, min(crystal.sizes[d] for d in OBJECT) // 2)
    out = apply(
        each_volume(_prtf, "(s,a,b,c),(d,e,f)->(n)"),
        bare(crystal, (dim, *OBJECT)),
        bare(volume, VOLUME),
        core_dims=[(dim, *OBJECT), VOLUME],
        output_dims=[("frequency",)],
        output_sizes={"frequency": n},
        dtypes=[np.float64],
        caller="prtf",
    )
    out = label(out, "prtf", units="1", long_name="Phase-retrieval transfer function")
    return out.assign_coords(frequency=_frequency(n, 0.5, "1", "cycles per voxel"))


def _prtf(objects: np.ndarray, counts: np.ndarray) -> np.ndarray:
    from batteryxr.cdi.bragg.kernels import metrics
    from batteryxr.cdi.bragg.kernels.align import align

    require_counts(counts)
    mean = objects[0].astype(np.complex64)
    for other in objects[1:]:
        mean = mean + align(objects[0], other, ramp=False).field
    spectrum = np.fft.fftn(np.fft.ifftshift(mean / len(objects)))
    counts = np.fft.ifftshift(counts)
    used = counts > 0
    amplitude = np.sqrt(np.where(used, counts, 0))
    first = np.abs(np.fft.fftn(np.fft.ifftshift(objects[0])))
    spectrum *= metrics.own_scale(first, amplitude)
    return metrics.prtf(spectrum, amplitude, used, metrics.Shells(mean.shape))


@recorded
def fsc(
    crystal: xr.DataArray | xr.Dataset,
    *,
    other: Annotated[xr.DataArray | xr.Dataset, OwnLabels((*OBJECT, *SPACE))],
    fraction: Annotated[float, Bounds(above=0, high=1)] = 1.0,
) -> xr.Dataset:
    """Correlate two reconstructions shell by shell in Fourier space.

    Lazy.

    Parameters
    ----------
    crystal, other
        Objects, complex or real, on one grid: the three axes that `retrieve` gives, or
        ``(z, y, x)`` in nm. Align one to the other first (`align`).
    fraction
        Fraction of a shell's voxels that are independent of one another, for the
        thresholds: about the fraction of the array that the object fills. Half of it is
        used for real objects.

    Returns
    -------
    xarray.Dataset
        On shells of ``frequency`` (cycles per voxel, or 1/nm):

        - ``fsc``: Fourier shell correlation;
        - ``threshold_1bit``, for two full sets of data, and ``threshold_half_bit``, for
          one set that was split in two (van Heel & Schatz, J. Struct. Biol. 151, 250
          (2005)).

        Coordinates ``resolution_1bit`` and ``resolution_half_bit``: half a period at
        the first crossing, in voxels or nm; NaN where there is none. ``overlap`` of the
        objects as they are, and ``overlap_aligned``.

    Raises
    ------
    ArgumentError
        If `fraction` is no fraction.
    DataError
        If the two are one object, or hold NaN.
    DimensionError
        If the objects do not lie on one grid.

    Warns
    -----
    DataQualityWarning
        If the objects are not aligned.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> other = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2, seed=1)
    >>> shells = result.cdi.fsc(other=other)
    >>> list(shells.data_vars)
    ['fsc', 'threshold_1bit', 'threshold_half_bit']
    """
    first, second = (variable(c, "object", caller="fsc") for c in (crystal, other))
    if (sign := known_sign(crystal)) is not None:
        require_sign(other, sign, what="other")
    axes = space_axes(first, caller="fsc")
    for array in (first, second):
        require_dims(array, axes, caller="fsc")
    shapes = [{d: a.sizes[d] for d in axes} for a in (first, second)]
    if shapes[0] != shapes[1]:
        raise DimensionError(
            f"fsc: `other` has the shape {shapes[1]}, the first object {shapes[0]}; "
            "both must lie on one grid."
        )
    second = matched(first, second, argument="other")
    spacing, units = _spacing(first, axes)
    n = max(1, min(shapes[0].values()) // 2)
    share = fraction * (1.0 if first.dtype.kind == "c" else 0.5)
    parts = apply(
        each_volume(_fsc, "(a,b,c),(a,b,c)->(n),(n),(n),(),(),(),()"),
        first,
        bare(second, axes),
        core_dims=[axes, axes],
        output_dims=[("frequency",)] * 3 + [()] * 4,
        output_sizes={"frequency": n},
        dtypes=[np.float64] * 7,
        caller="fsc",
        spacing=spacing,
        fraction=share,
    )
    per = "cycles per voxel" if units == "1" else f"cycles per {units}"
    names = {
        "fsc": "Fourier shell correlation",
        "threshold_1bit": "1-bit threshold",
        "threshold_half_bit": "1/2-bit threshold",
    }
    result = xr.Dataset(
        {
            name: label(part, name, units="1", long_name=words)
            for (name, words), part in zip(names.items(), parts[:3], strict=True)
        }
    )
    inverse = "1" if units == "1" else f"1/{units}"
    reach = 0.5 / max(spacing)
    for name, part in zip(("1bit", "half_bit"), parts[3:5], strict=True):
        words = (
            f"Half period at the {'1-bit' if name == '1bit' else '1/2-bit'} crossing"
        )
        key = f"resolution_{name}"
        result = result.assign_coords(
            {key: label(part, key, units=units, long_name=words)}
        )
    for key, part in zip(("overlap", "overlap_aligned"), parts[5:], strict=True):
        words = "Overlap" if key == "overlap" else "Overlap once they are aligned"
        told = label(part, key, units="1", long_name=words)
        result = result.assign_coords({key: told})
    return result.assign_coords(frequency=_frequency(n, reach, inverse, per))


def _fsc(
    a: np.ndarray, b: np.ndarray, *, spacing: tuple[float, ...], fraction: float
) -> tuple[Any, ...]:
    from batteryxr.cdi.bragg.kernels import metrics
    from batteryxr.cdi.bragg.kernels.align import align, overlap

    if a.dtype.kind != b.dtype.kind:
        told = f"holds {b.dtype}, the first object {a.dtype}"
        raise DataError("other", told, "Compare objects, or amplitudes of both.")
    lost = np.isnan(a) | np.isnan(b)
    if lost.any() and not lost.all():  # starts that failed hold nothing else
        told = f"hold no number in {int(lost.sum())} voxels"
        raise DataError("crystal and other", told, "Fill them: `.fillna(0)`.")
    here = abs(overlap(a.astype(complex), b.astype(complex)))
    if here > 1 - _ITSELF:
        raise DataError(
            "other",
            "is the object itself, up to a factor: their correlation is 1 by itself",
            "Pass a reconstruction of other counts, such as of the other half.",
        )
    there = max(here, align(a, b, ramp=False).overlap)
    if here < _ALIGNED * there:
        warn_quality(
            f"fsc: the overlap of the objects is {here:.3f}, and {there:.3f} once one "
            "is moved or its twin taken: the correlation is too low. Call align first."
        )
    shells = metrics.Shells(a.shape, spacing=spacing)
    curve = metrics.shell_correlation(np.fft.fftn(a), np.fft.fftn(b), shells)
    count = fraction * shells.voxels(np.ones(a.shape, bool))
    limits = [
        metrics.correlation_threshold(count, metrics.SNR[name])
        for name in ("1-bit", "1/2-bit")
    ]
    with np.errstate(invalid="ignore"):
        halves = [
            0.5 / metrics.crossing(shells.frequency, curve, limit) for limit in limits
        ]
    return curve, *limits, *halves, here, there


def _same_shape(crystal: xr.DataArray, volume: xr.DataArray) -> None:
    there = tuple(crystal.sizes[d] for d in OBJECT)
    here = tuple(volume.sizes[d] for d in VOLUME)
    if there != here:
        raise DimensionError(
            f"the object has the shape {there}, the volume {here}; an object and its "
            "pattern have one shape. Crop the volume as it was phased."
        )


def _spacing(
    array: xr.DataArray, axes: tuple[str, ...]
) -> tuple[tuple[float, ...], str]:
    steps, units = [], set()
    for dim in axes:
        coord = array.coords.get(dim)
        if coord is None:
            steps.append(1.0)
            units.add("1")
            continue
        steps.append(abs(even_step(array, dim, caller="fsc")))
        units.add(str(coord.attrs.get("units", "1")))
    if len(units) > 1:
        raise UnitsError(f"fsc: the axes {axes} have the units {sorted(units)}.")
    return tuple(steps), units.pop()


def _frequency(n: int, reach: float, units: str, words: str) -> Any:
    values = (np.arange(n) + 0.5) * (reach / n)
    return ("frequency", values, {"units": units, "long_name": f"Frequency, {words}"})
