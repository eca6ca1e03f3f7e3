"""Provenance: every result carries the call that made it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import inspect
import json
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core.annotations import resolved
from batteryxr.core.checks import called, fits
from batteryxr.core.version import __version__

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")

#: Arguments that change how a call looks, not its result.
_PRESENTATION = frozenset({"progress"})
#: Largest size of arrays that are written into the call; others must be given again.
_INLINE = 1000
#: Marks a file or a store in a call: its path differs on another machine.
_PLACE = "$place"
#: Packages whose functions take files first.
_OF_FILES = frozenset({"io", "operando"})
_LABELLED = (xr.DataArray, xr.Dataset, xr.DataTree)
#: Dataclasses that a call may contain, by name.
REPLAYABLE: dict[str, type] = {}
#: Recorded functions by home and name, which `replay` may call.
RECORDED: dict[tuple[str, str], Callable[..., Any]] = {}


def replayable(cls: type[R]) -> type[R]:
    """Allow instances of a dataclass to be written into a call and read back."""
    REPLAYABLE[cls.__name__] = cls
    return cls


def recorded(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a public function, and note the call on its result.

    The ``attrs`` of the result receive ``batteryxr_call`` (JSON: accessor, method and
    all arguments including defaults), ``batteryxr_version``, and a line of CF
    ``history``. The data or files that come first are left out of the call; other first
    arguments, such as a simulation's size, are kept. The history line follows that of
    the result where the function passed one on, else that of the first argument.
    """
    signature = inspect.signature(function)
    home = _home(function.__module__)
    first = next(iter(signature.parameters))
    key = (next(iter(home.values())), function.__name__)

    @functools.wraps(function)
    def stamped(*args: P.args, **kwargs: P.kwargs) -> R:
        result = called(function, signature, args, kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        kinds = argument_kinds(function, signature)
        encoded = {
            name: encode(value, kinds[name])
            for name, value in bound.arguments.items()
            if name not in _PRESENTATION
        }
        # Readers name their files in `source_files`, without private folders.
        if home.get("accessor") in _OF_FILES or '"$data"' in json.dumps(encoded[first]):
            del encoded[first]
        source = bound.arguments[first]
        stamp(result, home, function.__name__, encoded, source)
        return result

    _register(key, stamped)
    return stamped


def _register(key: tuple[str, str], function: Callable[..., Any]) -> None:
    """Register a function for replay; one name stands for one function."""
    before = RECORDED.get(key)
    if before is not None and before.__module__ != function.__module__:
        raise TypeError(f"{key} is recorded in {before.__module__} already")
    RECORDED[key] = function


def stamp(
    result: Any,
    home: dict[str, str],
    method: str,
    arguments: dict[str, Any],
    source: Any,
) -> None:
    """Write call, version and history into the attributes of `result`."""
    call = home | {"method": method, "arguments": arguments}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = told_call(next(iter(home.values())), method, arguments)
    line = f"{now} batteryxr {__version__}: {words}"
    # History that the function passed on (of a labelled series, for example) comes
    # first.
    before = result.attrs.get("history", "")
    if not before and isinstance(source, _LABELLED):
        before = source.attrs.get("history", "")
    result.attrs["batteryxr_call"] = json.dumps(call)
    result.attrs["batteryxr_version"] = __version__
    result.attrs["history"] = f"{before}\n{line}" if before else line


def told_call(home: str, method: str, arguments: dict[str, Any]) -> str:
    """Return an encoded call in readable form."""
    words = ", ".join(f"{k}={_told(v)}" for k, v in arguments.items())
    return f"{home}.{method}({words})"


def _told(value: Any) -> str:
    """Return an encoded argument in readable form: objects as calls that make them."""
    if isinstance(value, dict) and _PLACE in value:
        return json.dumps(value[_PLACE])
    if isinstance(value, dict) and "$object" in value:
        fields = ", ".join(f"{k}={_told(v)}" for k, v in value["fields"].items())
        return f"{value['$object']}({fields})"
    if isinstance(value, dict):
        items = ", ".join(f"{json.dumps(k)}: {_told(v)}" for k, v in value.items())
        return f"{{{items}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_told, value))}]"
    return json.dumps(value)


def _home(module: str) -> dict[str, str]:
    """Return the home of a function: an accessor of ours, or another module."""
    first, *rest = module.split(".")
    ours = first == "batteryxr" and rest
    return {"accessor": rest[0]} if ours else {"module": module}


def argument_kinds(
    function: Callable[..., Any], signature: inspect.Signature
) -> dict[str, Any]:
    """Return the argument types by name; ``*args`` and ``**kwargs`` as a whole."""
    told = resolved(function)
    whole: dict[Any, Callable[[Any], Any]] = {
        inspect.Parameter.VAR_POSITIONAL: lambda kind: types.GenericAlias(
            Sequence, (kind,)
        ),
        inspect.Parameter.VAR_KEYWORD: lambda kind: types.GenericAlias(
            Mapping, (str, kind)
        ),
    }
    return {
        name: whole.get(parameter.kind, lambda kind: kind)(told.get(name, Any))
        for name, parameter in signature.parameters.items()
    }


def holds_place(encoded: Any, kind: Any) -> bool:
    """Return whether an encoded argument names a file or a store, at any depth.

    Objects are excluded: their fields are checked one by one.
    """
    if isinstance(encoded, dict):
        if _PLACE in encoded:
            return True
        if "$object" in encoded or "$data" in encoded:
            return False
        item = _item_kind(kind, Mapping)
        return any(holds_place(value, item) for value in encoded.values())
    if isinstance(encoded, list):
        item = _item_kind(kind, Iterable)
        return any(holds_place(value, item) for value in encoded)
    return isinstance(encoded, str) and _takes_place(encoded, kind)


def _takes_place(text: str, kind: Any) -> bool:
    """Return whether an annotation takes a path, and a text in no other role."""
    members = list(_members(kind))
    words = (k for k in members if typing.get_origin(k) in (Annotated, Literal))
    return any(map(_is_path, members)) and not any(fits(text, word) for word in words)


def _is_path(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, os.PathLike)


def _members(kind: Any) -> Iterator[Any]:
    """Yield the types that an annotation allows; unions and aliases are split."""
    base = typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind
    if typing.get_origin(base) in (typing.Union, types.UnionType):
        for each in typing.get_args(base):
            yield from _members(each)
    else:
        yield kind


def _item_kind(kind: Any, whole: type) -> Any:
    """Return the type that an annotation allows for the items of a list or mapping."""
    inner: list[Any] = []
    for member in _members(kind):
        base = typing.get_args(member)[0] if _is_annotated(member) else member
        origin, items = typing.get_origin(base), typing.get_args(base)
        if not isinstance(origin, type) or not issubclass(origin, whole):
            continue
        if issubclass(origin, Mapping) is (whole is Mapping):
            inner += items[1:] if whole is Mapping else items
    inner = [k for k in inner if k is not Ellipsis]
    return typing.Union[tuple(inner)] if inner else Any  # noqa: UP007


def _is_annotated(kind: Any) -> bool:
    return typing.get_origin(kind) is Annotated


def encode(value: Any, kind: Any = Any) -> Any:
    """Turn an argument into JSON; labelled data become a note of their type and sizes.

    Parameters
    ----------
    value
        The argument.
    kind
        Its annotation, which shows whether texts are paths. Only the last name of a
        path is kept, in whatever lists and objects it lies.
    """
    if isinstance(value, str):
        return {_PLACE: PurePath(value).name} if _takes_place(value, kind) else value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, os.PathLike):
        return {_PLACE: PurePath(value).name}
    if isinstance(value, np.datetime64):
        return {"$datetime": str(value)}
    if isinstance(value, datetime.datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, np.timedelta64):
        seconds = value / np.timedelta64(1, "ns") * 1e-9
        return {"$seconds": float(seconds)}
    if isinstance(value, complex | np.complexfloating):
        return {"$complex": [float(value.real), float(value.imag)]}
    if isinstance(value, slice):
        return {"$slice": [encode(v) for v in (value.start, value.stop, value.step)]}
    return _encode_container(value, kind)


def _encode_container(value: Any, kind: Any) -> Any:
    if isinstance(value, _LABELLED):
        sizes = {str(k): int(v) for k, v in getattr(value, "sizes", {}).items()}
        return {"$data": type(value).__name__, "sizes": sizes}
    if isinstance(value, np.ndarray):
        if value.size > _INLINE or value.dtype.kind not in "biufU":
            return {"$data": "ndarray", "sizes": list(value.shape)}
        items = value.tolist()
        if holds_place(items, kind):
            return encode(items, kind)
        return {"$array": items, "dtype": str(value.dtype)}
    if dataclasses.is_dataclass(value) and type(value).__name__ in REPLAYABLE:
        kinds = resolved(value.__class__)
        fields = {
            f.name: encode(getattr(value, f.name), kinds.get(f.name, Any))
            for f in dataclasses.fields(value)
        }
        return {"$object": type(value).__name__, "fields": fields}
    if isinstance(value, dict):
        item = _item_kind(kind, Mapping)
        return {str(k): encode(v, item) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else list(value)
        item = _item_kind(kind, Iterable)
        return [encode(v, item) for v in items]
    return {"$data": type(value).__name__}
