"""Over-absorption: a thick sample computed layer by layer, and its spectrum back."""

import numpy as np
import pytest
import xarray as xr

from batteryxr import xanes
from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning

E = np.arange(8200.0, 8600.0, 1.0)


def truth():
    x = E - 8345
    return 1 / (1 + np.exp(-x / 1.5)) + 0.6 * np.exp(-((x - 4) ** 2) / 18)


def labelled(values, name="normalised"):
    return xr.DataArray(
        values,
        dims="energy",
        coords={"energy": ("energy", E, {"units": "eV"})},
        name=name,
        attrs={"units": "1"},
    )


def fluorescence(normal, formula, element, line, angles):
    """Sum what comes out of thin layers down to where nothing comes out any more."""
    xraydb = pytest.importorskip("xraydb")
    at = xraydb.xray_edge(element, "K").energy
    below, above = xraydb.material_mu(formula, np.array([at - 10, at + 10]), 1.0)
    out = float(xraydb.material_mu(formula, line, 1.0))
    total = below + normal * (above - below)
    path_in, path_out = 1 / np.sin(np.deg2rad(angles))
    depth = np.linspace(0, 25 / (total.min() * path_in + out * path_out), 40001)
    weaker = np.exp(-(total[:, None] * path_in + out * path_out) * depth)
    seen = normal * np.trapezoid(weaker, depth, axis=1)
    return seen / seen[-1]


@pytest.mark.parametrize("angles", [(45.0, 45.0), (60.0, 20.0)])
def test_a_thick_sample_comes_back(angles):
    measured = fluorescence(truth(), "LiNiO2", "Ni", 7480.3, angles)
    assert measured.max() < 0.9 * truth().max()
    options = {"formula": "LiNiO2", "element": "Ni", "geometry": angles}
    found = labelled(measured).xanes.over_absorption(**options)
    np.testing.assert_allclose(found.normalised, truth(), atol=2e-3)
    assert found.attrs["noise_factor"] == pytest.approx(1 + 1 / found.attrs["alpha"])


def test_equal_to_larch():
    """The factor that `fluo_corr` of Larch 2026.3 takes for this sample."""
    options = {"formula": "LiNiO2", "element": "Ni", "geometry": (60.0, 20.0)}
    found = xanes.over_absorption(labelled(truth()), **options)
    assert found.attrs["alpha"] == pytest.approx(0.7783406041405455, rel=1e-8)
    assert float(found.normalised.max()) == pytest.approx(4.910517192223885, rel=1e-6)


def test_dilute_samples_stay_as_they_are():
    found = xanes.over_absorption(labelled(truth()), formula="Ni0.0001C", element="Ni")
    np.testing.assert_allclose(found.normalised, truth(), atol=2e-2)


def test_what_no_such_sample_gives_is_missing_and_doubt_is_told():
    high = labelled(truth())
    high[200] = 50.0
    with pytest.warns(DataQualityWarning, match="noise above the edge grows"):
        found = xanes.over_absorption(
            high, formula="Ni", element="Ni", geometry=(2.0, 90.0)
        )
    assert np.isnan(found.normalised[200])
    stack = xr.concat([labelled(truth())] * 3, "scan").chunk(scan=1)
    lazy = stack.xanes.over_absorption(formula="NiO", element="Ni")
    assert lazy.normalised.chunks
    one = labelled(truth()).xanes.over_absorption(formula="NiO", element="Ni")
    np.testing.assert_array_equal(lazy.normalised[1], one.normalised)


def test_what_cannot_be_meant_is_refused():
    good = labelled(truth())
    for wrong, match in (
        ({"formula": "CoO"}, "holds Ni"),
        ({"formula": "Ni(("}, "formula="),
        ({"edge": "M5"}, "edge="),
        ({"geometry": (0.0, 45.0)}, "geometry="),
        ({"element": "Xx"}, "element="),
    ):
        with pytest.raises(ArgumentError, match=match):
            xanes.over_absorption(good, **{"formula": "NiO", "element": "Ni"} | wrong)
    with pytest.raises(DataError, match="do not span the K edge of Co"):
        xanes.over_absorption(good, formula="CoO", element="Co")
    with pytest.raises(Exception, match="normalise"):
        xanes.over_absorption(good.rename("absorption"), formula="NiO", element="Ni")


@pytest.mark.parametrize(("formula", "element"), [("Li4Ti5O12", "Ti"), ("V2O5", "V")])
def test_the_next_edge_is_no_part_of_the_step(formula, element):
    """L2 lies 6 to 8 eV above L3: the step is what stands 2 eV beside L3."""
    xraydb = pytest.importorskip("xraydb")
    edge = xraydb.xray_edge(element, "L3").energy
    line = xraydb.xray_lines(element, "L3")["La1"].energy
    back, below, above = (
        float(xraydb.material_mu(formula, e, density=1.0))
        for e in (line, edge - 2.0, edge + 2.0)
    )
    x = np.linspace(edge - 40, edge + 5, 60)
    array = xr.DataArray(
        1 / (1 + np.exp(edge - x)),
        dims="energy",
        coords={"energy": ("energy", x, {"units": "eV"})},
        name="normalised",
    )
    found = xanes.over_absorption(array, formula=formula, element=element, edge="L3")
    alpha = (back + below) / (above - below)
    assert found.attrs["alpha"] == pytest.approx(alpha, rel=0.02)
