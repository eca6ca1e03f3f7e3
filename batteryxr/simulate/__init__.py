"""Simulated experiments with known truth."""

from batteryxr.simulate.crystal import bragg_states
from batteryxr.simulate.experiment import cell_experiment
from batteryxr.simulate.files import write_cell_experiment, write_particles
from batteryxr.simulate.impedance import impedance_loop, write_impedance_loop
from batteryxr.simulate.oxides import oxide_series
from batteryxr.simulate.particles import particles
from batteryxr.simulate.ptychography import Defects, ptychography
from batteryxr.simulate.random_crystals import random_crystals
from batteryxr.simulate.samples import write_samples
from batteryxr.simulate.titration import Electrode, Titration, gitt

__all__ = [
    "Defects",
    "Electrode",
    "Titration",
    "bragg_states",
    "cell_experiment",
    "gitt",
    "impedance_loop",
    "oxide_series",
    "particles",
    "ptychography",
    "random_crystals",
    "write_cell_experiment",
    "write_impedance_loop",
    "write_particles",
    "write_samples",
]
