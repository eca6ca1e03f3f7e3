"""Components get no name, one, or several, by what explains them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf
from batteryxr.core.crystals import PairDistribution, PdfInstrument
from batteryxr.core.errors import DataQualityWarning
from batteryxr.simulate import structures

R = 1.0 + 0.04 * np.arange(260)
INSTRUMENT = PdfInstrument(q_max=24.0, q_damp=0.03)
CRYSTALS = {
    "FeO": structures.rock_salt("FeO", 4.30, {"Fe": 1.0}),
    "MnO": structures.rock_salt("MnO", 4.445, {"Mn": 1.0}),
    "Fe3O4": structures.spinel("Fe3O4", 8.396, {"Fe": 1.0}, "Fe", 0.2549),
    "Fe": structures.body_centred("Fe", "Fe", 2.866),
}


def pattern(name: str, **how: float) -> np.ndarray:
    return PairDistribution(CRYSTALS[name], R, instrument=INSTRUMENT)(**how)


def rows(*values: np.ndarray, **attrs: object) -> xr.DataArray:
    return xr.DataArray(
        np.array(values),
        dims=("component", "r"),
        coords={"r": ("r", R, {"units": "Angstrom"})},
        attrs={"units": "1/Angstrom2"} | attrs,
    )


def test_one_two_or_none():
    rng = np.random.default_rng(0)
    one = pattern("MnO", strain=0.004, u_iso=0.006)
    two = 0.5 * (pattern("Fe3O4", u_iso=0.006) + pattern("FeO", strain=-0.003))
    noise = rng.normal(size=R.size)
    data = rows(one, two, noise) + rng.normal(0, 0.05, (3, R.size))
    with pytest.warns(DataQualityWarning, match="1 of 3 patterns are named by no"):
        found = nmf.identify(data, candidates=CRYSTALS, instrument=INSTRUMENT)
    assert str(found["named"].values[0]) == "MnO"
    assert set(str(found["named"].values[1]).split(" + ")) == {"Fe3O4", "FeO"}
    assert str(found["named"].values[2]) == ""
    share = found["share"].isel(component=1).sel(candidate=["FeO", "Fe3O4"])
    parts = [np.linalg.norm(pattern("FeO")), np.linalg.norm(pattern("Fe3O4"))]
    np.testing.assert_allclose(share, np.array(parts) / sum(parts), atol=0.03)


def test_a_structure_that_is_absent_is_not_named_by_another():
    others = {k: v for k, v in CRYSTALS.items() if k != "MnO"}
    with pytest.warns(DataQualityWarning, match="named by no candidate"):
        found = nmf.identify(
            rows(pattern("MnO")), candidates=others, instrument=INSTRUMENT
        ).isel(component=0)
    assert str(found["named"].values) == ""
    assert bool(found["at_bound"].sel(candidate="FeO"))


def test_ties_are_told():
    twins = {"a": CRYSTALS["MnO"], "b": CRYSTALS["MnO"], "c": CRYSTALS["Fe"]}
    data = rows(pattern("MnO") + np.random.default_rng(0).normal(0, 0.3, R.size))
    found = nmf.identify(data, candidates=twins, instrument=INSTRUMENT)
    assert list(found["tied"].values[0]) == [True, True, False]


def test_the_header_tells_the_instrument():
    damped = PdfInstrument(q_max=24.0, q_damp=0.1)
    g = PairDistribution(CRYSTALS["MnO"], R, instrument=damped)()
    bulk = rows(g, header=json.dumps({"qmax": "24.0", "qdamp": "0.1"}))
    found = nmf.identify(bulk, candidates={"MnO": CRYSTALS["MnO"]})
    assert np.isinf(float(found["diameter"].squeeze()))
    with pytest.warns(DataQualityWarning, match="nothing tells q_max and q_damp"):
        found = nmf.identify(rows(g), candidates=[CRYSTALS["MnO"]])
    assert float(found["diameter"].squeeze()) < 200
    series = xr.concat([bulk[0], bulk[0]], "scan") + np.zeros((4, 1))[:2]
    series = series.assign_attrs(bulk.attrs)
    fit = nmf.fit(
        fixed={"a": bulk[0]}, data=series, constraints=nmf.Constraints(shift="minimum")
    )
    assert fit["components"].attrs["q_max"] == 24.0
    assert fit.nmf.reconstruct().attrs["q_damp"] == 0.1


def test_lithium_and_iron_on_one_site_are_linked():
    true = structures.rock_salt("true", 4.14, {"Li": 1 / 3, "Fe": 2 / 3})
    start = structures.rock_salt("start", 4.14, {"Li": 0.5, "Fe": 0.5})
    g = PairDistribution(true, R, instrument=INSTRUMENT)(u_iso=0.006)
    noisy = rows(g + np.random.default_rng(0).normal(0, 0.05, R.size)).rename(
        component="scan"
    )
    found = nmf.refine_along(
        noisy, candidate=start, occupancy="Fe", instrument=INSTRUMENT
    )
    error = float(found["occupancy_error"][0])
    assert abs(float(found["occupancy"][0]) - 2 / 3) < max(4 * error, 2e-3)
    assert abs(float(found["scale"][0]) - 1) < 0.02
