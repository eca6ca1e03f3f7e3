"""Constraints of a factorisation: prior knowledge of the data and of both factors."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.core.checks import Bounds, check_fields
from batteryxr.core.errors import ArgumentError, DataError
from batteryxr.core.labels import matched
from batteryxr.core.provenance import replayable
from batteryxr.core.units import in_units_of
from batteryxr.nmf.data import in_sound_unit, lay_out, real, weigh
from batteryxr.nmf.shifts import subtract_shift
from batteryxr.nmf.starting import tell_place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batteryxr.core.checks import Positive
    from batteryxr.nmf.data import Patterns
    from batteryxr.nmf.joining import Several
    from batteryxr.nmf.kernels.alternate import Rules
    from batteryxr.nmf.shifts import Shift
    from batteryxr.nmf.starting import Starts

#: Strength of a penalty.
Strength = Annotated[float, Bounds(low=0.0, below=math.inf)]
#: Constraints that only `fit` supports.
OF_FIT = ("presence", "weights", "unimodal", "signed", "robust")
#: Penalties on the factors: strengths, all 0 by default.
PENALTIES = ("sparsity", "smoothness", "weight_smoothness")


@replayable
@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no single truth
class Constraints:
    """Hold the constraints on data and factors, for `fit` and functions like it.

    Parameters
    ----------
    signal
        The dimension of a pattern; found where it is r, q, energy, two_theta or
        shift.
    shift
        How signed patterns become non-negative: by ``"envelope"`` (see
        `lower_envelope`), by ``"minimum"`` (the lowest value of all), by a number, or
        by a curve along the signal such as -4 pi rho0 r. Under closure the components
        are shifted back; without closure they describe the shifted data.
    mask
        True where values are left out, with any dimensions of the data.
    pattern_scale
        One positive number per pattern that the data are divided by, such as the
        incident intensity. ``"estimate"`` lets `fit` find the numbers of a series
        under closure, from the sum of the ratios, which is constant in most scans. A
        drift that ratios could also explain is not detected. Stored with the result.
    scale
        Without closure the free components get unit ``"norm"``, unit ``"max"`` or unit
        ``"area"``, and the weights the units of the data. The default is the norm,
        and the area in `metropolis`.
    presence
        First and last scan at which a component may be present:
        ``{"LiFeO2": (5, 60)}``. Names that are not fixed go to free components.
    weights
        Known weights along the scans, NaN where they are free, by name as in
        `presence`: ``{"binder": profile}``.
    unimodal
        Components whose weights rise to one maximum along the scans and fall again, by
        name as in `presence`: ``["LiFeO2"]``.
    signed
        Components that may be negative, such as a background or a difference, by name
        as in `presence`. The data then need no shift. `bands` cannot bound them.
    robust
        Leave out values farther from the model than six standard deviations, such as
        spikes, and fit again.
    sparsity
        L1 penalty, as a fraction of the mean signal of one component (try 0.01).
    smoothness, weight_smoothness
        Penalty on second differences of the components, or on first differences of
        the weights along the series, relative to their squares (try 1, and 0.1).

    Raises
    ------
    ArgumentError
        If a value is not allowed.
    """

    signal: str | None = None
    shift: Shift = None
    mask: xr.DataArray | None = None
    pattern_scale: Literal["estimate"] | xr.DataArray | None = None
    scale: Literal["norm", "max", "area"] | None = None
    presence: Mapping[str, tuple[int, int]] | None = None
    weights: Mapping[str, xr.DataArray] | None = None
    unimodal: Sequence[str] | None = None
    signed: Sequence[str] | None = None
    robust: bool = False
    sparsity: Strength = 0.0
    smoothness: Strength = 0.0
    weight_smoothness: Strength = 0.0

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def shift_kind(self) -> str:
        """Return the kind of shift: its word, "curve", "constant" or "none"."""
        if self.shift is None or isinstance(self.shift, str):
            return self.shift or "none"
        return "curve" if isinstance(self.shift, xr.DataArray) else "constant"

    @property
    def penalties(self) -> dict[str, float]:
        """Return the strengths of all penalties."""
        return {name: float(getattr(self, name)) for name in PENALTIES}

    @property
    def of_components(self) -> dict[str, Any]:
        """Return what is said of single components, by their names."""
        names = ("presence", "weights", "unimodal", "signed")
        return {n: getattr(self, n) for n in names if getattr(self, n)}

    def rules(self, fixed: np.ndarray, closure: bool, **search: Any) -> Rules:
        """Return the rules of the solver; `search` sets its own fields."""
        from batteryxr.nmf.kernels.alternate import Rules

        given: dict[str, Any] = self.penalties | search
        return Rules(fixed=fixed, closure=closure, **given)

    def refuse(self, function: str, *names: str) -> None:
        """Raise if one of these constraints is set, as the function lacks it."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in names and self._says(field.name):
                raise ArgumentError(
                    field.name, value, f"{field.default}: {function} has no such thing"
                )

    def over(self, before: Constraints) -> Constraints:
        """Return these constraints, filled up from `before` where they are not set."""
        given: dict[str, Any] = {
            field.name: getattr(self if self._says(field.name) else before, field.name)
            for field in fields(self)
        }
        return Constraints(**given)

    def _says(self, name: str) -> bool:
        """Tell whether a constraint is set."""
        value = getattr(self, name)
        return bool(value) if name in (*PENALTIES, "robust") else value is not None


