"""Find frames, positions and geometry in an HDF5 file of ptychography."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batteryxr.core import blocks
from batteryxr.core.errors import ArgumentError, FileFormatError
from batteryxr.core.model import attributes
from batteryxr.core.units import affine
from batteryxr.core.xray import HC
from batteryxr.io.door.chunks import grows
from batteryxr.io.door.counts import FLAG
from batteryxr.io.door.datasets import FileFrames, frames_of, gaps, paired, read_all
from batteryxr.io.door.hdf5 import attribute, text
from batteryxr.io.frames.ptychography_layouts import QUANTITIES, Layout, matching

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Signs = tuple[int, int] | tuple[str, str]

_JOULE = 1.602176634e-19  # per eV
#: Lowest energy at which ptychography is done, eV.
_FAINT = 50.0
#: Dimensions of frames.
DIMS = ("position", "detector_y", "detector_x")
#: Fewest frames per chunk.
_CHUNK = 64


def first(
    held: Mapping[str, Any],
    patterns: tuple[str, ...],
    axes: tuple[int, ...] | None = None,
    size: tuple[int, ...] | None = None,
) -> str | None:
    """Return the first numeric dataset that matches, with given axes and size."""
    for pattern in patterns:
        for path in matching(held, pattern):
            item = held[path]
            if item.dtype.kind not in "iufcb":
                continue
            fits = axes is None or len(item.shape) in axes
            if fits and (size is None or item.size in size):
                return path
    return None


class LayoutSearch:
    """Search a file for the quantities of a layout."""

    def __init__(self, path: Path, held: Mapping[str, Any], layout: Layout) -> None:
        self.path, self.held, self.layout = path, held, layout
        self.gaps = np.zeros((1, 1), bool)
        self.growing = any(grows(item) for item in held.values())

    def frames(self) -> tuple[Any, tuple[int, ...]]:
        """Return lazy frames (position, y, x), and the shape as stored."""
        patterns = self.layout.paths.get("frames", ())
        name = first(self.held, patterns, axes=(3, 4))
        if name is None:
            raise FileFormatError(
                self.path,
                f"no frames at {self._looked('frames')}. Datasets of 3 or more axes: "
                f"{listed(self.held, 3)}. Tell where they are with "
                "format={'frames': path, ...}.",
            )
        pattern = next(p for p in patterns if name in matching(self.held, p))
        names = [
            n
            for n in matching(self.held, pattern)
            if self.held[n].shape[1:] == self.held[name].shape[1:]
        ]
        sources = [frames_of(self.path, self.held[n], counts=True) for n in names]
        self.gaps = np.any([gaps(source) for source in sources], axis=0)
        parts = [self._lazy(*pair) for pair in zip(names, sources, strict=True)]
        shape = sources[0].shape
        if len(shape) == 3:
            shape = (sum(len(p) for p in parts), *shape[1:])
        return blocks.concatenate(parts), shape

    def _lazy(self, name: str, source: FileFrames) -> Any:
        item = self.held[name]
        shape, stored = source.shape, (item.chunks or (1,))[0]
        wanted = _CHUNK if len(shape) == 3 else max(1, _CHUNK // shape[1])
        step = min(shape[0], max(stored, -(-wanted // stored) * stored))
        lazy = blocks.from_source(source, (step, *shape[1:]), asarray=False)
        return lazy if len(shape) == 3 else lazy.reshape(-1, *shape[2:])

    def quantity(self, name: str, size: tuple[int, ...] | None = None) -> Any:
        """Return values in our units, or None if the file has none."""
        path = first(self.held, self.layout.paths.get(name, ()), size=size)
        if path is None:
            return None
        item = self.held[path]
        theirs, ours = QUANTITIES[name]
        units = text(attribute(item, "units")).strip()
        units = units or self.layout.units.get(name, theirs)
        if units == "?":
            raise FileFormatError(
                self.path,
                f"{path} names no units: pass {self._with_units(name, path)}, "
                "with the right ones.",
            )
        values = np.asarray(read_all(item), float)
        if ours == "1":
            return values
        if units == "J":
            return values / _JOULE
        try:
            return values * affine(units, ours)[0]
        except ValueError as error:
            raise FileFormatError(self.path, f"{path}: {error}") from error

    def _with_units(self, name: str, path: str) -> str:
        """Return the `format` argument to pass, with units for a dataset."""
        one = {
            k: p for k, own in self.layout.paths.items() if (p := first(self.held, own))
        }
        pairs = {
            k: f"({p!r}, 'um')" if self.layout.units.get(k) == "?" else repr(p)
            for k, p in ({name: path} | one).items()
        }
        return f"format={{{', '.join(f'{k!r}: {p}' for k, p in pairs.items())}}}"

    def positions(self, scan: tuple[int, ...], at: dict[str, Any]) -> np.ndarray | None:
        """Return the beam positions (2, n) in nm, or None if none are found."""
        n = math.prod(scan)
        sizes = (n, *scan) if len(scan) == 2 else (n,)
        given = [v for v in at.values() if v is not None]
        if len(given) == 1:
            raise ArgumentError("position_y, position_x", "one of them", "both")
        if given:
            return np.stack([checked(k, v, n) for k, v in at.items()])
        if self.growing and len(scan) == 1:
            return self._so_far(n)
        both = [self.quantity(axis, sizes) for axis in "yx"]
        if both[0] is not None and both[1] is not None:
            y, x = (np.ravel(v) for v in both)
            if len(scan) == 2 and (y.size, x.size) == scan:
                y, x = (v.ravel() for v in np.meshgrid(y, x, indexing="ij"))
            if y.size == x.size == n:
                return np.stack([y, x])
        columns = self.quantity("positions")
        if columns is not None and columns.ndim == 2:
            columns = columns if len(columns) == n else columns.T
            if len(columns) == n:
                order = [self.layout.columns.index(axis) for axis in "yx"]
                return columns[:, order].T
        return None

    def _so_far(self, n: int) -> np.ndarray | None:
        """Return the positions of the frames that have one, in a growing file."""
        patterns = [self.layout.paths.get(axis, ()) for axis in "yx"]
        nodes = [self.held.get(first(self.held, p, axes=(1,)) or "") for p in patterns]
        if all(node is not None for node in nodes):
            for node in nodes:
                n = paired(self.path, node, n)
            return np.stack([np.ravel(self.quantity(axis))[:n] for axis in "yx"])
        columns = self.quantity("positions")
        if columns is None or columns.ndim != 2:
            return None
        node = self.held[first(self.held, self.layout.paths["positions"]) or ""]
        order = [self.layout.columns.index(axis) for axis in "yx"]
        return columns[: paired(self.path, node, n), order].T

    def scan(
        self,
        frames: Any,
        where: np.ndarray | None,
        told: dict[str, float | None],
        signs: Signs | None,
    ) -> xr.Dataset:
        """Return the scan with its coordinates, mask and probe."""
        n = frames.shape[0]
        if where is None:
            self._check_stopped(n)
            raise FileFormatError(
                self.path,
                f"no positions for {n} frames: looked at {self._looked('y', 'x')}. "
                f"Datasets of that length: {listed(self.held, 0, n)}. Tell which with "
                "format={'x': path, 'y': path, ...}, the file that holds them with "
                "positions_from=..., or pass position_y and position_x.",
            )
        y, x = turned(where, signs, self.layout.signs)
        frames = frames[: where.shape[1]]
        found = {name: self._geometry(name, value) for name, value in told.items()}
        coords: dict[str, Any] = {
            "position_y": ("position", y, attributes("position_y")),
            "position_x": ("position", x, attributes("position_x")),
            **_labels(found),
        }
        counts = attributes("frames", units="1", long_name="Counts", flag=FLAG)
        variables: dict[str, Any] = {"frames": (DIMS, frames, counts)}
        bad = self._bad(frames.shape[1:])
        if bad is not None:
            named = attributes("mask", units="1", long_name="Bad pixels")
            variables["mask"] = (DIMS[1:], bad, named)
        probe = first(self.held, self.layout.paths.get("probe", ()), axes=(2, 3))
        if probe is not None:
            modes = np.asarray(read_all(self.held[probe]), np.complex64)
            modes = modes[None] if modes.ndim == 2 else modes
            dims = ("probe_mode", "probe_y", "probe_x")
            named = attributes("probe", units="1", long_name="Probe")
            variables["probe"] = (dims, modes, named)
        scan = xr.Dataset(variables, coords=coords)
        scan.attrs["source_files"] = [self.path.name]
        return scan

    def _check_stopped(self, n: int) -> None:
        """Raise if a file has positions, but not one for each frame."""
        sizes = {}
        for axis in "yx":
            path = first(self.held, self.layout.paths.get(axis, ()), axes=(1, 2))
            if path is not None:
                sizes[path] = math.prod(self.held[path].shape)
        if len(sizes) == 2 and len({*sizes.values()}) == 1:
            (y, m), (x, _) = sizes.items()
            raise FileFormatError(
                self.path,
                f"{n} frames but {m} positions at {y} and {x}: was the scan stopped "
                f"early? Pass position_y and position_x (nm) of the {n} frames"
                f"{f', the first {n} of them' if m > n else ''}.",
            )

    def _bad(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return the bad pixels: the mask of the file, and gaps in the frames."""
        name = first(self.held, self.layout.paths.get("mask", ()), axes=(2,))
        if name is not None and self.held[name].shape == shape:
            return np.asarray(self.gaps | (np.asarray(read_all(self.held[name])) != 0))
        return self.gaps if self.gaps.any() else None

    def _geometry(self, name: str, value: float | None) -> float:
        found = None if value is not None else self.quantity(name)
        if value is None and found is None and name == "energy":
            wavelength = self.quantity("wavelength")
            found = None if wavelength is None else HC / wavelength
        if value is None and found is None:
            near = [p for p in self.held if name.split("_")[-1][:6] in p.lower()]
            raise FileFormatError(
                self.path,
                f"no {name}: looked at {self._looked(name)}. Pass {name}=..., or say "
                f"where it is with format={{{name!r}: path, ...}}"
                + (f"; perhaps {near[:6]}." if near else "."),
            )
        number = float(np.ravel(found)[0] if value is None else value)  # type: ignore[arg-type]
        if name == "distance":  # some write it with a negative sign
            number = abs(number)
        if not (np.isfinite(number) and number > 0):
            raise FileFormatError(
                self.path, f"{name} is {number}; pass {name}=... instead."
            )
        if name == "energy" and number < _FAINT:
            raise FileFormatError(
                self.path,
                f"energy is {number:g} eV, too little for X-rays. Was it in keV? Pass "
                f"energy={1e3 * number:g}.",
            )
        return number

    def centre(self) -> tuple[float, float] | None:
        """Return row and column of the direct beam, or None if not in the file."""
        both = [self.quantity(f"centre_{axis}") for axis in "yx"]
        if both[0] is None or both[1] is None:
            return None
        y, x = (float(np.ravel(v)[0]) for v in both)
        return (y, x) if y > 0 and x > 0 else None

    def _looked(self, *names: str) -> str:
        return ", ".join(p for n in names for p in self.layout.paths.get(n, ())) or "-"


