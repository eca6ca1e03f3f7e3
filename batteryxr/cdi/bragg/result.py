"""The labelled result of phase retrieval: names, dims, units, coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.objects import OBJECT, VOLUME
from batteryxr.core import blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.cdi.bragg.kernels.starts import Options

_BLUR = ("blur_rocking", "blur_y", "blur_x")

#: Name: dims behind the leading ones, dtype, long name. All are plain numbers.
VARIABLES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "object": (OBJECT, "complex64", "Complex density"),
    "object_error": (OBJECT, "float32", "Standard deviation between starts"),
    "support": (OBJECT, "bool", "Support"),
    "modes": (("mode", *OBJECT), "complex64", "Mode of the best starts"),
    "mode_weight": (("mode",), "float64", "Share of the mode"),
    "prtf": (("frequency",), "float64", "Phase-retrieval transfer function"),
    "residual": (("start", "iteration"), "float32", "Amplitude residual"),
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


class Layout:
    """Where each number of the result belongs.

    Parameters
    ----------
    intensity
        The measured volume, leading dims first.
    """

    def __init__(
        self,
        intensity: xr.DataArray,
        n_starts: int,
        n_best: int,
        iterations: int,
        options: Options,
    ) -> None:
        self._intensity = intensity
        self._lead = tuple(str(d) for d in intensity.dims[:-3])
        self._with_blur = options.coherence_every > 0
        shape = intensity.shape[-3:]
        self._sizes = {
            **{d: intensity.sizes[d] for d in self._lead},
            **dict(zip(OBJECT, shape, strict=True)),
            **{d: min(13, n - 1 + n % 2) for d, n in zip(_BLUR, shape, strict=True)},
            "start": n_starts,
            "mode": n_best,
            "frequency": max(1, min(shape) // 2),
            "iteration": iterations,
        }

    def eager(self, answers: list[dict[str, np.ndarray]]) -> xr.Dataset:
        """Label answers that are there."""
        return self._labelled(
            lambda name, *_: np.stack([answer[name] for answer in answers])
        )

    def lazy(self, answers: list[Any]) -> xr.Dataset:
        """Label answers that are still to be computed."""

        def stacked(name: str, shape: tuple[int, ...], dtype: str) -> Any:
            parts = [blocks.from_delayed(a[name], shape, dtype) for a in answers]
            return blocks.stack(parts)

        return self._labelled(stacked)

    def _labelled(self, take: Callable[[str, tuple[int, ...], str], Any]) -> xr.Dataset:
        def variable(name: str, dims: tuple[str, ...], dtype: str, words: str) -> Any:
            shape = tuple(self._sizes[d] for d in dims)
            lead = tuple(self._sizes[d] for d in self._lead)
            values = take(name, shape, dtype).astype(dtype).reshape(*lead, *shape)
            return (self._lead + dims, values, {"units": "1", "long_name": words})

        wanted = {n: v for n, v in VARIABLES.items() if n != "blur" or self._with_blur}
        result = xr.Dataset(
            {name: variable(name, *spec) for name, spec in wanted.items()},
            coords={
                name: variable(name, ("start",), *spec)
                for name, spec in ON_START.items()
            },
            attrs=self._attrs(),
        )
        return result.assign_coords(self._axes()).assign_coords(self._kept())

    def _axes(self) -> dict[str, Any]:
        def axis(dim: str, values: np.ndarray, words: str) -> Any:
            return (dim, values, {"units": "1", "long_name": words})

        names = dict(zip(OBJECT, VOLUME, strict=True))
        axes = {
            dim: axis(dim, _centred(self._sizes[dim]), f"Voxel along {measured}")
            for dim, measured in names.items()
        }
        if self._with_blur:
            for dim, measured in zip(_BLUR, VOLUME, strict=True):
                words = f"Offset in {measured}"
                axes[dim] = axis(dim, _centred(self._sizes[dim]), words)
        n = self._sizes["frequency"]
        axes["frequency"] = axis(
            "frequency", (np.arange(n) + 0.5) * (0.5 / n), "Frequency, cycles per voxel"
        )
        for dim, words in (
            ("start", "Start"),
            ("mode", "Mode"),
            ("iteration", "Iteration"),
        ):
            axes[dim] = axis(dim, np.arange(self._sizes[dim]), words)
        return axes

    def _kept(self) -> dict[str, Any]:
        """Coordinates of the input that do not lie on two of the measured axes."""
        return {
            str(name): coord.drop_vars(set(coord.coords) - {name})
            for name, coord in self._intensity.coords.items()
            if not (set(VOLUME) & set(coord.dims)) or coord.dims == (name,)
        }

    def _attrs(self) -> dict[str, Any]:
        passed = ("title", "timezone", "history", "rocking_motor", "source_files")
        attrs = {k: v for k, v in self._intensity.attrs.items() if k in passed}
        # What the phase means depends on it: with -1, phase = -Q u.
        return attrs | {"fourier_sign": -1}


def _centred(n: int) -> np.ndarray:
    return np.arange(n) - n // 2
