"""Deprecated names still work, warn at the user's line, and go when they said."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import xarray as xr

import batteryxr
from batteryxr.accessors.base import Accessor, method
from batteryxr.core import deprecation
from batteryxr.core.deprecation import (
    BatteryxrDeprecationWarning,
    deprecated,
    is_due,
    renamed_argument,
)
from batteryxr.core.errors import ArgumentError, BatteryxrWarning
from batteryxr.core.provenance import recorded


@deprecated("0.2.0", instead=".echem.double")
def twice(data, factor=2):
    """Multiply data.

    More about it.

    Parameters
    ----------
    data
        Anything.
    """
    return data * factor


@renamed_argument("n", "n_components", since="0.9")
@recorded
def parts(data: xr.DataArray, n_components: int = 2) -> xr.DataArray:
    """Count parts."""
    return data + n_components


class Tools(Accessor):
    """An accessor as ours are."""

    twice = method(twice)
    parts = method(parts)


def line() -> int:
    """Return the caller's line number."""
    return sys._getframe(1).f_lineno


def test_what_is_deprecated_still_works_and_warns_at_the_users_line():
    with pytest.warns(BatteryxrDeprecationWarning) as caught:
        result, here = twice(4, factor=3), line()
    assert result == 12
    (told,) = caught
    assert (told.filename, told.lineno) == (__file__, here)
    assert str(told.message) == (
        "twice is deprecated since batteryxr 0.2.0 and goes in 0.4: "
        "use .echem.double instead."
    )


def test_through_an_accessor_too():
    data = xr.DataArray([1.0])
    with pytest.warns(BatteryxrDeprecationWarning) as caught:
        here = (Tools(data).twice(), Tools(data).parts(n=3), line())[-1]
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, here)] * 2


def test_a_renamed_argument_means_what_it_meant():
    data = xr.DataArray([1.0])
    with pytest.warns(BatteryxrDeprecationWarning, match=r"0\.9 and goes in 0\.11"):
        old = parts(data, n=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_equal(old, parts(data, n_components=3))
        xr.testing.assert_equal(old, parts(data, 3))
    assert '"n_components": 3' in old.attrs["batteryxr_call"]


@pytest.mark.parametrize("call", [((), {"n_components": 3}), ((3,), {})])
def test_both_names_at_once_are_refused(call):
    args, kwargs = call
    with pytest.raises(ArgumentError, match="n=4: expected n_components= alone"):
        parts(xr.DataArray([1.0]), *args, n=4, **kwargs)


def test_signatures_show_the_present_names_alone():
    assert list(inspect.signature(parts).parameters) == ["data", "n_components"]
    assert list(inspect.signature(Tools.parts).parameters) == ["self", "n_components"]


def test_docstrings_say_so_below_the_summary():
    summary, directive, *rest = Tools.twice.__doc__.split("\n\n")
    assert summary == "Multiply data."
    assert directive.startswith(".. deprecated:: 0.2.0\n   Use ``.echem.double``")
    assert rest[0] == "More about it."
    assert rest[1].startswith("Parameters\n----------\ndata\n    Anything.")
    assert ".. deprecated:: 0.9\n   The argument ``n``" in parts.__doc__


def test_users_see_it_and_programs_that_use_us_do_not():
    """As for any DeprecationWarning: shown in __main__ alone, by default."""
    code = (
        "from batteryxr.core.deprecation import deprecated\n"
        "old = deprecated('0.2', instead='new')(lambda: None)\n"
        "import sys, types\n"
        "other = types.ModuleType('other'); other.old = old\n"
        "exec('def run(): old()', vars(other))\n"
        "other.run()\n"
        "print('---', file=sys.stderr)\n"
        "old()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    elsewhere, main = run.stderr.split("---")
    assert "deprecated" not in elsewhere
    assert "BatteryxrDeprecationWarning" in main
    assert issubclass(BatteryxrDeprecationWarning, BatteryxrWarning)


@pytest.mark.parametrize("since", ["next", "1", "0.x"])
def test_a_release_is_named(since):
    with pytest.raises(ValueError, match="is no version"):
        deprecated(since, instead="other")
    with pytest.raises(ValueError, match="is no version"):
        renamed_argument("a", "b", since)


@pytest.mark.parametrize("names", [("old", "absent"), ("data", "n_components")])
def test_a_rename_that_is_none_is_found_at_import(names):
    with pytest.raises(ValueError, match="has no"):
        renamed_argument(*names, since="0.3")(parts)


def test_what_is_announced_goes_on_its_day():
    assert is_due("0.4", "0.4.0")
    assert is_due("0.4", "1.0")
    assert not is_due("0.4", "0.3.9")
    assert not is_due("0.10", "0.9.0")


def test_nothing_is_overdue():
    for found in pkgutil.walk_packages(batteryxr.__path__, "batteryxr."):
        source = Path(found.module_finder.find_spec(found.name).origin).read_text()
        if "core.deprecation import" in source:
            importlib.import_module(found.name)
    ours = [a for a in deprecation.ANNOUNCED if a.module.startswith("batteryxr")]
    assert not [a for a in ours if is_due(a.removed, batteryxr.__version__)]
