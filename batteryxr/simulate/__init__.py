"""Simulated experiments with known truth."""

from batteryxr.simulate.crystal import crystal
from batteryxr.simulate.files import write_operando
from batteryxr.simulate.operando import operando
from batteryxr.simulate.titration import gitt

__all__ = ["crystal", "gitt", "operando", "write_operando"]
