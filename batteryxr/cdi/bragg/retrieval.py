"""Phase retrieval: from the intensity around a Bragg peak to the complex object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batteryxr.cdi.bragg.checks import (
    as_range,
    check_choices,
    check_counts,
)
from batteryxr.cdi.bragg.job import Plan, phased
from batteryxr.core.device import to_device
from batteryxr.core.errors import ArgumentError
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr


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
        ``llk_free``. A few islands on bright fringes make up much of that figure, and
        which those are depends on `seed`: compare starts of one seed only.
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
    from batteryxr.cdi.bragg.kernels.schedule import parse
    from batteryxr.cdi.bragg.kernels.starts import MERITS, Options

    blocks = tuple(parse(schedule, beta))
    low, high = as_range(threshold)
    check_choices(n_starts, n_best, select, free, low, high, sigma, MERITS)
    check_counts(
        shrink_every=shrink_every,
        twin_break=twin_break,
        coherence_every=coherence_every,
    )
    to_device(device, purpose="phase retrieval")
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
    plan = Plan(
        options,
        n_starts=n_starts,
        n_best=min(n_best, n_starts),
        select=select,
        free=free,
        seed=seed,
        store=store,
        group=group,
        caller="retrieve",
    )
    return phased(volume, plan, support=support, initial=initial, progress=progress)
