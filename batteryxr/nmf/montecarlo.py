"""Monte Carlo factorisation: several chains, and how well they agree."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from batteryxr.core.errors import DataError, warn_quality
from batteryxr.core.kernels.cores import allowed, single
from batteryxr.core.labels import OwnLabels
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators
from batteryxr.nmf.ambiguity import tell_ranges
from batteryxr.nmf.beam import flag_dark, lit
from batteryxr.nmf.constraints import OF_FIT, PENALTIES, Constraints, constrain
from batteryxr.nmf.data import in_unit_of_data
from batteryxr.nmf.held import (
    flag_spikes,
    memory_of,
    noise_of,
    residuals_of,
    spikes_of_fixed,
    tell_noise,
    tell_spikes,
)
from batteryxr.nmf.kernels.schedule import Sampling
from batteryxr.nmf.posterior import Labels, label_chains
from batteryxr.nmf.results import (
    arrange,
    label_result,
    labelled,
    legend_of,
    lengths,
    noise_memory,
    unmix,
    with_knowledge,
)
from batteryxr.nmf.solving import (
    compare_runs,
    gapless,
    index_of_best,
    normal_equations,
    spread_out,
)
from batteryxr.nmf.starting import begin

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.core.checks import Count, Positive, Seed
    from batteryxr.nmf.joining import Several
    from batteryxr.nmf.kernels.alternate import Rules, Run
    from batteryxr.nmf.kernels.normal import Normal
    from batteryxr.nmf.kernels.sampling import Chain
    from batteryxr.nmf.solving import Block
    from batteryxr.nmf.starting import Fixed, Starts

#: Largest number of values that the draws of all chains hold together.
_HELD = 50_000_000


@recorded
def metropolis(
    data: Several,
    n_components: Count | None = None,
    *,
    fixed: Annotated[Fixed, OwnLabels()] = None,
    closure: bool = True,
    constraints: Constraints | None = None,
    errors: Positive | xr.DataArray | None = None,
    sampling: Sampling | None = None,
    seed: Seed = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Factorise by Metropolis Monte Carlo, with the error of each ratio.

    Reads once. Each chain starts at random. While the temperature falls to that of the
    noise, it accepts changes of single values of components and of pairs of weights by
    Metropolis' rule. Then it draws from the posterior. Changes of single values cannot
    rotate all components together, though many rotations fit equally well. The draws
    are therefore spread over all such rotations by hit-and-run. An interrupt
    (KeyboardInterrupt) returns the state of the chains so far.

    Parameters
    ----------
    data, n_components, fixed, closure
        As in `fit`.
    constraints
        As in `fit`, without penalties. Components without closure have unit area
        unless a scale is set here.
    errors
        Standard deviations of the data. By default the noise is estimated from the
        residual of n components.
    sampling
        Number and length of the chains; see `Sampling`.
    seed
        Seed; each chain has its own stream of random numbers.
    progress
        Show a bar: True, False, or None (in terminals and notebooks only).

    Returns
    -------
    xarray.Dataset
        As in `fit`, for the best chain refined to the nearest optimum. ``weights``
        and ``components`` have an ``_error``, and ``_low`` and ``_high`` (the range of
        all equally good answers, plus three standard deviations of noise). An error is
        one standard deviation where only one answer fits, and reaches the farther end
        of the 68 % interval where many do. ``weights_quantiles`` (quantile) are the
        ends of intervals that hold the truth in at least 68 and 95 % of cases,
        wherever it lies among these answers, and the median of the draws.
        ``rhat`` and ``effective_draws`` of each weight are near 1 and large where the
        chains have converged. For each ``chain``:
        ``chain_weights``, ``chain_components``, ``chain_error``, ``chain_similarity``
        (to the best), ``chain_acceptance`` and ``chain_excess``, the mean misfit of its
        draws over that of the optimum.

    Raises
    ------
    ArgumentError, DataError, DimensionError
        If an argument does not fit; raised before any long work.

    Notes
    -----
    Data cannot tell equally good answers apart, so that no interval between them holds
    the truth at a given rate wherever it lies. Intervals therefore hold all of them:
    Imbens & Manski, Econometrica 72, 1845 (2004). Noise that neighbouring points share
    is estimated from the residual, and counts.

    Metropolis et al., J. Chem. Phys. 21, 1087 (1953); factorisation of pair
    distribution functions by it: Geddes et al., Chem. Commun. 55, 13346 (2019).

    Examples
    --------
    >>> from batteryxr.nmf import Sampling
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> few = Sampling(n_chains=2, sweeps=100, draws=20)
    >>> fit = spectra.nmf.metropolis(2, sampling=few)
    >>> list(fit.data_vars)[:4]
    ['components', 'fixed', 'on_bound', 'shift_curve']
    """
    constraints, sampling = constraints or Constraints(), sampling or Sampling()
    constraints.refuse("metropolis", *PENALTIES, *OF_FIT)
    patterns = constrain(data, constraints, errors)
    starts = begin(patterns, n_components, fixed, seed=seed)
    starts = replace(starts, number=sampling.n_chains)
    if not patterns.held:
        raise DataError(
            "data",
            f"{patterns.n_samples} patterns; expected a series that fits in memory",
            "Sample a part of the stack, then `fit(stack, fixed=part)`.",
        )
    size = starts.n * (patterns.n_samples + patterns.n_points) * sampling.n_chains
    sampling = replace(sampling, draws=max(min(sampling.draws, _HELD // size), 4))
    rules = constraints.rules(starts.is_fixed, closure)
    whole = gapless(patterns)
    block, told = whole, errors is not None
    if closure and patterns.series:
        block = lit(whole, starts, patterns.shift)
    chains = _sample(block, starts, rules, sampling, known=told, progress=progress)
    unit, axis = constraints.scale or "area", patterns.data[patterns.signal]
    if not closure:
        for chain in chains.found:
            _to_unit(chain, rules, unit, axis, points=block.points)
    runs = [chain.run for chain in chains.found]
    factors = compare_runs(runs, chains.svd_error, rules)
    factors = spread_out(factors, block.samples, block.points)
    order = arrange(factors, rules, unit, axis, series=patterns.series)
    unmixed = unmix(patterns, factors.components[order], closure)
    legend, spikes = legend_of(patterns), spikes_of_fixed(whole, starts)
    if patterns.series:
        rest, own = residuals_of(block, factors), factors.components[:, block.points]
        memory = memory_of(rest, block.v, own, closure=closure)
        tell_noise(block, starts.n, rest, memory)
        unmixed |= noise_memory(memory)
    result = label_result(legend, unmixed, starts, factors, rules=rules, order=order)
    result = _starts_are_chains(result)
    shift = patterns.shift if closure and patterns.shift is not None else 0.0
    labels = Labels(result, order, block.samples, block.points, shift)
    best = index_of_best(runs)
    result = result.assign(label_chains(chains.found, best, labels, closure))
    if patterns.series:
        result = with_knowledge(result, noise_of(whole) if told else None)
        result = flag_spikes(result, tell_spikes(spikes, patterns), starts)
    noise, units = float(np.sqrt(chains.noise)), "1" if told else patterns.units
    text = "Noise at T = 1 (relative to the errors where these were given)"
    result["noise"] = labelled("noise", (), noise, units, text)
    if closure and patterns.series:
        result = flag_dark(result, whole.samples & ~block.samples)
    result = in_unit_of_data(result, patterns.unit, closure=closure, relative=told)
    result.attrs |= {
        "scale": "closure" if closure else unit,
        "closure": int(closure),
        "shift_kind": constraints.shift_kind,
        "solver": "metropolis",
        "seed": int(seed),
        "interrupted": int(chains.stopped),
        "model": "data = weights . components",
    }
    _warn_of_chains(result, chains.stopped)
    return result


class _Chains(NamedTuple):
    """Hold all chains, the variance of the noise, and whether they were stopped."""

    found: list[Chain]
    noise: float
    svd_error: float
    stopped: bool


def _sample(
    block: Block,
    starts: Starts,
    rules: Rules,
    sampling: Sampling,
    *,
    known: bool,
    progress: bool | None,
) -> _Chains:
    """Run all chains on data without gaps; `known` says that their noise is 1."""
    from batteryxr.nmf.kernels import alternate
    from batteryxr.nmf.kernels.noise import adding_up, unabsorbed
    from batteryxr.nmf.kernels.sampling import NoiseFacts, run_chain

    scale, normal, _, svd_error = normal_equations(block.values, block.v, starts.n)
    begun = _begin_chains(block, scale, starts)
    scans = np.zeros(starts.n, dtype=bool)
    scans[: len(starts.origins)] = [kind == "scan" for kind in starts.origins]
    with single():
        guess = alternate.factorise(normal, begun[-1][0], replace(rules, tol=1e-4))
        noise = 1.0 if known else _noise(block, normal, guess, rules, scans=scans)
        rest = block.values / scale - guess.weights.T @ guess.components
        rest = rest if block.v is None else rest * np.sqrt(block.v)
        memory = adding_up(rest, guess.components, closure=rules.closure)
        if not known:
            noise /= unabsorbed(guess.components, memory, closure=rules.closure)
        told = NoiseFacts(noise, scans, memory)
        tasks = [
            partial(run_chain, normal, start, rules, rng, told, sampling)
            for start, rng in begun[:-1]
        ]
        found, stopped = _side_by_side(tasks, sampling.total, progress)
    for chain in found:
        chain.run.components = chain.run.components * scale
        if chain.components is not None and chain.scatter is not None:
            chain.components *= scale
            chain.scatter *= scale
        if chain.range is not None:
            chain.range.components *= scale
    return _Chains(found, noise, svd_error, stopped)


def _begin_chains(
    block: Block, scale: np.ndarray, starts: Starts
) -> list[tuple[np.ndarray, np.random.Generator]]:
    """Return a random start for each chain, and one spare."""
    from batteryxr.nmf.kernels.starts import complete

    fixed = starts.is_fixed
    given = starts.given()[:, block.points] / scale
    scaled = block.values / scale
    return [
        (complete(scaled, fixed, given, "random", rng), rng)
        for rng in generators(starts.seed, starts.number + 1)
    ]


def _noise(
    block: Block,
    normal: Normal,
    guess: Run,
    rules: Rules,
    *,
    scans: np.ndarray,
) -> float:
    """Return the variance of noise, from the residual of a factorisation."""
    from batteryxr.nmf.kernels.feasible import left_over

    count = block.values.size if block.v is None else int((block.v > 0).sum())
    left = float(count - len(guess.components) * sum(normal.shape))
    if scans.any():
        left = count * left_over(
            guess.weights, scans, ~rules.fixed, normal.shape[1], closure=rules.closure
        )
    noise = guess.error**2 * normal.total / max(left, 1)
    return max(noise, 1e-14 * normal.total / count)


def _side_by_side(
    tasks: list[partial[Chain]], sweeps: int, progress: bool | None
) -> tuple[list[Chain], bool]:
    """Run all chains in threads; return them, and whether they were stopped."""
    done = np.zeros(len(tasks), dtype=np.int64)
    stop = Event()

    def one(i: int) -> Chain:
        def tick() -> bool:
            done[i] += 1
            return stop.is_set()

        return tasks[i](tick=tick)

    total = len(tasks) * sweeps
    with (
        ThreadPoolExecutor(min(len(tasks), allowed())) as pool,
        bar(None, "Sampling", total=total, progress=progress) as shown,
    ):
        futures = [pool.submit(one, i) for i in range(len(tasks))]
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
    return chains, stop.is_set()


def _to_unit(
    chain: Chain, rules: Rules, unit: str, axis: xr.DataArray, *, points: np.ndarray
) -> None:
    """Scale the free components of a chain like those of the result."""
    whole = np.zeros((len(rules.fixed), points.size))
    whole[:, points] = chain.run.components
    length = np.where(rules.fixed, 1.0, lengths(whole, unit, axis))[:, None]
    chain.run.components = chain.run.components / length
    chain.run.weights = chain.run.weights * length
    if chain.components is not None and chain.weights is not None:
        chain.components /= length
        chain.weights *= length
    if chain.range is not None:
        chain.range.components /= length
        chain.range.weights *= length
    if chain.noise is not None and chain.scatter is not None:
        chain.noise *= length
        chain.scatter /= length


def _starts_are_chains(result: xr.Dataset) -> xr.Dataset:
    """Rename the per-start variables to per-chain."""
    told = ["start", *(k for k in map(str, result.data_vars) if k.startswith("start_"))]
    renamed = result.rename({name: name.replace("start", "chain") for name in told})
    for name in told:
        attrs = renamed[name.replace("start", "chain")].attrs
        text = attrs["long_name"].replace("start", "chain").replace("Start", "Chain")
        attrs["long_name"] = text
    return renamed


def _warn_of_chains(result: xr.Dataset, stopped: bool) -> None:
    """Warn if chains were stopped or do not agree, or ratios may differ widely."""
    if result.attrs["closure"] and "range_width" in result:
        tell_ranges(result)
    if stopped:
        warn_quality("interrupted: the chains are as they were, errors are missing")
        return
    worst = float(result["rhat"].quantile(0.95)) if "rhat" in result else np.nan
    if worst > 1.2:
        warn_quality(
            f"the chains disagree: R-hat reaches {worst:.2f}. They found different "
            "regions; compare chain_components, fix a component, or raise the sweeps "
            "of `Sampling`."
        )
