"""Provenance: every result carries the call that made it, and can be made again."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib
import inspect
import json
import math
import os
import warnings
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core.checks import called, checked
from batteryxr.core.errors import ArgumentError, BatteryxrWarning
from batteryxr.core.labels import OwnLabels
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

#: Arguments that change how a call looks, not what it returns.
_PRESENTATION = frozenset({"progress"})
#: Arrays up to this size are written into the call; larger ones must be supplied again.
_INLINE = 1000
_LABELLED = (xr.DataArray, xr.Dataset, xr.DataTree)
_DATACLASSES: dict[str, type] = {}


def replayable(cls: type[R]) -> type[R]:
    """Let instances of a dataclass be written into a call and read back."""
    _DATACLASSES[cls.__name__] = cls
    return cls


def recorded(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a public function, and stamp its result with the call.

    The result's ``attrs`` receive ``batteryxr_call`` (JSON: accessor, method and all
    arguments, defaults included, but the data or files that come first; a simulation's
    size, say, is kept), ``batteryxr_version``, and a line of
    CF ``history``: after its own where the function passed one on, else after that of
    the first argument.
    """
    signature = inspect.signature(function)
    home = _home(function.__module__)
    first = next(iter(signature.parameters))

    @functools.wraps(function)
    def stamped(*args: P.args, **kwargs: P.kwargs) -> R:
        result = called(function, signature, args, kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        encoded = {
            name: encode(value, name)
            for name, value in bound.arguments.items()
            if name not in _PRESENTATION
        }
        # Readers name their files in `source_files`, without anybody's folders.
        if home.get("accessor") == "io" or '"$data"' in json.dumps(encoded[first]):
            del encoded[first]
        source = bound.arguments[first]
        stamp(result, home, function.__name__, encoded, source)
        return result

    return stamped


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
    words = ", ".join(f"{k}={_told(v)}" for k, v in arguments.items())
    line = (
        f"{now} batteryxr {__version__}: {next(iter(home.values()))}.{method}({words})"
    )
    # What the function passed on (of a series that it labelled, say) comes first.
    before = result.attrs.get("history", "")
    if not before and isinstance(source, _LABELLED):
        before = source.attrs.get("history", "")
    result.attrs["batteryxr_call"] = json.dumps(call)
    result.attrs["batteryxr_version"] = __version__
    result.attrs["history"] = f"{before}\n{line}" if before else line


def _told(value: Any) -> str:
    """Return an encoded argument as it is read: objects as calls that make them."""
    if isinstance(value, dict) and "$object" in value:
        fields = ", ".join(f"{k}={_told(v)}" for k, v in value["fields"].items())
        return f"{value['$object']}({fields})"
    return json.dumps(value)


@checked
def replay(
    result: Any,
    data: Annotated[Any, OwnLabels()] = None,
    /,
    **arguments: Annotated[Any, OwnLabels()],
) -> Any:
    """Call again what made `result`, on `data`.

    Parameters
    ----------
    result
        A result of batteryxr, also one read back from a file.
    data
        The first argument of the original call: the object whose accessor was used.
        Not needed where there was none, as in a simulation.
    **arguments
        Labelled or large array arguments of the original call, by name; those are
        named in the call but not stored in it.

    Returns
    -------
    same type as `result`
        The result made anew.

    Raises
    ------
    ArgumentError
        If `result` carries no call, or an argument must be supplied.
    """
    text = result.attrs.get("batteryxr_call")
    if text is None:
        raise ArgumentError(
            "result",
            type(result).__name__,
            "an object with attrs['batteryxr_call']",
            "Only results of batteryxr's functions can be replayed.",
        )
    call = json.loads(text)
    made_by = result.attrs.get("batteryxr_version")
    if made_by != __version__:
        warnings.warn(
            f"made by batteryxr {made_by}, replayed by {__version__}: "
            "the two may differ",
            BatteryxrWarning,
            stacklevel=2,
        )
    name = f"batteryxr.{call['accessor']}" if "accessor" in call else call["module"]
    function = getattr(importlib.import_module(name), call["method"])
    known = {
        name: decode(value, name, arguments)
        for name, value in call["arguments"].items()
    }
    return _call(function, data, known)


def _call(function: Callable[..., Any], data: Any, arguments: dict[str, Any]) -> Any:
    first, *others = inspect.signature(function).parameters.values()
    if data is None and first.name not in arguments:
        raise ArgumentError(
            "data", None, f"the {first.name!r} that the result was made from"
        )
    data = arguments[first.name] if data is None else data
    positional = [] if first.kind is first.KEYWORD_ONLY else [data]
    keywords = {} if positional else {first.name: data}
    for parameter in others:
        name = parameter.name
        if name not in arguments:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            keywords.update(arguments[name])
        elif parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(arguments[name])
        else:
            keywords[name] = arguments[name]
    return function(*positional, **keywords)


def _home(module: str) -> dict[str, str]:
    """Tell where a function is at home: an accessor of ours, or anybody's module."""
    first, *rest = module.split(".")
    ours = first == "batteryxr" and rest
    return {"accessor": rest[0]} if ours else {"module": module}


def encode(value: Any, name: str) -> Any:
    """Turn an argument into JSON; labelled data become a note of what they were."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.datetime64):
        return {"$datetime": str(value)}
    if isinstance(value, datetime.datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, np.timedelta64):
        seconds = value / np.timedelta64(1, "ns") * 1e-9
        return {"$seconds": float(seconds)}
    if isinstance(value, slice):
        return {
            "$slice": [encode(v, name) for v in (value.start, value.stop, value.step)]
        }
    if isinstance(value, _LABELLED):
        sizes = {str(k): int(v) for k, v in getattr(value, "sizes", {}).items()}
        return {"$data": type(value).__name__, "sizes": sizes}
    if isinstance(value, np.ndarray):
        if value.size <= _INLINE and value.dtype.kind in "biufU":
            return {"$array": value.tolist(), "dtype": str(value.dtype)}
        return {"$data": "ndarray", "sizes": list(value.shape)}
    if dataclasses.is_dataclass(value) and type(value).__name__ in _DATACLASSES:
        fields = {
            f.name: encode(getattr(value, f.name), f.name)
            for f in dataclasses.fields(value)
        }
        return {"$object": type(value).__name__, "fields": fields}
    if isinstance(value, dict):
        return {str(k): encode(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [encode(v, name) for v in items]
    return {"$data": type(value).__name__}


def decode(value: Any, name: str, data: dict[str, Any]) -> Any:
    """Turn JSON back into an argument, taking labelled data from `data`."""
    if isinstance(value, list):
        return [decode(v, name, data) for v in value]
    if not isinstance(value, dict):
        return value
    if "$data" in value:
        if name not in data:
            raise ArgumentError(
                name,
                None,
                f"the {value['$data']} of the original call",
                f"Pass it: replay(result, data, {name}=...).",
            )
        return data[name]
    if "$float" in value:
        return float(value["$float"])
    if "$datetime" in value:
        return np.datetime64(value["$datetime"])
    if "$seconds" in value:
        return np.timedelta64(round(value["$seconds"] * 1e9), "ns")
    if "$slice" in value:
        return slice(*(decode(v, name, data) for v in value["$slice"]))
    if "$array" in value:
        return np.asarray(value["$array"], dtype=value["dtype"])
    if "$object" in value:
        fields = {k: decode(v, k, data) for k, v in value["fields"].items()}
        return _DATACLASSES[value["$object"]](**fields)
    return {k: decode(v, k, data) for k, v in value.items()}
