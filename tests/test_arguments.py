"""Every keyword of every public function and object answers a wrong value by its name.

The wrong values follow from the words of the signature, read here as text; nothing of
`core.checks` is used.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re

import numpy as np
import pytest
import xarray as xr

import batteryxr
import batteryxr.widgets
from batteryxr.core.errors import ArgumentError

HOMES = ("echem", "nmf", "xanes", "cdi", "io", "export", "simulate", "operando")
TOP = ("save", "open_store", "write_resumable", "sample", "replay")
#: Objects that come out of functions: nobody makes one.
MADE = ("Citation", "Publication")
#: What another function takes, and answers by its own name.
HANDED_ON = ("replay.data",)


def functions():
    for home in HOMES:
        module = importlib.import_module(f"batteryxr.{home}")
        for name, value in sorted(vars(module).items()):
            if inspect.isfunction(value) and not name.startswith("_"):
                yield f"{home}.{name}", value
    for name in TOP:
        if hasattr(batteryxr, name):
            yield name, getattr(batteryxr, name)


def objects():
    """Yield what users make to pass it on, such as an engine or constraints."""
    for home in HOMES:
        module = importlib.import_module(f"batteryxr.{home}")
        for name, value in sorted(vars(module).items()):
            public = name not in MADE and not name.startswith("_")
            if public and inspect.isclass(value) and dataclasses.is_dataclass(value):
                yield f"{home}.{name}", value


def panels():
    """Yield what shows data in a notebook."""
    for name in dir(batteryxr.widgets):
        if name.endswith(("Panel", "Viewer")):
            yield f"widgets.{name}", getattr(batteryxr.widgets, name)


PUBLIC = dict(functions())
OBJECTS = dict(objects())
PANELS = dict(panels())
KINDS = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def parameters(function):
    return {
        name: p
        for name, p in inspect.signature(function).parameters.items()
        if p.kind in KINDS
    }


#: Numbers that are quantities, none of which can be -1.
QUANTITIES = {
    "Mass",
    "Charge",
    "RestCurrent",
    "Gap",
    "VoltageStep",
    "VoltageWidth",
    "Exposure",
}
QUANTITIES |= {"ClockOffset", "Radius", "PhotonEnergy", "Distance", "DetectorPixel"}
QUANTITIES |= {"PixelSize", "VoxelSize", "CrystalSize", "QMax", "QDamp"}


class Nothing:
    """Stand for what no function takes."""


def wrong_values(annotation: str):
    """Yield values that the words of an annotation exclude."""
    yield Nothing()
    words = set(re.findall(r"[A-Za-z_][\w.]*", re.sub(r"\[.*?\]", "", annotation)))
    plain = {"int", "float", "bool", "str", "None", "Literal", "Count", "Whole", "Seed"}
    plain |= {"Positive", "NonNegative", "Fraction"} | QUANTITIES
    if not words <= plain:
        return
    whole = words & {"int", "Count", "Whole", "Seed"}
    number = words & ({"float", "Positive", "NonNegative", "Fraction"} | QUANTITIES)
    yield [1, 2]
    if "None" not in words:
        yield None
    if "bool" not in words:
        yield True
    if not number:
        yield 2.5
        yield float("nan")
    else:
        yield float("nan")
    if "str" not in words:
        yield "nonsense"
    if words & {"Count", "Whole", "Seed", "Positive", "NonNegative", "Fraction"} or (
        words & QUANTITIES
    ):
        yield -1
    if whole and not number:
        yield np.float64(3.0)


#: Arguments whose kind has a name of its own.
NAMED = {
    "electrode": "cathode",
    "first": "charge",
    "axis": "q",
    "method": "echem.cycles",
    "candidates": [],
    "peaks": [(1.0, 2.0)],
    "bands": ("a", "b"),
    "path": ".",
    "e0": 5480.0,
    "optics": batteryxr.cdi.Mirrors(focus=0.1),
    "frames": xr.DataArray(
        np.ones((2, 4, 4)), dims=("position", "detector_y", "detector_x")
    ),
}


def stand_in(name: str, annotation: str):
    """Return a value of the right kind, for the arguments that come before."""
    if name == "axis" and "float" in annotation:
        return [5470.0, 5480.0]
    if name in NAMED and (name == "frames" or annotation != "xr.DataArray"):
        return NAMED[name]
    table = xr.DataArray(np.ones((2, 3)), dims=("scan", "energy"), name="absorption")
    if annotation.startswith("Mapping"):
        return {}
    if "DataArray" in annotation:
        return table
    if "Dataset" in annotation:
        return table.to_dataset()
    for word, value in (
        ("DataTree", xr.DataTree()),
        ("ArrayLike", np.arange(3.0)),
        ("ndarray", np.arange(3.0)),
        ("Range", (1.0, 2.0)),
        ("VoltageWindow", (1.0, 2.0)),
        ("tuple[float, float]", (1.0, 2.0)),
        ("Sequence[str", ["a"]),
        ("Mapping", {}),
        ("Sequence", []),
        ("str", "a"),
        ("Path", "a"),
        ("float", 1.0),
        ("complex", 1 - 1e-5),
        ("int", 1),
        ("Count", 1),
        ("Positive", 1.0),
        ("NonNegative", 1.0),
        ("DetectorPixel", 55.0),
        ("StoreLike", "a"),
        ("Pair", (1.0, 2.0)),
    ):
        if word in annotation:
            return value
    return table


_CIRCLE = batteryxr.cdi.Circle(motor="eta", axis="x+")
#: Sound arguments of objects that need some.
SOUND = {
    "echem.Composition": {"elements": ("Li",), "amounts": (1.0,)},
    "nmf.Crystal": {
        "name": "Li",
        "cell": 3.5 * np.eye(3),
        "elements": ("Li", "Li"),
        "sites": np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]),
        "occupancy": np.ones(2),
    },
    "xanes.Cell": {"system": "cubic", "a": 5.0},
    "cdi.Circle": {"motor": "eta", "axis": "x+"},
    "cdi.Beamline": {"name": "b", "sample": (_CIRCLE,), "detector": (_CIRCLE,)},
    "cdi.ZonePlate": {"diameter": 100.0, "outer_zone": 50.0},
}
SOUND_OF = {OBJECTS[name]: given for name, given in SOUND.items()}
CASES = [
    pytest.param(function, name, id=f"{home}-{name}")
    for home, function in (PUBLIC | OBJECTS | PANELS).items()
    for name in parameters(function)
    if f"{home}.{name}" not in HANDED_ON
]


@pytest.mark.parametrize(("function", "name"), CASES)
def test_a_wrong_value_is_answered_by_name(function, name):
    found = parameters(function)
    text = str(found[name].annotation)
    given = dict(SOUND_OF.get(function, {}))
    given.pop(name, None)
    for other, parameter in found.items():
        if other not in {name, *given} and parameter.default is parameter.empty:
            given[other] = stand_in(other, str(parameter.annotation))
    for value in wrong_values(text):
        args, kwargs = [], {}
        for other, parameter in found.items():
            if other not in given and other != name:
                continue
            item = value if other == name else given[other]
            if parameter.kind is parameter.POSITIONAL_ONLY:
                args.append(item)
            else:
                kwargs[other] = item
        with pytest.raises(ArgumentError) as told:
            function(*args, **kwargs)
        assert str(told.value).startswith(f"{name}="), (value, str(told.value))


def test_there_are_many():
    assert len(CASES) > 1200
    assert len(OBJECTS) > 30
    assert len(PANELS) == 7
