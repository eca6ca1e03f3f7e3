"""Pages of directives: accessor methods grouped as their classes group them."""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TECHNIQUES = ("echem", "nmf", "xanes", "cdi")
_DETAILS = "\n.. currentmodule:: xarray\n"


class Method(NamedTuple):
    """A method of an accessor: its full name, the heading above it, what it calls."""

    name: str
    heading: str
    function: Any


@cache
def methods(technique: str) -> tuple[Method, ...]:
    """Return the methods of an accessor in working order, each once."""
    import xarray as xr

    import batteryxr  # noqa: F401  - registers the accessors

    found: dict[str, Method] = {}
    for kind in (xr.Dataset, xr.DataArray):
        accessor = getattr(kind, technique, None)
        home = f"xarray.{kind.__name__}.{technique}"
        for heading, name, entry in _grouped(accessor) if accessor else ():
            known = found.get(name)
            if known is None or (heading and not known.heading):
                found[name] = Method(f"{home}.{name}", heading, entry)
    return tuple(found.values())


def _grouped(accessor: type) -> Iterable[tuple[str, str, Any]]:
    """Yield heading, name and function of all that an accessor class binds."""
    for owner in reversed([c for c in accessor.__mro__ if hasattr(c, "entries")][:-1]):
        heading = ""
        for line in inspect.getsource(owner).splitlines():
            if comment := re.fullmatch(r"    # (.+)", line):
                heading = comment[1]
            elif bound := re.match(r"    (\w+) = (method|opens|group)\(", line):
                entry = inspect.getattr_static(owner, bound[1])
                if bound[2] == "group":
                    for _, name, function in _grouped(entry.accessor):
                        yield heading, f"{bound[1]}.{name}", function
                else:
                    yield heading, bound[1], getattr(entry, "__wrapped__", entry)


def functions(technique: str) -> dict[str, Any]:
    """Return what is public in a technique and no method of its accessor, by name."""
    bound = {id(inspect.unwrap(m.function)) for m in methods(technique)}
    module = importlib.import_module(f"batteryxr.{technique}")
    return {
        f"{module.__name__}.{name}": obj
        for name, obj in vars(module).items()
        if name[0] != "_" and not inspect.ismodule(obj) and callable(obj)
        if id(inspect.unwrap(obj)) not in bound
    }


def write(folder: Path) -> None:
    """Write the pages of the accessors, of the data model and of the command line."""
    for technique in TECHNIQUES:
        by_heading: dict[str, list[Method]] = {}
        for one in methods(technique):
            by_heading.setdefault(one.heading, []).append(one)
        index = [_title(f".{technique}"), f".. automodule:: batteryxr.{technique}"]
        index += ["   :no-index:\n", _DETAILS]
        pages = []
        for heading, mine in by_heading.items():
            title = heading[:1].upper() + heading[1:]
            pages.append(re.sub(r"\W+", "_", heading.lower()).strip("_"))
            index += [f":doc:`{title} <{pages[-1]}>`\n", _table(mine)]
            details = [_title(f"{title}: .{technique}"), _DETAILS, *map(_entry, mine)]
            put(folder / technique / f"{pages[-1]}.rst", *details)
        rest = functions(technique)
        index += [":doc:`Functions and classes <functions>`\n"]
        index += [".. autosummary::\n   :nosignatures:\n", _indented(rest)]
        index += [".. toctree::\n   :hidden:\n", _indented([*pages, "functions"])]
        put(folder / technique / "index.rst", *index)
        parts = [_title(f"Functions and classes: {technique}")]
        for name, obj in rest.items():
            kind = inspect.isclass(obj)
            directive = "autoclass" if kind else "autofunction"
            parts.append(f".. {directive}:: {name}\n" + "   :members:\n" * kind)
        put(folder / technique / "functions.rst", *parts)
    put(folder / "data_model.rst", *_data_model())
    put(folder / "command_line.rst", *_command_line())


def _entry(one: Method) -> str:
    name = one.name.removeprefix("xarray.")
    if inspect.isfunction(one.function):
        return f".. autoaccessormethod:: {name}\n"
    panel = f":py:obj:`~batteryxr.widgets.{one.function._name}`"
    return f".. py:method:: {name}(**choice)\n\n   Open a {panel}.\n"


def _table(some: list[Method]) -> str:
    mine = [m for m in some if inspect.isfunction(m.function)]
    names = [m.name.removeprefix("xarray.") for m in mine]
    options = "   :nosignatures:\n   :template: autosummary/accessor_method.rst\n"
    return f".. autosummary::\n{options}\n{_indented(names)}" * bool(names)


def _data_model() -> list[str]:
    """Return dimensions, quantities and flags, from where code has them."""
    from batteryxr.cdi.bragg import frames
    from batteryxr.core.model import DIMENSIONS, QUANTITIES
    from batteryxr.echem.cycling import half_cycles
    from batteryxr.echem.kernels import titration
    from batteryxr.echem.operando import joining
    from batteryxr.xanes.fit import result

    told = [(n, f"{q.long_name}, in {q.units}") for n, q in QUANTITIES.items()]
    tables: dict[str, Any] = {"Dimensions": DIMENSIONS.items(), "Quantities": told}
    for where, meanings in {
        "join_flag of joined scans": joining._FLAGS["flag_meanings"].split(),
        "flag of half cycles": half_cycles._FLAGS["flag_meanings"].split(),
        "flag of titration pulses": titration.FLAGS,
        "flag of edge and peak fits": result.FLAGS.values(),
        "flag of detector frames": frames.FLAGS,
    }.items():
        bits = ((1 << k, word.replace("_", " ")) for k, word in enumerate(meanings))
        tables[f"Bits of {where}"] = bits
    lines = [_title("Data model")]
    lines += ["Names are contracts: readers give them, methods rely on them. Flags are"]
    lines += ["bits that add up; zero is a good result.\n"]
    for title, rows in tables.items():
        listed = [f"   * - ``{a}``\n     - {b}" for a, b in rows]
        lines += [_title(title, "-"), ".. list-table::\n", *listed, ""]
    return lines


def _command_line() -> list[str]:
    parser = importlib.import_module("batteryxr.cli.main")._parser()
    (commands,) = (a for a in parser._actions if a.choices)
    lines = [_title("Command line")]
    lines += ["Each command tells what it takes: ``batteryxr COMMAND --help``.\n"]
    for name, command in commands.choices.items():
        text = re.sub(r"\x1b\[[0-9;]*m", "", command.format_help())
        lines += [_title(f"batteryxr {name}", "-"), ".. code-block:: text\n"]
        lines.append(_indented(text.splitlines()))
    return lines


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"   {line}".rstrip() for line in lines) + "\n"


def put(path: Path, *parts: str) -> None:
    """Write a page where it changed, so that Sphinx reads again only what is new."""
    text = "\n".join(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
