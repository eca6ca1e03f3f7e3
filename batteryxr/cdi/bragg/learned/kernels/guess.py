"""The first object of a start: what a network says about the pattern.

Needs PyTorch, which is imported here: import this module where it is used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from batteryxr.cdi.bragg.learned.kernels import network
from batteryxr.cdi.bragg.learned.kernels.network_input import scene
from batteryxr.cdi.bragg.learned.kernels.orientations import orientations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batteryxr.cdi.bragg.kernels.pattern import Pattern

#: Fraction of the density of the guess above which a voxel belongs to its support.
_INSIDE = 0.25


def with_guess(
    pattern: Pattern,
    arrays: Mapping[str, np.ndarray],
    number: int,
    *,
    refine: int,
    rate: float,
    device: str = "cpu",
    watch: Callable[[int, float], None] | None = None,
) -> Pattern:
    """Return the pattern with the network's object as its first one.

    Parameters
    ----------
    pattern
        As measured; voxels that are unmeasured or held back are not shown to the
        network either.
    arrays
        Weights of the network.
    number
        Which of the 48 orientations the pattern is shown in: the network does not
        treat them alike, so that each gives another guess.
    refine, rate, watch
        As in `network.refine`.
    device
        Of PyTorch.
    """
    way = orientations()[number]
    seen = np.where(pattern.used, pattern.intensity, np.float32(np.nan))
    if not np.nansum(seen) > 0:
        return pattern
    view = scene(np.fft.fftshift(way.turn(seen)))
    weights = {k: torch.from_numpy(a).to(device) for k, a in arrays.items()}
    modulus, weight = (
        torch.from_numpy(a[None]).to(device) for a in (view.modulus, view.weight)
    )
    found, _ = network.refine(weights, modulus, weight, refine, rate=rate, watch=watch)
    rho = way.undo(np.fft.ifftshift(view.whole(found[0].cpu().numpy())))
    body = np.abs(rho)
    support = body > _INSIDE * np.quantile(body[body > 0.1 * body.max()], 0.8)
    # By one voxel more: the network's grid is coarser than the pattern's.
    support = ndimage.binary_dilation(np.fft.fftshift(support))
    return replace(pattern, initial=rho, support=np.fft.ifftshift(support))
