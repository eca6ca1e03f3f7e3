"""Labels matched up to rounding, in any order, and axes that can be relied on."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import xarray as xr

from batteryxr.core.checks import checked
from batteryxr.core.errors import DataError, LabelsError
from batteryxr.core.labels import even_step, matched, require_monotonic

ENERGY = 8300.0 + 0.25 * np.arange(41)


def spectrum(energy=ENERGY, units="eV"):
    axis = ("energy", energy, {"units": units})
    return xr.DataArray(
        np.arange(len(energy)) + 1.0, dims="energy", coords={"energy": axis}
    )


@pytest.mark.parametrize(
    "labels", [ENERGY * (1 + 1e-9), ENERGY.astype(np.float32), ENERGY + 1e-4]
)
def test_rounding_is_no_difference(labels):
    found = matched(spectrum(), spectrum(labels), argument="mask")
    xr.testing.assert_identical(found, spectrum())


@pytest.mark.parametrize("order", [slice(None, None, -1), np.argsort(np.sin(ENERGY))])
def test_order_is_by_label(order):
    found = matched(spectrum(), spectrum().isel(energy=order), argument="mask")
    xr.testing.assert_identical(found, spectrum())


def test_what_covers_more_is_cut_by_label():
    part = spectrum()[10:20]
    xr.testing.assert_identical(matched(part, spectrum(), argument="mask"), part)


def test_other_units_are_converted():
    found = matched(spectrum(), spectrum(ENERGY / 1000, "keV"), argument="mask")
    xr.testing.assert_identical(found, spectrum())
    with pytest.raises(LabelsError, match=r"mask=.*'energy' in 'eV'"):
        matched(spectrum(), spectrum(ENERGY, "deg"), argument="mask")


@pytest.mark.parametrize(
    "other",
    [
        spectrum()[:-1],
        spectrum(ENERGY + 0.125),
        spectrum(np.r_[ENERGY[:-1], ENERGY[0]]),
    ],
)
def test_what_is_missing_is_named(other):
    with pytest.raises(
        LabelsError, match=r"mask=.*'energy'.*interp\(energy=data.energy"
    ):
        matched(spectrum(), other, argument="mask")


def test_times_and_names_are_matched():
    time = np.datetime64("2026-01-01", "ns") + np.arange(4) * np.timedelta64(60, "s")
    for labels in (time, np.array(["a", "b", "c", "d"])):
        data = xr.DataArray(np.arange(4.0), dims="scan", coords={"scan": labels})
        xr.testing.assert_identical(matched(data, data[::-1], argument="mask"), data)
        with pytest.raises(LabelsError, match="mask"):
            matched(data, data[1:], argument="mask")


def test_repeated_labels_go_by_order_or_not_at_all():
    data = xr.DataArray(np.arange(4.0), dims="scan", coords={"scan": [0, 1, 0, 1]})
    assert matched(data, data, argument="mask") is data
    with pytest.raises(LabelsError, match="not once"):
        matched(data, data[[1, 0, 2, 3]], argument="mask")


def test_without_labels_the_size_decides():
    bare = spectrum().drop_vars("energy")
    assert matched(spectrum(), bare, argument="mask") is bare
    with pytest.raises(LabelsError, match="40, the data 41"):
        matched(spectrum(), bare[1:], argument="mask")


def test_interpolates_within_the_range_alone():
    coarse = spectrum(ENERGY[::2]).copy(data=ENERGY[::2])
    found = matched(spectrum(), coarse, argument="i0", interpolate=True)
    np.testing.assert_allclose(found, ENERGY)
    with pytest.raises(LabelsError, match="i0"):
        matched(spectrum(), coarse[:-1], argument="i0", interpolate=True)


def test_lazy_arrays_stay_lazy(no_compute):
    lazy = spectrum().chunk(energy=10)[::-1]
    with no_compute():
        assert matched(spectrum(), lazy, argument="mask").chunks


@checked
def product(data: xr.DataArray, factor: float = 1.0) -> xr.DataArray:
    """Multiply points by their neighbours, wrongly by label."""
    return data[1:] * data[:-1] * factor


def test_nothing_is_dropped_inside_a_public_function():
    before = xr.get_options()["arithmetic_join"]
    with pytest.raises(DataError, match="product: lie on different labels"):
        product(spectrum())
    assert xr.get_options()["arithmetic_join"] == before


def test_other_threads_leave_the_option_as_it_is():
    seen = []

    def work():
        checked(lambda: seen.append(xr.get_options()["arithmetic_join"]))()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["inner"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0.0, 1.0, np.nan], "not numbers"),
        ([0.0, 1.0, 1.0], "repeats a label at index 2"),
        ([0.0, 2.0, 1.0], "turns back at index 2"),
        ([3.0, 2.0, 4.0], "turns back at index 2"),
    ],
)
def test_an_axis_that_does_not_rise_is_refused(labels, words):
    data = xr.DataArray(np.ones(3), dims="r", coords={"r": labels})
    for check in (
        lambda: require_monotonic(data["r"], caller="fit"),
        lambda: even_step(data, "r", caller="fit"),
    ):
        with pytest.raises(DataError, match=f"r: .*{words}"):
            check()


def test_an_uneven_axis_is_refused():
    data = xr.DataArray(np.ones(4), dims="y", coords={"y": [0.0, 1.0, 2.0, 4.0]})
    with pytest.raises(DataError, match="y: is irregular, in steps of 1 to 2"):
        even_step(data, "y", caller="register")
    falling = data.assign_coords(y=[3.0, 2.0, 1.0, 0.0])
    assert even_step(falling, "y", caller="register") == -1.0
    assert even_step(data.drop_vars("y"), "y", caller="register") == 1.0
