"""Prepare standards by name, on the energies of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, DataError, DimensionError, warn_quality
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Part of a step by which energies may differ: they are rounded.
_SLACK = 1e-3
#: Error between energies, as a fraction of the range, above which a standard is too
#: coarse to be moved; fewest energies that are judged.
_COARSE, _FEWEST = 0.0008, 16

#: Names searched in a Dataset, in this order.
NAMES = ("flattened", "normalised", "absorption", "optical_density")


def by_name(
    standards: xr.DataArray | Mapping[str, xr.DataArray],
) -> dict[str, xr.DataArray]:
    """Return standards as spectra by name.

    Raises
    ------
    ArgumentError
        If no standard is given.
    """
    if isinstance(standards, xr.DataArray):
        names, whole = _stacked(standards)
        items = dict(zip(names, whole.transpose("standard", ...), strict=True))
    else:
        items = {
            str(name): as_spectra(item, caller=f"standards[{name!r}]", names=NAMES)
            for name, item in standards.items()
        }
    if not items:
        raise ArgumentError("standards", standards, "at least one spectrum")
    return items


def _stacked(standards: xr.DataArray) -> tuple[list[str], xr.DataArray]:
    """Return names and spectra of standards that lie along one dimension."""
    whole = as_spectra(standards, caller="standards")
    if "standard" not in whole.dims:
        whole = whole.expand_dims("standard")
    labels = whole.coords.variables.get("standard")
    if labels is not None:
        names = [str(n) for n in labels.values]
    else:
        names = [f"standard {i + 1}" for i in range(whole.sizes["standard"])]
    return names, whole


class Curve(NamedTuple):
    """Hold the energies and values of one standard, without gaps."""

    energy: np.ndarray
    values: np.ndarray


def curves(standards: xr.DataArray | Mapping[str, xr.DataArray]) -> dict[str, Curve]:
    """Return the values of standards by name, without labels.

    Raises
    ------
    ArgumentError
        If no standard is given.
    DimensionError
        If a standard is not one spectrum.
    """
    rows: dict[str, tuple[np.ndarray, xr.Variable]] = {}
    if isinstance(standards, xr.DataArray):
        names, whole = _stacked(standards)
        x = whole.coords.variables["energy"].values
        spectra = whole.variable.transpose("standard", ...)
        rows = {n: (x, spectra[k]) for k, n in enumerate(names)}
    else:
        for name, item in by_name(standards).items():
            rows[name] = item.coords.variables["energy"].values, item.variable
    if not rows:
        raise ArgumentError("standards", standards, "at least one spectrum")
    found = {}
    for name, (x, variable) in rows.items():
        if variable.dims != ("energy",):
            raise DimensionError(
                f"standards[{name!r}] is one spectrum along energy; it lies along "
                f"{variable.dims}."
            )
        energy, values = np.asarray(x, float), np.asarray(variable.values, float)
        finite = np.isfinite(values)
        found[name] = Curve(energy[finite], values[finite])
    return found


def on_grid(items: Mapping[str, Curve], x: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return names and values (standard, energy) of standards at energies `x`."""
    rows = [
        item.values
        if np.array_equal(item.energy, x)
        else np.asarray(_spline(name, item, x)(x))
        for name, item in items.items()
    ]
    return list(items), np.stack(rows)


def reached(x: np.ndarray, items: Mapping[str, Curve], most: float) -> np.ndarray:
    """Return which energies all standards cover, however they are shifted.

    Raises
    ------
    ArgumentError
        If there are none.
    """
    ends = [item.energy[[0, -1]] for item in items.values() if item.energy.size]
    low = max((e[0] for e in ends), default=-np.inf) + most
    high = min((e[1] for e in ends), default=np.inf) - most
    inside = (x >= low) & (x <= high)
    if inside.sum() < 2:
        shift = "eV, a shift by which standards still cover the spectra"
        raise ArgumentError(
            "max_shift", most, shift, f"Was it meV? Pass {most * 1e-3:g}."
        )
    return np.asarray(inside)


def own_noise(items: Mapping[str, Curve]) -> np.ndarray:
    """Return the noise of each standard, from deviations from neighbouring values."""
    from batteryxr.xanes.kernels.edge_energy import noise_of

    found = np.zeros(len(items))
    grids: dict[bytes, list[tuple[int, np.ndarray]]] = {}
    for k, item in enumerate(items.values()):
        grids.setdefault(item.energy.tobytes(), []).append((k, item.values))
    for grid, alike in grids.items():
        places, rows = zip(*alike, strict=True)
        noise = noise_of(np.stack(rows), x=np.frombuffer(grid))
        found[list(places)] = np.where(np.isfinite(noise), noise, 0.0)
    return found


def movable(items: Mapping[str, Curve], x: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Return two lists of functions of energy: the standards, and their slopes."""
    splines = [_spline(name, item, x) for name, item in items.items()]
    for name, item in items.items():
        _tell_coarse(name, item)
    return splines, [spline.derivative() for spline in splines]


def _tell_coarse(name: str, item: Curve) -> None:
    """Warn if a standard has too few energies to be known between them.

    The values of every second energy are predicted from the others; with all energies
    the curve is off by about an eighth of that.
    """
    from scipy.interpolate import make_interp_spline

    own, y = item
    if own.size < _FEWEST:
        return
    skipped = slice(3, -3, 2)
    left = make_interp_spline(own[::2], y[::2], k=3)(own[skipped]) - y[skipped]
    off = float(np.sqrt(np.mean(left**2))) / 8
    noise = float(own_noise({name: item})[0])
    if off > max(_COARSE * float(np.ptp(y)), noise):
        step = float(np.median(np.diff(own)))
        warn_quality(
            f"lcf: standards[{name!r}] has one energy in {step:.3g} eV: between them "
            f"it is off by about {off / np.ptp(y):.1%} of its range, and moved ones "
            "give weights wrong by more than their errors. Pass it with smaller steps."
        )


def _spline(name: str, item: Curve, x: np.ndarray) -> Any:
    from scipy.interpolate import make_interp_spline

    own, y = item
    slack = _SLACK * np.abs(np.diff(x)).min(initial=np.inf)
    low, high = x.min(), x.max()  # they need not rise
    if own.size < 4 or low < own[0] - slack or high > own[-1] + slack:
        has = f"{own[0]:.2f} to {own[-1]:.2f} eV" if own.size else "no value"
        raise DataError(
            f"standards[{name!r}]",
            f"it has {has}, which covers less than {low:.2f} to {high:.2f} eV",
            "Pass a window inside the energies of all of them.",
        )
    return make_interp_spline(own, y, k=3)
