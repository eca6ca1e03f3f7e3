"""Other programs, versions and citations."""

from __future__ import annotations

import re
import sys
import types

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.core.errors import DataError, MissingDependencyError, UnitsError
from batteryxr.export.citation import REFERENCES, SOURCES


@pytest.fixture
def napari(monkeypatch):
    """A stand-in that notes what napari would be given."""
    shown = []

    class Viewer:
        def add_image(self, values, **options):
            shown.append(("image", values, options))

        def add_labels(self, values, **options):
            shown.append(("labels", values, options))

    module = types.ModuleType("napari")
    module.Viewer = Viewer
    monkeypatch.setitem(sys.modules, "napari", module)
    return shown


def _maps(step=(20.0, 10.0)):
    coords = {
        "y": ("y", step[0] * np.arange(3), {"units": "nm"}),
        "x": ("x", 100 + step[1] * np.arange(4), {"units": "nm"}),
    }
    values = np.arange(12.0).reshape(3, 4)
    return xr.Dataset(
        {
            "edge_energy": (("y", "x"), values, {"units": "eV"}),
            "cluster": (("y", "x"), values.astype(int) % 3),
            "mean": ((), 1.0),
        },
        coords,
    )


def test_napari_gets_steps_units_and_labels(napari):
    batteryxr.view_napari(_maps())
    kinds = {options["name"]: (kind, options) for kind, _, options in napari}
    assert {n: k for n, (k, _) in kinds.items()} == {
        "edge_energy": "image",
        "cluster": "labels",
    }
    told = kinds["edge_energy"][1]
    assert told["scale"] == [20.0, 10.0]
    assert told["translate"] == [0.0, 100.0]
    assert told["units"] == ["nm", "nm"]


def test_a_stack_larger_than_memory_stays_lazy(napari):
    stack = _maps()["edge_energy"].expand_dims(energy=[5400.0, 5401.0]).chunk(energy=1)
    batteryxr.view_napari(stack.transpose("x", "energy", "y"))
    ((_, values, options),) = napari
    assert hasattr(values, "dask")
    assert values.shape == (2, 3, 4)
    assert options["scale"] == [1.0, 20.0, 10.0]


def test_what_napari_would_show_wrong_is_refused(napari):
    uneven = _maps().assign_coords(x=[0.0, 1.0, 2.0, 5.0])
    with pytest.raises(DataError, match="unevenly"):
        batteryxr.view_napari(uneven)
    with pytest.raises(DataError, match="complex"):
        batteryxr.view_napari(_maps()["edge_energy"].astype(complex))
    with pytest.raises(DataError, match="no variable is an image"):
        batteryxr.view_napari(_maps()["mean"])
    assert napari == []


def test_a_missing_viewer_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "napari", None)
    with pytest.raises(MissingDependencyError, match=r"batteryxr\[napari\]"):
        batteryxr.view_napari(_maps())


def test_units_take_part_in_arithmetic():
    pytest.importorskip("pint_xarray")
    record = xr.Dataset(
        {
            "voltage": ("record", [3.0, 4.0], {"units": "V"}),
            "specific_current": ("record", [2.0, 2.0], {"units": "mA g-1"}),
            "branch": ("record", ["charge", "rest"]),
            "time": ("record", np.array(["2026-01-01", "2026-01-02"], "M8[ns]")),
        }
    )
    with_units = batteryxr.quantify(record)
    power = (with_units["voltage"] * with_units["specific_current"]).pint.to("W / kg")
    np.testing.assert_allclose(power.pint.dequantify(), [6.0, 8.0])
    assert with_units["branch"].values.tolist() == ["charge", "rest"]
    with pytest.raises(UnitsError, match="voltage"):
        batteryxr.quantify(
            record.assign(voltage=record["voltage"].assign_attrs(units="blub"))
        )


