"""The boundary of public functions: one set of labels, and failures explained."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from batteryxr.core.annotations import resolved
from batteryxr.core.errors import BatteryxrError, DataError
from batteryxr.core.labels.matching import matched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LABELLED = (xr.DataArray, xr.Dataset)


@dataclass(frozen=True)
class OwnLabels:
    """Mark an argument in a signature as having its own labels.

    Parameters
    ----------
    dims
        Dimensions whose labels the function itself handles; none means all. Along the
        others the labels are those of the first argument.
    """

    dims: tuple[str, ...] = ()

    def holds(self, value: Any) -> bool:
        """Accept any labels."""
        return True

    def __str__(self) -> str:
        return "on labels of its own"


def on_labels(
    function: Callable[..., Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call on the labels of the first one.

    Raises
    ------
    LabelsError
        If an argument has other labels; the message names it.
    """
    passed = dict(arguments)
    name, data = next(iter(passed.items()), ("", None))
    if not isinstance(data, _LABELLED) or len(passed) < 2:
        return passed
    own = _own(function)
    for argument, value in passed.items():
        marks = own.get(argument)
        if argument != name and (marks is None or marks.dims):
            dims = set(data.dims) - set(marks.dims if marks else ())
            passed[argument] = _matched(data, value, argument, dims)
    return passed


def _matched(data: Any, value: Any, argument: str, dims: set[Any]) -> Any:
    """Return a value with all its labelled arrays on the labels of the data."""
    if isinstance(value, xr.DataArray):
        return matched(data, value, argument=argument, dims=dims)
    if isinstance(value, xr.Dataset):
        return matched(data, value, argument=argument, dims=dims)
    if isinstance(value, Mapping):
        return {
            key: _matched(data, item, f"{argument}[{key!r}]", dims)
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        there = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        moved = {
            field: _matched(data, item, f"{argument}.{field}", dims)
            for field, item in there.items()
            if isinstance(item, _LABELLED)
        }
        return dataclasses.replace(value, **moved) if moved else value
    return value


@functools.cache
def _own(function: Callable[..., Any]) -> dict[str, OwnLabels]:
    """Return the arguments of a function that are marked with `OwnLabels`."""
    marks = {name: _mark(kind) for name, kind in resolved(function).items()}
    return {name: mark for name, mark in marks.items() if mark is not None}


def _mark(kind: Any) -> OwnLabels | None:
    if isinstance(kind, OwnLabels):
        return kind
    found = map(_mark, typing.get_args(kind))
    return next((mark for mark in found if mark is not None), None)


@contextlib.contextmanager
def exact_joins(caller: str) -> Iterator[None]:
    """Forbid arithmetic to drop points with different labels, while a function works.

    xarray's option holds for a whole process: threads other than the main one do not
    change it.

    Raises
    ------
    DataError
        If labels differ.
    """
    main = threading.current_thread() is threading.main_thread()
    option = xr.set_options(arithmetic_join="exact") if main else None
    with option or contextlib.nullcontext():
        try:
            yield
        except xr.AlignmentError as error:
            first = str(error).splitlines()[0]
            raise DataError(
                f"the arguments of {caller}",
                f"lie on different labels ({first})",
                "Bring them on one grid: `.interp(...)` or `.reindex(...)`.",
            ) from error


@contextlib.contextmanager
def explained(caller: str, data: Any) -> Iterator[None]:
    """Name what is wrong with data where a function fails over them.

    Checks come first; this is for what they leave. An error stays as it is where the
    data show no cause. NumPy's and xarray's own words follow, as the cause.

    Raises
    ------
    DataError
        If the data are text, empty, or without a number; or lack what was looked up.
    """
    try:
        yield
    except (BatteryxrError, ImportError, OSError, MemoryError, Warning):
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        for what, problem, mend in _faults(data, error, said):
            words = f"{problem}, and {caller} fails over it ({said})"
            raise DataError(what, words, mend) from error
        raise


def _faults(data: Any, error: Exception, said: str) -> Iterator[tuple[str, str, str]]:
    """Yield names and faults of data that may be why a function failed."""
    if not isinstance(data, _LABELLED):
        return
    several = isinstance(data, xr.Dataset)
    arrays = [data] if not several else list(data.data_vars.values())
    for array in arrays:
        # In a Dataset what has no units may be names.
        if array.dtype.kind in "OSUT" and (not several or "units" in array.attrs):
            name = str(array.name or "data")
            yield name, f"text or objects ({array.dtype})", "Use `.astype(float)`."
    for dim, size in data.sizes.items():
        if size == 0:
            yield "data", f"no point along {dim!r}", "Look at how it was selected."
    for array in arrays:
        known = array.dtype.kind not in "fc" or array.chunks is not None
        if not known and not bool(array.notnull().any()):
            name = str(array.name or "data")
            yield name, "no number, NaN everywhere", "Look at how it was made."
    if (isinstance(error, KeyError) or "imension" in said) and _is_of_xarray(error):
        there = list(map(str, dict.fromkeys((*data.dims, *data.coords))))
        yield "data", f"they have {there} alone", "Pass what it is made for."


def _is_of_xarray(error: Exception) -> bool:
    """Tell whether xarray raised an error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] == "xarray"
