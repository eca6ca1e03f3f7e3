"""Simulated experiments with known truth."""

from batteryxr.simulate.files import write_operando
from batteryxr.simulate.operando import operando
from batteryxr.simulate.titration import gitt

__all__ = ["gitt", "operando", "write_operando"]
