"""Count the places that data pass through in one call.

Each public call is made once on small simulated data, under a profiler. A *place* is
a function of batteryxr that is handed the data, or what carries them:

- the object itself, or the same file name;
- an xarray object made from it by selection, which shares its buffers;
- an object of batteryxr that holds one of these, or plain arrays that share their
  buffers, in its attributes; or a tuple, list or dict that does.

Bare arrays carry nothing, nor does what was computed from the data. *Rooms* are the
files of these places. *Returns* count how often the walk, which enters each place when
it is first handed the data, comes back to a file that it had left. *Anew* counts the
other lines of code that hand the data to a place where they had been; a loop counts
once. The door through which every call passes alike (accessor, checks of arguments,
labels and provenance) is no part of a walk.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = tuple(f"{ROOT / name}{os.sep}" for name in ("batteryxr", "accessors"))
DOOR = ("accessors/", "core/provenance.py", "core/checks.py", "core/annotations.py",
        "core/deprecation.py", "core/labels/boundary.py")  # fmt: skip
LABELLED = (xr.DataArray, xr.Dataset, xr.DataTree)
DEPTH = 3
#: Seconds after which a walk is no longer watched: what it handed on by then counts.
LIMIT_S = 15.0


class Walk(NamedTuple):
    """The places of one call, in the order in which they are first handed the data."""

    places: list[tuple[str, str]]
    anew: int

    @property
    def rooms(self) -> int:
        """Return the number of files."""
        return len({file for file, _ in self.places})

    @property
    def returns(self) -> int:
        """Return how often the walk comes back to a file that it had left."""
        files = [file for file, _ in self.places]
        moves = sum(a != b for a, b in itertools.pairwise(files))
        return moves - (self.rooms - 1) if files else 0


class Carrier:
    """Tells whether an object carries the data of a walk."""

    def __init__(self, *data: Any) -> None:
        self._paths = {os.fspath(d) for d in data if isinstance(d, str | os.PathLike)}
        labelled = [d for d in data if isinstance(d, LABELLED)]
        self._ids = {id(d) for d in labelled}
        self._buffers = [b for d in labelled for b in _buffers(d)]

    def __call__(self, value: Any, depth: int = DEPTH) -> bool:
        """Return whether `value` is the data, is a part of them, or holds one."""
        if isinstance(value, LABELLED):
            return id(value) in self._ids or any(
                np.may_share_memory(own, buffer)
                for own in _buffers(value)
                for buffer in self._buffers
            )
        if isinstance(value, str | os.PathLike):
            return bool(self._paths) and os.fspath(value) in self._paths
        if depth == 0:
            return False
        own = type(value).__module__.startswith("batteryxr")
        return any(
            self(part, depth - 1) or (own and self._shared(part))
            for part in _parts(value)
        )

    def _shared(self, value: Any) -> bool:
        """Return whether a plain array is a view of the data."""
        held = value._data if isinstance(value, xr.Variable) else value
        return isinstance(held, np.ndarray) and any(
            np.may_share_memory(held, buffer) for buffer in self._buffers
        )


def _buffers(data: Any) -> Iterator[np.ndarray]:
    """Yield the arrays of variables in memory; coordinates are no data."""
    if isinstance(data, xr.DataTree):
        for node in data.subtree:
            yield from _buffers(node.to_dataset(inherit=False))
        return
    many = data.data_vars.values() if isinstance(data, xr.Dataset) else [data]
    for variable in (v.variable for v in many):
        held = variable._data
        if isinstance(held, np.ndarray) and held.size > 1:
            yield held


def _parts(value: Any) -> Iterator[Any]:
    """Yield what a container or an object of batteryxr holds."""
    if isinstance(value, dict):
        yield from list(value.values())[:30]
    elif isinstance(value, list | tuple):
        yield from value[:30]
    elif type(value).__module__.startswith("batteryxr"):
        yield from getattr(value, "__dict__", {}).values()
        for name in getattr(type(value), "__slots__", ()):
            yield getattr(value, name, None)


def trace(call: Callable[[], Any], *data: Any) -> Walk:
    """Make one call under a profiler; return the walk of `data` through it.

    The call is made once before, without: a profiler sees each step of a compiler.
    """
    call()
    carries = Carrier(*data)
    handed: dict[tuple[CodeType, CodeType | None, int], None] = {}
    end = time.monotonic() + LIMIT_S

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or _place(frame.f_code) is None:
            return
        if time.monotonic() > end:
            sys.setprofile(None)
            return
        caller = frame.f_back
        while caller and not _is_ours(caller.f_code):
            caller = caller.f_back
        line = (caller.f_code, caller.f_lineno) if caller else (None, 0)
        key = (frame.f_code, *line)
        if key not in handed and any(carries(value) for value in _arguments(frame)):
            handed[key] = None

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    codes = dict.fromkeys(code for code, *_ in handed)
    places = [place for place in map(_place, codes) if place]
    return Walk(places, len(handed) - len(places))


@functools.cache
def _is_ours(code: CodeType) -> bool:
    """Tell whether code is a function of the library, lambdas and loops apart."""
    named = not code.co_name.startswith("<")
    return named and os.path.realpath(code.co_filename).startswith(LIBRARY)


@functools.cache
def _place(code: CodeType) -> tuple[str, str] | None:
    """Return file and name of a function, or None where it is no place."""
    if not _is_ours(code):
        return None
    file = os.path.relpath(os.path.realpath(code.co_filename), ROOT)
    file = file.removeprefix(f"batteryxr{os.sep}")
    return None if file.startswith(DOOR) else (file, code.co_qualname)


def _arguments(frame: FrameType) -> Iterator[Any]:
    """Yield what a function was called with."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS)
    count += bool(code.co_flags & inspect.CO_VARKEYWORDS)
    for name in code.co_varnames[:count]:
        yield frame.f_locals.get(name)


