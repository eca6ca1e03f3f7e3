"""Panels as widgets: in step with their models, told by the front end."""

from __future__ import annotations

import io
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from ipywidgets.embed import dependency_state, embed_minimal_html

import batteryxr
from batteryxr.core.errors import ArgumentError

pytestmark = pytest.mark.filterwarnings(
    "ignore::batteryxr.core.errors.BatteryxrWarning"
)


def test_choices_are_traits_of_the_panel(series):
    panel = series.nmf.panel(n_components=3)
    assert panel.result.sizes["component"] == 3
    panel.n_components = 2  # as the slider does
    assert panel.result.sizes["component"] == 2
    assert panel.code == "series.nmf.fit(2)"
    assert panel.foot.code == panel.code
    assert repr(panel) == "series.nmf.panel()"
    drawn = {plot["id"] for plot in panel.figure.figure["plots"]}
    assert {"components", "principal", "voltage", "ratios", "residual"} <= drawn
    assert panel.order["n_components"].values[0] == 1
    drawn = {plot["id"] for plot in panel.figure.figure["plots"]}
    assert {"order error", "order stability", "order scree"} <= drawn


def test_the_stop_button_stops(series):
    panel = series.nmf.panel()
    _ = panel.result
    panel.n_components = 4
    panel.foot._handle_custom_msg({"kind": "cancel"}, [])
    assert panel.foot.status == "cancelled"
    assert panel.result.sizes["component"] == 4  # asked for after all


def test_choices_are_undone_and_done_again(series):
    panel = series.nmf.panel(n_components=3)
    tell = panel.foot._handle_custom_msg
    assert (panel.foot.can_undo, panel.foot.can_redo) == (True, False)
    panel.fixed = {"end": series[3] + 1}
    panel.model.choose(seed=4, method="hals")
    before = panel.choice
    panel.n_components = 2
    for kind, choice in (("undo", before), ("redo", {**before, "n_components": 2})):
        tell({"kind": kind}, [])
        seen = panel.choice
        assert seen.pop("fixed") is choice["fixed"]
        assert seen == {n: v for n, v in choice.items() if n != "fixed"}
    for _ in range(9):
        panel.undo()
    assert (panel.seed, panel.method, panel.fixed) == (0, "active-set", {})
    assert (panel.foot.can_undo, panel.foot.can_redo) == (False, True)
    panel.seed = 9  # another way: what was undone is gone
    assert not panel.foot.can_redo
    panel.cancel()


def test_a_default_that_is_found_later_outlives_undo(series):
    panel = series.nmf.panel()
    panel.model.suppose("seed", 5)  # as the abscissa, once the data are looked at
    panel.n_components = 4
    panel.undo()
    assert (panel.n_components, panel.seed) == (2, 5)
    panel.cancel()


def test_a_slider_in_motion_is_one_choice(stack):
    panel = stack.xanes.view(index=2)
    for index in (3, 4, 5, 6):
        panel.index = index
    panel.pixel = [1, 1]
    panel.undo()
    assert panel.index == 6
    panel.undo()
    assert panel.index == 2
    panel.close()


def test_picks_and_drags_of_the_front_end(scans):
    panel = scans.echem.panel()
    tell = panel.figure._handle_custom_msg
    tell({"kind": "pick", "plot": "voltage", "series": 1, "index": 3}, [])
    assert panel.states == [("charge", 3.3)]
    _ = panel.result
    to = {"series": 2, "index": 2}
    tell({"kind": "drag", "plot": "voltage", "index": 0, "to": to}, [])
    assert panel.states == [("discharge", 3.8)]
    _ = panel.result
    panel._tags.value = [*panel._tags.value, "charge 3.5"]  # typed
    assert panel.states == [("discharge", 3.8), ("charge", 3.5)]
    panel._tags.value = [*panel._tags.value, "nonsense"]
    assert panel.states == [("discharge", 3.8), ("charge", 3.5)]
    assert "type for example charge 3.5" in panel.foot.message
    tell({"kind": "brush", "plot": "voltage", "x": [0, 0.01], "y": [8, 9]}, [])
    assert "an area without scans" in panel.foot.message
    _ = panel.result
    assert {p["id"] for p in panel.figure.figure["plots"]} >= {"voltage", "states"}


