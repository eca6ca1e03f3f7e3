"""Crystal shapes: a faceted one with two domains, evaluated anywhere; random ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from batteryxr.core.errors import ArgumentError

#: Axes of a pattern, and of the object that belongs to it.
VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")

#: Direction, applied voltage (V), and progress of the reaction, which lags behind the
#: voltage on the way back.
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
    """Define an ellipsoid that grows, moves and turns about y with the reaction.

    Lengths are in units of the crystal's size, angles in deg per state.
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
    """Hold the parameters of a faceted crystal, to evaluate its fields anywhere."""

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
        normals, reach = _prism(self.size)
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
        # The columns of `turn` are the ellipsoid's axes.
        local = turn.T @ (r - centre[:, None])
        return np.asarray(np.sqrt(np.sum((local / axes[:, None]) ** 2, axis=0)))

    def u(self, r: np.ndarray, state: int) -> np.ndarray:
        """Return the displacement along Q (Angstrom) of points (3, m)."""
        x, y, z = r / self.size
        # Static displacement, the same in all states.
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


def _prism(size: float) -> tuple[np.ndarray, np.ndarray]:
    """Return normals and distances (nm) of a hexagonal prism with cut corners."""
    normals, reach = [], []
    for k in range(6):
        a = math.radians(60 * k + 11)
        normals.append((math.cos(a), 0.0, math.sin(a)))
        # Unequal distances: a centrosymmetric crystal could not be told from its twin.
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
    """Raise if the crystal fills more than half of an axis: its pattern would alias.

    Raises
    ------
    ArgumentError
        If it does, or is hardly larger than a voxel.
    """
    inside = np.argwhere(body.depth(body.positions()) > 0)
    if len(inside) < 8:
        raise ArgumentError(
            "size",
            body.size,
            "a crystal of several voxels",
            f"It has {len(inside)}: sizes are in nm.",
        )
    extent = np.ptp(inside, axis=0) + 1
    if (extent > np.array(body.shape) / 2).any():
        raise ArgumentError(
            "size",
            body.size,
            "a crystal that fills at most half of every axis",
            f"It takes {extent.tolist()} of {list(body.shape)} voxels: make it "
            "smaller, or the distance longer.",
        )


