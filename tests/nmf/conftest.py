"""Series and stacks of which the answer is known."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.core.errors import DataQualityWarning


@dataclass
class Known:
    data: xr.DataArray
    components: np.ndarray  # (component, point)
    weights: np.ndarray  # (component, sample)
    noise: float


def peaks(rng: np.random.Generator, r: np.ndarray, n: int = 25) -> np.ndarray:
    place = rng.uniform(r[0], r[-1], n)
    height = rng.gamma(2.0, 1.0, n)
    return (height[:, None] * np.exp(-0.5 * ((r - place[:, None]) / 0.12) ** 2)).sum(0)


def make_series(
    n: int = 3, noise: float = 0.01, seed: int = 0, scans: int = 60, points: int = 400
) -> Known:
    """Phases that follow one another, as signed patterns."""
    rng = np.random.default_rng(seed)
    r = np.linspace(1.0, 13.0, points)
    components = np.array([peaks(rng, r) for _ in range(n)]) - 1.5
    t = np.linspace(0.0, 1.0, scans)[:, None]
    weights = np.exp(-0.5 * ((t - np.linspace(0, 1, n)) / (0.45 / n)) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    clean = weights @ components
    sigma = noise * clean.std()
    data = xr.DataArray(
        clean + rng.normal(0, sigma, clean.shape),
        dims=("scan", "r"),
        coords={
            "r": ("r", r, {"units": "Angstrom", "long_name": "Distance r"}),
            "li_content": ("scan", 3 * t[:, 0], {"units": "1", "long_name": "Li"}),
            "voltage": ("scan", 3 - 2 * t[:, 0], {"units": "V", "long_name": "E"}),
        },
        attrs={"units": "1/Angstrom2", "long_name": "G(r)"},
        name="pdf",
    )
    return Known(data, components, weights.T, float(sigma))


def make_stack(seed: int = 0, shape: tuple[int, int] = (48, 64)) -> Known:
    """Smooth maps of three spectra, some pixels nearly pure."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    energy = np.linspace(8320.0, 8400.0, 24)
    edges = 8340.0 + 5.0 * np.arange(3)
    spectra = 0.5 + np.arctan((energy - edges[:, None]) / 2.0) / np.pi
    spectra += 0.6 * np.exp(-0.5 * ((energy - edges[:, None] - 8) / 4) ** 2)
    fields = np.array([gaussian_filter(rng.normal(size=shape), 5) for _ in range(3)])
    share = np.exp(5.0 * fields / fields.std())
    share /= share.sum(axis=0)
    maps = share * (0.5 + 0.5 * rng.random(shape))
    clean = np.einsum("kyx,ke->eyx", maps, spectra)
    data = xr.DataArray(
        (clean + rng.normal(0, 0.005, clean.shape)).astype(np.float32),
        dims=("energy", "y", "x"),
        coords={
            "energy": ("energy", energy, {"units": "eV", "long_name": "Energy"}),
            "y": ("y", 10.0 * np.arange(shape[0]), {"units": "nm", "long_name": "y"}),
        },
        attrs={"units": "1", "long_name": "Optical density"},
        name="optical_density",
    )
    return Known(data, spectra, maps.reshape(3, -1), 0.005)


@pytest.fixture(scope="session")
def series() -> Known:
    return make_series()


@pytest.fixture(scope="session")
def new_series():
    """Return the function that makes a series."""
    return make_series


@pytest.fixture(scope="session")
def stack() -> Known:
    return make_stack()


@pytest.fixture(scope="session")
def nickelate(measured) -> xr.DataArray:
    """Ni K edges of LiNiO2 at two spots, joined to the cycler."""
    source = measured("lno-operando")
    with warnings.catch_warnings():  # the header's mass is a template
        warnings.simplefilter("ignore", DataQualityWarning)
        record = batteryxr.read_cycler(
            sorted((source / "cycler").glob("*.mpt")), timezone="Europe/Paris"
        )
        spectra = batteryxr.read_series(
            sorted((source / "xas").glob("norm_*.txt")),
            timezone="Europe/Paris",
            order="time",
        )
    spot = np.array([name.split("_")[3] for name in spectra["file"].values])
    spectra = spectra.load().assign_coords(
        spot=("scan", spot, {"units": "1", "long_name": "Spot"})
    )
    return record.echem.join(spectra).rename("normalised")


@pytest.fixture
def in_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small data go the way of large ones."""
    from batteryxr.nmf import data, streaming

    monkeypatch.setattr(data, "_SAMPLES_HELD", 500)
    monkeypatch.setattr(streaming, "SAMPLE", 1500)
    monkeypatch.setattr(streaming, "_TILE", 20_000)
