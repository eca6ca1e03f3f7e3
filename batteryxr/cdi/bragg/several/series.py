"""Retrieve all states of one crystal: each continues from its neighbour."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import OBJECT, PHOTONS, SLOPES, VOLUME, variable
from batteryxr.cdi.bragg.job import retrieve_phases
from batteryxr.cdi.bragg.kernels.counting import not_counts
from batteryxr.cdi.bragg.kernels.free import GAINED
from batteryxr.cdi.bragg.settings import RetrievalSettings, Selection, ShrinkWrap
from batteryxr.cdi.bragg.several.alignment import aligned_states
from batteryxr.core.errors import (
    ArgumentError,
    ConvergenceError,
    DataError,
    warn_quality,
)
from batteryxr.core.model import label, require_dims
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from batteryxr.core.checks import Count, Seed

#: Iterations that continue from a neighbour.
_ON = "80 RAAR + 60 ER"
#: Iterations between estimates of a blur meanwhile.
_EVERY = 10
#: Misfit, over that of its neighbour, above which a state starts anew.
_WORSE = 1.5
_JUDGED = ("amp_residual", "chi2", "llk", "llk_free")


class _One(NamedTuple):
    """Hold a retrieved state: its best start, and the state that it continued from."""

    object: xr.DataArray
    support: xr.DataArray
    merits: dict[str, float]
    came_from: int
    blurred: bool


@recorded
def retrieve_states(
    volume: xr.DataArray | xr.Dataset,
    *,
    reference: int = 0,
    schedule: str = "200 HIO + 200 RAAR + 100 ER",
    n_starts: Count = 6,
    select: Selection = Selection(),  # noqa: B008 (frozen)
    seed: Seed = 0,
    support: ShrinkWrap = ShrinkWrap(),  # noqa: B008
    device: str = "cpu",
    progress: bool | None = None,
) -> xr.Dataset:
    """Retrieve the phases of all states of one crystal together.

    Reads every state once, and computes now.

    One state is phased from random starts, with a blur where one gains. Each of the
    others continues from the object of its neighbour, within the supports of all states
    so far. Neighbours differ little: few iterations suffice, and no state ends as
    another's twin. A state that fits its counts much worse than its neighbour is phased
    from random starts as well, and the better result is kept.

    Parameters
    ----------
    volume
        Counts on ``(state, rocking, detector_y, detector_x)``, in order of the series;
        see `retrieve`. Crop all around one point: then the mean change of the lattice
        stays in the phases.
    reference
        Index of the state that is phased first; the others are aligned to it.
    schedule, n_starts, select, seed, support, device, progress
        Settings for that state; see `retrieve`.

    Returns
    -------
    xarray.Dataset
        On ``state``: ``object`` and ``support``, aligned to the reference in place and
        phase, with their own ramps; ``overlap`` with the reference; ``amp_residual``,
        ``chi2``, ``llk``, ``llk_free`` as in `retrieve`; ``came_from``, the index of
        the state that this one continued from, -1 for random starts.

    Raises
    ------
    ArgumentError
        If the reference does not exist.
    ConvergenceError
        If all starts of the reference lost their support.
    DataError
        See `retrieve`.
    DimensionError
        If there is no ``state``.

    Warns
    -----
    DataQualityWarning
        See `retrieve`. Also if a state fits its counts much worse than most, or has
        little in common with the reference.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volumes = cell["states"].to_dataset()["intensity"].compute()
    >>> states = volumes.cdi.retrieve_states(schedule="60 HIO + 20 ER", n_starts=2)
    >>> states["object"].dims
    ('state', 'along_rocking', 'along_y', 'along_x')
    """
    from batteryxr.cdi.bragg.kernels.schedule import parse

    counts = variable(volume, "intensity", caller="retrieve_states")
    require_dims(counts, ["state", *VOLUME], caller="retrieve_states")
    n = counts.sizes["state"]
    if not -n <= reference < n:
        raise ArgumentError("reference", reference, f"the index of one of {n} states")
    reference %= n
    whole = RetrievalSettings(
        schedule=parse(schedule),
        n_starts=n_starts,
        select=select,
        seed=seed,
        support=support,
        coherence_every=None,
        device=device,
    )
    last = support.sigma[1]
    short = replace(
        whole,
        schedule=parse(_ON),
        n_starts=1,
        coherence_every=0,
        support=replace(support, sigma=(last, last)),
    )
    states = [volume.isel(state=k).compute() for k in range(n)]
    _require_counts(states)
    found = {reference: _phased(states[reference], whole, progress=progress)}
    if found[reference].blurred:  # so are the others
        short = replace(short, coherence_every=_EVERY)
    for k, neighbour in _order(n, reference):
        found[k] = _continued(states[k], found, neighbour, (whole, short))
    if n > 1:  # the first state can improve from a neighbour too
        first, beside = found[reference], 1 if reference == 0 else reference - 1
        again = _from_neighbour(states[reference], found, beside, short)
        by = "amp_residual"
        if again and again.merits[by] < first.merits[by]:
            found[reference] = again
    _report(found)
    return _joined(counts, [found[k] for k in range(n)], reference)


def _require_counts(states: list[Any]) -> None:
    """Raise where a state cannot be phased, before time is spent on the others."""
    for k, state in enumerate(states):
        counts = variable(state, "intensity", caller="retrieve_states")
        if isinstance(state, xr.Dataset) and "mask" in state:
            counts = counts.where(state["mask"] == 0)
        why = not_counts(counts.values)
        if not why and not np.nansum(counts.values) > 0:
            why = "holds no counts"
        if why:
            told = f"state {k} {why}"
            raise DataError("volume", told, "Pass counts as measured, or leave it out.")


def _order(n: int, reference: int) -> list[tuple[int, int]]:
    """Return every other state and its neighbour towards the reference."""
    after = [(k, k - 1) for k in range(reference + 1, n)]
    return after + [(k, k + 1) for k in range(reference - 1, -1, -1)]


def _phased(
    state: xr.DataArray | xr.Dataset,
    settings: RetrievalSettings,
    *,
    start: xr.Dataset | None = None,
    came_from: int = -1,
    progress: bool | None = False,
) -> _One:
    result = retrieve_phases(state, settings, start=start, progress=progress)
    best = int(np.flatnonzero(result["rank"].values == 1)[0])
    merits = {name: float(result[name].values[best]) for name in _JUDGED}
    blurred = bool(result["blur_gain"] < GAINED)
    return _One(result["object"], result["support"], merits, came_from, blurred)


def _continued(
    state: xr.DataArray | xr.Dataset,
    found: dict[int, _One],
    neighbour: int,
    settings: tuple[RetrievalSettings, RetrievalSettings],
) -> _One:
    """Phase a state from its neighbour; use random starts where that fails."""
    whole, short = settings
    one = _from_neighbour(state, found, neighbour, short)
    by = "amp_residual"
    if one and one.merits[by] <= _WORSE * found[neighbour].merits[by]:
        return one
    try:
        anew = _phased(state, whole)
    except ConvergenceError as error:
        if one:
            return one
        error.add_note(f"in a state next to state {neighbour}; leave it out")
        raise
    judge = whole.select.by
    return one if one and not anew.merits[judge] < one.merits[judge] else anew


def _from_neighbour(
    state: xr.DataArray | xr.Dataset,
    found: dict[int, _One],
    neighbour: int,
    short: RetrievalSettings,
) -> _One | None:
    """Phase a state from its neighbour; None where that loses the support."""
    # A part that is dark in the neighbour may diffract again here.
    crystal = np.any([other.support.values for other in found.values()], axis=0)
    start = found[neighbour].object.to_dataset(name="object", promote_attrs=False)
    start["support"] = (OBJECT, crystal)
    with contextlib.suppress(ConvergenceError):
        return _phased(state, short, start=start, came_from=neighbour)
    return None


def _report(found: dict[int, _One]) -> None:
    """Warn of states that fit their counts much worse than most do."""
    misfit = {k: one.merits["amp_residual"] for k, one in found.items()}
    usual = float(np.median(list(misfit.values())))
    if bad := sorted(k for k, m in misfit.items() if m > 3 * usual):
        warn_quality(
            f"retrieve_states: the states {bad} fit their counts more than 3 times "
            f"worse than most (amplitude residual {usual:.3g}): another crystal, a "
            "drift, or a centre of their own?"
        )


def _joined(counts: xr.DataArray, found: list[_One], reference: int) -> xr.Dataset:
    """Return the states on one grid, aligned to the reference."""
    objects = xr.concat(
        [one.object for one in found], "state", coords="minimal", compat="override"
    )
    of_state = {k: c for k, c in counts.coords.items() if c.dims == ("state",)}
    for name in (PHOTONS, *SLOPES):
        of_state[name] = ("state", [float(one.object[name]) for one in found])
    objects = objects.drop_vars(set(of_state) & set(objects.coords))
    given = objects.assign_coords(of_state)
    aligned = aligned_states(given, reference, "keep", caller="retrieve_states")
    supports = [
        _moved(one.support, shift, bool(twin))
        for one, shift, twin in zip(
            found, aligned["moved_by"].values, aligned["twin"].values, strict=True
        )
    ]
    where = xr.DataArray(np.array(supports), dims=("state", *OBJECT))
    result = aligned[["object", "overlap"]].assign(
        support=label(where, "support", units="1", long_name="Support")
    )
    words = {
        "amp_residual": "Amplitude residual Σ(|F|−A)²/ΣA²",
        "chi2": "χ² = Σ(√D−√R)²/ΣR",
        "llk": "Poisson log-likelihood per voxel",
        "llk_free": "Free Poisson log-likelihood per voxel",
    }
    for name, text in words.items():
        values = [one.merits[name] for one in found]
        result[name] = ("state", values, {"units": "1", "long_name": text})
    note = {"units": "1", "long_name": "State that it went on from, -1 none"}
    result["came_from"] = ("state", [one.came_from for one in found], note)
    return result


def _moved(support: xr.DataArray, shift: np.ndarray, twin: bool) -> np.ndarray:
    """Move, and mirror, a support by whole voxels as its object was."""
    values = support.values
    if twin:
        values = np.roll(np.flip(values), (1, 1, 1), (0, 1, 2))
    whole = tuple(int(s) for s in np.round(shift))
    return np.asarray(np.roll(values, whole, (0, 1, 2)))
