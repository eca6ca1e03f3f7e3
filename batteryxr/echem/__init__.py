"""Electrochemistry: cycles, derivatives, titration, composition and the scan join."""

from batteryxr.echem.comparison import compare, comparison_template
from batteryxr.echem.composition import (
    Composition,
    add_lithia,
    formula,
    oxidation_state,
)
from batteryxr.echem.lithium import (
    extra_capacity,
    li_content,
    theoretical_capacity,
    utilisation,
)
from batteryxr.echem.material_plots import plot_comparison, plot_percolation
from batteryxr.echem.rock_salt import percolation

__all__ = [
    "Composition",
    "add_lithia",
    "compare",
    "comparison_template",
    "extra_capacity",
    "formula",
    "li_content",
    "oxidation_state",
    "percolation",
    "plot_comparison",
    "plot_percolation",
    "theoretical_capacity",
    "utilisation",
]
