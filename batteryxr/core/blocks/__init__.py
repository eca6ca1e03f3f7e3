"""The only package that uses dask: lazy arrays, streaming in fixed order, tasks."""

from __future__ import annotations

from batteryxr.core.blocks.application import apply
from batteryxr.core.blocks.arrays import (
    concatenate,
    delayed,
    from_call,
    from_delayed,
    from_source,
    running_sum,
    stack,
)
from batteryxr.core.blocks.inputs import needed, of_inputs
from batteryxr.core.blocks.layers import entry, pick
from batteryxr.core.blocks.laziness import compute, is_lazy
from batteryxr.core.blocks.operations import of_operations
from batteryxr.core.blocks.streaming import block_edges, stream, stream_rows
from batteryxr.core.blocks.tasks import (
    gather,
    here,
    is_stopped,
    on_cluster,
    workers,
    workers_of_user,
)
from batteryxr.core.blocks.whole import merged, whole

__all__ = [
    "apply",
    "block_edges",
    "compute",
    "concatenate",
    "delayed",
    "entry",
    "from_call",
    "from_delayed",
    "from_source",
    "gather",
    "here",
    "is_lazy",
    "is_stopped",
    "merged",
    "needed",
    "of_inputs",
    "of_operations",
    "on_cluster",
    "pick",
    "running_sum",
    "stack",
    "stream",
    "stream_rows",
    "whole",
    "workers",
    "workers_of_user",
]
