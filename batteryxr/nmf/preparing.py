"""Every argument of a factorisation, checked before any long work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks import is_lazy
from batteryxr.core.errors import ArgumentError
from batteryxr.core.seeds import generator
from batteryxr.nmf.fixing import Known, resolve_fixed
from batteryxr.nmf.layout import Layout, lay_out, select_rows
from batteryxr.nmf.problem import Problem
from batteryxr.nmf.shifts import resolve_shift

if TYPE_CHECKING:
    from batteryxr.nmf.layout import Several

#: Beyond either of these the data are read in passes instead of held in memory.
_SAMPLES_HELD = 65_536
_BYTES_HELD = 256e6
STARTS = ("pure", "singular", "random")
SOLVERS = ("active-set", "hals", "coordinate", "pure")


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
            solver="active-set" if solver == "pure" else solver,
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
