"""Simulate spectra of vanadium oxides: absorption by the edge model, and its phase."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from batteryxr.core.xray import ELECTRON_RADIUS, HC, atoms

#: Photon energies of Uematsu et al., PCCP 25, 3867 (2023): 40 over the V K edge (eV).
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
#: Tabulated K edge (eV), and jump of f'' there (Chantler, electrons).
EDGE, JUMP = 5465.1, 3.509
_LEVEL = 0.15  # absorption below the edge, in jumps
#: Range where the model differs from the table, and the width of the fade-out (eV).
_FINE, _NEAR, _FAR = 0.1, (5445.0, 5560.0), 30.0


@dataclass(frozen=True)
class Oxide:
    """Define one chemical state.

    Parameters
    ----------
    name
        Description of the state.
    formula
        Composition of the state.
    edge_energy, edge_width
        Position and width of the error function (eV).
    peak_area
        Area of the pre-edge peak over the edge jump (eV).
    """

    name: str
    formula: str
    edge_energy: float
    edge_width: float
    peak_area: float


#: Six states of particles, then the two standards.
OXIDES = (
    Oxide("V(III) octahedral", "Li10/7V6/7O2", 5476.9, 3.6, 0.5),
    Oxide("V(III) tetrahedral", "LiVO2", 5477.5, 3.7, 1.9),
    Oxide("V(V) tetrahedral", "LiVO3", 5480.6, 4.1, 3.0),
    Oxide("V(IV), poor in Li", "Li1/4VO2", 5479.0, 3.9, 1.2),
    Oxide("rim, as prepared", "Li4VO7", 5477.3, 3.7, 0.9),
    Oxide("rim, delithiated", "Li3VO6", 5480.1, 4.0, 2.4),
    Oxide("LiVO2", "LiVO2", 5477.0, 3.6, 0.45),
    Oxide("LiVO3", "LiVO3", 5480.8, 4.1, 2.8),
)


def normalised(oxide: Oxide, energy: np.ndarray) -> np.ndarray:
    """Return the edge model in units of the jump, far below to far above."""
    from scipy.special import erf

    height, half = oxide.peak_area / (np.pi * 1.4), 1.4
    valence = (oxide.edge_energy - 5476.5) / 4
    step = 0.5 * (1 + erf((energy - oxide.edge_energy) / oxide.edge_width))
    before = height / (1 + ((energy - 5466.3 - 0.8 * valence) / half) ** 2)
    white = 0.3 / (1 + ((energy - 5488.5 - 2 * valence) / 7.0) ** 2)
    return np.asarray(_LEVEL + step + before + white)


def electron_ratio(oxide: Oxide, energy: np.ndarray) -> np.ndarray:
    """Return the effective electrons per V, with f' and f'' obeying Kramers-Kronig.

    f' is Chantler's, plus the contribution of the difference between the model's f''
    and Chantler's.
    """
    import xraydb

    composition = atoms(oxide.formula)
    total = np.zeros(energy.size)
    for element, n in composition.items():
        z = xraydb.atomic_number(element)
        f1 = [_f_prime(element, float(e)) for e in energy]
        total += n / composition["V"] * (z + np.array(f1))
    return total + _implied(oxide, energy)


@functools.lru_cache(maxsize=10_000)
def _f_prime(element: str, energy: float) -> float:
    import xraydb

    return float(xraydb.f1_chantler(element, energy))


def _implied(oxide: Oxide, energy: np.ndarray) -> np.ndarray:
    """Return the f' that goes with the fine structure at the edge."""
    import xraydb

    low, high = _NEAR[0] - _FAR, _NEAR[1] + _FAR
    # Energies at multiples of 0.5 eV fall between grid points: the pole cancels.
    fine = np.arange(low + _FINE / 2, high, _FINE)
    table = np.asarray(xraydb.f2_chantler("V", fine), dtype=float)
    model = table[0] + JUMP * (normalised(oxide, fine) - _LEVEL)
    inside = np.clip((fine - low) / _FAR, 0, 1) * np.clip((high - fine) / _FAR, 0, 1)
    difference = (model - table) * np.sin(0.5 * np.pi * inside) ** 2
    kernel = fine / (energy[:, None] ** 2 - fine**2)
    return 2 / np.pi * _FINE * kernel @ difference


@functools.cache
def per_atom() -> tuple[np.ndarray, np.ndarray]:
    """Return μt and φ for one V per m² in each oxide, (oxide, energy) at `ENERGY`.

    μt = 2 λ r_e Δf'' n(E) with λ at the edge, so that the edge model holds exactly;
    φ = -r_e λ Σ (Z + f') with λ at each energy.
    """
    energy = ENERGY
    density = 2 * ELECTRON_RADIUS * HC / EDGE * JUMP
    mu = np.array([density * normalised(oxide, energy) for oxide in OXIDES])
    ratio = np.array([electron_ratio(oxide, energy) for oxide in OXIDES])
    return mu, -ELECTRON_RADIUS * HC / energy * ratio
