"""Register 40 frames of a megapixel, and cluster half a million pixels.

    python benchmarks/domains.py [--side 1024] [--pixels 553000] [--memory]

Prints CPU seconds (best of n) beside what users would pick: scikit-image and
pystackreg for drift, scikit-learn's KMeans on all pixels for domains. ``--memory``
clusters a zarr store of 4096 x 4096 pixels and three features in a process of its own
and prints its peak.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr import xanes
from batteryxr.core.store import open_store, save

if TYPE_CHECKING:
    from collections.abc import Callable

ENERGIES = 40
CENTRES = np.array(
    [
        [5476.9, 0.5, 42.0],
        [5477.4, 1.9, 37.5],
        [5480.6, 3.0, 45.6],
        [5479.0, 1.2, 35.5],
        [5477.6, 0.9, 87.0],
        [5480.1, 2.4, 76.0],
    ]
)
NAMES = ("edge_energy", "peak_area", "electron_ratio")


def best(function: Callable[[], Any], n: int = 3) -> tuple[float, Any]:
    """Return the least CPU time of n calls, and the last result."""
    times = []
    for _ in range(n):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def drifting(side: int) -> tuple[xr.DataArray, np.ndarray]:
    """Return frames of a textured particle, and how far each drifted (pixels)."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0, 0.5, (ENERGIES, 2)), axis=0)
    walk -= walk[-1]
    waves = rng.normal(0, 80, (20, 2))
    phases = rng.uniform(0, 6.28, 20)
    v, u = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    frames = np.empty((ENERGIES, side, side), np.float32)
    for k, (dy, dx) in enumerate(walk):
        y, x = (v - dy) / side - 0.5, (u - dx) / side - 0.5
        body = 1 / (1 + np.exp((np.hypot(x, y) - 0.35) * 300))
        texture = sum(
            np.sin(a * y + b * x + c) for (a, b), c in zip(waves, phases, strict=True)
        )
        frames[k] = body * (0.2 if k < 20 else 0.4) * (1 + 0.05 * texture)
        frames[k] += rng.normal(0, 0.006, (side, side))
    energy = ("energy", np.linspace(5420, 5540, ENERGIES), {"units": "eV"})
    return xr.DataArray(
        frames, dims=("energy", "y", "x"), coords={"energy": energy}, name="absorption"
    ), walk


def registration(side: int) -> None:
    """Print accuracy and time of finding drift."""
    stack, walk = drifting(side)
    xanes.register(stack[:2])  # compiles
    print(f"\nRegistration of {ENERGIES} frames of {side} x {side}, float32")
    print(f"{'':34}{'CPU s':>8}{'rms px':>9}")

    def row(name: str, seconds: float, found: np.ndarray) -> None:
        error = np.sqrt(((found - found[-1] - walk) ** 2).mean())
        print(f"{name:34}{seconds:8.2f}{error:9.3f}", flush=True)

    seconds, moved = best(lambda: xanes.register(stack), 2)
    row("batteryxr, found and moved", seconds, _shifts(moved))
    frames = stack.values
    try:
        from skimage.registration import phase_cross_correlation
    except ImportError:
        print("scikit-image is not installed: skipped")
    else:

        def alone() -> np.ndarray:
            return np.array(
                [
                    phase_cross_correlation(f, frames[-1], upsample_factor=100)[0]
                    for f in frames
                ]
            )

        row("scikit-image, found only", *best(alone, 1))
    try:
        from pystackreg import StackReg
    except ImportError:
        print("pystackreg is not installed: skipped")
        return
    reg = StackReg(StackReg.TRANSLATION)

    def stackreg() -> np.ndarray:
        found = [reg.register(frames[-1], f)[[1, 0], 2] for f in frames]
        return np.array(found)

    row("pystackreg, found only", *best(stackreg, 1))


def _shifts(moved: xr.DataArray) -> np.ndarray:
    return np.stack([moved.shift_y.values, moved.shift_x.values], axis=-1)


def features(shape: tuple[int, int], seed: int = 0) -> tuple[xr.Dataset, np.ndarray]:
    """Return maps of six states, and the states."""
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 6, shape)
    noise = rng.normal(0, [0.15, 0.14, 1.5], (*shape, 3))
    values = (CENTRES[state] + noise).astype(np.float32)
    maps = {n: (("y", "x"), values[..., i]) for i, n in enumerate(NAMES)}
    return xr.Dataset(maps), state


def clusters(pixels: int) -> None:
    """Print time and agreement of clustering."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    maps, state = features((pixels // 700, 700))
    points = np.stack([maps[n].values.ravel() for n in NAMES], axis=1).astype(float)
    scaled = (points - points.mean(axis=0)) / points.std(axis=0)
    print(f"\nSix clusters of {points.shape[0]:,} pixels, three features, ten starts")
    print(f"{'':34}{'CPU s':>8}{'wall s':>8}{'ARI':>8}{'inertia':>12}")

    def row(name: str, run: Callable[[], np.ndarray]) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        labels = run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        ari = adjusted_rand_score(state.ravel(), labels.ravel())
        sums = sum(
            ((scaled[labels.ravel() == c] - m) ** 2).sum()
            for c in np.unique(labels)
            for m in [scaled[labels.ravel() == c].mean(axis=0)]
        )
        print(f"{name:34}{cpu:8.2f}{wall:8.2f}{ari:8.4f}{sums:12.1f}", flush=True)

    row(
        "batteryxr, 200 000 fitted",
        lambda: xanes.cluster(maps, n_clusters=6).label.values,
    )
    most = points.shape[0]
    every = "batteryxr, all fitted"
    row(every, lambda: xanes.cluster(maps, n_clusters=6, max_pixels=most).label.values)
    row(
        "scikit-learn KMeans",
        lambda: KMeans(6, n_init=10, random_state=0).fit(scaled).labels_,
    )
    cpu, wall = time.process_time(), time.perf_counter()
    orders = xanes.cluster_orders(maps, progress=False)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    chosen = [orders.attrs[n] for n in ("elbow", "best_silhouette", "first_gap")]
    print(f"{'orders 1..12 (elbow, silh., gap)':34}{cpu:8.2f}{wall:8.2f}   {chosen}")


def memory() -> None:
    """Print the peak memory of clustering a store of 16.8 million pixels."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.zarr"
        maps, _ = features((4096, 4096))
        save(maps.chunk(y=512, x=512), path)
        size = maps.nbytes
        del maps
        run = [sys.executable, __file__, "--store", str(path)]
        text = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    print(f"\n4096 x 4096 pixels in zarr ({size / 1e6:.0f} MB): {text.strip()}")


def from_store(path: str) -> None:
    """Cluster a store and write the labels beside it; print time and peak memory."""
    start = time.process_time()
    maps = open_store(path)
    assert isinstance(maps, xr.Dataset)
    before = high_water()
    found = xanes.cluster(maps, n_clusters=6)
    save(found[["label"]], f"{path}-labels")
    peak = high_water()
    seconds = time.process_time() - start
    print(f"{seconds:.1f} CPU s, peak {peak / 1e6:.2f} GB ({before / 1e6:.2f} before)")


def high_water() -> float:
    """Return the peak memory of this process since it began (kB)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1])
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--pixels", type=int, default=553_000)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--store", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.store:
        from_store(arguments.store)
        return
    registration(arguments.side)
    clusters(arguments.pixels)
    if arguments.memory:
        memory()


if __name__ == "__main__":
    main()