def constrain(
    data: Several,
    constraints: Constraints,
    errors: Positive | xr.DataArray | None = None,
) -> Patterns:
    """Return data as patterns that obey the constraints: scaled, masked and shifted."""
    patterns = lay_out(data, constraints.signal)
    mask, pattern_scale = constraints.mask, constraints.pattern_scale
    if isinstance(pattern_scale, str):
        raise ArgumentError(
            "pattern_scale",
            pattern_scale,
            "numbers: only `fit` estimates them",
            "Pass fit(...).pattern_scale.",
        )
    if not (errors is mask is pattern_scale is None):
        patterns = weigh(patterns, errors, mask, pattern_scale)
    if constraints.shift is not None:
        patterns = subtract_shift(patterns, constraints.shift)
    return in_sound_unit(patterns)


class ComponentFacts(NamedTuple):
    """Hold what is known of single components, in the order of the starts.

    Parameters
    ----------
    given
        (k, samples) known weights, NaN where they are free; or None.
    unimodal, signed
        (k,) bool: weights with one maximum, and components of either sign; or None.
    """

    given: np.ndarray | None = None
    unimodal: np.ndarray | None = None
    signed: np.ndarray | None = None


def with_profiles(
    patterns: Patterns, starts: Starts, constraints: Constraints, *, closure: bool
) -> tuple[Starts, ComponentFacts]:
    """Return starts with named components, and what is known of these.

    Raises
    ------
    ArgumentError, DataError
        If there are more names than components, or the weights are impossible.
    """
    windows, weights = constraints.presence or {}, constraints.weights or {}
    unimodal, signed = (_listed(constraints, name) for name in ("unimodal", "signed"))
    told: dict[str, Any] = {"presence": windows, "weights": weights}
    told |= {"unimodal": unimodal, "signed": signed}
    told = {name: value for name, value in told.items() if value}
    if not told:
        return starts, ComponentFacts()
    if not patterns.series or not patterns.held:
        name, value = next(iter(told.items()))
        raise ArgumentError(name, value, "None for images")
    if weights and not closure:
        raise ArgumentError(
            "weights",
            dict(weights),
            "None without closure: the scale of a weight then is that of its component",
        )
    for name in PENALTIES if signed else ("weight_smoothness",):
        if strength := constraints.penalties[name]:
            raise ArgumentError(name, strength, f"0 with {next(iter(told))}")
    every = [*starts.names]
    every += [name for value in told.values() for name in value]
    every = list(dict.fromkeys(every))
    if len(every) > starts.n:
        raise ArgumentError(
            next(iter(told)), every, f"at most {starts.n} names, one for each component"
        )
    given = np.full((starts.n, patterns.n_samples), np.nan)
    for name, window in windows.items():
        outside = _outside(patterns, f"presence[{name!r}]", *window)
        given[every.index(name), outside] = 0.0
    for name, profile in weights.items():
        values, row = _profile(patterns, name, profile), every.index(name)
        given[row] = np.where(np.isnan(values), given[row], values)
    total = np.nansum(given, axis=0)
    none = ~np.isnan(given).any(axis=0)
    beyond = (total > 1 + 1e-9) | (none & (total < 1 - 1e-9))
    if closure and beyond.any():
        raise DataError(
            "weights",
            "known weights that do not leave ratios which sum to one",
            "Lower them, or widen the windows of presence.",
        )
    called = tuple(every[len(starts.names) :])
    marks = {
        name: np.isin(np.arange(starts.n), [every.index(n) for n in names])
        if names
        else None
        for name, names in (("unimodal", unimodal), ("signed", signed))
    }
    if any(name in starts.names for name in signed):
        raise ArgumentError("signed", signed, f"free components, not {starts.names}")
    known = None if np.isnan(given).all() else given
    return replace(starts, called=called), ComponentFacts(known, **marks)


def _outside(patterns: Patterns, where: str, first: int, last: int) -> np.ndarray:
    """Return which scans a window leaves out."""
    if not 0 <= first <= last < patterns.n_samples:
        expected = f"two scans between 0 and {patterns.n_samples - 1}"
        raise ArgumentError(where, (first, last), expected)
    for number in (first, last):
        tell_place(patterns.data[patterns.samples[0]], number, where)
    outside = np.ones(patterns.n_samples, dtype=bool)
    outside[first : last + 1] = False
    return outside


def _listed(constraints: Constraints, name: str) -> list[str]:
    """Return names of components; a text is one name."""
    value = getattr(constraints, name) or ()
    return [value] if isinstance(value, str) else [str(v) for v in value]


def _profile(patterns: Patterns, name: str, profile: xr.DataArray) -> np.ndarray:
    where = f"weights[{name!r}]"
    (dim,) = patterns.samples
    if profile.dims != (dim,):
        raise ArgumentError(where, profile, f"values along {dim!r}")
    ratio = xr.DataArray(1.0, attrs={"units": "1"})  # not, for instance, per cent
    profile = in_units_of(ratio, real(profile, where))
    values = matched(patterns.data, profile, argument=where).values.astype(np.float64)
    if np.nanmin(values, initial=0.0) < 0 or np.isinf(values).any():
        raise DataError(
            where,
            "has negative or infinite values",
            "Pass finite numbers of 0 and more.",
        )
    return values
