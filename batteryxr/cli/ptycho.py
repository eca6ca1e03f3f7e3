"""The command ``batteryxr ptycho``: reconstruct a stack in zarr, watch and keep it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from batteryxr.cdi import (
    KramersKronig,
    Resources,
    Schedule,
    ptycho_energies,
    ptycho_plan,
    ptycho_progress,
)
from batteryxr.cdi.ptycho.engines import engine_named
from batteryxr.cli.parser import count, positive, say, whole
from batteryxr.core.errors import StoreError
from batteryxr.core.store import location_of, open_dataset

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import numpy as np

#: Seconds between two checks of the states.
_PAUSE = 2.0
#: Option for each argument that it fills.
OPTIONS = {
    "scan": "STACK",
    "path": "STACK",
    "group": "--group",
    "store": "--out",
    "engine": "--engine",
    "iterations": "--iterations",
    "lead": "--lead",
    "n_modes": "--modes",
    "poisson": "--poisson",
    "positions_from": "--positions-from",
    "formula": "--kramers-kronig",
    "start": "--kk-start",
    "every": "--kk-every",
    "memory": "--memory",
    "workers": "--workers",
    "checkpoint": "--checkpoint",
    "device": "--device",
    "seed": "--seed",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add = parser.add_argument
    add("stack", metavar="STACK", help="zarr store with frames and geometry")
    add("--group", help="group of the scan inside it")
    add("--out", metavar="STORE",
        help="store for states and result (default: STACK with -ptycho)")  # fmt: skip
    add("--engine", default="LSQML", help="LSQML, EPIE, RPIE, DM or RAAR")
    add("--iterations", type=count, default=800, metavar="N")
    add("--lead", type=whole, default=0, metavar="N",
        help="passes of the middle energy, from which all others start")  # fmt: skip
    add("--modes", type=count, default=1, metavar="N", help="probe modes")
    add("--poisson", action="store_true",
        help="fit the likelihood of counts, for faint frames")  # fmt: skip
    add("--positions-from", type=whole, metavar="N",
        help="first pass that corrects positions")  # fmt: skip
    add("--kramers-kronig", metavar="FORMULA",
        help="tie absorption and phase, for a sample such as LiVO2")  # fmt: skip
    add("--kk-start", type=whole, default=500, metavar="N")
    add("--kk-every", type=count, default=50, metavar="N")
    add("--memory", type=positive, metavar="GB", help="memory that may be used")
    add("--workers", type=count, metavar="N", help="energies at a time")
    add("--checkpoint", type=count, default=50, metavar="N",
        help="passes between two states that are kept")  # fmt: skip
    add("--device", default="cpu", help="cpu, cuda, mps, torch or cupy")
    add("--seed", type=whole, default=0)
    add("--resume", action="store_true", help="go on with what --out holds")
    add("--plan", action="store_true", help="tell what it would cost, and stop")


def run(arguments: argparse.Namespace) -> None:
    """Print the plan, reconstruct, and report each energy's progress."""
    engine = engine_named(arguments.engine, poisson=arguments.poisson)
    resources = Resources(
        memory=None if arguments.memory is None else arguments.memory * 1e9,
        workers=arguments.workers,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
    )
    constraint = None
    if arguments.kramers_kronig:
        constraint = KramersKronig(
            arguments.kramers_kronig, arguments.kk_start, arguments.kk_every
        )
    scan = open_dataset(arguments.stack, arguments.group)
    plan = ptycho_plan(
        scan, engine=engine, n_modes=arguments.modes, resources=resources
    )
    say(str(plan))
    if arguments.plan:
        return
    out = arguments.out or _beside(arguments.stack)
    if not location_of(out).is_empty() and not arguments.resume:
        raise StoreError(f"{out} exists already. Pass --resume to go on with it.")
    energy = scan["energy"].values
    with _Watch(out, energy, arguments.iterations, say):
        result = ptycho_energies(
            scan,
            store=out,
            engine=engine,
            iterations=arguments.iterations,
            n_modes=arguments.modes,
            kramers_kronig=constraint,
            schedule=Schedule(
                positions_from=arguments.positions_from, lead=arguments.lead
            ),
            resources=resources,
            seed=arguments.seed,
            progress=False,
        )
    size = " x ".join(str(result.sizes[d]) for d in ("energy", "y", "x"))
    say(f"{out}, group 'ptycho': absorption and phase, {size}")


def _beside(stack: str) -> str:
    """Return the default store of the result of a stack."""
    above, slash, name = stack.rstrip("/").rpartition("/")
    return f"{above}{slash}{name.removesuffix('.zarr')}-ptycho.zarr"


class _Watch:
    """Report new states while a block runs."""

    def __init__(
        self, store: str, energy: np.ndarray, until: int, say: Callable[[str], None]
    ) -> None:
        self._store, self._energy, self._until, self._say = store, energy, until, say
        self._seen = [0] * len(energy)
        self._begin = time.monotonic()
        self._at_first: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._tell()

    def _look(self) -> None:
        while not self._over.wait(_PAUSE):
            self._tell()

    def _tell(self) -> None:
        try:
            found = ptycho_progress(self._store)
        except (StoreError, OSError):
            return  # not begun yet
        passes, residuals = found.iteration.values, found.amp_residual.values
        left = self._left(int(passes.sum()), passes.size * self._until)
        for k, (done, residual) in enumerate(zip(passes, residuals, strict=True)):
            if done > self._seen[k]:
                self._seen[k] = int(done)
                self._say(
                    f"{self._energy[k]:10.2f} eV  pass {done:4d} of {self._until}  "
                    f"residual {residual:.5f}{left}"
                )

    def _left(self, done: int, asked: int) -> str:
        """Return the time left, estimated from the pace so far."""
        if self._at_first is None:
            self._at_first, self._begin = done, time.monotonic()
        fresh, spent = done - self._at_first, time.monotonic() - self._begin
        if fresh <= 0 or done >= asked:
            return ""
        seconds = spent / fresh * (asked - done)
        for unit, size in (("h", 3600.0), ("min", 60.0)):
            if seconds > 1.5 * size:
                return f"  about {seconds / size:.1f} {unit} left"
        return f"  about {seconds:.0f} s left"
