"""How near to the truth ptychography comes, and what modes and positions gain.

    python benchmarks/truth/ptychography_accuracy.py [--simulated DIR] [--star]
        [--seeds 5] [--only NAME]

``--simulated``: a folder with ``sim64.npz`` and ``sim128.npz`` (400 frames ``diff``,
whole-pixel positions ``pos``, truth ``obj`` and ``probe``); the same experiment is
simulated where it is not given. ``--star``: the measured Siemens star of APS
Velociprobe, from `batteryxr.sample`. Object error is the root of the mean squared
difference over the truth's, in the scanned area, after the ramp, factor and shift that
no data tell; E_F is Σ(|F| - √I)² / ΣI.
"""

from __future__ import annotations

import argparse
import bz2
import io
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import batteryxr
from batteryxr.cdi import EPIE, LSQML, Schedule
from batteryxr.cdi.ptycho.kernels import alignment as align
from batteryxr.cdi.ptycho.kernels import metrics
from batteryxr.cdi.ptycho.kernels.loop import InMemory, iterate
from batteryxr.cdi.ptycho.kernels.state import State, add_modes
from batteryxr.cdi.ptycho.settings import Settings

#: First pass of smaller steps on the measured star, of 50.
CALM_FROM = 40
#: Later than any pass.
NEVER = 10**6


@dataclass(frozen=True)
class Truth:
    """Frames with their origin in the corner, and what made them."""

    frames: np.ndarray
    corners: np.ndarray
    obj: np.ndarray
    probe: np.ndarray
    first: np.ndarray
    true: np.ndarray | None = None


def pupil(n: int, defocus: float, cubic: float) -> np.ndarray:
    """Return the probe of mirrors: a square pupil, out of focus, 1e6 photons."""
    k = np.fft.fftfreq(n)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    inside = np.maximum(abs(ky), abs(kx)) < 0.1
    phase = defocus * (ky**2 + kx**2) + cubic * (ky**3 + kx**3)
    wave = np.fft.fftshift(np.fft.ifft2(inside * np.exp(2j * np.pi * phase)))
    return wave * np.sqrt(1e6 / np.sum(abs(wave) ** 2))


def simulated(n: int, folder: Path | None, jitter: float = 0.0) -> Truth:
    """Return the experiment; with `jitter` (pixels) frames are not where told."""
    from scipy import ndimage

    if folder is not None:
        with np.load(folder / f"sim{n}.npz") as file:
            frames, told = file["diff"], file["pos"].astype(float)
            obj, probe = file["obj"], file["probe"]
    else:
        rng = np.random.default_rng(0)
        grid = np.stack(np.meshgrid(*[np.arange(20) * 5] * 2, indexing="ij"), -1)
        told = (grid.reshape(-1, 2) + rng.integers(0, 4, (400, 2))).astype(float)
        size = int(told.max()) + n + 2
        smooth = ndimage.gaussian_filter(
            rng.standard_normal((2, size, size)), (0, 2, 2)
        )
        smooth /= abs(smooth).max()
        obj = np.exp(-0.15 * abs(smooth[0]) + 0.8j * smooth[1])
        probe, frames = pupil(n, 60.0, 400.0), None
    first = probe_like(probe)
    if frames is not None and not jitter:
        corner = np.fft.ifftshift(frames, axes=(1, 2)).astype(np.uint16)
        return Truth(corner, told, obj, probe, first)
    return taken(told, obj, probe, first, jitter)


def probe_like(probe: np.ndarray) -> np.ndarray:
    """Return the first guess: the same pupil, out of focus by a sixth more."""
    n = probe.shape[0]
    first = pupil(n, 70.0, 0.0)
    return first * np.sqrt(np.sum(abs(probe) ** 2) / np.sum(abs(first) ** 2))


