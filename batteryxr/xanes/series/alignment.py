"""Bring scans to one energy scale: by a foil measured with each, or by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks, bounds
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    warn_quality,
)
from batteryxr.core.labels import OwnLabels
from batteryxr.core.labels.axes import require_monotonic
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.xanes.edges.energy import edge_energy
from batteryxr.xanes.edges.normalisation import normalise
from batteryxr.xanes.kernels.calibration import REACH, SLACK
from batteryxr.xanes.spectra import Spectra, as_spectra, axis_of

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import PhotonEnergy

_Method = Literal["derivative", "half_jump", "white_line"]
#: Largest number of spectra that are looked at for glitches, and their least height in
#: standard deviations of the noise.
_LOOKED_AT, _SURE = 100, 10.0


@recorded
def calibrate_energy(
    spectra: Spectra,
    *,
    reference: Annotated[xr.DataArray, OwnLabels()],
    expected: Annotated[PhotonEnergy | xr.DataArray, OwnLabels()],
    method: _Method = "derivative",
) -> Spectra:
    """Shift the energies so that a reference measured alongside has its known edge.

    *Lazy*, except for the reference.

    Parameters
    ----------
    spectra
        A stack, series or spectrum along `energy`.
    reference
        Spectrum of the reference channel (a foil), on energies of the same
        monochromator scan. It may also be one for each scan, along the same `scan`.
    expected
        Edge energy of the reference in eV, by `method`. Or its spectrum on true
        energies, to which it is shifted by least squares (`method` is not used).
    method
        "derivative" (steepest rise, refined by a parabola), "half_jump" or
        "white_line".

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        With one reference, `spectra` on shifted energies; `attrs["energy_shift"]` is
        the shift added (eV). With one for each scan, the spectra are interpolated
        (cubic) to their common energies, and the coordinates `energy_shift` and
        `energy_shift_error` are the shift added to each, and its standard deviation
        from the noise of the references. These are first aligned to each other without
        their glitches, then their mean is calibrated (its error is common to all, and
        not counted).

    Raises
    ------
    DimensionError
        If the reference has other dimensions.
    DataError
        If the reference shows no edge, or is shifted by more than 9.5 eV.

    Warns
    -----
    DataQualityWarning
        If spectra to interpolate have glitches (not for lazy data).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> calibrated = spectra.xanes.calibrate_energy(reference=spectra, expected=8345.0)
    """
    caller = "calibrate_energy"
    require_dims(spectra, ["energy"], caller=caller)
    axis = axis_of(spectra, "energy", caller=caller)
    require_monotonic(axis, caller=caller)
    require_dims(reference, ["energy"], caller=f"{caller}: reference")
    if pixels := sorted({"y", "x"} & set(map(str, reference.dims))):
        raise DimensionError(
            f"{caller}: reference lies along {', '.join(pixels)}; expected one "
            "spectrum along energy, or one for each scan. Take the mean over its "
            "pixels."
        )
    if reference.dims != ("energy",):
        return _calibrate_each(spectra, reference, expected, method)
    measured = as_spectra(reference, caller=caller).dropna("energy").compute()
    shift = _shift_of(measured, expected, method)
    moved = spectra.assign_coords(
        energy=("energy", axis.values + shift, dict(axis.attrs))
    )
    return moved.assign_attrs(energy_shift=float(shift))


@recorded
def align(
    spectra: Spectra,
    *,
    reference: Annotated[int | xr.DataArray, OwnLabels()] = 0,
) -> Spectra:
    """Align scans to one of them, or to another spectrum, by energy shifts.

    *Reads once* for the shifts, then *lazy*. It is for repeated scans of an unchanged
    sample: a chemical shift of the edge would be removed too. If each scan has a foil,
    use ``calibrate_energy(reference=foils, expected=foils[0])``.

    Parameters
    ----------
    spectra
        Spectra along `energy` and other dimensions, such as `scan`.
    reference
        Number of the reference scan, or a spectrum.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        `spectra` at their common energies, interpolated (cubic), with the shift added
        to each as the coordinate `energy_shift` (eV), beside `energy_shift_error`.

    Raises
    ------
    ArgumentError
        If the reference scan does not exist.
    DataError
        If a scan has no features to align, or is shifted by more than 9.5 eV.

    Warns
    -----
    DataQualityWarning
        If spectra have glitches (not for lazy data).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> aligned = spectra.xanes.align()
    >>> aligned.dims
    ('scan', 'energy')
    """
    array = as_spectra(spectra, caller="align")
    others = [str(d) for d in array.dims if d != "energy"]
    if not others:
        raise DimensionError("align needs several scans, along `scan`; found one.")
    if isinstance(reference, xr.DataArray):
        known = as_spectra(reference, caller="align: reference")
    else:
        n = array.sizes[others[0]]
        if not -n <= reference < n:
            raise ArgumentError("reference", reference, f"from {-n} to {n - 1}")
        known = array.isel(dict.fromkeys(others[1:], 0) | {others[0]: reference})
    if known.dims != ("energy",):
        raise DimensionError(
            f"align: reference is one spectrum along energy; found {known.dims}."
        )
    found = _shifts(array.compute(), known.compute(), "spectra")
    return _on_one_grid(spectra, *found, "align")


def _calibrate_each(
    spectra: Spectra,
    reference: xr.DataArray,
    expected: float | xr.DataArray,
    method: _Method,
) -> Spectra:
    """Shift every scan by its own reference, and interpolate all to one grid."""
    caller = "calibrate_energy"
    foils = as_spectra(reference, caller=caller).compute()
    others = [str(d) for d in foils.dims if d != "energy"]
    if missing := [d for d in others if d not in spectra.dims]:
        raise DimensionError(
            f"calibrate_energy: reference lies along {foils.dims}, the spectra have no "
            f"{missing[0]!r}. Average it, or pass one for each scan."
        )
    for dim in others:
        if foils.sizes[dim] != spectra.sizes[dim]:
            raise DimensionError(
                f"calibrate_energy: {foils.sizes[dim]} references along {dim!r} for "
                f"{spectra.sizes[dim]} spectra."
            )
    if isinstance(expected, xr.DataArray):
        known = as_spectra(expected, caller=f"{caller}: expected").compute()
        return _on_one_grid(spectra, *_shifts(foils, known, "reference"), caller)
    foils = _without_glitches(foils)
    mean = foils.isel(dict.fromkeys(others, 0), drop=True)
    shift = xr.zeros_like(foils.isel(energy=0, drop=True), dtype=float)
    for reach in (REACH, 0.5):
        more, error = _shifts(_moved(foils, shift), mean, "reference", reach)
        shift = shift + more
        mean = _moved(foils, shift).median(others)
    mean = mean.dropna("energy")
    shift = shift + _shift_of(mean, expected, method)
    return _on_one_grid(spectra, shift, error, caller)


def _without_glitches(array: xr.DataArray) -> xr.DataArray:
    """Return spectra with bridged glitches, without the ends that are not checked."""
    from batteryxr.xanes.kernels.glitches import BESIDE, without_glitches

    array = array.transpose(..., "energy")
    values = array.values.astype(float)
    array = array.copy(data=without_glitches(values, x=array.energy.values))
    return array.isel(energy=slice(BESIDE, -BESIDE))


def _shift_of(
    measured: xr.DataArray, expected: float | xr.DataArray, method: _Method
) -> float:
    """Return the energy shift to add for one reference."""
    from batteryxr.xanes.kernels.calibration import best_shift

    if isinstance(expected, xr.DataArray):
        known = as_spectra(expected, caller="calibrate_energy: expected")
        known = known.dropna("energy").compute()
        shift = best_shift(*_plain(measured), *_plain(known))[0]
        _check_reach(np.asarray(shift), "reference")
    else:
        shift = float(expected) - _edge(measured, method)
    if not np.isfinite(shift):
        raise DataError("reference", "shows no edge", "Pass a spectrum with an edge.")
    bounds.check("energy shift", float(shift), argument="energy_shift", data=True)
    return float(shift)


def _shifts(
    array: xr.DataArray, known: xr.DataArray, what: str, reach: float = REACH
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return energy shifts that align spectra to a known one, and their errors."""
    known = known.dropna("energy")
    shift, error = blocks.apply(
        _best_shifts,
        array,
        core_dims=[["energy"]],
        output_dims=[[], []],
        dtypes=[float, float],
        caller="align",
        x=array.energy.values,
        true=known.energy.values,
        values=known.values.astype(float),
        reach=reach,
    )
    if bool(shift.isnull().any()):
        count = int(shift.isnull().sum())
        raise DataError(what, f"{count} show nothing to align by", "Leave them out.")
    if reach >= REACH:
        _check_reach(shift.values, what)
    return shift.reset_coords(drop=True), error.reset_coords(drop=True)


