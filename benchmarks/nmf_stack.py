"""Unmix a spectro-image of a million pixels, and one that does not fit in memory.

    python benchmarks/nmf_stack.py [--side 1024] [--others] [--seconds 40] [--zarr SIDE]

A stack of 40 energies with five phases and noise, float32. Prints CPU seconds and
relative errors of batteryxr from memory and from zarr, how far a pass is from what
memory and BLAS allow, and (``--others``) what scikit-learn and pyMCR need to come
within 0.2 % of its error: each goes on from where it is, until it is there or has
used up its ``--seconds``, which then are a lower bound. ``--zarr 4096`` writes a
2.7 GB stack to a temporary folder and measures time and peak memory of factorising
it, there and at half the pixels.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from batteryxr import nmf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    limits(x, result["components"].values)
    return x, fastest, lowest


def limits(x: np.ndarray, components: np.ndarray) -> None:
    """Print how long a full pass takes, and the least that its parts could."""
    from batteryxr.nmf.kernels import nnls, passes

    h = np.ascontiguousarray(components, dtype=x.dtype)
    gram = components @ components.T
    parts = [x[:, a : a + passes.BLOCK] for a in range(0, x.shape[1], passes.BLOCK)]
    rhs = [(h @ part).astype(np.float64) for part in parts]
    w = [nnls.solve(gram, c).astype(x.dtype) for c in rhs]
    square = np.ones((1500, 1500), dtype=x.dtype)
    with threadpool_limits(1):
        times = {
            "a full pass": lambda: passes.gather(x.T, components, closure=False),
            "reading the data once (a sum)": lambda: x.sum(),
            "its two products with the data, by BLAS": lambda: [
                (h @ part, u @ part.T) for part, u in zip(parts, w, strict=True)
            ],
            "its non-negative weights": lambda: [nnls.solve(gram, c) for c in rhs],
        }
        spent = {}
        for name, run in times.items():
            run()
            spent[name] = min(clock(run) for _ in range(5))
        peak = 2 * len(square) ** 3 / min(clock(lambda: square @ square) for _ in "abc")
    flops = 4 * components.size * x.shape[1]
    whole = spent["a full pass"]
    print(f"\none thread, CPU ms; {x.nbytes / 1e6:.0f} MB, {flops / 1e9:.2f} Gflop")
    for name, seconds in spent.items():
        print(f"{name:42}{1e3 * seconds:8.1f}   {seconds / whole:.0%} of the pass")
    print(f"{'the flops at the speed of large products':42}{1e3 * flops / peak:8.1f}")
    reading = spent["reading the data once (a sum)"]
    print(
        f"a pass reads {x.nbytes / whole / 1e9:.1f} GB/s, {reading / whole:.0%} of "
        "what memory gives one thread"
    )


def clock(run: Callable[[], object]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


def others(x: np.ndarray, mine: float, floor: float, seconds: float) -> None:
    """Let each go on until it is as near as wanted, or out of time."""
    limit = 1.002 * floor
    print(f"\nwanted: error {limit:.6f}, within {seconds:.0f} CPU s\n")
    print(f"{'solver':30}{'iterations':>11}{'CPU s':>9}{'error':>11}")
    pixels = np.ascontiguousarray(x.T)
    rivals: dict[str, Iterator[tuple[int, np.ndarray, np.ndarray]]] = {
        "scikit-learn CD": sklearn_steps(pixels, "cd"),
        "scikit-learn MU": sklearn_steps(pixels, "mu"),
        "scikit-learn MiniBatchNMF": batch_steps(pixels),
    }
    try:
        import pymcr  # noqa: F401

        rivals["pyMCR NNLS"] = pymcr_steps(pixels)
    except ImportError:
        print("pyMCR is not installed: skipped")
    for name, steps in rivals.items():
        spent, done = 0.0, 0
        with threadpool_limits(1):
            while spent < seconds:
                start = time.process_time()
                n_iter, w, h = next(steps)
                spent += time.process_time() - start
                done += n_iter
                error = full_error(x, w.T, h)
                if error <= limit:
                    break
        there = error <= limit
        told = f"{'' if there else 'more than '}{spent / mine:.0f} times as long"
        print(
            f"{name:30}{done:11}{spent:9.1f}{error:11.6f}  "
            f"{'' if there else 'not there: '}{told}",
            flush=True,
        )


def sklearn_steps(
    pixels: np.ndarray, solver: str
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield iterations done, weights and components, each time going on."""
    from sklearn.decomposition import NMF

    start: dict[str, np.ndarray] = {}
    for n_iter in itertools.chain((50,), itertools.repeat(100)):
        init = "custom" if start else "nndsvda"
        model = NMF(N, solver=solver, init=init, max_iter=n_iter, tol=0, random_state=0)
        w = model.fit_transform(pixels, **start)
        start = {"W": w, "H": model.components_}
        yield n_iter, w, model.components_


def batch_steps(
    pixels: np.ndarray,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    from sklearn.decomposition import MiniBatchNMF

    model = MiniBatchNMF(N, batch_size=16_384, random_state=0)
    order = np.random.default_rng(0)
    while True:
        for _ in range(5):
            for rows in np.array_split(order.permutation(len(pixels)), 64):
                model.partial_fit(pixels[rows])
        yield 5, model.transform(pixels), model.components_


def pymcr_steps(
    pixels: np.ndarray,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    from pymcr.mcr import McrAR

    logging.getLogger("pymcr.mcr").setLevel(logging.ERROR)
    spectra = pixels[:: len(pixels) // N][:N]
    while True:
        model = McrAR(
            max_iter=1,
            c_regr="NNLS",
            st_regr="NNLS",
            c_constraints=[],
            st_constraints=[],
            tol_increase=1e9,
        )
        model.fit(pixels, ST=spectra)
        spectra = model.ST_opt_
        yield 1, model.C_opt_, spectra


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
    parser.add_argument("--seconds", type=float, default=40, help="for each other")
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
            others(x, seconds, error, options.seconds)


if __name__ == "__main__":
    main()
