from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.xray import ELECTRON_RADIUS, HC, absorptive_factor
from batteryxr.simulate import Defects, ptychography

SMALL = {"energy": np.array([5440.0, 5500.0]), "positions": 3, "size": 32}


@pytest.mark.parametrize("chunks", [1, 4, 9])
def test_lazy_is_eager(chunks, no_compute):
    whole, _ = ptychography(**SMALL, seed=2)
    with no_compute():
        lazy, _ = ptychography(**SMALL, seed=2, chunks=chunks)
    xr.testing.assert_identical(lazy.compute(), whole)
    assert float(whole.frames.sum(("detector_y", "detector_x")).mean()) == (
        pytest.approx(3e5, rel=0.1)
    )


def test_absorption_is_that_of_the_material():
    _, truth = ptychography(**SMALL)
    k = 1
    solid = truth.absorption[k].where(truth.domain == 2).max()
    f2 = absorptive_factor("VO2", np.array([5500.0]))[0]
    full = 2 * ELECTRON_RADIUS * HC / 5500.0 * 2.7e28 * 800e-9 * f2
    assert float(solid) == pytest.approx(full, rel=0.1)
    # Matter is ahead of vacuum: the phase of the transmission is negative.
    assert float(truth.phase.where(truth.domain > 0).max()) <= 0


def test_messages():
    with pytest.raises(ArgumentError, match="16 bits"):
        ptychography(**SMALL, photons=1e9)
    with pytest.raises(ArgumentError, match="step"):
        ptychography(**SMALL, step=0.0)


def test_defects_are_those_that_were_asked_for():
    call = {"energy": np.array([5500.0]), "positions": 5, "size": 32, "seed": 3}
    plain, _ = ptychography(**call)
    asked = Defects(
        background=3.0, flux=0.3, missing=0.2, gaps=2, hot=4, drift=90.0, shift=9.0
    )
    scan, truth = ptychography(**call, defects=asked)
    frames, light = scan.frames.values[0].astype(float), truth.light.values[0]
    lost = light == 0
    assert 1 <= lost.sum() <= 11
    assert not frames[lost].any()
    gap, hot = scan.mask.values, truth.hot.values
    assert (frames[~lost][:, gap] == 65535).all()
    assert gap.sum() == 2 * 2 * 32 - 4
    assert hot.sum() == 4
    assert (frames[~lost][:, hot] >= 3000).all()
    good = ~(gap | hot)
    dark = good & (plain.frames.values[0].max(0) == 0)
    level = frames[~lost][:, dark].mean(1) / light[~lost]
    assert level.mean() == pytest.approx(3.0, rel=0.1)
    counts = frames[~lost][:, good].sum(1)
    assert np.corrcoef(counts, light[~lost])[0, 1] > 0.99
    told = np.stack([scan.position_y, scan.position_x], -1)
    way = truth.position_true.values[0] - told
    assert np.linalg.norm(way[-1] - way[0]) == pytest.approx(90.0)
    np.testing.assert_allclose(np.diff(way, 2, axis=0), 0.0, atol=1e-9)


@pytest.mark.parametrize("defects", [{"blur": 60.0}, {"fly": 200.0}])
def test_light_that_is_partly_coherent_loses_contrast(defects):
    call = SMALL | {"seed": 4}
    sharp, _ = ptychography(**call)
    blurred, _ = ptychography(**call, defects=Defects(**defects))
    a, b = (
        s.frames.values[0].reshape(9, -1).astype(float).std(0) for s in (sharp, blurred)
    )
    assert b.sum() < 0.97 * a.sum()
    total = [float(s.frames.sum()) for s in (sharp, blurred)]
    assert total[1] == pytest.approx(total[0], rel=0.01)


def test_defects_that_cannot_be():
    with pytest.raises(ArgumentError, match="missing"):
        Defects(missing=1.5)
    with pytest.raises(ArgumentError, match="blur"):
        Defects(blur=-1.0)


def test_a_background_that_fills_all_pixels_is_refused():
    with pytest.raises(ArgumentError, match=r"defects\.background"):
        ptychography(**SMALL, photons=1e4, defects=Defects(background=7e4))
