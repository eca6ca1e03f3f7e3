"""The probe that an optic makes, as a first guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from batteryxr.cdi.ptycho.scan import geometry_of
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.model import attributes
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.cdi.ptycho.scan import Geometry
    from batteryxr.core.checks import Count, NonNegative, Positive

#: FWHM of the intensity in the focus of a slit of half angle α: 0.443 λ / α.
_FOCUS = 0.443


@recorded
def ptycho_probe(
    scan: xr.Dataset,
    *,
    optics: Literal["kb", "zone_plate"] = "kb",
    focus: Positive | tuple[Positive, Positive] | None = None,
    half_angle: Positive | tuple[Positive, Positive] | None = None,
    defocus: float | tuple[float, float] = 0.0,
    diameter: Positive | None = None,
    outer_zone: Positive | None = None,
    central_stop: NonNegative = 0.0,
    n_modes: Count = 1,
) -> xr.Dataset:
    """Add the computed probe of a focusing optic to a scan.

    Lazy: the power is set from the frames when they are reconstructed.

    Parameters
    ----------
    scan
        A scan of one energy or several; see `ptycho_scan`.
    optics
        ``"kb"``: crossed mirrors, a rectangular pupil, with `focus` or `half_angle`.
        ``"zone_plate"``: a ring, with `diameter` and `outer_zone`.
    focus
        FWHM of the intensity in focus, nm; (vertical, horizontal) or one for both.
    half_angle
        Half of the angle that the mirrors accept, mrad, instead of `focus`.
    defocus
        Distance from the focus to the sample, µm, positive downstream of the focus;
        (vertical, horizontal) where the mirrors are astigmatic.
    diameter, outer_zone
        Of the zone plate, µm and nm.
    central_stop
        Diameter of its central stop, µm.
    n_modes
        Modes; those after the first are zero, and are seeded by the reconstruction.

    Returns
    -------
    xarray.Dataset
        The scan with `probe` on (probe_mode, probe_y, probe_x), of power 1.

    Raises
    ------
    ArgumentError
        If what the optic needs is missing.

    Warns
    -----
    DataQualityWarning
        If the pupil is larger than the detector sees, or the beam than the field.
    """
    geometry = geometry_of(scan, caller="ptycho_probe")
    angle = _angle(optics, focus, half_angle, diameter, outer_zone)
    stop = central_stop / (diameter or 1.0) if optics == "zone_plate" else None
    dims: tuple[str, ...] = ("probe_mode", "probe_y", "probe_x")
    if "energy" in scan["frames"].dims:
        each = [geometry.at(k) for k in range(scan.sizes["energy"])]
        modes = np.stack([_image(g, angle, defocus, stop) for g in each])[:, None]
        dims = ("energy", *dims)
    else:
        modes = _image(geometry, angle, defocus, stop)[None]
    rest = np.zeros_like(modes).repeat(n_modes - 1, axis=-3)
    modes = np.concatenate([modes, rest], axis=-3).astype(np.complex64)
    named = attributes("probe", units="1", long_name="Probe", optics=optics)
    result = scan.assign(probe=(dims, modes, named))
    result.attrs.pop("history", None)
    return result


def _angle(
    optics: str,
    focus: Any,
    half_angle: Any,
    diameter: float | None,
    outer_zone: float | None,
) -> Any:
    """Return a function from the wavelength (nm) to half angles (rad) in y and x."""
    if optics == "kb":
        if (focus is None) == (half_angle is None):
            raise ArgumentError("focus", focus, "either `focus` or `half_angle`")
        if focus is not None:
            widths = np.broadcast_to(np.asarray(focus, float), 2)
            return lambda wavelength: _FOCUS * wavelength / widths
        fixed = np.broadcast_to(np.asarray(half_angle, float), 2) * 1e-3
        return lambda wavelength: fixed
    if diameter is None or outer_zone is None:
        raise ArgumentError(
            "optics", optics, "`diameter` (µm) and `outer_zone` (nm) with it"
        )
    # Focal length f = D Δr / λ, so the half angle is D / 2f = λ / 2Δr.
    return lambda wavelength: np.full(2, wavelength / (2 * outer_zone))


def _image(geometry: Geometry, angle: Any, defocus: Any, stop: Any) -> np.ndarray:
    """Return the probe on the sample, of power 1.

    Parameters
    ----------
    geometry
        Of one energy.
    angle
        Half angles (rad) by the wavelength.
    defocus
        In µm, of y and x or of both.
    stop
        Diameter of the central stop over that of the zone plate; None for mirrors.
    """
    n, pixel, wavelength = geometry.n, float(geometry.pixel), float(geometry.wavelength)
    ky, kx = np.meshgrid(*[np.fft.fftfreq(n, pixel)] * 2, indexing="ij")
    top = angle(wavelength) / wavelength  # highest spatial frequencies, 1/nm
    dk = 1.0 / (n * pixel)
    if np.any(top > 0.5 / pixel):
        warn_quality(
            "the pupil reaches beyond the detector: the optic's angle, the distance or "
            "the pixel pitch is off"
        )
    if stop is None:
        pupil = _edge(np.abs(ky), top[0], dk) * _edge(np.abs(kx), top[1], dk)
    else:
        k = np.hypot(ky, kx)
        inner = top[0] * stop
        pupil = _edge(k, top[0], dk) - (_edge(k, inner, dk) if inner else 0.0)
    z = np.broadcast_to(np.asarray(defocus, float), 2) * 1e3
    chirp = np.exp(-1j * np.pi * wavelength * (z[0] * ky**2 + z[1] * kx**2))
    if np.any(np.abs(z) * angle(wavelength) > 0.5 * n * pixel):
        warn_quality(
            f"defocus={defocus} spreads the beam beyond the field of {n * pixel:.0f} nm"
        )
    image = np.fft.fftshift(np.fft.ifft2(pupil * chirp))
    return image / np.sqrt(np.sum(np.abs(image) ** 2))


def _edge(k: np.ndarray, top: float, width: float) -> np.ndarray:
    """Return 1 below `top` and 0 above, over one pixel of the pupil."""
    return np.clip((top - k) / width + 0.5, 0.0, 1.0)
