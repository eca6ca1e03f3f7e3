"""Phase retrieval: from the intensity around a Bragg peak to the complex object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batteryxr.cdi.bragg.job import retrieve_phases
from batteryxr.cdi.bragg.settings import RetrievalSettings, Selection, ShrinkWrap
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.core.checks import Count, Seed, Whole
    from batteryxr.core.store import StoreLike


@recorded
def retrieve(
    volume: xr.DataArray | xr.Dataset,
    *,
    schedule: str = "200 HIO + 200 RAAR + 100 ER",
    n_starts: Count = 6,
    select: Selection = Selection(),  # noqa: B008 (frozen)
    seed: Seed = 0,
    support: ShrinkWrap = ShrinkWrap(),  # noqa: B008
    coherence_every: Whole | None = None,
    start: xr.DataArray | xr.Dataset | None = None,
    device: str = "cpu",
    store: StoreLike | None = None,
    group: str = "starts",
    progress: bool | None = None,
) -> xr.Dataset:
    """Retrieve the phase of Bragg peaks from many random starts.

    Lazy for dask data: one task for each state and start, and one answer for each
    state. Data in memory are computed at once in parallel threads, as many as fit into
    memory (90 bytes per voxel and start), or on a ``distributed.Client`` if one is
    open.

    Parameters
    ----------
    volume
        Counts on ``(..., rocking, detector_y, detector_x)``, NaN where nothing was
        measured, with the Bragg peak at index ``n // 2`` of each axis (see `crop`). A
        Dataset gives its ``intensity``, unmeasured where ``mask`` is not 0. Each index
        of other dimensions, such as ``state``, is phased separately.
    schedule
        Iterations and algorithms, such as ``"3*(20 ER + 180 HIO) + 20 ER"`` or
        ``"300 DM(0.8) + 100 ER"``: ER, HIO, RAAR (Luke's operator form), SF, DM, and
        ML. ML takes the likeliest modulus under Poisson's law instead of the measured
        one. The number in brackets is the feedback, for ML the weight of the present
        modulus; it is 0.9 by default.
    n_starts
        Number of random starts. The k-th depends on `seed` and k alone, so that more
        starts add to earlier ones.
    select
        Number of starts that make the answer, and the figure of merit that ranks them.
    seed
        Seed of starts and free voxels.
    support
        Settings of the support, which follows the object.
    coherence_every
        Iterations between estimates of the blur by partial coherence, from a third of
        the schedule on. None runs the starts without a blur, and again with one where
        that lowers the free likelihood to 85 %; it needs several starts. 0 assumes a
        coherent beam, and tells where it is not.
    start
        Initial object instead of random ones; needs ``n_starts=1``. A Dataset, such as
        an earlier result, gives its ``object`` and its ``support``, the initial
        support, where present. They lie on the object's three axes or on those of the
        volume, centred at ``n // 2``. Without an initial support, it is taken from the
        object or from the autocorrelation.
    device
        ``"cpu"``; or a device of PyTorch (``"cuda"``, ``"cuda:1"``, ``"mps"``), or
        ``"cupy"``, to run the iterations there.
    store, group
        Zarr store that keeps each start as soon as it is finished. A second call with
        the same data and arguments, also after an interruption or with more starts,
        runs only the missing ones. No one else may write to the store meanwhile; starts
        of lazy data wait for one another while they are written.
    progress
        Show a progress bar; None shows it in terminals and notebooks only.

    Returns
    -------
    xarray.Dataset
        On ``along_rocking``, ``along_y``, ``along_x``: the axes in real space that
        match the three measured axes, in voxels from the centre:

        - ``object``, complex64: mean of the best starts, aligned to the best one,
          without those whose overlap with it is below 0.9: they are of another minimum;
          its transform with ``exp(-2 pi i q r)`` has the measured intensity.
        - ``object_error``: standard deviation between these starts; NaN for one.
        - ``support``: support of the best start.
        - ``modes`` and ``mode_weight`` on ``mode``: orthogonal modes of these starts.
        - ``prtf`` on ``frequency`` (cycles per voxel): phase-retrieval transfer
          function, which means little for one start.
        - ``oversampling`` on ``axis``: points of each axis over the extent of the
          support. Below 2 the pattern does not determine the object.
        - ``expected_overlap`` with the crystal, 0 to 1, by the photons for each voxel
          of the support, by the overlap of starts that fit alike, by what bright pixels
          miss beyond photon noise, and by what a blur would change where there is one.
        - ``blur_gain``: free likelihood of one more start, with a blur, over that of
          the best; NaN where photons explain the bright pixels, or of a single start.
          Below 0.85 the beam is not coherent: see `coherence_every`.
        - ``left_out``: pixels in two or more rows or columns of zeros between bright
          ones, which were taken as gaps of the detector: not measured.
        - ``residual`` on ``start`` and ``iteration``: amplitude residual.
        - ``blur``, unless `coherence_every` is 0: the estimate of the best start, 1 in
          the middle where the beam is coherent.

        Coordinates on ``start``: ``amp_residual``, ``chi2``, ``llk``, ``llk_free``,
        ``overlap`` with the best, ``rank`` (1 is the best, 0 a start that
        lost its support), ``support_voxels``. The coordinate ``photons``, the sum of
        the counts, stays with the object: methods that take both compare it. So do
        ``slope_rocking``, ``slope_y``, ``slope_x``, the mean phase (rad) per voxel of
        the object, by which `displacement` and `to_laboratory` tell a conjugate.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or the schedule cannot be read.
    ConvergenceError
        If all starts of all states lost their support.
    DataError
        If the volume holds no counts, or values that are no counts (logarithms,
        negative or infinite values, marks of pixels that were not read); if it does not
        fit into memory; if rocking angles are missing, repeat or are out of order; or
        if the initial object does not fit, or has the other ``fourier_sign``.
    DimensionError
        If the three axes of a rocking curve are missing.
    StoreError
        If the store keeps starts of other data or arguments.

    Warns
    -----
    DataQualityWarning
        If the peak is off the centre, rows or columns of zeros look like gaps of the
        detector, starts lost their support, oversampling is below 2, the expected
        overlap with the crystal is below 0.95, a blur would explain the pattern better,
        counts are saturated, or multiples of another number than 1, or memory lets
        fewer starts run side by side than there are processors.

    Notes
    -----
    Projections: Marchesini, Rev. Sci. Instrum. 78, 011301 (2007). Free likelihood:
    Favre-Nicolin, Leake & Chushkin, Sci. Rep. 10, 2664 (2020). On one machine a seed
    repeats bit by bit, also after an interruption. On a GPU, and between FFTW, SciPy's
    transform and machines, rounding differs, and iterations amplify the difference.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> result = volume.cdi.retrieve(schedule="60 HIO + 20 ER", n_starts=2)
    >>> result["object"].dims
    ('along_rocking', 'along_y', 'along_x')
    """
    from batteryxr.cdi.bragg.kernels.schedule import parse

    settings = RetrievalSettings(
        schedule=parse(schedule),
        n_starts=n_starts,
        select=select,
        seed=seed,
        support=support,
        coherence_every=coherence_every,
        device=device,
        store=store,
        group=group,
    )
    return retrieve_phases(volume, settings, start=start, progress=progress)
