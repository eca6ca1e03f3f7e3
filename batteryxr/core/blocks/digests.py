"""Digests of arrays: equal where values, type and shape are equal."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import xarray as xr

#: Entries of a lazy array that are digested at a time.
_ENTRIES = 64
#: Beginnings of the names of attributes that change from call to call.
_PASSING = ("batteryxr_", "history")
#: Largest number of characters of an attribute that a mark holds as it is.
_SHORT = 200


def digest(*values: Any) -> str:
    """Return a digest of arrays, for a ledger's mark; None has a digest too.

    For a lazy array of several dimensions, a few entries along the first are in memory
    at a time.
    """
    total = hashlib.sha256()
    for array in values:
        if array is None:
            total.update(b"None\n")
            continue
        kind = "text" if array.dtype.kind in "OUT" else str(array.dtype)
        total.update(f"{kind} {tuple(map(int, array.shape))}\n".encode())
        whole = array.ndim < 2 or isinstance(array, np.ndarray)
        step = max(array.shape[0], 1) if whole and array.ndim else _ENTRIES
        for start in range(0, array.shape[0] if array.ndim else 1, step):
            held = np.asarray(array[start : start + step] if array.ndim else array)
            if held.dtype.kind in "OTU":
                for item in held.ravel().tolist():
                    text = str(item) if isinstance(item, str) else item
                    total.update(f"{text!r}\n".encode())
            else:
                total.update(np.ascontiguousarray(held).view(np.uint8).data)
    return total.hexdigest()[:16]


def labels(variables: Mapping[Hashable, xr.Variable]) -> dict[str, dict[str, str]]:
    """Return dimensions and attributes of variables as text, for a ledger's mark."""
    return {
        str(name): {"dims": ", ".join(map(str, v.dims))} | attributes_as_text(v.attrs)
        for name, v in sorted(variables.items(), key=lambda item: str(item[0]))
    }


def attributes_as_text(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Return attributes as text, for a ledger's mark; long ones as digests."""
    texts = {
        str(name): json.dumps(value, sort_keys=True, default=_plain)
        for name, value in attrs.items()
        if not str(name).startswith(_PASSING)
    }
    return {
        name: text if len(text) <= _SHORT else hashlib.sha256(text.encode()).hexdigest()
        for name, text in texts.items()
    }


def _plain(value: Any) -> Any:
    """Return an object of NumPy as JSON, any other by its kind alone."""
    return value.tolist() if hasattr(value, "tolist") else type(value).__name__
