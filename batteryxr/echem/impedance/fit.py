"""Fit equivalent circuits to a series of impedance spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import require_dims
from batteryxr.core.provenance import recorded
from batteryxr.echem.impedance.circuit import parse
from batteryxr.echem.impedance.kernels.elements import EXPONENT_NAMES, EXPONENTS
from batteryxr.echem.impedance.spectra import (
    as_impedance,
    kept_coords,
    measured_in,
    omega_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.core.checks import Count, Positive, Seed
    from batteryxr.echem.impedance.circuit import Circuit

_FLAGS = {
    "flag_masks": [1, 2, 4, 8, 16, 32, 64],
    "flag_meanings": "not_converged at_bound undetermined too_few_points outliers "
    "misfit another_minimum",
}
_WHAT = {"R": "Resistance", "C": "Capacitance", "L": "Inductance", "Q": "CPE factor",
         "n": "Exponent", "b": "Outer exponent", "tau": "Time constant",
         "Rct": "Resistance across", "W": "Warburg coefficient"}  # fmt: skip


@recorded
def fit_circuit(
    spectra: xr.DataArray | xr.Dataset,
    circuit: str,
    *,
    start: Mapping[str, float] | None = None,
    fixed: Mapping[str, float] | None = None,
    weights: Literal["modulus", "unit", "robust"] = "modulus",
    smoothing: Positive | None = None,
    max_iter: Count = 200,
    seed: Seed = 0,
) -> xr.Dataset:
    """Fit an equivalent circuit to every spectrum, by complex least squares.

    *Lazy* without `smoothing`. Initial guesses are found automatically: time constants
    are tried on a grid, and the sizes of the parts come from linear least squares.

    Elements: ``R``, ``C``, ``L``, ``CPE`` (1/(Q (jω)ⁿ)), ``W`` (infinite Warburg,
    σ(1-j)/√ω), ``Wo`` and ``Ws`` (Warburg of finite length, open and short: R
    coth(√jωτ)/√jωτ, R tanh(√jωτ)/√jωτ), ``G`` (Gerischer, R/√(1+jωτ)), ``HN``
    (Havriliak-Negami, R/(1+(jωτ)ⁿ)ᵇ: a fractal Gerischer element), ``T`` (line of a
    porous electrode: R along, Rct beside a CPE across) and ``TB`` (the same with
    blocking walls).

    Parameters
    ----------
    spectra
        Complex impedance along ``frequency``; NaN where there is no point.
    circuit
        Elements, each with a number: ``-`` in series and ``p(a,b)`` in parallel,
        such as ``"R0-p(R1,CPE1)-W1"``.
    start
        Parameter -> initial guess, where the automatic ones are not good.
    fixed
        Parameter -> value that is kept fixed.
    weights
        "modulus": errors are in proportion to the modulus. "unit": errors are the same
        at all frequencies. "robust": as "modulus", and points further than four
        standard deviations from the fit are left out. The size of the errors is
        estimated from the residuals.
    smoothing
        Relative change of a parameter from one spectrum to the next, one standard
        deviation (for an exponent: the absolute change). The spectra of a series are
        then fitted together, without those that have too few points. Default: each
        spectrum is fitted by itself.
    max_iter
        Maximum number of iterations.
    seed
        Seed for the choice of initial guesses, used for circuits with many elements.

    Returns
    -------
    xarray.Dataset
        Each parameter by its name (``R0``, ``CPE1_Q``, ``CPE1_n``, ...) with
        ``<name>_error``, one standard deviation, wider where parameters that hardly
        worsen the fit lie along a bent valley; ``impedance`` (as given) and
        ``fitted``; ``residual``, the root mean square residual of the fitted points,
        relative to the modulus; ``fit_flag`` (outliers: points were left out or, unless
        `weights` is "robust", stand far out of the others and were fitted; misfit: more
        than 1 % is left, and neighbours alike, as noise never is; another_minimum:
        other parameters, far from these, fit as well). Among parts of the same kind
        the faster comes first. Of two arcs within two decades, in noise of 2 %, one fit
        in 150 is further off than five errors and has no flag.

    Raises
    ------
    ArgumentError
        If the circuit is invalid, or a parameter is not in it.
    DimensionError, VariableError, UnitsError, DataError
        If the input is no impedance.

    Warns
    -----
    DataQualityWarning
        If some fits did not converge or do not fit, unless the data are lazy.

    See Also
    --------
    kramers_kronig : test whether any circuit can have this spectrum.
    drt : analyse spectra without a circuit.

    Examples
    --------
    >>> cell = batteryxr.simulate.impedance_loop(n_scans=4)
    >>> spectra = cell["impedance"].to_dataset()
    >>> fit = spectra.echem.fit_circuit("L0-R0-p(R1,CPE1)-W")
    >>> list(fit.data_vars)[:4]
    ['L0', 'L0_error', 'R0', 'R0_error']
    """
    from batteryxr.echem.impedance.kernels import fitting

    plan = parse(circuit)
    array = as_impedance(spectra, caller="fit_circuit")
    given, kept = _given(plan, start, "start"), _given(plan, fixed, "fixed")
    task = fitting.Task(
        root=plan.root,
        omega=omega_of(array),
        given=np.where(np.isfinite(kept), kept, given),
        fixed=np.isfinite(kept),
        modulus=weights != "unit",
        robust=weights == "robust",
        smoothing=float(smoothing or 0.0),
        max_iter=max_iter,
        seed=seed,
    )
    if task.fixed.all():
        raise ArgumentError("fixed", dict(fixed or {}), "fewer parameters than all")
    core = ["spectrum", "frequency"] if smoothing else ["frequency"]
    require_dims(array, core, caller="fit_circuit")
    before = core[:-1]
    found = blocks.apply(
        fitting.fit,
        array,
        core_dims=[core],
        output_dims=[[*before, "p"], [*before, "p"], core, before, before],
        output_sizes={"p": len(plan.parameters)},
        dtypes=[float, float, complex, float, np.int8],
        caller="fit_circuit",
        task=task,
    )
    result = _labelled(plan, array, found).assign_coords(kept_coords(spectra))
    result.attrs = {"circuit": circuit, "weights": weights}
    if not blocks.is_lazy(result):
        _warn(result["fit_flag"].values, told=weights == "robust")
    return result


def _warn(flags: np.ndarray, *, told: bool) -> None:
    far = "hold points that stand far out: weights='robust' leaves them out"
    misfit = "leave more than noise: the circuit is not like them. See residual"
    few = "have too few points for a fit"
    for bit, words in ((1, "did not converge"), (8, few), (32, misfit), (16, far)):
        if bit == 16 and told:
            continue  # they were left out
        if n := int((flags & bit > 0).sum()):
            warn_quality(f"fit_circuit: {n} of {flags.size} spectra {words}")


def _given(
    plan: Circuit, values: Mapping[str, float] | None, argument: str
) -> np.ndarray:
    """Return the user's value of each parameter; NaN where none is given."""
    found = np.full(len(plan.parameters), np.nan)
    for name, value in (values or {}).items():
        if name not in plan.parameters:
            raise ArgumentError(argument, name, f"one of {list(plan.parameters)}")
        if not (np.isfinite(value) and value > 0):
            raise ArgumentError(argument, {name: value}, "values above 0")
        if _kind(name) in EXPONENT_NAMES and not EXPONENTS[0] <= value <= EXPONENTS[1]:
            raise ArgumentError(argument, {name: value}, f"exponents in {EXPONENTS}")
        found[plan.parameters.index(name)] = value
    return found


