"""The ``.echem`` accessor."""

from __future__ import annotations

import xarray as xr

from batteryxr.accessors.base import Accessor, group, method, opens
from batteryxr.echem.cycling import cycles as cycling
from batteryxr.echem.cycling import differential, peak_fit
from batteryxr.echem.cycling import half_cycles as summary
from batteryxr.echem.cycling import peaks as tops
from batteryxr.echem.cycling import rate as rate_capability
from batteryxr.echem.cycling import steps as stepping
from batteryxr.echem.cycling import turning_point as turning
from batteryxr.echem.degradation import modes
from batteryxr.echem.impedance import drift, patterns
from batteryxr.echem.impedance import drt as relaxation
from batteryxr.echem.impedance import fit as circuits
from batteryxr.echem.impedance import kramers_kronig as consistency
from batteryxr.echem.lithium import content as lithium
from batteryxr.echem.operando import attaching, clock_fit, joining
from batteryxr.echem.operando import states as voltage_states
from batteryxr.echem.plot import cells as cell_plots
from batteryxr.echem.plot import cycling as plots
from batteryxr.echem.plot import impedance as impedance_plots
from batteryxr.echem.plot import materials as material_plots
from batteryxr.echem.plot import operando as operando_plots
from batteryxr.echem.plot import titration as titration_plots
from batteryxr.echem.pulses import interruptions as current_off
from batteryxr.echem.pulses import resistance as at_switches
from batteryxr.echem.pulses import table as pulse_table
from batteryxr.echem.titration import equilibrium
from batteryxr.echem.titration import gitt as titration
from batteryxr.echem.titration import pulse as titration_curve

_DIMENSIONS = (
    "record",
    "half_cycle",
    "cycle",
    "cell",
    "pulse",
    "scan",
    "state",
    "spectrum",
    "frequency",
)
#: Variables of a cycler record, and coordinates of a joined series of scans.
_CYCLED = ("record", "test_time", "voltage", "current")
_CLOCKED = ("record", "time", "voltage")
_JOINED = (("scan", "spectrum"), "voltage", "time")
#: Variables from which the charge follows; one is enough.
_CHARGED = ("current", "specific_capacity", "capacity")


class EchemPlots(Accessor):
    """Plot cycling, titrations and the operando axis."""

    _understands = _DIMENSIONS
    _called = "echem.plot"

    # cycling
    voltage_profile = method(plots.plot_voltage_profile, *_CYCLED)
    cycles = method(plots.plot_cycles, "cycle", "coulombic_efficiency")
    cells = method(cell_plots.plot_cells, "cell", "life", "coulombic_efficiency")
    rate = method(plots.plot_rate, "rate", "mean_voltage")
    dqdv = method(plots.plot_dqdv, "dqdv")

    # lithium
    lithiation = method(material_plots.plot_lithiation, *_CYCLED)

    # titration
    gitt = method(titration_plots.plot_gitt, "pulse", "equilibrium_voltage")
    time_constants = method(titration_plots.plot_time_constants, "pulse", "inverse_tau")
    pulse = method(titration_plots.plot_pulse, "fitted_voltage", "step_time")
    hysteresis = method(titration_plots.plot_hysteresis, "hysteresis", "gap")

    # impedance
    nyquist = method(impedance_plots.plot_nyquist, "frequency", "impedance")
    bode = method(impedance_plots.plot_bode, "frequency", "impedance")
    residuals = method(impedance_plots.plot_residuals, "impedance", "fitted")
    drt = method(impedance_plots.plot_drt, "spectrum", "gamma")

    # operando
    operando = method(operando_plots.plot_operando, *_CLOCKED)
    with_voltage = method(operando_plots.plot_with_voltage, *_JOINED)


