"""A small simulated crystal and its pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable

VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")


def make_crystal(
    n: int = 40, size: tuple[float, float, float] = (14, 12, 11), phase: float = 1.5
) -> np.ndarray:
    """Return a block with two cut edges, nearly centrosymmetric, and a smooth phase."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:n, :n, :n] - n // 2
    a, b, c = size
    inside = (abs(z) < a / 2) & (abs(y) < b / 2) & (abs(x) < c / 2)
    inside &= (abs(x + y) < (b + c) * 0.36) & (abs(y + z) < (a + b) * 0.38)
    smooth = ndimage.gaussian_filter(rng.standard_normal((n, n, n)), n / 7)
    smooth *= phase / np.abs(smooth[inside]).max()
    modulus = ndimage.gaussian_filter(inside.astype(float), 0.6)
    return (modulus * np.exp(1j * smooth)).astype(np.complex64)


def make_counts(obj: np.ndarray, photons: float = 1e7, seed: int = 1) -> np.ndarray:
    """Return photon counts of an object's pattern, centred at n // 2."""
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(obj)))
    mean = np.abs(field) ** 2
    mean *= photons / mean.sum()
    return np.random.default_rng(seed).poisson(mean).astype(np.float32)


@pytest.fixture(scope="session")
def crystal() -> np.ndarray:
    return make_crystal()


@pytest.fixture(scope="session")
def volume(crystal: np.ndarray) -> xr.DataArray:
    counts = make_counts(crystal)
    angle = {"units": "deg", "long_name": "Rocking angle"}
    coords = {
        "rocking": ("rocking", np.arange(40) * 0.005, angle),
        "voltage": ((), 3.5, {"units": "V", "long_name": "Voltage"}),
    }
    return xr.DataArray(
        counts,
        dims=VOLUME,
        name="intensity",
        coords=coords,
        attrs={"units": "1", "long_name": "Intensity"},
    )


@pytest.fixture(params=["numpy", "array_api_strict", "torch"])
def as_array(request: pytest.FixtureRequest) -> Callable[[np.ndarray], object]:
    """Return what makes an array of each library that the kernels accept."""
    if request.param == "numpy":
        return np.asarray
    library = pytest.importorskip(request.param)
    if request.param == "torch":
        library.set_num_threads(1)
    return library.asarray


@pytest.fixture(scope="session")
def gold_scan(measured) -> tuple[xr.DataArray, dict[str, xr.DataArray]]:
    """Return the frames of a measured gold crystal, and what corrects them."""
    from batteryxr.io import read_frames, read_image

    data = measured("bragg-au-scan54") / "example_data"
    frames = read_frames(
        data / "AD34idcTIM2_example/Staff20-1a_S0054",
        spec=data / "example.spec",
        scan=54,
        pixel_size=55,
    )
    white = read_image(data / "whitefield.tif")
    seam = xr.zeros_like(white, bool)
    seam[255:257, 0:255] = True
    hot = read_image(data / "dark.tif") > 1
    return frames, {"flat": white, "hot": hot, "mask": seam}