def taken(
    told: np.ndarray, obj: np.ndarray, probe: np.ndarray, first: Any, jitter: float
) -> Truth:
    """Return frames taken `jitter` pixels (rms, both axes together) beside `told`."""
    rng = np.random.default_rng(1)
    n = probe.shape[0]
    margin = int(np.ceil(4 * jitter))
    obj = np.pad(obj, margin, mode="reflect")
    told = told + margin
    true = told + rng.standard_normal(told.shape) * jitter / np.sqrt(2)
    true = np.clip(true, 0, np.array(obj.shape) - n - 1)
    k = np.fft.fftfreq(n)
    frames = np.empty((len(true), n, n), np.uint16)
    for j, at in enumerate(true):
        y, x = np.rint(at).astype(int)
        dy, dx = at - (y, x)
        ramp = np.exp(-2j * np.pi * (dy * k[:, None] + dx * k[None, :]))
        moved = np.fft.ifft2(np.fft.fft2(probe) * ramp)
        far = np.fft.fft2(moved * obj[y : y + n, x : x + n], norm="ortho")
        frames[j] = rng.poisson(abs(far) ** 2)
    return Truth(frames, told, obj, probe, first, true)


def begin(e: Truth, modes: int = 1) -> State:
    first = np.ascontiguousarray(e.first[None].astype(np.complex64))
    first = add_modes(first, modes, np.random.default_rng(0))
    return State(np.ones(e.obj.shape, np.complex64), first, e.corners.copy())


