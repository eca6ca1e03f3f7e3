"""Numbers as people read them."""

from __future__ import annotations


def readable_bytes(n: float) -> str:
    """Return a size with its unit, such as ``'41.9 MB'``."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
