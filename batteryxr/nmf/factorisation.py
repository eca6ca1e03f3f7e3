"""Factorisation of a series or a stack into components and their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks import is_lazy
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.nmf.fixing import Known, resolve_fixed
from batteryxr.nmf.layout import Layout, lay_out, select_rows
from batteryxr.nmf.problem import Answer, Problem
from batteryxr.nmf.results import arrange, label_result
from batteryxr.nmf.shifts import resolve_shift

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.nmf.layout import Several

#: Beyond either of these the data are read in passes instead of held in memory.
_SAMPLES_HELD = 65_536
_BYTES_HELD = 256e6
STARTS = ("pure", "singular", "random")
SOLVERS = ("active-set", "hals", "pure")
SCALES = ("norm", "max", "area")


@recorded
def fit(
    data: Several,
    n: int | None = None,
    *,
    signal: str | None = None,
    closure: bool = True,
    shift: str | float | xr.DataArray | None = None,
    fixed: Mapping[str, int | xr.DataArray] | xr.Dataset | xr.DataArray | None = None,
    errors: float | xr.DataArray | None = None,
    mask: xr.DataArray | None = None,
    pattern_scale: xr.DataArray | None = None,
    solver: str = "active-set",
    start: str | xr.Dataset | xr.DataArray = "pure",
    n_starts: int = 4,
    seed: int = 0,
    sparsity: float = 0.0,
    smoothness: float = 0.0,
    weight_smoothness: float = 0.0,
    scale: str = "norm",
    max_iter: int = 1000,
    tol: float = 1e-5,
    passes: int = 3,
    progress: bool | None = None,
) -> xr.Dataset:
    """Factorise patterns into components and weights: ``data = weights · components``.

    Reads once where the data fit in memory. Larger ones are read ``1 + passes``
    times, in tiles of their chunks; the weights, residuals and flags of dask data
    stay lazy, chunked like the data.

    Parameters
    ----------
    data
        A series (scan, r), a stack (energy, y, x), or several of them: a list, a
        mapping of names, or a DataTree. NaN is missing.
    n
        Number of components, fixed ones included. May be left out where all are
        fixed.
    signal
        The dimension of a pattern; found where it is r, q, energy, two_theta or
        shift.
    closure
        The weights of each pattern sum to one: they are phase ratios. Set it to
        False where the total may vary, such as the thickness in an image.
    shift
        What makes signed patterns non-negative: ``"envelope"``, ``"minimum"``, a
        number or a curve along the signal; see `shifts`. Undone in the components
        under closure; without closure the components describe the shifted data.
    fixed
        Known components: a mapping of names to scan numbers or patterns, or (some
        components of) an earlier fit. They stay bitwise as given.
    errors
        Standard deviations of the data, with any of their dimensions, in their units.
    mask
        True where values are left out.
    pattern_scale
        One positive number per pattern that the data are divided by, such as the
        incident intensity. Stored with the result.
    solver
        ``"active-set"`` (exact halves, extrapolated) or ``"hals"``; ``"pure"`` takes
        the purest patterns as components and refines nothing, which keeps the maps
        of images truer than the lowest residual does.
    start
        The first start: ``"pure"``, ``"singular"`` or ``"random"``, or components to
        start from. All further starts are random.
    n_starts
        Number of starts.
    seed
        Of the random starts, and of the sample of a large stack.
    sparsity
        L1 penalty, as a share of the mean signal of one component (try 0.01).
    smoothness, weight_smoothness
        Penalty on second differences of the components, or on first differences of
        the weights along the series, relative to their squares (try 1, and 0.1).
    scale
        Without closure the free components get unit ``"norm"``, unit ``"max"`` or
        unit ``"area"``, and the weights the units of the data.
    max_iter, tol
        Stop after so many alternations, or when ten lower the error by less than
        this fraction.
    passes
        Full passes over a large stack.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        ``components`` (component, signal); ``weights``, with (scan, component) or
        (component, y, x); per pattern ``residual`` (root mean square),
        ``relative_residual`` and ``flag`` (1: no data), ``chi2`` where errors were
        given; ``fixed``, ``shift_curve``; ``relative_error`` and that of the singular
        value decomposition, which no factorisation of n components can beat; and how
        the starts fared. Components are ordered by first appearance along a series,
        in images by their share.

    Raises
    ------
    ArgumentError, DimensionError
        Before any long work; signed data without a shift among them.

    Notes
    -----
    Kim & Park, SIAM J. Sci. Comput. 33, 3261 (2011); Ang & Gillis, Neural Comput.
    31, 417 (2019).
    """
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
        solver=solver,
        start=start,
        n_starts=n_starts,
        seed=seed,
        sparsity=sparsity,
        smoothness=smoothness,
        weight_smoothness=weight_smoothness,
        max_iter=max_iter,
        tol=tol,
        passes=passes,
    )
    if scale not in SCALES:
        raise ArgumentError("scale", scale, f"one of {SCALES}")
    answer = solve(problem, solver=solver, progress=progress)
    order = arrange(problem, answer, scale)
    result = label_result(problem, answer, order, scale=scale, levels=levels)
    result.attrs |= {
        "closure": int(closure),
        "shift_kind": shift if isinstance(shift, str) else _kind(shift),
        "solver": solver,
        "seed": int(seed),
        "model": _model(closure, problem.shifted),
    }
    _tell(problem, answer, result)
    return result


def prepare(
    data: Several,
    n: int | None,
    *,
    signal: str | None,
    closure: bool,
    shift: Any,
    fixed: Any,
    errors: Any = None,
    mask: xr.DataArray | None = None,
    pattern_scale: xr.DataArray | None = None,
    solver: str = "active-set",
    start: Any = "pure",
    n_starts: int = 1,
    seed: int = 0,
    sparsity: float = 0.0,
    smoothness: float = 0.0,
    weight_smoothness: float = 0.0,
    max_iter: int = 1000,
    tol: float = 1e-5,
    passes: int = 3,
    caller: str = "fit",
) -> tuple[Problem, xr.DataArray | None]:
    """Check every argument of `fit`; return the problem and the pattern scale."""
    from batteryxr.nmf.kernels.alternate import Rules

    layout = lay_out(data, signal, caller=caller)
    generator(seed)
    if solver not in SOLVERS:
        raise ArgumentError("solver", solver, f"one of {SOLVERS}")
    for name, number in (("n_starts", n_starts), ("max_iter", max_iter)):
        if number < 1:
            raise ArgumentError(name, number, "at least 1")
    if passes < 0:
        raise ArgumentError("passes", passes, "0 or more")
    strengths = {
        "sparsity": sparsity,
        "smoothness": smoothness,
        "weight_smoothness": weight_smoothness,
    }
    for name, value in strengths.items():
        if not value >= 0:
            raise ArgumentError(name, value, "0 or more")
    levels = _pattern_levels(layout, pattern_scale)
    deviations = _deviations(layout, errors, levels)
    layout = _replace(layout, levels, mask)
    known = resolve_fixed(layout, fixed)
    curve = resolve_shift(layout, shift)
    shifted = shift is not None
    if shifted:
        layout = Layout(
            layout.data - xr.DataArray(curve, dims=layout.signal),
            layout.samples,
            layout.signal,
        )
    n = _number(n, known, layout)
    names = known.names
    if len(set(names)) < len(names):
        raise ArgumentError("fixed", list(names), "names that differ")
    seen = known.patterns - curve if shifted and not _ready(fixed) else known.patterns
    is_fixed = np.arange(n) < len(known)
    problem = Problem(
        layout=layout,
        errors=deviations,
        shift=curve,
        shifted=shifted,
        known=Known(names, seen),
        raw=known.patterns,
        rules=Rules(
            fixed=is_fixed,
            closure=closure,
            sparsity=sparsity,
            smoothness=smoothness,
            weight_smoothness=weight_smoothness,
            solver="hals" if solver == "hals" else "active-set",
        ),
        n=n,
        start=_start(start, layout, n, known, curve, shifted),
        n_starts=1 if is_fixed.all() else n_starts,
        seed=seed,
        max_iter=max_iter,
        tol=tol,
        passes=passes,
    )
    if not held(layout) and any(strengths.values()):
        raise ArgumentError(
            "sparsity, smoothness, weight_smoothness",
            list(strengths.values()),
            "0 for a stack that is read in passes",
            "Fit a part of it, then `fit(stack, fixed=part)`.",
        )
    if weight_smoothness and not layout.series:
        raise ArgumentError(
            "weight_smoothness", weight_smoothness, "0 for images: pixels have no order"
        )
    return problem, levels


def solve(
    problem: Problem, *, solver: str = "active-set", progress: bool | None = None
) -> Answer:
    """Find the components by the route that the size of the data asks for."""
    from batteryxr.nmf.purity import pick_pure
    from batteryxr.nmf.solving import solve_in_memory
    from batteryxr.nmf.streaming import solve_in_passes

    if solver == "pure":
        return pick_pure(problem)
    if held(problem.layout):
        return solve_in_memory(problem)
    return solve_in_passes(problem, progress=progress)


def held(layout: Layout) -> bool:
    """Tell whether the data are factorised whole, in memory."""
    return (
        layout.n_samples <= _SAMPLES_HELD
        and 8 * layout.n_samples * layout.n_points <= _BYTES_HELD
    )


def _number(n: int | None, known: Known, layout: Layout) -> int:
    if n is None:
        if not len(known):
            raise ArgumentError(
                "n",
                None,
                "the number of components",
                "`model_order(data)` shows what the data support.",
            )
        return len(known)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ArgumentError("n", n, "a whole number of at least 1")
    if n < len(known):
        raise ArgumentError(
            "n", n, f"at least {len(known)}: fixed components count among the n"
        )
    most = min(layout.n_samples, layout.n_points)
    if n > most:
        raise ArgumentError(
            "n",
            n,
            f"at most {most}: there are {layout.n_samples} patterns of "
            f"{layout.n_points} points",
        )
    return int(n)


def _pattern_levels(
    layout: Layout, pattern_scale: xr.DataArray | None
) -> xr.DataArray | None:
    levels = select_rows(layout, pattern_scale, "pattern_scale")
    if levels is None:
        return None
    if layout.signal in levels.dims:
        raise ArgumentError("pattern_scale", levels.dims, "one number for each pattern")
    if not bool((levels > 0).all()):
        raise ArgumentError("pattern_scale", "values <= 0 or NaN", "positive numbers")
    return levels


def _deviations(
    layout: Layout, errors: Any, levels: xr.DataArray | None
) -> xr.DataArray | None:
    if errors is None:
        return None
    if not isinstance(errors, xr.DataArray):
        if not np.isscalar(errors) or not float(errors) > 0:  # type: ignore[arg-type]
            raise ArgumentError("errors", errors, "a positive number or a DataArray")
        errors = xr.full_like(
            layout.data.isel(dict.fromkeys(layout.samples, 0), drop=True),
            float(errors),  # type: ignore[arg-type]
            dtype=np.float64,
        )
    selected = select_rows(layout, errors, "errors")
    assert selected is not None
    if layout.signal not in selected.dims:
        selected = selected.expand_dims({layout.signal: layout.n_points}, axis=-1)
    if levels is not None:
        selected = (selected / levels).transpose(*layout.data.dims)
    if is_lazy(selected):
        selected = selected.chunk({layout.signal: -1})
    return selected


def _replace(
    layout: Layout, levels: xr.DataArray | None, mask: xr.DataArray | None
) -> Layout:
    array = layout.data
    if levels is not None:
        array = array / levels
    left_out = select_rows(layout, mask, "mask")
    if left_out is not None:
        if left_out.dtype != bool:
            raise ArgumentError(
                "mask", str(left_out.dtype), "booleans, True where left out"
            )
        array = array.where(~left_out)
    array = array.transpose(*layout.samples, layout.signal)
    array.attrs = layout.data.attrs
    return Layout(array, layout.samples, layout.signal)


def _start(
    start: Any, layout: Layout, n: int, known: Known, curve: np.ndarray, shifted: bool
) -> str | np.ndarray:
    if isinstance(start, str):
        if start not in STARTS:
            raise ArgumentError("start", start, f"one of {STARTS}, or components")
        return start
    given = resolve_fixed(layout, start)
    if len(given) != n:
        raise ArgumentError(
            "start",
            f"{len(given)} components",
            f"{n}, one for each component to be found",
        )
    patterns = (
        given.patterns - curve if shifted and not _ready(start) else given.patterns
    )
    order = [given.names.index(name) for name in known.names if name in given.names]
    rest = [i for i in range(n) if i not in order]
    return patterns[order + rest]


def _ready(given: Any) -> bool:
    """Tell whether components of an earlier fit are already shifted like the data."""
    return bool(
        isinstance(given, xr.Dataset)
        and given.attrs.get("shift_kind", "none") != "none"
        and not given.attrs.get("closure", 1)
    )


def _kind(shift: Any) -> str:
    if shift is None:
        return "none"
    return "curve" if isinstance(shift, xr.DataArray) else "constant"


def _model(closure: bool, shifted: bool) -> str:
    if shifted and not closure:
        return "data = shift + weights . components"
    sums = ", weights of a pattern sum to 1" if closure else ""
    return f"data = weights . components{sums}"


def _tell(problem: Problem, answer: Answer, result: xr.Dataset) -> None:
    """Warn of what a scientist would want to know before using the result."""
    if answer.start_converged and not any(answer.start_converged):
        warn_quality(
            f"no start converged within {problem.max_iter} alternations "
            f"(relative error {answer.error:.4g}). Raise max_iter."
        )
    names = [str(n) for n in result["component"].values]
    if problem.n > 1 and answer.used.sum() > 0:
        free = ~result["fixed"].values
        patterns = np.nan_to_num(result["components"].values)
        likeness = np.corrcoef(patterns)
        for a in range(problem.n):
            for b in range(a):
                if likeness[a, b] > 0.9995 and (free[a] or free[b]):
                    warn_quality(
                        f"{names[b]} and {names[a]} are one pattern (correlation "
                        f"{likeness[a, b]:.5f}): fewer components would do."
                    )
    if problem.rules.closure and answer.weights is not None:
        top = result["weights"].max(list(problem.layout.samples))
        for name, value in zip(names, top.values, strict=True):
            if value < 0.02:
                warn_quality(
                    f"{name} has a negligible ratio, at most {value:.3f}: fewer "
                    "components would do."
                )
