"""Summary of 500 cycles in 10 million rows, side by side with other tools.

    python benchmarks/cycle_summary.py [--cycles 500] [--repeats 7]
        [--pyprobe PYTHON] [--cellpy PYTHON]

All get a table in memory and return charge, energy, and highest and lowest voltage of
each cycle. The others are told where cycles begin; batteryxr finds it. PyProBE and
cellpy cannot be installed together: give an interpreter that has one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import textwrap
from pathlib import Path

import numpy as np
from _cycling_table import best, columns, labelled, show
from numba import njit

from batteryxr.core.kernels.cores import allowed
from batteryxr.echem import cycles, half_cycles
from batteryxr.echem.kernels import segments

PYPROBE = """
    import sys, time, pyprobe, polars as pl
    from pyprobe.analysis import cycling
    walls, cpus = [], []
    for _ in range(3):
        cell = pyprobe.Cell(info={"Name": "x"})
        cell.import_data("s", sys.argv[1])
        a, b = time.perf_counter(), time.process_time()
        cycling.summary(cell.procedure["s"], dchg_before_chg=False).data
        walls.append(time.perf_counter() - a); cpus.append(time.process_time() - b)
    print("TIMES", min(walls), min(cpus))
"""
CELLPY = """
    import sys, time, cellpy
    cell = cellpy.get(sys.argv[1], instrument="batmo_bdf", mass=1.0, auto_summary=False)
    a, b = time.perf_counter(), time.process_time()
    cell.make_step_table(); cell.make_summary()
    print("TIMES", time.perf_counter() - a, time.process_time() - b)
