"""Phase retrieval that starts from the guess of a trained network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

from batteryxr.cdi.bragg.job import retrieve_phases
from batteryxr.cdi.bragg.learned.network import Guess, Network
from batteryxr.cdi.bragg.learned.network_weights import read_weights
from batteryxr.cdi.bragg.settings import RetrievalSettings, Selection, ShrinkWrap
from batteryxr.core.checks import Bounds
from batteryxr.core.device import to_device
from batteryxr.core.errors import ArgumentError
from batteryxr.core.optional import require
from batteryxr.core.provenance import recorded

if TYPE_CHECKING:
    import xarray as xr

    from batteryxr.core.checks import Seed, Whole
    from batteryxr.core.store import StoreLike


@recorded
def retrieve_learned(
    volume: xr.DataArray | xr.Dataset,
    *,
    schedule: str | None = "60 HIO + 40 ER",
    n_starts: Annotated[int, Bounds(low=1, high=48)] = 4,
    select: Selection = Selection(n_best=2),  # noqa: B008
    seed: Seed = 0,
    network: Network = Network(),  # noqa: B008
    support: ShrinkWrap = ShrinkWrap(every=10),  # noqa: B008
    coherence_every: Whole = 0,
    device: str = "cpu",
    store: StoreLike | None = None,
    group: str = "starts",
    progress: bool | None = None,
) -> xr.Dataset:
    """Retrieve the phase of Bragg peaks, starting from a trained network's guess.

    Lazy for dask data, like `retrieve`. Needs PyTorch: ``batteryxr[ml]``.

    The network was trained on simulated crystals. It returns the object at low
    resolution. On request it is then trained on the measured pattern alone, by the
    misfit of moduli. Iterations as in `retrieve` then polish the object at full
    resolution.

    Parameters
    ----------
    volume
        See `retrieve`; any shape. The pattern is resampled to the network's 32^3 points
        so that the object, whose extent follows from its autocorrelation, fills about a
        third of them along each axis. For the network, unmeasured voxels are filled
        from their neighbours; they do not count in its misfit.
    schedule
        Iterations after the network's object; None returns the network's object.
    n_starts
        Number of orientations, of 48, in which the pattern is shown to the network.
        Each gives its own guess, and one start.
    select
        See `retrieve`. Free voxels are hidden from the network as well.
    seed
        Seed of the free voxels.
    network
        Weights of the network, and its refinement.
    support, coherence_every
        See `retrieve`. The first support is that of the guess, which is already one of
        the twins: `twin_break` must be 0.
    device
        ``"cpu"``, or a device of PyTorch, such as ``"cuda"``.
    store, group, progress
        See `retrieve`.

    Returns
    -------
    xarray.Dataset
        See `retrieve`. ``residual`` at iteration 0 belongs to the network's object
        within its support. ``attrs["network"]`` identifies the weights.

    Raises
    ------
    ArgumentError
        If an argument is out of range, the schedule cannot be read, or there is no
        file of weights.
    ConvergenceError
        If all starts of all states lost their support.
    DimensionError
        If the three axes of a rocking curve are missing.
    FileFormatError
        If the file holds no weights, or is damaged.
    MissingDependencyError
        If PyTorch is not installed.
    StoreError
        If the store keeps starts of other data or arguments.

    Notes
    -----
    The weights were trained on a CPU, in 15 minutes, on 24,800 crystals: a small
    network. The table shows its use on ten simulated crystals of 64^3 voxels outside
    the training set (``benchmarks/truth/learned.py``; overlap with the truth, median
    and worst of five; CPU seconds on one thread):

    ======================================== ============= ============= =====
    way                                      weak phase    strong phase  CPU s
    ======================================== ============= ============= =====
    network                                  0.929 (0.821) 0.746 (0.591)   0.1
    network, ``refine=50``                   0.979 (0.846) 0.942 (0.547)   9.3
    network, 20 HIO + 10 ER, 4 starts        0.992 (0.955) 0.988 (0.622)   1.4
    random, 20 HIO + 10 ER, 4 starts         0.879 (0.846) 0.642 (0.391)   0.5
    network, 60 HIO + 40 ER, 1 start         0.997 (0.992) 0.991 (0.975)   0.4
    random, 60 HIO + 40 ER, 1 start          0.947 (0.916) 0.665 (0.517)   0.2
    network, 60 HIO + 40 ER, 4 starts        0.997 (0.992) 0.994 (0.975)   1.6
    random, 60 HIO + 40 ER, 4 starts         0.993 (0.983) 0.808 (0.517)   1.1
    network, ``refine=50``, 60 HIO + 40 ER   0.997 (0.994) 0.992 (0.982)   8.3
    random, 200 HIO + 200 RAAR + 100 ER, 1   0.997 (0.919) 0.995 (0.563)   1.0
    random, 200 HIO + 200 RAAR + 100 ER, 4   0.998 (0.996) 0.997 (0.996)   4.2
    ======================================== ============= ============= =====

    The phase reaches 1 to 1.5 rad (weak) or 3 to 3.5 rad (strong). The network helps
    where many patterns are phased in few iterations, above all for strongly strained
    crystals, which random starts then miss. Alone it is not enough. Refinement improves
    the network's own object but not the result of the iterations. `retrieve` with four
    starts of 500 iterations remains the most reliable. On a measured gold crystal 100
    iterations reached an amplitude residual of 0.0147 from the network and 0.0131 from
    a random start.

    Two decoders: Chan et al., Appl. Phys. Rev. 8, 021407 (2021). Misfit in place of
    labels: Yao et al., npj Comput. Mater. 8, 124 (2022). Refinement on one pattern,
    then iterations: Serban et al., Commun. Chem. 7, 243 (2024). Labels keep one of
    the conjugate twins: Tayal et al., arXiv:2003.09077 (2020). Results repeat to
    rounding.

    Examples
    --------
    >>> cell = batteryxr.simulate.bragg_states(shape=(32, 32, 32), size=700.0)
    >>> volume = cell["states"].to_dataset()["intensity"][0].compute()
    >>> learned = volume.cdi.retrieve_learned(schedule="20 HIO + 10 ER", n_starts=2)
    >>> learned["object"].dims
    ('along_rocking', 'along_y', 'along_x')
    """
    from batteryxr.cdi.bragg.kernels.schedule import parse
    from batteryxr.cdi.bragg.learned.kernels.network_input import SIZE

    if support.twin_break:
        raise ArgumentError("support", support, "twin_break=0")
    stages = parse(schedule) if schedule is not None else ()
    if device == "cupy":
        raise ArgumentError("device", device, "'cpu' or a device of PyTorch")
    to_device(device, purpose="learned phase retrieval")
    require("torch", extra="ml", purpose="learned phase retrieval")
    known = read_weights(network.weights)
    settings = RetrievalSettings(
        schedule=stages,
        n_starts=n_starts,
        select=select,
        seed=seed,
        support=support,
        coherence_every=coherence_every,
        device=device,
        guess=Guess(network, known.checksum, "cpu" if device == "torch" else device),
        store=store,
        group=group,
    )
    result = retrieve_phases(volume, settings, progress=progress)
    noted = {"size": SIZE, "checksum": known.checksum} | known.about
    return result.assign_attrs(network=json.dumps(noted))
