"""Errors and warnings of batteryxr, for `except` and for filters of warnings."""

from __future__ import annotations

from batteryxr.core.errors import (
    ArgumentError,
    BatteryxrError,
    BatteryxrWarning,
    ChunkingError,
    ConvergenceError,
    DataError,
    DataQualityWarning,
    DimensionError,
    FileFormatError,
    LabelsError,
    MissingDependencyError,
    NothingFoundError,
    SampleError,
    StoreError,
    UnitsError,
    VariableError,
)

__all__ = [
    "ArgumentError",
    "BatteryxrError",
    "BatteryxrWarning",
    "ChunkingError",
    "ConvergenceError",
    "DataError",
    "DataQualityWarning",
    "DimensionError",
    "FileFormatError",
    "LabelsError",
    "MissingDependencyError",
    "NothingFoundError",
    "SampleError",
    "StoreError",
    "UnitsError",
    "VariableError",
]
