"""Errors from replicas hold what they promise, on a crystal of another simulator."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from batteryxr import cdi
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
)

N = 32
VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")
QUICK = "60 HIO + 40 RAAR + 40 ER"


def block(seed=3):
    """Return a cut block on a fine grid, binned in Fourier space, its phase smooth."""
    fine = 2 * N
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:fine, :fine, :fine] - fine // 2
    body = (abs(z) < 11) & (abs(y) < 9.5) & (abs(x) < 8.5) & (y + z < 13)
    body &= x - z < 15
    wave = ndimage.gaussian_filter(rng.standard_normal(body.shape), 9)
    wave *= 1.2 / abs(wave[body]).max()
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(body * np.exp(1j * wave))))
    a, b = fine // 2 - N // 2, fine // 2 + N // 2
    field = field[a:b, a:b, a:b]
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(field))), abs(field) ** 2


def counts(pattern, photons, seed=0):
    mean = pattern * (photons / pattern.sum())
    values = np.random.default_rng(seed).poisson(mean).astype(np.float32)
    axes = {d: (d, np.arange(N) - N // 2, {"units": "1"}) for d in VOLUME}
    axes["rocking"] = ("rocking", 0.01 * (np.arange(N) - N // 2), {"units": "deg"})
    return xr.DataArray(values, dims=VOLUME, coords=axes)


def frame():
    """Return a right-angled geometry of voxels of 10 nm, Q along x."""
    return xr.Dataset(
        {
            "voxel": (("axis", "vector"), 10.0 * np.eye(3)),
            "q": ("vector", [0.0, 0.0, 3.0]),
            "q_length": ((), 3.0),
        }
    )


@pytest.fixture(scope="module")
def sure():
    truth, pattern = block()
    volume = counts(pattern, 1e6)
    result = cdi.retrieve(
        volume,
        schedule=QUICK,
        n_starts=2,
        select=cdi.Selection(n_best=2),
        progress=False,
    )
    return truth, volume, cdi.replicas(result, volume=volume, schedule=QUICK)


def errors(sure, ramp="keep"):
    fields = cdi.unwrap(sure, support=cdi.analysis_support(sure))
    fields = cdi.displacement(fields, geometry=frame(), ramp=ramp)
    return cdi.strain(fields, geometry=frame())


def test_the_band_holds_the_truth(sure):
    truth, _, crystal = sure
    fields = errors(crystal)
    model = xr.DataArray(truth.astype(np.complex64), dims=OBJECT)
    laid = cdi.align(model, reference=crystal["object"])
    inside = fields["support"].values
    inner = ndimage.binary_erosion(inside)
    # The unit of the truth is the retrieved one's but for a phase.
    off = np.angle(crystal["object"].values * np.conj(laid.values))
    off -= off[inner].mean()
    covered = abs(off)[inner] < fields["phase_error"].values[inner]
    # So few iterations leave single starts, as replicas are, farther off than means.
    assert 0.5 < covered.mean() < 0.98
    exact = cdi.unwrap(laid, support=fields["support"])
    exact = cdi.strain(
        cdi.displacement(exact, geometry=frame(), sign=-1), geometry=frame()
    )
    miss = (fields["strain"] - exact["strain"]).values
    covered = abs(miss)[inner] < fields["strain_error"].values[inner]
    assert 0.5 < covered.mean() < 0.98
    known = inside & np.isfinite(miss)
    rms = np.sqrt(np.mean(miss[known] ** 2) / np.mean(miss[inner] ** 2))
    assert rms < 2
    # Half the amplitude of the truth bounds as many voxels.
    size = (abs(truth) > 0.5 * np.median(abs(truth)[abs(truth) > 0.5])).sum()
    assert inside.sum() == pytest.approx(size, rel=0.08)


def test_errors_go_along_to_every_number(sure):
    crystal = sure[2]
    assert 0.5 < float(crystal["misfit_ratio"]) < 3
    for ramp in ("keep", "remove"):
        fields = errors(crystal, ramp)
        for name in ("phase", "displacement", "strain"):
            error = fields[f"{name}_error"]
            assert error.attrs["units"] == fields[name].attrs["units"]
            assert (error.notnull() == fields[name].notnull()).all(), name
        np.testing.assert_allclose(
            fields["displacement_error"], fields["phase_error"] / 3, rtol=1e-5
        )
        summary = cdi.summarise_states(fields)
        assert 0 < float(summary["mean_strain_error"]) < 1e-3
        assert 0 < float(summary["strain_spread_error"]) < 1e-3
        assert ("strain_mean_error" in summary) == (ramp == "keep")
    # Without replicas nothing of it.
    bare = errors(crystal.drop_vars("replicas"))
    assert not [n for n in bare if "error" in n or "replicas" in n]


def test_states_keep_theirs(sure, no_compute):
    _, volume, crystal = sure
    plain = crystal[["object", "support"]]
    states = xr.concat([plain, plain], "state").assign_coords(state=[0, 1])
    patterns = xr.concat([volume, volume], "state").assign_coords(state=[0, 1])
    options = {"schedule": "9 ER", "n_starts": 3, "seed": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eager = cdi.replicas(states, volume=patterns, **options)
    with no_compute():
        lazy = cdi.replicas(
            states.chunk(state=1), volume=patterns.chunk(state=1), **options
        )
    one, two = eager["replicas"].values
    assert not np.array_equal(one, two)  # photons of their own
    np.testing.assert_array_equal(lazy["replicas"].values, eager["replicas"].values)
    with pytest.raises(DimensionError, match="very volume"):
        cdi.replicas(states, volume=volume)
    swapped = patterns.isel(state=[1, 0])
    again = cdi.replicas(states.chunk(state=1), volume=swapped.chunk(state=1))
    assert again["replicas"].sizes["replica"] == 8


def test_what_replicas_cannot_tell_is_said(sure):
    _, volume, crystal = sure
    with pytest.raises(ArgumentError, match="n_starts"):
        cdi.replicas(crystal, volume=volume, n_starts=2)
    with pytest.raises(DataError, match="fourier_sign"):
        cdi.replicas(
            crystal.assign_coords(fourier_sign=1), volume=volume, schedule="9 ER"
        )
    blurred = ndimage.gaussian_filter(volume.values, (0, 1.5, 1.5))
    with pytest.warns(DataQualityWarning, match=r"times worse|another minimum"):
        cdi.replicas(
            crystal, volume=volume.copy(data=blurred), schedule=QUICK, n_starts=3
        )


def test_replicas_take_counts_alone_and_where_they_lie(sure):
    _, volume, crystal = sure
    few = {"schedule": QUICK, "n_starts": 3}
    with pytest.raises(DataError, match="logarithm"):
        cdi.replicas(crystal, volume=np.log10(1 + volume), **few)
    with pytest.raises(DataError, match="logarithm"):  # lazy ones too
        cdi.replicas(crystal, volume=np.log10(1 + volume).chunk(), **few).compute()
    with pytest.warns(DataQualityWarning, match="scaled"):
        cdi.replicas(crystal, volume=volume * 1e-3, **few)
    with pytest.raises(DataError, match="ramp"):
        cdi.replicas(crystal.assign_attrs(ramp="removed"), volume=volume, **few)


def test_a_gap_of_zeros_is_not_measured_as_in_retrieve(sure):
    _, volume, crystal = sure
    gap, known = volume.copy(), volume.copy()
    gap[:, :, N // 2 + 3 : N // 2 + 6] = 0.0
    known[:, :, N // 2 + 3 : N // 2 + 6] = np.nan
    few = {"schedule": "20 ER", "n_starts": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        one, two = (cdi.replicas(crystal, volume=v, **few) for v in (gap, known))
    np.testing.assert_array_equal(one["misfit_ratio"], two["misfit_ratio"])


def test_one_replica_alone_tells_no_error(sure):
    crystal = sure[2].drop_dims("replica", errors="ignore")
    crystal = crystal.assign(
        replicas=crystal["object"].expand_dims(replica=[3, 5, 7], axis=-1)
    )
    fields = cdi.unwrap(crystal.isel(replica=[0, 2]))
    assert fields["phase_replicas"]["replica"].values.tolist() == [3, 7]
    assert "phase_error" not in cdi.unwrap(crystal.isel(replica=0))
    chosen = fields.isel(replica=0).cdi.displacement(geometry=frame())
    assert "displacement_error" not in cdi.summarise_states(chosen)
    assert "strain_error" not in cdi.strain(chosen, geometry=frame())


def test_what_a_support_cuts_off_is_in_the_errors():
    """A crystal with a tail outside its support has misfit, and it is drawn."""
    from batteryxr.cdi.bragg.kernels.replicas import Crystals, amplitudes, squares

    truth, pattern = block()
    mean = pattern * (1e7 / pattern.sum())
    drawn = np.random.default_rng(1).poisson(mean).astype(np.float32)
    answer = np.where(abs(truth) > 0.5 * abs(truth).max(), truth, 0).astype(
        np.complex64
    )
    none = np.ones((1, 1, 1), np.float32)
    plain = Crystals.of(answer, drawn, none)
    np.testing.assert_allclose(
        plain.draw(np.random.default_rng(0))[1].sum(), 1e7, rtol=0.02
    )
    photons = squares(*amplitudes(truth, drawn, none))
    wide = plain.beside(drawn, photons)
    beside, _ = wide.draw(np.random.default_rng(0))
    outside = answer == 0
    share = (abs(beside[outside]) ** 2).sum() / (abs(beside) ** 2).sum()
    exact = (abs(truth[outside]) ** 2).sum() / (abs(truth) ** 2).sum()
    assert 0.5 < share / exact < 2.5
    # Of the truth itself nothing is beside it but photons.
    clean = Crystals.of(truth.astype(np.complex64), drawn, none).beside(drawn, photons)
    assert float(abs(clean.across).max()) < 0.01


def test_counts_a_little_below_zero_count_as_none():
    """A dark that was subtracted leaves some; retrieval takes them as 0."""
    from batteryxr.cdi.bragg.kernels.replicas import replicas
    from batteryxr.cdi.bragg.kernels.schedule import parse
    from batteryxr.cdi.bragg.settings import RetrievalSettings

    truth, pattern = block()
    rng = np.random.default_rng(2)
    dark = rng.poisson(pattern * (1e6 / pattern.sum())).astype(np.float32)
    none, below = np.where(dark > 0, dark, 0), np.where(dark > 0, dark, -0.25)
    settings = RetrievalSettings(schedule=parse(QUICK), n_starts=3, seed=1)
    answer, blur = truth.astype(np.complex64), np.ones((1, 1, 1), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clean, dirty = (
            replicas(answer, counts.astype(np.float32), blur, 0.0, 0, settings=settings)
            for counts in (none, below)
        )
    np.testing.assert_array_equal(dirty[0], clean[0])
    assert np.isfinite(clean[1])
