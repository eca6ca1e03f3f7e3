"""What FFTW measured once on this machine, kept: the same plan, the same bits.

FFTW picks among algorithms by the clock: now one, now another, which differ by
rounding. Hundreds of iterations of phase retrieval make per cents of that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def planned(pyfftw: Any, name: str, plan: Callable[[], list[Any]]) -> list[Any]:
    """Return plans as they were measured the first time; FFTW has to be empty.

    Parameters
    ----------
    pyfftw
        The module.
    name
        Of what is planned: its shape, axes and threads.
    plan
        Measures, or takes what FFTW was told.

    Notes
    -----
    Kept as FFTW's own "wisdom" under ``batteryxr/plans`` in the user's cache folder,
    else in the one for temporary files. Where neither can be written the plan holds
    for this process alone. FFTW of another version, or on a processor with other
    instructions, has files of its own: many machines may share a folder.
    """
    file = re.sub(r"[^0-9]+", "-", name).strip("-")
    paths = [f / f"{_build(pyfftw)}_{file}.wisdom" for f in _folders()]
    for path in paths:
        if not _told(pyfftw, path):
            continue
        told = pyfftw.export_wisdom()[1]
        plans = plan()
        if len(pyfftw.export_wisdom()[1]) == len(told):
            return plans
        # It was measured anew: the file tells of something else.
        pyfftw.forget_wisdom()
        with contextlib.suppress(OSError):
            path.unlink()
    plans = plan()
    wisdom = pyfftw.export_wisdom()[1]
    for path in paths:
        with contextlib.suppress(OSError):
            _keep(path, wisdom)
            # Another process may have been first: all take the same.
            pyfftw.forget_wisdom()
            return plan() if _told(pyfftw, path) else plans
    return plans


def can_be_kept() -> bool:
    """Return whether there is a folder that plans can be kept in."""
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return True
    return False


def _build(pyfftw: Any) -> str:
    """Return what tells this FFTW from others: what it writes when it knows nothing.

    Its version, and a signature of the algorithms that it has on this processor.
    """
    nothing = pyfftw.export_wisdom()[1]
    return hashlib.blake2b(nothing, digest_size=6).hexdigest()


def _folders() -> Iterator[Path]:
    cache = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):
        root = Path(cache) if cache else Path.home() / ".cache"
        yield root / "batteryxr" / "plans"
    user = os.getuid() if hasattr(os, "getuid") else 0
    with contextlib.suppress(OSError):  # there is none that can be written to
        yield Path(tempfile.gettempdir()) / f"batteryxr-{user}" / "plans"


def _told(pyfftw: Any, path: Path) -> bool:
    """Tell FFTW what is in a file; remove one that it cannot read."""
    try:
        wisdom = path.read_bytes()
    except OSError:
        return False
    if pyfftw.import_wisdom((b"", wisdom, b""))[1]:
        return True
    with contextlib.suppress(OSError):
        path.unlink()
    return False


def _keep(path: Path, wisdom: bytes) -> None:
    """Write a file whole or not at all; one that is there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(wisdom)
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        os.unlink(made)
