"""Monte Carlo chains over both factors: annealing, draws, ranges, convergence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batteryxr.nmf.kernels import alternate, metropolis, normal
from batteryxr.nmf.kernels.feasible import (
    Scatter,
    Walk,
    explore,
    inherited,
    left_over,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.nmf.kernels.alternate import Rules, Run
    from batteryxr.nmf.kernels.feasible import Range
    from batteryxr.nmf.kernels.normal import Normal, Terms
    from batteryxr.nmf.kernels.schedule import Sampling

#: Fraction of accepted proposals to which the step size is tuned.
_ACCEPTED = 0.35


@dataclass
class Chain:
    """Hold the results of a chain.

    Parameters
    ----------
    run
        The state refined to the nearest optimum.
    acceptance
        Fraction of proposals accepted at T = 1.
    excess
        Mean misfit of the draws over that of the optimum, as a ratio.
    weights, components
        (draws, k, samples) and (draws, k, points): noise and rotation together; None
        if the chain was stopped earlier.
    noise, scatter
        (k, samples) and (k, points): standard deviation of the weights and of the
        components about the optimum by noise alone.
    range
        Range of all factorisations that fit equally well.
    """

    run: Run
    acceptance: float
    excess: float = np.nan
    weights: np.ndarray | None = None
    components: np.ndarray | None = None
    noise: np.ndarray | None = None
    scatter: np.ndarray | None = None
    range: Range | None = None


class NoiseFacts(NamedTuple):
    """Hold what is known of the noise.

    Parameters
    ----------
    variance
        Variance of a value of the data, in the units of their statistical weights.
    scans
        (k,) bool: components that are fixed scans, whose noise counts.
    memory
        Variance of weights over that for noise without memory, see `adding_up`.
    """

    variance: float
    scans: np.ndarray
    memory: float = 1.0


def run_chain(
    data: Normal,
    start: np.ndarray,
    rules: Rules,
    rng: np.random.Generator,
    noise: NoiseFacts,
    schedule: Sampling,
    *,
    tick: Callable[[], bool],
) -> Chain:
    """Run one chain.

    Parameters
    ----------
    data
        Normal equations of either half.
    start
        (k, points); fixed rows hold the fixed components.
    rules
        Fixed components and closure.
    rng
        Random numbers.
    noise
        Noise of the data.
    schedule
        Lengths, and the temperature at the start.
    tick
        Function called after each sweep; True stops the chain.
    """
    variance, scans, memory = noise
    state = _State(data, start, rules, rng)
    stopped = False
    cold = max(schedule.sweeps // 2, 1)
    for sweep in range(schedule.sweeps):
        temperature = schedule.hottest ** max(1 - sweep / cold, 0.0)
        state.propose(variance * temperature)
        if stopped := tick():
            break
    drawn: list[tuple[np.ndarray, np.ndarray]] = []
    misfits = []
    for sweep in range(0 if stopped else schedule.total - schedule.sweeps):
        state.draw(variance)
        if stopped := tick():
            break
        kept = sweep - schedule.settling + 1
        if kept > 0 and kept % schedule.thin == 0:
            drawn.append((state.w.copy(), state.h.copy()))
            misfits.append(state.misfit())
    run = alternate.factorise(data, state.h, replace(rules, tol=1e-6))
    chain = Chain(run, state.acceptance)
    if stopped or len(drawn) < schedule.draws:
        return chain
    optimum = run.error**2 * data.total
    chain.excess = float(np.mean(misfits) / max(optimum, 1e-300))
    free = ~rules.fixed
    left = left_over(run.weights, scans, free, data.shape[1], closure=rules.closure)
    level = _level(data, variance, optimum / left)
    covariance = inherited(run.weights, scans, free) if scans.any() else None
    chain.range = explore(
        run.weights,
        run.components,
        rules.fixed,
        rng,
        closure=rules.closure,
        noise=Scatter(level, covariance, memory=memory),
        walk=Walk(schedule.rotations, schedule.draws),
    )
    # Add the scatter of the draws around each equally good factorisation.
    w, h = (np.array(part) for part in zip(*drawn, strict=True))
    chain.weights, chain.components = w - w.mean(axis=0), h - h.mean(axis=0)
    chain.noise, chain.scatter = _about(w, run.weights), _about(h, run.components)
    chain.scatter[rules.fixed] = 0.0
    if scans.any():
        chain.noise = _carry(chain, scans, rules, level, rng)
    chain.noise = chain.noise * np.sqrt(memory)
    turns = np.resize(
        chain.range.rotations, (schedule.draws, *chain.range.rotations[0].shape)
    )
    chain.weights += np.linalg.inv(turns).transpose(0, 2, 1) @ run.weights
    chain.components += turns @ run.components
    np.maximum(chain.weights, 0.0, out=chain.weights)
    np.maximum(chain.components, 0.0, out=chain.components)
    chain.components[:, rules.fixed] = run.components[rules.fixed]
    if rules.closure:
        chain.weights /= chain.weights.sum(axis=1, keepdims=True)
    return chain


def _about(draws: np.ndarray, optimum: np.ndarray) -> np.ndarray:
    """Return how far draws (draws, ...) scatter.

    No draw falls below zero: at this bound the distance from it tells the noise.
    """
    off = np.where(optimum > 0.0, draws.mean(axis=0), optimum)
    return np.asarray(np.sqrt(((draws - off) ** 2).mean(axis=0)))


def _level(data: Normal, noise: float, misfit: float) -> float:
    """Return the standard deviation of a value in the unit of the components.

    It is the noise, or the misfit per value where that is larger.
    """
    if isinstance(data, normal.Weighted):
        count, total = int((data.v > 0).sum()), float(data.v.sum())
    else:
        count = data.shape[0] * data.shape[1]
        total = float(count)
    return float(np.sqrt(max(noise * count, misfit) / total))


def _carry(
    chain: Chain,
    scans: np.ndarray,
    rules: Rules,
    level: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Move the draws by the noise of fixed scans, in place; return the total noise.

    A fixed scan brings its noise into the weights of all others: directly, and through
    the free components, which absorb the noise it leaves.
    """
    run, weights = chain.run, np.asarray(chain.weights)
    free = run.weights[~rules.fixed]
    own = np.linalg.pinv(free @ free.T, hermitian=True)
    reach = run.weights[scans] - run.weights[scans] @ free.T @ own @ free
    spread = np.linalg.pinv(run.components @ run.components.T, hermitian=True)
    if rules.closure:
        total = spread.sum(axis=1)
        spread = spread - np.outer(total, total) / total.sum()
    values, axes = np.linalg.eigh(spread)
    root = level * axes * np.sqrt(np.maximum(values, 0.0))
    moves = rng.normal(size=(len(weights), int(scans.sum()), len(root))) @ root.T
    weights -= np.einsum("djk,js->dks", moves, reach)
    far = np.outer((root**2).sum(axis=1), (reach**2).sum(axis=0))
    return np.sqrt(np.asarray(chain.noise) ** 2 + far)


