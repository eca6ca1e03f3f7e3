"""Lattice spacings in Angstrom: of a peak, and of every voxel of a crystal."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import VOLUME, bare, inside, space_axes
from batteryxr.cdi.bragg.consistency.beam import require_same_file
from batteryxr.cdi.bragg.consistency.objects import looked_at
from batteryxr.cdi.bragg.kernels.counting import require_counts
from batteryxr.cdi.bragg.several.deviation import replicas_of, with_error
from batteryxr.cdi.bragg.space import (
    box_of,
    of_states,
    scattering_vector,
    steps_in_space,
)
from batteryxr.core import bounds
from batteryxr.core.errors import ArgumentError, DataError, VariableError
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.core.units import in_units

#: Indices of planes.
Indices: TypeAlias = tuple[int, int, int]
#: Largest fraction by which the spacing of a reference may differ from the peak's.
_FAR = 0.05
#: Strain that no crystal bears.
_BROKEN = 0.2
#: Strain that is rounding; least and largest multiple of the displacement's strain.
_FLAT, _LESS, _MORE = 1e-8, 0.02, 3.0
#: Rows of the table of `peak_spacings`.
_PLACES = ("box", "maximum", "centre_of_mass", "reference")


@recorded
def peak_spacings(
    volume: xr.DataArray,
    *,
    geometry: xr.Dataset,
    reference: float | tuple[float, Indices] | None = None,
) -> xr.Dataset:
    """List length of Q, spacing and lattice parameter of a peak, beside a reference.

    Computes now; reads once.

    Parameters
    ----------
    volume
        Intensity on ``(rocking, detector_y, detector_x)``, with or without ``state``:
        the box for which `geometry` was called. NaN is left out.
    geometry
        Result of `geometry`.
    reference
        Spacing d of these planes in a reference crystal (Angstrom); or lattice
        parameter and indices of a *cubic* one, ``(4.0782, (1, 1, 1))``, which adds
        ``lattice_parameter``. Adds ``strain``, relative to it.

    Returns
    -------
    xarray.Dataset
        On ``place``: the middle of the ``box``, to which phases refer; the ``maximum``;
        the ``centre_of_mass`` of the counts; the ``reference``. ``q_length``
        (1/Angstrom), ``d_spacing`` (Angstrom); ``q_length_error`` and
        ``d_spacing_error`` of the centre of mass, by counting.

    Raises
    ------
    ArgumentError
        If the geometry belongs to another box, or the reference is more than 5 % from
        the peak.
    DataError
        If the volume holds no counts.
    DimensionError
        If the volume is no rocking curve.

    Notes
    -----
    |Q| depends on the pixel alone; rocking turns Q. Background draws the centre of mass
    to the middle of the box: `correct` it before.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> geometry = volume.cdi.geometry(beamline="theta")
    >>> table = volume.cdi.peak_spacings(geometry=geometry)
    >>> table["d_spacing"].sel(place="maximum").round(2).item()
    1.85
    """
    require_dims(volume, VOLUME, caller="peak_spacings")
    reference, number = _spacing_of(reference)
    lead = [d for d in volume.dims if d not in VOLUME]
    geometry = of_states(volume, geometry)
    sizes = [volume.sizes[d] for d in lead]
    q = np.empty((*sizes, len(_PLACES)))
    errors = np.full(q.shape, np.nan)
    for index in np.ndindex(*sizes):
        where = dict(zip(lead, index, strict=True))
        own = {d: i for d, i in where.items() if d in geometry.dims}
        one = geometry.isel(own)
        _require_box(volume.isel(where), one)
        counts = volume.isel(where).transpose(*VOLUME).values
        q[index], errors[index] = _lengths(counts, one, reference)
    out = _table(q, errors, lead, number)
    if reference is not None:
        d = out["d_spacing"]
        out["strain"] = label(
            d / reference - 1, "strain", units="1", long_name="Strain"
        )
    kept = {d: volume[d] for d in lead if d in volume.coords}
    return out.assign_coords(kept)


def _lengths(
    counts: np.ndarray, geometry: xr.Dataset, reference: float | None
) -> tuple[list[float], list[float]]:
    """Return |Q| at each place, and its error where there is one."""
    image = np.nansum(counts, axis=0, dtype=float)
    total = float(image.sum())
    require_counts(counts)
    if not total > 0:
        raise DataError("volume", "holds no counts", "Look at its mask and its region.")
    at = np.unravel_index(int(np.nanargmax(counts)), counts.shape)[1:]
    rows, columns = (np.arange(n) - n // 2 for n in image.shape)
    centre = (
        float(image.sum(1) @ rows) / total,
        float(image.sum(0) @ columns) / total,
    )
    maximum = (float(rows[at[0]]), float(columns[at[1]]))
    places = [(0.0, 0.0), maximum, centre]
    lengths = [_length(geometry, *place) for place in places]
    # How |Q| changes along rows and columns, at the centre of mass.
    ends = [(0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5)]
    ends = [(centre[0] + r, centre[1] + c) for r, c in ends]
    up, down, right, left = (_length(geometry, *end) for end in ends)
    tilt = (up - down) * (rows - centre[0])[:, None]
    tilt = tilt + (right - left) * (columns - centre[1])[None, :]
    error = math.sqrt(float((image * tilt**2).sum())) / total
    if reference is not None:
        _require_near(reference, np.asarray(2 * math.pi / lengths[0]))
    lengths.append(math.nan if reference is None else 2 * math.pi / reference)
    return lengths, [math.nan, math.nan, error, math.nan]


def _too_wide(strain: np.ndarray) -> str | None:
    """Tell of strains that no crystal bears."""
    known = np.abs(strain[np.isfinite(strain)])
    if not known.size or (usual := float(np.median(known))) < _BROKEN:
        return None
    return f"half of the strains exceed {usual:.3g}. Are they in %? Note their units."


def _changed(
    strain: np.ndarray,
    moved: np.ndarray,
    support: np.ndarray,
    steps: np.ndarray,
    q: np.ndarray,
) -> str | None:
    """Tell where strains are a multiple of those of their displacement."""
    from batteryxr.cdi.bragg.kernels.phases import along

    told = along(moved * np.linalg.norm(q), support, steps, q)
    known = np.isfinite(told) & np.isfinite(strain)
    if not known.any():
        return None
    told, given = told[known], strain[known].astype(float)
    if (square := float(told @ told)) < _FLAT**2 * told.size:
        return None
    # Smoothing makes strains smaller, by several times at most.
    if _LESS < (times := float(given @ told) / square) < _MORE:
        return None
    return (
        f"the strain is {times:.3g} times that of the displacement: it was changed "
        "after `strain`. Is it in %? Note its units."
    )


def _require_near(reference: float, spacing: np.ndarray) -> None:
    """Raise where a reference is not of these planes."""
    if (np.abs(reference / spacing - 1) > _FAR).any():
        near = f"within 5 % of {np.ravel(spacing)[0]:.5g} Angstrom, that of the peak"
        told = "A lattice parameter is passed with its indices: (4.0782, (1, 1, 1))."
        raise ArgumentError("reference", reference, near, told)


def _length(geometry: xr.Dataset, row: float, column: float) -> float:
    """Return |Q| of a pixel, in pixels from the middle of the box."""
    q, step = geometry["q"].values, geometry["reciprocal_step"].values
    wave = -float(q @ q) / (2 * q[2])
    beam = np.array([0.0, 0.0, wave])
    scattered = q + beam + row * step[1] + column * step[2]
    scattered *= wave / np.linalg.norm(scattered)
    return float(np.linalg.norm(scattered - beam))


def _require_box(volume: xr.DataArray, geometry: xr.Dataset) -> None:
    """Raise where a volume is another box than the geometry's."""
    mend = "Call geometry(...) of this very volume."
    require_same_file(volume, geometry, mend)
    mine = {name: np.asarray(told[1], float) for name, told in box_of(volume).items()}
    theirs = {name: geometry[name].values.astype(float) for name in mine}
    if not np.array_equal(mine["n_points"], theirs["n_points"]):
        told = f"{theirs['n_points'].tolist()} points along {VOLUME}"
        here = f"those of the volume, {mine['n_points'].tolist()}"
        raise ArgumentError("geometry", told, here, mend)
    away = np.abs(mine["box_centre"] - theirs["box_centre"])
    if (away > 0.51 * theirs["box_step"]).any():
        told = f"a box round {theirs['box_centre'].tolist()}"
        here = f"round {mine['box_centre'].tolist()}"
        raise ArgumentError("geometry", told, here, mend)


