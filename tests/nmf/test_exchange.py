"""One G(r) for other programs, and one beside another."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr import nmf
from batteryxr.core.crystals import Crystal, lattice
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
    StoreError,
)
from batteryxr.nmf.phases.candidates import Candidate
from batteryxr.nmf.phases.measured import told
from batteryxr.nmf.phases.mixtures import at_bound

R = 0.02 * np.arange(50, 801)
PLACES = np.sort(np.random.default_rng(1).uniform(1.5, 18.0, 60))
HEIGHTS = np.random.default_rng(2).uniform(0.2, 1.0, 60)


def peaks(stretch: float = 0.0, smear: float = 0.0) -> np.ndarray:
    """Peaks of r G(r), where a stretch puts them, as broad as a smear makes them."""
    width = np.hypot(0.1, smear)
    far = (R[:, None] - PLACES * (1 + stretch)) / width
    # A stretched function keeps its heights, and widths grow with it.
    return (HEIGHTS * 0.1 / width * np.exp(-0.5 * far**2)).sum(axis=1) / R


def pattern(values: np.ndarray, **attrs) -> xr.DataArray:
    dims = ("scan", "r")[-values.ndim :]
    return xr.DataArray(
        values,
        dims=dims,
        coords={"r": ("r", R, {"units": "Angstrom"})},
        attrs={"units": "1/Angstrom2"} | attrs,
        name="pdf",
    )


def test_scale_stretch_and_smear_come_back():
    rng = np.random.default_rng(0)
    noise = 0.002
    wanted = [(1.0, 0.0, 0.04), (2.0, 0.008, 0.08), (0.5, -0.015, 0.12)]
    rows = [s * peaks(t, m) + rng.normal(0, noise, R.size) for s, t, m in wanted]
    found = pattern(np.array(rows)).nmf.compare_patterns(
        pattern(peaks()), r_range=(2.0, 15.0)
    )
    for i, (scale, stretch, smear) in enumerate(wanted):
        one = found.isel(scan=i)
        assert float(one["strain"]) == pytest.approx(stretch, abs=2e-4)
        assert float(one["smear"]) == pytest.approx(smear, abs=3e-3)
        assert float(one["scale"]) == pytest.approx(scale, rel=0.02)
        assert abs(float(one["smear"]) - smear) < 5 * float(one["smear_error"]) + 2e-3
    assert float(found["r_w"].max()) < 0.1
    assert not found["at_bound"].any()


def test_another_structure_and_a_broader_reference_are_told():
    other = np.roll(peaks(), 40)
    assert float(nmf.compare_patterns(pattern(other), pattern(peaks()))["r_w"]) > 0.5
    with pytest.warns(DataQualityWarning, match="broader than the data"):
        nmf.compare_patterns(pattern(peaks()), pattern(peaks(smear=0.1)))
    with pytest.raises(ArgumentError, match="reference"):
        nmf.compare_patterns(pattern(peaks()), pattern(peaks())[:100])
    with pytest.raises(DimensionError, match="one pattern"):
        nmf.compare_patterns(pattern(peaks()), pattern(np.array([peaks()] * 2)))


@pytest.mark.parametrize("units", ["1/Angstrom2", "nm-2"])
def test_what_is_written_is_read_by_numpy_and_by_us(tmp_path, units):
    scale = 100.0 if units == "nm-2" else 1.0
    data = pattern(scale * peaks(), q_max=24.0, q_damp=0.03, radiation="neutron")
    data = data.assign_attrs(units=units)
    sigma = data.copy(data=np.full(R.size, 0.01 * scale))
    path = data.nmf.write_gr(tmp_path / "one.gr", errors=sigma)
    text = path.read_text()
    assert "qmax = 24" in text
    assert "qdamp = 0.03" in text
    assert "stype = N" in text
    r, g, dr, dg = np.loadtxt(path, unpack=True)
    np.testing.assert_allclose(r, R)
    np.testing.assert_allclose(g, peaks(), rtol=1e-6)
    np.testing.assert_allclose(dg, 0.01)
    assert not dr.any()
    again = batteryxr.read_series(path)
    np.testing.assert_allclose(np.ravel(again.values), peaks(), rtol=1e-6)


def test_what_cannot_be_written_is_named(tmp_path):
    data = pattern(peaks())
    path = data.nmf.write_gr(tmp_path / "one.gr")
    with pytest.raises(StoreError, match=r"one\.gr exists.*overwrite=True"):
        data.nmf.write_gr(path)
    data.nmf.write_gr(path, overwrite=True)
    with pytest.raises(DimensionError, match="one pattern"):
        pattern(np.array([peaks()] * 2)).nmf.write_gr(tmp_path / "two.gr")
    data[3] = np.nan
    with pytest.raises(DataError, match="1 gaps"):
        data.nmf.write_gr(tmp_path / "three.gr")


def test_headers_are_read_in_their_units():
    found = told({"qmax": "240 nm-1", "qdamp": 0.03})
    assert found == pytest.approx({"q_max": 24.0, "q_damp": 0.03})
    assert told({"header": '{"qmax": "22.5 A-1", "qbroad": "0.02"}'}) == {
        "q_max": 22.5,
        "q_broad": 0.02,
    }
    with pytest.warns(DataQualityWarning, match="'apples', which is not understood"):
        assert told({"qmax": "24 apples"}) == {}
    with pytest.warns(DataQualityWarning, match="'electron', for which nothing"):
        assert told({"radiation": "electron"}) == {}


def test_sizes_and_occupancies_at_an_end_are_at_a_bound():
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    iron = Crystal("Fe", lattice(2.866), ("Fe", "Fe"), sites, np.ones(2))
    fit = Candidate(iron, R, instrument=nmf.PdfInstrument(), strain=0.03)
    usual = np.array([0.0, 0.006, 0.02])
    assert not at_bound(fit, usual)
    assert not at_bound(fit, np.array([0.0, 0.006, 0.0]))  # bulk
    assert at_bound(fit, np.array([0.0, 0.006, 0.249]))  # 4 Angstrom
    free = Candidate(
        iron, R, instrument=nmf.PdfInstrument(), strain=0.03, occupancy="Fe"
    )
    assert not at_bound(free, np.append(usual, 1.0))
    assert at_bound(free, np.append(usual, 0.02))


def beside(data: xr.DataArray, **options) -> xr.Dataset:
    reference = options.pop("reference", pattern(peaks()))
    return nmf.compare_patterns(data, reference, r_range=(2.0, 15.0), **options)


def noisy() -> xr.DataArray:
    noise = np.random.default_rng(0).normal(0, 1e-3, R.size)
    return pattern(2 * peaks(0.004, 0.05) + noise)


def test_units_and_precision_change_no_comparison():
    data = noisy()
    wanted = beside(data)
    other = (100 * pattern(peaks())).assign_attrs(units="nm-2")
    xr.testing.assert_allclose(beside(data, reference=other), wanted)
    tiny = (1e-24 * data).astype(np.float32).assign_attrs(data.attrs)
    found = beside(tiny)
    for name in ("strain", "smear", "r_w"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3)
    np.testing.assert_allclose(found["scale"], 1e-24 * wanted["scale"], rtol=1e-4)
    coarse = pattern(peaks()).assign_coords(r=("r", R.astype(np.float32)))
    coarse["r"].attrs = {"units": "Angstrom"}
    whole = nmf.compare_patterns(data, coarse)  # up to the ends of both
    np.testing.assert_allclose(whole["scale"], wanted["scale"], rtol=1e-3)


def test_errors_have_units_and_may_be_infinite():
    data = noisy()
    errors = data.copy(data=np.full(R.size, 2e-3))
    wanted = beside(data, errors=errors)
    other = (100 * errors).assign_attrs(units="nm-2")
    xr.testing.assert_allclose(beside(data, errors=other), wanted)
    errors[200:250] = np.inf
    spoilt = data.copy()
    spoilt[200:250] = 5.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = beside(spoilt, errors=errors)
    assert np.isfinite(found["fitted"]).all()
    np.testing.assert_allclose(found["strain"], wanted["strain"], atol=5e-5)


def test_nothing_is_no_reference():
    with pytest.raises(DataError, match="zero everywhere"):
        beside(noisy(), reference=pattern(np.zeros(R.size)))
