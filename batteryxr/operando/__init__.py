"""Analyse a whole operando experiment, or a study of many cells, from its files."""

from __future__ import annotations

from batteryxr.operando.cells import cells
from batteryxr.operando.findings import Conventions, Unmixing
from batteryxr.operando.page import Report
from batteryxr.operando.pipeline import operando
from batteryxr.operando.reporting import report_cycling, report_store
from batteryxr.operando.sample_study import over_samples

__all__ = [
    "Conventions",
    "Report",
    "Unmixing",
    "cells",
    "operando",
    "over_samples",
    "report_cycling",
    "report_store",
]
