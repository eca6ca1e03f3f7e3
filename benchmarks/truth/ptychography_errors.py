"""Whether the errors that half scans give hold, from frames to edge and composition.

Particles of three domains, 40 energies, 81 frames of 3e5 photons, tied by
Kramers-Kronig, with ``halves=True``. The pull of a quantity is its error over the
stated one; its spread over pixels that lie 75 nm and more inside the particle is 1
where errors hold.

    OMP_NUM_THREADS=1 python benchmarks/truth/ptychography_errors.py
        [--particles 2] [--energies 40] [--lead 500] [--free] [--scratch DIR]

After 100 iterations of the leading energy the level of a particle over vacuum is not
yet found: μt is 0.003 and the phase 0.01 rad off, at all energies, and half scans do
not see what both have in common. After 500 it is found.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import batteryxr as bx
from batteryxr.cdi import LSQML, KramersKronig, Schedule
from batteryxr.simulate import ptychography

PARTICLES = ((1000.0, 640.0), (700.0, 520.0), (850.0, 580.0))
#: Before the edge, where effective electrons are compared.
BEFORE = slice(5400, 5461)
PASSES = 30


def energies(number: int) -> np.ndarray:
    sides = max(number // 8, 3)
    middle = number - 2 * sides
    return np.r_[
        np.linspace(5420, 5455, sides),
        np.linspace(5462, 5492, middle),
        np.linspace(5500, 5540, sides),
    ]


def other() -> Any:
    """Return the script on compositions, for its comparison with the truth."""
    path = Path(__file__).with_name("spectro_ptychography.py")
    spec = importlib.util.spec_from_file_location("spectro_ptychography", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def spread(error: Any, stated: Any, where: Any) -> float:
    """Return the robust standard deviation of the pull."""
    pull = (error / stated).where(where).values
    pull = pull[np.isfinite(pull)]
    return float(1.4826 * np.median(np.abs(pull)))


def judge(
    number: int, count: int, scratch: str, lead: int, tied: bool = True
) -> dict[str, float]:
    """Return pulls and fractions of one particle."""
    scan, truth = ptychography(
        energy=energies(count), positions=9, size=64, step=90.0, pixel_size=20.0,
        particle=PARTICLES[number], photons=3e5, seed=number,
    )  # fmt: skip
    begin = time.process_time()
    relation = KramersKronig("VO2", PASSES // 2, PASSES // 6) if tied else None
    stack = scan.cdi.ptycho_energies(
        store=f"{scratch}/{number}-{count}-{lead}-{tied}.zarr",
        engine=LSQML(poisson=True),
        iterations=PASSES,
        schedule=Schedule(lead=lead),
        kramers_kronig=relation,
        halves=True,
        progress=False,
    ).load()
    seconds = time.process_time() - begin
    spectro = other()
    true = spectro.onto(truth, stack)
    depth = bx.xanes.rim_distance
    inside = (depth(true.domain > 0) >= 75.0) & (stack.flag == 0)
    level = (stack.energy / 5465.1) ** spectro.FALL
    model: dict[str, Any] = {
        "edge": bx.xanes.Edge((5470, 5484), width=(0.8, 6.0)),
        "peaks": [bx.xanes.Peak((5463, 5469), width=(0.5, 3.0), name="pre-edge")],
        "mask": None,
    }
    fit = (stack.absorption.where(inside) * level).xanes.fit_edge(
        errors=stack.absorption_error * level, **model
    )
    exact = (true.absorption.where(inside) * level).xanes.fit_edge(**model)
    total = np.hypot(stack.phase_error, stack.phase_error_common)
    before = {"energy": BEFORE}
    electrons = stack.phase.sel(before).mean("energy")
    expected = true.phase.sel(before).mean("energy")
    n = stack.phase.sel(before).sizes["energy"]
    stated = np.hypot(
        stack.phase_error.sel(before).mean("energy") / np.sqrt(n),
        stack.phase_error_common,
    )
    slope = float(
        (stack.absorption * true.absorption).where(inside).sum()
        / (true.absorption**2).where(inside).sum()
    )
    return {
        "edge": spread(
            fit.edge_energy - exact.edge_energy, fit.edge_energy_error, inside
        ),
        "absorption": spread(
            stack.absorption - true.absorption, stack.absorption_error, inside
        ),
        "phase": spread(stack.phase - true.phase, total, inside),
        "electrons": spread(electrons - expected, stated, inside),
        "slope": slope,
        "edge eV": float(
            np.sqrt(((fit.edge_energy - exact.edge_energy).where(inside) ** 2).mean())
        ),
        "half bit nm": float(stack.half_period_half_bit.median()),
        "prtf nm": float(stack.half_period_prtf.median()),
        "CPU s": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--particles", type=int, default=2)
    parser.add_argument("--energies", type=int, default=40)
    parser.add_argument("--free", action="store_true")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--lead", type=int, default=500)
    parser.add_argument("--scratch", default=tempfile.mkdtemp())
    call = parser.parse_args()
    for number in range(call.first, call.particles):
        found = judge(number, call.energies, call.scratch, call.lead, not call.free)
        print(number, {k: round(v, 4) for k, v in found.items()}, flush=True)


if __name__ == "__main__":
    main()
