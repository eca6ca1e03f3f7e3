"""Components: the stepwise protocol, the code for it, previews and restored choices."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr import nmf
from batteryxr.core.errors import ArgumentError, DataQualityWarning
from batteryxr.widgets.models import components
from batteryxr.widgets.models.components import ComponentModel

pytestmark = pytest.mark.filterwarnings(
    "ignore::batteryxr.core.errors.BatteryxrWarning"
)


def test_the_stepwise_protocol_and_its_code(series):
    model = ComponentModel(series, name="series")
    assert model.result.sizes["component"] == 2
    model.fix("pristine", 0)
    model.keep_and_raise("CP1", "other")
    result = model.result
    assert sorted(result["component"].values) == ["CP1", "other", "pristine"]
    assert int(result["fixed"].sum()) == 2
    np.testing.assert_array_equal(
        result["components"].sel(component="pristine"), series[0]
    )
    assert model.code == (
        'step1 = series.nmf.fit(2, fixed={"pristine": 0})\n'
        'step2 = series.nmf.raise_n(step1, keep={"other": "CP1"})'
    )
    scope = {"series": series}
    exec(model.code, scope)
    assert scope["step2"].equals(result)

    again = eval(model.reopen, {"series": series})
    assert again.choice["steps"] == model.steps
    assert again.result.equals(result)

    model.n_components = 1
    with pytest.raises(ArgumentError, match="at least 2, as kept"):
        _ = model.result
    model.step_back()
    assert (model.n_components, model.fixed, model.steps) == (2, {"pristine": 0}, [])
    model.release("pristine")
    assert not model.result["fixed"].any()


def test_a_known_phase_from_a_file(series, tmp_path):
    r = np.linspace(0.5, 11, 300)
    pattern = np.exp(-0.5 * ((r - 5) / 0.3) ** 2)
    path = tmp_path / "phase.gr"
    np.savetxt(path, np.column_stack([r, pattern]))
    model = ComponentModel(series, name="series")
    model.fix("known", str(path))
    held = model.result["components"].sel(component="known")
    np.testing.assert_allclose(held, np.interp(series.r, r, pattern), atol=1e-6)
    scope = {"series": series, "batteryxr": batteryxr}
    assert eval(model.code, scope).equals(model.result)


def test_going_back_is_immediate(series, monkeypatch):
    model = ComponentModel(series)
    first = model.result
    model.n_components = 3
    _ = model.result
    monkeypatch.setattr(components, "fit", lambda *_, **__: pytest.fail("fitted again"))
    model.n_components = 2
    assert model.result.equals(first)


def test_a_preview_comes_first_where_the_fit_takes_long(series, monkeypatch):
    model = ComponentModel(series)
    _ = model.result
    monkeypatch.setattr(components, "QUICK", 100)
    monkeypatch.setattr(components, "_PREVIEW", 1000)
    seen = []
    model.observe(lambda c: seen.append((c["new"], model.answer)), "status")
    model.fix("pristine", 0)
    model.choose(n_components=3)
    exact = model.result
    words = [status for status, _ in seen]
    assert words[-2:] == ["preview", "ready"]
    preview = dict(seen)["preview"].fit
    assert preview.sizes["r"] * preview.sizes["scan"] < series.size / 2
    assert exact.sizes["r"] == series.sizes["r"]
    assert set(preview["component"].values) == set(exact["component"].values)


def test_signed_patterns_get_a_shift_and_images_no_closure(series, stack):
    signed = ComponentModel(series - 0.5)
    assert signed.shift == "envelope"
    assert "shift" not in signed.reopen
    scope = {"batteryxr": batteryxr, "signed": series - 0.5}
    model = ComponentModel(scope["signed"], name="signed")
    assert 'constraints=batteryxr.nmf.Constraints(shift="envelope")' in model.code
    exec("found = " + model.code, scope)
    assert scope["found"].equals(model.result)
    images = ComponentModel(abs(stack.fillna(0)))
    assert not images.closure
    assert images.result["weights"].dims == ("component", "y", "x")


def test_warnings_go_to_the_panel_of_their_thread_alone(series, monkeypatch):
    begun = threading.Event()

    def fit(*arguments, **options):
        begun.set()
        for _ in range(3):
            warnings.warn("of the panel", DataQualityWarning, stacklevel=2)
        return nmf.fit(*arguments, **options)

    monkeypatch.setattr(components, "fit", fit)
    model = ComponentModel(series)
    for n in (3, 4):
        begun.clear()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            model.n_components = n
            model._work._current[0].begin.set()
            assert begun.wait(10)
            warnings.warn("of the notebook", DataQualityWarning, stacklevel=1)
            _ = model.result
        assert [str(w.message) for w in seen] == ["of the notebook"]
        assert model.message.splitlines()[:3] == ["of the panel"] * 3
        assert "of the notebook" not in model.message
        assert model.status == "ready"


def test_errors_are_told_and_leave_the_panel_alive(series):
    model = ComponentModel(series)
    _ = model.result
    with pytest.raises(ArgumentError, match="a name that is not in use"):
        model.fix("x", 0) or model.fix("x", 1)
    model.choose(fixed={"far": 500})
    with pytest.raises(ArgumentError, match="a scan from"):
        _ = model.result
    assert model.status == "failed"
    model.fixed = {}
    assert model.result.sizes["component"] == 2


def test_components_are_matched_with_references(series):
    reference = series[0].drop_vars(["voltage", "li_content"])
    model = ComponentModel(series, references={"first": reference, "noise": -reference})
    model.n_components = 3
    found = model.likeness(model.result)
    best = max(found.values(), key=lambda pair: pair[1])
    assert best[0] == "first"
    assert best[1] > 0.99


def test_judging_does_not_wait_for_the_fit_nor_stop_it(series):
    model = ComponentModel(series)
    model.judge()
    assert model.judging
    order = model.wait_for_judging()
    assert isinstance(order, xr.Dataset)
    assert order["n_components"].values[0] == 1
    assert model.judging == ""
    model.judge()
    model.stop_judging()
    assert model.judging == ""
