"""Mistakes of order, units, sign, shape and angle: none of them is silent."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

from batteryxr import cdi
from batteryxr.core.errors import BatteryxrError, DataQualityWarning

if TYPE_CHECKING:
    from collections.abc import Callable

N = 20
VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")
GRID = np.mgrid[:N, :N, :N] - N // 2


def counts(**coords: Any) -> xr.DataArray:
    """Return a peak of 900 counts, as a reader gives it, with all that it tells."""
    mean = 900 * np.exp(-0.5 * ((GRID / 2.5) ** 2).sum(axis=0))
    values = np.random.default_rng(0).poisson(mean).astype(np.float32)
    axes = {
        "rocking": ("rocking", 12.0 + 0.01 * np.arange(N), {"units": "deg"}),
        "detector_y": ("detector_y", 100 + np.arange(N), {"units": "1"}),
        "detector_x": ("detector_x", 200 + np.arange(N), {"units": "1"}),
        "energy": ((), 9000.0, {"units": "eV"}),
        "distance": ((), 1000.0, {"units": "mm"}),
        "pixel_size_y": ((), 55.0, {"units": "um"}),
        "pixel_size_x": ((), 55.0, {"units": "um"}),
        "two_theta": ((), 24.0, {"units": "deg"}),
        "phi": ((), 0.0, {"units": "deg"}),
    }
    array = xr.DataArray(values, dims=VOLUME, coords=axes | coords, name="intensity")
    return array.assign_attrs(rocking_motor="theta")


def crystal(states: int = 0) -> xr.DataArray:
    """Return an object as `retrieve` gives it, or several states of it."""
    z, y, x = GRID
    body = (abs(z) < 5) & (abs(y) < 4) & (abs(x) < 4)
    rho = (body * np.exp(0.1j * z)).astype(np.complex64)
    axes = {d: (d, np.arange(N) - N // 2, {"units": "1", "points": N}) for d in OBJECT}
    one = xr.DataArray(rho, dims=OBJECT, coords=axes | {"fourier_sign": -1})
    if not states:
        return one
    return xr.concat([one] * states, "state").assign_coords(state=np.arange(states))


def geometry(volume: xr.DataArray | None = None, **options: Any) -> xr.Dataset:
    return cdi.geometry(
        counts() if volume is None else volume, beamline="theta", **options
    )


def fields(**options: Any) -> xr.Dataset:
    return cdi.displacement(cdi.unwrap(crystal()), geometry=geometry(), **options)


def phased(volume: xr.DataArray, **options: Any) -> xr.Dataset:
    quick = {"schedule": "9 ER", "n_starts": 1, "progress": False}
    return cdi.retrieve(volume, **(quick | options))


def angles(change: Callable[[np.ndarray], np.ndarray]) -> xr.DataArray:
    volume = counts()
    values = change(volume["rocking"].values.copy())
    return volume.assign_coords(rocking=("rocking", values, {"units": "deg"}))


def with_nan(values: np.ndarray) -> np.ndarray:
    values[3] = np.nan
    return values


def doubled(values: np.ndarray) -> np.ndarray:
    values[4] = values[3]
    return values


MISTAKES: dict[str, Callable[[], Any]] = {
    # of order
    "frames shuffled": lambda: phased(
        counts().isel(rocking=np.random.default_rng(1).permutation(N))
    ),
    "pixels shuffled": lambda: cdi.crop(
        counts().isel(detector_x=np.random.default_rng(1).permutation(N)),
        shape=(8, 8, 8),
    ),
    "a frame missing": lambda: phased(counts().drop_isel(rocking=6)),
    "an angle twice": lambda: phased(angles(doubled)),
    "no angle": lambda: phased(angles(with_nan)),
    "angles speed up": lambda: geometry(angles(lambda a: 12 + (a - 12) ** 2 * 9)),
    "two states swapped in the geometry": lambda: cdi.phase_differences(
        crystal(2),
        gauge="core",
        geometry=xr.concat([geometry()] * 2, "state").assign_coords(state=[5, 6]),
    ),
    # of units
    "energy in keV": lambda: geometry(energy=9.0),
    "energy in J": lambda: geometry(energy=1.4e-15),
    "energy in keV in the file": lambda: geometry(
        counts(energy=((), 9.0, {"units": "eV"}))
    ),
    "distance in m": lambda: geometry(distance=1.0),
    "pixel in m": lambda: geometry(pixel_size=55e-6),
    "pixel in mm": lambda: geometry(pixel_size=0.055),
    "angles in mdeg": lambda: geometry(angles(lambda a: a * 1000)),
    "frame numbers for angles": lambda: geometry(
        counts().assign_coords(rocking=("rocking", np.arange(N), {"units": "1"}))
    ),
    # of what is counted
    "log10 of counts": lambda: phased(np.log10(counts() + 1)),
    "negative": lambda: phased(counts() - 100),
    "amplitudes are no object": lambda: cdi.unwrap(abs(crystal())),
    "no counts": lambda: phased(0 * counts()),
    "a zinger beside the peak": lambda: cdi.crop(
        counts().where(
            ~(
                (counts()["rocking"] == counts()["rocking"][2])
                & (counts()["detector_y"] == 102)
                & (counts()["detector_x"] == 215)
            ),
            60_000,
        ),
        shape=(8, 8, 8),
    ),
    "the peak at the edge": lambda: phased(counts().roll(detector_x=8)),
    # of sign
    "the other transform": lambda: cdi.misfit(
        crystal().assign_coords(fourier_sign=1), volume=counts()
    ),
    "sign unknown": lambda: cdi.displacement(
        cdi.unwrap(crystal().drop_vars("fourier_sign")), geometry=geometry()
    ),
    "sign denied": lambda: fields(sign=1),
    "two signs in one series": lambda: cdi.align_states(
        xr.concat([crystal(), crystal().assign_coords(fourier_sign=1)], "state")
    ),
    "a start of the other sign": lambda: phased(
        counts(), start=crystal().assign_coords(fourier_sign=1)
    ),
    # of shape and box
    "geometry of another crop": lambda: cdi.strain(
        fields(), geometry=geometry(counts().isel(detector_x=slice(2, -2)))
    ),
    "geometry of a shifted box": lambda: cdi.to_laboratory(
        crystal().assign_coords(
            along_y=crystal()["along_y"].assign_attrs(points=N, box_centre=140.0)
        ),
        geometry=geometry(),
    ),
    "frame by frame without a dimension": lambda: phased(counts()[0]),
    "a mask of another size": lambda: cdi.correct(counts(), mask=np.zeros((N, N - 1))),
    "an object of another shape": lambda: cdi.misfit(
        crystal().isel(along_x=slice(2, -2)), volume=counts()
    ),
    "states of several shapes": lambda: cdi.stack_states(
        [counts(), counts()[1:]], labels=[("charge", 3.0), ("charge", 4.0)]
    ),
    "a reference that is none": lambda: cdi.align_states(crystal(2), reference=2),
    "replicas from other counts": lambda: cdi.replicas(
        crystal().to_dataset(name="object"), volume=counts().isel(rocking=slice(2, -2))
    ),
    "a gauge outside the crystal": lambda: cdi.phase_differences(
        crystal(2), gauge=(0, 0, 0)
    ),
    # of masks, monitors and supports
    "a mask inverted": lambda: cdi.correct(counts(), mask=np.ones((N, N))),
    "a dark for the flat": lambda: cdi.correct(counts(), flat=np.zeros((N, N))),
    "frame numbers for the monitor": lambda: cdi.correct(
        counts().assign_coords(mon=("rocking", np.arange(N))), monitor="mon"
    ),
    "a support inverted": lambda: cdi.unwrap(crystal(), support=abs(crystal()) < 0.5),
    "refraction outside the crystal": lambda: cdi.correct_refraction(
        crystal(), n=1 - 1e-5, geometry=geometry(), support=abs(crystal()) < 0.5
    ),
    "a conjugate refractive index": lambda: cdi.correct_refraction(
        crystal(), n=1 - 1e-5 - 1e-6j, geometry=geometry()
    ),
    # of absolute numbers
    "a lattice parameter for a spacing": lambda: cdi.peak_spacings(
        counts(), geometry=geometry(), reference=4.08
    ),
    "the spacing of logarithms": lambda: cdi.peak_spacings(
        np.log10(counts() + 1), geometry=geometry()
    ),
    "the misfit of logarithms": lambda: cdi.misfit(
        crystal(), volume=np.log10(counts() + 1)
    ),
    "resolution from normalised counts": lambda: cdi.resolution(
        crystal(), volume=counts() / 1e3, geometry=geometry(), n_starts=1
    ),
    "states of other steps": lambda: cdi.stack_states(
        [counts(), angles(lambda a: 12 + 2 * (a - 12))],
        labels=[("charge", 3.0), ("charge", 4.0)],
    ),
    # of angle
    "a motor by another name": lambda: geometry(motors={"twotheta": 24.0}),
    "the direct beam of a sample circle": lambda: cdi.calibrate_detector(
        counts(), beamline="theta"
    ),
    "rocking about a motor that does not open a third direction": lambda: geometry(
        rocking="phi"
    ),
    "a detector at 400 deg": lambda: geometry(motors={"two_theta": 400.0}),
    "a detector in the beam": lambda: geometry(motors={"two_theta": 0.0}),
    "sampled too coarsely": lambda: phased(
        counts().isel(rocking=slice(6, 14)), start=crystal()[6:14]
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_no_mistake_is_silent(name):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            MISTAKES[name]()
        except BatteryxrError:
            return
    assert any(issubclass(w.category, DataQualityWarning) for w in told), name


def test_without_a_mistake_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        cdi.crop(counts(), shape=(16, 16, 16))
        cdi.misfit(crystal(), volume=counts())
        cdi.strain(fields(), geometry=geometry())
        cdi.to_laboratory(crystal(), geometry=geometry())
        cdi.phase_differences(crystal(2), gauge="core", geometry=geometry())
