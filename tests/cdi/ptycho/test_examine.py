from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.cdi import (
    DM,
    EPIE,
    LSQML,
    RAAR,
    RPIE,
    Recording,
    Schedule,
    check_ptycho,
    orientation,
    ptycho,
    ptycho_fit,
)
from batteryxr.core.errors import DataError, DataQualityWarning, DimensionError

FRAME = ("position", "detector_y", "detector_x")


def with_frames(scan, values):
    return scan.assign(frames=(FRAME, values))


def run(scan, iterations=6, **kw):
    return ptycho(scan, iterations=iterations, progress=False, **kw)


@pytest.mark.parametrize("part", range(5))
def test_spoilt_scans_are_right_refused_or_told(fuzz, part):
    ends = [fuzz.attempt(1000 + seed) for seed in range(10 * part, 10 * part + 10)]
    wrong = [what for end, what in ends if end in ("ABORT", "SILENT")]
    assert not wrong
    assert {end for end, _ in ends} >= {"refused"}


@pytest.mark.parametrize(
    "engine",
    [LSQML(), LSQML(poisson=True), EPIE(), RPIE(), DM(), RAAR()],
    ids=["LSQML", "LSQML-Poisson", "EPIE", "RPIE", "DM", "RAAR"],
)
@pytest.mark.parametrize("each", [False, True], ids=["one mask", "mask per frame"])
def test_what_stands_under_a_mask_never_matters(scan, engine, each):
    counts = scan.frames.values.astype("f4")
    rng = np.random.default_rng(1)
    bad = rng.random(counts.shape if each else counts.shape[1:]) < 0.04
    masked = scan.assign(mask=(FRAME if each else FRAME[1:], bad))
    found = []
    for wild in (0.0, -2.0, np.nan, np.inf, 3e9):
        spoilt = counts.copy()
        spoilt[np.broadcast_to(bad, counts.shape)] = wild
        one = with_frames(masked, spoilt)
        schedule = Schedule(positions_from=2)
        result = run(one, 4, engine=engine, schedule=schedule)
        found.append((result, ptycho_fit(result, scan=one)))
    for result, fit in found[1:]:
        xr.testing.assert_equal(result, found[0][0])
        xr.testing.assert_equal(fit, found[0][1])


def test_a_mask_per_frame_leaves_free_what_is_saturated(scan, fuzz):
    counts = scan.frames.values
    top = int(0.4 * counts.max())
    spoilt = with_frames(scan, np.minimum(counts, top))
    with pytest.warns(DataQualityWarning, match=f"pile up at {top}"):
        bent = run(spoilt, 25)
    masked = spoilt.assign(mask=(FRAME, counts >= top))
    right = run(masked, 25)
    assert fuzz.correlation(right) > 0.9
    assert fuzz.correlation(right) > fuzz.correlation(bent)
    stacked = masked.expand_dims("energy").assign(
        frames=masked.frames.expand_dims("energy"),
        mask=masked.mask.rename(position="p"),
    )
    with pytest.raises(DimensionError, match="mask on"):
        stacked.cdi.ptycho_energies(store="never.zarr")


@pytest.mark.parametrize(
    "engine", [LSQML(), LSQML(poisson=True), EPIE(), RPIE(), DM(), RAAR()]
)
def test_a_rectangle_is_a_square_that_is_masked_beyond(scan, engine):
    rows = slice(4, 21)  # the beam, in row 12 of 24, is in row 8 of 17
    bad = np.ones((24, 24), bool)
    bad[rows] = False
    square = scan.assign(mask=(FRAME[1:], bad))
    thin = scan.isel(detector_y=rows).chunk(position=7)
    result = run(square, engine=engine)
    told = Recording(background="constant")
    xr.testing.assert_equal(run(thin, engine=engine), result)
    seen = run(thin, engine=engine, instrument=told)
    assert seen["background"].shape == (17, 24)
    again = run(thin.assign(background=seen["background"]), start=seen)
    assert again["background"].equals(seen["background"])
    fits = [ptycho_fit(result, scan=s) for s in (thin, square)]
    xr.testing.assert_equal(*fits)
    assert check_ptycho(thin)["mean_frame"].shape == (17, 24)


