"""A factorisation as a walk over all that fit as well begins: what may move in it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batteryxr.core.blocks import stream
from batteryxr.core.errors import DataError, warn_quality
from batteryxr.core.model import require_variables
from batteryxr.core.seeds import generator
from batteryxr.nmf.starting import ORIGINS

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.nmf.kernels.feasible import Range

#: Above this many patterns only the outermost are used; the others lie among them.
_PATTERNS = 4000
#: Lowest singular value of unit-norm patterns that a walk can rotate.
_ALIKE = 1e-9


@dataclass(frozen=True, eq=False)
class Ground:
    """Hold a factorisation, and which parts of it may move.

    Parameters
    ----------
    patterns, unit
        (k, all points) components over the bound, in a unit that makes them near 1.
    weights
        (k, patterns) without gaps.
    here, points
        Masks of the patterns and points that have values.
    lift
        The lower bound of the components.
    known
        (k,) origin of each component.
    errors
        (k, k) covariance of the components for noise of variance one; None for images.
    noise
        Standard deviation of a typical value of the data.
    samples, profile
        Noise of each pattern and of each point, relative to `noise`; None and 1 where
        they are equal.
    given
        (k, patterns) known weights, NaN where they are free; or None.
    memory
        Variance of a weight over that for noise without memory.
    """

    patterns: np.ndarray
    unit: float
    weights: np.ndarray
    here: np.ndarray
    points: np.ndarray
    lift: np.ndarray | float
    known: np.ndarray
    errors: np.ndarray | None
    noise: float
    closure: bool
    rng: np.random.Generator
    samples: np.ndarray | None = None
    profile: np.ndarray | float = 1.0
    given: np.ndarray | None = None
    memory: float = 1.0

    @property
    def rows(self) -> np.ndarray:
        """Return the components (k, points), scaled to equal noise at all points."""
        return self.patterns[:, self.points] / self.profile

    @property
    def held(self) -> np.ndarray:
        """Return which components do not move, (k,)."""
        return (self.known == "scan") | (self.known == "pattern")

    @property
    def apart(self) -> bool:
        """Tell whether the moving components can be told apart at all."""
        rows = np.maximum(self.rows, 0.0)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        if self.held.all():
            return True
        if not (length > 0).all():
            return False
        size = np.linalg.svd(rows / length, compute_uv=False)
        return bool(size[-1] > _ALIKE)

    def walk(self, steps: int, *, points: bool = True) -> Range:
        """Return the ranges that a walk finds, components in `unit`.

        Those of the components at all points, or where they bound the others.
        """
        from batteryxr.nmf.kernels.feasible import Scatter, Walk, explore

        noise = Scatter(
            self.noise / self.unit,
            self.errors,
            self.samples,
            self.given,
            self.memory,
        )
        with contextlib.suppress(np.linalg.LinAlgError):
            if self.apart:
                return explore(
                    self.weights,
                    np.maximum(self.rows, 0.0),
                    self.held,
                    self.rng,
                    closure=self.closure,
                    noise=noise,
                    walk=Walk(steps, points=points),
                )
        raise DataError(
            "result",
            "has components that are sums of one another, or nothing: their "
            "ratios can be any",
            "Fit fewer components.",
        )

    def turned(self, turn: np.ndarray) -> Ground:
        """Return another factorisation that fits as well."""
        weights = np.maximum(np.linalg.inv(turn).T @ self.weights, 0.0)
        return replace(
            self,
            patterns=turn @ self.patterns,
            weights=weights / np.maximum(weights.sum(axis=0), 1e-300),
        )


def ground_of(
    result: xr.Dataset, lift: np.ndarray | float, noise: float | None, seed: int
) -> Ground:
    """Return where a walk begins from a result.

    Parameters
    ----------
    result
        Result of `fit`.
    lift
        The lower bound of the components.
    noise
        Standard deviation of the data; by default that of the residuals.
    seed
        Seed of the walk.
    """
    from batteryxr.nmf.kernels.noise import unabsorbed

    needed = ["components", "weights", "residual", "fixed", "shift_curve"]
    require_variables(result, needed, caller="bands")
    rng = generator(seed)
    if "stretch" in result:
        raise DataError("result", "its components stretch; expected a result of `fit`")
    if "signed" in result:
        names = result["component"].values[result["signed"].values]
        raise DataError(
            "result",
            f"{', '.join(names)} may be negative: nothing bounds the range",
            "Fit without `signed`.",
        )
    if "unimodal" in result:
        names = result["component"].values[result["unimodal"].values]
        warn_quality(
            f"the range does not know that {', '.join(names)} have one maximum: it "
            "holds the truth, but is wider than need be."
        )
    if "weights_released" in result:
        names = ("components", "weights", "residual")
        result = result.assign({n: result[f"{n}_released"] for n in names})
    closure = bool(result.attrs.get("closure", 1))
    lift = lift if closure else 0.0
    patterns = result["components"].transpose("component", ...).values - lift
    points = np.asarray(np.isfinite(patterns).all(axis=0))
    many = result["weights"].size > len(patterns) * _PATTERNS
    flat, rest = _outline(result, rng) if many else _whole(result)
    here = np.isfinite(flat).all(axis=0)
    known = knowledge(result)
    samples, profile, given = (None, 1.0, None) if many else _told(result, here, points)
    memory = 1.0 if many else float(result.get("noise_memory", 1.0))
    if noise is None:
        # For so many patterns the components absorb next to no noise.
        left = 1.0 if many else _left(flat[:, here], known, int(points.sum()), closure)
        left *= unabsorbed(patterns[:, points], memory, closure=closure)
        noise = rest / float(np.sqrt(left))
    unit = float(np.nanmax(np.abs(patterns))) or 1.0
    return Ground(
        patterns=patterns / unit,
        unit=unit,
        weights=flat[:, here],
        here=here,
        points=points,
        lift=lift,
        known=known,
        errors=None if many else errors_of(flat[:, here], known, samples),
        noise=float(noise),
        closure=closure,
        rng=rng,
        samples=samples,
        profile=profile,
        given=given,
        memory=memory,
    )


def _told(
    result: xr.Dataset, here: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | float, np.ndarray | None]:
    """Return the known noise by scan and by point, and the known weights."""
    samples, profile, given = None, 1.0, None
    if "noise_level" in result:
        samples = result["noise_level"].values[here]
        if result.attrs.get("closure", 1):  # else components keep their area
            profile = result["noise_profile"].values[points]
    if "weights_known" in result:
        given = result["weights_known"].transpose("component", ...).values[:, here]
    return samples, profile, given


def knowledge(result: xr.Dataset) -> np.ndarray:
    """Return the origin (k,) of each component, one of `ORIGINS`."""
    if "origin" in result:
        return np.array(ORIGINS)[result["origin"].values]
    return np.where(result["fixed"].values, "pattern", "free")


def errors_of(
    weights: np.ndarray, known: np.ndarray, samples: np.ndarray | None
) -> np.ndarray:
    """Return the covariance of components (k, k) for noise of variance one."""
    from batteryxr.nmf.kernels.feasible import inherited

    return inherited(weights, *_kinds(known), samples)


def _left(weights: np.ndarray, known: np.ndarray, points: int, closure: bool) -> float:
    """Return the fraction of the squared noise that is left as residual."""
    from batteryxr.nmf.kernels.feasible import left_over

    return left_over(weights, *_kinds(known), points, closure=closure)


def _kinds(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return masks of the components that are scans, and that are free or found."""
    scan = known == "scan"
    return scan, ~scan & (known != "pattern")


