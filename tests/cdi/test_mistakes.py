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
    "log2 of counts": lambda: phased(np.log2(counts() + 1)),
    "amplitudes for counts": lambda: cdi.misfit(crystal(), volume=np.sqrt(counts())),
    "negative": lambda: phased(counts() - 100),
    "amplitudes are no object": lambda: cdi.unwrap(abs(crystal())),
    "no counts": lambda: phased(0 * counts()),
    "a support for counts": lambda: phased(
        counts().copy(data=(abs(skew()).values > 0.5).astype(np.float32))
    ),
    "a support, cropped": lambda: cdi.crop(
        counts().copy(data=(abs(skew()).values > 0.5).astype(np.float32)),
        shape=(16, 16, 16),
    ),
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


def skew() -> xr.DataArray:
    """Return a crystal that is no mirror image of itself."""
    z, y, x = GRID
    cut = (x + y < 4) & (z + 2 * y < 7)
    return crystal() * cut * np.exp(0.02j * y * x).astype(np.complex64)


def pattern(one: xr.DataArray, seed: int = 0) -> xr.DataArray:
    """Return a million photons that were scattered by an object."""
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(one.values)))
    mean = np.abs(field) ** 2 * 1e6 / (np.abs(field) ** 2).sum()
    photons = np.random.default_rng(seed).poisson(mean)
    return counts().copy(data=photons.astype(np.float32))


def beside(one: xr.DataArray, seed: int) -> xr.DataArray:
    """Return an object with noise."""
    real, imaginary = 0.05 * np.random.default_rng(seed).standard_normal((2, N, N, N))
    return one + (real + 1j * imaginary)


def twin_of(one: xr.DataArray) -> xr.DataArray:
    return one.copy(data=np.roll(np.flip(one.values), (1, 1, 1), (0, 1, 2)))


def in_space(step: float, units: str | None) -> xr.Dataset:
    """Return fields of an object on right-angled axes."""
    attrs = {} if units is None else {"units": units}
    axes = {d: (d, GRID[0, :, 0, 0] * step, attrs) for d in "zyx"}
    q = {"q_x": 0.0, "q_y": 0.0, "q_z": 3.0}
    one = crystal().rename(dict(zip(OBJECT, "zyx", strict=True)))
    return cdi.unwrap(one.assign_coords(axes | q))


def wrapped() -> xr.Dataset:
    """Return fields whose phase was never unwrapped."""
    turns = crystal() * np.exp(0.9j * GRID[0]).astype(np.complex64)
    found = cdi.unwrap(turns)
    inside = np.where(found["support"], np.angle(turns), np.nan)
    return found.assign(phase=found["phase"].copy(data=inside))


def apart() -> xr.DataArray:
    """Return two states, the second of which lies four voxels from the first."""
    return xr.concat([skew(), skew().roll(along_x=4)], "state")


def changes() -> xr.Dataset:
    """Return the phase differences of two states."""
    second = crystal() * np.exp(0.1j * GRID[1]).astype(np.complex64)
    two = xr.concat([crystal(), second], "state").assign_coords(state=[0, 1])
    return cdi.phase_differences(two, gauge="core")


def beam(change: Callable[[np.ndarray], None]) -> xr.Dataset:
    """Return the detector that frames of the direct beam tell."""
    angle = np.linspace(-0.1, 0.1, 9)
    y, x = np.mgrid[:64, :64]
    row = 32 + 800 / 0.055 * np.tan(np.radians(angle))
    values = np.array([1e4 * np.exp(-((y - r) ** 2 + (x - 32) ** 2) / 8) for r in row])
    change(values)
    frames = xr.DataArray(values, {"rocking": angle}, VOLUME)
    told = {"beamline": "ID01", "rocking": "delta", "motors": {"nu": 0.0}}
    return cdi.calibrate_detector(frames, pixel_size=55, **told)


def hot(frames: np.ndarray) -> None:
    frames[:, 5, 5] = 1e5


