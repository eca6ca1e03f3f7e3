"""How many components? Indicators side by side; the choice stays with the scientist."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import label
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators
from batteryxr.nmf.preparing import held, prepare
from batteryxr.nmf.problem import refuse_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.nmf.kernels.alternate import Normal, Run
    from batteryxr.nmf.layout import Several, Shift
    from batteryxr.nmf.problem import Problem

_COLUMNS = {
    "held_out_error": "Relative error on held-out blocks",
    "held_out_error_error": "Standard error of the held-out error",
    "held_out_excess": "Held-out error above the lowest, in the same blocks",
    "held_out_excess_error": "Standard error of the held-out excess",
    "held_out_pick": "Fewest components with an excess within its standard error",
    "cophenetic": "Cophenetic correlation over starts",
    "silhouette": "Lowest silhouette of a component over starts",
    "chi2": "χ² per degree of freedom",
    "eigenvalue": "Eigenvalue of the n-th principal component",
    "share": "Share of the n-th eigenvalue",
    "ind": "Malinowski's indicator IND",
    "nmf_error": "Relative error of the factorisation",
    "svd_error": "Relative error of the singular value decomposition",
    "error_ratio": "Error of the factorisation over that of the SVD",
}


@recorded
def model_order(
    data: Several,
    *,
    orders: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8),
    signal: str | None = None,
    closure: bool = True,
    shift: Shift = None,
    errors: float | xr.DataArray | None = None,
    mask: xr.DataArray | None = None,
    folds: int = 8,
    n_starts: int = 10,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Show side by side what speaks for each number of components.

    Reads once; a large stack by a random sample of its patterns. Decides nothing:
    where peaks shift along the series every automatic rule asks for more and more
    components. Where they do not, the held-out error, read by one standard error,
    finds the right number.

    Held-out error: Owen & Perry, Ann. Appl. Stat. 3, 564 (2009). One standard error:
    Breiman et al., Classification and Regression Trees (1984).

    Parameters
    ----------
    data, signal, closure, shift, errors, mask
        As of `fit`.
    orders
        Numbers of components to try, rising.
    folds
        Blocks that are held out, each about half the patterns and half the points.
    n_starts
        Random starts that stability is judged from.
    seed
        Of folds and starts.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        Along ``n``: ``held_out_error`` (bi-cross-validation) with its standard error;
        ``held_out_excess`` above the lowest of these, compared block by block, with
        its standard error; ``held_out_pick``, True at the smallest n whose excess is
        within one such error, which is the rule to read it by: more components than
        needed predict hardly worse; ``cophenetic`` and
        ``silhouette`` (near 1 while starts agree); ``chi2`` where errors were given
        (near 1 when all is explained); ``eigenvalue``, ``share`` and ``ind`` of the
        principal components; ``nmf_error``, ``svd_error`` and their ratio (1.000:
        non-negativity does not bite, and the answer is ambiguous by rotation).
    """
    ns = sorted({int(n) for n in orders})
    if not ns or ns[0] < 1:
        raise ArgumentError("orders", list(orders), "whole numbers of at least 1")
    if folds < 2 or n_starts < 2:
        raise ArgumentError("folds, n_starts", (folds, n_starts), "at least 2 each")
    problem, _ = prepare(
        data,
        ns[-1],
        signal=signal,
        closure=closure,
        shift=shift,
        fixed=None,
        errors=errors,
        mask=mask,
        seed=seed,
        caller="model_order",
    )
    values, v = _patterns(problem)
    refuse_rank(ns[-1], min(values.shape) // 2, "half of the smaller dimension")
    columns = _judge(problem, values, v, ns, folds, n_starts, progress)
    index = xr.DataArray(
        ns, dims="n", attrs={"units": "1", "long_name": "Number of components"}
    )
    result = xr.Dataset(
        {
            name: label(
                xr.DataArray(columns[name], dims="n", coords={"n": index}),
                name,
                units="1",
                long_name=text,
            )
            for name, text in _COLUMNS.items()
            if name in columns
        }
    )
    error = result["held_out_error"].values
    result.attrs["saturated"] = int(len(ns) < 2 or np.argmin(error) < len(ns) - 1)
    if not result.attrs["saturated"]:
        warn_quality(
            f"the held-out error still falls at n = {ns[-1]}: more components help, "
            "or peaks shift along the series and no number of fixed patterns will do "
            "(see fit_stretched). Look at where its fall slows down.",
        )
    return result


def _patterns(problem: Problem) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (samples, points) without gaps, and statistical weights if they differ."""
    from batteryxr.nmf.solving import gapless
    from batteryxr.nmf.streaming import sample

    if held(problem.layout):
        values, v, *_ = gapless(problem)
    else:
        values, v, _ = sample(problem)
    return values, v


def _judge(
    problem: Problem,
    values: np.ndarray,
    v: np.ndarray | None,
    ns: list[int],
    folds: int,
    n_starts: int,
    progress: bool | None,
) -> dict[str, np.ndarray]:
    from threadpoolctl import threadpool_limits

    from batteryxr.nmf.kernels import alternate, crossval, starts

    names = [n for n in _COLUMNS if n not in ("eigenvalue", "share", "ind")]
    columns = {name: np.full(len(ns), np.nan) for name in names}
    if problem.errors is None:
        del columns["chi2"]
    blind = np.empty((len(ns), folds))
    rngs = generators(problem.seed, folds)
    blocks = [crossval.fold(len(values), values.shape[1], rng) for rng in rngs]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        scores, axes = starts.denoise(values, min(values.shape))
        power = (scores**2).sum(axis=0)
        whole: Normal = (
            alternate.Plain(values) if v is None else alternate.Weighted(values, v)
        )
        top = min(ns[-1] + 3, len(power))
        quick: Normal = whole
        if v is None:
            quick = alternate.Plain(
                scores[:, :top], axes[:, :top], whole.total, whole.mean
            )
        warm: np.ndarray | None = None
        for i, n in enumerate(
            track(ns, "Trying numbers of components", progress=progress)
        ):
            rules = replace(problem.rules, fixed=np.zeros(n, dtype=bool))
            jobs = [
                pool.submit(crossval.held_out, values, v, rules, *block, n, rng)
                for block, rng in zip(
                    blocks, generators(problem.seed + n, folds), strict=True
                )
            ]
            runs = [
                pool.submit(_one_start, values, quick, rules, n, rng)
                for rng in generators(problem.seed + 1000 + n, n_starts)
            ]
            held_out = [job.result() for job in jobs]
            found = [run.result() for run in runs]
            best = _best(values, whole, rules, n, found, warm)
            warm = best.components
            blind[i] = held_out
            columns["held_out_error"][i] = np.mean(held_out)
            columns["held_out_error_error"][i] = np.std(held_out, ddof=1) / np.sqrt(
                folds
            )
            columns["cophenetic"][i] = crossval.cophenetic(
                np.array([r.weights.argmax(axis=0) for r in found])
            )
            columns["silhouette"][i] = crossval.silhouette(
                [r.components for r in found]
            )
            columns["nmf_error"][i] = best.error
            columns["svd_error"][i] = np.sqrt(power[n:].sum() / power.sum())
            if v is not None:
                columns["svd_error"][i] = np.nan
            if "chi2" in columns:
                columns["chi2"][i] = _chi2(problem, best, whole, v, values, n)
    excess = blind - blind[blind.mean(axis=1).argmin()]
    columns["held_out_excess"] = excess.mean(axis=1)
    columns["held_out_excess_error"] = excess.std(axis=1, ddof=1) / np.sqrt(folds)
    within = columns["held_out_excess"] <= columns["held_out_excess_error"]
    columns["held_out_pick"] = np.arange(len(ns)) == int(within.argmax())
    pick = np.array(ns) - 1
    ratio = columns["nmf_error"] / np.where(
        columns["svd_error"] > 0, columns["svd_error"], np.nan
    )
    return columns | {
        "error_ratio": ratio,
        "eigenvalue": power[pick],
        "share": power[pick] / power.sum(),
        "ind": crossval.indicator(power, max(values.shape))[pick],
    }


def _one_start(
    values: np.ndarray, data: Normal, rules: object, n: int, rng: np.random.Generator
) -> Run:
    from batteryxr.nmf.kernels import alternate, starts

    start = starts.at_random(values, n, rng)
    return alternate.factorise(data, start, rules, max_iter=300, tol=1e-4)  # type: ignore[arg-type]


def _best(
    values: np.ndarray,
    data: Normal,
    rules: object,
    n: int,
    found: list[Run],
    warm: np.ndarray | None,
) -> Run:
    """Polish the best start, and the last order's answer with a component added."""
    from batteryxr.nmf.kernels import alternate, starts

    candidates = [min(found, key=lambda r: r.error).components]
    if warm is not None and len(warm) < n:
        rows = starts.pure_samples(values, n - len(warm), warm)
        candidates.append(np.vstack([warm, np.maximum(values[rows], 0.0)]))
    runs = [
        alternate.factorise(data, c, rules, max_iter=300)  # type: ignore[arg-type]
        for c in candidates
    ]
    return min(runs, key=lambda r: r.error)


def _chi2(
    problem: Problem,
    best: Run,
    data: Normal,
    v: np.ndarray | None,
    values: np.ndarray,
    n: int,
) -> float:
    """Return chi squared over data points less parameters."""
    if v is None:  # equal errors of all values
        return np.nan
    samples, points = values.shape
    # A rotation of n x n between the factors is no parameter of the fit.
    closure = problem.rules.closure
    free = samples * (n - closure) + points * n - n * (n - closure)
    degrees = int((v > 0).sum()) - free
    return best.error**2 * data.total / degrees if degrees > 0 else np.nan
