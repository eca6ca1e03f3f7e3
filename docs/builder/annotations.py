"""Types as a reader of the reference wants them: short, aliases spelled out."""

from __future__ import annotations

import ast
import inspect
import typing
from typing import Any

#: Aliases by what they stand for.
_ALIASES = {
    "Several": "DataArray | Dataset | list | Mapping | DataTree",
    "Candidates": "list | Mapping | path",
    "Volumes": "DataArray | Dataset",
    "ArrayLike": "array-like",
    "Any": "",
    "Count": "int >= 1",
    "Whole": "int >= 0",
    "Seed": "int >= 0",
    "Positive": "float > 0",
    "NonNegative": "float >= 0",
    "Fraction": "float from 0 to 1",
    "Part": "float between 0 and 1",
    "Pair": "tuple[float, float]",
}


def parameter_types(function: Any) -> dict[str, str]:
    """Return the type of each parameter as text; empty where there is none to tell."""
    known = getattr(inspect.unwrap(function), "__globals__", {})
    if inspect.isclass(function):
        known = vars(inspect.getmodule(function))
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # properties, built-in exceptions
        return {}
    return {
        p.name: readable(p.annotation, known)
        for p in parameters
        if p.annotation is not p.empty
    }


def readable(annotation: Any, known: dict[str, Any]) -> str:
    """Return an annotation, a string or an object, as short text."""
    text = annotation if isinstance(annotation, str) else _spell(annotation)
    return _render(ast.parse(text.strip("'\""), mode="eval").body, known)


def _spell(alias: Any) -> str:
    if isinstance(alias, typing.TypeVar):
        return " | ".join(_spell(c) for c in alias.__constraints__) or "Any"
    if isinstance(alias, type) and not typing.get_args(alias):
        return alias.__name__
    return str(alias).replace("typing.", "").replace("NoneType", "None")


def _render(node: ast.expr, known: dict[str, Any]) -> str:
    match node:
        case ast.BinOp(left=left, right=right):
            parts = [_render(left, known), _render(right, known)]
            return " | ".join(p for p in parts if p)
        case ast.Subscript(value=value, slice=inner):
            name = _render(value, known)
            items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            texts = [_render(i, known) for i in items]
            if name == "Literal":
                return " | ".join(texts)
            if name == "Annotated":
                return texts[0]
            if name in ("PathLike", "Callable", "Concatenate"):
                return "path" if name == "PathLike" else "callable"
            return f"{name}[{', '.join(t or 'Any' for t in texts)}]"
        case ast.Attribute(attr=attr):
            return "path" if attr == "PathLike" else attr
        case ast.Name(id=name):
            return _name(name, known)
        case ast.Constant(value=value):
            return "..." if value is ... else repr(value)
        case ast.List(elts=items):
            return ", ".join(_render(i, known) for i in items)
    return ast.unparse(node)


def _name(name: str, known: dict[str, Any]) -> str:
    if name in _ALIASES:
        return _ALIASES[name]
    if name == "Path":
        return "path"
    value = known.get(name)
    is_alias = isinstance(value, typing.TypeVar) or typing.get_args(value)
    return readable(_spell(value), known) if is_alias else name
