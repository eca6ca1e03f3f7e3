"""From counts to a clean volume."""

from __future__ import annotations

import tracemalloc
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr import cdi
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
)

DIMS = ("rocking", "detector_y", "detector_x")


def curve(shape=(12, 10, 14), peak=(5, 4, 8), seed=0, chunks=None):
    """Return a peak of known place on a background, in counts."""
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    r2 = sum((g - p) ** 2 for g, p in zip(grid, peak, strict=True))
    counts = np.random.default_rng(seed).poisson(2 + 500 * np.exp(-r2 / 4))
    values = counts.astype(np.int32)
    if chunks:
        values = da.from_array(values, chunks=chunks)
    coords = {d: np.arange(n) for d, n in zip(DIMS, shape, strict=True)}
    coords["rocking"] = 0.005 * np.arange(shape[0]) + 0.2
    return xr.DataArray(values, dims=DIMS, coords=coords, name="counts")


def pixels(frames, where=()):
    image = np.zeros(frames.shape[1:], bool)
    for place in where:
        image[place] = True
    return image


def test_correction_is_dark_and_flat():
    frames = curve()
    flat = np.ones(frames.shape[1:])
    flat[:, 7:] = 3.0
    out = cdi.correct(frames, dark=np.full(flat.shape, 0.5), flat=flat)
    expected = np.clip(frames.values - 0.5, 0, None) / flat * flat.mean()
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    assert out.dtype == np.float32
    assert not (out["flag"] != 0).any()


def test_frames_are_divided_by_a_monitor():
    frames = curve()
    flux = 1e5 * (1 + 0.2 * np.sin(np.arange(12)))
    dimmed = frames * xr.DataArray(flux / flux.mean(), dims="rocking")
    noted = dimmed.assign_coords(mon=("rocking", flux))
    for monitor in ("mon", noted["mon"]):
        out = cdi.correct(noted, monitor=monitor)
        np.testing.assert_allclose(out, frames, rtol=1e-6)
        np.testing.assert_array_equal(out["monitor"], flux)
    with pytest.raises(ArgumentError, match="one of"):
        cdi.correct(noted, monitor="flux")
    with pytest.raises(ArgumentError, match="one of"):
        cdi.correct(noted, monitor="rocking")
    with pytest.raises(DataError, match="complex"):
        cdi.correct(noted, monitor=noted["mon"] * 1j)
    for wrong in (0, -1, np.nan, np.inf):
        lost = noted.assign_coords(mon=("rocking", np.where(flux > 1e5, flux, wrong)))
        with pytest.raises(DataError, match="the first is"):
            cdi.correct(lost, monitor="mon")
    with pytest.warns(DataQualityWarning, match="monitor changes"):
        cdi.correct(noted, monitor=noted["mon"] ** 4)


def test_bad_pixels_are_missing_and_say_why():
    frames = curve()
    flat = np.random.default_rng(1).normal(100, 1, frames.shape[1:])
    flat[3, 3] = 0
    out = cdi.correct(
        frames,
        flat=flat,
        hot=pixels(frames, [(1, 1), (2, 2)]),
        mask=pixels(frames, [(2, 2)]),
    )
    flag = out["flag"].values
    assert (flag[1, 1], flag[2, 2], flag[3, 3]) == (2, 3, 4)
    assert (flag != 0).sum() == 3
    bad = np.isnan(out.values)
    assert (bad == (flag != 0)).all()


def test_low_counts_can_be_taken_for_none():
    frames = curve()
    out = cdi.correct(frames, minimum=3)
    np.testing.assert_array_equal(out, np.where(frames < 3, 0, frames))


def test_images_of_the_whole_detector_are_cut_by_label():
    frames = curve().assign_coords(detector_y=np.arange(10) + 3)
    whole = xr.DataArray(
        np.arange(20 * 14.0).reshape(20, 14),
        dims=DIMS[1:],
        coords={"detector_y": np.arange(20), "detector_x": np.arange(14)},
    )
    out = cdi.correct(frames, dark=whole)
    expected = np.clip(frames.values - whole.values[3:13], 0, None)
    np.testing.assert_allclose(out, expected)
    with pytest.raises(DataError, match="origin"):
        cdi.correct(frames.assign_coords(detector_y=np.arange(10) + 30), dark=whole)
    with pytest.raises(DataError, match="flat"):
        cdi.correct(frames, flat=np.ones((3, 3)))


