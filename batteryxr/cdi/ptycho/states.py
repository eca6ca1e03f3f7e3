"""States in zarr: two slots per reconstruction, so that one is always whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.device import to_numpy
from batteryxr.core.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batteryxr.cdi.ptycho.kernels.state import State

#: Group of the states inside the store; readers of results do not look there.
STATES = "_journal"


def write(
    path: str,
    name: str,
    arrays: dict[str, np.ndarray] | Iterable[tuple[str, np.ndarray]],
    **attrs: Any,
) -> None:
    """Write arrays into a group of their own; the mark that it is whole comes last.

    Pairs of name and array are written as they come, each before the next is made.
    """
    import zarr

    target = Path(path) / STATES / name
    if target.exists():
        shutil.rmtree(target)
    group = zarr.create_group(str(path), path=f"{STATES}/{name}")
    for key, values in arrays.items() if isinstance(arrays, dict) else arrays:
        array = group.create_array(key, shape=values.shape, dtype=values.dtype)
        if values.size:
            array[...] = values
    group.attrs.update(attrs | {"whole": True})


def read(path: str, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Return the arrays and attributes of a group; None where it is not whole."""
    group = _whole(path, name)
    if group is None:
        return None
    return {key: np.asarray(a[...]) for key, a in group.arrays()}, dict(group.attrs)


def read_array(path: str, name: str, key: str) -> np.ndarray:
    """Return one array of a group that is whole."""
    import zarr

    group: Any = zarr.open_group(str(path), path=f"{STATES}/{name}", mode="r")
    return np.asarray(group[key][...])


def is_whole(path: str, name: str) -> bool:
    """Tell whether a group is there and whole."""
    return _whole(path, name) is not None


def _whole(path: str, name: str) -> Any:
    """Return a group; None if it was never begun, or killed while it was written.

    Most are asked for before they are there. Letting zarr raise then would keep the
    frames of the caller in memory: its tracebacks refer to themselves.
    """
    import zarr

    if not (Path(path) / STATES / name / "zarr.json").exists():
        return None
    try:
        group = zarr.open_group(str(path), path=f"{STATES}/{name}", mode="r")
        return group if group.attrs.get("whole") else None
    except (FileNotFoundError, KeyError, ValueError):
        return None


def save_state(path: str, k: int, state: State, misfits: list[float]) -> None:
    """Write the state of reconstruction `k` into the slot of the older one."""
    arrays = {
        "obj": to_numpy(state.obj),
        "probe": to_numpy(state.probe),
        "positions": state.positions,
        "misfits": np.asarray(misfits, float),
    }
    memory = {f"memory_{key}": to_numpy(v) for key, v in state.memory.items()}
    newest = _newest(path, k)
    slot = 0 if newest is None or newest[1] == 1 else 1
    write(path, f"states/{k}/{slot}", arrays | memory, iteration=state.iteration)


def load_state(
    path: str, k: int, bring: Callable[[np.ndarray], Any]
) -> tuple[State, list[float]] | None:
    """Return the newest whole state of reconstruction `k`, or None."""
    from batteryxr.cdi.ptycho.kernels.state import State

    newest = _newest(path, k)
    if newest is None:
        return None
    found = read(path, f"states/{k}/{newest[1]}")
    if found is None:
        return None
    arrays, attrs = found
    memory = {
        key.removeprefix("memory_"): bring(v)
        for key, v in arrays.items()
        if key.startswith("memory_")
    }
    state = State(
        bring(arrays["obj"]),
        bring(arrays["probe"]),
        arrays["positions"],
        int(attrs["iteration"]),
        memory,
    )
    return state, arrays["misfits"].tolist()


def read_state(path: str, k: int, key: str) -> np.ndarray:
    """Return one array of the newest whole state of reconstruction `k`.

    Raises
    ------
    StoreError
        If there is none.
    """
    newest = _newest(path, k)
    if newest is None:
        raise StoreError(f"{path}: the state of energy {k} is gone")
    return read_array(path, f"states/{k}/{newest[1]}", key)


def glance(path: str, k: int, *keys: str) -> tuple[int, list[np.ndarray]]:
    """Return the pass of reconstruction `k` and arrays of it; safe while it runs.

    0 and nothing where there is no state yet.
    """
    for _ in range(5):  # a slot may be written anew while it is read
        newest = _newest(path, k)
        if newest is None:
            return 0, []
        try:
            name = f"states/{k}/{newest[1]}"
            found = [read_array(path, name, key) for key in keys]
        except (FileNotFoundError, KeyError, ValueError):
            continue
        if _newest(path, k) == newest:
            return newest[0], found
    return 0, []


def iteration(path: str, k: int) -> int:
    """Return how many passes of reconstruction `k` are safe."""
    newest = _newest(path, k)
    return 0 if newest is None else newest[0]


def _newest(path: str, k: int) -> tuple[int, int] | None:
    """Return the pass of the newest whole state, and its slot."""
    slots = [_whole(path, f"states/{k}/{slot}") for slot in (0, 1)]
    found = [
        (int(group.attrs["iteration"]), slot)
        for slot, group in enumerate(slots)
        if group is not None
    ]
    return max(found) if found else None


def claim(path: str, mark: dict[str, Any], energy: np.ndarray) -> None:
    """Note what the store's states were made of, or check that it is the same.

    The energies (eV) stand beside it for those who look on.

    Raises
    ------
    StoreError
        If they were made of something else; it names what.
    """
    import json

    mark = json.loads(json.dumps(mark))
    found = read(path, "claim")
    if found is None:
        if (Path(path) / STATES / "states").exists():
            raise StoreError(f"{path} holds states of unknown origin. Choose another.")
        write(path, "claim", {"energy": energy}, mark=mark)
        return
    stored = found[1]["mark"]
    for key in sorted(stored.keys() | mark.keys()):
        if stored.get(key) != mark.get(key):
            raise StoreError(
                f"{path} holds a reconstruction of other data or arguments ({key}: "
                f"stored {str(stored.get(key))[:100]}, asked for "
                f"{str(mark.get(key))[:100]}). Choose another store, or delete it."
            )
