"""The ``batteryxr`` command: experiments, reports, stores, the tutorials."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from batteryxr.cli.parser import Parser, printable, say
from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    BatteryxrWarning,
    MissingDependencyError,
    said_by_system,
)
from batteryxr.core.units import readable_bytes
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from batteryxr.core.store import StoreLike

#: Advice for callers in Python, and its form on the command line.
_ADVICE = (
    (re.compile(r"Pass overwrite=True \(--overwrite\)"), "Pass --overwrite"),
    (re.compile(r"Pass overwrite=True"), "Pass --overwrite"),
    (re.compile(r"batteryxr\.write_nexus"), "batteryxr convert to .nxs"),
    (re.compile(r"batteryxr\.write_csv"), "batteryxr convert to .csv"),
    (
        re.compile(r"(?<=found\. )Pass columns=\{.*?\}\."),
        "Write its labels with their units in one line above the numbers.",
    ),
    (
        re.compile(r"pass format= one of them, or a pattern"),
        "give a pattern, such as 'folder/*.csv'",
    ),
    (re.compile(r" ?If you know what it is, pass format= one of \[.*?\]\."), ""),
    (re.compile(r"; or format='csv' for text"), ""),
    (re.compile(r" \(repair='\w+' mends it\)"), ""),
    (
        re.compile(r"columns=\{['\"]([^{}]*?)['\"]: '([^{}']*)'(?:, \.\.\.)?\}"),
        r"--columns '\1=\2'",
    ),
    (re.compile(r"`?\btime`? is NaT\b"), "the time of day is not known"),
    (re.compile(r" \(NaT\)"), ""),
    (re.compile(r"clock=Clock\(offset_s=([-\d.]+)\)"), r"--clock-offset \1"),
    (re.compile(r"`timezone=` of both readers"), "--timezone of both"),
    (re.compile(r"\btest_time\b"), "time"),
    (re.compile(r"\['([^\]]*)'\]"), r"\1"),
    (re.compile(r"', '"), ", "),
)


class Command(NamedTuple):
    """Describe a command with its own module, loaded when the command is used.

    The module has `add_arguments`, `run` and `OPTIONS`, which maps arguments of the
    library to options.
    """

    help: str
    description: str


#: Commands by the name of their module.
COMMANDS = {
    "operando": Command(
        "cycler files and scans in, one experiment and a report out",
        "Read cycler files and scans of the same cell, give every scan its voltage and "
        "capacity, and make a first analysis. Without files, an experiment with known "
        "truth is simulated.",
    ),
    "report": Command(
        "a page on a cell's cycling, or on a store that is there",
        "Read cycler files of one cell, or a store that batteryxr operando wrote, and "
        "write one HTML page that opens offline.",
    ),
    "convert": Command(
        "files of instruments to open formats",
        "Read files of any instrument that is known, and write Battery Data Format, "
        "zarr, NeXus, csv or a workbook.",
    ),
    "ptycho": Command(
        "reconstruct a stack of ptychographic scans",
        "Reconstruct object and probe at every energy of a stack in zarr, register the "
        "objects, and keep every state: a run that was killed goes on.",
    ),
    "lab": Command(
        "open JupyterLab with a copy of the tutorials",
        "Copy the tutorials into a folder and open JupyterLab there. Copies that are "
        "there already are never written over.",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    The status is 0 when done; 1 if `check` found damage; 2 if the input was refused,
    with one sentence on stderr; 130 if interrupted.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    asked = next((word for word in given if not word.startswith("-")), "")
    arguments = _parser(asked).parse(given)
    usual = warnings.formatwarning

    def note(message: Warning | str, *where: Any, **line: Any) -> str:
        if not isinstance(message, BatteryxrWarning):
            return usual(message, *where, **line)
        told = _told(message, arguments.options).replace("`", "")
        return f"Note: {printable(told)}\n"

    warnings.formatwarning = note
    try:
        return int(arguments.run(arguments) or 0)
    except (BatteryxrError, MissingDependencyError) as error:
        say(f"batteryxr: {_told(error, arguments.options)}", sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `| head`, has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        say(f"batteryxr: {_sentence(error)}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("batteryxr: interrupted; nothing half written was kept", file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = usual
    return 0


def _told(error: Exception, options: Mapping[str, str]) -> str:
    """Return the text of an error, with arguments named by their options.

    Parameters
    ----------
    error
        An error of batteryxr.
    options
        Option for each argument that it fills.
    """
    text = str(error)
    if isinstance(error, ArgumentError):
        option = options.get(error.argument, error.argument)
        value = "is missing" if error.found is None else _value(error.found)
        text = f"{option} {value}: expected {error.expected}."
        text += f" {error.mend}" if error.mend else ""
    return in_options(text, options)


def in_options(text: str, options: Mapping[str, str]) -> str:
    """Return a text of the library in the words of the command line.

    Parameters
    ----------
    text
        Message of an error, or a note.
    options
        Option for each argument that it fills.
    """
    for pattern, words in _ADVICE:
        text = pattern.sub(words, text)
    for name, option in options.items():
        text = re.sub(rf"\b{name}=(True|None)", option, text)
        text = re.sub(rf"\b{name}=(?=\.?\d|['\"\[(])", f"{option} ", text)
        text = re.sub(rf"`?\b{name}=`?(?=\W|$)", option, text)
        text = re.sub(rf"`{name}`", option, text)
    return text


def _value(found: object) -> str:
    if isinstance(found, list | tuple):
        return " ".join(map(str, found))
    return str(found)


def _sentence(error: OSError) -> str:
    """Return the system's message, and the file that it concerns."""
    what = said_by_system(error)
    return f"{error.filename}: {what}." if error.filename else f"{what}."


