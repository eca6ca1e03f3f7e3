"""Random crystals: what is promised of them holds for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from batteryxr.cdi import misfit
from batteryxr.core.errors import ArgumentError
from batteryxr.simulate import random_crystals

if TYPE_CHECKING:
    import xarray as xr

AXES = ("along_rocking", "along_y", "along_x")
SMALL = {"n": 6, "size": 32, "phase": (1.0, 3.0), "photons": (1e5, 1e7)}


@pytest.fixture(scope="module")
def crystals() -> xr.Dataset:
    return random_crystals(**SMALL).load()


def test_nothing_is_made_before_it_is_read(no_compute):
    with no_compute():
        lazy = random_crystals(**SMALL)
    assert lazy["intensity"].chunksizes["crystal"] == (1,) * 6


def test_each_depends_on_the_seed_and_its_number_alone(crystals):
    one = random_crystals(**(SMALL | {"n": 2}))["intensity"][1]
    np.testing.assert_array_equal(one, crystals["intensity"][1])
    other = random_crystals(seed=1, **SMALL)["intensity"][1]
    assert not np.array_equal(other, crystals["intensity"][1])


def test_the_pattern_is_that_of_the_object(crystals):
    judged = misfit(crystals["object"], volume=crystals["intensity"])
    # Counting noise alone: a quarter of a count in the square root of each voxel.
    assert (judged["llk"] < 0.6).all()
    counts = crystals["intensity"].sum(("rocking", "detector_y", "detector_x"))
    spread = 5 * np.sqrt(crystals["photons"])
    assert (abs(counts - crystals["photons"]) < spread).all()


def test_both_are_centred(crystals):
    body = abs(crystals["object"])
    power = crystals["intensity"]
    for axis, measured in zip(AXES, power.dims[1:], strict=True):
        place = (body * body[axis]).sum(AXES) / body.sum(AXES)
        assert (abs(place) < 0.3).all()
        turn = np.exp(2j * np.pi / 32 * power[measured])
        centre = np.angle((power * turn).sum(power.dims[1:])) * 32 / (2 * np.pi)
        assert (abs(centre) < 0.2).all()


def test_extent_and_phase_are_within_their_limits(crystals):
    inside = abs(crystals["object"]) > 0.5
    for axis in AXES:
        others = [a for a in AXES if a != axis]
        extent = inside.any(others).sum(axis)
        assert ((extent >= 0.5 * 16 - 2) & (extent <= 0.8 * 16 + 2)).all()
    spread = crystals["object"].copy(data=np.angle(crystals["object"])).where(inside)
    assert (spread.max(AXES) - spread.min(AXES) > 0.8).all()


def test_any_size():
    for size in (16, 17, 45):
        assert random_crystals(n=1, size=size)["object"].shape == (1, *[size] * 3)
        assert np.isfinite(random_crystals(n=1, size=size)["object"]).all()


def test_is_labelled(crystals):
    for name, variable in crystals.variables.items():
        assert {"units", "long_name"} <= set(variable.attrs), name
    assert int(crystals["fourier_sign"]) == -1
    assert "random_crystals" in crystals.attrs["batteryxr_call"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n": 0}, "n=0"),
        ({"size": 8}, "size=8"),
        ({"fill": (0.8, 0.5)}, "two numbers in order"),
        ({"fill": (0.5, 1.5)}, "fill="),
        ({"phase": (-1.0, 2.0)}, "phase="),
        ({"photons": (0.0, 1e6)}, "photons="),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_says_what_is_wrong(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        random_crystals(**(SMALL | arguments))
