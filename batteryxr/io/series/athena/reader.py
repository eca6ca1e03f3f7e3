"""Read Athena project files (.prj): gzipped text, one record for each spectrum."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import FileFormatError, warn_quality
from batteryxr.core.model import attributes, label
from batteryxr.io.door.files import named, text
from batteryxr.io.door.words import (
    in_json,
    in_numbers,
    refuse_count,
    refuse_many,
    refuse_tables,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator


Record = dict[str, list[str]]
_LIST = re.compile(r"@(?P<name>\w+)\s*=\s*\((?P<body>.*)\);\s*$")
# Text in single or double quotes, or a bare word: one item of a list or table.
_WORD = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^'"\[\]{}(),\s=]+)""")
_COMMA = re.compile(r"\s*(?:,|=>|$)\s*")
_DEEPEST = 40
#: Most lines, and letters of lists that are no plain numbers or words.
_LINES, _LETTERS = 200_000, 10_000_000
#: Most lines of a project in JSON, where each number may have its own.
_ROWS = 2_000_000
#: Parameters of the normalisation that the project holds.
_PARAMETERS = (
    *("bkg_e0", "bkg_pre1", "bkg_pre2", "bkg_nor1", "bkg_nor2", "bkg_nnorm"),
    *("bkg_step", "bkg_fixstep", "importance", "bkg_rbkg", "bkg_flatten"),
)
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
        One node for each spectrum, in the order of the project, named by its label
        (``/`` becomes ``-``; equal labels get a number). It holds ``absorption``
        along ``energy`` (eV) with the project's energy shift added, and ``i0`` if it
        has as many values. Attributes: ``label``, ``energy_shift`` (eV), ``e0`` (eV, as
        the project has it), ``reference`` (the label of the standard measured with
        it), ``athena`` (its parameters of normalisation, JSON), ``i0_left_out`` if
        i0 has another length. Records of χ(k) are left out.

    Raises
    ------
    FileFormatError
        If the file is damaged or no project; the message names the line.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> path = batteryxr.write_athena(spectra[:3], "series.prj")
    >>> project = batteryxr.read_athena("series.prj")
    >>> list(project.children)
    ['scan 0', 'scan 1', 'scan 2']
    """
    where = Path(path).expanduser()
    with named(where):
        return _project(where)


def _project(where: Path) -> xr.DataTree:
    text = _unpack(where)
    records = (
        _of_json(where, text) if text.lstrip()[:1] == "{" else _of_perl(where, text)
    )
    nodes: dict[str, xr.Dataset] = {}
    known: set[tuple[str, bytes]] = set()
    for record, number in records:
        spectrum = _spectrum(record, where, number)
        if spectrum is not None:
            _tell_twice(where, spectrum, known, number)
            nodes[_free(str(spectrum.attrs["label"]), nodes)] = spectrum
    if not nodes:
        raise FileFormatError(where, "holds no spectrum of absorption.")
    _link(nodes)
    return xr.DataTree.from_dict({f"/{name}": ds for name, ds in nodes.items()})


def _tell_twice(
    where: Path, spectrum: xr.Dataset, known: set[tuple[str, bytes]], line: int
) -> None:
    """Warn if the project already holds an equal spectrum under the same label."""
    label = str(spectrum.attrs["label"])
    numbers = b"".join(spectrum[name].values.tobytes() for name in spectrum.variables)
    mark = label, hashlib.blake2b(numbers).digest()
    if mark in known:
        warn_quality(
            f"{where.name}, line {line}: group {label!r} is there twice with the "
            "same numbers. Was the project written or pasted twice?"
        )
    known.add(mark)


def _of_perl(where: Path, text: str) -> Iterator[tuple[Record, int]]:
    lines = text.splitlines()
    if not lines or "athena" not in lines[0].lower():
        raise FileFormatError(where, "does not begin as an Athena project does.", 1)
    record: Record = {}
    letters = 0
    for number, line in enumerate(lines, 1):
        if line.startswith("@journal"):
            continue  # the user's free text
        if match := _LIST.match(line):
            items = _plainly(match["body"])
            if items is None:
                refuse_count(
                    letters := letters + len(line), "letters in lists", _LETTERS
                )
                items = _items(match["body"], where, number)
            record[match["name"]] = items
        elif line.startswith("$old_group"):
            record["group"] = line.partition("=")[2].strip(" ;'\"").split()
        elif line.startswith("[record]"):
            yield record, number
            record = {}
    if {"x", "y"} & record.keys():
        raise FileFormatError(
            where, "ends within a record: the file is cut.", len(lines)
        )


def _of_json(where: Path, text: str) -> Iterator[tuple[Record, int]]:
    """Yield the records of a project that Larch or a new Demeter wrote as JSON."""
    project = in_json(where, text, "Athena project")
    about = json.dumps([v for k, v in project.items() if k.startswith("_____header")])
    if "athena" not in about.lower():
        raise FileFormatError(where, "is JSON, but no Athena project.")
    order = project.get("_____order") or list(project)
    for number, name in enumerate(order, 1):
        group = project.get(name)
        if name.startswith("_____") or not isinstance(group, dict):
            continue
        args = group.get("args", {})
        flat = (
            args if isinstance(args, list) else [w for kv in args.items() for w in kv]
        )
        record: Record = {
            key: [_plain(w) for w in values]
            for key, values in group.items()
            if isinstance(values, list)
        }
        yield record | {"args": [_plain(w) for w in flat], "group": [name]}, number


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def _link(nodes: dict[str, xr.Dataset]) -> None:
    """Replace each reference's group name by its label."""
    labels = {
        ds.attrs["group"]: name for name, ds in nodes.items() if "group" in ds.attrs
    }
    for dataset in nodes.values():
        reference = dataset.attrs.pop("reference", "")
        if reference in labels:
            dataset.attrs["reference"] = labels[reference]


