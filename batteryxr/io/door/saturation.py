"""Find what an HDF5 file says of its detector: which numbers are no counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.io.door.counts import tell_bad
from batteryxr.io.door.hdf5 import attribute, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Names of the largest sound number: NeXus, and masters of Eiger detectors.
_MOST = (
    "saturation_value",
    "detectorSpecific/saturation_value",
    "detectorSpecific/countrate_correction_count_cutoff",
)
_BITS = ("bit_depth_image", "detectorSpecific/bit_depth_image")
#: Attributes of a dataset that give the number of a missing value.
_FILLS = ("_FillValue", "missing_value")
#: Fewest counts at which a detector saturates: less is a number that nobody filled in.
_LEAST = 100.0


@dataclass(frozen=True)
class NoCounts:
    """Tell which numbers of a dataset are no counts.

    Parameters
    ----------
    most
        Numbers above it are saturated.
    marks
        Numbers that stand for a missing value.
    """

    most: float = np.inf
    marks: tuple[float, ...] = ()

    def left_out(
        self, values: np.ndarray, counts: np.ndarray, source: str
    ) -> np.ndarray:
        """Return counts with NaN where the numbers of the file are none.

        Warns
        -----
        DataQualityWarning
            If there are such numbers.
        """
        bad = values > self.most
        if self.marks:
            bad |= np.isin(values, np.asarray(self.marks, values.dtype))
        if not bad.any():
            return counts
        tell_bad(values[bad].max(), source)
        return np.where(bad, counts.dtype.type(np.nan), counts)


def told_of(path: Path, node: Any) -> NoCounts:
    """Return what a file says of the numbers of a dataset.

    Parameters
    ----------
    path
        The file that was opened: the detector is described there, also where the
        dataset lies in another one.
    node
        The dataset.
    """
    whole = node.dtype.kind in "iu"
    marks = [_one(attribute(node, n, None)) for n in _FILLS]
    most = np.inf
    with opened(path, again=True) as file:
        each = list(_detectors(file))
        own = [d for d in each if node.name.startswith(f"{d.name}/")]
        for detector in own or each * (len(each) == 1):
            for name in _MOST:
                told = _number(detector, name)
                most = min(most, told if told >= _LEAST else np.inf)
            for name in _BITS:
                bits = _number(detector, name)
                if whole and 8 <= bits < 8 * node.dtype.itemsize:
                    marks.append(2.0**bits - 1)
    return NoCounts(most, tuple(sorted({m for m in marks if np.isfinite(m)})))


def _detectors(file: Any) -> Iterator[Any]:
    """Yield the groups that describe a detector."""
    for entry in _groups(file):
        for part in _groups(entry):
            if str(part.name).rpartition("/")[2].startswith("instrument"):
                for group in _groups(part):
                    if any(n in group for n in (*_MOST, *_BITS)):
                        yield group


def _groups(group: Any) -> Iterator[Any]:
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
            continue
        inner = group[name]
        if isinstance(inner, h5py.Group):
            yield inner


def _number(group: Any, name: str) -> float:
    """Return a number beside others in a group; NaN if it is none."""
    import h5py

    node = group.get(name)
    if not isinstance(node, h5py.Dataset) or node.size != 1:
        return np.nan
    if node.dtype.kind not in "iuf" or node.is_virtual or node.external or node.chunks:
        return np.nan
    return _one(node[()])


def _one(value: Any) -> float:
    """Return the only number of an attribute or dataset; NaN if it is none."""
    number = np.asarray(value)
    sound = number.size == 1 and number.dtype.kind in "iuf"
    return float(number.ravel()[0]) if sound else np.nan
