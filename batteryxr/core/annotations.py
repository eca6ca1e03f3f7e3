"""Annotations as types: what a function's signature says, when it is first called.

Names that a module imports for the type checker alone are imported then: those of the
standard library, NumPy, xarray and ours. Others stand for anything.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import sys
from typing import Any

_KNOWN = frozenset({"numpy", "xarray", "batteryxr"})


@functools.cache
def resolved(owner: Any) -> dict[str, Any]:
    """Return the annotations of a function or class by name, as types."""
    owner = inspect.unwrap(owner) if callable(owner) else owner
    found: dict[str, Any] = {}
    for base in reversed(getattr(owner, "__mro__", (owner,))):
        names = _Names(base.__module__)
        for name, text in getattr(base, "__annotations__", {}).items():
            found[name] = names.value(text) if isinstance(text, str) else text
    return found


class _Names(dict[str, Any]):
    """The names that annotations in a module may use."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self._module = sys.modules.get(module)
        self._imported = _imported_for_types(module)

    def value(self, text: str) -> Any:
        """Return an annotation as a type; anything, where it cannot be told."""
        try:
            return eval(text, {}, self)
        except (AttributeError, NameError, SyntaxError, TypeError):
            return Any

    def __missing__(self, name: str) -> Any:
        if hasattr(self._module, name):
            return getattr(self._module, name)
        if name in self._imported:
            module, attribute = self._imported[name]
            if module.partition(".")[0] in _KNOWN | sys.stdlib_module_names:
                source = importlib.import_module(module)
                return getattr(source, attribute) if attribute else source
            return Any
        return getattr(builtins, name, Any)


@functools.cache
def _imported_for_types(module: str) -> dict[str, tuple[str, str]]:
    """Return module and attribute of each name imported under ``TYPE_CHECKING``."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    found: dict[str, tuple[str, str]] = {}
    for node in tree.body:
        if not isinstance(node, ast.If) or "TYPE_CHECKING" not in ast.unparse(
            node.test
        ):
            continue
        for line in ast.walk(node):
            if isinstance(line, ast.ImportFrom) and line.module:
                for name in line.names:
                    found[name.asname or name.name] = (line.module, name.name)
            elif isinstance(line, ast.Import):
                for name in line.names:
                    found[name.asname or name.name.partition(".")[0]] = (name.name, "")
    return found