def test_a_hot_pixel_is_found_and_the_peak_is_not():
    frames = curve()
    frames[:, 8, 2] += 300
    hot = cdi.hot_pixels(frames)
    assert np.argwhere(hot.values).tolist() == [[8, 2]]
    lazy = cdi.hot_pixels(frames.chunk(rocking=5))
    assert (lazy == hot).all()


@pytest.mark.parametrize("chunks", [None, (5, 10, 14), (12, 3, 4)])
def test_the_peak_is_found(chunks):
    frames = curve(chunks=chunks)
    found = cdi.locate_peak(frames.astype(float))
    place = found["maximum"].values
    values = np.asarray(frames)
    assert values[tuple(place)] == values.max() == found["value"]
    np.testing.assert_allclose(found["total"], values.sum())
    grid = np.indices(values.shape)
    centre = (grid * values).sum(axis=(1, 2, 3)) / values.sum()
    np.testing.assert_allclose(found["centre_of_mass"], centre)


def gauss(n=24, peak=5000.0):
    """Return counts of a round peak in the middle, angles 0.01 deg apart."""
    x = np.arange(n) - n // 2
    r2 = x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2
    counts = np.random.default_rng(0).poisson(peak * np.exp(-r2 / 20))
    coords = {d: np.arange(n) for d in DIMS}
    frames = xr.DataArray(counts.astype(np.float32), dims=DIMS, coords=coords)
    angles = ("rocking", 15 + 0.01 * np.arange(n), {"units": "deg"})
    return frames.assign_coords(rocking=angles)


@pytest.mark.parametrize("chunks", [None, {"rocking": 5}])
@pytest.mark.parametrize("place", [(3, 2, 2), (0, 20, 1), (23, 23, 23), (14, 12, 3)])
def test_a_zinger_is_not_the_peak(chunks, place):
    """A cosmic ray lights pixels of one frame that are dark before and after."""
    frames = gauss()
    frames[place] = 1e6
    frames[place[0], place[1] - 1, place[2] - 1] = 3e5
    if chunks:
        frames = frames.chunk(chunks)
    with pytest.warns(DataQualityWarning, match=f"2 voxels.*frame {place[0]}"):
        found = cdi.locate_peak(frames)
    assert found["maximum"].values.tolist() == [12, 12, 12]
    assert int(found["left_out"]) == 2
    with pytest.warns(DataQualityWarning, match="stand alone"):
        box = cdi.crop(frames, shape=(24, 24, 24))
    lost = np.argwhere(np.isnan(np.asarray(box))).tolist()
    assert list(place) in lost
    assert len(lost) == 2
    np.testing.assert_array_equal(box["rocking"], frames["rocking"])


def test_a_true_peak_is_no_zinger():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for peak in (3.0, 300.0, 1e7):
            assert int(cdi.locate_peak(gauss(peak=peak))["left_out"]) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (np.log10, "infinite"),
        (lambda v: np.log10(np.maximum(v, 1)), "decimal logarithm"),
        (lambda v: np.log10(v + 1), "log"),
        (np.log1p, "log"),
        (lambda v: v - 2000, "negative"),
    ],
)
def test_what_is_not_counted_is_refused(change, says):
    frames = gauss()
    with np.errstate(divide="ignore"):
        wrong = frames.copy(data=change(frames.values).astype(np.float32))
    for method in (cdi.locate_peak, cdi.retrieve):
        with pytest.raises(DataError, match=says):
            method(wrong)
    if says != "negative":
        with pytest.raises(DataError, match=says):
            cdi.crop(wrong, shape=(16, 16, 16))


