"""Simulate scans: patterns of pure phases, and series of their mixtures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import QUANTITIES, label
from batteryxr.simulate import cell

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAST = 1e-8  # smaller noise needs more photons than an integer can hold


def edge_spectra(energy: np.ndarray) -> np.ndarray:
    """Return normalised Ni K-edge spectra of three phases, Ni(III) to Ni(IV).

    Edge and white line rise by about 1.2 eV per half electron, and the pre-edge by a
    third of that. The fine structure stretches as the Ni-O bond shortens.

    Parameters
    ----------
    energy
        (energy,) photon energy (eV).

    Returns
    -------
    numpy.ndarray
        (3, energy) absorption: 0 far below the edge, about 1 above.
    """
    phases = [
        # edge (eV), width, white line, pre-edge position, its area, Ni-O (Angstrom)
        (8344.6, 2.6, 0.62, 8332.4, 0.05, 1.98),
        (8345.7, 2.7, 0.52, 8332.8, 0.08, 1.93),
        (8347.1, 2.5, 0.66, 8333.3, 0.12, 1.88),
    ]
    return np.array([_spectrum(energy, *phase) for phase in phases])


def _spectrum(
    energy: np.ndarray,
    edge: float,
    width: float,
    white: float,
    pre: float,
    pre_area: float,
    bond: float,
) -> np.ndarray:
    from scipy.special import erf, expit

    step = 0.5 * (1 + erf((energy - edge) / width))
    line = white / (1 + ((energy - edge - 4.6) / 2.4) ** 2)
    before = pre_area / (1 + ((energy - pre) / 0.9) ** 2)
    # Fine structure of one shell, starting where the white line ends.
    k = np.sqrt(np.maximum(energy - edge, 0.0) * 0.262468)
    onset = expit((energy - edge - 14) / 3)
    fine = 0.12 * onset * np.sin(2 * k * bond + 1.2) * np.exp(-0.02 * k**2)
    return step * (1 + fine) + line * step + before


@dataclass(frozen=True)
class CubicCrystal:
    """Define a cubic crystal, or a spherical particle of it.

    Parameters
    ----------
    a
        Lattice parameter (Angstrom).
    sites
        Fractional coordinates and scattering power (electrons) of each atom in
        the cell.
    width
        Standard deviation of each distance (Angstrom).
    diameter
        Diameter of the particle (Angstrom); infinite for a bulk crystal.
    """

    a: float
    sites: tuple[tuple[tuple[float, float, float], float], ...]
    width: float
    diameter: float = math.inf


_FCC = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))


def _rock_salt(a: float, cation: float, width: float) -> CubicCrystal:
    cations = tuple((site, cation) for site in _FCC)
    anions = tuple((((x + 0.5) % 1, y, z), 8.0) for x, y, z in _FCC)
    return CubicCrystal(a, cations + anions, width)


#: FeO, a lithiated disordered rock salt, and iron in particles of two nanometres.
_CONVERSION_PHASES = (
    _rock_salt(4.30, 26.0, 0.10),
    _rock_salt(4.17, 17.0, 0.13),
    CubicCrystal(2.866, (((0, 0, 0), 26.0), ((0.5, 0.5, 0.5), 26.0)), 0.09, 22.0),
)


def pair_distributions(
    r: np.ndarray, *, q_max: float = 24.0, q_damp: float = 0.02
) -> np.ndarray:
    """Return G(r) of the three phases of a conversion reaction.

    The function sums over pairs of atoms, each distance a Gaussian over the baseline
    -4 pi r rho. Particles have the spherical envelope of Howell, Proffen and Conradson,
    Phys. Rev. B 73, 094107 (2006). Resolution damps the pattern, and the finite range
    in Q broadens it with ripples.

    Parameters
    ----------
    r
        (r,) distances, evenly spaced (Angstrom).
    q_max
        End of the measured range (1/Angstrom).
    q_damp
        Resolution (1/Angstrom).

    Returns
    -------
    numpy.ndarray
        (3, r) G(r) (1/Angstrom2).
    """
    step = r[1] - r[0]
    whole = np.arange(1, round(r[-1] / step) + 1 + round(3 / step)) * step
    ideal = np.array([_pair_distribution(whole, c) for c in _CONVERSION_PHASES])
    ideal *= np.exp(-0.5 * (whole * q_damp) ** 2)
    apart, around = r[:, None] - whole, r[:, None] + whole
    window = np.sinc(apart * q_max / np.pi) - np.sinc(around * q_max / np.pi)
    return ideal @ (window.T * q_max / np.pi * step)


def _pair_distribution(r: np.ndarray, crystal: CubicCrystal) -> np.ndarray:
    position = np.array([site for site, _ in crystal.sites]) * crystal.a
    power = np.array([b for _, b in crystal.sites])
    mean = power.mean()
    cells = math.ceil((r[-1] + 1) / crystal.a)
    shift = np.arange(-cells, cells + 1) * crystal.a
    grid = np.stack(np.meshgrid(shift, shift, shift, indexing="ij"), -1).reshape(-1, 3)
    density = np.zeros_like(r)
    step = r[1] - r[0]
    for here, b in zip(position, power, strict=True):
        for there, c in zip(position, power, strict=True):
            distance = np.linalg.norm(grid + (there - here), axis=1)
            distance = distance[(distance > 0.1) & (distance < r[-1] + 1)]
            weight = b * c / mean**2 / power.size
            # Pairs are split between grid neighbours; widths are added later.
            place = distance / step - 1
            low = np.floor(place).astype(int)
            share = place - low
            for index, part in ((low, 1 - share), (low + 1, share)):
                inside = (index >= 0) & (index < r.size)
                at = index[inside]
                value = weight * part[inside] / distance[inside] / step
                density += np.bincount(at, value, minlength=r.size)
    density = _broadened(density, crystal.width / step)
    rho = power.size / crystal.a**3
    return (density - 4 * np.pi * r * rho) * _envelope(r, crystal.diameter)


def _broadened(values: np.ndarray, width: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(values, width, mode="constant", truncate=6))


def _envelope(r: np.ndarray, diameter: float) -> np.ndarray:
    if math.isinf(diameter):
        return np.ones_like(r)
    t = r / diameter
    return np.where(t < 1, 1 - 1.5 * t + 0.5 * t**3, 0.0)


@dataclass(frozen=True)
class Kind:
    """Define the material and the quantity that is measured."""

    material: cell.Material
    intermediate: float  # Li per formula unit of the second phase, when pure
    quantity: str
    axis: str
    values: Callable[[], np.ndarray]
    components: Callable[[np.ndarray], np.ndarray]
    noise: float


KINDS = {
    "xanes": Kind(
        cell.LAYERED,
        0.5,
        "absorption",
        "energy",
        lambda: np.arange(8310, 8400.125, 0.25),
        edge_spectra,
        0.003,
    ),
    "pdf": Kind(
        cell.CONVERSION,
        0.7,
        "pdf",
        "r",
        lambda: np.arange(50, 1501) * 0.02,
        pair_distributions,
        0.15,
    ),
}


def measure(
    model: Kind,
    truth: xr.Dataset,
    seed: int,
    noise: float | None,
    chunks: int | None,
) -> xr.DataArray:
    """Simulate a series of scans: mixtures of the true components with `noise`.

    Lazy where `chunks` is given.

    Raises
    ------
    ArgumentError
        If `noise` is negative, not finite, or needs more photons than can be counted.
    """
    sigma = model.noise if noise is None else float(noise)
    if sigma != 0 and not _LEAST <= sigma < np.inf:
        raise ArgumentError("noise", noise, f"0, or a number >= {_LEAST:g}")
    ratios = truth["ratios"].drop_vars("component")
    number = xr.DataArray(np.arange(ratios.sizes["scan"]), dims="scan")
    if chunks is not None:
        ratios, number = ratios.chunk(scan=chunks), number.chunk(scan=chunks)
    measured = apply(
        mixed,
        number,
        ratios,
        core_dims=[(), ("component",)],
        output_dims=[(model.axis,)],
        output_sizes={model.axis: truth.sizes[model.axis]},
        dtypes=[np.float64],
        caller="cell_experiment",
        components=truth["components"].values,
        counted=model.quantity == "absorption",
        sigma=sigma,
        seed=seed,
    )
    known = QUANTITIES[model.quantity]
    coords = {model.axis: truth[model.axis]}
    return label(
        measured.assign_coords(coords), model.quantity, units=known.units, noise=sigma
    )


def mixed(
    number: np.ndarray,
    ratios: np.ndarray,
    *,
    components: np.ndarray,
    counted: bool,
    sigma: float,
    seed: int,
) -> np.ndarray:
    """Mix the components and add noise, scan by scan."""
    # No matrix product: its last digit would depend on the number of scans.
    clean = sum(ratios[:, [k]] * pure for k, pure in enumerate(components))
    if sigma == 0:
        return clean
    for row, scan in enumerate(number):
        # The random stream of a scan depends only on the seed and its number.
        sequence = np.random.SeedSequence(seed, spawn_key=(int(scan),))
        rng = np.random.default_rng(sequence)
        if counted:
            photons = 2 / sigma**2
            sent = rng.poisson(photons, clean.shape[1])
            passed = rng.poisson(photons * np.exp(-clean[row]))
            # Half a photon keeps the logarithm finite at very low counts.
            clean[row] = np.log((sent + 0.5) / (passed + 0.5))
        else:
            clean[row] += rng.normal(0, sigma, clean.shape[1])
    return clean
