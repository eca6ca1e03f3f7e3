"""A residual above that of counting noise is told: something is not in the model."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

from batteryxr.cdi import DM, EPIE, LSQML, Schedule, ptycho, ptycho_energies
from batteryxr.cdi.ptycho.kernels.metrics import noise_left
from batteryxr.core.errors import ArgumentError, DataQualityWarning

NM = {"units": "nm"}
PIXEL = 12398.41984 / 5500.0 / 10 * 500.0 * 1e3 / (24 * 75.0)


@pytest.mark.parametrize("mean", [0.01, 0.5, 3.0, 40.0, 900.0])
def test_noise_leaves_what_drawn_counts_leave(mean):
    drawn = np.random.default_rng(0).poisson(mean, 400_000)
    left = np.mean((np.sqrt(drawn) - np.sqrt(mean)) ** 2)
    assert noise_left(np.array([mean])) == pytest.approx(left, rel=0.02)


def test_a_scan_as_it_should_be_is_not_told(scan):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ptycho(scan, iterations=40, progress=False)
    assert float(found["amp_residual"][-1]) < 1.1 * float(found["noise_residual"])
    assert found.attrs["position_scale"] == "as told"
    assert abs(found.attrs["position_stretch"]) < 0.02


def turned(scan):
    return scan.assign_coords(position_y=("position", -scan["position_y"].values, NM))


def brighter_by_turns(scan):
    light = np.where(np.arange(scan.sizes["position"]) % 2, 0.5, 1.5)
    counts = np.random.default_rng(1).poisson(
        scan["frames"].values * light[:, None, None]
    )
    return scan.assign(frames=(scan["frames"].dims, counts.astype("u2")))


def hazy(scan):
    more = np.random.default_rng(1).poisson(6.0, scan["frames"].shape)
    counts = (scan["frames"].values + more).astype("u2")
    return scan.assign(frames=(scan["frames"].dims, counts))


def averaged(scan, fuzz):
    _, corners, obj, probe = fuzz.known()
    far = [np.fft.fft2(probe * obj[y : y + 24, x : x + 24]) / 24 for y, x in corners]
    mean = np.fft.fftshift(np.abs(far) ** 2, axes=(1, 2))
    counts = np.random.default_rng(3).poisson(8 * mean) / 8
    return scan.assign(frames=(scan["frames"].dims, counts.astype("f4")))


def per_second(scan, fuzz):
    return scan.assign(frames=scan["frames"] / np.float32(10))


@pytest.mark.parametrize("spoil", [averaged, per_second])
def test_less_noise_than_counts_have_is_told(scan, fuzz, spoil):
    with pytest.warns(DataQualityWarning, match="these frames are no counts"):
        ptycho(spoil(scan, fuzz), iterations=25, progress=False)


@pytest.mark.parametrize("spoil", [turned, brighter_by_turns, hazy])
def test_what_the_model_lacks_is_told(scan, spoil):
    with pytest.warns(DataQualityWarning, match="counting noise"):
        ptycho(spoil(scan), engine=LSQML(), iterations=40, progress=False)


def of_noise(scan):
    rng, probe = np.random.default_rng(2), scan["probe"].values
    values = rng.standard_normal((2, *probe.shape))
    values *= np.sqrt(np.sum(abs(probe) ** 2) / np.sum(values**2))
    return scan.assign(probe=(scan["probe"].dims, values[0] + 1j * values[1]))


def beyond_focus(scan):
    return scan.assign(probe=(scan["probe"].dims, np.conj(scan["probe"].values)))


def in_focus(scan):
    far = abs(np.fft.fft2(np.fft.ifftshift(scan["probe"].values, axes=(-2, -1))))
    flat = np.fft.fftshift(np.fft.ifft2(far), axes=(-2, -1))
    return scan.assign(probe=(scan["probe"].dims, flat))


@pytest.mark.parametrize("engine", [LSQML(), EPIE(), DM()])
@pytest.mark.parametrize(
    ("spoil", "passes"),
    [(of_noise, 1), (of_noise, 2), (beyond_focus, 1), (in_focus, 2)],
)
def test_a_wrong_probe_is_told_after_few_passes(scan, engine, spoil, passes):
    said = rf"wrong probe or geometry: .* times the noise after {passes} pass"
    with pytest.warns(DataQualityWarning, match=said):
        ptycho(spoil(scan), engine=engine, iterations=passes, progress=False)


@pytest.mark.parametrize("engine", [LSQML(), EPIE(), DM()])
@pytest.mark.parametrize("passes", [1, 2, 5, 12])
@pytest.mark.parametrize("spoil", [lambda scan: scan, beyond_focus, in_focus])
def test_few_passes_are_silent_only_where_the_object_is_right(
    scan, fuzz, engine, passes, spoil
):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = ptycho(spoil(scan), engine=engine, iterations=passes, progress=False)
    assert said or fuzz.correlation(found) > 0.95


def test_enough_passes_of_a_sound_scan_are_not_told(scan):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ptycho(scan, iterations=19, progress=False)
        ptycho(scan, start=found, iterations=1, progress=False)


def test_a_distance_that_is_off_is_told_by_the_stretch_of_positions(scan):
    longer = scan["distance"].values * 1.08
    wrong = scan.assign_coords(distance=((), longer, scan["distance"].attrs))
    with pytest.warns(DataQualityWarning, match=r"stretched by \+.*distance"):
        ptycho(
            wrong, iterations=60, schedule=Schedule(positions_from=5), progress=False
        )


def test_positions_that_are_off_at_random_are_no_stretch(scan):
    rng = np.random.default_rng(0)
    off = {
        f"position_{a}": (
            "position", scan[f"position_{a}"].values + rng.normal(0, PIXEL, 36), NM
        )
        for a in "yx"
    }  # fmt: skip
    schedule = Schedule(positions_from=5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ptycho(
            scan.assign_coords(off), iterations=60, schedule=schedule, progress=False
        )
    assert not [w for w in said if "stretched" in str(w.message)]


@pytest.mark.parametrize("times", [0.9, 1.1])
def test_a_distance_that_is_off_is_told_with_its_scale(scan, times):
    told = scan["distance"].values * times
    wrong = scan.assign_coords(distance=((), told, scan["distance"].attrs))
    with pytest.warns(DataQualityWarning, match="distance") as said:
        ptycho(wrong, iterations=40, progress=False)
    percent = [re.search(r"stretched by ([+-][\d.]+) ±", str(w.message)) for w in said]
    assert [float(p[1]) for p in percent if p] == [
        pytest.approx(100 * times - 100, abs=2)
    ]


def test_a_scan_of_nothing_says_that_it_does_not_tell_its_scale(scan, fuzz):
    """An empty beam fits at any stretch: silence would look like a sound scale."""
    _, _, _, probe = fuzz.known()
    mean = np.abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho"))) ** 2
    drawn = np.random.default_rng(5).poisson(np.broadcast_to(mean, (36, *mean.shape)))
    empty = scan.assign(frames=(scan["frames"].dims, drawn.astype("u2")))
    found = ptycho(empty, iterations=20, progress=False)
    assert "does not tell" in found.attrs["position_scale"]
    assert "position_stretch" not in found.attrs


def far_off(scan, pixels):
    """Return a scan whose told positions are wrong, and the errors in pixels."""
    rng = np.random.default_rng(3)
    off = rng.uniform(-pixels, pixels, (36, 2))
    told = {
        f"position_{a}": ("position", scan[f"position_{a}"].values + PIXEL * d, NM)
        for a, d in zip("yx", off.T, strict=True)
    }
    return scan.assign_coords(told), off


def left_of(found, off):
    moves = [found[f"position_shift_{a}"].values / PIXEL for a in "yx"]
    left = np.stack(moves, -1) + off
    return float(np.sqrt(np.mean((left - left.mean(0)) ** 2)))


def test_positions_far_off_are_searched_for(scan, fuzz):
    wrong, off = far_off(scan, 4.0)
    search = Schedule(positions_from=2, positions_reach=4.0 * PIXEL)
    found = ptycho(wrong, iterations=60, schedule=search, progress=False)
    assert left_of(found, off) < off.std() / 3
    assert fuzz.correlation(found) > 0.9


def test_positions_moved_far_by_gradients_alone_are_told(scan):
    wrong, off = far_off(scan, 5.0)
    with pytest.warns(DataQualityWarning, match="positions_reach"):
        found = ptycho(
            wrong, iterations=40, schedule=Schedule(positions_from=2), progress=False
        )
    assert left_of(found, off) > off.std() / 3


def test_a_search_is_for_one_energy_in_the_far_field(scan, tmp_path):
    search = Schedule(positions_reach=50.0)
    both = scan.assign(frames=scan["frames"].expand_dims("energy"))
    both = both.assign_coords(energy=("energy", [5500.0], {"units": "eV"}))
    with pytest.raises(ArgumentError, match="positions_reach"):
        ptycho_energies(both, store=tmp_path / "s.zarr", schedule=search)
    near = scan.assign_coords(defocus=((), 200.0, {"units": "um"}))
    with pytest.raises(ArgumentError, match="positions_reach"):
        ptycho(near, schedule=search)
