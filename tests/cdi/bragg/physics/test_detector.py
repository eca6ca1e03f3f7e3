"""A detector from the direct beam, against rays traced by rotations of SciPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from batteryxr import cdi
from batteryxr.core.errors import ArgumentError, DataError, DataQualityWarning

N, PIXEL = 400, 0.055
#: Distance (mm), centre (row, column), tilt about x, y, z (deg).
TRUTH = (812.0, (203.0, 188.5), (3.0, -2.0, 1.5))


def pixel_of(nu, delta):
    """Return where the beam meets the detector, by a plane and a line in the hall."""
    distance, centre, tilt = TRUTH
    arm = Rotation.from_euler("y", -nu, degrees=True)
    arm = arm * Rotation.from_euler("x", -delta, degrees=True)
    mount = arm * Rotation.from_euler("xyz", tilt, degrees=True)
    middle = arm.apply([0, 0, distance])
    normal = mount.apply([0, 0, 1])
    along = brentq(lambda t: (np.array([0, 0, t]) - middle) @ normal, 1, 5000)
    away = np.array([0, 0, along]) - middle
    row = away @ mount.apply([0, -1, 0]) / PIXEL
    column = away @ mount.apply([1, 0, 0]) / PIXEL
    return row + centre[0], column + centre[1]


def direct(nus, deltas, scatter=0.0):
    y, x = np.mgrid[:N, :N]
    rng = np.random.default_rng(0)
    frames = []
    for nu, delta in zip(nus, deltas, strict=True):
        row, column = np.array(pixel_of(nu, delta)) + scatter * rng.standard_normal(2)
        frames.append(1e4 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8))
    coords = {"rocking": nus, "delta": ("rocking", deltas)}
    coords |= {"detector_y": np.arange(N), "detector_x": np.arange(N)}
    dims = ("rocking", "detector_y", "detector_x")
    array = xr.DataArray(np.array(frames, np.float32), dims=dims, coords=coords)
    return array.assign_attrs(rocking_motor="nu")


NUS = np.array([-0.6, 0.0, 0.6, -0.6, 0.0, 0.6, -0.6, 0.0, 0.6])
DELTAS = np.repeat([-0.6, 0.0, 0.6], 3)


def test_distance_centre_and_tilt():
    found = direct(NUS, DELTAS).cdi.calibrate_detector(beamline="ID01", pixel_size=55)
    assert float(found["distance"]) == pytest.approx(TRUTH[0], abs=0.2)
    np.testing.assert_allclose(found["centre"], TRUTH[1], atol=0.05)
    np.testing.assert_allclose(found["tilt"], TRUTH[2], atol=0.2)
    assert (np.abs(found["residual"]) < 0.05).all()


def test_errors_of_a_detector():
    seen = direct(NUS, DELTAS, scatter=0.1)
    found = cdi.calibrate_detector(seen, beamline="ID01", pixel_size=55)
    for name, truth in zip(("distance", "centre", "tilt"), TRUTH, strict=True):
        away = np.abs(found[name] - np.array(truth)) / found[f"{name}_error"]
        assert (away < 3).all()
    assert 0.1 < float(found["distance_error"]) < 3


def test_one_direction_does_not_tell_every_tilt():
    line = direct(NUS[:3], np.zeros(3))
    with pytest.warns(DataQualityWarning, match="do not tell the tilt"):
        found = cdi.calibrate_detector(line, beamline="ID01", pixel_size=55)
    assert np.isnan(found["tilt_error"]).any()
    lost = np.isnan(found["tilt_error"].values)
    np.testing.assert_array_equal(found["tilt"].values[lost], 0)
    assert float(found["distance"]) == pytest.approx(TRUTH[0], rel=0.003)


def test_a_tilt_reaches_the_geometry():
    """Q of a pixel of a tilted detector, by a ray to its place in the hall."""
    axes = {"rocking": 18 + 0.01 * np.arange(16), "detector_y": np.arange(16) + 300}
    axes |= {"detector_x": np.arange(16) + 40}
    volume = xr.DataArray(np.zeros((16, 16, 16)), dims=tuple(axes), coords=axes)
    here = dataclasses.replace(cdi.beamline("ID01"), tilt=TRUTH[2])
    found = cdi.geometry(
        volume,
        beamline=here,
        rocking="eta",
        motors={"phi": 0.0, "nu": 5.0, "delta": 35.0},
        energy=9000,
        distance=TRUTH[0],
        pixel_size=55,
        centre=TRUTH[1],
    )
    arm = Rotation.from_euler("y", -5, degrees=True)
    arm = arm * Rotation.from_euler("x", -35, degrees=True)
    mount = arm * Rotation.from_euler("xyz", TRUTH[2], degrees=True)
    row, column = (np.array([308, 48]) - TRUTH[1]) * PIXEL
    place = arm.apply([0, 0, TRUTH[0]]) + mount.apply([column, -row, 0])
    towards = place / np.linalg.norm(place) - [0, 0, 1]
    q = 2 * np.pi * 9000 / 12398.419843320026 * towards
    np.testing.assert_allclose(found["q"], q, rtol=1e-9, atol=1e-9)


def test_a_beam_that_cannot_be_is_refused():
    seen = direct(NUS, DELTAS)
    options = {"beamline": "ID01", "pixel_size": 55}
    turned = seen.assign_coords(rocking=-NUS, delta=-seen["delta"])
    with pytest.raises(DataError, match="against the arm"):
        cdi.calibrate_detector(turned, **options)
    with pytest.raises(ArgumentError, match="detector circle"):
        cdi.calibrate_detector(seen, rocking="eta", **options)
    with pytest.raises(DataError, match="three frames"):
        cdi.calibrate_detector(seen[:2], **options)
    with pytest.raises(DataError, match="no beam"):
        cdi.calibrate_detector(seen * (seen["rocking"] != 0), **options)
    with pytest.raises(DataError, match="delta"):
        cdi.calibrate_detector(seen.drop_vars("delta"), **options)
    with pytest.raises(ArgumentError, match="tilt"):
        dataclasses.replace(cdi.beamline("ID01"), tilt=(0, 90, 0))
