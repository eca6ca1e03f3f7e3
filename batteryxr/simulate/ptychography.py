"""Simulate spectro-ptychography of a particle with three domains, lazy at any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import bounds
from batteryxr.core.blocks import apply
from batteryxr.core.checks import (
    Fraction,
    NonNegative,
    Whole,
    check_fields,
    checked,
)
from batteryxr.core.errors import ArgumentError
from batteryxr.core.kernels.kramers_kronig import transform_matrix
from batteryxr.core.model import attributes
from batteryxr.core.xray import ELECTRON_RADIUS, HC, absorptive_factor, electrons
from batteryxr.simulate.sizes import require_modest

if TYPE_CHECKING:
    from batteryxr.core.bounds.kinds import CrystalSize, PixelSize, ScanStep

#: Formula, middle of the V K edge (eV), and height of the pre-edge peak.
DOMAINS = (("LiVO2", 5475.0, 0.3), ("VO2", 5476.5, 0.8), ("Li2VO3", 5478.0, 1.2))
#: Vanadium atoms per m3, width of the edge and position of the pre-edge peak (eV).
_DENSITY, _WIDTH, _PRE = 2.7e28, 2.5, 5466.5
_DISTANCE, _PITCH = 2000.0, 75.0  # mm, µm


@dataclass(frozen=True, kw_only=True)
class Defects:
    """Set the defects of a ptychographic scan at an instrument.

    Parameters
    ----------
    jitter
        Standard deviation of each true position from the recorded one, nm.
    shift
        Standard deviation of the common shift of each energy's positions, nm.
    drift
        Path of the sample from the first frame of an energy to the last, nm: straight,
        with a new direction at each energy.
    fly
        Path of the stage during an exposure, nm, along x: a fly scan.
    blur
        Standard deviation of the beam position during an exposure, nm, as for partly
        coherent light.
    flux
        Relative standard deviation of the intensity of a frame.
    background
        Background counts per pixel.
    missing
        Fraction of frames that are empty.
    gaps
        Width of a gap between detector modules, pixels; its rows and columns hold
        65535, and are in the mask.
    hot
        Number of hot pixels, with 3000 counts in each frame; they are not in the mask.

    Raises
    ------
    ArgumentError
        If a value is below 0, or a fraction above 1.
    """

    jitter: NonNegative = 0.0
    shift: NonNegative = 0.0
    drift: NonNegative = 0.0
    fly: NonNegative = 0.0
    blur: NonNegative = 0.0
    flux: NonNegative = 0.0
    background: NonNegative = 0.0
    missing: Fraction = 0.0
    gaps: Whole = 0
    hot: Whole = 0

    def __post_init__(self) -> None:
        check_fields(self)


#: Counts of a hot pixel, and the value in a gap.
_HOT, _GAP = 3000, 65535


@checked
def ptychography(
    *,
    energy: np.ndarray | None = None,
    positions: int = 12,
    size: int = 64,
    pixel_size: PixelSize = 15.0,
    step: ScanStep = 90.0,
    photons: float = 3e5,
    particle: tuple[CrystalSize, CrystalSize] = (800.0, 640.0),
    defects: Defects = Defects(),
    chunks: int | None = None,
    seed: int = 0,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Simulate ptychography of one particle across the V K edge.

    Lazy where `chunks` is given. The particle lies in vacuum and has three domains of
    different composition, edge and pre-edge. Absorption and phase obey the
    Kramers-Kronig relation, with tabulated f'' far from the edge.

    Parameters
    ----------
    energy : (energy,)
        Energies in eV; by default 25 across the edge.
    positions
        Number of scan points along a side.
    size
        Number of detector pixels along a side.
    pixel_size
        Pixel size of the object at the lowest energy, nm.
    step
        Step of the scan, nm; each recorded point deviates by up to a tenth of it.
    photons
        Photons per frame.
    particle
        Thickness and diameter of the particle, nm.
    defects
        Defects of the instrument: ``Defects(drift=60.0, background=2.0)``.
    chunks
        Frames per chunk; by default all is computed at once.
    seed
        Seed of scan and noise; a frame depends only on the seed and its numbers.

    Returns
    -------
    scan : xarray.Dataset
        Like the result of `cdi.ptycho_scan`, with frames uint16 on (energy, position,
        detector_y, detector_x) and an initial `probe` out of focus; `mask` where there
        are gaps.
    truth : xarray.Dataset
        `absorption` and `phase` (energy, y, x) on the grid of the first energy,
        `domain` (1 to 3, 0 in vacuum), per domain `edge_energy`, `electron_ratio`
        (electrons per vanadium) and `f1` (with f'), the true positions and
        `probe_true`, the `light` of each frame (0 where it is missing), and `hot`
        pixels.

    Raises
    ------
    ArgumentError
        If photons or background do not fit an unsigned 16-bit integer, or sizes are
        not positive.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> scan["frames"].dims
    ('energy', 'position', 'detector_y', 'detector_x')
    """
    if energy is None:
        energy = np.r_[
            np.linspace(5420, 5455, 4),
            np.linspace(5462, 5492, 16),
            np.linspace(5500, 5540, 5),
        ]
    energy = np.atleast_1d(np.asarray(energy, float))
    bounds.check("photon energy", energy, argument="energy")
    sizes = {"pixel_size": pixel_size, "step": step, "photons": photons}
    sizes |= {"particle": particle[1]}
    for name, value in sizes.items():
        if not value > 0:
            raise ArgumentError(name, value, "a number > 0")
    require_modest("size", size, energy.size * size**2)
    require_modest("positions", positions, energy.size * positions**2)
    if chunks is None:
        frames = energy.size * positions**2
        require_modest("positions", positions, frames * size**2)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    model = _model(
        energy,
        n=size,
        pixel=pixel_size,
        photons=photons,
        particle=particle,
    )
    told = _raster(positions, step, rng)
    shape = (energy.size, *told.shape)
    shifts = rng.normal(0, 1, (energy.size, 1, 2)) * defects.shift
    true = told + shifts + rng.normal(0, 1, shape) * defects.jitter
    spoilt = _spoilt(defects, shape[:2], size, seed)
    true = true + spoilt.drift
    brightest = np.abs(_far(model, 0, np.zeros(2))).max() ** 2
    if brightest > 6e4:
        raise ArgumentError(
            "photons", photons, f"at most {photons * 6e4 / brightest:.3g}",
            "The brightest pixel would not fit 16 bits; spread the beam or take less.",
        )  # fmt: skip
    if brightest + defects.background > 6e4:
        most = f"at most {6e4 - brightest:.3g}, or the pixels would not fit 16 bits"
        raise ArgumentError("defects.background", defects.background, most)
    number = xr.DataArray(np.arange(energy.size), dims="energy")
    frame = xr.DataArray(np.arange(len(told)), dims="position")
    if chunks is not None:
        number, frame = number.chunk(energy=1), frame.chunk(position=chunks)
    frames = apply(
        _measured,
        number,
        frame,
        core_dims=[(), ()],
        output_dims=[("detector_y", "detector_x")],
        output_sizes={"detector_y": size, "detector_x": size},
        dtypes=[np.uint16],
        caller="ptychography",
        model=model,
        true=true,
        spoilt=spoilt,
        seed=seed,
    )
    return _told(_scan(frames, model, told), _truth(model, true, told), spoilt)


