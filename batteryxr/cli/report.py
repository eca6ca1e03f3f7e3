"""The command ``batteryxr report``: write a page from cycler files, or a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batteryxr.cli.parser import (
    CELL_OPTIONS,
    add_cell,
    add_columns,
    meanings,
    say,
    show_examples,
    zone,
)

if TYPE_CHECKING:
    import argparse

_EXAMPLES = """\
examples:
  batteryxr report cell4.mpt --timezone Europe/Paris
      a page on the cycling of a cell
  batteryxr report cell4.zarr --out cell4.html
      the page of an operando experiment, from its store
"""
#: Option for each argument that it fills.
OPTIONS = {
    "files": "FILE",
    "path": "FILE",
    "report": "--out",
    "timezone": "--timezone",
    "columns": "--columns",
    "overwrite": "--overwrite",
} | CELL_OPTIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the input of a page, and its file."""
    show_examples(parser, _EXAMPLES)
    add = parser.add_argument
    add("source", nargs="+", metavar="FILE",
        help="cycler files of one cell, or one store that batteryxr wrote")  # fmt: skip
    add("--out", type=Path, metavar="HTML",
        help="the page (default: the first file with .html, here)")  # fmt: skip
    add("--timezone", type=zone, metavar="ZONE",
        help="zone of local times in the files, such as Europe/Paris")  # fmt: skip
    add_columns(parser)
    add_cell(parser)
    add("--overwrite", action="store_true",
        help="replace a report that batteryxr wrote before")  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Read a record or a store, and write its page."""
    from batteryxr.core.errors import ArgumentError
    from batteryxr.operando import Conventions, report_cycling, report_store
    from batteryxr.operando.page import require_page

    first = str(arguments.source[0])
    out = arguments.out or Path(Path(first.rstrip("/")).stem + ".html")
    require_page(out, arguments.overwrite)
    stores = [str(source) for source in arguments.source if _is_store(str(source))]
    if stores and len(arguments.source) > 1:
        raise ArgumentError("path", stores[0], "the only input, as it is a store")
    if stores:
        _require_unused(arguments)
        say(f"Reading {first} ...")
        report_store(first, out, overwrite=arguments.overwrite)
    else:
        from batteryxr.io import read_cycler

        say("Reading the cycler's files ...")
        record = read_cycler(
            arguments.source,
            timezone=arguments.timezone,
            columns=meanings(arguments.columns),
        )
        say(f"Analysing {record.sizes['record']} rows ...")
        known = Conventions(
            electrode=arguments.electrode, first=arguments.first, mass=arguments.mass
        )
        report_cycling(record, out, conventions=known, overwrite=arguments.overwrite)
    say(f"Wrote {out}")


def _is_store(place: str) -> bool:
    """Return whether a place holds a zarr store; a folder may hold cycler files."""
    from batteryxr.core.store import location_of

    if Path(place).is_dir():
        return any((Path(place) / name).exists() for name in ("zarr.json", ".zgroup"))
    named = "://" in place or place.endswith((".zarr", ".zip"))
    return named and not location_of(place).is_empty()


def _require_unused(arguments: argparse.Namespace) -> None:
    """Raise for options that would change the stored numbers, which are final."""
    from batteryxr.core.errors import ArgumentError

    for name in ("timezone", "columns", "electrode", "first", "mass"):
        if (value := getattr(arguments, name)) is not None:
            raise ArgumentError(
                name, value, "nothing: a store holds results that are made already"
            )
