"""Frames in zarr: as they were, in few bytes, many to a chunk."""

from __future__ import annotations

import bz2
import importlib
import io

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

import batteryxr
from batteryxr.io import read_frames

DIMS = ("position", "detector_y", "detector_x")


def stored(counts, path):
    """Return the array as it lies on disk, and how much smaller it is there."""
    frames = xr.Dataset({"frames": (DIMS, counts)})
    batteryxr.save(frames, path)
    array = zarr.open_array(str(path / "frames"), mode="r")
    return array, counts.nbytes / array.nbytes_stored()


def test_measured_star_is_small_and_unchanged(measured, tmp_path):
    packed = measured("ptycho-siemens-star") / "siemens-star-small.npz.bz2"
    with np.load(io.BytesIO(bz2.decompress(packed.read_bytes()))) as file:
        counts = np.fft.fftshift(file["data"][0], axes=(1, 2)).astype(np.uint16)
    array, ratio = stored(counts, tmp_path / "star.zarr")
    assert ratio > 4.5
    assert array.chunks == (64, 128, 128)
    np.testing.assert_array_equal(array[...], counts)


def test_measured_rocking_curve_is_small(measured, tmp_path):
    folder = measured("bragg-au-scan54")
    (frames,) = {path.parent for path in folder.rglob("*.tif") if "54" in path.name}
    counts = read_frames(frames, rocking=np.arange(201)).values
    array, ratio = stored(counts, tmp_path / "gold.zarr")
    assert ratio > 40
    np.testing.assert_array_equal(array[:8], counts[:8])


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((1, 1, 20, 20), (1, 64, 20, 20)),
        ((2, 8, 10, 20), (1, 64, 20, 20)),
        ((1, 50, 20, 20), (1, 50, 20, 20)),
        (None, (1, 64, 20, 20)),
    ],
)
def test_few_frames_are_put_together(chunks, expected, tmp_path):
    counts = np.random.default_rng(0).poisson(1, (2, 100, 20, 20)).astype(np.uint16)
    lazy = counts if chunks is None else da.from_array(counts, chunks=chunks)
    data = xr.Dataset({"frames": (("energy", *DIMS), lazy)})
    batteryxr.save(data, tmp_path / "a.zarr")
    array = zarr.open_array(str(tmp_path / "a.zarr" / "frames"), mode="r")
    assert array.chunks == expected
    np.testing.assert_array_equal(array[...], counts)


def test_large_frames_make_no_endless_chunks(tmp_path, monkeypatch):
    encoding = importlib.import_module("batteryxr.core.store.encoding")
    monkeypatch.setattr(encoding, "FRAME_CHUNK", 40 * 64 * 64 * 2)
    lazy = da.zeros((100, 64, 64), dtype=np.uint16, chunks=(1, 64, 64))
    batteryxr.save(xr.Dataset({"frames": (DIMS, lazy)}), tmp_path / "a.zarr")
    array = zarr.open_array(str(tmp_path / "a.zarr" / "frames"), mode="r")
    assert array.chunks == (40, 64, 64)
