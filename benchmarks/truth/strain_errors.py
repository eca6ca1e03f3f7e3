"""Do bands of 68 % hold the truth: phase and strain of crystals of another simulator.

    python benchmarks/truth/strain_errors.py [--size 40] [--crystals 2] [--starts 4]

For each crystal and dose: volume of the analysis support over the truth's; part of the
voxels inside whose phase and strain lie within one error of the truth; rms error of
strain over the analysis support against that inside; the ratio of misfits that widened
the errors; CPU seconds of the retrieval and of its replicas.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import xarray as xr
from scipy import ndimage

from batteryxr import cdi

VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")


def crystal(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return object, where it is, and mean pattern: facets on a grid twice as fine."""
    rng, fine = np.random.default_rng(seed), 2 * n
    axes = np.mgrid[:fine, :fine, :fine] - fine // 2
    normals = rng.standard_normal((12, 3))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    normals = np.concatenate([normals, np.eye(3), -np.eye(3)])
    body = np.ones((fine,) * 3)
    for normal, reach in zip(normals, rng.uniform(0.75, 1.25, 18), strict=True):
        depth = 0.3 * n * reach - np.tensordot(normal, axes, axes=1)
        body *= np.clip(depth + 0.5, 0, 1)
    wave = ndimage.gaussian_filter(rng.standard_normal(body.shape), 0.21 * n)
    wave *= 1.5 / np.ptp(wave[body > 0.5])
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(body * np.exp(1j * wave))))
    a, b = n // 2, n // 2 + n
    field = field[a:b, a:b, a:b]
    rho = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(field)))
    bulk = np.median(abs(rho)[abs(rho) > 0.3 * abs(rho).max()])
    return rho, abs(rho) > 0.5 * bulk, abs(field) ** 2


def centred(rho: np.ndarray, pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both with the brightest voxel in the middle, as a crop has it."""
    peak = np.unravel_index(pattern.argmax(), pattern.shape)
    for axis, (n, p) in enumerate(zip(pattern.shape, peak, strict=True)):
        move = n // 2 - int(p)
        pattern = np.roll(pattern, move, axis)
        wave = np.exp(2j * np.pi * move * (np.arange(n) - n // 2) / n)
        rho = rho * wave.reshape([-1 if a == axis else 1 for a in range(3)])
    return rho, pattern


def fields(data: xr.Dataset | xr.DataArray, support: xr.DataArray) -> xr.Dataset:
    geometry = xr.Dataset(
        {
            "voxel": (("axis", "vector"), 10.0 * np.eye(3)),
            "q": ("vector", [0.0, 0.0, 3.0]),
            "q_length": ((), 3.0),
        }
    )
    split = cdi.unwrap(data, support=support)
    moved = cdi.displacement(split, geometry=geometry, sign=-1)
    return cdi.strain(moved, geometry=geometry)


def judge(n: int, seed: int, photons: float, starts: int) -> str:
    rho, body, pattern = crystal(n, seed)
    rho, pattern = centred(rho, pattern)
    rng = np.random.default_rng(100 + seed)
    counts = rng.poisson(pattern * photons / pattern.sum()).astype(np.float32)
    axes = {d: (d, np.arange(n), {"units": "1"}) for d in VOLUME}
    volume = xr.DataArray(counts, dims=VOLUME, coords=axes)
    began = time.process_time()
    result = cdi.retrieve(volume, n_starts=starts, progress=False)
    middle = time.process_time()
    sure = cdi.replicas(result, volume=volume)
    spent = middle - began, time.process_time() - middle
    support = cdi.analysis_support(sure)
    found = fields(sure, support)
    truth = xr.DataArray(rho.astype(np.complex64), dims=OBJECT)
    laid = cdi.align(truth, reference=sure["object"])
    exact = fields(laid.assign_coords(fourier_sign=-1), support)
    inside = support.values
    inner = ndimage.binary_erosion(inside)
    off = np.angle(sure["object"].values * np.conj(laid.values))
    off -= off[inner].mean()
    miss = (found["strain"] - exact["strain"]).values
    phase = np.mean(abs(off)[inner] < found["phase_error"].values[inner])
    strain = np.mean(abs(miss)[inner] < found["strain_error"].values[inner])
    known = inside & np.isfinite(miss)
    ratio = np.sqrt(np.mean(miss[known] ** 2) / np.mean(miss[inner] ** 2))
    return (
        f"{photons:8.0e}{seed:8d}{float(laid['overlap']):9.4f}"
        f"{inside.sum() / body.sum():8.3f}{phase:8.2f}{strain:8.2f}{ratio:8.2f}"
        f"{float(sure['misfit_ratio']):8.2f}{spent[0]:8.1f}{spent[1]:8.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--crystals", type=int, default=2)
    parser.add_argument("--starts", type=int, default=4)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(" photons crystal  overlap  volume   phase  strain  margin  misfit   CPU s")
    for seed in range(options.crystals):
        for photons in (1e5, 1e6, 1e7):
            print(judge(options.size, seed, photons, options.starts), flush=True)


if __name__ == "__main__":
    main()
