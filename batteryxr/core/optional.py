"""Optional libraries, imported on demand: quietly, and with a clear message."""

from __future__ import annotations

import importlib
import os
import random
import sys
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Modules of the standard library that have faster twins elsewhere.
_TWINNED = ("zlib", "gzip", "bz2", "lzma", "zipfile", "tarfile", "json", "pickle")
#: Names that libraries leave in the environment for themselves. Other new names may
#: come from another thread.
_LEFT_IN_ENVIRONMENT = ("_RJEM_MALLOC_CONF", "_PYVIZ_COMMS_INSTALLED")
_importing = threading.RLock()


def require(
    module: str,
    *,
    extra: str | None,
    purpose: str,
    package: str = "",
    without: Sequence[str] = (),
) -> Any:
    """Import and return an optional module.

    Parameters
    ----------
    module
        Name to import.
    extra
        The extra of batteryxr that installs it; None for libraries that the user
        installs separately (a GPL library, for example).
    purpose
        Purpose of the module, such as ``"reading Neware .ndax files"``.
    package
        Name to install, if it differs from `module`.
    without
        See `load`.

    Raises
    ------
    MissingDependencyError
        If it is not installed; the message gives the command that installs it.
    """
    try:
        return load(module, without=without)
    except ImportError as error:
        wanted = f"'batteryxr[{extra}]'" if extra else (package or module)
        raise MissingDependencyError(
            f"{purpose} needs {package or module}, which is not installed. "
            f"Install it with: pip install {wanted}"
        ) from error


def load(module: str, *, without: Sequence[str] = ()) -> Any:
    """Import and return a module, leaving the rest of the process unchanged.

    Parameters
    ----------
    module
        Name to import.
    without
        Modules that are hidden from `module` unless they are loaded already: it would
        use them to replace shared functions.
    """
    if module in sys.modules:
        return importlib.import_module(module)
    with unchanged_process(), _hidden(without):
        return importlib.import_module(module)


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Restore what imports inside the block replace for the whole process.

    Restored are functions of the standard library that have twins, the format of
    warnings, the state of ``random``, and names in the environment. Other threads see
    the change until the block ends; one thread at a time is inside.
    """
    with _importing:
        functions, written = (
            _functions(),
            (warnings.formatwarning, warnings.showwarning),
        )
        state = random.getstate()
        environment = {name: os.environ.get(name) for name in _LEFT_IN_ENVIRONMENT}
        try:
            yield
        finally:
            for (name, attribute), function in functions.items():
                if getattr(sys.modules[name], attribute, None) is not function:
                    setattr(sys.modules[name], attribute, function)
            warnings.formatwarning, warnings.showwarning = written
            random.setstate(state)
            for name, value in environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _functions() -> dict[tuple[str, str], Any]:
    for name in ("zlib", "zipfile"):
        importlib.import_module(name)
    return {
        (name, attribute): value
        for name in _TWINNED
        if name in sys.modules
        for attribute, value in vars(sys.modules[name]).items()
        if callable(value) and not attribute.startswith("_")
    }


class _Hiding:
    """Hide some modules from the thread that made it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._thread = frozenset(names), threading.get_ident()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in self._names and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not to be used here", name=name)


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    if not names:
        yield
        return
    finder: Any = _Hiding(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