@pytest.mark.parametrize("by", [1.0, 0.37, 1.0 / 9.3])
def test_corrected_counts_stay_counts(by):
    """A flat field and a monitor make other numbers of them."""
    cdi.locate_peak(by * gauss(peak=100.0))


def wrong_angles(kind):
    angles = 15 + 0.01 * np.arange(24)
    if kind == "unknown":
        angles[[3, 7]] = np.nan
    if kind == "twice":
        angles[9:] -= 0.01
    if kind == "shuffled":
        angles[[5, 11]] = angles[[11, 5]]
    if kind == "uneven":
        angles = 15 + 0.01 * np.arange(24) ** 1.5
    return angles


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("unknown", "frames 3, 7"),
        ("twice", "frames 8 and 9"),
        ("shuffled", "turns back at the frames 6, 11|out of order"),
        ("uneven", "irregular"),
    ],
)
def test_wrong_angles_are_named_by_frame(kind, says):
    frames = gauss()
    frames = frames.assign_coords(rocking=("rocking", wrong_angles(kind)))
    calls = {
        "locate": cdi.locate_peak,
        "crop": lambda v: cdi.crop(v, shape=(16, 16, 16)),
        "retrieve": cdi.retrieve,
        "geometry": lambda v: cdi.geometry(
            v.assign_coords(rocking=v["rocking"].assign_attrs(units="deg")),
            beamline="theta",
            rocking="theta",
            motors={"two_theta": 30.0, "phi": 0.0},
            energy=9000,
            distance=500,
            pixel_size=55,
        ),
    }
    for call in calls.values():
        with pytest.raises(DataError, match=says):
            call(frames)


@pytest.mark.parametrize("chunked", [False, True])
def test_missing_frames_leave_their_places(chunked):
    whole = gauss()
    kept = np.delete(np.arange(24), [4, 15, 16])
    frames = whole.isel(rocking=kept)
    if chunked:
        frames = frames.chunk(rocking=4)
    for call in (cdi.retrieve, lambda v: cdi.geometry(v, beamline="theta")):
        with pytest.raises(DataError, match=r"misses 3 frames.*frame 3 \(1\)|theta"):
            call(frames)
    with pytest.warns(DataQualityWarning, match=r"3 frames.*frame 3 \(1\), frame 13"):
        box = cdi.crop(frames, shape=(24, 24, 24))
    np.testing.assert_allclose(box["rocking"], whole["rocking"])
    expected = whole.values.copy()
    expected[[4, 15, 16]] = np.nan
    np.testing.assert_array_equal(box.values, expected)


def test_jitter_is_told_and_little_of_it_is_not():
    frames = gauss()
    jitter = np.zeros(24)
    jitter[7] = 0.002
    moved = frames.assign_coords(rocking=frames["rocking"] + jitter)
    with pytest.warns(DataQualityWarning, match="frame 7"):
        cdi.locate_peak(moved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved = frames.assign_coords(rocking=frames["rocking"] + jitter / 4)
        cdi.locate_peak(moved)


def test_rows_of_zeros_between_bright_ones_are_gaps():
    from batteryxr.cdi.bragg.kernels.counting import dark_lines, zero_gaps

    frames = gauss().values
    assert not zero_gaps(frames).any()
    frames[:, 13:15, :] = 0
    frames[:, :, 9] = 0
    gaps = zero_gaps(frames)
    assert gaps[13:15].all()
    # A row alone may be a minimum between fringes: it is told, and stays.
    assert gaps.sum() == 2 * 24
    lines = dark_lines(frames)
    assert lines[:, 9].sum() == 24 - 2
    assert lines.sum() == 24 - 2
    # Few photons leave rows dark by chance.
    assert not zero_gaps(gauss(peak=0.5).values).any()


def test_the_peak_is_the_middle_of_the_box():
    frames = curve().astype(np.float32)
    box = cdi.crop(frames, shape=(6, 4, 8))
    place = np.unravel_index(int(frames.values.argmax()), frames.shape)
    assert float(box[3, 2, 4]) == float(frames[place])
    assert box["detector_x"].values[4] == place[2]


def test_what_reaches_over_the_edge_is_unmeasured():
    frames = cdi.correct(curve())
    box = cdi.crop(frames, shape={"detector_y": 16}, centre=(6, 4, 7))
    missing = np.isnan(box.values)
    assert missing[:, :4].all()
    assert missing[:, 14:].all()
    assert not missing[:, 4:14].any()
    np.testing.assert_array_equal(box["detector_y"], np.arange(16) - 4)
    assert (box["flag"].values[:4] == 1).all()
    assert box["flag"].dtype == np.uint8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shape": (4, 4)}, "three sizes"),
        ({"shape": {"x": 4}}, "detector_y"),
        ({"shape": (1, 4, 4)}, "at least 2"),
        ({"shape": (4, 4, 4), "centre": "peak"}, "centre_of_mass"),
        ({"shape": (4, 4, 4), "centre": (0, 0, 14)}, "0 to 13 along detector_x"),
    ],
)
def test_a_box_that_cannot_be_is_refused(options, says):
    with pytest.raises(ArgumentError, match=says):
        cdi.crop(curve(), **options)


