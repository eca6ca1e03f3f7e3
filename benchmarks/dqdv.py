"""dQ/dV of 1000 half cycles in 10 million rows, side by side with other tools.

    python benchmarks/dqdv.py [--cycles 500] [--repeats 5]

The others sum charge in bins of 5 mV and stop there, told where half cycles begin.
batteryxr finds them, lays each interval out over bins of 1 mV, smooths with a
Gaussian and states an error.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
from _cycling_table import best, columns, labelled, show

from batteryxr.echem import dqdv

LOW, HIGH, WIDTH = 1.5, 5.5, 0.005


def with_numpy(table: dict[str, np.ndarray]) -> np.ndarray:
    half, n = table["half"], round((HIGH - LOW) / WIDTH)
    charge = table["i"] * np.diff(table["t"], prepend=table["t"][0]) / 3600
    charge[np.flatnonzero(np.diff(half)) + 1] = 0
    place = half * n + ((table["v"] - LOW) / WIDTH).astype(np.int64)
    total = np.bincount(place, weights=charge, minlength=(half[-1] + 1) * n)
    return total.reshape(-1, n) / WIDTH


def with_polars(frame):
    import polars as pl

    same = pl.col("half") == pl.col("half").shift()
    step = pl.when(same).then(pl.col("t").diff()).otherwise(0.0)
    return (
        frame.lazy()
        .with_columns(
            q=pl.col("i") * step / 3600,
            bin=((pl.col("v") - LOW) / WIDTH).cast(pl.Int32),
        )
        .filter(pl.col("i") != 0)
        .group_by("half", "bin")
        .agg(pl.col("q").sum() / WIDTH)
        .collect()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    table = columns(options.cycles)
    record = labelled(table)
    print(f"{table['t'].size:,} rows, {2 * options.cycles} half cycles, ", end="")
    print(f"{os.getloadavg()} load")
    found = dqdv(record)
    area = found.dqdv.sum("voltage") * found.attrs["bin"]
    np.testing.assert_allclose(area, found.total_capacity, rtol=1e-9)
    times = best(lambda: dqdv(record), options.repeats)
    rows = [("batteryxr dqdv, 1 mV, smoothed, with error", *times)]
    rows.append(("batteryxr dqdv, 5 mV", *best(lambda: dqdv(record, bin=0.005), 5)))
    rows.append(("numpy bincount, 5 mV", *best(lambda: with_numpy(table), 3)))
    try:
        import polars as pl

        frame = pl.DataFrame(table)
        rows.append(("polars group_by, 5 mV", *best(lambda: with_polars(frame), 5)))
    except ImportError:
        print("polars is not installed: left out")
    show(rows)


if __name__ == "__main__":
    main()
