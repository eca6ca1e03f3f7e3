"""Moles, grams and lithium of series that were mixed by atoms, not by ratios."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf, simulate
from batteryxr.core.errors import ArgumentError, DataError

ELECTRONS = {"Li": 3, "O": 8, "Mn": 25, "Fe": 26}
MASSES = {"Li": 6.94, "O": 15.999, "Mn": 54.938, "Fe": 55.845}
UNITS = {
    "Fe2O3": {
        "α-Fe2O3": {"Fe": 2, "O": 3},
        "LiFeO2": {"Li": 1, "Fe": 1, "O": 2},
        "LiFe2O3": {"Li": 1, "Fe": 2, "O": 3},
        "bcc-FeO": {"Fe": 2, "O": 1},
        "α-Fe": {"Fe": 1},
    },
    "Fe3O4": {
        "Fe3O4": {"Fe": 3, "O": 4},
        "LiFe3O4": {"Li": 1, "Fe": 3, "O": 4},
        "bcc-FeO": {"Fe": 2, "O": 1},
        "α-Fe": {"Fe": 1},
    },
    "FeO": {
        "FeO": {"Fe": 1, "O": 1},
        "Li-Fe-O": {"Li": 7, "Fe": 13, "O": 20},
        "bcc-FeO": {"Fe": 2, "O": 1},
        "α-Fe": {"Fe": 1},
    },
    "MnO": {
        "MnO": {"Mn": 1, "O": 1},
        "MnO, 2.5 nm": {"Mn": 1, "O": 1},
        "α-Mn": {"Mn": 1},
    },
    "Mn3O4": {
        "Mn3O4": {"Mn": 3, "O": 4},
        "LiMn3O4": {"Li": 1, "Mn": 3, "O": 4},
        "MnO, 2.5 nm": {"Mn": 1, "O": 1},
        "α-Mn": {"Mn": 1},
    },
}


def written(unit: dict[str, int]) -> str:
    return "".join(f"{e}{n}" for e, n in unit.items())


@pytest.mark.parametrize("name", list(UNITS))
def test_what_was_weighed_in_comes_out(name):
    """Patterns add by electrons squared over atoms, however moles were chosen."""
    tree = simulate.oxide_series(name, n_scans=30, step=0.05)
    truth = tree["truth"].to_dataset()
    units = [UNITS[name][str(c)] for c in truth["component"].values]
    moles = truth["ratios"].values  # here they are moles of formula units
    atoms = np.array([sum(u.values()) for u in units])
    length = np.array([sum(n * ELECTRONS[e] for e, n in u.items()) for u in units])
    intensity = moles * length**2 / atoms
    measured = intensity / intensity.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    clean = measured @ truth["components"].values
    pdf = tree["scans"]["pdf"].copy(data=clean + rng.normal(0, 0.01, clean.shape))
    known = {
        str(c): truth["components"].sel(component=c, drop=True)
        for c in truth["component"].values
    }
    fit = pdf.nmf.fit(fixed=known, constraints=nmf.Constraints(shift="minimum"))
    fit = fit.sel(component=truth["component"])
    formula = {k: written(u) for k, u in UNITS[name].items()}
    found = fit.nmf.amounts(formula=formula)
    assert np.abs(found["mole_fraction"] - moles).max() < 0.01
    grams = moles * [sum(n * MASSES[e] for e, n in u.items()) for u in units]
    grams /= grams.sum(axis=1, keepdims=True)
    assert np.abs(found["weight_fraction"].values - grams).max() < 0.01
    assert np.abs(fit["weights"].values - moles).max() > 0.02  # shares of signal


def three() -> xr.Dataset:
    """Iron oxide that becomes LiFeO2 and then iron and lithia."""
    moles = np.array([[1, 0, 0], [0.5, 1, 0], [0, 1, 1], [0, 0, 2.0]])
    share = moles / moles.sum(axis=1, keepdims=True)
    return xr.Dataset(
        {"weights": (("scan", "component"), share)},
        coords={
            "component": ["oxide", "salt", "iron"],
            "li_content": ("scan", [0.0, 1.0, 2.0, 3.0]),
        },
        attrs={"closure": 1},
    )


NAMES = {"oxide": "Fe2O3", "salt": "LiFeO2", "iron": "Fe"}
EQUAL = {"oxide": 1.0, "salt": 1.0, "iron": 1.0}


def test_lithium_of_what_is_seen_and_of_what_is_not():
    with pytest.warns(UserWarning, match="phases and cycler differ"):
        found = three().nmf.amounts(formula=NAMES, scale=EQUAL, electrode="FeO1.5")
    # Fe2O3: 0. Half of it, LiFeO2 of the other: (1 Li in 2 Fe, too much O) = 1/2 - 1/2.
    by_hand = []
    for oxide, salt, iron in ((1, 0, 0), (0.5, 1, 0), (0, 1, 1), (0, 0, 2)):
        metal, oxygen = 2 * oxide + salt + iron, 3 * oxide + 2 * salt
        by_hand.append(salt / metal + 2 * (1.5 - oxygen / metal))
    np.testing.assert_allclose(found["li_per_metal"], by_hand, atol=1e-12)
    assert found["li_per_metal"].values[-1] == pytest.approx(3.0)
    np.testing.assert_allclose(
        found["li_difference"], np.array(by_hand) - [0, 1, 2, 3], atol=1e-12
    )


def test_signal_of_a_mole_by_hand():
    ratio = three()
    ratio["weights"][1] = [0.25, 0.75, 0.0]
    found = ratio.nmf.amounts(formula=NAMES, scale={"oxide": 1, "salt": 3, "iron": 1})
    np.testing.assert_allclose(found["mole_fraction"][1], [0.5, 0.5, 0.0])


def test_ranges_of_ratios_become_ranges_of_moles():
    ratio = three()
    for end, by in (("low", -0.1), ("high", 0.1)):
        ratio[f"weights_{end}"] = (ratio["weights"] + by).clip(0, 1)
    found = ratio.nmf.amounts(formula=NAMES)
    rng = np.random.default_rng(0)
    signal = np.array([(2 * 26 + 24) ** 2 / 5, (3 + 26 + 16) ** 2 / 4, 26.0**2])
    for _ in range(100):
        some = rng.dirichlet(np.ones(3), 4)
        inside = (some >= ratio["weights_low"]) & (some <= ratio["weights_high"])
        moles = some / signal
        moles /= moles.sum(axis=1, keepdims=True)
        ok = inside.values
        assert (moles >= found["mole_fraction_low"].values - 1e-9)[ok].all()
        assert (moles <= found["mole_fraction_high"].values + 1e-9)[ok].all()


def test_what_is_wrong_is_named():
    with pytest.raises(ArgumentError, match="Missing: \\['iron'\\]"):
        three().nmf.amounts(formula={"oxide": "Fe2O3", "salt": "LiFeO2"})
    with pytest.raises(ArgumentError, match="formula"):
        three().nmf.amounts(formula=NAMES | {"iron": "not a formula"})
    with pytest.raises(ArgumentError, match="numbers > 0"):
        three().nmf.amounts(formula=NAMES, scale=EQUAL | {"iron": 0.0})
    with pytest.raises(ArgumentError, match="a metal and an anion"):
        three().nmf.amounts(formula=NAMES, electrode="Fe")
    with pytest.raises(DataError, match="closure"):
        three().assign_attrs(closure=0).nmf.amounts(formula=NAMES)


def test_an_electrode_with_lithium_of_its_own_counts_as_the_cycler_does():
    """Layered oxide, half of it delithiated, or reduced to metal and lithia."""
    ratio = xr.Dataset(
        {
            "weights": (
                ("scan", "component"),
                [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1.0]],
            )
        },
        coords={
            "component": ["full", "empty", "metal"],
            "li_content": ("scan", [2.0, 1.0, 8.0]),
        },
        attrs={"closure": 1},
    )
    ratio["li_content"].attrs = {
        "units": "1",
        "long_name": "Li per formula unit",
        "formula": "Li2Co2O4",
    }
    found = ratio.nmf.amounts(
        formula={"full": "LiCoO2", "empty": "CoO2", "metal": "Co"},
        scale={"full": 1.0, "empty": 1.0, "metal": 1.0},
        electrode="LiCoO2",
    )
    # Co + 2 Li2O: four Li.
    np.testing.assert_allclose(found["li_per_metal"], [1.0, 0.5, 4.0], atol=1e-12)
    np.testing.assert_allclose(found["li_difference"], 0.0, atol=1e-12)


def test_lithium_has_the_range_of_its_ratios():
    ratio = three()
    for end, by in (("low", -0.1), ("high", 0.1)):
        ratio[f"weights_{end}"] = (ratio["weights"] + by).clip(0, 1)
    ratio = ratio.drop_vars("li_content")
    found = ratio.nmf.amounts(formula=NAMES, scale=EQUAL, electrode="FeO1.5")
    seen = np.array([[np.inf] * 4, [-np.inf] * 4])
    ticks = np.arange(0.0, 1.0001, 0.02)
    oxide, salt = (a.ravel() for a in np.meshgrid(ticks, ticks))
    w = np.stack([oxide, salt, 1 - oxide - salt], axis=1)
    metal, oxygen = w @ [2, 1, 1], w @ [3, 2, 0]
    lithium = w[:, 1] / metal + 2 * (1.5 - oxygen / metal)
    for s in range(4):
        low, high = (ratio[f"weights_{e}"].values[s] for e in ("low", "high"))
        inside = ((w >= low - 1e-9) & (w <= high + 1e-9)).all(axis=1)
        seen[:, s] = lithium[inside].min(), lithium[inside].max()
    low, high = (found[f"li_per_metal_{end}"].values for end in ("low", "high"))
    assert (low <= seen[0] + 1e-9).all()
    assert (high >= seen[1] - 1e-9).all()
    # As near as the grid comes to the corners.
    np.testing.assert_allclose(np.stack([low, high]), seen, atol=0.05)


def test_sodium_counts_where_sodium_moves():
    ratio = three()
    ratio["li_content"].attrs["long_name"] = "Na per metal"
    with pytest.warns(UserWarning, match="Na per metal"):
        found = ratio.nmf.amounts(
            formula=NAMES | {"salt": "NaFeO2"}, scale=EQUAL, electrode="FeO1.5"
        )
    np.testing.assert_allclose(found["li_per_metal"][-1], 3.0)
    assert found["li_per_metal"].values[2] == pytest.approx((1 + 2 * 1) / 2)
