"""Turn labelled data into tables: variables on the same dimensions side by side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.blocks import stream
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Rows in memory at a time.
ROWS = 100_000
#: Largest table over two dimensions; larger data belong into NeXus or zarr.
LARGEST = 20_000_000
#: First characters that make a spreadsheet read a text as a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class SheetColumn(NamedTuple):
    """Hold one column: its heading, its units, and its values along the rows."""

    name: str
    units: str
    values: xr.DataArray

    @property
    def heading(self) -> str:
        """Return name and units, such as ``"voltage (V)"``."""
        return f"{self.name} ({self.units})" if self.units else self.name


class SheetTable(NamedTuple):
    """Hold columns of equal length, and notes on their labels.

    Parameters
    ----------
    name
        The dimensions, such as ``"cycle"`` or ``"scan x r"``.
    rows
        The dimension along the rows; empty for values without one.
    columns
        The columns; the label of each row comes first.
    labels
        Lines that describe the columns, where a dimension runs across.
    """

    name: str
    rows: str
    columns: list[SheetColumn]
    labels: list[str]

    def blocks(self) -> Iterator[list[list[object]]]:
        """Yield rows as Python values, block by block."""
        arrays = [column.values for column in self.columns]
        if not self.rows:
            yield [[plain_values(np.atleast_1d(a.values))[0] for a in arrays]]
            return
        for block in stream(*arrays, dim=self.rows, block=ROWS):
            yield [list(row) for row in zip(*map(plain_values, block), strict=True)]


def groups_of(
    data: xr.DataArray | xr.Dataset | xr.DataTree, caller: str
) -> list[tuple[str, xr.Dataset]]:
    """Return the groups with variables, and their paths.

    Raises
    ------
    DataError
        If no group holds a variable.
    """
    if isinstance(data, xr.DataTree):
        every = [(node.path.strip("/"), node.to_dataset()) for node in data.subtree]
    else:
        every = [("", _as_dataset(data))]
    groups = [(path, part) for path, part in every if part.data_vars]
    if not groups:
        raise DataError(
            caller,
            "there is nothing to write: no variable at all",
            "Pass a result with variables.",
        )
    return groups


def tables_of(data: xr.DataArray | xr.Dataset, caller: str) -> list[SheetTable]:
    """Return the tables of some data, one for each set of dimensions.

    Raises
    ------
    DataError
        If there is nothing to write, or a variable has more than two dimensions.
    """
    whole = _as_dataset(data)
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name, array in whole.data_vars.items():
        if array.size:
            kinds.setdefault(_ordered(array), []).append(str(name))
    if not kinds:
        raise DataError(
            caller,
            "there is nothing to write: no variable holds a value",
            "Pass a result that holds values.",
        )
    for dims, names in kinds.items():
        size = int(np.prod([whole.sizes[d] for d in dims])) if len(dims) > 1 else 0
        if len(dims) > 2 or size > LARGEST:
            raise DataError(
                names[0],
                f"{' x '.join(f'{d} {whole.sizes[d]}' for d in dims)} is no table",
                "Choose a part of it, or write all with batteryxr.write_nexus.",
            )
    return [_table(whole, dims, names) for dims, names in kinds.items()]


def about(data: xr.DataArray | xr.Dataset) -> list[str]:
    """Return lines on the origin of data, and on the meaning of flags and names."""
    lines = [f"written by batteryxr {__version__}"]
    if title := data.attrs.get("title"):
        lines.append(f"title: {_one_line(title)}")
    lines += [f"made by: {_one_line(x)}" for x in _history(data)]
    whole = _as_dataset(data)
    for name, array in whole.variables.items():
        told = [str(array.attrs.get("long_name", ""))]
        if name in whole.coords and not array.dims:
            told += [
                f"all at {text_of(plain_values(np.atleast_1d(c.values))[0])} {c.units}"
                for c in _columns(str(name), whole[name])
            ]
        meanings = str(array.attrs.get("flag_meanings", "")).split()
        values = np.atleast_1d(
            array.attrs.get("flag_values", array.attrs.get("flag_masks", []))
        )
        if len(meanings) == len(values):
            told += [f"{v} {m}" for v, m in zip(values, meanings, strict=True)]
        if any(told):
            lines.append(f"{name}: {_one_line('; '.join(t for t in told if t))}")
    return lines


def text_of(value: object) -> str:
    """Return a value as text that a spreadsheet does not read as a formula.

    A number becomes the shortest text that reads back as the same number. A missing
    value becomes an empty text.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def harmless(text: str) -> str:
    """Return a text, with an apostrophe in front if a spreadsheet would execute it."""
    return f"'{text}" if text.startswith(_FORMULAS) else text


