"""Series of scans that drift and have glitches: found, bridged, aligned, merged."""

import numpy as np
import pytest
import xarray as xr
from scipy.special import erf

from batteryxr import xanes
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
)

ENERGY = np.arange(7000.0, 7300.0, 0.5)


def edge(shift=0.0, e0=7120.0, width=2.0, energy=ENERGY):
    x = energy - shift
    return 0.5 * (1 + erf((x - e0) / width)) + 0.4 / (1 + ((x - e0 - 6) / 2.5) ** 2)


def labelled(values, energy=ENERGY):
    values = np.asarray(values)
    return xr.DataArray(
        values,
        dims=("scan", "energy")[-values.ndim :],
        coords={"energy": ("energy", energy, {"units": "eV"})},
        name="absorption",
        attrs={"units": "1"},
    )


def drifting(n, seed=0, noise=0.002, share=0.03):
    """Return scans, their foils, what both drifted by, and where glitches are."""
    rng = np.random.default_rng(seed)
    drift = rng.uniform(-1, 1, n)
    pair, marks = [], []
    for options in ({}, {"e0": 7112.0, "width": 1.5}):
        y = np.stack([edge(d, **options) for d in drift])
        y += noise * rng.standard_normal(y.shape)
        mark = rng.random(y.shape) < share
        mark[:, [0, 1, 2, -1, -2, -3]] = False
        sign = rng.choice([-1, 1], y.shape)
        pair.append(labelled(y + mark * sign * rng.uniform(0.1, 1, y.shape)))
        marks.append(mark)
    return *pair, drift, marks[0]


@pytest.mark.filterwarnings("ignore:deglitch")
def test_scans_that_drift_and_glitch():
    scans, foils, drift, true = drifting(10)
    clean = scans.xanes.deglitch()
    found = clean.glitch.values
    assert (found & true).sum() >= 0.95 * true.sum()
    assert (found & ~true).sum() <= 0.001 * (~true).sum()
    done = clean.xanes.calibrate_energy(reference=foils, expected=7112.0)
    # The foil's steepest rise has its white line beside it.
    foil = edge(e0=7112.0, width=1.5, energy=np.arange(7100, 7130, 0.001))
    steepest = 7100 + 0.001 * np.argmax(np.diff(foil))
    off = done.energy_shift + drift - (7112.0 - steepest)
    assert float(off.std()) < 0.02
    assert abs(float(off.mean())) < 0.1
    normal = done.xanes.normalise(e0=7120.0)
    e0 = normal.xanes.edge_energy(window=(7110, 7130)).edge_energy
    assert float(e0.std()) <= 0.05
    assert done.energy_shift.attrs["units"] == "eV"


def test_errors_of_shifts_hold():
    """Least squares reach the bound of Cramér and Rao; the errors say so."""
    noise, energy = 0.01, ENERGY[180:320]
    rng = np.random.default_rng(8)
    y = edge(0.4, 7112.0, 1.5, energy) + noise * rng.standard_normal((50, energy.size))
    clean = edge(0.0, 7112.0, 1.5, energy)
    found = labelled(y, energy).xanes.align(reference=labelled(clean, energy))
    off = found.energy_shift.values + 0.4
    known = np.stack([clean, np.ones(energy.size), energy - energy.mean()], axis=1)
    basis = np.linalg.qr(known)[0]
    steep = np.gradient(clean, energy)
    steep = steep - basis @ (basis.T @ steep)
    bound = noise / np.linalg.norm(steep)
    assert 0.75 * bound < np.sqrt(np.mean(off**2)) < 1.25 * bound
    assert 0.8 < np.std(off / found.energy_shift_error.values) < 1.25


def test_glitches_are_not_spread_silently():
    scans, foils, _, _ = drifting(4, share=0.03)
    with pytest.warns(DataQualityWarning, match="4 of 4 spectra.*deglitch"):
        scans.xanes.calibrate_energy(reference=foils, expected=7112.0)


