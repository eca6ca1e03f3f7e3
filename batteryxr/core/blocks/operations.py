"""Digests of the operations of lazy arrays, equal for the same work everywhere."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import sysconfig
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks.digests import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Parts of names and texts that make each unique.
_TOKEN = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Folders of code that has a version of its own.
_INSTALLED = tuple(sysconfig.get_paths()[k] for k in ("stdlib", "purelib", "platlib"))
_PLAIN = (bool, int, float, complex, bytes, type(None), np.generic, np.dtype, slice)
#: Depth to which objects within objects are examined.
_DEPTH = 12
#: Beside the key of a task: what is known of its work.
_TASK = "task"


def of_operations(
    arrays: Mapping[Any, Any],
    graph: Mapping[Any, Any],
    inputs: Mapping[Any, Iterable[str]],
) -> str:
    """Return a digest of the work that lazy arrays are made by, and of its order.

    Functions count by their names, and functions that are not installed also by the
    constants in their code. Other objects count by their kind. Each task counts with
    those that it takes its arguments from, in their order: the difference of two arrays
    is not that of the second and the first.

    Parameters
    ----------
    arrays
        Dask arrays by name.
    graph
        The tasks that they need; see `needed`.
    inputs
        Digests of the blocks that they are computed from; see `of_inputs`.
    """
    from dask.core import flatten

    above = {k: getattr(t, "dependencies", ()) for k, t in graph.items()}
    known: dict[Any, list[str]] = {}
    for key in TopologicalSorter(above).static_order():
        task: Any = graph.get(key)
        name = key[0] if isinstance(key, tuple) else key
        words = [_TOKEN.sub("", str(name)), *inputs.get(key, ())]
        if hasattr(task, "func"):
            words += _words([task.func, task.args, task.kwargs], known, _DEPTH)
        elif task is not None:  # another name of a task
            words += sorted(word for k in above[key] for word in known[k, _TASK])
        known[key, _TASK] = [hashlib.sha256(" ".join(words).encode()).hexdigest()]
    found = [
        [str(name), *(known[key, _TASK][0] for key in flatten(array.__dask_keys__()))]
        for name, array in sorted(arrays.items(), key=lambda item: str(item[0]))
    ]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:32]


def _words(value: Any, known: dict[Any, list[str]], depth: int) -> Iterator[str]:
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
        inner = sorted(value.items(), key=lambda item: _TOKEN.sub("", str(item[0])))
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
    elif (getattr(value, "key", None), _TASK) in known:  # the result of a task
        yield from known[value.key, _TASK]
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
