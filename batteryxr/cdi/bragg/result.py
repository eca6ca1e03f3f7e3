"""The result of phase retrieval: its labels, and what must be told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    OBJECT,
    PHOTONS,
    SIGN,
    SLOPES,
    VOLUME,
    sign_note,
)
from batteryxr.cdi.bragg.kernels.free import GAINED
from batteryxr.cdi.bragg.space import axis_note
from batteryxr.core.blocks import from_delayed, is_lazy, stack
from batteryxr.core.errors import ConvergenceError, warn_quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.cdi.bragg.settings import RetrievalSettings

#: Overlap with the crystal below which an object is not to be trusted.
_TRUSTED = 0.95

_BLUR = ("blur_rocking", "blur_y", "blur_x")

#: Name: dimensions after the leading ones, dtype, long name. All are plain numbers.
VARIABLES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "object": (OBJECT, "complex64", "Complex density"),
    "object_error": (OBJECT, "float32", "Standard deviation between starts"),
    "support": (OBJECT, "bool", "Support"),
    "modes": (("mode", *OBJECT), "complex64", "Mode of the best starts"),
    "mode_weight": (("mode",), "float64", "Share of the mode"),
    "prtf": (("frequency",), "float64", "Phase-retrieval transfer function"),
    "residual": (("start", "iteration"), "float32", "Amplitude residual"),
    "oversampling": (("axis",), "float64", "Points over the extent of the support"),
    "expected_overlap": ((), "float64", "Overlap with the crystal to be expected"),
    "blur_gain": ((), "float64", "Free likelihood with a blur over that without"),
    "left_out": ((), "int64", "Pixels in gaps of zeros, taken as not measured"),
    "blur": (_BLUR, "float32", "Blur by partial coherence"),
}
ON_START: dict[str, tuple[str, str]] = {
    "amp_residual": ("float64", "Amplitude residual Σ(|F|−A)²/ΣA²"),
    "chi2": ("float64", "χ² = Σ(√D−√R)²/ΣR"),
    "llk": ("float64", "Poisson log-likelihood per voxel"),
    "llk_free": ("float64", "Free Poisson log-likelihood per voxel"),
    "overlap": ("float64", "Overlap with the best start"),
    "rank": ("int16", "Rank of the start, 0 failed"),
    "support_voxels": ("int64", "Voxels of the support"),
}


def label_answers(
    answers: list[Any], intensity: xr.DataArray, settings: RetrievalSettings
) -> xr.Dataset:
    """Label the answer for each pattern.

    Parameters
    ----------
    answers
        Arrays of each pattern by name, or tasks that will give them if the intensity is
        lazy.
    intensity
        Measured volume, leading dimensions first.
    settings
        Settings of the call.
    """
    take = _delayed if is_lazy(intensity) else _computed
    lead = tuple(str(d) for d in intensity.dims[:-3])
    sizes = _sizes(intensity.shape[-3:], settings)
    sizes |= {d: intensity.sizes[d] for d in lead}
    shape_of_lead = tuple(sizes[d] for d in lead)

    def labelled(name: str, dims: tuple[str, ...], dtype: str, words: str) -> Any:
        shape = tuple(sizes[d] for d in dims)
        values = take(answers, name, shape, dtype).astype(dtype)
        attrs = {"units": "rad" if name in SLOPES else "1", "long_name": words}
        return (lead + dims, values.reshape((*shape_of_lead, *shape)), attrs)

    blurred = settings.coherence_every != 0
    wanted = {n: v for n, v in VARIABLES.items() if n != "blur" or blurred}
    result = xr.Dataset(
        {name: labelled(name, *spec) for name, spec in wanted.items()},
        coords={n: labelled(n, ("start",), *spec) for n, spec in ON_START.items()}
        | {PHOTONS: labelled(PHOTONS, (), "float64", "Counts that were phased")}
        | {n: labelled(n, (), "float64", "Mean phase per voxel") for n in SLOPES},
        attrs=_attrs(intensity.attrs),
    )
    result = result.assign_coords(_axes(sizes, blurred, intensity))
    # The sign gives the phase its meaning: with -1, phase = -Q u.
    noted = {SIGN: sign_note()}
    return result.assign_coords(_carried(intensity.coords)).assign_coords(noted)


def _computed(
    answers: list[dict[str, np.ndarray]], name: str, shape: tuple[int, ...], dtype: str
) -> Any:
    return np.stack([answer[name] for answer in answers])


def _delayed(answers: list[Any], name: str, shape: tuple[int, ...], dtype: str) -> Any:
    return stack([from_delayed(a[name], shape, dtype) for a in answers])


def _sizes(shape: tuple[int, ...], settings: RetrievalSettings) -> dict[str, int]:
    return {
        **dict(zip(OBJECT, shape, strict=True)),
        **{d: min(13, n - 1 + n % 2) for d, n in zip(_BLUR, shape, strict=True)},
        "axis": 3,
        "start": settings.n_starts,
        "mode": settings.n_best,
        "frequency": max(1, min(shape) // 2),
        "iteration": settings.iterations,
    }


def _box_centre(intensity: xr.DataArray, dim: str) -> float | None:
    """Return the angle or pixel in the middle; None if it differs between patterns."""
    if dim not in intensity.coords:
        return None
    axis = intensity[dim].values
    place = intensity.coords.get(f"{dim}_centre", xr.DataArray(0.0))
    middle = float(axis[axis.size // 2])
    return None if place.size > 1 else middle + float(place)


def _spoken(dim: str) -> str:
    return dim.replace("_", " ")


def _axes(
    sizes: dict[str, int], blurred: bool, intensity: xr.DataArray
) -> dict[str, Any]:
    def axis(dim: str, values: np.ndarray, words: str) -> Any:
        return (dim, values, {"units": "1", "long_name": words})

    axes = {
        dim: axis(dim, _centred(sizes[dim]), f"Voxel along {_spoken(measured)}")
        for dim, measured in zip(OBJECT, VOLUME, strict=True)
    }
    for dim, measured in zip(OBJECT, VOLUME, strict=True):
        note = axis_note(sizes[dim], _box_centre(intensity, measured))
        axes[dim] = (*axes[dim][:2], axes[dim][2] | note)
    if blurred:
        for dim, measured in zip(_BLUR, VOLUME, strict=True):
            axes[dim] = axis(
                dim, _centred(sizes[dim]), f"Offset in {_spoken(measured)}"
            )
    n = sizes["frequency"]
    middles = (np.arange(n) + 0.5) * (0.5 / n)
    axes["frequency"] = axis("frequency", middles, "Frequency, cycles per voxel")
    axes["axis"] = axis("axis", np.array(VOLUME), "Axis of the volume")
    for dim in ("start", "mode", "iteration"):
        axes[dim] = axis(dim, np.arange(sizes[dim]), dim.capitalize())
    return axes


def _carried(coords: Mapping[Any, xr.DataArray]) -> dict[str, Any]:
    """Return coordinates of the input: those off the measured axes, and the axes."""
    return {
        str(name): coord.drop_vars(set(coord.coords) - {name})
        for name, coord in coords.items()
        if not (set(VOLUME) & set(coord.dims)) or coord.dims == (name,)
    }


def _attrs(given: Mapping[str, Any]) -> dict[str, Any]:
    passed = ("title", "timezone", "history", "rocking_motor", "source_files")
    return {k: v for k, v in given.items() if k in passed}


def _centred(n: int) -> np.ndarray:
    return np.arange(n) - n // 2


def tell_of_answers(
    answers: list[Any], settings: RetrievalSettings, first: int = 0, of: int = 1
) -> Any:
    """Return the last answer; warn of what is wrong with all, the `first` of `of`."""
    _report([answer["rank"] for answer in answers], settings, of)
    _report_sampling([answer["oversampling"] for answer in answers], settings.caller)
    _report_blur(answers, first, settings.caller)
    expected = [float(a["expected_overlap"]) for a in answers]
    _report_trust(expected, first, settings.caller)
    return answers[-1]


def _report(ranks: list[np.ndarray], settings: RetrievalSettings, of: int) -> None:
    """Raise if all starts of all patterns failed; warn if some did."""
    caller, n_starts = settings.caller, settings.n_starts
    failed = [int((rank == 0).sum()) for rank in ranks]
    if len(ranks) >= of and all(count == n_starts for count in failed):
        raise ConvergenceError(
            f"{caller}: every start lost its support, which vanished or filled "
            "the volume. Change `threshold` or `sigma` of `support`, give a first "
            "support, or look whether the volume holds a Bragg peak at its centre."
        )
    if any(failed):
        warn_quality(
            f"{caller}: {sum(failed)} of {n_starts * len(ranks)} starts lost "
            "their support (rank 0). Another `threshold` may suit the data better."
        )


def _report_blur(answers: list[dict[str, np.ndarray]], first: int, caller: str) -> None:
    """Warn where a blur explains the pattern better."""
    for fitted, mend in ((True, "It was fitted"), (False, "Fit it")):
        gains = {
            k: float(a["blur_gain"])
            for k, a in enumerate(answers, first)
            if a["blur_gain"] < GAINED and bool(a["fitted"]) == fitted
        }
        if gains:
            warn_quality(
                f"{caller}: a blur lowers the free likelihood to "
                f"{min(gains.values()):.0%} (patterns {list(gains)}): the beam is "
                "partially coherent, or the crystal drifted. "
                f"{mend}, coherence_every=20."
            )


def _report_trust(expected: list[float], first: int, caller: str) -> None:
    """Warn where photons and starts do not determine the object."""
    few = [k for k, overlap in enumerate(expected, first) if overlap < _TRUSTED]
    if few:
        worst = min(overlap for overlap in expected if overlap < _TRUSTED)
        warn_quality(
            f"{caller}: photons and starts let expect an overlap with the crystal of "
            f"{worst:.2f} (patterns {few}): too few photons for its size, starts that "
            "end apart, or a fit that photons do not explain. Sum repeats, take more "
            "starts or a better support; `replicas` tells the errors."
        )


def _report_sampling(ratios: list[np.ndarray], caller: str) -> None:
    """Warn where an object fills more than half of an axis."""
    known = [r for r in ratios if np.isfinite(r).all()]
    least = np.min([*known, np.full(len(VOLUME), np.inf)], axis=0)
    if (least < 2).any():
        told = ", ".join(f"{d} {r:.2f}" for d, r in zip(VOLUME, least, strict=True))
        warn_quality(
            f"{caller}: oversampling below 2 ({told}): the pattern is too coarse for "
            "its crystal, and phases cannot be trusted. Smaller steps or a longer "
            "distance are needed along that axis; see `oversampling` of the result."
        )
