from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import batteryxr  # registers .cdi
from batteryxr.cdi import align, decompose, fsc, misfit, prtf
from batteryxr.cdi.bragg.kernels.align import conjugate_twin
from batteryxr.cdi.bragg.kernels.free import radial_frequency
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
)

AXES = ("along_rocking", "along_y", "along_x")


@pytest.fixture(scope="module")
def truth(crystal, volume) -> xr.DataArray:
    """Return the crystal with the counts of its pattern."""
    power = float(volume.sum()) / (np.abs(np.fft.fftn(crystal)) ** 2).sum()
    return xr.DataArray(crystal * np.float32(np.sqrt(power)), dims=AXES, name="object")


@pytest.fixture(scope="module")
def noisy(truth) -> xr.DataArray:
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2, 3, *truth.shape)).astype(np.float32) * 0.2
    scatter = xr.DataArray(parts[0] + 1j * parts[1], dims=("start", *AXES))
    return truth + float(abs(truth).max()) * scatter.astype(np.complex64)


def test_misfit_by_the_definitions(truth, volume):
    found = misfit(truth * 5, volume=volume)  # the scale is matched
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(truth.values)))
    r, d = np.abs(field) ** 2, volume.values.astype(float)
    r *= d.sum() / r.sum()
    top = ((np.sqrt(r) - np.sqrt(d)) ** 2).sum()
    assert float(found["amp_residual"]) == pytest.approx(top / d.sum(), rel=1e-4)
    assert float(found["chi2"]) == pytest.approx(top / r.sum(), rel=1e-4)
    log = np.log(np.where(d > 0, d, 1) / r)
    llk = (r - d + d * np.where(d > 0, log, 0)).mean()
    assert float(found["llk"]) == pytest.approx(llk, rel=1e-4)


def test_misfit_leaves_out_what_was_not_measured(truth, volume):
    spoilt = volume.where(volume["rocking"] > 0.02)
    assert float(misfit(truth, volume=spoilt)["llk"]) < 1
    filled = spoilt.fillna(1e4)
    assert float(misfit(truth, volume=filled)["llk"]) > 1


def test_transfer_of_equal_starts_is_1(truth, volume):
    same = xr.concat([truth, truth], "start")
    shifted = xr.concat([truth, truth.roll(along_y=3)], "start")
    twin = xr.concat([truth, truth.copy(data=conjugate_twin(truth.values))], "start")
    for objects in (same, shifted, twin):
        found = prtf(objects, volume=volume)
        assert np.allclose(found[:8], 1, atol=0.03)
    assert found["frequency"].attrs["units"] == "1"


def test_transfer_falls_where_phases_differ(truth, volume):
    """Phases that scatter by s leave exp(-s^2 / 2) of the mean, or a little more."""
    rng = np.random.default_rng(0)
    field = np.fft.fftn(np.fft.ifftshift(truth.values))
    radius = radial_frequency(field.shape)
    scatter = rng.standard_normal((9, *field.shape)) * 3 * radius
    parts = np.fft.ifftn(field * np.exp(1j * scatter), axes=(1, 2, 3))
    parts = np.fft.fftshift(parts, (1, 2, 3)).astype(np.complex64)
    objects = xr.DataArray(parts, dims=("start", *AXES))
    exact = volume.copy(data=np.fft.fftshift(np.abs(field) ** 2))
    found = prtf(objects, volume=exact)
    left = np.exp(-((3 * found["frequency"]) ** 2))
    np.testing.assert_allclose(found, np.sqrt(left + (1 - left) / 9), atol=0.06)


def test_shell_correlation(truth, noisy):
    near = truth + 1e-4 * noisy.isel(start=0)
    same = fsc(truth, other=near)
    np.testing.assert_allclose(same["fsc"], 1, atol=1e-5)
    assert np.isnan(same["resolution_1bit"])
    found = fsc(noisy.isel(start=0), other=noisy.isel(start=1))
    assert 1 <= float(found["resolution_half_bit"]) <= float(found["resolution_1bit"])
    assert (found["threshold_1bit"] >= found["threshold_half_bit"]).all()
    few = fsc(truth, other=near, fraction=0.05)
    assert (few["threshold_1bit"] >= same["threshold_1bit"]).all()
    assert float(few["threshold_1bit"][-1]) > float(same["threshold_1bit"][-1])
    real = fsc(abs(truth), other=abs(near))
    assert (real["threshold_1bit"] >= same["threshold_1bit"]).all()


@pytest.mark.parametrize("factor", [1, 3, np.complex64(np.exp(1j))])
def test_an_object_is_not_correlated_with_itself(truth, factor):
    with pytest.raises(DataError, match="itself"):
        fsc(truth, other=truth * factor)
    with pytest.raises(DataError, match="no number"):
        fsc(truth, other=truth.where(abs(truth) > 0))