def cut(frames: np.ndarray) -> None:
    frames[:] = np.roll(frames, 11, 1)


def swapped(*order: int) -> xr.Dataset:
    one, other = geometry(), geometry(motors={"two_theta": 24.3})
    return xr.concat([one, other], "state").assign_coords(state=list(order))


EVEN_MORE: dict[str, Callable[[], Any]] = {
    # of order
    "row and column of the centre": lambda: geometry(centre=(210.0, 110.0)),
    "states in another order": lambda: cdi.peak_spacings(
        xr.concat([counts()] * 2, "state").assign_coords(state=[0, 1]),
        geometry=swapped(0, 2),
    ),
    "patterns of another series": lambda: cdi.inverse_pca(
        changes().assign_coords(state=[7, 8]), order=cdi.order_parameter(changes())
    ),
    "an object mirrored": lambda: cdi.displacement(
        cdi.unwrap(skew()[:, :, ::-1]), geometry=geometry()
    ),
    "every second voxel": lambda: cdi.to_laboratory(
        crystal()[::2], geometry=geometry()
    ),
    "an object with its origin at the corner": lambda: cdi.unwrap(
        crystal().copy(data=np.fft.ifftshift(crystal().values))
    ),
    "the support of such an object": lambda: cdi.analysis_support(
        crystal().copy(data=np.fft.ifftshift(crystal().values))
    ),
    # of units
    "positions in m": lambda: cdi.displacement(in_space(1e-8, "nm")),
    "positions without units": lambda: cdi.displacement(in_space(10, None)),
    "positions in pixels": lambda: cdi.displacement(in_space(10, "1")),
    "a voxel in Angstrom": lambda: cdi.to_laboratory(
        crystal(),
        geometry=geometry(),
        voxel_size=10 * float(geometry()["voxel_volume"]) ** (1 / 3),
    ),
    "angles in rad": lambda: geometry(
        counts(
            rocking=(
                "rocking",
                np.radians(12 + 0.01 * GRID[0, :, 0, 0]),
                {"units": "rad"},
            )
        )
    ),
    "two theta in rad": lambda: geometry(motors={"two_theta": 0.419}),
    "voltages in mV": lambda: cdi.stack_states(
        [counts(), counts()], labels=[("charge", 3000.0), ("charge", 4000.0)]
    ),
    "phases in counts": lambda: cdi.displacement(
        cdi.unwrap(crystal()).assign(
            phase=cdi.unwrap(crystal())["phase"].assign_attrs(units="nm")
        ),
        geometry=geometry(),
    ),
    # of what was measured
    "an object with itself": lambda: cdi.fsc(skew(), other=skew()),
    "an object with itself turned": lambda: cdi.fsc(
        skew(), other=skew() * np.complex64(1j)
    ),
    "objects that are not aligned": lambda: cdi.fsc(
        beside(skew(), 1), other=beside(skew(), 2).roll(along_x=2, roll_coords=False)
    ),
    "a crystal and its twin": lambda: cdi.fsc(
        beside(skew(), 1), other=np.conj(twin_of(beside(skew(), 2)))
    ),
    "counts that are mirrored, in a resolution": lambda: cdi.resolution(
        skew(), volume=pattern(skew())[:, ::-1], geometry=geometry(), n_starts=0
    ),
    "counts that are mirrored, in a transfer function": lambda: cdi.prtf(
        skew().expand_dims(start=2), volume=pattern(skew())[:, ::-1]
    ),
    "counts that are mirrored, in replicas": lambda: cdi.replicas(
        skew().to_dataset(name="object"),
        volume=pattern(skew())[:, ::-1],
        schedule="9 ER",
        n_starts=3,
    ),
    "a dark image of ten frames": lambda: cdi.correct(
        counts(), dark=10 * counts().max("rocking")
    ),
    "a flat of NaN": lambda: cdi.correct(counts(), flat=np.full((N, N), np.nan)),
    "hot pixels of logarithms": lambda: cdi.hot_pixels(np.log10(counts() + 1)),
    "repeats that moved": lambda: cdi.sum_repeats(
        xr.concat([counts(), counts().roll(detector_x=4)], "repeat")
    ),
    "repeats of two energies": lambda: cdi.sum_repeats(
        xr.concat([counts(), counts(energy=((), 8000.0, {"units": "eV"}))], "repeat")
    ),
    "states of two energies": lambda: cdi.stack_states(
        [counts(), counts(energy=((), 8000.0, {"units": "eV"}))],
        labels=[("charge", 3.0), ("charge", 4.0)],
    ),
    "beam and pixel that is hot": lambda: beam(hot),
    "a beam at the edge": lambda: beam(cut),
    # of sign and zero
    "half a turn between states": lambda: cdi.phase_differences(
        crystal(2) * np.array([1, -1]).reshape(2, 1, 1, 1)
    ),
    "a wrapped phase": lambda: cdi.displacement(wrapped(), geometry=geometry()),
    "a wrapped phase, interpolated": lambda: cdi.to_laboratory(
        wrapped(), geometry=geometry()
    ),
    "a steep ramp, interpolated": lambda: cdi.to_laboratory(
        crystal() * np.exp(2.5j * GRID[2]), geometry=geometry()
    ),
    "amplitudes for objects": lambda: cdi.align(abs(skew()), reference=skew()),
    "beta for delta": lambda: cdi.correct_refraction(
        crystal(), n=1 - 4e-6 + 4.6e-5j, geometry=geometry()
    ),
    "delta in per cent": lambda: cdi.correct_refraction(
        crystal(), n=1 - 4.6e-3, geometry=geometry()
    ),
    # of numbers that mean something else
    "a phase in deg, called rad": lambda: cdi.displacement(
        cdi.unwrap(crystal()).assign(
            phase=(cdi.unwrap(skew())["phase"] * 180 / np.pi).assign_attrs(units="rad")
        ),
        geometry=geometry(),
    ),
    "an amplitude for the support": lambda: cdi.unwrap(
        skew(), support=abs(skew()) + 0.1
    ),
    "a displacement that was changed": lambda: cdi.strain(
        fields().assign(
            displacement=fields()["displacement"]
            * xr.DataArray(GRID[0, :, 0, 0], dims=OBJECT[0])
        )
    ),
    "edges in deg": lambda: cdi.domains(changes(), edges=[20.0], geometry=geometry()),
    "counts per second": lambda: phased(pattern(skew()) / 7),
    "counts of which the largest are cut": lambda: phased(
        pattern(skew()).clip(max=1000)
    ),
    "marks of a detector": lambda: phased(
        pattern(skew()).where(pattern(skew())["detector_x"] != 205, -1)
    ),
    "marks of another detector": lambda: cdi.locate_peak(
        pattern(skew()).where(pattern(skew())["detector_x"] != 205, 2.0**32 - 1)
    ),
    "other counts of this crystal, in replicas": lambda: cdi.replicas(
        skew().assign_coords(photons=1e6).to_dataset(name="object"),
        volume=pattern(skew(), 1),
        schedule="9 ER",
        n_starts=3,
    ),
    "other counts of this crystal, in a resolution": lambda: cdi.resolution(
        skew().assign_coords(photons=1e6),
        volume=pattern(skew(), 1),
        geometry=geometry(),
        n_starts=0,
    ),
    # of place and geometry
    "an object of another energy": lambda: cdi.displacement(
        cdi.unwrap(crystal().assign_coords(energy=8000.0)), geometry=geometry()
    ),
    "an object at another angle": lambda: cdi.to_laboratory(
        crystal().assign_coords(two_theta=25.0), geometry=geometry()
    ),
    "a peak of another energy": lambda: cdi.peak_spacings(
        counts(), geometry=geometry(counts(energy=8990.0))
    ),
    "states that were not aligned": lambda: cdi.phase_differences(
        apart(), gauge="core"
    ),
    "their support": lambda: cdi.common_support(apart()),
    "their gaps": lambda: cdi.fill_missing(apart()),
    "their modes": lambda: cdi.decompose(apart(), dim="state"),
    "strain by another energy": lambda: cdi.strain(
        fields(), geometry=geometry(counts(energy=8990.0))
    ),
    "spacings by another angle": lambda: cdi.lattice_spacing(
        cdi.strain(fields()), geometry=geometry(counts(two_theta=24.1))
    ),
    "several states for one": lambda: cdi.strain(fields(), geometry=swapped(0, 1)),
    "an energy that the file denies": lambda: geometry(energy=12_000.0),
    "a motor that the file denies": lambda: geometry(motors={"two_theta": 40.0}),
    "a rocking motor that the file denies": lambda: cdi.geometry(
        counts().assign_attrs(rocking_motor="phi"), beamline="theta", rocking="theta"
    ),
}
MISTAKES |= EVEN_MORE


