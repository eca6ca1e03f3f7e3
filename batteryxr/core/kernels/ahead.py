"""Use the kernels that were compiled when batteryxr was installed.

numba compiles a kernel when it is first called, for the processor at hand. That takes
seconds. The installation compiles the usual calls ahead into a folder of the package.
Code for another processor, numba or Python, or for other sources, is passed over: all
code of a process is for one processor, so that equal calls give equal bits.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba.core.caching import IndexDataCacheFile
from numba.core.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import Callable

#: The folder of the package that holds the compiled code.
FOLDER = Path(__file__).resolve().parents[2] / "compiled"


class SealedFiles(IndexDataCacheFile):
    """Hold numba's files of compiled code, each with a digest of what is in it.

    A file that is damaged, of another version or that cannot be read is as good as
    absent. numba would fail at it, or run what a changed byte makes of the code.
    """

    _version: str
    _cache_path: str
    _index_path: str
    _source_stamp: Any

    def _dump(self, obj: Any) -> bytes:
        data: bytes = dumps(obj)  # type: ignore[no-untyped-call]
        return self._seal(data) + data

    def _load_index(self) -> dict[Any, str]:
        """Return the names of the files by numba's keys of calls."""
        head = pickle.dumps(self._version, protocol=-1)
        try:
            whole = Path(self._index_path).read_bytes()
            if not whole.startswith(head):
                return {}
            stamp, names = pickle.loads(self._opened(whole[len(head) :]))
        except OSError:
            return {}
        return names if stamp == self._source_stamp else {}

    def _load_data(self, name: str) -> Any:
        return pickle.loads(self._opened(Path(self._cache_path, name).read_bytes()))

    def _seal(self, data: bytes) -> bytes:
        return hashlib.sha256(self._version.encode() + data).digest()

    def _opened(self, sealed: bytes) -> bytes:
        """Return what is sealed, or raise OSError, by which numba compiles anew."""
        size = hashlib.sha256().digest_size
        seal, data = sealed[:size], sealed[size:]
        if seal != self._seal(data):
            raise OSError("compiled code is damaged")
        return data


class Compiled:
    """Hold the code of one kernel that was compiled ahead.

    Parameters
    ----------
    function
        The kernel as it is written.
    version
        What the code depends on: numba's version and a digest of the sources.
    folder
        Where compiled code lies.
    """

    def __init__(
        self, function: Callable[..., Any], version: str, folder: Path = FOLDER
    ) -> None:
        name = f"{function.__qualname__}.{sys.implementation.cache_tag}"
        place = folder / function.__module__
        self._file = SealedFiles(str(place), name, None)
        self._file._version = version
        self._folder = place

    def get(self, key: tuple[Any, ...]) -> Any:
        """Return the code for numba's key of a call, or None where there is none."""
        return self._file.load(key)

    def put(self, key: tuple[Any, ...], code: Any) -> None:
        """Keep the code for numba's key of a call."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file.save(key, code)
