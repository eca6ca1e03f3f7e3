"""Are sound numbers taken without a word? Simulators, and the measured samples.

    BATTERYXR_SAMPLES=<folder> python benchmarks/truth/false_alarms.py

Prints each warning or error that the table of bounds gives, and their number, which
should be 0.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import batteryxr
from batteryxr import cdi, echem, simulate, xanes
from batteryxr.core import bounds
from batteryxr.core.errors import BatteryxrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

#: What a message of the table holds, and one about rows that are gone or copied.
WORDS = ("is unlikely for a", "mark of a missing one", "current of the cell",
         "Was it ", "is mostly", "seem to be missing",
         "row before once more", "same numbers as others", "may be cut",
         "seem to be exchanged", "far from their neighbours", "stands still",
         "cycler counted, but not in", "brighter than i0",
         "was a minus lost", "the cycler counted grows",
         "less than a pixel of")  # fmt: skip
READERS = {
    "read_cycler": {".mpt", ".mpr", ".nda", ".ndax", ".csv", ".res", ".xlsx"},
    "read_series": {".gr", ".chi", ".xdi", ".txt", ".dat", ".xy"},
    "read_stack": {".hdf5", ".hdr", ".xrm", ".txrm", ".h5", ".nxs"},
    "read_ptychography": {".h5", ".cxi", ".ptyr", ".hdf5"},
    "read_frames": {".spec"},
}


def simulated() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield names and calls that go through the simulators and their methods."""
    for kind in ("xanes", "pdf"):
        yield f"cell {kind}", lambda k=kind: _cell(simulate.cell_experiment(kind=k))
    yield "oxides", lambda: _tree(simulate.oxide_series(n_scans=20))
    yield "particles", lambda: _tree(simulate.particles(size=24))
    yield "gitt", lambda: echem.gitt(simulate.gitt()[0], radius=5000.0, mass=7.0)
    yield "states", lambda: _bragg(simulate.bragg_states(shape=(16, 16, 16)))
    yield "ptychography", lambda: simulate.ptychography(positions=4, size=32)
    yield "random crystals", lambda: simulate.random_crystals(n=2, size=24)


def _tree(tree: xr.DataTree) -> None:
    for node in tree.subtree:
        bounds.told(node.to_dataset())


def _cell(tree: xr.DataTree) -> None:
    _tree(tree)
    record = next(
        n.to_dataset() for n in tree.subtree if "record" in n.dims and n.data_vars
    )
    echem.cycles(record, electrode="cathode", first="charge", mass=7.0)
    echem.dqdv(record, mass=7.0)
    echem.li_content(record, formula="LiNiO2", mass=7.0)


def _bragg(tree: xr.DataTree) -> None:
    for node in tree.subtree:
        if "intensity" in node.data_vars:
            cdi.geometry(node["intensity"], beamline="theta")


def measured(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield names and calls that read each sample, and judge it."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        for reader, endings in READERS.items():
            if path.suffix.lower() in endings:
                name = f"{path.relative_to(folder)} {reader}"
                yield name, lambda r=reader, p=path: _read(getattr(batteryxr, r), p)


def _read(reader: Callable[[Path], Any], path: Path) -> None:
    found = reader(path)
    bounds.told(found)
    if "record" in found.dims:
        echem.half_cycles(found)
        echem.cycles(found, electrode="cathode", first="charge")
        echem.dqdv(found)
    if "energy" in found.dims and "y" not in found.dims:
        xanes.normalise(found)


def alarms(call: Callable[[], Any]) -> list[str]:
    """Return what the table says while a call runs; other refusals are no alarm."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except (BatteryxrError, ImportError) as error:
            told = [str(error)]
        else:
            told = []
    told += [str(w.message) for w in caught]
    return [text for text in told if any(word in text for word in WORDS)]


def main() -> int:
    """Print all alarms and their number."""
    folder = os.environ.get("BATTERYXR_SAMPLES")
    jobs = [*simulated(), *(measured(Path(folder)) if folder else ())]
    count = 0
    for name, call in jobs:
        for text in alarms(call):
            print(f"{name}: {text}", flush=True)
            count += 1
    print(f"{count} false alarms in {len(jobs)} calls")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