def _spacing_of(
    reference: float | tuple[float, Indices] | None,
) -> tuple[float | None, float | None]:
    """Return the spacing of a reference, and its lattice parameter over that."""
    if reference is None:
        return None, None
    parameter, hkl = (
        reference if isinstance(reference, tuple | list) else (reference, None)
    )
    bounds.check("lattice length", parameter, argument="reference")
    if hkl is None:
        return parameter, None
    if not any(hkl):
        raise ArgumentError("reference", reference, "indices such as (1, 1, 1)")
    number = math.sqrt(sum(h * h for h in hkl))
    return parameter / number, number


def _table(
    q: np.ndarray, errors: np.ndarray, lead: list[Any], number: float | None
) -> xr.Dataset:
    """Label the numbers of each place."""
    dims = [*lead, "place"]
    d = 2 * np.pi / q
    columns = {
        "q_length": (q, "1/Angstrom", "|Q|"),
        "q_length_error": (errors, "1/Angstrom", "Standard deviation of |Q|"),
        "d_spacing": (d, "Angstrom", "Lattice spacing d"),
        "d_spacing_error": (d * errors / q, "Angstrom", "Standard deviation of d"),
    }
    if number is not None:
        words = "Lattice parameter of the cubic cell"
        columns["lattice_parameter"] = (d * number, "Angstrom", words)
    table = xr.Dataset(
        {
            name: (dims, values, {"units": units, "long_name": words})
            for name, (values, units, words) in columns.items()
        }
    )
    place = ("place", list(_PLACES), {"units": "1", "long_name": "Place in the peak"})
    return table.assign_coords(place=place)


