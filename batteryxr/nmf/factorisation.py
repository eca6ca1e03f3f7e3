"""Factorisation of a series or a stack into components and their weights."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import xarray as xr

from batteryxr.core.checks import check_fields
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.labels import OwnLabels
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded, replayable
from batteryxr.nmf.ambiguity import with_width
from batteryxr.nmf.beam import flag_dark, flag_scans, with_levels
from batteryxr.nmf.constraints import (
    OF_FIT,
    PENALTIES,
    ComponentFacts,
    Constraints,
    constrain,
    with_profiles,
)
from batteryxr.nmf.data import in_unit_of_data
from batteryxr.nmf.held import factorise, flag_spikes, judge
from batteryxr.nmf.results import (
    arrange,
    as_constrained,
    label_result,
    labelled,
    legend_of,
    noise_memory,
    unmix,
    with_knowledge,
    with_signs,
)
from batteryxr.nmf.solving import pick_pure, run_starts, spread_out
from batteryxr.nmf.starting import begin
from batteryxr.nmf.streaming import solve_in_passes

if TYPE_CHECKING:
    from typing import TypeAlias

    from batteryxr.core.checks import Count, NonNegative, Positive, Seed, Whole
    from batteryxr.nmf.held import Facts
    from batteryxr.nmf.joining import Several
    from batteryxr.nmf.kernels.alternate import Rules
    from batteryxr.nmf.solving import Block, Factors
    from batteryxr.nmf.starting import Fixed, Start, Starts

    Kind: TypeAlias = Literal["active-set", "hals", "coordinate", "pure"]


#: Correlation at which a free component repeats another, and a fixed one a fixed one.
_ALIKE, _SAME = 0.9995, 1 - 1e-9
#: Factor by which a fixed pattern may be higher, or lower, than the data.
_SCALE = 50.0


@replayable
@dataclass(frozen=True, kw_only=True, eq=False)
class Solver:
    """Set how `fit` looks for the components.

    Parameters
    ----------
    kind
        ``"active-set"`` (exact halves, extrapolated) or ``"hals"``. ``"coordinate"``
        sweeps once over each half in turn, as scikit-learn does; it is slow, but
        stays near its start where many answers fit equally well. ``"pure"`` takes the
        purest patterns as components and refines nothing; the maps of images are then
        truer than at the lowest residual.
    start
        The first start: ``"pure"``, ``"singular"`` or ``"random"``, or components to
        start from. All further starts are random.
    passes
        Number of full passes over a large stack.

    Raises
    ------
    ArgumentError
        If a value is not allowed.
    """

    kind: Kind = "active-set"
    start: Start = "pure"
    passes: Whole = 3

    def __post_init__(self) -> None:
        check_fields(self)


@recorded
def fit(
    data: Several,
    n_components: Count | None = None,
    *,
    fixed: Annotated[Fixed, OwnLabels()] = None,
    closure: bool = True,
    constraints: Constraints | None = None,
    errors: Positive | xr.DataArray | None = None,
    solver: Annotated[Kind | Solver, OwnLabels()] = "active-set",
    n_starts: Count = 4,
    seed: Seed = 0,
    max_iter: Count = 1000,
    tol: NonNegative = 1e-5,
    progress: bool | None = None,
) -> xr.Dataset:
    """Factorise patterns into components and weights: ``data = weights · components``.

    Reads once where the data fit in memory. Larger data are read ``1 + passes`` times,
    in tiles of their chunks. The weights, residuals and flags of dask data stay lazy,
    chunked like the data.

    Parameters
    ----------
    data
        A series (scan, r), a stack (energy, y, x), or several of them: a list, a
        mapping of names, or a DataTree. NaN is missing.
    n_components
        Number of components, fixed ones included. May be left out where all are
        fixed.
    fixed
        Known components: a mapping of names to scan numbers or patterns, or (some
        components of) an earlier fit. They stay exactly as given.
    closure
        Let the weights of each pattern sum to one, as phase ratios do. Use False where
        the total may vary, such as the thickness in an image.
    constraints
        Further constraints of data and factors: a shift of signed patterns, masks,
        penalties; see `Constraints`.
    errors
        Standard deviations of the data, with any of their dimensions, in their units.
    solver
        ``"active-set"``, ``"hals"``, ``"coordinate"`` or ``"pure"``, or a `Solver`,
        which also says where to start.
    n_starts
        Number of starts; all but the first are random.
    seed
        Seed of the random starts, and of the sample of a large stack.
    max_iter, tol
        Stop after this many alternations, or when ten lower the error by less than
        this fraction.
    progress
        Show a bar: True, False, or None (in terminals and notebooks only).

    Returns
    -------
    xarray.Dataset
        ``components`` (component, signal); ``weights``, with (scan, component) or
        (component, y, x); per pattern ``residual`` (root mean square),
        ``relative_residual`` and ``flag`` (1: no data; 2: no beam; 3: another
        intensity; 4: a fixed scan with spikes; 5: a scan that holds what no other
        holds), ``chi2`` where errors were given; ``fixed``, ``origin``,
        ``shift_curve``; ``on_bound``, the fraction of its points at which a component
        lies on the shift; ``component_range`` and ``range_width``, how far the ratios
        of each component, and of all, may differ on average and fit as well, and the
        middle of their range, ``weights_centre``, which is off by
        ``weights_centre_error`` at most, three standard deviations of noise included
        (for a series in memory under closure); ``noise_memory``, how much noise that
        neighbouring points share adds up in a weight (its variance; 1 where each point
        errs on its own); ``relative_error`` and
        that of the singular value decomposition, a lower bound for n components;
        and the outcome of each start. Where a component comes from an earlier step,
        ``components_released`` and ``weights_released`` have it free.
        Components are ordered by first appearance along a series, in images by their
        total weight.

    Raises
    ------
    ArgumentError, DataError, DimensionError
        If an argument does not fit, or signed data have no shift; raised before any
        long work.

    Notes
    -----
    Kim & Park, SIAM J. Sci. Comput. 33, 3261 (2011); Ang & Gillis, Neural Comput.
    31, 417 (2019).

    Examples
    --------
    >>> cell = batteryxr.simulate.cell_experiment(seed=0, n_scans=40)
    >>> spectra = cell["scans"].to_dataset()["absorption"]
    >>> fit = spectra.nmf.fit(3)
    >>> fit["weights"].dims, fit["components"].dims
    (('scan', 'component'), ('component', 'energy'))
    """
    constraints = constraints or Constraints()
    how = solver if isinstance(solver, Solver) else Solver(kind=solver)
    if isinstance(constraints.pattern_scale, str):
        n = n_components or _known(fixed)
        constraints = with_levels(data, constraints, n, closure=closure)
    patterns = constrain(data, constraints, errors)
    starts = begin(
        patterns, n_components, fixed, first=how.start, number=n_starts, seed=seed
    )
    known = ComponentFacts()
    if constraints.of_components:
        starts, known = with_profiles(patterns, starts, constraints, closure=closure)
    _refuse(constraints, how.kind, held=patterns.held, series=patterns.series)
    kind = "active-set" if how.kind == "pure" else how.kind
    shift, series = patterns.shift, patterns.series
    search = {"max_iter": max_iter, "tol": tol} | known._asdict()
    rules = constraints.rules(starts.is_fixed, closure, solver=kind, **search)
    held, axis = None, patterns.data[patterns.signal]
    if how.kind == "pure":
        factors = pick_pure(patterns, starts, rules)
    elif patterns.held:
        held = factorise(patterns, starts, rules, robust=constraints.robust)
        patterns, factors = held.patterns, held.factors
    else:
        factors = solve_in_passes(
            patterns, starts, rules, passes=how.passes, progress=progress
        )
    scale = constraints.scale or "norm"
    order = arrange(factors, rules, scale, axis, series=series)
    legend = legend_of(patterns)
    unmixed = unmix(patterns, factors.components[order], closure)
    facts, told = None, errors is not None
    if held and series:
        facts = judge(
            held.block, factors, starts, shift=shift, closure=closure, known=told
        )
        unmixed |= noise_memory(facts.memory)
    result = label_result(legend, unmixed, starts, factors, rules=rules, order=order)
    result = with_signs(result, rules, order)
    if held and facts:
        result = _with_facts(result, facts, rules, order, dark=held.dark)
        result = flag_spikes(result, held.spikes, starts)
    if held and closure and "found" in starts.origins:
        free = _released(result, held.block, starts, rules, factors, order)
        result = result.assign(free)
    result = in_unit_of_data(result, patterns.unit, closure=closure)
    result.attrs |= {
        "scale": "closure" if closure else scale,
        "closure": int(closure),
        "shift_kind": constraints.shift_kind,
        "solver": how.kind,
        "seed": int(seed),
        "model": _model(closure, constraints.shift is not None),
    }
    if closure and series and held:
        result = with_width(result)
    _warn_of_starts(factors, max_iter)
    _warn_of_components(result, factors, order)
    return result


def _with_facts(
    result: xr.Dataset,
    facts: Facts,
    rules: Rules,
    order: np.ndarray,
    *,
    dark: np.ndarray,
) -> xr.Dataset:
    """Return the result of a series with noise, known weights and flags."""
    bound = rules.given is not None or rules.unimodal is not None
    if bound or rules.weight_smoothness:
        result = as_constrained(result, facts, order)
    given = None if rules.given is None else rules.given[order]
    result = with_knowledge(result, facts.noise, given)
    if rules.closure:
        result = flag_dark(result, dark)
        result = flag_scans(result, facts.far, 3)
        result = flag_scans(result, facts.odd, 5)
    return result


def _known(fixed: Fixed) -> int:
    """Return the number of fixed components, where the total number is not given."""
    if isinstance(fixed, xr.Dataset | xr.DataArray):
        return int(fixed.sizes.get("component", 1))
    return len(fixed or ()) or 1


def _refuse(constraints: Constraints, kind: str, *, held: bool, series: bool) -> None:
    """Raise for constraints that a solver would ignore, or the data do not allow."""
    if kind == "pure":
        constraints.refuse("solver='pure'", *PENALTIES, *OF_FIT)
    if kind != "active-set":
        constraints.refuse(f"solver={kind!r}", "signed")
    strengths = constraints.penalties
    if not held and constraints.robust:
        raise ArgumentError(
            "robust", True, "False for a stack that is read in passes", "Mask spikes."
        )
    if not held and any(strengths.values()):
        raise ArgumentError(
            "constraints",
            strengths,
            "penalties of 0 for a stack that is read in passes",
            "Fit a part of it, then `fit(stack, fixed=part)`.",
        )
    if constraints.weight_smoothness and not series:
        raise ArgumentError(
            "weight_smoothness",
            constraints.weight_smoothness,
            "0 for images: pixels have no order",
        )


def _model(closure: bool, shifted: bool) -> str:
    if shifted and not closure:
        return "data = shift + weights . components"
    sums = ", weights of a pattern sum to 1" if closure else ""
    return f"data = weights . components{sums}"


def _released(
    result: xr.Dataset,
    block: Block,
    starts: Starts,
    rules: Rules,
    factors: Factors,
    order: np.ndarray,
) -> dict[str, xr.DataArray]:
    """Return the factors of a fit in which components of an earlier step are free.

    A found component is fixed for display only; it is not certain. Ranges therefore
    start at the best factorisation in which it is free.
    """
    held = np.array([origin != "found" for origin in starts.origins])
    known = np.flatnonzero(held)
    turn = np.concatenate([known, np.setdiff1d(np.arange(starts.n), known)])
    first = factors.components[turn][:, block.points]
    free = replace(
        starts.at(block.points),
        names=tuple(starts.names[i] for i in known),
        fixed=starts.fixed[known][:, block.points],
        raw=starts.raw[known][:, block.points],
        origins=tuple(starts.origins[i] for i in known),
        scans=tuple(starts.scans[i] for i in known),
        first=first,
        number=1,
    )
    loose = replace(rules, fixed=free.is_fixed, tol=1e-6)
    if rules.given is not None:
        loose = replace(loose, given=rules.given[turn][:, block.samples])
    found = run_starts(block.values, block.v, free, loose)
    rest = block.values - np.asarray(found.weights).T @ found.components
    found = spread_out(found, block.samples, block.points)
    back = np.argsort(turn)[order]
    shift = result["shift_curve"].values
    weights = np.asarray(found.weights)[back].T
    values = {
        "components": found.components[back] + shift,
        "weights": weights,
    }
    out = {
        f"{name}_released": label(
            result[name].copy(data=rows),
            f"{name}_released",
            units=str(result[name].attrs["units"]),
            long_name=f"{result[name].attrs['long_name']}, all that was found free",
        )
        for name, rows in values.items()
    }
    if "noise_level" in result:
        rest = rest / result["noise_level"].values[block.samples][:, None]
    level = rest if block.v is None else rest[block.v > 0]
    noise = float(np.sqrt((level**2).mean()))
    units = str(result["residual"].attrs["units"])
    text = "Root mean square residual, all that was found free"
    return out | {
        "residual_released": labelled("residual_released", (), noise, units, text)
    }


def _warn_of_starts(factors: Factors, max_iter: int) -> None:
    """Warn where no start converged."""
    if factors.start_converged and not any(factors.start_converged):
        warn_quality(
            f"no start converged within {max_iter} alternations "
            f"(relative error {factors.error:.4g}). Raise max_iter."
        )


def _warn_of_components(
    result: xr.Dataset, factors: Factors, order: np.ndarray
) -> None:
    """Warn of components that are alike, or that the data do not contain."""
    names = [str(n) for n in result["component"].values]
    free = ~result["fixed"].values
    if len(names) > 1 and factors.used.sum() > 0:
        rows = np.nan_to_num(result["components"].values)
        with np.errstate(invalid="ignore"):  # a pattern that is flat is like no other
            likeness = np.corrcoef(rows / (np.abs(rows).max() or 1.0))
        for b, a in itertools.combinations(range(len(names)), 2):
            if likeness[a, b] > (_ALIKE if free[a] or free[b] else _SAME):
                warn_quality(
                    f"{names[b]} and {names[a]} are one pattern (correlation "
                    f"{likeness[a, b]:.5f}): fewer components would do."
                )
    if result.attrs["scale"] == "closure" and factors.weights is not None:
        # Use the solver's weights, as those of the result may be lazy.
        _tell_scales(result, factors, order)
        top = np.nanmax(factors.weights, axis=1)[order]
        for name, value in zip(names, top, strict=True):
            if value < 0.02:
                warn_quality(
                    f"{name} has a negligible ratio, at most {value:.3f}: fewer "
                    "components would do."
                )


def _tell_scales(result: xr.Dataset, factors: Factors, order: np.ndarray) -> None:
    """Warn of fixed patterns on a scale that no ratio can make up for."""
    rows = np.nan_to_num(result["components"].values)
    share = factors.used[order] / max(float(factors.used.sum()), 1e-300)
    usual = float(np.abs(share @ rows).max())
    high = np.abs(rows).max(axis=1)
    for i in np.flatnonzero(result["fixed"].values & (usual > 0)):
        if not usual / _SCALE < high[i] < usual * _SCALE:
            warn_quality(
                f"{result['component'].values[i]} is {high[i] / usual:.2g} times as "
                "high as the data: another unit or intensity? Its ratio then means "
                "nothing. Scale it as the data are, or use closure=False."
            )
