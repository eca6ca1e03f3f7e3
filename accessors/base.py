"""Shared parts of all accessors: bound functions, and a summary without computing."""

from __future__ import annotations

import functools
import html
import importlib
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, TypeVar

from batteryxr.core.model import DIMENSIONS
from batteryxr.core.units import readable_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

P = ParamSpec("P")
R = TypeVar("R")


class Accessor:
    """Hold an object whose methods are functions bound to it."""

    #: Dimensions that the accessor's methods understand.
    _understands: ClassVar[tuple[str, ...]] = ()
    #: Name of the accessor, where it is not the class name.
    _called: ClassVar[str] = ""

    def __init__(self, data: Any) -> None:
        self._obj = data

    def __dir__(self) -> list[str]:
        """Return the methods whose dimensions or variables are there."""
        return sorted(self._methods())

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
        return self._called or type(self).__name__.lower()

    def _dims(self) -> list[str]:
        known = [d for d in self._understands if d in self._obj.dims]
        return [f"{d} ({DIMENSIONS[d]})" for d in known]

    def _methods(self) -> list[str]:
        # Coordinates that are dimensions elsewhere: a pixel's y is a position only.
        lying = [n for n in self._obj.coords if n not in DIMENSIONS]
        variables = getattr(self._obj, "data_vars", ())
        there = {str(name) for name in (*self._obj.dims, *lying, *variables)}
        return [name for name, entry in self.all_entries() if _fits(entry, there)]

    @classmethod
    def entries(cls) -> Iterator[tuple[str, Any]]:
        """Yield the class's own methods, panels and groups, in working order."""
        for name, entry in vars(cls).items():
            if hasattr(entry, "needs") or isinstance(entry, group):
                yield name, entry

    @classmethod
    def all_entries(cls) -> Iterator[tuple[str, Any]]:
        """Yield the entries of the classes that it extends, and then its own."""
        classes = [c for c in reversed(cls.__mro__) if issubclass(c, Accessor)]
        for name in dict.fromkeys(name for c in classes for name, _ in c.entries()):
            yield name, inspect.getattr_static(cls, name)


def method(
    function: Callable[Concatenate[Any, P], R], *needs: str | tuple[str, ...]
) -> Callable[Concatenate[Accessor, P], R]:
    """Bind a labelled function as an accessor method, signature and docstring too.

    Parameters
    ----------
    function
        Takes the object first.
    needs
        Dimensions or variables that must be present for completion and summaries to
        offer the method; one of a tuple is enough. Called without them, the function
        itself says what is missing.
    """

    @functools.wraps(function)
    def bound(self: Accessor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(self._obj, *args, **kwargs)

    signature = inspect.signature(function)
    _, *rest = signature.parameters.values()
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    bound.__signature__ = signature.replace(parameters=[own, *rest])  # type: ignore[attr-defined]
    bound.needs = needs  # type: ignore[attr-defined]
    return bound


class group:
    """Bind a group of methods under a name of its own, such as ``.plot``.

    Parameters
    ----------
    accessor
        The class of the group.
    """

    def __init__(self, accessor: type[Accessor]) -> None:
        self.accessor = accessor

    def __get__(self, accessor: Accessor | None, owner: type) -> Any:
        """Return the group on the accessor's object, or its class on the class."""
        return self.accessor if accessor is None else self.accessor(accessor._obj)


class opens:
    """Bind a panel of `batteryxr.widgets` by its name.

    Panels stand above the accessors. The panel is named here and imported on first
    use, so that ``import batteryxr`` loads no widgets.

    Parameters
    ----------
    name
        Name of the panel.
    needs
        As in `method`.
    """

    def __init__(self, name: str, *needs: str | tuple[str, ...]) -> None:
        self._name = name
        self.needs = needs

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


def _fits(entry: Any, there: set[str]) -> bool:
    """Tell whether an object has what an entry needs; for a group, what one needs."""
    if isinstance(entry, group):
        return any(_fits(e, there) for _, e in entry.accessor.all_entries())
    return all(
        not there.isdisjoint((need,) if isinstance(need, str) else need)
        for need in entry.needs
    )


def _largest_chunk(obj: xr.Dataset | xr.DataArray) -> int:
    variables = obj.variables.values() if hasattr(obj, "variables") else [obj.variable]
    largest = 0
    for v in variables:
        size = v.dtype.itemsize
        for n, chunks in zip(v.shape, v.chunks or v.shape, strict=True):
            size *= max(chunks) if isinstance(chunks, tuple) else n
        largest = max(largest, size)
    return largest
