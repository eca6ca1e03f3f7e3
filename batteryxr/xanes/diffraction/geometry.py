"""Prepare patterns: their axis, and how positions follow from a lattice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes
from batteryxr.xanes.diffraction.instrument import (
    Diffractometer,
    convert_axis,
    from_q,
    pattern_axis,
    require_wavelength,
    to_q,
    wavelength_of,
)
from batteryxr.xanes.preparing.inputs import SIGNALS
from batteryxr.xanes.spectra import as_spectra

if TYPE_CHECKING:
    from batteryxr.xanes.spectra import Range

Offset = Literal["displacement", "zero", "none"]


@dataclass(frozen=True)
class Asked:
    """Set how the positions of a lattice are read.

    `axis` is that of the fit; the data may have been `given` along another one.
    """

    axis: str
    wavelength: float | None
    instrument: Diffractometer
    offset: str
    given: str

    @property
    def shifts(self) -> int:
        """Return the number of parameters of the offset."""
        return 0 if self.offset == "none" else 1

    @property
    def doublet(self) -> tuple[float, float] | None:
        """Return the K-alpha doublet, if it is visible on the axis."""
        return self.instrument.doublet if self.axis == "two_theta" else None


def asked_of(
    spectra: xr.DataArray | xr.Dataset,
    instrument: Diffractometer | None,
    offset: str | None,
    *,
    caller: str,
) -> tuple[xr.DataArray, Asked]:
    """Return the patterns, and how their positions are read."""
    axis = given = pattern_axis(spectra, caller=caller)
    device = instrument or Diffractometer()
    known = wavelength_of(spectra, device)
    chosen = offset or ("displacement" if axis == "two_theta" else "none")
    if axis != "two_theta" and device.tube is not None:
        # A doublet has its measured separation along the angle only.
        patterns: Any = spectra
        spectra = convert_axis(patterns, axis="two_theta", instrument=device)
        axis = "two_theta"
    if axis == "two_theta":
        require_wavelength(known, instrument)
    if axis != "two_theta" and chosen != "none":
        raise ArgumentError("offset", offset, f"'none' along {axis}")
    if device.wavelength is None and known is not None:
        device = Diffractometer(
            radiation=device.radiation,
            wavelength=known,
            tube=device.tube,
            ratio=device.ratio,
            radius=device.radius,
            polarisation=device.polarisation,
        )
    names: tuple[str, ...] = SIGNALS
    if isinstance(spectra, xr.Dataset):
        names = tuple(n for n in SIGNALS if n in spectra and axis in spectra[n].dims)
    array = as_spectra(spectra, caller=caller, dim=axis, names=names)
    if axis == "d":
        q = 2 * np.pi / array["d"].values
        array = array.rename(d="q").assign_coords(q=("q", q, attributes("q")))
        array, axis = array.sortby("q"), "q"
    return array, Asked(axis, known, device, chosen, given)


def patterns_of(
    array: xr.DataArray, asked: Asked, limits: Range | None
) -> tuple[np.ndarray, np.ndarray, xr.DataArray]:
    """Return axis, patterns (N, m), and an array along their other dimensions."""
    axis = asked.axis
    x = array[axis].values.astype(float)
    if limits is not None:
        array = array.sel({axis: slice(*_moved(limits, asked))})
        x = array[axis].values.astype(float)
    if x.size < 30:
        raise ArgumentError(
            "limits", limits, f"a range that holds 30 points or more of {asked.given}"
        )
    rows = array.transpose(..., axis)
    y = np.asarray(rows.values, np.float64).reshape(-1, x.size)
    return x, y, rows.isel({axis: 0}, drop=True)


def _moved(limits: Range, asked: Asked) -> tuple[float, float]:
    """Convert limits on the given axis to limits on the axis of the fit."""
    if asked.given == asked.axis:
        return limits
    q = to_q(np.asarray(limits, dtype=float), asked.given, asked.wavelength)
    if asked.wavelength is not None:
        q = np.minimum(q, (1 - 1e-12) * 4 * np.pi / asked.wavelength)
    low, high = np.sort(from_q(q, asked.axis, asked.wavelength))
    return float(low), float(high)


def q_range_of(x: np.ndarray, asked: Asked) -> tuple[float, float]:
    """Return the smallest and largest momentum transfer of an axis."""
    ends = to_q(x[[0, -1]], asked.axis, asked.wavelength)
    return float(max(ends[0], 1e-3)), float(ends[1])


def place(metric: np.ndarray, form: np.ndarray, asked: Asked) -> np.ndarray:
    """Return positions (N, reflections) without offset."""
    q = 2 * np.pi * np.sqrt(np.maximum(metric @ form.T, 1e-12))
    return from_q(q, asked.axis, asked.wavelength)


def place_slope(
    metric: np.ndarray, form: np.ndarray, asked: Asked
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (N, R) and their slopes (N, R, free) by the metric."""
    power = np.maximum(metric @ form.T, 1e-12)
    q = 2 * np.pi * np.sqrt(power)
    slope = np.pi / np.sqrt(power)
    at = from_q(q, asked.axis, asked.wavelength)
    if asked.axis == "two_theta":
        assert asked.wavelength is not None
        sine = np.minimum(q * asked.wavelength / (4 * np.pi), 0.999999)
        per_q = 2 * asked.wavelength / (4 * np.pi) / np.sqrt(1 - sine**2)
        slope = slope * np.degrees(per_q)
    return at, slope[:, :, None] * form[None]


def offset_slope(theta: np.ndarray, asked: Asked) -> np.ndarray:
    """Return the shift of positions at 2 theta (deg) by a unit of the offset."""
    if asked.offset == "zero":
        return np.ones_like(theta)
    return np.asarray(-2 * np.degrees(1.0) * np.cos(np.radians(theta) / 2))
