"""Replace detector numbers that are no counts: gaps, bad or saturated pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import warn_quality
from batteryxr.io.door.hdf5 import attribute, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Message about frames whose file holds integers.
FLAG = (
    "the largest number of a type, infinite and negative numbers are no counts (gaps, "
    "bad or saturated pixels): NaN"
)
#: Largest numbers of 32- and 64-bit types, as rounded to float32 and float64.
_LARGEST = np.unique(
    [float(np.float32(n)) for n in (2**31 - 1, 2**32 - 2, 2**63, 2**64)]
    + [float(n) for n in (2**31 - 1, 2**32 - 2, 2**32 - 1)]
)
#: Negative integers that detectors write as marks; a subtraction leaves others too.
_MARKS = (-1.0, -2.0, -(2.0**15))
#: Largest numbers of counters and converters with fewer bits than their type.
_FULL: dict[float, int] = {2**bits - 1: bits for bits in (10, 12, 14, 16, 18, 20, 24)}
#: Pixels at that number are saturated if there are so many, and more than just below.
_PILED, _BELOW = 4, 0.99
#: Fewest numbers, and least number, of which one is called alone; times all others.
_ENOUGH, _BRIGHT, _ABOVE = 64, 255.0, 8
#: Most of a single frame that scattered marks take (fraction). Where there are more
#: marks, the fraction that must have a marked neighbour.
_RARE, _TOGETHER = 0.01, 0.9
#: Names of the largest sound number: NeXus, and masters of Eiger detectors.
_MOST = (
    "saturation_value",
    "detectorSpecific/saturation_value",
    "detectorSpecific/countrate_correction_count_cutoff",
)
_BITS = ("bit_depth_image", "detectorSpecific/bit_depth_image")
#: Attributes of a dataset that give the number of a missing value.
FILLS = ("_FillValue", "missing_value")
#: Fewest counts at which a detector saturates: less is a number that nobody filled in.
_LEAST = 100.0


def counts_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of counts: integers become float32, which can hold NaN."""
    return np.dtype(np.float32) if np.dtype(dtype).kind in "iu" else np.dtype(dtype)


def only_counts(values: np.ndarray, source: str) -> np.ndarray:
    """Return counts as floating numbers, with NaN where there are none.

    Parameters
    ----------
    values
        Numbers as stored in the file. Floating numbers that are infinite, or the
        largest of an integer type, are no counts. Neither are -1, -2 and less than
        -2**15, if all numbers are whole and these stay at their pixels, as in frames
        that were integers once.
    source
        Name of the file, for the warning.

    Warns
    -----
    DataQualityWarning
        If numbers are replaced; the words are the same for all parts of a file. Also
        if pixels pile up at the largest number of a counter with fewer bits.
    """
    if values.dtype.kind == "f":
        return _only_counts_of_floats(values, source)
    if values.dtype.kind not in "iu":
        return values
    found = values.astype(np.float32)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    top = _top(values.dtype)
    if low < 0 or high >= top:
        bad = (values < 0) | (values >= top)
        found[bad] = np.nan
        tell_bad(low if low < 0 else high, source)
        high = int(values[~bad].max(initial=0))
    _tell_highest(values, high, source)
    return found


def _only_counts_of_floats(values: np.ndarray, source: str) -> np.ndarray:
    if not values.size:
        return values
    low, high = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
    bad = None
    if high >= _LARGEST[0] or low == -np.inf:
        bad = np.isinf(values) | np.isin(values, _LARGEST.astype(values.dtype))
    if low < 0 and (low == -np.inf or low == np.floor(low)):
        below = values[values < 0]
        marked = np.isin(below, _MARKS[:2]) | (below <= _MARKS[2])
        known = values[np.isfinite(values)]
        whole = (known == np.floor(known)).all()
        odd = (values < 0) | (False if bad is None else bad)
        if marked.all() and whole and _are_marks(odd):
            bad = odd
    if bad is not None and bad.any():
        tell_bad(values[bad][0], source)
        values = np.where(bad, values.dtype.type(np.nan), values)
        high = np.fmax.reduce(values, None)
    _tell_highest(values, high, source)
    return values


def _are_marks(below: np.ndarray) -> bool:
    """Tell whether negative numbers mark bad pixels, or are left by a subtraction.

    Marks stay at their pixels from frame to frame. In a single frame they are few, or
    side by side; negative numbers left by a subtraction are scattered.
    """
    if below.ndim > 2 and len(below) > 1:
        frames = below.reshape(len(below), -1)
        return bool(2 * frames.all(axis=0).sum() >= frames.any(axis=0).sum())
    if below.ndim < 2 or below.mean() <= _RARE:
        return True
    frame = below.reshape(below.shape[-2:])
    edge = np.pad(frame, 1)
    beside = edge[:-2, 1:-1] | edge[2:, 1:-1] | edge[1:-1, :-2] | edge[1:-1, 2:]
    return bool((beside & frame).sum() >= _TOGETHER * frame.sum())


def tell_bad(value: float, source: str) -> None:
    """Warn that numbers such as `value` are no counts."""
    warn_quality(
        f"{source}: pixels that hold {value:.10g} or such are no counts but gaps, bad "
        "or saturated: NaN"
    )


def _tell_highest(values: np.ndarray, high: float, source: str) -> None:
    """Warn if pixels pile up at the most of a counter with fewer bits, or one is alone.

    A cosmic ray or a damaged byte is far above all others; a hot pixel is so in every
    frame.
    """
    judged = values.size >= _ENOUGH and high > _BRIGHT
    if judged and np.count_nonzero(values > high / _ABOVE) == 1:
        warn_quality(
            f"{source}: one pixel holds {high:.6g}, more than {_ABOVE} times any "
            "other beside it: a damaged byte, or a cosmic ray?"
        )
    if high in _FULL:
        at_top = int((values == high).sum())
        near = int((values >= _BELOW * high).sum()) - int((values > high).sum())
        if at_top >= _PILED and at_top > near - at_top:
            warn_quality(
                f"{source}: pixels pile up at {high:.0f}, the most of {_FULL[high]} "
                "bits: they may be saturated"
            )


def _top(dtype: np.dtype[Any]) -> int:
    """Return the least number that is no count; fast detectors reserve the top two."""
    top = int(np.iinfo(dtype).max)
    return top - 1 if dtype.itemsize >= 4 and dtype.kind == "u" else top


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
        if not self.marks and self.most == np.inf:
            return counts
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
    marks = [one_of(attribute(node, n, None)) for n in FILLS]
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
    return one_of(node[()])


def one_of(value: Any) -> float:
    """Return the only number of an attribute or dataset; NaN if it is none."""
    number = np.asarray(value)
    sound = number.size == 1 and number.dtype.kind in "iuf"
    return float(number.ravel()[0]) if sound else np.nan