def _whole(result: xr.Dataset) -> tuple[np.ndarray, float]:
    """Return all weights (k, patterns), and the root mean square residual."""
    both = result[["weights", "residual"]].compute()
    weights = both["weights"].transpose("component", ...)
    flat = weights.values.reshape(len(weights), -1).astype(np.float64)
    rest = both["residual"].astype(np.float64)
    if "noise_level" in result and rest.ndim:
        rest = rest / result["noise_level"]
    return flat, float(np.sqrt((rest**2).mean()))


def _outline(result: xr.Dataset, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return the outermost weights (k, patterns) without gaps, and the residual.

    Reads once, block by block.
    """
    weights = result["weights"].transpose("component", ...)
    found = np.empty((weights.sizes["component"], 0))
    square, count = 0.0, 0
    # A scalar where found components were freed.
    level = result["residual"].broadcast_like(weights.isel(component=0, drop=True))
    for block, rest in stream(weights, level, dim=str(weights.dims[1])):
        left = rest[np.isfinite(rest)].astype(np.float64)
        square, count = square + float(left @ left), count + left.size
        columns = np.moveaxis(block, 1, 0).reshape(len(found), -1)
        columns = columns[:, np.isfinite(columns).all(axis=0)].astype(np.float64)
        found = np.concatenate([found, columns], axis=1)
        if found.shape[1] > _PATTERNS:
            found = found[:, _outermost(found, rng)]
    return found, float(np.sqrt(square / max(count, 1)))


def _outermost(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the outermost patterns; if they are feasible, all others are."""
    k = len(weights)
    total = np.maximum(weights.sum(axis=0), 1e-300)
    shares = weights / total
    picked = [shares.argmin(axis=1), shares.argmax(axis=1)]
    for _ in range(_PATTERNS // 2):
        direction = rng.normal(size=k)
        value = direction @ shares
        picked.append(np.array([value.argmin(), value.argmax()]))
    return np.unique(np.concatenate(picked))
