"""Data for panels, small enough to be made for each test run."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr


def _coordinate(dim, values, units, long_name):
    return (dim, values, {"units": units, "long_name": long_name})


@pytest.fixture(scope="session")
def series():
    """Return 40 patterns of three phases that follow one another."""
    rng = np.random.default_rng(1)
    r = np.linspace(1, 10, 120)
    places = rng.uniform(1, 10, (3, 12, 1))
    phases = np.exp(-0.5 * ((r - places) / 0.15) ** 2).sum(axis=1)
    t = np.linspace(0, 1, 40)[:, None]
    ratios = np.exp(-0.5 * ((t - [0.0, 0.5, 1.0]) / 0.2) ** 2)
    ratios /= ratios.sum(axis=1, keepdims=True)
    return xr.DataArray(
        ratios @ phases + rng.normal(0, 1e-3, (40, 120)),
        dims=("scan", "r"),
        coords={
            "r": _coordinate("r", r, "Angstrom", "Distance r"),
            "voltage": _coordinate("scan", 3 + t[:, 0], "V", "Voltage"),
            "li_content": _coordinate("scan", 1 - t[:, 0], "1", "Li"),
        },
        attrs={"units": "1", "long_name": "Intensity"},
        name="pattern",
    )


@pytest.fixture(scope="session")
def scans():
    """Return a joined series of two cycles: up and down between 3 and 4 V, twice."""
    half = np.linspace(3.0, 4.0, 11)
    voltage = np.concatenate([half, half[::-1]] * 2)
    branch = np.repeat(["charge", "discharge"] * 2, 11)
    time = np.datetime64("2026-03-14T08:00:00", "ns") + np.arange(44) * np.timedelta64(
        600, "s"
    )
    rng = np.random.default_rng(0)
    return xr.DataArray(
        rng.random((44, 5)),
        dims=("scan", "r"),
        coords={
            "time": ("scan", time),
            "exposure": _coordinate("scan", np.full(44, 60.0), "s", "Exposure"),
            "voltage": _coordinate("scan", voltage, "V", "Voltage"),
            "branch": ("scan", branch),
            "cycle": _coordinate("scan", np.repeat([1.0, 2.0], 22), "1", "Cycle"),
            "r": _coordinate("r", np.arange(5.0), "Angstrom", "Distance r"),
        },
        attrs={"units": "1", "long_name": "Signal"},
        name="signal",
    )


@pytest.fixture(scope="session")
def stack():
    """Return a stack of 12 pictures with a hole in it."""
    rng = np.random.default_rng(2)
    values = rng.normal(5, 1, (12, 30, 40)).astype("float32")
    values[3, 4, 5] = np.nan
    energy = np.linspace(8320, 8400, 12)
    return xr.DataArray(
        values,
        dims=("energy", "y", "x"),
        coords={"energy": _coordinate("energy", energy, "eV", "Photon energy")},
        attrs={"units": "1", "long_name": "Optical density"},
        name="od",
    )
