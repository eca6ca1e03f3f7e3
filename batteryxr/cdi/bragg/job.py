"""The work of one call of phase retrieval: its tasks, run now or left to dask."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.objects import OBJECT, VOLUME
from batteryxr.cdi.bragg.result import Layout
from batteryxr.cdi.bragg.starts import as_piece, as_start, mark_of
from batteryxr.core import blocks
from batteryxr.core.blocks import gather, is_lazy, is_stopped
from batteryxr.core.errors import ArgumentError, ConvergenceError, warn_quality
from batteryxr.core.ledger import Ledger
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.seeds import generators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batteryxr.cdi.bragg.kernels.starts import Finished, Options, Problem


class Begin(Protocol):
    """A dataclass that gives the k-th start its first object and support."""

    def __call__(
        self, problem: Problem, number: int, watch: Callable[[int, float], None]
    ) -> Problem:
        """Return the problem with its first object and support."""
        ...


@dataclass(frozen=True)
class Plan:
    """What a call asks for.

    Parameters
    ----------
    options
        How each start is run.
    n_starts, n_best, select, free, seed, store, group
        As in `batteryxr.cdi.retrieve`.
    caller
        The public function, for messages.
    begin
        Where starts begin; None for random objects.
    """

    options: Options
    n_starts: int
    n_best: int
    select: str
    free: float
    seed: int
    store: str | Path | None
    group: str
    caller: str
    begin: Begin | None = None


def phased(
    volume: xr.DataArray | xr.Dataset,
    plan: Plan,
    *,
    support: xr.DataArray | None = None,
    initial: xr.DataArray | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Carry out a plan: at once for data in memory, as dask's tasks for lazy ones."""
    generators(plan.seed, 0)  # says at once what is wrong with the seed
    intensity = _counts(volume, plan.caller)
    iterations = sum(block.iterations for block in plan.options.schedule)
    layout = Layout(intensity, plan.n_starts, plan.n_best, iterations, plan.options)
    # By which running starts learn that the call was interrupted.
    token = uuid.uuid4().hex
    answers, starts = _graph(plan, _pieces(intensity, support, initial), token)
    if is_lazy(intensity):
        return layout.lazy(answers)
    _check_patterns(intensity, plan.caller)
    done = gather(
        answers, "Retrieving phases", watched=starts, token=token, progress=progress
    )
    _report([answer["rank"] for answer in done], plan)
    return layout.eager(done)


def _graph(
    plan: Plan, pieces: Iterator[dict[str, Any]], token: str
) -> tuple[list[Any], list[Any]]:
    """Return one delayed answer per piece, and the starts that they are made of."""
    from batteryxr.cdi.bragg.kernels.starts import combine

    answers, starts = [], []
    for number, piece in enumerate(pieces):
        problem = blocks.delayed(_prepare)(piece, plan.seed, plan.free)
        runs = [
            blocks.delayed(_start)(problem, plan, number, k, token)
            for k in range(plan.n_starts)
        ]
        starts += runs
        answers.append(blocks.delayed(combine)(problem, runs, plan.n_best, plan.select))
    return answers, starts


def _prepare(piece: dict[str, np.ndarray | None], seed: int, free: float) -> Problem:
    from batteryxr.cdi.bragg.kernels.starts import prepare

    intensity = piece["intensity"]
    assert intensity is not None
    return prepare(
        intensity,
        generators(seed, 1)[0],
        free=free,
        support=piece["support"],
        initial=piece["initial"],
    )


def _start(problem: Problem, plan: Plan, number: int, k: int, token: str) -> Finished:
    """Run the k-th start of a piece, or take it from the store."""
    from batteryxr.cdi.bragg.kernels.starts import run

    def watch(iteration: int, residual: float) -> None:
        if is_stopped(token):
            raise InterruptedError(f"stopped at iteration {iteration}")

    def made() -> Finished:
        rng = generators(plan.seed, k + 2)[k + 1]
        begun = plan.begin(problem, k, watch) if plan.begin else problem
        return run(begun, plan.options, rng, watch=watch)

    if plan.store is None:
        return made()
    ledger = Ledger(plan.store, f"{plan.group}/{number}/{k}")
    mark = mark_of(problem, plan.options, plan.seed, k, plan.begin)
    if (known := ledger.get("start")) is not None:
        ledger.claim(mark)
        return as_start(known)
    finished = made()
    ledger.claim(mark)
    arrays, attrs = as_piece(finished)
    ledger.put("start", arrays, **attrs)
    return finished


