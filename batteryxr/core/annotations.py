"""Annotations as types: resolve what a signature says, at the first call.

Names that a module imports for the type checker only are resolved then: imports from
the standard library, NumPy, xarray and ours, and aliases. Any other name stands for
anything.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing

_KNOWN = frozenset({"numpy", "pandas", "xarray", "batteryxr"}) | sys.stdlib_module_names
#: NumPy's own type for array-likes accepts anything that has a buffer.
_ARRAYS = {
    "ArrayLike": np.ndarray,
    "npt": SimpleNamespace(ArrayLike=np.ndarray, NDArray=numpy.typing.NDArray),
}


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
    """Look up the names that annotations in a module may use."""

    def __init__(self, module: str) -> None:
        super().__init__(_ARRAYS)
        self._module = sys.modules.get(module)
        self._imported, self._aliases = _for_types(module)

    def value(self, text: str) -> Any:
        """Return an annotation as a type; `Any` where it cannot be resolved."""
        try:
            return eval(text, {}, self)
        except (AttributeError, NameError, SyntaxError, TypeError):
            return Any

    def __missing__(self, name: str) -> Any:
        if hasattr(self._module, name):
            return getattr(self._module, name)
        if name in self._imported:
            return _found(*self._imported[name])
        if name in self._aliases:
            return self.value(self._aliases[name])
        return getattr(builtins, name, Any)


def _found(module: str, attribute: str) -> Any:
    """Return an attribute of a module; `Any` where it is not imported for this."""
    if module.partition(".")[0] not in _KNOWN:
        return Any
    source = importlib.import_module(module)
    if not attribute or hasattr(source, attribute):
        return getattr(source, attribute) if attribute else source
    return _Names(module).value(attribute)


@functools.cache
def _for_types(module: str) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Return what a module has under ``TYPE_CHECKING``: imports, and aliases."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}, {}
    imports: dict[str, tuple[str, str]] = {}
    aliases: dict[str, str] = {}
    for node in tree.body:
        guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for line in ast.walk(node) if guarded else ():
            if isinstance(line, ast.ImportFrom) and line.module:
                for name in line.names:
                    imports[name.asname or name.name] = (line.module, name.name)
            elif isinstance(line, ast.Import):
                for name in line.names:
                    short = name.name.partition(".")[0]
                    imports[name.asname or short] = (
                        name.name if name.asname else short,
                        "",
                    )
            elif isinstance(line, ast.AnnAssign) and line.value:
                aliases[ast.unparse(line.target)] = ast.unparse(line.value)
            elif isinstance(line, ast.Assign):
                aliases[ast.unparse(line.targets[0])] = ast.unparse(line.value)
    return imports, aliases