def _parser(only: str | None = None) -> Parser:
    """Return the parser, with all commands loaded or `only` one by its name."""
    parser = Parser(prog="batteryxr", description="Battery characterisation on xarray.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, said in COMMANDS.items():
        command = commands.add_parser(
            name, help=said.help, description=said.description
        )
        if only in (None, name):
            module = importlib.import_module(f"batteryxr.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run, options=module.OPTIONS)
    info = commands.add_parser(
        "info", help="tell what a store holds", description="Tell what a store holds."
    )
    info.add_argument("store", metavar="STORE", help="a zarr store: a path or a URL")
    info.set_defaults(run=_info, options={"path": "STORE"})
    check = commands.add_parser(
        "check",
        help="tell what is lost or damaged in a store",
        description="Read all of a store, and tell what is lost or damaged: one line "
        "each, and exit status 1. Status 0: it is whole.",
    )
    check.add_argument("store", metavar="STORE", help="a zarr store: a path or a URL")
    check.set_defaults(run=_check, options={"path": "STORE"})
    completion = commands.add_parser(
        "completion",
        help="print a script that completes commands and options in your shell",
        description="Print a script for your shell: batteryxr completion bash >> "
        "~/.bash_completion. Needs shtab.",
    )
    completion.add_argument(
        "shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"),
        help="bash, zsh or tcsh")  # fmt: skip
    completion.set_defaults(run=_completion, options={})
    return parser


def _completion(arguments: argparse.Namespace) -> None:
    from batteryxr.core.optional import require

    shtab = require("shtab", extra="completion", purpose="completing in a shell")
    print(shtab.complete(_parser(), shell=arguments.shell))


def _check(arguments: argparse.Namespace) -> int:
    from batteryxr.core.store import verify

    found = verify(arguments.store)
    lines = [printable(str(damage)) for damage in found]
    say("\n".join(lines) or f"{arguments.store} is whole.")
    return int(bool(found))


def _info(arguments: argparse.Namespace) -> None:
    say(describe(arguments.store))


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
    return "\n".join(map(printable, lines))


def _variable(name: str, variable: xr.Variable) -> str:
    units = str(variable.attrs.get("units", ""))
    shape = " x ".join(map(str, variable.shape)) or "scalar"
    chunk = variable.encoding.get("chunks")
    blocks = f", chunks {' x '.join(map(str, chunk))}" if chunk else ""
    return f"  {name:<24} {units:<12} {variable.dtype!s:<16} {shape}{blocks}"


def _call(text: Any) -> str:
    try:
        call = json.loads(text)
        words = ", ".join(
            f"{name}={json.dumps(value)}"
            for name, value in call["arguments"].items()
            if value is not None
        )
        home = f".{call['accessor']}" if "accessor" in call else call["module"]
        return f"{home}.{call['method']}({words})"
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return "a call that is not as batteryxr writes it"
