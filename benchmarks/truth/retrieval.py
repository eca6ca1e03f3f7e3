"""Phase retrieval from unknown supports: how near to the truth, at what cost.

    python benchmarks/truth/retrieval.py [--gold] [--seed 0]

Simulated crystals of known phase, nearly centrosymmetric, so that the conjugate twin is
hard to tell; then, with ``--gold``, the measured gold crystal of APS 34-ID-C scan 54
from `batteryxr.sample`, six starts.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import xarray as xr
from scipy import ndimage

import batteryxr
from batteryxr import cdi
from batteryxr.cdi.bragg.kernels.align import align
from batteryxr.cdi.bragg.kernels.answer import run
from batteryxr.cdi.bragg.kernels.pattern import prepare
from batteryxr.cdi.bragg.kernels.schedule import parse
from batteryxr.cdi.bragg.settings import RetrievalSettings
from batteryxr.core.seeds import generators

SCHEDULE = "200 HIO + 200 RAAR + 100 ER"
#: Size, edges, largest phase (rad), photons, starts.
CASES = [
    (64, (22, 19, 17), 1.5, 1e7, 12),
    (64, (22, 19, 17), 3.5, 1e7, 6),
    (128, (44, 38, 34), 2.0, 1e8, 4),
]
VOXEL_NM3 = 1454


def crystal(n: int, edges: tuple[int, int, int], phase: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:n, :n, :n] - n // 2
    a, b, c = edges
    inside = (abs(z) < a / 2) & (abs(y) < b / 2) & (abs(x) < c / 2)
    inside &= (abs(x + y) < (b + c) * 0.36) & (abs(y + z) < (a + b) * 0.38)
    smooth = ndimage.gaussian_filter(rng.standard_normal((n, n, n)), 9)
    smooth *= phase / np.abs(smooth[inside]).max()
    modulus = ndimage.gaussian_filter(inside.astype(float), 0.6)
    return (modulus * np.exp(1j * smooth)).astype(np.complex64)


def counts(obj: np.ndarray, photons: float) -> np.ndarray:
    mean = np.abs(np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(obj)))) ** 2
    mean *= photons / mean.sum()
    return np.random.default_rng(1).poisson(mean).astype(np.float32)


def simulated() -> None:
    print(f"Simulated, {SCHEDULE}")
    print("size   phase   starts  overlap worst  best  chosen   twins  CPU s per start")
    settings = RetrievalSettings(schedule=parse(SCHEDULE))
    for n, edges, phase, photons, n_starts in CASES:
        truth = crystal(n, edges, phase)
        free, *seeds = generators(0, n_starts + 1)
        pattern = prepare(counts(truth, photons), free)
        overlaps, merits, twins, cost = [], [], 0, []
        for rng in seeds:
            began = time.process_time()
            start = run(pattern, settings, rng)
            cost.append(time.process_time() - began)
            laid = align(truth, start.whole(start.box))
            overlaps.append(laid.overlap)
            merits.append(start.merits["llk_free"])
            twins += laid.twin
        chosen = overlaps[int(np.argmin(merits))]
        print(
            f"{n:4d}{phase:8.1f}{n_starts:9d}{min(overlaps):15.4f}{max(overlaps):8.4f}"
            f"{chosen:8.4f}{twins:8d}{np.median(cost):12.1f}"
        )


def gold(seed: int) -> None:
    from batteryxr.io import read_frames, read_image

    data = batteryxr.sample("bragg-au-scan54") / "example_data"
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
    clean = cdi.correct(frames, flat=white, hot=hot, mask=seam)
    volume = cdi.crop(clean, shape=(128, 160, 160)).compute()
    volume = xr.where(volume < 2, 0, volume, keep_attrs=True)  # stray counts
    began = time.process_time()
    result = cdi.retrieve(volume, schedule=SCHEDULE, n_starts=6, seed=seed)
    cost = (time.process_time() - began) / 6
    print(f"\nGold crystal, {SCHEDULE}, seed {seed}, {cost:.0f} CPU s per start")
    for name in ("amp_residual", "llk", "llk_free", "support_voxels", "rank"):
        print(f"{name:16s}", np.array2string(result[name].values, precision=4))
    cubic_um = float(result["support"].sum()) * VOXEL_NM3 * 1e-9
    print(f"volume {cubic_um:.4f} um^3, first mode of the best three ", end="")
    print(f"{float(result['mode_weight'][0]):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gold", action="store_true", help="the measured crystal")
    parser.add_argument("--seed", type=int, default=0, help="of the gold's starts")
    arguments = parser.parse_args()
    simulated()
    if arguments.gold:
        gold(arguments.seed)


if __name__ == "__main__":
    main()