@pytest.mark.parametrize("engine", [LSQML(), EPIE(), DM()])
def test_a_beam_beside_the_middle_is_found(scan, fuzz, engine):
    values = np.roll(scan.frames.values, (2, -3), axis=(1, 2))
    with pytest.warns(DataQualityWarning, match=r"lies at \(14\.0, 9\.0\) in frames"):
        result = run(with_frames(scan, values), 12, engine=engine)
    assert fuzz.correlation(result) > 0.95


def test_fewer_counts_than_object_and_probe_have_numbers_are_told(scan):
    # Frames 0, 1 and 6 cover a patch of 24 and what two steps add; the probe, 24.
    seen = np.zeros((60, 60), bool)
    for y, x in np.rint(corners_of(scan.isel(position=[0, 1, 6]))).astype(int):
        seen[y : y + 24, x : x + 24] = True
    asked = 2 * (int(seen.sum()) + 24 * 24)
    few = check_ptycho(scan.isel(position=[0, 1, 6])).attrs["findings"]
    assert [
        t for t in few if f"{3 * 24 * 24} counts are too few to tell the {asked} " in t
    ]
    good = np.zeros((24, 24), bool)
    good[::5, ::5] = True  # a mask the wrong way round leaves one pixel in 25
    with pytest.warns(DataQualityWarning, match="counts are too few to tell"):
        run(scan.assign(mask=(FRAME[1:], ~good)))
    assert not check_ptycho(scan).attrs["findings"]


def corners_of(scan):
    pixel = 12398.41984 / 5500 / 10 * 500 * 1e3 / (24 * 75)
    places = np.stack([scan.position_y, scan.position_x], -1) / pixel
    return places - places.min(0)


def test_frames_that_are_no_counts_are_told(scan):
    seen = check_ptycho(with_frames(scan, (scan.frames / scan.frames.max()).values))
    assert "clipped, or are no counts" in seen.attrs["findings"][0]
    with pytest.raises(DataError, match="numbers of type bool, no counts"):
        check_ptycho(with_frames(scan, scan.frames.values > 0))


def test_numbers_beyond_single_precision_are_no_counts(scan):
    counts = scan.frames.values.astype(float)
    counts[3, 4, 5] = 1e300
    with np.errstate(all="raise", under="ignore"):
        seen = check_ptycho(with_frames(scan, counts))
    assert int(seen["missing"].sum()) == 1
    assert "1 counts in 1 frame(s) that are no numbers" in seen.attrs["findings"][0]


def test_one_mask_is_that_mask_for_each_frame(scan):
    bad = np.zeros(scan.frames.shape[1:], bool)
    bad[5:7] = True
    one = run(scan.assign(mask=(FRAME[1:], bad)))
    each = run(scan.assign(mask=(FRAME, np.broadcast_to(bad, scan.frames.shape))))
    np.testing.assert_array_equal(one.transmission, each.transmission)


def test_frames_of_an_aborted_scan_are_left_out(scan):
    counts = scan.frames.values.copy()
    counts[30:] = 0
    with pytest.warns(DataQualityWarning, match="frames 30 to 35 are empty"):
        found = run(with_frames(scan, counts))
    alone = run(scan.isel(position=slice(0, 30)))
    np.testing.assert_allclose(found.transmission, alone.transmission, atol=1e-4)
    assert np.isnan(found.position_shift_y[30:]).all()
    assert np.isfinite(found.position_shift_y[:30]).all()
    fit = ptycho_fit(found, scan=with_frames(scan, counts))
    assert np.isnan(fit.frame_residual[30:]).all()
    own = ptycho_fit(alone, scan=scan.isel(position=slice(0, 30)))
    assert float(fit.amp_residual) == pytest.approx(float(own.amp_residual), rel=1e-3)


