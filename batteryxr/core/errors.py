"""Exceptions and warnings: each names what was found and how to mend it."""

from __future__ import annotations

import errno
import os
import re
import sys
import sysconfig
import threading
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

#: Number of an error of the system in a message.
_NUMBER = re.compile(r"errno\W+(\d+)")


class BatteryxrError(ValueError):
    """Base class of every error that batteryxr raises about its input."""


class ArgumentError(BatteryxrError):
    """An argument has a value that the function cannot work with.

    Parameters
    ----------
    argument
        Name of the argument.
    found
        The value that was passed.
    expected
        Accepted values, as the end of "expected ...".
    mend
        Remedy, as a sentence.
    """

    def __init__(self, argument: str, found: object, expected: str, mend: str = ""):
        self.argument, self.found = argument, found
        self.expected, self.mend = expected, mend
        text = f"{argument}={_shown(found)}: expected {expected}."
        super().__init__(f"{text} {mend}" if mend else text)


def _shown(value: object) -> str:
    """Return a value as shown in a message: arrays by their kind and size."""
    sizes = getattr(value, "sizes", None)
    if isinstance(sizes, Mapping):
        words = ", ".join(f"{dim}: {n}" for dim, n in sizes.items())
        dtype = getattr(value, "dtype", "")
        return f"<{type(value).__name__} ({words}) {dtype}".rstrip() + ">"
    if getattr(value, "size", 0) and hasattr(value, "dtype") and value.size > 20:  # type: ignore[attr-defined]
        return f"<{type(value).__name__} {value.shape} {value.dtype}>"  # type: ignore[attr-defined]
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."


class DataError(BatteryxrError):
    """Data hold something that the function cannot work with.

    `ArgumentError` names the passed value; this error names what was found in the data.

    Parameters
    ----------
    what
        Name of the data: a variable, a coordinate or an argument.
    problem
        Problem, as the end of a sentence that begins with `what`.
    mend
        Remedy, as a sentence.
    """

    def __init__(self, what: str, problem: str, mend: str = ""):
        text = f"{what}: {problem}."
        super().__init__(f"{text} {mend}" if mend else text)


class DimensionError(BatteryxrError):
    """A dimension or coordinate is missing, or one too many is there."""


class LabelsError(ArgumentError, DimensionError):
    """An array does not lie on the labels of the data that it goes with."""


class VariableError(BatteryxrError):
    """A variable that the function needs is missing."""


class UnitsError(BatteryxrError):
    """Units are missing, unknown, or of the wrong kind."""


class ChunkingError(BatteryxrError):
    """Dask chunks split a dimension that the function needs whole."""


class FileFormatError(BatteryxrError):
    """A file does not hold what its format promises.

    Parameters
    ----------
    path
        The file. Code that sees only its content passes None, and
        `io.door.files.named`, in which the file is read, adds the path.
    problem
        Problem, and its remedy.
    line
        Line number, from 1, where the format has lines.
    """

    def __init__(self, path: object, problem: str, line: int | None = None):
        self.path, self.problem, self.line = path, problem, line
        where = [f"line {line}"] if line is not None else []
        if path is not None:
            where.insert(0, str(path))
        super().__init__(": ".join([", ".join(where), problem] if where else [problem]))


class NothingFoundError(FileFormatError):
    """Sound files hold nothing that was asked for."""


class StoreError(BatteryxrError):
    """A store holds something other than what the call would write."""


class SampleError(BatteryxrError):
    """A measured sample is not available, or a file is not the registered one."""


class ConvergenceError(BatteryxrError):
    """A fit did not reach an answer that could be reported honestly."""


class MissingDependencyError(ImportError):
    """An optional library is needed and not installed."""


class BatteryxrWarning(UserWarning):
    """Base class of batteryxr's warnings."""


class DataQualityWarning(BatteryxrWarning):
    """The data are readable but look implausible, or are only partly covered."""


def said_by_system(error: Exception) -> str:
    """Return what the system, or a server, says of a failure: a line without a stop."""
    told = str(error) or type(error).__name__
    # Libraries for HDF5 and parquet wrap the system's number in lines of their own.
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := _NUMBER.search(told)):
        number = int(match[1])
    if isinstance(error, OSError) and number is not None and number in errno.errorcode:
        return os.strerror(number)
    line = (getattr(error, "strerror", "") or told).strip().partition("\n")[0]
    return line.removeprefix("x ").rstrip(".")


#: Packages through which we are called back, or wait: no user writes their lines.
_BETWEEN = {"batteryxr", "asyncio", "concurrent", "contextlib", "dask", "distributed"}
_BETWEEN |= {"functools", "numpy", "queue", "threading", "toolz", "xarray", "zarr"}


def warn_quality(message: str) -> None:
    """Issue a `DataQualityWarning` at the line that called the library.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     batteryxr.core.errors.warn_quality("scan 3 has no beam")
    >>> told[0].category.__name__
    'DataQualityWarning'
    """
    warn_caller(message, DataQualityWarning)


def warn_caller(message: str, category: type[Warning]) -> None:
    """Issue a warning at the line that called the library.

    Through accessors, and through the libraries that call us back, it is found on the
    stack; from a thread of theirs it is where the main thread waits.
    """
    own = sys._getframe(1)
    main = sys._current_frames().get(threading.main_thread().ident or 0)
    frame = calling_frame(own) or _waiting(main) or own
    space = frame.f_globals
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=str(space.get("__name__", "__main__")),
        registry=space.setdefault("__warningregistry__", {}),
    )


def pass_on(
    told: Iterable[warnings.WarningMessage],
) -> list[warnings.WarningMessage]:
    """Issue caught warnings of other libraries where they arose, and return ours."""
    ours = []
    for one in told:
        if issubclass(one.category, BatteryxrWarning):
            ours.append(one)
        else:
            place = (one.filename, one.lineno)
            warnings.warn_explicit(one.message, one.category, *place)
    return ours


def calling_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of a stack that is of no package in between."""
    while frame and str(frame.f_globals.get("__name__")).split(".")[0] in _BETWEEN:
        frame = frame.f_back
    return frame


def _waiting(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the main thread's stack that is of no library.

    A thread of a library warns while the main thread may be anywhere.
    """
    libraries = tuple(sysconfig.get_paths()[n] for n in ("stdlib", "purelib"))
    inner = frame
    while inner := calling_frame(inner):
        if not inner.f_code.co_filename.startswith(libraries):
            return inner
        inner = inner.f_back
    return calling_frame(frame)
