"""Drift is found against truth and undone without inventing values."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from batteryxr.core.errors import ArgumentError, ChunkingError, DataQualityWarning
from batteryxr.xanes import register


def make_drifting(noise, n=128, frames=20, seed=0):
    """Return a particle whose contrast doubles over the edge while it drifts."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 0.45, (frames, 2)), axis=0)
    walk = walk - walk[-1]
    blobs = rng.uniform(-0.5, 0.5, (12, 2))
    v, u = np.mgrid[:n, :n].astype(float)
    images = np.empty((frames, n, n))
    for k, (dy, dx) in enumerate(walk):
        y = (v - dy - n / 2) / (n / 2)
        x = (u - dx - n / 2) / (n / 2)
        body = 1 / (1 + np.exp(((x / 0.7) ** 2 + (y / 0.6) ** 2 - 1) * 14))
        texture = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 0.01) for a, b in blobs)
        contrast = 0.2 if k < frames // 2 else 0.4
        images[k] = body * contrast * (0.6 + 0.3 * texture)
    images += noise * rng.standard_normal(images.shape)
    stack = xr.DataArray(
        images,
        dims=("energy", "y", "x"),
        coords={
            "energy": (
                "energy",
                5420.0 + 6 * np.arange(frames),
                {"units": "eV", "long_name": "E"},
            ),
            "y": ("y", 15.0 * np.arange(n), {"units": "nm", "long_name": "y"}),
            "x": ("x", 15.0 * np.arange(n), {"units": "nm", "long_name": "x"}),
        },
        name="absorption",
        attrs={"units": "1", "long_name": "Absorption"},
    )
    return stack, walk


def rms(registered, walk):
    found = np.stack([registered.shift_y, registered.shift_x], axis=-1) / 15
    return float(np.sqrt(((found - walk) ** 2).mean()))


@pytest.mark.parametrize("noise, bar", [(0.006, 0.10), (0.03, 0.20)])
def test_drift_is_found_and_nothing_invented(noise, bar):
    stack, walk = make_drifting(noise)
    assert np.abs(walk).max() > 2
    for interpolation in ("linear", "cubic"):
        moved = register(stack, interpolation=interpolation)
        assert rms(moved, walk) < bar
        assert moved.shift_y.attrs["units"] == "nm"
        low, high = stack.min(["y", "x"]), stack.max(["y", "x"])
        assert bool((moved.min(["y", "x"]) >= low).all())
        assert bool((moved.max(["y", "x"]) <= high).all())


def test_agrees_with_scikit_image():
    skimage = pytest.importorskip("skimage.registration")
    from scipy.ndimage import gaussian_gradient_magnitude

    stack, _ = make_drifting(0.006, frames=4)
    moved = register(stack)
    target = gaussian_gradient_magnitude(stack.values[-1], 1.5)
    for k in range(4):
        frame = gaussian_gradient_magnitude(stack.values[k], 1.5)
        shift, _, _ = skimage.phase_cross_correlation(
            frame, target, upsample_factor=100, normalization=None
        )
        found = float(moved.shift_y[k]) / 15, float(moved.shift_x[k]) / 15
        np.testing.assert_allclose(found, shift, atol=0.02)


def test_whole_pixels_move_exactly_and_leave_nan():
    rng = np.random.default_rng(0)
    image = xr.DataArray(rng.normal(size=(3, 20, 24)), dims=("energy", "y", "x"))
    image = image.assign_coords(energy=[1000.0, 1001.0, 1002.0])
    shifts = xr.Dataset(
        coords={
            "shift_y": ("energy", [0.0, 2.0, -3.0]),
            "shift_x": ("energy", [0.0, -1.0, 0.0]),
        }
    )
    for interpolation in ("linear", "cubic"):
        moved = register(image, shifts=shifts, interpolation=interpolation)
        np.testing.assert_array_equal(moved[0], image[0])
        np.testing.assert_array_equal(moved[1, :-2, 1:], image[1, 2:, :-1])
        assert np.isnan(moved[1, -2:]).all()
        assert np.isnan(moved[1, :, 0]).all()
        np.testing.assert_array_equal(moved[2, 3:], image[2, :-3])


def test_lazy_equals_eager_and_shifts_are_used_again(no_compute):
    stack, _ = make_drifting(0.006, n=64, frames=9)
    moved = register(stack)
    for chunks in ({"energy": 2}, {"energy": -1}):
        lazy = register(stack.chunk(chunks))
        assert lazy.chunks is not None
        xr.testing.assert_allclose(lazy.compute(), moved)
    with no_compute():
        again = register(stack.chunk(energy=4), shifts=moved)
    np.testing.assert_array_equal(again, moved)
    both = xr.Dataset({"absorption": stack, "phase": -3 * stack.rename("phase")})
    together = register(both)
    np.testing.assert_allclose(together.phase, -3 * moved, atol=1e-12)
    np.testing.assert_array_equal(together.absorption, moved)
    assert together.y.attrs["units"] == "nm"
    assert together.energy.attrs["units"] == "eV"
    by_phase = register(both, by="phase")
    np.testing.assert_allclose(by_phase.shift_y, moved.shift_y, atol=1e-4)


