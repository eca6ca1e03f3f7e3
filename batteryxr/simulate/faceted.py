"""A crystal with facets and two domains: density, displacement, strain at any point."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from batteryxr.core.errors import ArgumentError

#: Direction, applied voltage (V), and how far the reaction has come there: it lags
#: behind the voltage on the way back.
STATES = (
    ("charge", 2.5, 0.0),
    ("charge", 3.0, 0.3),
    ("charge", 3.5, 0.7),
    ("charge", 4.0, 1.0),
    ("discharge", 3.5, 0.85),
    ("discharge", 3.0, 0.5),
)


@dataclass(frozen=True)
class Domain:
    """An ellipsoid that grows, moves and turns about y as the reaction goes on.

    Lengths in units of the crystal's size, angles in deg per state.
    """

    centre: tuple[float, float, float]
    moves: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    turns: float
    sign: float


DOMAINS = (
    Domain((0.16, 0.06, -0.14), (-0.05, 0.0, 0.04), (0.34, 0.16, 0.18), 14.0, 1.0),
    Domain((-0.2, -0.1, 0.16), (0.03, 0.02, 0.0), (0.14, 0.26, 0.13), 0.0, -0.6),
)


@dataclass(frozen=True)
class FacetedCrystal:
    """All that the fields depend on; evaluated wherever it is asked."""

    voxel: np.ndarray  # (3, 3) nm: axis, then (x, y, z)
    shape: tuple[int, int, int]
    size: float  # nm
    displacement: float  # Angstrom
    q: np.ndarray  # 1/Angstrom

    def positions(self) -> np.ndarray:
        """Return (3, i, j, k): x, y, z in nm, zero at index n // 2."""
        index = np.meshgrid(*(np.arange(n) - n // 2 for n in self.shape), indexing="ij")
        return np.einsum("a...,ab->b...", np.array(index, float), self.voxel)

    def depth(self, r: np.ndarray) -> np.ndarray:
        """Return the distance to the nearest facet in nm, negative outside."""
        normals, reach = _facets(self.size)
        depth = np.full(r.shape[1:], np.inf)
        for normal, distance in zip(normals, reach, strict=True):
            np.minimum(depth, distance - np.tensordot(normal, r, axes=1), out=depth)
        return depth

    def amplitude(self, r: np.ndarray, missing: bool) -> np.ndarray:
        """Return the density, 1 inside, with a soft edge of about a voxel."""
        width = float(np.cbrt(abs(np.linalg.det(self.voxel)))) / 3
        density = _step(self.depth(r) / width)
        if missing:
            density = density * _step(-self.dark_depth(r) / width)
        return density

    def dark_depth(self, r: np.ndarray) -> np.ndarray:
        """Return the depth (nm) inside the part that is dark in one state."""
        direction = np.array([0.55, 0.62, 0.56])
        direction = direction / np.linalg.norm(direction)
        return np.asarray(np.tensordot(direction, r, axes=1) - 0.26 * self.size)

    def radius(self, r: np.ndarray, domain: Domain, state: int) -> np.ndarray:
        """Return the distance of points (3, m) from a domain, 1 on its surface."""
        progress = STATES[state][2]
        centre = self.size * (
            np.array(domain.centre) + progress * np.array(domain.moves)
        )
        axes = self.size * np.array(domain.semi_axes) * (0.6 + 0.4 * progress)
        a = math.radians(domain.turns * state)
        turn = np.array(
            [[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]]
        )
        # Columns of `turn` are the ellipsoid's axes.
        local = turn.T @ (r - centre[:, None])
        return np.asarray(np.sqrt(np.sum((local / axes[:, None]) ** 2, axis=0)))

    def u(self, r: np.ndarray, state: int) -> np.ndarray:
        """Return the displacement along Q (Angstrom) of points (3, m)."""
        x, y, z = r / self.size
        # Grown in: the same in all states.
        field = 0.25 * np.sin(2.1 * x + 0.7) * np.cos(1.7 * y) + 0.2 * z * y
        progress = STATES[state][2]
        for domain in DOMAINS:
            inside = _step((1 - self.radius(r, domain, state)) / 0.3)
            field = field + domain.sign * progress * inside
        return self.displacement * field

    def strain(self, r: np.ndarray, state: int) -> np.ndarray:
        """Return the derivative of the displacement along Q of points (3, m)."""
        step = 1e-3  # nm
        along = (self.q / np.linalg.norm(self.q))[:, None] * step
        difference = self.u(r + along, state) - self.u(r - along, state)
        return np.asarray(difference / (2 * step * 10))

    def rho(self, state: int, missing: bool) -> np.ndarray:
        """Return the complex density; the phase of a displaced lattice is -Q u."""
        r = self.positions()
        amplitude = self.amplitude(r, missing)
        body = amplitude > 1e-9
        phase = -float(np.linalg.norm(self.q)) * self.u(r[:, body], state)
        rho = np.zeros(self.shape, np.complex64)
        rho[body] = amplitude[body] * np.exp(1j * phase)
        return rho


def _facets(size: float) -> tuple[np.ndarray, np.ndarray]:
    """Return normals and distances (nm) of a hexagonal prism with cut corners."""
    normals, reach = [], []
    for k in range(6):
        a = math.radians(60 * k + 11)
        normals.append((math.cos(a), 0.0, math.sin(a)))
        # Not of one size: a centrosymmetric crystal would be its own twin's shape.
        reach.append(0.46 if k % 2 else 0.4)
    normals += [(0.0, 1.0, 0.0), (0.0, -1.0, 0.0)]
    reach += [0.42, 0.38]
    for k in range(3):
        a = math.radians(120 * k + 41)
        tilt = math.radians(50)
        normals.append(
            (
                math.cos(a) * math.cos(tilt),
                math.sin(tilt),
                math.sin(a) * math.cos(tilt),
            )
        )
        reach.append(0.47)
    return np.array(normals), size * np.array(reach)


def _step(x: np.ndarray) -> np.ndarray:
    """Return a smooth step from 0 to 1 around x = 0."""
    return np.asarray(0.5 * (1 + np.tanh(np.clip(2 * x, -30, 30))))


def require_room(body: FacetedCrystal) -> None:
    """Raise where the crystal fills more than half of an axis: its pattern aliases."""
    inside = np.argwhere(body.depth(body.positions()) > 0)
    extent = np.ptp(inside, axis=0) + 1
    if (extent > np.array(body.shape) / 2).any():
        raise ArgumentError(
            "size",
            body.size,
            "a crystal that fills at most half of every axis",
            f"It takes {extent.tolist()} of {list(body.shape)} voxels: make it "
            "smaller, or the distance longer.",
        )
