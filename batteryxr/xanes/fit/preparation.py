"""Prepare and run a fit of all pixels: options, noise and initial guesses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks, bounds
from batteryxr.core.errors import DataError, warn_quality
from batteryxr.core.kernels.cores import allowed
from batteryxr.core.model import attributes, require_size
from batteryxr.xanes.fit.noise import spread_over, survey
from batteryxr.xanes.fit.result import Columns, as_columns, label_fit, start_values
from batteryxr.xanes.fit.terms import Multistart, compile_model
from batteryxr.xanes.kernels.problem import DOUBTFUL, Noise, Problem
from batteryxr.xanes.results import inherit
from batteryxr.xanes.spectra import window

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from batteryxr.xanes.fit.terms import Terms
    from batteryxr.xanes.kernels.block import Accepted
    from batteryxr.xanes.kernels.misfit import Doubts
    from batteryxr.xanes.spectra import Range


@dataclass(frozen=True)
class PixelFit:
    """Hold one complete fit: everything that the kernel gets with each block.

    Parameters
    ----------
    terms
        The model.
    problem, selection
        Problem and selection, as in `fit_block`.
    pixels
        Inputs that differ from pixel to pixel, by their names in `fit_block`: `keep`,
        `own` and `weights`, each with its own dimensions.
    doubts, warning
        What missing terms may move, and what is said of it.
    """

    terms: Terms
    problem: Problem
    selection: Accepted
    pixels: Mapping[str, tuple[xr.DataArray, list[str]]]
    doubts: Doubts
    warning: str = ""

    def apply(self, array: xr.DataArray, *, caller: str) -> xr.Dataset:
        """Fit every spectrum, lazily if the spectra are lazy, and label the result."""
        if self.warning:
            warn_quality(f"{caller}: {self.warning}")
        dim, units = self.terms.dim, str(array.attrs.get("units", "1"))
        wide = array.dtype.itemsize > 4 or array.dtype.kind != "f"
        dtype = np.float64 if wide else np.float32
        inputs, dims = zip((array, [dim]), *self.pixels.values(), strict=True)
        axis, model, _, noise = self.problem
        columns = Columns(model.low.size, len(model.peak_offsets))
        fitted = blocks.apply(
            _fit_block,
            *inputs,
            core_dims=dims,
            output_dims=[["column"]],
            output_sizes={"column": columns.size},
            dtypes=[dtype],
            caller=caller,
            names=tuple(self.pixels),
            problem=self.problem,
            selection=self.selection,
            found=self.doubts,
            threads=1 if array.chunks is not None else allowed(),
            dtype=dtype,
        )
        scaled = "weights" in self.pixels
        fitted = blocks.merged(fitted, "column")
        result = label_fit(fitted, model, self.terms, units, scaled=scaled)
        known = {"noise_sd": float(noise.sd)} if noise.sd else {}
        described = self.terms.describe(axis.x, units)
        return inherit(result, array, model=described, **known)


def _fit_block(
    data: np.ndarray, *pixels: np.ndarray, names: Any, found: Doubts, **options: Any
) -> Any:
    from batteryxr.xanes.kernels.block import fit_block
    from batteryxr.xanes.kernels.misfit import each

    inputs = dict(zip(names, pixels, strict=True))
    out = fit_block(data, **inputs, **options)
    moved = each(found, options["problem"], data, inputs.get("weights"), out)
    return as_columns(out, options["problem"].model, moved)


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Hold the options of a fit besides its model; see `fit_edge`."""

    mask: str | xr.DataArray | None = None
    pre: Range | None = None
    post: Range | None = None
    threshold: float = 5.0
    noise: float | None = None
    errors: float | xr.DataArray | None = None
    start: Mapping[str, Any] | xr.Dataset | None = None
    multistart: Multistart = field(default_factory=Multistart)

    @property
    def rule(self) -> str | None:
        """Return the rule by which pixels are masked; None if there is none."""
        return self.mask if isinstance(self.mask, str) else None


def _check_energies(terms: Terms) -> None:
    """Raise if an edge or a peak of a spectrum on energies is clearly in keV."""
    if terms.dim != "energy":
        return
    if terms.edge is not None:
        bounds.check("photon energy", terms.edge.energy, argument="edge")
        if terms.edge.width is not None:
            highest = terms.edge.width[-1]
            bounds.check("width of an edge", highest, argument="width of edge")
    for peak in terms.peaks:
        bounds.check("photon energy", peak.position, argument="peaks")
        if peak.width is not None:
            bounds.check("width of an edge", peak.width[-1], argument="width of a peak")