def test_a_wild_last_point_moves_no_scan():
    energy = np.r_[7012:7092:2.0, 7092:7142:0.5, 7142:7272:2.0]
    rng = np.random.default_rng(3)
    drift = rng.uniform(-1, 1, 8)
    foils = np.stack([edge(d, 7112.0, energy=energy) for d in drift])
    foils += 0.001 * rng.standard_normal(foils.shape)
    foils[[2, 4, 6], [-2, 0, -1]] += [-5.0, 5.0, 5.0]
    done = labelled(foils, energy).xanes.calibrate_energy(
        reference=labelled(foils, energy), expected=7112.0
    )
    off = done.energy_shift + drift
    assert float(abs(off - off.mean()).max()) < 0.02
    known = labelled(edge(0.0, 7112.0, energy=energy), energy)
    alone = labelled(foils, energy).xanes.align(reference=known)
    np.testing.assert_allclose(alone.energy_shift, -drift, atol=0.02)


@pytest.mark.filterwarnings("ignore:deglitch")
def test_neighbours_of_glitches_are_kept():
    scans, _, _, true = drifting(30, seed=5, noise=0.001)
    found = scans.xanes.deglitch().glitch.values
    assert (found & true).sum() >= 0.95 * true.sum()
    assert (found & ~true).sum() <= 0.0002 * (~true).sum()


def test_glitches_are_shown_never_silent():
    clean = edge()
    y = clean.copy()
    y[[100, 300]] += [0.5, -0.3]
    with pytest.warns(DataQualityWarning, match=r"2 of 600 values.*7050.00, 7150.00"):
        mended = xanes.deglitch(labelled(y))
    np.testing.assert_array_equal(np.flatnonzero(mended.glitch), [100, 300])
    np.testing.assert_allclose(mended, clean, atol=2e-3)
    with pytest.warns(DataQualityWarning):
        gone = xanes.deglitch(labelled(y), fill="missing")
    assert np.isnan(gone[[100, 300]]).all()
    assert int(gone.isnull().sum()) == 2


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.01])
def test_sound_spectra_have_no_glitches(noise, recwarn):
    rng = np.random.default_rng(2)
    rows = [edge(d) + noise * rng.standard_normal(ENERGY.size) for d in range(20)]
    found = xanes.deglitch(labelled(rows))
    assert int(found.glitch.sum()) <= 1
    lazy = xanes.deglitch(labelled(rows).chunk(scan=5, energy=100))
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy, found)


def test_one_foil_for_each_scan_is_needed():
    scans, foils, *_ = drifting(4)
    with pytest.raises(DimensionError, match="3 references along 'scan' for 4"):
        scans.xanes.calibrate_energy(reference=foils[:3], expected=7112.0)
    with pytest.raises(DimensionError, match="have no 'scan'"):
        scans[0].xanes.calibrate_energy(reference=foils, expected=7112.0)


def test_a_known_foil_moves_each_scan():
    shifts = np.array([0.0, 0.4, -0.7, 1.1])
    scans = labelled([edge(d) for d in shifts])
    foils = labelled([edge(d, 7112.0) for d in shifts])
    known = labelled(edge(0.25, 7112.0))
    done = scans.xanes.calibrate_energy(reference=foils, expected=known)
    np.testing.assert_allclose(done.energy_shift, 0.25 - shifts, atol=2e-3)
    truth = edge(0.25, energy=done.energy.values)
    np.testing.assert_allclose(done, np.tile(truth, (4, 1)), atol=2e-3)
    lazy = scans.chunk(energy=50).xanes.calibrate_energy(
        reference=foils, expected=known
    )
    np.testing.assert_allclose(lazy, done)


def test_scans_are_aligned_to_one_of_them():
    shifts = np.array([0.3, 0.4, -0.7, 1.1])
    scans = labelled([(1 + 0.2 * d) * edge(d) for d in shifts])
    done = scans.xanes.align(reference=-1)
    np.testing.assert_allclose(done.energy_shift, 1.1 - shifts, atol=2e-3)
    to_foil = scans.xanes.align(reference=labelled(edge()))
    np.testing.assert_allclose(to_foil.energy_shift, -shifts, atol=2e-3)
    with pytest.raises(ArgumentError, match="from -4 to 3"):
        scans.xanes.align(reference=4)
    with pytest.raises(DimensionError, match="several scans"):
        scans[0].xanes.align()