@xr.register_dataset_accessor("echem")
class Echem(Accessor):
    """Analyse cycler records, and give scans an operando axis.

    1. ``record.echem.cycles(electrode="cathode", first="charge", mass=7.0)``
    2. ``record.echem.dqdv(smoothing=0.020).echem.peaks()``
    3. ``record.echem.gitt().echem.plot.gitt()``
    4. ``scans = record.echem.join(spectra, mass=7.0, formula="LiNiO2")``
    5. ``scans.echem.states([("charge", 3.6), ("discharge", 3.6)])``

    The methods offered depend on the object: a record, a result, or scans.
    """

    _understands = _DIMENSIONS

    # looking at it
    panel = opens("VoltageStatePanel", "scan", "voltage")
    impedance_panel = opens("ImpedancePanel", "frequency", "impedance")
    plot = group(EchemPlots)

    # cycling
    half_cycles = method(summary.half_cycles, *_CYCLED)
    cycles = method(cycling.cycles, *_CYCLED)
    steps = method(stepping.steps, *_CYCLED)
    rate = method(rate_capability.rate, "cycle", "coulombic_efficiency")

    # differential curves
    dqdv = method(differential.dqdv, *_CYCLED)
    dvdq = method(differential.dvdq, *_CYCLED)
    peaks = method(tops.peaks, "half_cycle", "dqdv")
    fit_peaks = method(peak_fit.fit_peaks, "half_cycle", "dqdv")
    turning_point = method(turning.turning_point, "half_cycle", "dqdv")

    # lithium
    li_content = method(lithium.li_content, ("current", "capacity_total"))
    utilisation = method(lithium.utilisation, _CHARGED)
    extra_capacity = method(lithium.extra_capacity, _CHARGED)

    # titration
    gitt = method(titration.gitt, *_CYCLED)
    equilibrium_hysteresis = method(
        equilibrium.equilibrium_hysteresis, "pulse", "equilibrium_voltage"
    )
    pulse_fit = method(titration_curve.pulse_fit, *_CYCLED)

    # switches of the current
    resistance = method(at_switches.resistance, *_CYCLED)
    pulses = method(pulse_table.pulses, *_CYCLED)
    interruptions = method(current_off.interruptions, *_CYCLED)

    # impedance
    kramers_kronig = method(consistency.kramers_kronig, "frequency", "impedance")
    correct_drift = method(drift.correct_drift, "impedance", "point_time")
    fit_circuit = method(circuits.fit_circuit, "frequency", "impedance")
    drt = method(relaxation.drt, "frequency", "impedance")
    drt_peaks = method(relaxation.drt_peaks, "spectrum", "gamma")
    as_patterns = method(patterns.as_patterns, "frequency", "impedance")

    # operando
    fit_clock = method(clock_fit.fit_clock, *_CLOCKED)
    join = method(joining.join, "time", *_CYCLED)
    attach = method(attaching.attach, *_CYCLED)
    states = method(voltage_states.states, "scan", ("voltage", "state_number"))


class EchemArrayPlots(Accessor):
    """Plot one array on the operando axis."""

    _understands = ("scan", "state", "spectrum", "frequency")
    _called = "echem.plot"

    # impedance
    nyquist = method(impedance_plots.plot_nyquist, "frequency")
    bode = method(impedance_plots.plot_bode, "frequency")

    # operando
    with_voltage = method(operando_plots.plot_with_voltage, *_JOINED)


@xr.register_dataarray_accessor("echem")
class EchemArray(Accessor):
    """Use the operando axis of one joined array on ``scan``."""

    _understands = ("scan", "state", "spectrum", "frequency", "capacity")
    _called = "echem"

    # looking at it
    panel = opens("VoltageStatePanel", "scan", "voltage")
    plot = group(EchemArrayPlots)

    # impedance
    kramers_kronig = method(consistency.kramers_kronig, "frequency")
    fit_circuit = method(circuits.fit_circuit, "frequency")
    drt = method(relaxation.drt, "frequency")
    as_patterns = method(patterns.as_patterns, "frequency")

    # degradation
    degradation_modes = method(modes.degradation_modes, "capacity")

    # operando
    states = method(voltage_states.states, "scan", ("voltage", "state_number"))
