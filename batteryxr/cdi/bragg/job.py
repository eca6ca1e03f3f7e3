"""Tasks of one phase retrieval, run at once or left to dask."""

from __future__ import annotations

import json
import uuid
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi.bragg.axes import (
    OBJECT,
    VOLUME,
    require_scale,
    require_sign,
    variable,
)
from batteryxr.cdi.bragg.consistency.scan import (
    check_patterns,
    require_angles,
    require_start,
)
from batteryxr.cdi.bragg.kernels.counting import (
    photons_of,
    require_counts,
    zero_gaps,
)
from batteryxr.cdi.bragg.result import label_answers, tell_of_answers
from batteryxr.core.blocks import (
    delayed,
    gather,
    is_lazy,
    is_stopped,
    on_cluster,
    workers,
    workers_of_user,
)
from batteryxr.core.blocks.digests import digest
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    warn_quality,
)
from batteryxr.core.kernels.cores import allowed, free_memory
from batteryxr.core.labels import MOTOR, require_even
from batteryxr.core.ledger import Ledger, Piece
from batteryxr.core.model import require_dims
from batteryxr.core.seeds import generators
from batteryxr.core.store import (
    location_of,
    locked,
    require_repository,
    require_store,
    telling,
)
from batteryxr.core.units import readable_bytes
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batteryxr.cdi.bragg.kernels.answer import Start
    from batteryxr.cdi.bragg.kernels.pattern import Pattern
    from batteryxr.cdi.bragg.settings import RetrievalSettings
    from batteryxr.core.store import Location, StoreLike

#: Bytes per voxel: of a pattern, of a start, of an answer and of each of its objects.
_PATTERN, _START, _ANSWER, _OBJECT = 40, 90, 100, 16
#: Share of the free memory that is planned for.
_SHARE = 0.9