def test_a_plain_array_is_asked_for_its_dimensions():
    with pytest.raises(DimensionError, match="rocking"):
        cdi.crop(curve().rename(rocking="theta"), shape=(4, 4, 4))


def test_repeats_are_summed_and_gaps_filled_by_the_others(no_compute):
    one, two = (curve(seed=k, chunks=(4, 10, 14)).astype(np.float32) for k in (1, 2))
    two = two.where(two["detector_x"] != 3)
    both = xr.concat([one, two], "repeat")
    with no_compute():
        total = cdi.sum_repeats(both)
    a, b = one.values, two.values
    expected = np.where(np.isnan(b), 2 * a, a + b)
    np.testing.assert_allclose(total, expected)
    assert int(total["repeats_used"]) == 2


def test_repeats_that_moved_are_put_back():
    first = curve(seed=1, peak=(5, 4, 7)).astype(np.float32)
    moved = curve(seed=1, peak=(6, 3, 7)).astype(np.float32)
    lost = curve(seed=9, peak=(1, 8, 2)).astype(np.float32)
    total = cdi.sum_repeats(xr.concat([first, moved], "repeat"), max_shift=8)
    assert cdi.locate_peak(total)["maximum"].values.tolist() == [5, 4, 7]
    kept = cdi.sum_repeats(xr.concat([first, lost], "repeat"), threshold=0.9)
    assert int(kept["repeats_used"]) == 1
    with pytest.raises(DataError, match="max_shift"):
        cdi.sum_repeats(xr.concat([first, lost], "repeat"), max_shift=1)


def test_states_lie_on_one_axis(no_compute):
    parts = [
        cdi.crop(
            curve(peak=(5, 4, 7 + k), chunks=(4, 10, 14)).astype(np.float32),
            shape=(6, 6, 6),
            centre=(5, 4, 7 + k),
        )
        for k in range(3)
    ]
    labels = [("charge", 2.5), ("charge", 4.0), ("discharge", 3.0)]
    with no_compute():
        stacked = cdi.stack_states(parts, labels=labels)
    assert stacked.dims == ("state", *DIMS)
    assert stacked.chunksizes["state"] == (1, 1, 1)
    assert stacked["direction"].values.tolist() == [d for d, _ in labels]
    np.testing.assert_array_equal(stacked["detector_x"], np.arange(6) - 3)
    np.testing.assert_array_equal(stacked["detector_x_centre"], [7, 8, 9])
    for k, part in enumerate(parts):
        np.testing.assert_array_equal(stacked.isel(state=k), part)


def test_states_of_other_shapes_or_names_are_refused():
    one = curve().astype(np.float32)
    with pytest.raises(ArgumentError, match="2 states"):
        cdi.stack_states([one, one], labels=[("charge", 3)])
    with pytest.raises(ArgumentError, match="charge"):
        cdi.stack_states([one], labels=[("up", 3)])
    with pytest.raises(DimensionError, match="one shape"):
        cdi.stack_states(
            [one, one.isel(rocking=slice(4))], labels=[("charge", 3), ("charge", 4)]
        )


