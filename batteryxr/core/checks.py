"""Checks of arguments: kinds that annotations declare, and tests against them.

The signature of a public function declares what it takes, ``n_starts: Count = 6``.
`checked` (or `recorded`, which includes it) rejects everything else by name before any
work begins.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import os
import re
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from batteryxr.core.annotations import resolved
from batteryxr.core.bounds.judgement import check as judge
from batteryxr.core.bounds.judgement import quantity_of
from batteryxr.core.errors import ArgumentError
from batteryxr.core.labels import exact_joins, explained, on_labels

if typing.TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

#: Number of items of a sequence that are examined; the rest are assumed alike.
_LOOKED_AT = 1000


@dataclass(frozen=True)
class Bounds:
    """Hold a number between bounds; `low` and `high` themselves are allowed."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def holds(self, value: Any) -> bool:
        """Return whether a number lies within the bounds."""
        return bool(self.low <= value <= self.high and self.above < value < self.below)

    def __str__(self) -> str:
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"from {self.low:g} to {self.high:g}"
        words = [
            f"{sign} {bound:g}"
            for sign, bound in (
                (">=", self.low),
                (">", self.above),
                ("<=", self.high),
                ("<", self.below),
            )
            if math.isfinite(bound)
        ]
        return " and ".join(words) or "that is finite"


@dataclass(frozen=True)
class Rising:
    """Require a sequence of numbers to rise, or at least not to fall."""

    ties: bool = False

    def holds(self, value: Any) -> bool:
        """Return whether the numbers rise."""
        steps = np.diff(np.asarray(value, float))
        return bool(np.all(steps >= 0 if self.ties else steps > 0))

    def __str__(self) -> str:
        return "that do not fall" if self.ties else "that rise"


@dataclass(frozen=True)
class PlainText:
    """Require a text to be one word: no folder, no suffix."""

    def holds(self, value: Any) -> bool:
        """Return whether the text is one word."""
        return re.fullmatch(r"[\w-]+", value) is not None

    def __str__(self) -> str:
        return "that is one word"


#: A name, never a path.
Word = Annotated[str, PlainText()]
#: A number of things.
Count = Annotated[int, Bounds(low=1)]
#: A number of things, or none.
Whole = Annotated[int, Bounds(low=0)]
#: Seed of random numbers.
Seed = Annotated[int, Bounds(low=0)]
#: A number above zero.
Positive = Annotated[float, Bounds(above=0.0, below=math.inf)]
#: A number that is not below zero.
NonNegative = Annotated[float, Bounds(low=0.0)]
#: A number that is not infinite.
Finite = Annotated[float, Bounds(above=-math.inf, below=math.inf)]
#: A fraction of a whole.
Fraction = Annotated[float, Bounds(low=0.0, high=1.0)]
#: A fraction that is neither 0 nor 1.
Part = Annotated[float, Bounds(above=0.0, below=1.0)]
#: Lower and upper end.
Pair = Annotated[tuple[float, float], Rising()]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a public function against its annotations.

    Raises
    ------
    ArgumentError
        Raised by the wrapped function, before its body runs; names the argument, the
        passed value and what is expected.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checking(*args: P.args, **kwargs: P.kwargs) -> R:
        return called(function, signature, args, kwargs)

    return checking