def test_particles_are_laid_over_their_own_reference():
    first, walk = make_drifting(0.006, n=64, frames=8)
    second, other = make_drifting(0.006, n=64, frames=8, seed=5)
    moved = register(xr.concat([first, second], "particle"))
    assert rms(moved.isel(particle=0), walk) < 0.1
    assert rms(moved.isel(particle=1), other) < 0.1


def test_a_particle_that_ran_away_is_told():
    stack, _ = make_drifting(0.0, n=64, frames=8)
    with pytest.warns(DataQualityWarning, match="drifted as far as max_shift=1"):
        register(stack, max_shift=1)
    stack[2] = 0.5
    with pytest.warns(DataQualityWarning, match="1 frames have no contrast"):
        moved = register(stack)
    assert float(moved.shift_y[2]) == 0
    with pytest.raises(ArgumentError, match="reference"):
        register(stack, reference=9)
    with pytest.raises(ArgumentError, match="interpolation"):
        register(stack, interpolation="fourier")
    with pytest.raises(ChunkingError, match="'y' in one chunk"):
        register(stack.chunk(y=10))


def test_missing_pixels_stay_missing():
    stack, walk = make_drifting(0.006, n=64, frames=6)
    stack[:, 30, 30] = np.nan
    moved = register(stack)
    assert rms(moved, walk) < 0.1
    assert 6 <= int(np.isnan(moved[:, 20:40, 20:40]).sum()) <= 6 * 4


