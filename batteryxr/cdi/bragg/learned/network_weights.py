"""Weights of a network in a file: plain arrays, checked, never unpickled."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import FileFormatError
from batteryxr.core.files import require_regular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Version of the format, and of the names and shapes of the arrays.
FORMAT = "batteryxr network 1"
_ABOUT = "about"


@dataclass(frozen=True)
class Weights:
    """Hold arrays by name, float32, with notes on their training.

    Parameters
    ----------
    arrays
        Kernels, biases, gains and shifts.
    about
        Notes on the training: ``seed``, ``crystals``, losses and the like.
    checksum
        First 16 digits of the SHA-256 of names, shapes and numbers.
    """

    arrays: dict[str, np.ndarray]
    about: dict[str, Any]
    checksum: str


def write_weights(
    path: str | Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Write weights in half precision, with what is known about them."""
    half = {name: np.asarray(a, np.float16) for name, a in arrays.items()}
    noted = dict(about) | {"format": FORMAT, "checksum": _checksum(half)}
    stored: dict[str, Any] = {**half, _ABOUT: np.array(json.dumps(noted))}
    with open(path, "wb") as file:
        np.savez(file, **stored)


def read_weights(path: str | Path | None = None) -> Weights:
    """Read weights; None reads those that come with batteryxr.

    Raises
    ------
    ArgumentError
        If there is no such file.
    FileFormatError
        If the file holds no weights, or was damaged.
    """
    if path is None:
        with as_file(
            files("batteryxr.cdi.bragg.learned") / "weights" / "bragg.npz"
        ) as shipped:
            return read_weights(shipped)
    require_regular(path, argument="weights")
    try:
        with np.load(path, allow_pickle=False) as stored:
            half = {name: stored[name] for name in stored.files}
        about = json.loads(str(half.pop(_ABOUT)))
    except (OSError, ValueError, KeyError, EOFError) as error:
        problem = f"is no file that `write_weights` made. {error}"
        raise FileFormatError(path, problem) from error
    if about.get("format") != FORMAT:
        raise FileFormatError(path, f"is not of the format {FORMAT!r}: {about!r}.")
    if _checksum(half) != about["checksum"]:
        raise FileFormatError(path, "is damaged: the checksum does not match.")
    arrays = {name: a.astype(np.float32) for name, a in half.items()}
    return Weights(arrays, about, about["checksum"])


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:16]
