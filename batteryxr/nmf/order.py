"""Indicators of the number of components, side by side; the choice stays open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.kernels.cores import allowed, single
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators
from batteryxr.nmf.constraints import OF_FIT, PENALTIES, Constraints, constrain
from batteryxr.nmf.held import tell_errors
from batteryxr.nmf.results import labelled
from batteryxr.nmf.solving import gapless
from batteryxr.nmf.starting import begin, refuse_rank
from batteryxr.nmf.streaming import sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.checks import Count, Positive, Seed
    from batteryxr.nmf.joining import Several
    from batteryxr.nmf.kernels.alternate import Rules, Run
    from batteryxr.nmf.kernels.normal import Normal
    from batteryxr.nmf.solving import Block

#: Largest number of patterns that the indicators use.
_DRAWN = 2000
_COLUMNS = {
    "held_out_error": "Relative error on held-out blocks",
    "held_out_error_error": "Standard error of the held-out error",
    "held_out_excess": "Held-out error above the lowest, in the same blocks",
    "held_out_excess_error": "Standard error of the held-out excess",
    "held_out_pick": "Fewest components with an excess within its standard error",
    "cophenetic": "Cophenetic correlation over starts",
    "silhouette": "Lowest silhouette of a component over starts",
    "chi2": "χ² per degree of freedom",
    "explained_variance": "Variance along the n-th principal component",
    "explained_variance_ratio": "Fraction of the variance along it",
    "indicator": "Malinowski's indicator",
    "nmf_error": "Relative error of the factorisation",
    "svd_error": "Relative error of the singular value decomposition",
    "error_ratio": "Error of the factorisation over that of the SVD",
}


@recorded
def model_order(
    data: Several,
    n_components: Sequence[Count] = (1, 2, 3, 4, 5, 6, 7, 8),
    *,
    closure: bool = True,
    constraints: Constraints | None = None,
    errors: Positive | xr.DataArray | None = None,
    folds: Annotated[int, Bounds(low=2)] = 8,
    n_starts: Annotated[int, Bounds(low=2)] = 10,
    seed: Seed = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Show side by side the evidence for each number of components.

    Reads once. Beyond 2000 patterns a random sample of them is used, which
    ``attrs["patterns_drawn"]`` states; it may miss a phase found in fewer than one
    pattern in a hundred. No number is chosen: where peaks shift along the series, each
    automatic rule asks for more and more components. Where they do not, the held-out
    error, read by one standard error, finds the right number.

    Held-out error: Owen & Perry, Ann. Appl. Stat. 3, 564 (2009). One standard error:
    Breiman et al., Classification and Regression Trees (1984).

    Parameters
    ----------
    data
        As in `fit`.
    n_components
        Numbers of components to try, rising.
    closure, constraints, errors
        As in `fit`, without penalties.
    folds
        Number of held-out blocks, each about half the patterns and half the points.
    n_starts
        Number of random starts from which stability is judged.
    seed
        Seed of folds and starts.
    progress
        Show a bar: True, False, or None (in terminals and notebooks only).

    Returns
    -------
    xarray.Dataset
        Along ``n_components``: ``held_out_error`` (bi-cross-validation) with its
        standard error; ``held_out_excess`` above the lowest of these, compared block
        by block, with its standard error; ``held_out_pick``, True at the smallest
        number whose excess is within one such error. Read the order from this pick:
        more components than needed predict hardly worse. Also ``cophenetic`` and
        ``silhouette`` (near 1 while starts agree); ``chi2`` where errors were given
        (near 1 when all is explained); ``explained_variance``, its ``_ratio`` and
        Malinowski's ``indicator`` of the principal components, not centred;
        ``nmf_error``, ``svd_error`` and their ratio (at 1.000 non-negativity has no
        effect, and the answer is ambiguous by rotation).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> order = spectra.nmf.model_order((1, 2, 3, 4), n_starts=3)
    >>> order["explained_variance_ratio"].dims
    ('n_components',)
    """
    ns = sorted({int(n) for n in n_components})
    if not ns:
        raise ArgumentError("n_components", n_components, "at least one number")
    constraints = constraints or Constraints()
    constraints.refuse("model_order", *PENALTIES, *OF_FIT, "scale")
    patterns = constrain(data, constraints, errors)
    starts = begin(patterns, ns[-1], None, seed=seed)
    rules = constraints.rules(starts.is_fixed, closure)
    block = gapless(patterns) if patterns.held else sample(patterns, seed)
    there = len(block.values) if patterns.held else patterns.n_samples
    block = _drawn(block, seed)
    refuse_rank(ns[-1], min(block.values.shape) // 2, "half of the smaller dimension")
    trial = _Trial(block, rules, folds, n_starts, seed)
    columns = _judge(trial, ns, progress)
    if errors is None:
        del columns["chi2"]
    else:
        tell_errors(block, ns[-1])
    index = xr.DataArray(
        ns,
        dims="n_components",
        attrs={"units": "1", "long_name": "Number of components"},
    )
    out = {
        name: labelled(name, "n_components", columns[name], "1", text)
        for name, text in _COLUMNS.items()
        if name in columns
    }
    result = xr.Dataset(out).assign_coords(n_components=index)
    if len(block.values) < there:
        result.attrs["patterns_drawn"] = f"{len(block.values)} of {there}"
    error = result["held_out_error"].values
    result.attrs["saturated"] = int(len(ns) < 2 or np.argmin(error) < len(ns) - 1)
    if not result.attrs["saturated"]:
        warn_quality(
            f"the held-out error still falls at {ns[-1]} components: more help, "
            "or peaks shift along the series and no number of fixed patterns will do "
            "(see fit_stretched). Look at where its fall slows down.",
        )
    return result


def _drawn(block: Block, seed: int) -> Block:
    """Return at most `_DRAWN` patterns, drawn at random."""
    if len(block.values) <= _DRAWN:
        return block
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(block.values), _DRAWN, replace=False))
    return block._replace(
        values=block.values[rows], v=None if block.v is None else block.v[rows]
    )


