"""Compile the usual calls of all kernels ahead, as an installation does.

    python batteryxr/core/kernels/precompile.py

The calls stand in `calls.json`, by kernel: the types of their arguments. It runs where
nothing but numba, SciPy and array-api-compat are installed, so it does not execute
what the packages of batteryxr import.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = Path(__file__).resolve().parents[2]
#: The calls that are compiled.
CALLS = Path(__file__).with_name("calls.json")


class _Bare(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Find the packages of batteryxr, and execute nothing of them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to import a package of ours; None for all that is none."""
        top, *inner = name.split(".")
        place = _ROOT.joinpath(*inner)
        if top != _ROOT.name or not (place / "__init__.py").is_file():
            return None
        spec = importlib.machinery.ModuleSpec(name, self, is_package=True)
        spec.submodule_search_locations = [str(place)]
        return spec

    def exec_module(self, module: Any) -> None:
        """Leave the package empty."""


def precompile(folder: Path) -> int:
    """Compile all calls into a folder, and return how many it holds then.

    What lies there for the same sources and the same numba is kept.
    """
    from batteryxr.core.kernels.cores import allowed

    calls = sorted(json.loads(CALLS.read_text()).items())
    workers = min(allowed(), 4)
    shares = [calls[n::workers] for n in range(workers)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return sum(pool.map(_compile_share, repeat(folder), shares))


def _compile_share(folder: Path, calls: list[tuple[str, list[list[Any]]]]) -> int:
    """Compile the calls of some kernels, and return their number."""
    with tempfile.TemporaryDirectory() as own:
        # What numba loads from its own cache cannot be written again.
        os.environ["NUMBA_CACHE_DIR"] = own
        for name, signatures in calls:
            for signature in signatures:
                _keep(found(name), tuple(map(kind, signature)), folder)
    return sum(len(signatures) for _, signatures in calls)


def _keep(kernel: Any, kinds: tuple[Any, ...], folder: Path) -> None:
    """Compile a kernel for numba's types of a call, unless the folder has the code."""
    from batteryxr.core.kernels.ahead import Compiled

    cache = kernel._cache
    ahead = Compiled(kernel.py_func, cache.version, folder)
    key = cache._index_key(kinds, kernel.targetctx.codegen())
    if ahead.get(key) is None:
        kernel.compile(kinds)
        ahead.put(key, cache._impl.reduce(kernel.overloads[kinds]))


def found(name: str) -> Any:
    """Return what a module holds under a name, for `module:name`."""
    module, inner = name.split(":")
    return getattr(importlib.import_module(module), inner)


def kind(written: Any) -> Any:
    """Return numba's type for the written type of an argument."""
    types: Any = importlib.import_module("numba.core.types")
    match written:
        case str():
            return getattr(types, written)
        case {"array": item, "ndim": ndim, "layout": layout}:
            readonly = written.get("readonly", False)
            return types.Array(kind(item), ndim, layout, readonly=readonly)
        case {"named": name, "of": parts}:
            return types.BaseTuple.from_types(tuple(map(kind, parts)), found(name))
        case {"tuple": parts}:
            return types.BaseTuple.from_types(tuple(map(kind, parts)))
        case {"kernel": name}:
            return types.Dispatcher(found(name))
    raise ValueError(f"{CALLS.name}: {written!r} is no type of an argument")


def main() -> None:
    """Compile ahead into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where compiled code goes")
    print(precompile(parser.parse_args().folder), "calls are compiled")


# Loaded from its file alone: where batteryxr is not installed yet, see `_Bare`.
if __name__ in ("__main__", "__mp_main__"):
    # Not from the folder of the script: a module here may be called like one of Python.
    own = _ROOT / "core" / "kernels"
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != own]
    sys.path.insert(0, str(_ROOT.parent))
    sys.meta_path.insert(0, _Bare())
if __name__ == "__main__":
    main()
