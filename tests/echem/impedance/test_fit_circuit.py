"""Circuits against closed forms: values, errors by their coverage, refusals."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    DimensionError,
    VariableError,
)
from batteryxr.echem import drt, fit_circuit
from batteryxr.echem.impedance.circuit import parse

sys.path.insert(0, str(Path(__file__).parent))
from cells import F, labelled, noisy, s, warburg, zarc

RANDLES = "R0-p(R1,CPE1)-W1"


def randles(n, seed=0):
    rng = np.random.default_rng(seed)
    truth = {
        "R0": rng.uniform(1, 3, n),
        "R1": rng.uniform(5, 30, n),
        "CPE1_Q": 10 ** rng.uniform(-5, -3.5, n),
        "CPE1_n": rng.uniform(0.75, 0.95, n),
        "W1": rng.uniform(1, 5, n),
    }
    r0, r1, q, exponent, sigma = (v[:, None] for v in truth.values())
    return r0 + zarc(r1, q, exponent) + warburg(sigma), truth


def test_resistances_within_one_per_cent_and_errors_that_cover():
    z, truth = randles(120)
    found = fit_circuit(labelled(noisy(z, 0.005, 1)), RANDLES)
    for name, true in truth.items():
        off = np.abs(found[name].values - true)
        assert np.mean(off < 1.96 * found[f"{name}_error"].values) > 0.9, name
        if name.startswith("R"):
            assert np.quantile(off / true, 0.9) < 0.01
    # Of the residual each part has 0.5 %.
    assert found["residual"].values.mean() == pytest.approx(0.005 * 2**0.5, rel=0.05)
    assert (found["fit_flag"] == 0).mean() > 0.99


R, TAU = 20.0, 30.0
ROOT = np.sqrt(s() * TAU)
LINE = 50.0 / (1 + 50.0 * 1e-2 * s() ** 0.9)  # what lies across a pore
CLOSED = {
    "Wo1": (R / np.tanh(ROOT) / ROOT, {"Wo1_R": R, "Wo1_tau": TAU}),
    "Ws1": (R * np.tanh(ROOT) / ROOT, {"Ws1_R": R, "Ws1_tau": TAU}),
    "G1": (R / np.sqrt(1 + s() * TAU), {"G1_R": R, "G1_tau": TAU}),
    "HN1": (
        R / (1 + (s() * TAU) ** 0.9) ** 0.6,
        {"HN1_R": R, "HN1_tau": TAU, "HN1_n": 0.9, "HN1_b": 0.6},
    ),
    "L1-R1": (4e-6 * s() + 2.0, {"L1": 4e-6, "R1": 2.0}),
    "R1-C1": (3.0 + 1 / (0.2 * s()), {"R1": 3.0, "C1": 0.2}),
    "T1": (
        np.sqrt(30.0 * LINE) / np.tanh(np.sqrt(30.0 / LINE)),
        {"T1_R": 30.0, "T1_Rct": 50.0, "T1_Q": 1e-2, "T1_n": 0.9},
    ),
    "TB1": (
        np.sqrt(30.0 / (1e-2 * s() ** 0.9))
        / np.tanh(np.sqrt(30.0 * 1e-2 * s() ** 0.9)),
        {"TB1_R": 30.0, "TB1_Q": 1e-2, "TB1_n": 0.9},
    ),
    "p(R1-W1,CPE1)": (
        1 / (1 / (10.0 + warburg(3.0)) + 1e-4 * s() ** 0.9),
        {"R1": 10.0, "W1": 3.0, "CPE1_Q": 1e-4, "CPE1_n": 0.9},
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # tanh of the oracle
@pytest.mark.parametrize("circuit", CLOSED)
def test_elements_are_their_closed_forms(circuit):
    z, truth = CLOSED[circuit]
    z = np.where(np.isfinite(z), z, np.nan)
    found = fit_circuit(labelled(1.5 + z), f"R9-{circuit}").isel(spectrum=0)
    if "L1" not in circuit and circuit != "R1-C1":
        assert float(found["R9"]) == pytest.approx(1.5, rel=1e-3)
        for name, true in truth.items():
            assert float(found[name]) == pytest.approx(true, rel=1e-3), name
    assert float(found["residual"]) < 1e-4


def test_parts_that_are_alike_go_from_fast_to_slow():
    fast, slow = zarc(8.0, 1e-5, 0.9), zarc(12.0, 1e-2, 0.85)
    z = labelled(noisy(np.stack([2 + fast + slow] * 20), 0.003, 3))
    found = fit_circuit(z, "R0-p(R1,CPE1)-p(R2,CPE2)")
    np.testing.assert_allclose(found["R1"], 8.0, rtol=0.05)
    np.testing.assert_allclose(found["R2"], 12.0, rtol=0.05)


def test_neighbours_hold_a_parameter_as_much_as_asked():
    x = np.linspace(0, 1, 40)[:, None]
    r1 = 10 + 5 * np.sin(3 * x)
    z = labelled(noisy(2 + zarc(r1, 1e-4 * (1 + x), 0.9) + warburg(3 + x), 0.02, 5))
    alone, bound = fit_circuit(z, RANDLES), fit_circuit(z, RANDLES, smoothing=0.03)
    true = {"CPE1_Q": 1e-4 * (1 + x[:, 0]), "W1": 3 + x[:, 0], "R1": r1[:, 0]}
    for name, values in true.items():
        left = [np.sqrt(np.mean((r[name] / values - 1) ** 2)) for r in (alone, bound)]
        assert left[1] < left[0]
        off = np.abs(bound[name] - values) < 1.96 * bound[f"{name}_error"]
        assert off.mean() > 0.9


def test_neighbours_are_of_one_series_and_one_empty_spectrum_does_not_part_all():
    x = np.linspace(0, 1, 20)[:, None]
    cells = [2 + zarc(r + x, 1e-4, 0.9) for r in (10.0, 40.0)]
    series = [labelled(noisy(z, 0.01, k)) for k, z in enumerate(cells)]
    alone = [fit_circuit(one, "R0-p(R1,CPE1)", smoothing=0.01) for one in series]
    both = fit_circuit(xr.concat(series, "cell"), "R0-p(R1,CPE1)", smoothing=0.01)
    for k, one in enumerate(alone):
        np.testing.assert_allclose(both["R1"].isel(cell=k), one["R1"], rtol=1e-6)
    lost = series[0].copy()
    lost[7] = np.nan
    with pytest.warns(DataQualityWarning, match="1 of 20 spectra have too few"):
        found = fit_circuit(lost, "R0-p(R1,CPE1)", smoothing=0.01)
    there = np.arange(20) != 7
    np.testing.assert_allclose(found["R1"][there], alone[0]["R1"][there], rtol=0.005)
    assert found["fit_flag"].values.tolist() == [8 * (k == 7) for k in range(20)]
    exact = fit_circuit(labelled(cells[0]), "R0-p(R1,CPE1)", smoothing=0.01)
    np.testing.assert_allclose(exact["R1"], 10 + x[:, 0], rtol=1e-6)


def test_lists_of_frequencies_that_alternate():
    f = np.logspace(-2, 5, 47)
    z = 2 + zarc(8.0, 1e-5, 0.9, f) + zarc(12.0, 1e-2, 0.85, f) + warburg(3.0, f)
    data = labelled(noisy(np.stack([z] * 6), 1e-4, 0), f)
    for k in range(6):
        data[k, k % 2 :: 2] = np.nan
    found = fit_circuit(data, "R0-p(R1,CPE1)-p(R2,CPE2)-W1")
    np.testing.assert_allclose(found["R1"], 8.0, rtol=0.02)
    np.testing.assert_allclose(found["R2"], 12.0, rtol=0.02)


def test_parts_of_the_same_elements_and_another_structure_are_not_exchanged():
    slow = 1 / (1 / 5.0 + 1 / (3.0 + 1 / (1e-1 * s())))  # p(R1,R2-C1)
    fast = 1 / (1 / (4.0 + 6.0) + 1e-6 * s())  # p(R3-R4,C2)
    truth = {"R1": 5.0, "R2": 3.0, "C1": 0.1, "R3": 4.0, "C2": 1e-6}
    circuit = "p(R1,R2-C1)-p(R3-R4,C2)"
    found = fit_circuit(labelled(slow + fast), circuit, start=truth | {"R4": 6.0})
    assert float(found["residual"][0]) < 1e-6
    for name in ("R1", "R2", "C1", "C2"):
        assert float(found[name][0]) == pytest.approx(truth[name], rel=1e-3), name


def test_what_is_fixed_stays_and_missing_points_do_not_count():
    z, truth = randles(4, seed=2)
    data = labelled(z)
    data[:, ::7] = np.nan
    data[3, 3:] = np.nan
    fixed = {"CPE1_n": 0.85}
    with pytest.warns(DataQualityWarning, match="1 of 4 spectra have too few"):
        found = fit_circuit(data, RANDLES)
    np.testing.assert_allclose(found["R1"][:3], truth["R1"][:3], rtol=1e-4)
    assert np.isnan(found["R1"][3])
    assert found["fit_flag"].values.tolist() == [0, 0, 0, 8]
    kept = fit_circuit(data[:3], RANDLES, fixed=fixed)
    assert (kept["CPE1_n"] == 0.85).all()
    assert (kept["CPE1_n_error"] == 0).all()
    started = fit_circuit(
        data[:3], RANDLES, start={n: 1.1 * v[0] for n, v in truth.items()}
    )
    np.testing.assert_allclose(started["R1"], truth["R1"][:3], rtol=1e-4)


def test_weights_and_lazy_data():
    z, truth = randles(6, seed=3)
    rng = np.random.default_rng(0)
    z = z + 0.01 * (rng.standard_normal(z.shape) + 1j * rng.standard_normal(z.shape))
    eager = fit_circuit(labelled(z), RANDLES, weights="unit")
    assert (np.abs(eager["R1"] - truth["R1"]) < 4 * eager["R1_error"]).all()
    lazy = fit_circuit(labelled(z).chunk(spectrum=2), RANDLES, weights="unit")
    assert lazy["R1"].chunks == ((2, 2, 2),)
    np.testing.assert_allclose(lazy["R1"], eager["R1"], rtol=1e-6)


def test_ninety_spectra_take_less_than_ten_seconds():
    z = randles(90, seed=4)[0] + zarc(9.0, 1e-2, 0.9)
    begun = time.process_time()
    fit_circuit(labelled(noisy(z, 0.005, 1)), "R0-p(R1,CPE1)-p(R2,CPE2)-W1")
    assert time.process_time() - begun < 10


def test_a_parser_of_our_own():
    circuit = parse("L0 - R0-p( R1-Wo1 , CPE1,p(R2,C2))-TB4")
    assert circuit.parameters == (
        "L0", "R0", "R1", "Wo1_R", "Wo1_tau", "CPE1_Q", "CPE1_n", "R2", "C2",
        "TB4_R", "TB4_Q", "TB4_n",
    )  # fmt: skip


BAD = ["", "R0-", "R0--R1", "p(R1)", "p(R1,)", "R0-p(R1,C1", "R0)", "X1", "R0-R0", "0R"]
BAD += ["__import__('os')", "R0+R1", "p" * 500, "p(" * 500, "R0-" * 90 + "R0", "R0 R1"]
BAD += ["R\N{ARABIC-INDIC DIGIT THREE}"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_circuit_is_refused(text):
    with pytest.raises(ArgumentError, match="circuit"):
        parse(text)


def test_refusals():
    z = labelled(randles(2)[0])
    with pytest.raises(ArgumentError, match="start"):
        fit_circuit(z, RANDLES, start={"R9": 1.0})
    with pytest.raises(ArgumentError, match="fixed"):
        fit_circuit(z, RANDLES, fixed={"R0": -1.0})
    with pytest.raises(ArgumentError, match="exponents"):
        fit_circuit(z, RANDLES, fixed={"CPE1_n": 1.2})
    with pytest.raises(DimensionError, match="spectrum"):
        fit_circuit(z[0], RANDLES, smoothing=0.1)
    with pytest.raises(VariableError, match="complex"):
        fit_circuit(abs(z).assign_attrs(units="ohm"), RANDLES)
    assert F.size == z.sizes["frequency"]


def test_a_gap_in_a_series_binds_its_sides_less_than_one_step():
    r1 = 8.0 * np.exp(0.05 * np.arange(9))
    z = np.stack([2 + zarc(r, 1e-3, 0.9) for r in r1])
    z = noisy(z, 0.05, 3)
    z[3:6] = np.nan
    found = fit_circuit(labelled(z), "R0-p(R1,CPE1)", smoothing=0.02)
    near = fit_circuit(labelled(z[[0, 1, 2, 6, 7, 8]]), "R0-p(R1,CPE1)", smoothing=0.02)
    kept = found["R1"].values[[0, 1, 2, 6, 7, 8]]
    # Four steps of change are allowed over the gap, not one.
    assert kept[3] / kept[2] > near["R1"].values[3] / near["R1"].values[2]
    assert (found["fit_flag"].values[[0, 8]] == 0).all()
    assert (found["fit_flag"].values[3:6] & 8 > 0).all()


def test_a_search_that_is_cut_short_is_flagged():
    z = noisy(np.stack([2 + zarc(8.0, 1e-3, 0.9) + warburg(2.0)] * 3), 0.01, 5)
    with pytest.warns(DataQualityWarning, match="did not converge"):
        found = fit_circuit(labelled(z), "R0-p(R1,CPE1)-W1", max_iter=1)
    assert (found["fit_flag"] & 1 > 0).all()
    found = fit_circuit(labelled(z), "R0-p(R1,CPE1)-W1")
    assert (found["fit_flag"] == 0).all()


def test_points_that_are_far_off_are_left_out_and_told():
    z = 3 + zarc(10.0, 1e-3, 0.85)
    rng = np.random.default_rng(7)
    z = noisy(np.stack([z] * 30), 0.005, 8)
    odd = rng.random(z.shape) < 0.03
    off = z * (1 + 0.3 * odd * np.exp(2j * np.pi * rng.random(z.shape)))
    found = fit_circuit(labelled(off), "R0-p(R1,CPE1)", weights="robust")
    for name, true in (("R0", 3.0), ("R1", 10.0)):
        away = np.abs(found[name].values - true)
        assert np.sqrt(np.mean((away / true) ** 2)) < 0.005
        assert np.mean(away < 1.96 * found[f"{name}_error"].values) > 0.8
    assert ((found["fit_flag"].values & 16 > 0) == odd.any(axis=1)).mean() > 0.9
    clean = fit_circuit(labelled(z), "R0-p(R1,CPE1)", weights="robust")
    plain = fit_circuit(labelled(z), "R0-p(R1,CPE1)")
    np.testing.assert_allclose(clean["R1"], plain["R1"], rtol=2e-3)
    assert (plain["fit_flag"] == 0).all()
    with pytest.warns(DataQualityWarning, match="weights='robust' leaves them out"):
        fitted = fit_circuit(labelled(off), "R0-p(R1,CPE1)")
    assert ((fitted["fit_flag"].values & 16 > 0) == odd.any(axis=1)).mean() > 0.9


def test_an_exponent_at_its_bound_keeps_no_fit_from_its_end():
    z = noisy(np.stack([2 + 10 / (1 + 1e-2 * s(F))] * 12), 0.0005, 1)
    found = fit_circuit(labelled(z), "R0-p(R1,CPE1)")
    assert (found["fit_flag"].values & 1 == 0).all()
    assert (found["fit_flag"].values & 2 > 0).any()
    np.testing.assert_allclose(found["R1"], 10.0, rtol=1e-3)


def test_a_circuit_that_is_not_like_a_spectrum_is_told():
    two = noisy(
        np.stack([3 + zarc(10.0, 1e-4, 0.9) + zarc(8.0, 0.1, 0.9)] * 3), 0.002, 1
    )
    for z in (two, np.conj(noisy(3 + zarc(10.0, 1e-3, 0.9), 0.002, 2))):
        with pytest.warns(DataQualityWarning, match="not like them"):
            found = fit_circuit(labelled(z), "R0-p(R1,CPE1)")
        assert (found["fit_flag"] & 32 > 0).all()
    found = fit_circuit(labelled(two), "R0-p(R1,CPE1)-p(R2,CPE2)")
    assert (found["fit_flag"] & 32 == 0).all()
    noise = noisy(np.stack([3 + zarc(10.0, 1e-3, 0.9)] * 60), 0.03, 3)
    found = fit_circuit(labelled(noise), "R0-p(R1,CPE1)")
    assert (found["fit_flag"] & 32 == 0).all()


def test_a_spectrum_without_a_series():
    z = labelled(noisy(np.stack([5 + zarc(20.0, 1e-4, 0.9)] * 2), 0.003, 0))
    one, both = fit_circuit(z[0], "R0-p(R1,CPE1)"), fit_circuit(z, "R0-p(R1,CPE1)")
    assert one["R1"].dims == ()
    np.testing.assert_allclose(one["R1"], both["R1"][0], rtol=1e-6)
    np.testing.assert_allclose(drt(z[0])["gamma"], drt(z)["gamma"][0])
    with pytest.raises(ArgumentError, match="a mapping of text to numbers"):
        fit_circuit(z, "R0-p(R1,CPE1)", fixed={"R1": np.nan})


def test_unlike_arcs_are_not_exchanged():
    """The minimum with both exchanged is reached sooner; its residuals are 8 times."""
    rng = np.random.default_rng(3)
    r0, r1, r2 = rng.uniform((1, 5, 5), (5, 20, 20), (40, 3)).T[:, :, None]
    c, q = 10 ** rng.uniform((-6, -2.5), (-5, -2), (40, 2)).T[:, :, None]
    n = rng.uniform(0.8, 0.95, (40, 1))
    z = r0 + 1 / (1 / r1 + c * s(F)) + zarc(r2, q, n) + 3e-7 * s(F)
    z = noisy(z, 0.001, 4)
    z[::3, ::2] = np.nan
    found = fit_circuit(labelled(z, F), "R0-p(R1,C1)-p(R2,CPE2)-L1")
    for name, true in (("R0", r0), ("R1", r1), ("R2", r2)):
        np.testing.assert_allclose(found[name], true[:, 0], rtol=0.03)


def test_another_minimum_is_told():
    # Two arcs that overlap, in noise of 2 %: their sizes may be exchanged.
    clean = 1.64 + zarc(19.67, 8.48e-5, 0.722) + zarc(5.36, 2.196e-3, 0.757)
    circuit = "R0-p(R1,CPE1)-p(R2,CPE2)"
    one = labelled(noisy(clean, 0.02, 59))
    fit = fit_circuit(one, circuit)
    assert fit["fit_flag"].item() & 64
    begun = {"R1": 18.0, "R2": 7.0, "CPE1_n": 0.75, "CPE2_n": 0.75}
    begun |= {"CPE1_Q": 8e-5, "CPE2_Q": 2e-3}
    other = fit_circuit(one, circuit, start=begun)
    assert other["residual"].item() == pytest.approx(fit["residual"].item(), rel=1e-6)
    assert abs(np.log(fit["R2"].item() / 5.36)) < 3 * fit["R2_error"] / fit["R2"]
    sure = fit_circuit(labelled(noisy(clean, 0.002, 59)), circuit)
    assert sure["fit_flag"].item() == 0


def test_what_a_spectrum_does_not_tell_has_no_small_error():
    # Of a finite Warburg element faster than the range only the capacitor is seen.
    z = 2.0 + zarc(10.0, 1e-4, 0.9) + 1 / (0.05 * s())
    fit = fit_circuit(labelled(noisy(z, 0.005, 8)), "R0-p(R1,CPE1)-Wo1")
    assert fit["fit_flag"].item() & 4
    assert (fit["Wo1_tau_error"] > fit["Wo1_tau"]).all()
