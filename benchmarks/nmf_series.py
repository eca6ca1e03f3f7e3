"""Unmix a PDF series to the optimum: against scikit-learn and pyMCR.

    python benchmarks/nmf_series.py [--scans 120] [--points 3000] [--full]

Five crystalline phases follow one another, as pair distribution functions with
noise, shifted by their minimum. Every solver gets the same data and is given more
iterations until its relative error is within 0.2 % of the best that any reached;
`--full` lets also those run to the end that need minutes. CPU seconds, best of
repeated runs for those under a second. Last, how far the solver is from what BLAS and
memory allow.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from batteryxr import nmf

if TYPE_CHECKING:
    from collections.abc import Callable

N = 5


def pattern(r: np.ndarray, a: float, basis: np.ndarray, power: np.ndarray, d: float):
    """G(r) of a cubic crystal, from all its distances, for particles of size d."""
    reach = int(np.ceil((r[-1] + 2) / a))
    cells = np.stack(
        np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1
    )
    cells = cells.reshape(-1, 3)
    step = r[1] - r[0]
    edges = np.arange(0, r[-1] + 2, step)
    counts = np.zeros(edges.size - 1)
    for here, b in zip(basis, power, strict=True):
        for there, c in zip(basis, power, strict=True):
            distance = a * np.linalg.norm(cells + there - here, axis=1)
            counts += b * c * np.histogram(distance[distance > 0.5], edges)[0]
    middle = 0.5 * (edges[1:] + edges[:-1])
    density = counts / (power.size * power.mean() ** 2) / middle / step
    kernel = np.exp(-0.5 * (np.arange(-40, 41) * step / 0.08) ** 2)
    g = np.convolve(density, kernel / kernel.sum(), "same")
    g -= 4 * np.pi * middle * power.size / a**3
    t = np.clip(middle / d, 0, 1)
    g *= (1 - 1.5 * t + 0.5 * t**3) * np.exp(-0.5 * (0.03 * middle) ** 2)
    return np.interp(r, middle, g)


def make_series(scans: int, points: int) -> np.ndarray:
    """Return shifted patterns (scan, r)."""
    r = 1.0 + 0.01 * np.arange(points)
    fcc = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    salt = np.vstack([fcc, fcc + np.array([0.5, 0, 0])])
    bcc = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    ions = [np.array([z] * 4 + [8.0] * 4) for z in (26.0, 12.0, 19.0)]
    phases = np.array(
        [
            pattern(r, 4.30, salt, ions[0], 1e9),
            pattern(r, 4.13, salt, ions[1], 40.0),
            pattern(r, 4.15, salt, ions[2], 40.0),
            pattern(r, 2.92, bcc, np.array([26.0, 20.0]), 22.0),
            pattern(r, 2.866, bcc, np.array([26.0, 26.0]), 22.0),
        ]
    )
    t = np.linspace(0, 1, scans)[:, None]
    ratio = np.exp(-0.5 * ((t - np.linspace(0, 1, N)) / 0.14) ** 2)
    ratio /= ratio.sum(axis=1, keepdims=True)
    clean = ratio @ phases
    noisy = clean + 0.02 * clean.std() * np.random.default_rng(1).normal(
        size=clean.shape
    )
    return noisy - noisy.min()


def cpu(run: Callable[[], float]) -> tuple[float, float]:
    """Return CPU seconds and the relative error; best of three where quick."""
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        error = run()
        best = min(best, time.process_time() - start)
        if best > 1.0:
            break
    return best, error


def relative(x: np.ndarray, w: np.ndarray, h: np.ndarray) -> float:
    return float(np.linalg.norm(x - w @ h) / np.linalg.norm(x))


def ours(x: np.ndarray, n_starts: int, closure: bool = False) -> float:
    data = xr.DataArray(x, dims=("scan", "r"))
    result = nmf.fit(data, N, closure=closure, n_starts=n_starts)
    return float(result["relative_error"])


def sklearn_nmf(x: np.ndarray, n_iter: int, **options: object) -> float:
    from sklearn.decomposition import NMF

    model = NMF(N, max_iter=n_iter, tol=0, random_state=0, **options)
    return relative(x, model.fit_transform(x), model.components_)


def sklearn_batch(x: np.ndarray, n_iter: int) -> float:
    from sklearn.decomposition import MiniBatchNMF

    model = MiniBatchNMF(
        N, max_iter=n_iter, tol=0, max_no_improvement=None, random_state=0
    )
    model.fit(x)
    return relative(x, model.transform(x), model.components_)


def pymcr_nnls(x: np.ndarray, n_iter: int) -> float:
    from pymcr.mcr import McrAR

    start = x[np.linspace(0, len(x) - 1, N).astype(int)]
    model = McrAR(
        max_iter=n_iter,
        c_regr="NNLS",
        st_regr="NNLS",
        c_constraints=[],
        st_constraints=[],
        tol_increase=1e9,
        tol_n_increase=10**6,
        tol_n_above_min=10**6,
        tol_err_change=None,
    )
    model.fit(x, ST=start)
    return relative(x, model.C_opt_, model.ST_opt_)


def limits(x: np.ndarray) -> None:
    """Print the least that the products with the data could take, and what they do."""
    from batteryxr.nmf.kernels import nnls

    data = xr.DataArray(x, dims=("scan", "r"))
    fit = nmf.fit(data, N, closure=False, n_starts=1)
    rounds = int(fit["start_iterations"][0])
    w = np.ascontiguousarray(fit["weights"].values.T)
    h = np.ascontiguousarray(fit["components"].values)
    square = np.ones((1000, 1000))
    with threadpool_limits(1):
        whole, _ = cpu(lambda: ours(x, 1))
        products = rounds * clock(lambda: (h @ x.T, w @ x))
        gram, rhs = w @ w.T, w @ x
        solved = rounds * clock(lambda: nnls.solve(gram, rhs))
        peak = 2 * len(square) ** 3 / clock(lambda: square @ square)
        rate = x.nbytes / clock(lambda: x.sum())
    flops = 4 * N * x.size * rounds
    print(
        f"\none start, {rounds} rounds, one thread: {1e3 * whole:.0f} CPU ms, of which"
    )
    print(f"  products with the data, by BLAS {1e3 * products:8.1f} ms")
    print(f"  non-negative components         {1e3 * solved:8.1f} ms")
    print(
        f"least, {flops / 1e9:.2f} Gflop at the speed of large products:"
        f"{1e3 * flops / peak:6.1f} ms, {flops / peak / whole:.0%}"
    )
    reading = 2 * rounds * x.nbytes / rate
    print(
        f"least, {x.nbytes / 1e6:.1f} MB read twice a round:"
        f"{1e3 * reading:20.1f} ms, {reading / whole:.0%}"
    )


def clock(run: Callable[[], object]) -> float:
    """Return CPU seconds of this thread, best of five."""
    best = np.inf
    for _ in range(5):
        start = time.thread_time()
        run()
        best = min(best, time.thread_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=120)
    parser.add_argument("--points", type=int, default=3000)
    parser.add_argument("--full", action="store_true", help="let slow solvers finish")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    x = make_series(options.scans, options.points)
    ours(x, 1)  # compile
    floor = min(ours(x, 8), ours(x, 1))
    limit = 1.002 * floor
    print(f"{options.scans} scans x {options.points} points, {N} phases")
    print(f"best error {floor:.6f}; wanted {limit:.6f}\n")
    print(f"{'solver':34}{'iterations':>11}{'CPU s':>9}{'error':>11}")
    rows: list[tuple[str, float, bool]] = []

    def show(name: str, n_iter: object, seconds: float, error: float) -> None:
        reached = error <= limit
        mark = "" if reached else "  not reached"
        print(f"{name:34}{n_iter!s:>11}{seconds:9.3f}{error:11.6f}{mark}", flush=True)
        rows.append((name, seconds, reached))

    for n_starts in (1, 4):
        seconds, error = cpu(lambda k=n_starts: ours(x, k))
        show(f"batteryxr, {n_starts} start(s)", "", seconds, error)
    seconds, error = cpu(lambda: ours(x, 1, closure=True))
    show("batteryxr, weights sum to one", "", seconds, error)
    most = 20_000 if options.full else 10_000
    rivals: dict[str, Callable[[int], float]] = {
        "scikit-learn CD, random": lambda n: sklearn_nmf(x, n, init="random"),
        "scikit-learn CD, nndsvd": lambda n: sklearn_nmf(x, n, init="nndsvd"),
        "scikit-learn CD, nndsvda": lambda n: sklearn_nmf(x, n, init="nndsvda"),
        "scikit-learn MU, nndsvda": lambda n: sklearn_nmf(
            x, n, init="nndsvda", solver="mu"
        ),
        "scikit-learn MiniBatchNMF": lambda n: sklearn_batch(x, n // 10),
    }
    try:
        import pymcr  # noqa: F401

        rivals["pyMCR NNLS"] = lambda n: pymcr_nnls(x, max(n // 10, 20))
    except ImportError:
        print("pyMCR is not installed: skipped")
    with threadpool_limits(1):
        for name, run in rivals.items():
            spent = 0.0
            for n_iter in (200, 500, 1000, 2000, 5000, 10_000, 20_000):
                seconds, error = cpu(lambda k=n_iter, f=run: f(k))
                spent += seconds
                if (
                    error <= limit
                    or n_iter >= most
                    or (spent > 40 and not options.full)
                ):
                    break
            show(name, n_iter, seconds, error)
    mine = rows[0][1]
    reached = [(s, n) for n, s, ok in rows[3:] if ok]
    if reached:
        best, name = min(reached)
        print(f"\nthe best other ({name}) takes {best / mine:.0f} times as long")
    slower = [n for n, _, ok in rows[3:] if not ok]
    print(f"not there in the time given: {', '.join(slower) or 'none'}")
    limits(x)


if __name__ == "__main__":
    main()