def plain_values(values: np.ndarray) -> list[object]:
    """Return an array as Python values: times in ISO 8601 (UTC), missing as None."""
    kind = values.dtype.kind
    if kind == "M":
        texts = np.datetime_as_string(values, unit="us" if _whole_us(values) else "ns")
        return [None if t == "NaT" else f"{t}Z" for t in texts.tolist()]
    if kind == "m":
        seconds = values / np.timedelta64(1, "s")
        return plain_values(seconds)
    if kind == "f":
        # Use the digits of float32, not those of its conversion to float64.
        if values.dtype.itemsize < 8:
            values = np.array([float(str(v)) for v in values.ravel()])
        return [None if v != v else v for v in values.tolist()]
    if kind in "OUS":
        return [None if v is None or v != v else str(v) for v in values.tolist()]
    return list(values.tolist())


def _whole_us(times: np.ndarray) -> bool:
    whole = times[~np.isnat(times)].astype("datetime64[ns]").astype(np.int64)
    return not bool(np.any(whole % 1000))


def _as_dataset(data: xr.DataArray | xr.Dataset) -> xr.Dataset:
    if isinstance(data, xr.Dataset):
        return data.copy(deep=False)  # row labels may be added
    name = str(data.name or "values")
    return data.rename(None).to_dataset(name=name).assign_attrs(data.attrs)


def _history(data: xr.DataArray | xr.Dataset) -> list[str]:
    return [line for line in str(data.attrs.get("history", "")).splitlines() if line]


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _ordered(array: xr.DataArray) -> tuple[str, ...]:
    """Return the dimensions, rows first: the axis of a signal runs down."""
    dims = [str(d) for d in array.dims]
    return tuple(reversed(dims)) if len(dims) == 2 else tuple(dims)


def _table(whole: xr.Dataset, dims: tuple[str, ...], names: list[str]) -> SheetTable:
    if len(dims) != 1:
        alike = [str(n) for n, c in whole.coords.items() if {*c.dims} == {*dims}]
        names = [*alike, *names]
    if not dims:
        columns = [c for n in names for c in _columns(n, whole[n])]
        return SheetTable("values", "", columns, [])
    rows = dims[0]
    columns = []
    for coord in _along(whole, rows):
        columns += _columns(coord, whole[coord])
    if len(dims) == 1:
        for name in names:
            columns += _columns(name, whole[name])
        return SheetTable(rows, rows, columns, [])
    across = dims[1]
    for name in names:
        for k in range(whole.sizes[across]):
            one = whole[name].isel({across: k})
            columns += _columns(f"{name} [{across}={_label(whole, across, k)}]", one)
    labels = [
        f"{c.heading} of {across}: " + ", ".join(map(text_of, plain_values(v)))
        for coord in _along(whole, across)
        for c in _columns(coord, whole[coord])
        for v in [c.values.values]
    ]
    return SheetTable(f"{across} x {rows}", rows, columns, labels)


def _along(whole: xr.Dataset, dim: str) -> list[str]:
    """Return the coordinates on one dimension, its own label first."""
    names = [str(n) for n, c in whole.coords.items() if c.dims == (dim,)]
    if dim not in names:
        whole.coords[dim] = np.arange(whole.sizes[dim])
        names.append(dim)
    return sorted(names, key=lambda n: n != dim)


def _label(whole: xr.Dataset, dim: str, k: int) -> str:
    if dim not in whole.coords:
        return str(k)
    return str(plain_values(np.atleast_1d(whole[dim].values[k]))[0])


def _columns(name: str, array: xr.DataArray) -> list[SheetColumn]:
    units = str(array.attrs.get("units", ""))
    units = "" if units == "1" else units
    kind = array.dtype.kind
    if kind == "c":
        real, imaginary = array.real, array.imag
        return [
            SheetColumn(f"{name}, real", units, real),
            SheetColumn(f"{name}, imaginary", units, imaginary),
        ]
    if kind == "M":
        return [SheetColumn(name, "UTC", array)]
    if kind == "m":
        return [SheetColumn(name, "s", array)]
    return [SheetColumn(name, units, array)]


def require_ending(path: str, ending: str) -> None:
    """Raise unless a file's name has the ending of its format."""
    if not path.lower().endswith(ending):
        raise ArgumentError("path", path, f"a name that ends in {ending}")


def call_of(data: xr.DataArray | xr.Dataset) -> str:
    """Return the call that made data, as JSON; empty if it is not recorded."""
    call = str(data.attrs.get("batteryxr_call", ""))
    try:
        return json.dumps(json.loads(call)) if call else ""
    except (ValueError, RecursionError):  # written by another program
        return call
