"""What a process shares: a snapshot of it, and what differs between two."""

from __future__ import annotations

import decimal
import faulthandler
import gc
import gzip  # noqa: F401  (watched as all loaded modules of the standard library are)
import locale
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time
import types
import warnings
import zipfile  # noqa: F401
from concurrent import futures  # noqa: F401
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Functions that are replaced by ones that do the same and more, where nobody can mind:
#: how newer Pythons look for metadata (importlib_metadata), and for the source of a
#: class made in a notebook (torch, which passes on to the first).
REPLACED_BY_ITS_OWN = ("PathFinder.find_distributions", "inspect.getfile")
#: Read by OpenMP when it is loaded, which may be later: scikit-learn sets them, and
#: without them two copies of it end the process.
OWN_ENVIRONMENT = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
_HOOKS = ("stdin", "stdout", "stderr", "excepthook", "displayhook", "unraisablehook")


def snapshot() -> dict[str, Any]:
    """Return what libraries could change behind the back of everyone else."""
    root = logging.getLogger()
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    streams = (sys.stdin, sys.stdout, sys.stderr)
    categories = (locale.LC_CTYPE, locale.LC_NUMERIC, locale.LC_TIME, locale.LC_COLLATE)
    return {
        "functions": _functions(),
        "filters": list(warnings.filters),
        "numpy errors": (np.geterr(), np.geterrcall()),
        "numpy print options": repr(np.get_printoptions()),
        "numpy random": repr(state),
        "random": random.getstate(),
        "locale": [locale.setlocale(category) for category in categories],
        "time zone": (time.tzname, time.timezone),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "signals": {n: signal.getsignal(n) for n in signal.valid_signals()},
        "hooks": [getattr(sys, name) for name in _HOOKS] + [threading.excepthook],
        "encodings": [getattr(stream, "encoding", None) for stream in streams],
        "tracing": (sys.gettrace(), sys.getprofile()),
        "root logger": (root.handlers[:], root.level, root.filters[:], root.disabled),
        "logging": (logging.getLoggerClass(), logging.raiseExceptions),
        "logging off": logging.root.manager.disable,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "decimals": repr(decimal.getcontext()),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval()),
        "garbage": (gc.get_threshold(), gc.isenabled()),
        "sockets": socket.getdefaulttimeout(),
        "faults": faulthandler.is_enabled(),
        **_options(),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what differs, by name."""
    found = {}
    for name, old in before.items():
        new = after[name]
        if name == "filters":
            continue  # see others_filters
        if isinstance(old, dict):
            changed = {k: repr(new.get(k)) for k in old if new.get(k) is not old[k]}
            changed = {k: v for k, v in changed.items() if new.get(k) != old[k]}
            if name == "environment":
                added = new.keys() - old.keys() - set(OWN_ENVIRONMENT)
                changed |= {k: new[k] for k in added}
            if changed:
                found[name] = changed
        elif old != new:
            found[name] = (repr(old)[:300], repr(new)[:300])
    return found


def others_filters(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return new filters of warnings that are not the own ones of who set them.

    Those name a class that a library defines, or what the message says. Filters that
    were there must stay, in order; own ones may lie before and behind them.
    """
    old, new = before["filters"], after["filters"]
    places = range(len(new) - len(old) + 1)
    start = next((n for n in places if new[n : n + len(old)] == old), None)
    if start is None:
        return ["the filters that were there are gone, or overtaken"]
    return [
        repr(entry)
        for entry in new[:start] + new[start + len(old) :]
        if entry[1] is None and entry[2].__module__ == "builtins"
    ]


def _functions() -> dict[str, Any]:
    """Return every public function of the loaded modules of the standard library."""
    found = {}
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names or not isinstance(
            module, types.ModuleType
        ):
            continue
        for key, value in list(vars(module).items()):
            if key.startswith("_") or not callable(value):
                continue
            found[f"{name}.{key}"] = value
            if isinstance(value, type) and value.__module__ == name:
                for part, method in list(vars(value).items()):
                    if callable(method) and not part.startswith("__"):
                        found[f"{name}.{key}.{part}"] = method
    return {k: v for k, v in found.items() if not k.endswith(REPLACED_BY_ITS_OWN)}


def _flat(options: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _options() -> dict[str, Any]:
    """Return the options of what is loaded of the libraries that we stand on."""
    found: dict[str, Any] = dict.fromkeys(("pandas", "xarray", "dask", "zarr"), "")
    if "pandas" in sys.modules:
        import pandas as pd

        found["pandas"] = pd.describe_option("", _print_desc=False)
    if "xarray" in sys.modules:
        import xarray as xr

        found["xarray"] = repr(xr.get_options())
    if "dask" in sys.modules:
        import dask

        found["dask"] = {k: repr(v) for k, v in _flat(dask.config.config)}
    if "zarr" in sys.modules:
        import zarr

        found["zarr"] = repr(zarr.config.config)
    return found