def test_a_click_on_the_voltage_curve_shows_spectrum_fit_and_relaxation_times():
    loop = batteryxr.simulate.impedance_loop(n_scans=4, seed=0)
    record, spectra = loop["echem"].to_dataset(), loop["impedance"].to_dataset()
    spectra = record.echem.join(spectra)
    panel = spectra.echem.impedance_panel(record=record, circuit="L0-R0-p(R1,CPE1)-W1")
    assert [p["id"] for p in panel.figure.figure["plots"]] == ["voltage"]
    assert "click a spectrum" in panel.foot.note
    pick = {"kind": "pick", "plot": "voltage", "series": 0, "index": 2}
    panel.figure._handle_custom_msg(pick, [])
    assert panel.spectrum == 2
    found = panel.result
    true = loop["truth"]["R1"].values[2]
    assert float(found.fit["R1"][0]) == pytest.approx(true, rel=0.05)
    assert float(found.drt["gamma"].max()) > 0
    drawn = {plot["id"]: plot for plot in panel.figure.figure["plots"]}
    assert set(drawn) == {"voltage", "nyquist", "times"}
    assert len(drawn["nyquist"]["series"]) == 3
    assert 'fit_circuit("L0-R0-p(R1,CPE1)-W1")' in panel.code
    panel.circuit = "R0-p(R1"  # no circuit: told, not raised
    with pytest.raises(ArgumentError):
        _ = panel.result
    assert panel.foot.status == "failed"
    with pytest.raises(ArgumentError, match="spectrum"):
        panel.choose(spectrum=9)


def test_the_viewer_sends_pictures_and_answers_looks(stack):
    panel = stack.xanes.view()
    sent = []
    panel.viewer.send = lambda content, buffers=(): sent.append((content, buffers))
    panel.viewer._handle_custom_msg({"kind": "ready"}, [])
    panel._reading.wait()
    assert len(sent) == 12
    assert {len(b[0]) for _, b in sent} == {30 * 40 * 2}
    sent.clear()
    look = {"kind": "look", "axis": "energy", "at": [1, 2]}
    panel.viewer._handle_custom_msg(look, [])
    panel._looking.wait()
    assert sent[0][0] == {"kind": "exact", "at": [1, 2], "axis": "energy"}
    sent.clear()
    seen = {"axis": "energy", "index": 2, "window": [4, 9, 0, 39]}
    panel.viewer._handle_custom_msg({"kind": "tile", "every": 2} | seen, [])
    panel._sharpening.wait()
    assert sent[0][0].items() >= ({"kind": "tile", "every": 2} | seen).items()
    assert len(sent[0][1][0]) == 3 * 20 * 2
    panel.pixel = [5, 6]
    assert panel.result.equals(stack.isel(y=5, x=6))
    assert panel.viewer.exact["at"] == [5, 6]


def test_panels_are_methods_that_document_themselves(series):
    import inspect

    assert "Keep" not in (series.nmf.panel.__doc__ or "")[:40]
    assert "n_components" in inspect.signature(series.nmf.panel).parameters
    assert "panel" in repr(series.nmf)


#: Each runs or fetches something where it is taken for more than text.
HOSTILE = "</script><script>a()</script><img src='//evil.test' onerror=a()>$$x$$"


class _Tags(HTMLParser):
    """Tags of a page with what their attributes say."""

    def __init__(self, page):
        super().__init__()
        self.seen = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, attrs))


@pytest.mark.parametrize("kind", ["nmf", "echem"])
def test_embedded_panels_run_no_text_of_the_data(series, scans, kind):
    """A notebook that is saved, or a page of it, holds texts as texts."""

    def embedded(text):
        data = (series if kind == "nmf" else scans).copy()
        for part in (data, *data.coords.values()):
            part.attrs["long_name"] = text
        panel = getattr(data, kind).panel()
        parts = dependency_state([panel], drop_defaults=False)
        return embed_minimal_html_text([panel], parts), parts

    page, parts = embedded(HOSTILE)
    plainly, _ = embedded("plain")
    assert _Tags(page).seen == _Tags(plainly).seen
    for part in parts.values():
        state = part["state"]
        assert state.get("description_allow_html") in (None, False)
        if part["model_name"] == "HTMLModel":
            assert "evil" not in state["value"]


def embed_minimal_html_text(views, state):
    """Return the page that ipywidgets makes of panels."""
    text = io.StringIO()
    embed_minimal_html(text, views=views, state=state)
    return text.getvalue()


def test_without_a_clock_no_curve_over_hours_stands_beside_numbers():
    loop = batteryxr.simulate.impedance_loop(n_scans=4, seed=0)
    record, spectra = loop["echem"].to_dataset(), loop["impedance"].to_dataset()
    spectra = record.echem.join(spectra)
    unknown = spectra.time.where(spectra.spectrum != spectra.spectrum[1])
    panel = spectra.assign_coords(time=unknown).echem.impedance_panel(record=record)
    (plot,) = panel.figure.figure["plots"]
    assert plot["xlabel"] == "Spectrum"
    assert len(plot["series"]) == 1


