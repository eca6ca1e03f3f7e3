"""One HIO iteration of a crystal: against the same loop in NumPy and cohere.

    python benchmarks/hio.py [--size 128] [--repeats 7]

All rows run the same update in one thread. The limit is two Fourier transforms, which
any implementation needs, with the fastest library at hand. cohere is best installed in
an environment of its own (``pip install cohere_core numba array-api-compat``), from
which this script is run with ``PYTHONPATH=.``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


def crystal(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return amplitude, support and a random start; origin in the corner."""
    rng = np.random.default_rng(0)
    axis = np.abs(np.fft.fftfreq(n, 1 / n))
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    support = (z < 0.17 * n) & (y < 0.15 * n) & (x < 0.13 * n)
    phase = np.cos(2 * np.pi * (x + y) / n)
    obj = (support * np.exp(1j * phase)).astype(np.complex64)
    mean = np.abs(np.fft.fftn(obj)) ** 2
    amplitude = np.sqrt(rng.poisson(mean * (1e8 / mean.sum()))).astype(np.float32)
    start = rng.random((n,) * 3) * np.exp(2j * np.pi * rng.random((n,) * 3)) * support
    return amplitude, support, start.astype(np.complex64)


def with_numpy(
    amplitude: np.ndarray, support: np.ndarray, start: np.ndarray, complex_: Any
) -> Callable[[], None]:
    real = np.zeros(1, complex_).real.dtype
    state = {"rho": start.astype(complex_)}
    a = amplitude.astype(real)

    def iterate() -> None:
        rho = state["rho"]
        field = np.fft.fftn(rho)
        field *= a / np.maximum(np.abs(field), 1e-9)
        p = np.fft.ifftn(field)
        state["rho"] = np.where(support, p, rho - real.type(0.9) * p)

    return iterate


def with_scipy(
    amplitude: np.ndarray, support: np.ndarray, start: np.ndarray
) -> Callable[[], None]:
    import scipy.fft

    state = {"rho": start.copy()}

    def iterate() -> None:
        rho = state["rho"]
        field = scipy.fft.fftn(rho)
        field *= amplitude / np.maximum(np.abs(field), 1e-9)
        p = scipy.fft.ifftn(field, overwrite_x=True)
        state["rho"] = np.where(support, p, rho - np.float32(0.9) * p)

    return iterate


def with_batteryxr(
    amplitude: np.ndarray, support: np.ndarray, start: np.ndarray, scipy: bool = False
) -> Callable[[], None]:
    from batteryxr.cdi import fourier as library
    from batteryxr.cdi.bragg.kernels.iteration import combine, replace_modulus
    from batteryxr.cdi.fourier import Fourier, empty

    if scipy:
        with mock.patch.object(library, "_fftw", return_value=None):
            fourier = Fourier(amplitude)
    else:
        fourier = Fourier(amplitude)
    rho, buffer = (empty(start.shape, amplitude) for _ in range(2))
    rho[...] = start

    def iterate() -> None:
        buffer[...] = rho
        field, _ = replace_modulus(
            fourier.forward(buffer), amplitude, 1.0 / fourier.size
        )
        combine(rho, fourier.backward(field), support, (1.0, -0.9))

    return iterate


def with_cohere(amplitude: np.ndarray, folder: str) -> Callable[[], None] | None:
    """Return an iteration of cohere's NumPy flow; None where it is missing."""
    try:
        from cohere_core.controller.phasing import Rec
    except ImportError:
        print("cohere is not installed: its row is left out")
        return None
    path = f"{folder}/data.npy"
    np.save(path, np.fft.fftshift(amplitude))
    with contextlib.redirect_stdout(io.StringIO()):
        rec = Rec({"algorithm_sequence": "1*HIO"}, path, "np", debug=True)
        rec.init_dev(-1)
        rec.init_iter_loop()

    def iterate() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            rec.iterate()

    return iterate


def transforms(library: str, start: np.ndarray) -> Callable[[], None] | None:
    """Return two transforms by one library, or None where it is missing."""
    if library == "pyfftw":
        try:
            import pyfftw
        except ImportError:
            return None
        field = pyfftw.empty_aligned(start.shape, "complex64")
        both = [
            pyfftw.FFTW(
                field, field, axes=(0, 1, 2), direction=d, flags=("FFTW_MEASURE",)
            )
            for d in ("FFTW_FORWARD", "FFTW_BACKWARD")
        ]
        field[...] = start
        return lambda: [plan.execute() for plan in both] and None
    if library == "torch":
        try:
            import torch
        except ImportError:
            return None
        torch.set_num_threads(1)
        field = torch.asarray(start.copy())
        return lambda: torch.fft.ifftn(torch.fft.fftn(field)) is None
    import scipy.fft

    return lambda: scipy.fft.ifftn(scipy.fft.fftn(start), overwrite_x=True) is None


def measured(
    rows: dict[str, Callable[[], None]], repeats: int, inner: int = 3
) -> dict[str, tuple[float, float]]:
    """Return median and best CPU time per iteration, ms; rows take turns."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    for name in rows:
        rows[name]()
    for _ in range(repeats):
        for name, iterate in rows.items():
            began = time.process_time()
            for _ in range(inner):
                iterate()
            times[name].append((time.process_time() - began) / inner * 1e3)
    return {n: (float(np.median(t)), min(t)) for n, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    amplitude, support, start = crystal(arguments.size)
    rows = {
        "numpy complex128": with_numpy(amplitude, support, start, np.complex128),
        "numpy complex64": with_numpy(amplitude, support, start, np.complex64),
        "scipy complex64": with_scipy(amplitude, support, start),
        "batteryxr": with_batteryxr(amplitude, support, start),
        "batteryxr without pyfftw": with_batteryxr(amplitude, support, start, True),
    }
    folder = tempfile.TemporaryDirectory()
    if (other := with_cohere(amplitude, folder.name)) is not None:
        rows["cohere"] = other
    limits = {}
    for library in ("scipy", "pyfftw", "torch"):
        both = transforms(library, start)
        if both is None:
            print(f"{library} is not installed: its transforms are left out")
            continue
        rows[f"two transforms, {library}"] = both
        limits[f"two transforms, {library}"] = library
    found = measured(rows, arguments.repeats)
    limit = min(found[name][1] for name in limits)
    slow = found["numpy complex128"][1]
    print(f"HIO, {arguments.size}^3, CPU ms per iteration, one thread")
    print(f"{'':28s}{'median':>9s}{'best':>9s}{'faster':>9s}{'x limit':>9s}")
    for name, (median, best) in found.items():
        ratios = f"{slow / best:9.2f}{best / limit:9.2f}"
        print(f"{name:28s}{median:9.1f}{best:9.1f}{ratios}")


if __name__ == "__main__":
    main()
