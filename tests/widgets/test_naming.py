"""Names in the code of a panel: those that its user wrote."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batteryxr  # noqa: F401 - the accessors
from batteryxr.widgets import StackViewer
from batteryxr.widgets.models.naming import literal, notebook_name


def said(panel):
    """Return the code of a panel, and the names in it that stand for nothing."""
    code, _, nameless = panel.code.partition("  # ")
    return code, nameless


def test_data_are_called_as_the_user_wrote(stack):
    both = xr.Dataset({"od": stack, "dose": stack * 2})
    of = {"cell": [stack]}
    cases = [
        (stack.xanes.view(), "stack.isel(y=15, x=20)"),
        (both["dose"].xanes.view(), "both['dose'].isel(y=15, x=20)"),
        ((stack + 1).xanes.view(), "(stack + 1).isel(y=15, x=20)"),
        (of["cell"][0].xanes.view(pixel=[1, 2]), "of['cell'][0].isel(y=1, x=2)"),
        (
            # over several lines, with words that are not ASCII: é
            stack.isel(
                energy=slice(2, None)
            ).xanes.view(),
            "stack.isel(energy=slice(2, None)).isel(y=15, x=20)",
        ),
        (StackViewer(stack - 1), "(stack - 1).isel(y=15, x=20)"),
        (StackViewer(data=stack, name="mine"), "mine.isel(y=15, x=20)"),
    ]  # fmt: skip
    for panel, code in cases:
        assert said(panel) == (code, "")
        panel.close()


def test_what_is_not_named_is_said(stack):
    panel = eval("stack.xanes.view()")  # no source to read
    assert said(panel) == ("data.isel(y=15, x=20)", "data: as given to the panel")
    panel.close()


def test_a_name_that_stands_for_other_data_is_not_used(stack, monkeypatch):
    monkeypatch.setitem(globals(), "seen", stack + 1)
    panel = seen.xanes.view()  # noqa: F821
    assert said(panel) == ("seen.isel(y=15, x=20)", "")
    monkeypatch.setitem(globals(), "seen", stack)
    panel.pixel = [3, 4]
    assert said(panel) == ("data.isel(y=3, x=4)", "data: as given to the panel")
    panel.close()


def test_what_the_code_needs_is_imported(stack, monkeypatch):
    wave = np.exp(1j * stack)
    monkeypatch.delitem(globals(), "xr")
    panel = wave.cdi.view(part="phase")
    assert panel.code == (
        "import xarray as xr\nxr.apply_ufunc(np.angle, wave.isel(y=15, x=20))"
    )
    panel.close()


@pytest.mark.parametrize(
    "value",
    [
        *(0.1 + 0.2, np.float32(0.1), np.int64(3), np.bool_(True), "é\n", None),
        *((1,), [("charge", 3.3000000000000003)], {"a": {"b": float("inf")}}),
    ],
)
def test_code_gives_the_same_value(value):
    assert eval(literal(value)) == value


def test_names_in_data_are_no_code(stack):
    """Whoever copies the code of a panel runs what stands in it."""
    evil = '"]; import os; os.abort() #\u202e'
    named = stack.rename(y="a b", x="x=0); evil(").rename(evil)
    data = xr.Dataset({evil: named})
    panels = StackViewer(data, name="data"), StackViewer(data[evil])
    for panel in panels:
        code = panel.code.partition("  # ")[0]
        assert code.isprintable()
        found = eval(code, {"data": data, "evil": evil})
        np.testing.assert_array_equal(found, named.values[:, 15, 20])
        panel.close()
    assert notebook_name(data[evil], {"data": data}) == f"data[{literal(evil)}]"
