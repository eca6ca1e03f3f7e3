"""Names in the code of a panel: what its user called the data, and wrote in the call.

The code of a panel should run in the notebook of its user. It therefore needs the names
that stand there: a variable, or the expression that the panel was opened on.
"""

from __future__ import annotations

import ast
import inspect
import json
import keyword
import linecache
import sys
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import calling_frame
from batteryxr.core.progress import shell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

#: How the modules that code may name are imported.
MODULES = {
    "batteryxr": "import batteryxr",
    "np": "import numpy as np",
    "xr": "import xarray as xr",
}
#: Words with which the call that opens a panel may hand over its data.
_DATA = ("data", "store")


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class Call:
    """Hold the call that opened a panel, as its user wrote it.

    Parameters
    ----------
    data
        The expression that stands for the data; None if it is not known.
    words
        The expressions given by keyword.
    space
        The variables of the user's module or notebook, as they are now.
    bound
        The objects that the variables in the call stood for.
    """

    data: ast.expr | None = None
    words: Mapping[str, ast.expr] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    bound: Mapping[str, Any] = field(default_factory=dict)

    def named(self, value: Any, *where: str) -> str | None:
        """Return code for an object: its variable, or what was written in the call.

        Parameters
        ----------
        value
            The object.
        where
            Where it stands in the call: nothing for the data, else the keyword, and
            the key in a dictionary.
        """
        if found := notebook_name(value, self.space):
            return found
        written = self._written(*where)
        if written is None or self._is_stale(written):
            return None
        return _as_operand(written)

    def imports(self, code: str) -> str:
        """Return the imports that code needs and the user's module lacks, as lines."""
        used = _names(ast.parse(code))
        lacks = [n for n in MODULES if n in used and n not in self.space]
        return "".join(f"{MODULES[n]}\n" for n in lacks)

    def free(self, name: str) -> str:
        """Return a name that no variable of the user's module has."""
        while name in self.space:
            name += "_"
        return name

    def _written(self, *where: str) -> ast.expr | None:
        if not where:
            return self.data
        found = self.words.get(where[0])
        for key in where[1:]:
            found = _item(found, key)
        return found

    def _is_stale(self, written: ast.expr) -> bool:
        """Tell whether a name in an expression stands for another object by now."""
        there = {n for n in _names(written) if n in self.bound}
        return any(self.space.get(n, self.bound[n]) is not self.bound[n] for n in there)


def call_of_user() -> Call:
    """Return the call of the user that is running now.

    Reads the source that Python keeps for tracebacks: of files and of notebook cells.
    """
    frame = calling_frame(sys._getframe(1))
    if frame is None:
        return Call()
    space = frame.f_globals
    node = _node(frame)
    if node is None:
        return Call(space=space)
    words = {word.arg: word.value for word in node.keywords if word.arg}
    data = _receiver(node)
    if data is None:
        data = next((words[n] for n in _DATA if n in words), None)
    if data is None and node.args:
        data = node.args[0]
    inside = frame.f_locals if frame.f_locals is not space else {}
    outside = _names(node) - set(inside)
    bound = {n: space[n] for n in outside if n in space}
    return Call(data, words, space, bound)


def _node(frame: FrameType) -> ast.Call | None:
    """Return the call that a frame is in, or None if its source is not there."""
    at = inspect.getframeinfo(frame, context=0).positions
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    try:
        whole = ast.parse("".join(lines))
    except SyntaxError:  # the file has changed since it ran
        return None
    # A call over several lines is known by its end: its start is that of the method.
    calls = (n for n in ast.walk(whole) if isinstance(n, ast.Call))
    end = (at.end_lineno, at.end_col_offset) if at else None
    return next((n for n in calls if (n.end_lineno, n.end_col_offset) == end), None)


def _receiver(node: ast.Call) -> ast.expr | None:
    """Return the data of ``data.nmf.panel()``."""
    method = node.func
    if not isinstance(method, ast.Attribute):
        return None
    accessor = method.value
    if isinstance(accessor, ast.Attribute) and hasattr(xr.DataArray, accessor.attr):
        return accessor.value
    return None


def _item(mapping: ast.expr | None, key: str) -> ast.expr | None:
    """Return the expression of an entry of a mapping."""
    if isinstance(mapping, ast.Dict):
        for name, value in zip(mapping.keys, mapping.values, strict=True):
            if isinstance(name, ast.Constant) and name.value == key:
                return value
        return None
    if isinstance(mapping, ast.Name | ast.Attribute | ast.Subscript):
        return ast.Subscript(mapping, ast.Constant(key), ast.Load())
    return None


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _as_operand(written: ast.expr) -> str:
    """Return an expression as text that can be followed by a dot."""
    plain = ast.Name, ast.Attribute, ast.Subscript, ast.Call
    text = ast.unparse(written)
    return text if isinstance(written, plain) else f"({text})"


def notebook_name(value: Any, space: Mapping[str, Any] | None = None) -> str | None:
    """Return the name of an object in the notebook or module of the user, or None."""
    running = shell()
    variables = dict(space or {})
    if running is not None:
        variables |= running.user_ns
    own = str(getattr(value, "name", None) or "data")
    for name, there in variables.items():
        if name.startswith("_"):
            continue
        if there is value:
            return str(name)
        # A variable of a dataset is a new object on each access.
        inside = isinstance(there, xr.Dataset) and own in there.data_vars
        if inside and there.variables[own] is getattr(value, "variable", None):
            return f"{name}[{literal(own)}]"
    return None


def literal(value: Any) -> str:
    """Return Python code for a value; the code gives the same value to the bit."""
    if isinstance(value, bool | np.bool_):
        return repr(bool(value))
    if isinstance(value, Integral):
        return repr(int(value))
    if isinstance(value, Real):
        number = float(value)
        return repr(number) if np.isfinite(number) else f'float("{number}")'
    if isinstance(value, dict):
        pairs = (f"{literal(k)}: {literal(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(v) for v in value) + "]"
    if isinstance(value, tuple):
        inner = ", ".join(literal(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return repr(value)


def keywords(codes: Mapping[str, str]) -> str:
    """Return Python code for arguments by name, whatever the names are.

    Names that come from data may be no identifiers, and even code.
    """
    if all(n.isidentifier() and not keyword.iskeyword(n) for n in codes):
        return ", ".join(f"{name}={code}" for name, code in codes.items())
    return "{" + ", ".join(f"{literal(n)}: {code}" for n, code in codes.items()) + "}"