def _counts(volume: xr.DataArray | xr.Dataset, caller: str) -> xr.DataArray:
    if isinstance(volume, xr.Dataset):
        require_variables(volume, ["intensity"], caller=caller)
        intensity = volume["intensity"]
        if "mask" in volume:
            intensity = intensity.where(volume["mask"] == 0)
    else:
        intensity = volume
    require_dims(intensity, VOLUME, caller=caller)
    sizes = {dim: intensity.sizes[dim] for dim in VOLUME}
    if min(sizes.values()) < 8:
        raise ArgumentError("volume", sizes, "at least 8 voxels along each axis")
    if intensity.dtype.kind not in "iuf":
        raise ArgumentError("volume", str(intensity.dtype), "real counts")
    return intensity.transpose(..., *VOLUME)


def _pieces(
    intensity: xr.DataArray, support: xr.DataArray | None, initial: xr.DataArray | None
) -> Iterator[dict[str, Any]]:
    """Yield the arrays of each problem, one for each index of the leading dims."""
    lead = [str(d) for d in intensity.dims[:-3]]
    for index in np.ndindex(*(intensity.sizes[d] for d in lead)):
        where = dict(zip(lead, index, strict=True))
        piece: dict[str, Any] = {"intensity": intensity.isel(where).data}
        for name, given in (("support", support), ("initial", initial)):
            piece[name] = None
            if given is not None:
                own = {d: i for d, i in where.items() if d in given.dims}
                piece[name] = _fitting(name, given.isel(own), piece["intensity"].shape)
        yield piece


def _fitting(name: str, given: xr.DataArray, shape: tuple[int, ...]) -> Any:
    for axes in (OBJECT, VOLUME):
        if set(axes) == set(given.dims) and given.transpose(*axes).shape == shape:
            return given.transpose(*axes).data
    raise ArgumentError(
        name, dict(given.sizes), f"{dict(zip(OBJECT, shape, strict=True))}"
    )


def _check_patterns(intensity: xr.DataArray, caller: str) -> None:
    """Raise where there are no counts; warn where the peak is off the centre."""
    shape = intensity.shape[-3:]
    farthest: list[int] = []
    for number, pattern in enumerate(intensity.values.reshape(-1, *shape)):
        if not np.nansum(pattern) > 0:
            raise ArgumentError(
                "volume", f"pattern {number}", "counts", "It holds none; leave it out."
            )
        peak = np.unravel_index(np.nanargmax(pattern), shape)
        away = [abs(int(p) - n // 2) for p, n in zip(peak, shape, strict=True)]
        if any(8 * a > n for a, n in zip(away, shape, strict=True)):
            farthest = max(farthest, away)
    if farthest:
        warn_quality(
            f"{caller}: the brightest voxel lies {farthest} voxels from the centre; "
            "the object will carry a steep phase ramp. Crop round the peak first."
        )


def _report(ranks: list[np.ndarray], plan: Plan) -> None:
    failed = [int((rank == 0).sum()) for rank in ranks]
    if all(count == plan.n_starts for count in failed):
        raise ConvergenceError(
            f"{plan.caller}: every start lost its support, which vanished or filled "
            "the volume. Change `threshold` or `sigma`, give a `support`, or look "
            "whether the volume holds a Bragg peak at its centre."
        )
    if any(failed):
        warn_quality(
            f"{plan.caller}: {sum(failed)} of {plan.n_starts * len(ranks)} starts lost "
            "their support (rank 0). Another `threshold` may suit the data better."
        )