def _told(
    scan: xr.Dataset, truth: xr.Dataset, spoilt: _Spoilt
) -> tuple[xr.Dataset, xr.Dataset]:
    """Return a scan with its mask, and the truth with the defects."""
    pixels = ("detector_y", "detector_x")
    one = {"units": "1"}
    if spoilt.gap.any():
        scan["mask"] = (pixels, spoilt.gap, one | {"long_name": "Bad pixels"})
    light = one | {"long_name": "Light of a frame"}
    truth["light"] = (("energy", "position"), spoilt.light, light)
    truth["hot"] = (pixels, spoilt.hot, one | {"long_name": "Hot pixels"})
    return scan, truth


@dataclass(frozen=True)
class _Spoilt:
    drift: np.ndarray  # (energy, position, 2) in nm
    light: np.ndarray  # (energy, position), 1 on average
    ways: np.ndarray  # (w, 2) in nm, places of the beam during an exposure
    weights: np.ndarray  # (w,)
    background: float
    gap: np.ndarray  # (n, n)
    hot: np.ndarray  # (n, n)


def _spoilt(defects: Defects, shape: tuple[int, int], n: int, seed: int) -> _Spoilt:
    """Draw the defects of all frames of a scan."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7,)))
    angle = rng.uniform(0, 2 * np.pi, (shape[0], 1))
    line = np.linspace(-0.5, 0.5, shape[1]) * defects.drift
    drift = np.stack([line * np.sin(angle), line * np.cos(angle)], axis=-1)
    light = np.maximum(1 + defects.flux * rng.normal(0, 1, shape), 0.05)
    light[rng.random(shape) < defects.missing] = 0.0
    gap = np.zeros((n, n), bool)
    lines = slice(n // 3, n // 3 + defects.gaps)
    gap[lines], gap[:, lines] = True, True
    hot = np.zeros((n, n), bool)
    free = np.flatnonzero(~gap.ravel())
    hot.flat[rng.choice(free, min(defects.hot, free.size), replace=False)] = True
    # Gauss-Hermite quadrature: three points stand for a normal distribution.
    places, weights = np.array([-1.0, 0.0, 1.0]) * np.sqrt(3.0), np.array([1, 4, 1]) / 6
    if not defects.blur:
        places, weights = np.zeros(1), np.ones(1)
    steps = 5 if defects.fly else 1
    along = (np.arange(steps) - (steps - 1) / 2) / steps * defects.fly
    ways = np.array([
        (defects.blur * y, defects.blur * x + f)
        for y in places for x in places for f in along
    ])  # fmt: skip
    share = np.outer(weights, weights).ravel().repeat(steps) / steps
    return _Spoilt(drift, light, ways, share, defects.background, gap, hot)


@dataclass(frozen=True)
class _Model:
    """Hold what the frames of a simulated scan are calculated from."""

    energy: np.ndarray
    pixel: np.ndarray
    distance: np.ndarray
    factors: np.ndarray  # (domain, energy), f1 + i f2 per vanadium
    probe: np.ndarray  # (energy, n, n)
    thickness: float
    radius: float


def _model(
    energy: np.ndarray,
    *,
    n: int,
    pixel: float,
    photons: float,
    particle: tuple[float, float],
) -> _Model:
    wavelength = HC * 1e9 / energy
    distance = pixel * n * _PITCH / (wavelength[0] * 1e3)
    distances = np.full_like(energy, distance)
    pixels = wavelength * distances * 1e3 / (n * _PITCH)
    probe = np.stack([_probe(n, p, photons, True) for p in pixels / pixels[0]])
    factors = np.array([_factors(energy, *domain) for domain in DOMAINS])
    thickness, diameter = particle
    return _Model(
        energy=energy,
        pixel=pixels,
        distance=distances,
        factors=factors,
        probe=probe,
        thickness=thickness,
        radius=0.5 * diameter,
    )


def _probe(n: int, scale: float, photons: float, aberrated: bool) -> np.ndarray:
    """Return the beam of a square pupil out of focus; the optic does not change."""
    k = np.fft.fftfreq(n) / scale
    ky, kx = np.meshgrid(k, k, indexing="ij")
    inside = np.clip((0.12 - np.maximum(abs(ky), abs(kx))) * n + 0.5, 0, 1)
    phase = (45 if aberrated else 52) * (ky**2 + kx**2)
    if aberrated:
        phase = phase + 40 * (ky**3 + kx**3)
    wave = np.fft.fftshift(np.fft.ifft2(inside * np.exp(2j * np.pi * phase)))
    return wave * np.sqrt(photons / np.sum(np.abs(wave) ** 2))


def _factors(energy: np.ndarray, formula: str, edge: float, pre: float) -> np.ndarray:
    """Return f1 + i f2 per vanadium, by a Kramers-Kronig transform on a dense grid."""
    near = np.arange(5380.0, 5590.0, 0.25)
    far = np.r_[np.geomspace(100, 5379, 400), np.geomspace(5591, 2e5, 400)]
    grid = np.sort(np.r_[near, far])
    table = absorptive_factor(formula, grid)
    f2 = table + _difference(grid, formula, edge, pre)
    f1 = electrons(formula) + transform_matrix(grid, energy) @ f2
    here = np.interp(energy, grid, f2)
    return f1 + 1j * here


def _difference(grid: np.ndarray, formula: str, edge: float, pre: float) -> np.ndarray:
    """Return the difference of a smooth edge with a pre-edge peak to the table."""
    from scipy.special import erf

    inside = (grid > 5385) & (grid < 5585)
    x = grid[inside]
    sides = []
    for low, high in ((5390, 5445), (5500, 5580)):
        at = np.linspace(low, high, 40)
        line = np.polyfit(np.log(at), np.log(absorptive_factor(formula, at)), 1)
        sides.append(np.exp(np.polyval(line, np.log(x))))
    step = 0.5 + 0.5 * erf((x - edge) / _WIDTH)
    peak = pre / ((x - _PRE) ** 2 + 1.0) * np.clip(1 - abs(x - _PRE) / 40, 0, 1)
    smooth = sides[0] + (sides[1] - sides[0]) * step + peak
    out = np.zeros_like(grid)
    out[inside] = smooth - absorptive_factor(formula, x)
    return out


def _raster(n: int, step: float, rng: np.random.Generator) -> np.ndarray:
    line = (np.arange(n) - 0.5 * (n - 1)) * step
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    return grid + rng.uniform(-0.1, 0.1, grid.shape) * step


def _shares(y: np.ndarray, x: np.ndarray, model: _Model) -> np.ndarray:
    """Return the thickness (nm) of each domain (3, ...) at positions in nm."""
    from scipy.special import expit

    r, soft = np.hypot(y, x), 20.0
    body = model.thickness * expit((model.radius - r) / (1.5 * soft))
    for k, (by, bx) in enumerate(((-0.4, 0.3), (0.35, 0.45), (0.1, -0.5), (0.0, 0.05))):
        away = np.hypot(y - by * model.radius, x - bx * model.radius)
        body = body * (1 - (0.10 + 0.04 * k) * np.exp(-((away / 90.0) ** 2)))
    first = expit((y - 0.15 * x - 0.2 * model.radius) / soft)
    second = (1 - first) * expit((x + 0.2 * y) / soft)
    return body * np.stack([first, second, 1 - first - second])


def _transmission(y: np.ndarray, x: np.ndarray, k: int, model: _Model) -> np.ndarray:
    wavelength = HC / model.energy[k]
    domains = _shares(y, x, model) * 1e-9
    # No matrix product: its threads would compete with those that compute frames.
    total = np.einsum("k,k...->...", model.factors[:, k], domains)
    return np.exp(-1j * ELECTRON_RADIUS * wavelength * _DENSITY * np.conj(total))


def _far(model: _Model, k: int, at: np.ndarray) -> np.ndarray:
    n = model.probe.shape[-1]
    grid = (np.arange(n) - n // 2) * model.pixel[k]
    y, x = np.meshgrid(at[0] + grid, at[1] + grid, indexing="ij")
    wave = model.probe[k] * _transmission(y, x, k, model)
    return np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))


def _measured(
    number: np.ndarray,
    frame: np.ndarray,
    *,
    model: _Model,
    true: np.ndarray,
    spoilt: _Spoilt,
    seed: int,
) -> np.ndarray:
    both = np.broadcast_arrays(number, frame)
    n = model.probe.shape[-1]
    out = np.empty((*both[0].shape, n, n), np.uint16)
    for at in np.ndindex(both[0].shape):
        k, j = int(both[0][at]), int(both[1][at])
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k, j)))
        light = spoilt.light[k, j]
        if light == 0:
            out[at] = 0
            continue
        pattern = sum(
            share * np.abs(_far(model, k, true[k, j] + way)) ** 2
            for way, share in zip(spoilt.ways, spoilt.weights, strict=True)
        )
        counts = rng.poisson(light * (pattern + spoilt.background))
        counts = np.where(spoilt.hot, counts + _HOT, counts)
        out[at] = np.where(spoilt.gap, _GAP, np.minimum(counts, 65535))
    return out


def _scan(frames: Any, model: _Model, told: np.ndarray) -> xr.Dataset:
    n = model.probe.shape[-1]
    start = np.stack([_probe(n, p, 1.0, False) for p in model.pixel / model.pixel[0]])
    modes = ("energy", "probe_mode", "probe_y", "probe_x")
    frames = frames.assign_attrs(attributes("frames", units="1", long_name="Counts"))
    named = {
        "energy": ("energy", model.energy, attributes("energy")),
        "distance": (
            "energy",
            model.distance,
            {"units": "mm", "long_name": "Sample to detector"},
        ),
        "pixel_pitch": ((), _PITCH, {"units": "um", "long_name": "Detector pixel"}),
        "position_y": ("position", told[:, 0], attributes("position_y")),
        "position_x": ("position", told[:, 1], attributes("position_x")),
    }
    probe = (
        modes,
        start[:, None].astype(np.complex64),
        attributes("probe", units="1", long_name="Probe"),
    )
    return xr.Dataset({"frames": frames, "probe": probe}, coords=named)


def _truth(model: _Model, true: np.ndarray, told: np.ndarray) -> xr.Dataset:
    n, pixel = model.probe.shape[-1], model.pixel[0]
    reach = np.abs(told).max() + 0.5 * n * pixel
    grid = np.arange(-int(reach / pixel), int(reach / pixel) + 1) * pixel
    y, x = np.meshgrid(grid, grid, indexing="ij")
    waves = np.stack([_transmission(y, x, k, model) for k in range(model.energy.size)])
    shares = _shares(y, x, model)
    domain = np.where(shares.sum(0) > 0.02 * model.thickness, shares.argmax(0) + 1, 0)
    wavelength = HC / model.energy[:, None, None]
    total = np.tensordot(model.factors.real.T, shares * 1e-9, axes=1)
    phase = -ELECTRON_RADIUS * wavelength * _DENSITY * total
    ratio = [electrons(formula) for formula, _, _ in DOMAINS]
    image = ("energy", "y", "x")
    one = {"units": "1"}
    return xr.Dataset(
        {
            "absorption": (image, -2 * np.log(np.abs(waves)), attributes("absorption")),
            "phase": (image, phase, {"units": "rad", "long_name": "Phase φ"}),
            "domain": (("y", "x"), domain, one | {"long_name": "Domain"}),
            "edge_energy": (
                "domain_number",
                [edge for _, edge, _ in DOMAINS],
                {"units": "eV", "long_name": "Middle of the edge"},
            ),
            "electron_ratio": (
                "domain_number",
                ratio,
                one | {"long_name": "Electrons per vanadium"},
            ),
            "f1": (
                ("domain_number", "energy"),
                model.factors.real,
                one | {"long_name": "Effective electrons per vanadium"},
            ),
            "position_true": (
                ("energy", "position", "axis"),
                true,
                {"units": "nm", "long_name": "True position (y, x)"},
            ),
            "probe_true": (
                ("energy", "probe_y", "probe_x"),
                model.probe.astype(np.complex64),
                one | {"long_name": "True probe"},
            ),
        },
        coords={
            "energy": ("energy", model.energy, attributes("energy")),
            "y": ("y", grid, attributes("y")),
            "x": ("x", grid, attributes("x")),
        },
    )
