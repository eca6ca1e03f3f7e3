"""A small network that guesses a crystal from its pattern: one encoder, two decoders.

The encoder takes the measured modulus and the autocorrelation computed from it, which
already lies in real space. One decoder returns the density, the other the phase. The
object is judged by physics: its transform is compared with the measured modulus (Chan
et al., Appl. Phys. Rev. 8, 021407 (2021); Yao et al., npj Comput. Mater. 8, 124
(2022)).

Needs PyTorch, which is imported here: import this module where it is used. Weights are
a plain dictionary of tensors by name.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as nn
from scipy import ndimage

from batteryxr.cdi.bragg.learned.kernels.network_input import orientations, scene

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batteryxr.cdi.bragg.kernels.pattern import Pattern

#: Channels at 1/2, 1/4 and 1/8 of the pattern's size, and of the decoders' last steps.
CHANNELS = (24, 48, 96, 16)
DECODERS = ("density", "phase")
_GROUPS = 8
#: Fraction of the density of the guess above which a voxel belongs to its support.
_INSIDE = 0.25


def layers(channels: tuple[int, ...] = CHANNELS) -> dict[str, tuple[int, int, int]]:
    """Return input channels, output channels and kernel size of every convolution."""
    a, b, c, d = channels
    made = {
        "encode_0a": (24, a, 3),  # three channels in blocks of 2 x 2 x 2 voxels
        "encode_0b": (a, a, 3),
        "encode_1a": (a, b, 3),
        "encode_1b": (b, b, 3),
        "encode_2a": (b, c, 3),
        "encode_2b": (c, c, 3),
    }
    for name in DECODERS:
        made |= {
            f"{name}_2": (c, b, 1),
            f"{name}_1": (2 * b, 2 * d, 3),
            f"{name}_0": (2 * d, d, 1),
            f"{name}_skip": (a, d, 1),
            f"{name}_0a": (2 * d, d, 3),
            f"{name}_0b": (d, d, 3),
            f"{name}_out": (d, 1, 3),
        }
    return made


def new_weights(seed: int) -> dict[str, torch.Tensor]:
    """Return untrained weights (He et al., ICCV (2015))."""
    rng = torch.Generator().manual_seed(seed)
    weights = {}
    for name, (n_in, n_out, k) in layers().items():
        spread = math.sqrt(2 / (n_in * k**3))
        if name.endswith("_out"):
            spread *= 0.1  # starts from half a density and no phase
        shape = (n_out, n_in, k, k, k)
        weights[f"{name}.weight"] = spread * torch.randn(shape, generator=rng)
        weights[f"{name}.bias"] = torch.zeros(n_out)
        if n_out > 1:
            weights[f"{name}.gain"] = torch.ones(n_out)
            weights[f"{name}.shift"] = torch.zeros(n_out)
    return weights


def guess(
    weights: dict[str, torch.Tensor], modulus: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Guess density and phase of crystals from their patterns.

    Parameters
    ----------
    weights
        Weights by the names of `new_weights`.
    modulus
        ``(batch, n, n, n)``, float32, origin at ``n // 2``.

    Returns
    -------
    density, phase
        ``(batch, n / 2, n / 2, n / 2)``, density from 0 to 1, phase in rad; origin at
        ``n // 4``.
    """
    step = _Layer(weights)
    at_0 = step("encode_0b", step("encode_0a", _blocks(_features(modulus))))
    at_1 = step("encode_1b", step("encode_1a", nn.max_pool3d(at_0, 2)))
    at_2 = step("encode_2b", step("encode_2a", nn.max_pool3d(at_1, 2)))
    said = []
    for name in DECODERS:
        up = _twice(step(f"{name}_2", at_2))
        up = step(f"{name}_1", torch.cat([up, at_1], 1))
        up = _twice(step(f"{name}_0", up))
        up = torch.cat([up, step(f"{name}_skip", at_0)], 1)
        up = step(f"{name}_0b", step(f"{name}_0a", up))
        said.append(step.plain(f"{name}_out", up)[:, 0])
    return torch.sigmoid(said[0]), math.pi * said[1]


