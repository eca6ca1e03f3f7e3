"""One energy of a stack brought forward, here or on a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batteryxr.cdi.ptycho.reconstruct import reconstruct
from batteryxr.cdi.ptycho.start import Known, first_state, following_state
from batteryxr.cdi.ptycho.states import (
    LEADER,
    coupled_key,
    load_state,
    save_state,
    state_key,
)
from batteryxr.core.device import to_device

if TYPE_CHECKING:
    import numpy as np

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.cdi.ptycho.settings import Settings
    from batteryxr.core.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Energy:
    """An energy of a stack, and where its states are kept.

    Parameters
    ----------
    experiment, settings
        What is reconstructed, and how.
    ledger
        Keeps the states.
    key
        Number of the energy, or `LEADER`.
    checkpoint
        Passes between two states that are kept.
    leading
        Axes (nm) of the energy that ran ahead, to begin from; None to begin anew.
    """

    experiment: Experiment
    settings: Settings
    ledger: Ledger
    key: int | str
    checkpoint: int
    leading: tuple[np.ndarray, np.ndarray] | None = None


def advance(energy: Energy, since: int, until: int) -> int:
    """Run passes up to `until` from the newest state that is kept.

    Parameters
    ----------
    energy
        Which one.
    since
        After so many passes objects were coupled; 0: never.
    until
        Number of the last pass.

    Returns
    -------
    int
        How many were run.
    """
    bring = to_device(energy.settings.device, purpose="ptychography")
    ledger, key = energy.ledger, energy.key
    state = load_state(ledger, key, bring) or _first(energy)
    first = state.iteration
    if since and first == since:
        state.obj = bring(ledger.array(coupled_key(since), str(key)))

    def keep(state: State) -> None:
        if state.iteration % energy.checkpoint == 0 or state.iteration == until:
            save_state(ledger, key, state)

    reconstruct(energy.experiment, energy.settings, state, until, keep)
    return until - first


def _first(energy: Energy) -> State:
    if energy.leading is None:
        return first_state(energy.experiment, energy.settings)
    obj, probe = (energy.ledger.array(state_key(LEADER), n) for n in ("obj", "probe"))
    known = Known(obj, probe, *energy.leading)
    return following_state(energy.experiment, energy.settings, known)
