"""The ``batteryxr`` command: an operando experiment, a store, the tutorials."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batteryxr.core.errors import BatteryxrError, MissingDependencyError
from batteryxr.core.units import readable_bytes
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from batteryxr.core.store import StoreLike

_OPERANDO = """\
examples:
  batteryxr operando --out demo.zarr --report demo.html
      simulate a cell and its scans, then analyse them: see the whole at once
  batteryxr operando --cycler run*.mpt --scans xas/ --timezone Europe/Paris \\
      --electrode cathode --first charge --out cell4.zarr --report cell4.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0: done. 1: `check` found damage. 2: the input was refused, in one sentence on
    stderr. 130: interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except (BatteryxrError, MissingDependencyError) as error:
        print(f"batteryxr: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"batteryxr: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("batteryxr: interrupted; nothing half written was kept", file=sys.stderr)
        return 130
    return 0


def _sentence(error: OSError) -> str:
    """Return what the system has to say, and of which file."""
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}." if error.filename else f"{what}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="batteryxr", description="Battery characterisation on xarray."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_operando(commands)
    _add_ptycho(commands)
    info = commands.add_parser(
        "info", help="tell what a store holds", description="Tell what a store holds."
    )
    info.add_argument("store", help="a zarr store: a path or a URL")
    info.set_defaults(run=_info)
    check = commands.add_parser(
        "check",
        help="tell what is lost or damaged in a store",
        description="Read all of a store, and tell what is lost or damaged: one line "
        "each, and exit status 1. Status 0: it is whole.",
    )
    check.add_argument("store", help="a zarr store: a path or a URL")
    check.set_defaults(run=_check)
    _add_lab(commands)
    return parser


def _add_operando(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    parser = commands.add_parser(
        "operando",
        help="cycler files and scans in, one experiment and a report out",
        description="Read cycler files and scans of the same cell, give every scan "
        "its voltage and capacity, and make a first analysis. Without files, an "
        "experiment with known truth is simulated.",
        epilog=_OPERANDO,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    parser.set_defaults(run=_operando)


def _add_ptycho(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    from batteryxr.cli import ptycho as ptycho_command

    parser = commands.add_parser(
        "ptycho",
        help="reconstruct a stack of ptychographic scans",
        description="Reconstruct object and probe at every energy of a stack in zarr, "
        "register the objects, and keep every state: a run that was killed goes on.",
    )
    ptycho_command.add_arguments(parser)
    parser.set_defaults(run=ptycho_command.run)


def _add_lab(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "lab",
        help="open JupyterLab with a copy of the tutorials",
        description="Copy the tutorials into a folder and open JupyterLab there. "
        "Copies that are there already are never written over.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("batteryxr-tutorials"),
        metavar="FOLDER",
        help="where the copies go (default: batteryxr-tutorials)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, open nothing"
    )
    parser.set_defaults(run=_lab)


def _operando(arguments: argparse.Namespace) -> None:
    from batteryxr.operando import Conventions, Unmixing, operando

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


def _check(arguments: argparse.Namespace) -> int:
    from batteryxr.core.store import verify

    found = verify(arguments.store)
    print("\n".join(map(str, found)) or f"{arguments.store} is whole.")
    return int(bool(found))


def _info(arguments: argparse.Namespace) -> None:
    print(describe(arguments.store))


def describe(path: StoreLike) -> str:
    """Describe a zarr store. Reads metadata only.

    Parameters
    ----------
    path
        The store.

    Returns
    -------
    str
        A few lines per group: dimensions, variables with units, dtype, size and
        chunk, and the call that made the group.
    """
    from batteryxr.core.store import groups, open_dataset

    lines = [f"{path}"]
    for name in groups(path):
        dataset = open_dataset(path, name or None)
        sizes = ", ".join(f"{dim} {n}" for dim, n in dataset.sizes.items())
        lines += [
            "",
            f"/{name}  ({sizes or 'scalars'}; {readable_bytes(dataset.nbytes)})",
        ]
        lines += [_variable(str(n), v) for n, v in dataset.variables.items()]
        if call := dataset.attrs.get("batteryxr_call"):
            lines.append(f"  made by {_call(call)}")
        if dataset.attrs.get("batteryxr_unfinished"):
            lines.append("  UNFINISHED: call again with the same arguments to go on")
    return "\n".join(lines)


def _variable(name: str, variable: xr.Variable) -> str:
    units = str(variable.attrs.get("units", ""))
    shape = " x ".join(map(str, variable.shape)) or "scalar"
    chunk = variable.encoding.get("chunks")
    blocks = f", chunks {' x '.join(map(str, chunk))}" if chunk else ""
    return f"  {name:<24} {units:<12} {variable.dtype!s:<16} {shape}{blocks}"


def _call(text: str) -> str:
    call = json.loads(text)
    words = ", ".join(
        f"{name}={json.dumps(value)}"
        for name, value in call["arguments"].items()
        if value is not None
    )
    home = f".{call['accessor']}" if "accessor" in call else call["module"]
    return f"{home}.{call['method']}({words})"


def _lab(arguments: argparse.Namespace) -> None:
    from batteryxr.cli.lab import open_lab

    open_lab(arguments.folder, browser=not arguments.no_browser)
