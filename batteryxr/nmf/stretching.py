"""Factorisation of a series whose peaks drift: components that stretch.

A lattice that expands on heating or breathes on cycling moves every peak of its
pattern. Fixed components answer with more and more of them; here each phase keeps one
pattern and has, besides its ratio, one stretch per scan.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import label
from batteryxr.core.progress import bar
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.nmf.preparing import held, prepare
from batteryxr.nmf.results import sample_coords

if TYPE_CHECKING:
    from batteryxr.nmf.kernels.stretch import Stretched
    from batteryxr.nmf.layout import Fixed, Several
    from batteryxr.nmf.problem import Problem

    Pair = tuple[np.ndarray, np.ndarray]

#: Combinations of drifts that a search starts from.
_DRIFTS = 25
#: Rounds given to each start, and how many of the best go on.
_STAGES = ((3, 4), (25, 2))


@recorded
def fit_stretched(
    data: Several,
    n: int,
    *,
    signal: str | None = None,
    closure: bool = True,
    shift: str | float | None = None,
    fixed: Fixed = None,
    drift: float = 0.02,
    stiffness: float = 0.1,
    seed: int = 0,
    max_iter: int = 300,
    tol: float = 1e-5,
    progress: bool | None = None,
) -> xr.Dataset:
    """Factorise a series into components that stretch along their axis.

    Reads once, into memory. Pattern i is the sum of ``w_ij h_j(x / a_ij)``: the peaks
    of component j lie at a_ij times their place in the component.

    Parameters
    ----------
    data
        A series without gaps, on a regular axis on which drift is proportional to the
        abscissa: r or d, or q where stretches are those of reciprocal space.
    n
        Number of components, fixed ones included.
    signal, closure, fixed, seed, progress
        As of `fit`.
    shift
        None, ``"minimum"`` or a number: only a constant survives stretching.
    drift
        Largest relative stretch over the series that is searched for.
    stiffness
        Pull of each stretch towards the line through its neighbours; 0 for none.
    max_iter, tol
        Stop after so many rounds, or when ten lower the error by less than this
        fraction.

    Returns
    -------
    xarray.Dataset
        As of `fit`, with ``stretch`` (scan, component): 1 at the first scan that has
        0.9 of the component's largest weight, whose pattern the component shows.

    Raises
    ------
    ArgumentError
        For gaps, an irregular axis, or a shift that is not constant.

    Notes
    -----
    Gu et al., npj Comput. Mater. 10, 193 (2024), has the model; the solver is ours.
    """
    if isinstance(shift, xr.DataArray) or shift == "envelope":
        raise ArgumentError(
            "shift",
            "a curve",
            "None, 'minimum' or a number",
            "A curve would stretch with the components, the data's shift does not.",
        )
    if not 0 < drift < 0.3:
        raise ArgumentError("drift", drift, "between 0 and 0.3")
    if not stiffness >= 0:
        raise ArgumentError("stiffness", stiffness, "0 or more")
    problem, _ = prepare(
        data,
        n,
        signal=signal,
        closure=closure,
        shift=shift,
        fixed=fixed,
        seed=seed,
        max_iter=max_iter,
        tol=tol,
        caller="fit_stretched",
    )
    x, grid = _series(problem)
    best = _search(problem, x, grid, drift, stiffness, progress)
    if not best.converged:
        warn_quality(
            f"not converged within {max_iter} rounds (relative error "
            f"{best.error:.4g}). Raise max_iter, or look whether it matters.",
        )
    result = _labelled(problem, best, x, grid)
    result.attrs |= {
        "scale": "closure" if closure else "norm",
        "closure": int(closure),
        "shift_kind": shift if isinstance(shift, str) else _kind(shift),
        "solver": "stretched",
        "seed": int(seed),
        "converged": int(best.converged),
        "signal": problem.layout.signal,
        "model": "data = sum of weights . components(x / stretch)",
    }
    return result


def _kind(shift: Any) -> str:
    return "none" if shift is None else "constant"


def _series(problem: Problem) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the patterns, and the first value and step of their axis."""
    from batteryxr.nmf.solving import gapless

    layout = problem.layout
    if not layout.series or not held(layout):
        raise ArgumentError(
            "data", dict(layout.data.sizes), "one series that fits in memory"
        )
    x, v, samples, points = gapless(problem)
    if v is not None or not samples.all() or not points.all():
        raise ArgumentError(
            "data", "patterns with gaps", "complete patterns", "Select or fill them."
        )
    axis = layout.data[layout.signal].values.astype(np.float64)
    step = float(axis[1] - axis[0])
    if not np.allclose(np.diff(axis), step, rtol=1e-3):
        raise ArgumentError(
            layout.signal,
            "an irregular axis",
            "equal steps",
            f"Interpolate: data.interp({layout.signal}=np.linspace(...)).",
        )
    if step < 0:
        raise ArgumentError(
            layout.signal, "a falling axis", "a rising one", "Use data.sortby(...)."
        )
    return x, (float(axis[0]), step)


