"""Replay: repeat the call that a result carries.

A result may come from anyone's store, so its call is read as data: the function must
have been recorded in this session, paths of files and stores are given again, and the
call is printed first.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from batteryxr.core.annotations import resolved
from batteryxr.core.checks import checked
from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    BatteryxrWarning,
    warn_caller,
)
from batteryxr.core.labels import OwnLabels
from batteryxr.core.provenance import (
    RECORDED,
    REPLAYABLE,
    argument_kinds,
    encode,
    holds_place,
    told_call,
)
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Where a call is found, in messages.
_SAID = "result.attrs['batteryxr_call']"
#: Packages of ours that are imported to find a function.
_ROOMS = frozenset(
    {"cdi", "echem", "io", "nmf", "operando", "samples", "simulate", "xanes"}
)
#: Types of arrays that a call may hold; NumPy accepts more strings than types.
_DTYPE = re.compile(
    r"bool|u?int(8|16|32|64)|float(16|32|64)|complex(64|128)|[<>=]?U[0-9]{1,4}"
)
#: Arguments that are used as regular expressions.
_EXPRESSIONS = frozenset({"pattern"})
#: Largest whole number that a call may contain: sizes, counts and iterations.
_MOST = 1_000_000
#: Largest number of characters of a call, and of one text in it; usual calls have some
#: thousands, formulas and circuits less than a hundred.
_LONGEST, _LONGEST_TEXT = 1_000_000, 1_000
#: Growth of a simulation, over its defaults, that a store may ask for.
_GROWTH = 16
#: Arguments whose smaller numbers mean more work.
_FINER = frozenset({"chunks", "step"})
#: Devices that are the same on every machine. Others are looked for by PyTorch.
_DEVICES = ("cpu", "cupy", "torch")


class _Call(NamedTuple):
    home: str
    method: str
    arguments: dict[str, Any]


@checked
def replay(
    result: Any,
    data: Annotated[Any, OwnLabels()] = None,
    /,
    *,
    show: bool = True,
    **arguments: Annotated[Any, OwnLabels()],
) -> Any:
    """Repeat the call that made `result`, on `data`.

    Only functions that batteryxr, or a module that you have imported, has recorded are
    called; no text of the result is executed.

    Parameters
    ----------
    result
        A result of batteryxr, also one read back from a file.
    data
        The first argument of the original call: the object whose accessor was used.
        Not needed if there was none, as in a simulation.
    show
        Print the call before it runs.
    **arguments
        Arguments of the original call that it names but does not hold: labelled or
        large arrays, and paths of files and stores.

    Returns
    -------
    same type as `result`
        The repeated result.

    Raises
    ------
    ArgumentError
        If `result` carries no call, the call is not of a recorded function, or an
        argument must be given.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> again = batteryxr.replay(fit, spectra, show=False)
    """
    call = _read(result)
    function = _function(call)
    made_by = result.attrs.get("batteryxr_version")
    if made_by != __version__:
        warn_caller(
            f"made by batteryxr {made_by}, replayed by {__version__}: "
            "the two may differ",
            BatteryxrWarning,
        )
    if show:
        print(told_call(call.home, call.method, call.arguments))
    signature = inspect.signature(function)
    if data is not None:
        arguments |= {next(iter(signature.parameters)): data}
    try:
        known = _arguments(call, function, signature, arguments)
        if call.home == "simulate":
            _require_usual(call, signature, arguments)
        return _made(function, signature, known)
    except (BatteryxrError, Warning):
        raise
    except RecursionError as error:
        raise _unreadable(result.attrs["batteryxr_call"]) from error
    except MemoryError as error:
        wanted = f"a call that fits in memory: {error}"
        raise ArgumentError(_SAID, f"{call.home}.{call.method}", wanted) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        wanted = f"arguments that work together: {type(error).__name__}, {error}"
        raise ArgumentError(_SAID, f"{call.home}.{call.method}", wanted) from error


def _read(result: Any) -> _Call:
    text = getattr(result, "attrs", {}).get("batteryxr_call")
    if text is None:
        raise ArgumentError(
            "result",
            type(result).__name__,
            "an object with attrs['batteryxr_call']",
            "Only results of batteryxr's functions can be replayed.",
        )
    try:
        if len(text) > _LONGEST:
            raise ValueError("too long")
        call = json.loads(text)
        home = call["accessor"] if "accessor" in call else call["module"]
        found = _Call(home, call["method"], call["arguments"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(text) from error
    kinds = (str, str, dict)
    if not all(isinstance(v, kind) for v, kind in zip(found, kinds, strict=True)):
        raise _unreadable(text)
    return found


def _unreadable(text: object) -> ArgumentError:
    return ArgumentError(
        _SAID,
        text,
        "a call as batteryxr writes it",
        "It was changed or cut: make the result anew by hand.",
    )


def _function(call: _Call) -> Callable[..., Any]:
    """Return the recorded function that a call names."""
    key = (call.home, call.method)
    if key not in RECORDED and call.home in _ROOMS:
        importlib.import_module(f"batteryxr.{call.home}")
    if key not in RECORDED:
        raise ArgumentError(
            _SAID,
            f"{call.home}.{call.method}",
            "a function that batteryxr records",
            "If it is your own, import the module that defines it first. "
            "If the store is a stranger's, do not trust it.",
        )
    return RECORDED[key]


def _arguments(
    call: _Call,
    function: Callable[..., Any],
    signature: inspect.Signature,
    given: dict[str, Any],
) -> dict[str, Any]:
    """Return the arguments of a call by name, including those given again."""
    kinds = argument_kinds(function, signature)
    free = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    within = set(_names(call.arguments))
    for name in (*call.arguments, *(n for n in given if n not in within)):
        if name not in signature.parameters and not free:
            raise ArgumentError(
                name,
                given.get(name),
                f"an argument of {call.method}: one of {list(signature.parameters)}",
            )
    values = dict(given)
    for name, value in call.arguments.items():
        if name in given:
            continue
        if wanted := _to_be_given(value, name, kinds.get(name, Any)):
            raise ArgumentError(
                name, None, wanted, f"Pass it: replay(result, data, {name}=...)."
            )
        values[name] = decode(value, name, given)
    return values


def _require_usual(
    call: _Call, signature: inspect.Signature, given: dict[str, Any]
) -> None:
    """Raise if a simulation is much larger than with its defaults.

    It has no data that would limit its size, and its sizes multiply.
    """
    grown = {}
    for name in call.arguments.keys() - given.keys() - {"seed"}:
        value, usual = call.arguments[name], signature.parameters[name].default
        if name in _FINER:
            fine = value if isinstance(value, float) else _work(value)
            grown[name] = (usual or 1) / max(fine, 1e-300)
        else:
            grown[name] = _work(value) / _work(encode(usual))
    if math.prod(max(growth, 1.0) for growth in grown.values()) > _GROWTH:
        most = max(grown, key=grown.__getitem__)
        raise ArgumentError(
            most,
            call.arguments[most],
            f"the size; a store's own simulation is taken up to {_GROWTH} times the "
            "usual one",
            f"Pass it: replay(result, {most}=...).",
        )


def _work(value: Any) -> float:
    """Return the product of the numbers of an encoded argument that are not 0."""
    if isinstance(value, list):
        return math.prod(map(_work, value))
    if isinstance(value, dict):
        return _work(list(value.values()))
    return abs(value) or 1 if isinstance(value, int) else 1


def _to_be_given(value: Any, name: str, kind: Any) -> str:
    """Return a request for a value that a store may not decide; "" if none."""
    if holds_place(value, kind):
        return "the place that this call shall use; a store's own is not taken"
    if name == "device" and value not in _DEVICES and "torch" not in sys.modules:
        return "the device of this machine; PyTorch is not loaded for a store's own"
    if name in _EXPRESSIONS and value is not None and not _ends_soon(value):
        return "the regular expression; the store's own may never end, and is not taken"
    if _longest(value) > _LONGEST_TEXT:
        return f"the text; a store's own is taken up to {_LONGEST_TEXT} characters"
    if name != "seed" and _largest(value) > _MOST:
        return f"the number {_largest(value)}; a store's own is taken up to {_MOST}"
    return ""


def _ends_soon(expression: Any) -> bool:
    """Return whether a search for a regular expression is sure to end soon.

    Repeated groups take exponential time; many repeats in a row take a high power of
    the length of a name.
    """
    if not isinstance(expression, str) or len(expression) > 200:
        return False
    repeats = re.findall(r"[*+]|\{\d*,", expression)
    return len(repeats) <= 4 and not re.search(r"\)\s*[*+{]", expression)


def _largest(value: Any) -> int:
    """Return the largest whole number of an encoded argument."""
    if isinstance(value, list):
        return max(map(_largest, value), default=0)
    if isinstance(value, dict):
        inner = {k: v for k, v in value.items() if k not in ("seed", "$array")}
        return max(map(_largest, inner.values()), default=0)
    return abs(value) if isinstance(value, int) else 0


def _longest(value: Any) -> int:
    """Return the largest number of characters of a text of an encoded argument."""
    if isinstance(value, list | dict):
        inner = value.values() if isinstance(value, dict) else value
        return max(map(_longest, inner), default=0)
    return len(value) if isinstance(value, str) else 0


def _names(encoded: Any) -> Iterator[str]:
    """Yield all names inside an encoded call."""
    if isinstance(encoded, list):
        for item in encoded:
            yield from _names(item)
    elif isinstance(encoded, dict):
        for name, item in encoded.items():
            yield name
            yield from _names(item)


def _made(
    function: Callable[..., Any],
    signature: inspect.Signature,
    arguments: dict[str, Any],
) -> Any:
    first, *others = signature.parameters.values()
    if first.name not in arguments:
        raise ArgumentError(
            "data", None, f"the {first.name!r} that the result was made from"
        )
    data = arguments[first.name]
    positional = [] if first.kind is first.KEYWORD_ONLY else [data]
    keywords = {} if positional else {first.name: data}
    for parameter in others:
        name = parameter.name
        if name not in arguments:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = dict(arguments[name])
            for key in extra.keys() & signature.parameters.keys():
                raise ArgumentError(name, key, "names that are no arguments already")
            keywords.update(extra)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(arguments[name])
        else:
            keywords[name] = arguments[name]
    try:
        signature.bind(*positional, **keywords)
    except TypeError as error:
        wanted = f"all that {function.__name__} needs: {error}"
        raise ArgumentError(_SAID, function.__name__, wanted) from error
    return function(*positional, **keywords)


def decode(value: Any, name: str, given: dict[str, Any]) -> Any:
    """Turn JSON back into an argument, taking labelled data from `given`.

    Raises
    ------
    ArgumentError
        If a value must be given, or the JSON is not of the form that `encode` writes.
    """
    try:
        return _decoded(value, name, given)
    except ArgumentError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ArgumentError(
            name, value, "an argument as batteryxr writes it", f"{error}"
        ) from error


def _decoded(value: Any, name: str, given: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decoded(v, name, given) for v in value]
    if not isinstance(value, dict):
        return value
    if "$data" in value:
        if name not in given:
            raise ArgumentError(
                name,
                None,
                f"the {value['$data']} of the original call",
                f"Pass it: replay(result, data, {name}=...).",
            )
        return given[name]
    if "$float" in value:
        return float(value["$float"])
    if "$complex" in value:
        return complex(*value["$complex"])
    if "$datetime" in value:
        return np.datetime64(value["$datetime"])
    if "$seconds" in value:
        return np.timedelta64(round(value["$seconds"] * 1e9), "ns")
    if "$slice" in value:
        return slice(*(_decoded(v, name, given) for v in value["$slice"]))
    if "$array" in value:
        if not _DTYPE.fullmatch(value["dtype"]):
            raise ValueError(f"no type of numbers or text: {value['dtype']!r}")
        return np.asarray(value["$array"], dtype=value["dtype"])
    if "$object" in value:
        return _object(value, given)
    return {k: _decoded(v, k, given) for k, v in value.items()}


def _object(value: dict[str, Any], given: dict[str, Any]) -> Any:
    cls = REPLAYABLE[value["$object"]]
    kinds = resolved(cls)
    for field, inner in value["fields"].items():
        if wanted := _to_be_given(inner, field, kinds.get(field, Any)):
            raise ArgumentError(
                field,
                None,
                wanted,
                f"Make the {cls.__name__} yourself and pass it by its argument's name.",
            )
    return cls(**{k: _decoded(v, k, given) for k, v in value["fields"].items()})
