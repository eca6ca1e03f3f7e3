"""Reading a scan series: batteryxr against loops that a user would write.

    python benchmarks/read_series.py [FOLDER] [--measured] [--files 458] [--repeats 5]

Without a folder, quick-XAS text of 1649 energies in five columns is written and
read; with ``--measured`` the 458 spectra of `batteryxr.sample` are. The loops know the
format beforehand, stack the second column and check nothing; batteryxr finds the
format, reads every header and its clock, and checks that all axes agree. Best of n, CPU
time. The last rows read a lazy series: opening it, and then all of its numbers.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _timing import best_reading

import batteryxr
from batteryxr.io import read_series

if TYPE_CHECKING:
    from collections.abc import Callable


def write(folder: Path, n: int) -> None:
    energy = np.concatenate([np.arange(8060, 8310, 5.0), np.arange(8310, 9109.5, 0.5)])
    rng = np.random.default_rng(0)
    for k in range(n):
        mu = np.arctan((energy - 8345) / 2) / np.pi + 0.5
        columns = [energy, *(mu + 1e-3 * rng.normal(size=(4, energy.size)))]
        header = (
            f"Time at start=2022-07-26 {k // 60 % 24:02d}:{k % 60:02d}:58.055\n"
            "Time from start (seconds)=65.0\nE0=8332.88   Eshift=-0.27\n"
            "shifted energy\tnormalized\treference\tderivative\tI0"
        )
        np.savetxt(
            folder / f"scan_{k}.txt", np.transpose(columns), "%12.7g", header=header
        )


def by_number(folder: Path) -> list[Path]:
    return sorted(
        folder.glob("*.txt"), key=lambda p: [int(d) for d in re.findall(r"\d+", p.name)]
    )


def loadtxt(folder: Path) -> Any:
    return np.array([np.loadtxt(p)[:, 1] for p in by_number(folder)])


def loadtxt_two(folder: Path) -> Any:
    return np.array(
        [np.loadtxt(p, usecols=(0, 1), unpack=True)[1] for p in by_number(folder)]
    )


def genfromtxt(folder: Path) -> Any:
    return np.array([np.genfromtxt(p)[:, 1] for p in by_number(folder)])


def pandas(folder: Path) -> Any:
    import pandas as pd

    options: dict[str, Any] = {"sep": r"\s+", "comment": "#", "header": None}
    return np.array(
        [pd.read_csv(p, **options)[1].to_numpy() for p in by_number(folder)]
    )


def larch(folder: Path) -> Any:
    from larch.io import read_ascii

    return np.array([read_ascii(str(p)).data[1] for p in by_number(folder)])


READERS: dict[str, Callable[[Path], Any]] = {
    "batteryxr": lambda folder: read_series(folder, timezone="UTC"),
    "numpy.loadtxt": loadtxt,
    "numpy.loadtxt, two columns": loadtxt_two,
    "numpy.genfromtxt": genfromtxt,
    "pandas.read_csv": pandas,
    "larch.io.read_ascii": larch,
    "batteryxr, lazy: open": lambda folder: read_series(
        folder, timezone="UTC", lazy=True
    ),
    "batteryxr, lazy: all": lambda folder: read_series(
        folder, timezone="UTC", lazy=True
    ).compute(scheduler="synchronous"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--measured", action="store_true")
    parser.add_argument("--files", type=int, default=458)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.measured:
        options.folder = batteryxr.sample("lno-operando") / "xas"
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if options.folder is None:
            write(folder, options.files)
        files = by_number(folder)
        size = sum(p.stat().st_size for p in files) / 1e6
        print(f"{len(files)} files, {size:.0f} MB")
        print(f"{'reader':28s} {'s':>8s} {'MB/s':>8s} {'ratio':>7s}")
        ours = None
        for name, reader in READERS.items():
            try:
                seconds = best_reading(reader, folder, options.repeats, 10)
            except ImportError as error:
                print(f"{name:28s} skipped: {error}")
                continue
            ours = ours or seconds
            print(
                f"{name:28s} {seconds:8.3f} {size / seconds:8.1f} {seconds / ours:7.2f}"
            )


if __name__ == "__main__":
    main()
