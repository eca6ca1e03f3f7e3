"""Crystal structures, read from CIFs."""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import Any

import numpy as np

from batteryxr.core.checks import checked
from batteryxr.core.crystals import Crystal, lattice
from batteryxr.core.errors import FileFormatError
from batteryxr.core.optional import require

_HEAD = 4096


@checked
def read_crystal(path: str | os.PathLike[str]) -> Crystal:
    """Read a crystal structure from a CIF, all atoms of its cell.

    Raises
    ------
    MissingDependencyError
        Without diffpy.structure, of the extra ``pdf``.
    FileFormatError
        If the file holds no structure.
    """
    structure = require(
        "diffpy.structure",
        extra="pdf",
        purpose="reading crystal structures",
        package="diffpy.structure",
    )
    if not os.path.isfile(path):
        raise FileFormatError(path, "is not there: expected a CIF.")
    with open(path, "rb") as file:
        start = file.read(_HEAD)
    if not start or b"\0" in start:
        raise FileFormatError(
            path, "is no CIF but binary." if start else "the file is empty (0 bytes)."
        )
    try:
        # The parser prints what it cannot read.
        with contextlib.redirect_stdout(io.StringIO()):
            found = structure.loadStructure(os.fspath(path))
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0][:200].rstrip(".")
        words = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise FileFormatError(path, f"holds no crystal structure ({words}).") from error
    if not len(found):
        raise FileFormatError(path, "holds no atoms.")
    cell = found.lattice
    name = os.path.splitext(os.path.basename(os.fspath(path)))[0]
    return Crystal(
        name,
        lattice(cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma),
        tuple(_symbol(atom.element, path) for atom in found),
        np.array([atom.xyz for atom in found], dtype=np.float64),
        np.array([atom.occupancy for atom in found], dtype=np.float64),
        np.array([atom.Uisoequiv for atom in found], dtype=np.float64),
    )


def _symbol(text: str, path: Any) -> str:
    match = re.match(r"[A-Za-z]{1,2}", text)
    if match is None:
        raise FileFormatError(path, f"names an atom {text!r}, which is no element.")
    return match.group().capitalize()