def turned(
    where: np.ndarray, signs: Signs | None, usual: tuple[int, int] = (1, 1)
) -> np.ndarray:
    """Return positions (2, n), y first, with their signs changed or swapped.

    Parameters
    ----------
    where
        Positions as they are in a file.
    signs
        Factors that replace the usual ones, or names of what becomes y and x.
    usual
        Usual factors of the layout.

    Raises
    ------
    ArgumentError
        If `signs` are neither factors nor names.
    """
    pair: tuple[Any, ...] = tuple(usual if signs is None else signs)
    if all(isinstance(s, str) for s in pair):
        names = [s.lstrip("-") for s in pair]
        if sorted(names) != ["x", "y"] or any(s.count("-") > 1 for s in pair):
            raise ArgumentError(
                "sign", signs, "two of 'y', '-y', 'x', '-x', one of each"
            )
        own = where * np.array(usual, float)[:, None]
        both = [
            own["yx".index(name)] * (-1.0 if s[0] == "-" else 1.0)
            for name, s in zip(names, pair, strict=True)
        ]
        return np.stack(both)
    if len(pair) != 2 or any(isinstance(s, str) or abs(s) != 1 for s in pair):
        raise ArgumentError("sign", signs, "two factors, 1 or -1, or two names")
    return np.asarray(where * np.array(pair, float)[:, None])


def _labels(geometry: Mapping[str, float]) -> dict[str, Any]:
    return {
        "energy": ((), geometry["energy"], attributes("energy")),
        "distance": (
            *((), geometry["distance"]),
            {"units": "mm", "long_name": "Sample to detector"},
        ),
        "pixel_pitch": (
            *((), geometry["pixel_pitch"]),
            {"units": "um", "long_name": "Detector pixel"},
        ),
    }


def checked(name: str, values: Any, n: int) -> np.ndarray:
    """Return one number per frame, or raise an `ArgumentError`."""
    found = np.asarray(values, float)
    if found.shape != (n,):
        raise ArgumentError(name, found.shape, f"one per frame, ({n},)")
    return found


def listed(held: Mapping[str, Any], axes: int = 0, size: int | None = None) -> str:
    """Return paths and shapes of datasets as text for a message."""
    found = [
        f"{path} {item.shape}"
        for path, item in held.items()
        if len(item.shape) >= axes and (size is None or item.size == size)
    ]
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return (", ".join(found[:12]) or "none") + more
