"""Writes binary files of EC-Lab, and text; shares nothing with the reader."""

from __future__ import annotations

import struct
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cycler_files import Run

BEGUN = datetime(2024, 1, 10, 11, 2, 29, 886_000)
#: Words for columns here -> number and type in the file.
TIME, EWE, CURRENT, MEAN, STEP = (
    (4, "<f8"),
    (6, "<f4"),
    (8, "<f4"),
    (11, "<f8"),
    (131, "<u2"),
)
CHARGE, NET, HALF, RANGE = (7, "<f8"), (467, "<f8"), (468, "<u4"), (39, "<u2")
FREQUENCY, VOLTS = (32, "<f4"), (77, "<f4")

Columns = list[tuple[tuple[int, str], Any]]


def module(name: str, payload: bytes, version: int, *, wide: bool = False) -> bytes:
    """Return one module; `wide` has a longer head, as a later program may write."""
    head = b"MODULE" + name.encode().ljust(10) + b"some words".ljust(25)
    if wide:
        head += struct.pack("<IIII", 0xFFFFFFFF, len(payload), 0, version)
    else:
        head += struct.pack("<II", len(payload), version)
    return head + b"01/10/24" + payload


def data(
    columns: Columns, version: int, flags: Mapping[int, Any], rows: int | None = None
) -> bytes:
    """Return the payload of a data module; `flags` share its first byte."""
    n = len(columns[0][1]) if columns else 0
    numbers = [*flags, *(number for (number, _), _ in columns)]
    table = np.zeros(n, [(str(k), kind) for k, ((_, kind), _) in enumerate(columns)])
    for k, (_, values) in enumerate(columns):
        table[str(k)] = values
    body = table.view(np.uint8).reshape(n, -1) if n else np.empty((0, 0), np.uint8)
    if flags:
        byte = np.zeros(n, np.uint8)
        place = {1: 1, 2: 4, 3: 8, 21: 16, 31: 32, 65: 128}
        for number, values in flags.items():
            byte |= (np.asarray(values) * place[number]).astype(np.uint8)
        body = np.column_stack([byte, body])
    head = struct.pack(
        f"<IB{len(numbers)}H", n if rows is None else rows, len(numbers), *numbers
    )
    begin = {2: 405, 3: 406}.get(version, 1007)
    head = head.ljust(405, b"\0") + b"\1" * (begin > 405)
    return head.ljust(begin, b"\0") + body.tobytes()


def settings(technique: int, mass: float, words: bytes) -> bytes:
    """Return the payload of the settings."""
    raw = bytearray(1000)
    raw[0] = technique
    raw[7 : 8 + len(words)] = bytes([len(words)]) + words
    struct.pack_into("<fffffH", raw, 263, mass, 0.5, 90.0, 7.0, 1.0, 1)
    return bytes(raw)


def log(begun: datetime) -> bytes:
    """Return the payload of the log: days since 1899 at its place."""
    raw = bytearray(1200)
    raw[9] = 4
    days = (begun - datetime(1899, 12, 30)).total_seconds() / 86_400
    struct.pack_into("<d", raw, 585, days)
    raw[975:980] = b"\x040123"
    return bytes(raw)


def write(
    path: Path,
    columns: Columns,
    *,
    flags: Mapping[int, Any] | None = None,
    technique: int = 4,
    version: int = 3,
    begun: datetime | None = BEGUN,
    mass: float = 5.0,
    words: bytes = b"cell \xb5 4",
    wide: bool = False,
    rows: int | None = None,
    more: Sequence[tuple[str, bytes]] = (),
) -> Path:
    """Write a binary file of these columns."""
    raw = b"BIO-LOGIC MODULAR FILE\x1a".ljust(48) + bytes(4)
    raw += module("VMP Set", settings(technique, mass, words), 0, wide=wide)
    raw += module(
        "VMP data", data(columns, version, flags or {}, rows), version, wide=wide
    )
    if begun is not None:
        raw += module("VMP LOG", log(begun), 0, wide=wide)
    for name, payload in more:
        raw += module(name, payload, 0, wide=wide)
    path.write_bytes(raw)
    return path


def mpr(path: Path, run: Run) -> Path:
    """Write a known run as a technique with limits of the potential would."""
    net = np.diff(run.charge - run.discharge, prepend=0)
    half = 2 * (run.cycle - 1) + (run.step % 2 == 1) * (run.step > 1)
    base = np.where(run.current < 0, -run.capacity, run.capacity)
    flags = {1: np.where(run.step == 1, 3, 1), 2: run.current > 0, 65: run.cycle > 1}
    columns = [
        (STEP, run.step),
        (TIME, run.time),
        (CHARGE, net),
        (EWE, run.voltage),
        (RANGE, np.full(run.time.size, 21)),
        (NET, base),
        (HALF, half),
    ]
    return write(path, columns, flags=flags)


def mpt(
    path: Path,
    labels: Sequence[str],
    columns: Sequence[Any],
    technique: str,
    begun: datetime | None = BEGUN,
) -> Path:
    """Write text with a header, as it is exported."""
    head = ["EC-Lab ASCII FILE", "", "", technique, ""]
    if begun is not None:
        head.append(f"Acquisition started on : {begun:%m/%d/%Y %H:%M:%S.%f}"[:-3])
    head[1] = f"Nb header lines : {len(head) + 2}"
    lines = [*head, "", "\t".join(labels)]
    lines += ["\t".join(f"{x:.9E}" for x in row) for row in zip(*columns, strict=True)]
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode("latin-1"))
    return path
