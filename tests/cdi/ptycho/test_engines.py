from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batteryxr.cdi import DM, EPIE, LSQML, RAAR, RPIE, Schedule, ptycho
from batteryxr.cdi.ptycho.kernels import alignment as align
from batteryxr.cdi.ptycho.kernels import metrics
from batteryxr.cdi.ptycho.kernels.loop import CALM, InMemory, iterate
from batteryxr.cdi.ptycho.kernels.state import (
    Conditions,
    State,
    add_modes,
    orthogonalise,
)
from batteryxr.cdi.ptycho.kernels.steps import replace_modulus
from batteryxr.cdi.ptycho.settings import Settings

N = 32


def experiment(seed=0, photons=1e6, modes=1, jitter=0.0, whole=True):
    """Frames of a random smooth object, with all that made them."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    k = np.fft.fftfreq(N)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    inside = (abs(ky) < 0.16) & (abs(kx) < 0.16)
    wave = np.fft.ifft2(inside * np.exp(2j * np.pi * 25 * (ky**2 + kx**2)))
    main = np.fft.fftshift(wave)
    probe = [main, main * np.linspace(-1, 1, N)[:, None] * 0.7][:modes]
    probe = np.array(probe)
    probe = probe * np.sqrt(photons / np.sum(abs(probe) ** 2))
    grid = np.stack(np.meshgrid(*[np.arange(10) * 3.0] * 2, indexing="ij"), -1)
    told = grid.reshape(-1, 2) + rng.uniform(-1, 1, (100, 2)) + 3
    if whole:
        told = np.rint(told)
    size = int(told.max()) + N + 4
    smooth = ndimage.gaussian_filter(rng.standard_normal((2, size, size)), (0, 2, 2))
    smooth /= abs(smooth).max()
    obj = np.exp(-0.2 * abs(smooth[0]) + 0.8j * smooth[1])
    true = told + jitter * rng.standard_normal(told.shape)
    true = np.clip(true, 0, size - N)
    frames = np.empty((100, N, N), np.uint16)
    for j, at in enumerate(true):
        corner = np.rint(at).astype(int)
        ramp = np.exp(-2j * np.pi * (ky * (at - corner)[0] + kx * (at - corner)[1]))
        moved = np.fft.ifft2(np.fft.fft2(probe) * ramp)
        patch = obj[corner[0] : corner[0] + N, corner[1] : corner[1] + N]
        far = np.fft.fft2(moved * patch, norm="ortho")
        frames[j] = rng.poisson(np.sum(abs(far) ** 2, axis=0))
    return frames, told, true, obj, probe


def begin(told, obj, probe, modes=1):
    first = probe[:1] * np.exp(0.3j * np.linspace(-1, 1, N) ** 2)
    first = first * np.sqrt(np.sum(abs(probe) ** 2) / np.sum(abs(first) ** 2))
    first = np.ascontiguousarray(first.astype(np.complex64))
    first = add_modes(first, modes, np.random.default_rng(0))
    return State(np.ones(obj.shape, np.complex64), first, told.copy())


def distance(found, truth, told):
    """Object error in the scanned area, without what cannot be known."""
    weight = np.zeros(truth.shape)
    low, high = told.min(0).astype(int) + N // 2, told.max(0).astype(int) + N // 2
    weight[low[0] : high[0], low[1] : high[1]] = 1
    fitted, _ = align.aligned(found.astype(complex), truth, weight)
    error = np.sum(weight * abs(fitted - truth) ** 2)
    return np.sqrt(error / np.sum(weight * abs(truth) ** 2))


ONES = np.ones((N, N), np.float32)


def run(engine, state, frames, passes, *, weight=ONES, calm_from=10**6, **schedule):
    """Run passes, all with full steps unless told otherwise; return their misfits."""
    plan = Schedule(calm_from=calm_from, **schedule)
    chosen = Settings(engine=engine, iterations=passes, schedule=plan)
    iterate(chosen, state, frames, weight)
    return state.misfits


@pytest.mark.parametrize(
    ("engine", "passes", "bar"),
    [
        (EPIE(), 40, 0.07),
        (RPIE(object_step=1.0, probe_step=1.0, momentum=0.5), 40, 0.07),
        (LSQML(), 40, 0.06),
        (LSQML(poisson=True), 40, 0.06),
        (DM(), 80, 0.1),
        (RAAR(), 80, 0.1),
    ],
    ids=["EPIE", "RPIE", "LSQML", "LSQML-Poisson", "DM", "RAAR"],
)
def test_engines_find_a_known_object(engine, passes, bar):
    frames, told, _, obj, probe = experiment()
    state = begin(told, obj, probe)
    misfit = run(engine, state, InMemory(frames), passes)
    assert misfit[-1] < 0.15 * misfit[0]
    assert distance(state.obj, obj, told) < bar


def test_epie_is_the_published_update():
    frames, told, _, obj, probe = experiment()
    state = begin(told, obj, probe)
    state.obj = np.sqrt(obj).astype(np.complex64)  # light everywhere: phases are sure
    o, p = state.obj.astype(complex), state.probe[0].astype(complex)
    engine = EPIE(object_step=0.7, probe_step=0.4).begin(state.probe)
    rng = np.random.default_rng(3)
    misfit = engine.sweep(state, np.arange(100), frames, Conditions(ONES, rng))
    expected = 0.0
    for j in np.random.default_rng(3).permutation(100):
        y, x = told[j].astype(int)
        part = (slice(y, y + N), slice(x, x + N))
        patch, amplitude = o[part].copy(), np.sqrt(frames[j].astype(float))
        far = np.fft.fft2(p * patch, norm="ortho")
        expected += np.sum((abs(far) - amplitude) ** 2)
        wave = np.fft.ifft2(amplitude * far / abs(far), norm="ortho")
        change = wave - p * patch
        o[part] += 0.7 * np.conj(p) * change / np.max(abs(p) ** 2)
        p = p + 0.4 * np.conj(patch) * change / np.max(abs(patch) ** 2)
    assert misfit == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(state.obj, o, atol=2e-3)
    np.testing.assert_allclose(state.probe[0], p, atol=2e-3 * abs(p).max())


def test_steps_become_calm():
    frames, told, _, obj, probe = experiment()
    one, two = begin(told, obj, probe), begin(told, obj, probe)
    run(EPIE(object_step=0.8, probe_step=0.8), one, InMemory(frames), 5, calm_from=3)
    for step, until in ((0.8, 3), (CALM * 0.8, 5)):
        run(EPIE(object_step=step, probe_step=step), two, InMemory(frames), until)
    np.testing.assert_array_equal(one.obj, two.obj)
    np.testing.assert_array_equal(one.probe, two.probe)


@pytest.mark.parametrize(
    "engine",
    [
        EPIE(probe_step=1.0),
        RPIE(object_step=1.0, probe_step=1.0, momentum=0.5),
        LSQML(),
        LSQML(poisson=True),
        DM(),
    ],
    ids=["EPIE", "RPIE", "LSQML", "LSQML-Poisson", "DM"],
)
@pytest.mark.parametrize("whole", [True, False])
def test_torch_runs_the_same_steps(engine, whole):
    torch = pytest.importorskip("torch")
    frames, told, _, obj, probe = experiment(modes=2, whole=whole)
    early = {"probe_from": 0, "positions_from": 1}
    one, two = begin(told, obj, probe, 2), begin(told, obj, probe, 2)
    two.obj, two.probe = torch.from_numpy(two.obj), torch.from_numpy(two.probe)
    a = run(engine, one, InMemory(frames), 2, **early)
    signed = torch.from_numpy(frames.astype(np.int32))
    b = run(engine, two, InMemory(signed), 2, weight=torch.from_numpy(ONES), **early)
    np.testing.assert_allclose(b, a, rtol=2e-3)
    lit = slice(N // 2, -N // 2)
    np.testing.assert_allclose(two.obj.numpy()[lit, lit], one.obj[lit, lit], atol=0.02)


def test_dead_pixels_cannot_be_seen():
    frames, told, _, obj, probe = experiment()
    weight = ONES.copy()
    weight[2, 3] = weight[30, :4] = 0
    other = frames.copy()
    other[:, weight == 0] = 60000
    results = []
    for data in (frames, other):
        for engine in (EPIE(probe_step=1.0), LSQML(), DM()):
            state = begin(told, obj, probe)
            misfit = run(engine, state, InMemory(data), 3, weight=weight)
            results.append((misfit, state.obj))
    for a, b in zip(results[:3], results[3:], strict=True):
        assert a[0] == b[0]
        np.testing.assert_array_equal(a[1], b[1])


def test_parts_of_pixels_count():
    frames, told, _, obj, probe = experiment(whole=False)
    errors = []
    for positions in (told, np.rint(told)):
        state = begin(positions, obj, probe)
        run(LSQML(), state, InMemory(frames), 40)
        errors.append(distance(state.obj, obj, told))
    assert errors[0] < 0.7 * errors[1]


def test_second_mode_explains_incoherent_light():
    frames, told, _, obj, probe = experiment(modes=2)
    misfits = []
    for modes in (1, 2):
        state = begin(told, obj, probe, modes)
        misfits.append(run(LSQML(), state, InMemory(frames), 40)[-1])
    assert misfits[1] < 0.5 * misfits[0]
    _, shares = orthogonalise(state.probe)
    _, true = orthogonalise(probe)
    np.testing.assert_allclose(shares, true, atol=0.05)


def test_positions_are_corrected():
    frames, told, true, obj, probe = experiment(jitter=1.0, whole=False)
    state = begin(told, obj, probe)
    run(LSQML(), state, InMemory(frames), 80, positions_from=5)

    def rms(positions):
        left = positions - true
        left = left - left.mean(0)
        return np.sqrt(np.mean(np.sum(left**2, axis=1)))

    assert rms(told) > 1.2
    assert rms(state.positions) < 0.35


def test_positions_far_off_still_gain():
    frames, told, _, obj, probe = experiment(jitter=3.0, whole=False)
    errors = []
    for positions_from in (None, 5):
        state = begin(told, obj, probe)
        run(LSQML(), state, InMemory(frames), 60, positions_from=positions_from)
        errors.append(distance(state.obj, obj, told))
    assert errors[1] < 0.4 * errors[0]


@hypothesis_settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), modes=st.integers(1, 4))
def test_orthogonal_modes_keep_every_frame(seed, modes):
    rng = np.random.default_rng(seed)
    probe = rng.standard_normal((modes, 8, 8)) + 1j * rng.standard_normal((modes, 8, 8))
    found, shares = orthogonalise(probe)
    np.testing.assert_allclose(
        np.sum(abs(np.fft.fft2(found)) ** 2, 0), np.sum(abs(np.fft.fft2(probe)) ** 2, 0)
    )
    flat = found.reshape(modes, -1)
    gram = flat.conj() @ flat.T
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-9)
    assert shares.sum() == pytest.approx(1)
    assert np.all(np.diff(shares) <= 1e-12)


@hypothesis_settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_measured_modulus_is_kept(seed):
    rng = np.random.default_rng(seed)
    waves = (rng.standard_normal((2, 8, 8)) + 1j).astype(np.complex64)
    frame = rng.poisson(5, (8, 8)).astype(np.uint16)
    before = waves.copy()
    replace_modulus(waves, frame, np.ones((8, 8), np.float32))
    np.testing.assert_allclose(
        np.sum(abs(waves * 64) ** 2, 0) / 64, frame, atol=1e-3, rtol=1e-3
    )
    ratio = waves[0] / before[0]
    np.testing.assert_allclose(ratio.imag, 0, atol=1e-6)


@pytest.mark.parametrize("mean", [0.1, 1.0, 5.0, 200.0])
def test_likelihood_is_at_rest_at_the_truth(mean):
    n = 512
    frame = np.random.default_rng(0).poisson(mean, (n, n)).astype(np.uint16)
    steps = []
    for poisson in (True, False):
        waves = np.full((1, n, n), n * np.sqrt(mean), np.complex64)
        replace_modulus(waves, frame, np.ones((n, n), np.float32), poisson=poisson)
        steps.append(float(np.mean(waves.real * n - np.sqrt(mean))))
    # Noise of the mean is 0.5 / n; the root of few counts is short by far more.
    assert abs(steps[0]) < 4 * 0.5 / n + 0.002
    assert steps[1] < -0.9 / (8 * np.sqrt(mean + 1))


def test_blocks_do_not_depend_on_where_frames_lie():
    frames, told, _, obj, probe = experiment()
    one, two = begin(told, obj, probe), begin(told, obj, probe)
    run(LSQML(), one, InMemory(frames, 30), 3)
    run(LSQML(), two, InMemory(frames.astype(np.float32), 30), 3)
    np.testing.assert_array_equal(one.obj, two.obj)


def test_ring_correlation():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((64, 64))
    _, same, count = metrics.fourier_ring_correlation(image, image)
    np.testing.assert_allclose(same, 1)
    _, noise, _ = metrics.fourier_ring_correlation(
        image, rng.standard_normal((64, 64)), window=False
    )
    assert np.all(abs(noise[5:]) < 4 / np.sqrt(count[5:]))
    # van Heel & Schatz: thresholds at 100 and at endlessly many pixels.
    hundred, endless = np.array([100.0]), np.array([1e16])
    assert metrics.threshold(hundred, 1.0)[0] == pytest.approx(0.4518, abs=1e-3)
    assert metrics.threshold(hundred, 0.5)[0] == pytest.approx(0.3067, abs=1e-3)
    assert metrics.threshold(endless, 1.0)[0] == pytest.approx(1 / 3, abs=1e-6)


def test_half_period_is_where_correlation_is_lost():
    f = np.arange(8) / 20
    fall = np.array([1, 0.9, 0.3, 0.9, 0.7, 0.3, 0.4, 0.1])  # one ring alone may fail
    half = metrics.half_period(f, fall, np.full(8, 0.5))
    assert half == pytest.approx(0.5 / 0.225)
    assert metrics.half_period(f, fall, np.full(8, 0.0)) == 1.0
    assert np.isnan(metrics.half_period(f, -fall, np.full(8, 0.5)))


@pytest.mark.parametrize("shift", [(0.3, -0.2), (2.4, 1.1)])
def test_alignment_takes_out_what_cannot_be_known(shift):
    _, _, _, obj, _ = experiment()
    size = obj.shape[0]
    y, x = np.mgrid[:size, :size]
    fade = np.outer(np.hanning(size), np.hanning(size))
    truth = 1 + (obj - 1) * fade
    other = align.shifted(truth, np.array(shift))
    other = other * (1.3 * np.exp(0.4j + 0.03j * y - 0.02j * x))
    weight = np.zeros(truth.shape)
    weight[8:-8, 8:-8] = 1
    found, moved = align.aligned(other, truth, weight, rounds=6)
    np.testing.assert_allclose(moved, [-s for s in shift], atol=0.02)
    np.testing.assert_allclose(found[10:-10, 10:-10], truth[10:-10, 10:-10], atol=0.02)


def test_unwrapping_leaves_no_jumps():
    y, x = np.mgrid[-40:40, -40:40]
    true = -9.0 * np.exp(-(y**2 + x**2) / 300.0)
    vacuum = np.hypot(y, x) > 36
    wrapped = np.angle(np.exp(1j * true))
    np.testing.assert_allclose(align.unwrapped(wrapped, vacuum), true, atol=1e-6)


@pytest.mark.parametrize("way", ["drift", "stretch"])
def test_what_all_positions_have_in_common_is_found(fuzz, scan, way):
    """A drift of 5 pixels during the scan, or a scale that is 8 % off."""
    places = np.stack([scan.position_y, scan.position_x], -1) / fuzz.PIXEL
    true = places - places.mean(0)
    if way == "drift":
        line = np.linspace(-2.5, 2.5, len(true))[:, None]
        told = true + line * np.array([[0.6, 0.8]])
    else:
        told = 1.08 * true
    off = {
        f"position_{a}": scan[f"position_{a}"].copy(data=told[:, k] * fuzz.PIXEL)
        for k, a in enumerate("yx")
    }
    found = ptycho(
        scan.assign_coords(off),
        iterations=30,
        schedule=Schedule(positions_from=3),
        progress=False,
    )
    shifts = [found[f"position_shift_{a}"] for a in "yx"]
    left = told + np.stack(shifts, -1) / fuzz.PIXEL - true
    left -= left.mean(0)
    before = told - told.mean(0) - true

    def rms(error):
        return np.sqrt((error**2).sum(1).mean())

    assert rms(left) < 0.25 * rms(before)