def prepare(
    array: xr.DataArray, terms: Terms, options: FitOptions, *, caller: str
) -> PixelFit:
    """Find the noise and the initial guess, reading the data at most once.

    Raises
    ------
    ArgumentError
        If a range holds too few energies, or a start value is not in the model.
    DataError
        If there are too few energies for the model, or outside its ranges.
    """
    from batteryxr.xanes.kernels import starts
    from batteryxr.xanes.kernels.block import Accepted
    from batteryxr.xanes.kernels.misfit import Doubts

    _check_energies(terms)
    axis, model = compile_model(array[terms.dim].values, terms)
    if model.n_free >= axis.x.size:
        raise DataError(
            terms.dim,
            f"{axis.x.size} points for a model of {model.n_free} free parameters",
            "Drop peaks, or fix ranges by equal ends.",
        )
    windows = _level_windows(axis.x, terms, options)
    pooled = options.rule == "pooled"
    at = spread_over(array, terms.dim)
    sd, misfit, mean, some = options.noise or 0.0, 0.0, None, None
    if options.start is None or (pooled and options.noise is None):
        found, mean, some = survey(array, windows, at, dim=terms.dim, caller=caller)
        sd = sd or found
        require_size(float(np.fmax.reduce(np.abs(mean), None, initial=0.0)), "spectra")
    elif array.chunks is None:  # lazy data are not read for a test alone
        some = array.isel(at).transpose(*array.dims)
    pixels = _per_pixel(array[terms.dim], options)
    if options.start is not None:
        first, own = start_values(options.start, model)
        if own is not None:
            pixels["own"] = own, ["parameter"]
        values = starts.from_values(model, first)
    elif mean is not None and _tells(mean, model.n_free):
        values, misfit = starts.from_spectrum(axis, model, mean)
    else:  # nothing but missing data or zeros: every pixel is flagged
        values = starts.from_values(model, starts.middle(model))
    search = starts.make_search(axis, model, values)._replace(
        multistart=options.multistart.code(array.size // axis.x.size),
        ambiguity=options.multistart.ambiguity,
    )
    selection = Accepted()
    if pooled:
        selection = Accepted(windows, threshold=options.threshold * sd)
    elif windows is not None and options.rule == "paper":
        selection = Accepted(paper=windows[0])
    problem = Problem(axis, model, search, Noise(sd, misfit))
    unmoved = Doubts(np.zeros(model.low.size))
    fit = PixelFit(terms, problem, selection, pixels, unmoved)
    if some is None or terms.edge is None:
        return fit
    return _doubted(fit, some, at)


def _doubted(
    fit: PixelFit, some: xr.DataArray, at: Mapping[Hashable, np.ndarray]
) -> PixelFit:
    """Return the fit with what missing terms move, which fits of some spectra tell.

    It warns if that is further than the errors of more of them than chance gives.
    """
    from batteryxr.xanes.kernels.block import fit_block
    from batteryxr.xanes.kernels.misfit import MISFIT, doubts, each, widen

    dim, model = fit.terms.dim, fit.problem.model
    some = some.transpose(..., dim)
    pixels: dict[str, Any] = {}
    one = some.isel({dim: 0}, drop=True)
    for name, (values, own) in fit.pixels.items():
        near = values.isel({d: at[d] for d in values.dims if d in at})
        near = near.reset_coords(drop=True).broadcast_like(one)
        pixels[name] = near.transpose(*one.dims, *own).values
    search = fit.problem.search._replace(multistart=DOUBTFUL)
    problem = fit.problem._replace(search=search)
    out = fit_block(some.values, **pixels, problem=problem, selection=fit.selection)
    found = doubts(problem, some.values, pixels.get("weights"), out)
    moved = each(found, problem, some.values, pixels.get("weights"), out)
    more = (widen(out, model, moved).flags & MISFIT) > 0
    fit, moves = replace(fit, doubts=found), np.broadcast_to(moved, out.values.shape)
    if more.sum() <= 0.005 * ((out.flags & 3) == 0).sum():
        return fit
    told = (
        f"what the fits leave has a shape in common, most at {found.place:.5g} "
        f"{attributes(dim)['units']}: the model lacks a term there, which may move "
        f"edge energies of {100 * more.mean():.3g} % of spectra by "
        f"{np.median(moves[more][:, model.jump + 1]):.2g}. Errors hold that (flag "
        "misfit). Add a peak, or leave those energies out."
    )
    return replace(fit, warning=told)


def _per_pixel(
    axis: xr.DataArray, options: FitOptions
) -> dict[str, tuple[xr.DataArray, list[str]]]:
    """Return the mask, and the weights along the axis of the spectra."""
    pixels: dict[str, tuple[xr.DataArray, list[str]]] = {}
    if isinstance(options.mask, xr.DataArray):
        pixels["keep"] = options.mask.astype(bool), []
    if options.errors is not None:
        deviation = options.errors * xr.ones_like(axis, dtype=float)
        pixels["weights"] = 1.0 / deviation, [str(axis.name)]
    return pixels


def _tells(mean: np.ndarray, n_free: int) -> bool:
    """Tell whether a mean spectrum has points and values that a model can follow."""
    return bool(np.isfinite(mean).sum() > n_free and np.nan_to_num(mean).any())


def _level_windows(
    x: np.ndarray, terms: Terms, options: FitOptions
) -> np.ndarray | None:
    """Return the energies before and after the edge; by default outside all ranges.

    Give None if there is no edge, or there are too few energies and none is needed.
    """
    if terms.edge is None:
        return None
    pre, post = options.pre, options.post
    ranges = [terms.edge.energy, *(p.position for p in terms.peaks)]
    if pre is not None:
        before = window(x, pre, name="pre", least=3)
    else:
        before = x < min(r[0] for r in ranges)
    if post is not None:
        after = window(x, post, name="post")
    else:
        highest = np.nextafter(max(r[1] for r in ranges), np.inf)
        after = x >= min(highest, x[-1])
    if before.sum() >= 3:
        return np.stack([before, after])
    if options.rule is None and pre is None and post is None:
        return None
    raise DataError(
        terms.dim,
        f"{int(before.sum())} of {x.size} points lie below the model's ranges; noise "
        "and mask need three",
        "Give pre and post, or pass mask=None to fit every pixel.",
    )
