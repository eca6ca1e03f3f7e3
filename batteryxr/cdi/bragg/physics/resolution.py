"""Resolution along each axis, by transfer and by correlation of two halves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    OBJECT,
    VECTOR,
    VOLUME,
    bare,
    each_volume,
    require_sign,
    variable,
    volume_numbers,
)
from batteryxr.cdi.bragg.consistency.objects import warn_of_strangers
from batteryxr.cdi.bragg.kernels.counting import require_counts
from batteryxr.cdi.bragg.kernels.metrics import curves, farthest, thinned
from batteryxr.cdi.bragg.laboratory import turn_of
from batteryxr.cdi.bragg.retrieval import retrieve
from batteryxr.cdi.bragg.several.replicas import counts_of
from batteryxr.cdi.bragg.space import geometry_of
from batteryxr.core.blocks import apply
from batteryxr.core.errors import DataError
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators

if TYPE_CHECKING:
    from batteryxr.core.checks import Seed, Whole

#: Rows of the result: axes of space, and the mean over all directions.
_DIRECTIONS = (*VECTOR, "all")
#: What is computed: dimensions after the leading ones, units, long name.
_PARTS = {
    "prtf": ("1", "Phase-retrieval transfer function"),
    "fsc": ("1", "Fourier shell correlation of two halves of the counts"),
    "threshold_half_bit": ("1", "1/2-bit threshold"),
    "half_period_prtf": ("nm", "Half period where the PRTF falls below 1/e"),
    "half_period_fsc": ("nm", "Half period where the FSC falls below 1/2 bit"),
    "half_period_limit": ("nm", "Half period at the edge of the pattern"),
}
#: Those that need halves.
_OF_HALVES = ("fsc", "threshold_half_bit", "half_period_fsc")


@recorded
def resolution(
    crystal: xr.DataArray | xr.Dataset,
    *,
    volume: xr.DataArray | xr.Dataset,
    geometry: xr.Dataset,
    frame: Literal["lab", "sample", "crystal"] = "lab",
    n_starts: Whole = 3,
    schedule: str = "200 HIO + 200 RAAR + 100 ER",
    seed: Seed = 0,
) -> xr.Dataset:
    """Find the resolution in nm along each axis, by PRTF and FSC.

    Lazy.

    The transfer function compares the object with its counts. For the correlation the
    photons are split at random in two halves, and each is phased from random starts of
    its own. Both are taken in cones of 30 degrees around each axis.

    Parameters
    ----------
    crystal
        Result of `retrieve` with several starts, with or without ``state``.
    volume
        The counts that were phased.
    geometry
        Result of `geometry` for this box.
    frame
        Axes x, y, z: see `to_laboratory`.
    n_starts
        Starts for each half; 0 leaves the FSC out.
    schedule, seed
        See `retrieve`; the seed also splits the photons.

    Returns
    -------
    xarray.Dataset
        On ``direction`` (x, y, z, all): ``half_period_prtf`` (below 1/e) and
        ``half_period_fsc`` (below the 1/2-bit threshold), in nm, NaN where a curve does
        not fall within the pattern; the pattern ends at ``half_period_limit``. A full
        period, which some papers call the resolution, is twice these. The curves
        ``prtf``, ``fsc`` and ``threshold_half_bit`` also lie on ``frequency`` (cycles
        per nm).

    Raises
    ------
    ArgumentError
        If the geometry belongs to another box, or a number is out of range.
    DataError
        If the object has the other ``fourier_sign``, or the counts are no whole
        numbers of photons.
    DimensionError
        If object and counts are not of one shape.

    Warns
    -----
    DataQualityWarning
        As `retrieve` does, for the halves; and if object and counts are not of one
        crystal or one orientation, or the counts are not those that were phased.

    Notes
    -----
    Chapman et al., JOSA A 23, 1179 (2006); van Heel & Schatz, J. Struct. Biol. 151, 250
    (2005). Halves hold half the photons: their correlation ends a little before that of
    two whole measurements would. Both share the shape of a support, which raises
    correlations where little else is left.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> crystal = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> geometry = volume.cdi.geometry(beamline="theta")
    >>> found = crystal.cdi.resolution(volume=volume, geometry=geometry, n_starts=0)
    >>> found["half_period_prtf"].dims
    ('direction',)
    """
    field = variable(crystal, "object", caller="resolution")
    require_dims(field, OBJECT, caller="resolution")
    require_sign(crystal, -1, what="crystal")
    geometry = geometry_of(crystal, geometry, caller="resolution")
    counts = counts_of(volume, field, caller="resolution")
    field = warn_of_strangers(field, counts, caller="resolution")
    # 1/Angstrom of angular frequency to cycles per nm.
    steps = bare(geometry["reciprocal_step"].transpose(..., "axis", "vector"))
    steps = steps * (10 / (2 * np.pi))
    shape = tuple(field.sizes[d] for d in OBJECT)
    reach = max(farthest(shape, s) for s in steps.values.reshape(-1, 3, 3))
    count = max(shape) // 2
    turned = turn_of(geometry, frame).transpose(..., "turned", "vector")
    ends = xr.zeros_like(turned.isel(turned=[0]))
    towards = bare(xr.concat([turned, ends], "turned").rename(turned="direction"))
    towards = towards.transpose(..., "direction", "vector")
    both = ("direction", "frequency")
    parts = apply(
        each_volume(
            _curves,
            "(i,j,k),(a,b,c),(h,i,j,k),(s,v),(d,v)->(d,n),(d,n),(d,n),(d),(d),(d)",
        ),
        bare(field, OBJECT),
        bare(counts, VOLUME),
        _halves(counts, n_starts, schedule, seed),
        steps,
        towards,
        core_dims=[
            OBJECT,
            VOLUME,
            ("half", *OBJECT),
            ["axis", "vector"],
            ["direction", "vector"],
        ],
        output_dims=[both, both, both, *[("direction",)] * 3],
        output_sizes={"direction": len(_DIRECTIONS), "frequency": count},
        dtypes=[np.float64] * 6,
        caller="resolution",
        reach=reach,
        count=count,
    )
    named = zip(_PARTS.items(), parts, strict=True)
    out = xr.Dataset(
        {
            name: label(part, name, units=units, long_name=words)
            for (name, (units, words)), part in named
            if n_starts or name not in _OF_HALVES
        }
    )
    middles = (np.arange(count) + 0.5) * (reach / count)
    about = {"units": "1/nm", "long_name": "Frequency, cycles per nm"}
    axis = {"units": "1", "long_name": f"Axis of the frame {frame!r}"}
    return out.assign_coords(
        frequency=("frequency", middles, about),
        direction=("direction", list(_DIRECTIONS), axis),
    )


def _curves(rho: np.ndarray, counts: np.ndarray, *beside: Any, **options: Any) -> Any:
    """Return the curves of one object, from what can be counts."""
    require_counts(counts)
    return curves(rho, counts, *beside, **options)


def _halves(counts: xr.DataArray, n_starts: int, schedule: str, seed: int) -> Any:
    """Return an object for each half of the counts; zeros where none are asked for."""
    lead = [d for d in counts.dims if d not in VOLUME]
    if not n_starts:
        nothing = np.zeros((2, *(counts.sizes[d] for d in VOLUME)), np.complex64)
        return xr.DataArray(nothing, dims=("half", *OBJECT))
    split = apply(
        each_volume(_split, "(a,b,c),()->(h,a,b,c)"),
        counts,
        volume_numbers(counts, lead),
        core_dims=[VOLUME, []],
        output_dims=[("half", *VOLUME)],
        output_sizes={"half": 2},
        dtypes=[np.float32],
        caller="resolution",
        seed=seed,
    )
    split = split.assign_coords({d: counts[d] for d in VOLUME if d in counts.coords})
    found = retrieve(
        split.transpose("half", *lead, *VOLUME),
        schedule=schedule,
        n_starts=n_starts,
        seed=seed,
        progress=False,
    )
    return bare(found["object"], OBJECT)


def _split(counts: np.ndarray, number: int, *, seed: int) -> np.ndarray:
    """Return both halves of one pattern; raise where it holds no whole photons."""
    total = float(np.nansum(counts))
    away = float(np.nansum(np.abs(counts - np.rint(counts))))
    if not away <= 0.25 * total:
        raise DataError(
            "volume",
            "holds no whole numbers of photons: it was scaled, or is a mean",
            "Pass the counts as they were measured, or n_starts=0.",
        )
    return thinned(counts, generators(seed, int(number) + 1)[-1])
