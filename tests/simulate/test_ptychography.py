from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import ArgumentError
from batteryxr.core.xray import ELECTRON_RADIUS, HC, absorptive_factor
from batteryxr.simulate import ptychography

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
