"""Unmixing: phases and their ratios from a series of patterns or a stack of images."""

from batteryxr.core.crystals import Crystal, PdfInstrument, read_crystal
from batteryxr.nmf.ambiguity import advise, bands
from batteryxr.nmf.constraints import Constraints
from batteryxr.nmf.factorisation import Solver, fit
from batteryxr.nmf.joining import join
from batteryxr.nmf.kernels.schedule import Sampling
from batteryxr.nmf.montecarlo import metropolis
from batteryxr.nmf.order import model_order
from batteryxr.nmf.phases.exchange import compare_patterns, write_gr
from batteryxr.nmf.phases.fractions import amounts
from batteryxr.nmf.phases.identification import identify, refine_along
from batteryxr.nmf.phases.structures import fit_structures
from batteryxr.nmf.plot import (
    plot_components,
    plot_maps,
    plot_order,
    plot_residual,
    plot_weights,
)
from batteryxr.nmf.principal import pca, purify
from batteryxr.nmf.shifts import lower_envelope
from batteryxr.nmf.steps import compare_steps, raise_n, reconstruct
from batteryxr.nmf.stretching import fit_stretched

__all__ = [
    "Constraints",
    "Crystal",
    "PdfInstrument",
    "Sampling",
    "Solver",
    "advise",
    "amounts",
    "bands",
    "compare_patterns",
    "compare_steps",
    "fit",
    "fit_stretched",
    "fit_structures",
    "identify",
    "join",
    "lower_envelope",
    "metropolis",
    "model_order",
    "pca",
    "plot_components",
    "plot_maps",
    "plot_order",
    "plot_residual",
    "plot_weights",
    "purify",
    "raise_n",
    "read_crystal",
    "reconstruct",
    "refine_along",
    "write_gr",
]
