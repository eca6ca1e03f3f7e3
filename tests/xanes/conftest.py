"""A particle of known truth, and measured standards."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr

ENERGY = np.concatenate(
    [
        [5420.0, 5440.0, 5455.0, 5461.0],
        np.arange(5464.0, 5469.1, 0.5),
        [5470.5, 5472.0],
        np.arange(5473.0, 5484.0, 1.0),
        [5485.5, 5487.5, 5490.0, 5493.0, 5497.0, 5502.0],
        [5507.0, 5513.0, 5519.0, 5526.0, 5533.0, 5540.0],
    ]
)


def edge_curve(e, level, jump, energy, width, *peaks):
    """The paper's model, written with SciPy."""
    from scipy.special import erf

    y = level + 0.5 * jump * (1 + erf((e - energy) / width))
    for height, position, half in peaks:
        y = y + height / (1 + ((e - position) / half) ** 2)
    return y


def make_phantom(n=48, noise=0.006, seed=0):
    """Return a stack (energy, y, x) and its true parameters."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    thickness = np.sqrt(np.clip(1 - (u / 0.9) ** 2 - (v / 0.75) ** 2, 0, None))
    valence = np.clip(0.5 + 0.4 * np.sin(3 * u + 1) * np.cos(2 * v), 0, 1)
    tetrahedral = np.clip(0.4 + 0.3 * np.cos(4 * u * v + 2 * v), 0, 1)
    jump = 0.45 * thickness
    truth = {
        "level": 0.05 + 0.1 * thickness,
        "edge_jump": jump,
        "edge_energy": 5476.5 + 4 * valence,
        "edge_width": 3.6 + 0.6 * valence,
        "peak_height": np.stack(
            [jump * (0.08 + 0.45 * tetrahedral), jump * (0.35 - 0.1 * tetrahedral)]
        ),
        "peak_position": np.stack([5466.2 + 0.9 * valence, 5488 + 2 * valence]),
        "peak_width": np.stack([1.3 + 0.3 * tetrahedral, np.full_like(jump, 7.0)]),
    }
    e = ENERGY[:, None, None]
    peaks = zip(
        truth["peak_height"], truth["peak_position"], truth["peak_width"], strict=True
    )
    clean = edge_curve(
        e,
        truth["level"],
        jump,
        truth["edge_energy"],
        truth["edge_width"],
        *peaks,
    )
    stack = xr.DataArray(
        clean + noise * rng.standard_normal(clean.shape),
        dims=("energy", "y", "x"),
        coords={
            "energy": ("energy", ENERGY, {"units": "eV", "long_name": "Photon energy"}),
            "y": ("y", 15.0 * np.arange(n), {"units": "nm", "long_name": "y"}),
            "x": ("x", 15.0 * np.arange(n), {"units": "nm", "long_name": "x"}),
        },
        name="absorption",
        attrs={"units": "1", "long_name": "Absorption μt", "history": "made"},
    )
    return stack, truth


def make_spectrum(energy, mu, name="absorption"):
    """Return one labelled spectrum."""
    return xr.DataArray(
        mu,
        dims="energy",
        coords={"energy": ("energy", energy, {"units": "eV", "long_name": "E"})},
        name=name,
        attrs={"units": "1", "long_name": "Absorption"},
    )


@pytest.fixture(scope="session")
def phantom():
    return make_phantom


@pytest.fixture(scope="session")
def curve():
    return edge_curve


@pytest.fixture(scope="session")
def spectrum():
    return make_spectrum


@pytest.fixture(scope="session")
def energies():
    return ENERGY


@pytest.fixture(scope="session")
def model():
    """The ranges of the paper's model with two Lorentzians."""
    from batteryxr.xanes import Edge, Peak

    return {
        "edge": Edge((5470, 5486), width=(0.5, 12)),
        "peaks": [
            Peak((5463, 5470), width=(0.3, 5), name="pre-edge"),
            Peak((5482, 5500), width=(2, 20), name="white line"),
        ],
    }


@pytest.fixture(scope="session")
def standard(measured):
    """Return a function that reads a measured standard, such as ``"V/VO2"``."""

    def read(name):
        path = measured("xas-standards") / f"{name}.xdi"
        columns = {}
        for line in path.read_text().splitlines():
            if found := re.match(r"#\s*Column\.(\d+):\s*(\S+)", line):
                columns[found[2].lower()] = int(found[1]) - 1
        table = np.loadtxt(path)
        mu = (
            table[:, columns["mutrans"]]
            if "mutrans" in columns
            else -np.log(table[:, columns["itrans"]] / table[:, columns["i0"]])
        )
        return make_spectrum(table[:, columns["energy"]], mu)

    return read
