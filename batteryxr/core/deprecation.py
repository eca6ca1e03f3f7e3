"""Deprecation: renamed or removed functions work for two minor releases, and warn.

The policy is in CONTRIBUTING.md. Both decorators stand above all others::

    @deprecated("0.3", instead=".echem.curves")
    @recorded
    def dqdv(record, ...): ...


    @renamed_argument("n", "n_components", since="0.3")
    @recorded
    def fit(data, n_components, ...): ...
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from batteryxr.core.errors import ArgumentError, BatteryxrWarning, warn_caller

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

#: Minor releases for which deprecated functions still work.
GRACE = 2


class BatteryxrDeprecationWarning(BatteryxrWarning, DeprecationWarning):
    """A function or an argument is removed later; the text names the replacement."""


class Deprecation(NamedTuple):
    """Hold one announced removal."""

    module: str
    what: str
    removed: str


#: All removals announced by the modules imported so far. A test finds those overdue.
ANNOUNCED: list[Deprecation] = []


def deprecated(since: str, instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function that a later release removes.

    Parameters
    ----------
    since
        Release that deprecates it, such as ``"0.3"``.
    instead
        Replacement, as a user writes it: ``".echem.curves"``.

    Returns
    -------
    callable
        A decorator. The function works as before, issues `BatteryxrDeprecationWarning`
        at the caller's line, and says so in its docstring.
    """
    removed = _removal(since)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__
        message = (
            f"{name} is deprecated since batteryxr {since} and goes in {removed}: "
            f"use {instead} instead."
        )

        @functools.wraps(function)
        def warned(*args: P.args, **kwargs: P.kwargs) -> R:
            warn_caller(message, BatteryxrDeprecationWarning)
            return function(*args, **kwargs)

        note = f"Use ``{instead}`` instead. Goes in {removed}."
        warned.__doc__ = _announce(function.__doc__, since, note)
        ANNOUNCED.append(Deprecation(function.__module__, name, removed))
        return warned

    return decorate


def renamed_argument(
    old: str, new: str, since: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Accept an argument by its former name too, and warn.

    Parameters
    ----------
    old, new
        Former and present name; the function has the present one.
    since
        Release that renamed it, such as ``"0.3"``.

    Returns
    -------
    callable
        A decorator. The signature shows the present name only; the former name is
        accepted as a keyword.
    """
    removed = _removal(since)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__
        signature = inspect.signature(function)
        if new not in signature.parameters or old in signature.parameters:
            raise ValueError(f"{name}{signature} has no {new!r}, or still has {old!r}")
        message = (
            f"{name}({old}=...) is deprecated since batteryxr {since} and goes in "
            f"{removed}: use {new}= instead."
        )

        @functools.wraps(function)
        def translated(*args: P.args, **kwargs: P.kwargs) -> R:
            if old in kwargs:
                value = kwargs.pop(old)
                if new in signature.bind_partial(*args, **kwargs).arguments:
                    expected = f"{new}= alone, not both"
                    raise ArgumentError(old, value, expected, f"{old} is now {new}.")
                warn_caller(message, BatteryxrDeprecationWarning)
                kwargs[new] = value
            return function(*args, **kwargs)

        note = f"The argument ``{old}`` is ``{new}``. The old name goes in {removed}."
        translated.__doc__ = _announce(function.__doc__, since, note)
        ANNOUNCED.append(Deprecation(function.__module__, f"{name}({old}=)", removed))
        return translated

    return decorate


def is_due(removed: str, version: str) -> bool:
    """Return whether `version` is the release in which something must be removed."""
    return _numbers(version) >= _numbers(removed)


def _removal(since: str) -> str:
    """Return the release that removes what `since` deprecates."""
    major, minor = _numbers(since)
    return f"{major}.{minor + GRACE}"


def _numbers(version: str) -> tuple[int, int]:
    """Return the major and minor number of a version such as ``0.3`` or ``0.3.1``."""
    found = re.match(r"(\d+)\.(\d+)(?:\D|$)", version)
    if found is None:
        raise ValueError(f"{version!r} is no version such as '0.3' or '0.3.1'")
    return int(found[1]), int(found[2])


def _announce(doc: str | None, since: str, note: str) -> str:
    """Put a ``deprecated`` directive below a docstring's first paragraph."""
    summary, _, rest = inspect.cleandoc(doc or "").partition("\n\n")
    parts = (summary, f".. deprecated:: {since}\n   {note}", rest)
    return "\n\n".join(part for part in parts if part)
