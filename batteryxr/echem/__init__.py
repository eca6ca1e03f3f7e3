"""Electrochemistry: cycles, derivatives, titration, composition and the scan join."""

from batteryxr.echem.counting import Counting
from batteryxr.echem.cycling.comparison import compare, comparison_template
from batteryxr.echem.cycling.cycles import cycles
from batteryxr.echem.cycling.differential import dqdv, dvdq
from batteryxr.echem.cycling.half_cycles import half_cycles
from batteryxr.echem.cycling.peak_fit import fit_peaks
from batteryxr.echem.cycling.peaks import peaks
from batteryxr.echem.cycling.rate import rate
from batteryxr.echem.cycling.steps import steps
from batteryxr.echem.cycling.turning_point import turning_point
from batteryxr.echem.degradation.modes import degradation_modes
from batteryxr.echem.impedance.drift import correct_drift
from batteryxr.echem.impedance.drt import drt, drt_peaks
from batteryxr.echem.impedance.fit import fit_circuit
from batteryxr.echem.impedance.kramers_kronig import kramers_kronig
from batteryxr.echem.impedance.patterns import as_patterns
from batteryxr.echem.lithium.composition import (
    Composition,
    add_lithia,
    formula,
    oxidation_state,
)
from batteryxr.echem.lithium.content import (
    Lithiation,
    extra_capacity,
    li_content,
    theoretical_capacity,
    utilisation,
)
from batteryxr.echem.lithium.rock_salt import percolation
from batteryxr.echem.operando.attaching import attach
from batteryxr.echem.operando.clock import Clock
from batteryxr.echem.operando.clock_fit import fit_clock
from batteryxr.echem.operando.joining import join
from batteryxr.echem.operando.states import states
from batteryxr.echem.plot.cells import plot_cells
from batteryxr.echem.plot.cycling import (
    plot_cycles,
    plot_dqdv,
    plot_rate,
    plot_voltage_profile,
)
from batteryxr.echem.plot.impedance import (
    plot_bode,
    plot_drt,
    plot_nyquist,
    plot_residuals,
)
from batteryxr.echem.plot.materials import (
    plot_comparison,
    plot_lithiation,
    plot_percolation,
)
from batteryxr.echem.plot.operando import plot_operando, plot_with_voltage
from batteryxr.echem.plot.titration import (
    plot_gitt,
    plot_hysteresis,
    plot_pulse,
    plot_time_constants,
)
from batteryxr.echem.pulses.interruptions import interruptions
from batteryxr.echem.pulses.resistance import resistance
from batteryxr.echem.pulses.table import pulses
from batteryxr.echem.titration.equilibrium import equilibrium_hysteresis
from batteryxr.echem.titration.gitt import gitt
from batteryxr.echem.titration.method import FiniteLength, WeppnerHuggins
from batteryxr.echem.titration.pulse import pulse_fit

__all__ = [
    "Clock",
    "Composition",
    "Counting",
    "FiniteLength",
    "Lithiation",
    "WeppnerHuggins",
    "add_lithia",
    "as_patterns",
    "attach",
    "compare",
    "comparison_template",
    "correct_drift",
    "cycles",
    "degradation_modes",
    "dqdv",
    "drt",
    "drt_peaks",
    "dvdq",
    "equilibrium_hysteresis",
    "extra_capacity",
    "fit_circuit",
    "fit_clock",
    "fit_peaks",
    "formula",
    "gitt",
    "half_cycles",
    "interruptions",
    "join",
    "kramers_kronig",
    "li_content",
    "oxidation_state",
    "peaks",
    "percolation",
    "plot_bode",
    "plot_cells",
    "plot_comparison",
    "plot_cycles",
    "plot_dqdv",
    "plot_drt",
    "plot_gitt",
    "plot_hysteresis",
    "plot_lithiation",
    "plot_nyquist",
    "plot_operando",
    "plot_percolation",
    "plot_pulse",
    "plot_rate",
    "plot_residuals",
    "plot_time_constants",
    "plot_voltage_profile",
    "plot_with_voltage",
    "pulse_fit",
    "pulses",
    "rate",
    "resistance",
    "states",
    "steps",
    "theoretical_capacity",
    "turning_point",
    "utilisation",
]
