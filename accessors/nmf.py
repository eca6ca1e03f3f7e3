"""The ``.nmf`` accessor, on data and on results."""

from __future__ import annotations

from typing import ClassVar

import xarray as xr

from batteryxr.accessors.base import Accessor, group, method, opens
from batteryxr.nmf import (
    ambiguity,
    factorisation,
    montecarlo,
    order,
    plot,
    principal,
    shifts,
    steps,
    stretching,
)
from batteryxr.nmf.joining import SIGNALS
from batteryxr.nmf.phases import exchange, fractions, identification, structures


@xr.register_dataarray_accessor("nmf")
class Nmf(Accessor):
    """Unmix a series of patterns, or a stack of images.

    1. ``lower_envelope`` helps to make signed patterns non-negative; ``model_order``
       shows how many components the data support; ``pca`` gives the singular vectors.
    2. ``fit`` finds components and ratios; ``raise_n`` keeps known components fixed
       and adds more; ``metropolis`` gives errors; ``fit_stretched`` follows peaks
       that drift; ``fit_structures`` fits crystals in place of free components.
    3. The result has an ``.nmf`` of its own, with its plots under ``.nmf.plot``.
    """

    _understands: ClassVar[tuple[str, ...]] = (
        *("scan", "state", "particle", "y", "x"),
        *SIGNALS,
    )

    # how many components
    panel = opens("ComponentPanel", SIGNALS)
    lower_envelope = method(shifts.lower_envelope, SIGNALS)
    model_order = method(order.model_order, SIGNALS)
    pca = method(principal.pca, SIGNALS)

    # components and ratios
    fit = method(factorisation.fit, SIGNALS)
    metropolis = method(montecarlo.metropolis, SIGNALS)
    fit_stretched = method(stretching.fit_stretched, SIGNALS)
    raise_n = method(steps.raise_n, SIGNALS)

    # naming phases
    identify = method(identification.identify, "r")
    refine_along = method(identification.refine_along, "r")
    fit_structures = method(structures.fit_structures, "r")

    # beside other patterns and programs
    compare_patterns = method(exchange.compare_patterns, "r")
    write_gr = method(exchange.write_gr, "r")


class NmfPlot(Accessor):
    """Plot a factorisation, its residuals, and the choice of a number of components."""

    _understands = ("component", "n_components", "scan", "y", "x")
    _called = "nmf.plot"

    components = method(plot.plot_components, "components")
    weights = method(plot.plot_weights, "weights")
    maps = method(plot.plot_maps, "weights", "y", "x")
    residual = method(plot.plot_residual, "relative_residual")
    order = method(plot.plot_order, "held_out_error")


@xr.register_dataset_accessor("nmf")
class NmfResult(Nmf):
    """Read a factorisation; for a Dataset with one series, do the same as `Nmf`.

    1. ``compare_steps`` finds which ratios of a finer step add up to which of these.
    2. ``bands`` gives the range of each ratio that fits as well; ``advise`` names what
       would narrow it most; ``reconstruct`` rebuilds the series from chosen
       components; ``identify`` names them by crystal structures (``refine_along``
       follows one through a rebuilt series).
    3. ``amounts`` turns ratios into moles, grams and lithium.
    4. ``purify`` turns principal components into phases, for contrast.
    5. ``plot.components``, ``plot.weights``, ``plot.maps``, ``plot.residual`` and
       ``plot.order`` show them.
    """

    _understands = (*Nmf._understands, "component", "n_components")
    _called = "nmf"

    # reading a result
    compare_steps = method(steps.compare_steps, "components", "weights")
    reconstruct = method(steps.reconstruct, "components", "weights")
    purify = method(principal.purify, "components", "scores")
    bands = method(ambiguity.bands, "components", "weights", "residual", "shift_curve")
    amounts = method(fractions.amounts, "weights")
    advise = method(ambiguity.advise, "components", "weights", "residual")
    identify = method(identification.identify, "components", "r")

    # looking at it
    plot = group(NmfPlot)

    def _methods(self) -> list[str]:
        own = [name for name in super()._methods() if name in vars(NmfResult)]
        return own or Nmf(self._obj)._methods()
