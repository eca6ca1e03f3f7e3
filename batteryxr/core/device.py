"""Devices: move arrays to where they are computed, and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from array_api_compat import to_device as _move

from batteryxr.core.errors import ArgumentError
from batteryxr.core.optional import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.core.kernels.arrays import Array

#: Names of PyTorch's devices; it is loaded for no other.
_DEVICE = re.compile(r"torch|(cpu|cuda|hip|hpu|mps|mtia|xla|xpu)(:\d{1,3})?")


def to_device(device: str, *, purpose: str) -> Callable[[np.ndarray], Array]:
    """Return a function that moves NumPy arrays to a device.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cupy"``, ``"torch"`` (PyTorch on the CPU), or any device name of
        PyTorch, such as ``"cuda:0"``.
    purpose
        Purpose, for messages, such as ``"phase retrieval"``.

    Raises
    ------
    ArgumentError
        If there is no such device.
    MissingDependencyError
        If its library is missing.
    """
    if device == "cpu":
        return lambda array: array
    purpose = f"{purpose} with device={device!r}"
    if device == "cupy":
        return require("cupy", extra=None, purpose=purpose).asarray
    wanted = "'cpu', 'cupy' or a device that PyTorch finds"
    if not _DEVICE.fullmatch(device):
        raise ArgumentError("device", device, f"{wanted}, such as 'cuda:0'")
    torch = require("torch", extra=None, purpose=purpose)
    name = "cpu" if device == "torch" else device
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError("device", device, wanted, str(error)) from error

    def moved(array: np.ndarray) -> Array:
        if array.dtype == np.uint16:  # which PyTorch can hold but not compute with
            array = array.view(np.int16) if array.max() < 2**15 else array.astype("i4")
        return torch.from_numpy(np.ascontiguousarray(array)).to(name)

    return moved


def to_device_of(like: Array, array: np.ndarray) -> Array:
    """Return a NumPy array in the namespace and on the device of `like`."""
    if is_numpy_array(like):
        return array
    xp = array_namespace(like)
    return _move(xp.asarray(array), like.device)


def to_numpy(array: Any) -> np.ndarray:
    """Return an array of any device as a NumPy array."""
    if hasattr(array, "get"):  # CuPy
        return np.asarray(array.get())
    if hasattr(array, "detach"):  # PyTorch
        return np.asarray(array.detach().cpu().numpy())
    return np.asarray(array)
