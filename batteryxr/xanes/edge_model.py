"""The edge model at every pixel, and peaks on a baseline: one engine, labelled."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded
from batteryxr.xanes import starts
from batteryxr.xanes.fit_result import label_fit, start_values
from batteryxr.xanes.models import (
    Edge,
    Peak,
    Plan,
    Range,
    as_edge,
    as_peaks,
    compile_model,
)
from batteryxr.xanes.noise import noise_windows, survey
from batteryxr.xanes.spectra import spectra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Up to so many spectra are fitted from all starts by default.
FEW = 1000
_MULTISTART = {"never": 0, "doubtful": 1, "always": 2}


@recorded
def fit_edge(
    obj: xr.DataArray | xr.Dataset,
    *,
    edge: Edge | Range,
    peaks: Sequence[Peak | Range] = (),
    baseline: int = 0,
    mask: str | xr.DataArray | None = "pooled",
    pre: Range | None = None,
    post: Range | None = None,
    n_sigma: float = 5.0,
    noise: float | None = None,
    sigma: float | xr.DataArray | None = None,
    start: Mapping[str, Any] | xr.Dataset | None = None,
    multistart: str | None = None,
    ambiguity: float = 0.1,
) -> xr.Dataset:
    """Fit an edge under peaks to every spectrum.

    μt(E) = a + (b1 / 2) {1 + erf[(E - b2) / b3]} + Σ c_i1 / {1 + [(E - c_i2) / c_i3]²}

    *Reads once* for the noise and the mean spectrum, then *lazy*; altogether lazy with
    `start`, and `noise` or a mask of your own.

    Parameters
    ----------
    obj
        Absorption along `energy`, in any other dimensions: a spectrum, a series, a
        stack.
    edge
        An `Edge`, or the range of its energy in eV.
    peaks
        `Peak` objects, or ranges of their positions in eV: pre-edge, white line, ...
    baseline
        Degree of the polynomial under all; 0 is the model's constant a.
    mask
        Which pixels are fitted. "pooled" (default): those whose step over the edge
        exceeds `n_sigma` times the noise common to all. "paper": all are fitted, then
        a jump below the pixel's own noise is masked (Uematsu et al., PCCP 25, 3867
        (2023)). A boolean array: where it is True. None: all.
    pre, post
        Energies below the pre-edge (at least three) and above the white line, for
        noise and mask. By default all below and above the ranges of the model.
    n_sigma
        See `mask`.
    noise
        Standard deviation of the absorption, where it is known.
    sigma
        Standard deviation of each value, to weight by; the errors are then absolute.
        Without it they follow from the residuals.
    start
        Start values by the names of the result (`edge_energy`, `edge_width`,
        `peak_position`, ...; amplitudes are found by themselves), or an earlier
        result, also of other pixels' mean. By default the best fit of the mean
        spectrum, itself fitted from 64 starts spread over the ranges.
    multistart
        "always", "doubtful" (start again where the fit did not converge, ended at a
        bound, or left more than noise) or "never". By default "always" up to 1000
        spectra, else "doubtful".
    ambiguity
        Solutions with edge energies further apart than three standard errors, and
        chi2 within this share, are called ambiguous: the one nearest the mean
        spectrum's branch is given, and flagged.

    Returns
    -------
    xarray.Dataset
        `edge_jump`, `edge_energy`, `edge_width`, `level`, and along `peak`
        `peak_height`, `peak_position`, `peak_width` (half width at half maximum),
        `peak_area` and `normalised_peak_area` (area / jump); each with `_error`, one
        standard deviation (NaN at a bound). `chi2`, `r_factor`, `residual_sd`, and
        `flag` (bits, see its attributes). Missing is NaN.

    Raises
    ------
    ArgumentError
        If a range holds too few energies, or the model has too many parameters.
    """
    array = spectra(obj, caller="fit_edge")
    the_edge, the_peaks = as_edge(edge), as_peaks(peaks)
    axis = array.energy.values
    plan = compile_model(axis, the_edge, the_peaks, baseline)
    task = _Task(array, "energy", "fit_edge", plan, start, noise)
    if isinstance(mask, str) and mask not in ("pooled", "paper"):
        raise ArgumentError("mask", mask, "'pooled', 'paper', a boolean array or None")
    needed = isinstance(mask, str) or pre is not None or post is not None
    with contextlib.nullcontext() if needed else contextlib.suppress(ArgumentError):
        task.before, task.after = _windows(axis, the_edge, the_peaks, pre, post)
    pooled = isinstance(mask, str) and mask == "pooled"
    task.prepare(pooled)
    options: dict[str, Any] = {}
    if pooled and task.before is not None and task.after is not None:
        options["threshold"] = n_sigma * task.noise
        options["windows"] = np.stack([task.before, task.after])
    elif isinstance(mask, str):
        options["paper"] = task.before
    fitted = task.run(
        keep=mask if isinstance(mask, xr.DataArray) else None,
        sigma=sigma,
        multistart=multistart,
        ambiguity=ambiguity,
        **options,
    )
    result = label_fit(
        fitted, array, task.plan, "energy", the_edge, the_peaks, baseline
    )
    if task.noise:
        result.attrs["noise_sd"] = float(task.noise)
    return result


@recorded
def fit_peaks(
    obj: xr.DataArray | xr.Dataset,
    *,
    peaks: Sequence[Peak | Range],
    baseline: int = 1,
    dim: str = "shift",
    mask: xr.DataArray | None = None,
    sigma: float | xr.DataArray | None = None,
    start: Mapping[str, Any] | xr.Dataset | None = None,
    multistart: str | None = None,
    ambiguity: float = 0.1,
) -> xr.Dataset:
    """Fit bands on a polynomial baseline to every spectrum: Raman, FTIR, pre-edges.

    *Reads once* for the mean spectrum, then *lazy*; altogether lazy with `start`.

    Parameters
    ----------
    obj
        Spectra along `dim`, in any other dimensions (state, polarisation, y, x, ...).
    peaks
        `Peak` objects, or ranges of positions.
    baseline
        Degree of the baseline; -1 for none.
    dim
        The axis: "shift" (1/cm) or "energy" (eV).
    mask
        Fitted is where it is True.
    sigma, start, multistart, ambiguity
        As in `fit_edge`.

    Returns
    -------
    xarray.Dataset
        Along `peak`: `peak_height`, `peak_position`, `peak_fwhm`, `peak_area`; along
        `order`: `baseline`; each with `_error`. `chi2`, `r_factor`, `residual_sd` and
        `flag` as in `fit_edge`.

    Raises
    ------
    ArgumentError
        If there is no peak, or more parameters than points.
    """
    the_peaks = as_peaks(peaks)
    if not the_peaks:
        raise ArgumentError("peaks", peaks, "at least one Peak or range of positions")
    array = spectra(obj, caller="fit_peaks", dim=dim, names=("intensity",))
    plan = compile_model(array[dim].values, None, the_peaks, baseline)
    task = _Task(array, dim, "fit_peaks", plan, start, None)
    task.prepare(False)
    fitted = task.run(
        keep=mask, sigma=sigma, multistart=multistart, ambiguity=ambiguity
    )
    result = label_fit(fitted, array, task.plan, dim, None, the_peaks, baseline)
    for name in ("peak_width", "peak_width_error"):  # bands are told by their FWHM
        wide = 2.0 * result[name]
        new = name.replace("width", "fwhm")
        long_name = str(result[name].attrs["long_name"]).replace("Half", "Full", 1)
        result[new] = label(
            wide, new, units=result[name].attrs["units"], long_name=long_name
        )
    return result.drop_vars(["peak_width", "peak_width_error"])


@dataclass
class _Task:
    """One fit: what is read beforehand, and the lazy application."""

    array: xr.DataArray
    dim: str
    caller: str
    plan: Plan
    start: Mapping[str, Any] | xr.Dataset | None
    given_noise: float | None
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    noise: float = 0.0
    misfit: float = 0.0
    own: xr.DataArray | None = field(default=None)

    def prepare(self, pooled: bool) -> None:
        """Find noise and start values, reading the data at most once."""
        axis = self.array[self.dim].values
        n_free = int((self.plan.low < self.plan.high).sum())
        if n_free >= axis.size:
            raise ArgumentError(
                "peaks",
                self.plan.n_peaks,
                f"fewer than {axis.size} free parameters, the number of points",
                f"The model has {n_free}: drop peaks, or fix ranges by equal ends.",
            )
        self.noise = self.given_noise or 0.0
        unknown = pooled and self.given_noise is None
        mean = None
        if unknown or self.start is None:
            noise, mean = survey(
                self.array, self.before, self.after, dim=self.dim, caller=self.caller
            )
            self.noise = self.noise or noise
        if self.start is not None:
            first, self.own = start_values(self.start, self.plan)
            self.plan = starts.from_values(self.plan, axis, first)
        elif mean is not None and np.isfinite(mean).sum() > n_free:
            self.plan, self.misfit = starts.from_spectrum(self.plan, axis, mean)
        else:  # nothing but missing data: every pixel will say so
            self.plan = starts.from_values(self.plan, axis, starts.middle(self.plan))

    def run(
        self,
        *,
        keep: xr.DataArray | None,
        sigma: float | xr.DataArray | None,
        multistart: str | None,
        **options: Any,
    ) -> Any:
        """Apply the kernel to every block."""
        size = self.array.size // self.array.sizes[self.dim]
        multistart = multistart or ("always" if size <= FEW else "doubtful")
        if multistart not in _MULTISTART:
            raise ArgumentError("multistart", multistart, f"one of {[*_MULTISTART]}")
        extra: dict[str, tuple[Any, list[str]]] = {}
        if keep is not None:
            extra["keep"] = keep.astype(bool), []
        if self.own is not None:
            extra["own"] = self.own, ["parameter"]
        if sigma is not None:
            deviation = sigma * xr.ones_like(self.array[self.dim], dtype=float)
            extra["weights"] = 1.0 / deviation, [self.dim]
        wide = self.array.dtype.itemsize > 4 or self.array.dtype.kind != "f"
        dtype = np.float64 if wide else np.float32
        lazy = blocks.is_lazy(self.array)
        return blocks.apply(
            _block,
            self.array,
            *(a for a, _ in extra.values()),
            core_dims=[[self.dim], *(d for _, d in extra.values())],
            output_dims=[
                ["parameter"],
                ["parameter"],
                ["peak", "derived"],
                ["statistic"],
                [],
            ],
            output_sizes={
                "parameter": self.plan.low.size,
                "peak": self.plan.n_peaks,
                "derived": 4,
                "statistic": 3,
            },
            dtypes=[dtype, dtype, dtype, dtype, np.uint8],
            caller=self.caller,
            names=tuple(extra),
            axis=self.array[self.dim].values,
            plan=self.plan,
            noise=self.noise,
            misfit=self.misfit,
            multistart=_MULTISTART[multistart],
            threads=1 if lazy else _threads(),
            dtype=dtype,
            **options,
        )


def _block(data: np.ndarray, *extra: np.ndarray, names: Any, **options: Any) -> Any:
    from batteryxr.xanes.kernels.block import fit_block

    return fit_block(data, **dict(zip(names, extra, strict=True)), **options)


def _windows(
    axis: np.ndarray,
    edge: Edge,
    peaks: Sequence[Peak],
    pre: Range | None,
    post: Range | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the energies of noise and level; by default outside all ranges."""
    ranges = [edge.energy, *(p.position for p in peaks)]
    if pre is None:
        lowest = float(np.nextafter(min(r[0] for r in ranges), -np.inf))
        pre = (float(axis[0]), lowest)
    if post is None:
        highest = float(np.nextafter(max(r[1] for r in ranges), np.inf))
        post = (min(highest, float(axis[-1])), float(axis[-1]))
    try:
        return noise_windows(axis, pre, post)
    except ArgumentError as error:
        raise ArgumentError(
            "pre" if "pre=" in str(error) else "post",
            (pre, post),
            "at least three energies below the model's ranges and one above",
            "Give pre and post, or pass mask=None to fit every pixel.",
        ) from error


def _threads() -> int:
    import os

    return os.cpu_count() or 1
