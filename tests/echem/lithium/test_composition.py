"""Formulas, and the lithium that charge moves, against published numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import batteryxr
from batteryxr.core.errors import ArgumentError, DataError, UnitsError, VariableError
from batteryxr.echem import (
    Composition,
    Lithiation,
    add_lithia,
    extra_capacity,
    formula,
    li_content,
    oxidation_state,
    theoretical_capacity,
    utilisation,
)
from batteryxr.echem.cycling.half_cycles import half_cycles

LTMOF = "Li1.2Ti0.2Mn0.6O1.8F0.2"
MS10 = "Li1.33Ti0.19Mn0.57O1.81F0.19"
MS20 = "Li1.45Ti0.18Mn0.55O1.82F0.18"

ELEMENTS = st.sampled_from(["Li", "Na", "C", "Co", "O", "F", "Mn", "Ni", "Ti", "V"])
AMOUNTS = st.floats(0.01, 50).map(lambda n: float(f"{n:.6g}"))


@pytest.mark.parametrize(
    ("text", "mass", "capacity"),
    [
        (LTMOF, 83.4621, 385.35),
        (MS10, 82.2075, 433.61),
        (MS20, 81.4329, 477.23),
        ("Li1.2Ti0.4Mn0.4O2", 81.4480, 394.87),
        ("Li1.2Nb0.2Mn0.6O2", 91.8701, 350.08),
        ("LiFeO2", 94.7830, 282.77),
    ],
)
def test_published_molar_masses_and_capacities(text, mass, capacity):
    assert formula(text).molar_mass == pytest.approx(mass, rel=1e-5)
    assert theoretical_capacity(text) == pytest.approx(capacity, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "atoms"),
    [
        ("Li[Li0.2Mn0.6Ni0.2]O2", {"Li": 1.2, "Mn": 0.6, "Ni": 0.2, "O": 2}),
        (
            "LiNi1/3Mn1/3Co1/3O2",
            {"Li": 1, "Ni": 1 / 3, "Mn": 1 / 3, "Co": 1 / 3, "O": 2},
        ),
        (
            "Li{Ni0.8[Mn0.5(Co2)0.25]0.2}O2",
            {"Li": 1, "Ni": 0.8, "Mn": 0.1, "Co": 0.1, "O": 2},
        ),
        ("Li₁.₂Ti₀.₄Mn₀.₄O₂", {"Li": 1.2, "Ti": 0.4, "Mn": 0.4, "O": 2}),
        ("0.25 Li2O + 0.75 LiVO2", {"Li": 1.25, "O": 1.75, "V": 0.75}),
        ("1/3Li2MnO3 + 2/3LiCoO2", {"Li": 4 / 3, "Mn": 1 / 3, "Co": 2 / 3, "O": 7 / 3}),
        ("CaSO4·2H2O", {"Ca": 1, "S": 1, "O": 6, "H": 4}),
        ("CO", {"C": 1, "O": 1}),
        ("Co", {"Co": 1}),
        ("Li1e-3C6", {"Li": 1e-3, "C": 6}),
        (" LiCoO2 ", {"Li": 1, "Co": 1, "O": 2}),
    ],
)
def test_notations(text, atoms):
    parsed = formula(text)
    found = dict(zip(parsed.elements, parsed.amounts, strict=True))
    assert found == pytest.approx(atoms)


def test_layered_oxides_weigh_what_they_should():
    assert formula("Li[Li0.2Mn0.6Ni0.2]O2").molar_mass == pytest.approx(85.03, abs=0.01)
    assert formula("LiNi1/3Mn1/3Co1/3O2").molar_mass == pytest.approx(96.46, abs=0.01)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "at its end"),
        ("   ", "at its end"),
        ("lithium", "character 1, not 'l'"),
        ("LiXx2", "character 3, not 'X'"),
        ("Li(MnO2", "')' at its end"),
        ("Li(MnO2]", "character 8, not ']'"),
        ("LiMnO2)", "character 7, not ')'"),
        ("Li1,2MnO2", "Write decimals with a point"),
        ("Li-1O2", "character 3, not '-'"),
        ("Ni1/0O", "denominator"),
        ("Fe3+", "at its end"),
        ("Li1.2.3O", "character 6, not '.'"),
        ("LiCoO2 cathode", "character 8, not 'c'"),
        ("Li0O0", "at least one atom"),
        ("D2O", "character 1, not 'D'"),
    ],
)
def test_garbage_is_refused_where_it_stands(text, where):
    with pytest.raises(ArgumentError) as caught:
        formula(text)
    assert where in str(caught.value)
    assert str(caught.value).startswith("formula=")


def test_what_is_no_text_is_refused():
    with pytest.raises(ArgumentError, match="formula=None: expected text"):
        formula(None)


@given(st.dictionaries(ELEMENTS, AMOUNTS, min_size=1, max_size=6))
def test_text_round_trips(atoms):
    composition = Composition(tuple(atoms), tuple(atoms.values()))
    assert formula(str(composition)) == composition


@given(st.dictionaries(ELEMENTS, AMOUNTS, min_size=1), st.floats(0.1, 20))
def test_capacity_does_not_depend_on_the_formula_unit(atoms, factor):
    composition = Composition(("Li", *atoms), (1.0, *atoms.values()))
    # Merge a second Li, as the parser does.
    composition = formula(str(composition))
    whole = theoretical_capacity(composition)
    assert theoretical_capacity(composition * factor) == pytest.approx(whole)
    bracketed = f"({composition}){factor:.12g}"
    assert theoretical_capacity(bracketed) == pytest.approx(whole)


@given(st.dictionaries(ELEMENTS, AMOUNTS, min_size=1), AMOUNTS, AMOUNTS)
def test_mixtures_add_masses(atoms, share, other):
    text = str(Composition(tuple(atoms), tuple(atoms.values())))
    mixture = formula(f"{share:.6g} {text} + {other:.6g} Li2O")
    expected = share * formula(text).molar_mass + other * formula("Li2O").molar_mass
    assert mixture.molar_mass == pytest.approx(expected)


def test_a_composition_cannot_be_changed():
    with pytest.raises(AttributeError):
        formula("LiCoO2").amounts = (1.0, 1.0, 2.0)
    assert len({formula("LiCoO2"), formula("LiCoO2")}) == 1


@pytest.mark.parametrize(("percent", "rounded"), [(10, MS10), (20, MS20)])
def test_milling_with_lithia_gives_the_published_compositions(percent, rounded):
    mixed = add_lithia(LTMOF, percent)
    assert mixed.anions == pytest.approx(2)
    published = formula(rounded)
    for element in published.elements:
        assert mixed[element] == pytest.approx(published[element], abs=0.0051)


def test_lithia_must_be_added_to_something_with_anions():
    with pytest.raises(DataError, match=r"^Li1\.1: has no anions"):
        add_lithia("Li", 10, lithia="Li")
    with pytest.raises(ArgumentError, match=r"^lithia='Q'"):
        add_lithia("LiFeO2", 10, lithia="Q")
    with pytest.raises(ArgumentError, match="mol_percent"):
        add_lithia(LTMOF, -1)
    assert add_lithia(LTMOF, 0)["Li"] == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("text", "ratio", "manganese", "excess"),
    [(LTMOF, 2.00, 3.00, False), (MS10, 2.09, 3.02, True), (MS20, 2.18, 3.00, True)],
)
def test_charge_balance_and_over_stoichiometry(text, ratio, manganese, excess):
    composition = formula(text)
    assert composition.cations_per_anions(2) == pytest.approx(ratio, abs=0.005)
    assert oxidation_state(text, "Mn") == pytest.approx(manganese, abs=0.005)
    assert composition.over_stoichiometric is excess


def test_oxidation_states_need_what_is_not_known():
    assert oxidation_state("Fe3O4", "Fe") == pytest.approx(8 / 3)
    with pytest.raises(ArgumentError, match="Ni, which varies"):
        oxidation_state("LiNi0.5Mn1.5O4", "Mn")
    mn = oxidation_state("LiNi0.5Mn1.5O4", "Mn", states={"Ni": 2})
    assert mn == pytest.approx(4)
    with pytest.raises(ArgumentError, match="an element of"):
        oxidation_state("Fe2O3", "Mn")


def test_sulphur_is_an_anion_only_without_oxygen():
    assert formula("TiS2").anions == 2
    assert formula("LiFeSO4F").anions == 5
    with pytest.raises(ArgumentError, match="S, which varies"):
        oxidation_state("LiFeSO4F", "Fe")
    assert oxidation_state("LiFeSO4F", "Fe", states={"S": 6}) == pytest.approx(2)
    assert oxidation_state("LiTiS2", "Ti") == pytest.approx(3)


def test_redox_limited_and_conversion_capacities():
    assert theoretical_capacity(LTMOF, redox={"Mn": (3, 4)}) == pytest.approx(
        192.67, rel=1e-4
    )
    per_atom = theoretical_capacity("Fe2O3", electrons={"Fe": 3})
    assert per_atom == pytest.approx(1007.0, abs=0.05)
    assert theoretical_capacity("Fe2O3", electrons=6) == pytest.approx(per_atom)
    assert theoretical_capacity("Fe2O3", redox={"Fe": (3, 0)}) == pytest.approx(
        per_atom
    )
    for text, n, expected in [
        ("FeO", 2, 746.1),
        ("MnO", 2, 755.6),
        ("Fe3O4", 8 / 3, 926.1),
        ("Mn3O4", 8 / 3, 937.1),
    ]:
        metal = "Fe" if "Fe" in text else "Mn"
        capacity = theoretical_capacity(text, electrons={metal: n})
        assert capacity == pytest.approx(expected, abs=0.06)


def test_capacity_says_what_it_cannot_know():
    with pytest.raises(ArgumentError, match="electrons"):
        theoretical_capacity("Fe2O3")
    with pytest.raises(ArgumentError, match="not both"):
        theoretical_capacity(LTMOF, electrons=1, redox={"Mn": (3, 4)})
    with pytest.raises(ArgumentError, match=r"redox=\{'Ni': .*elements of Li1.2"):
        theoretical_capacity(LTMOF, redox={"Ni": (2, 4)})
    with pytest.raises(ArgumentError, match="> 0"):
        theoretical_capacity(LTMOF, electrons=0)
    assert theoretical_capacity("NaMnO2", ion="Na") == pytest.approx(243.8, abs=0.1)


@pytest.mark.parametrize(
    ("text", "capacity", "share"),
    [
        (LTMOF, 195, 50.60),
        (MS10, 296, 68.26),
        (MS20, 341, 71.45),
        (MS10, 326, 75.18),
        (MS20, 349, 73.13),
    ],
)
def test_published_utilisation(text, capacity, share):
    found = utilisation(capacity, formula=text)
    assert 100 * float(found) == pytest.approx(share, abs=0.02)
    assert found.attrs["units"] == "1"


def test_conversion_oxide_fills_with_discharge():
    full = li_content(-1007.0, formula=Lithiation("Fe2O3", per="Fe"))
    assert float(full) == pytest.approx(3.0, abs=5e-4)
    assert full.attrs["long_name"] == "Li per Fe"
    per_formula = li_content(-1007.0, formula="Fe2O3")
    assert float(per_formula) == pytest.approx(2 * float(full))


def test_extra_capacity_of_conversion_oxides():
    fe = extra_capacity(1007.03 + 436.4, formula="Fe2O3", electrons={"Fe": 3})
    assert float(fe.extra_li) == pytest.approx(1.3, abs=0.001)
    mn = extra_capacity(755.6 + 302.25, formula="MnO", electrons={"Mn": 2})
    assert float(mn.extra_li) == pytest.approx(0.8, abs=0.001)
    some = xr.DataArray(
        [500.0, np.nan, 1100.0], dims="cycle", attrs={"units": "mA h g-1"}
    )
    found = extra_capacity(some, formula="Fe2O3", electrons={"Fe": 3})
    np.testing.assert_allclose(
        found.extra_capacity, [0, np.nan, 1100 - 1007.0255], rtol=1e-5
    )
    assert found.extra_capacity.attrs["units"] == "mA h g-1"


def test_one_lithium_leaves_on_charge_or_enters():
    q = theoretical_capacity("LiNiO2")
    assert float(li_content(q, formula="LiNiO2")) == pytest.approx(0, abs=1e-12)
    negative = li_content(372.0, formula=Lithiation("C6", on_charge="lithiation"))
    assert float(negative) == pytest.approx(1.0, abs=0.001)
    assert float(li_content(0.0, formula=Lithiation("LiNiO2", x0=0.3))) == 0.3


def _record(n=500) -> xr.Dataset:
    rng = np.random.default_rng(3)
    time = np.cumsum(rng.uniform(1, 60, n))
    current = np.where(np.arange(n) < n // 2, 0.2, -0.15)
    return xr.Dataset(
        {"current": ("record", current, {"units": "mA", "long_name": "Current"})},
        coords={
            "test_time": ("record", time, {"units": "s", "long_name": "Test time"}),
            "file": ("record", (np.arange(n) >= 300).astype("int16")),
        },
    )


def test_of_a_cycler_record_the_current_is_integrated():
    ds = _record()
    x = li_content(ds, formula="LiNiO2", mass=7.0)
    # Independently: by hand, one file and one direction at a time.
    passed, total = np.zeros(ds.sizes["record"]), 0.0
    i, t, f = ds.current.values, ds.test_time.values, ds.file.values
    for k in range(1, i.size):
        if f[k] == f[k - 1] and i[k] * i[k - 1] > 0:
            total += (i[k] + i[k - 1]) / 2 * (t[k] - t[k - 1]) / 3600
        passed[k] = total
    expected = 1 - passed / 7e-3 * formula("LiNiO2").molar_mass / 26801.48114
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-9)
    assert x.attrs["long_name"] == "Li per formula unit"
    assert set(x.coords) == {"test_time", "file"}


@pytest.mark.parametrize("chunk", [7, 37, 250, 500])
def test_lazy_equals_eager(chunk, no_compute):
    ds = _record()
    eager = li_content(ds, formula="LiNiO2", mass=7.0)
    with no_compute():
        lazy = li_content(ds.chunk(record=chunk), formula="LiNiO2", mass=7.0)
        used = utilisation(
            ds.current.chunk(record=chunk).assign_attrs(units="mA h"),
            formula="LiNiO2",
            mass=7.0,
        )
    assert lazy.chunks is not None
    assert used.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-12)


def test_charge_agrees_with_the_half_cycles():
    ds = _record()
    ds["voltage"] = xr.full_like(ds.current, 3.7).assign_attrs(units="V")
    for current in (ds.current, ds.current.assign_attrs(cell_methods="record: mean")):
        record = ds.assign(current=current)
        halves = half_cycles(record)
        x = li_content(record, formula="LiNiO2", mass=7.0)
        sign = np.where(halves.direction == "charge", 1, -1)
        net = float((sign * halves.capacity).sum())
        expected = li_content(net / 7e-3, formula="LiNiO2")
        assert float(x[-1]) == pytest.approx(float(expected), abs=1e-9)


def test_capacities_of_half_cycles_are_no_net_charge():
    ds = _record()
    ds["voltage"] = xr.full_like(ds.current, 3.7).assign_attrs(units="V")
    halves = half_cycles(ds)
    used = utilisation(halves, formula="LiNiO2", mass=7.0)
    expected = halves.capacity / 7e-3 / theoretical_capacity("LiNiO2")
    np.testing.assert_allclose(used, expected)
    with pytest.raises(VariableError, match="capacity_total"):
        li_content(halves, formula="LiNiO2", mass=7.0)
    # The cycler's own column is not what a record's content comes from.
    column = xr.full_like(ds.current, 9.0).assign_attrs(units="mA h")
    xr.testing.assert_equal(
        li_content(ds.assign(capacity=column), formula="LiNiO2", mass=7.0),
        li_content(ds, formula="LiNiO2", mass=7.0),
    )
    named = li_content(
        ds.assign(capacity=column), formula="LiNiO2", mass=7.0, variable="capacity"
    )
    assert (named == named[0]).all()


def test_charge_that_cannot_be_trusted_is_refused_or_missing():
    ds = _record()
    with pytest.raises(DataError, match="backward_time"):
        li_content(ds.assign_attrs(flags=["backward_time"]), formula="LiNiO2", mass=7.0)
    time = ds.test_time.copy()
    time[100:] = time[100:] - 500
    x = li_content(ds.assign_coords(test_time=time), formula="LiNiO2", mass=7.0)
    assert x[:100].notnull().all()
    assert x[100:].isnull().all()
    late = ds.test_time.copy()
    late[100:] = late[100:] + 4000
    gap = li_content(ds.assign_coords(test_time=late), formula="LiNiO2", mass=7.0)
    assert gap[100] == gap[99]


def test_missing_current_stays_missing():
    ds = _record()
    ds["current"] = ds.current.where(ds.test_time != ds.test_time[100])
    x = li_content(ds, formula="LiNiO2", mass=7.0)
    assert x[:100].notnull().all()
    assert x[100:].isnull().all()


def test_units_and_mass_are_asked_for():
    q = xr.DataArray([1.0, 2.0], dims="scan", name="capacity", attrs={"units": "mA h"})
    with pytest.raises(ArgumentError, match="mass of active material in mg"):
        li_content(q, formula="LiNiO2")
    with pytest.raises(UnitsError, match="no units"):
        li_content(xr.DataArray([1.0], dims="scan"), formula="LiNiO2")
    with pytest.raises(UnitsError):
        li_content(q.assign_attrs(units="V"), formula="LiNiO2")
    with pytest.raises(ArgumentError, match="or a number"):
        utilisation([1.0, 2.0], formula="LiNiO2")
    with pytest.raises(VariableError, match="capacity"):
        li_content(xr.Dataset({"a": 1.0}), formula="LiNiO2")
    with pytest.raises(ArgumentError, match="metal centres"):
        li_content(1.0, formula=Lithiation("C6", per="metal"))
    with pytest.raises(ArgumentError, match="'formula', 'metal' or an element"):
        li_content(1.0, formula=Lithiation("LiNiO2", per="Fe"))
    with pytest.raises(ArgumentError, match="delithiation"):
        li_content(1.0, formula=Lithiation("LiNiO2", on_charge="oxidation"))


def test_charge_may_come_in_any_unit():
    q = xr.DataArray([1.0, 2.0], dims="scan", name="capacity", attrs={"units": "mA h"})
    coulombs = (q * 3.6).assign_attrs(units="C")
    specific = (q / 7e-3).assign_attrs(units="A h kg-1")
    expected = li_content(q, formula="LiNiO2", mass=7.0)
    for same in (coulombs, specific):
        found = li_content(same, formula="LiNiO2", mass=7.0)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_result_can_be_made_again_and_stored(tmp_path):
    ds = _record()
    x = ds.echem.li_content(formula=Lithiation(formula("LiNiO2"), per="Ni"), mass=7.0)
    call = json.loads(x.attrs["batteryxr_call"])
    assert call["method"] == "li_content"
    xr.testing.assert_identical(batteryxr.replay(x, ds).drop_attrs(), x.drop_attrs())
    batteryxr.save(x, tmp_path / "x.zarr")
    back = batteryxr.open_store(tmp_path / "x.zarr")
    assert back.li_content.attrs["formula"] == "LiNiO2"


def test_plot_gives_each_branch_its_own_look():
    ds = _record().drop_vars("file")
    ds["voltage"] = 3.0 + ds.current * 0 + np.arange(ds.sizes["record"]) * 1e-3
    ds["voltage"].attrs = {"units": "V", "long_name": "Voltage"}
    x = li_content(ds, formula="LiNiO2", mass=7.0)
    plot = ds.echem.plot.lithiation(formula="LiNiO2", mass=7.0)
    curves = [e for e in plot if type(e).__name__ == "Curve"]
    assert [c.label for c in curves] == ["charge", "discharge"]
    looks = [c.opts.get("style").kwargs for c in curves]
    assert len({(look["color"], look["line_dash"]) for look in looks}) == 2
    # No row is left out, none is drawn in the look of the other branch.
    for curve, rows in zip(curves, (slice(250), slice(250, None)), strict=True):
        np.testing.assert_array_equal(curve.dimension_values(1), ds.voltage[rows])
        np.testing.assert_allclose(curve.dimension_values(0), x[rows])


def test_plot_shades_what_exceeds_theory():
    ds = _record()
    ds["voltage"] = xr.full_like(ds.current, 1.0).assign_attrs(
        units="V", long_name="Voltage"
    )
    ds["current"] = -abs(ds.current)
    x = li_content(ds, formula=Lithiation("MnO", per="Mn"), mass=0.5)
    assert x.max() > 2
    plot = ds.echem.plot.lithiation(
        formula=Lithiation("MnO", per="Mn"), mass=0.5, electrons={"Mn": 2}
    )
    kinds = [type(e).__name__ for e in plot]
    assert kinds == ["Curve", "VSpan"]
    np.testing.assert_allclose(plot.get(0).dimension_values(0), x)
    np.testing.assert_allclose(plot.get(1).data, [2.0, float(x.max())])
    within = ds.echem.plot.lithiation(formula="MnO", mass=50.0, electrons=2)
    assert [type(e).__name__ for e in within] == ["Curve"]
    plain = ds.echem.plot.lithiation(formula="MnO", mass=0.5)
    assert [type(e).__name__ for e in plain] == ["Curve"]