class _State:
    """Hold both factors of a chain, and change their entries."""

    def __init__(
        self,
        data: Normal,
        start: np.ndarray,
        rules: Rules,
        rng: np.random.Generator,
    ) -> None:
        self.data, self.rng = data, rng
        self.closure = rules.closure
        self.free = ~np.asarray(rules.fixed, dtype=bool)
        self.all = np.ones(len(start), dtype=bool)
        self.h = np.ascontiguousarray(start, dtype=np.float64)
        shares = rng.dirichlet(np.ones(len(start)), data.shape[0]).T
        self.w = np.ascontiguousarray(shares)
        self.step_h = self.step_w = 1.0
        self.acceptance = np.nan

    def propose(self, temperature: float) -> None:
        """Sweep over both factors with Metropolis proposals of tuned size."""
        terms = self._for_components()
        accepted = metropolis.propose_entries(
            self.rng, terms, self.h, self.free, temperature, self.step_h
        )
        if self.free.any():
            self.step_h *= np.exp(0.2 * (accepted - _ACCEPTED))
        terms = self._for_weights()
        if self.closure:
            moved = metropolis.propose_transfers(
                self.rng, terms, self.w, temperature, self.step_w
            )
        else:
            moved = metropolis.propose_entries(
                self.rng, terms, self.w, self.all, temperature, self.step_w
            )
            self._rescale()
        self.step_w *= np.exp(0.2 * (moved - _ACCEPTED))
        self.acceptance = 0.5 * (accepted + moved) if self.free.any() else moved

    def draw(self, temperature: float) -> None:
        """Sweep over both factors with draws from each entry's conditional."""
        terms = self._for_components()
        metropolis.draw_entries(self.rng, terms, self.h, self.free, temperature)
        terms = self._for_weights()
        if self.closure:
            metropolis.draw_transfers(self.rng, terms, self.w, temperature)
        else:
            metropolis.draw_entries(self.rng, terms, self.w, self.all, temperature)
            self._rescale()

    def misfit(self) -> float:
        """Return the weighted sum of squared residuals."""
        return self.data.misfit(self.w, self.h, self.data.for_components(self.w))

    def _rescale(self) -> None:
        """Scale components to unit norm, as the scale is free without closure."""
        norm = np.linalg.norm(self.h, axis=1)
        norm = np.where(self.free & (norm > 0), norm, 1.0)[:, None]
        self.h /= norm
        self.w *= norm

    def _for_components(self) -> Terms:
        return _stacked(*self.data.for_components(self.w))

    def _for_weights(self) -> Terms:
        return _stacked(*self.data.for_weights(self.h))