@recorded
def lattice_spacing(
    crystal: xr.Dataset,
    *,
    geometry: xr.Dataset | None = None,
    reference: float | tuple[float, Indices] | None = None,
) -> xr.Dataset:
    """Add the lattice spacing of every voxel, and the lattice parameter.

    Lazy.

    Parameters
    ----------
    crystal
        Fields from `strain`.
    geometry
        Not needed after `displacement`, whose geometry the fields carry.
    reference
        See `peak_spacings`; adds ``lattice_strain``, d over the reference less 1.

    Returns
    -------
    xarray.Dataset
        The fields and ``d_spacing`` (Angstrom): 2 pi / |Q| of the middle of the box,
        times 1 + strain. A ramp that `displacement` removed counts as well: it is in
        ``mean_strain``. With ``strain_error`` also ``d_spacing_error``.

    Raises
    ------
    ArgumentError
        If the reference is more than 5 % from the peak, or the geometry belongs to
        another box.
    DataError
        If Q is not known.
    VariableError
        If there is no strain.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> axes = volume.cdi.geometry(beamline="theta")
    >>> fields = result.cdi.unwrap().cdi.displacement(geometry=axes)
    >>> spacing = fields.cdi.strain().cdi.lattice_spacing()["d_spacing"]
    >>> round(float(spacing.mean()), 2)
    1.85
    """
    for name, made_by in (("strain", "strain"), ("mean_strain", "displacement")):
        if name not in crystal:
            told = f"lattice_spacing needs the field {name!r}: call {made_by} first."
            raise VariableError(told)
    reference, number = _spacing_of(reference)
    q = scattering_vector(crystal, geometry, caller="lattice_spacing")
    of_box = 2 * np.pi / (q**2).sum("vector") ** 0.5
    if reference is not None:
        _require_near(reference, of_box.values)
    strain = in_units(crystal["strain"], "1", caller="lattice_spacing")
    dims = space_axes(strain, caller="lattice_spacing")
    strain = looked_at(_too_wide, strain, axes=[dims], caller="lattice_spacing")
    if "displacement" in crystal and "support" in crystal:
        moved = in_units(crystal["displacement"], "Angstrom", caller="lattice_spacing")
        steps = steps_in_space(crystal, geometry, caller="lattice_spacing")
        axes: list[tuple[str, ...]] = [dims, dims, dims]
        strain = looked_at(
            _changed,
            strain,
            moved,
            inside(crystal["support"]),
            steps,
            q,
            axes=[*axes, ("axis", "vector"), ("vector",)],
            caller="lattice_spacing",
        )
    removed = crystal.attrs.get("ramp") == "removed"
    ramp = bare(crystal["mean_strain"]) if removed else 0.0
    spacing = of_box * (1 + bare(strain) + ramp)
    spacing = strain.copy(
        data=spacing.transpose(*strain.dims).astype(strain.dtype).data
    )
    words = "Lattice spacing d"
    out = crystal.assign(
        d_spacing=label(spacing, "d_spacing", units="Angstrom", long_name=words)
    )
    if (deviation := replicas_of(crystal, "strain_replicas")) is not None:
        moved = bare(deviation) * of_box.astype(deviation.dtype)
        moved = deviation.copy(data=moved.transpose(*deviation.dims).data)
        out = with_error(out, "d_spacing", moved)
    if number is not None:
        words = "Lattice parameter of the cubic cell"
        name = "lattice_parameter"
        out[name] = label(spacing * number, name, units="Angstrom", long_name=words)
    if reference is not None:
        away, words = spacing / reference - 1, "Strain relative to the reference"
        out["lattice_strain"] = label(
            away, "lattice_strain", units="1", long_name=words
        )
    return out