def _check_reach(shift: np.ndarray, what: str) -> None:
    """Raise if a shift is at the end of the search range.

    Raises
    ------
    DataError
        If so; the message gives the range.
    """
    far = int((np.abs(shift) > REACH - 0.5).sum())
    if far:
        raise DataError(
            what,
            f"{far} of {shift.size} lie more than {REACH - 0.5:g} eV away, beyond "
            "where shifts are looked for, or are no such edge",
            "Move the energies first: `.assign_coords(energy=...)`.",
        )


def _on_one_grid(
    spectra: Spectra, shift: xr.DataArray, error: xr.DataArray, caller: str
) -> Spectra:
    """Return spectra on the energies common to all after the shifts."""
    axis = axis_of(spectra, "energy", caller=caller)
    bounds.check("energy shift", shift.values, argument="energy_shift", data=True)
    x = axis.values.astype(float)
    if not blocks.is_lazy(spectra):
        _warn_of_glitches(spectra, caller)
    low, high = x[0] + float(shift.max()), x[-1] + float(shift.min())
    slack = SLACK * np.abs(np.diff(x)).min(initial=np.inf)
    inside = (x >= low - slack) & (x <= high + slack)
    if not inside.any():
        raise DataError(
            "spectra",
            "share no energies once they are shifted",
            "Look at the shifts: they are in eV.",
        )
    spectra = spectra.assign_coords(energy=("energy", x, dict(axis.attrs)))
    if isinstance(spectra, xr.Dataset):
        result = spectra.copy()
        for name, variable in spectra.data_vars.items():
            if "energy" in variable.dims and variable.dtype.kind in "iuf":
                result[name] = _moved(blocks.whole(variable, "energy"), shift)
    else:
        result = _moved(blocks.whole(spectra, "energy"), shift)
    result = result.isel(energy=inside)
    words = {"units": "eV", "long_name": "Added to the energies"}
    its = words | {"long_name": "Added to the energies, standard error"}
    return result.assign_coords(
        energy_shift=label(shift, "energy_shift", **words),
        energy_shift_error=label(error, "energy_shift_error", **its),
    )


