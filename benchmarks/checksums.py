"""The cost of checksums: stores read with them, and the same without, in turn.

    python benchmarks/checksums.py [--copies 3] [--rounds 10] [--only noise]

Arrays are saved as `batteryxr.save` does, and without the codec crc32c; both are read
by `batteryxr.open_store` in default chunks, from files that the system still holds, in
one thread. Several copies of each are read in random order, since files differ in how
fast they are read by where the system holds them. The cost is the median over pairs of
CPU time, next to the quarter of pairs on either side. The bar is 5 %.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import tempfile
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import xarray as xr
from _cycling_table import columns, labelled

import batteryxr
from batteryxr.core.store import change, encoding

if TYPE_CHECKING:
    from collections.abc import Iterator

STACK = ("energy", "y", "x")
FRAMES = ("position", "detector_y", "detector_x")


def kinds() -> Iterator[tuple[str, xr.Dataset]]:
    """Yield data of 60 MB and more, from what nothing compresses to what does."""
    rng = np.random.default_rng(0)
    yield "noise, float64", xr.Dataset({"noise": ("record", rng.random(8_000_000))})
    noise = rng.random((64, 512, 512), dtype=np.float32)
    yield "noise, stack of float32", xr.Dataset({"noise": (STACK, noise)})
    yield "record of 4 million rows", labelled(columns(200))
    smooth = np.add.outer(np.arange(64), np.hypot(*np.mgrid[:512, :512]))
    smooth = (np.round(1000 * np.sin(smooth / 100)) / 1000).astype(np.float32)
    yield "smooth stack of float32", xr.Dataset({"smooth": (STACK, smooth)})
    counts = rng.poisson(0.3, (256, 256, 256)).astype(np.uint16)
    yield "frames of counts", xr.Dataset({"frames": (FRAMES, counts)})


def unchecked(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return our encodings without checksums."""
    found = encoding(dataset)
    return {n: e | {"compressors": e["compressors"][:-1]} for n, e in found.items()}


def seconds(path: str) -> float:
    """Return the CPU time of reading a store."""
    opened = batteryxr.open_store(path)
    gc.collect()
    begin = time.process_time()
    opened.load(scheduler="synchronous")
    return time.process_time() - begin


def ratios(data: xr.Dataset, folder: str, copies: int, rounds: int) -> np.ndarray:
    """Return the time with checksums per time without, for each pair of readings."""
    for copy in range(copies):
        batteryxr.save(data, f"{folder}/checked-{copy}.zarr")
        with patch.object(change, "encoding", unchecked):
            batteryxr.save(data, f"{folder}/bare-{copy}.zarr")
    order, found = random.Random(0), []
    for turn in range(rounds + 1):
        for copy in range(copies):
            names = order.sample(("checked", "bare"), 2)
            took = {name: seconds(f"{folder}/{name}-{copy}.zarr") for name in names}
            if turn:  # the first turn fills the memory of the system
                found.append(took["checked"] / took["bare"])
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", default="", help="kinds of data with this word")
    asked = parser.parse_args()
    os.environ.setdefault("BLOSC_NTHREADS", "1")
    for name, data in kinds():
        if asked.only in name:
            with tempfile.TemporaryDirectory() as folder:
                found = ratios(data, folder, asked.copies, asked.rounds)
            low, cost, high = 100 * np.percentile(found, [25, 50, 75]) - 100
            print(f"{name:26s} {cost:+5.1f} % ({low:+.1f} to {high:+.1f}; bar 5 %)")


if __name__ == "__main__":
    main()
