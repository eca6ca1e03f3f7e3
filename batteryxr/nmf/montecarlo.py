"""Monte Carlo factorisation: several chains, and how far they agree."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import label
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators
from batteryxr.nmf.posterior import label_chains
from batteryxr.nmf.preparing import held, prepare
from batteryxr.nmf.problem import EQUAL
from batteryxr.nmf.results import arrange, label_result, lengths
from batteryxr.nmf.solving import (
    compare_runs,
    gapless,
    normal_equations,
    spread_out,
)

if TYPE_CHECKING:
    from batteryxr.nmf.kernels.sampling import Chain, Plan
    from batteryxr.nmf.layout import Fixed, Several, Shift
    from batteryxr.nmf.problem import Problem

#: Draws of all chains together hold at most so many numbers.
_HELD = 50_000_000


@recorded
def metropolis(
    data: Several,
    n: int | None = None,
    *,
    signal: str | None = None,
    closure: bool = True,
    shift: Shift = None,
    fixed: Fixed = None,
    errors: float | xr.DataArray | None = None,
    mask: xr.DataArray | None = None,
    pattern_scale: xr.DataArray | None = None,
    n_chains: int = 4,
    seed: int = 0,
    sweeps: int = 3000,
    hottest: float = 300.0,
    draws: int = 200,
    thin: int = 2,
    rotations: int = 160_000,
    progress: bool | None = None,
) -> xr.Dataset:
    """Factorise by Metropolis Monte Carlo, with the spread of every ratio.

    Reads once. Each chain starts at random, accepts changes of single values of
    components and of pairs of weights by Metropolis' rule while the temperature falls
    to that of the noise, then draws from the posterior. Single values cannot turn all
    components together, though many such turns fit alike: the draws are spread over
    all of those, walked by hit-and-run. Interrupted (KeyboardInterrupt) it returns what
    the chains have by then.

    Parameters
    ----------
    data, n, signal, closure, shift, fixed, mask, pattern_scale
        As of `fit`. Components without closure have unit area.
    errors
        Standard deviations of the data. Without, the noise is what n components
        leave of the data.
    n_chains
        Independent chains.
    seed
        Each chain has its own stream of random numbers.
    sweeps
        Metropolis sweeps of each chain; a sweep tries every value once.
    hottest
        Temperature at the start; it falls to 1 by half of the sweeps.
    draws, thin
        Draws kept of each chain, one in `thin` sweeps.
    rotations
        Steps of each chain over the factorisations that fit alike.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        As of `fit`, of the best chain refined to the nearest optimum, and ``weights``
        and ``components`` with ``_error`` (root mean square distance of the draws from
        it), ``_low`` and ``_high`` (the range of all that fits alike, and three
        standard deviations of noise). ``weights_quantiles`` (quantile) of the draws,
        for which all that fits alike is equally likely: the truth lies between low and
        high, but may well be near an end. ``rhat`` and ``effective_draws`` of each
        weight, near 1 and large where the chains have converged. Of each ``chain``:
        ``chain_weights``, ``chain_components``, ``chain_error``, ``chain_similarity``
        (to the best), ``chain_acceptance`` and ``chain_excess``, the mean misfit of its
        draws over the optimum's.

    Raises
    ------
    ArgumentError, DimensionError
        Before any long work.

    Notes
    -----
    Metropolis et al., J. Chem. Phys. 21, 1087 (1953); factorisation of pair
    distribution functions by it: Geddes et al., Chem. Commun. 55, 13346 (2019).
    """
    from batteryxr.nmf.kernels.sampling import Plan

    for name, number in {
        "n_chains": n_chains,
        "sweeps": sweeps,
        "draws": draws,
        "thin": thin,
        "rotations": rotations,
    }.items():
        least = 4 if name == "draws" else 1
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ArgumentError(name, number, f"an integer >= {least}")
    if not 1 <= hottest < np.inf:
        raise ArgumentError("hottest", hottest, "a temperature >= 1, that of the noise")
    problem, levels = prepare(
        data,
        n,
        signal=signal,
        closure=closure,
        shift=shift,
        fixed=fixed,
        errors=errors,
        mask=mask,
        pattern_scale=pattern_scale,
        start="random",
        n_starts=n_chains,
        seed=seed,
        caller="metropolis",
    )
    if not held(problem.layout):
        raise ArgumentError(
            "data",
            f"{problem.layout.n_samples} patterns",
            "a series that fits in memory",
            "Sample a part of the stack, then `fit(stack, fixed=part)`.",
        )
    size = problem.n * (problem.layout.n_samples + problem.layout.n_points) * n_chains
    plan = Plan(
        cooling=sweeps,
        settling=max(sweeps // 10, 20),
        draws=max(min(draws, _HELD // size), 4),
        thin=thin,
        rotations=rotations,
        hottest=float(hottest),
    )
    return _sample(problem, levels, plan, n_chains, seed, progress)


def _sample(
    problem: Problem,
    levels: xr.DataArray | None,
    plan: Plan,
    n_chains: int,
    seed: int,
    progress: bool | None,
) -> xr.Dataset:
    values, v, samples, points = gapless(problem)
    scale, normal, svd_error = normal_equations(problem, values, v, False)
    count = values.size if v is None else int((v > 0).sum())
    chains, noise, stopped = _run(
        problem, normal, values, scale, points, count, plan, n_chains, seed, progress
    )
    for chain in chains:
        chain.run.components = chain.run.components * scale
        if chain.components is not None:
            chain.components *= scale
        if chain.range is not None:
            chain.range.components *= scale
        if not problem.rules.closure:
            _to_unit_area(problem, chain, points)
    runs = [c.run for c in chains]
    lowest = min(r.error for r in runs)
    best = next(i for i, r in enumerate(runs) if r.error <= EQUAL * lowest + 1e-12)
    answer = spread_out(compare_runs(runs, svd_error, problem), samples, points)
    order = arrange(problem, answer, "area")
    result = label_result(problem, answer, order, scale="area", levels=levels)
    result = _starts_are_chains(result)
    out = label_chains(problem, chains, best, order, samples, points, result)
    out["noise"] = label(
        xr.DataArray(float(np.sqrt(noise))),
        "noise",
        units=_units(problem) if problem.errors is None else "1",
        long_name="Noise at T = 1 (relative to the errors where these were given)",
    )
    result = result.assign(out)
    shift_kind = "curve" if problem.shifted else "none"
    result.attrs |= {
        "closure": int(problem.rules.closure),
        "shift_kind": shift_kind,
        "solver": "metropolis",
        "seed": int(seed),
        "interrupted": int(stopped),
        "model": "data = weights . components",
    }
    _tell(result, stopped)
    return result


def _starts_are_chains(result: xr.Dataset) -> xr.Dataset:
    """Rename what a factorisation tells of its starts."""
    told = ["start", *(k for k in map(str, result.data_vars) if k.startswith("start_"))]
    renamed = result.rename({name: name.replace("start", "chain") for name in told})
    for name in told:
        attrs = renamed[name.replace("start", "chain")].attrs
        text = attrs["long_name"].replace("start", "chain").replace("Start", "Chain")
        attrs["long_name"] = text
    return renamed


def _run(
    problem: Problem,
    normal: Any,
    values: np.ndarray,
    scale: np.ndarray,
    points: np.ndarray,
    count: int,
    plan: Plan,
    n_chains: int,
    seed: int,
    progress: bool | None,
) -> tuple[list[Chain], float, bool]:
    """Run all chains side by side; return them, the noise, and whether stopped."""
    from threading import Event

    from threadpoolctl import threadpool_limits

    from batteryxr.nmf.kernels import alternate, starts
    from batteryxr.nmf.kernels.sampling import run_chain

    fixed = problem.rules.fixed
    given = problem.given()[:, points] / scale
    rngs = generators(seed, n_chains + 1)
    scaled = values / scale
    done = np.zeros(n_chains, dtype=np.int64)
    stop = Event()

    def start(rng: np.random.Generator) -> np.ndarray:
        return starts.complete(scaled, fixed, given, "random", rng)

    def one(i: int) -> Chain:
        def tick() -> bool:
            done[i] += 1
            return stop.is_set()

        return run_chain(
            normal, start(rngs[i]), problem.rules, rngs[i], noise, plan, tick=tick
        )

    with threadpool_limits(1, "blas"):
        noise = 1.0
        if problem.errors is None:
            guess = alternate.factorise(
                normal, start(rngs[-1]), problem.rules, tol=1e-4
            )
            left = count - problem.n * sum(normal.shape)
            noise = guess.error**2 * normal.total / max(left, 1)
            noise = max(noise, 1e-14 * normal.total / count)
        with (
            ThreadPoolExecutor(min(n_chains, os.cpu_count() or 1)) as pool,
            bar(
                None, "Sampling", total=n_chains * plan.sweeps, progress=progress
            ) as shown,
        ):
            futures = [pool.submit(one, i) for i in range(n_chains)]
            try:
                seen, waiting = 0, set(futures)
                while waiting:
                    _, waiting = wait(waiting, timeout=0.1)
                    shown.update(int(done.sum()) - seen)
                    seen = int(done.sum())
            except BaseException as error:
                stop.set()
                if not isinstance(error, KeyboardInterrupt):
                    raise
            chains = [f.result() for f in futures]
    return chains, noise, stop.is_set()


def _to_unit_area(problem: Problem, chain: Chain, points: np.ndarray) -> None:
    """Scale the free components of a chain as those of the result will be."""
    free = ~problem.rules.fixed
    whole = np.zeros((problem.n, points.size))
    whole[:, points] = chain.run.components
    length = np.where(free, lengths(whole, problem, "area"), 1.0)[:, None]
    chain.run.components = chain.run.components / length
    chain.run.weights = chain.run.weights * length
    if chain.components is not None and chain.weights is not None:
        chain.components /= length
        chain.weights *= length
    if chain.range is not None:
        chain.range.components /= length
        chain.range.weights *= length
    if chain.noise is not None:
        chain.noise *= length


def _tell(result: xr.Dataset, stopped: bool) -> None:
    """Warn of chains that were stopped, or do not agree."""
    if stopped:
        warn_quality("interrupted: the chains are as they were, errors are missing")
        return
    worst = float(result["rhat"].quantile(0.95)) if "rhat" in result else np.nan
    if worst > 1.2:
        warn_quality(
            f"the chains disagree: R-hat reaches {worst:.2f}. They found different "
            "regions; compare chain_components, fix a component, or raise sweeps."
        )


def _units(problem: Problem) -> str:
    return str(problem.layout.data.attrs.get("units", "1"))
