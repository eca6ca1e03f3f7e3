"""Optical density, binning, energy calibration, and objects of ptychography."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    DataError,
    DataQualityWarning,
    DimensionError,
    VariableError,
)
from batteryxr.xanes import (
    calibrate_energy,
    from_transmission,
    optical_density,
    rebin,
    reference_phase,
)


def make_counts(seed=0):
    rng = np.random.default_rng(seed)
    energy = np.linspace(700, 730, 12)
    i0 = 1000 + 20 * np.arange(12.0)
    density = rng.uniform(0, 2, (12, 10, 14))
    density[:, :2] = 0
    counts = xr.DataArray(
        i0[:, None, None] * np.exp(-density) + 7,
        dims=("energy", "y", "x"),
        coords={
            "energy": ("energy", energy, {"units": "eV", "long_name": "E"}),
            "y": ("y", 30.0 * np.arange(10), {"units": "nm", "long_name": "y"}),
            "x": ("x", 30.0 * np.arange(14), {"units": "nm", "long_name": "x"}),
        },
        name="intensity",
        attrs={"units": "1", "long_name": "Counts"},
    )
    return counts, xr.DataArray(i0 + 7, coords={"energy": counts.energy}), density


def test_optical_density_by_spectrum_flat_mask_and_coordinate(no_compute):
    counts, i0, density = make_counts()
    empty = xr.zeros_like(counts[0], dtype=bool).drop_vars("energy")
    empty[:2] = True
    flat = i0 * xr.ones_like(counts)
    for given in (i0, flat, empty):
        od = optical_density(counts, i0=given, dark=7.0)
        np.testing.assert_allclose(od, density, atol=1e-12)
        assert od.attrs["units"] == "1"
    with_i0 = counts.assign_coords(i0=("energy", i0.values))
    od = optical_density(with_i0, dark=7.0)
    np.testing.assert_allclose(od, density, atol=1e-12)
    np.testing.assert_allclose(od.i0, i0)
    lazy = counts.chunk(energy=5, y=3)
    with no_compute():
        built = optical_density(lazy, i0=i0, dark=7.0)
    np.testing.assert_array_equal(built, optical_density(counts, i0=i0, dark=7.0))


def test_optical_density_interpolates_i0_and_refuses_too_little():
    counts, i0, density = make_counts()
    finer = i0.interp(
        energy=np.linspace(699.9, 730.1, 700), kwargs={"fill_value": "extrapolate"}
    )
    od = optical_density(counts, i0=finer, dark=7.0)
    np.testing.assert_allclose(od, density, atol=1e-6)
    with pytest.raises(DataError, match="the stack from 700 to 730 eV"):
        optical_density(counts, i0=i0[:5])
    with pytest.raises(DataError, match="mask of empty pixels"):
        optical_density(counts)
    with pytest.raises(DataError, match="True nowhere"):
        optical_density(counts, i0=xr.zeros_like(counts[0], dtype=bool))
    with pytest.raises(VariableError, match="from_transmission"):
        optical_density(counts.astype(complex), i0=1.0)


def test_dead_pixels_give_nan_not_an_error():
    counts, i0, _ = make_counts()
    counts[:, 4, 4] = 0
    counts[:, 5, 5] = -3
    counts[:, 6, 6] = np.nan
    od = optical_density(counts, i0=i0)
    bad = np.isnan(od).all("energy")
    assert int(bad.sum()) == 3
    assert not np.isinf(od).any()


def test_rebin_means_sums_and_trims(no_compute):
    counts, *_ = make_counts()
    binned = rebin(counts, factor=3)
    assert binned.sizes == {"energy": 12, "y": 3, "x": 4}
    expected = counts.values[:, :9, :12].reshape(12, 3, 3, 4, 3).mean((2, 4))
    np.testing.assert_allclose(binned, expected)
    assert float(binned.y[0]) == 30.0
    assert binned.y.attrs["units"] == "nm"
    pairs = rebin(counts, factor={"energy": 2}, combine="sum")
    np.testing.assert_allclose(pairs, counts.values[0::2] + counts.values[1::2])
    with no_compute():
        lazy = rebin(counts.chunk(y=4, x=5), factor=3)
    np.testing.assert_allclose(lazy, binned)
    for factor in (0, 11, True, {"y": 2.5}):
        with pytest.raises(ArgumentError, match="factor"):
            rebin(counts, factor=factor)
    with pytest.raises(DimensionError):
        rebin(counts[:, 0, 0])


def test_energies_are_shifted_by_the_foil(standard, phantom):
    foil = standard("V/V2O3")
    off = foil.assign_coords(energy=foil.energy - 1.7)
    stack, _ = phantom(n=8)
    known = calibrate_energy(stack, reference=foil, expected=5480.0)
    shift = known.attrs["energy_shift"]
    moved = calibrate_energy(stack, reference=off, expected=5480.0)
    assert moved.attrs["energy_shift"] == pytest.approx(shift + 1.7, abs=1e-6)
    np.testing.assert_allclose(moved.energy, stack.energy + shift + 1.7)
    assert moved.energy.attrs["units"] == "eV"
    laid = calibrate_energy(stack, reference=off, expected=foil)
    assert laid.attrs["energy_shift"] == pytest.approx(1.7, abs=0.02)
    half = calibrate_energy(stack, reference=off, expected=5480.0, method="half_jump")
    same = calibrate_energy(stack, reference=foil, expected=5480.0, method="half_jump")
    difference = half.attrs["energy_shift"] - same.attrs["energy_shift"]
    assert difference == pytest.approx(1.7, abs=1e-6)
    with pytest.raises(DimensionError, match="one spectrum along energy"):
        calibrate_energy(stack, reference=stack, expected=5480.0)


def test_a_shift_to_another_edge_is_told():
    energy = np.linspace(5440.0, 5540, 101)
    jump = 1 / (1 + np.exp(-(energy - 5480) / 2))
    foil = xr.DataArray(jump, {"energy": ("energy", energy, {"units": "eV"})})
    foil.name = "absorption"
    with pytest.warns(DataQualityWarning, match="unlikely for a energy shift"):
        calibrate_energy(foil, reference=foil, expected=7112.0)


@pytest.mark.parametrize("labels", ["nan", "alike", "text", "keV"])
def test_energies_are_calibrated_where_they_are_energies(labels):
    energy = np.linspace(5440.0, 5540, 101)
    jump = 1 / (1 + np.exp(-(energy - 5480) / 2))
    foil = xr.DataArray(jump, {"energy": ("energy", energy, {"units": "eV"})})
    foil.name = "absorption"
    stack = foil.copy()
    if labels == "keV":
        stack["energy"] = ("energy", energy / 1e3, {"units": "keV"})
        moved = calibrate_energy(stack, reference=foil, expected=5481.0)
        shift = moved.attrs["energy_shift"]
        np.testing.assert_allclose(moved.energy, energy + shift)
        assert moved.energy.attrs["units"] == "eV"
        return
    wrong = {
        "nan": np.where(energy == energy[4], np.nan, energy),
        "alike": np.full(101, 5480.0),
        "text": [f"scan {k}" for k in range(101)],
    }
    stack["energy"] = ("energy", wrong[labels])
    with pytest.raises(BatteryxrError, match="energy"):
        calibrate_energy(stack, reference=foil, expected=5481.0)


def make_object(seed=0):
    rng = np.random.default_rng(seed)
    mu, phi = rng.uniform(0, 1, (2, 3, 40, 50))
    vacuum = np.zeros((40, 50), bool)
    vacuum[:6] = vacuum[:, -7:] = True
    mu[:, vacuum] = phi[:, vacuum] = 0
    dims = ("energy", "y", "x")
    energy = ("energy", [5420.0, 5480.0, 5540.0], {"units": "eV", "long_name": "E"})
    field = xr.DataArray(
        np.exp(-0.5 * mu - 1j * phi),
        dims=dims,
        coords={"energy": energy},
        name="transmission",
        attrs={"units": "1", "long_name": "T"},
    )
    return field, mu, -phi, xr.DataArray(vacuum, dims=("y", "x"))


def test_absorption_is_twice_the_logarithm_of_the_amplitude():
    field, mu, phi, _ = make_object()
    field[0, 20, 20] = 0
    result = from_transmission(field)
    mu[0, 20, 20] = phi[0, 20, 20] = np.nan
    np.testing.assert_allclose(result.absorption, mu, atol=1e-12)
    np.testing.assert_allclose(result.phase, phi, atol=1e-12)
    assert result.phase.attrs["units"] == "rad"
    with pytest.raises(VariableError, match="complex"):
        from_transmission(field.real)


@pytest.mark.parametrize("ramp", [False, True])
def test_vacuum_becomes_zero_phase_and_full_transmission(ramp, no_compute):
    field, mu, phi, vacuum = make_object()
    rows, columns = np.mgrid[:40, :50]
    offset, scale = np.array([0.5, 3.0, -2.5]), np.array([1.1, 0.9, 1.0])
    plane = offset[:, None, None] + (
        0.11 * (rows - 19.5) - 0.3 * (columns - 24.5) if ramp else 0
    )
    bent = field * scale[:, None, None] * np.exp(1j * plane)
    flat = reference_phase(bent, vacuum=vacuum, ramp=ramp)
    result = from_transmission(flat)
    np.testing.assert_allclose(result.absorption, mu, atol=1e-6)
    np.testing.assert_allclose(result.phase, phi, atol=1e-5)
    np.testing.assert_allclose(flat.vacuum_phase, offset, atol=1e-5)
    if ramp:
        np.testing.assert_allclose(flat.phase_ramp_x, -0.3, atol=1e-6)
    lazy = reference_phase(bent.chunk(energy=1, y=13, x=9), vacuum=vacuum, ramp=ramp)
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy, flat, atol=1e-6)
    phase = from_transmission(bent).phase
    only = reference_phase(phase, vacuum=vacuum, ramp=ramp)
    np.testing.assert_allclose(only, phi, atol=1e-5)


def test_scatter_of_the_vacuum_is_told():
    field, _, _, vacuum = make_object()
    rng = np.random.default_rng(3)
    noise = 0.02 * (rng.normal(size=field.shape) + 1j * rng.normal(size=field.shape))
    flat = reference_phase(field + noise, vacuum=vacuum)
    np.testing.assert_allclose(flat.vacuum_phase_sd, 0.02, rtol=0.1)
    with pytest.raises(DataError, match="at least one pixel"):
        reference_phase(field, vacuum=vacuum & False)
    with pytest.raises(DataError, match="booleans"):
        reference_phase(field, vacuum=vacuum.astype(float))


@pytest.mark.parametrize("held", [2**28, 20_000])
def test_frames_go_into_every_analysis(phantom, model, monkeypatch, held):
    """One frame a chunk, as files are read; held: in one go, or in bands."""
    import importlib

    whole = importlib.import_module("batteryxr.core.blocks.whole")
    monkeypatch.setattr(whole, "HELD", held)
    stack, _ = phantom(24)
    frames = stack.chunk(energy=1)
    ends = {"a": stack[:, 12, 12], "b": stack[:, 12, 6]}
    for name, options in (
        ("normalise", {"e0": 5480.0}),
        ("fit_edge", model),
        ("lcf", {"standards": ends}),
        ("pca", {"n_components": 2}),
    ):
        lazy = getattr(frames.xanes, name)(**options)
        eager = getattr(stack.xanes, name)(**options)
        for variable in ("edge_step", "edge_energy", "weight", "eigenvalue"):
            if variable in eager:
                np.testing.assert_allclose(
                    lazy[variable], eager[variable], rtol=1e-6, atol=1e-9
                )


def test_bands_are_read_apart(monkeypatch):
    """A band at a time holds its share alone: each reads the frames anew."""
    import importlib

    import dask.array as da

    module = importlib.import_module("batteryxr.core.blocks.whole")
    monkeypatch.setattr(module, "HELD", 8 * 10 * 40 * 16 // 4)
    read = []

    def frame(block_info=None):
        read.append(1)
        place = block_info[None]["chunk-location"][0]
        return np.full((1, 40, 16), float(place))

    frames = da.map_blocks(frame, chunks=((1,) * 10, (40,), (16,)), dtype=float)
    array = xr.DataArray(frames, dims=("energy", "y", "x"))
    made = module.whole(array, "energy")
    assert made.chunksizes["energy"] == (10,)
    assert made.chunksizes["y"] == (10, 10, 10, 10)
    assert (made.compute() == np.arange(10.0)[:, None, None]).all()
    assert 40 <= len(read) <= 42  # dask asks twice what a frame is like
    assert module.whole(made, "energy") is made