def series(change: Callable[[np.ndarray], np.ndarray] | None = None) -> xr.DataArray:
    """Return three states of a crystal that is strained more and more, one changed."""
    z, y, x = GRID
    wave = np.exp(0.02j * (z * x + 5 * y))
    states = [skew() * (wave**k).astype(np.complex64) for k in range(3)]
    if change is not None:
        states[2] = states[2].copy(data=change(states[2].values))
    return xr.concat(states, "state").assign_coords(state=[0, 1, 2])


def patterns(change: Callable[[np.ndarray], np.ndarray] | None = None) -> xr.DataArray:
    """Return the counts of the states, those of the last one changed."""
    found = [pattern(one, seed) for seed, one in enumerate(series())]
    if change is not None:
        found[2] = found[2].copy(data=change(found[2].values))
    return xr.concat(found, "state").assign_coords(state=[0, 1, 2])


def turned(rows: np.ndarray) -> np.ndarray:
    return rows[:, ::-1]


def per_cent(fields: xr.Dataset) -> xr.Dataset:
    """Return strain in per cent (of a crystal that bears much) with no such unit."""
    return fields.assign(strain=xr.full_like(fields["strain"], 3.0))


OF_SERIES: dict[str, Callable[[], Any]] = {
    # of sign
    "a state conjugated": lambda: cdi.align_states(series(np.conj)),
    "a state mirrored": lambda: cdi.align_states(series(turned)),
    "an object conjugated": lambda: cdi.align(np.conj(skew()), reference=skew()),
    "starts of two signs": lambda: cdi.decompose(
        xr.concat([skew(), np.conj(skew())], "start")
    ),
    # of the states after the first
    "a state's counts mirrored, in a transfer function": lambda: cdi.prtf(
        series().expand_dims(start=2), volume=patterns(turned)
    ),
    "a state's counts mirrored, in a resolution": lambda: cdi.resolution(
        series(), volume=patterns(turned), geometry=geometry(), n_starts=0
    ),
    "states in another order, in a track": lambda: cdi.track_domains(
        cdi.domains(changes(), geometry=geometry())
        .isel(state=[0, 1, 1])
        .assign_coords(state=[0, 2, 1])
    ),
    # of what is passed
    "displacements for phase differences": lambda: cdi.order_parameter(
        changes()["phase_difference"].assign_attrs(units="Angstrom")
    ),
    "objects for phase differences": lambda: cdi.order_parameter(series()),
    "a phase for an object": lambda: cdi.analysis_support(cdi.unwrap(skew())["phase"]),
    "amplitudes beside objects": lambda: cdi.fsc(skew(), other=abs(skew())),
    "repeats of logarithms": lambda: cdi.sum_repeats(
        xr.concat([np.log10(counts() + 1)] * 2, "repeat")
    ),
    "a dark image that was subtracted before": lambda: cdi.correct(
        counts(), dark=-np.ones((N, N))
    ),
    "one frame, for hot pixels": lambda: cdi.hot_pixels(counts()[:1]),
    "strain in per cent": lambda: cdi.lattice_spacing(
        per_cent(cdi.strain(fields(), geometry=geometry()))
    ),
    # of supports
    "a support inverted, of states": lambda: cdi.fill_missing(
        cdi.align_states(series()), support=abs(skew()) < 0.5
    ),
    "a support inverted, of a box": lambda: cdi.crop_to_support(
        skew().to_dataset(name="object").assign(support=abs(skew()) < 0.5)
    ),
    "a support inverted, of a start": lambda: phased(
        pattern(skew()),
        start=skew().to_dataset(name="object").assign(support=abs(skew()) < 0.5),
    ),
    "no counts, in a misfit": lambda: cdi.misfit(skew(), volume=0 * counts()),
    # of scale
    "an object in the wrong precision": lambda: cdi.align(
        skew().astype(complex) * 1e200, reference=skew()
    ),
    "counts on no scale": lambda: cdi.misfit(skew(), volume=pattern(skew()) * 1e-30),
}
MISTAKES |= OF_SERIES


