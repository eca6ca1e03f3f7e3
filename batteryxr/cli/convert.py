"""The command ``batteryxr convert``: instrument files to open formats."""

from __future__ import annotations

import os
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batteryxr.cli.parser import add_columns, count, meanings, say, zone
from batteryxr.core.errors import ArgumentError, StoreError
from batteryxr.core.files import require_writable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

#: Option for each argument that it fills.
OPTIONS = {
    "paths": "FILE",
    "path": "FILE",
    "out": "OUT",
    "store": "OUT",
    "kind": "--kind",
    "timezone": "--timezone",
    "test": "--test",
    "columns": "--columns",
    "energy": "--energy",
    "axis": "--axis",
    "overwrite": "--overwrite",
}
#: Output formats of each kind of file, by the ending of the name.
_FORMATS = {
    "cycler": (".csv", ".parquet", ".zarr", ".nxs", ".xlsx"),
    "impedance": (".csv", ".zarr", ".nxs", ".xlsx"),
    "series": (".csv", ".zarr", ".nxs", ".xlsx"),
    "stack": (".zarr", ".nxs"),
}
#: Kinds of file that use an option.
_TAKEN = {
    "test": ("cycler",),
    "energy": ("stack",),
    "axis": ("series",),
    "columns": ("cycler", "impedance", "series"),
    "timezone": ("cycler", "impedance", "series"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add = parser.add_argument
    add("source", nargs="+", metavar="FILE", help="files, or folders of scans")
    add("out", metavar="OUT",
        help="what to write: .csv or .parquet (Battery Data Format for cycler files), "
        ".zarr, .nxs (NeXus) or .xlsx")  # fmt: skip
    add("--kind", choices=tuple(_FORMATS), default="cycler",
        help="what the files are (default: cycler)")  # fmt: skip
    add("--timezone", type=zone, metavar="ZONE",
        help="zone of local times in the files, such as Europe/Paris")  # fmt: skip
    add("--test", type=count, metavar="N", help="which test of a file that holds many")
    add_columns(parser, more="; for series, a label alone chooses a column")
    add("--axis", choices=("energy", "r", "q", "two_theta", "shift"),
        help="what the axis of a series is, where its files do not tell")  # fmt: skip
    add("--energy", metavar="FILE",
        help="text file of the energies in eV, for stacks that lack them")  # fmt: skip
    add("--overwrite", action="store_true", help="replace what is there")


def run(arguments: argparse.Namespace) -> None:
    """Read the files and write them in the format of the output's name."""
    out, kind = str(arguments.out), str(arguments.kind)
    ending = Path(out.rstrip("/")).suffix.lower()
    if ending not in _FORMATS[kind]:
        wanted = ", ".join(_FORMATS[kind])
        raise ArgumentError(
            "out", out, f"a name that ends in {wanted} for {kind} files"
        )
    _require_used(kind, arguments)
    if ending != ".zarr" and Path(out).is_dir():
        raise ArgumentError("out", out, "a file, not a folder")
    if ending != ".zarr" and not Path(out).parent.is_dir():
        raise ArgumentError("out", out, "a file in a folder that is there")
    if any(_is_read(Path(out), str(source)) for source in arguments.source):
        raise ArgumentError("out", out, "another file than those that are read")
    if ending != ".zarr" and Path(out).exists() and not arguments.overwrite:
        raise StoreError(f"{out} exists. Pass overwrite=True to replace it.")
    with _held(out, ending, arguments.overwrite):
        number = len(arguments.source)
        say(f"Reading {', '.join(arguments.source)} ..." if number < 3 else
            f"Reading {number} files ...")  # fmt: skip
        data = _read(kind, arguments)
        say(f"Writing {out} ...")
        _write(data, out, ending, kind, arguments.overwrite)
    say(f"Wrote {out}")


def _is_read(out: Path, source: str) -> bool:
    """Return whether a file belongs to a source: a file, a folder or a pattern."""
    place, read = (Path(os.path.realpath(each)) for each in (out, source))
    if place == read:
        return True
    inside = read.is_dir() and place.is_relative_to(read)
    named = fnmatch(str(out.absolute()), str(Path(source).absolute()))
    return out.exists() and (inside or named)


@contextmanager
def _held(out: str, ending: str, overwrite: bool) -> Iterator[None]:
    """Hold the place of the output; raise before the work if it cannot be written."""
    from batteryxr.core.store import (
        holds_data,
        location_of,
        locked,
        node_of,
        place_of,
        require_store,
        telling,
    )

    if ending != ".zarr":
        require_writable(out)
        yield
        return
    location = location_of(out, "out")
    require_store(location)
    with telling(location), locked(location):
        root = node_of(location, place_of(location, "")) or {}
        held = root.get("attributes") or holds_data(location, None)
        if held and not overwrite:
            raise StoreError(
                f"{out} holds data already. Pass overwrite=True to replace it."
            )
        yield


def _require_used(kind: str, arguments: argparse.Namespace) -> None:
    """Raise for an option that files of this kind do not use."""
    for name, kinds in _TAKEN.items():
        value = getattr(arguments, name)
        if value is not None and kind not in kinds:
            raise ArgumentError(name, value, f"nothing for {kind} files")


def _read(kind: str, arguments: argparse.Namespace) -> Any:
    from batteryxr import io

    files, zone_ = arguments.source, arguments.timezone
    if kind == "cycler":
        test = {} if arguments.test is None else {"test": arguments.test}
        columns = meanings(arguments.columns)
        return io.read_cycler(files, timezone=zone_, columns=columns, **test)
    if kind == "impedance":
        columns = meanings(arguments.columns)
        return io.read_impedance(files, timezone=zone_, columns=columns)
    found = files if len(files) > 1 else files[0]
    if kind == "stack":
        return io.read_stack(found, energy=arguments.energy)
    given = arguments.columns or [None]
    chosen = given if len(given) > 1 else given[0]
    return io.read_series(found, timezone=zone_, axis=arguments.axis, columns=chosen)


def _write(data: Any, out: str, ending: str, kind: str, overwrite: bool) -> None:
    import batteryxr

    if ending == ".zarr":
        batteryxr.save(data, out, overwrite=overwrite)
    elif kind == "cycler" and ending in (".csv", ".parquet"):
        batteryxr.write_bdf(data, out, overwrite=overwrite)
    else:
        write = {
            ".csv": batteryxr.write_csv,
            ".xlsx": batteryxr.write_xlsx,
            ".nxs": batteryxr.write_nexus,
        }[ending]
        write(data, out, overwrite=overwrite)
