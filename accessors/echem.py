"""The ``.echem`` accessor."""

from __future__ import annotations

import xarray as xr

from batteryxr.accessors.base import Accessor, method
from batteryxr.echem import lithium


@xr.register_dataset_accessor("echem")
class Echem(Accessor):
    """Electrochemistry of cycler records, and the operando axis of scans."""

    understands = ("record", "half_cycle", "cycle", "pulse", "scan", "state")

    # lithium
    li_content = method(lithium.li_content)
    utilisation = method(lithium.utilisation)
    extra_capacity = method(lithium.extra_capacity)