def _unpack(path: Path) -> str:
    raw = text(path, "gzip")
    as_json = raw.startswith(b"{")
    refuse_tables(raw, b'"args"' if as_json else b"[record]")
    refuse_many(raw, lines=_ROWS if as_json else _LINES)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _plainly(body: str) -> list[str] | None:
    """Return the items of a list of single-quoted words; None for any other list."""
    commas = body.count(",")
    plain = (
        body[:1] == body[-1:] == "'"
        and body.count("','") == commas
        and body.count("'") == 2 * (commas + 1)
        and "\\" not in body
    )
    return body[1:-1].split("','") if plain else None


def _items(body: str, path: Path, line: int) -> list[str]:
    """Return the items of a list; lists and tables inside it become empty items."""
    items: list[str] = []
    place = 0
    while place < len(body):
        if body[place] in " \t":
            place += 1
            continue
        if body[place] in "[{(":
            place = _past(body, place, path, line)
            items.append("")
        else:
            match = _WORD.match(body, place)
            if match is None:
                raise FileFormatError(
                    path, "a list cannot be read: it is damaged.", line
                )
            quoted = next((t for t in match.group(1, 2) if t is not None), None)
            bare = "nan" if match[3] == "undef" else str(match[3])
            items.append(bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            place = match.end()
        comma = _COMMA.match(body, place)
        if comma is None:
            raise FileFormatError(path, "a list cannot be read: it is damaged.", line)
        place = comma.end()
    return items


def _past(body: str, place: int, path: Path, line: int) -> int:
    """Return the position after the list or table that begins at `place`."""
    open_: list[str] = []
    ends = {"[": "]", "{": "}", "(": ")"}
    while place < len(body):
        sign = body[place]
        if sign in ends:
            open_.append(ends[sign])
            place += 1
        elif open_ and sign == open_[-1]:
            open_.pop()
            place += 1
        elif match := _WORD.match(body, place):
            place = match.end()
        else:
            place += 1
        if not open_:
            return place
        if len(open_) > _DEEPEST:
            break
    raise FileFormatError(path, "a list cannot be read: it is damaged.", line)


def _spectrum(record: Record, path: Path, line: int) -> xr.Dataset | None:
    """Return one record as a Dataset, or None if it is no absorption."""
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
    lengths = {name: columns[name].size for name in ("x", "y") if name in columns}
    if len(lengths) != 2 or len(set(lengths.values())) != 1:
        raise FileFormatError(path, f"columns differ in length: {lengths}.", line)
    shift = _number(args.get("bkg_eshift", "0"), 0.0)
    energy = columns["x"] + shift
    if not np.isfinite(energy).all():
        raise FileFormatError(path, "an energy is not finite.", line)
    dataset = xr.Dataset(
        {"absorption": label(xr.DataArray(columns["y"], dims="energy"), "absorption")},
        coords={"energy": ("energy", energy, attributes("energy"))},
    )
    kept = "i0" in columns and columns["i0"].size == energy.size
    if kept:
        attrs = {"units": "1", "long_name": "Incident intensity"}
        dataset["i0"] = ("energy", columns["i0"], attrs)
    dataset.attrs = {
        "label": args.get("label", "") or f"line {line}",
        "energy_shift": shift,
        "source_files": [path.name],
    }
    if "i0" in columns and not kept:
        size = columns["i0"].size
        dataset.attrs["i0_left_out"] = f"{size} values for {energy.size} energies"
    if group := " ".join(record.get("group", [])):
        dataset.attrs["group"] = group
    if args.get("reference", "") not in ("", "0", "nan"):
        dataset.attrs["reference"] = args["reference"]
    parameters = {k: args[k] for k in _PARAMETERS if args.get(k, "") not in ("", "nan")}
    if parameters:
        dataset.attrs["athena"] = json.dumps(parameters)
    e0 = _number(args.get("bkg_e0", ""), math.nan)
    if math.isfinite(e0):
        dataset.attrs["e0"] = e0
    return dataset


def _numbers(words: list[str], path: Path, line: int) -> np.ndarray:
    return in_numbers(path, words, "the record above", line)


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
