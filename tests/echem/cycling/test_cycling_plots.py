"""Plots of cycling: what they draw, not how it looks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from batteryxr.core.errors import ArgumentError
from batteryxr.core.plotting import BRANCH_COLOURS
from batteryxr.echem import cycles, dqdv, half_cycles, rate

#: One palette for all plots of the library.
SIDES = {side: BRANCH_COLOURS[side] for side in ("charge", "discharge")}


def colour(element):
    return element.opts.get("style", backend="bokeh").kwargs["color"]


@pytest.fixture(autouse=True)
def quiet_imports():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_voltage_profile_ends_at_the_capacity(make_cycled):
    rows = make_cycled(2)
    plot = rows.echem.plot.voltage_profile(mass=2.0)
    ends = [curve.dimension_values(0)[-1] for curve in plot]
    np.testing.assert_allclose(ends, half_cycles(rows).capacity / 2e-3)
    assert [c.label for c in plot] == ["charge", "discharge"] * 2
    assert {c.label: colour(c) for c in plot} == SIDES
    assert str(plot.get(0).kdims[0].label) == "Specific capacity (mA h g⁻¹)"
    one = rows.chunk(record=50).echem.plot.voltage_profile(half_cycles=[2])
    assert len(one) == 1
    with pytest.raises(ArgumentError, match="half_cycles=9"):
        rows.echem.plot.voltage_profile(half_cycles=[9])
    with pytest.raises(ArgumentError, match="mass=0"):
        rows.echem.plot.voltage_profile(mass=0)


def test_dqdv_is_drawn_down_on_discharge(make_cycled):
    found = dqdv(make_cycled(1))
    plot = found.echem.plot.dqdv(errors=True)
    curves = [e for e in plot if type(e).__name__ == "Curve"]
    assert len(plot) == 4
    assert {c.label: colour(c) for c in curves} == SIDES
    assert np.nanmin(curves[0].dimension_values(1)) >= 0
    assert np.nanmax(curves[1].dimension_values(1)) <= 0


def test_cycles_and_rates(make_cycled):
    table = cycles(make_cycled(3), electrode="full", first="charge", mass=2.0)
    above, below = table.echem.plot.cycles()
    assert {str(e.vdims[0].label) for e in above} == {"Specific capacity (mA h g⁻¹)"}
    assert {e.label: colour(e) for e in above} == SIDES
    drawn = below.dimension_values(1)
    np.testing.assert_allclose(drawn, 100 * table.coulombic_efficiency)
    low, high = below.vdims[0].soft_range  # equal efficiencies lie on a line
    assert high - low > 0.1
    assert low < np.median(drawn) < high
    assert len(rate(table).echem.plot.rate()) == 2
