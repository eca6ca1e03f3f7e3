"""Impedance by closed forms, written out here; shares nothing with the library."""

from __future__ import annotations

import numpy as np
import xarray as xr

F = np.logspace(-2, 5, 60)


def s(f=F):
    return 2j * np.pi * f


def zarc(r, q, n, f=F):
    return 1 / (1 / r + q * s(f) ** n)


def warburg(sigma, f=F):
    return sigma * (1 - 1j) / np.sqrt(2 * np.pi * f)


def noisy(z, sd, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, *np.shape(z)))
    return z + sd * np.abs(z) * (a + 1j * b)


def labelled(z, f=F, **coords):
    return xr.DataArray(
        np.atleast_2d(z),
        dims=("spectrum", "frequency"),
        coords={"frequency": ("frequency", f, {"units": "Hz"}), **coords},
        attrs={"units": "ohm"},
        name="impedance",
    )
