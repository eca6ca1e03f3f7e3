"""A crystal at six voltages from counts to hysteresis: seconds, and truth.

    python benchmarks/truth/operando_crystal.py [--size 64] [--starts 2] [--repeats 5]

First table: CPU seconds of each step for the whole series, and how near its result
comes to the simulation's truth. Second table: three kernels beside what users would
pick instead, in the same run, best of all repeats: strain by numpy.gradient on the
unwrapped phase, the detector's frame to the laboratory by scipy's map_coordinates, and
the order parameter by numpy's singular values of the whole matrix.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy import ndimage

from batteryxr import cdi
from batteryxr.cdi.bragg.kernels.align import align, conjugate_twin, shifted
from batteryxr.cdi.bragg.kernels.phases import along
from batteryxr.cdi.bragg.kernels.voxels import SpaceGrid, resample
from batteryxr.cdi.bragg.order import gram_matrix
from batteryxr.simulate import bragg_states

if TYPE_CHECKING:
    from collections.abc import Callable


def timed(step: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = step()
    return result, time.process_time() - start


def best(step: Callable[[], Any], repeats: int) -> float:
    step()
    return min(timed(step)[1] for _ in range(repeats))


def correlation(a: Any, b: Any, where: np.ndarray) -> float:
    return float(np.corrcoef(np.asarray(a)[where], np.asarray(b)[where])[0, 1])


def series(n: int, starts: int) -> None:
    tree = bragg_states(shape=(n, n, n), size=1400.0 * min(1.0, n / 64))
    truth = tree["truth"].to_dataset().compute()
    counts, spent = timed(lambda: tree["states"]["intensity"].compute())
    rows = [("simulate", spent, f"{float(counts.sum()):.3g} counts")]
    geometry = cdi.geometry(counts, beamline="theta")
    result, spent = timed(
        lambda: cdi.retrieve(
            counts,
            n_starts=starts,
            select=cdi.Selection(n_best=1),
            progress=False,
        )
    )
    residual = float(result["amp_residual"].min("start").max())
    rows.append((f"retrieve, {starts} starts", spent, f"residual <= {residual:.4f}"))
    aligned, spent = timed(lambda: cdi.align_states(result))
    first = align(truth["object"].values[0], aligned["object"].values[0])
    laid = [
        shifted(conjugate_twin(f) if first.twin else f, first.shift)
        for f in aligned["object"].values
    ]
    aligned["object"] = aligned["object"].copy(data=np.array(laid, np.complex64))
    rows.append(("align_states", spent, f"overlap with truth {first.overlap:.4f}"))
    whole, spent = timed(lambda: cdi.fill_missing(aligned))
    dark, filled = truth["missing"].values[4], whole["filled"].values[4]
    recall, sure = (
        (dark & filled).sum() / dark.sum(),
        (dark & filled).sum() / max(filled.sum(), 1),
    )
    note = f"{recall:.0%} of the dark part, {sure:.0%} of what is filled was dark"
    rows.append(("fill_missing", spent, note))
    differences, spent = timed(lambda: cdi.phase_differences(whole))
    core = ndimage.binary_erosion(differences["support"].values & truth["support"])
    q = float(geometry["q_length"])
    change = -q * (truth["displacement"] - truth["displacement"][0]).values
    r = correlation(differences["phase_difference"].values[3], change[3], core)
    rows.append(("phase_differences", spent, f"correlation at 4 V {r:.3f}"))
    order, spent = timed(lambda: cdi.order_parameter(differences))
    omega = order["order_parameter"].values[:, 0]
    r = np.corrcoef(omega, truth["progress"])[0, 1]
    rows.append(("order_parameter", spent, f"correlation with progress {r:.3f}"))
    moved = -differences["phase_difference"] / q
    found, spent = timed(
        lambda: cdi.domains(moved, n_clusters=3, geometry=geometry, n_domains=6)
    )
    upper = found.isel(state=3)["size"].where(found["level"].isel(state=3) == 2)
    exact = (truth["domain"].values[3] == 1).sum() * float(geometry["voxel_volume"])
    note = f"domain at 4 V {float(upper.sum()) / exact:.2f} of its size"
    rows.append(("domains", spent, note))
    fields, spent = timed(
        lambda: cdi.strain(
            cdi.displacement(
                cdi.unwrap(whole, support=whole["support"]), geometry=geometry
            ),
            geometry=geometry,
        )
    )
    inner = ndimage.binary_erosion(core)
    r = correlation(fields["strain"].values[3], truth["strain"].values[3], inner)
    rows.append(("unwrap, displacement, strain", spent, f"correlation at 4 V {r:.3f}"))
    print(f"six states of {n}^3\n{'step':30} {'CPU s':>8}  against the truth")
    for name, seconds, text in rows:
        print(f"{name:30} {seconds:8.2f}  {text}")


def kernels(n: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    phase = ndimage.gaussian_filter(rng.standard_normal((n, n, n)), 6) * 30
    index = np.indices((n, n, n)) - n // 2
    support = (index**2).sum(axis=0) < (n / 3) ** 2
    voxel = np.array([[12.3, 5.2, 19.6], [0.0, -8.0, 0.0], [7.6, 0.4, -2.6]])
    q = np.array([2.37, 1.0, -0.79])

    def gradient() -> np.ndarray:
        slopes = np.gradient(np.where(support, phase, np.nan))
        weights = np.linalg.solve(voxel.T, q) / (q @ q)
        return sum(w * s for w, s in zip(weights, slopes, strict=True))

    rho = (support * np.exp(1j * phase)).astype(np.complex64)
    shape, size = (n, n, n), 12.0
    grid = SpaceGrid(size, shape, (n // 2,) * 3)

    def coordinates() -> np.ndarray:
        grid = np.indices(shape).reshape(3, -1) - n // 2
        where = np.linalg.solve(voxel.T, grid[::-1] * size) + n // 2
        parts = [
            ndimage.map_coordinates(p, where, order=3) for p in (rho.real, rho.imag)
        ]
        return (parts[0] + 1j * parts[1]).reshape(shape)

    states = rng.standard_normal((6, n, n, n)).astype(np.float32)
    array = xr.DataArray(states, dims=("state", "z", "y", "x"))
    flat = states.reshape(6, -1)
    pairs = [
        ("strain", lambda: along(phase, support, voxel, q), "numpy.gradient", gradient),
        (
            "to the laboratory",
            lambda: resample(rho, voxel, grid=grid, order=3),
            "map_coordinates",
            coordinates,
        ),
        (
            "order parameter",
            lambda: np.linalg.eigh(gram_matrix(array)[0]),
            "numpy svd",
            lambda: np.linalg.svd(flat, full_matrices=False),
        ),
    ]
    head = f"{'kernel':20} {'CPU ms':>8}  {'instead':18} {'CPU ms':>8} {'ratio':>6}"
    print(f"\n{n}^3\n{head}")
    for name, ours, other, theirs in pairs:
        a, b = best(ours, repeats), best(theirs, repeats)
        print(f"{name:20} {a * 1e3:8.1f}  {other:18} {b * 1e3:8.1f} {b / a:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    series(options.size, options.starts)
    kernels(2 * options.size, options.repeats)


if __name__ == "__main__":
    main()
