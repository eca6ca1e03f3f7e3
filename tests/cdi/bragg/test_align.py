from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from batteryxr import cdi
from batteryxr.cdi.bragg.kernels.align import (
    align,
    conjugate_twin,
    overlap,
    shifted,
    twins_of_series,
)
from batteryxr.cdi.bragg.kernels.answer import modes
from batteryxr.core.errors import DataQualityWarning

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


def strained(number: int, seed: int) -> tuple[xr.DataArray, np.ndarray]:
    """Return states of a brick whose strain grows from none, some as their twins."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:20, :20, :20] - 10
    brick = (abs(z) < 5) & (abs(y) < 4) & (abs(x) < 6)
    field = np.sin(0.3 * z + 0.2 * x + 0.4) + 0.5 * np.cos(0.35 * y - 0.2 * z + 0.3)
    twin = rng.random(number) < 0.5
    states = []
    for k in range(number):
        noise = rng.standard_normal((2, *z.shape))
        one = brick * (np.exp(1.5j * k / 6 * field) + 0.03 * (noise[0] + 1j * noise[1]))
        one = conjugate_twin(one) if twin[k] else one
        states.append(np.roll(one, rng.integers(-2, 3, 3), (0, 1, 2)))
    dims = ("state", "along_rocking", "along_y", "along_x")
    states = xr.DataArray(np.array(states, np.complex64), dims=dims)
    return states.assign_coords(fourier_sign=-1), twin


@pytest.mark.parametrize("seed", [0, 10])
@pytest.mark.parametrize("lazy", [False, True])
def test_no_state_ends_as_the_twin_of_another(seed, lazy):
    """The first state is its own twin, and does not tell those of the others apart."""
    states, twin = strained(7, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        given = states.chunk(state=1) if lazy else states
        taken = cdi.align_states(given)["twin"].values
    assert len(set((taken ^ twin)[1:].tolist())) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=9), st.integers(0, 99))
def test_twins_are_decided_along_the_strongest_links(twin, seed):
    """A link that misleads is weaker than those that lead round it."""
    rng, twin = np.random.default_rng(seed), np.array(twin)
    n = len(twin)
    reference = int(rng.integers(n))
    sign = np.where(twin ^ twin[reference], -1.0, 1.0)
    gains = np.zeros((n, 2))
    gains[:, 0] = sign * rng.uniform(0.5, 1, n)
    gains[1:, 1] = np.where(twin[1:] ^ twin[:-1], -1, 1) * rng.uniform(0.5, 1, n - 1)
    if (odd := int(rng.integers(n))) != reference:  # its neighbour still tells
        gains[odd, 0] *= -0.1
    found = twins_of_series(gains, reference)
    np.testing.assert_array_equal(found, twin ^ twin[reference])


CHANGED = {
    "conjugated": (np.conj, "conjugate"),
    "twin": (conjugate_twin, "twin"),
    "flipped": (lambda one: np.conj(conjugate_twin(one)), "mirror image|conjugate"),
    "one axis": (lambda one: one[:, ::-1], "mirrored along"),
}


@pytest.mark.parametrize("name", [n for n in CHANGED if n != "twin"])
def test_a_state_of_another_hand_is_told_as_it_is_aligned(crystal, name):
    """Twins are undone; a conjugate or a mirror image cannot be, and is told."""
    states = changed(crystal, *CHANGED[name][:1])
    with pytest.warns(DataQualityWarning, match="agrees better|conjugate"):
        cdi.align_states(states)
    if name == "one axis":
        return
    with pytest.warns(DataQualityWarning, match="agrees better conjugated"):
        cdi.align(states[2], reference=states[0])


@pytest.mark.parametrize("name", [n for n in CHANGED if n != "one axis"])
@pytest.mark.parametrize("method", [cdi.phase_differences, cdi.common_support])
def test_a_state_that_is_changed_after_it_was_aligned_is_told(crystal, name, method):
    change, words = CHANGED[name]
    aligned = cdi.align_states(changed(crystal, lambda one: one))
    aligned["object"][2] = change(aligned["object"][2].values)
    with pytest.warns(DataQualityWarning, match=words):
        method(aligned)


def changed(crystal: np.ndarray, change) -> xr.DataArray:
    """Return three states of a crystal, the last of which was changed."""
    wave = np.exp(0.05j * np.arange(crystal.shape[0]))[:, None, None]
    states = np.array([crystal, crystal * wave, change(crystal * wave**2)])
    dims = ("state", "along_rocking", "along_y", "along_x")
    states = xr.DataArray(states.astype(np.complex64), dims=dims)
    return states.assign_coords(fourier_sign=-1)