def test_versions_name_what_is_there_and_what_is_not(capsys):
    batteryxr.show_versions()
    told = capsys.readouterr().out
    assert re.search(rf"^numpy +{re.escape(np.__version__)}$", told, re.MULTILINE)
    assert re.search(r"^batteryxr +\d", told, re.MULTILINE)
    assert "MISSING" not in told


def test_a_result_says_what_to_cite():
    lines = [
        '2026-03-01T09:00:00Z batteryxr 0.1.0: echem.join(first="charge")',
        "2026-03-01T09:01:00Z batteryxr 0.1.0: "
        "cdi.ptycho_energies(engine=LSQML(batch=20), seed=0)",
    ]
    result = xr.Dataset(attrs={"history": "\n".join(lines)})
    found = batteryxr.cite(result)
    assert found.steps == tuple(line.split(": ", 1)[1] for line in lines)
    assert list(found.references) == [
        "batteryxr",
        "xarray",
        "scipy",
        "odstrcil2018",
    ]
    text = str(found)
    assert text.splitlines()[2].endswith("seed=0) [4]")
    assert "[4] M. Odstrčil" in text
    assert "doi = {10.1364/OE.26.003108}" in found.bibtex
    assert "author = {M. Odstrčil and A. Menzel and M. Guizar-Sicairos}" in found.bibtex
    with pytest.raises(DataError, match="no call"):
        batteryxr.cite(xr.Dataset())


def test_sources_name_calls_and_works_that_are_there():
    import importlib

    from batteryxr.core.provenance import RECORDED

    for home in ("cdi", "echem", "nmf", "xanes"):
        module = importlib.import_module(f"batteryxr.{home}")
        for name in dir(module):
            getattr(module, name)
    known = {".".join(key) for key in RECORDED}
    assert {name.split("(")[0] for name in SOURCES} <= known
    cited = {key for works in SOURCES.values() for key in works}
    assert cited <= set(REFERENCES)
    assert {"xarray", "scipy"} | cited == set(REFERENCES)
    assert all(r.doi == "" or r.doi.startswith("10.") for r in REFERENCES.values())


def test_units_of_coordinates_are_read_as_they_are_meant():
    pytest.importorskip("pint_xarray")
    data = xr.DataArray(
        [1.0, 2.0],
        {
            "q": ("q", [0.1, 0.2], {"units": "1/Angstrom"}),
            "capacity": ("q", [10.0, 20.0], {"units": "mA h g-1"}),
        },
        ("q",),
        attrs={"units": "V"},
    )
    found = batteryxr.quantify(data)
    assert found.name is None
    assert str(found.pint.units) == "volt"
    per_kg = found["capacity"].pint.to("A h / kg").pint.dequantify()
    np.testing.assert_allclose(per_kg, [10.0, 20.0])
    assert data["capacity"].attrs["units"] == "mA h g-1"


def test_steps_are_cited_as_python_has_them():
    history = (
        '2026-03-01T09:00:00Z batteryxr 0.1.0: echem.join(scans={"$data": "DataArray", '
        '"sizes": {"scan": 200, "energy": 361}}, exposure=null, first="null", '
        "clock=Clock(offset_s=1.0, error=null))"
    )
    (step,) = batteryxr.cite(xr.Dataset(attrs={"history": history})).steps
    assert step == (
        'echem.join(scans=DataArray(scan: 200, energy: 361), first="null", '
        "clock=Clock(offset_s=1.0))"
    )
    bare = "2026-03-01T09:00:00Z batteryxr 0.1.0: nmf.pca(a=null, b=null)"
    assert batteryxr.cite(xr.Dataset(attrs={"history": bare})).steps == ("nmf.pca()",)
    only = "2026-03-01T09:00:00Z batteryxr 0.1.0: nmf.pca(a=null, b=true)"
    found = batteryxr.cite(xr.Dataset(attrs={"history": only}))
    assert found.steps == ("nmf.pca(b=True)",)
    assert "et al. SciPy" in str(found)
