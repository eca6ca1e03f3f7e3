"""How well an object fits its pattern, and up to which detail it can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi._retrieval_result import OBJECT, VOLUME
from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError, DimensionError, UnitsError
from batteryxr.core.model import label, require_dims, require_variables
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from collections.abc import Callable

LABORATORY = ("z", "y", "x")
_MISFITS = {
    "amp_residual": "Amplitude residual Σ(|F|−A)²/ΣA²",
    "chi2": "χ² = Σ(√D−√R)²/ΣR",
    "llk": "Poisson log-likelihood per voxel",
}


@recorded
def misfit(obj: xr.DataArray | xr.Dataset, *, volume: xr.DataArray) -> xr.Dataset:
    """Compare an object with the intensity that it should have.

    Lazy.

    Parameters
    ----------
    obj
        Complex object on the three axes that `retrieve` gives, or its result.
    volume
        Measured counts on ``(..., rocking, detector_y, detector_x)``, NaN where
        nothing was measured.

    Returns
    -------
    xarray.Dataset
        One number each for every other dimension, after the object was given the
        counts that were measured in all:

        - ``amp_residual``: sum (|F| - A)^2 / sum A^2, A the measured amplitude;
        - ``chi2``: sum (sqrt|D| - sqrt|R|)^2 / sum |R| of the measured and the
          reconstructed *intensity* D and R (Serban et al., Commun. Chem. (2024),
          eq. (1)); its denominator is the reconstruction;
        - ``llk``: mean of R - D + D ln(D / R), the negative Poisson log-likelihood
          per voxel; 0 is a perfect fit. Free voxels count here like the others.

    Raises
    ------
    DimensionError
        If an axis is missing, or the two do not fit on one another.
    """
    values = _object(obj, "misfit")
    require_dims(values, OBJECT, caller="misfit")
    require_dims(volume, VOLUME, caller="misfit")
    _same_shape(values, volume)
    parts = apply(
        _each(_misfit, "(a,b,c),(d,e,f)->(),(),()"),
        values,
        _plain(volume, VOLUME),
        core_dims=[OBJECT, VOLUME],
        output_dims=[(), (), ()],
        dtypes=[np.float64] * 3,
        caller="misfit",
    )
    named = zip(_MISFITS.items(), parts, strict=True)
    return xr.Dataset(
        {n: label(part, n, units="1", long_name=words) for (n, words), part in named}
    )


def _misfit(obj: np.ndarray, counts: np.ndarray) -> tuple[float, float, float]:
    from batteryxr.cdi.kernels.starts import judge, prepare

    problem = prepare(counts, np.random.default_rng(0), free=0.0, support=obj != 0)
    merits = judge(problem, np.fft.ifftshift(obj))
    return merits["amp_residual"], merits["chi2"], merits["llk"]


@recorded
def prtf(
    objects: xr.DataArray, *, volume: xr.DataArray, over: str = "start"
) -> xr.DataArray:
    """Return the phase-retrieval transfer function of several reconstructions.

    Lazy.

    Parameters
    ----------
    objects
        Complex objects on `over` and the three axes that `retrieve` gives. Each is
        laid over the first: twin, shift and phase.
    volume
        Measured counts on ``(..., rocking, detector_y, detector_x)``.
    over
        The dimension that counts the reconstructions.

    Returns
    -------
    xarray.DataArray
        |mean of the transforms| / measured amplitude on shells of ``frequency``
        (cycles per voxel of the smallest axis' Nyquist range). The usual resolution
        is where it falls under 1/e. Of one reconstruction it tells only how well
        that one fits.

    Raises
    ------
    DimensionError
        If an axis is missing, or the two do not fit on one another.
    """
    require_dims(objects, [over, *OBJECT], caller="prtf")
    require_dims(volume, VOLUME, caller="prtf")
    _same_shape(objects, volume)
    n = max(1, min(objects.sizes[d] for d in OBJECT) // 2)
    out = apply(
        _each(_prtf, "(s,a,b,c),(d,e,f)->(n)"),
        _plain(objects, (over, *OBJECT)),
        _plain(volume, VOLUME),
        core_dims=[(over, *OBJECT), VOLUME],
        output_dims=[("frequency",)],
        output_sizes={"frequency": n},
        dtypes=[np.float64],
        caller="prtf",
    )
    out = label(out, "prtf", units="1", long_name="Phase-retrieval transfer function")
    return out.assign_coords(frequency=_frequency(n, 0.5, "1", "cycles per voxel"))


def _prtf(objects: np.ndarray, counts: np.ndarray) -> np.ndarray:
    from batteryxr.cdi.kernels import metrics
    from batteryxr.cdi.kernels.align import align

    mean = objects[0].astype(np.complex64)
    for other in objects[1:]:
        mean = mean + align(objects[0], other, ramp=False).field
    spectrum = np.fft.fftn(np.fft.ifftshift(mean / len(objects)))
    counts = np.fft.ifftshift(counts)
    used = counts > 0
    amplitude = np.sqrt(np.where(used, counts, 0))
    return metrics.prtf(spectrum, amplitude, used, metrics.Shells(mean.shape))


@recorded
def fsc(
    obj: xr.DataArray | xr.Dataset,
    *,
    other: xr.DataArray | xr.Dataset,
    independent: float = 1.0,
) -> xr.Dataset:
    """Correlate two reconstructions shell by shell in Fourier space.

    Lazy.

    Parameters
    ----------
    obj, other
        Objects, complex or real, on one grid: the three axes that `retrieve` gives,
        or ``(z, y, x)`` in nm. Lay one over the other before (`overlay`).
    independent
        Share of a shell's voxels that are independent of one another, for the
        thresholds: about the share of the array that the object fills. Of real
        objects half of this is taken.

    Returns
    -------
    xarray.Dataset
        On shells of ``frequency`` (cycles per voxel, or 1/nm):

        - ``fsc``: Fourier shell correlation;
        - ``threshold_1bit``, to be taken where the two come from two full sets of
          data, and ``threshold_half_bit``, where one set was split in two (van Heel
          & Schatz, J. Struct. Biol. 151, 250 (2005)).

        Coordinates ``resolution_1bit`` and ``resolution_half_bit``: half a period at
        the first crossing, in voxels or nm; NaN where there is none.

    Raises
    ------
    ArgumentError
        If `independent` is no share.
    DimensionError
        If the objects do not lie on one grid.
    """
    if not 0 < independent <= 1:
        raise ArgumentError("independent", independent, "a share above 0, up to 1")
    first, second = _object(obj, "fsc"), _object(other, "fsc")
    axes = LABORATORY if set(LABORATORY) <= set(first.dims) else OBJECT
    for array in (first, second):
        require_dims(array, axes, caller="fsc")
    shapes = [tuple(a.sizes[d] for d in axes) for a in (first, second)]
    if shapes[0] != shapes[1]:
        raise DimensionError(
            f"fsc: the objects have the shapes {shapes}; one is needed."
        )
    spacing, units = _spacing(first, axes)
    n = max(1, min(shapes[0]) // 2)
    share = independent * (1.0 if first.dtype.kind == "c" else 0.5)
    parts = apply(
        _each(_fsc, "(a,b,c),(a,b,c)->(n),(n),(n),(),()"),
        first,
        _plain(second, axes),
        core_dims=[axes, axes],
        output_dims=[("frequency",)] * 3 + [(), ()],
        output_sizes={"frequency": n},
        dtypes=[np.float64] * 5,
        caller="fsc",
        spacing=spacing,
        share=share,
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
    for name, part in zip(("1bit", "half_bit"), parts[3:], strict=True):
        words = (
            f"Half period at the {'1-bit' if name == '1bit' else '1/2-bit'} crossing"
        )
        key = f"resolution_{name}"
        result = result.assign_coords(
            {key: label(part, key, units=units, long_name=words)}
        )
    return result.assign_coords(frequency=_frequency(n, reach, inverse, per))


def _fsc(
    a: np.ndarray, b: np.ndarray, *, spacing: tuple[float, ...], share: float
) -> tuple[Any, ...]:
    from batteryxr.cdi.kernels import metrics

    shells = metrics.Shells(a.shape, spacing=spacing)
    curve = metrics.shell_correlation(np.fft.fftn(a), np.fft.fftn(b), shells)
    count = share * shells.voxels(np.ones(a.shape, bool))
    limits = [
        metrics.correlation_threshold(count, metrics.SNR[name])
        for name in ("1-bit", "1/2-bit")
    ]
    with np.errstate(invalid="ignore"):
        halves = [
            0.5 / metrics.crossing(shells.frequency, curve, limit) for limit in limits
        ]
    return curve, *limits, *halves


@recorded
def overlay(
    obj: xr.DataArray | xr.Dataset,
    *,
    reference: xr.DataArray | xr.Dataset,
    ramp: bool = False,
    twin: bool = True,
) -> xr.DataArray:
    """Lay an object over another one: conjugate twin, translation, phase.

    Lazy.

    The intensity does not fix these. Of the object and its twin, the one is taken
    whose complex overlap with the reference is larger after all the rest was removed.

    Parameters
    ----------
    obj, reference
        Complex objects on one grid; the reference has no further dimensions, or the
        same.
    ramp
        Remove the phase ramp between the two as well. It is the mean change of the
        lattice: keep it between states, remove it to compare with a simulation.
    twin
        Consider the twin.

    Returns
    -------
    xarray.DataArray
        ``object`` with the coordinates ``overlap`` (0 to 1), ``twin`` (taken or not)
        and the shift along each axis, such as ``shift_along_x``, in voxels.

    Raises
    ------
    DimensionError
        If the two do not lie on one grid.
    """
    moving, fixed = _object(obj, "overlay"), _object(reference, "overlay")
    axes = LABORATORY if set(LABORATORY) <= set(moving.dims) else OBJECT
    for array in (moving, fixed):
        require_dims(array, axes, caller="overlay")
    if any(moving.sizes[d] != fixed.sizes[d] for d in axes):
        raise DimensionError(
            f"overlay: object {dict(moving.sizes)}, reference {dict(fixed.sizes)}; "
            "one shape is needed."
        )
    field, *found = apply(
        _each(_overlay, "(a,b,c),(a,b,c)->(a,b,c),(),(),(),(),()"),
        _plain(fixed, axes),
        moving,
        core_dims=[axes, axes],
        output_dims=[axes, (), (), (), (), ()],
        dtypes=[np.complex64, np.float64, bool, np.float64, np.float64, np.float64],
        caller="overlay",
        ramp=ramp,
        twin=twin,
    )
    names = {"overlap": "Overlap", "twin": "Conjugate twin taken"}
    names |= {f"shift_{d}": f"Shift along {d} in voxels" for d in axes}
    extra = {
        name: label(part, name, units="1", long_name=words)
        for (name, words), part in zip(names.items(), found, strict=True)
    }
    attrs = {k: v for k, v in moving.attrs.items() if not k.startswith("batteryxr")}
    attrs = {"units": "1", "long_name": "Complex density"} | attrs
    out = label(field.transpose(*moving.dims), "object", **attrs)
    return out.assign_coords(extra)


def _overlay(
    reference: np.ndarray, moving: np.ndarray, *, ramp: bool, twin: bool
) -> tuple[Any, ...]:
    from batteryxr.cdi.kernels.align import align

    laid = align(reference, moving, ramp=ramp, twin=twin)
    return laid.field, laid.overlap, laid.twin, *laid.shift


@recorded
def decompose(objects: xr.DataArray, *, over: str = "start") -> xr.Dataset:
    """Decompose aligned objects into orthogonal modes by their small Gram matrix.

    Lazy; one chunk along `over` is needed.

    Parameters
    ----------
    objects
        Complex objects that were laid over one another, on `over` and the axes of
        one grid.
    over
        The dimension that counts them.

    Returns
    -------
    xarray.Dataset
        ``modes`` and ``mode_weight`` (shares of the squared norm) on ``mode``, largest
        first. The first mode is what the objects have in common.

    Raises
    ------
    DimensionError
        If an axis is missing.
    """
    axes = LABORATORY if set(LABORATORY) <= set(objects.dims) else OBJECT
    require_dims(objects, [over, *axes], caller="decompose")
    n = objects.sizes[over]
    parts, weights = apply(
        _each(_decompose, "(s,a,b,c)->(n,a,b,c),(n)"),
        objects,
        core_dims=[(over, *axes)],
        output_dims=[("mode", *axes), ("mode",)],
        output_sizes={"mode": n},
        dtypes=[np.complex64, np.float64],
        caller="decompose",
    )
    number = ("mode", np.arange(n), {"units": "1", "long_name": "Mode"})
    return xr.Dataset(
        {
            "modes": label(parts, "modes", units="1", long_name="Mode"),
            "mode_weight": label(
                weights, "mode_weight", units="1", long_name="Share of the mode"
            ),
        },
        coords={"mode": number},
    )


def _decompose(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from batteryxr.cdi.kernels.modes import modes

    return modes(objects.astype(np.complex64, copy=False))


def _each(kernel: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """Return a kernel of one object that walks through leading axes."""

    def walked(*arrays: np.ndarray, **kwargs: Any) -> Any:
        def one(*parts: np.ndarray) -> Any:
            return kernel(*parts, **kwargs)

        return np.vectorize(one, signature=signature)(*arrays)

    return walked


def _object(obj: xr.DataArray | xr.Dataset, caller: str) -> xr.DataArray:
    if isinstance(obj, xr.Dataset):
        require_variables(obj, ["object"], caller=caller)
        return obj["object"]
    return obj


def _plain(array: xr.DataArray, axes: tuple[str, ...]) -> xr.DataArray:
    """Leave only the labels along which arrays are matched."""
    lead = [d for d in array.dims if d not in axes]
    keep = {d for d in lead if d in array.coords}
    return array.drop_vars(set(array.coords) - keep)


def _same_shape(obj: xr.DataArray, volume: xr.DataArray) -> None:
    there = tuple(obj.sizes[d] for d in OBJECT)
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
        steps.append(abs(float(coord[-1] - coord[0])) / (coord.size - 1))
        units.add(str(coord.attrs.get("units", "1")))
    if len(units) > 1:
        raise UnitsError(f"fsc: the axes {axes} have the units {sorted(units)}.")
    return tuple(steps), units.pop()


def _frequency(n: int, reach: float, units: str, words: str) -> Any:
    values = (np.arange(n) + 0.5) * (reach / n)
    return ("frequency", values, {"units": units, "long_name": f"Frequency, {words}"})