def test_positions_that_are_no_numbers_are_named_and_left_out(scan):
    y = scan.position_y.values.copy()
    y[[4, 5, 6, 20]] = np.nan
    lost = scan.assign_coords(position_y=scan.position_y.copy(data=y))
    with pytest.warns(DataQualityWarning, match="known of frames 4 to 6, 20: left out"):
        found = run(lost)
    alone = run(scan.isel(position=np.isfinite(y)))
    np.testing.assert_allclose(found.transmission, alone.transmission, atol=1e-4)


def test_counts_below_zero_are_no_light(scan, fuzz):
    dark = with_frames(scan, (scan.frames.values - np.float32(0.7)).astype("f4"))
    with pytest.warns(DataQualityWarning, match="below 0 are taken as 0"):
        assert fuzz.correlation(run(dark, 20)) > 0.9


def test_a_probe_of_another_size_is_refused_with_both_sizes(scan):
    for shape in ((1, 30, 30), (1, 20, 20), (2, 24, 30)):
        other = (("probe_mode", "probe_y", "probe_x"), np.ones(shape, "c8"))
        with pytest.raises(
            DataError, match=f"{shape[1]} x {shape[2]} pixels, and frames have 24 x 24"
        ):
            run(scan.drop_vars("probe").assign(probe=other))


@pytest.mark.parametrize("axes", [(1, 2), (1,)])
def test_a_probe_about_the_corner_is_refused(scan, axes):
    # Its four quarters see four pieces of the object, and the residual looks fine.
    probe = np.fft.ifftshift(scan.probe.values, axes=axes)
    with pytest.raises(DataError, match="at the edges of its window"):
        run(scan.assign(probe=(scan.probe.dims, probe)), engine=RAAR())


@pytest.mark.parametrize("kind", [complex, str])
def test_positions_that_are_no_real_numbers_are_refused(scan, kind):
    y = scan.position_y.values.astype(kind)
    with pytest.raises(DataError, match=r"position_y.* no real numbers"):
        check_ptycho(scan.assign_coords(position_y=("position", y, {"units": "nm"})))


def test_steps_longer_than_what_a_frame_sees_are_refused(scan):
    far = {n: scan[n].copy(data=scan[n] * 1e3) for n in ("position_y", "position_x")}
    with pytest.raises(DataError, match=r"frames do not overlap\. Look at the units"):
        run(scan.assign_coords(far))


def moved_off(scan, frames, nanometres):
    y = scan.position_y.values.copy()
    y[frames] += nanometres
    return scan.assign_coords(position_y=("position", y, scan.position_y.attrs))


@pytest.mark.parametrize("frames", [[7], [3, 7]])
@pytest.mark.parametrize("away", [5e3, 3e5])
def test_a_position_far_from_all_others_is_named(scan, frames, away):
    # As far as 0.3 mm the object would not fit into any memory.
    names = "frame 7" if frames == [7] else "frames 3, 7"
    with pytest.raises(DataError, match=f"{names} do not overlap with the others"):
        run(moved_off(scan, frames, away))


