"""Phase retrieval: from the intensity around a Bragg peak to the complex object."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.cdi._kept_starts import as_dataset, as_start, fingerprint
from batteryxr.cdi._objects import OBJECT, VOLUME
from batteryxr.cdi._retrieval_checks import (
    as_range,
    check_choices,
    check_counts,
    check_device,
)
from batteryxr.cdi._retrieval_result import Layout
from batteryxr.core.blocks import is_lazy
from batteryxr.core.errors import ArgumentError, ConvergenceError, warn_quality
from batteryxr.core.model import require_dims, require_variables
from batteryxr.core.pieces import keep, kept
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators
from batteryxr.core.tasks import gather, is_stopped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batteryxr.cdi.kernels.starts import Finished, Options, Problem


@recorded
def retrieve(
    volume: xr.DataArray | xr.Dataset,
    *,
    schedule: str = "200 HIO + 200 RAAR + 100 ER",
    n_starts: int = 6,
    n_best: int = 3,
    select: str = "llk_free",
    free: float = 0.05,
    seed: int = 0,
    beta: float = 0.9,
    shrink_every: int = 20,
    sigma: tuple[float, float] = (2.0, 0.5),
    threshold: float | tuple[float, float] = 0.25,
    twin_break: int = 0,
    coherence_every: int = 0,
    support: xr.DataArray | None = None,
    initial: xr.DataArray | None = None,
    device: str = "cpu",
    store: str | Path | None = None,
    group: str = "starts",
    progress: bool | None = None,
) -> xr.Dataset:
    """Retrieve the phase of Bragg peaks from many random starts.

    Lazy for dask data: one task for each state and start, and one answer for each
    state. Data in memory are computed at once, side by side in threads, or on a
    ``distributed.Client`` if one is open.

    Parameters
    ----------
    volume
        Counts on ``(..., rocking, detector_y, detector_x)``, NaN where nothing was
        measured, the Bragg peak at index ``n // 2`` of each axis (see `crop`). Of a
        Dataset its ``intensity`` is taken, unmeasured where ``mask`` is not 0. Other
        dimensions, such as ``state``, are phased one by one.
    schedule
        Iterations and algorithms, such as ``"3*(20 ER + 180 HIO) + 20 ER"`` or
        ``"300 DM(0.8) + 100 ER"``: ER, HIO, RAAR (Luke's operator form), SF, DM.
    n_starts
        Random starts. The k-th depends on `seed` and k alone: more starts add to
        those that were there.
    n_best
        How many are averaged and decomposed into modes.
    select
        What ranks them: ``"llk_free"``, ``"llk"``, ``"amp_residual"`` or ``"chi2"``.
        The last three fall with every voxel that the support gains; the first does
        not.
    free
        Share of the voxels that the retrieval never sees, in islands, for
        ``llk_free``.
    seed
        Of starts and free voxels.
    beta
        Feedback where the schedule names none.
    shrink_every
        Iterations between updates of the support; 0 keeps the first one.
    sigma
        Width of the smoothing that shrinks the support, at the first and last update,
        in voxels.
    threshold
        Share of the object's rms below which a voxel leaves the support; of two
        numbers, each start draws one between them.
    twin_break
        Iterations at the start in a part of the support, which favours one of the
        conjugate twins. Try 10 where objects come out laid over their own twin.
    coherence_every
        Iterations between estimates of the blur by partial coherence, from a third of
        the schedule on; 0 takes the beam as coherent.
    support
        First support on the object's three axes, or those of the volume, centred at
        ``n // 2``; None takes the autocorrelation's.
    initial
        Object to start from instead of random ones, on the same axes; needs
        ``n_starts=1``.
    device
        ``"cpu"``; or a device of PyTorch (``"cuda"``, ``"cuda:1"``, ``"mps"``), or
        ``"cupy"``, to run the iterations there.
    store, group
        Zarr store that keeps each start as soon as it is finished: called again with
        the same data and arguments, also after an interruption or with more starts,
        only the missing ones are run.
    progress
        Show a bar: True, False, or None for only where somebody watches.

    Returns
    -------
    xarray.Dataset
        On ``along_rocking``, ``along_y``, ``along_x``, the axes in real space that
        belong to the three of the measurement, in voxels from the centre:

        - ``object``, complex64: mean of the `n_best` starts, laid over the best one;
          its transform with ``exp(-2 pi i q r)`` has the measured intensity.
        - ``object_error``: standard deviation between those starts; NaN for one.
        - ``support``: of the best start.
        - ``modes`` and ``mode_weight`` on ``mode``: what the starts share.
        - ``prtf`` on ``frequency`` (cycles per voxel): phase-retrieval transfer
          function, which means little for one start.
        - ``residual`` on ``start`` and ``iteration``: amplitude residual as it fell.
        - ``blur`` with `coherence_every`: the estimate of the best start.

        Coordinates on ``start``: ``amp_residual``, ``chi2``, ``llk``, ``llk_free``,
        ``overlap`` with the best, ``rank`` by `select` (1 is the best, 0 a start that
        lost its support), ``support_voxels``.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or the schedule cannot be read.
    ConvergenceError
        If all starts of all states lost their support.
    DimensionError
        If the three axes of a rocking curve are missing.
    StoreError
        If the store keeps starts of other data or arguments.

    Notes
    -----
    Projections: Marchesini, Rev. Sci. Instrum. 78, 011301 (2007). Free likelihood:
    Favre-Nicolin, Leake & Chushkin, Sci. Rep. 10, 2664 (2020). With FFTW or on a GPU
    results repeat to rounding; with SciPy's transform, bit by bit.
    """
    from batteryxr.cdi.kernels.schedule import parse
    from batteryxr.cdi.kernels.starts import MERITS, Options

    blocks = tuple(parse(schedule, beta))
    low, high = as_range(threshold)
    check_choices(n_starts, n_best, select, free, low, high, sigma, MERITS)
    check_counts(
        shrink_every=shrink_every,
        twin_break=twin_break,
        coherence_every=coherence_every,
    )
    check_device(device)
    if initial is not None and n_starts != 1:
        raise ArgumentError(
            "n_starts", n_starts, "1 with an initial object", "All would be the same."
        )
    options = Options(
        blocks,
        shrink_every,
        (sigma[0], sigma[1]),
        (low, high),
        twin_break,
        coherence_every,
        device,
    )
    intensity = _intensity(volume)
    n_best = min(n_best, n_starts)
    job = _Job(options, n_starts, n_best, select, free, seed, store, group)
    layout = Layout(
        intensity, n_starts, n_best, sum(b.iterations for b in blocks), options
    )
    pieces = list(_pieces(intensity, support, initial))
    answers, starts = job.graph(pieces)
    if is_lazy(intensity):
        return layout.lazy(answers)
    _check_patterns(intensity)
    flat = [s for of_piece in starts for s in of_piece]
    done = gather(
        answers, "Retrieving phases", watched=flat, token=job.token, progress=progress
    )
    _report([answer["rank"] for answer in done], n_starts)
    return layout.eager(done)


class _Job:
    """The tasks of one call."""

    def __init__(
        self,
        options: Options,
        n_starts: int,
        n_best: int,
        select: str,
        free: float,
        seed: int,
        store: str | Path | None,
        group: str,
    ) -> None:
        self._options, self._select, self._free = options, select, free
        self._n_starts, self._n_best = n_starts, n_best
        self._seed, self._store, self._group = seed, store, group
        generators(seed, 0)  # says at once what is wrong with the seed
        #: By which running starts learn that the call was interrupted.
        self.token = uuid.uuid4().hex

    def graph(self, pieces: list[Any]) -> tuple[list[Any], list[list[Any]]]:
        """Return one delayed answer per piece, and the starts each is made of."""
        import dask

        from batteryxr.cdi.kernels.starts import combine

        answers, starts = [], []
        for number, piece in enumerate(pieces):
            problem = dask.delayed(_prepare)(piece, self._seed, self._free)
            runs = [
                dask.delayed(_start)(
                    problem,
                    self._options,
                    self._seed,
                    k,
                    self._store,
                    f"{self._group}/{number}/{k}",
                    self.token,
                )
                for k in range(self._n_starts)
            ]
            starts.append(runs)
            answers.append(
                dask.delayed(combine)(problem, runs, self._n_best, self._select)
            )
        return answers, starts


def _prepare(piece: dict[str, np.ndarray | None], seed: int, free: float) -> Problem:
    from batteryxr.cdi.kernels.starts import prepare

    intensity = piece["intensity"]
    assert intensity is not None
    return prepare(
        intensity,
        generators(seed, 1)[0],
        free=free,
        support=piece["support"],
        initial=piece["initial"],
    )


def _start(
    problem: Problem,
    options: Options,
    seed: int,
    number: int,
    store: str | Path | None,
    group: str,
    token: str,
) -> Finished:
    """Run one start, or take it from the store."""
    from batteryxr.cdi.kernels.starts import run

    def watch(iteration: int, residual: float) -> None:
        if is_stopped(token):
            raise InterruptedError(f"stopped at iteration {iteration}")

    rng = generators(seed, number + 2)[number + 1]
    if store is None:
        return run(problem, options, rng, watch=watch)
    mark = fingerprint(problem, options, seed, number)
    known = kept(store, group=group, fingerprint=mark)
    if known is not None:
        return as_start(known)
    finished = run(problem, options, rng, watch=watch)
    keep(as_dataset(finished), store, group=group, fingerprint=mark)
    return finished


def _intensity(volume: xr.DataArray | xr.Dataset) -> xr.DataArray:
    if isinstance(volume, xr.Dataset):
        require_variables(volume, ["intensity"], caller="retrieve")
        intensity = volume["intensity"]
        if "mask" in volume:
            intensity = intensity.where(volume["mask"] == 0)
    else:
        intensity = volume
    require_dims(intensity, VOLUME, caller="retrieve")
    sizes = {dim: intensity.sizes[dim] for dim in VOLUME}
    if min(sizes.values()) < 8:
        raise ArgumentError("volume", sizes, "at least 8 voxels along each axis")
    if intensity.dtype.kind not in "iuf":
        raise ArgumentError("volume", str(intensity.dtype), "real counts")
    return intensity.transpose(..., *VOLUME)


def _pieces(
    intensity: xr.DataArray, support: xr.DataArray | None, initial: xr.DataArray | None
) -> Iterator[dict[str, Any]]:
    """Yield the arrays of each problem, one for each index of the leading dims."""
    lead = [str(d) for d in intensity.dims[:-3]]
    for index in np.ndindex(*(intensity.sizes[d] for d in lead)):
        where = dict(zip(lead, index, strict=True))
        piece: dict[str, Any] = {"intensity": intensity.isel(where).data}
        for name, given in (("support", support), ("initial", initial)):
            piece[name] = None
            if given is not None:
                own = {d: i for d, i in where.items() if d in given.dims}
                piece[name] = _fitting(name, given.isel(own), piece["intensity"].shape)
        yield piece


def _fitting(name: str, given: xr.DataArray, shape: tuple[int, ...]) -> Any:
    for axes in (OBJECT, VOLUME):
        if set(axes) == set(given.dims) and given.transpose(*axes).shape == shape:
            return given.transpose(*axes).data
    raise ArgumentError(
        name, dict(given.sizes), f"{dict(zip(OBJECT, shape, strict=True))}"
    )


def _check_patterns(intensity: xr.DataArray) -> None:
    """Raise where there are no counts; warn where the peak is off the centre."""
    shape = intensity.shape[-3:]
    farthest: list[int] = []
    for number, pattern in enumerate(intensity.values.reshape(-1, *shape)):
        if not np.nansum(pattern) > 0:
            raise ArgumentError(
                "volume", f"pattern {number}", "counts", "It holds none; leave it out."
            )
        peak = np.unravel_index(np.nanargmax(pattern), shape)
        away = [abs(int(p) - n // 2) for p, n in zip(peak, shape, strict=True)]
        if any(8 * a > n for a, n in zip(away, shape, strict=True)):
            farthest = max(farthest, away)
    if farthest:
        warn_quality(
            f"retrieve: the brightest voxel lies {farthest} voxels from the centre; "
            "the object will carry a steep phase ramp. Crop round the peak first."
        )


def _report(ranks: list[np.ndarray], n_starts: int) -> None:
    failed = [int((rank == 0).sum()) for rank in ranks]
    if all(count == n_starts for count in failed):
        raise ConvergenceError(
            "retrieve: every start lost its support, which vanished or filled the "
            "volume. Change `threshold` or `sigma`, give a `support`, or look whether "
            "the volume holds a Bragg peak at its centre."
        )
    if any(failed):
        warn_quality(
            f"retrieve: {sum(failed)} of {n_starts * len(ranks)} starts lost their "
            "support (rank 0). Another `threshold` may suit the data better."
        )