def called(
    function: Callable[P, R],
    signature: inspect.Signature,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> R:
    """Call a public function with checked arguments, on the labels of the first."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:  # the call itself says best what is missing or too much
        return function(*args, **kwargs)
    check_call(function, signature, bound)
    bound.arguments.update(on_labels(function, bound.arguments))
    name, first = function.__name__, next(iter(bound.arguments.values()), None)
    with explained(name, first), exact_joins(name):
        return function(*bound.args, **bound.kwargs)


def check_call(
    function: Callable[..., Any],
    signature: inspect.Signature,
    bound: inspect.BoundArguments,
) -> None:
    """Raise if an argument of a call is not what the function's annotations say."""
    kinds = resolved(function)
    quantities = _quantities(function)
    for name, value in bound.arguments.items():
        kind = kinds.get(name, Any)
        parameter = signature.parameters[name]
        if parameter.default is value:
            continue
        if quantity := quantities.get(name):
            check(name, value, kind)
            judge(quantity, value, argument=name)
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            for key, item in value.items():
                check(key, item, kind)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            for item in value:
                check(name, item, kind)
        else:
            check(name, value, kind)


def check_fields(instance: Any) -> None:
    """Raise if a field of a dataclass is not what its annotation says.

    Use it in ``__post_init__``.
    """
    kinds = resolved(instance.__class__)
    quantities = _quantities(instance.__class__)
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        check(field.name, value, kinds.get(field.name, Any))
        if quantity := quantities.get(field.name):
            judge(quantity, value, argument=field.name)


@functools.cache
def _quantities(owner: Any) -> dict[str, str]:
    """Return the arguments that are physical quantities, with their names."""
    found = {name: quantity_of(kind) for name, kind in resolved(owner).items()}
    return {name: quantity for name, quantity in found.items() if quantity}


def check(name: str, value: Any, kind: Any, mend: str = "") -> None:
    """Raise if a value is not of a kind.

    Parameters
    ----------
    name
        Name of the argument.
    value
        Value that was passed.
    kind
        A type or annotation, such as ``Count | None``.
    mend
        Remedy, as a sentence.

    Raises
    ------
    ArgumentError
        If the value is not of the kind.
    """
    if not fits(value, kind):
        raise ArgumentError(name, value, described(kind), mend or _near(value, kind))


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value fits an annotation."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        base, *rules = typing.get_args(kind)
        return fits(value, base) and all(r.holds(value) for r in rules)
    if origin is Literal:
        return any(type(value) is type(a) and value == a for a in typing.get_args(kind))
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, k) for k in typing.get_args(kind))
    if origin is not None:
        return _fits_generic(value, origin, typing.get_args(kind))
    rule = _PLAIN.get(kind) if isinstance(kind, collections.abc.Hashable) else None
    if rule is not None:
        return rule(value)
    if isinstance(kind, TypeVar):
        kinds = kind.__constraints__ or (kind.__bound__ or Any,)
        return any(fits(value, k) for k in kinds)
    if isinstance(kind, type) and _is_testable(kind):
        return isinstance(value, kind)
    return True


def _is_testable(kind: type) -> bool:
    """Return whether `isinstance` works for a type; protocols must allow it."""
    if getattr(kind, "_is_protocol", False):
        return getattr(kind, "_is_runtime_protocol", False)
    return True


def _fits_generic(value: Any, origin: Any, inner: tuple[Any, ...]) -> bool:
    if origin is type:
        return isinstance(value, type)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin is np.ndarray:
        return _is_numeric(value)
    if not isinstance(origin, type):
        return True
    if issubclass(origin, collections.abc.Mapping):
        if not isinstance(value, collections.abc.Mapping):
            return False
        pairs = [] if isinstance(value, xr.Dataset) else list(value.items())
        return len(inner) != 2 or all(
            fits(k, inner[0]) and fits(v, inner[1]) for k, v in pairs[:_LOOKED_AT]
        )
    if issubclass(origin, tuple):
        return _fits_tuple(value, inner)
    if issubclass(origin, collections.abc.Iterable):
        if issubclass(origin, collections.abc.Collection) and not _is_sequence(value):
            return False
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
            return False
        return not _is_sequence(value) or _all_fit(value, inner[:1])
    return isinstance(value, origin)


def _fits_tuple(value: Any, inner: tuple[Any, ...]) -> bool:
    if not _is_sequence(value):
        return False
    if len(inner) == 2 and inner[1] is Ellipsis:
        return _all_fit(value, inner[:1])
    items = list(value)
    return len(items) == len(inner) and all(map(fits, items, inner))


def _all_fit(value: Any, inner: tuple[Any, ...]) -> bool:
    items = np.ravel(value).tolist() if isinstance(value, np.ndarray) else list(value)
    return not inner or all(fits(item, inner[0]) for item in items[:_LOOKED_AT])


def _is_sequence(value: Any) -> bool:
    if isinstance(value, str | bytes | collections.abc.Mapping):
        return False
    return hasattr(value, "__iter__") and hasattr(value, "__len__")


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _single(value: Any) -> Any:
    """Return the number in an array without axes; return other values unchanged."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def _is_whole(value: Any) -> bool:
    value = _single(value)
    return isinstance(value, numbers.Integral) and not _is_bool(value)


def _is_number(value: Any) -> bool:
    value = _single(value)
    if _is_bool(value) or not isinstance(value, numbers.Real):
        return False
    return not math.isnan(value)


def _is_complex(value: Any) -> bool:
    value = _single(value)
    return isinstance(value, numbers.Complex) and not _is_bool(value)


def _is_numeric(value: Any) -> bool:
    """Return whether a value is an array of numbers, dates or truth values."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        try:
            dtype = np.asarray(value).dtype
        except ValueError:  # rows of different length
            return False
    return getattr(dtype, "kind", "f") in "biufcmM" or hasattr(value, "__array_api__")


