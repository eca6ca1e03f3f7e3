"""The command ``batteryxr operando``: analyse cycler files and scans together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batteryxr.cli.parser import (
    CELL_OPTIONS,
    add_cell,
    add_columns,
    count,
    meanings,
    not_negative,
    number,
    say,
    show_examples,
    whole,
    zone,
)

if TYPE_CHECKING:
    import argparse

_EXAMPLES = """\
examples:
  batteryxr operando --out demo.zarr --report demo.html
      simulate a cell and its scans, then analyse them: see the whole at once
  batteryxr operando --cycler run*.mpt --scans xas/ --timezone Europe/Paris \\
      --electrode cathode --first charge --out cell4.zarr --report cell4.html
"""
#: Option for each argument that it fills.
OPTIONS = {
    "cycler": "--cycler",
    "scans": "--scans",
    "store": "--out",
    "report": "--report",
    "timezone": "--timezone",
    "clock_offset": "--clock-offset",
    "offset_s": "--clock-offset",
    "exposure": "--exposure",
    "columns": "--columns",
    "formula": "--formula",
    "n_components": "--components",
    "signal_range": "--range",
    "seed": "--seed",
    "overwrite": "--overwrite",
} | CELL_OPTIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: files of an experiment, facts on its cell, its store."""
    show_examples(parser, _EXAMPLES)
    add = parser.add_argument
    add("--cycler", nargs="+", metavar="FILE", help="cycler files of one cell")
    add("--scans", nargs="+", metavar="FILE", help="scan files, or folders of them")
    add("--out", required=True, metavar="STORE",
        help="zarr store to write: a path or a URL")  # fmt: skip
    add("--report", type=Path, metavar="HTML", help="write a report that opens offline")
    add("--timezone", nargs="+", type=zone, metavar="ZONE",
        help="zone of local times in the files, such as Europe/Paris; two where the "
        "cycler's clock and the scans' stand in different ones")  # fmt: skip
    add("--clock-offset", type=number, default=0.0, metavar="S",
        help="seconds to add to the scans' clock to get the cycler's")  # fmt: skip
    add("--exposure", type=not_negative, metavar="S",
        help="exposure, if the files lack it; 0 for instants")  # fmt: skip
    add_columns(parser)
    add_cell(parser)
    add("--formula", help="composition as loaded, such as LiNiO2; gives Li content")
    add("--components", type=count, metavar="N", help="number of phases to unmix")
    add("--range", nargs=2, type=number, metavar=("FROM", "TO"),
        help="part of the scan axis to unmix")  # fmt: skip
    add("--seed", type=whole, default=0, help="seed of all randomness (default 0)")
    add("--overwrite", action="store_true",
        help="replace store and report that batteryxr wrote before")  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Read or simulate an experiment, analyse it and store it."""
    from batteryxr.cli.main import in_options
    from batteryxr.operando import Conventions, Unmixing, operando

    _require_sound(arguments)
    conventions = Conventions(
        timezone=arguments.timezone,
        clock_offset=arguments.clock_offset,
        exposure=arguments.exposure,
        electrode=arguments.electrode,
        first=arguments.first,
        mass=arguments.mass,
        formula=arguments.formula,
        columns=meanings(arguments.columns),
    )
    operando(
        cycler=arguments.cycler,
        scans=arguments.scans,
        store=arguments.out,
        conventions=conventions,
        report=arguments.report,
        unmixing=Unmixing(arguments.components, arguments.range, arguments.seed),
        overwrite=arguments.overwrite,
        say=lambda line: say(in_options(line, OPTIONS).replace("`", "")),
    )


def _require_sound(arguments: argparse.Namespace) -> None:
    """Raise for errors that can be found before any file is read."""
    from batteryxr.core.errors import ArgumentError

    if arguments.cycler is None and arguments.scans is None:
        for name in ("timezone", "exposure", "columns", "mass", "formula", "electrode",
                     "first", "clock_offset"):  # fmt: skip
            value = getattr(arguments, name)
            if value is not None and (value or name != "clock_offset"):
                raise ArgumentError(
                    name, value, "nothing without --cycler and --scans: the experiment "
                    "is then simulated, and its facts are known"
                )  # fmt: skip
    if arguments.formula is not None:
        from batteryxr.echem import formula

        if "Li" not in formula(arguments.formula).elements:
            raise ArgumentError("formula", arguments.formula, "a formula with Li")
        if arguments.cycler and arguments.mass is None:
            raise ArgumentError(
                "mass", None, "the active mass, as --formula gives Li content by it"
            )
    if arguments.range and arguments.range[0] >= arguments.range[1]:
        raise ArgumentError("signal_range", arguments.range, "two numbers that rise")
    if arguments.timezone and len(arguments.timezone) > 2:
        raise ArgumentError(
            "timezone", arguments.timezone, "one zone, or the cycler's and the scans'"
        )
