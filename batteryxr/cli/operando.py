"""The command ``batteryxr operando``: cycler files and scans in, an experiment out."""

from __future__ import annotations

import argparse
from pathlib import Path

from batteryxr.operando import Conventions, Unmixing, operando

_EXAMPLES = """\
examples:
  batteryxr operando --out demo.zarr --report demo.html
      simulate a cell and its scans, then analyse them: see the whole at once
  batteryxr operando --cycler run*.mpt --scans xas/ --timezone Europe/Paris \\
      --electrode cathode --first charge --out cell4.zarr --report cell4.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--cycler", nargs="+", metavar="FILE", help="cycler files of one cell")
    add("--scans", nargs="+", metavar="FILE", help="scan files, or folders of them")
    add("--out", required=True, metavar="STORE",
        help="zarr store to write: a path or a URL")  # fmt: skip
    add("--report", type=Path, metavar="HTML", help="write a report that opens offline")
    add("--timezone", nargs="+", metavar="ZONE",
        help="zone of local times in the files, such as Europe/Paris; two where the "
        "cycler's clock and the scans' stand in different ones")  # fmt: skip
    add("--clock-offset", type=float, default=0.0, metavar="S",
        help="seconds to add to the scans' clock to get the cycler's")  # fmt: skip
    add("--exposure", type=float, metavar="S", help="exposure, if the files lack it")
    add("--electrode", choices=("cathode", "anode", "full"),
        help="which electrode the cell studies; needed for efficiencies")  # fmt: skip
    add("--first", choices=("charge", "discharge"),
        help="what a cycle begins with; needed for efficiencies")  # fmt: skip
    add("--mass", type=float, metavar="MG", help="active mass; gives mA h g-1")
    add("--formula", help="composition as loaded, such as LiNiO2; gives Li content")
    add("--components", type=int, metavar="N", help="number of phases to unmix")
    add("--range", nargs=2, type=float, metavar=("FROM", "TO"),
        help="part of the scan axis to unmix")  # fmt: skip
    add("--seed", type=int, default=0, help="seed of all randomness (default 0)")
    add("--overwrite", action="store_true",
        help="replace store and report that batteryxr wrote before")  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Read or simulate an experiment, analyse it and store it."""
    conventions = Conventions(
        timezone=arguments.timezone,
        clock_offset=arguments.clock_offset,
        exposure=arguments.exposure,
        electrode=arguments.electrode,
        first=arguments.first,
        mass=arguments.mass,
        formula=arguments.formula,
    )
    operando(
        cycler=arguments.cycler,
        scans=arguments.scans,
        store=arguments.out,
        conventions=conventions,
        report=arguments.report,
        unmixing=Unmixing(arguments.components, arguments.range, arguments.seed),
        overwrite=arguments.overwrite,
        say=lambda line: print(line, flush=True),
    )
