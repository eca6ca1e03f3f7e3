"""Edge fits per pixel: this library beside SciPy and lmfit, and out of core.

Run ``python benchmarks/edge_fit.py``; ``--large`` adds a stack of 4096 x 4096 x 40.
Times are CPU seconds of this process, best of several runs; competitors that are not
installed are skipped with a line. Stacks are written under the temporary folder and
deleted.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.optimize import curve_fit
from scipy.special import erf

ENERGY = np.concatenate(
    [
        [5420.0, 5440.0, 5455.0, 5461.0],
        np.arange(5464.0, 5469.1, 0.5),
        [5470.5, 5472.0],
        np.arange(5473.0, 5484.0, 1.0),
        [5485.5, 5487.5, 5490.0, 5493.0, 5497.0, 5502.0],
        [5507.0, 5513.0, 5519.0, 5526.0, 5533.0, 5540.0],
    ]
)
START = [0.1, 0.3, 5478.0, 4.0, 0.1, 5466.5, 1.5, 0.1, 5489.0, 6.0]
NOISE = 0.006


def model(e, a, b1, b2, b3, c11, c12, c13, c21, c22, c23):
    y = a + 0.5 * b1 * (1 + erf((e - b2) / b3))
    y = y + c11 / (1 + ((e - c12) / c13) ** 2)
    return y + c21 / (1 + ((e - c22) / c23) ** 2)


def stack(n: int, rows: slice = slice(None)) -> np.ndarray:
    """Return rows of an n x n particle as (energy, rows, n) float32."""
    u = np.linspace(-1, 1, n)[None, :]
    v = np.linspace(-1, 1, n)[rows, None]
    thickness = np.sqrt(np.clip(1 - (u / 0.9) ** 2 - (v / 0.75) ** 2, 0, None))
    valence = np.clip(0.5 + 0.4 * np.sin(9 * u + 1) * np.cos(7 * v), 0, 1)
    tetrahedral = np.clip(0.4 + 0.3 * np.cos(11 * u * v + 5 * v), 0, 1)
    jump = 0.45 * thickness
    rng = np.random.default_rng(rows.start or 0)
    out = np.empty((ENERGY.size, *jump.shape), np.float32)
    for i, e in enumerate(ENERGY):
        out[i] = model(
            e, 0.05 + 0.1 * thickness, jump, 5476.5 + 4 * valence, 3.6 + 0.6 * valence,
            jump * (0.08 + 0.45 * tetrahedral), 5466.2 + 0.9 * valence,
            1.3 + 0.3 * tetrahedral,
            jump * (0.35 - 0.1 * tetrahedral), 5488 + 2 * valence, 7.0,
        )  # fmt: skip
        out[i] += NOISE * rng.standard_normal(jump.shape, dtype=np.float32)
    return out


def settings():
    from batteryxr.xanes import Edge, Peak

    return {
        "edge": Edge((5470, 5486), width=(0.5, 12)),
        "peaks": [
            Peak((5463, 5470), width=(0.3, 5)),
            Peak((5482, 5500), width=(2, 20)),
        ],
    }


def best_of(function, runs: int) -> float:
    """Return the least CPU time of several runs, in seconds."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def rates() -> None:
    from batteryxr import xanes

    image = stack(256)
    keep = image[-6:].mean(0) - image[:4].mean(0) > 0.045
    spectra = image[:, keep].astype(float)
    data = xr.DataArray(
        spectra,
        dims=("energy", "pixel"),
        coords={"energy": ("energy", ENERGY, {"units": "eV"})},
        attrs={"units": "1"},
    )
    n = data.sizes["pixel"]
    options = settings() | {"mask": None, "multistart": "doubtful"}
    xanes.fit_edge(data[:, :2000], **options)
    ours = n / best_of(lambda: xanes.fit_edge(data, **options), 5)
    print(f"\n10 parameters, 40 energies, {n} pixels; pixels per CPU second and core")
    print(f"{'batteryxr fit_edge':28s}{ours:12,.0f}   bar 60,000")
    few = spectra[:, :: n // 400]

    def scipy_loop():
        for y in few.T:
            try:
                curve_fit(model, ENERGY, y, START)
            except RuntimeError:
                continue

    rate = few.shape[1] / best_of(scipy_loop, 3)
    print(f"{'scipy curve_fit':28s}{rate:12,.0f}   x{ours / rate:.0f}, bar x60")
    try:
        import lmfit
    except ImportError:
        print("lmfit is not installed: skipped")
        return
    fitter = lmfit.Model(model)
    names = fitter.param_names
    begin = dict(zip(names, START, strict=True))

    def lmfit_loop():
        for y in few.T[:100]:
            fitter.fit(y, e=ENERGY, **begin)

    rate = 100 / best_of(lmfit_loop, 3)
    print(f"{'lmfit Model.fit':28s}{rate:12,.0f}   x{ours / rate:.0f}, bar x300")
    # What most would write first.
    composite = (
        lmfit.models.ConstantModel()
        + lmfit.models.StepModel(form="erf")
        + lmfit.models.LorentzianModel(prefix="one_")
        + lmfit.models.LorentzianModel(prefix="two_")
    )
    first = composite.make_params(
        c=0.1, amplitude=0.3, center=5478, sigma=4, one_amplitude=0.5,
        one_center=5466.5,
        one_sigma=1.5, two_amplitude=1.9, two_center=5489, two_sigma=6,
    )  # fmt: skip

    def composite_loop():
        for y in few.T[:20]:
            composite.fit(y, first, x=ENERGY)

    rate = 20 / best_of(composite_loop, 1)
    print(f"{'lmfit composite model':28s}{rate:12,.0f}   x{ours / rate:.0f}")


def write_stack(path: Path, n: int) -> None:
    """Write an n x n stack in zarr, chunked (40, 256, 256)."""
    import zarr

    group = zarr.open_group(path, mode="w")
    array = group.create_array(
        "absorption",
        shape=(ENERGY.size, n, n),
        chunks=(ENERGY.size, 256, 256),
        dtype="float32",
        dimension_names=("energy", "y", "x"),
    )
    array.attrs["units"] = "1"
    for start in range(0, n, 256):
        array[:, start : start + 256] = stack(n, slice(start, start + 256))
    axis = group.create_array(
        "energy", shape=ENERGY.shape, dtype="float64", dimension_names=("energy",)
    )
    axis[:] = ENERGY
    axis.attrs["units"] = "eV"


def fit_store(path: str) -> None:
    """Fit a store and write the result beside it; print time and peak memory."""
    import resource

    import batteryxr
    from batteryxr import xanes

    ds = batteryxr.open_store(path)
    xanes.fit_edge(ds.isel(y=slice(0, 8), x=slice(0, 8)), mask=None, **settings())
    wall, cpu = time.perf_counter(), time.process_time()
    fit = ds.xanes.fit_edge(**settings())
    batteryxr.save(fit, path + ".fit")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    back = batteryxr.open_store(path + ".fit")
    fitted = int(back.edge_energy.notnull().sum())
    print(f"{cpu:7.1f} CPU s  {wall:7.1f} s  peak {peak:.2f} GB  {fitted:,} px fitted")


def out_of_core(n: int, limits: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="edge_fit"))
    try:
        path = folder / "stack.zarr"
        write_stack(path, n)
        print(
            f"{n} x {n} x 40 float32 in zarr, masked, with errors, written ({limits})"
        )
        command = [sys.executable, __file__, "--store", str(path)]
        subprocess.run(command, check=True)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="add 4096 x 4096 x 40")
    parser.add_argument("--store", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.store:
        fit_store(arguments.store)
        return
    rates()
    print()
    out_of_core(1024, "bar 20 CPU s, 1 GB")
    if arguments.large:
        out_of_core(4096, "bar 1.5 GB")


if __name__ == "__main__":
    main()