def walks() -> Iterator[tuple[str, Walk | Exception]]:
    """Yield name and walk of each public way; an exception where the call failed."""
    for name, way in WAYS.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield name, trace(*way(Path(folder)))
            except Exception as error:  # the table shows it
                yield name, error


def _file(folder: Path) -> tuple[Any, ...]:
    import batteryxr
    from batteryxr import simulate

    record, _ = simulate.gitt(protocol=simulate.Titration(n_pulses=2), seed=0)
    path = str(batteryxr.write_bdf(record, folder / "cell.csv"))
    return (lambda: batteryxr.read_cycler(path), path)


def _operando(kind: str) -> tuple[xr.Dataset, xr.Dataset]:
    from batteryxr import simulate

    make = simulate.cell_experiment
    tree = make(kind=kind, n_scans=40, n_cycles=1)
    return tree["echem"].to_dataset().load(), tree["scans"].to_dataset().load()


def _cycles(_: Path) -> tuple[Any, ...]:
    record, _scans = _operando("xanes")
    return (lambda: record.echem.cycles(electrode="cathode", first="charge"), record)


def _join(_: Path) -> tuple[Any, ...]:
    record, scans = _operando("xanes")
    return (lambda: record.echem.join(scans), scans)


def _factorise(_: Path) -> tuple[Any, ...]:
    _record, scans = _operando("xanes")
    series = scans["absorption"]
    return (lambda: series.nmf.fit(3), series)


def _factorise_known(_: Path) -> tuple[Any, ...]:
    _record, scans = _operando("xanes")
    series = scans["absorption"]
    known = {"fixed": {"first": series[0].copy(), "last": -1}, "errors": 0.01}
    return (lambda: series.nmf.fit(3, **known), series)


def _edge(_: Path) -> tuple[Any, ...]:
    from batteryxr import simulate

    objects = simulate.particles(size=16, seed=0)["objects"].to_dataset().load()
    stack = -2 * np.log(abs(objects["transmission"].isel(particle=0)))
    stack = stack.transpose("energy", "y", "x").assign_attrs(units="1")
    return (lambda: stack.xanes.fit_edge(edge=(5470, 5486)), stack)


def _retrieve(_: Path) -> tuple[Any, ...]:
    from batteryxr import cdi, simulate

    tree = simulate.bragg_states(shape=(24, 24, 24), size=700.0, missing_state=None)
    volumes = tree["states"]["intensity"].isel(state=0).load()
    few = {"schedule": "10 HIO + 5 ER", "n_starts": 2, "progress": False}
    best = cdi.Selection(n_best=1)
    return (lambda: volumes.cdi.retrieve(select=best, **few), volumes)


def _ptycho(_: Path) -> tuple[Any, ...]:
    from batteryxr import simulate

    scan, _truth = simulate.ptychography(energy=np.array([5540.0]), positions=6, seed=0)
    scan = scan.isel(energy=0).load()
    return (lambda: scan.cdi.ptycho(iterations=3, progress=False), scan)


WAYS: dict[str, Callable[[Path], tuple[Any, ...]]] = {
    "file -> read_cycler": _file,
    "record -> .echem.cycles": _cycles,
    "scans -> .echem.join": _join,
    "series -> .nmf.fit": _factorise,
    "series -> .nmf.fit(fixed=, errors=)": _factorise_known,
    "stack -> .xanes.fit_edge": _edge,
    "frames -> .cdi.retrieve": _retrieve,
    "scan -> .cdi.ptycho": _ptycho,
}

if __name__ == "__main__":
    for way, found in walks():
        if isinstance(found, Exception):
            print(f"\n{way}: {type(found).__name__}: {found}")
            continue
        numbers = f"{len(found.places)} / {found.rooms} / {found.returns}"
        print(f"\n{way}: {numbers}, {found.anew} anew")
        for file, function in found.places:
            print(f"  {file:45s} {function}")