def test_a_panel_has_the_choices_of_its_model(series, scans):
    for panel in (series.nmf.panel(), scans.echem.panel()):
        model = panel.model
        for name in (*model.choices, *model.shown):
            assert type(panel.traits()[name]) is type(model.traits()[name])
            assert panel.traits()[name] is not model.traits()[name]
            assert getattr(panel, name) == getattr(model, name)


def test_a_control_is_made_from_its_trait(series):
    import ipywidgets

    from batteryxr.widgets.view import control

    model = series.nmf.panel().model
    n = control(model, "n_components", max=9, description="n")
    assert isinstance(n, ipywidgets.IntSlider)
    assert (n.min, n.max) == (1, 9)
    n.value = 4
    assert model.n_components == 4
    method = control(model, "method", 120)
    assert list(method.options) == list(model.traits()["method"].values)
    closure = control(model, "closure")
    model.closure = False
    assert closure.value is False
    seed = control(model, "seed")
    assert seed.max > 1000
    assert seed.min == 0
    model.cancel()


@pytest.fixture
def crystal():
    """Return a ball whose phase grows in one place over four states."""
    away = np.indices((16, 16, 16)) - 8
    ball = (away**2).sum(0) < 36
    hill = np.exp(-((away[0] - 2) ** 2 + away[1] ** 2) / 12)
    phase = np.arange(4.0)[:, None, None, None] * 0.4 * hill
    dims = ("state", "z", "y", "x")
    steps = 10.0 * (np.arange(16) - 8)
    voltage = ("state", [3.0, 3.5, 4.0, 3.5], {"units": "V", "long_name": "Voltage"})
    return xr.Dataset(
        {
            "object": (dims, ball * np.exp(1j * phase), {"units": "1"}),
            "strain": (dims, np.where(ball, 1e-3 * phase, np.nan), {"units": "1"}),
        },
        coords={"voltage": voltage, "direction": ("state", ["charge"] * 4)}
        | {d: (d, steps, {"units": "nm"}) for d in dims[1:]},
    )


def test_a_crystal_is_seen_in_each_state(crystal):
    panel = crystal.cdi.panel(quantity="strain", place=[10, 8, 8])
    tell = panel.figure._handle_custom_msg
    assert float(panel.result.max()) == 0
    tell({"kind": "pick", "plot": "rms strain", "series": 0, "index": 2}, [])
    xr.testing.assert_identical(panel.result, crystal["strain"].isel(state=2))
    assert panel.code == 'crystal["strain"].isel(state=2)'
    plots = {plot["id"]: plot for plot in panel.figure.figure["plots"]}
    assert plots["rms strain"]["xticks"][1] == "charge 3.5 V"
    along = plots["rms strain"]["series"][0]
    rms = np.frombuffer(along["y"])
    truth = (crystal["strain"] ** 2).mean(crystal["strain"].dims[1:]) ** 0.5
    np.testing.assert_allclose(rms, truth, rtol=1e-6)
    order = np.frombuffer(plots["order_parameter"]["series"][0]["y"])
    np.testing.assert_allclose(order / order[3], [0, 1 / 3, 2 / 3, 1], atol=1e-6)
    seen = np.frombuffer(plots["slice z"]["values"], np.float32)
    there = crystal["strain"].isel(state=2, z=10).values.ravel()
    np.testing.assert_allclose(seen, there, rtol=1e-6)
    panel.quantity = "object"
    _ = panel.result
    plots = {plot["id"]: plot for plot in panel.figure.figure["plots"]}
    surface = np.frombuffer(plots["surface"]["values"], np.float32).reshape(16, 16)
    # the ball's shadow, and its phase at the side that is seen
    assert (
        np.isfinite(surface).sum() == (np.abs(crystal["object"][0]) > 0).any("z").sum()
    )
    np.testing.assert_allclose(surface[8, 8], 0.8 * np.exp(-(7**2) / 12), atol=1e-5)
    with pytest.raises(ArgumentError, match="no voxel within"):
        panel.choose(place=[16, 0, 0])


def test_domains_of_a_crystal_are_followed(crystal):
    found = crystal["strain"].cdi.domains(edges=[2e-4], minimum=4)
    panel = crystal.cdi.panel(domains=found, state=1)
    _ = panel.result
    plots = {plot["id"]: plot for plot in panel.figure.figure["plots"]}
    sizes = np.frombuffer(plots["domains"]["series"][1]["y"])  # of the higher class
    there = (crystal["strain"] > 2e-4).sum(crystal["strain"].dims[1:]).values
    np.testing.assert_allclose(sizes[1:], 1000.0 * there[1:], rtol=1e-9)
