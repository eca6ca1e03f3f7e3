"""Two hundred cells in one zarr store: open lazily, summarise in bounded memory.

    python benchmarks/store_cells.py [--cells 200] [--rows 100000]

Each measurement runs in its own process, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _cycling_table import columns, labelled

from batteryxr import open_store, save

OPEN = """
import sys, time
import batteryxr
t = time.perf_counter()
tree = batteryxr.open_store(sys.argv[1])
print(f"open {len(tree.children)} cells: {time.perf_counter() - t:.2f} s")
"""
# The code of shared libraries is resident but mapped from files; what a process takes
# for itself is the rest. pandas loads pyarrow, 34 MB, where the extra "io" brought it.
SUMMARY = """
import sys, time
import batteryxr

def memory(kind):
    with open("/proc/self/status") as status:
        return next(int(l.split()[1]) / 1024 for l in status if l.startswith(kind))

tree = batteryxr.open_store(sys.argv[1])
t = time.perf_counter()
total, own, first = 0, 0.0, None
for name, cell in tree.children.items():
    total += cell.to_dataset().echem.cycles(electrode="full", first="charge").cycle.size
    own = max(own, memory("RssAnon"))
    first = own if first is None else first
print(
    f"{total} cycles: {time.perf_counter() - t:.2f} s, peak memory {own:.0f} MB "
    f"({first:.0f} MB after one cell), with shared libraries {memory('VmHWM'):.0f} MB"
)
"""
# The first load also imports dask's schedulers and zarr's codecs.
WHOLE = """
import sys, time
import batteryxr

def seconds(select):
    record = batteryxr.open_store(sys.argv[1])
    t = time.perf_counter()
    select(record).load()
    return time.perf_counter() - t

size = batteryxr.open_store(sys.argv[1]).nbytes / 1e6
first, *later = (seconds(lambda record: record) for _ in range(8))
print(f"load {size:.0f} MB through dask: {min(later):.2f} s, at first {first:.2f} s")
cycle = slice(5_000_000, 5_020_000)
later = [seconds(lambda record: record.isel(record=cycle)) for _ in range(7)]
print(f"one cycle of it: {1e3 * min(later):.0f} ms")
"""


def run(script: str, path: Path) -> None:
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    cell = labelled(columns(-(-options.rows // 20_000)))
    cell = cell.isel(record=slice(options.rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.zarr"
        start = time.perf_counter()
        for number in range(options.cells):
            save(cell, path, group=f"cell{number:03d}")
        print(f"write {options.cells} cells: {time.perf_counter() - start:.1f} s")
        run(OPEN, path)
        run(SUMMARY, path)
        table = labelled(columns(500))
        n = table.sizes["record"]
        table["cycle"] = ("record", np.arange(n, dtype="i4") // 20_000)
        table["step"] = ("record", np.zeros(n, dtype="i2"))
        save(table, Path(folder) / "one.zarr")
        run(WHOLE, Path(folder) / "one.zarr")
        assert open_store(path, "cell000").sizes["record"] == options.rows


if __name__ == "__main__":
    main()
