"""Names between backticks as links, and types beside the arguments."""

from __future__ import annotations

import inspect
import re
import typing
from functools import cache
from typing import TYPE_CHECKING, Any

from batteryxr.core.bounds import kinds
from builder.reference import TECHNIQUES, methods

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: What stands for a type that is checked, or is longer than it need be.
_TYPES = {
    **{"Several": "DataArray | Dataset | list | Mapping | DataTree", "Path": "path"},
    **{"Candidates": "list | Mapping | path", "Volumes": "DataArray | Dataset"},
    **{"ArrayLike": "array-like", "Count": "int >= 1", "Whole": "int >= 0"},
    **{"Seed": "int >= 0", "Positive": "float > 0", "NonNegative": "float >= 0"},
    **{"Fraction": "float from 0 to 1", "Part": "float between 0 and 1"},
    **{"Pair": "tuple[float, float]"},
}


def spelled(annotation: Any, known: dict[str, Any]) -> str:
    """Return an annotation as a reader wants it: short, its aliases written out."""
    if isinstance(annotation, typing.TypeVar):
        return " | ".join(spelled(c, known) for c in annotation.__constraints__)
    plain = isinstance(annotation, type) and not typing.get_args(annotation)
    text = annotation.__name__ if plain else str(annotation)

    def written(match: re.Match[str]) -> str:
        name, value = match[0], known.get(match[0])
        if name in _TYPES:
            return _TYPES[name]
        alias = isinstance(value, typing.TypeVar) or typing.get_args(value)
        return spelled(value, known) if alias else name

    text = re.sub(r"\b(?:typing|xr|np|xarray|numpy)\.", "", text.strip("'\""))
    text = re.sub(r"Annotated\[(\w+),[^\]]*\]", r"\1", text)
    text = re.sub(r"(?<!['\w])[A-Z]\w+(?!['\w])", written, text)
    text = re.sub(r"Literal\[([^\]]*)\]", lambda m: m[1].replace(", ", " | "), text)
    text = re.sub(r"(?:os\.)?PathLike(?:\[str\])?", "path", text)
    return re.sub(r"(?:\w+\.)?Callable\[.*\]", "callable", text)


def types(obj: Any) -> dict[str, str]:
    """Return the type of each argument as text."""
    try:
        taken = inspect.signature(inspect.unwrap(obj)).parameters.values()
    except (TypeError, ValueError):
        return {}
    known = vars(kinds) | vars(inspect.getmodule(inspect.unwrap(obj)))
    return {
        p.name: spelled(p.annotation, known) for p in taken if p.annotation != p.empty
    }


def complete(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Write types beside arguments; bars are moduli in this field, no substitutions."""
    told, section, first = types(obj), "", name.startswith("xarray.")
    for k, line in enumerate(lines):
        if k + 1 < len(lines) and re.fullmatch("-{3,}", lines[k + 1]):
            section = line
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``.*?``|`[^`]*`)", line)
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[k] = "".join(parts)
        names = re.fullmatch(r"\*{0,2}\w+(, \*{0,2}\w+)*", line)
        if section == "Parameters" != line and names:
            types_ = dict.fromkeys(told.get(n.strip("* "), "") for n in line.split(","))
            types_ = {f"the {name.split('.')[1]} itself": 0} if first else types_
            first, kind = False, "; ".join(filter(None, types_))
            lines[k] = (f"{line} : {kind}" if kind else line).replace("*", r"\*")


@cache
def _called() -> dict[str, str]:
    """Return the methods by the functions that they call."""
    return {
        f"batteryxr.{t}.{m.function.__name__}": m.name
        for t in TECHNIQUES
        for m in methods(t)
        if hasattr(m.function, "__name__")
    }


def resolve(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Link a short name to the one thing that it can mean; in docstrings, else code.

    Names of the same technique come first, then methods of accessors.
    """
    if node.get("refdomain") != "py":
        return None
    page, target = node["refdoc"], node["reftarget"].rstrip("()").lstrip(".")
    objects, known = env.domains.python_domain.objects, _called()
    # What stands at the top, `batteryxr.save`, is documented where it is at home.
    top = re.fullmatch(r"batteryxr\.([a-z]\w+)", target)
    end = f".{top[1] if top else target}"
    names = [*objects, *known]
    found = [n for n in names if n == target] or [n for n in names if n.endswith(end)]
    found = list(dict.fromkeys(known.get(n, n) for n in found))
    near = [n for n in found if "/" in page and f".{page.split('/')[1]}." in n]
    methods_ = [n for n in found if n.startswith("xarray.") and not top]
    found = [n for n in near or methods_ or found if n in objects]
    if len(found) == 1:
        node = node.copy()
        node["refspecific"] = False
        domain = env.domains.python_domain
        return domain.resolve_xref(
            env, page, app.builder, "obj", found[0], node, contnode
        )
    return contnode if page.startswith("reference/") else None
