"""Powder patterns written out here, of a layered oxide with lines of others between."""

import numpy as np
import xarray as xr

RADIUS = 150.0
LINES = {
    (0, 0, 3): 1000, (1, 0, 1): 350, (0, 0, 6): 60, (0, 1, 2): 150, (1, 0, 4): 800,
    (0, 1, 5): 150, (1, 0, 7): 120, (0, 1, 8): 200, (1, 1, 0): 210, (1, 1, 3): 180,
    (0, 0, 9): 20,
}  # fmt: skip
#: Aluminium and graphite.
FOREIGN = ((2.338, 400), (2.0247, 250), (3.35, 300))
DOUBLET = ((1.540593, 1.0), (1.544427, 0.5))


def angle(d, wavelength):
    return 2 * np.degrees(np.arcsin(wavelength / 2 / d))


def line(x, at, fwhm, share=0.5):
    u = 2 * (x - at) / fwhm
    return share / (1 + u * u) + (1 - share) * np.exp(-np.log(2) * u * u)


def cycle(n, *, scale=1.0, moved=0.1, dirty=True, seed=0, doublet=DOUBLET):
    """Counts of n patterns over one cycle: a falls, c rises and falls again.

    `moved`: of the sample (mm), one for all or one for each.
    """
    away = np.broadcast_to(moved, n)
    rng = np.random.default_rng(seed)
    x = np.arange(15.0, 80.0, 0.02)
    turn = 1 - np.abs(np.linspace(-1, 1, n))
    a, c = 2.88 - 0.05 * turn, 14.2 + 0.25 * np.sin(1.2 * np.pi * turn)
    rows = []
    for i in range(n):
        y = 60 + 100 * np.exp(-(x - 15) / 15) + 30 * np.exp(-(((x - 22) / 6) ** 2))
        for (h, k, ell), strength in LINES.items():
            d = (
                4 / 3 * (h * h + h * k + k * k) / a[i] ** 2 + (ell / c[i]) ** 2
            ) ** -0.5
            strength = strength * scale * (1 + 0.2 * np.sin(3 * i / n + h + ell))
            for wavelength, ratio in doublet:
                t = angle(d, wavelength)
                t -= np.degrees(2 * away[i] / RADIUS) * np.cos(np.radians(t / 2))
                fwhm = 0.08 + 0.06 * np.tan(np.radians(t / 2))
                y = y + strength * ratio * line(x, t, fwhm)
        if dirty:
            for d, strength in FOREIGN:
                for wavelength, ratio in doublet:
                    y = y + strength * ratio * line(x, angle(d, wavelength), 0.1)
        counts = rng.poisson(y).astype(float)
        if dirty:
            counts[rng.integers(0, x.size, 3)] += rng.lognormal(6, 1, 3)
        rows.append(counts)
    axis = ("two_theta", x, {"units": "deg"})
    scans = xr.DataArray(np.stack(rows), dims=("scan", "two_theta"), name="intensity")
    return scans.assign_coords(two_theta=axis), a, c


def pull(values, error, truth):
    return float(np.sqrt((((values - truth) / error) ** 2).mean()))


def cubic(a, fwhm, *, n, top, rng, share=1.0, wavelength=1.540593):
    """Counts of n patterns of a face-centred lattice; `fwhm` is of the angle."""
    x = np.arange(18.0, 112.0, 0.03)
    y = np.full(x.size, 40.0)
    for square in (3, 4, 8, 11, 12, 16, 19, 20):
        t = angle(a / np.sqrt(square), wavelength)
        y += top * line(x, t, fwhm(t), share)
    counts = rng.poisson(y, (n, x.size)).astype(float)
    scans = xr.DataArray(counts, dims=("scan", "two_theta"), name="intensity")
    return scans.assign_coords(two_theta=("two_theta", x, {"units": "deg"}))
