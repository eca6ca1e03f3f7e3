"""NumPy docstrings as reStructuredText, with what is known by name made a link."""

from __future__ import annotations

import inspect
import re
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

from builder.annotations import parameter_types
from builder.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from builder.catalogue import Entry

_FIELDS = ("Returns", "Yields", "Raises", "Warns")
_BACKTICKS = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`\w])")


def summary(obj: Any) -> str:
    """Return the first sentence of a docstring."""
    text = (inspect.getdoc(obj) or "").split("\n\n")[0]
    return " ".join(text.split())


def render(entry: Entry, obj: Any = None, *, itself: str = "") -> list[str]:
    """Return the docstring of an entry, or of one of its members, as lines.

    Parameters
    ----------
    entry
        Whose page it is: names are looked up among its neighbours first.
    obj
        A member of it. Default: the entry's object.
    itself
        What the object of an accessor is called; the first parameter then is it.

    Raises
    ------
    ValueError
        If a section is none of NumPy's, or is there twice.
    """
    from numpydoc.docscrape import NumpyDocString

    obj = entry.obj if obj is None else obj
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of unknown sections
        parsed = NumpyDocString(inspect.getdoc(obj) or "")
    own = {n.lstrip("*") for n in parameter_types(obj)}
    own |= {n.lstrip("*") for p in parsed["Parameters"] for n in p.name.split(", ")}

    def linked(lines: Iterable[str]) -> list[str]:
        return [link(line, entry, own) for line in lines]

    body = [*linked(parsed["Summary"]), "", *linked(parsed["Extended Summary"]), ""]
    body += _parameters(parsed, obj, itself, linked)
    for section in _FIELDS:
        body += _field(section, parsed[section], entry, linked)
    for item in parsed["See Also"]:
        names = ", ".join(link(f"`{n}`", entry, own) for n, _ in item[0])
        body += [f":See also: {names}: {' '.join(linked(item[1]))}", ""]
    for section in ("Notes", "References", "Examples"):
        if parsed[section]:
            body += [f".. rubric:: {section}", "", *linked(parsed[section]), ""]
    return body


def link(line: str, entry: Entry, own: set[str]) -> str:
    """Make names between single backticks links, or code where nothing is known.

    Bars stand for moduli in this field, not for substitutions.
    """

    def replaced(match: re.Match[str]) -> str:
        text = match[1]
        found = None if text in own else find(text, entry.technique)
        return reference(found, text) if found else f"``{text}``"

    parts = re.split(r"(``.*?``)", _BACKTICKS.sub(replaced, line))
    return "".join(p if p.startswith("``") else p.replace("|", r"\|") for p in parts)


def reference(entry: Entry, text: str = "") -> str:
    """Return a link to an entry."""
    text = text or entry.name
    return f":py:obj:`{text} <{entry.name}>`"


def find(text: str, technique: str = "") -> Entry | None:
    """Return what a name means, that of the same technique first; None if not known.

    A short name that several techniques share means nothing outside them.
    """
    name = text.rstrip("()").removeprefix(".")
    entries = catalogue()
    for entry in entries:
        if name in (entry.name, entry.canonical, f"{entry.technique}.{entry.short}"):
            return entry
    alike = [e for e in entries if name in (e.short, e.canonical.rpartition(".")[2])]
    near = [e for e in alike if e.technique == technique]
    if near:
        return near[0]
    return alike[0] if len(alike) == 1 else None


def _parameters(
    parsed: Any, obj: Any, itself: str, linked: Callable[[Iterable[str]], list[str]]
) -> list[str]:
    types = parameter_types(obj)
    lines: list[str] = []
    for section in ("Parameters", "Other Parameters", "Attributes"):
        if not parsed[section]:
            continue
        lines += [f":{section}:"]
        for k, p in enumerate(parsed[section]):
            names = [n.lstrip("*") for n in p.name.split(", ")]
            kinds = dict.fromkeys(types.get(n, "") for n in names)
            kind = p.type or "; ".join(t for t in kinds if t)
            first = itself and k == 0 and section == "Parameters"
            kind = f"the {itself} itself" if first else kind
            term = ", ".join(f"``{n}``" for n in p.name.split(", "))
            lines.append(f"    {term}" + (f" : {_escape(kind)}" if kind else ""))
            lines += textwrap.indent("\n".join(linked(p.desc)), " " * 8).split("\n")
        lines.append("")
    return lines


def _field(
    section: str,
    items: list[Any],
    entry: Entry,
    linked: Callable[[Iterable[str]], list[str]],
) -> list[str]:
    if not items:
        return []
    lines = [f":{section}:"]
    for item in items:
        names = item.type if not item.name else f"{item.name} : {item.type}"
        if section in ("Raises", "Warns"):
            found = [(n, find(n, entry.technique)) for n in names.split(", ")]
            term = ", ".join(reference(e, n) if e else f"``{n}``" for n, e in found)
        else:
            term = linked([names.replace("xarray.", "")])[0]
        description = "\n".join(linked(item.desc)) or "\\"
        lines += [f"    {term}", *textwrap.indent(description, " " * 8).split("\n")]
    return [*lines, ""]


def _escape(text: str) -> str:
    return re.sub(r"([*|\\])", r"\\\1", text)
