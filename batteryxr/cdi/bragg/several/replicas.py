"""Errors of an object, and of all results from it, by replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    OBJECT,
    VOLUME,
    bare,
    each_volume,
    require_sign,
    variable,
    volume_numbers,
)
from batteryxr.cdi.bragg.consistency.objects import looked_at, warn_of_strangers
from batteryxr.cdi.bragg.kernels.counting import require_counts, zero_gaps
from batteryxr.core.blocks import apply, is_lazy
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
)
from batteryxr.core.labels import matched
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.cdi.bragg.settings import RetrievalSettings
    from batteryxr.core.checks import Count, Seed

#: Fewest replicas for a standard deviation.
_FEWEST = 3
#: Misfit, over that of replicas, above which errors are reported as too small.
_WORST = 4.0


@recorded
def replicas(
    crystal: xr.Dataset,
    *,
    volume: xr.DataArray | xr.Dataset,
    schedule: str = "200 HIO + 200 RAAR + 100 ER",
    n_starts: Count = 8,
    seed: Seed = 0,
) -> xr.Dataset:
    """Repeat a retrieval with photons drawn anew, to estimate errors.

    Lazy.

    The mean of the counts is the pattern of the object, with what its misfit shows
    beyond photon noise. Counts are drawn from it, and each draw is phased from a random
    start. Replicas deviate from the object as the object deviates from the crystal.
    This includes photons, starts, iterations and the support, but not the beam (drift,
    partial coherence that was not fitted).

    Parameters
    ----------
    crystal
        Result of `retrieve` or `align_states`, with or without ``state``.
    volume
        The counts that were phased.
    schedule
        See `retrieve`.
    n_starts
        Number of replicas: 8 give a standard deviation to a quarter of it.
    seed
        Seed of photons and starts.

    Returns
    -------
    xarray.Dataset
        The crystal with ``replicas`` on ``replica``, from which `unwrap`,
        `displacement`, `strain` and `summarise_states` compute ``phase_error``,
        ``displacement_error``, ``strain_error`` and the errors of means and spreads:
        each is half the width of a 68 % band. ``misfit_ratio`` is how much worse the
        object fits its counts than the replicas fit theirs; deviations were widened by
        it (up to 4). Well above 1, the pattern holds more than object and photons.

    Raises
    ------
    ArgumentError
        If fewer than three replicas are asked for.
    DataError
        If the object has the other ``fourier_sign``, or lost its ramp in
        `align_states`; or if the volume holds values that are no counts.
    DimensionError
        If object and counts are not of one shape.

    Warns
    -----
    DataQualityWarning
        If the counts are not those that were phased; if replicas lost their support, or
        ended in another minimum; if the object fits its counts more than 4 times worse,
        or better, than replicas fit theirs.

    Notes
    -----
    Parametric bootstrap: Efron & Tibshirani (1993), ch. 6. A crystal has more than its
    support holds (fringes that end at the edge of the detector ring around its
    surface). Replicas are therefore drawn from crystals with as much beside the object
    as its misfit shows beyond photons and iterations. In four crystals of another
    simulator at 1e5, 1e6 and 1e7 photons the band of strain holds 52 to 83 % of the
    voxels inside, the band of phase 49 to 87 %, both 68 % in the mean.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> sure = result.cdi.replicas(volume=volume, schedule="60 HIO + 20 ER", n_starts=3)
    >>> sure["object"].dims
    ('along_rocking', 'along_y', 'along_x')
    """
    from batteryxr.cdi.bragg.kernels.schedule import parse
    from batteryxr.cdi.bragg.settings import RetrievalSettings

    crystal = crystal.drop_dims("replica", errors="ignore")  # of an earlier call
    field = variable(crystal, "object", caller="replicas")
    require_sign(crystal, -1, what="crystal")
    require_dims(field, OBJECT, caller="replicas")
    if "removed" in {crystal.attrs.get("ramp"), field.attrs.get("ramp")}:
        raise DataError(
            "crystal",
            "lost its phase ramp: its pattern does not lie where the counts do",
            "Align states with ramp='keep'; `displacement` can remove it later.",
        )
    counts = counts_of(volume, field, caller="replicas")
    field = warn_of_strangers(field, counts, caller="replicas")
    if n_starts < _FEWEST:
        raise ArgumentError("n_starts", n_starts, f"{_FEWEST} or more", "8 do well.")
    lead = [d for d in field.dims if d not in OBJECT]
    blur, blurred = _blur(crystal)
    settings = RetrievalSettings(
        schedule=parse(schedule),
        n_starts=n_starts,
        seed=seed,
        coherence_every=20 if blurred else 0,
    )
    found, worse = apply(
        each_volume(_of_counts, "(i,j,k),(a,b,c),(d,e,f),(),()->(r,i,j,k),()"),
        bare(field, OBJECT),
        bare(counts, VOLUME),
        blur,
        _averaged(crystal),
        volume_numbers(field, lead),
        core_dims=[OBJECT, VOLUME, [str(d) for d in blur.dims[-3:]], [], []],
        output_dims=[("replica", *OBJECT), ()],
        output_sizes={"replica": n_starts},
        dtypes=[np.complex64, np.float64],
        caller="replicas",
        settings=settings,
    )
    found = found.transpose(*lead, "replica", *OBJECT)
    axes = [(), ("replica", *OBJECT)]
    worse = looked_at(_doubt, worse, found, axes=axes, caller="replicas")
    found = label(found, "replicas", units="1", long_name="Object with other photons")
    number = ("replica", np.arange(n_starts), {"units": "1", "long_name": "Replica"})
    words = "Amplitude residual of the object over that of its replicas"
    worse = label(worse, "misfit_ratio", units="1", long_name=words)
    made = {"replicas": found, "misfit_ratio": worse}
    made = {name: array.drop_vars(array.coords) for name, array in made.items()}
    return crystal.assign(made).assign_coords(replica=number)


def _doubt(worse: np.ndarray, found: np.ndarray) -> str | None:
    """Tell of lost replicas, and of counts that photon noise does not explain."""
    told = []
    if lost := int(np.isnan(found.real).all(axis=(-3, -2, -1)).sum()):
        told.append(
            f"{lost} lost their support, found another minimum or fit so "
            "badly that no one would choose them: they are not counted."
        )
    if worse > _WORST:
        told.append(
            f"the object fits its counts {worse:.1f} times worse than photons "
            "explain: blur by partial coherence, a drift, or a bad support. Errors "
            "are widened, but too small."
        )
    if worse < 1 / _WORST:
        told.append(
            f"the object fits its counts {worse:.3f} times as badly as "
            "photons would: are they scaled, or a mean? Errors are too large."
        )
    return " Besides, ".join(told) or None


def _of_counts(
    rho: np.ndarray, counts: np.ndarray, *beside: Any, settings: RetrievalSettings
) -> tuple[np.ndarray, float]:
    """Return replicas of one object, from counts that are prepared as in `retrieve`."""
    from batteryxr.cdi.bragg.kernels.replicas import replicas as kernel

    require_counts(counts)
    counts = np.where(zero_gaps(counts), np.float32(np.nan), counts.astype(np.float32))
    return kernel(rho, counts, *beside, settings=settings)


def counts_of(
    volume: xr.DataArray | xr.Dataset, field: xr.DataArray, *, caller: str
) -> xr.DataArray:
    """Return the counts of each object, NaN where masked.

    Raises
    ------
    DimensionError
        If object and counts are not of one shape.
    """
    counts = variable(volume, "intensity", caller=caller)
    if isinstance(volume, xr.Dataset) and "mask" in volume:
        counts = counts.where(volume["mask"] == 0)
    require_dims(counts, VOLUME, caller=caller)
    there = tuple(field.sizes[d] for d in OBJECT)
    here = tuple(counts.sizes[d] for d in VOLUME)
    lead = {d: n for d, n in field.sizes.items() if d not in OBJECT}
    if there != here or lead != {
        d: n for d, n in counts.sizes.items() if d not in VOLUME
    }:
        raise DimensionError(
            f"{caller}: the object lies on {dict(field.sizes)}, the counts on "
            f"{dict(counts.sizes)}; pass the very volume that was phased."
        )
    if lead:
        counts = matched(
            field.isel(dict.fromkeys(OBJECT, 0)), counts, argument="volume"
        )
    return counts.transpose(*lead, *VOLUME)


#: Middle of a blur that is none.
_SHARP = 1 - 1e-6


def _blur(crystal: xr.Dataset) -> tuple[xr.DataArray, bool]:
    """Return the blur of the pattern and True; without a blur, one voxel and False."""
    if isinstance(crystal, xr.Dataset) and "blur" in crystal:
        blur = bare(crystal["blur"])
        if is_lazy(blur) or not bool((blur.max(blur.dims[-3:]) > _SHARP).all()):
            return blur, True
    return xr.DataArray(np.ones((1, 1, 1), np.float32), dims=("bz", "by", "bx")), False


def _averaged(crystal: xr.Dataset) -> xr.DataArray:
    """Return the variance that averaging starts removed, summed over the voxels."""
    if "object_error" not in crystal or "mode" not in crystal.dims:
        return xr.DataArray(0.0)
    between = (bare(crystal["object_error"]) ** 2).sum(OBJECT)
    many = xr.DataArray(crystal.sizes["mode"])
    if "mode_weight" in crystal:  # starts of another minimum made no mode
        many = bare(crystal["mode_weight"]).notnull().sum("mode").clip(min=1)
    return between * (1 - 1 / many)
