"""Digests of the operations of lazy arrays, equal for the same work everywhere."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import sysconfig
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks.digests import digest
from batteryxr.core.blocks.inputs import needed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Parts of names and texts that make each unique.
_TOKEN = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Folders of code that has a version of its own.
_INSTALLED = tuple(sysconfig.get_paths()[k] for k in ("stdlib", "purelib", "platlib"))
_PLAIN = (bool, int, float, complex, bytes, type(None), np.generic, np.dtype, slice)
#: Depth to which objects within objects are examined.
_DEPTH = 12


def of_operations(arrays: Iterable[Any]) -> str:
    """Return a digest of the functions and constants that lazy arrays are made by.

    Functions count by their names, and functions that are not installed also by the
    constants in their code. Other objects count by their kind.

    Parameters
    ----------
    arrays
        Dask arrays.
    """
    found: set[str] = set()
    known: dict[int, list[str]] = {}
    for key, task in needed(arrays).items():
        if hasattr(task, "func"):
            name = key[0] if isinstance(key, tuple) else key
            words = _words([task.func, task.args, task.kwargs], known, _DEPTH)
            found.add(" ".join([_TOKEN.sub("", str(name)), *words]))
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:32]


def _words(value: Any, known: dict[int, list[str]], depth: int) -> Iterator[str]:
    """Yield the parts of an argument, as far as they are known."""
    if depth == 0:
        return
    inner: list[Any] = []
    if isinstance(value, str):
        yield _TOKEN.sub("", value)
    elif isinstance(value, _PLAIN):
        yield repr(value)
    elif isinstance(value, np.ndarray):
        if id(value) not in known:
            known[id(value)] = [digest(value)]
        yield from known[id(value)]
    elif isinstance(value, xr.Variable | xr.DataArray):
        inner = [value.dims, value.data if value.chunks is None else None]
    elif isinstance(value, xr.Dataset):
        inner = list(value.variables.items())
    elif isinstance(value, dict):
        inner = sorted(value.items(), key=str)
    elif isinstance(value, set | frozenset):
        inner = sorted(value, key=str)
    elif isinstance(value, list | tuple):
        inner = list(value)
    elif isinstance(value, functools.partial):
        inner = [value.func, value.args, value.keywords]
    elif hasattr(value, "__code__"):
        if id(value) not in known:
            known[id(value)] = [str(value.__qualname__)]  # it may know itself
            known[id(value)] += _words(_inside(value), known, depth - 1)
        yield from known[id(value)]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value).__qualname__
        inner = list(vars(value).items()) if hasattr(value, "__dict__") else []
    elif hasattr(value, "func") and hasattr(value, "args"):  # a task within a task
        inner = [value.func, value.args, getattr(value, "kwargs", None)]
    elif hasattr(value, "dependencies") and hasattr(value, "value"):
        inner = [value.value]
    else:
        yield str(getattr(value, "__qualname__", type(value).__qualname__))
    for item in inner:
        yield from _words(item, known, depth - 1)


def _inside(function: Any) -> list[Any]:
    """Return constants of a function that is not installed, and the values it holds."""
    code = function.__code__
    module = str(function.__module__ or "")
    if code.co_filename.startswith(_INSTALLED) or module.startswith("batteryxr."):
        constants = []
    else:
        constants = [c for c in code.co_consts if isinstance(c, (*_PLAIN[:5], str))]
    cells = [cell.cell_contents for cell in function.__closure__ or () if _full(cell)]
    # A function counts or remembers in lists and the like.
    cells = [held for held in cells if not isinstance(held, list | dict | set)]
    return [constants, cells, function.__defaults__, function.__kwdefaults__]


def _full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
