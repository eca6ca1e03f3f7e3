"""What a store holds, in words: groups, sizes, chunks, and the calls that made them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from batteryxr.core.store import groups, open_dataset
from batteryxr.core.units import readable_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr


def describe(path: str | Path) -> str:
    """Describe a zarr store. Reads metadata only.

    Parameters
    ----------
    path
        The store.

    Returns
    -------
    str
        A few lines per group: dimensions, variables with units, dtype, size and
        chunk, and the call that made the group.
    """
    lines = [f"{path}"]
    for name in groups(path):
        dataset = open_dataset(path, name or None)
        sizes = ", ".join(f"{dim} {n}" for dim, n in dataset.sizes.items())
        lines += [
            "",
            f"/{name}  ({sizes or 'scalars'}; {readable_bytes(dataset.nbytes)})",
        ]
        lines += [_variable(str(n), v) for n, v in dataset.variables.items()]
        if call := dataset.attrs.get("batteryxr_call"):
            lines.append(f"  made by {_call(call)}")
        if dataset.attrs.get("batteryxr_unfinished"):
            lines.append("  UNFINISHED: call again with the same arguments to go on")
    return "\n".join(lines)


def _variable(name: str, variable: xr.Variable) -> str:
    units = str(variable.attrs.get("units", ""))
    shape = " x ".join(map(str, variable.shape)) or "scalar"
    chunk = variable.encoding.get("chunks")
    blocks = f", chunks {' x '.join(map(str, chunk))}" if chunk else ""
    return f"  {name:<24} {units:<12} {variable.dtype!s:<16} {shape}{blocks}"


def _call(text: str) -> str:
    call = json.loads(text)
    words = ", ".join(
        f"{name}={json.dumps(value)}"
        for name, value in call["arguments"].items()
        if value is not None
    )
    home = f".{call['accessor']}" if "accessor" in call else call["module"]
    return f"{home}.{call['method']}({words})"
