"""List what users call."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Kinds of arguments without a name.
OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
#: Packages that are not for users, or are reached through an accessor; `extending`
#: hands on parts of core to authors of methods.
INNER = ("accessors", "cli", "core", "extending", "tutorials", "widgets")


def public_functions() -> dict[str, Callable[..., Any]]:
    """Return what users call: top level, techniques, accessors and plots, panels."""
    import batteryxr

    found: dict[str, Any] = {}
    modules = [module.name for module in pkgutil.iter_modules(batteryxr.__path__)]
    outer = [m for m in modules if m not in INNER and not m.startswith("_")]
    for name in ("batteryxr", *(f"batteryxr.{module}" for module in outer)):
        module = importlib.import_module(name)
        for key in getattr(module, "__all__", None) or vars(module):
            if not key.startswith("_"):
                found[f"{name}.{key}"] = getattr(module, key)
    accessors = importlib.import_module("batteryxr.accessors")
    for module in pkgutil.iter_modules(accessors.__path__):
        inner = importlib.import_module(f"batteryxr.accessors.{module.name}")
        for holder in vars(inner).values():
            if inspect.isclass(holder) and holder.__module__ == inner.__name__:
                for key, value in vars(holder).items():
                    if not key.startswith("_"):
                        found[f"{module.name}.{holder.__name__}.{key}"] = value
    return {
        name: value
        for name, value in found.items()
        if inspect.isfunction(value)
        and (inspect.unwrap(value).__module__ or "").startswith("batteryxr")
    }


def first_lines(functions: dict[str, Callable[..., Any]]) -> set[tuple[str, int]]:
    """Return file and first line, decorators included, of each function."""
    codes = [inspect.unwrap(f).__code__ for f in functions.values()]
    return {(os.path.realpath(c.co_filename), c.co_firstlineno) for c in codes}


def signatures(
    functions: dict[str, Callable[..., Any]],
) -> tuple[dict[str, list[str]], dict[str, list[str]], int]:
    """Return who has each keyword and each first argument, and how many there are.

    An accessor's method and its function are one.
    """
    keywords, firsts = defaultdict(list), defaultdict(list)
    unique = {inspect.unwrap(f): name for name, f in functions.items()}
    for function, name in unique.items():
        parameters = list(inspect.signature(function).parameters.values())
        named = [p for p in parameters if p.kind not in OPEN and p.name != "self"]
        if named and named[0].kind is not inspect.Parameter.KEYWORD_ONLY:
            firsts[named[0].name].append(name)
            named = named[1:]
        for parameter in named:
            keywords[parameter.name].append(name)
    return keywords, firsts, len(unique)
