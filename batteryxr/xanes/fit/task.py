"""How a fit is run: what is read beforehand, and the lazy application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.xanes.fit import starts
from batteryxr.xanes.fit.result import start_values
from batteryxr.xanes.stacks.noise import noise_windows, survey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batteryxr.xanes.fit.terms import Edge, Peak, Plan, Range

#: Up to so many spectra are fitted from all starts by default.
FEW = 1000
_MULTISTART = {"never": 0, "doubtful": 1, "always": 2}


@dataclass
class FitTask:
    """One fit: what is read beforehand, and the lazy application."""

    array: xr.DataArray
    dim: str
    caller: str
    plan: Plan
    start: Mapping[str, Any] | xr.Dataset | None
    given_noise: float | None
    multistart: str | None = None
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    noise: float = 0.0
    misfit: float = 0.0
    own: xr.DataArray | None = None

    def prepare(self, pooled: bool) -> None:
        """Find noise and start values, reading the data at most once."""
        axis = self.array[self.dim].values
        size = self.array.size // self.array.sizes[self.dim]
        self.multistart = self.multistart or ("always" if size <= FEW else "doubtful")
        if self.multistart not in _MULTISTART:
            choices = [*_MULTISTART]
            raise ArgumentError("multistart", self.multistart, f"one of {choices}")
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
        **options: Any,
    ) -> Any:
        """Apply the kernel to every block."""
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
            multistart=_MULTISTART[str(self.multistart)],
            threads=1 if lazy else _threads(),
            dtype=dtype,
            **options,
        )


def _block(data: np.ndarray, *extra: np.ndarray, names: Any, **options: Any) -> Any:
    from batteryxr.xanes.kernels.block import fit_block

    return fit_block(data, **dict(zip(names, extra, strict=True)), **options)


def model_windows(
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
