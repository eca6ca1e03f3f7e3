"""Reading cycler files: batteryxr against a bare pandas read and other readers.

    python benchmarks/read_cycler.py [FILE.mpt ...] [--measured] [--repeats 9]

Without files, EC-Lab text of a known run is written and read; with ``--measured`` the
run of `batteryxr.sample` is. "bare pandas" is what a careful user types who knows where
the rows begin and that decimals are commas; it checks nothing, labels nothing and has
no clock. Readers that are not installed are skipped. Best of n, CPU time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _timing import best_reading

import batteryxr
from batteryxr.io import read_cycler

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[Path], Any]


def bare_pandas(path: Path) -> Any:
    import pandas as pd

    with path.open(encoding="latin-1") as stream:
        stream.readline()
        lines = int(stream.readline().split(":")[1])
    return pd.read_csv(
        path, sep="\t", decimal=",", skiprows=lines - 1, encoding="latin-1"
    )


def yadg(path: Path) -> Any:
    from yadg.extractors import extract

    return extract(filetype="eclab.mpt", path=str(path), timezone="Europe/Berlin")


def ixdat(path: Path) -> Any:
    from ixdat import Measurement

    return Measurement.read(str(path), reader="biologic")


READERS: dict[str, Reader] = {
    "batteryxr": read_cycler,
    "bare pandas": bare_pandas,
    "yadg (GPL)": yadg,
    "ixdat": ixdat,
}


def example(folder: Path, rows: int = 50_000) -> Path:
    """Write EC-Lab text of `rows` rows, decimal commas, 12 columns."""
    labels = "mode\tNs\ttime/s\tEwe/V\t<I>/mA\tCapacity/mA.h\tcycle number"
    labels += "".join(f"\tx{k}" for k in range(5))
    head = ["EC-Lab ASCII FILE", "Nb header lines : 5", ""]
    head += ["Acquisition started on : 03/05/2024 14:30:15.250", labels]
    time_s = 10.0 * np.arange(rows)
    table = np.column_stack(
        [
            np.ones(rows),
            np.ones(rows),
            time_s,
            3 + 0.5 * np.sin(time_s / 1e4),
            0.1 * np.sign(np.cos(time_s / 1e4)),
            *(np.random.default_rng(0).random((7, rows))),
        ]
    )
    text = io.StringIO()
    np.savetxt(text, table, fmt="%.15E", delimiter="\t")
    path = folder / "example.mpt"
    body = "\n".join(head) + "\n" + text.getvalue().replace(".", ",")
    path.write_text(body, encoding="latin-1", newline="\r\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--measured", action="store_true")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    if arguments.measured:
        run = batteryxr.sample("lno-operando") / "cycler"
        arguments.files += sorted(run.glob("*.mpt"))
    with tempfile.TemporaryDirectory() as folder:
        for path in arguments.files or [example(Path(folder))]:
            compare(path, arguments.repeats)


def compare(path: Path, repeats: int) -> None:
    size = path.stat().st_size / 1e6
    print(f"\n{path.name}: {size:.2f} MB, {bare_pandas(path).shape[0]} rows")
    print(f"{'reader':<16}{'ms':>9}{'MB/s':>8}{'x pandas':>10}")
    reference = best_reading(bare_pandas, path, repeats, 2)
    for name, reader in READERS.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                took = best_reading(reader, path, repeats, 2)
        except ImportError:
            print(f"{name:<16}  not installed, skipped")
            continue
        except Exception as error:
            print(f"{name:<16}  fails: {type(error).__name__}: {str(error)[:50]}")
            continue
        print(f"{name:<16}{took * 1e3:9.1f}{size / took:8.0f}{took / reference:10.2f}")


if __name__ == "__main__":
    main()
