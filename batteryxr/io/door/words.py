"""Explain errors of other libraries in plain words about the file.

Each function serves a reader that would otherwise show a library's internal message.
The library's error stays the cause of the error that is raised.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SHOWN = 40
#: Message about the file for each type of exception; the first that fits is taken.
_TELLS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (MemoryError, "it tells of more than fits into memory"),
    (RecursionError, "it nests more deeply than any measurement"),
    (UnicodeError, "text in it is damaged"),
    (zlib.error, "what is packed in it is damaged"),
    ((EOFError, struct.error), "it ends before all is there that its start tells of"),
    ((KeyError, IndexError, AttributeError), "a part that belongs in it is missing"),
    (OverflowError, "a number in it is larger than any that is measured"),
    (NotImplementedError, "it is of a version or packed in a way that is not known"),
    (OSError, "it cannot be read at one place, or is cut"),
    ((ValueError, TypeError), "a number or name in it is none that can be there"),
)


def told(error: Exception) -> str:
    """Return what a library's error says about the file on which it was raised."""
    if type(error).__name__ in ("BadZipFile", "LargeZipFile", "BadGzipFile"):
        return "what is packed in it is damaged"
    found = (words for kinds, words in _TELLS if isinstance(error, kinds))
    return next(found, "its structure is damaged")


def in_json(path: Path, text: str, kind: str) -> Any:
    """Return the content of a JSON text.

    Parameters
    ----------
    path
        Path of the file, for messages.
    text
        The whole text of the file.
    kind
        Kind of file that is expected, such as "Athena project".

    Raises
    ------
    FileFormatError
        If the JSON is damaged; the message names the line and column.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"the JSON breaks at column {error.colno}"
        raise FileFormatError(
            path, f"is no whole {kind}: {place}. Save it again.", error.lineno
        ) from error
    except (ValueError, RecursionError) as error:
        raise FileFormatError(
            path, f"is no whole {kind}: {told(error)}. Save it again."
        ) from error


def in_numbers(
    path: Path, words: Iterable[str], what: str, line: int | None = None
) -> np.ndarray:
    """Return words converted to numbers.

    Raises
    ------
    FileFormatError
        If a word is not a number; the message names it and `what` holds it.
    """
    words = list(words)
    try:
        return np.array([float(word) for word in words])
    except ValueError as error:
        raise FileFormatError(
            path,
            f"{first_odd(words)!r} in {what} is not a number: the file is damaged "
            "there. Copy or export it again.",
            line,
        ) from error


def first_odd(words: Iterable[Any]) -> str:
    """Return the first word that is not a number, shortened if it is long."""
    for word in words:
        try:
            float(word)
        except (TypeError, ValueError, OverflowError):
            return str(word)[:_SHOWN]
    return ""


def of_table(error: Exception) -> tuple[str, int | None]:
    """Return a table parser's error in plain words, and the row (from 0) it is in."""
    said = str(error)
    if cells := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", said):
        words = f"a row has {cells[3]} cells where {cells[1]} are usual"
        return words, int(cells[2]) - 1
    if open_quote := re.search(r"EOF inside string starting at row (\d+)", said):
        return "a quote opens here and never closes", int(open_quote[1])
    line = re.search(r"line (\d+)", said)
    return "the cells cannot be told apart", int(line[1]) - 1 if line else None


def of_hdf5(error: Exception) -> str:
    """Return an error of the HDF5 library in plain words."""
    said = str(error)
    if cut := re.search(r"eof = (\d+).*stored_eof = (\d+)", said):
        return f"it is cut: {int(cut[1]):,} of {int(cut[2]):,} bytes are there"
    if "signature" in said:
        return "it does not begin as HDF5 does"
    if "filter" in said or "decompress" in said:
        return "a block is damaged, or packed by a filter that is not installed here"
    if "unable to open external" in said.lower():
        return "a file that it leads to is missing"
    return "its directory is damaged, or a part of it is missing"
