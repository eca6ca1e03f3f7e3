"""The operando join: exact window means of 10 million rows over 10,000 exposures.

    python benchmarks/join.py [--rows 10000000] [--scans 10000] [--repeats 7]

What users would pick instead: NumPy's cumulative sum with searchsorted (exact mean of
the voltage, nothing else), polars join_asof and pandas merge_asof (nearest row, no
mean). The kernel returns mean, extremes, spread and charge of voltage and current, and
the net charge at the middle of each exposure. The limit is one pass over time, voltage,
current and file number at the bandwidth measured here. Wall time and CPU time (of all
threads), each the best of all repeats.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numba import njit

from batteryxr.echem import join
from batteryxr.echem.kernels.record import Rule, of_rows
from batteryxr.echem.kernels.windows import ANY_GAP, WindowWalk

if TYPE_CHECKING:
    from collections.abc import Callable

NS = 1_000_000_000
EXPOSURE = 130.0


def table(rows: int) -> tuple[np.ndarray, ...]:
    """Cycles of 20,000 rows: charge, rest, discharge, rest."""
    phase = np.arange(rows) % 20_000
    current = np.select([phase < 10_000, phase < 10_500, phase < 19_500], [1.0, 0, -1])
    t = np.cumsum(np.where(current != 0, 2 * NS, NS))
    rng = np.random.default_rng(0)
    voltage = 3.7 + 0.4 * np.sin(phase / 3000) + rng.normal(0, 2e-4, rows)
    return t, voltage, current, np.zeros(rows, np.int16)


def cumulative(
    t: np.ndarray, v: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    s = t * 1e-9
    area = np.empty(s.size)
    area[0] = 0
    np.cumsum(np.diff(s) * (v[1:] + v[:-1]) * 0.5, out=area[1:])

    def integral(x: np.ndarray) -> np.ndarray:
        k = np.clip(np.searchsorted(s, x, side="right") - 1, 0, s.size - 2)
        f = x - s[k]
        end = v[k] + (v[k + 1] - v[k]) * f / (s[k + 1] - s[k])
        return area[k] + (v[k] + end) / 2 * f

    return (integral(b * 1e-9) - integral(a * 1e-9)) / ((b - a) * 1e-9)


@njit(nogil=True, fastmath=True)
def _total(values: np.ndarray) -> float:
    total = 0.0
    for x in values:
        total += x
    return total


def bandwidth(values: np.ndarray, repeats: int) -> float:
    """Return bytes per second that two threads read together."""
    halves = np.array_split(values, 2)
    with ThreadPoolExecutor(2) as pool:
        timed = best(lambda: list(pool.map(_total, halves)), repeats)
    return values.nbytes / timed.wall


class Timed(NamedTuple):
    """Best wall and CPU time (s), and what came out."""

    wall: float
    cpu: float
    result: Any


def best(function: Callable[[], object], repeats: int) -> Timed:
    result = function()
    wall, cpu = [], []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        result = function()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    return Timed(min(wall), min(cpu), result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--scans", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    rows = t, v, i, file = table(options.rows)
    rng = np.random.default_rng(1)
    starts = rng.integers(0, t[-1] - 200 * NS, options.scans)
    ends = starts + round(EXPOSURE * NS)

    def kernel() -> np.ndarray:
        rule = Rule(1e-3, ANY_GAP, mean=False)
        walk = WindowWalk(starts, ends, (starts + ends) // 2, rule)
        walk.add(of_rows(v, i, clock=t, file=file))
        walk.net_charge()
        return walk.sums().voltage

    record = xr.Dataset(
        {
            "voltage": ("record", v, {"units": "V"}),
            "current": ("record", i, {"units": "mA"}),
        },
        coords={
            "time": ("record", t.view("M8[ns]")),
            "test_time": ("record", t * 1e-9, {"units": "s"}),
            "file": ("record", file),
        },
    )
    scans = xr.DataArray(
        np.zeros(options.scans),
        dims="scan",
        coords={"time": ("scan", starts.view("M8[ns]"))},
    )
    limit = sum(a.nbytes for a in rows) / bandwidth(v, options.repeats)
    n = options.repeats
    found = {
        "batteryxr kernel: V, I, charge": best(kernel, n),
        "numpy cumsum + searchsorted: V": best(
            lambda: cumulative(t, v, starts, ends), n
        ),
        **others(t, v, starts, n),
        "batteryxr join, half cycles and all": best(
            lambda: join(record, scans, exposure=EXPOSURE)["voltage"].values, n
        ),
    }
    exact = found["numpy cumsum + searchsorted: V"].result
    print(f"{options.rows:,} rows, {options.scans:,} exposures of {EXPOSURE:g} s")
    print(f"one pass at memory bandwidth: {limit * 1e3:.1f} ms")
    print(f"{'':36} {'wall/ms':>8} {'x limit':>8} {'CPU/ms':>8} {'max |dV|/V':>11}")
    for name, timed in found.items():
        off = np.nanmax(np.abs(timed.result - exact))
        print(
            f"{name:36} {timed.wall * 1e3:8.1f} {timed.wall / limit:8.1f} "
            f"{timed.cpu * 1e3:8.1f} {off:11.2g}"
        )


def others(
    t: np.ndarray, v: np.ndarray, starts: np.ndarray, repeats: int
) -> dict[str, Timed]:
    middles = starts + round(EXPOSURE * NS / 2)
    order = np.argsort(middles)
    few, many = {"t": middles[order]}, {"t": t, "v": v}
    results = {}
    try:
        import polars as pl

        left, right = pl.DataFrame(few), pl.DataFrame(many)
        results["polars join_asof: nearest row"] = best(
            lambda: left.join_asof(right, on="t", strategy="nearest"), repeats
        )
    except ImportError:
        print("polars is not installed: skipped")
    try:
        import pandas as pd

        less, more = pd.DataFrame(few), pd.DataFrame(many)
        results["pandas merge_asof: nearest row"] = best(
            lambda: pd.merge_asof(less, more, on="t", direction="nearest"), repeats
        )
    except ImportError:
        print("pandas is not installed: skipped")
    back = np.argsort(order)
    return {
        name: timed._replace(result=np.asarray(timed.result["v"])[back])
        for name, timed in results.items()
    }


if __name__ == "__main__":
    main()
