"""The ``.nmf`` accessor, on data and on results."""

from __future__ import annotations

import xarray as xr

from batteryxr.accessors.base import Accessor, method, opens
from batteryxr.nmf import (
    ambiguity,
    factorisation,
    identification,
    montecarlo,
    order,
    plots,
    principal,
    shifts,
    steps,
    stretching,
)


@xr.register_dataarray_accessor("nmf")
class Nmf(Accessor):
    """Unmixing of a series of patterns, or of a stack of images.

    1. ``lower_envelope`` makes signed patterns fit for it, ``model_order`` shows how
       many components the data support, ``pca`` what singular vectors would say.
    2. ``fit`` finds components and ratios; ``raise_n`` holds what is known fixed and
       looks for more; ``metropolis`` tells the spread; ``fit_stretched`` follows peaks
       that drift.
    3. The result has an ``.nmf`` of its own.
    """

    _understands = (
        *("scan", "state", "particle", "y", "x"),
        *("r", "q", "energy", "two_theta", "shift"),
    )

    # how many components
    panel = opens("ComponentPanel")
    lower_envelope = method(shifts.lower_envelope)
    model_order = method(order.model_order)
    pca = method(principal.pca)

    # components and ratios
    fit = method(factorisation.fit)
    metropolis = method(montecarlo.metropolis)
    fit_stretched = method(stretching.fit_stretched)
    raise_n = method(steps.raise_n)

    # naming phases
    identify = method(identification.identify)
    refine_along = method(identification.refine_along)


@xr.register_dataset_accessor("nmf")
class NmfResult(Accessor):
    """Reading a factorisation.

    1. ``compare_steps`` tells which ratios of a finer step add up to which of these.
    2. ``bands`` gives the range of every ratio that fits as well; ``reconstruct``
       rebuilds the series from chosen components; ``identify`` names them by crystal
       structures (``refine_along`` follows one through a rebuilt series).
    3. ``purify`` turns principal components into phases, for contrast.
    4. ``plot_components``, ``plot_weights``, ``plot_maps``, ``plot_residual`` and
       ``plot_order`` show them.
    """

    _understands = ("component", "scan", "y", "x")
    _called = "nmf"

    # reading a result
    compare_steps = method(steps.compare_steps)
    reconstruct = method(steps.reconstruct)
    purify = method(principal.purify)
    bands = method(ambiguity.bands)
    identify = method(identification.identify)

    # looking at it
    plot_components = method(plots.plot_components)
    plot_weights = method(plots.plot_weights)
    plot_maps = method(plots.plot_maps)
    plot_residual = method(plots.plot_residual)
    plot_order = method(plots.plot_order)
