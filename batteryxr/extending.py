"""What an accessor method of your own is made from, in one place."""

from __future__ import annotations

from batteryxr.accessors.base import Accessor, method
from batteryxr.core.blocks import (
    apply,
    block_edges,
    compute,
    gather,
    is_lazy,
    stream,
)
from batteryxr.core.checks import Count, Fraction, NonNegative, Part, Positive, Whole
from batteryxr.core.model import (
    Quantity,
    attributes,
    label,
    require_dims,
    require_variables,
    require_whole,
)
from batteryxr.core.optional import require
from batteryxr.core.progress import bar, track, watched
from batteryxr.core.provenance import recorded, replayable
from batteryxr.core.seeds import generator, generators
from batteryxr.core.units import in_units

__all__ = [
    "Accessor",
    "Count",
    "Fraction",
    "NonNegative",
    "Part",
    "Positive",
    "Quantity",
    "Whole",
    "apply",
    "attributes",
    "bar",
    "block_edges",
    "compute",
    "gather",
    "generator",
    "generators",
    "in_units",
    "is_lazy",
    "label",
    "method",
    "recorded",
    "replayable",
    "require",
    "require_dims",
    "require_variables",
    "require_whole",
    "stream",
    "track",
    "watched",
]
