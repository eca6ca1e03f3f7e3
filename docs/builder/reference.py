"""The reference, page by page: accessors in their working order, then functions."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any

from builder import docstring, pages
from builder.catalogue import TECHNIQUES, accessors, catalogue, groups, slug

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from builder.catalogue import Entry

_TITLES = {
    "readers": ("Readers", "Files in, labelled data out; and two writers."),
    "export": (
        "Numbers out",
        "Tables, workbooks, NeXus, other programs, and what to cite.",
    ),
    "samples": ("Samples", "Measured data to try things on, by name."),
    "stores": ("Stores and replay", "Zarr stores, and results made again."),
    "simulate": (
        "Simulated experiments",
        "Physics with known truth, lazy at any size.",
    ),
    "panels": (
        "Panels",
        "Choices by hand, in JupyterLab. Open them from an accessor: "
        "``series.nmf.panel()``, ``maps.xanes.panel()``, ``scans.echem.panel()``, "
        "``stack.xanes.view()``.",
    ),
    "experiment": ("Whole experiments", "What the command line calls."),
    "errors": ("Errors and warnings", "Each says what was found and what mends it."),
    "extending": (
        "Extending",
        "What an accessor method of your own is made from; the tutorial on it goes "
        "through most of them.",
    ),
}
_DATA_NAMES = {"echem": "record", "nmf": "data", "xanes": "stack", "cdi": "volumes"}


def write(folder: Path) -> list[Path]:
    """Write all pages of the reference; return their files.

    Parameters
    ----------
    folder
        Where they go. Pages that nothing belongs to any more are removed.
    """
    made = {f"{t}/index": _accessor_page(t) for t in TECHNIQUES}
    by_page: dict[str, list[Entry]] = {}
    for entry in catalogue():
        by_page.setdefault(entry.page, []).append(entry)
    for page, entries in by_page.items():
        made[page] = _page(page, entries)
    made["command_line"] = _command_page()
    made["data_model"] = _data_page()
    made["index"] = _index_page()
    texts = {f"{name}.rst": text for name, text in made.items()}
    return pages.write(folder, texts, pattern="*.rst")


def _title(text: str, line: str = "=") -> list[str]:
    return [text, line * len(text), ""]


def _toctree(names: list[str], *, depth: int = 1) -> list[str]:
    options = ["   :hidden:", f"   :maxdepth: {depth}", ""]
    return [".. toctree::", *options, *(f"   {n}" for n in names), ""]


def _table(entries: list[Entry]) -> list[str]:
    lines = [".. list-table::", "   :widths: 35 65", "   :class: names", ""]
    for entry in entries:
        said = docstring.link(docstring.summary(entry.obj), entry, set())
        name = entry.name if not entry.on else f".{entry.name}"
        lines += [f"   * - {docstring.reference(entry, name)}", f"     - {said}"]
    return [*lines, ""]


def _index_page() -> str:
    lines = _title("Reference")
    lines += ["Every public name, from its docstring.", ""]
    lines += [".. list-table::", "   :widths: 35 65", "   :class: names", ""]
    for technique in TECHNIQUES:
        said = docstring.summary(accessors(technique)[0][1])
        lines += [f"   * - :doc:`.{technique} <{technique}/index>`", f"     - {said}"]
    more = {"command_line": ("Command line", "``batteryxr``, in a shell.")}
    more["data_model"] = ("Data model", "Dimensions, quantities and flags by name.")
    told = _TITLES | more
    for name, (title, said) in told.items():
        lines += [f"   * - :doc:`{title} <{name}>`", f"     - {said}"]
    lines += ["", *_toctree([*(f"{t}/index" for t in TECHNIQUES), *told])]
    return "\n".join(lines)


def _accessor_page(technique: str) -> str:
    known = {e.short: e for e in catalogue() if e.on and e.name.startswith(technique)}
    lines = _title(f".{technique}")
    parts: list[str] = []
    classes = _fullest(technique)
    for kinds, accessor in classes:
        if len(classes) > 1:
            lines += _title(f"On a {kinds}", "-")
        lines += [*(inspect.getdoc(accessor) or "").splitlines(), ""]
        for heading, names in groups(accessor).items():
            page = slug(heading)
            title = heading[:1].upper() + heading[1:]
            lines += [f":doc:`{title} <{page}>`", ""]
            lines += _table([known[n] for n in names])
            parts += [page] if page not in parts else []
    functions = [e for e in catalogue() if e.page == f"{technique}/functions"]
    if functions:
        lines += [":doc:`Functions and classes <functions>`", "", *_table(functions)]
        parts.append("functions")
    return "\n".join([*lines, *_toctree(parts)])


def _fullest(technique: str) -> list[tuple[str, type]]:
    """Return accessor classes that have methods which no other one has."""
    kinds: dict[type, list[str]] = {}
    for kind, accessor in accessors(technique):
        kinds.setdefault(accessor, []).append(kind)
    methods = {a: {n for g in groups(a).values() for n in g} for a in kinds}
    return [
        (" or ".join(names), accessor)
        for accessor, names in kinds.items()
        if not any(methods[accessor] < methods[other] for other in kinds)
    ]


def _page(page: str, entries: list[Entry]) -> str:
    technique, _, name = page.rpartition("/")
    if page in _TITLES:
        title, said = _TITLES[page]
    elif name == "functions":
        title = "Functions and classes"
        said = f"Of ``batteryxr.{technique}``, beside the methods of the accessor."
    else:
        title = entries[0].group
        said = f"Methods of ``.{technique}``."
    lines = [*_title(title[:1].upper() + title[1:]), said, ""]
    for entry in entries:
        lines += _entry(entry)
    return "\n".join(lines)


def _entry(entry: Entry) -> list[str]:
    lines = [f".. py:{entry.kind}:: {entry.name}{signature(entry.obj, bool(entry.on))}"]
    if entry.canonical:
        lines.append(f"   :canonical: {entry.canonical}")
    body = []
    if entry.on:
        body += [f"On a {_itself(entry)}{_as_function(entry)}.", ""]
    body += docstring.render(entry, itself=_itself(entry))
    if inspect.isclass(entry.obj) and not entry.on:
        body += _members(entry)
    return [*lines, "", *(f"   {line}".rstrip() for line in body), ""]


def _itself(entry: Entry) -> str:
    return " or ".join(sorted(entry.on))


def _as_function(entry: Entry) -> str:
    if inspect.isclass(entry.obj):
        return f"; opens a :py:class:`batteryxr.widgets.{entry.obj.__name__}`"
    first = next(iter(inspect.signature(entry.obj).parameters))
    return f"; as a function, ``{entry.canonical}({first}, ...)``"


def signature(obj: Any, bound: bool = False) -> str:
    """Return a signature without types; without its first parameter if it is bound."""
    try:
        found = inspect.signature(obj)
    except ValueError:
        return ""
    parameters = [
        p.replace(annotation=p.empty, default=_Shown.of(p.default))
        for p in found.parameters.values()
    ]
    if bound:
        parameters = parameters[1:]
    shown = found.replace(parameters=parameters, return_annotation=found.empty)
    return str(shown)


class _Shown:
    """A default as it is typed: functions by their names, not by their addresses."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    @classmethod
    def of(cls, default: Any) -> Any:
        named = callable(default) and hasattr(default, "__name__")
        if default is inspect.Parameter.empty or not named:
            return default
        return cls(default.__name__)


