"""A stack larger than memory, all energies: peak memory, and what waits between them.

    python benchmarks/ptycho_stack.py make DIR [--energies 40] [--linked] [--side 45]
        [--pixels 256]
    python benchmarks/ptycho_stack.py run DIR [--passes 1] [--engine EPIE] [--workers N]
        [--seconds S]
    python benchmarks/ptycho_stack.py overhead [--energies 40]

``make`` writes 40 energies of 2000 frames of 256², uint16, in zarr: 10.5 GB of counts.
Two energies are simulated, with noise; the others repeat their chunks, as copies or,
for ten times as many, as links. ``run`` reconstructs it with 1.5 GB to use and prints
the peak of the process; ended after ``--seconds`` it goes on when called again.
``overhead`` runs tiny energies, and prints what each costs beside its work.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

POSITIONS = 2000  # at most
MEMORY = 1.5e9


def make(folder: Path, energies: int, linked: bool, side: int, pixels: int) -> None:
    import dask

    import batteryxr
    from batteryxr.simulate import ptychography

    folder.mkdir(parents=True, exist_ok=True)
    two, _ = ptychography(
        energy=np.array([5440.0, 5480.0]), positions=side, size=pixels,
        step=150.0, particle=(800.0, 90.0 * side), photons=3e5, chunks=64,
    )  # fmt: skip
    two = two.isel(position=slice(POSITIONS))
    seed, stack = folder / "two.zarr", folder / "stack.zarr"
    if not seed.exists():
        with dask.config.set(scheduler="synchronous"):
            batteryxr.save(two, seed)
    shutil.rmtree(stack, ignore_errors=True)
    energy = np.linspace(5440.0, 5480.0, energies)
    whole = two.drop_vars("frames").isel(energy=np.arange(energies) % 2)
    whole = whole.assign_coords(energy=("energy", energy, two.energy.attrs))
    shutil.copytree(seed, stack)
    for name in whole.variables:
        shutil.rmtree(stack / str(name))
    whole.to_zarr(str(stack), mode="a", consolidated=False)
    _repeat(stack / "frames", energies, linked)
    array = zarr.open_array(str(stack / "frames"), mode="r")
    files = [f for f in (stack / "frames").rglob("*") if f.is_file()]
    stored = sum(f.stat().st_size for f in files) / 1e9
    print(f"{array.shape} {array.dtype}, chunks {array.chunks}:", end=" ")
    print(f"{array.nbytes / 1e9:.1f} GB of counts, {stored:.2f} GB of files")


def _repeat(frames: Path, energies: int, linked: bool) -> None:
    """Give the stored array more energies, whose chunks are those of the first two."""
    array = zarr.open_array(str(frames), mode="r+")
    array.resize((energies, *array.shape[1:]))
    for k in range(2, energies):
        source, target = frames / "c" / str(k % 2), frames / "c" / str(k)
        if linked:
            target.symlink_to(source, target_is_directory=True)
        else:
            shutil.copytree(source, target)


def run(folder: Path, seconds: float | None, options: list[str]) -> None:
    """Run the reconstruction in a process of its own; end it after `seconds`."""
    from batteryxr.cdi import ptycho_progress

    out = folder / "out.zarr"
    begin = time.perf_counter()
    child = subprocess.Popen([sys.executable, __file__, "child", str(folder), *options])
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    wall = time.perf_counter() - begin
    seen = ptycho_progress(out)
    done = int((seen.iteration.values >= seen.attrs["iterations"]).sum())
    print(f"{wall:.0f} s; {done} of {seen.sizes['number']} energies done")


def child(folder: Path, passes: int, engine: str, workers: int | None) -> None:
    """Reconstruct, and tell of the peak of memory whenever it grows."""
    import threading

    import batteryxr
    from batteryxr.cdi import Resources, ptycho_energies, ptycho_plan
    from batteryxr.cdi.ptycho.engines import engine_named

    scan = batteryxr.open_store(folder / "stack.zarr")
    assert isinstance(scan, xr.Dataset)
    given: dict[str, Any] = {
        "engine": engine_named(engine),
        "resources": Resources(memory=MEMORY, workers=workers, checkpoint=1),
    }
    plan = ptycho_plan(scan, **given)
    print(plan, flush=True)
    begin = time.perf_counter()

    def watch() -> None:
        last = 0.0
        while True:
            time.sleep(1.0)
            if peak_memory() > last + 0.01:
                last = peak_memory()
                print(
                    f"{time.perf_counter() - begin:6.0f} s  {last:.3f} GB", flush=True
                )

    threading.Thread(target=watch, daemon=True).start()
    result = ptycho_energies(
        scan, store=folder / "out.zarr", iterations=passes, progress=False, **given
    )  # fmt: skip
    print(f"{dict(result.sizes)}; peak {peak_memory():.3f} GB, "
          f"{time.perf_counter() - begin:.0f} s")  # fmt: skip


def peak_memory() -> float:
    """Return the largest resident memory of this process in GB (Linux)."""
    with open("/proc/self/status") as lines:
        kilobytes = next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))
    return kilobytes * 1024 / 1e9


def overhead(energies: int) -> None:
    """Print what an energy costs beside its own work, one after another."""
    import batteryxr
    from batteryxr.cdi import Resources
    from batteryxr.cdi.ptycho import passes
    from batteryxr.simulate import ptychography

    spent: list[float] = []
    module: Any = passes
    plain, plain_all = module.advance, module._advance

    def timed(*given: Any) -> int:
        begin = time.perf_counter()
        found = plain(*given)
        spent.append(time.perf_counter() - begin)
        return int(found)

    module.advance = timed
    scan, _ = ptychography(
        energy=np.linspace(5440.0, 5480.0, energies),
        positions=8, size=32, step=45.0, particle=(800.0, 180.0), chunks=32,
    )  # fmt: skip
    whole: list[float] = []

    def watched(*given: Any) -> None:
        begin = time.perf_counter()
        plain_all(*given)
        whole.append(time.perf_counter() - begin)

    module._advance = watched
    with tempfile.TemporaryDirectory() as folder:
        batteryxr.save(scan, f"{folder}/stack.zarr")
        stored = batteryxr.open_store(f"{folder}/stack.zarr")
        assert isinstance(stored, xr.Dataset)
        for name in ("first.zarr", "again.zarr"):  # the first one compiles
            spent.clear()
            whole.clear()
            stored.cdi.ptycho_energies(
                store=f"{folder}/{name}",
                iterations=6,
                progress=False,
                resources=Resources(workers=1),
            )
    each = 1e3 * (sum(whole) - sum(spent)) / energies
    work = 1e3 * sum(spent) / energies
    print(f"{energies} energies: {work:.0f} ms of work each, {each:.1f} ms beside it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("make", "run", "child", "overhead"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("."))
    parser.add_argument("--energies", type=int, default=40)
    parser.add_argument("--linked", action="store_true")
    parser.add_argument("--side", type=int, default=45, help="scan points along a side")
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--engine", default="EPIE")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seconds", type=float)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if asked.what == "make":
        make(*(asked.folder, asked.energies, asked.linked, asked.side, asked.pixels))
    elif asked.what == "run":
        options = ["--passes", str(asked.passes), "--engine", asked.engine]
        if asked.workers:
            options += ["--workers", str(asked.workers)]
        run(asked.folder, asked.seconds, options)
    elif asked.what == "child":
        child(asked.folder, asked.passes, asked.engine, asked.workers)
    else:
        overhead(asked.energies)


if __name__ == "__main__":
    main()
