"""Ptychography on data with known answers: simulated truth, a measured star."""

from __future__ import annotations

import bz2
import io

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from batteryxr.cdi import EPIE, LSQML, frc, ptycho, ptycho_scan
from batteryxr.cdi.ptycho.kernels import alignment as align

#: Any geometry whose object pixel is 1 nm: positions are told in pixels.
ENERGY, PITCH = 10_000.0, 50.0


def scan_of(frames, corners, first):
    n = frames.shape[-1]
    wavelength = 12398.41984 / ENERGY / 10
    centres = corners + n // 2
    return ptycho_scan(
        frames.astype(np.uint16),
        position_y=centres[:, 0],
        position_x=centres[:, 1],
        energy=ENERGY,
        distance=n * PITCH / (wavelength * 1e3),
        pixel_pitch=PITCH,
        probe=first,
    )


@pytest.fixture(scope="module")
def grains():
    """Frames, corners, object, and a first probe that is out of focus and unbent."""
    rng = np.random.default_rng(0)
    k = np.fft.fftfreq(64)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    inside = (abs(ky) < 0.1) & (abs(kx) < 0.1)
    focus, coma = ky**2 + kx**2, ky**3 - kx**3

    def beam(phase):
        wave = np.fft.ifft2(inside * np.exp(2j * np.pi * phase))
        return np.fft.fftshift(wave * 1e3 / np.linalg.norm(wave))  # 1e6 photons

    probe = beam(60 * focus + 100 * coma)
    grid = 5 * np.stack(np.mgrid[:20, :20], -1).reshape(-1, 2)
    corners = grid + rng.integers(0, 4, grid.shape)
    noise = rng.standard_normal((168, 168))
    large, fine = (ndimage.gaussian_filter(noise, width) for width in (4, 1.5))
    thick = np.clip(large / large.std(), 0, 2) + 0.2 * fine / fine.std()
    truth = np.exp((-0.04 - 0.3j) * np.clip(thick, 0, None))
    frames = np.empty((400, 64, 64))
    for frame, (y, x) in zip(frames, corners, strict=True):
        far = np.fft.fft2(probe * truth[y : y + 64, x : x + 64], norm="ortho")
        frame[:] = np.fft.fftshift(rng.poisson(abs(far) ** 2))
    return frames, corners, truth, beam(70 * focus)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_epie_comes_as_near_as_it_should(grains, seed):
    """As near as twenty lines of NumPy for the published steps: 7.7e-4 and 0.0118."""
    frames, corners, truth, first = grains
    scan = scan_of(frames, corners, first)
    found = ptycho(scan, engine=EPIE(), iterations=30, seed=seed, progress=False)
    assert float(found.amp_residual[-1]) < 7.7e-4
    y, x = (np.rint(found[a].values).astype(int) for a in "yx")
    own = found.transmission.values[np.ix_((y >= 0) & (y < 168), (x >= 0) & (x < 168))]
    whole = np.ones(truth.shape, complex)
    rows, columns = y[(y >= 0) & (y < 168)], x[(x >= 0) & (x < 168)]
    whole[np.ix_(rows, columns)] = own
    weight = np.zeros(truth.shape)
    low, high = corners.min(0) + 32, corners.max(0) + 32
    weight[low[0] : high[0], low[1] : high[1]] = 1
    fitted, _ = align.aligned(whole, truth, weight)
    error = np.sum(weight * abs(fitted - truth) ** 2)
    assert np.sqrt(error / np.sum(weight * abs(truth) ** 2)) < 0.0118


@pytest.fixture(scope="module")
def star(measured):
    packed = measured("ptycho-siemens-star") / "siemens-star-small.npz.bz2"
    with np.load(io.BytesIO(bz2.decompress(packed.read_bytes()))) as file:
        frames = np.fft.fftshift(file["data"][0], axes=(1, 2))
        corners, first = np.rint(file["scan"][0]), file["probe"].reshape(128, 128)
    return scan_of(frames, corners, first), corners


def test_measured_star_is_fitted_within_some_passes(star):
    scan, _ = star
    found = ptycho(scan, engine=LSQML(), iterations=15, progress=False)
    assert float(found.amp_residual[-1]) <= 0.0165


@pytest.mark.long
@pytest.mark.parametrize("engine", [LSQML(), EPIE()], ids=["LSQML", "EPIE"])
def test_measured_star_is_fitted_and_resolved(star, engine):
    scan, corners = star

    def found(part):
        return ptycho(
            scan.isel(position=part), engine=engine, iterations=50, progress=False
        )

    assert float(found(slice(None)).amp_residual[-1]) <= 0.0140
    halves = [found(slice(first, None, 2)).transmission for first in (0, 1)]
    middle = corners.mean(0) + 64  # where the scan is dense
    cut = {a: slice(m - 130, m + 130) for a, m in zip("yx", middle, strict=True)}
    one, two = (half.sel(cut) for half in xr.align(*halves))
    weight = np.ones(one.shape)
    other, _ = align.aligned(two.values, one.values, weight, rounds=6)
    flat = align.flattened(one.values, weight)
    images = [one.copy(data=np.angle(v * flat / one.values)) for v in (one, other)]
    assert (
        float(frc(images[0], other=images[1]).half_period_one_bit) <= 2.2
    )  # pixels of 1 nm
