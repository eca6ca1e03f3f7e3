"""Simulate a study of particles by spectroscopic ptychography, with known truth."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes, label
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generator
from batteryxr.simulate.sizes import require_modest
from batteryxr.simulate.vanadium import EDGE, ENERGY, JUMP, OXIDES, electron_ratio
from batteryxr.simulate.vanadium import per_atom as spectra_per_atom

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batteryxr.core.bounds.kinds import PixelSize
    from batteryxr.core.checks import Count, Positive

#: Pristine and delithiated particles, and standards.
PARTICLES = ("P1", "P2", "P3", "D1", "D2", "D3", "LiVO2", "LiVO3")
_THICK = 4.5e22  # V per m² in the middle: a jump of 0.2
_RIM = 0.82  # fraction of the radius at which the rim begins
_HARMONICS = 3


@recorded
def particles(
    *,
    size: int | tuple[int, int] = 96,
    seed: int = 0,
    photons: Positive | None = 150_000.0,
    drift: float = 0.4,
    phase_offset: float = 0.3,
    pixel_size: PixelSize = 15.0,
    chunks: Count | Mapping[str, Count] | None = None,
) -> xr.DataTree:
    """Simulate six particles and two standards at 40 energies over the V K edge.

    The model follows the study of Uematsu et al., PCCP 25, 3867 (2023): complex objects
    with domains of six chemical states (edge energy, pre-edge peak, composition), two
    of them at the rims.

    Lazy where `chunks` is given, at any size: each pixel's noise depends only on the
    seed and its own place.

    Parameters
    ----------
    size
        Pixels of a frame: one number, or (y, x).
    seed
        Random seed.
    photons
        Photons per pixel and energy. They set the noise, (2 √photons)⁻¹ of the real
        and of the imaginary part; no noise for None.
    drift
        Step of the random walk from frame to frame (pixels).
    phase_offset
        Standard deviation of the phase that each reconstruction adds (rad).
    pixel_size
        Pixel size of the frames (nm).
    chunks
        Rows and columns per dask chunk, or sizes by dimension; by default NumPy arrays.

    Returns
    -------
    xarray.DataTree
        ``/objects``: complex `transmission` (particle, energy, y, x). ``/truth``:
        `state` (number from 1 along `particle`, `y`, `x`; 0 is vacuum),
        `projected_density` (m-2), `shift_y` and `shift_x` (nm), `phase_offset`; along
        `oxide` (from 1) `edge_energy`, `edge_width`, `normalised_peak_area` (eV),
        `electron_ratio` (also along `energy`), `formula`. The attribute `delta_f2` is
        the jump of f'' that was used, `edge` the energy of λ in the density.

    Raises
    ------
    ArgumentError
        If a number is out of range.

    Examples
    --------
    >>> study = batteryxr.simulate.particles(size=24)
    >>> study["objects"]["particle"].values.tolist()[:2]
    ['P1', 'P2']
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 16:
        raise ArgumentError("size", size, "at least 16 pixels")
    for name, value in (("drift", drift), ("phase_offset", phase_offset)):
        if not 0 <= value < np.inf:
            raise ArgumentError(name, value, "a number >= 0")
    if not 0 < pixel_size < np.inf:
        raise ArgumentError("pixel_size", pixel_size, "a number > 0 in nm")
    require_modest("size", size, height * width, 100_000_000)
    if chunks is None:
        require_modest("size", size, len(PARTICLES) * ENERGY.size * height * width)
    study = _study(seed, (height, width), drift, phase_offset)
    numbers = _numbers((height, width), chunks)
    noise = 0.0 if photons is None else 0.5 / float(np.sqrt(photons))
    axes: dict[str, Any] = {
        "particle": (
            "particle",
            list(PARTICLES),
            {"units": "1", "long_name": "Particle"},
        ),
        "y": ("y", pixel_size * np.arange(height), attributes("y")),
        "x": ("x", pixel_size * np.arange(width), attributes("x")),
        "energy": ("energy", ENERGY, attributes("energy")),
    }
    transmission = _objects(study, numbers, noise).assign_coords(axes)
    truth = xr.Dataset(
        _images(study, numbers) | _tables(study, pixel_size), coords=axes
    )
    about = {"title": "Simulated spectroscopic ptychography of Li-V-O particles"}
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=about),
            "/objects": transmission.to_dataset().assign_attrs(about),
            "/truth": truth.assign_attrs(about, delta_f2=JUMP, edge=EDGE),
        }
    )