def _stacked(gram: np.ndarray, rhs: np.ndarray) -> Terms:
    grams = gram[None] if gram.ndim == 2 else gram
    return (
        np.ascontiguousarray(grams, dtype=np.float64),
        np.ascontiguousarray(rhs, dtype=np.float64),
    )


def potential_scale(draws: np.ndarray) -> np.ndarray:
    """Return R-hat of split chains: near 1 where all chains agree.

    Gelman & Rubin, Stat. Sci. 7, 457 (1992); split as in Vehtari et al., Bayesian
    Anal. 16, 667 (2021).

    Parameters
    ----------
    draws
        (chains, draws, ...).

    Returns
    -------
    numpy.ndarray
        (...), NaN where nothing varies.
    """
    half = draws.shape[1] // 2
    split = np.concatenate([draws[:, :half], draws[:, half : 2 * half]])
    within = split.var(axis=1, ddof=1).mean(axis=0)
    between = split.mean(axis=1).var(axis=0, ddof=1)
    least = 1e-24 * np.maximum((draws**2).mean(axis=(0, 1)), 1e-300)
    varies = within + between > least
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.sqrt((within * (half - 1) / half + between) / within)
    return np.where(varies, ratio, np.nan)


def effective_size(draws: np.ndarray) -> np.ndarray:
    """Return how many independent values `draws` (chains, draws, ...) are worth.

    The initial monotone sequence of summed autocorrelations (Geyer, Stat. Sci. 7, 473,
    1992) is taken over all chains together, including the variance between chains.
    The result is NaN where nothing varies.
    """
    chains, n = draws.shape[:2]
    centred = draws - draws.mean(axis=1, keepdims=True)
    size = 2 ** int(np.ceil(np.log2(2 * n)))
    power = np.abs(np.fft.rfft(centred, size, axis=1)) ** 2
    covariance = np.fft.irfft(power, size, axis=1)[:, :n].mean(axis=0) / n
    within = covariance[0] * n / (n - 1)
    total = within * (n - 1) / n
    if chains > 1:
        total = total + draws.mean(axis=1).var(axis=0, ddof=1)
    varies = total > 1e-24 * np.maximum((draws**2).mean(axis=(0, 1)), 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = 1 - (within - covariance) / total
    pairs = rho[0 : n - n % 2 : 2] + rho[1:n:2]
    pairs = np.minimum.accumulate(pairs, axis=0)
    stays = np.logical_and.accumulate(pairs > 0, axis=0)
    time = 2 * np.where(stays, pairs, 0.0).sum(axis=0) - 1
    return np.where(varies, chains * n / np.maximum(time, 1.0), np.nan)
