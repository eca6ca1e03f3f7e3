"""Engines by name, and the arrays that they run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import ArgumentError
from batteryxr.core.optional import require

if TYPE_CHECKING:
    from batteryxr.cdi.kernels.ptycho_run import Options

#: What can be asked for, with the arguments of its options. The steps of ePIE are those
#: that come nearest to known objects: a probe that moves as fast takes noise with it.
#: Those of rPIE stay stable on bright measured frames with several modes.
ENGINES: dict[str, dict[str, Any]] = {
    "ePIE": {"object_step": 1.0, "probe_step": 0.5},
    "rPIE": {
        "object_step": 0.5,
        "probe_step": 0.5,
        "object_alpha": 0.2,
        "momentum": 0.3,
    },
    "LSQML": {},
    "DM": {"algorithm": "DM", "beta": 1.0},
    "RAAR": {"algorithm": "RAAR", "beta": 0.8},
}


def options(engine: str, given: dict[str, Any] | None) -> Options:
    """Return the options of a named engine, with those given instead of its own.

    Raises
    ------
    ArgumentError
        If there is no such engine, or it has no such option.
    """
    from batteryxr.cdi.kernels.ptycho_lsq import LsqOptions
    from batteryxr.cdi.kernels.ptycho_pie import PieOptions
    from batteryxr.cdi.kernels.ptycho_projections import ProjectionOptions

    names = {name.lower(): name for name in ENGINES}
    name = names.get(engine.lower())
    if name is None:
        raise ArgumentError("engine", engine, f"one of {list(ENGINES)}")
    kind: Any = {
        "ePIE": PieOptions,
        "rPIE": PieOptions,
        "LSQML": LsqOptions,
    }.get(name, ProjectionOptions)
    chosen = ENGINES[name] | (given or {})
    known = {*kind.__dataclass_fields__} - {"algorithm"}
    for key, value in (given or {}).items():
        if key not in known:
            raise ArgumentError("options", key, f"options of {name}: {sorted(known)}")
        if not isinstance(value, bool) and not value >= 0:
            raise ArgumentError(f"options[{key!r}]", value, "a number >= 0")
    made: Options = kind(**chosen)
    return made


def needs_all(engine: str) -> bool:
    """Tell whether an engine holds the exit waves of all frames at once."""
    return engine.lower() in ("dm", "raar")


def on(device: str) -> Any:
    """Return a function that brings NumPy arrays to a device.

    Raises
    ------
    ArgumentError
        If there is no such device.
    MissingDependencyError
        If its library is missing.
    """
    if device == "cpu":
        return lambda array: array
    purpose = f"ptychography with device={device!r}"
    if device == "cupy":
        return require("cupy", extra=None, purpose=purpose).asarray
    torch = require("torch", extra=None, purpose=purpose)
    name = "cpu" if device == "torch" else device
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(
            "device", device, "'cpu', 'cupy' or a device that PyTorch finds", str(error)
        ) from error

    def bring(array: np.ndarray) -> Any:
        if array.dtype == np.uint16:  # which PyTorch can hold but not compute with
            array = array.view(np.int16) if array.max() < 2**15 else array.astype("i4")
        return torch.from_numpy(np.ascontiguousarray(array)).to(name)

    return bring


def off(array: Any) -> np.ndarray:
    """Return an array of any device as NumPy."""
    if hasattr(array, "get"):  # CuPy
        return np.asarray(array.get())
    if hasattr(array, "detach"):  # PyTorch
        return np.asarray(array.detach().cpu().numpy())
    return np.asarray(array)