def _objects(
    study: _Study, numbers: Mapping[str, xr.DataArray], noise: float
) -> xr.DataArray:
    """Return the noisy objects of all particles and energies."""
    with warnings.catch_warnings():
        # Small index arrays become frames of many chunks on purpose.
        warnings.filterwarnings("ignore", message="Increasing number of chunks")
        transmission = apply(
            study.objects,
            *(numbers[d] for d in ("particle", "energy", "y", "x")),
            core_dims=[[]] * 4,
            dtypes=[np.complex64],
            caller="particles",
            noise=noise,
        )
    return label(
        transmission, "transmission", units="1", long_name="Complex transmission"
    )


def _images(study: _Study, numbers: Mapping[str, xr.DataArray]) -> dict[str, Any]:
    """Return chemical state and density of all particles, without drift."""
    state, density = apply(
        study.truth,
        *(numbers[d] for d in ("particle", "y", "x")),
        core_dims=[[]] * 3,
        output_dims=[(), ()],
        dtypes=[np.int8, np.float32],
        caller="particles",
    )
    named = {
        "state": (state, "1", "Chemical state (0: vacuum)"),
        "projected_density": (density, "m-2", "Projected density of V"),
    }
    return {
        name: label(image, name, units=units, long_name=long_name)
        for name, (image, units, long_name) in named.items()
    }


