"""Factorisation of a series or a stack into components and their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.provenance import recorded
from batteryxr.nmf.preparing import held, prepare
from batteryxr.nmf.results import arrange, label_result

if TYPE_CHECKING:
    from batteryxr.nmf.layout import Fixed, Several, Shift
    from batteryxr.nmf.problem import Answer, Problem

SCALES = ("norm", "max", "area")


@recorded
def fit(
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
        ``"active-set"`` (exact halves, extrapolated) or ``"hals"``; ``"coordinate"``
        sweeps once over each half in turn, as scikit-learn does, which is slow but
        stays near its start where many answers fit alike; ``"pure"`` takes
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
