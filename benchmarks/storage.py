"""Detector frames in zarr: how small, how fast written and read, codec by codec.

    python benchmarks/storage.py [--measured] [--frames 64]

Simulated ptychography; with ``--measured`` also the Siemens star of APS Velociprobe
and the rocking curve of a gold crystal of APS 34-ID-C, from `batteryxr.sample`. One
thread; wall time, best of several, from files that the system still holds. The line
marked ``*`` is what `batteryxr.save` takes; it needs a ratio of 3.5 on the star, 25 on
gold, and 300 MB/s. ``benchmarks/checksums.py`` tells what checksums cost.
"""

from __future__ import annotations

import argparse
import bz2
import io
import os
import shutil
import tempfile
import time

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

import batteryxr
from batteryxr.core.store import encoding
from batteryxr.simulate import ptychography

CODECS = [
    (name, level, shuffle)
    for name, level in (("lz4", 5), ("zstd", 1), ("zstd", 3), ("zstd", 5), ("zstd", 9))
    for shuffle in ("shuffle", "bitshuffle")
]
DIMS = ("position", "detector_y", "detector_x")


def simulated() -> np.ndarray:
    scan, _ = ptychography(energy=np.array([5500.0]), positions=20, size=128)
    return np.asarray(scan["frames"].values[0])


def star() -> np.ndarray:
    path = batteryxr.sample("ptycho-siemens-star") / "siemens-star-small.npz.bz2"
    with np.load(io.BytesIO(bz2.decompress(path.read_bytes()))) as file:
        return np.fft.fftshift(file["data"][0], axes=(1, 2)).astype(np.uint16)


def gold() -> np.ndarray:
    from batteryxr.io import read_frames

    data = batteryxr.sample("bragg-au-scan54") / "example_data"
    frames = data / "AD34idcTIM2_example" / "Staff20-1a_S0054"
    return read_frames(frames, rocking=np.arange(201)).values


def measure(
    counts: np.ndarray, codec: BloscCodec, group: int, path: str, repeats: int
) -> tuple[float, float, float]:
    """Return the ratio, and MB/s of writing and reading whole chunks."""
    written = read = np.inf
    for _ in range(repeats):
        shutil.rmtree(path, ignore_errors=True)
        array = zarr.create_array(
            path,
            shape=counts.shape,
            dtype=counts.dtype,
            chunks=(group, *counts.shape[1:]),
            compressors=codec,
        )
        begin = time.perf_counter()
        array[...] = counts
        written = min(written, time.perf_counter() - begin)
        begin = time.perf_counter()
        for start in range(0, len(counts), group):
            array[start : start + group]
        read = min(read, time.perf_counter() - begin)
    size = counts.nbytes / 1e6
    return counts.nbytes / array.nbytes_stored(), size / written, size / read


def chosen() -> BloscCodec:
    """Return the codec that `batteryxr.save` takes for frames."""
    frames = xr.Dataset({"frames": (DIMS, np.zeros((2, 2, 2), np.uint16))})
    codec, _ = encoding(frames)["frames"]["compressors"]
    return codec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measured", action="store_true")
    parser.add_argument("--frames", type=int, default=64, help="frames per chunk")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    os.environ.setdefault("BLOSC_NTHREADS", "1")
    sets = {"simulated": simulated()}
    if asked.measured:
        sets |= {"star": star(), "gold": gold()}
    ours = chosen()
    with tempfile.TemporaryDirectory() as folder:
        for name, counts in sets.items():
            print(f"\n{name}: {counts.shape} {counts.dtype}, {asked.frames} per chunk")
            print("  codec                  ratio  write MB/s  read MB/s")
            for cname, level, shuffle in CODECS:
                codec = BloscCodec(cname=cname, clevel=level, shuffle=shuffle)
                mark = "*" if _same(codec, ours) else " "
                found = measure(
                    counts, codec, asked.frames, f"{folder}/a.zarr", asked.repeats
                )
                print(f"{mark} {cname:4s} {level} {shuffle:12s}", end="")
                print("{:9.2f} {:11.0f} {:10.0f}".format(*found))
            one = measure(counts[:32], ours, 1, f"{folder}/a.zarr", asked.repeats)
            print("  chosen, 1 per chunk ", "{:7.2f} {:11.0f} {:10.0f}".format(*one))


def _same(a: BloscCodec, b: BloscCodec) -> bool:
    return (a.cname, a.clevel, a.shuffle) == (b.cname, b.clevel, b.shuffle)


if __name__ == "__main__":
    main()
