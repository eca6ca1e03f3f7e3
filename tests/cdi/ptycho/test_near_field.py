"""Near-field frames: a shadow simulated on a wider grid, and its sample found again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from batteryxr.cdi import DM, EPIE, LSQML, Mirrors, ptycho, ptycho_fit, ptycho_scan
from batteryxr.cdi.ptycho.kernels.propagation import Propagation
from batteryxr.core.errors import ArgumentError, DataError

N, WIDE, ENERGY = 48, 144, 12_398.41984
#: Detector 1 m behind a sample 10 mm behind the focus: 101 times larger.
DEFOCUS, DISTANCE, PITCH = 1e4, 1e3, 50.5
PIXEL = 500.0  # nm


def frames_of(seed=0):
    """Return frames, corners and sample; the beam is a soft spot within the frame."""
    rng = np.random.default_rng(seed)
    y = np.arange(N) - N // 2
    r = np.hypot(y[:, None], y[None, :])
    bend = ndimage.gaussian_filter(rng.standard_normal((N, N)), 2)
    probe = np.exp(-((r / 14) ** 4)) * np.exp(1.5j * bend / abs(bend).max())
    probe *= np.sqrt(4e6 / np.sum(abs(probe) ** 2))
    corners = 4 * np.stack(np.mgrid[:6, :6], -1).reshape(-1, 2)
    corners = corners + rng.integers(0, 3, corners.shape)
    size = int(corners.max()) + N
    thick = ndimage.gaussian_filter(rng.standard_normal((size, size)), 1.5)
    thick /= abs(thick).max()
    sample = np.exp((-0.2 + 0.8j) * np.clip(thick, 0, None))
    # The way of a parallel beam as long as the distance over the magnification.
    k = np.fft.fftfreq(WIDE, PIXEL)
    way = DISTANCE * 1e6 / 101
    chirp = np.exp(-1j * np.pi * 0.1 * way * (k[:, None] ** 2 + k[None, :] ** 2))
    middle = slice(N, 2 * N)
    frames = np.empty((len(corners), N, N), np.uint16)
    for frame, (top, left) in zip(frames, corners, strict=True):
        wave = np.zeros((WIDE, WIDE), complex)
        wave[middle, middle] = probe * sample[top : top + N, left : left + N]
        far = np.fft.ifft2(np.fft.fft2(wave) * chirp)[middle, middle]
        frame[:] = rng.poisson(abs(far) ** 2)
    return frames, corners, sample


@pytest.fixture(scope="module")
def near():
    frames, corners, sample = frames_of()
    scan = ptycho_scan(
        frames,
        position_y=(corners[:, 0] + N // 2) * PIXEL,
        position_x=(corners[:, 1] + N // 2) * PIXEL,
        energy=ENERGY,
        distance=DISTANCE,
        pixel_pitch=PITCH,
        defocus=DEFOCUS,
    )
    return scan.cdi.ptycho_probe(), sample


def likeness(result, sample):
    """Return how phases agree where the beam went, but for the slow part of both.

    The near field hardly tells it.
    """
    places = np.arange(N // 2, N // 2 + 20)
    part = result["transmission"].sel(
        y=places * PIXEL, x=places * PIXEL, method="nearest"
    )
    true = sample[np.ix_(places, places)]
    turned = part.values * np.exp(-1j * np.angle(np.sum(part.values * np.conj(true))))
    both = [np.angle(turned), np.angle(true)]
    fine = [(p - ndimage.gaussian_filter(p, 4)).ravel() for p in both]
    return np.corrcoef(*fine)[0, 1]


@pytest.mark.parametrize("engine", [LSQML(), EPIE(), DM()])
def test_the_sample_is_found_from_its_shadow(near, engine):
    scan, sample = near
    result = ptycho(scan, engine=engine, iterations=40, progress=False)
    assert abs(float(result["y"][1] - result["y"][0]) - PIXEL) < 1e-6
    assert likeness(result, sample) > 0.55
    fit = ptycho_fit(result, scan=scan)
    assert float(fit["amp_residual"]) < 1.5 * float(result["amp_residual"][-1])
    assert "transfer" not in fit


def test_frames_are_those_of_a_wider_simulation():
    y = np.arange(N) - N // 2
    spot = np.exp(-(y[:, None] ** 2 + y**2) / 50 + 0.02j * y).astype(np.complex64)
    wide = np.zeros((WIDE, WIDE), complex)
    wide[N : 2 * N, N : 2 * N] = spot
    k = np.fft.fftfreq(WIDE, PIXEL)
    chirp = np.exp(-1j * np.pi * 0.1 * 1e9 / 101 * (k[:, None] ** 2 + k**2))
    shadow = np.fft.ifft2(np.fft.fft2(wide) * chirp)[N : 2 * N, N : 2 * N]
    way = Propagation(spot[None], near=0.1 * 1e9 / 101 / PIXEL**2)
    found = way.forward(spot[None].copy()) / N
    np.testing.assert_allclose(np.fft.fftshift(found[0]), shadow, atol=2e-3)
    back = way.backward(way.forward(spot[None].copy())) / N**2
    np.testing.assert_allclose(back[0], spot, atol=1e-5)


def test_optics_make_no_probe_of_the_near_field(near):
    with pytest.raises(ArgumentError, match="near field"):
        near[0].cdi.ptycho_probe(optics=Mirrors(focus=200.0))


@pytest.mark.parametrize("defocus", [0.0, -500.0])
def test_a_focus_behind_the_sample_is_refused(near, defocus):
    with pytest.raises(DataError, match="defocus"):
        near[0].assign_coords(defocus=((), defocus, {"units": "um"})).cdi.ptycho()