def test_a_part_of_the_sample_apart_from_the_rest_is_told(scan):
    half = slice(0, scan.sizes["position"] // 3)
    with pytest.warns(DataQualityWarning, match=r"frames 0 to .* do not overlap"):
        check_ptycho(moved_off(scan, half, 5e3))


def test_a_position_that_is_lone_is_told_by_number(scan):
    field = 12398.41984 / 5500 / 10 * 500 * 1e3 / 75  # λ z / pitch
    far = float(scan.position_y.min()) - 0.6 * field
    off = moved_off(scan, [7], far - float(scan.position_y[7]))
    with pytest.warns(DataQualityWarning, match="frame 7 lie.* from the nearest other"):
        check_ptycho(off)


def test_a_scan_is_looked_at(scan):
    clean = check_ptycho(scan)
    assert clean.attrs["findings"] == []
    np.testing.assert_array_equal(clean.counts, scan.frames.sum(FRAME[1:]))
    counts = scan.frames.values.astype("f4")
    counts[:, 4, 19] = 900
    counts[:, :, 11:13] = 0
    counts[3] = counts[2]
    counts[7] = 0
    counts[8] = 5
    counts[9] *= 0.01
    counts[11, 0, 0] = np.nan
    counts[12, 0, :3] = -1.5
    seen = with_frames(scan, counts).cdi.check_ptycho()
    said = "; ".join(seen.attrs["findings"])
    for text in (
        "frame 7 are empty", "frame 8 hold one number", "frame 3 repeat",
        "frame 9 have less than a tenth", "hot pixel(s) outside the mask, at (4, 19)",
        "detector columns 11 to 12 never counted", "3 counts in 1 frame(s) below 0",
        "1 counts in 1 frame(s) that are no numbers",
    ):  # fmt: skip
        assert text in said, text
    assert np.flatnonzero(seen.left_out).tolist() == [7, 8]
    assert np.argwhere(seen.hot.values).tolist() == [[4, 19]]
    assert (int(seen.negative.sum()), int(seen.missing.sum())) == (3, 1)
    wide = scan.frames.values.astype("u4")
    wide[:, 2, 2] = 2**32 - 1
    wide[5, 9, 9] = 2**32 - 2
    assert int(check_ptycho(with_frames(scan, wide)).largest.sum()) == 36 + 1


def test_a_shadow_wider_than_the_far_field_is_near_field(scan, fuzz):
    from scipy import ndimage

    rng = np.random.default_rng(0)
    structure = ndimage.gaussian_filter(rng.standard_normal((160, 160)), 1.5)
    structure = np.clip(1 + 0.3 * structure / structure.std(), 0.1, None)
    y, x = np.mgrid[:48, :48] - 24
    disc = 400.0 * np.exp(-((np.hypot(y, x) / 17) ** 8))
    corners = np.array([(5 * i, 5 * k) for i in range(6) for k in range(6)])
    corners += rng.integers(0, 3, corners.shape)
    frames = [disc * structure[a : a + 48, b : b + 48] for a, b in corners]
    # A pixel of the detector is 4 of the far field's on the sample.
    pixel = fuzz.PIXEL / 2
    shadow = xr.Dataset(
        {"frames": (FRAME, rng.poisson(frames).astype("u2"))},
        coords={
            "position_y": ("position", corners[:, 0] * 4 * pixel, {"units": "nm"}),
            "position_x": ("position", corners[:, 1] * 4 * pixel, {"units": "nm"}),
            **{n: scan[n] for n in ("energy", "distance", "pixel_pitch")},
        },
    )
    shadow = shadow.assign(probe=(("probe_y", "probe_x"), np.ones((48, 48), "c8")))
    with pytest.raises(DataError, match="this is near field"):
        run(shadow)
    assert "near field" in "; ".join(check_ptycho(shadow).attrs["findings"])


def far_frames_of_a_grating(scan, fuzz, jitter):
    """Return a scan of stripes of 6 pixels, in steps of 4, far out of focus."""
    n, rng = 48, np.random.default_rng(3)
    k = np.fft.fftfreq(n)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    pupil = (abs(ky) < 0.2) & (abs(kx) < 0.2)
    wave = np.fft.ifft2(pupil * np.exp(-2j * np.pi * 40 * (ky**2 + kx**2)))
    corners = np.array([(4 * i, 4 * k) for i in range(7) for k in range(7)])
    corners += rng.integers(0, jitter + 1, corners.shape)
    x = np.arange(96)
    stripes = np.exp((0.8j - 0.1) * (x % 6 < 3)) * np.ones((96, 1))
    frames = [
        np.fft.fftshift(
            abs(np.fft.fft2(np.fft.fftshift(wave) * stripes[a : a + n, b : b + n])) ** 2
        )
        for a, b in corners
    ]
    frames = rng.poisson(np.array(frames) * 2e5 / np.mean(np.sum(frames, (1, 2))))
    nm = corners * fuzz.PIXEL / 2
    return xr.Dataset(
        {"frames": (FRAME, frames.astype("u2"))},
        coords={
            "position_y": ("position", nm[:, 0], {"units": "nm"}),
            "position_x": ("position", nm[:, 1], {"units": "nm"}),
            **{name: scan[name] for name in ("energy", "distance", "pixel_pitch")},
        },
    )


@pytest.mark.parametrize("jitter", [0, 2])
def test_a_periodic_sample_is_not_refused_as_near_field(scan, fuzz, jitter):
    """Its shadow repeats: on an even raster, beams of many widths explain it."""
    stripes = far_frames_of_a_grating(scan, fuzz, jitter)
    said = "; ".join(check_ptycho(stripes).attrs["findings"])
    assert "this is near field" not in said
    assert ("may be near field" in said) == (jitter == 0)


@pytest.mark.parametrize("sign", [("y", "x"), ("-y", "x"), ("x", "-y"), ("-x", "-y")])
def test_the_way_round_is_found(scan, sign):
    true = {"y": scan.position_y.values, "x": scan.position_x.values}
    told = {}
    for axis, name in zip("yx", sign, strict=True):
        told[name[-1]] = true[axis] * (-1 if name[0] == "-" else 1)
    turned = scan.assign_coords(
        {f"position_{a}": scan[f"position_{a}"].copy(data=told[a]) for a in "yx"}
    )
    found = orientation(turned, iterations=14, progress=False)
    assert tuple(found.attrs["sign"]) == sign
    assert float(found.residual[1] / found.residual[0]) > 1.2
    assert (np.diff(found.residual) >= 0).all()


def test_a_first_probe_comes_from_the_frames_alone(scan, fuzz):
    bare = scan.drop_vars("probe")
    first = bare.cdi.ptycho_probe()
    assert fuzz.correlation(run(first, 30)) > 0.9
    assert first.probe.shape == (1, 24, 24)
    np.testing.assert_allclose(np.sum(np.abs(first.probe) ** 2), 1, rtol=1e-5)
    # The simulator's phase, 2 pi 14 k^2 with k per pixel, as a distance in um.
    wavelength = 12398.41984 / fuzz.ENERGY / 10
    distance = -2 * 14 * fuzz.PIXEL**2 / wavelength / 1e3
    np.testing.assert_allclose(first.probe.attrs["defocus"], distance, rtol=0.25)
    told = bare.cdi.ptycho_probe(defocus=distance, n_modes=2)
    assert told.probe.shape == (2, 24, 24)
    assert fuzz.correlation(run(told, 30)) > 0.9
    flat = scan.probe.copy(data=np.ones((1, 24, 24), "c8"))
    assert fuzz.correlation(run(scan.assign(probe=flat), 30)) < 0.9
    with pytest.raises(DimensionError, match="works on one energy"):
        bare.assign(frames=bare.frames.expand_dims("energy")).cdi.ptycho_probe()


def test_the_way_round_of_large_frames_with_a_background(fuzz, monkeypatch):
    """On the middle of the detector the background is its middle, too."""
    from batteryxr.cdi.ptycho import trial
    from batteryxr.cdi.ptycho.experiment import experiment_of

    monkeypatch.setattr(trial, "_PIXELS", 16)
    scan = fuzz.clean_scan()
    rows = np.arange(24.0)[:, None] * np.ones(24)
    told = scan.assign(background=(FRAME[1:], rows))
    few = trial._cropped(experiment_of(told, caller="orientation"), 16)
    np.testing.assert_array_equal(np.fft.fftshift(few.background), rows[4:20, 4:20])
    flat = scan.assign(background=(FRAME[1:], np.full((24, 24), 0.01)))
    found = orientation(flat, iterations=2, progress=False)
    assert np.isfinite(found.residual).all()


def test_what_is_wrong_with_frames_is_said_once(scan):
    values = scan.frames.values.copy()
    values[:, 2, 3] = 5000 + 90 * np.arange(len(values))
    with pytest.warns(DataQualityWarning, match="hot pixel") as told:
        orientation(with_frames(scan, values), iterations=1, progress=False)
    assert sum("hot pixel" in str(w.message) for w in told) == 1
