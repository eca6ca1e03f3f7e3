"""Damages files as disks, copies and editors do, and judges how they are read."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.errors import BatteryxrError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import xarray as xr

    Damage = Callable[[bytes, np.random.Generator], bytes]


def truncate(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw[: int(rng.integers(0, len(raw)))]


def flip(raw: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(raw)
    for place in rng.integers(0, len(raw), int(rng.integers(1, 30))):
        out[place] ^= 1 << int(rng.integers(8))
    return bytes(out)


def replace_bytes(raw: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(raw)
    for place in rng.integers(0, len(raw), int(rng.integers(1, 10))):
        out[place] = int(rng.integers(256))
    return bytes(out)


def drop_lines(raw: bytes, rng: np.random.Generator) -> bytes:
    lines = raw.splitlines(keepends=True)
    gone = set(rng.integers(0, len(lines), int(rng.integers(1, 6))).tolist())
    return b"".join(line for k, line in enumerate(lines) if k not in gone)


def repeat_lines(raw: bytes, rng: np.random.Generator) -> bytes:
    lines = raw.splitlines(keepends=True)
    for place in rng.integers(0, len(lines), int(rng.integers(1, 6))):
        lines.insert(int(place), lines[int(rng.integers(len(lines)))])
    return b"".join(lines)


def blank_lines(raw: bytes, rng: np.random.Generator) -> bytes:
    lines = raw.splitlines(keepends=True)
    lines.insert(int(rng.integers(len(lines) + 1)), b"\n" * int(rng.integers(1, 4)))
    return b"".join(lines)


def swap_separators(raw: bytes, rng: np.random.Generator) -> bytes:
    marks = b",;\t. :"
    one, other = (marks[int(k)] for k in rng.choice(len(marks), 2, replace=False))
    table = bytearray(range(256))
    table[one], table[other] = other, one
    start = int(rng.integers(0, len(raw)))
    return raw[:start] + raw[start:].translate(bytes(table))


def zero(raw: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(raw)))
    size = int(rng.integers(1, 2000))
    return raw[:start] + b"\0" * size + raw[start + size :]


def huge_number(raw: bytes, rng: np.random.Generator) -> bytes:
    digits = [k for k in range(len(raw)) if raw[k : k + 1].isdigit()]
    if not digits:
        return raw
    place = digits[int(rng.integers(len(digits)))]
    worst = (b"1e308", b"-1e308", b"9" * 400, b"1e-400", b"inf", b"nan", b"-", b"0x1F")
    return raw[:place] + worst[int(rng.integers(len(worst)))] + raw[place + 1 :]


def wrong_encoding(raw: bytes, rng: np.random.Generator) -> bytes:
    text = raw.decode("latin-1")
    names = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp037", "utf-7")
    return text.encode(names[int(rng.integers(len(names)))])


def line_ends(raw: bytes, rng: np.random.Generator) -> bytes:
    plain = raw.replace(b"\r\n", b"\n")
    return plain.replace(b"\n", (b"\r", b"\r\n", b"\n\r", b"\r\r\n")[rng.integers(4)])


def insert_junk(raw: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(raw)))
    return raw[:start] + rng.bytes(int(rng.integers(1, 200))) + raw[start:]


def shuffle_cells(raw: bytes, rng: np.random.Generator) -> bytes:
    lines = raw.splitlines(keepends=True)
    place = int(rng.integers(len(lines)))
    mark = b"\t" if b"\t" in lines[place] else b","
    cells = lines[place].split(mark)
    rng.shuffle(cells)
    lines[place] = mark.join(cells)
    return b"".join(lines)


def swap_quote(raw: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(0, len(raw)))
    return raw[:place] + b'"' + raw[place + int(rng.integers(2)) :]


DAMAGES: tuple[Damage, ...] = (
    truncate,
    flip,
    replace_bytes,
    drop_lines,
    repeat_lines,
    blank_lines,
    swap_separators,
    zero,
    huge_number,
    wrong_encoding,
    line_ends,
    insert_junk,
    shuffle_cells,
    swap_quote,
)


def damaged(raw: bytes, n: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield `n` damaged copies with the name of what was done to each."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        kind = DAMAGES[k % len(DAMAGES)]
        yield f"{kind.__name__}[{k}]", kind(raw, rng)


def judge(
    path: Path, read: Callable[[Path], xr.Dataset], what: str, most_rows: int
) -> str:
    """Return "refused" or "read"; fail on any other exception or an odd Dataset."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read(path)
    except (BatteryxrError, MissingDependencyError) as error:
        text = str(error)
        assert len(text) > 20, f"{what}: says nothing: {text!r}"
        return "refused"
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    assert_plausible(dataset, what, most_rows)
    return "read"


def assert_plausible(ds: xr.Dataset, what: str, most_rows: int) -> None:
    """Fail unless `ds` has the shape that every reader promises."""
    assert ds.sizes["record"] in range(1, most_rows + 1), what
    assert {"voltage", "current"} <= set(ds.data_vars), what
    for name, variable in ds.variables.items():
        assert variable.dims == ("record",), (what, name)
        assert variable.dtype.kind in "fiM", (what, name)
        assert "long_name" in variable.attrs, (what, name)
        assert name == "time" or "units" in variable.attrs, (what, name)
    assert np.isfinite(ds["test_time"]).all(), what
    assert ds["test_time"][0] == 0, what
    assert not np.isinf(ds["voltage"]).any(), what
    assert not np.isinf(ds["current"]).any(), what
    assert np.abs(ds["test_time"]).max() < 1e10, what
    backward = bool((np.diff(ds["test_time"]) < 0).any())
    assert backward == ("backward_time" in ds.attrs["flags"]), what
    assert len(ds.attrs["flags"]) == len(ds.attrs["flag_notes"]), what


def every_row(raw: bytes, first: int, how: Callable[[bytes], bytes]) -> bytes:
    """Damage every line from line number `first` (from 0) on."""
    lines = raw.splitlines(keepends=True)
    return b"".join(lines[:first] + [how(line) for line in lines[first:]])
