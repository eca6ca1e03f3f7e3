"""Compile kernels, and keep the compiled code only while its sources are unchanged.

numba keeps a compiled function until its own file changes. But a kernel also depends on
the functions that it calls in other files, and on the named tuples that it is passed.
After an upgrade an old kernel would still use the old functions, or numba would fail at
a renamed tuple. Here all these sources count.

numba compiles a kernel twice where a loop passes it a number that began as a literal:
the first time for the literal, for types that it discards a moment later. Here it is
compiled once.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numba
import numpy as np
from numba.core import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from batteryxr.core.kernels.ahead import Compiled, SealedFiles

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
        Keep the compiled code on disk, until a file of ours changes that the function's
        module imports.
    **options
        Options of ``numba.njit``.
    """

    def compiled(function: Function) -> Function:
        dispatcher: Any = numba.njit(**options)(function)
        if not hasattr(dispatcher, "_cache"):  # none where numba is turned off
            return dispatcher
        dispatcher.get_call_template = functools.partial(
            _for_any_value, dispatcher.get_call_template
        )
        if cache:
            dispatcher._cache = _Cache(function)
        return dispatcher

    return compiled


def usual(values: Any, kind: Any) -> np.ndarray:
    """Return an array as kernels are compiled for it: a copy only if it is not so.

    Arrays of other items, in another order of bytes or of memory, or that may not be
    written (of pandas, or of another process) would be compiled for anew.

    Parameters
    ----------
    values
        An array, as a user has it.
    kind
        dtype of its items, in this computer's order of bytes.
    """
    return np.require(values, kind, ["C", "W", "A"])


def _for_any_value(
    template: Callable[..., Any], args: tuple[Any, ...], kws: dict[str, Any]
) -> Any:
    """Return the call target of a kernel in another, for the types of its values."""
    plain: Any = types.unliteral  # which numba gives no type
    kinds = tuple(plain(kind) for kind in args)
    return template(kinds, {name: plain(kind) for name, kind in kws.items()})


@functools.cache
def _tell_unkept() -> None:
    """Warn, once, that no compiled code is kept."""
    from batteryxr.core.errors import warn_quality

    warn_quality(
        "compiled functions cannot be kept, since neither the folder of batteryxr nor "
        "a folder in your home can be written: every session compiles them anew, which "
        "takes seconds. Set the environment variable NUMBA_CACHE_DIR to a folder that "
        "can be written."
    )


class _Nowhere:
    """Stand for the folder of compiled code where none can be written."""

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> _Nowhere:
        """Return the place for a function, as numba asks for it."""
        return cls()

    def get_cache_path(self) -> str:
        """Return a folder without compiled code of numba's."""
        return str(_ROOT)

    def get_source_stamp(self) -> None:
        """Return no time: the version tells which sources count."""

    def get_disambiguator(self) -> str:
        """Return what a file's name needs beyond the function's: nothing."""
        return ""

    def ensure_cache_path(self) -> None:
        """Refuse to keep anything."""
        raise PermissionError("no folder for compiled code can be written")


class _Kept(CompileResultCacheImpl):
    """Keep compiled code as numba does, and go on where none can be kept."""

    _locator_classes: ClassVar = [*CompileResultCacheImpl._locator_classes, _Nowhere]


class _Cache(FunctionCache):
    """Cache as numba does, with a version made of numba's version and our sources.

    Files of another version are passed over, and damaged ones. Code that was compiled
    when batteryxr was installed stands in for what is not kept yet.
    """

    _impl_class = _Kept

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        code = function.__code__.co_filename
        self.version = f"{numba.__version__} {sources(code, _ROOT)}"
        impl: Any = self._impl
        place, stamp = impl.locator.get_cache_path(), impl.locator.get_source_stamp()
        self._cache_file = SealedFiles(place, impl.filename_base, stamp)
        self._cache_file._version = self.version
        self._ahead = Compiled(function, self.version)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return compiled code: the kept one, else the one of the installation."""
        found = super().load_overload(sig, target_context)
        if found is not None:
            return found
        code = self._ahead.get(self._index_key(sig, target_context.codegen()))
        return code and self._impl.rebuild(target_context, code)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code, or warn where its folder is full or not writable."""
        try:
            super().save_overload(sig, data)
        except OSError:
            _tell_unkept()


def sources(file: str, root: Path) -> str:
    """Return a digest of a file of a package and of all its imports from there.

    Parameters
    ----------
    file
        First file.
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
