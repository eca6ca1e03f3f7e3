"""Errors of the library in the words of the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batteryxr.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Advice that is for callers in Python, and what it is here.
_ADVICE = (
    (re.compile(r"Pass overwrite=True \(--overwrite\)"), "Pass --overwrite"),
    (re.compile(r"Pass overwrite=True"), "Pass --overwrite"),
    (re.compile(r"batteryxr\.write_nexus"), "batteryxr convert to .nxs"),
    (re.compile(r"batteryxr\.write_csv"), "batteryxr convert to .csv"),
)


def told(error: Exception, options: Mapping[str, str]) -> str:
    """Return what an error says, its arguments named as the options that they are.

    Parameters
    ----------
    error
        An error of batteryxr.
    options
        Option by the name of the argument that it fills.
    """
    text = str(error)
    if isinstance(error, ArgumentError) and error.argument in options:
        option = options[error.argument]
        value = "is missing" if error.found is None else _value(error.found)
        text = f"{option} {value}: expected {error.expected}."
        text += f" {error.mend}" if error.mend else ""
    for pattern, words in _ADVICE:
        text = pattern.sub(words, text)
    for name, option in options.items():
        text = re.sub(rf"\b{name}=(True|None)", option, text)
        text = re.sub(rf"\b{name}=(?=['\"\d\[.(])", f"{option} ", text)
        text = re.sub(rf"`{name}`", option, text)
    return text


def _value(found: object) -> str:
    if isinstance(found, list | tuple):
        return " ".join(map(str, found))
    return str(found)
