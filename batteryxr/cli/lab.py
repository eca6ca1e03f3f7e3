"""The command ``batteryxr lab``: JupyterLab on copies of the tutorials."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from batteryxr.cli.parser import say
from batteryxr.core.errors import ArgumentError, StoreError, said_by_system
from batteryxr.core.files import require_on_disk, whole_file
from batteryxr.core.optional import require

if TYPE_CHECKING:
    import argparse


#: Option for each argument that it fills.
OPTIONS = {"folder": "FOLDER"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
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


def run(arguments: argparse.Namespace) -> None:
    """Copy the tutorials and open JupyterLab on them."""
    open_lab(arguments.folder, browser=not arguments.no_browser)


@dataclass(frozen=True)
class Copied:
    """Hold the file names of the tutorials, by the outcome of copying.

    Parameters
    ----------
    new
        Files that were copied.
    same
        Files that were there already and equal the installed ones.
    edited
        Files that were there already and differ: not changed.
    """

    new: tuple[str, ...]
    same: tuple[str, ...]
    edited: tuple[str, ...]


def copy_tutorials(folder: Path) -> Copied:
    """Copy the tutorials into a folder, never over an existing file.

    Parameters
    ----------
    folder
        The folder; it is created if needed.

    Returns
    -------
    Copied
        The files copied, and the files not changed.

    Raises
    ------
    ArgumentError
        If the folder cannot be made, or is a URL.
    StoreError
        If the system refuses to write a tutorial; none is left half written.
    """
    require_on_disk(folder, argument="folder")
    new, same, edited = [], [], []
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in sorted(files("batteryxr.tutorials").iterdir(), key=_name):
            if not source.name.endswith((".ipynb", ".md")):
                continue
            target = folder / source.name
            if not os.path.lexists(target):
                with whole_file(target) as whole:
                    whole.write_bytes(source.read_bytes())
                new.append(source.name)
            elif target.is_file() and target.read_bytes() == source.read_bytes():
                same.append(source.name)
            else:
                edited.append(source.name)
    except (OSError, StoreError) as error:
        with suppress(OSError):  # something is in it
            for path in made:
                path.rmdir()
        if isinstance(error, StoreError):
            raise
        raise ArgumentError(
            "folder",
            str(folder),
            "a folder that can be written to",
            f"{said_by_system(error)}.",
        ) from error
    return Copied(tuple(new), tuple(same), tuple(edited))


def open_lab(folder: Path, *, browser: bool = True) -> None:
    """Copy the tutorials into a folder and open JupyterLab there.

    Returns when JupyterLab is shut down.

    Parameters
    ----------
    folder
        See `copy_tutorials`.
    browser
        Open a browser; otherwise the address is printed.

    Raises
    ------
    MissingDependencyError
        If JupyterLab is not installed; nothing is copied in that case.
    ArgumentError
        If the folder cannot be written to.
    """
    app = require(
        "jupyterlab.labapp",
        extra="lab",
        purpose="opening the tutorials",
        package="jupyterlab",
    )
    copied = copy_tutorials(folder)
    say(f"{len(copied.new)} tutorials copied to {folder.resolve()}")
    if copied.edited:
        say("left as you edited them: " + ", ".join(copied.edited))
    arguments = [str(folder.resolve())]
    app.main(arguments if browser else [*arguments, "--no-browser"])


def _name(file: object) -> str:
    return str(getattr(file, "name", ""))
