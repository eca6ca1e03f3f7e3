"""One start of phase retrieval: run, judged, and kept as small as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.cdi.bragg.kernels.iterations import iterate
from batteryxr.cdi.bragg.kernels.metrics import MERITS
from batteryxr.cdi.bragg.kernels.pattern import centre, judge, rolled
from batteryxr.core.device import to_device, to_device_of, to_numpy

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.cdi.bragg.kernels.pattern import Pattern
    from batteryxr.cdi.bragg.settings import Settings


@dataclass
class Start:
    """One start, as small as it is kept: the box around its support.

    Parameters
    ----------
    box
        The object, complex64, from `corner` on in an array of `shape` whose origin is
        at ``n // 2``; the centre of the support lies there.
    support
        Of the shape of `box`.
    merits
        By the names of `MERITS`.
    """

    box: np.ndarray
    support: np.ndarray
    corner: tuple[int, ...]
    shape: tuple[int, ...]
    residual: np.ndarray
    merits: dict[str, float] = field(default_factory=dict)
    blur: np.ndarray | None = None
    failed: str = ""

    def whole(self, box: np.ndarray) -> np.ndarray:
        """Return a box in its place in the whole array."""
        out = np.zeros(self.shape, box.dtype)
        place = zip(self.corner, box.shape, strict=True)
        out[tuple(slice(c, c + n) for c, n in place)] = box
        return out


def run(
    pattern: Pattern,
    settings: Settings,
    rng: np.random.Generator,
    *,
    watch: Callable[[int, float], None] | None = None,
) -> Start:
    """Run one start from the pattern's first object, and judge it."""
    if not (pattern.intensity * pattern.used).any() or not pattern.support.any():
        why = "there are no counts, or the first support is empty"
        return _failed(pattern, np.full(settings.iterations, np.nan), why)
    moved = to_device(settings.device, purpose="phase retrieval")
    # Where it is negative the field floats.
    known = np.where(pattern.used, np.sqrt(pattern.intensity), np.float32(-1))
    amplitude, initial = moved(known), pattern.initial
    outcome = iterate(
        amplitude,
        to_device_of(amplitude, pattern.support),
        settings,
        rng,
        initial=None if initial is None else to_device_of(amplitude, initial),
        watch=watch,
    )
    rho, support = to_numpy(outcome.rho), to_numpy(outcome.support)
    blur = None if outcome.blur is None else to_numpy(outcome.blur)
    if not outcome.failed and not support.any():
        outcome = replace(outcome, failed="the support is empty")
    if outcome.failed:
        return _failed(pattern, outcome.residual, outcome.failed)
    merits = judge(pattern, rho, blur)
    move = [n // 2 - c for n, c in zip(rho.shape, centre(support), strict=True)]
    rho, support = rolled(rho, move), rolled(support, move)
    edges = _box(support)
    return Start(
        rho[edges].copy(),
        support[edges].copy(),
        tuple(e.start for e in edges),
        rho.shape,
        outcome.residual,
        merits,
        blur,
    )


def _failed(pattern: Pattern, residual: np.ndarray, why: str) -> Start:
    shape = pattern.intensity.shape
    box = np.zeros((1,) * len(shape), np.complex64)
    corner: tuple[int, ...] = (0,) * len(shape)
    nothing = {str(name): math.nan for name in MERITS}
    return Start(box, box.real > 0, corner, shape, residual, nothing, failed=why)


def _box(support: np.ndarray) -> tuple[slice, ...]:
    edges = []
    for axis in range(support.ndim):
        others = tuple(a for a in range(support.ndim) if a != axis)
        filled = np.flatnonzero(support.any(axis=others))
        edges.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(edges)
