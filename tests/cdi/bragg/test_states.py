"""One crystal at several voltages: alignment, gaps, and what changed."""

from __future__ import annotations

import tracemalloc
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from batteryxr import cdi, simulate
from batteryxr.core.errors import (
    ArgumentError,
    ChunkingError,
    DataError,
    DimensionError,
    VariableError,
)

N = 24
DIMS = ("z", "y", "x")
AXES = {d: (d, (np.arange(N) - N // 2) * 10.0, {"units": "nm"}) for d in DIMS}
Z, Y, X = (np.indices((N,) * 3) - N // 2).astype(float)
BODY = (abs(Z) < 7) & (abs(Y) < 6) & (abs(X + 0.3 * Y) < 7) & (X + Z < 8)
OMEGA = np.array([0.0, 0.4, 0.9, 1.3, 1.0, 0.5])
LABELS = {
    "direction": ("state", ["charge"] * 4 + ["discharge"] * 2),
    "voltage": ("state", [2.5, 3.0, 3.5, 4.0, 3.5, 3.0], {"units": "V"}),
}


def pattern():
    """Return a smooth field of unit length on the body."""
    field = np.where(BODY, np.sin(X / 4) + 0.5 * np.cos(Y / 3) * Z / 6, 0)
    return field / np.linalg.norm(field)


def series(noise=0.0, seed=0, omega=OMEGA):
    """Return phase differences Omega psi with noise relative to their rms."""
    psi = pattern() * np.sqrt(BODY.sum())
    values = omega[:, None, None, None] * psi
    rng = np.random.default_rng(seed)
    rms = np.sqrt(np.mean(values[:, BODY] ** 2))
    values = values + noise * rms * rng.standard_normal(values.shape)
    values[0] = 0
    return labelled(np.where(BODY, values, np.nan))


def labelled(values, name="phase_difference"):
    return xr.DataArray(
        values,
        dims=("state", *DIMS),
        coords=AXES | LABELS | {"q_x": 0.0, "q_y": 0.0, "q_z": 3.4},
        name=name,
        attrs={"units": "rad", "long_name": "Phase difference"},
    )


def objects(omega=OMEGA):
    soft = ndimage.gaussian_filter(BODY.astype(float), 0.5)
    psi = pattern() * np.sqrt(BODY.sum())
    base = 0.4 * np.cos((X - 2) / 5) + 0.2 * np.sin(Y / 3)
    phase = base + omega[:, None, None, None] * psi
    return labelled((soft * np.exp(1j * phase)).astype(np.complex64), "object")


def moved(field, shift):
    return np.fft.ifftn(ndimage.fourier_shift(np.fft.fftn(field), shift))


def twin(field):
    return np.conj(np.roll(field[::-1, ::-1, ::-1], 1, (0, 1, 2)))


# --- alignment -----------------------------------------------------------------------


def test_states_are_laid_over_the_first():
    truth = objects()
    spoiled = truth.copy(deep=True)
    for k, shift in enumerate([(0, 0, 0), (1, -2, 3), (0.4, 0.3, -0.7)]):
        one = moved(truth.values[k], shift) * np.exp(1j * k)
        spoiled.values[k] = twin(one) if k == 2 else one
    found = cdi.align_states(spoiled)
    assert found["twin"].values.tolist() == [False, False, True] + [False] * 3
    np.testing.assert_allclose(found["moved_by"][1], (-1, 2, -3), atol=0.05)
    for k in range(6):
        a, b = found["object"].values[k], truth.values[k]
        overlap = abs(np.vdot(a, b)) / np.linalg.norm(a) / np.linalg.norm(b)
        assert overlap > 0.999, k


def test_a_ramp_between_states_is_kept_or_taken():
    truth = objects(0 * OMEGA)
    truth.values[3] *= np.exp(1j * 0.08 * X).astype(np.complex64)
    core = ndimage.binary_erosion(BODY)
    for ramp, expected in (("keep", 0.08), ("remove", 0.0)):
        found = cdi.align_states(truth, ramp=ramp)["object"].values
        phase = np.angle(found[3] * np.conj(found[0]))
        slope = np.polyfit(X[core], phase[core], 1)[0]
        assert slope == pytest.approx(expected, abs=1e-3), ramp


def test_lazy_states_stay_lazy(no_compute):
    eager = objects()
    lazy = eager.chunk(state=1)
    with no_compute():
        whole = cdi.fill_missing(cdi.align_states(lazy))
        differences = cdi.phase_differences(whole)
    expected = cdi.phase_differences(cdi.fill_missing(cdi.align_states(eager)))
    xr.testing.assert_allclose(differences.compute(), expected, atol=1e-5)
    with pytest.raises(ChunkingError, match="align_states"):
        cdi.align_states(eager.chunk(z=5))
    with pytest.raises(DimensionError, match="state"):
        cdi.align_states(eager.isel(state=0))
    with pytest.raises(ArgumentError, match="6 states"):
        cdi.align_states(eager, reference=6)


# --- missing density -----------------------------------------------------------------


def test_a_dark_part_is_filled_and_flagged():
    full = objects()
    holed = full.copy(deep=True)
    hole = BODY & (X > 1) & (Z > 0)
    holed.values[4][hole] *= 0.01
    holed.values[:] *= np.array([1, 2, 1, 1, 3, 1])[:, None, None, None]
    found = cdi.fill_missing(holed)
    filled = found["filled"].values
    assert not filled[[0, 1, 2, 3, 5]].any()
    core = ndimage.binary_erosion(hole)
    assert filled[4][core].all()
    assert not (filled[4] & ~ndimage.binary_dilation(hole)).any()
    amplitude = np.abs(found["object"].values[4][core])
    np.testing.assert_allclose(amplitude, 3 * np.abs(full.values[4][core]), rtol=0.1)
    differences = cdi.phase_differences(found)
    clean = cdi.phase_differences(full, support=found["support"])
    assert float(abs(differences["mean"] - clean["mean"])[4]) < 0.2
    assert np.isfinite(differences["phase_difference"].values[4][core]).all()


def test_small_gaps_are_left():
    holed = objects()
    holed.values[2][12, 12, 12] = 0
    assert not cdi.fill_missing(holed)["filled"].any()
    assert int(cdi.fill_missing(holed, minimum=1)["filled"].sum()) == 1


def test_the_common_support_needs_more_than_a_fraction():
    some = objects()
    some.values[:3, 12, 12, 12] = 0
    half = cdi.common_support(some)
    assert not half[12, 12, 12]
    assert cdi.common_support(some, fraction=0.4)[12, 12, 12]
    assert cdi.common_support(some, fraction=0)[12, 12, 12]


# --- differences and their pattern ---------------------------------------------------


def test_differences_are_unwrapped_and_zero_for_the_reference():
    omega = np.array([0.0, 0.5, 1.5, 2.5, 2.0, 1.0])
    found = cdi.phase_differences(objects(omega), threshold=0.4)
    inside = found["support"].values
    values = found["phase_difference"].values
    assert (values[0][inside] == 0).all()
    assert np.isnan(values[:, ~inside]).all()
    psi = pattern() * np.sqrt(BODY.sum())
    assert abs(psi * 2.5).max() > np.pi
    core = inside & BODY
    for k in range(6):
        error = values[k][core] - omega[k] * psi[core]
        turns = np.round(np.median(error) / (2 * np.pi))
        np.testing.assert_allclose(error, 2 * np.pi * turns, atol=1e-4)


def test_the_order_parameter_of_known_states():
    found = cdi.order_parameter(series(noise=0.05))
    omega = found["order_parameter"].sel(component=1).values
    assert np.corrcoef(omega, OMEGA)[0, 1] >= 0.999
    psi = found["pattern"].sel(component=1).fillna(0).values
    assert abs(np.vdot(psi, pattern())) >= 0.99
    assert omega[0] == 0
    assert np.linalg.norm(psi) == pytest.approx(1)
    np.testing.assert_allclose(found["rms_phase"][:, 0], OMEGA, rtol=0.02, atol=1e-3)
    assert float(found["explained"][0]) > 0.98
    assert int(found["n_voxels"]) == BODY.sum()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n_states=st.integers(2, 6))
def test_the_small_matrix_gives_what_the_large_one_does(seed, n_states):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_states, 3, 4, 5))
    axes = {d: (d, np.arange(n) * 1.0) for d, n in zip(DIMS, (3, 4, 5), strict=True)}
    found = cdi.order_parameter(
        xr.DataArray(values, dims=("state", *DIMS), coords=axes), n_components=2
    )
    flat = values.reshape(n_states, -1)
    power, vectors = np.linalg.eigh(flat.T @ flat)
    for k in range(2):
        dense = vectors[:, -1 - k]
        omega = flat @ dense
        sign = 1 if omega.sum() >= 0 else -1
        one = found.sel(component=k + 1)
        np.testing.assert_allclose(one["order_parameter"], sign * omega, atol=1e-10)
        np.testing.assert_allclose(
            one["pattern"].values.ravel(), sign * dense, atol=1e-8
        )
        share = power[-1 - k] / power.sum()
        assert float(one["explained"]) == pytest.approx(share, abs=1e-10)


@pytest.mark.parametrize(
    "chunks", [{"state": 1}, {"state": 2, "z": 5}, {"z": 7, "y": 9, "x": 11}]
)
def test_chunks_do_not_change_the_order_parameter(chunks):
    eager = cdi.order_parameter(series(noise=0.3), n_components=2)
    lazy = cdi.order_parameter(series(noise=0.3).chunk(chunks), n_components=2)
    assert lazy["pattern"].chunks is not None
    for name in ("order_parameter", "pattern", "explained"):
        np.testing.assert_allclose(lazy[name], eager[name], atol=1e-6)


def test_contribution_and_residual_add_up():
    differences = series(noise=0.2)
    order = cdi.order_parameter(differences)
    parts = cdi.inverse_pca(differences, order=order)
    total = parts["contribution"] + parts["residual"]
    np.testing.assert_allclose(total, differences, atol=1e-12)
    psi = order["pattern"].sel(component=1)
    left = (parts["residual"] * psi).sum(DIMS)
    np.testing.assert_allclose(left, 0, atol=1e-9)
    with pytest.raises(ArgumentError, match=r"\[1\]"):
        cdi.inverse_pca(differences, order=order, component=2)


def test_options_of_the_order_parameter_are_checked():
    with pytest.raises(ArgumentError, match="1 to 6 states"):
        cdi.order_parameter(series(), n_components=7)
    with pytest.raises(DataError, match="all zero"):
        cdi.order_parameter(series() * 0)
    with pytest.raises(DimensionError, match="state"):
        cdi.order_parameter(series().isel(state=1))


@pytest.mark.parametrize("n_states", [2, 4])
def test_memory_is_three_chunks_however_many_states(n_states):
    shape = (64, 128, 128)
    axes = {d: (d, np.arange(n) * 1.0) for d, n in zip(DIMS, shape, strict=True)}

    def one(block_info=None):
        (state, _), *_ = block_info[None]["array-location"]
        rng = np.random.default_rng(state)
        return rng.standard_normal((1, *shape), dtype=np.float32)

    chunks = ((1,) * n_states, *((n,) for n in shape))
    lazy = da.map_blocks(one, chunks=chunks, dtype=np.float32)
    values = xr.DataArray(lazy, dims=("state", *DIMS), coords=axes)
    chunk = 4 * np.prod(shape)
    cdi.order_parameter(series().chunk(state=1))  # imports are no data
    tracemalloc.start()
    try:
        with dask.config.set(scheduler="synchronous"):
            found = cdi.order_parameter(values)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["pattern"].chunks is not None
    # Two states, and the copy that dask makes of the one it hands over.
    assert peak < 3.1 * chunk, peak / chunk


# --- summaries -----------------------------------------------------------------------


def test_states_are_summarised_without_what_was_filled():
    fields = cdi.strain(cdi.displacement(cdi.unwrap(objects()), sign=1))
    flag = xr.zeros_like(fields["support"], bool)
    flag[:, 12:] = True
    fields["filled"] = flag
    found = cdi.summarise_states(fields)
    part = fields["displacement"].values[:, :12]
    np.testing.assert_allclose(
        found["displacement_mean"], np.nanmean(part, axis=(1, 2, 3)), rtol=1e-5
    )
    assert found["strain_spread"].attrs["units"] == "1"
    expected = np.isfinite(fields["phase"].values[:, :12]).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(found["n_voxels"], expected)
    assert found["voltage"].values.tolist() == LABELS["voltage"][1]


# --- the gauge, and numbers in Angstrom ----------------------------------------------


def moved_crystal(sign=-1):
    """Return a series whose lattice moves by a known amount, and what moved.

    u = 0 in the half z < 0; beyond, it grows to 0.05 k + 2e-4 z: on a grid of 8 nm.
    """
    axis = (np.arange(24) - 12) * 8.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    body = (abs(z) < 70) & (abs(y) < 60) & (abs(x) < 50)
    q = 3.0
    states = []
    moved = []
    for k in range(4):
        u = k * np.where(z > 0, 0.05 + 2e-4 * z, 0.0)
        phase = sign * q * u + 0.7 * k  # a phase that nothing fixes
        states.append(body * np.exp(1j * phase))
        moved.append(u)
    coords = {d: (d, axis, {"units": "nm"}) for d in "zyx"}
    coords |= {"q_x": 0.0, "q_y": 0.0, "q_z": q, "fourier_sign": sign}
    dims = ("state", "z", "y", "x")
    crystal = xr.DataArray(np.array(states), dims=dims, coords=coords)
    return crystal, np.array(moved), body


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("gauge", ["least_changed", "centre_of_mass", (6, 12, 12)])
def test_the_table_of_a_series_in_one_call(sign, gauge):
    """Mean phase, mean and largest relative displacement, whatever the sign."""
    crystal, moved, body = moved_crystal(sign)
    table = cdi.phase_differences(crystal, gauge=gauge)
    if gauge == "centre_of_mass":  # two of its three layers lie still
        moved = moved - moved[:, 11:14, 12, 12].mean(axis=1)[:, None, None, None]
    mean = moved[:, body].mean(axis=1)
    np.testing.assert_allclose(table["displacement_mean"], mean, atol=2e-3)
    np.testing.assert_allclose(table["mean"], sign * 3.0 * mean, atol=6e-3)
    core = ndimage.binary_erosion(body)
    largest = abs(moved[:, core]).max(axis=1)
    np.testing.assert_allclose(table["displacement_largest"], largest, rtol=0.1)
    assert table["mean"].attrs["gauge"] == table.attrs["gauge"]
    np.testing.assert_allclose(
        table["gauge_phase"].diff("state"), 0.7, atol=0.01 + 0.2 * ("mass" in gauge)
    )


def test_a_mean_that_is_zero_by_construction_is_not_reported():
    crystal, _, _ = moved_crystal()
    aligned = cdi.align_states(crystal)
    flat = cdi.align_states(crystal, ramp="remove")
    for series in (flat, flat["object"], cdi.fill_missing(flat)["object"]):
        assert "mean_strain" not in cdi.phase_differences(series)
    for series in (aligned, aligned["object"]):
        plain = cdi.phase_differences(series)
        assert not {"mean", "displacement_mean", "displacement_largest"} & set(plain)
        assert "spread" in plain
        assert plain.attrs["gauge"] == "mean"
    assert "mean" in cdi.phase_differences(aligned, gauge="core")
    with pytest.raises(ArgumentError, match="gauge"):
        cdi.phase_differences(aligned, gauge=(0, 0, 0))
    unknown = crystal.drop_vars("fourier_sign")
    assert "displacement_mean" not in cdi.phase_differences(unknown, gauge="core")
    geometry = xr.Dataset({"q": ("vector", [0, 0, 3.0]), "q_length": 3.0})
    with pytest.raises(DataError, match="sign"):
        cdi.phase_differences(unknown, gauge="core", geometry=geometry)
    with pytest.raises(ArgumentError, match="geometry"):
        cdi.phase_differences(crystal, gauge="core", geometry=1.1 * geometry)
    flat = cdi.displacement(cdi.unwrap(crystal), ramp="remove")
    summary = cdi.summarise_states(flat)
    assert "displacement_mean" not in summary
    assert "mean_strain" in summary


def test_the_mean_strain_is_that_of_the_ramp_and_of_q():
    """Half of the dilation lies in the ramp, half in where the boxes lie."""
    axis = (np.arange(20) - 10) * 8.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    body = (abs(z) < 50) & (abs(y) < 50) & (abs(x) < 50)
    part = np.array([0.0, 1e-4, -2e-4])
    q = 3.0 / (1 + part)
    # u (Angstrom) = strain times place: 10 z in Angstrom.
    phase = -3.0 * part[:, None, None, None] * 10 * z
    coords = {d: (d, axis, {"units": "nm"}) for d in "zyx"}
    coords |= {"q_x": 0.0, "q_y": 0.0, "q_z": ("state", q), "fourier_sign": -1}
    dims = ("state", "z", "y", "x")
    crystal = xr.DataArray(body * np.exp(1j * phase), dims=dims, coords=coords)
    table = cdi.phase_differences(crystal)
    np.testing.assert_allclose(table["mean_strain"], 2 * part, atol=2e-7)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_gauge_where_a_state_has_nothing_is_refused(chunked):
    crystal, _, body = moved_crystal()
    filled = xr.zeros_like(crystal.real, dtype=bool)
    filled[2, 10:14, 10:14, 10:14] = True
    series = xr.Dataset({"object": crystal, "filled": filled})
    series["support"] = (("z", "y", "x"), body)
    if chunked:
        series = series.chunk(state=1)
    with pytest.raises(DataError, match="2 has no phase"):
        cdi.phase_differences(series, gauge=(12, 12, 12)).compute()
    # A state without anything is named; it gives no warning of numpy's own.
    series["filled"] = series["filled"].copy(data=np.zeros(crystal.shape, bool))
    series["filled"][1] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(DataError, match="1 has no phase"):
            cdi.phase_differences(series, gauge="least_changed").compute()


def test_what_was_aligned_goes_with_the_geometry_of_its_volumes():
    tree = simulate.bragg_states(shape=(24, 24, 24), size=700.0, missing_state=None)
    truth = tree["truth"].to_dataset().compute()
    geometry = cdi.geometry(tree["states"]["intensity"], beamline="theta")
    aligned = cdi.align_states(truth["object"])
    table = cdi.phase_differences(aligned, gauge="core", geometry=geometry)
    assert {"displacement_mean", "mean_strain"} <= set(table)
    np.testing.assert_array_equal(aligned["axis"], geometry["axis"])


def test_a_dataset_without_the_field_is_told_what_to_pass():
    zeros = ("along_rocking", "along_y", "along_x"), np.zeros((2, 2, 2))
    fields = xr.Dataset({"amplitude": zeros, "phase": zeros})
    with pytest.raises(VariableError, match=r"such as `ds\['amplitude'\]`"):
        cdi.domains(fields)
