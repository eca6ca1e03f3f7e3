"""The ``.echem`` accessor."""

from __future__ import annotations

import xarray as xr

from batteryxr.accessors.base import Accessor, method, opens
from batteryxr.echem.cycling import cycles as cycling
from batteryxr.echem.cycling import differential, features
from batteryxr.echem.cycling import half_cycles as summary
from batteryxr.echem.cycling import rate as rate_capability
from batteryxr.echem.cycling import steps as stepping
from batteryxr.echem.lithium import content as lithium
from batteryxr.echem.operando import clock_fit, joining
from batteryxr.echem.operando import states as voltage_states
from batteryxr.echem.plot import cycling as plots
from batteryxr.echem.plot import materials as material_plots
from batteryxr.echem.plot import operando as operando_plots
from batteryxr.echem.plot import titration as titration_plots
from batteryxr.echem.titration import equilibrium
from batteryxr.echem.titration import gitt as titration
from batteryxr.echem.titration import pulse as titration_curve


@xr.register_dataset_accessor("echem")
class Echem(Accessor):
    """Electrochemistry of cycler records, and the operando axis of scans.

    1. ``record.echem.cycles(electrode="cathode", first="charge", mass=7.0)``
    2. ``record.echem.dqdv(smoothing=0.020).echem.peaks()``
    3. ``record.echem.gitt().echem.plot_gitt()``
    4. ``scans = record.echem.join(spectra, mass=7.0, formula="LiNiO2")``
    5. ``scans.echem.states([("charge", 3.6), ("discharge", 3.6)])``
    """

    _understands = ("record", "half_cycle", "cycle", "pulse", "scan", "state")

    # cycling
    half_cycles = method(summary.half_cycles)
    cycles = method(cycling.cycles)
    steps = method(stepping.steps)
    rate = method(rate_capability.rate)
    plot_voltage_profile = method(plots.plot_voltage_profile)
    plot_cycles = method(plots.plot_cycles)
    plot_rate = method(plots.plot_rate)

    # differential curves
    dqdv = method(differential.dqdv)
    dvdq = method(differential.dvdq)
    peaks = method(features.peaks)
    turning_point = method(features.turning_point)
    plot_dqdv = method(plots.plot_dqdv)

    # lithium
    li_content = method(lithium.li_content)
    utilisation = method(lithium.utilisation)
    extra_capacity = method(lithium.extra_capacity)
    plot_lithiation = method(material_plots.plot_lithiation)

    # titration
    gitt = method(titration.gitt)
    equilibrium_hysteresis = method(equilibrium.equilibrium_hysteresis)
    pulse_fit = method(titration_curve.pulse_fit)
    plot_gitt = method(titration_plots.plot_gitt)
    plot_time_constants = method(titration_plots.plot_time_constants)
    plot_pulse = method(titration_plots.plot_pulse)
    plot_hysteresis = method(titration_plots.plot_hysteresis)

    # operando
    fit_clock = method(clock_fit.fit_clock)
    join = method(joining.join)
    states = method(voltage_states.states)
    panel = opens("VoltageStatePanel")
    plot_operando = method(operando_plots.plot_operando)
    plot_with_voltage = method(operando_plots.plot_with_voltage)


@xr.register_dataarray_accessor("echem")
class EchemArray(Accessor):
    """The operando axis of one array on ``scan``, once it is joined."""

    _understands = ("scan", "state")
    _called = "echem"

    states = method(voltage_states.states)
    panel = opens("VoltageStatePanel")
    plot_with_voltage = method(operando_plots.plot_with_voltage)
