"""What all accessors share: bound functions, and a summary that computes nothing."""

from __future__ import annotations

import functools
import html
import importlib
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, TypeVar

from batteryxr.core.model import DIMENSIONS
from batteryxr.core.units import readable_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

P = ParamSpec("P")
R = TypeVar("R")


class Accessor:
    """Holds the object; every method is a function bound to it."""

    #: Dimensions that the accessor's methods understand.
    understands: ClassVar[tuple[str, ...]] = ()
    #: What the accessor is called by, if not by its class name.
    called: ClassVar[str] = ""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def _repr_html_(self) -> str:
        rows = [
            ("dimensions understood", ", ".join(self._dims()) or "none"),
            ("size", readable_bytes(self._obj.nbytes)),
            ("largest chunk", readable_bytes(_largest_chunk(self._obj))),
            ("methods", ", ".join(self._methods())),
        ]
        body = "".join(
            f"<tr><th style='text-align:left'>{html.escape(a)}</th>"
            f"<td style='text-align:left'>{html.escape(b)}</td></tr>"
            for a, b in rows
        )
        return f"<b>.{self._name()}</b><table>{body}</table>"

    def __repr__(self) -> str:
        dims = ", ".join(self._dims()) or "no known dimension"
        methods = ", ".join(self._methods())
        return f"<.{self._name()} on {dims}: {methods}>"

    def _name(self) -> str:
        return self.called or type(self).__name__.lower()

    def _dims(self) -> list[str]:
        known = [d for d in self.understands if d in self._obj.dims]
        return [f"{d} ({DIMENSIONS[d]})" for d in known]

    @classmethod
    def _methods(cls) -> list[str]:
        return [
            n
            for n, v in vars(cls).items()
            if hasattr(v, "__wrapped__") or isinstance(v, opens)
        ]


def method(
    function: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Accessor, P], R]:
    """Bind a labelled function as an accessor method, signature and docstring too."""

    @functools.wraps(function)
    def bound(self: Accessor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(self._obj, *args, **kwargs)

    signature = inspect.signature(function)
    _, *rest = signature.parameters.values()
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    bound.__signature__ = signature.replace(parameters=[own, *rest])  # type: ignore[attr-defined]
    return bound


class opens:
    """Bind a panel of `batteryxr.widgets` by its name.

    Panels stand above the accessors. Naming one, and importing it when it is asked
    for, keeps that arrow one way and ``import batteryxr`` free of widgets.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, accessor: Accessor | None, owner: type) -> Any:
        """Return a function that opens the panel on the accessor's object."""
        if accessor is None:
            return self
        panel = getattr(importlib.import_module("batteryxr.widgets"), self._name)

        def bound(**choice: Any) -> Any:
            return panel(accessor._obj, **choice)

        signature = inspect.signature(panel)
        _, *rest = signature.parameters.values()
        bound.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        bound.__name__, bound.__doc__ = self._name, inspect.getdoc(panel)
        return bound


def _largest_chunk(obj: xr.Dataset | xr.DataArray) -> int:
    variables = obj.variables.values() if hasattr(obj, "variables") else [obj.variable]
    largest = 0
    for v in variables:
        size = v.dtype.itemsize
        for n, chunks in zip(v.shape, v.chunks or v.shape, strict=True):
            size *= max(chunks) if isinstance(chunks, tuple) else n
        largest = max(largest, size)
    return largest