def _members(entry: Entry) -> list[str]:
    """Return properties and methods of a class that batteryxr itself defines."""
    lines: list[str] = []
    for name in sorted({n for c in entry.obj.__mro__ for n in vars(c)}):
        home = next(c for c in entry.obj.__mro__ if name in vars(c))
        if name.startswith("_") or not home.__module__.startswith("batteryxr."):
            continue
        value = getattr(entry.obj, name)
        if not inspect.getdoc(value):
            continue
        if isinstance(value, property):
            lines += [f".. py:property:: {name}", ""]
        elif inspect.isfunction(value) or inspect.ismethod(value):
            static = isinstance(inspect.getattr_static(entry.obj, name), staticmethod)
            bound = not (inspect.ismethod(value) or static)
            lines += [f".. py:method:: {name}{signature(value, bound)}", ""]
        else:
            continue
        lines += [f"   {line}".rstrip() for line in docstring.render(entry, value)]
    return lines


def _data_page() -> str:
    """Return the page of dimensions, quantities and flags, from where code has them."""
    from batteryxr.cdi.bragg import frames
    from batteryxr.core.model import DIMENSIONS, QUANTITIES
    from batteryxr.echem.cycling import half_cycles as summary
    from batteryxr.echem.kernels import titration
    from batteryxr.echem.operando import joining
    from batteryxr.xanes.fit import result as fit_result

    lines = _title("Data model")
    lines += ["Names are contracts: readers give them, methods rely on them.", ""]
    lines += [*_title("Dimensions", "-"), *_rows(DIMENSIONS.items())]
    lines += _title("Quantities", "-")
    lines += _rows([(n, f"{q.long_name}, in {q.units}") for n, q in QUANTITIES.items()])
    lines += [*_title("Flags", "-"), "Bits, which add up; zero is a good result.", ""]
    gitt = " ".join(titration.FLAGS)
    marked = {
        "``join_flag`` of joined scans": joining._FLAGS["flag_meanings"],
        "``flag`` of half cycles": summary._FLAGS["flag_meanings"],
        "``flag`` of titration pulses": gitt,
        "``flag`` of edge and peak fits": " ".join(fit_result.FLAGS.values()),
        "``flag`` of detector frames": "; ".join(frames.FLAGS),
    }
    for where, meanings in marked.items():
        words = meanings.split("; ") if ";" in meanings else str(meanings).split()
        bits = [(str(1 << k), word.replace("_", " ")) for k, word in enumerate(words)]
        lines += [f"{where}:", "", *_rows(bits)]
    return "\n".join(lines)


def _rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    lines = [".. list-table::", "   :widths: 35 65", "   :class: names", ""]
    for name, said in pairs:
        lines += [f"   * - ``{name}``", f"     - {said}"]
    return [*lines, ""]


def _command_page() -> str:
    parser = importlib.import_module("batteryxr.cli.main")._parser()
    (commands,) = (a for a in parser._actions if a.choices)
    lines = _title("Command line")
    lines += ["Each command tells what it takes: ``batteryxr COMMAND --help``.", ""]
    for name, command in commands.choices.items():
        lines += [*_title(f"batteryxr {name}", "-"), ".. code-block:: text", ""]
        text = re.sub(r"\x1b\[[0-9;]*m", "", command.format_help())
        lines += [f"   {line}".rstrip() for line in text.splitlines()] + [""]
    return "\n".join(lines)