def _search(
    problem: Problem,
    x: np.ndarray,
    grid: tuple[float, float],
    drift: float,
    stiffness: float,
    progress: bool | None,
) -> Stretched:
    """Start from several drifts, follow the most promising, return the best."""
    from threadpoolctl import threadpool_limits

    from batteryxr.nmf.kernels import stretch

    def improved(h: np.ndarray, a: np.ndarray, max_iter: int) -> Stretched:
        return stretch.factorise(
            x,
            grid,
            h,
            a,
            problem.rules.fixed,
            closure=problem.rules.closure,
            stiffness=stiffness,
            max_iter=max_iter,
            tol=problem.tol,
            limit=2 * drift,
        )

    starts = _starts(problem, x, grid, drift)
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        bar(None, "Trying drifts", total=len(starts) + 7, progress=progress) as shown,
    ):

        def all_of(runs: list[Pair], rounds: int) -> list[Stretched]:
            done = []
            for run in pool.map(lambda pair: improved(pair[0], pair[1], rounds), runs):
                done.append(run)
                shown.update(1)
            return done

        # The plain fit leads at first even where it leads astray: follow it apart.
        plain, *drifting = all_of(starts, _STAGES[0][0])
        for (_, survivors), rounds in zip(
            _STAGES, (_STAGES[1][0], problem.max_iter), strict=True
        ):
            drifting.sort(key=lambda run: run.error)
            going = [plain, *drifting[:survivors]]
            plain, *drifting = all_of(
                [(run.components, run.stretch) for run in going], rounds
            )
    return min([plain, *drifting], key=lambda run: run.error)


def _starts(
    problem: Problem, x: np.ndarray, grid: tuple[float, float], drift: float
) -> list[Pair]:
    """Return components and stretches: a plain fit, and equal mixtures that drift."""
    from batteryxr.nmf.kernels import stretch
    from batteryxr.nmf.solving import factorise_samples

    n, samples = problem.n, len(x)
    rng = generator(problem.seed)
    along = np.linspace(0.0, 1.0, samples)
    plain = factorise_samples(problem, x, None, np.ones(x.shape[1], dtype=bool))
    starts = [(plain.components, np.ones((n, samples)))]
    common = _common_drift(x, grid, drift)
    far = 2 * common if abs(common) > 0.1 * drift else drift
    rates = np.linspace(min(0.0, far), max(0.0, far), 5)
    # Components that drift alike at the start are never told apart.
    ways = itertools.combinations(rates, n) if n <= len(rates) else iter(())
    choices = list(ways) or list(itertools.combinations_with_replacement(rates, n))
    if len(choices) > _DRIFTS:
        picked = rng.choice(len(choices), _DRIFTS, replace=False)
        choices = [choices[i] for i in np.sort(picked)]
    fixed = problem.rules.fixed
    equal = np.full((n, samples), 1.0 / n)
    for rate in choices:
        a = 1.0 + np.outer(rate, along)
        noise = rng.uniform(0.7, 1.3, (n, x.shape[1]))
        h = np.maximum(x.mean(axis=0), 0.0) * noise
        h[fixed] = problem.known.patterns
        stretch.improve_components(x, h, h.copy(), 1.0, equal, a, *grid, ~fixed, 20)
        starts.append((h, a))
    return starts


def _common_drift(x: np.ndarray, grid: tuple[float, float], drift: float) -> float:
    """Return the stretch that makes the first pattern most like the last."""
    from batteryxr.nmf.kernels import stretch

    rates = np.linspace(-drift, drift, 81)
    first, last = x[0] - x[0].mean(), x[-1] - x[-1].mean()
    moved, _ = stretch.stretched(np.tile(first, (81, 1)), 1.0 + rates, *grid)
    return float(rates[np.argmax(moved @ last)])


