from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.cdi import (
    DM,
    EPIE,
    LSQML,
    RPIE,
    Recording,
    Registration,
    Schedule,
    ptycho,
    ptycho_energies,
    ptycho_fit,
)
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
)

FRAME = ("position", "detector_y", "detector_x")


def run(scan, iterations=15, **kw):
    return ptycho(scan, iterations=iterations, progress=False, **kw)


def with_frames(scan, values):
    return scan.assign(frames=(FRAME, values.astype("u2")))


ENGINES = pytest.mark.parametrize(
    "engine",
    [LSQML(), LSQML(poisson=True), EPIE(), RPIE(), DM()],
    ids=["LSQML", "LSQML-Poisson", "EPIE", "RPIE", "DM"],
)


@ENGINES
def test_a_background_is_found_by_every_engine(scan, fuzz, engine):
    rng = np.random.default_rng(1)
    faint = rng.binomial(scan.frames.values, 0.05)
    spoilt = with_frames(scan, faint + rng.poisson(2.0, faint.shape))
    without = run(spoilt, engine=engine)
    found = run(spoilt, engine=engine, instrument=Recording(background="constant"))
    clean = run(with_frames(scan, faint), engine=engine)
    assert fuzz.correlation(found) > fuzz.correlation(without)
    assert fuzz.correlation(found) > fuzz.correlation(clean) - 0.06
    # Pixels that are kept apart tell it: what is fitted to noise takes little of it.
    assert 1.6 < float(found.background[0, 0]) < 2.3
    assert np.ptp(found.background.values) == 0
    fit = ptycho_fit(found, scan=spoilt)
    assert float(fit.amp_residual) == pytest.approx(
        float(found.amp_residual[-1]), rel=0.15
    )


def test_a_background_of_its_own_for_each_pixel(scan, fuzz):
    shape = scan.frames.shape[1:]
    rows = 3.0 + 9.0 * (np.arange(shape[0]) > shape[0] // 2)[:, None] * np.ones(shape)
    rng = np.random.default_rng(2)
    spoilt = with_frames(
        scan, scan.frames.values + rng.poisson(rows, scan.frames.shape)
    )
    refined = run(spoilt, instrument=Recording(background="refined"))
    told = run(spoilt.assign(background=(FRAME[1:], rows)))
    dark = scan.frames.mean("position").values < 1  # where the pattern is faint
    faint = refined.background.values[dark]
    assert np.corrcoef(faint, rows[dark])[0, 1] > 0.9
    np.testing.assert_allclose(faint.mean(), rows[dark].mean(), rtol=0.12)
    assert min(fuzz.correlation(r) for r in (refined, told)) > 0.93
    np.testing.assert_allclose(told.background, rows, rtol=1e-6)


@ENGINES
def test_the_light_of_each_frame_is_found(scan, fuzz, engine):
    rng = np.random.default_rng(3)
    light = rng.uniform(0.4, 1.6, scan.sizes["position"])
    light /= light.mean()
    spoilt = with_frames(scan, rng.poisson(scan.frames.values * light[:, None, None]))
    found = run(spoilt, engine=engine, instrument=Recording(intensity=True))
    assert fuzz.correlation(found) > 0.9
    assert np.corrcoef(found.intensity, light)[0, 1] > 0.97
    np.testing.assert_allclose(found.intensity.mean(), 1.0, rtol=1e-4)
    assert fuzz.correlation(found) > fuzz.correlation(run(spoilt, engine=engine))


def unsteady(scan, fuzz):
    """Return a scan whose beam wavers in its focus and in its aperture."""
    rng, n = np.random.default_rng(3), fuzz.N
    _, corners, obj, _ = fuzz.known()
    y, x = np.meshgrid(*[np.fft.fftfreq(n)] * 2, indexing="ij")
    pupil = (abs(y) < 0.2) & (abs(x) < 0.2)
    frames, wavering = [], rng.standard_normal((len(corners), 2))
    for (row, column), (focus, tilt) in zip(corners, wavering, strict=True):
        lens = np.exp(2j * np.pi * (14 + 6 * focus) * (y**2 + x**2))
        probe = np.fft.fftshift(np.fft.ifft2(pupil * (1 + 1.5 * tilt * y) * lens))
        probe *= np.sqrt(2e5 / np.sum(abs(probe) ** 2))
        wave = probe * obj[row : row + n, column : column + n]
        far = np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))
        frames.append(rng.poisson(abs(far) ** 2))
    return with_frames(scan, np.array(frames))


