"""A call that somebody else's store carries is data: only what is known is called."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.core import device
from batteryxr.core.checks import Word
from batteryxr.core.errors import ArgumentError, BatteryxrError
from batteryxr.core.labels import OwnLabels
from batteryxr.core.provenance import (
    RECORDED,
    encode,
    holds_place,
    recorded,
    replayable,
)
from batteryxr.core.replay import _ROOMS

ROOT = Path(batteryxr.__file__).parent


def carrying(call, **attrs):
    """Return data with a call as a store could carry it."""
    text = call if isinstance(call, str) else json.dumps(call)
    attrs = {"batteryxr_call": text, "batteryxr_version": batteryxr.__version__} | attrs
    return xr.Dataset({"a": ("x", [1.0, 2.0])}, attrs=attrs)


def own(method, arguments, accessor="nmf"):
    return {"accessor": accessor, "method": method, "arguments": arguments}


#: Each asks for something that no call of ours asks for.
HOSTILE = {
    "another module": {"module": "os", "method": "system", "arguments": {"a": "id"}},
    "a builtin": {"module": "builtins", "method": "eval", "arguments": {}},
    "a process": {"module": "subprocess", "method": "run", "arguments": {"args": []}},
    "a module to come": {"module": "evil_pkg", "method": "go", "arguments": {}},
    "a library": {"module": "numpy", "method": "load", "arguments": {"file": "x"}},
    "an inner module": own("system", {}, "io.reading"),
    "a climb": own("run", {}, "../subprocess"),
    "an import of a room": own("importlib", {}, "core"),
    "what a room imports": own("np", {}),
    "a private function": own("_fit", {}),
    "a dunder": own("__getattr__", {}),
    "a class": own("Constraints", {}),
    "an attribute of a method": own("fit.__globals__", {}),
    "a writer": own("write_bdf", {"path": "x.bdf"}, "io"),
    "a store to write": own("retrieve", {"store": "/tmp/evil.zarr"}, "cdi"),
    "a path in a list": own("identify", {"candidates": ["/etc/passwd"]}),
    "a path in an object": own(
        "retrieve_learned",
        {"network": {"$object": "Network", "fields": {"weights": "/etc/passwd"}}},
        "cdi",
    ),
    "a beamline's file": own("geometry", {"beamline": "/etc/evil.toml"}, "cdi"),
    "an unknown object": own(
        "fit", {"constraints": {"$object": "Popen", "fields": {}}}
    ),
    "an object of pickles": own("fit", {"n_components": {"$array": [1], "dtype": "O"}}),
    "a type that is large": own(
        "fit", {"n_components": {"$array": [1], "dtype": "(100000,100000)f8"}}
    ),
    "a number without end": own("fit", {"n_components": {"$seconds": 1e400}}),
    "a depth without end": '{"accessor": "nmf", "method": "fit", "arguments": '
    + '{"a": ' * 100_000,
    "no text of JSON": "__import__('os').system('id')",
    "an expression without end": own("read_series", {"pattern": "(a+)+$"}, "io"),
    "more than memory holds": own("oxide_series", {"n_scans": 10**9}, "simulate"),
    "work without end": own("fit", {"max_iter": 10**12}),
    "work without end in an object": own(
        "ptycho_energies",
        {"schedule": {"$object": "Schedule", "fields": {"lead": 10**9}}},
        "cdi",
    ),
    "a simulation without end": own(
        "bragg_states", {"missing_state": 1_000_000}, "simulate"
    ),
    "a simulation of many": own("impedance_loop", {"n_scans": 1_000_000}, "simulate"),
    "sizes that multiply": own("particles", {"size": [900, 900]}, "simulate"),
    "steps without end": own("oxide_series", {"step": 1e-6}, "simulate"),
    "chunks of nothing": own("particles", {"chunks": {"y": 0}}, "simulate"),
    "no date": own("impedance_loop", {"start": "xxx"}, "simulate"),
    "a list in lists": own("fit", {"seed": json.loads("[" * 900 + "]" * 900)}),
    "a text without end": own("li_content", {"formula": "Li" * 501}, "echem"),
    "too few arguments": own("kramers_kronig_misfit", {"element": "Ni"}, "xanes"),
    "another argument": own("fit", {"n_components": 2, "on_end": "id"}),
    "a method of a library": own("subtract_baseline", {"method": "os.system"}, "xanes"),
    "an element that is code": own("mback", {"element": "__import__('os')"}, "xanes"),
    "a lattice that is code": own(
        "percolation", {"formula": "__import__('os')"}, "echem"
    ),
    "a device that is a module": own(
        "retrieve_learned", {"device": "os:system"}, "cdi"
    ),
    "a device of another machine": own("retrieve", {"device": "cuda:0"}, "cdi"),
    "a device in a list": own("retrieve", {"device": ["torch"]}, "cdi"),
    "a baseline that no library has": own(
        "subtract_baseline", {"method": "zzz"}, "xanes"
    ),
    "a part of a library": own("subtract_baseline", {"method": "utils"}, "xanes"),
    "an element that is none": own("mback", {"element": "Zz", "edge": "K"}, "xanes"),
    "an edge that is none": own("mback", {"element": "Ni", "edge": "Z9"}, "xanes"),
    "a formula of no element": own(
        "over_absorption",
        {"formula": "LiQqO2", "element": "Ni", "edge": "K", "geometry": [45.0, 45.0]},
        "xanes",
    ),
    "a peak that is a class": own("fit_peaks", {"shape": "__class__"}, "xanes"),
    "a circuit that is code": own("fit_circuit", {"circuit": "R0-exec('id')"}, "echem"),
    "an address of a sample": own("sample", {"name": "http://127.0.0.1/x"}, "samples"),
    "arguments in a list": {"accessor": "nmf", "method": "fit", "arguments": ["a"]},
}

_WATCHED = """
    import json, sys
    import numpy as np, xarray as xr
    import batteryxr
    calls = json.load(open(sys.argv[1]))
    for number, text in enumerate(calls.values()):
        batteryxr.save(xr.Dataset(attrs={
            "batteryxr_call": text, "batteryxr_version": batteryxr.__version__,
        }), "s.zarr", group=f"g{number}")
    tree = batteryxr.open_store("s.zarr")
    results = [tree[f"g{number}"].to_dataset() for number in range(len(calls))]
    seen, watching = [], False

    def hook(event, arguments):
        if not watching:
            return
        name = str(arguments[0]) if arguments else ""
        if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn",
                     "os.fork", "socket.connect"):
            seen.append([event, name])
        elif event == "import" and not name.startswith(("batteryxr", "encodings")):
            seen.append([event, name])
        elif event == "open" and not name.endswith((".py", ".pyc", ".nbi", ".nbc")):
            seen.append([event, name])

    sys.addaudithook(hook)
    answers = {}
    spectra = xr.DataArray(np.ones((4, 9)), dims=("scan", "energy"),
                           coords={"energy": np.arange(8300.0, 8309.0)})
    spectra["energy"].attrs["units"] = "eV"
    for name, result in zip(calls, results, strict=True):
        pdf = xr.DataArray(np.ones((4, 9)), dims=("scan", "r"))
        data = spectra if "xanes" in calls[name] else pdf
        known, watching = set(sys.modules), True
        try:
            batteryxr.replay(result, *([data] * ("simulate" not in calls[name])),
                             show=False)
            answer = "done"
        except Exception as error:
            answer = type(error).__name__
        watching = False
        seen += [["loaded", m] for m in sorted(set(sys.modules) - known)
                 if not m.startswith("batteryxr")]
        answers[name] = [answer, seen[:]]
        seen.clear()
    print(json.dumps(answers))
