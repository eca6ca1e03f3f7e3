"""What the reference describes: every public name once, and the page it stands on."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

TECHNIQUES = ("echem", "nmf", "xanes", "cdi")
#: Modules whose public names stand on one page: page, module, names (all where None).
PAGES: tuple[tuple[str, str, tuple[str, ...] | None], ...] = (
    ("cdi/functions", "batteryxr.cdi.ptycho.estimate", ("Estimate", "Sizes")),
    ("readers", "batteryxr.io", None),
    ("samples", "batteryxr", ("sample",)),
    ("samples", "batteryxr.samples", ("local", "MeasuredSample", "Samples", "Origin")),
    ("stores", "batteryxr", ("save", "open_store", "write_resumable", "replay")),
    ("stores", "batteryxr.core.store", ("groups", "open_dataset", "verify", "Damage")),
    ("stores", "batteryxr.cli.main", ("describe",)),
    ("export", "batteryxr.export", None),
    ("simulate", "batteryxr.simulate", None),
    ("panels", "batteryxr.widgets", None),
    (
        "experiment",
        "batteryxr.operando",
        (
            *("operando", "Conventions", "Unmixing", "Report", "cells"),
            *("over_samples", "report_cycling", "report_store"),
        ),
    ),
    ("experiment", "batteryxr.cli.lab", ("copy_tutorials", "open_lab")),
    (
        "errors",
        "batteryxr.core.errors",
        (
            *("BatteryxrError", "ArgumentError", "DimensionError", "VariableError"),
            *("UnitsError", "ChunkingError", "FileFormatError", "StoreError"),
            *("SampleError", "ConvergenceError", "MissingDependencyError"),
            *("BatteryxrWarning", "DataQualityWarning", "warn_quality"),
        ),
    ),
    ("extending", "batteryxr.accessors.base", ("Accessor", "method", "opens")),
    (
        "extending",
        "batteryxr.core.blocks",
        ("apply", "stream", "compute", "is_lazy", "block_edges"),
    ),
    (
        "extending",
        "batteryxr.core.model",
        (
            *("label", "attributes", "require_dims", "require_variables"),
            *("require_whole", "Quantity"),
        ),
    ),
    ("extending", "batteryxr.core.provenance", ("recorded", "replayable")),
    ("extending", "batteryxr.core.units", ("in_units",)),
    ("extending", "batteryxr.core.seeds", ("generator", "generators")),
    ("extending", "batteryxr.core.progress", ("track", "bar", "watched")),
    ("extending", "batteryxr.core.blocks", ("gather",)),
    ("extending", "batteryxr.core.optional", ("require",)),
    ("extending", "batteryxr.core.plotting", ("load_hvplot",)),
    ("extending", "batteryxr.core.crystals", ("Crystal",)),
)


@dataclass(frozen=True)
class Entry:
    """One name of the reference.

    Parameters
    ----------
    name
        As it is typed: ``echem.cycles`` for a method of an accessor, else the name to
        be imported, ``batteryxr.read_cycler``.
    obj
        What it is.
    page, group
        Where it stands: the page, and the heading of the accessor's table.
    canonical
        Another full name that leads here.
    on
        The xarray classes whose accessor has it; empty for what is no method.
    """

    name: str
    obj: Any
    page: str
    group: str = ""
    canonical: str = ""
    on: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The object type of Sphinx' Python domain."""
        if self.on:
            return "method"
        if not inspect.isclass(self.obj):
            return "function"
        return "exception" if issubclass(self.obj, BaseException) else "class"

    @property
    def short(self) -> str:
        """The last part of the name; of a method, what follows the accessor."""
        parts = self.name.partition(".") if self.on else self.name.rpartition(".")
        return parts[2]

    @property
    def technique(self) -> str:
        """The package that the object is at home in."""
        full = self.canonical or self.name
        return full.removeprefix("batteryxr.").partition(".")[0]


