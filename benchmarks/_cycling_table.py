"""The table of the cycling benchmarks: 500 cycles, each of 20,000 rows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable

PATTERN = ((10_000, 1.0), (500, 0.0), (9_000, -1.0), (500, 0.0))


def columns(n: int = 500) -> dict[str, np.ndarray]:
    """Return time (s), current (mA), voltage (V), cycle, step and half-cycle number."""
    rng = np.random.default_rng(0)

    def potential(x: np.ndarray) -> np.ndarray:
        smooth = 4.4 - 1.2 * x - 0.25 * np.tanh((x - 0.35) / 0.08)
        ends = 0.3 * np.exp(-x / 0.02) - 0.4 * np.exp((x - 1) / 0.02)
        return smooth - 0.15 * np.tanh((x - 0.7) / 0.05) + ends

    charge = potential(np.linspace(1, 0.02, 10_000)) + 0.05
    discharge = potential(np.linspace(0.02, 0.9, 9_000)) - 0.05
    settling = 0.05 * (1 - np.exp(-np.arange(500) / 60))
    voltage = np.concatenate(
        [charge, charge[-1] - settling, discharge, discharge[-1] + settling]
    )
    current = np.concatenate([np.full(rows, sign) for rows, sign in PATTERN])
    flows = current != 0
    steps = [np.where(flows, 2.0 * (1 - 2e-4 * c), 1.0) for c in range(n)]
    step = np.concatenate([np.full(rows, k) for k, (rows, _) in enumerate(PATTERN)])
    return {
        "t": np.cumsum(np.concatenate(steps)),
        "i": np.tile(current, n),
        "v": np.tile(voltage, n) + rng.normal(0, 2e-4, n * voltage.size),
        "cycle": np.repeat(np.arange(n), voltage.size),
        "step": np.tile(step, n),
        "half": np.repeat(np.arange(4 * n), np.tile([r for r, _ in PATTERN], n)),
    }


def labelled(table: dict[str, np.ndarray]) -> xr.Dataset:
    """Return the table as a cycler record."""
    return xr.Dataset(
        {
            "voltage": ("record", table["v"], {"units": "V"}),
            "current": ("record", table["i"], {"units": "mA"}),
        },
        {"test_time": ("record", table["t"], {"units": "s"})},
    )


def best(function: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return the best wall and CPU time of several calls, in ms, after a first one."""
    function()
    wall, cpu = [], []
    for _ in range(repeats):
        a, b = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - a)
        cpu.append(time.process_time() - b)
    return 1e3 * min(wall), 1e3 * min(cpu)


def show(rows: list[tuple[str, float, float]], limit: float | None = None) -> None:
    """Print a table; the first row is what the others are compared with."""
    ours_wall, ours_cpu = rows[0][1:]
    print(f"{'':44s}{'wall ms':>9s}{'CPU ms':>9s}{'x wall':>8s}{'x CPU':>8s}")
    for name, wall, cpu in rows:
        ratios = f"{wall / ours_wall:8.1f}{cpu / ours_cpu:8.1f}"
        print(f"{name:44s}{wall:9.1f}{cpu:9.1f}{ratios}")
    if limit is not None:
        print(
            f"one pass over t, V, I takes {limit:.1f} ms: {limit / ours_wall:.0%} of it"
        )
