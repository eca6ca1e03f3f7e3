"""Read STXM stacks: a text header (.hdr) and one text image per energy (.xim)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import (
    ArgumentError,
    FileFormatError,
    UnitsError,
    warn_quality,
)
from batteryxr.core.units import affine
from batteryxr.io.door import files
from batteryxr.io.door.endings import CUT, ends_within_number
from batteryxr.io.door.words import refuse_count, refuse_many
from batteryxr.io.stacks.assembly import (
    RawStack,
    check_energies,
    check_shape,
    frame_by_frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Most bytes of a header.
_BYTES = 2_000_000
_TOKEN = re.compile(r'"([^"]*)"|([A-Za-z_]\w*)|([+-]?[\d.][\w.+-]*)|([={}();,])|(\S)')
_KINDS = ("text", "name", "number", "sign", "other")
_DEEPEST = 20
_MOST_POINTS = 100_000
#: Characters of integers.
_WHOLE = b"+-0123456789 \t\r\n"
_IMAGE = re.compile(r"_a(\d{3,})\.xim", re.IGNORECASE)


def open_stxm(path: Path, *, region: int = 1, counts: bool = True) -> RawStack:
    """Open the images beside a header; each is read when it is needed.

    Integers are `counts`: see `batteryxr.io.door.counts`.

    Raises
    ------
    ArgumentError
        If there is no such region.
    FileFormatError
        If the header is damaged or describes no image stack, or all images are missing.
    """
    header = read_header(path)
    scan = _group(header, "ScanDefinition", path)
    if "StackAxis" not in scan:
        kind = scan.get("Type", "scan")
        raise FileFormatError(
            path,
            f"describes a {kind!r}, no stack of images. The .xsp beside the header of "
            "a point scan is read by read_series.",
        )
    regions = scan.get("Regions")
    if not isinstance(regions, list) or not all(isinstance(r, dict) for r in regions):
        raise FileFormatError(path, "the header has no Regions.")
    if not 1 <= region <= len(regions):
        raise ArgumentError("region", region, f"from 1 to {len(regions)}")
    chosen = regions[region - 1]
    x = _points(_group(chosen, "PAxis", path), "nm", path)
    y = _points(_group(chosen, "QAxis", path), "nm", path)
    energy = _points(_group(scan, "StackAxis", path), "eV", path)
    check_energies(path, energy)
    shape = (y.size, x.size)
    check_shape(path, shape, 8)
    places, notes = _images(path, energy.size, region, len(regions))
    there = [k for k, _ in places]
    about = {
        key: value
        for key, value in {**header, "Dwell": scan.get("Dwell")}.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }
    return RawStack(
        data=frame_by_frame(
            _load,
            [(files.stamp(p),) for _, p in places],
            shape,
            np.dtype(np.float32),
            counts=counts,
        ),
        energy=energy[there],
        y=y,
        x=x,
        instrument="STXM",
        header=about,
        notes=notes,
    )


def read_header(path: Path) -> dict[str, Any]:
    """Read a header: nested groups, lists that begin with their length, and values.

    Raises
    ------
    FileFormatError
        If it breaks its grammar; the message names the line.
    """
    raw = files.text(path)
    with files.named(path):
        refuse_count(len(raw), "bytes of header", _BYTES)
    text = raw.decode("latin-1")
    if "ScanDefinition" not in text:
        raise FileFormatError(path, "is no STXM header: it has no ScanDefinition.")
    if not text.rstrip().endswith((";", "}")):
        raise FileFormatError(path, "ends within an entry: it is cut. Copy it again.")
    return _HeaderParser(path, text).whole()


class _HeaderParser:
    """Parse ``Name = value;`` with { groups } and ( lists ) by recursive descent."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._tokens = self._split()
        self._kind, self._value, self._place = "", "", 0
        self._next()

    def whole(self) -> dict[str, Any]:
        found = self._entries("")
        if not found:
            self._refuse("an entry such as ScanDefinition")
        return found

    def _split(self) -> Iterator[tuple[str, str, int]]:
        for match in _TOKEN.finditer(self._text):
            group = match.lastindex or 1
            yield _KINDS[group - 1], match[group], match.start()
        yield "end", "", len(self._text)

    def _next(self) -> None:
        self._kind, self._value, self._place = next(self._tokens)

    def _refuse(self, wanted: str) -> None:
        line = self._text.count("\n", 0, self._place) + 1
        found = repr(self._value[:30]) if self._kind != "end" else "the end of the file"
        raise FileFormatError(
            self._path,
            f"expected {wanted}, found {found}. The header is cut or damaged.",
            line,
        )

    def _entries(self, closing: str, depth: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._value != closing or self._kind not in ("sign", "end"):
            if self._kind == "sign" and self._value == ";":
                self._next()
                continue
            if self._kind != "name":
                self._refuse("a name")
            name = self._value
            self._next()
            if (self._kind, self._value) != ("sign", "="):
                self._refuse(f"'=' after {name}")
            self._next()
            found[name] = self._parse(depth + 1)
        return found

    def _parse(self, depth: int) -> Any:
        if depth > _DEEPEST:
            self._refuse("fewer groups within one another")
        kind, value = self._kind, self._value
        if kind in ("text", "name"):
            self._next()
            return {"true": True, "false": False}.get(value, value)
        if kind == "number":
            try:
                number = float(value)
            except ValueError:
                self._refuse("a number")
            self._next()
            return int(number) if re.fullmatch(r"[+-]?\d{1,15}", value) else number
        if (kind, value) == ("sign", "{"):
            self._next()
            group = self._entries("}", depth)
            self._next()
            return group
        if (kind, value) == ("sign", "("):
            return self._list(depth)
        return self._refuse("a value")

    def _list(self, depth: int) -> list[Any]:
        self._next()
        items: list[Any] = []
        while (self._kind, self._value) != ("sign", ")"):
            items.append(self._parse(depth + 1))
            if self._kind == "sign" and self._value in ",;":
                self._next()
            elif (self._kind, self._value) != ("sign", ")"):
                self._refuse("',' or ')'")
        self._next()
        if not items or items[0] != len(items) - 1:
            self._refuse(
                f"a list of {items[0] if items else 'some'} values before this"
            )
        return items[1:]


def _group(parent: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    group = parent.get(name)
    if not isinstance(group, dict):
        raise FileFormatError(
            path,
            f"the header has no {name}. Only image stacks are read; this may be a line "
            "or point scan.",
        )
    return group


def _points(axis: dict[str, Any], to: str, path: Path) -> np.ndarray:
    name = axis.get("Name", "axis")
    points = axis.get("Points")
    if (
        not isinstance(points, list)
        or not 1 <= len(points) <= _MOST_POINTS
        or not all(isinstance(p, int | float) for p in points)
    ):
        raise FileFormatError(path, f"the points of {name!r} are not numbers.")
    values = np.array(points, dtype=float)
    if not np.isfinite(values).all():
        raise FileFormatError(path, f"the points of {name!r} are not finite.")
    try:
        factor, offset = affine(str(axis.get("Unit", "")), to)
    except UnitsError as error:
        raise FileFormatError(path, f"the axis {name!r}: {error}") from error
    return values * factor + offset


def _images(
    path: Path, n: int, region: int, n_regions: int
) -> tuple[list[tuple[int, Path]], tuple[str, ...]]:
    """Return index and path of each image that exists, and a note on missing ones."""
    found: dict[int, Path] = {}
    for image in path.parent.iterdir():
        match = _IMAGE.fullmatch(image.name[len(path.stem) :])
        if not match or not image.name.startswith(path.stem):
            continue
        digits = match[1]
        # With several regions the last digit gives the region.
        number, which = (
            (int(digits[:-1]), int(digits[-1]) + 1)
            if n_regions > 1 and len(digits) > 3
            else (int(digits), 1)
        )
        if which == region and number < n:
            found[number] = image
    if not found:
        raise FileFormatError(
            path,
            f"no image {path.stem}_a000.xim to _a{n - 1:03d}.xim lies beside it. "
            "Copy the .xim files into the same folder.",
        )
    if len(found) == n:
        return sorted(found.items()), ()
    note = (
        f"{path.name}: {len(found)} of {n} images are there; the energies of the "
        "others are left out"
    )
    return sorted(found.items()), (note,)


def _load(
    about: files.Stamp, shape: tuple[int, int], dtype: np.dtype[Any]
) -> np.ndarray:
    path = about.path
    with files.named(path):
        text = files.text(path)
        refuse_many(text)
        if not text.translate(None, _WHOLE):
            dtype = np.dtype(np.int64)
        values = np.array(text.split(), dtype=dtype)
    if ends_within_number(text):
        warn_quality(f"{path.name}: {CUT}")
    if values.size != shape[0] * shape[1]:
        raise FileFormatError(
            path,
            f"{values.size} numbers where the header promises {shape[0]} x {shape[1]}. "
            "The scan was stopped within this image, or the file is cut.",
        )
    return values.reshape(shape)
