"""Electrochemistry: cycles, derivatives, titration, composition and the scan join."""

from batteryxr.echem.clock import Clock
from batteryxr.echem.clock_fit import fit_clock
from batteryxr.echem.comparison import compare, comparison_template
from batteryxr.echem.composition import (
    Composition,
    add_lithia,
    formula,
    oxidation_state,
)
from batteryxr.echem.cycling import cycles
from batteryxr.echem.differential import dqdv, dvdq
from batteryxr.echem.equilibrium import equilibrium_hysteresis
from batteryxr.echem.features import peaks, turning_point
from batteryxr.echem.joining import join
from batteryxr.echem.lithium import (
    extra_capacity,
    li_content,
    theoretical_capacity,
    utilisation,
)
from batteryxr.echem.material_plots import (
    plot_comparison,
    plot_lithiation,
    plot_percolation,
)
from batteryxr.echem.operando_plots import plot_operando, plot_with_voltage
from batteryxr.echem.plots import (
    plot_cycles,
    plot_dqdv,
    plot_rate,
    plot_voltage_profile,
)
from batteryxr.echem.rate_capability import rate
from batteryxr.echem.rock_salt import percolation
from batteryxr.echem.stepping import steps
from batteryxr.echem.summary import half_cycles
from batteryxr.echem.titration import gitt
from batteryxr.echem.titration_curve import pulse_fit
from batteryxr.echem.titration_plots import (
    plot_gitt,
    plot_hysteresis,
    plot_pulse,
    plot_time_constants,
)
from batteryxr.echem.voltage_states import states

__all__ = [
    "Clock",
    "Composition",
    "add_lithia",
    "compare",
    "comparison_template",
    "cycles",
    "dqdv",
    "dvdq",
    "equilibrium_hysteresis",
    "extra_capacity",
    "fit_clock",
    "formula",
    "gitt",
    "half_cycles",
    "join",
    "li_content",
    "oxidation_state",
    "peaks",
    "percolation",
    "plot_comparison",
    "plot_cycles",
    "plot_dqdv",
    "plot_gitt",
    "plot_hysteresis",
    "plot_lithiation",
    "plot_operando",
    "plot_percolation",
    "plot_pulse",
    "plot_rate",
    "plot_time_constants",
    "plot_voltage_profile",
    "plot_with_voltage",
    "pulse_fit",
    "rate",
    "states",
    "steps",
    "theoretical_capacity",
    "turning_point",
    "utilisation",
]
