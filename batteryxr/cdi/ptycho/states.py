"""A stack, and its states in a ledger: of each energy, and objects after coupling."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batteryxr.cdi.ptycho.examine import halves_of
from batteryxr.core.blocks.digests import digest, labels
from batteryxr.core.device import to_numpy
from batteryxr.core.errors import StoreError
from batteryxr.core.ledger import Ledger, mark_digest
from batteryxr.core.resume import CLAIM
from batteryxr.core.store import JOURNAL, Location, holds_data, open_dataset
from batteryxr.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from batteryxr.cdi.ptycho.experiment import Experiment
    from batteryxr.cdi.ptycho.kernels.state import State
    from batteryxr.cdi.ptycho.settings import KramersKronig, Registration, Settings
    from batteryxr.core.store import StoreLike

#: Group of the finished result, and key of the mark that it is complete.
RESULT, FINISHED = "ptycho", "finished"
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


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Hold experiments of all energies, and settings for their common result.

    Parameters
    ----------
    experiments
        One experiment per energy, with rising energies.
    settings
        Settings of each energy.
    ledger
        Ledger of states and objects.
    workers, checkpoint, progress
        Energies at a time, iterations between two states that are kept, and whether to
        show a bar.
    kramers_kronig, registration
        Coupling and alignment of the energies.
    sizes
        Sizes of the scan, with frames that were left out.
    coords
        Coordinates of the frames in the scan.
    halves
        Whether half scans are also reconstructed.
    part
        Name of a half scan; empty: the whole.
    """

    experiments: list[Experiment]
    settings: Settings
    ledger: Ledger
    workers: int
    checkpoint: int
    kramers_kronig: KramersKronig | None
    registration: Registration
    progress: bool | None
    sizes: dict[Any, int]
    coords: dict[Any, Any]
    halves: bool = False
    part: str = ""

    @property
    def objects(self) -> StoredObjects:
        """Return the objects of all energies."""
        return StoredObjects(self.experiments, self.ledger, self.part)

    def seed(self, k: int) -> tuple[int, ...]:
        """Return the seed of energy `k`."""
        own = (ord(self.part[0]),) if self.part else ()
        return (*self.settings.seed, k, *own)

    def parts(self) -> list[Stack]:
        """Return the whole, and its two halves where they are asked for."""
        if not self.halves:
            return [self]
        each = [halves_of(e) for e in self.experiments]
        pairs = zip("ab", zip(*each, strict=True), strict=True)
        return [self, *(replace(self, experiments=[*e], part=p) for p, e in pairs)]

    @property
    def energy(self) -> np.ndarray:
        """Return the energies in eV."""
        return np.array([e.energy for e in self.experiments])

    @property
    def store(self) -> Location:
        """Return the location of states and result."""
        return self.ledger.location


def mark_of(stack: Stack) -> dict[str, Any]:
    """Return all that the result depends on, to distinguish calls."""
    settings, relation = stack.settings, stack.kramers_kronig
    marked = asdict(settings) | {"engine": repr(settings.engine)}
    del marked["streamed"]  # which changes nothing
    weights = {id(e.weight): e.weight for e in stack.experiments}.values()
    vacuum = stack.registration.vacuum
    told = [e.background for e in stack.experiments if e.background is not None]
    probes = {id(e.probe): e.probe for e in stack.experiments}.values()
    halves: dict[str, Any] = {"halves": True} if stack.halves else {}
    if any(e.near for e in stack.experiments):
        halves["near"] = [e.near for e in stack.experiments]
    return halves | {
        "version": __version__,
        "settings": marked,
        "kramers_kronig": asdict(relation) if relation else None,
        "shifts": stack.registration.shifts,
        "vacuum": "" if vacuum is None else _with_grid(vacuum),
        "frames": _digests(stack),
        "energy": stack.energy.tolist(),
        "pixel": [e.pixel for e in stack.experiments],
        "positions": digest(
            *(v for e in stack.experiments for v in (e.corners, e.y, e.x))
        ),
        "coordinates": {
            str(name): digest(c.values) for name, c in stack.coords.items()
        },
        "labels": labels(stack.coords),
        "mask": digest(*weights),
        "probe": digest(*probes),
        "background": ",".join(dict.fromkeys(digest(b) for b in told)),
    }


def _with_grid(image: xr.DataArray) -> str:
    """Return a digest of an image and its grid."""
    axes = [str(d) for d in sorted(image.dims, key=str)]
    placed = image.transpose(*axes)
    return digest(placed.values, *(image[d].values for d in axes))


def _digests(stack: Stack) -> dict[str, list[Any]]:
    """Return type, shape and digest of all frames, energy by energy."""
    found = {}
    for energy, experiment in zip(stack.energy, stack.experiments, strict=True):
        assert experiment.seen is not None
        frames = experiment.frames
        text = experiment.seen.digest
        found[f"{energy} eV"] = [str(frames.dtype), *frames.shape, text]
    return found


def is_finished(stack: Stack, mark: dict[str, Any]) -> bool:
    """Return whether this result is complete; the ledger may be gone.

    Raises
    ------
    StoreError
        If the store holds a reconstruction of something else.
    """
    there = holds_data(stack.store, RESULT)
    if stack.ledger.mark() is None and there:
        result = open_dataset(stack.store, RESULT)
        if result.attrs.get(CLAIM) != mark_digest(mark):
            raise StoreError(
                f"{stack.store}, group {RESULT!r} was made from other data or with "
                "other arguments. Choose another store, or delete it."
            )
        return True
    stack.ledger.claim(mark)
    return there and stack.ledger.has(FINISHED)
