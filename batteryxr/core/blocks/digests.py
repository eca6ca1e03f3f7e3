"""Digests of arrays: equal where values, type and shape are equal."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

#: Entries of a lazy array that are digested at a time.
_ENTRIES = 64


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
