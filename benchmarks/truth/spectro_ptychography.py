"""From diffraction patterns at many energies to edge energies and compositions.

A particle of three domains, 40 energies across the V K edge, frames of 128² with 3e5
and with 3e4 photons, steps of 100 nm, pixels of 25 nm. The frames go through
`ptycho_energies`, free and tied by Kramers-Kronig, and what comes out goes through
`.xanes`; all of it is compared with what was put in. Pixels count that lie 75 nm and
more inside the particle; the composition of a domain is that of its mean spectrum, of
pixels as far from the other domains, too, since a reconstruction is blurred there.

    OMP_NUM_THREADS=1 python benchmarks/truth/spectro_ptychography.py [--small]
        [--photons 3e5] [--seed 0] [--scratch DIR]

--small takes 64² and 25 energies. States are kept in the scratch folder: called again
it goes on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import batteryxr as bx
from batteryxr.cdi import LSQML, KramersKronig, Schedule
from batteryxr.simulate import ptychography
from batteryxr.simulate.vanadium import ENERGY

if TYPE_CHECKING:
    import xarray as xr

#: Depth below rim and domain borders, nm, from which pixels count.
DEPTH = 75.0
#: Before the edge, where the effective electrons are those of the composition.
BEFORE = slice(5400, 5461)
#: Photoabsorption falls with the energy about so; taken off, levels are level.
FALL = 2.7
LEAD, PASSES = 200, 30
RUNS = {
    "free": None,
    "tied": KramersKronig("VO2", PASSES // 2, PASSES // 6),
}


@dataclass
class Found:
    """What a run is judged by."""

    absorption: float  # rms error of μt
    edge: float  # rms error of the edge energy, eV
    ratio: np.ndarray  # error of each domain's composition, %
    misfit: float  # median of kk_misfit, rad
    seconds: float


def experiment(
    small: bool, photons: float, seed: int = 0
) -> tuple[xr.Dataset, xr.Dataset]:
    return ptychography(
        energy=None if small else ENERGY,
        size=64 if small else 128,
        positions=12,
        step=100.0,
        pixel_size=25.0,
        particle=(1000.0, 800.0),
        photons=photons,
        seed=seed,
    )


def fitted(absorption: xr.DataArray) -> xr.Dataset:
    """Return the edge model of a spectrum, or of each pixel."""
    level = absorption * (absorption.energy / 5465.1) ** FALL
    return level.xanes.fit_edge(
        edge=bx.xanes.Edge((5470, 5484), width=(0.8, 6.0)),
        peaks=[bx.xanes.Peak((5463, 5469), width=(0.5, 3.0), name="pre-edge")],
        mask=None,
    )


def composition(stack: xr.Dataset, where: xr.DataArray) -> float:
    """Return the electrons per vanadium of a domain, from its mean spectra."""
    images = stack[["absorption", "phase"]].where(where)
    mean = images.mean(("y", "x"), keep_attrs=True)
    density = fitted(mean.absorption).xanes.projected_density(element="V")
    electrons = bx.xanes.effective_electrons(mean.phase.sel(energy=BEFORE))
    ratio = bx.xanes.electron_ratio(electrons, density=density)
    return float(ratio.electron_ratio.mean("energy"))


def onto(truth: xr.Dataset, stack: xr.Dataset) -> xr.Dataset:
    """Return the truth on the grid of a result, where that happens to lie.

    No data tell where object and probe are but together.
    """
    from batteryxr.cdi.ptycho.kernels.alignment import subpixel_shift

    here = truth.interp(y=stack.y, x=stack.x, method="cubic").fillna(0.0)
    images = [s.phase.mean("energy").fillna(0.0).values for s in (here, stack)]
    step = subpixel_shift(images[0], images[1], upsample=100) * float(
        stack.y[1] - stack.y[0]
    )
    moved = truth.assign_coords(y=truth.y + step[0], x=truth.x + step[1])
    out = moved[["absorption", "phase"]].interp(y=stack.y, x=stack.x, method="cubic")
    near = moved.domain.interp(y=stack.y, x=stack.x, method="nearest")
    return out.fillna(0.0).assign(domain=near.fillna(0))


def judge(stack: xr.Dataset, truth: xr.Dataset, seconds: float) -> Found:
    true = onto(truth, stack)
    depth = bx.xanes.rim_distance
    inside = (depth(true.domain > 0) >= DEPTH) & (stack.flag == 0)
    edge, true_edge = (
        fitted(s.absorption.where(inside)).edge_energy for s in (stack, true)
    )
    errors = []
    for k in range(3):
        core = inside & (depth(true.domain == k + 1) >= DEPTH)
        expected = float(truth.f1[k].sel(energy=BEFORE).mean())
        errors.append(100 * (composition(stack, core) / expected - 1))

    def rms(error: xr.DataArray) -> float:
        return float(np.sqrt((error.where(inside) ** 2).mean()))

    misfit = stack.kk_misfit.where(inside).median() if "kk_misfit" in stack else np.nan
    return Found(
        rms(stack.absorption - true.absorption),
        rms(edge - true_edge),
        np.array(errors),
        float(misfit),
        seconds,
    )


def reconstruct(
    scan: xr.Dataset, store: str, constraint: KramersKronig | None, **given: Any
) -> xr.Dataset:
    options = {"schedule": Schedule(lead=LEAD), "iterations": PASSES} | given
    found: xr.Dataset = scan.cdi.ptycho_energies(
        store=store,
        engine=LSQML(poisson=True),  # frames are faint: see `ptycho`
        kramers_kronig=constraint,
        progress=False,
        **options,
    )
    return found.load()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--photons", type=float, nargs="+", default=[3e5, 3e4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", default=tempfile.mkdtemp())
    call = parser.parse_args()
    head = ("photons", "energies", "Δμt", "to free", "edge/eV", "ratios/%", "kk", "CPU")
    print("{:>8s} {:6s} {:>7s} {:>8s} {:>8s}  {:21s} {:>7s} {:>6s}".format(*head))
    for photons in call.photons:
        scan, truth = experiment(call.small, photons, call.seed)
        free = None
        for name, constraint in RUNS.items():
            store = f"{call.scratch}/{name}-{photons:.0e}-{call.seed}.zarr"
            begin = time.process_time()
            stack = reconstruct(scan, store, constraint)
            found = judge(stack, truth, time.process_time() - begin)
            free = free or found.absorption
            ratios = " ".join(f"{v:+6.2f}" for v in found.ratio)
            print(
                f"{photons:8.0e} {name:6s} {found.absorption:7.4f} "
                f"{found.absorption / free:8.3f} {found.edge:8.3f}  {ratios:21s} "
                f"{found.misfit:7.4f} {found.seconds:6.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
