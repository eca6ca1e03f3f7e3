"""Inputs of lazy arrays: the blocks that they are computed from, one by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

#: Blocks that are read at the same time.
_READERS = 4


def of_inputs(
    graph: dict[Any, Any], function: Callable[[np.ndarray], T]
) -> dict[Any, list[T]]:
    """Apply a function to each block of data that lazy arrays are computed from.

    Reads them once; a few blocks are in memory at a time. The blocks are the inputs:
    arrays in memory, chunks of stores, and results of functions without input.

    Parameters
    ----------
    graph
        The tasks that they need; see `needed`.
    function
        Function to apply to each block.

    Returns
    -------
    dict of list
        Results for the blocks, by the key of the graph that holds them.
    """
    tasks = {key: task for key, task in graph.items() if hasattr(task, "dependencies")}
    values = {key: value for key, value in graph.items() if key not in tasks}
    sources = {key for key, value in values.items() if _is_source(value)}
    first = [key for key, task in tasks.items() if task.dependencies <= sources]
    held = [k for k, v in values.items() if isinstance(v, np.ndarray)]

    def result(key: Any) -> list[T]:
        if key in values:
            return [function(values[key])]
        inside = [] if tasks[key].dependencies else _arrays_in(tasks[key].args)
        parts = inside or [np.asarray(tasks[key](values))]
        return [function(part) for part in parts]

    with ThreadPoolExecutor(_READERS) as pool:
        keys = [*held, *first]
        return dict(zip(keys, pool.map(result, keys), strict=True))


def needed(arrays: Iterable[Any]) -> dict[Any, Any]:
    """Return the tasks of a graph that lazy arrays need, by key."""
    from dask._task_spec import DataNode, convert_legacy_graph
    from dask.core import flatten

    graph: dict[Any, Any] = {}
    for array in arrays:
        graph |= dict(array.__dask_graph__().cull(set(flatten(array.__dask_keys__()))))
    # Some layers still write tasks as tuples; others wrap their data.
    tuples = {key for key, value in graph.items() if isinstance(value, tuple)}
    tasks = convert_legacy_graph({k: graph[k] for k in tuples}, all_keys=set(graph))
    bare = {k: v.value for k, v in graph.items() if isinstance(v, DataNode)}
    return graph | tasks | bare


def _is_source(value: Any) -> bool:
    """Return whether a value is an array that is read part by part."""
    return hasattr(value, "shape") and not isinstance(value, np.ndarray)


def _arrays_in(arguments: Any) -> list[np.ndarray]:
    """Return the arrays among the arguments of a task."""
    found = []
    for argument in arguments:
        value = getattr(argument, "value", argument)
        if isinstance(value, np.ndarray):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _arrays_in(value)
    return found