"""


@njit(nogil=True, fastmath=True)
def read_all(t, v, i):
    total = 0.0
    for k in range(t.size):
        total += t[k] + v[k] + i[k]
    return total


def limit(table: dict[str, np.ndarray], repeats: int) -> float:
    """Return the time in ms to read the three columns in as many threads as we use."""
    shares = np.array_split(np.arange(table["t"].size), allowed())
    pieces = [
        tuple(table[c][s[0] : s[-1] + 1] for c in ("t", "v", "i")) for s in shares
    ]
    return best(lambda: segments.in_threads(read_all, pieces), repeats)[0]


def with_numpy(table: dict[str, np.ndarray]):
    t, i, v, half = (table[c] for c in ("t", "i", "v", "half"))
    starts = np.concatenate([[0], np.flatnonzero(np.diff(half)) + 1])
    step = np.diff(t, prepend=t[0])
    step[starts] = 0
    charge, energy = np.empty_like(t), np.empty_like(t)
    power = i * v
    charge[0] = energy[0] = 0
    charge[1:] = 0.5 * (i[1:] + i[:-1])
    energy[1:] = 0.5 * (power[1:] + power[:-1])
    return (
        np.add.reduceat(charge * step, starts) / 3600,
        np.add.reduceat(energy * step, starts) / 3600,
        np.maximum.reduceat(v, starts),
        np.minimum.reduceat(v, starts),
    )


def with_polars(frame):
    import polars as pl

    same = pl.col("half") == pl.col("half").shift()
    step = pl.when(same).then(pl.col("t").diff()).otherwise(0.0)
    power = pl.col("i") * pl.col("v")
    q, e = pl.col("q"), pl.col("e")
    return (
        frame.lazy()
        .with_columns(
            q=(pl.col("i") + pl.col("i").shift()) / 2 * step / 3600,
            e=(power + power.shift()) / 2 * step / 3600,
        )
        .group_by("cycle", maintain_order=True)
        .agg(
            charge=q.clip(lower_bound=0).sum(),
            discharge=(-q).clip(lower_bound=0).sum(),
            energy=e.clip(lower_bound=0).sum(),
            energy_out=(-e).clip(lower_bound=0).sum(),
            highest=pl.col("v").max(),
            lowest=pl.col("v").min(),
        )
        .collect()
    )


def with_pandas(frame):
    same = frame.half == frame.half.shift()
    step = frame.t.diff().where(same, 0.0)
    power = frame.i * frame.v
    q = ((frame.i + frame.i.shift()) / 2 * step / 3600).where(same, 0.0)
    e = ((power + power.shift()) / 2 * step / 3600).where(same, 0.0)
    parts = {"a": q.clip(lower=0), "b": -q.clip(upper=0), "c": e.clip(lower=0)}
    parts["d"] = -e.clip(upper=0)
    groups = frame.assign(**parts).groupby("cycle")
    out = groups[[*parts]].sum()
    out["highest"], out["lowest"] = groups.v.max(), groups.v.min()
    return out


def elsewhere(python: str, script: str, path: Path) -> tuple[float, float] | None:
    """Run a tool in its own interpreter; return wall and CPU time in ms."""
    ran = subprocess.run(
        [python, "-W", "ignore", "-c", textwrap.dedent(script), str(path)],
        capture_output=True,
        text=True,
        cwd=path.parent,  # cellpy leaves log files where it runs
        check=False,
    )
    line = next((s for s in ran.stdout.splitlines() if s.startswith("TIMES")), None)
    if line is None:
        print(f"{python}: {ran.stderr.strip().splitlines()[-1:]}")
        return None
    wall, cpu = line.split()[1:]
    return 1e3 * float(wall), 1e3 * float(cpu)


def for_pyprobe(table: dict[str, np.ndarray], folder: Path) -> Path:
    import polars as pl

    passed = np.cumsum(table["i"] * np.diff(table["t"], prepend=table["t"][0])) / 3600
    frame = {
        "Time [s]": table["t"],
        "Current [A]": table["i"],
        "Voltage [V]": table["v"],
        "Capacity [Ah]": passed,
        "Step": table["step"],
        "Event": table["half"],
    }
    pl.DataFrame(frame).write_parquet(folder / "pyprobe.parquet")
    return folder / "pyprobe.parquet"


def for_cellpy(table: dict[str, np.ndarray], folder: Path) -> Path:
    import polars as pl

    step = np.diff(table["t"], prepend=table["t"][0]) / 3600
    frame = pl.DataFrame(
        {
            "Test Time / h": table["t"] / 3600,
            "Current / A": table["i"],
            "Voltage / V": table["v"],
            "Protocol Name / 1": np.zeros(table["t"].size, int),
            "Step Type / 1": np.array(["discharge", "rest", "charge"])[
                np.sign(table["i"]).astype(int) + 1
            ],
            "Cycle Count / 1": table["cycle"] + 1,
            "Step Index / 1": table["step"] + 1,
            "q": np.clip(table["i"], 0, None) * step,
            "d": np.clip(-table["i"], 0, None) * step,
        }
    )
    over = "Cycle Count / 1"
    frame = frame.with_columns(
        pl.col("q").cum_sum().over(over).alias("Charge Capacity / Ah"),
        pl.col("d").cum_sum().over(over).alias("Discharge Capacity / Ah"),
    ).drop("q", "d")
    frame.write_csv(folder / "cellpy.csv")
    return folder / "cellpy.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--pyprobe", default=os.environ.get("BENCH_PYPROBE"))
    parser.add_argument("--cellpy", default=os.environ.get("BENCH_CELLPY"))
    parser.add_argument("--cellpy-cycles", type=int, default=50)
    options = parser.parse_args()
    table = columns(options.cycles)
    record = labelled(table)
    print(f"{table['t'].size:,} rows, {options.cycles} cycles, {os.getloadavg()} load")

    found = cycles(record, electrode="full", first="charge")
    charge = with_numpy(table)[0]
    np.testing.assert_allclose(found.charge_capacity, charge[::4], rtol=1e-9)

    def ours() -> None:
        cycles(record, electrode="full", first="charge")

    rows = [("batteryxr cycles (finds them)", *best(ours, options.repeats))]
    rows.append(("batteryxr half_cycles", *best(lambda: half_cycles(record), 7)))
    rows.append(("numpy reduceat", *best(lambda: with_numpy(table), 3)))
    try:
        import polars as pl

        frame = pl.DataFrame(table)
        rows.append(("polars lazy", *best(lambda: with_polars(frame), 5)))
    except ImportError:
        print("polars is not installed: left out")
    try:
        import pandas as pd

        rows_of_pandas = pd.DataFrame(table)
        times = best(lambda: with_pandas(rows_of_pandas), 2)
        rows.append(("pandas vectorised", *times))
    except ImportError:
        print("pandas is not installed: left out")
    with tempfile.TemporaryDirectory() as folder:
        if options.pyprobe:
            path = for_pyprobe(table, Path(folder))
            if times := elsewhere(options.pyprobe, PYPROBE, path):
                rows.append(("PyProBE summary (parquet)", *times))
        if options.cellpy:
            n = min(options.cellpy_cycles, options.cycles)
            path = for_cellpy(columns(n), Path(folder))
            if times := elsewhere(options.cellpy, CELLPY, path):
                scaled = tuple(t * options.cycles / n for t in times)
                name = f"cellpy step table + summary, {n} cycles, scaled"
                rows.append((name, *scaled))
    show(rows, limit(table, options.repeats))


if __name__ == "__main__":
    main()