def retrieve_phases(
    volume: xr.DataArray | xr.Dataset,
    settings: RetrievalSettings,
    *,
    start: xr.DataArray | xr.Dataset | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Retrieve phases: at once for data in memory, as dask tasks for lazy data."""
    intensity = _counts(volume, settings.caller)
    first = _first(start, settings)
    # The token signals an interruption of the call to running starts.
    token = uuid.uuid4().hex
    patterns = _arrays(intensity, first)
    answers, starts = _tasks(patterns, settings, token, is_lazy(intensity))
    if is_lazy(intensity):
        if settings.store is not None:
            _require_store(settings.store)
        told = [
            delayed(tell_of_answers)([answer], settings, number, len(answers))
            for number, answer in enumerate(answers)
        ]
        return label_answers(told, intensity, settings)
    check_patterns(intensity.values, settings.caller)
    number = _side_by_side(intensity.shape, settings)
    with _alone(settings), workers(number):
        done = gather(
            answers, "Retrieving phases", watched=starts, token=token, progress=progress
        )
    tell_of_answers(done, settings)
    return label_answers(done, intensity, settings)


def _side_by_side(shape: tuple[int, ...], settings: RetrievalSettings) -> int:
    """Return how many starts may run side by side: as many as fit into memory.

    Raises
    ------
    DataError
        If not even one start, or the answer, fits.
    """
    many = workers_of_user() or allowed()
    if settings.device != "cpu" or on_cluster():
        return many
    voxels = float(np.prod(shape[-3:], dtype=float))
    room = _SHARE * free_memory() / voxels
    fit = int((room - _PATTERN) // _START)
    answer = _ANSWER + _OBJECT * settings.n_best
    if fit < 1 or answer > room:
        need = readable_bytes(max(_PATTERN + _START, answer) * voxels)
        raise DataError(
            "volume",
            f"of {'x'.join(map(str, shape[-3:]))} voxels needs {need} to be phased; "
            f"{readable_bytes(room * voxels)} are free",
            "Crop or bin it, or let fewer starts make the answer: Selection(n_best=1).",
        )
    starts = settings.n_starts * int(np.prod(shape[:-3], dtype=int))
    if fit < min(many, starts):
        warn_quality(
            f"{settings.caller}: {fit} of {min(many, starts)} starts run side by side, "
            f"as {readable_bytes(room * voxels)} of memory are free."
        )
    return min(many, fit)


@contextmanager
def _alone(settings: RetrievalSettings) -> Iterator[None]:
    """Lock the store of the starts, if there is one, against other writers."""
    if settings.store is None:
        yield
        return
    location = _require_store(settings.store)
    with telling(location), locked(location):
        yield


def _require_store(store: StoreLike) -> Location:
    """Return where starts are kept; raise where they cannot be kept."""
    location = location_of(store, "store")
    require_store(location)
    require_repository(location)
    return location


def _counts(volume: xr.DataArray | xr.Dataset, caller: str) -> xr.DataArray:
    """Return the measured counts, NaN where masked, with the volume's axes last."""
    intensity = variable(volume, "intensity", caller=caller)
    if isinstance(volume, xr.Dataset) and "mask" in volume:
        intensity = intensity.where(volume["mask"] == 0)
    require_dims(intensity, VOLUME, caller=caller)
    sizes = {dim: intensity.sizes[dim] for dim in VOLUME}
    if min(sizes.values()) < 8:
        raise DataError(
            "volume",
            f"has {sizes}, not at least 8 voxels along each axis",
            "Leave more around the peak.",
        )
    if intensity.dtype.kind not in "iuf":
        raise DataError(
            "volume",
            f"holds {intensity.dtype}, not real counts",
            "Pass the counts of the detector.",
        )
    require_angles(intensity, caller=caller)
    require_even(intensity, VOLUME[:1], caller=caller, tolerance=MOTOR)
    require_even(intensity, VOLUME[1:], caller=caller)
    return intensity.transpose(..., *VOLUME)


def _first(
    start: xr.DataArray | xr.Dataset | None, settings: RetrievalSettings
) -> dict[str, xr.DataArray]:
    """Return the initial object and support, as far as they are given."""
    if start is None:
        return {}
    if isinstance(start, xr.DataArray):
        start = start.to_dataset(name="object", promote_attrs=False)
    require_sign(start, -1, what="start")
    first = {n: start[n] for n in ("object", "support") if n in start}
    if "object" in first:
        require_scale(first["object"])
    if not first:
        raise DataError(
            "start",
            f"holds {list(start)}, but neither `object` nor `support`",
            "Pass a result of `retrieve`.",
        )
    n = settings.n_starts
    if "object" in first and n != 1:
        raise ArgumentError(
            "n_starts", n, "1 with an initial object", "All would be the same."
        )
    return first


def _arrays(
    intensity: xr.DataArray, first: dict[str, xr.DataArray]
) -> Iterator[dict[str, Any]]:
    """Yield the arrays of the pattern at each index of the leading dimensions."""
    lead = [str(d) for d in intensity.dims[:-3]]
    for index in np.ndindex(*(intensity.sizes[d] for d in lead)):
        where = dict(zip(lead, index, strict=True))
        arrays: dict[str, Any] = {"intensity": intensity.isel(where).data}
        for name, given in first.items():
            own = {d: i for d, i in where.items() if d in given.dims}
            shape = arrays["intensity"].shape
            arrays[name] = _fitting(name, given.isel(own), shape)
        yield arrays


def _fitting(name: str, given: xr.DataArray, shape: tuple[int, ...]) -> Any:
    for axes in (OBJECT, VOLUME):
        if set(axes) == set(given.dims) and given.transpose(*axes).shape == shape:
            return given.transpose(*axes).data
    wanted = dict(zip(OBJECT, shape, strict=True))
    raise DataError(f"start {name}", f"lies on {dict(given.sizes)}, not on {wanted}")


def _tasks(
    patterns: Iterator[dict[str, Any]],
    settings: RetrievalSettings,
    token: str,
    lazy: bool,
) -> tuple[list[Any], list[Any]]:
    """Return a delayed answer for each pattern, and the starts it combines."""
    from batteryxr.cdi.bragg.kernels.answer import combine

    answers, starts = [], []
    for number, arrays in enumerate(patterns):
        looked = number if lazy else None
        pattern = delayed(_pattern)(arrays, settings, looked)
        runs = [
            delayed(_start)(pattern, settings, (number, k), token)
            for k in range(settings.n_starts)
        ]
        starts += runs
        chosen = settings.n_best, settings.select.by
        best = delayed(combine)(pattern, runs, *chosen, _probe(settings))
        answers.append(best)
    return answers, starts


def _pattern(
    arrays: dict[str, np.ndarray], settings: RetrievalSettings, looked: int | None
) -> Pattern:
    """Prepare a pattern; look at one that was lazy before, by its number."""
    from batteryxr.cdi.bragg.kernels.pattern import prepare

    counts = np.asarray(arrays["intensity"])
    require_counts(counts)
    # One without counts loses its starts, which is told, and leaves the others be.
    if looked is not None and np.nansum(counts) > 0:
        check_patterns(counts, settings.caller, looked)
    photons = photons_of(counts)
    if (gaps := zero_gaps(counts)).any():
        counts = np.where(gaps, np.float32(np.nan), counts.astype(np.float32))
    support, initial = arrays.get("support"), arrays.get("object")
    if support is not None and not np.asarray(support).any():
        raise DataError("start support", "holds no voxel", "Leave it out.")
    if initial is not None:
        require_start(np.asarray(initial), support)
    pattern = prepare(
        counts,
        generators(settings.seed, 1)[0],
        free=settings.select.free,
        support=support,
        initial=initial,
    )
    return replace(pattern, left_out=int(gaps.sum()), photons=photons)


def _start(
    pattern: Pattern, settings: RetrievalSettings, place: tuple[int, int], token: str
) -> Start:
    """Run a start or read it from the store; `place` is pattern and start number."""
    if settings.store is None:
        return _run(pattern, settings, place[1], token)
    ledger = Ledger(settings.store, f"{settings.group}/{place[0]}/{place[1]}")
    mark = _mark(pattern, settings, place[1])
    if (known := ledger.get("start")) is not None:
        ledger.claim(mark)
        return _from_piece(known)
    start = _run(pattern, settings, place[1], token)
    arrays, attrs = _as_piece(start)
    # The tasks of lazy calls run at any time: two may run the same start.
    with ledger.held():
        require_store(ledger.location)
        ledger.claim(mark)
        ledger.put("start", arrays, **attrs)
    return start


def _run(pattern: Pattern, settings: RetrievalSettings, k: int, token: str) -> Start:
    from batteryxr.cdi.bragg.kernels.answer import run

    def watch(iteration: int, residual: float) -> None:
        if is_stopped(token):
            raise InterruptedError(f"stopped at iteration {iteration}")

    rng = generators(settings.seed, k + 2)[k + 1]
    if settings.guess is not None:
        pattern = settings.guess(pattern, k, watch)
    return run(pattern, settings, rng, watch=watch)


def _mark(pattern: Pattern, settings: RetrievalSettings, k: int) -> dict[str, Any]:
    """Return what identifies this start: its data and settings."""
    arrays = (pattern.intensity, pattern.used, pattern.support, pattern.initial)
    guess = None if settings.guess is None else asdict(settings.guess)
    if guess is not None:  # weights may move: their checksum tells them
        del guess["network"]["weights"]
    return {
        "schedule": [asdict(stage) for stage in settings.schedule],
        "support": asdict(settings.support),
        "coherence_every": settings.coherence_every,
        "device": settings.device,
        "seed": int(settings.seed),
        "start": k,
        "guess": guess,
        "data": digest(*arrays),
        "version": __version__,
    }


def _as_piece(start: Start) -> Piece:
    """Return a start as arrays and attributes for the store."""
    arrays = {"object": start.box, "support": start.support, "residual": start.residual}
    if start.blur is not None:
        arrays["blur"] = start.blur
    attrs = {
        "merits": json.dumps(start.merits),
        "corner": list(start.corner),
        "shape": list(start.shape),
        "failed": start.failed,
    }
    return Piece(arrays, attrs)


def _from_piece(piece: Piece) -> Start:
    """Return a start from its stored piece."""
    from batteryxr.cdi.bragg.kernels.answer import Start

    arrays, attrs = piece
    return Start(
        arrays["object"],
        arrays["support"],
        tuple(int(c) for c in attrs["corner"]),
        tuple(int(n) for n in attrs["shape"]),
        arrays["residual"],
        json.loads(attrs["merits"]),
        arrays.get("blur"),
        str(attrs["failed"]),
    )


def _probe(settings: RetrievalSettings) -> RetrievalSettings | None:
    """Return settings of a start that looks for a blur, where none was fitted."""
    if settings.coherence_every or settings.n_starts == 1:
        return None
    every = max(1, settings.iterations // 25)
    return replace(settings, coherence_every=every, guess=None, store=None)
