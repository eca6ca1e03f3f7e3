"""Which reader a file belongs to: by content first, then by its ending."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batteryxr.core.errors import ArgumentError, FileFormatError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batteryxr.io.cycler.table import Options, RawTable

_HEAD = 4096  # bytes that tell a format apart


@dataclass(frozen=True)
class Format:
    """A file format: the module whose ``read(path, options)`` reads it, and its marks.

    Parameters
    ----------
    module
        Module of `batteryxr.io`.
    suffixes
        Endings of file names, lower case, longest meaning first.
    signature
        Pattern that the first bytes match, where content tells.
    """

    module: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes] | None = None


#: Formats by name, in the order in which they are tried.
FORMATS: dict[str, Format] = {
    "biologic-mpt": Format(
        "biologic_mpt", (".mpt",), re.compile(rb"\s*(EC|BT)-Lab ASCII FILE")
    ),
    "biologic-mpr": Format(
        "biologic_mpr", (".mpr",), re.compile(rb"BIO-LOGIC MODULAR FILE")
    ),
    "arbin-res": Format(
        "arbin_res", (".res",), re.compile(rb"\x00\x01\x00\x00Standard (Jet|ACE) DB")
    ),
    "xlsx": Format("workbook", (".xlsx",)),
    "neware": Format("neware", (".nda", ".ndax"), re.compile(rb"NEWARE")),
    "bdf": Format(
        "bdf",
        (".bdf.csv", ".bdf.parquet", ".parquet", ".bdf"),
        re.compile(
            rb"(\xef\xbb\xbf)?[^\r\n]*?(\btest_time_(milli)?second\b|\bTest Time / s\b)"
        ),
    ),
    "csv": Format("vendor_csv", (".csv", ".txt", ".tsv", ".dat")),
}


def identify(path: Path, name: str | None = None) -> str:
    """Return the name of the format of a file.

    Parameters
    ----------
    path
        The file.
    name
        The format, where the caller knows it.

    Raises
    ------
    ArgumentError
        If `name` is no format, or the file is of none that is known.
    FileFormatError
        If the file is empty or cannot be opened.
    """
    if name is not None:
        if name not in FORMATS:
            raise ArgumentError("format", name, f"one of {sorted(FORMATS)}")
        return name
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise FileFormatError(path, f"cannot be opened: {error.strerror}.") from error
    if not head:
        raise FileFormatError(path, "the file is empty (0 bytes).")
    for key, form in FORMATS.items():
        if form.signature is not None and form.signature.match(head):
            return key
    if (key_by_name := by_suffix(path)) is not None:
        return key_by_name
    raise ArgumentError(
        "files",
        str(path),
        f"a file that ends in one of {known_suffixes()}",
        f"If you know what it is, pass format= one of {sorted(FORMATS)}.",
    )


def by_suffix(path: Path) -> str | None:
    """Return the format that the file name suggests."""
    lower = path.name.lower()
    for key, form in FORMATS.items():
        if lower.endswith(form.suffixes):
            return key
    return None


def known_suffixes() -> list[str]:
    """Return all endings of file names that some reader takes."""
    return sorted({s for form in FORMATS.values() for s in form.suffixes})


def reader(name: str) -> Callable[[Path, Options], RawTable]:
    """Return the function that reads one file of a format."""
    module = importlib.import_module(f"batteryxr.io.cycler.{FORMATS[name].module}")
    read: Callable[[Path, Options], RawTable] = module.read
    return read
