"""A probe that differs from frame to frame: orthogonal probe relaxation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from batteryxr.cdi.ptycho.kernels.state import State, orthogonalise
from batteryxr.core.device import to_device_of, to_numpy

if TYPE_CHECKING:
    from batteryxr.core.kernels.arrays import Array

#: Names in a state's memory for the fields and their share in each frame.
FIELDS, SHARES = "variation", "variation_share"


class Unsteady:
    """Hold how the probe of each frame differs from the common one.

    The first mode of frame j is ``probe[0] + Σ shares[j, k] fields[k]``, with few
    orthonormal fields, as in Odstrčil et al., Opt. Express 24, 8360 (2016). Those
    authors decompose the probes of all frames after each iteration. Here they are never
    together in memory: an iteration adds up the changes that frames ask for, which is
    one step of a subspace iteration for the same fields.

    Parameters
    ----------
    state
        State that remembers fields and shares, or begins without.
    number
        Number of fields.
    """

    def __init__(self, state: State, number: int) -> None:
        probe, frames = state.probe, len(state.positions)
        self._xp, self._like = array_namespace(probe), probe
        self._known = FIELDS in state.memory
        if self._known:
            fields = to_numpy(state.memory[FIELDS])
            self._shares = to_numpy(state.memory[SHARES]).astype(complex)
        else:
            fields = np.zeros((number, *probe.shape[1:]), np.complex64)
            rng = np.random.default_rng(0)
            self._shares = rng.standard_normal((frames, number)) + 0j
        self._fields = to_device_of(probe, fields)
        self._sums = to_device_of(probe, np.zeros_like(fields))

    def part(self, j: int) -> Array:
        """Return what the probe (m, n, n) of frame `j` has besides the common one."""
        part = self._xp.zeros_like(self._like)
        for share, field in zip(self._shares[j], self._fields, strict=True):
            part[0, ...] += complex(share) * field
        return part

    def take(self, j: int, change: Array) -> None:
        """Take the change (n, n) of the first mode that frame `j` asks for."""
        xp = self._xp
        for k, field in enumerate(self._fields):
            if self._known:
                self._shares[j, k] += complex(xp.sum(xp.conj(field) * change))
            self._sums[k, ...] += complex(np.conj(self._shares[j, k])) * change

    def keep(self, state: State) -> None:
        """Put fields and shares after an iteration into the state."""
        xp, shares = self._xp, self._shares
        if self._known:
            mean = shares.mean(axis=0)
            for share, field in zip(mean, self._fields, strict=True):
                state.probe[0, ...] += complex(share) * field
            shares = shares - mean
        gram = np.conj(shares.T) @ shares
        wanted = [
            s + sum(complex(g) * f for g, f in zip(row, self._fields, strict=True))
            for s, row in zip(self._sums, gram, strict=True)
        ]
        fields, _ = orthogonalise(xp.stack(wanted))
        sizes = [max(float(xp.sum(xp.abs(f) ** 2)), 1e-30) for f in fields]
        fields = xp.stack([f * s**-0.5 for f, s in zip(fields, sizes, strict=True)])
        old, new = (
            to_numpy(f).reshape(len(fields), -1) for f in (self._fields, fields)
        )
        turned = shares @ (old @ np.conj(new.T))
        state.memory[FIELDS] = xp.astype(fields, state.probe.dtype)
        state.memory[SHARES] = to_device_of(state.probe, turned.astype(np.complex64))


def unsteady_of(state: State, number: int) -> Any:
    """Return how probes differ in one iteration; None where they do not."""
    return Unsteady(state, number) if number or FIELDS in state.memory else None
