"""Crystals, made or read from files, and how their G(r) are measured."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from batteryxr.core import bounds
from batteryxr.core.checks import check_fields, checked
from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.core.files import require_regular
from batteryxr.core.optional import require
from batteryxr.core.provenance import replayable
from batteryxr.core.xray import ELEMENTS

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import QDamp, QMax

#: Bytes that are read to recognise a binary file.
_HEAD = 4096
#: Isotopes with symbols of their own.
_ISOTOPES = frozenset({"D", "T"})


@dataclass(frozen=True, eq=False)
class Crystal:
    """Hold a crystal structure.

    Parameters
    ----------
    name
        Name of the crystal.
    cell
        (3, 3) lattice vectors as rows (Angstrom).
    elements
        (atoms,) symbol of each atom in the cell.
    sites
        (atoms, 3) fractional coordinates.
    occupancy
        (atoms,) fraction of each site that is occupied.
    u_iso
        (atoms,) mean square displacements (Angstrom2); None where they are unknown.
    delta1, delta2
        Correlated motion of near atoms: peaks are narrower by the root of
        ``1 - delta1 / r - delta2 / r**2`` (Angstrom, Angstrom2).

    Raises
    ------
    ArgumentError
        If an array has another shape, or a number that cannot be.
    """

    name: str
    cell: np.ndarray
    elements: tuple[str, ...]
    sites: np.ndarray
    occupancy: np.ndarray
    u_iso: np.ndarray | None = None
    delta1: float = 0.0
    delta2: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        n = len(self.elements)
        shapes = {"cell": (3, 3), "sites": (n, 3), "occupancy": (n,), "u_iso": (n,)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None:
                continue
            if value.shape != shape or not np.isfinite(value).all():
                raise ArgumentError(name, value, f"finite numbers of the shape {shape}")
            if name in {"occupancy", "u_iso"} and (value < 0).any():
                raise ArgumentError(name, value, "numbers >= 0")
        bounds.check("occupancy", self.occupancy, argument="occupancy")
        if self.volume == 0:
            raise ArgumentError("cell", self.cell, "three vectors that span a volume")

    @property
    def volume(self) -> float:
        """Return the volume of the cell (Angstrom3)."""
        return abs(float(np.linalg.det(self.cell)))


def lattice(
    a: float,
    b: float | None = None,
    c: float | None = None,
    alpha: float = 90.0,
    beta: float = 90.0,
    gamma: float = 90.0,
) -> np.ndarray:
    """Return lattice vectors as rows; lengths in Angstrom, angles in degrees.

    `b` and `c` equal `a` if they are left out.
    """
    b, c = b or a, c or a
    ca, cb, cg = (math.cos(math.radians(x)) for x in (alpha, beta, gamma))
    sg = math.sqrt(1 - cg * cg)
    y = (ca - cb * cg) / sg
    return np.array(
        [
            [a, 0.0, 0.0],
            [b * cg, b * sg, 0.0],
            [c * cb, c * y, c * math.sqrt(max(1 - cb * cb - y * y, 0.0))],
        ]
    )


def cell_of(cell: np.ndarray) -> np.ndarray:
    """Return a, b, c and the angles (degrees) of lattice vectors, (6,)."""
    length = np.linalg.norm(cell, axis=1)
    unit = cell / length[:, None]
    cosine = np.array([unit[(i + 1) % 3] @ unit[(i + 2) % 3] for i in range(3)])
    return np.concatenate([length, np.degrees(np.arccos(np.clip(cosine, -1, 1)))])


@checked
def read_crystal(path: str | os.PathLike[str]) -> Crystal:
    """Read a crystal structure from a CIF, with all atoms of its cell.

    Raises
    ------
    MissingDependencyError
        Without diffpy.structure, of the extra ``pdf``.
    FileFormatError
        If the file holds no structure.

    Examples
    --------
    >>> from diffpy.structure import Atom, Lattice, Structure
    >>> places = [Atom("Fe", [0.0, 0.0, 0.0]), Atom("Fe", [0.5, 0.5, 0.5])]
    >>> iron = Structure(places, Lattice(2.87, 2.87, 2.87, 90, 90, 90))
    >>> iron.write("iron.cif", "cif")
    >>> crystal = batteryxr.nmf.read_crystal("iron.cif")
    >>> crystal.elements
    ('Fe', 'Fe')
    """
    structure = require(
        "diffpy.structure",
        extra="pdf",
        purpose="reading crystal structures",
        package="diffpy.structure",
    )
    if not os.path.isfile(path):
        raise FileFormatError(path, "is not there: expected a CIF.")
    require_regular(path, argument="path")
    with open(path, "rb") as file:
        start = file.read(_HEAD)
    if not start or b"\0" in start:
        raise FileFormatError(
            path, "is no CIF but binary." if start else "the file is empty (0 bytes)."
        )
    try:
        # The parser prints lines that it cannot read.
        with contextlib.redirect_stdout(io.StringIO()):
            found = structure.loadStructure(os.fspath(path))
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0][:200].rstrip(".")
        words = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise FileFormatError(path, f"holds no crystal structure ({words}).") from error
    if not len(found):
        raise FileFormatError(path, "holds no atoms.")
    cell = found.lattice
    sides = [cell.a, cell.b, cell.c]
    bounds.check("lattice length", sides, argument="cell", data=True)
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
    if match is None or match.group().capitalize() not in ELEMENTS | _ISOTOPES:
        raise FileFormatError(path, f"names an atom {text!r}, which is no element.")
    return match.group().capitalize()


@replayable
@dataclass(frozen=True, kw_only=True)
class PdfInstrument:
    """Describe the instrument with which G(r) was measured.

    Parameters
    ----------
    radiation
        ``"xray"`` or ``"neutron"``.
    q_max
        End of the measured range (1/Angstrom); None for no termination ripples.
    q_damp
        Resolution, exp(-(q_damp r)2/2) (1/Angstrom).
    q_broad
        Resolution that falls with Q: the squared width of a peak grows by the fraction
        (q_broad r)2 (1/Angstrom).

    Raises
    ------
    ArgumentError
        If a value is out of range.
    """

    radiation: Literal["xray", "neutron"] = "xray"
    q_max: QMax | None = None
    q_damp: QDamp = 0.0
    q_broad: QDamp = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