def crystal(
    rng: np.random.Generator,
    size: int,
    *,
    fill: tuple[float, float] = (0.5, 0.8),
    phase: tuple[float, float] = (0.0, 4.0),
) -> np.ndarray:
    """Return one complex object, ``(size, size, size)``, complex64.

    Its centre of mass lies at index ``size // 2``, its mean phase gradient is zero.
    """
    extent = rng.uniform(*fill, 3) * size / 2
    normals, reach = _facets(rng)
    # Half the array and a margin, as bodies are not centred in their extents.
    half = min(size // 4 + 4, size // 2)
    r = np.stack(np.meshgrid(*[np.arange(-half, half)] * 3, indexing="ij"))
    r = r.astype(np.float32)
    density = _density(r, normals, reach, extent)
    weight = density / density.sum()
    centre = np.einsum("aijk,ijk->a", r, weight)
    density = _density(r + centre[:, None, None, None], normals, reach, extent)
    inside = density > 0.5
    texture = _smooth_field(rng, r.shape[1:], rng.uniform(0.1, 0.4) * extent.mean())
    density *= 1 + rng.uniform(0, 0.1) * texture
    angle = _smooth_field(rng, r.shape[1:], rng.uniform(0.12, 0.45) * extent.mean())
    if rng.random() < 1 / 3:
        angle = angle + rng.uniform(-3, 3) * _domain(rng, r, extent)
    angle = angle - angle[inside].mean()
    angle *= rng.uniform(*phase) / np.abs(angle[inside]).max()
    body = _level(density * np.exp(1j * angle))
    out = np.zeros((size,) * 3, np.complex64)
    out[(slice(size // 2 - half, size // 2 + half),) * 3] = body
    return out


def _facets(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return normals and distances of a convex body of about unit size."""
    kind = rng.integers(3)
    if kind == 0:  # block
        normals = np.concatenate([np.eye(3), -np.eye(3)])
        reach = rng.uniform(0.7, 1.0, 6)
    elif kind == 1:  # hexagonal prism
        a = np.deg2rad(60) * np.arange(6)
        ring = np.stack([np.cos(a), np.sin(a), np.zeros(6)], 1)
        normals = np.concatenate([ring, [[0, 0, 1], [0, 0, -1]]])
        reach = np.concatenate([rng.uniform(0.8, 1.0, 6), rng.uniform(0.6, 1.3, 2)])
    else:  # irregular
        normals = _directions(rng, 14)
        reach = rng.uniform(0.75, 1.0, 14)
    cuts = rng.integers(0, 5)
    normals = np.concatenate([normals, _directions(rng, int(cuts))])
    reach = np.concatenate([reach, rng.uniform(0.85, 1.1, int(cuts))])
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return normals @ turn.T, reach


def _directions(rng: np.random.Generator, n: int) -> np.ndarray:
    v = rng.standard_normal((n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def _density(
    r: np.ndarray, normals: np.ndarray, reach: np.ndarray, extent: np.ndarray
) -> np.ndarray:
    """Return 1 inside, 0 outside, with an edge of about a voxel.

    The body is stretched to `extent` voxels along each axis.
    """
    grid = np.linspace(-1.6, 1.6, 25)
    unit = np.stack(np.meshgrid(grid, grid, grid, indexing="ij")).reshape(3, -1)
    within = unit[:, (normals @ unit <= reach[:, None]).all(0)]
    low, high = within.min(1), within.max(1)
    scale, middle = extent / (high - low + grid[1] - grid[0]), (low + high) / 2
    own = normals / scale
    length = np.linalg.norm(own, axis=1)
    away = (reach - normals @ middle) / length
    own = (own / length[:, None]).astype(np.float32)
    depth = (away[:, None].astype(np.float32) - own @ r.reshape(3, -1)).min(0)
    edge = np.tanh(np.clip(2.5 * depth, -20, 20))
    return np.asarray(0.5 * (1 + edge)).reshape(r.shape[1:])


def _smooth_field(
    rng: np.random.Generator, shape: tuple[int, ...], width: float
) -> np.ndarray:
    """Return Gaussian noise smoothed to a correlation length, unit variance."""
    import scipy.fft

    spectrum = scipy.fft.rfftn(rng.standard_normal(shape).astype(np.float32))
    for axis, n in enumerate(shape):
        f = np.fft.rfftfreq(n) if axis == 2 else np.fft.fftfreq(n)
        window = np.exp(-2 * (np.pi * width * f) ** 2).astype(np.float32)
        spectrum *= window.reshape([-1 if k == axis else 1 for k in range(3)])
    field = scipy.fft.irfftn(spectrum, shape)
    return np.asarray(field / max(float(field.std()), 1e-12))


def _domain(rng: np.random.Generator, r: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Return 1 inside an ellipsoid somewhere in the crystal, 0 outside."""
    centre = rng.uniform(-0.3, 0.3, 3) * extent
    axes = rng.uniform(0.15, 0.4, 3) * extent
    moved = (r - centre[:, None, None, None]) / axes[:, None, None, None]
    distance = np.sqrt((moved**2).sum(0))
    return np.asarray(0.5 * (1 + np.tanh((1 - distance) / 0.3)))


def _level(body: np.ndarray) -> np.ndarray:
    """Remove the mean phase gradient, which shifts the pattern's centre of mass."""
    for axis in range(3):
        n = body.shape[axis]
        a, b = body.take(range(1, n), axis), body.take(range(n - 1), axis)
        step = np.angle(np.sum(np.conj(b) * a))
        line = np.exp(-1j * step * (np.arange(n) - n // 2))
        body = body * line.reshape([-1 if k == axis else 1 for k in range(3)])
    return body
