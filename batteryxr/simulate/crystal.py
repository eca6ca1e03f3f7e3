"""Simulate coherent diffraction of a faceted crystal at six voltages, with truth."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators
from batteryxr.simulate.bodies import (
    DOMAINS,
    OBJECT,
    STATES,
    VOLUME,
    FacetedCrystal,
    require_room,
)
from batteryxr.simulate.diffraction import pattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.core.bounds.kinds import (
        CrystalSize,
        DetectorPixel,
        Distance,
        PhotonEnergy,
        TwoTheta,
    )
    from batteryxr.core.checks import Positive

_HC = 12398.419843320026  # eV Angstrom


@recorded
def bragg_states(
    *,
    shape: tuple[int, int, int] = (64, 64, 64),
    size: CrystalSize = 1400.0,
    photons: Positive = 2e7,
    displacement: float = 0.25,
    missing_state: int | None = 4,
    seed: int = 0,
    energy: PhotonEnergy = 13500.0,
    two_theta: TwoTheta = 28.8,
    distance: Distance = 2800.0,
    pixel_size: DetectorPixel = 55.0,
) -> xr.DataTree:
    """Simulate Bragg coherent diffraction of one crystal over six voltage states.

    Lazy: each state is computed when it is read, from its own random numbers.

    The crystal is a hexagonal prism with cut corners. Two domains grow, move and turn
    with the state of charge and shift the lattice along Q in opposite senses. A smooth
    displacement, the same in all states, lies beneath them. The states are: charge
    2.5, 3, 3.5, 4 V, discharge 3.5, 3 V; the reaction lags behind on discharge.

    Parameters
    ----------
    shape
        Points along rocking, detector_y and detector_x.
    size
        Diameter of the crystal (nm).
    photons
        Counts in each pattern.
    displacement
        Displacement of the lattice in a domain at full charge (Angstrom).
    missing_state
        Index of the state in which a corner of the crystal is dark; None for none.
    seed
        Seed of the photon noise.
    energy, two_theta, distance, pixel_size
        Photon energy (eV), Bragg angle (deg), detector distance (mm), pixel size (um).

    Returns
    -------
    xarray.DataTree
        ``/states``: ``intensity`` (counts) on ``state`` and the axes of a rocking
        curve, with all that `geometry` needs for ``beamline="theta"``. ``/truth`` on
        ``along_rocking``, ``along_y``, ``along_x``: ``object`` (complex),
        ``displacement`` (Angstrom) and ``strain`` along Q, ``domain`` (1, 2, or 0
        outside both), ``missing``, all on ``state``; ``support``, ``voxel`` (nm),
        ``q`` (1/Angstrom) and ``progress`` of the reaction.

    Raises
    ------
    ArgumentError
        If a number is out of range, or the crystal fills more than half of an axis.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> cell["states"]["intensity"].dims
    ('state', 'rocking', 'detector_y', 'detector_x')
    """
    points = tuple(int(n) for n in shape)
    if len(points) != 3 or min(points) < 16:
        raise ArgumentError("shape", shape, "three sizes of at least 16")
    n = len(STATES)
    if missing_state is not None and missing_state not in range(n):
        raise ArgumentError("missing_state", missing_state, f"0 to {n - 1}, or None")
    a, pitch = math.radians(two_theta), pixel_size / (1000 * distance)
    k = 2 * np.pi * energy / _HC
    q = k * np.array([math.sin(a), 0.0, math.cos(a) - 1])
    # The step samples the object as finely as the detector does.
    step = math.degrees(pitch * k / float(np.linalg.norm(q)))
    # Rows point up, columns outwards; theta as published gives y x Q for each step.
    reciprocal = np.array(
        [
            math.radians(step) * np.cross([0.0, 1.0, 0.0], q),
            k * pitch * np.array([0.0, 1.0, 0.0]),
            k * pitch * np.array([math.cos(a), 0.0, -math.sin(a)]),
        ]
    )
    spanned = reciprocal * np.array(points)[:, None]
    voxel = 2 * np.pi * np.linalg.inv(spanned).T / 10
    body = FacetedCrystal(
        voxel, (points[0], points[1], points[2]), size, displacement, q
    )
    require_room(body)
    about = {"title": "Simulated Bragg CDI of a crystal at six voltages"}
    instrument = {
        "energy": (energy, "eV", "Photon energy"),
        "distance": (distance, "mm", "Distance of the detector"),
        "pixel_size_y": (pixel_size, "um", "Height of a pixel"),
        "pixel_size_x": (pixel_size, "um", "Width of a pixel"),
        "two_theta": (two_theta, "deg", "Detector angle"),
        "phi": (0.0, "deg", "Detector angle out of plane"),
        "rocking_centre": (two_theta / 2, "deg", "Rocking angle of the centre"),
    }
    states = _states(body, photons, missing_state, seed, step)
    states = states.assign_coords(
        {name: ((), v, _named(u, text)) for name, (v, u, text) in instrument.items()}
    )
    states["intensity"].attrs["rocking_motor"] = "theta"
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=about),
            "/states": states.assign_attrs(about),
            "/truth": _truth(body, missing_state),
        }
    )


def _states(
    body: FacetedCrystal, photons: float, missing: int | None, seed: int, step: float
) -> xr.Dataset:
    def seen(state: int) -> np.ndarray:
        rng = generators(seed, len(STATES))[state]
        return pattern(body.rho(state, state == missing), photons, rng)

    counts = _per_state(seen, body.shape, np.float32)
    axes: dict[str, Any] = {}
    for dim, n in zip(VOLUME, body.shape, strict=True):
        index = (np.arange(n) - n // 2).astype(float)
        if dim == "rocking":
            axes[dim] = (dim, index * step, attributes(dim))
        else:
            axes[dim] = (dim, index, _named("1", f"{dim} from the centre"))
    return xr.Dataset(
        {"intensity": (("state", *VOLUME), counts, _named("1", "Intensity"))},
        coords=axes | _labels(),
    )


_SIGN = {"units": "1", "long_name": "Sign of the forward transform"}


def _truth(body: FacetedCrystal, missing: int | None) -> xr.Dataset:
    names = _named("1", "Axis")
    axes: dict[str, Any] = {
        dim: (
            dim,
            np.arange(n) - n // 2,
            _named("1", f"Voxels {dim.replace('_', ' ')}"),
        )
        for dim, n in zip(OBJECT, body.shape, strict=True)
    }
    axes["axis"] = ("axis", list(VOLUME), names)
    axes["vector"] = ("vector", ["x", "y", "z"], names)
    progress = [state[2] for state in STATES]
    support = body.depth(body.positions()) > 0
    whole: dict[str, Any] = {
        "support": (OBJECT, support, _named("1", "Support")),
        "voxel": (("axis", "vector"), body.voxel, _named("nm", "Step of the voxels")),
        "q": ("vector", body.q, _named("1/Angstrom", "Scattering vector")),
        "progress": ("state", progress, _named("1", "Progress of the reaction")),
    }
    return xr.Dataset(
        _fields(body, missing) | whole,
        coords=axes | _labels() | {"fourier_sign": ((), -1, _SIGN)},
    )


def _fields(body: FacetedCrystal, missing: int | None) -> dict[str, Any]:
    """Return the true fields of each voxel in each state, computed when read."""

    def rho(state: int) -> np.ndarray:
        return body.rho(state, state == missing)

    def dark(state: int) -> np.ndarray:
        r = body.positions()
        return (state == missing) & (body.dark_depth(r) > 0) & (body.depth(r) > 0)

    made: dict[str, tuple[Callable[[int], np.ndarray], Any, dict[str, Any]]] = {
        "object": (
            rho,
            np.complex64,
            _named("1", "Complex density"),
        ),
        "displacement": (
            partial(_inside, body, body.u),
            np.float32,
            _named("Angstrom", "Displacement along Q"),
        ),
        "strain": (
            partial(_inside, body, body.strain),
            np.float32,
            _named("1", "Strain along Q"),
        ),
        "domain": (partial(_domain, body), np.int8, _named("1", "Domain")),
        "missing": (dark, np.bool_, _named("1", "Dark in this state")),
    }
    dims = ("state", *OBJECT)
    return {
        name: (dims, _per_state(make, body.shape, dtype), attrs)
        for name, (make, dtype, attrs) in made.items()
    }


def _inside(
    body: FacetedCrystal, values: Callable[[np.ndarray, int], np.ndarray], state: int
) -> np.ndarray:
    """Return a field of the crystal, NaN outside."""
    r = body.positions()
    inside = body.depth(r) > 0
    out = np.full(body.shape, np.nan, np.float32)
    out[inside] = values(r[:, inside], state)
    return out


def _domain(body: FacetedCrystal, state: int) -> np.ndarray:
    """Return the domain number of each voxel, 0 outside all domains."""
    r = body.positions()
    inside = body.depth(r) > 0
    number = np.zeros(body.shape, np.int8)
    if STATES[state][2] > 0:
        for k, one in enumerate(DOMAINS, start=1):
            within = np.zeros(body.shape, bool)
            within[inside] = body.radius(r[:, inside], one, state) < 1
            number[within] = k
    return number


def _per_state(
    make: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: Any
) -> Any:
    """Return a dask array of one chunk per state."""
    parts = [
        blocks.from_delayed(blocks.delayed(make, pure=False)(s), shape, dtype)
        for s in range(len(STATES))
    ]
    return blocks.stack(parts)


def _labels() -> dict[str, Any]:
    directions, voltages, _ = zip(*STATES, strict=True)
    return {
        "direction": ("state", list(directions), _named("1", "Direction")),
        "voltage": ("state", list(voltages), attributes("voltage")),
    }


def _named(units: str, long_name: str) -> dict[str, Any]:
    return {"units": units, "long_name": long_name}
