"""Register the frames of a stack: find the drift once, undo it lazily."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.kernels.cores import allowed
from batteryxr.core.labels import OwnLabels, even_step
from batteryxr.core.model import label, require_dims, require_variables, require_whole
from batteryxr.core.provenance import recorded
from batteryxr.xanes.spectra import ABSORPTION, Spectra, as_spectra

if TYPE_CHECKING:
    from batteryxr.core.checks import Count

_IMAGE = ("y", "x")
_NAMES = ("shift_y", "shift_x", "shift_error", "registration")
#: Correlation, as a fraction of the usual one, below which a frame is unlike the
#: reference; difference (pixels) above which the shifts of its halves disagree.
_ALIKE, _APART = 0.6, 3.0
#: Errors of a shift (pixels) that are told, and with which a frame is not found.
_UNSURE, _UNKNOWN = 0.7, 3.0
_KINDS = {"linear": 0, "cubic": 1}  # as in the kernel, which is imported when called
_Smoothing = Annotated[float, Bounds(above=0.0, below=100.0)]


@recorded
def register(
    stack: Spectra,
    *,
    reference: int | xr.DataArray = -1,
    by: str | None = None,
    on: Literal["gradient", "value"] = "gradient",
    smoothing: _Smoothing = 1.5,
    max_shift: Count | tuple[Count, Count] | None = None,
    interpolation: Literal["linear", "cubic"] = "linear",
    shifts: Annotated[xr.Dataset | xr.DataArray | None, OwnLabels(_IMAGE)] = None,
) -> Spectra:
    """Undo the drift of frames by comparison with one fixed reference.

    *Reads once* to find the drift (unless `shifts` is given); the moved frames are
    *lazy*. Frames must lie in one chunk along `y` and `x`.

    Parameters
    ----------
    stack
        Optical density or absorption (energy, y, x). Along further dimensions each
        stack has its own reference. For a Dataset, one variable is compared and all
        images are moved.
    reference
        Number along `energy` of the reference frame, or an image (y, x). The last
        frame, above the edge, has most contrast. Neighbours are never compared, since
        small errors would add up.
    by
        Variable of a Dataset that is compared; None: the `absorption` (or
        `optical_density`, ...). The "phase" of ptychography has contrast below the
        edge too, where absorption has little.
    on
        "gradient" compares outlines, whose contrast does not change at the edge;
        "value" compares the values themselves.
    smoothing
        Standard deviation, in pixels, of the Gaussian that smooths both images first.
    max_shift
        Largest drift in pixels, one for both axes or (y, x); None: a quarter of each
        side.
    interpolation
        "linear", or "cubic" limited to the range of the nearest pixels, which is
        sharper and also without overshoot.
    shifts
        An earlier result with `shift_y` and `shift_x` to apply, for example that of
        the absorption for the phase.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        Like `stack`, NaN where a frame has no data. Coordinates `shift_y` and
        `shift_x` (units of `y` and `x`) give the drift from the reference,
        `shift_error` its error, from the shifts by halves of the image and other
        shifts that fit as well, and `registration` the correlation with it (1 is
        equal). A frame that was not found has NaN shifts and no values: its halves
        give shifts that differ by several pixels.

    Raises
    ------
    ArgumentError
        If the reference does not exist, or `max_shift` is more than half a side.
    DataError
        If images are smaller than 8 x 8 pixels.
    DimensionError, ChunkingError
        If there are no images, or chunks split them.

    Warns
    -----
    DataQualityWarning
        If a frame drifted as far as `max_shift`, was not found, is placed with an error
        of more than 0.7 pixels, has no contrast, or holds values that are not finite
        (these are bridged).

    Notes
    -----
    Gradient magnitudes are correlated where frame and reference overlap, without
    whitening, which is more stable for smooth images with noise.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=48)
    >>> stack = study["objects"]["transmission"][:1].xanes.from_transmission()
    >>> registered = stack.xanes.register(by="phase")
    >>> list(registered.data_vars)
    ['absorption', 'phase']
    """
    for dim in _IMAGE:
        require_dims(stack, [dim], caller="register")
        require_whole(stack, dim, caller="register")
    pixels = {dim: even_step(stack, dim, caller="register") for dim in _IMAGE}
    if shifts is not None:
        require_variables(
            shifts.coords.to_dataset(), ["shift_y", "shift_x"], caller="register"
        )
        found = {n: shifts[n] for n in _NAMES if n in shifts.coords}
    else:
        if by is not None and isinstance(stack, xr.Dataset):
            require_variables(stack, [by], caller="register: by")
        array = as_spectra(
            stack,
            caller="register",
            names=ABSORPTION if by is None else (by,),
            whole=False,
        )
        target = _reference(array, reference)
        how = _Comparison(on == "gradient", smoothing, max_shift)
        found = _find(array, target, how, pixels)
    dy, dx = (found[f"shift_{d}"].reset_coords(drop=True) / pixels[d] for d in _IMAGE)
    kind = _KINDS[interpolation]
    if isinstance(stack, xr.Dataset):
        new = stack.copy()
        for name, variable in stack.data_vars.items():
            if set(_IMAGE) <= set(variable.dims) and variable.dtype.kind in "iufc":
                new[name] = _moved(variable, dy, dx, kind)
    else:
        new = _moved(stack, dy, dx, kind)
    new = new.assign_coords(found)
    for name, coordinate in stack.coords.items():
        new[name].attrs = dict(coordinate.attrs)
    return new


def _reference(array: xr.DataArray, reference: int | xr.DataArray) -> xr.DataArray:
    if isinstance(reference, xr.DataArray):
        require_dims(reference, _IMAGE, caller="register: reference")
        image = reference
    else:
        n = array.sizes["energy"]
        if not -n <= reference < n:
            raise ArgumentError("reference", reference, f"from {-n} to {n - 1}")
        image = array.isel(energy=reference, drop=True)
    return image.reset_coords(drop=True).compute()


@dataclass(frozen=True)
class _Comparison:
    """Set how frames are compared with the reference."""

    gradient: bool
    width: float
    most: int | tuple[int, int] | None

    def reach(self, array: xr.DataArray) -> tuple[int, int]:
        """Return the largest shifts in pixels, by default a quarter of each side."""
        sides = [array.sizes[d] for d in _IMAGE]
        if min(sides) < 8:
            raise DataError("stack", f"{min(sides)} pixels across; register needs 8")
        if self.most is None:
            return sides[0] // 4, sides[1] // 4
        both = self.most if isinstance(self.most, tuple) else (self.most, self.most)
        for most, side in zip(both, sides, strict=True):
            if most > side // 2:
                raise ArgumentError("max_shift", self.most, f"at most {side // 2}")
        return int(both[0]), int(both[1])


def _find(
    array: xr.DataArray,
    target: xr.DataArray,
    comparison: _Comparison,
    pixels: dict[str, float],
) -> dict[str, xr.DataArray]:
    from batteryxr.xanes.kernels.drift import find_shifts

    most = comparison.reach(array)
    result = blocks.apply(
        find_shifts,
        array.reset_coords(drop=True),
        target,
        core_dims=[list(_IMAGE), list(_IMAGE)],
        output_dims=[["statistic"]],
        output_sizes={"statistic": 6},
        dtypes=[float],
        caller="register",
        gradient=comparison.gradient,
        sigma=comparison.width,
        most=most,
        threads=1 if blocks.is_lazy(array) else allowed(),
    ).compute()
    lost = _lost(result)
    _warn(result, lost, most)
    sure = result.isel(statistic=5)
    result = result.fillna(0.0).where(~lost)
    found = {}
    for k, dim in enumerate(_IMAGE):
        units = str(array[dim].attrs.get("units", "1")) if dim in array.coords else "1"
        found[f"shift_{dim}"] = label(
            result.isel(statistic=k) * pixels[dim],
            f"shift_{dim}",
            units=units,
            long_name=f"Drift along {dim}",
        )
    found["shift_error"] = label(
        sure * max(pixels.values()),
        "shift_error",
        units=units,
        long_name="Drift, standard error",
    )
    found["registration"] = label(
        result.isel(statistic=2),
        "registration",
        units="1",
        long_name="Correlation with the reference",
    )
    return found


def _lost(found: xr.DataArray) -> xr.DataArray:
    """Tell which frames were not found: their halves give different shifts.

    Frames of little contrast are also less similar to the reference, but all of their
    halves give the same shift.
    """
    alike, apart, error = (found.isel(statistic=k) for k in (2, 3, 5))
    usual = float(alike.median())
    return ((alike < _ALIKE * usual) & (apart > _APART)) | (error > _UNKNOWN)


def _warn(found: xr.DataArray, lost: xr.DataArray, most: tuple[int, int]) -> None:
    """Warn of frames that were not found, drifted too far, or lack contrast or data."""
    limit = xr.DataArray(list(most), dims="statistic")
    told = most if most[0] != most[1] else most[0]
    far = (abs(found.isel(statistic=[0, 1])) >= limit - 0.5).any("statistic") & ~lost
    blank = found.isel(statistic=[0, 1, 2]).isnull().any("statistic")
    gaps = (found.isel(statistic=4) > 0) & ~blank
    unsure = (found.isel(statistic=5) > _UNSURE) & ~lost & ~blank
    for which, text in (
        (
            lost,
            "were not found: parts of them give other shifts. Their shifts are NaN and "
            "they hold no values; leave them out, or look whether the beam was lost.",
        ),
        (
            far,
            f"drifted as far as max_shift={told} pixels allows. Look at them; if the "
            "drift is real, pass a larger one.",
        ),
        (
            unsure,
            f"are placed with an error of more than {_UNSURE} pixels (coordinate "
            "`shift_error`), or fit as well elsewhere. Raise `smoothing`, lower "
            "`max_shift`, compare by another variable, or leave them out.",
        ),
        (blank, "have no contrast and are not moved."),
        (gaps, "hold values that are not finite, which were bridged for the search."),
    ):
        if bool(which.any()):
            warn_quality(f"register: {int(which.sum())} frames {text}")


def _moved(
    variable: xr.DataArray, dy: xr.DataArray, dx: xr.DataArray, kind: int
) -> xr.DataArray:
    from batteryxr.xanes.kernels.drift import moved

    result = blocks.apply(
        moved,
        variable,
        dy,
        dx,
        core_dims=[list(_IMAGE), [], []],
        output_dims=[list(_IMAGE)],
        dtypes=[variable.dtype if variable.dtype.kind in "fc" else np.float64],
        caller="register",
        method=kind,
        threads=1 if blocks.is_lazy(variable) else allowed(),
    )
    result = result.transpose(*variable.dims)
    result.attrs = dict(variable.attrs)
    return result.rename(variable.name)
