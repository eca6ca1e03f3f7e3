"""The rules of CONTRIBUTING.md that a machine can hold.

`benchmarks/house.py` counts the same things, and names the offenders with --list.
"""

from __future__ import annotations

import _public
import _source
import pytest


@pytest.fixture(scope="module")
def library():
    return _source.Library()


@pytest.fixture
def another(tmp_path):
    """Return a function that writes modules, and reads them as a library."""

    def make(**texts):
        for name, text in texts.items():
            path = tmp_path / "batteryxr" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return _source.Library(tmp_path)

    return make


def test_a_folder_holds_at_most_20_files(library):
    folders = library.folders()
    assert len(folders) > 40
    assert {name: n for name, n in folders.items() if n > 20} == {}


def test_no_file_has_a_twin_with_an_underscore(library, another):
    assert library.twins() == []
    assert another(nmf___fit="", nmf__fit="").twins() == ["batteryxr.nmf._fit"]


def test_dask_is_imported_in_one_place(library, another):
    home = ("batteryxr.core.blocks",)
    assert library.users_of("dask", home) == []
    bad = another(
        nmf__fit="def f():\n    import dask.array", core__blocks="import dask"
    )
    assert bad.users_of("dask", home) == ["batteryxr.nmf.fit"]


def test_warnings_are_issued_in_core_alone(library, another):
    found = library.calls("warnings.warn", outside="batteryxr.core")
    found += library.calls("warn", outside="batteryxr.core")
    assert found == []
    bad = another(xanes__fit="import warnings\nwarnings.warn('a')")
    assert bad.calls("warnings.warn", outside="batteryxr.core") == [
        "batteryxr.xanes.fit:2"
    ]


def test_imports_run_in_no_circle(library, another):
    assert library.circles() == []
    bad = another(
        nmf__fit="from batteryxr.nmf import result",
        nmf__result="def f():\n    from batteryxr.nmf.fit import fit",
        nmf__other="from batteryxr.nmf.fit import fit",
    )
    assert bad.circles() == [["batteryxr.nmf.fit", "batteryxr.nmf.result"]]


def test_zarr_is_imported_in_two_places(library, another):
    homes = ("batteryxr.core.store", "batteryxr.core.ledger")
    assert library.users_of("zarr", homes) == []
    bad = another(cdi__states="import zarr", core__store="import zarr")
    assert bad.users_of("zarr", homes) == ["batteryxr.cdi.states"]


def test_one_mechanism_keeps_what_long_work_has_finished(library):
    assert library.resumable() == ["batteryxr.core.ledger"]


@pytest.fixture(scope="module")
def functions(library):
    found = library.functions(_public.first_lines(_public.public_functions()))
    assert sum(f.public for f in found) > 150
    return found


def test_public_functions_take_at_most_12_arguments(functions):
    assert [
        f"{f}: {f.parameters}" for f in functions if f.public and f.parameters > 12
    ] == []


def test_functions_inside_take_at_most_8_arguments(functions):
    assert [
        f"{f}: {f.parameters}" for f in functions if not f.public and f.parameters > 8
    ] == []


def test_arguments_of_all_kinds_are_counted(another):
    text = "def f(a, /, b, *c, d, **e): ...\nclass A:\n    def g(self, a): ..."
    found = another(nmf__fit=text).functions(set())
    assert {f.name: f.parameters for f in found} == {"f": 5, "g": 1}


def test_bodies_are_short(functions):
    long = [f"{f}: {f.body}" for f in functions if f.body > (80 if f.kernel else 60)]
    assert long == []


#: Nouns that say little about what a class is: each may name one.
VAGUE = ("Plan", "Run", "Job", "Task", "Layout", "Found", "Source", "Options")


def test_a_class_has_a_name_of_its_own(library, another):
    shared = library.classes()
    assert {name: at for name, at in shared.items() if name in VAGUE} == {}
    assert len(shared) <= 4, shared
    twice = another(nmf__fit="class Plan: ...", xanes__fit="class Plan: ...")
    assert twice.classes() == {"Plan": ["batteryxr.nmf.fit", "batteryxr.xanes.fit"]}


def test_charge_has_one_colour(library):
    assert library.palettes() == ["batteryxr.core.plotting"]