def test_merged_mean_has_its_error_and_names_outliers():
    rng = np.random.default_rng(0)
    rows = edge() + 0.01 * rng.standard_normal((12, ENERGY.size))
    rows[7] += 0.2
    scans = labelled(rows).assign_coords(scan=np.arange(12) + 100)
    with pytest.warns(DataQualityWarning, match="scan 107"):
        merged = scans.xanes.merge()
    np.testing.assert_array_equal(np.flatnonzero(merged.outlier), [7])
    kept = np.delete(rows, 7, axis=0)
    np.testing.assert_allclose(merged.absorption, kept.mean(axis=0))
    np.testing.assert_allclose(
        merged.absorption_error, kept.std(axis=0, ddof=1) / np.sqrt(11)
    )
    pull = (merged.absorption - edge()) / merged.absorption_error
    assert float(pull.std()) == pytest.approx(1.1, abs=0.1)  # Student, 10 degrees


def test_quick_scans_on_a_grid_for_xanes():
    fine = np.arange(7000.0, 7800.0, 0.05)
    rng = np.random.default_rng(1)
    noisy = edge(energy=fine) + 0.02 * rng.standard_normal(fine.size)
    binned = xanes.rebin_energy(labelled(noisy, fine), e0=7120.0, step=0.5)
    e = binned.energy.values
    over = (e > 7090) & (e < 7150)
    np.testing.assert_allclose(np.diff(e[over]), 0.5)
    np.testing.assert_allclose(np.diff(e[e < 7089])[1:], 5.0)
    k = np.sqrt(0.2624683 * (e[e > 7151] - 7120.0))
    np.testing.assert_allclose(np.diff(k), 0.05, atol=1e-6)
    off = binned - edge(energy=e)
    assert float(np.abs(off[over]).max()) < 0.03
    assert float(off[e > 7300].std()) < 0.003


@pytest.mark.parametrize(
    "method", ["gaussian", "lorentzian", "savitzky_golay", "median"]
)
def test_smoothing_keeps_lines_and_lowers_noise(method):
    rng = np.random.default_rng(3)
    e = np.sort(rng.uniform(7000, 7300, 600))
    line = labelled(0.1 + 1e-3 * (e - 7000), e)
    smooth = xanes.smooth(line, width=2.0, method=method)
    assert smooth.attrs["smoothed"] == f"{method}, 2 eV"
    np.testing.assert_allclose(smooth[60:-60], line[60:-60], atol=0.01)
    noise = labelled(rng.standard_normal(600), e)
    noise[300] = np.nan
    quiet = xanes.smooth(noise, width=2.0, method=method)
    assert np.flatnonzero(quiet.isnull()).tolist() == [300]
    assert float(quiet.std()) < 0.7 * float(noise.std())


def test_few_scans_of_equal_noise_have_no_outliers(recwarn):
    rng = np.random.default_rng(8)
    for n in (3, 4, 5):
        for _ in range(6):
            rows = edge() + 0.01 * rng.standard_normal((n, ENERGY.size))
            assert not xanes.merge(labelled(rows)).outlier.any()


def test_a_window_without_a_step_is_refused():
    with pytest.raises(ArgumentError, match="window="):
        xanes.rebin_energy(labelled(edge()), e0=7120.0, step=0.4, window=(0.1, 0.3))


def test_shifts_beyond_the_search_are_refused():
    scans = labelled([edge(), edge(0.5), edge(14.0)])
    with pytest.raises(DataError, match=r"1 of 3 lie more than 9\.5 eV away"):
        scans.xanes.align()
    far = labelled(edge(14.0))
    with pytest.raises(DataError, match="reference: 1 of 1 lie"):
        far.xanes.calibrate_energy(reference=far, expected=labelled(edge()))


def test_glitches_of_counts_and_of_few_energies():
    y = np.random.default_rng(0).poisson(10_000 * edge() + 1000)
    y[100] += 2000
    with pytest.warns(DataQualityWarning):
        gone = xanes.deglitch(labelled(y), fill="missing")
    assert np.flatnonzero(gone.isnull()).tolist() == [100]
    with pytest.raises(ArgumentError, match="12 energies"):
        xanes.deglitch(labelled(edge())[:11])