def _labelled(
    problem: Problem, best: Stretched, x: np.ndarray, grid: tuple[float, float]
) -> xr.Dataset:
    from batteryxr.nmf.kernels import stretch
    from batteryxr.nmf.kernels.match import appearance

    layout, rules = problem.layout, problem.rules
    h, w, a = best.components, best.weights, best.stretch
    for j in np.flatnonzero(~rules.fixed):
        here = int(np.argmax(w[j] >= 0.9 * w[j].max()))
        h[j : j + 1], _ = stretch.stretched(h[j : j + 1], a[j, here : here + 1], *grid)
        a[j] /= a[j, here]
        if not rules.closure:
            length = np.linalg.norm(h[j])
            h[j], w[j] = h[j] / length, w[j] * length
    residual = np.empty(len(x))
    for i in range(len(x)):
        basis, _ = stretch.stretched(h, a[:, i].copy(), *grid)
        residual[i] = np.sqrt(np.mean((x[i] - w[:, i] @ basis) ** 2))
    power = np.sqrt(np.mean((x + problem.shift) ** 2, axis=1))
    order = appearance(w)
    patterns = (h + problem.shift if rules.closure else h)[order]
    fixed = rules.fixed[order]
    if rules.closure:
        patterns[fixed] = problem.raw[order[fixed]]
    (dim,), axis = layout.samples, layout.signal
    units = str(layout.data.attrs.get("units", "1"))
    names = iter(f"CP{i}" for i in range(1, problem.n + 1))
    known = problem.known.names
    component = xr.DataArray(
        [known[i] if i < len(known) else next(names) for i in order],
        dims="component",
        attrs={"units": "1", "long_name": "Component"},
    )

    def make(name: str, dims: Any, values: Any, unit: str, text: str) -> xr.DataArray:
        return label(xr.DataArray(values, dims=dims), name, units=unit, long_name=text)

    both = (dim, "component")
    closed = rules.closure
    out = xr.Dataset(
        {
            "components": make(
                "components",
                ("component", axis),
                patterns,
                units if closed else "1",
                "Component",
            ),
            "weights": make(
                "weights",
                both,
                w[order].T,
                "1" if closed else units,
                "Ratio" if closed else "Weight",
            ),
            "stretch": make("stretch", both, a[order].T, "1", "Stretch of a component"),
            "residual": make(
                "residual", dim, residual, units, "Root mean square residual"
            ),
            "relative_residual": make(
                "relative_residual",
                dim,
                residual / power,
                "1",
                "Residual relative to the pattern",
            ),
            "fixed": make("fixed", "component", fixed, "1", "Component was held fixed"),
            "shift_curve": make(
                "shift_curve",
                axis,
                problem.shift,
                units,
                "Curve subtracted from every pattern",
            ),
            "relative_error": make(
                "relative_error",
                (),
                best.error,
                "1",
                "Relative error of the factorisation",
            ),
        }
    )
    coords = sample_coords(layout) | {axis: layout.data[axis], "component": component}
    return out.assign_coords(coords)


def stretched_series(result: xr.Dataset, chosen: list[str]) -> xr.DataArray:
    """Return the sum of chosen components, each stretched and weighted."""
    from batteryxr.nmf.kernels import stretch

    part = result.sel(component=chosen)
    axis = str(result.attrs["signal"])
    r = part[axis].values.astype(np.float64)
    grid = (float(r[0]), float(r[1] - r[0]))
    lift = part["shift_curve"].values if result.attrs.get("closure", 1) else 0.0
    h = part["components"].transpose("component", axis).values - lift
    weights = part["weights"].transpose(..., "component")
    a = part["stretch"].transpose(*weights.dims).values
    series = np.empty((len(a), r.size))
    for i in range(len(a)):
        basis, _ = stretch.stretched(np.ascontiguousarray(h), a[i].copy(), *grid)
        series[i] = weights.values[i] @ (basis + lift)
    dims = (weights.dims[0], axis)
    return xr.DataArray(series, dims=dims, coords={axis: part[axis]})
