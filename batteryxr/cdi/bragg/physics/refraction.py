"""Refraction and absorption inside the crystal, by the path of each voxel's rays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    SPACE,
    bare,
    each_volume,
    inside,
    known_sign,
    space_axes,
    variable,
)
from batteryxr.cdi.bragg.consistency.objects import warn_of_support
from batteryxr.cdi.bragg.laboratory import analysis_support
from batteryxr.cdi.bragg.space import keep_geometry, scattering_vector, steps_in_space
from batteryxr.core.blocks import apply
from batteryxr.core.errors import ArgumentError, DataError, warn_quality
from batteryxr.core.model import label
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from typing import Any

#: Largest part of a refractive index of X-rays that differs from 1.
_FAR = 0.01
#: Refraction, delta, of solids where lattices diffract.
_LIKELY = (1e-7, 3e-4)
#: Variables of a result that hold objects.
_OBJECTS = ("object", "modes", "replicas")


@recorded
def correct_refraction(
    crystal: xr.DataArray | xr.Dataset,
    *,
    n: complex,
    geometry: xr.Dataset | None = None,
    support: xr.DataArray | None = None,
) -> xr.Dataset:
    """Take refraction and absorption inside the crystal out of an object.

    Lazy.

    A ray that is scattered at a voxel goes through the crystal before and after. With
    a refractive index n = 1 - delta + i beta its phase falls behind by k delta s, and
    its amplitude by exp(-k beta s), over a path s inside the crystal. In a crystal of
    400 nm the phase may reach a radian, which looks like strain.

    Parameters
    ----------
    crystal
        Complex object, or the Dataset of `retrieve`, with or without ``state``: on the
        axes that `retrieve` gives, or as `to_laboratory` gives it in the frame
        ``"lab"``. Its ``modes`` and ``replicas`` are corrected alike.
    n
        The refractive index of the material at the photon energy, 1 - delta + i beta,
        such as ``1 - 4.6e-5 + 4e-6j``.
    geometry
        Result of `geometry`; not needed after `to_laboratory`.
    support
        True inside the crystal. None: as `analysis_support` finds it.

    Returns
    -------
    xarray.Dataset
        The crystal without both, and ``optical_path`` (nm): the way in and out, NaN
        outside the support.

    Raises
    ------
    ArgumentError
        If `n` is no refractive index of X-rays, or the geometry belongs to another box.
    ChunkingError
        If a volume is split over chunks.
    DataError
        If the crystal was corrected before, does not tell its ``fourier_sign``, or lies
        in another frame than that of the laboratory.
    DimensionError
        If it has no axes of space.

    Warns
    -----
    DataQualityWarning
        If hardly anything of the object lies in the support, or `n` is unlikely.

    Notes
    -----
    Harder, Pfeifer, Williams, Vartanyants & Robinson, Phys. Rev. B 76, 115425 (2007).
    Wavelength and direction of the scattered ray follow from Q, as both rays are of
    one length, k = |Q|^2 / (-2 Q_z). The path ends at the outer faces of the voxels.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> geometry = volume.cdi.geometry(beamline="theta")
    >>> clean = result.cdi.correct_refraction(n=1 - 1e-5 + 1e-7j, geometry=geometry)
    >>> fields = clean.cdi.unwrap(support=clean.cdi.analysis_support())
    """
    if not (0 < 1 - n.real < _FAR and 0 <= n.imag < _FAR):
        told = "1 - delta + i beta, both positive and below 0.01"
        raise ArgumentError("n", n, told, "Such as 1 - 4.6e-5 + 4e-6j.")
    if n.imag > 1 - n.real or not _LIKELY[0] <= 1 - n.real <= _LIKELY[1]:
        warn_quality(
            f"correct_refraction: n={n} is unlikely where crystals diffract X-rays: "
            f"delta is mostly {_LIKELY[0]:g} to {_LIKELY[1]:g}, beta a part of it. "
            "Is it of this energy, and are the two in order, 1 - delta + i beta?"
        )
    objects = variable(crystal, "object", caller="correct_refraction")
    dims = space_axes(objects, caller="correct_refraction")
    sign = _require(crystal, objects, dims)
    q = scattering_vector(crystal, geometry, caller="correct_refraction")
    steps = steps_in_space(crystal, geometry, caller="correct_refraction") / 10
    body = analysis_support(crystal) if support is None else support
    body = warn_of_support(abs(objects), body, caller="correct_refraction")
    path = apply(
        each_volume(_path, "(i,j,k),(a,b),(b)->(i,j,k)"),
        bare(inside(body)),
        bare(steps),
        bare(q),
        core_dims=[dims, ["axis", "vector"], ["vector"]],
        output_dims=[dims],
        dtypes=[np.float32],
        caller="correct_refraction",
    )
    squares = (q**2).sum("vector")
    wave = -10 * squares / (2 * q.isel(vector=2))  # 1/nm
    factor = np.exp(path * (wave * complex(n.imag, -sign * (1 - n.real))))
    factor = bare(factor.fillna(1)).astype(np.complex64)
    if isinstance(crystal, xr.Dataset):
        whole = crystal
    else:
        whole = crystal.to_dataset(name="object", promote_attrs=False)
    parts = {name: _times(whole[name], factor) for name in _OBJECTS if name in whole}
    words = "Path of the rays inside the crystal"
    order = [d for d in objects.dims if d in path.dims]
    path = label(path.transpose(*order), "optical_path", units="nm", long_name=words)
    out = whole.assign(parts | {"optical_path": path})
    out.attrs |= {"refraction": "corrected"}
    for name in parts:
        out[name].attrs["refraction"] = "corrected"
    return keep_geometry(out, geometry, caller="correct_refraction")


def _require(
    crystal: xr.DataArray | xr.Dataset, objects: xr.DataArray, dims: tuple[str, ...]
) -> int:
    """Return the sign of the object's transform; raise where it cannot be corrected."""
    if objects.dtype.kind != "c":
        raise DataError(
            "crystal",
            f"holds {objects.dtype}, not a complex object",
            "Pass the `object` of a result.",
        )
    if "corrected" in {
        crystal.attrs.get("refraction"),
        objects.attrs.get("refraction"),
    }:
        raise DataError(
            "crystal", "was corrected for refraction before", "Go on with it as it is."
        )
    frame = crystal.attrs.get("frame", objects.attrs.get("frame", "lab"))
    if dims == SPACE and frame != "lab":
        raise DataError(
            "crystal",
            f"lies in the frame {frame!r}, in which the beam's direction is not told",
            "Correct the object of `retrieve` with its geometry, then turn it.",
        )
    sign = known_sign(crystal)
    if sign is None:
        raise DataError(
            "crystal",
            "does not tell the sign of the transform that made it",
            "Note it, `.assign_coords(fourier_sign=-1)` for a forward transform "
            "exp(-2 pi i k n / N).",
        )
    return sign


def _path(body: np.ndarray, steps: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the path in and out of the body to each voxel, NaN outside."""
    from batteryxr.cdi.bragg.kernels.voxels import path_inside

    wave = -float(q @ q) / (2 * q[2])
    scattered = q + np.array([0.0, 0.0, wave])
    total = path_inside(body, steps, np.array([0.0, 0.0, -1.0]))
    total += path_inside(body, steps, scattered)
    return np.where(body, total, np.float32(np.nan))


def _times(values: xr.DataArray, factor: xr.DataArray) -> xr.DataArray:
    """Return an array times a factor, as it was labelled."""
    out: Any = bare(values) * factor
    return values.copy(data=out.transpose(*values.dims).data)
