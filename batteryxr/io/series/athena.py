"""Athena project files (.prj): gzipped text, one record for each spectrum."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import FileFormatError
from batteryxr.core.model import attributes, label
from batteryxr.io.door.files import named, text

if TYPE_CHECKING:
    import os

_LIST = re.compile(r"@(?P<name>\w+)\s*=\s*\((?P<body>.*)\);\s*$")
# Quoted text, a list or table within the list (Larch writes titles so), or a number.
_QUOTED = r"'((?:[^'\\]|\\.)*)'"
_NESTED = r"[\[{](?:'(?:[^'\\]|\\.)*'|[^\]}'])*[\]}]"
_ITEM = re.compile(rf"\s*(?:{_QUOTED}|({_NESTED}|[^',\s]+))\s*(?:,|$)")
_SPECTRA = ("xmu", "xanes", "norm", "xmudat")


@checked
def read_athena(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read the spectra of an Athena project, each on its own energies.

    Reads once.

    Parameters
    ----------
    path
        A ``.prj`` file.

    Returns
    -------
    xarray.DataTree
        A node for each spectrum, in the order of the project, under its label (``/``
        becomes ``-``; a number tells equal labels apart). It holds ``absorption``
        along ``energy`` (eV) with the project's energy shift added, and ``i0`` where
        it was kept. Attributes: ``label``, ``energy_shift`` (eV), ``e0`` (eV, as the
        project has it). Records of χ(k) are left out.

    Raises
    ------
    FileFormatError
        If the file is damaged or no project: names the line.

    Examples
    --------
    >>> project = read_athena("standards.prj")
    >>> shares = stack.xanes.lcf(
    ...     standards={name: node.absorption for name, node in project.items()}
    ... )
    """
    where = Path(path).expanduser()
    with named(where):
        return _project(where)


def _project(where: Path) -> xr.DataTree:
    lines = _unpack(where).splitlines()
    if not lines or "athena" not in lines[0].lower():
        raise FileFormatError(where, "does not begin as an Athena project does.", 1)
    nodes: dict[str, xr.Dataset] = {}
    record: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if match := _LIST.match(line):
            record[match["name"]] = _items(match["body"], where, number)
        elif line.startswith("[record]"):
            spectrum = _spectrum(record, where, number)
            if spectrum is not None:
                nodes[_free(str(spectrum.attrs["label"]), nodes)] = spectrum
            record = {}
    if {"x", "y"} & record.keys():
        raise FileFormatError(
            where, "ends within a record: the file is cut.", len(lines)
        )
    if not nodes:
        raise FileFormatError(where, "holds no spectrum of absorption.")
    return xr.DataTree.from_dict({f"/{name}": ds for name, ds in nodes.items()})


def _unpack(path: Path) -> str:
    raw = text(path, "gzip")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _items(body: str, path: Path, line: int) -> list[str]:
    """Return the items of a list: quoted text, with escapes, or bare numbers."""
    items: list[str] = []
    place = 0
    while place < len(body):
        match = _ITEM.match(body, place)
        if match is None or match.end() == place:
            raise FileFormatError(path, "a list cannot be read: it is damaged.", line)
        text = match[1]
        items.append(match[2] if text is None else re.sub(r"\\(.)", r"\1", text))
        place = match.end()
    return items


def _spectrum(record: dict[str, list[str]], path: Path, line: int) -> xr.Dataset | None:
    """Return one record as a Dataset; None where it is no absorption."""
    flat = record.get("args", [])
    args = dict(zip(flat[::2], flat[1::2], strict=False))
    if args.get("datatype", "xmu") not in _SPECTRA or args.get("is_chi") == "1":
        return None
    if not {"x", "y"} <= record.keys():
        raise FileFormatError(path, "a record without energies or absorption.", line)
    columns = {
        name: _numbers(record[name], path, line)
        for name in ("x", "y", "i0")
        if record.get(name)
    }
    lengths = {name: c.size for name, c in columns.items()}
    if len(set(lengths.values())) != 1 or {"x", "y"} - columns.keys():
        raise FileFormatError(path, f"columns differ in length: {lengths}.", line)
    shift = _number(args.get("bkg_eshift", "0"), 0.0)
    energy = columns["x"] + shift
    if not np.isfinite(energy).all():
        raise FileFormatError(path, "an energy is not finite.", line)
    dataset = xr.Dataset(
        {"absorption": label(xr.DataArray(columns["y"], dims="energy"), "absorption")},
        coords={"energy": ("energy", energy, attributes("energy"))},
    )
    if "i0" in columns:
        attrs = {"units": "1", "long_name": "Incident intensity"}
        dataset["i0"] = ("energy", columns["i0"], attrs)
    dataset.attrs = {
        "label": args.get("label", "") or f"line {line}",
        "energy_shift": shift,
        "source_files": [path.name],
    }
    e0 = _number(args.get("bkg_e0", ""), math.nan)
    if math.isfinite(e0):
        dataset.attrs["e0"] = e0
    return dataset


def _numbers(words: list[str], path: Path, line: int) -> np.ndarray:
    try:
        return np.array([float(w) for w in words])
    except ValueError as error:
        raise FileFormatError(path, f"{error} in the record above.", line) from error


def _number(word: str, otherwise: float) -> float:
    try:
        value = float(word)
    except ValueError:
        return otherwise
    return value if math.isfinite(value) else otherwise


def _free(name: str, taken: dict[str, xr.Dataset]) -> str:
    plain = name.replace("/", "-").strip() or "spectrum"
    plain = "_" if plain in (".", "..") else plain
    candidate, k = plain, 1
    while candidate in taken:
        k += 1
        candidate = f"{plain} ({k})"
    return candidate
