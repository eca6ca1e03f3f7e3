"""Unmix a spectro-image of a million pixels, and one that does not fit in memory.

    python benchmarks/nmf_stack.py [--side 1024] [--others] [--zarr SIDE]

A stack of 40 energies with five phases and noise, float32. Prints CPU seconds and
relative errors of batteryxr from memory and from zarr, the share of the memory
bandwidth that a pass reaches, and (``--others``) what scikit-learn and pyMCR need to
come as near. ``--zarr 4096`` writes a 2.7 GB stack to a temporary folder and
measures time and peak memory of factorising it, there and at half the pixels.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from batteryxr import nmf

N = 5
ENERGIES = 40


def spectra() -> np.ndarray:
    """Return five absorption edges (energy, phase), each a little later."""
    rng = np.random.default_rng(0)
    energy = np.linspace(8320, 8420, ENERGIES)
    edge = 8340 + 2.0 * np.arange(N)
    e = energy[:, None] - edge
    out = 0.5 + np.arctan(e / 2.5) / np.pi
    out += rng.uniform(0.3, 0.9, N) * np.exp(
        -0.5 * ((e - 6 - rng.uniform(0, 3, N)) / rng.uniform(2, 4, N)) ** 2
    )
    return out + 0.02


def fields(rows: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return smooth thickness-weighted fractions (phase, y, x)."""
    from scipy.ndimage import zoom

    coarse = rng.normal(size=(N, max(rows // 32, 2), max(side // 32, 2)))
    factor = (1, rows / coarse.shape[1], side / coarse.shape[2])
    share = np.exp(3 * zoom(coarse, factor, order=1)[:, :rows, :side])
    return (share / share.sum(axis=0)).astype(np.float32)


def block(rows: int, side: int, seed: int) -> np.ndarray:
    """Return (energy, rows, side) float32."""
    rng = np.random.default_rng(seed)
    clean = np.tensordot(spectra().astype(np.float32), fields(rows, side, rng), 1)
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    return np.maximum(clean + np.float32(0.01) * noise, 0)


def label(values: object) -> xr.DataArray:
    return xr.DataArray(values, dims=("energy", "y", "x"), name="optical_density")


def full_error(x: np.ndarray, w: np.ndarray, h: np.ndarray) -> float:
    """Return the relative error of pixels (energy, pixel), block by block."""
    off = power = 0.0
    for a in range(0, x.shape[1], 65536):
        part = x[:, a : a + 65536]
        residual = part - (h.T @ w[:, a : a + 65536]).astype(np.float32)
        off += float(np.vdot(residual, residual))
        power += float(np.vdot(part, part))
    return float(np.sqrt(off / power))


def report(name: str, seconds: float, error: float, note: str = "") -> None:
    print(f"{name:44}{seconds:9.2f}{error:11.6f}  {note}", flush=True)


def ours(data: xr.DataArray, n_starts: int) -> tuple[float, xr.Dataset]:
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        result = nmf.fit(data, N, closure=False, n_starts=n_starts)
        result = result.compute()
        best = min(best, time.process_time() - start)
    return best, result


def from_memory(side: int) -> tuple[np.ndarray, float, float]:
    data = label(block(side, side, 0))
    print(
        f"{ENERGIES} x {side} x {side} float32, {data.nbytes / 1e6:.0f} MB, {N} phases"
    )
    print(f"\n{'solver':44}{'CPU s':>9}{'error':>11}")
    nmf.fit(data.isel(y=slice(0, 300)), N, closure=False, n_starts=1)  # compile
    x = data.values.reshape(ENERGIES, -1)
    fastest, lowest = np.inf, np.inf
    for n_starts in (1, 4):
        seconds, result = ours(data, n_starts)
        w = result["weights"].values.reshape(N, -1)
        error = full_error(x, w, result["components"].values)
        report(f"batteryxr, {n_starts} start(s)", seconds, error)
        fastest, lowest = min(fastest, seconds), min(lowest, error)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "stack.zarr")
        data.chunk(energy=8, y=256, x=256).to_dataset().to_zarr(
            path, consolidated=False
        )
        lazy = xr.open_zarr(path, consolidated=False)["optical_density"]
        seconds, result = ours(lazy, 4)
        w = result["weights"].values.reshape(N, -1)
        error = full_error(x, w, result["components"].values)
        report("batteryxr from zarr, chunks (8, 256, 256)", seconds, error)
    bandwidth(x, result["components"].values)
    return x, fastest, lowest


def bandwidth(x: np.ndarray, components: np.ndarray) -> None:
    """Print how fast one full pass reads, next to a bare sum."""
    from batteryxr.nmf.kernels.passes import gather

    with threadpool_limits(1):
        times = {}
        for name, run in {
            "sum": lambda: x.sum(),
            "pass": lambda: gather(x.T, components, closure=False),
        }.items():
            best = np.inf
            for _ in range(5):
                start = time.perf_counter()
                run()
                best = min(best, time.perf_counter() - start)
            times[name] = x.nbytes / best / 1e9
    share = times["pass"] / times["sum"]
    print(
        f"\none thread reads {times['pass']:.2f} GB/s in a pass, "
        f"{times['sum']:.1f} GB/s in a bare sum: {share:.0%} of it"
    )


def others(x: np.ndarray, mine: float, floor: float) -> None:
    from sklearn.decomposition import NMF, MiniBatchNMF

    limit = 1.002 * floor
    print(f"\nwanted: error {limit:.6f}\n")
    pixels = np.ascontiguousarray(x.T)
    with threadpool_limits(1):
        for name, options, counts in (
            ("scikit-learn CD", {"init": "nndsvda"}, (200, 1000, 3000)),
            ("scikit-learn MU", {"init": "nndsvda", "solver": "mu"}, (500,)),
        ):
            for n_iter in counts:
                model = NMF(N, max_iter=n_iter, tol=0, random_state=0, **options)
                start = time.process_time()
                w = model.fit_transform(pixels)
                seconds = time.process_time() - start
                error = full_error(x, w.T, model.components_)
                there = "reached" if error <= limit else "not reached"
                report(
                    f"{name}, {n_iter}",
                    seconds,
                    error,
                    f"{there}, {seconds / mine:.0f} x",
                )
                if error <= limit:
                    break
        model = MiniBatchNMF(N, random_state=0)
        start = time.process_time()
        w = model.fit(pixels).transform(pixels)
        seconds = time.process_time() - start
        error = full_error(x, w.T, model.components_)
        report("scikit-learn MiniBatchNMF", seconds, error, f"{seconds / mine:.0f} x")
        try:
            from pymcr.mcr import McrAR
        except ImportError:
            print("pyMCR is not installed: skipped")
            return
        mcr = McrAR(max_iter=3, c_regr="NNLS", st_regr="NNLS", tol_increase=1e9)
        start = time.process_time()
        mcr.fit(pixels, ST=pixels[:: len(pixels) // N][:N])
        seconds = time.process_time() - start
        error = full_error(x, mcr.C_opt_.T, mcr.ST_opt_)
        report("pyMCR NNLS, 3", seconds, error, f"{seconds / mine:.0f} x")


def out_of_core(side: int) -> None:
    """Measure a large stack in processes of their own, so that peaks are theirs."""
    import zarr

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.zarr"
        root = zarr.open_group(str(path), mode="w")
        array = root.create_array(
            "optical_density",
            shape=(ENERGIES, side, side),
            chunks=(8, 256, 256),
            dtype="float32",
            dimension_names=("energy", "y", "x"),
        )
        for y in range(0, side, 256):
            array[:, y : y + 256] = block(256, side, y)
        print(f"\n{ENERGIES} x {side} x {side}, {array.nbytes / 1e9:.2f} GB in zarr")
        for part in (side // 4, side // 2, side):
            command = [sys.executable, __file__, "--child", str(path), str(part)]
            print(
                subprocess.run(command, capture_output=True, text=True).stdout, end=""
            )


def memory(kind: str) -> float:
    """Return resident memory of this process in MB: now, or its peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(v for v in lines if v.startswith(kind)).split()[1]) / 1024


def child(path: str, rows: int) -> None:
    """Factorise the first rows; print time and memory above the start's."""
    stack = xr.open_zarr(path, consolidated=False)["optical_density"]
    small = stack.isel(y=slice(0, 256), x=slice(0, 512))
    nmf.fit(small, N, closure=False, n_starts=1).compute()  # imports, compilation
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    base = memory("VmRSS")
    data = stack.isel(y=slice(0, rows))
    wall, cpu = time.perf_counter(), time.process_time()
    result = nmf.fit(data, N, closure=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = memory("VmHWM")
    pixels = rows * stack.sizes["x"] / 1e6
    print(
        f"{pixels:6.1f} Mpixel: {wall:6.1f} s wall, {cpu:6.1f} s CPU "
        f"({cpu / pixels:.3f} per Mpixel), peak {peak - base:.0f} MB above "
        f"{base:.0f} MB, error {float(result['relative_error']):.6f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--zarr", type=int, metavar="SIDE")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.child:
        child(options.child[0], int(options.child[1]))
    elif options.zarr:
        out_of_core(options.zarr)
    else:
        x, seconds, error = from_memory(options.side)
        if options.others:
            others(x, seconds, error)


if __name__ == "__main__":
    main()
