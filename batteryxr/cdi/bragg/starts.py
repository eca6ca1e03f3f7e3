"""A finished start as a dataset, to be kept in a store, and back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from batteryxr.cdi.bragg.kernels.starts import Finished, Options, Problem

_BOX = ("box_0", "box_1", "box_2")
_WHOLE = ("blur_0", "blur_1", "blur_2")


def fingerprint(
    problem: Problem, options: Options, seed: int, number: int, begin: Any = None
) -> str:
    """Return what tells this start from any other; `begin` is a dataclass or None."""
    digest = hashlib.sha256()
    for array in (problem.intensity, problem.used, problem.support, problem.initial):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    how: dict[str, Any] = asdict(options) | {"seed": seed, "start": number}
    how |= {"version": __version__, "data": digest.hexdigest()[:16]}
    if begin is not None:
        how["begin"] = asdict(begin)
    return json.dumps(how, sort_keys=True)


def as_dataset(start: Finished) -> xr.Dataset:
    """Return a start as it is kept."""
    kept = xr.Dataset(
        {
            "object": (_BOX, start.box),
            "support": (_BOX, start.support),
            "residual": ("iteration", start.residual),
        },
        attrs={
            "merits": json.dumps(start.merits),
            "corner": list(start.corner),
            "shape": list(start.shape),
            "failed": start.failed,
        },
    )
    return kept if start.blur is None else kept.assign(blur=(_WHOLE, start.blur))


def as_start(kept: xr.Dataset) -> Finished:
    """Return the start that was kept."""
    from batteryxr.cdi.bragg.kernels.starts import Finished

    return Finished(
        kept["object"].values,
        kept["support"].values,
        tuple(int(c) for c in kept.attrs["corner"]),
        tuple(int(n) for n in kept.attrs["shape"]),
        kept["residual"].values,
        json.loads(kept.attrs["merits"]),
        kept["blur"].values if "blur" in kept else None,
        str(kept.attrs["failed"]),
    )
