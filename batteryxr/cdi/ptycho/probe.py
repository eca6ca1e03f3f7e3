"""Initial probes: computed for an optic, or found from the frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.cdi.ptycho.scan import geometry_of
from batteryxr.core import bounds
from batteryxr.core.checks import NonNegative, check_fields
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded, replayable
from batteryxr.core.xray import HC

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.scan import Geometry
    from batteryxr.core.bounds.kinds import (
        Defocus,
        Focus,
        HalfAngle,
        OuterZone,
        ZonePlateSize,
    )
    from batteryxr.core.checks import Count

#: FWHM of the intensity in the focus of a slit of half angle α: 0.443 λ / α.
_FOCUS = 0.443


@replayable
@dataclass(frozen=True, kw_only=True)
class Mirrors:
    """Describe crossed mirrors (Kirkpatrick-Baez): a rectangular pupil.

    Give one of the two: one number, or (vertical, horizontal).

    Parameters
    ----------
    focus
        FWHM of the intensity in focus, nm.
    half_angle
        Half of the angle that the mirrors accept, mrad.

    Raises
    ------
    ArgumentError
        If a value is out of range, or not exactly one of the two is given.
    """

    focus: Focus | tuple[Focus, Focus] | None = None
    half_angle: HalfAngle | tuple[HalfAngle, HalfAngle] | None = None

    def __post_init__(self) -> None:
        # The attributes of a result hold these tuples as lists.
        for name in ("focus", "half_angle"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        check_fields(self)
        if (self.focus is None) == (self.half_angle is None):
            raise ArgumentError("focus", self.focus, "either `focus` or `half_angle`")

    def angles(self, wavelength: float) -> np.ndarray:
        """Return the half angles in y and x (rad) at a wavelength (nm)."""
        if self.focus is not None:
            return _FOCUS * wavelength / np.broadcast_to(np.asarray(self.focus), 2)
        return np.broadcast_to(np.asarray(self.half_angle, float), 2) * 1e-3

    def pupil(self, k: tuple[np.ndarray, np.ndarray], top: Any, dk: float) -> Any:
        """Return the transmission at frequencies in y and x, `dk` apart."""
        return _edge(np.abs(k[0]), top[0], dk) * _edge(np.abs(k[1]), top[1], dk)


@replayable
@dataclass(frozen=True, kw_only=True)
class ZonePlate:
    """Describe a zone plate with its central stop: a ring.

    Parameters
    ----------
    diameter
        Diameter of the plate, µm.
    outer_zone
        Width of its outermost zone, nm.
    central_stop
        Diameter of its central stop, µm.

    Raises
    ------
    ArgumentError
        If a value is out of range.
    """

    diameter: ZonePlateSize
    outer_zone: OuterZone
    central_stop: NonNegative = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        bounds.check("central stop", self.central_stop or None, argument="central_stop")

    def angles(self, wavelength: float) -> np.ndarray:
        """Return the half angles in y and x (rad) at a wavelength (nm)."""
        # Focal length f = D Δr / λ, so the half angle is D / 2f = λ / 2Δr.
        return np.full(2, wavelength / (2 * self.outer_zone))

    def pupil(self, k: tuple[np.ndarray, np.ndarray], top: Any, dk: float) -> Any:
        """Return the transmission at frequencies in y and x, `dk` apart."""
        radius = np.hypot(*k)
        inner = top[0] * self.central_stop / self.diameter
        return _edge(radius, top[0], dk) - (_edge(radius, inner, dk) if inner else 0.0)


@recorded
def ptycho_probe(
    scan: xr.Dataset,
    *,
    optics: Mirrors | ZonePlate | None = None,
    defocus: Defocus | tuple[Defocus, Defocus] = 0.0,
    n_modes: Count = 1,
) -> xr.Dataset:
    """Add an initial probe to a scan: computed for an optic, or from its frames.

    Lazy: the power is set from the frames when they are reconstructed. Without `optics`
    the frames are read once.

    Parameters
    ----------
    scan
        A scan of one energy or several; see `ptycho_scan`.
    optics
        ``Mirrors(focus=...)``, ``Mirrors(half_angle=...)`` or
        ``ZonePlate(diameter=..., outer_zone=...)``. None: from the frames of one energy
        alone. The root of their mean is the pupil; its defocus is the one whose short
        runs fit some frames best. Positions must be the right way round.
    defocus
        Distance from the focus to the sample, µm, positive downstream of the focus;
        (vertical, horizontal) for astigmatic mirrors. Without `optics` it is found,
        unless it is given. In the near field the scan's own defocus is used.
    n_modes
        Number of modes; those after the first are zero, and are seeded by the
        reconstruction.

    Returns
    -------
    xarray.Dataset
        The scan with `probe` on (probe_mode, probe_y, probe_x), of power 1. Its
        attributes give the `defocus` in µm if it was found.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    DimensionError
        Without `optics`, if the scan has several energies.

    Warns
    -----
    DataQualityWarning
        If the pupil is larger than the detector, or the beam than the field; or if no
        defocus fits better than others.

    Examples
    --------
    >>> scan, _ = batteryxr.simulate.ptychography(energy=5470, positions=5, size=32)
    >>> scan = scan.isel(energy=0)
    >>> scan = scan.cdi.ptycho_probe()
    >>> scan["probe"].dims
    ('probe_mode', 'probe_y', 'probe_x')
    """
    if optics is None:
        return _from_frames(scan, defocus, n_modes)
    geometry = geometry_of(scan, caller="ptycho_probe")
    if geometry.near.any():
        raise ArgumentError(
            "optics", optics, "None in the near field: the probe comes from the frames"
        )
    dims: tuple[str, ...] = ("probe_mode", "probe_y", "probe_x")
    if "energy" in scan["frames"].dims:
        each = [geometry.at(k) for k in range(scan.sizes["energy"])]
        modes = np.stack([_image(g, optics, defocus) for g in each])[:, None]
        dims = ("energy", *dims)
    else:
        modes = _image(geometry, optics, defocus)[None]
    rest = np.zeros_like(modes).repeat(n_modes - 1, axis=-3)
    modes = np.concatenate([modes, rest], axis=-3).astype(np.complex64)
    named = attributes("probe", units="1", long_name="Probe", optics=repr(optics))
    result = scan.assign(probe=(dims, modes, named))
    result.attrs.pop("history", None)
    return result


#: Iterations of a short run, and the largest number of runs over all defoci.
_PASSES, _RUNS = 8, 41
#: Phase (rad) at the edge of the pupil between two defoci that are tried.
_STEP = 1.5
#: Counts, as a fraction of the bright ones, below which a pixel is not in the pupil.
_PUPIL = 0.02
#: Residual of the best defocus over the median, below which it is believed.
_CLEAR = 0.9


def _from_frames(scan: xr.Dataset, defocus: Any, n_modes: int) -> xr.Dataset:
    """Add the probe found from the mean frame and short runs."""
    from batteryxr.cdi.ptycho.examine import examined
    from batteryxr.cdi.ptycho.experiment import experiment_of
    from batteryxr.cdi.ptycho.trial import trial_of

    bare = scan.drop_vars("probe", errors="ignore")
    whole = examined(experiment_of(bare, caller="ptycho_probe", probe=False))
    wavelength = HC * 1e9 / whole.energy
    assert whole.seen is not None
    if whole.near:
        return _with_probe(bare, _shadow(whole), n_modes)
    pupil = _pupil(whole.seen.mean)
    told = np.broadcast_to(np.asarray(defocus, float), 2) * 1e3
    _tell_spread(
        told, wavelength * _open(pupil) / whole.pixel, len(pupil) * whole.pixel
    )
    if not told.any():
        few = trial_of(whole)
        assert few.seen is not None
        found = _best_defocus(few, _pupil(few.seen.mean), wavelength)
        told = np.full(2, found)
    image = _defocused(pupil, whole.pixel, wavelength, told)
    result = _with_probe(bare, image, n_modes)
    result["probe"].attrs["defocus"] = (told * 1e-3).tolist()
    return result


def _with_probe(scan: xr.Dataset, image: np.ndarray, n_modes: int) -> xr.Dataset:
    """Return a scan with a probe from its frames, of power 1."""
    modes = np.zeros((n_modes, *image.shape), np.complex64)
    modes[0] = image / np.sqrt(np.sum(np.abs(image) ** 2))
    named = attributes("probe", units="1", long_name="Probe", optics="from the frames")
    result = scan.assign(probe=(("probe_mode", "probe_y", "probe_x"), modes, named))
    result.attrs.pop("history", None)
    return result


def _shadow(experiment: Experiment) -> np.ndarray:
    """Return the beam of near-field frames: the root of their mean, propagated back."""
    from scipy import ndimage

    from batteryxr.cdi.ptycho.kernels.propagation import near_kernel

    assert experiment.seen is not None
    good = experiment.seen.top >= 0
    weight = ndimage.gaussian_filter(good.astype(float), 1.5)
    mean = np.where(good, experiment.seen.mean, 0.0)
    beside = ndimage.gaussian_filter(mean, 1.5) / np.maximum(weight, 1e-6)
    wave = np.fft.ifftshift(np.sqrt(np.where(good, mean, beside)))
    back = np.conj(near_kernel(len(wave), experiment.near))
    return np.asarray(np.fft.ifft2(np.fft.fft2(wave) * back))


def _pupil(mean: np.ndarray) -> np.ndarray:
    """Return the modulus of the pupil, origin in the corner."""
    bright = _PUPIL * np.percentile(mean, 99)
    return np.fft.ifftshift(np.sqrt(np.where(mean > bright, mean, 0.0)))


def _open(pupil: np.ndarray) -> float:
    """Return the radius of the bright part of a pupil, as a fraction of its width."""
    lit = pupil > np.sqrt(0.1) * np.percentile(pupil, 99)
    return float(np.sqrt(max(int(lit.sum()), 4) / np.pi) / len(pupil))


def _tell_spread(z: np.ndarray, angles: Any, field: float) -> None:
    """Warn of distances from the focus (nm) at which no beam of these angles is."""
    largest = float(np.abs(z).max()) * 1e-3
    bounds.check("size of a defocus", largest or None, argument="defocus")
    if np.any(np.abs(z) * angles > 0.5 * field):
        warn_quality(
            f"defocus={largest:.6g} spreads the beam beyond the field of {field:.0f} "
            f"nm. Was it nm? Pass {1e-3 * largest:.6g}."
        )


def _defocused(
    pupil: np.ndarray, pixel: float, wavelength: float, z: np.ndarray
) -> np.ndarray:
    """Return the wave of a pupil at distances z (y, x) in nm from its focus."""
    k = np.fft.fftfreq(len(pupil), pixel)
    bend = z[0] * k[:, None] ** 2 + z[1] * k[None, :] ** 2
    return np.fft.fftshift(
        np.fft.ifft2(pupil * np.exp(-1j * np.pi * wavelength * bend))
    )


def _best_defocus(few: Experiment, pupil: np.ndarray, wavelength: float) -> float:
    """Return the distance from the focus (nm) whose probe fits some frames best."""
    from batteryxr.cdi.ptycho.trial import residual_of

    n = len(pupil)
    top = _open(pupil) / few.pixel  # 1/nm
    to_nm = 1.0 / (np.pi * wavelength * top**2)
    # Beyond this the beam would be wider than half the field.
    most = 0.5 * np.pi * top * few.pixel * n
    step = max(_STEP, 2 * most / (_RUNS - 1))

    def left(phase: float) -> float:
        probe = _defocused(pupil, few.pixel, wavelength, np.full(2, phase * to_nm))
        trial = replace(few, probe=probe[None].astype(np.complex64))
        return residual_of(trial, _PASSES, 0)

    half = int(np.ceil(most / step))
    phases = step * np.arange(-half, half + 1)
    residuals = np.array([left(phase) for phase in phases])
    best = float(phases[residuals.argmin()])
    if residuals.min() > _CLEAR * np.median(residuals):
        warn_quality(
            f"the frames hardly tell how far the beam is out of focus: residuals from "
            f"{residuals.min():.3g} to {residuals.max():.3g}. Tell optics or defocus"
        )
    lowest = float(residuals.min())
    while step > 0.5:
        step *= 0.5
        for phase in (best - step, best + step):
            residual = left(phase)
            if residual < lowest:
                best, lowest = phase, residual
    return best * to_nm


def _image(geometry: Geometry, optics: Mirrors | ZonePlate, defocus: Any) -> np.ndarray:
    """Return the probe on the sample, of power 1.

    Parameters
    ----------
    geometry
        Geometry of one energy.
    optics
        Focusing optic.
    defocus
        Defocus in µm, in y and x or in both.
    """
    n, pixel, wavelength = geometry.n, float(geometry.pixel), float(geometry.wavelength)
    angles = optics.angles(wavelength)
    ky, kx = np.meshgrid(*[np.fft.fftfreq(n, pixel)] * 2, indexing="ij")
    top = angles / wavelength  # highest spatial frequencies, 1/nm
    dk = 1.0 / (n * pixel)
    if np.any(top > 0.5 / pixel):
        warn_quality(
            "the pupil reaches beyond the detector: the optic's angle, the distance or "
            "the pixel pitch is off"
        )
    z = np.broadcast_to(np.asarray(defocus, float), 2) * 1e3
    chirp = np.exp(-1j * np.pi * wavelength * (z[0] * ky**2 + z[1] * kx**2))
    _tell_spread(z, angles, n * pixel)
    image = np.fft.fftshift(np.fft.ifft2(optics.pupil((ky, kx), top, dk) * chirp))
    return image / np.sqrt(np.sum(np.abs(image) ** 2))


def _edge(k: np.ndarray, top: float, width: float) -> np.ndarray:
    """Return 1 below `top` and 0 above, with an edge of one pixel of the pupil."""
    return np.clip((top - k) / width + 0.5, 0.0, 1.0)
