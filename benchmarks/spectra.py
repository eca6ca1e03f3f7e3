"""Normalising and combining many spectra, beside Larch and SciPy.

Run ``python benchmarks/spectra.py``. CPU seconds of this process, best of several
runs; where Larch is not installed its lines are skipped.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import xarray as xr
from edge_fit import ENERGY, best_of, stack
from scipy.optimize import nnls


def line(name: str, rate: float, other: float | None = None) -> None:
    ratio = "" if other is None else f"   x{rate / other:,.0f}"
    print(f"{name:44s}{rate:14,.0f} spectra/s{ratio}")


def main() -> None:
    warnings.simplefilter("ignore")
    from batteryxr import xanes

    try:
        from larch import Group
        from larch.math import lincombo_fit
        from larch.xafs import pre_edge
    except ImportError:
        print("Larch is not installed: its lines are skipped")
        Group = None
    image = stack(256).astype(float).reshape(ENERGY.size, -1)
    data = xr.DataArray(
        image,
        dims=("energy", "pixel"),
        coords={"energy": ("energy", ENERGY, {"units": "eV"})},
        attrs={"units": "1"},
    )
    n = data.sizes["pixel"]
    ranges = {"e0": 5478.0, "pre": (-58, -14), "post": (25, 62), "degree": 1}
    result = xanes.normalise(data, **ranges)
    ours = n / best_of(lambda: xanes.normalise(data, **ranges), 5)
    line("normalise and flatten, one E0", ours)
    own = n / best_of(lambda: xanes.normalise(data), 3)
    line("the same, E0 of each spectrum", own)
    middle = slice(n // 2 + 50, n // 2 + 200)
    if Group is not None:

        def larch_loop():
            for y in image[:, middle].T:
                group = Group(energy=ENERGY, mu=y)
                pre_edge(
                    group, e0=5478.0, pre1=-58, pre2=-14, norm1=25, norm2=62, nnorm=1
                )
            return group

        rate = 150 / best_of(larch_loop, 3)
        line("Larch pre_edge", rate)
        last = middle.stop - 1
        gap = abs(result.flattened[:, last].values - larch_loop().flat).max()
        print(f"{'':44s}x{ours / rate:,.0f} (bar x100); differs by {gap:.0e}")

    ends = [n // 2 + 60, n // 2 + 100, n // 2 + 140, n // 3 + 128]
    standards = data[:, ends].rename(pixel="standard")
    ours = n / best_of(lambda: xanes.lcf(data, standards=standards), 3)
    line("lcf, 4 standards, both sums (bar 100,000)", ours)
    matrix = standards.values

    def scipy_loop():
        for y in image[:, middle].T:
            nnls(matrix, y)

    line("scipy nnls", 150 / best_of(scipy_loop, 5), None)
    if Group is not None:
        groups = [
            Group(energy=ENERGY, norm=matrix[:, i].copy(), filename=str(i))
            for i in range(4)
        ]

        def larch_lcf():
            for y in image[:, middle].T[:20]:
                group = Group(energy=ENERGY, norm=y.copy(), filename="y")
                lincombo_fit(group, groups, minvals=[0] * 4, sum_to_one=False)

        rate = 20 / best_of(larch_lcf, 2)
        line("Larch lincombo_fit", rate)
        print(f"{'':44s}x{ours / rate:,.0f} (bar x300)")

    from batteryxr.core.kernels.kramers_kronig import transform_matrix

    matrix = transform_matrix(ENERGY, ENERGY).astype(np.float32)
    million = np.ones((1_000_000, ENERGY.size), np.float32)
    start = time.process_time()
    million @ matrix.T
    taken = time.process_time() - start
    print(f"Kramers-Kronig of a million spectra, 40 energies: {taken:.2f} s (bar 1 s)")


if __name__ == "__main__":
    main()
