"""Kinds of scans, and how a series of them is measured: lazily, scan by scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import QUANTITIES, label
from batteryxr.simulate import cell, patterns

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAST = 1e-8  # the photons for less do not fit an integer


@dataclass(frozen=True)
class Kind:
    """What is measured, of which material."""

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
        patterns.edge_spectra,
        0.003,
    ),
    "pdf": Kind(
        cell.CONVERSION,
        0.7,
        "pdf",
        "r",
        lambda: np.arange(50, 1501) * 0.02,
        patterns.pair_distributions,
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
    """Measure a series of scans: `noise` on mixtures of the true components.

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
        caller="operando",
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
    # Not a matrix product: its last digit depends on how many scans it has.
    clean = sum(ratios[:, [k]] * pure for k, pure in enumerate(components))
    if sigma == 0:
        return clean
    for row, scan in enumerate(number):
        # The stream of a scan depends on the seed and its number alone.
        sequence = np.random.SeedSequence(seed, spawn_key=(int(scan),))
        rng = np.random.default_rng(sequence)
        if counted:
            photons = 2 / sigma**2
            sent = rng.poisson(photons, clean.shape[1])
            passed = rng.poisson(photons * np.exp(-clean[row]))
            # Half a photon keeps the logarithm finite at hopeless counts.
            clean[row] = np.log((sent + 0.5) / (passed + 0.5))
        else:
            clean[row] += rng.normal(0, sigma, clean.shape[1])
    return clean
