"""Components get no name, one, or several, by what explains them."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf
from batteryxr.core.crystals import PdfInstrument
from batteryxr.core.errors import DataError, DataQualityWarning
from batteryxr.core.kernels.pair_distribution import PairDistribution
from batteryxr.nmf.phases.candidates import Candidate
from batteryxr.nmf.phases.mixtures import mixture_of, shapes_of
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


def test_two_of_a_kind_do_not_take_the_lattice_of_one_another():
    pair = {
        "FeO": structures.rock_salt("FeO", 4.30, {"Fe": 1.0}),
        "NiO": structures.rock_salt("NiO", 4.177, {"Ni": 1.0}),
    }
    iron, nickel = (
        PairDistribution(crystal, R, instrument=INSTRUMENT)(**how)
        for crystal, how in (
            (pair["FeO"], {"strain": -0.0056, "u_iso": 0.0044, "diameter": 29.0}),
            (pair["NiO"], {"strain": 0.0034, "u_iso": 0.007}),
        )
    )
    y = (iron / iron.std() + 2 * nickel / nickel.std())[::2]
    y = y + np.random.default_rng(0).normal(0, 0.05 * y.std(), y.size)
    fits = {
        name: Candidate(crystal, R[::2], instrument=INSTRUMENT, strain=0.025)
        for name, crystal in pair.items()
    }
    found = mixture_of(y, fits, shapes_of(fits), {}, independent=70.0)
    assert found.names == ("FeO", "NiO")
    np.testing.assert_allclose(found.shares, [1 / 3, 2 / 3], atol=0.03)


def test_errors_larger_than_what_is_left_are_told():
    data = rows(pattern("MnO", u_iso=0.006)).rename(component="scan")
    data = data + np.random.default_rng(0).normal(0, 0.05, (1, R.size))
    ask = {"candidate": CRYSTALS["MnO"], "instrument": INSTRUMENT}
    with pytest.warns(DataQualityWarning, match="0.01 of the errors"):
        nmf.refine_along(data, errors=xr.full_like(data, 5.0), **ask)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        nmf.refine_along(data, errors=xr.full_like(data, 0.05), **ask)


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


def test_a_scan_of_noise_does_not_spoil_those_after_it():
    rng = np.random.default_rng(0)
    strains = np.array([0.010, 0.012, 0.0, 0.016, 0.018])
    values = [pattern("MnO", strain=s, u_iso=0.006) for s in strains]
    values[2] = rng.normal(0, 2.0, R.size)
    data = rows(*values).rename(component="scan") + rng.normal(0, 0.02, (5, R.size))
    with pytest.warns(DataQualityWarning, match="of 5 fits ended at a bound"):
        wrong = nmf.refine_along(
            rows(*[pattern("MnO", strain=0.06)] * 5).rename(component="scan"),
            candidate=CRYSTALS["MnO"],
            instrument=INSTRUMENT,
        )
    assert wrong["at_bound"].all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = nmf.refine_along(data, candidate=CRYSTALS["MnO"], instrument=INSTRUMENT)
    kept = [0, 1, 3, 4]
    np.testing.assert_allclose(found["strain"][kept], strains[kept], atol=1e-3)
    assert not found["at_bound"][kept].any()


def test_errors_know_that_neighbours_deviate_together():
    """Noise that was measured in Q is the same over several points of r."""
    rng = np.random.default_rng(1)
    clean = pattern("MnO", u_iso=0.006)
    kernel = np.sinc(24.0 * (R - R.mean()) / np.pi)
    kernel /= np.linalg.norm(kernel)
    noise = [
        0.3 * np.convolve(rng.normal(size=3 * R.size), kernel, "same")[R.size : -R.size]
        for _ in range(30)
    ]
    found = nmf.refine_along(
        rows(*(clean + e for e in noise)).rename(component="scan"),
        candidate=CRYSTALS["MnO"],
        instrument=INSTRUMENT,
    )
    off = found["strain"] / found["strain_error"]
    assert 0.7 < float(off.std()) < 1.3


def test_errors_that_cannot_be_are_refused():
    data = rows(pattern("MnO"))
    for wrong in (-1.0, np.nan):
        errors = xr.full_like(data, 0.1)
        errors[0, 5] = wrong
        with pytest.raises(DataError, match=r"errors.*1 of 260 values"):
            nmf.identify(
                data,
                candidates=[CRYSTALS["MnO"]],
                instrument=INSTRUMENT,
                errors=errors,
            )


def test_an_instrument_that_the_header_contradicts_is_told():
    header = json.dumps({"qmax": "24.0", "qdamp": "0.03", "mode": "neutron"})
    data = rows(pattern("MnO"), header=header)
    with pytest.warns(DataQualityWarning, match="radiation='neutron'"):
        nmf.identify(data, candidates=[CRYSTALS["MnO"]], instrument=INSTRUMENT)