def _is_labelled(value: Any) -> bool:
    return isinstance(value, xr.DataArray) and not _holds_objects(value.variable)


def _is_dataset(value: Any) -> bool:
    return isinstance(value, xr.Dataset) and not any(
        map(_holds_objects, value.variables.values())
    )


def _holds_objects(variable: xr.Variable) -> bool:
    """Return whether a variable is of dtype object, and not of text.

    Missing text is None, or NaN where pandas left it out.
    """
    if variable.dtype != object or not variable.size:
        return False
    first = variable[(0,) * variable.ndim].values.item()
    missing = first is None or (isinstance(first, float) and math.isnan(first))
    return not isinstance(first, str) and not missing


_PLAIN: dict[Any, Callable[[Any], bool]] = {
    Any: lambda value: True,
    object: lambda value: True,
    None: lambda value: value is None,
    type(None): lambda value: value is None,
    bool: _is_bool,
    int: _is_whole,
    float: _is_number,
    complex: _is_complex,
    str: lambda value: isinstance(value, str),
    np.ndarray: _is_numeric,
    xr.DataArray: _is_labelled,
    xr.Dataset: _is_dataset,
}


def described(kind: Any) -> str:
    """Return what an annotation accepts, as the end of "expected ..."."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return f"{described(inner[0])} {' '.join(map(str, inner[1:]))}"
    if origin is Literal:
        words = ", ".join(map(repr, inner[:-1]))
        return f"{words} or {inner[-1]!r}" if words else repr(inner[-1])
    if origin in (typing.Union, types.UnionType):
        kinds = [k for k in inner if k is not type(None)]
        none = ["None"] * (type(None) in inner)
        return " or ".join(dict.fromkeys([*map(described, kinds), *none]))
    if isinstance(kind, TypeVar):
        bounds = kind.__constraints__ or (kind.__bound__ or Any,)
        return " or ".join(dict.fromkeys(map(described, bounds)))
    if origin is tuple and Ellipsis not in inner:
        if len(set(inner)) == 1:
            return f"{len(inner)} {_plural(inner[0])}"
        return "(" + ", ".join(map(described, inner)) + ")"
    if isinstance(origin, type):
        if issubclass(origin, collections.abc.Mapping):
            values = f" of {described(inner[0])} to numbers" if float in inner else ""
            return f"a mapping{values}"
        if issubclass(origin, collections.abc.Iterable):
            return f"a sequence of {_plural(inner[0])}" if inner else "a sequence"
    if origin is collections.abc.Callable:
        return "a function"
    if getattr(kind, "_is_runtime_protocol", False) and kind.__doc__:
        words = kind.__doc__.partition(".")[0].removeprefix("Hold ")
        return words[0].lower() + words[1:]
    return _NAMES.get(origin or kind, getattr(kind, "__name__", str(kind)))


def _plural(kind: Any) -> str:
    words = described(kind)
    one = re.fullmatch(r"an? (.*?)(s?)( [<>f].*)?", words)
    return f"{one[1]}s{one[3] or ''}" if one and kind is not str else words


_NAMES: dict[Any, str] = {
    None: "None",
    type(None): "None",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    complex: "a complex number",
    str: "text",
    os.PathLike: "a path",
    np.ndarray: "an array of numbers",
    xr.DataArray: "a DataArray of numbers or text",
    xr.Dataset: "a Dataset of numbers or text",
}


def _near_data(value: xr.DataArray | xr.Dataset, kind: Any) -> str:
    """Tell how labelled data become what was expected."""
    arrays = list(value.values()) if isinstance(value, xr.Dataset) else [value]
    objects = [str(a.name or "it") for a in arrays if a.dtype == object]
    if objects:
        return f"{objects} is of dtype object: convert it with `.astype(...)`."
    fitting = [str(a.name) for a in arrays if a is not value and fits(a, kind)]
    return f"Choose one of its variables: {fitting}." if fitting else ""


def _near(value: Any, kind: Any) -> str:
    """Suggest an accepted word, fraction or variable close to the passed value."""
    if isinstance(value, xr.DataArray | xr.Dataset):
        return _near_data(value, kind)
    if _is_number(value) and 1 < value <= 100 and fits(0.01 * value, kind):
        return f"Was it per cent? Pass {0.01 * value:g}."
    if not isinstance(value, str):
        return ""
    near = difflib.get_close_matches(value.lower(), _words(kind), n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def _words(kind: Any) -> list[str]:
    if typing.get_origin(kind) is Literal:
        return [a for a in typing.get_args(kind) if isinstance(a, str)]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [w for k in typing.get_args(kind) for w in _words(k)]
    return []