def _warn_of_glitches(spectra: Spectra, caller: str) -> None:
    """Warn of glitches, which interpolation would spread; look at some spectra."""
    from batteryxr.xanes.kernels.glitches import find_glitches

    array = as_spectra(spectra, caller=caller).transpose(..., "energy")
    rows = array.values.reshape(-1, array.sizes["energy"])
    some = rows[:: 1 + len(rows) // _LOOKED_AT]
    found = find_glitches(some, x=array.energy.values, threshold=_SURE)
    if found.any():
        seen = "" if len(some) == len(rows) else f" (of {len(some)} looked at)"
        warn_quality(
            f"{caller}: {int(found.any(axis=1).sum())} of {len(rows)} spectra{seen} "
            "have glitches, and interpolation spreads them over their neighbours. "
            "Call `.xanes.deglitch()` first."
        )


def _moved(array: xr.DataArray, shift: xr.DataArray) -> xr.DataArray:
    """Return shifted spectra at their original energies."""
    result = blocks.apply(
        _interpolate,
        array,
        shift,
        core_dims=[["energy"], []],
        output_dims=[["energy"]],
        dtypes=[array.dtype if array.dtype.kind == "f" else float],
        caller="align",
        x=array.energy.values.astype(float),
    )
    result = result.transpose(*array.dims).rename(array.name)
    result.attrs = dict(array.attrs)
    return result


def _edge(reference: xr.DataArray, method: _Method) -> float:
    from batteryxr.xanes.kernels.calibration import refine_steepest

    found = float(edge_energy(normalise(reference), method=method).edge_energy)
    if method != "derivative" or not np.isfinite(found):
        return found
    return refine_steepest(*_plain(reference), found)


def _plain(spectrum: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return energies and values."""
    return spectrum.energy.values, spectrum.values.astype(float)


def _best_shifts(data: np.ndarray, **options: Any) -> tuple[np.ndarray, ...]:
    from batteryxr.xanes.kernels.calibration import best_shifts

    return best_shifts(data, **options)


def _interpolate(*arrays: np.ndarray, **options: Any) -> np.ndarray:
    from batteryxr.xanes.kernels.calibration import interpolate

    return interpolate(*arrays, **options)