@dataclass(frozen=True)
class _Study:
    """Hold all random numbers, drawn once; images follow from them at any point."""

    seed: int
    shape: tuple[int, int]
    shift: np.ndarray  # (particle, energy, 2), pixels
    offset: np.ndarray  # (particle, energy), rad
    outline: np.ndarray  # (particle, harmonic, 2): amplitude, angle
    waves: np.ndarray  # (particle, wave, 3): two wave numbers, angle

    def place(
        self, particle: int, y: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return state (from 0; -1 is vacuum) and thickness at points in pixels."""
        half = 0.5 * min(self.shape)
        v = (y - 0.5 * (self.shape[0] - 1)) / half
        u = (x - 0.5 * (self.shape[1] - 1)) / half
        angle = np.arctan2(v, u)
        radius = 0.74 + sum(
            a * np.cos((k + 2) * angle + b)
            for k, (a, b) in enumerate(self.outline[particle])
        )
        r2 = (u**2 + v**2) / radius**2
        thickness = np.clip(1 - r2, 0, None) ** 0.3
        first, second = (
            sum(np.sin(p * v + q * u + c) for p, q, c in self.waves[particle][k::2])
            for k in (0, 1)
        )
        state = self._states(particle, first, second, r2 > _RIM**2)
        return np.where(r2 < 1, state, -1), thickness

    def _states(
        self, particle: int, first: Any, second: Any, rim: np.ndarray
    ) -> np.ndarray:
        if particle >= 6:  # standards are pure
            return np.full(rim.shape, particle)
        delithiated = particle >= 3
        state = np.full(rim.shape, 2 if delithiated else 0)
        state[second > 0.75] = 3
        state[first > (0.95 if delithiated else 0.7)] = 1
        state[rim] = 5 if delithiated else 4
        return state

    def truth(
        self, particle: np.ndarray, row: np.ndarray, column: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return state and density without drift, for arrays that broadcast."""
        shape = np.broadcast_shapes(particle.shape, row.shape, column.shape)
        state, density = np.zeros(shape, np.int8), np.zeros(shape, np.float32)
        for k, p in enumerate(particle.ravel()):
            found, thickness = self.place(int(p), *_grid(row, column))
            state[k], density[k] = found + 1, _THICK * thickness
        return state, density

    def objects(
        self,
        particle: np.ndarray,
        energy: np.ndarray,
        row: np.ndarray,
        column: np.ndarray,
        noise: float,
    ) -> np.ndarray:
        """Return the objects (particle, energy, row, column)."""
        mu, phi = spectra_per_atom()
        exponent = np.concatenate([-0.5 * mu + 1j * phi, np.zeros((1, ENERGY.size))])
        y, x = _grid(row, column)
        numbers = particle.ravel(), energy.ravel()
        out = np.empty((*map(len, numbers), *y.shape), np.complex64)
        for i, p in enumerate(numbers[0]):
            for j, e in enumerate(numbers[1]):
                dy, dx = self.shift[p, e]
                state, thickness = self.place(int(p), y - dy, x - dx)
                field = np.exp(_THICK * thickness * exponent[state, e])
                out[i, j] = field * np.exp(1j * self.offset[p, e])
                if noise:
                    self._add(out[i, j], noise, int(p), int(e), row.ravel(), column)
        return out

    def _add(
        self,
        image: np.ndarray,
        noise: float,
        particle: int,
        energy: int,
        rows: np.ndarray,
        column: np.ndarray,
    ) -> None:
        """Add noise whose random stream restarts in each row of the whole frame."""
        columns = column.ravel()
        for k, row in enumerate(rows):
            counter = [0, int(row), energy, particle]
            bits = np.random.Philox(key=self.seed, counter=counter)
            drawn = np.random.Generator(bits).standard_normal(2 * self.shape[1])
            both = drawn[0::2] + 1j * drawn[1::2]
            image[k] += (noise * both[columns]).astype(np.complex64)


def _grid(row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.meshgrid(row.ravel(), column.ravel(), indexing="ij")
    return y.astype(float), x.astype(float)


def _study(
    seed: int, shape: tuple[int, int], drift: float, phase_offset: float
) -> _Study:
    rng = generator(seed)
    n, m = len(PARTICLES), ENERGY.size
    steps = rng.normal(0, drift, (n, m, 2))
    walk = np.cumsum(steps, axis=1)
    outline = np.stack(
        [
            rng.uniform(0.01, 0.05, (n, _HARMONICS)),
            rng.uniform(0, 2 * np.pi, (n, _HARMONICS)),
        ],
        axis=-1,
    )
    waves = np.empty((n, 6, 3))
    heading = rng.uniform(0, 2 * np.pi, (n, 6))
    length = rng.uniform(3.5, 5.5, (n, 6))
    waves[..., 0], waves[..., 1] = length * np.sin(heading), length * np.cos(heading)
    waves[..., 2] = rng.uniform(0, 2 * np.pi, (n, 6))
    offset = rng.normal(0, phase_offset, (n, m))
    # The last frame does not move: it is the reference of the others.
    return _Study(seed, shape, walk - walk[:, -1:], offset, outline, waves)


def _numbers(
    shape: tuple[int, int], chunks: int | Mapping[str, int] | None
) -> dict[str, xr.DataArray]:
    sizes = {
        "particle": len(PARTICLES),
        "energy": ENERGY.size,
        "y": shape[0],
        "x": shape[1],
    }
    numbers = {d: xr.DataArray(np.arange(n), dims=d) for d, n in sizes.items()}
    if chunks is None:
        return numbers
    wanted = {"y": chunks, "x": chunks} if isinstance(chunks, int) else dict(chunks)
    if unknown := set(wanted) - set(sizes):
        raise ArgumentError("chunks", sorted(unknown), f"dimensions of {list(sizes)}")
    whole = {"particle": 1} | wanted
    return {d: a.chunk({d: whole.get(d, -1)}) for d, a in numbers.items()}


def _tables(study: _Study, pixel: float) -> dict[str, Any]:
    frame, oxide = ("particle", "energy"), ("oxide",)
    ratio = np.array([electron_ratio(o, ENERGY) for o in OXIDES])
    table: dict[str, Any] = {
        "shift_y": (frame, study.shift[..., 0] * pixel, "nm", "Drift along y"),
        "shift_x": (frame, study.shift[..., 1] * pixel, "nm", "Drift along x"),
        "phase_offset": (frame, study.offset, "rad", "Phase of vacuum"),
        "electron_ratio": (
            ("oxide", "energy"),
            ratio,
            "1",
            "Effective electrons per absorber atom",
        ),
    }
    for name, key, long_name in (
        ("edge_energy", "edge_energy", "Edge energy"),
        ("edge_width", "edge_width", "Edge width"),
        ("normalised_peak_area", "peak_area", "Peak area / edge jump"),
    ):
        values = np.array([getattr(o, key) for o in OXIDES])
        table[name] = (oxide, values, "eV", long_name)
    labelled = {
        name: xr.Variable(dims, values, {"units": units, "long_name": long_name})
        for name, (dims, values, units, long_name) in table.items()
    }
    text = {"units": "1", "long_name": "Formula"}
    labelled["formula"] = xr.Variable("oxide", [o.formula for o in OXIDES], text)
    attrs = {"units": "1", "long_name": "Chemical state"}
    number = np.arange(1, len(OXIDES) + 1)
    labelled["oxide"] = xr.Variable("oxide", number, attrs)
    return labelled