def _drifting(n=8, height=64, width=96, noise=0.03, seed=0):
    """Return noisy frames of blobs that drift, and where they are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    blobs = np.column_stack([rng.uniform(0.15, 0.85, (14, 2)), rng.uniform(2, 6, 14)])
    drift = rng.uniform(-5, 5, (n, 2))
    drift[-1] = 0.0
    frames = np.zeros((n, height, width))
    for frame, (dy, dx) in zip(frames, drift, strict=True):
        for v, u, size in blobs:
            far = (y - v * height - dy) ** 2 + (x - u * width - dx) ** 2
            frame += np.exp(-far / (2 * size**2))
    frames += noise * rng.standard_normal(frames.shape)
    return frames, drift


def _stack(frames):
    energy = 8330.0 + np.arange(len(frames))
    return xr.DataArray(
        frames,
        dims=("energy", "y", "x"),
        coords={"energy": ("energy", energy, {"units": "eV"})},
        name="optical_density",
        attrs={"units": "1"},
    )


def test_a_frame_without_beam_is_told_and_not_moved_anywhere():
    for seed in range(4):
        frames, drift = _drifting(seed=seed)
        frames[3] = np.random.default_rng(seed).standard_normal(frames[3].shape)
        with pytest.warns(DataQualityWarning, match="1 frames were not found"):
            moved = register(_stack(frames))
        assert np.isnan([moved.shift_y[3], moved.shift_x[3]]).all()
        assert np.isnan(moved[3]).all()
        found = np.stack([moved.shift_y, moved.shift_x], axis=1)
        others = np.arange(8) != 3
        np.testing.assert_allclose(found[others], drift[others], atol=0.15)


def test_no_frame_of_noise_is_found_by_chance():
    from batteryxr.xanes.kernels.drift import find_shifts

    v, u = np.mgrid[:48, :48]
    image = ((v + u) % 19 < 2) + ((v - 2 * u) % 23 < 2) + np.exp(-((u - 30) ** 2) / 50)
    noise = np.random.default_rng(0).standard_normal((150, 48, 48))
    how = {"gradient": True, "sigma": 1.5, "most": (12, 12)}
    found = find_shifts(noise, image, **how)
    assert (found[:, 3] > 3).all()
    faint = find_shifts(np.roll(image, 2, 1) + 0.5 * noise[:40], image, **how)
    np.testing.assert_allclose(faint[:, 1], 2, atol=1)
    assert not (faint[:, 3] > 3).any()


def test_frames_of_little_contrast_are_kept(recwarn):
    frames, drift = _drifting(noise=0.0)
    noise = 0.05 * np.random.default_rng(1).standard_normal(frames.shape)
    frames[:4] *= 0.3  # below the edge
    moved = register(_stack(frames + noise))
    np.testing.assert_allclose(moved.shift_y, drift[:, 0], atol=0.4)
    assert not [w for w in recwarn if "not found" in str(w.message)]


def test_fixed_pixels_do_not_hold_frames_where_they_are():
    frames, drift = _drifting()
    rng = np.random.default_rng(5)
    rows, columns = rng.integers(0, 64, 60), rng.integers(0, 96, 60)
    frames[:, rows, columns] += 20.0
    moved = register(_stack(frames))
    np.testing.assert_allclose(moved.shift_y, drift[:, 0], atol=0.2)
    np.testing.assert_allclose(moved.shift_x, drift[:, 1], atol=0.2)


def test_values_that_are_not_finite_are_told():
    frames, drift = _drifting()
    frames[2, 10:14, 20:24] = np.inf
    frames[2, 40, 50] = np.nan
    with pytest.warns(DataQualityWarning, match="1 frames hold values"):
        moved = register(_stack(frames))
    assert float(moved.shift_y[2]) == pytest.approx(drift[2, 0], abs=0.2)


def test_long_frames_have_a_limit_for_each_axis():
    frames, _ = _drifting(height=32, width=200)
    frames[0] = np.roll(frames[-1], 30, axis=1)
    moved = register(_stack(frames))
    assert float(moved.shift_x[0]) == pytest.approx(30, abs=0.3)
    with pytest.warns(DataQualityWarning, match=r"max_shift=\(8, 10\)|not found"):
        register(_stack(frames), max_shift=(8, 10))
    with pytest.raises(ArgumentError, match="at most 16"):
        register(_stack(frames), max_shift=(17, 10))


def test_smooth_blobs_in_noise_are_placed_or_told():
    """Wrong shifts of tens of pixels came back without a word."""
    rng = np.random.default_rng(11)
    n, wide = 64, 128
    wave = np.hypot(np.fft.fftfreq(wide)[:, None], np.fft.fftfreq(wide)[None])
    blobs = np.fft.fft2(rng.standard_normal((wide, wide)))
    blobs = blobs * np.exp(-2 * (np.pi * wave * 4) ** 2)
    blobs /= np.fft.ifft2(blobs).real.std()
    drift = rng.uniform(-5, 5, (16, 2))
    drift[-1] = 0.0
    contrast = np.repeat([0.01, 0.03, 0.3, 0.5], [5, 5, 5, 1])
    frames = []
    for (dy, dx), height in zip(drift, contrast, strict=True):
        turn = np.fft.fftfreq(wide)[:, None] * dy + np.fft.fftfreq(wide)[None] * dx
        whole = np.fft.ifft2(blobs * np.exp(-2j * np.pi * turn)).real
        frames.append(height * whole[32 : 32 + n, 32 : 32 + n])
    noisy = np.array(frames) + 0.05 * rng.standard_normal((16, n, n))
    with pytest.warns(DataQualityWarning, match="were not found"):
        found = register(_stack(noisy))
    off = np.abs(np.stack([found.shift_y, found.shift_x], axis=1) - drift).max(axis=1)
    error = found.shift_error.values
    told = np.isnan(off) | (error > 1.0)
    assert (off[~told] < 2.0).all()
    assert told[:5].sum() >= 4
    assert not told[10:].any()
    assert np.isnan(off[told & (error > 3.0)]).all()


def test_an_object_that_repeats_itself_is_told():
    y, x = np.mgrid[:64, :64].astype(float)

    def net(dy, dx):
        far = np.hypot(y - 32 - dy, x - 32 - dx)
        wave = np.cos(0.7 * (y - dy)) * np.cos(0.7 * (x - dx))
        return wave / (1 + np.exp((far - 26) / 2))

    rng = np.random.default_rng(3)
    drift = rng.uniform(-9, 9, (12, 2))
    drift[-1] = 0.0
    frames = np.array([net(*d) for d in drift]) + 0.05 * rng.standard_normal(
        (12, 64, 64)
    )
    with pytest.warns(DataQualityWarning, match="fit as well elsewhere|not found"):
        moved = register(_stack(frames))
    found = np.stack([moved.shift_y, moved.shift_x], axis=1)
    wrong = ~(np.abs(found - drift).max(axis=1) < 1)
    assert wrong.any()
    assert (np.isnan(found[wrong]).any(axis=1) | (moved.shift_error > 0.7)[wrong]).all()


@pytest.mark.parametrize("side", [64, 520])
def test_an_object_that_the_frame_cuts_is_placed(side):
    from batteryxr.xanes.kernels.drift import find_shifts

    rng = np.random.default_rng(3)
    v, u = np.mgrid[: side + 16, : side + 16] / side
    body = 1.0 * (np.hypot(v - 0.1, u - 0.7) < 0.45)  # a part lies outside
    body = ndimage.gaussian_filter(body * (1 + 0.3 * np.sin(19 * v + 11 * u * v)), 2)
    true = np.array([[0, 0], [5, -6], [-7, 4], [6, 7]])
    frames = np.stack([body[8 - a :, 8 - b :][:side, :side] for a, b in true])
    frames += 0.02 * rng.standard_normal(frames.shape)
    how = {"gradient": True, "sigma": 1.5, "most": (side // 4, side // 4)}
    found = find_shifts(frames, frames[0], **how)
    np.testing.assert_allclose(found[:, :2], true, atol=0.3)
