"""Factorisation of a series whose peaks drift: components that stretch.

A lattice that expands on heating or breathes on cycling moves all peaks of its
pattern. Fixed components would need more and more of them. Here each phase keeps one
pattern and has, besides its ratio, one stretch per scan.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr

from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.kernels.cores import allowed, single
from batteryxr.core.labels import OwnLabels, even_step
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.nmf.constraints import OF_FIT, PENALTIES, Constraints, constrain
from batteryxr.nmf.data import in_unit_of_data
from batteryxr.nmf.results import label_components, labelled, legend_of
from batteryxr.nmf.solving import gapless, run_starts
from batteryxr.nmf.starting import begin

if TYPE_CHECKING:
    from batteryxr.core.checks import Count, NonNegative, Seed
    from batteryxr.nmf.data import Patterns
    from batteryxr.nmf.joining import Several
    from batteryxr.nmf.kernels.alternate import Rules
    from batteryxr.nmf.kernels.stretch import Elastic, Spacing, Stretched
    from batteryxr.nmf.starting import Fixed, Starts

    Pair = tuple[np.ndarray, np.ndarray]

#: Combinations of drifts that a search starts from.
_DRIFTS = 25
#: Iterations given to each start, and how many of the best go on.
_STAGES = ((3, 4), (25, 2))


@recorded
def fit_stretched(
    data: Several,
    n_components: Count | None = None,
    *,
    fixed: Annotated[Fixed, OwnLabels()] = None,
    closure: bool = True,
    constraints: Constraints | None = None,
    drift: Annotated[float, Bounds(above=0.0, below=0.3)] = 0.02,
    stiffness: NonNegative = 0.1,
    seed: Seed = 0,
    max_iter: Count = 300,
    tol: NonNegative = 1e-5,
    progress: bool | None = None,
) -> xr.Dataset:
    """Factorise a series into components that stretch along their axis.

    Reads once, into memory. Pattern i is the sum of ``w_ij h_j(x / a_ij)``: the peaks
    of component j lie at a_ij times their place in the component.

    Parameters
    ----------
    data
        A series without gaps, on a regular axis on which drift is proportional to the
        abscissa: r or d, or q where the stretch is meant in reciprocal space.
    n_components
        Number of components, fixed ones included.
    fixed, closure
        As in `fit`.
    constraints
        As in `fit`, without penalties or scale. The shift is None, ``"minimum"`` or a
        number, because only a constant is unchanged by stretching.
    drift
        Largest relative stretch over the series that is searched for.
    stiffness
        Pull of each stretch towards the line through its neighbours; 0 for none.
    seed
        Seed of the starts.
    max_iter, tol
        Stop after so many iterations, or when ten lower the error by less than this
        fraction.
    progress
        Show a bar: True, False, or None (in terminals and notebooks only).

    Returns
    -------
    xarray.Dataset
        As in `fit`, with ``stretch`` (scan, component). It is 1 at the first scan with
        0.9 of the component's largest weight; the component shows that scan's pattern.

    Raises
    ------
    ArgumentError
        If the shift is not constant.
    DataError
        If the data have gaps, or an irregular axis.

    Notes
    -----
    The model: Gu et al., npj Comput. Mater. 10, 193 (2024); the solver is our own.

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit_stretched(2, max_iter=20)
    >>> list(fit.data_vars)[:4]
    ['components', 'fixed', 'on_bound', 'shift_curve']
    """
    constraints = constraints or Constraints()
    constraints.refuse("fit_stretched", *PENALTIES, *OF_FIT, "scale")
    if constraints.shift_kind in ("curve", "envelope"):
        raise ArgumentError(
            "shift",
            constraints.shift,
            "None, 'minimum' or a number",
            "A curve would stretch with the components, the data's shift does not.",
        )
    patterns = constrain(data, constraints)
    starts = begin(patterns, n_components, fixed, seed=seed)
    rules = constraints.rules(starts.is_fixed, closure, max_iter=max_iter, tol=tol)
    x, grid = _series(patterns)
    pairs = _starts(x, grid, starts, rules, drift=drift)
    from batteryxr.nmf.kernels.stretch import Elastic

    elastic = Elastic(stiffness, 2 * drift)
    best = _search(x, grid, pairs, rules, elastic=elastic, progress=progress)
    if not best.converged:
        warn_quality(
            f"not converged within {max_iter} rounds (relative error "
            f"{best.error:.4g}). Raise max_iter, or look whether it matters.",
        )
    _finish(best, grid, rules)
    result = _labelled(patterns, starts, best, x, closure=closure)
    result = in_unit_of_data(result, patterns.unit, closure=closure)
    result.attrs |= {
        "scale": "closure" if closure else "norm",
        "closure": int(closure),
        "shift_kind": constraints.shift_kind,
        "solver": "stretched",
        "seed": int(seed),
        "converged": int(best.converged),
        "signal": patterns.signal,
        "model": "data = sum of weights . components(x / stretch)",
    }
    return result


def _series(patterns: Patterns) -> tuple[np.ndarray, Spacing]:
    """Return the patterns and their axis."""
    if not patterns.series or not patterns.held:
        raise DataError(
            "data",
            f"has the sizes {dict(patterns.data.sizes)}; expected one series that fits "
            "in memory",
        )
    x, v, samples, points = gapless(patterns)
    if v is not None or not samples.all() or not points.all():
        raise DataError("data", "patterns with gaps", "Select or fill them.")
    signal = patterns.signal
    if even_step(patterns.data, signal, caller="fit_stretched") < 0:
        raise DataError(signal, "a falling axis", "Use data.sortby(...).")
    return x, _grid(patterns.data[signal])


def _search(
    x: np.ndarray,
    grid: Spacing,
    starts: list[Pair],
    rules: Rules,
    *,
    elastic: Elastic,
    progress: bool | None,
) -> Stretched:
    """Start from several drifts, continue the most promising, return the best."""
    from batteryxr.nmf.kernels import stretch

    with (
        single(),
        ThreadPoolExecutor(allowed()) as pool,
        bar(None, "Trying drifts", total=len(starts) + 7, progress=progress) as shown,
    ):

        def all_of(runs: list[Pair], rounds: int) -> list[Stretched]:
            brief = replace(rules, max_iter=rounds)
            improved = pool.map(
                lambda h, a: stretch.factorise(x, grid, h, a, brief, elastic),
                *zip(*runs, strict=True),
            )
            done = []
            for run in improved:
                done.append(run)
                shown.update(1)
            return done

        # The plain fit leads at first even when it is wrong: continue it separately.
        plain, *drifting = all_of(starts, _STAGES[0][0])
        for (_, survivors), rounds in zip(
            _STAGES, (_STAGES[1][0], rules.max_iter), strict=True
        ):
            drifting.sort(key=lambda run: run.error)
            going = [plain, *drifting[:survivors]]
            plain, *drifting = all_of(
                [(run.components, run.stretch) for run in going], rounds
            )
    return min([plain, *drifting], key=lambda run: run.error)


def _starts(
    x: np.ndarray, grid: Spacing, starts: Starts, rules: Rules, *, drift: float
) -> list[Pair]:
    """Return initial guesses: a plain fit, and equal mixtures that drift."""
    from batteryxr.nmf.kernels.stretch import Parts, improve_components

    (samples, points), n = x.shape, starts.n
    rng = generator(starts.seed)
    along = np.linspace(0.0, 1.0, samples)
    plain = run_starts(x, None, starts, rules)
    pairs = [(plain.components, np.ones((n, samples)))]
    common = _common_drift(x, grid, drift)
    far = 2 * common if abs(common) > 0.1 * drift else drift
    rates = np.linspace(min(0.0, far), max(0.0, far), 5)
    # Components that drift alike at the start are never separated.
    ways = itertools.combinations(rates, n) if n <= len(rates) else iter(())
    choices = list(ways) or list(itertools.combinations_with_replacement(rates, n))
    if len(choices) > _DRIFTS:
        picked = rng.choice(len(choices), _DRIFTS, replace=False)
        choices = [choices[i] for i in np.sort(picked)]
    fixed = rules.fixed
    equal = np.full((n, samples), 1.0 / n)
    for rate in choices:
        a = 1.0 + np.outer(rate, along)
        noise = rng.uniform(0.7, 1.3, (n, points))
        h = np.maximum(x.mean(axis=0), 0.0) * noise
        h[fixed] = starts.fixed
        parts = Parts(h, equal, a)
        improve_components(x, parts, h.copy(), 1.0, grid, ~fixed, 20)
        pairs.append((h, a))
    return pairs


def _common_drift(x: np.ndarray, grid: Spacing, drift: float) -> float:
    """Return the stretch that makes the first pattern most like the last."""
    from batteryxr.nmf.kernels import stretch

    rates = np.linspace(-drift, drift, 81)
    first, last = x[0] - x[0].mean(), x[-1] - x[-1].mean()
    moved, _ = stretch.stretched(np.tile(first, (81, 1)), 1.0 + rates, grid)
    return float(rates[np.argmax(moved @ last)])


def _finish(best: Stretched, grid: Spacing, rules: Rules) -> None:
    """Refer free components to their main scan, and to unit norm, in place."""
    from batteryxr.nmf.kernels import stretch

    h, w, a = best.components, best.weights, best.stretch
    for j in np.flatnonzero(~rules.fixed):
        here = int(np.argmax(w[j] >= 0.9 * w[j].max()))
        h[j : j + 1], _ = stretch.stretched(h[j : j + 1], a[j, here : here + 1], grid)
        a[j] /= a[j, here]
        if not rules.closure:
            length = np.linalg.norm(h[j])
            h[j], w[j] = h[j] / length, w[j] * length


def _labelled(
    patterns: Patterns, starts: Starts, best: Stretched, x: np.ndarray, *, closure: bool
) -> xr.Dataset:
    """Return the Dataset of components, weights, stretches and residuals."""
    from batteryxr.nmf.kernels.comparing import appearance

    w = best.weights
    order = appearance(w)
    out = label_components(
        legend_of(patterns), starts, best.components[order], order, closure=closure
    )
    residual = _residual(best, x, patterns.data[patterns.signal])
    shift = 0.0 if patterns.shift is None else patterns.shift
    power = np.sqrt(np.mean((x + shift) ** 2, axis=1))
    (dim,), units = patterns.samples, patterns.units
    both = (dim, "component")
    unit, word = ("1", "Ratio") if closure else (units, "Weight")
    texts = ("Root mean square residual", "Residual relative to the pattern")
    error = "Relative error of the factorisation"
    table: dict[str, tuple[Any, Any, str, str]] = {
        "weights": (both, w[order].T, unit, word),
        "stretch": (both, best.stretch[order].T, "1", "Stretch of a component"),
        "residual": (dim, residual, units, texts[0]),
        "relative_residual": (dim, residual / power, "1", texts[1]),
        "relative_error": ((), best.error, "1", error),
    }
    return xr.Dataset(
        out | {name: labelled(name, *parts) for name, parts in table.items()}
    )


def _residual(best: Stretched, x: np.ndarray, axis: xr.DataArray) -> np.ndarray:
    """Return the root mean square residual of each pattern."""
    from batteryxr.nmf.kernels import stretch

    grid = _grid(axis)
    residual = np.empty(len(x))
    for i in range(len(x)):
        basis, _ = stretch.stretched(best.components, best.stretch[:, i].copy(), grid)
        model = best.weights[:, i] @ basis
        residual[i] = np.sqrt(np.mean((x[i] - model) ** 2))
    return residual


def stretched_series(result: xr.Dataset, chosen: list[str]) -> xr.DataArray:
    """Return the sum of chosen components, each stretched and weighted."""
    from batteryxr.nmf.kernels import stretch

    part = result.sel(component=chosen)
    axis = str(result.attrs["signal"])
    grid = _grid(part[axis])
    lift = part["shift_curve"].values if result.attrs.get("closure", 1) else 0.0
    h = part["components"].transpose("component", axis).values - lift
    weights = part["weights"].transpose(..., "component")
    a = part["stretch"].transpose(*weights.dims).values
    series = np.empty((len(a), part.sizes[axis]))
    for i in range(len(a)):
        basis, _ = stretch.stretched(np.ascontiguousarray(h), a[i].copy(), grid)
        series[i] = weights.values[i] @ (basis + lift)
    dims = (weights.dims[0], axis)
    return xr.DataArray(series, dims=dims, coords={axis: part[axis]})


def _grid(axis: xr.DataArray) -> Spacing:
    """Return the first value and step of an axis."""
    from batteryxr.nmf.kernels.stretch import Spacing

    values = axis.values.astype(np.float64)
    return Spacing(float(values[0]), float(values[1] - values[0]))