def object_error(found: np.ndarray, e: Truth) -> float:
    n = e.probe.shape[0]
    weight = np.zeros(e.obj.shape)
    low, high = e.corners.min(0).astype(int), e.corners.max(0).astype(int)
    weight[low[0] + n // 2 : high[0] + n // 2, low[1] + n // 2 : high[1] + n // 2] = 1
    fitted, _ = align.aligned(found.astype(complex), e.obj, weight)
    error = np.sum(weight * abs(fitted - e.obj) ** 2)
    return float(np.sqrt(error / np.sum(weight * abs(e.obj) ** 2)))


def reconstructed(
    e: Truth, engine: Any, passes: int, seed: int = 0, modes: int = 1, **schedule: Any
) -> tuple[State, float, float]:
    """Return the state, E_F of the last pass, and CPU seconds per pass."""
    state = begin(e, modes)
    n = e.probe.shape[0]
    settings = Settings(
        engine=engine,
        iterations=passes,
        schedule=Schedule(**{"calm_from": NEVER} | schedule),
        seed=(seed,),
    )
    begun = time.process_time()
    iterate(settings, state, InMemory(e.frames), np.ones((n, n), np.float32))
    each = (time.process_time() - begun) / passes
    return state, state.misfits[-1] / float(e.frames.sum(dtype=float)), each


def accuracy(folder: Path | None, seeds: int) -> None:
    print("\nsize  engine  passes  seed  object error   E_F      CPU-s/pass")
    for n, bar, fit in ((64, 0.033, 0.0022), (128, 0.043, 0.0049)):
        e = simulated(n, folder)
        for name, engine, passes in (("EPIE", EPIE(), 30), ("LSQML", LSQML(), 20)):
            for seed in range(seeds):
                state, e_f, each = reconstructed(e, engine, passes, seed)
                error = object_error(state.obj, e)
                print(f"{n:4d}  {name:6s} {passes:6d} {seed:6d}  {error:10.4f}", end="")
                print(f"  {e_f:9.5f}  {each:8.3f}", flush=True)
        print(f"      needed of ePIE after 30: {bar}, {fit}")


def positions(folder: Path | None) -> None:
    print("\njitter px rms  positions off before, after  object error without, with")
    for jitter in (2.0, 10.0):
        e = simulated(128, folder, jitter)
        plain, _, _ = reconstructed(e, LSQML(), 100)
        state, _, _ = reconstructed(e, LSQML(), 100, positions_from=5)

        errors = [object_error(s.obj, e) for s in (plain, state)]
        places = [off(p, e) for p in (e.corners, state.positions)]
        print(f"{jitter:13.0f}  {places[0]:12.2f} {places[1]:13.2f}", end="")
        print(f"  {errors[0]:18.4f} {errors[1]:8.4f}", flush=True)


def off(places: np.ndarray, e: Truth) -> float:
    """Return how far places are from the true ones, rms, but for a common shift."""
    assert e.true is not None
    left = places - e.true
    left = left - left.mean(0)
    return float(np.sqrt(np.mean(np.sum(left**2, axis=1))))


def star() -> Truth:
    path = batteryxr.sample("ptycho-siemens-star") / "siemens-star-small.npz.bz2"
    with np.load(io.BytesIO(bz2.decompress(path.read_bytes()))) as file:
        frames = file["data"][0].astype(np.uint16)
        corners = file["scan"][0].astype(float)
        first = file["probe"].reshape(-1, 128, 128)[0]
    corners = np.rint(corners - corners.min(0)) + 4
    shape = tuple(int(c) for c in corners.max(0) + 128 + 4)
    power = frames.sum(dtype=float) / len(frames)
    first = first * np.sqrt(power / np.sum(abs(first) ** 2))
    return Truth(frames, corners, np.ones(shape, np.complex64), first, first)


def measured() -> None:
    e = star()
    print("\nSiemens star   modes  passes   E_F      CPU-s/pass")
    found = {}
    for name, engine in (("EPIE", EPIE()), ("LSQML", LSQML())):
        for modes in (1, 3):
            _, e_f, each = reconstructed(e, engine, 50, modes=modes)
            found[name, modes] = e_f
            print(f"{name:12s} {modes:7d} {50:7d}  {e_f:8.5f}  {each:8.3f}", flush=True)
    for name in ("EPIE", "LSQML"):
        gain = 1 - found[name, 3] / found[name, 1]
        print(f"{name}: three modes fit {100 * gain:.0f} % better")
    print(f"{'':13s} smaller steps  E_F (0.0140)  half period of half scans (2.2 px)")
    for name, engine in (("EPIE", EPIE()), ("LSQML", LSQML())):
        for calm_from in (NEVER, CALM_FROM):
            e_f, halves = whole_and_halves(e, engine, calm_from)
            pixels = resolution(halves, e)
            at = "never" if calm_from == NEVER else f"from {calm_from}"
            print(f"{name:13s} {at:>13s}  {e_f:12.5f}  {pixels:.2f}", flush=True)


def whole_and_halves(
    e: Truth, engine: Any, calm_from: int
) -> tuple[float, list[np.ndarray]]:
    """Return E_F of the whole scan, and the objects of its two halves."""
    _, e_f, _ = reconstructed(e, engine, 50, calm_from=calm_from)
    halves = []
    for part in (0, 1):
        rows = slice(part, None, 2)
        half = replace(e, frames=e.frames[rows], corners=e.corners[rows])
        state, _, _ = reconstructed(half, engine, 50, calm_from=calm_from)
        halves.append(state.obj)
    return e_f, halves


def resolution(halves: list[np.ndarray], e: Truth) -> float:
    """Return the half period in pixels of the phases of two registered objects."""
    low = e.corners.min(0).astype(int) + 64
    high = e.corners.max(0).astype(int) + 64
    weight = np.zeros(e.obj.shape)
    weight[low[0] : high[0], low[1] : high[1]] = 1
    second, _ = align.aligned(halves[1].astype(complex), halves[0], weight, rounds=6)
    slopes = align.phase_ramp(halves[0], weight)
    y, x = np.ogrid[: e.obj.shape[0], : e.obj.shape[1]]
    flat = np.exp(-1j * (slopes[0] * y + slopes[1] * x))
    flat = flat * np.exp(-1j * np.angle(np.sum(halves[0] * flat * weight)))
    images = [np.angle(image * flat) for image in (halves[0], second)]
    middle, side = (low + high) // 2, 130  # where the scan is dense
    cut = tuple(slice(m - side, m + side) for m in middle)
    f, curve, count = metrics.fourier_ring_correlation(images[0][cut], images[1][cut])
    return metrics.half_period(f, curve, metrics.threshold(count, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", type=Path)
    parser.add_argument("--star", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=("accuracy", "positions", "star"))
    asked = parser.parse_args()
    if asked.only in (None, "accuracy"):
        accuracy(asked.simulated, asked.seeds)
    if asked.only in (None, "positions"):
        positions(asked.simulated)
    if asked.only in (None, "star") and asked.star:
        measured()
    elif not asked.star:
        print("measured star skipped: no --star")


if __name__ == "__main__":
    main()
