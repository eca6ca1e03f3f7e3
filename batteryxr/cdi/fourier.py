"""Fourier transforms for any array namespace, as fast as available.

FFTW chooses among algorithms by timing: now one, now another, which differ by rounding.
Hundreds of iterations of phase retrieval amplify this to per cents. The first
measurement on a machine is therefore kept: the same plan, the same bits.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batteryxr.core.kernels.arrays import Array

#: FFTW may plan and forget in one thread at a time only, or the process dies.
_PLANNING = threading.Lock()


class Fourier:
    """Transform complex64 arrays of one shape, forward and backward.

    Neither direction is scaled: ``backward(forward(x))`` is ``size * x``. The factor
    is free where it is folded into a step that touches every voxel anyway.

    NumPy arrays go through FFTW where pyfftw is installed (in place, planned once per
    shape and machine), else through scipy; arrays of PyTorch or CuPy through their own
    transform on their own device. An instance belongs to the thread that made it.

    Parameters
    ----------
    like
        An array of the namespace, device and shape that will be transformed.
    axes
        Axes of the transform; all by default.
    workers
        Threads for one transform of a NumPy array.
    repeatable
        Give the same bits in every process: FFTW measures only where its measurement
        can be kept. Where scipy is faster, or nothing can be kept, scipy transforms.
    """

    def __init__(
        self,
        like: Array,
        *,
        axes: tuple[int, ...] | None = None,
        workers: int = 1,
        repeatable: bool = False,
    ) -> None:
        self.axes = tuple(range(like.ndim)) if axes is None else axes
        self.size = int(np.prod([like.shape[a] for a in self.axes]))
        self._workers = workers
        self._numpy = is_numpy_array(like)
        self._xp: Any = None if self._numpy else array_namespace(like)
        self._plans = (
            _fftw(
                tuple(like.shape), self.axes, workers, repeatable, threading.get_ident()
            )
            if self._numpy
            else None
        )

    def forward(self, field: Array) -> Array:
        """Return the transform of `field`, which may be overwritten."""
        return self._run(field, 0, "fftn", "backward")

    def backward(self, field: Array) -> Array:
        """Return the inverse transform times `size`; may overwrite `field`."""
        return self._run(field, 1, "ifftn", "forward")

    def _run(self, field: Array, direction: int, name: str, norm: str) -> Array:
        if self._plans is not None:
            plan = self._plans[direction]
            if not _suits(field, plan):
                field = _aligned(field)
            plan.update_arrays(field, field)
            plan.execute()
            return field
        if self._numpy:
            import scipy.fft

            return getattr(scipy.fft, name)(
                field,
                axes=self.axes,
                norm=norm,
                workers=self._workers,
                overwrite_x=True,
            )
        return getattr(self._xp.fft, name)(field, axes=self.axes, norm=norm)


def empty(shape: tuple[int, ...], like: Array) -> Array:
    """Return an uninitialised complex64 array where transforms run fastest."""
    if is_numpy_array(like):
        pyfftw = _pyfftw()
        if pyfftw is not None:
            return pyfftw.empty_aligned(shape, "complex64")
        return np.empty(shape, np.complex64)
    xp = array_namespace(like)
    return xp.empty(shape, dtype=xp.complex64, device=like.device)


def _suits(field: Any, plan: Any) -> bool:
    return (
        field.dtype == np.complex64
        and field.flags.c_contiguous
        and field.ctypes.data % plan.input_alignment == 0
    )


def _aligned(field: Array) -> Array:
    copy = empty(field.shape, field)
    copy[...] = field
    return copy


@functools.cache
def _pyfftw() -> Any:
    try:
        import pyfftw
    except ImportError:
        return None
    return pyfftw


#: Lengths up to which FFTW needs no measurement, and above which scipy is better.
_SHORT, _LONG = 40, 640


@functools.lru_cache(maxsize=32)  # each holds an array
def _fftw(
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    workers: int,
    repeatable: bool,
    thread: int,
) -> Any:
    # A plan holds the arrays it works on, so each thread has its own.
    pyfftw = _pyfftw()
    if pyfftw is None:
        return None
    field = pyfftw.empty_aligned(shape, "complex64")

    def plan() -> list[Any]:
        return [
            pyfftw.FFTW(
                field,
                field,
                axes=axes,
                direction=direction,
                threads=workers,
                flags=("FFTW_MEASURE" if measured else "FFTW_ESTIMATE",),
            )
            for direction in ("FFTW_FORWARD", "FFTW_BACKWARD")
        ]

    longest = max(shape[a] for a in axes)
    measured = not repeatable or (longest > _SHORT and _can_be_kept())
    if repeatable and (longest > _LONG or (longest > _SHORT and not measured)):
        return None
    with _PLANNING:
        others = pyfftw.export_wisdom()
        pyfftw.forget_wisdom()  # or plans measured elsewhere would be used here
        try:
            if not measured:
                return plan()
            return planned(pyfftw, f"{shape}{axes}{workers}", plan)
        finally:
            pyfftw.forget_wisdom()
            pyfftw.import_wisdom(others)


def planned(pyfftw: Any, name: str, plan: Callable[[], list[Any]]) -> list[Any]:
    """Return plans as they were measured the first time; FFTW must hold none.

    Parameters
    ----------
    pyfftw
        The module.
    name
        Shape, axes and threads of the plan, as text.
    plan
        Function that measures, or uses the wisdom that FFTW was given.

    Notes
    -----
    Plans are kept as FFTW's own "wisdom" under ``batteryxr/plans`` in the user's cache
    folder, else in the folder for temporary files. Where neither can be written, the
    plan holds for this process alone. FFTW of another version, or on a processor with
    other instructions, has files of its own: many machines may share a folder.
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
        # It was measured anew: the file holds other plans.
        pyfftw.forget_wisdom()
        with contextlib.suppress(OSError):
            path.unlink()
    plans = plan()
    wisdom = pyfftw.export_wisdom()[1]
    for path in paths:
        with contextlib.suppress(OSError):
            _keep(path, wisdom)
            # Another process may have been first: all use the same file.
            pyfftw.forget_wisdom()
            return plan() if _told(pyfftw, path) else plans
    return plans


def _can_be_kept() -> bool:
    """Return whether there is a folder in which plans can be kept."""
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return True
    return False


def _build(pyfftw: Any) -> str:
    """Return an identifier of this FFTW: a hash of its empty wisdom.

    It depends on the version and on the algorithms available on this processor.
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
    """Pass a file's wisdom to FFTW; remove a file that it cannot read."""
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
    """Write a whole file or nothing; an existing file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, made = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(wisdom)
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    finally:
        os.unlink(made)