@pytest.mark.parametrize("engine", [LSQML(), EPIE(), DM()])
def test_a_probe_that_wavers_is_found(scan, fuzz, engine):
    wavers = unsteady(scan, fuzz)
    told = Recording(probe_variations=2)
    alone = run(wavers, engine=engine)
    found = run(wavers, engine=engine, instrument=told)
    lost, without = (1 - fuzz.correlation(r) for r in (found, alone))
    assert lost < min(0.6 * without, 0.2)
    assert float(found.amp_residual[-1] / alone.amp_residual[-1]) < 0.3
    fit = ptycho_fit(found, scan=wavers.isel(position=slice(None, None, -1)))
    assert float(fit.amp_residual / found.amp_residual[-1]) == pytest.approx(1, rel=0.3)


def test_lazy_streamed_and_on_a_device_alike(scan):
    rng = np.random.default_rng(4)
    spoilt = with_frames(scan, scan.frames.values + rng.poisson(4.0, scan.frames.shape))
    both = Recording(background="refined", intensity=True, probe_variations=1)
    one = run(spoilt, 4, instrument=both)
    lazy = run(spoilt.chunk(position=7), 4, instrument=both)
    np.testing.assert_array_equal(one.transmission, lazy.transmission)
    np.testing.assert_array_equal(one.background, lazy.background)
    np.testing.assert_array_equal(one.variation_share, lazy.variation_share)
    pytest.importorskip("torch")
    there = run(spoilt, 4, instrument=both, device="torch")
    np.testing.assert_allclose(one.background, there.background, rtol=2e-3)
    np.testing.assert_allclose(one.transmission, there.transmission, atol=2e-2)


def test_a_stack_takes_a_background_and_keeps_positions(scan, tmp_path):
    rng = np.random.default_rng(5)
    spoilt = with_frames(scan, scan.frames.values + rng.poisson(4.0, scan.frames.shape))
    many = xr.concat(
        [spoilt.assign_coords(energy=e) for e in (5500.0, 5510.0)],
        "energy",
        data_vars=["frames"],
        coords=["energy"],
    )
    many.energy.attrs["units"] = "eV"
    call = {"iterations": 3, "progress": False}
    vacuum = xr.DataArray(
        np.ones((60, 60), bool),
        dims=("y", "x"),
        coords={a: np.arange(60) * 62.6 - 376 for a in "yx"},
    )
    call["registration"] = Registration(vacuum=vacuum, shifts=False)
    plain = ptycho_energies(many, store=tmp_path / "a.zarr", **call)
    told = many.assign(background=(FRAME[1:], np.full((24, 24), 4.0)))
    found = ptycho_energies(told, store=tmp_path / "b.zarr", **call)
    assert (found.amp_residual.values < 0.8 * plain.amp_residual.values).all()
    assert found.residuals.shape == (2, 3)
    np.testing.assert_array_equal(found.residuals[:, -1], found.amp_residual)
    assert not found.position_shift_y.any()
    part = many.copy(deep=True)
    part.frames[1, 4:6] = 0
    call["schedule"] = Schedule(positions_from=1)
    with pytest.warns(DataQualityWarning, match="5510 eV: frames 4 to 5 are empty"):
        moved = ptycho_energies(part, store=tmp_path / "c.zarr", **call).load()
    lost = np.isnan(moved.position_shift_y.values)
    assert np.argwhere(lost).tolist() == [[1, 4], [1, 5]]
    alone = run(part.isel(energy=0), 3, schedule=call["schedule"], seed=0)
    scale = np.abs(alone.position_shift_y).max()
    assert 0.2 * scale < np.nanmax(np.abs(moved.position_shift_y[0])) < 5 * scale


def test_going_on_from_a_former_result(scan, fuzz):
    first = run(scan, 12)
    on = run(scan.drop_vars("probe"), 4, start=first)
    anew = run(scan, 4)
    assert float(on.amp_residual[0]) < 1.05 * float(first.amp_residual[-1])
    assert float(on.amp_residual[-1]) < 0.7 * float(anew.amp_residual[-1])
    assert fuzz.correlation(on) > fuzz.correlation(anew)
    moved = run(scan, 8, start=first, schedule=Schedule(positions_from=0))
    again = run(scan, 1, start=moved)
    kept = [np.asarray(r.position_shift_y) for r in (moved, again)]
    np.testing.assert_allclose(kept[0], kept[1], atol=1e-6)
    assert np.abs(kept[0]).max() > 0
    with pytest.raises(DimensionError, match="several energies"):
        run(scan, 1, start=first.expand_dims("energy"))


