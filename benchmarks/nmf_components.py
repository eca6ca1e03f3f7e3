"""Unmix into few and many components, of short and long series: against scikit-learn.

    python benchmarks/nmf_components.py [--sizes 50x300 500x1000] [--components 2 9 12]

Easy series have patterns of narrow peaks, hard ones broad peaks on a common ground.
scikit-learn's coordinate descent is given more iterations until its error is within
0.2 % of ours. CPU seconds of one start, BLAS in one thread.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from batteryxr import nmf

_ROUNDS = (10, 20, 40, 80, 160, 320, 640, 1280, 2560)
#: CPU seconds after which scikit-learn gets no more iterations.
_PATIENCE = 20.0


def make_series(scans: int, points: int, n: int, *, hard: bool) -> np.ndarray:
    """Return patterns (scan, r) of `n` components, never negative."""
    rng = np.random.default_rng(0)
    grid = np.arange(points) / points
    patterns = np.full((n, points), 0.3 if hard else 0.0)
    for _ in range(6):
        place = rng.uniform(0, 1, (n, 1))
        width = rng.uniform(0.02, 0.15, (n, 1)) if hard else 0.01
        height = rng.uniform(0.2, 1, (n, 1))
        patterns += height * np.exp(-0.5 * ((grid - place) / width) ** 2)
    x = rng.dirichlet(np.full(n, 1.0 if hard else 0.3), scans) @ patterns
    noise = (0.01 if hard else 0.002) * x.std()
    return np.maximum(x + noise * rng.normal(size=x.shape), 0.0)


def ours(x: np.ndarray, n: int) -> tuple[float, float]:
    """Return CPU seconds and the relative error."""
    start = time.process_time()
    data = xr.DataArray(x, dims=("scan", "r"))
    result = nmf.fit(data, n, closure=False, n_starts=1)
    return time.process_time() - start, float(result["relative_error"])


def theirs(x: np.ndarray, n: int, limit: float) -> tuple[float, float]:
    """Return CPU seconds and the relative error of the first run below `limit`."""
    from sklearn.decomposition import NMF

    for rounds in _ROUNDS:
        start = time.process_time()
        model = NMF(n, init="nndsvda", max_iter=rounds, tol=0, random_state=0)
        weights = model.fit_transform(x)
        seconds = time.process_time() - start
        error = np.linalg.norm(x - weights @ model.components_) / np.linalg.norm(x)
        if error <= limit or seconds > _PATIENCE:
            break
    return seconds, float(error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["50x300", "500x1000"])
    parser.add_argument("--components", nargs="+", type=int, default=[2, 5, 9, 12, 20])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for n in (2, 9):
        ours(make_series(40, 50, n, hard=False), n)  # compile
    print(f"{'series':>12}{'n':>4}{'':>6}{'ours':>9}{'error':>11}{'theirs':>9}{'':>4}")
    with threadpool_limits(1):
        for size in options.sizes:
            scans, points = map(int, size.split("x"))
            for n in options.components:
                for hard in (False, True):
                    x = make_series(scans, points, n, hard=hard)
                    mine, error = ours(x, n)
                    other, reached = theirs(x, n, 1.002 * error)
                    mark = "" if reached <= 1.002 * error else "  not reached"
                    kind = "hard" if hard else "easy"
                    print(
                        f"{size:>12}{n:4}{kind:>6}{mine:9.3f}{error:11.6f}"
                        f"{other:9.3f}{other / mine:7.1f} x{mark}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
