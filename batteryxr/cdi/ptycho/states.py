"""States in a ledger: the newest of each energy, and objects after coupling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.core.device import to_numpy
from batteryxr.core.ledger import Ledger
from batteryxr.core.store import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.core.store import StoreLike

#: The energy that runs ahead of the others.
LEADER = "leader"
#: Prefix of the names of arrays that an engine keeps between iterations.
_MEMORY = "memory_"


def ledger_of(store: StoreLike) -> Ledger:
    """Return the ledger of the reconstructions in a store."""
    return Ledger(store, JOURNAL)


def state_key(k: int | str) -> str:
    """Return the key of the state of energy `k`, or of `LEADER`."""
    return f"states/{k}"


def coupled_key(iteration: int, part: str = "") -> str:
    """Return the key of objects that were coupled after an iteration.

    `part` names a half scan.
    """
    return f"coupled/{part}{iteration}"


def save_state(ledger: Ledger, k: int | str, state: State) -> None:
    """Put the state of energy `k` into the ledger."""
    arrays = {
        "obj": to_numpy(state.obj),
        "probe": to_numpy(state.probe),
        "positions": state.positions,
        "misfits": np.asarray(state.misfits, float),
    }
    memory = {_MEMORY + key: to_numpy(v) for key, v in state.memory.items()}
    ledger.put(
        state_key(k), arrays | memory, iteration=state.iteration, power=state.power
    )


def load_state(
    ledger: Ledger, k: int | str, bring: Callable[[np.ndarray], Any] = np.asarray
) -> State | None:
    """Return the newest state of energy `k`, or None; `bring` moves its arrays."""
    from batteryxr.cdi.ptycho.kernels.state import State

    piece = ledger.get(state_key(k))
    if piece is None:
        return None
    arrays, attrs = piece
    return State(
        bring(arrays["obj"]),
        bring(arrays["probe"]),
        arrays["positions"],
        iteration=int(attrs["iteration"]),
        misfits=arrays["misfits"].tolist(),
        power=float(attrs["power"]),
        memory={
            key.removeprefix(_MEMORY): bring(v)
            for key, v in arrays.items()
            if key.startswith(_MEMORY)
        },
    )


class Look(NamedTuple):
    """Hold the iterations of an energy, their residuals, and arrays of its state."""

    iteration: int
    residuals: np.ndarray
    arrays: dict[str, np.ndarray]


def look_at(ledger: Ledger, k: int | str, *names: str) -> Look | None:
    """Return the progress of energy `k`, and arrays of it; safe while it runs."""
    piece = ledger.get(state_key(k), "misfits", *names)
    if piece is None:
        return None
    arrays, attrs = piece
    residuals = arrays.pop("misfits") / float(attrs["power"])
    return Look(int(attrs["iteration"]), residuals, arrays)


def passes_done(ledger: Ledger, k: int | str) -> int:
    """Return the number of iterations of energy `k` that are kept."""
    piece = ledger.get(state_key(k), "misfits")
    return 0 if piece is None else int(piece.attrs["iteration"])


class StoredObjects:
    """Hold the objects of all energies in a ledger, read on demand.

    Parameters
    ----------
    experiments
        One experiment per energy; frames are not read.
    ledger
        Ledger of the states.
    part
        Name of a half scan, before the numbers of its energies.
    """

    def __init__(
        self, experiments: list[Experiment], ledger: Ledger, part: str = ""
    ) -> None:
        self._experiments, self._ledger = experiments, ledger
        self._part = part

    def __len__(self) -> int:
        """Return the number of energies."""
        return len(self._experiments)

    def axes(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return y and x of energy `k` in nm."""
        experiment = self._experiments[k]
        return experiment.y, experiment.x

    def obj(self, k: int) -> np.ndarray:
        """Return the object of energy `k` (y, x)."""
        return self._array(k, "obj")

    def _array(self, k: int, name: str) -> np.ndarray:
        return self._ledger.array(state_key(f"{self._part}{k}"), name)

    def probe(self, k: int) -> np.ndarray:
        """Return the probe of energy `k` (mode, y, x), its modes orthogonal."""
        from batteryxr.cdi.ptycho.kernels.state import orthogonalise

        modes, _ = orthogonalise(self._array(k, "probe"))
        return np.asarray(modes)

    def light(self, k: int) -> np.ndarray:
        """Return the illumination of energy `k` (y, x)."""
        from batteryxr.cdi.ptycho.kernels.state import State

        obj, probe, positions = (
            self._array(k, name) for name in ("obj", "probe", "positions")
        )
        light: np.ndarray = State(obj, probe, positions).light()
        return light

    def residuals(self, k: int) -> np.ndarray:
        """Return the amplitude residuals of energy `k` for each iteration."""
        found = look_at(self._ledger, f"{self._part}{k}")
        return np.full(1, np.nan) if found is None else found.residuals

    def noise(self) -> np.ndarray:
        """Return the largest residuals that counting noise leaves."""
        seen = [e.seen for e in self._experiments]
        assert None not in seen, "look at the frames first: `examined`"
        return np.array([facts.noise_residual for facts in seen if facts])

    def background(self, k: int) -> np.ndarray | None:
        """Return the background of energy `k`, the beam in the middle; None: none."""
        known = self._experiments[k].background
        return None if known is None else np.fft.fftshift(known)

    def shifts(self, k: int, frames: int) -> np.ndarray:
        """Return the corrections of the positions of energy `k` (frames, 2), in nm.

        Frames that were left out have NaN.
        """
        experiment = self._experiments[k]
        positions = self._array(k, "positions")
        moves = np.full((frames, 2), np.nan)
        numbers = experiment.numbers
        part = slice(None) if numbers is None else numbers
        moves[part] = (positions - experiment.corners) * experiment.pixel
        return moves