def test_messages(scan):
    with pytest.raises(ArgumentError, match="background='flat'"):
        Recording(background="flat")
    with pytest.raises(DimensionError, match="background on"):
        run(scan.assign(background=("detector_y", np.zeros(24))), 1)
    with pytest.raises(DataError, match="background: below 0"):
        run(scan.assign(background=(FRAME[1:], -np.ones((24, 24)))), 1)
    with pytest.raises(DataError, match="more than the frames hold"):
        run(scan.assign(background=(FRAME[1:], 1e6 * np.ones((24, 24)))), 1)


def test_going_on_takes_what_is_known_of_frames_by_their_labels(scan):
    """A scan in another order, or of which a part is left, has its own corrections."""
    labelled = scan.assign_coords(position=np.arange(scan.sizes["position"]) + 100)
    moved = run(labelled, 6, schedule=Schedule(positions_from=0))
    other = labelled.isel(position=slice(None, None, -1))
    again = run(other, 1, start=moved)
    for axis in "yx":
        name = f"position_shift_{axis}"
        expected = moved[name].sel(position=other.position)
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(again[name], expected, atol=1e-6)
    less = labelled.isel(position=slice(3, None))
    part = run(less, 1, start=moved)
    wanted = moved.position_shift_y.sel(position=less.position)
    np.testing.assert_allclose(part.position_shift_y, wanted, atol=1e-6)
    twice = moved.assign_coords(position=np.zeros(scan.sizes["position"]))
    with pytest.raises(DataError, match="start: position: labels that repeat"):
        run(labelled, 1, start=twice)
    with pytest.raises(DimensionError, match="no result of ptycho"):
        run(scan, 1, start=moved.isel(probe_mode=0))
    turned = moved.transpose("probe_x", "probe_y", "probe_mode", ...)
    same = run(labelled, 1, start=turned)
    np.testing.assert_array_equal(same.probe, run(labelled, 1, start=moved).probe)


def test_going_on_keeps_the_background(scan):
    rng = np.random.default_rng(6)
    spoilt = with_frames(scan, scan.frames.values + rng.poisson(4.0, scan.frames.shape))
    sought = Recording(background="constant", intensity=True)
    first = run(spoilt, 12, instrument=sought)
    on = run(spoilt, 1, start=first, instrument=sought)
    assert float(on.amp_residual[0]) < 1.05 * float(first.amp_residual[-1])
    assert float(on.background[0, 0]) == pytest.approx(
        float(first.background[0, 0]), rel=0.05
    )
    with pytest.warns(DataQualityWarning, match="start found a background"):
        run(spoilt, 1, start=first)
    turned = first.transpose("detector_x", "detector_y", "probe_x", "probe_y", ...)
    fits = [ptycho_fit(r, scan=spoilt).amp_residual for r in (first, turned)]
    assert float(fits[0]) == float(fits[1])
    stacked = first.rename(probe_y="probe_row", probe_x="probe_column")
    with pytest.raises(DimensionError, match="no result of ptycho"):
        ptycho_fit(stacked, scan=spoilt)


def test_a_background_under_the_mask_never_matters(scan):
    dead = np.zeros((24, 24), bool)
    dead[3:5] = True
    plain = scan.assign(
        mask=(FRAME[1:], dead), background=(FRAME[1:], np.full((24, 24), 0.5))
    )
    found = run(plain, 3)
    for value in (np.nan, np.inf, -7.0, 1e6):
        values = np.where(dead, value, 0.5)
        other = run(plain.assign(background=(FRAME[1:], values)), 3)
        np.testing.assert_array_equal(other.transmission, found.transmission)
    with pytest.raises(DataError, match="background: below 0"):
        run(plain.assign(background=(FRAME[1:], np.full((24, 24), np.inf))), 1)


def test_going_on_with_fewer_modes_keeps_the_power(scan):
    first = run(scan, 3, n_modes=2)
    with pytest.warns(DataQualityWarning, match="start has 2 probe modes"):
        one = run(scan, 1, start=first, schedule=Schedule(probe_from=9))
    power = [float((np.abs(r.probe) ** 2).sum()) for r in (first, one)]
    assert power[1] == pytest.approx(power[0], rel=1e-3)