"""


def test_hostile_calls_are_refused_and_touch_nothing(tmp_path):
    calls = {
        name: call if isinstance(call, str) else json.dumps(call)
        for name, call in HOSTILE.items()
    }
    assert len(calls) > 20
    (tmp_path / "calls.json").write_text(json.dumps(calls))
    (tmp_path / "watched.py").write_text(textwrap.dedent(_WATCHED))
    done = subprocess.run(
        [sys.executable, "-B", "watched.py", "calls.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout)
    assert answers == {name: ["ArgumentError", []] for name in HOSTILE}
    assert {p.name for p in tmp_path.iterdir()} == {
        "calls.json",
        "s.zarr",
        "watched.py",
    }


def test_what_a_call_cannot_use_is_named():
    """No call from a store ends in an error of a library."""

    def divided(data: xr.Dataset, *, by: int = 1) -> xr.Dataset:
        return data.assign_attrs(n=1 // by)

    result = recorded(divided)(carrying("x"))
    call = json.loads(result.attrs["batteryxr_call"])
    call["arguments"]["by"] = 0
    result.attrs["batteryxr_call"] = json.dumps(call)
    with pytest.raises(ArgumentError, match=r"divided.: expected arguments that work"):
        batteryxr.replay(result, carrying("x"), show=False)
    del RECORDED[__name__, "divided"]


def test_a_large_simulation_is_asked_for_again():
    loop = batteryxr.simulate.impedance_loop(n_scans=2)
    call = json.loads(loop.attrs["batteryxr_call"])
    call["arguments"]["n_scans"] = 300
    told = {"batteryxr_version": loop.attrs["batteryxr_version"]}
    odd = xr.Dataset(attrs=told | {"batteryxr_call": json.dumps(call)})
    with pytest.raises(ArgumentError, match=r"n_scans=300.*replay\(result, n_scans="):
        batteryxr.replay(odd, show=False)
    again = batteryxr.replay(odd, n_scans=2, show=False)
    assert again["impedance"].sizes["spectrum"] == 2


@pytest.mark.parametrize("start", ["xxx", "NaT", "0001-01-01"])
def test_a_start_that_is_no_date_is_named(start):
    for simulated in (
        batteryxr.simulate.impedance_loop,
        batteryxr.simulate.cell_experiment,
    ):
        with pytest.raises(ArgumentError, match=r"start='.*': expected a date"):
            simulated(n_scans=20, start=start)


def recorded_functions():
    """Return (room, name) of every function that the sources record."""
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if "@recorded" not in (text := path.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and any(
                getattr(d, "id", "") == "recorded" for d in node.decorator_list
            ):
                yield room, node.name


def test_every_recorded_function_is_found_by_its_room_alone():
    code = """
        import importlib, json, sys
        import batteryxr
        from batteryxr.core.provenance import RECORDED, recorded
        from batteryxr.core.replay import _ROOMS
        for room in _ROOMS:
            importlib.import_module(f"batteryxr.{room}")
        print(json.dumps(sorted(RECORDED)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {tuple(key) for key in json.loads(done.stdout)}
    wanted = set(recorded_functions())
    assert len(wanted) > 90
    assert wanted - found == set()
    assert {room for room, _ in wanted} <= _ROOMS


def test_places_are_given_anew_and_not_told():
    def copied(data: xr.Dataset, *, store: str | Path | None = None) -> xr.Dataset:
        return data.assign_attrs(store_used=str(store))

    result = recorded(copied)(carrying("x"), store="/home/ada/secret/out.zarr")
    text = result.attrs["batteryxr_call"]
    assert "out.zarr" in text
    assert "ada" not in text + result.attrs["history"]
    with pytest.raises(ArgumentError, match=r"replay\(result, data, store=\.\.\.\)"):
        batteryxr.replay(result, carrying("x"))
    again = batteryxr.replay(result, carrying("x"), store=Path("here.zarr"))
    assert again.attrs["store_used"] == "here.zarr"
    del RECORDED[__name__, "copied"]


@replayable
@dataclass(frozen=True)
class Weighed:
    weights: str | Path = "/home/ada/secret/net.npz"
    title: str = "/as/it/stands"


Place = str | os.PathLike[str]
SECRET = "/home/ada/secret/a.cif"
DEEP = {
    "a list": (Sequence[Place | int], [SECRET, 3], "[{p}, 3]"),
    "a list or one": (Place | Sequence[Place], [SECRET], "[{p}]"),
    "texts of numpy": (Sequence[Place], np.array([SECRET]), "[{p}]"),
    "a mapping": (Sequence[int] | Mapping[str, Place], {"k": SECRET}, '{{"k": {p}}}'),
    "lists in a mapping": (
        Mapping[str, list[Place]],
        {"k": [SECRET]},
        '{{"k": [{p}]}}',
    ),
    "a pair": (tuple[int, Place] | None, (3, SECRET), "[3, {p}]"),
    "many": (tuple[Place, ...], (SECRET, SECRET), "[{p}, {p}]"),
    "a marked union": (Annotated[Place | None, OwnLabels()], SECRET, "{p}"),
}


@pytest.mark.parametrize("case", DEEP)
def test_a_place_is_shortened_wherever_it_stands(case):
    kind, value, told = DEEP[case]

    def copied(data, *, place=None):
        return data.assign_attrs(used=str(place))

    copied.__annotations__ = {"data": xr.Dataset, "place": kind}
    result = recorded(copied)(carrying("x"), place=value)
    del RECORDED[__name__, "copied"]
    text = result.attrs["batteryxr_call"]
    assert "ada" not in text + result.attrs["history"]
    assert told.format(p='"a.cif"') in result.attrs["history"]
    encoded = json.loads(text)["arguments"]["place"]
    assert holds_place(encoded, kind)


def test_a_place_in_an_object_is_shortened():
    def copied(data: xr.Dataset, *, network: Weighed) -> xr.Dataset:
        return data.copy()

    result = recorded(copied)(carrying("x"), network=Weighed())
    text = result.attrs["batteryxr_call"]
    assert "ada" not in text + result.attrs["history"]
    assert (
        'Weighed(weights="net.npz", title="/as/it/stands")'
        in text + (result.attrs["history"])
    )
    with pytest.raises(ArgumentError, match="weights"):
        batteryxr.replay(result, carrying("x"), show=False)
    del RECORDED[__name__, "copied"]


def test_arguments_without_a_name_of_their_own_are_shortened():
    def copied(data: xr.Dataset, *others: Place, **named: Place) -> xr.Dataset:
        return data.copy()

    result = recorded(copied)(carrying("x"), SECRET, more=SECRET)
    text = result.attrs["batteryxr_call"]
    assert "ada" not in text
    assert text.count("a.cif") == 2
    del RECORDED[__name__, "copied"]


@pytest.mark.parametrize(
    ("kind", "text", "place"),
    [
        (Word | os.PathLike[str], "theta", False),
        (Word | os.PathLike[str], "/home/ada/theta.toml", True),
        (Sequence[Word | Path], "theta", False),
        (None | (Word | Path), "theta", False),
        (
            Annotated[Annotated[Word | Path, OwnLabels()] | None, OwnLabels()],
            "b",
            False,
        ),
        (Literal["a"] | Annotated[Path | str, OwnLabels()], "a", False),
        (Literal["a"] | Annotated[Path | str, OwnLabels()], "b", True),
        (str, "/home/ada/as/it/stands", False),
        (Any, "/home/ada/as/it/stands", False),
    ],
)
def test_a_word_is_no_place_however_deep_it_stands(kind, text, place):
    many = typing.get_origin(kind) is Sequence
    encoded = encode([text] if many else text, kind)
    (found,) = encoded if many else [encoded]
    assert found == ({"$place": Path(text).name} if place else text)
    assert holds_place(text, kind) == place


def test_the_call_is_shown_before_it_runs(capsys):
    pdf = batteryxr.simulate.oxide_series("FeO", n_scans=3)["scans"]["pdf"]
    result = pdf.nmf.lower_envelope()
    batteryxr.replay(result, pdf)
    assert capsys.readouterr().out.startswith("nmf.lower_envelope(signal=")
    batteryxr.replay(result, pdf, show=False)
    assert capsys.readouterr().out == ""


def test_a_name_of_a_beamline_is_no_place():
    call = own("geometry", {"beamline": "theta"}, "cdi")
    with pytest.raises(BatteryxrError) as caught:
        batteryxr.replay(carrying(call), xr.DataArray(np.ones(3), dims="x"))
    assert "place" not in str(caught.value)


def test_a_call_that_memory_cannot_hold_is_refused(monkeypatch):
    monkeypatch.setattr("batteryxr.core.replay._GROWTH", float("inf"))
    monkeypatch.setattr("batteryxr.simulate.oxides.require_modest", lambda *_: None)
    wanted = {"name": "FeO", "step": 1e-12}
    with pytest.raises(ArgumentError, match="fits in memory"):
        batteryxr.replay(carrying(own("oxide_series", wanted, "simulate")), show=False)


def test_no_library_is_loaded_for_a_device_that_is_none(monkeypatch):
    def load(name, **_):
        raise AssertionError(name)

    monkeypatch.setattr(device, "require", load)
    for name in ("os:system", "gpu", "cuda:0;import os", "torch.hub"):
        with pytest.raises(ArgumentError, match="a device that PyTorch finds"):
            device.to_device(name, purpose="a test")


def test_unused_arguments_are_refused():
    pdf = batteryxr.simulate.oxide_series("FeO", n_scans=3)["scans"]["pdf"]
    with pytest.raises(ArgumentError, match=r"sort=.*one of"):
        batteryxr.replay(pdf.nmf.lower_envelope(), pdf, sort=True)
