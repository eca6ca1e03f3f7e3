"""Open frames in EDF files, gzipped or not: one frame per file, or several in one."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.io.door.counts import counts_type, only_counts
from batteryxr.io.door.files import stamp, unpacked
from batteryxr.io.frames.hdf5 import Held

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batteryxr.io.door.files import Stamp

#: Names of number types, in lower case.
_TYPES = {
    "unsignedbyte": "u1",
    "signedbyte": "i1",
    "unsignedshort": "u2",
    "signedshort": "i2",
    "unsignedinteger": "u4",
    "signedinteger": "i4",
    "unsignedlong": "u4",
    "signedlong": "i4",
    "unsigned64": "u8",
    "signed64": "i8",
    "float": "f4",
    "floatvalue": "f4",
    "real": "f4",
    "double": "f8",
    "doublevalue": "f8",
}
_ORDERS = {"lowbytefirst": "<", "highbytefirst": ">"}
#: Most bytes of one header.
_HEADER = 1 << 20


class EdfFrame(NamedTuple):
    """Place and type of a frame in the bytes of its file, with its header."""

    start: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    header: dict[str, str]

    @property
    def stop(self) -> int:
        """Return the place after the frame's last byte."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def open_edf(paths: list[Path], *, chunk: Callable[[int, int], int]) -> Held:
    """Open frames lazily; headers are read now.

    The motor that differs between files gives the rocking angles, if it is the only
    one; several are columns.

    Raises
    ------
    FileFormatError
        If a file is no EDF file, cut, compressed inside, or of another size.
    """
    first = frames_in(paths[0], unpacked(paths[0]))
    shape, dtype = first[0].shape, counts_type(first[0].dtype)
    if len(paths) > 1 and len(first) > 1:
        each = [open_edf([path], chunk=chunk) for path in paths]
        return Held(blocks.concatenate([held.data for held in each]))
    stamps = [stamp(path) for path in paths]
    n = max(len(paths), len(first))
    step = chunk(math.prod(shape) * dtype.itemsize, n)
    parts = []
    for a, b in itertools.pairwise([*range(0, n, step), n]):
        some = stamps if len(paths) == 1 else stamps[a:b]
        pick = range(a, b) if len(paths) == 1 else range(1)
        size = (b - a, *shape)
        parts.append(blocks.from_call(_load, some, pick, size, shape=size, dtype=dtype))
    heads = [frame.header for frame in first]
    if len(paths) > 1:
        heads += [_first_header(path) for path in paths[1:]]
    motors = [_motors(head) for head in heads]
    moved = [
        name
        for name in motors[0]
        if n > 1
        and all(name in each for each in motors)
        and len({each[name] for each in motors}) > 1
    ]
    places = {name: np.array([each[name] for each in motors]) for name in moved}
    if len(moved) != 1:
        return Held(blocks.concatenate(parts), motors=motors[0], columns=places)
    ((name, angles),) = places.items()
    return Held(blocks.concatenate(parts), angles, name, motors=motors[0])


def frames_in(path: Path, raw: bytes) -> list[EdfFrame]:
    """Return the frames of the bytes of an EDF file, from its headers.

    Raises
    ------
    FileFormatError
        If it is no EDF file, cut, or compressed inside.
    """
    found: list[EdfFrame] = []
    at = 0
    while at < len(raw) and raw[at : at + 512].strip(b"\0\r\n "):
        frame = _frame(path, raw, at)
        if frame.stop > len(raw):
            told = f"holds {len(raw) - frame.start:,} of {frame.stop - frame.start:,}"
            raise FileFormatError(
                path, f"{told} bytes of frame {len(found)}: it is cut"
            )
        if found and (frame.shape, frame.dtype) != (found[0].shape, found[0].dtype):
            raise FileFormatError(
                path, f"frame {len(found)} is {frame.shape}, others not"
            )
        found.append(frame)
        at = frame.stop
    return found


def read_page(path: Path, page: int) -> np.ndarray:
    """Return one frame of a file.

    Raises
    ------
    ArgumentError
        If there is no such page.
    """
    raw = unpacked(path)
    frames = frames_in(path, raw)
    if not 0 <= page < len(frames):
        raise ArgumentError("page", page, f"0 to {len(frames) - 1}")
    return _numbers(raw, frames[page])


def _numbers(raw: bytes, frame: EdfFrame) -> np.ndarray:
    flat = np.frombuffer(raw[frame.start : frame.stop], frame.dtype)
    return flat.astype(frame.dtype.newbyteorder("=")).reshape(frame.shape)


def _frame(path: Path, raw: bytes, at: int) -> EdfFrame:
    """Return the frame whose header begins at a place."""
    end = raw.find(b"}", at, at + _HEADER)
    begin = raw[at : at + 8].lstrip()
    if not begin.startswith(b"{") or end < 0:
        raise FileFormatError(path, "is no EDF file: no header in braces.")
    # The header ends with its line.
    start = end + (3 if raw[end + 1 : end + 2] == b"\r" else 2)
    words = raw[at:end].decode("latin-1").strip().removeprefix("{")
    entries = [entry.partition("=") for entry in words.split(";")]
    header = {key.strip().lower(): value.strip() for key, _, value in entries}
    if header.get("compression", "none").lower() not in ("", "none", "nocompression"):
        raise FileFormatError(path, "is compressed inside: save it without.")
    if int(header.get("dim_3", "1") or 1) != 1:
        raise FileFormatError(path, "holds a volume in one frame, which is not read.")
    try:
        shape = (int(header["dim_2"]), int(header["dim_1"]))
        kind = _TYPES[header["datatype"].lower()]
        order = "<" if kind[1] == "1" else _ORDERS[header["byteorder"].lower()]
    except (KeyError, ValueError) as error:
        raise FileFormatError(path, f"its header does not tell {error}.") from error
    if min(shape) < 1:
        raise FileFormatError(path, f"its frame is {shape}.")
    return EdfFrame(start, shape, np.dtype(order + kind), header)


def _first_header(path: Path) -> dict[str, str]:
    return _frame(path, unpacked(path), 0).header


def _motors(header: dict[str, str]) -> dict[str, float]:
    """Return the positions of motors in a header, by name."""
    names = header.get("motor_mne", "").split()
    places = header.get("motor_pos", "").split()
    if len(names) != len(places):
        return {}
    try:
        return dict(zip(names, map(float, places), strict=True))
    except ValueError:
        return {}


def _load(stamps: list[Stamp], pick: range, size: tuple[int, int, int]) -> np.ndarray:
    parts = []
    for each in stamps:
        each.check()
        raw = unpacked(each.path)
        found = frames_in(each.path, raw)
        for frame in [found[k] for k in pick]:
            if frame.shape != size[1:]:
                told = f"this frame is {frame.shape}, the first {size[1:]}. Files of "
                told += "several scans lie together: pass a pattern."
                raise FileFormatError(each.path, told)
            parts.append(only_counts(_numbers(raw, frame), each.path.name))
    return np.stack(parts)