def found(change: Callable[[np.ndarray], np.ndarray] | None = None) -> xr.DataArray:
    """Return an object that was retrieved, and changed in place since."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        one = phased(pattern(skew()))["object"].compute()
    return one if change is None else one.copy(data=change(one.values))


def moved(one: xr.DataArray | xr.Dataset) -> xr.Dataset:
    return cdi.displacement(
        one if isinstance(one, xr.Dataset) else cdi.unwrap(one), geometry=geometry()
    )


AFTERWARDS: dict[str, Callable[[], Any]] = {
    "a result conjugated": lambda: moved(np.conj(found())),
    "a result transposed": lambda: moved(found(lambda v: v.transpose(0, 2, 1))),
    "a result turned": lambda: moved(found(lambda v: np.rot90(v, axes=(1, 2)))),
    "a result mirrored": lambda: moved(found(lambda v: v[:, ::-1])),
    "a conjugate, interpolated": lambda: cdi.to_laboratory(
        np.conj(found()), geometry=geometry()
    ),
    "a phase negated": lambda: moved(
        cdi.unwrap(found()).assign(phase=-cdi.unwrap(found())["phase"])
    ),
    "one scan twice": lambda: cdi.stack_states(
        [pattern(skew())] * 2, labels=[("charge", 3.0), ("charge", 3.5)]
    ),
    "one repeat twice": lambda: cdi.sum_repeats(
        xr.concat([pattern(skew())] * 2, "repeat")
    ),
    "one start, for a transfer function": lambda: cdi.prtf(
        skew().expand_dims(start=1), volume=pattern(skew())
    ),
    "a support of everything": lambda: cdi.unwrap(skew(), support=abs(skew()) < 2),
    "phase differences in deg, called rad": lambda: cdi.order_parameter(
        cdi.phase_differences(series(), gauge="core")["phase_difference"] * 180
    ),
}
MISTAKES |= AFTERWARDS


@pytest.mark.parametrize("name", MISTAKES)
def test_no_mistake_is_silent(name):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            MISTAKES[name]()
        except BatteryxrError:
            return
    assert any(issubclass(w.category, DataQualityWarning) for w in told), name


#: What is said of mistakes that could also be told by a name of something else.
BY_NAME = {
    "log2 of counts": "the binary logarithm of counts",
    "amplitudes for counts": "the square root of counts",
    "a support for counts": "as a support or mask does",
    "a support, cropped": "as a support or mask does",
    "a phase in deg, called rad": "Is it in deg",
    "an amplitude for the support": "not only 0 and 1",
    "a displacement that was changed": "call displacement again",
    "counts per second": "multiples of 0.142857",
    "counts of which the largest are cut": "saturated",
    "marks of a detector": "holds -1 in 20 pixels",
    "marks of another detector": "holds 4294967296 in 20 pixels",
    "other counts of this crystal, in replicas": "was phased from 1000000 counts",
    "other counts of this crystal, in a resolution": "was phased from 1000000 counts",
}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_mistake_is_told_by_its_name(name):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            MISTAKES[name]()
        except BatteryxrError as error:
            said = [str(error)]
        else:
            said = [str(w.message) for w in told]
    assert any(BY_NAME[name] in one for one in said), said


#: Mistakes that only values show, so that lazy data tell of them when computed.
IN_VALUES = (
    "no counts",
    "the peak at the edge",
    "a support inverted",
    "refraction outside the crystal",
    "sampled too coarsely",
    "objects that are not aligned",
    "a crystal and its twin",
    "counts that are mirrored, in a resolution",
    "counts that are mirrored, in a transfer function",
    "counts that are mirrored, in replicas",
    "a dark image of ten frames",
    "a wrapped phase",
    "a wrapped phase, interpolated",
    "a steep ramp, interpolated",
    "states that were not aligned",
    "their support",
    "their gaps",
    "a phase in deg, called rad",
    "an amplitude for the support",
    "a displacement that was changed",
    "marks of a detector",
    "other counts of this crystal, in replicas",
    "other counts of this crystal, in a resolution",
)


def make_lazy(monkeypatch):
    for name in ("counts", "crystal", "skew", "pattern", "beside", "apart", "wrapped"):
        made = globals()[name]
        monkeypatch.setitem(
            globals(), name, lambda *a, made=made, **k: made(*a, **k).chunk()
        )


@pytest.mark.parametrize("name", IN_VALUES)
def test_no_mistake_is_silent_in_lazy_data(name, monkeypatch):
    make_lazy(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        found = MISTAKES[name]()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found.compute()
        except BatteryxrError:
            return
    assert any(issubclass(w.category, DataQualityWarning) for w in told), name


@pytest.mark.parametrize("lazy", [False, True])
def test_without_a_mistake_nothing_is_said(lazy, monkeypatch):
    if lazy:
        make_lazy(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        cdi.crop(counts(), shape=(16, 16, 16)).compute()
        cdi.misfit(crystal(), volume=counts()).compute()
        cdi.strain(fields(), geometry=geometry()).compute()
        cdi.lattice_spacing(cdi.strain(fields())).compute()
        cdi.to_laboratory(crystal(), geometry=geometry()).compute()
        cdi.displacement(in_space(100, "Angstrom")).compute()
        cdi.resolution(skew(), volume=pattern(skew()), geometry=geometry(), n_starts=0)
        cdi.prtf(skew().expand_dims(start=2), volume=pattern(skew())).compute()
        cdi.fsc(beside(skew(), 1), other=beside(skew(), 2)).compute()
        cdi.decompose(crystal(2), dim="state").compute()
        cdi.sum_repeats(xr.concat([pattern(skew(), 1), pattern(skew(), 2)], "repeat"))
        cdi.correct_refraction(crystal(), n=1 - 4.6e-5 + 4e-6j, geometry=geometry())
        geometry(centre=(110.0, 210.0), energy=9010.0)
        cdi.displacement(
            cdi.unwrap(crystal().assign_coords(energy=9000.5)), geometry=geometry()
        ).compute()
        cdi.misfit(crystal(), volume=pattern(skew())).compute()
        cdi.align_states(series()).compute()
        cdi.prtf(series().expand_dims(start=2), volume=patterns()).compute()
        cdi.order_parameter(changes())
        moved(np.conj(found()).assign_coords(fourier_sign=1))
        moved(3 * found().where(abs(found()) > 0.3 * abs(found()).max(), 0))
        cdi.phase_differences(crystal(2), gauge="core", geometry=geometry()).compute()


def test_the_direct_beam_is_far_from_the_peak():
    """Without an arm, row and column of the beam are no slip, wherever the peak is."""
    still = cdi.Beamline("still", (cdi.Circle("theta", "y+"),), ())
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        warnings.filterwarnings("ignore", "seen width", DataQualityWarning)
        near = counts(distance=((), 30.0, {"units": "mm"}))
        cdi.geometry(near, beamline=still, centre=(210.0, 110.0))
