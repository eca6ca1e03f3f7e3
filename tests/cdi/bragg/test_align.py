from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batteryxr.cdi.bragg.kernels.align import align, conjugate_twin, overlap, shifted
from batteryxr.cdi.bragg.kernels.answer import modes

shifts = st.tuples(*[st.floats(-9, 9) for _ in range(3)])


def disguised(obj, shift, twin, phase, slope):
    other = shifted(conjugate_twin(obj) if twin else obj, np.asarray(shift))
    ramp = sum(
        s * np.arange(n).reshape([-1 if a == k else 1 for a in range(3)])
        for k, (s, n) in enumerate(zip(slope, obj.shape, strict=True))
    )
    return (other * np.exp(1j * (phase + ramp))).astype(np.complex64)


@settings(max_examples=12, deadline=None)
@given(shifts, st.booleans(), st.floats(-3, 3))
def test_undoes_what_the_intensity_cannot_fix(crystal, shift, twin, phase):
    other = disguised(crystal, shift, twin, phase, (0, 0, 0))
    found = align(crystal, other, ramp=False)
    assert found.twin == twin
    assert found.overlap > 0.9999
    np.testing.assert_allclose(found.field, crystal, atol=0.05)


@settings(max_examples=8, deadline=None)
@given(shifts, st.tuples(*[st.floats(-0.3, 0.3) for _ in range(3)]))
def test_removes_a_ramp(crystal, shift, slope):
    other = disguised(crystal, shift, False, 0.3, slope)
    assert align(crystal, other).overlap > 0.999
    steep = np.abs(slope).max() > 0.2
    assert not steep or align(crystal, other, ramp=False).overlap < 0.999


def test_twin_is_decided_by_the_complex_overlap(crystal):
    """The modulus alone takes the wrong twin of this crystal now and then."""
    rng = np.random.default_rng(5)
    noise = 0.15 * np.abs(crystal).max()
    right, right_by_modulus = 0, 0
    for k in range(12):
        twin = bool(k % 2)
        other = disguised(crystal, rng.uniform(-4, 4, 3), twin, 1.0, (0, 0, 0))
        spread = rng.standard_normal((2, *crystal.shape)) * noise
        other = (other + spread[0] + 1j * spread[1]).astype(np.complex64)
        right += align(crystal, other).twin == twin
        peaks = [
            np.abs(
                np.fft.ifftn(
                    np.fft.fftn(np.abs(crystal)) * np.conj(np.fft.fftn(np.abs(o)))
                )
            ).max()
            for o in (other, conjugate_twin(other))
        ]
        right_by_modulus += (peaks[1] > peaks[0]) == twin
    assert right == 12
    assert right_by_modulus < 12


def test_twin_has_the_same_intensity(crystal):
    a, b = (np.abs(np.fft.fftn(o)) for o in (crystal, conjugate_twin(crystal)))
    np.testing.assert_allclose(a, b, atol=1e-4 * a.max())


def test_whole_shifts_are_exact(crystal):
    moved = shifted(crystal, (3, -2, 5))
    np.testing.assert_array_equal(moved, np.roll(crystal, (3, -2, 5), (0, 1, 2)))
    assert overlap(crystal, crystal) == pytest.approx(1, abs=1e-6)


def test_modes_are_those_of_the_singular_values(crystal):
    rng = np.random.default_rng(0)
    stack = np.stack(
        [crystal + 0.1 * rng.standard_normal(crystal.shape) for _ in range(4)]
    ).astype(np.complex64)
    found, weights = modes(stack)
    values = np.linalg.svd(stack.reshape(4, -1).astype(complex), compute_uv=False) ** 2
    np.testing.assert_allclose(weights, values / values.sum(), rtol=1e-5)
    flat = found.reshape(4, -1).astype(complex)
    gram = flat @ flat.conj().T
    off = gram - np.diag(np.diag(gram))
    assert np.abs(off).max() < 1e-5 * np.abs(gram).max()
    np.testing.assert_allclose(np.diag(gram).real, values, rtol=1e-4)


def test_one_object_many_times_is_one_mode(crystal):
    found, weights = modes(np.stack([crystal] * 3))
    np.testing.assert_allclose(weights, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[0], crystal * np.sqrt(3), atol=1e-4)
