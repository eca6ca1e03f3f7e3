"""Compiling kernels, and keeping what was compiled only while its sources stand.

numba keeps a compiled function until its own file changes. But a kernel also consists
of what it calls in other files, and of the named tuples that it is passed: after an
upgrade an old kernel would go on working with the old functions, or numba would stop
at a tuple that has another name now. Here the sources of all of them count.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numba
from numba.core.caching import FunctionCache

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., Any]")

_ROOT = Path(__file__).resolve().parents[2]
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(batteryxr[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)"
    r"|import[ \t]+(batteryxr[\w.]*))",
    re.MULTILINE,
)


def njit(*, cache: bool = False, **options: Any) -> Callable[[Function], Function]:
    """Return a decorator that compiles a function as ``numba.njit`` does.

    Parameters
    ----------
    cache
        Keep what is compiled on disk, until a file of ours changes that the function's
        module imports.
    **options
        Of ``numba.njit``.
    """

    def compiled(function: Function) -> Function:
        dispatcher: Any = numba.njit(**options)(function)
        if cache and hasattr(dispatcher, "_cache"):  # none where numba is turned off
            dispatcher._cache = _Cache(function)
        return dispatcher

    return compiled


class _Cache(FunctionCache):
    """numba's cache, whose version is numba's and that of our sources.

    The version is read before anything else of a file.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        code = function.__code__.co_filename
        self._cache_file._version = f"{numba.__version__} {sources(code, _ROOT)}"


def sources(file: str, root: Path) -> str:
    """Return a digest of a file of a package and of all that it imports from there.

    Parameters
    ----------
    file
        Where to begin.
    root
        Folder of the package `batteryxr`.
    """
    met = {Path(file)}
    waiting = [Path(file)]
    while waiting:
        found = _imports(waiting.pop(), root) - met
        met |= found
        waiting += found
    digest = hashlib.sha256()
    for path in sorted(met):
        digest.update(_text(path))
    return digest.hexdigest()[:16]


@functools.cache
def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # in an archive: as it came, it stays
        return str(path).encode()


@functools.cache
def _imports(path: Path, root: Path) -> frozenset[Path]:
    """Return the files of the package that a file imports, also for types alone."""
    found = set()
    for module, names, whole in _IMPORT.findall(_text(path).decode()):
        base = root.joinpath(*(module or whole).split(".")[1:])
        inner = [base / name for name in re.findall(r"\w+", names)]
        for place in (base, *inner):
            found |= {place.with_suffix(".py"), place / "__init__.py"}
    return frozenset(place for place in found if place.is_file())
