"""A whole operando experiment: the way from files to a store, and its report."""

from __future__ import annotations

from batteryxr.operando.findings import Conventions, Unmixing
from batteryxr.operando.pipeline import operando
from batteryxr.operando.report import Report

__all__ = ["Conventions", "Report", "Unmixing", "operando"]