def _labelled(
    plan: Circuit, array: xr.DataArray, found: tuple[xr.DataArray, ...]
) -> xr.Dataset:
    values, errors, fitted, residual, flag = found
    variables: dict[str, Any] = {}
    for k, (name, units) in enumerate(zip(plan.parameters, plan.units, strict=True)):
        words = f"{_WHAT[_kind(name)]} {name}"
        about = {"units": units, "long_name": words}
        variables[name] = values.isel(p=k).assign_attrs(about)
        about = {"units": units, "long_name": f"{words}, one sd"}
        variables[f"{name}_error"] = errors.isel(p=k).assign_attrs(about)
    variables["impedance"] = measured_in(array)
    about = {"units": "ohm", "long_name": "Fitted impedance"}
    variables["fitted"] = fitted.transpose(*array.dims).assign_attrs(about)
    about = {"units": "1", "long_name": "What is left, of the modulus, rms"}
    variables["residual"] = residual.assign_attrs(about)
    about = {"units": "1", "long_name": "What is odd about the fit"}
    variables["fit_flag"] = flag.assign_attrs(about | _FLAGS)
    return xr.Dataset({n: v.reset_coords(drop=True) for n, v in variables.items()})


def _kind(name: str) -> str:
    """Return the kind of a parameter from its name."""
    element, _, part = name.partition("_")
    if part:
        return part
    return element.rstrip("0123456789")