def as_object(density: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
    """Return the complex object in an array of twice the size, origin ``n // 2``."""
    quarter = density.shape[-1] // 2
    body = torch.polar(density, phase)
    return nn.pad(body, (quarter, quarter) * 3)


def spectrum(rho: torch.Tensor) -> torch.Tensor:
    """Return the transform of objects; both have their origin at ``n // 2``."""
    axes = (-3, -2, -1)
    moved = torch.fft.ifftshift(rho, axes)
    return torch.fft.fftshift(torch.fft.fftn(moved, dim=axes, norm="ortho"), axes)


def misfit(
    rho: torch.Tensor, modulus: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Return sum w ||F| - A| / sum w A for each object, with F scaled to A.

    The sum of moduli gives the faint outer fringes more weight than their squares
    would.
    """
    axes = (-3, -2, -1)
    found = torch.sqrt(_squared(spectrum(rho)) + 1e-12)
    w = torch.ones_like(modulus) if weight is None else weight
    scale = (w * found * modulus).sum(axes) / (w * found**2).sum(axes)
    away = (scale[:, None, None, None] * found - modulus).abs()
    return (w * away).sum(axes) / (w * modulus).sum(axes)


def overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the modulus of the normalised complex overlap of objects."""
    axes = (-3, -2, -1)
    product = (a.conj() * b).sum(axes)
    power = _squared(a).sum(axes) * _squared(b).sum(axes)
    return torch.sqrt((_squared(product) + 1e-12) / (power + 1e-12))


def training_loss(
    weights: dict[str, torch.Tensor], modulus: torch.Tensor, truth: torch.Tensor
) -> torch.Tensor:
    """Return the training loss for each crystal whose object is known.

    Its terms are the misfit of the pattern, which needs no label; the missing overlap
    with the object in its standard setting (see `network_input.standard`), up to the
    global phase; and the difference of the densities.

    Parameters
    ----------
    weights, modulus
        See `guess`.
    truth
        Complex objects, ``(batch, n, n, n)``, origin at ``n // 2``.
    """
    density, phase = guess(weights, modulus)
    found = as_object(density, phase)
    body = truth.abs()
    inner = nn.pad(density, (density.shape[-1] // 2,) * 6)
    differ = (inner - body).abs().sum((-3, -2, -1)) / body.sum((-3, -2, -1))
    return misfit(found, modulus) + 2 * (1 - overlap(found, truth)) + 0.3 * differ


def refine(
    weights: dict[str, torch.Tensor],
    modulus: torch.Tensor,
    weight: torch.Tensor,
    steps: int,
    *,
    rate: float = 1e-3,
    watch: Callable[[int, float], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Train the network on one pattern by its misfit alone; return the best object.

    Parameters
    ----------
    weights
        Trained weights; they are not changed.
    modulus, weight
        Patterns ``(batch, n, n, n)``, and how well each voxel was measured, 0 to 1.
    steps
        Steps of Adam.
    rate
        Learning rate of Adam, which falls to zero along a cosine.
    watch
        Called with the number of the step and the misfit; may raise to interrupt.

    Returns
    -------
    object
        Complex, ``(batch, n, n, n)``: the best-fitting object of each pattern.
    misfit
        Misfit of each pattern.
    """
    own = {k: v.clone().requires_grad_(steps > 0) for k, v in weights.items()}
    adam = torch.optim.Adam(own.values(), lr=rate) if steps else None
    best: torch.Tensor | None = None
    found: torch.Tensor | None = None
    for step in range(steps + 1):
        rho = as_object(*guess(own, modulus))
        loss = misfit(rho, modulus, weight)
        now, seen = loss.detach(), rho.detach()
        if best is None or found is None:
            best, found = now, seen
        better = now < best
        found = torch.where(better[:, None, None, None], seen, found)
        best = torch.minimum(best, now)
        if watch is not None:
            watch(step, float(now.mean()))
        if adam is None or step == steps:
            break
        adam.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
    assert found is not None
    assert best is not None
    return found, best


class _Layer:
    """Convolve, normalise over groups of channels, and rectify, leaking."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self._weights = weights

    def __call__(self, name: str, x: torch.Tensor) -> torch.Tensor:
        w = self._weights
        x = nn.group_norm(
            self.plain(name, x), _GROUPS, w[f"{name}.gain"], w[f"{name}.shift"]
        )
        return nn.leaky_relu(x, 0.01, inplace=True)

    def plain(self, name: str, x: torch.Tensor) -> torch.Tensor:
        kernel = self._weights[f"{name}.weight"]
        bias = self._weights[f"{name}.bias"]
        return nn.conv3d(x, kernel, bias, padding=kernel.shape[-1] // 2)


def _features(modulus: torch.Tensor) -> torch.Tensor:
    """Return three channels: the modulus, and both parts of the autocorrelation."""
    axes = (-3, -2, -1)
    power = modulus**2
    rms = torch.sqrt(power.mean(axes, keepdim=True))
    spread = torch.fft.fftshift(
        torch.fft.ifftn(torch.fft.ifftshift(power, axes), dim=axes), axes
    )
    spread = spread / power.mean(axes, keepdim=True)
    # Take the square root of its modulus: it varies over orders of magnitude.
    spread = spread * (_squared(spread) + 1e-8) ** -0.25
    return torch.stack([torch.log1p(modulus / rms), spread.real, spread.imag], 1)


def _blocks(x: torch.Tensor) -> torch.Tensor:
    """Turn blocks of 2 x 2 x 2 voxels into channels of one voxel."""
    b, c, n = x.shape[0], x.shape[1], x.shape[-1] // 2
    x = x.reshape(b, c, n, 2, n, 2, n, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, 8 * c, n, n, n)


def _twice(x: torch.Tensor) -> torch.Tensor:
    return nn.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


def _squared(field: torch.Tensor) -> torch.Tensor:
    return field.real**2 + field.imag**2


def with_guess(
    pattern: Pattern,
    arrays: Mapping[str, np.ndarray],
    number: int,
    *,
    steps: int,
    rate: float,
    device: str = "cpu",
    watch: Callable[[int, float], None] | None = None,
) -> Pattern:
    """Return the pattern with the network's object as its initial object.

    Parameters
    ----------
    pattern
        Measured pattern; unmeasured and held-out voxels are hidden from the network.
    arrays
        Weights of the network.
    number
        Number of the orientation, of 48, in which the pattern is shown. The network
        treats orientations differently, so that each gives another guess.
    steps, rate, watch
        See `refine`.
    device
        Device of PyTorch.
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
    found, _ = refine(weights, modulus, weight, steps, rate=rate, watch=watch)
    rho = way.undo(np.fft.ifftshift(view.whole(found[0].cpu().numpy())))
    body = np.abs(rho)
    support = body > _INSIDE * np.quantile(body[body > 0.1 * body.max()], 0.8)
    # Dilate by one voxel: the network's grid is coarser than the pattern's.
    support = ndimage.binary_dilation(np.fft.fftshift(support))
    return replace(pattern, initial=rho, support=np.fft.ifftshift(support))