@cache
def catalogue() -> tuple[Entry, ...]:
    """Return all entries: accessors in their working order, then the modules."""
    found: dict[str, Entry] = {}
    for technique in TECHNIQUES:
        for entry in _methods(technique):
            known = found.get(entry.name)
            if known:  # on both classes: it stands where the fuller one has it
                both = tuple(dict.fromkeys((*known.on, *entry.on)))
                if not known.group:
                    del found[entry.name]
                    known = entry
                entry = replace(known, on=both)
            found[entry.name] = entry
        bound = {id(inspect.unwrap(e.obj)) for e in found.values()}
        module = importlib.import_module(f"batteryxr.{technique}")
        for name, obj in _public(module):
            if id(inspect.unwrap(obj)) not in bound:
                full = f"batteryxr.{technique}.{name}"
                found[full] = Entry(full, obj, f"{technique}/functions")
    top = importlib.import_module("batteryxr")
    for page, home, names in PAGES:
        module = importlib.import_module(home)
        for name in names or [n for n, _ in _public(module)]:
            full = f"{home}.{name}"
            typed = f"batteryxr.{name}" if name in top.__all__ else full
            obj = getattr(module, name)
            canonical = f"{obj.__module__}.{name}" if typed == full else full
            canonical = "" if canonical == typed else canonical
            found[typed] = Entry(typed, obj, page, canonical=canonical)
    return tuple(found.values())


def accessors(technique: str) -> list[tuple[str, type]]:
    """Return the accessor classes of a technique, each with its xarray class."""
    import xarray as xr

    return [
        (kind.__name__, getattr(kind, technique))
        for kind in (xr.DataArray, xr.Dataset)
        if hasattr(kind, technique)
    ]


def groups(accessor: type) -> dict[str, list[str]]:
    """Return the methods of an accessor class under the comments that head them.

    Those of a group have its name before theirs, ``plot.weights``. What the class has
    from another one stands there.
    """
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in inspect.getsource(accessor).splitlines():
        if comment := re.fullmatch(r"    # (.+)", line):
            heading = comment[1]
        elif bound := re.match(r"    (\w+) = (?:method|opens)\(", line):
            sections.setdefault(heading, []).append(bound[1])
        elif bound := re.match(r"    (\w+) = group\(", line):
            inner = groups(vars(accessor)[bound[1]].accessor)
            names = [f"{bound[1]}.{name}" for part in inner.values() for name in part]
            sections.setdefault(heading, []).extend(names)
    return sections


def entry_of(accessor: type, name: str) -> Any:
    """Return what an accessor class binds under a name, ``fit`` or ``plot.weights``."""
    first, _, rest = name.partition(".")
    entry = inspect.getattr_static(accessor, first)
    return entry_of(entry.accessor, rest) if rest else entry


def _has(accessor: type, name: str) -> bool:
    """Tell whether an accessor class binds a name itself, or has it from another."""
    try:
        entry_of(accessor, name)
    except AttributeError:
        return False
    return True


def slug(heading: str) -> str:
    """Return a heading as part of an address."""
    return re.sub(r"\W+", "_", heading.lower()).strip("_")


def _methods(technique: str) -> list[Entry]:
    from batteryxr.accessors.base import opens

    entries = []
    classes = accessors(technique)
    for _, accessor in classes:
        for heading, names in groups(accessor).items():
            for name in names:
                obj = entry_of(accessor, name)
                canonical = ""
                if isinstance(obj, opens):
                    panels = importlib.import_module("batteryxr.widgets")
                    obj = getattr(panels, obj._name)
                else:
                    obj = obj.__wrapped__
                    canonical = f"batteryxr.{technique}.{obj.__name__}"
                entries.append(
                    Entry(
                        f"{technique}.{name}",
                        obj,
                        f"{technique}/{slug(heading)}",
                        heading,
                        canonical,
                        tuple(kind for kind, other in classes if _has(other, name)),
                    )
                )
    return entries


def _public(module: Any) -> list[tuple[str, Any]]:
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value)
    ]
    return [(name, getattr(module, name)) for name in names]