@dataclass(frozen=True)
class _Trial:
    """Hold the data, rules and numbers shared by all numbers of components."""

    block: Block
    rules: Rules
    folds: int
    n_starts: int
    seed: int


def _judge(
    trial: _Trial, ns: list[int], progress: bool | None
) -> dict[str, np.ndarray]:
    """Return all columns of the result."""
    from batteryxr.core.kernels.decompose import indicator, leading
    from batteryxr.nmf.kernels import comparing, normal

    values, v = trial.block.values, trial.block.v
    rngs = generators(trial.seed, trial.folds)
    outs = [comparing.fold(len(values), values.shape[1], rng) for rng in rngs]
    rows: list[dict[str, float]] = []
    blind = np.empty((len(ns), trial.folds))
    with single(), ThreadPoolExecutor(allowed()) as pool:
        scores, axes = leading(values, min(values.shape))
        power = (scores**2).sum(axis=0)
        whole: Normal = (
            normal.Plain(values) if v is None else normal.Weighted(values, v)
        )
        top = min(ns[-1] + 3, len(power))
        quick: Normal = whole
        if v is None:
            quick = normal.Plain(
                scores[:, :top], axes[:, :top], whole.total, whole.mean
            )
        warm: np.ndarray | None = None
        shown = track(ns, "Trying numbers of components", progress=progress)
        for i, n in enumerate(shown):
            rules = replace(trial.rules, fixed=np.zeros(n, dtype=bool))
            jobs = [
                pool.submit(comparing.held_out, values, v, rules, n, rng, out=out)
                for out, rng in zip(
                    outs, generators(trial.seed + n, trial.folds), strict=True
                )
            ]
            runs = [
                pool.submit(_one_start, values, quick, rules, n, rng=rng)
                for rng in generators(trial.seed + 1000 + n, trial.n_starts)
            ]
            blind[i] = [job.result() for job in jobs]
            found = [run.result() for run in runs]
            best = _best(values, whole, rules, found, warm=warm)
            warm = best.components
            svd = np.sqrt(power[n:].sum() / power.sum()) if v is None else np.nan
            rows.append(_row(trial.block, rules, found, best, total=whole.total))
            rows[-1]["svd_error"] = svd
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    columns |= _held_out(blind)
    pick = np.array(ns) - 1
    bound = columns["svd_error"]
    return columns | {
        "error_ratio": columns["nmf_error"] / np.where(bound > 0, bound, np.nan),
        "explained_variance": power[pick] / len(values),
        "explained_variance_ratio": power[pick] / power.sum(),
        "indicator": indicator(power, max(values.shape))[pick],
    }


def _held_out(blind: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns that follow from the held-out errors (numbers, folds)."""
    folds = np.sqrt(blind.shape[1])
    excess = blind - blind[blind.mean(axis=1).argmin()]
    above, error = excess.mean(axis=1), excess.std(axis=1, ddof=1) / folds
    return {
        "held_out_error": blind.mean(axis=1),
        "held_out_error_error": blind.std(axis=1, ddof=1) / folds,
        "held_out_excess": above,
        "held_out_excess_error": error,
        "held_out_pick": np.arange(len(blind)) == int((above <= error).argmax()),
    }


def _row(
    block: Block, rules: Rules, found: list[Run], best: Run, *, total: float
) -> dict[str, float]:
    """Return the indicators that the starts give for one number of components."""
    from batteryxr.nmf.kernels import comparing

    groups = np.array([r.weights.argmax(axis=0) for r in found])
    return {
        "cophenetic": comparing.cophenetic(groups),
        "silhouette": comparing.silhouette([r.components for r in found]),
        "nmf_error": best.error,
        "chi2": _chi2(block, rules, best, total),
    }


def _one_start(
    values: np.ndarray, data: Normal, rules: Rules, n: int, *, rng: np.random.Generator
) -> Run:
    from batteryxr.nmf.kernels import alternate, starts

    start = starts.at_random(values, n, rng)
    return alternate.factorise(data, start, replace(rules, max_iter=300, tol=1e-4))


def _best(
    values: np.ndarray,
    data: Normal,
    rules: Rules,
    found: list[Run],
    *,
    warm: np.ndarray | None,
) -> Run:
    """Polish the best start, and the previous answer with one component added."""
    from batteryxr.nmf.kernels import alternate, starts

    n = len(rules.fixed)
    candidates = [min(found, key=lambda r: r.error).components]
    if warm is not None and len(warm) < n:
        rows = starts.pure_samples(values, n - len(warm), warm)
        candidates.append(np.vstack([warm, np.maximum(values[rows], 0.0)]))
    runs = [
        alternate.factorise(data, c, replace(rules, max_iter=300)) for c in candidates
    ]
    return min(runs, key=lambda r: r.error)


def _chi2(block: Block, rules: Rules, best: Run, total: float) -> float:
    """Return chi squared over data points less parameters."""
    if block.v is None:  # equal errors of all values
        return np.nan
    samples, points = block.values.shape
    n = len(rules.fixed)
    # A rotation of n x n between the factors is not a parameter of the fit.
    free = samples * (n - rules.closure) + points * n - n * (n - rules.closure)
    degrees = int((block.v > 0).sum()) - free
    return best.error**2 * total / degrees if degrees > 0 else np.nan