def test_a_series_goes_to_zarr_state_by_state(tmp_path):
    parts = [curve(seed=k, chunks=(3, 10, 14)).astype(np.float32) for k in range(2)]
    stacked = cdi.stack_states(parts, labels=[("charge", 3.0), ("discharge", 3.0)])
    written = batteryxr.write_resumable(
        stacked.to_dataset(name="intensity"),
        tmp_path / "s.zarr",
        group="states",
        dim="state",
    )
    xr.testing.assert_equal(written["intensity"].compute(), stacked.compute())
    assert written["intensity"].chunksizes["state"] == (1, 1)


def lazy_scan(seed, shape):
    def frames(block_info=None):
        (first, last), *_ = block_info[None]["array-location"]
        rng = np.random.default_rng((seed, first))
        return rng.poisson(3, (last - first, *shape[1:])).astype(np.uint16)

    chunks = ((8,) * (shape[0] // 8), *((n,) for n in shape[1:]))
    axes = {d: np.arange(n) for d, n in zip(DIMS, shape, strict=True)}
    lazy = da.map_blocks(frames, chunks=chunks, dtype=np.uint16)
    return xr.DataArray(lazy, dims=DIMS, coords=axes)


def peak_of_writing(path, n_repeats, shape):
    """Return the largest memory while three states of repeats go to zarr."""
    states = []
    for k in range(3):
        scans = [lazy_scan(100 * k + r, shape) for r in range(n_repeats)]
        repeats = [cdi.correct(scan) for scan in scans]
        total = cdi.sum_repeats(xr.concat(repeats, "repeat"))
        box = {"detector_y": 32, "detector_x": 32}
        states.append(cdi.crop(total, shape=box, centre=tuple(n // 2 for n in shape)))
    labels = [("charge", 3.0), ("charge", 4.0), ("discharge", 3.0)]
    series = cdi.stack_states(states, labels=labels).to_dataset(name="intensity")
    with dask.config.set(scheduler="synchronous"):
        tracemalloc.start()
        try:
            batteryxr.write_resumable(series, path, group="states", dim="state")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def test_a_set_of_scans_is_never_in_memory_whole(tmp_path):
    peak_of_writing(tmp_path / "imports.zarr", 1, (8, 32, 32))
    shape = (32, 96, 96)
    few, many = (peak_of_writing(tmp_path / f"{n}.zarr", n, shape) for n in (2, 6))
    one = 4 * np.prod(shape)  # a scan as float32
    # Of 12 scans more no more than two are held: the graph grows a little, threads of
    # zarr come and go.
    assert many < few + 2 * one, (few / one, many / one)
    assert many < 5 * one, many / one


def test_the_measured_gold_crystal(gold_scan):
    frames, correction = gold_scan
    assert frames.shape == (201, 256, 256)
    np.testing.assert_allclose(np.diff(frames["rocking"]), 0.005, atol=1e-5)
    motors = {"Delta": 32.174, "Gamma": 12.6346, "motor_Energy": 9.0, "camdist": 500}
    assert {m: float(frames[m]) for m in motors} == motors
    clean = cdi.correct(frames, **correction)
    assert int((clean["flag"] != 0).sum()) == 499
    peak = cdi.locate_peak(clean)
    assert peak["maximum"].values.tolist() == [99, 127, 128]
    np.testing.assert_allclose(peak["value"], 121_776, rtol=1e-3)


def test_the_place_of_the_peak_is_the_one_that_crop_takes():
    """Indices count the frames as they are; where that is in doubt, names decide."""
    frames = gauss().isel(rocking=np.delete(np.arange(24), [2, 5]))
    with pytest.warns(DataQualityWarning, match="2 frames are missing"):
        found = cdi.locate_peak(frames)
    frame, row, column = found["maximum"].values.tolist()
    assert (frame, row, column) == (10, 12, 12)
    assert float(frames[frame, row, column]) == float(frames.max())
    place = dict(zip(frames.dims, found["place"].values.tolist(), strict=True))
    assert place["rocking"] == pytest.approx(float(frames["rocking"][10]))
    np.testing.assert_allclose(found["centre_of_mass"], (10, 12, 12), atol=0.5)
    shape = (12, 12, 12)
    with pytest.warns(DataQualityWarning, match="missing"):
        box = cdi.crop(frames, shape=shape)
    with pytest.warns(DataQualityWarning, match="missing"):
        xr.testing.assert_equal(cdi.crop(frames, shape=shape, centre=place), box)
    for index in ((10, 12, 12), (12, 12, 12)):
        with (
            pytest.warns(DataQualityWarning, match="missing"),
            pytest.raises(ArgumentError, match="by name"),
        ):
            cdi.crop(frames, shape=shape, centre=index)
    with pytest.warns(DataQualityWarning, match="missing"):
        cdi.crop(frames, shape=shape, centre=(1, 12, 12))
    for wrong in ({"rocking": 1.0}, place | {"detector_y": 99}):
        with pytest.raises(ArgumentError, match="centre"):
            cdi.crop(gauss(), shape=shape, centre=wrong)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_mask_of_a_file_lies_on_its_own_axes(turned, chunked):
    frames = gauss().transpose("rocking", "detector_y", "detector_x")
    frames = frames.isel(detector_x=slice(0, 20))
    bad = np.zeros((24, 20), np.uint8)
    bad[3, 7] = 1
    mask = xr.DataArray(bad, dims=("detector_y", "detector_x"))
    frames = frames.assign_coords(mask=mask.T if turned else mask)
    clean = cdi.correct(frames.chunk(rocking=8) if chunked else frames)
    assert np.isnan(clean.values[:, 3, 7]).all()
    assert int(np.isnan(clean.values).sum()) == 24
    # One that differs from frame to frame hides what it says.
    each = xr.zeros_like(frames.drop_vars("mask"), dtype=np.uint8)
    each[5, 3, 7] = 1
    each[:, 8, 2] = 1
    clean = cdi.correct(frames.assign_coords(mask=each))
    assert np.argwhere(np.isnan(clean.values[:, 3, 7])).ravel().tolist() == [5]
    assert np.isnan(clean.values[:, 8, 2]).all()
    assert int((clean["flag"] != 0).sum()) == 1


def test_numbers_beyond_single_precision_are_no_counts():
    frames = gauss().astype(float)
    frames[3, 4, 5] = 1e39
    hidden = np.zeros((24, 24), bool)
    hidden[4, 5] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert np.isnan(cdi.correct(frames, mask=hidden).values[3, 4, 5])
        shown = cdi.correct(frames)
    for method in (cdi.locate_peak, cdi.retrieve):
        for volume in (frames, shown):
            with pytest.raises(DataError, match="more than can be counted"):
                method(volume)


@pytest.mark.parametrize("lost", [[11, 13], [11, 13, 5]])
def test_a_bright_frame_between_missing_ones_is_no_zinger(lost):
    frames = gauss().isel(rocking=np.delete(np.arange(24), lost))
    with pytest.warns(DataQualityWarning, match="missing") as told:
        found = cdi.locate_peak(frames)
    assert not any("alone" in str(w.message) for w in told)
    assert int(found["left_out"]) == 0
    before = sum(k < 12 for k in lost)
    assert found["maximum"].values.tolist() == [12 - before, 12, 12]


def test_jitter_on_a_drift_the_other_way_is_told():
    frames = gauss()
    late = np.maximum(np.arange(24) - 14, 0)  # the motor runs faster from there on
    angles = frames["rocking"].values + 1e-4 * late
    angles[4] -= 0.0015
    moved = frames.assign_coords(rocking=("rocking", angles, {"units": "deg"}))
    with pytest.warns(DataQualityWarning, match="frame 4"):
        cdi.locate_peak(moved)