def test_objects_that_lie_elsewhere_are_told(truth, noisy):
    one, two = (10 * truth + noisy.isel(start=k) for k in (0, 1))
    mirrored = two.copy(data=conjugate_twin(two.values))
    for other in (two.roll(along_x=2), mirrored.roll(along_y=1)):
        with pytest.warns(DataQualityWarning, match="align first"):
            wrong = fsc(one, other=other)
        right = fsc(one, other=align(other, reference=one))
        assert wrong["fsc"].mean() < right["fsc"].mean()
        assert wrong["overlap"] < 0.95 * wrong["overlap_aligned"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fsc(one, other=two)


def test_shell_correlation_in_nanometres(truth, noisy):
    nm = {"units": "nm", "long_name": "-"}
    space = xr.DataArray(
        truth.values,
        dims=("z", "y", "x"),
        coords={d: (d, np.arange(40) * 5.0, nm) for d in "zyx"},
    )
    found = fsc(space, other=space * 0.9 + 1e-3 * noisy.isel(start=0).values)
    assert found["frequency"].attrs["units"] == "1/nm"
    assert float(found["frequency"][-1]) == pytest.approx(0.1, rel=0.05)
    assert found["resolution_1bit"].attrs["units"] == "nm"


def test_align_passes_the_sign_of_the_transform_on(truth):
    noted = truth.to_dataset(name="object").assign_coords(fourier_sign=-1)
    assert align(noted, reference=truth).coords["fourier_sign"] == -1
    assert "fourier_sign" not in align(truth, reference=truth).coords


def test_align_matches_each_state(truth):
    turned = truth * np.complex64(np.exp(2j))
    moving = xr.concat([turned.roll(along_x=3), turned], "state")
    found = align(moving, reference=truth)
    np.testing.assert_allclose(found["overlap"], 1, atol=1e-5)
    assert float(found["shift_along_x"][0]) == pytest.approx(-3, abs=0.02)
    assert float(found["shift_along_y"][0]) == pytest.approx(0, abs=0.02)
    top = float(abs(truth).max())
    np.testing.assert_allclose(found.isel(state=0), truth, atol=1e-2 * top)
    assert not found["twin"].any()


def test_decompose_orders_modes(noisy):
    found = decompose(noisy)
    weight = found["mode_weight"].values
    assert (np.diff(weight) <= 0).all()
    assert weight.sum() == pytest.approx(1)


def test_lazy_is_eager(noisy, truth, volume, no_compute):
    calls = {
        "misfit": lambda o: misfit(o, volume=volume),
        "prtf": lambda o: prtf(o, volume=volume).to_dataset(),
        "align": lambda o: align(o, reference=truth).to_dataset(name="object"),
        "fsc": lambda o: fsc(o, other=truth),
        "decompose": decompose,
    }
    for name, call in calls.items():
        split = name not in ("prtf", "decompose")
        for size in (1, 2) if split else (3,):
            with no_compute():
                lazy = call(noisy.chunk(start=size))
            xr.testing.assert_allclose(lazy.compute(), call(noisy))


def test_results_are_labelled(noisy, truth, volume):
    for found in (
        misfit(truth, volume=volume),
        prtf(noisy, volume=volume).to_dataset(),
        fsc(truth, other=noisy.isel(start=0)),
        decompose(noisy),
    ):
        for name, variable in found.variables.items():
            if name in AXES or name == "rocking":
                continue
            assert {"units", "long_name"} <= set(variable.attrs), name


def test_says_what_does_not_fit(truth, volume):
    with pytest.raises(DimensionError, match="one shape"):
        misfit(truth[:20], volume=volume)
    with pytest.raises(DimensionError, match="has the shape"):
        fsc(truth, other=truth[:20])
    with pytest.raises(DimensionError, match="one shape"):
        align(truth, reference=truth[:20])
    with pytest.raises(ArgumentError, match="fraction=0"):
        fsc(truth, other=truth, fraction=0)
    with pytest.raises(DimensionError, match="along_x"):
        prtf(volume, volume=volume)


def test_is_in_the_accessor(truth, volume):
    found = truth.cdi.misfit(volume=volume)
    assert batteryxr.replay(found, truth, volume=volume).equals(found)


@pytest.mark.parametrize("scale", [1e-3, 7.3])
def test_the_transfer_function_takes_objects_on_any_scale(noisy, volume, scale):
    """Other software scales its objects in another way."""
    wanted = prtf(noisy, volume=volume)
    found = prtf(noisy * np.float32(scale), volume=volume)
    np.testing.assert_allclose(found, wanted, rtol=0.03)
    assert float(wanted[1]) == pytest.approx(1, abs=0.05)
