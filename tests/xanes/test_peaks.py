"""Bands on a baseline: Raman of known truth."""

import numpy as np
import pytest
import xarray as xr

from batteryxr import xanes
from batteryxr.core.errors import ArgumentError, DimensionError
from batteryxr.xanes import Peak


def bands(shift, shape="lorentzian", share=0.4):
    """Eg and A1g on a sloping baseline."""
    y = 5 + 0.01 * (shift - 550)
    truth = []
    for height, position, half in ((40.0, 467.0, 18.0), (100.0, 607.0, 25.0)):
        u = (shift - position) / half
        lorentz, gauss = 1 / (1 + u**2), np.exp(-np.log(2) * u**2)
        mixed = {"lorentzian": lorentz, "gaussian": gauss}.get(
            shape, share * lorentz + (1 - share) * gauss
        )
        y = y + height * mixed
        truth.append((height, position, 2 * half))
    return y, np.array(truth)


def series(shape="lorentzian", noise=2.0, n=40):
    shift = np.arange(350.0, 760.0, 2.0)
    clean, truth = bands(shift, shape)
    rng = np.random.default_rng(0)
    data = xr.DataArray(
        clean + noise * rng.standard_normal((n, shift.size)),
        dims=("state", "shift"),
        coords={"shift": ("shift", shift, {"units": "1/cm", "long_name": "Shift"})},
        name="intensity",
        attrs={"units": "count", "long_name": "Intensity"},
    )
    return data, truth


def test_raman_bands_at_signal_to_noise_50():
    data, truth = series()
    fit = xanes.fit_peaks(data, peaks=[(440, 500), (580, 640)])
    mean = fit.mean("state")
    np.testing.assert_allclose(mean.peak_position, truth[:, 1], atol=0.2)
    np.testing.assert_allclose(mean.peak_fwhm, truth[:, 2], rtol=0.02)
    area = np.pi * truth[:, 0] * truth[:, 2] / 2
    np.testing.assert_allclose(mean.peak_area, area, rtol=0.02)
    spread = fit.peak_area.std("state", ddof=1)
    np.testing.assert_allclose(fit.peak_area_error.mean("state"), spread, rtol=0.35)
    assert fit.peak_fwhm.attrs["units"] == "1/cm"
    assert (fit.flag == 0).all()


@pytest.mark.parametrize("shape", ["gaussian", "pseudo_voigt"])
def test_other_shapes_are_exact_without_noise(shape):
    data, truth = series(shape, noise=0.0, n=1)
    peaks = [Peak(p, shape=shape) for p in ((440, 500), (580, 640))]
    fit = xanes.fit_peaks(data.isel(state=0), peaks=peaks)
    np.testing.assert_allclose(fit.peak_height, truth[:, 0], rtol=1e-5)
    np.testing.assert_allclose(fit.peak_position, truth[:, 1], rtol=1e-6)
    np.testing.assert_allclose(fit.peak_fwhm, truth[:, 2], rtol=1e-5)
    if shape == "pseudo_voigt":
        np.testing.assert_allclose(fit.lorentzian_share, 0.4, atol=1e-4)
    np.testing.assert_allclose(
        xanes.model_curve(fit, axis=data["shift"]), data.isel(state=0), atol=1e-3
    )


def test_mixed_shapes_leave_the_share_missing_where_there_is_none():
    data, _ = series(noise=0.5, n=2)
    peaks = [Peak((440, 500)), Peak((580, 640), shape="pseudo_voigt")]
    fit = xanes.fit_peaks(data, peaks=peaks)
    assert fit.lorentzian_share.sel(peak=1).isnull().all()
    assert float(fit.lorentzian_share.sel(peak=2).mean()) > 0.9


def test_band_ratio():
    data, _ = series(n=60)
    fit = xanes.fit_peaks(data, peaks=[(440, 500), (580, 640)])
    ratio = fit.xanes.band_ratio(bands=(1, 2))
    assert float(ratio.band_ratio.mean()) == pytest.approx(0.288, rel=0.02)
    spread = float(ratio.band_ratio.std("state", ddof=1))
    assert float(ratio.band_ratio_error.mean()) == pytest.approx(spread, rel=0.35)
    both = xr.concat([fit, fit], xr.DataArray(["XX", "XY"], dims="polarisation"))
    one = xanes.band_ratio(
        both, dim="polarisation", bands=("XX", "XY"), variable="peak_fwhm"
    )
    np.testing.assert_allclose(one.band_ratio, 1.0)
    with pytest.raises(ArgumentError, match="bands="):
        xanes.band_ratio(fit, bands=(3, 1))


def test_lazy_equals_eager():
    data, _ = series()
    kwargs = {"peaks": [(440, 500), (580, 640)]}
    eager = xanes.fit_peaks(data, **kwargs)
    lazy = xanes.fit_peaks(data.chunk(state=7), **kwargs)
    xr.testing.assert_identical(eager.drop_attrs(), lazy.drop_attrs().compute())


def test_messages():
    data, _ = series()
    with pytest.raises(ArgumentError, match="at least one Peak"):
        xanes.fit_peaks(data, peaks=[])
    with pytest.raises(DimensionError, match="shift"):
        xanes.fit_peaks(data.rename(shift="wavenumber"), peaks=[(1, 2)])
    with pytest.raises(DimensionError, match="sortby"):
        xanes.fit_peaks(data.isel(shift=slice(None, None, -1)), peaks=[(440, 500)])


def test_centroid_of_two_bands_is_that_of_the_curve():
    """Errors by refitting: 200 noisy pre-edges of two bands that hardly overlap."""
    e = np.arange(5455.0, 5480.0, 0.1)
    areas, places, width = np.array([0.5, 0.2]), np.array([5465.0, 5470.0]), 0.8
    height = areas / (width * np.sqrt(np.pi / np.log(2)))
    u = (e[:, None] - places) / width
    clean = (height * np.exp(-np.log(2) * u**2)).sum(axis=1)
    rng = np.random.default_rng(0)
    spectra = xr.DataArray(
        clean + 0.02 * rng.standard_normal((200, e.size)),
        dims=("scan", "energy"),
        coords={"energy": ("energy", e, {"units": "eV"})},
        attrs={"units": "1"},
    )
    bands = [
        Peak((p - 1, p + 1), shape="gaussian", name=n)
        for p, n in zip(places, "ab", strict=True)
    ]
    fit = spectra.xanes.fit_peaks(peaks=bands, dim="energy", baseline=-1)
    found = fit.xanes.band_centroid()
    expected = (clean * e).sum() / clean.sum()
    pull = (found.band_centroid - expected) / found.band_centroid_error
    assert abs(float(pull.mean())) < 0.25
    assert 0.85 < float(pull.std()) < 1.2
    area = (found.band_area - areas.sum()) / found.band_area_error
    assert 0.85 < float(area.std()) < 1.25
    one = fit.xanes.band_centroid(bands=["b"])
    np.testing.assert_allclose(one.band_centroid, fit.peak_position.sel(peak="b"))
    with pytest.raises(ArgumentError, match="each band once"):
        fit.xanes.band_centroid(bands=["b", "b"])
    with pytest.raises(ArgumentError, match="bands="):
        fit.xanes.band_centroid(bands=["c"])
