"""Ptychography beside pty-chi and beside its own Fourier transforms.

400 frames of 128² with 1e6 photons each, a first probe out of focus, one thread. CPU
seconds per pass, best of several; the two run in turns. pty-chi (Apache-2.0) is
skipped with a line where it is not installed.

    OMP_NUM_THREADS=1 python benchmarks/ptychography.py
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi import DM, EPIE, LSQML, RAAR, RPIE
from batteryxr.cdi.fourier import Fourier, empty
from batteryxr.cdi.ptycho.kernels.loop import InMemory, iterate
from batteryxr.cdi.ptycho.kernels.state import State
from batteryxr.cdi.ptycho.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

N, SIDE, PASSES = 128, 20, 5
ENGINES = {
    "EPIE": EPIE(),
    "RPIE, momentum": RPIE(momentum=0.5),
    "LSQML": LSQML(),
    "DM": DM(),
    "RAAR": RAAR(),
}


def pupil(defocus: float) -> np.ndarray:
    k = np.fft.fftfreq(N)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    inside = np.maximum(abs(ky), abs(kx)) < 0.1
    wave = np.fft.ifft2(inside * np.exp(2j * np.pi * defocus * (ky**2 + kx**2)))
    wave = np.fft.fftshift(wave)
    return wave * np.sqrt(1e6 / np.sum(abs(wave) ** 2))


def experiment() -> tuple[np.ndarray, np.ndarray, tuple[int, int], np.ndarray]:
    from scipy import ndimage

    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(SIDE) * 5] * 2, indexing="ij"), -1)
    corners = grid.reshape(-1, 2) + rng.integers(0, 4, (SIDE**2, 2))
    size = int(corners.max()) + N + 2
    smooth = ndimage.gaussian_filter(rng.standard_normal((2, size, size)), (0, 2, 2))
    smooth /= abs(smooth).max()
    obj = np.exp(-0.15 * abs(smooth[0]) + 0.8j * smooth[1])
    probe = pupil(60.0)
    frames = np.empty((len(corners), N, N), np.uint16)
    for j, (y, x) in enumerate(corners):
        far = np.fft.fft2(probe * obj[y : y + N, x : x + N], norm="ortho")
        frames[j] = rng.poisson(abs(far) ** 2)
    return frames, corners.astype(float), (size, size), pupil(70.0)


def ours(engine: Any, data: Any) -> Callable[[], None]:
    frames, corners, shape, probe = data
    first = np.ascontiguousarray(probe[None].astype(np.complex64))
    state = State(np.ones(shape, np.complex64), first, corners)
    source, weight = InMemory(frames), np.ones((N, N), np.float32)
    settings = Settings(engine=engine)

    def one_pass() -> None:
        iterate(settings, state, source, weight, until=state.iteration + 1)

    return one_pass


def ptychi(engine: str, batch: int, data: Any) -> Callable[[], None]:
    import ptychi.api as api
    import torch
    from ptychi.api.task import PtychographyTask

    torch.set_num_threads(1)
    frames, corners, shape, probe = data
    options = getattr(api, f"{engine}Options")()
    options.data_options.data = np.fft.fftshift(frames, axes=(1, 2)).astype(np.float32)
    options.object_options.initial_guess = torch.ones(
        (1, *shape), dtype=torch.complex64
    )
    options.object_options.pixel_size_m = 15e-9
    options.probe_options.initial_guess = torch.from_numpy(
        probe[None, None].astype(np.complex64)
    )
    centred = corners + N / 2 - np.array(shape) / 2
    options.probe_position_options.position_x_px = centred[:, 1]
    options.probe_position_options.position_y_px = centred[:, 0]
    options.reconstructor_options.num_epochs = 1
    options.reconstructor_options.batch_size = batch
    options.reconstructor_options.default_device = api.Devices.CPU
    task = PtychographyTask(options)
    return lambda: task.run(1)


def transforms() -> Callable[[], None]:
    field = empty((1, N, N), np.zeros(1))
    field[...] = 1.0
    fourier = Fourier(field, axes=(-2, -1), repeatable=True)

    def both() -> None:
        for _ in range(SIDE**2):
            fourier.backward(fourier.forward(field))
            field[...] = 1.0

    return both


def measure(jobs: dict[str, Callable[[], None]]) -> dict[str, float]:
    for job in jobs.values():
        job()
    best = dict.fromkeys(jobs, np.inf)
    for _ in range(PASSES):
        for name, job in jobs.items():
            begin = time.process_time()
            job()
            best[name] = min(best[name], time.process_time() - begin)
    return best


def main() -> None:
    data = experiment()
    jobs = {"transforms alone": transforms()}
    jobs |= {name: ours(engine, data) for name, engine in ENGINES.items()}
    try:
        jobs["pty-chi LSQML"] = ptychi("LSQML", 40, data)
        jobs["pty-chi ePIE"] = ptychi("EPIE", 1, data)
    except ImportError as error:
        print(f"pty-chi skipped: {error}")
    found = measure(jobs)
    floor = found["transforms alone"]
    head = ("400 frames of 128²", "CPU-s/pass", "of limit", "x EPIE")
    print("{:24s} {:>10s} {:>9s} {:>7s}".format(*head))
    for name, seconds in found.items():
        share = f"{100 * floor / seconds:.0f} %"
        print(f"{name:24s} {seconds:10.3f} {share:>9s} {seconds / found['EPIE']:7.2f}")


if __name__ == "__main__":
    main()
