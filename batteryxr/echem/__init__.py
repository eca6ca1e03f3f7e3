"""Electrochemistry: cycles, derivatives, titration, composition and the scan join."""

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

__all__ = [
    "Composition",
    "add_lithia",
    "extra_capacity",
    "formula",
    "li_content",
    "oxidation_state",
    "theoretical_capacity",
    "utilisation",
]
