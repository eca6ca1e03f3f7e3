"""Every warning points at the line of the user: where it is made, and where it is told.

The places are read from the sources: nothing but `core.errors` warns, and nothing tells
it how far away the user is. That it finds the user is tried with warnings of all four
accessors, in each of the ways in which a user may call.
"""

from __future__ import annotations

import ast
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import dask
import numpy as np
import pytest
import xarray as xr

from batteryxr import cdi, echem, nmf, xanes
from batteryxr.core import errors

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for room in ("batteryxr", "accessors", "widgets")
    for path in sorted((ROOT / room).rglob("*.py"))
]
HELPERS = {"warn_quality": 1, "warn_caller": 2}


class Place(NamedTuple):
    """Stands for a call that warns."""

    path: Path
    call: ast.Call
    imported: dict[str, str | None]

    def __str__(self):
        return f"{self.path.relative_to(ROOT)}:{self.call.lineno}"


def _word(call):
    """Return the last word of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


@cache
def _places():
    """Return every call whose name has to do with warning."""
    return [place for path in SOURCES for place in _places_in(path)]


def _places_in(path):
    text = path.read_text(encoding="utf-8")
    if "warn" in text:
        tree = ast.parse(text)
        nodes = list(ast.walk(tree))
        imported = {
            name.asname or name.name: node.module
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for name in node.names
        }
        for node in nodes:
            if isinstance(node, ast.Call) and _word(node).startswith("warn"):
                yield Place(path, node, imported)


HOME = Path(errors.__file__).resolve()


def test_all_that_warns_goes_through_one_helper():
    elsewhere = [place for place in _places() if place.path.resolve() != HOME]
    ours = [place for place in elsewhere if _word(place.call) in HELPERS]
    assert len(ours) > 150  # as they stand in the sources
    assert not [str(p) for p in elsewhere if _word(p.call) in ("warn", "warn_explicit")]
    other = [
        str(place)
        for place in ours
        if not isinstance(place.call.func, ast.Name)
        or place.imported.get(_word(place.call)) != "batteryxr.core.errors"
    ]
    assert not other


def test_no_place_tells_how_far_away_the_user_is():
    told = [
        str(place)
        for place in _places()
        if _word(place.call) in HELPERS
        and (place.call.keywords or len(place.call.args) != HELPERS[_word(place.call)])
    ]
    assert not told
    assert not [path for path in SOURCES if "stacklevel" in path.read_text("utf-8")]


def _record():
    time = np.arange(0.0, 400.0)
    current = np.where(time % 200 < 100, 1.0, -1.0)
    time[7] = np.nan
    return xr.Dataset(
        {
            "current": ("record", current, {"units": "mA"}),
            "voltage": ("record", np.linspace(3, 4, 400), {"units": "V"}),
            "test_time": ("record", time, {"units": "s"}),
        }
    )


def _impedance():
    values = np.full((2, 6), 1 - 1j)
    values[0, :3] = values[1, 3:] = np.nan
    there = {"frequency": ("frequency", 10.0 ** np.arange(6), {"units": "Hz"})}
    return xr.DataArray(
        values, there, ("spectrum", "frequency"), "impedance", {"units": "ohm"}
    )


def _spectra():
    """Return an edge; one scan of seven has waves, and one point a glitch."""
    energy = np.arange(8300.0, 8400.0)
    values = np.tile(1 / (1 + np.exp((8345 - energy) / 2)), (7, 1))
    values += np.random.default_rng(0).normal(0, 0.01, values.shape)
    values[0] += np.sin(energy)
    values[3, 30] += 5
    there = {"energy": ("energy", energy, {"units": "eV"}), "scan": np.arange(7)}
    return xr.DataArray(values, there, ("scan", "energy"), "absorption", {"units": "1"})


def _transmittance():
    return _spectra().clip(max=1).rename("transmittance")


def _patterns():
    """Return mixtures of two patterns; one scan had no beam."""
    rng = np.random.default_rng(0)
    values = rng.dirichlet([1, 1], 12) @ abs(rng.normal(size=(2, 19)))
    values[3] = 0
    r = ("r", np.arange(1.0, 20.0), {"units": "Angstrom"})
    return xr.DataArray(values, {"r": r}, ("scan", "r"), "g", {"units": "1"})


def _frames():
    dims = ("rocking", "detector_y", "detector_x")
    return xr.DataArray(np.ones((3, 4, 4)), dims=dims, name="intensity")


def _objects():
    values = np.ones((2, 4, 4, 4), complex)
    there = {"fourier_sign": -1}
    return xr.DataArray(values, there, ("state", "z", "y", "x"), "object")


_CELL = {"electrode": "cathode", "first": "charge"}
_E0 = {"e0": 8345.0, "post": (20, 55), "degree": 1}
_FEW = nmf.Sampling(n_chains=1, sweeps=2, draws=4, rotations=1)
_BAD = np.ones((4, 4), bool)
#: What is doubtful in each: the data, the method, its arguments, and what is said.
DOUBTS = [
    (_record, "echem.half_cycles", {}, "test_time is missing in 1 rows"),
    (_record, "echem.steps", {}, "test_time is missing in 1 rows"),
    (_record, "echem.cycles", _CELL, "test_time is missing in 1 rows"),
    (_impedance, "echem.as_patterns", {}, "only 0 of 3 frequencies"),
    (_patterns, "nmf.fit", {"n_components": 2}, "no beam"),
    (_patterns, "nmf.metropolis", {"n_components": 2, "sampling": _FEW}, "no beam"),
    (_spectra, "xanes.normalise", _E0 | {"pre": (-16, -30)}, "higher end first"),
    (_spectra, "xanes.deglitch", {}, "stand out and were replaced"),
    (_spectra, "xanes.merge", {}, "are unlike the others"),
    (_transmittance, "xanes.rescale", {"method": "absorbance"}, "not above zero"),
    (_frames, "cdi.correct", {"mask": _BAD}, "100% of the pixels are bad"),
    (_objects, "cdi.phase_differences", {}, "zero of its own retrieval"),
]
ROOMS = {"echem": echem, "nmf": nmf, "xanes": xanes, "cdi": cdi}


# Each way calls in its first line, at which all warnings are to point.
def directly(data, room, name, given):
    return getattr(ROOMS[room], name)(data, **given)


def through_the_accessor(data, room, name, given):
    return getattr(getattr(data, room), name)(**given)


def in_a_thread_of_the_user(data, room, name, given):
    call = lambda: getattr(getattr(data, room), name)(**given)  # noqa: E731
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def in_a_pool(data, room, name, given):
    with ThreadPoolExecutor() as p: p.submit(getattr(ROOMS[room], name), data, **given)  # fmt: skip # noqa: E501,E701


def inside_dask(data, room, name, given):
    return dask.delayed(getattr(ROOMS[room], name))(data, **given).compute()


WAYS = (
    directly,
    through_the_accessor,
    in_a_thread_of_the_user,
    in_a_pool,
    inside_dask,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(("make", "method", "given", "words"), DOUBTS)
def test_a_warning_is_at_the_line_that_calls(make, method, given, words, way):
    room, name = method.split(".")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        way(make(), room, name, given)
    ours = [w for w in told if issubclass(w.category, errors.BatteryxrWarning)]
    assert any(words in str(w.message) for w in ours)
    here = way.__code__.co_firstlineno + 1
    assert {(w.filename, w.lineno) for w in ours} == {(__file__, here)}
