"""Small labelled data of every kind, for the tests that alter their labels."""

from __future__ import annotations

from functools import cache

import numpy as np
import xarray as xr

from batteryxr import cdi, nmf, simulate, xanes

NM = {"units": "nm"}
EV = {"units": "eV"}


@cache
def stack():
    """Return a small particle with two peaks at the edge, (energy, y, x)."""
    energy = np.concatenate(
        [np.arange(5440.0, 5465.0, 5), np.arange(5466.0, 5520.0, 2)]
    )
    valence = np.linspace(0, 1, 100).reshape(10, 10)
    edge = 5478 + 3 * valence
    values = 0.2 + 0.5 / (1 + np.exp(-(energy[:, None, None] - edge) / 2))
    values += 0.003 * np.random.default_rng(1).standard_normal(values.shape)
    coords = {
        "energy": ("energy", energy, EV),
        "y": ("y", 15.0 * np.arange(10), NM),
        "x": ("x", 15.0 * np.arange(10), NM),
    }
    return xr.DataArray(
        values,
        dims=("energy", "y", "x"),
        coords=coords,
        name="absorption",
        attrs={"units": "1"},
    )


def image(value=1.0):
    """Return an image on the pixels of the stack whose values tell pixels apart."""
    first = stack().isel(energy=0, drop=True)
    rise = np.linspace(0.9, 1.1, first.size).reshape(first.shape)
    return first.copy(data=value * rise)


def mask():
    return (image() > 0.93).rename("mask")


@cache
def maps():
    return xanes.fit_edge(stack(), edge=(5470, 5488), mask=None)


@cache
def features():
    return maps()[["edge_energy", "edge_jump"]].reset_coords(drop=True)


@cache
def clusters():
    return xanes.cluster(features(), n_clusters=2, n_starts=1)


@cache
def field():
    """Return complex transmission, (energy, y, x)."""
    phase = (
        -0.5 * image().values
        - 0.001 * np.arange(stack().sizes["energy"])[:, None, None]
    )
    return (
        stack()
        .copy(data=np.exp(-stack().values / 2 + 1j * phase))
        .rename("transmission")
    )


def phase():
    return xanes.from_transmission(field())["phase"]


@cache
def patterns():
    """Return a series of two components, (scan, r)."""
    r = np.linspace(1.0, 10.0, 60)
    parts = np.stack([np.exp(-((r - 3) ** 2)), np.exp(-((r - 6) ** 2) / 2)])
    share = np.linspace(0, 1, 12)
    values = np.outer(1 - share, parts[0]) + np.outer(share, parts[1])
    values += 0.001 * np.random.default_rng(2).random(values.shape)
    coords = {"scan": np.arange(12), "r": ("r", r, {"units": "Angstrom"})}
    return xr.DataArray(values, dims=("scan", "r"), coords=coords, name="pdf")


def errors():
    rise = np.linspace(0.002, 0.004, patterns().size).reshape(patterns().shape)
    return patterns().copy(data=rise)


FIT = {"n_starts": 1, "max_iter": 60}
SHORT = nmf.Sampling(n_chains=2, sweeps=100, draws=20, rotations=2000)


@cache
def fitted(n=2):
    return nmf.fit(patterns(), n, **FIT)


@cache
def pattern():
    """Return G(r) of one component on evenly spaced r."""
    r = np.arange(1.0, 8.0, 0.05)
    values = np.sin(4 * r) / r * np.exp(-r / 8)
    coords = {"component": ["a"], "r": ("r", r, {"units": "Angstrom"})}
    return xr.DataArray(values[None], dims=("component", "r"), coords=coords)


@cache
def crystal(n=16):
    """Return an object in space with a smooth phase."""
    axis = np.arange(n) - n / 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    body = (abs(z) < 5) & (abs(y) < 4) & (abs(x) < 3)
    values = body * np.exp(0.3j * (z + 0.5 * y) / n)
    coords = {d: (d, 8.0 * axis, NM) for d in "zyx"}
    coords |= {"q_x": 0.0, "q_y": 0.0, "q_z": 3.0}
    return xr.DataArray(
        values,
        dims=("z", "y", "x"),
        coords=coords,
        name="object",
        attrs={"units": "1", "fourier_sign": 1},
    )


def body():
    return (abs(crystal()) > 0.5).reset_coords(drop=True)


@cache
def states():
    parts = [crystal() * np.exp(0.1j * k * crystal().z / 60) for k in range(3)]
    joined = xr.concat(parts, "state", coords="minimal", compat="override")
    joined.attrs = crystal().attrs
    return joined.assign_coords(state=[10, 20, 30]).rename("object")


@cache
def differences():
    return cdi.phase_differences(states(), reference=0)


@cache
def frames():
    """Return frames on part of a detector."""
    coords = {
        "rocking": ("rocking", 0.01 * np.arange(4), {"units": "deg"}),
        "detector_y": np.arange(10, 22),
        "detector_x": np.arange(30, 44),
    }
    counts = np.random.default_rng(3).poisson(50, (4, 12, 14))
    return xr.DataArray(
        counts, dims=("rocking", "detector_y", "detector_x"), coords=coords
    )


def on_detector(value=1.0):
    first = frames().isel(rocking=0, drop=True)
    rise = np.linspace(0.8, 1.2, first.size).reshape(first.shape)
    return first.copy(data=value * rise)


@cache
def bragg():
    """Return a pattern and an object that made it, by state."""
    axes = ("rocking", "detector_y", "detector_x")
    obj = crystal().values
    power = np.abs(np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(obj)))) ** 2
    dims = ("along_rocking", "along_y", "along_x")
    coords = {"state": [10, 20, 30]}
    volume = xr.DataArray(
        np.stack([power, 2 * power, 3 * power]),
        dims=("state", *axes),
        coords=coords,
        name="intensity",
    )
    found = xr.DataArray(
        np.stack([obj, obj * 1j, obj * -1]),
        dims=("state", *dims),
        coords=coords,
        name="object",
    )
    return volume, found


@cache
def ptycho():
    scan, _ = simulate.ptychography(
        positions=4, size=32, energy=np.array([5500.0]), particle=(300.0, 240.0)
    )
    scan = scan.isel(energy=0) if "energy" in scan.dims else scan
    number = np.arange(scan.sizes["position"])
    scan = scan.assign_coords(position=number).load()
    return scan, cdi.ptycho(scan, iterations=2)


def numbers_of(result):
    """Return everything that is a number, by name."""
    if isinstance(result, xr.DataArray):
        result = result.to_dataset(name="result")
    kinds = "iufcb"
    return {n: v.values for n, v in result.data_vars.items() if v.dtype.kind in kinds}
