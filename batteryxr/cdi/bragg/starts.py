"""A finished start as a piece of a ledger, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from batteryxr.core.ledger import Piece, digest
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from batteryxr.cdi.bragg.kernels.starts import Finished, Options, Problem


def mark_of(
    problem: Problem, options: Options, seed: int, number: int, begin: Any = None
) -> dict[str, Any]:
    """Return what tells this start from any other; `begin` is a dataclass or None."""
    arrays = (problem.intensity, problem.used, problem.support, problem.initial)
    mark: dict[str, Any] = asdict(options) | {"seed": seed, "start": number}
    mark["version"] = __version__
    mark["data"] = digest(*(array for array in arrays if array is not None))
    if begin is not None:
        mark["begin"] = asdict(begin)
    return mark


def as_piece(start: Finished) -> Piece:
    """Return a start as it is kept."""
    arrays = {"object": start.box, "support": start.support, "residual": start.residual}
    if start.blur is not None:
        arrays["blur"] = start.blur
    attrs = {
        "merits": json.dumps(start.merits),
        "corner": list(start.corner),
        "shape": list(start.shape),
        "failed": start.failed,
    }
    return Piece(arrays, attrs)


def as_start(piece: Piece) -> Finished:
    """Return the start that was kept."""
    from batteryxr.cdi.bragg.kernels.starts import Finished

    arrays, attrs = piece
    return Finished(
        arrays["object"],
        arrays["support"],
        tuple(int(c) for c in attrs["corner"]),
        tuple(int(n) for n in attrs["shape"]),
        arrays["residual"],
        json.loads(attrs["merits"]),
        arrays.get("blur"),
        str(attrs["failed"]),
    )
