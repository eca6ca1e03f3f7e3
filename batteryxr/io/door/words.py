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
from batteryxr.io.door.limits import WHOLE, most

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SHOWN = 40
#: What lets a large file through that is sound.
ALLOW = (
    f"If it is sound, read it inside `with batteryxr.io.Limits(max_bytes={WHOLE}):`."
)
#: Most tags and lines of XML: each becomes an object.
_SIGNS = 1_500_000
#: Most tags or lists that are open at the end of XML or JSON.
_OPEN = 1000
#: Most items of JSON where they hold fewer bytes than a number with its comma does.
_ITEMS, _ITEM = 1_000_000, 4
#: Most letters of a label, and of a line of a header, in which patterns are looked for.
LABEL, LINE = 300, 2000
#: Most lines, words and tables of a text of which each becomes an object.
_LINES, _WORDS, _TABLES = 2_000_000, 6_000_000, 10_000
_PIECE = 1 << 24
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


def refuse_items(raw: bytes, before: int = 0) -> None:
    """Raise if JSON nests deeply, or has more items than such bytes would hold.

    Raises
    ------
    FileFormatError
        If it is so; the message gives how to allow it.
    """
    items = sum(map(raw.count, (b",", b"[", b"{")))
    deep = sum(map(raw.count, (b"[", b"{"))) - sum(map(raw.count, (b"]", b"}")))
    many = items > most(_ITEMS) and len(raw) < _ITEM * items
    if many or deep > most(_OPEN):
        raise FileFormatError(
            None,
            "is JSON that holds almost nothing but lists, one in another, as no "
            f"measurement does. {ALLOW}",
            before + 1,
        )


def refuse_tables(raw: bytes, mark: bytes) -> None:
    """Raise if a text has more tables, which begin with a mark, than any file.

    Raises
    ------
    FileFormatError
        If it has more; the message gives how to allow it.
    """
    refuse_count(raw.count(mark), "spectra or scans", _TABLES)


def refuse_many(raw: bytes, *, lines: int = _LINES, words: int = _WORDS) -> None:
    """Raise if a text has more lines or words than any spectrum or scan.

    Raises
    ------
    FileFormatError
        If it has more; the message gives how to allow it.
    """
    refuse_count(raw.count(b"\n") + raw.count(b"\r"), "lines", lines)
    found = 0
    for start in range(0, len(raw) if len(raw) > words else 0, _PIECE):
        signs = np.frombuffer(raw, np.uint8, min(_PIECE, len(raw) - start), start)
        apart = (signs <= ord(" ")) | (signs == ord(",")) | (signs == ord(";"))
        found += int(np.count_nonzero(apart[1:] > apart[:-1]))
        refuse_count(found, "words", words)


def refuse_count(found: int, what: str, usual: int) -> None:
    """Raise if more of a thing was found in a file than is read at once.

    Raises
    ------
    FileFormatError
        If it is more; the message gives how to allow it.
    """
    if found > most(usual):
        raise FileFormatError(
            None,
            f"has {found:,} {what} or more, and {usual:,} are the most that are read. "
            f"{ALLOW}",
        )


def in_xml(path: Path, raw: bytes) -> Any:
    """Return the root of XML text, its tags without their name spaces.

    Raises
    ------
    FileFormatError
        If it declares entities (a trap), has more tags than any pattern, or is
        damaged; the message names the line and column.
    """
    from xml.etree import ElementTree

    if b"<!ENTITY" in raw or b"<!DOCTYPE" in raw:
        raise FileFormatError(path, "declares entities, as no instrument does.")
    refuse_signs(xml_signs(raw))
    if raw.count(b"<") - 2 * raw.count(b"</") - raw.count(b"/>") > most(_OPEN):
        raise FileFormatError(path, "is not whole XML: most tags are never closed.")
    try:
        root = ElementTree.fromstring(raw)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise FileFormatError(
            path,
            f"is not whole XML: it breaks at column {column + 1}. Copy it again.",
            line,
        ) from error
    for each in root.iter():
        each.tag = re.sub(r"\{.*\}", "", str(each.tag))
    return root


def xml_signs(raw: bytes) -> int:
    """Return how many tags, attributes and lines a piece of XML has."""
    return sum(map(raw.count, (b"<", b"=", b"\n", b"\r")))


def refuse_signs(signs: int) -> None:
    """Raise if XML has more tags, attributes and lines than any measurement.

    Raises
    ------
    FileFormatError
        If it has more; the message gives how to allow it.
    """
    if signs > most(_SIGNS):
        raise FileFormatError(
            None,
            f"has XML of more than {_SIGNS:,} tags and lines, as no pattern does. "
            f"{ALLOW}",
        )


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
