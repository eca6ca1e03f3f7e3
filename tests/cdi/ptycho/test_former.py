"""Going on from a former result, and judging it: never by place where places differ."""

from __future__ import annotations

import numpy as np
import pytest

from batteryxr.cdi import Schedule, ptycho, ptycho_fit
from batteryxr.cdi.ptycho.kernels.alignment import resampled
from batteryxr.core.errors import DataError, DataQualityWarning


def run(scan, iterations, **kw):
    return ptycho(scan, iterations=iterations, progress=False, **kw)


@pytest.fixture
def moved(scan):
    return run(scan, 6, schedule=Schedule(positions_from=0))


def test_frames_are_found_by_their_positions(scan, moved):
    """Without labels a frame is the one whose nominal position it has."""
    mixed = np.random.default_rng(1).permutation(scan.sizes["position"])
    other = scan.isel(position=mixed[5:])
    again = run(other, 1, start=moved)
    expected = moved.position_shift_y.values[mixed[5:]]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(again.position_shift_y, expected, atol=1e-6)
    fits = [ptycho_fit(moved, scan=s) for s in (scan, scan.isel(position=mixed))]
    np.testing.assert_allclose(
        fits[1].frame_residual, fits[0].frame_residual.values[mixed], rtol=1e-5
    )


def test_what_is_not_known_of_frames_is_said(scan, moved):
    elsewhere = scan.assign_coords(
        position_y=scan.position_y + scan.position_y.attrs.get("x", 40.0)
    )
    elsewhere.position_y.attrs["units"] = "nm"
    with pytest.warns(DataQualityWarning, match="no frame of the scan is one of it"):
        found = run(elsewhere, 1, start=moved)
    assert not found.position_shift_y.any()
    bare = moved.drop_vars(["position_y", "position_x"])
    with pytest.warns(DataQualityWarning, match="frames go by their order"):
        run(scan, 1, start=bare)


def test_the_probe_takes_the_light_of_this_scan(scan):
    rng = np.random.default_rng(2)
    counts = rng.binomial(scan.frames.values, 0.2)
    faint = scan.assign(frames=(scan.frames.dims, counts.astype("u2")))
    first = run(scan, 12)
    still = {"start": first, "schedule": Schedule(probe_from=9)}
    on, anew = run(faint, 1, **still), run(faint, 1)
    power = [float((np.abs(r.probe) ** 2).sum()) for r in (first, on)]
    assert power[1] / power[0] == pytest.approx(0.2, rel=0.03)
    assert float(on.amp_residual[0]) < 0.5 * float(anew.amp_residual[0])


def test_axes_may_fall(scan, moved):
    turned = moved.isel(y=slice(None, None, -1), probe_x=slice(None, None, -1))
    one, other = (run(scan, 1, start=r) for r in (moved, turned))
    np.testing.assert_array_equal(one.transmission, other.transmission)
    fits = [float(ptycho_fit(r, scan=scan).amp_residual) for r in (moved, turned)]
    assert fits[0] == fits[1]
    with pytest.raises(DataError, match="do not hold all frames"):
        ptycho_fit(moved.isel(y=slice(9, None)), scan=scan)
    with pytest.raises(DataError, match="result: object: pixels of"):
        ptycho_fit(moved.assign_coords(y=moved.y * 1.1), scan=scan)


def test_images_go_to_other_axes():
    image = np.arange(12.0).reshape(3, 4)
    y, x = np.arange(3.0), np.arange(4.0)
    back = resampled(image, y[::-1], x, y, x)
    np.testing.assert_allclose(back, image[::-1])
    wider = resampled(image, y, x, np.arange(-1.0, 4.0), x[::-1], outside=1.0)
    np.testing.assert_allclose(wider[1:-1], image[:, ::-1], atol=1e-12)
    assert (wider[[0, -1]] == 1).all()


def test_axes_in_micrometres_are_the_same_axes(scan, moved):
    small = moved
    for axis in ("y", "x", "probe_y", "probe_x"):
        values = moved[axis].values / 1000
        small = small.assign_coords({axis: (axis, values, {"units": "um"})})
    one, two = (run(scan, 1, start=s).transmission.values for s in (moved, small))
    np.testing.assert_allclose(two, one, atol=1e-4)


def test_labels_say_which_frame_is_which_or_that_none_is(scan, moved):
    n = scan.sizes["position"]
    labelled = moved.assign_coords(position=np.arange(n))
    names = scan.assign_coords(position=[f"frame {k}" for k in range(n)])
    with pytest.warns(DataQualityWarning, match="no frame of the scan is one of it"):
        run(names, 1, start=labelled)
    with pytest.raises(DataError, match="repeat"):
        run(scan.assign_coords(position=[0] * n), 1, start=labelled)
    with pytest.warns(DataQualityWarning, match="no frame of the scan is one of it"):
        found = run(scan, 1, start=moved.isel(position=slice(0, 0)))
    assert not found.position_shift_y.any()


def test_an_object_of_nan_is_no_start(scan, moved):
    with pytest.raises(DataError, match="not finite at any pixel"):
        run(scan, 1, start=moved.assign(transmission=moved.transmission * np.nan))
