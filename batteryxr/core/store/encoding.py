"""Encoding of variables: codecs, checksums and chunks."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from batteryxr.core.errors import DataError
from batteryxr.core.files import is_text

if TYPE_CHECKING:
    import xarray as xr

#: Rows of a table per chunk, about 8 MB of float64.
ROWS = 1_000_000
#: Chunk of a (energy, y, x) stack: a frame and a spectrum are both quick.
STACK = {"energy": 8, "y": 256, "x": 256}
#: Whole detector frames per chunk, and the bytes that a chunk stays below; at least 32.
FRAMES, FRAME_CHUNK = 64, 150_000_000

#: Attributes that say how values are coded; reading a store applies them.
_CODING = frozenset({"_FillValue", "add_offset", "missing_value", "scale_factor"})
#: Bytes of the longest numbers that zarr supports.
_WIDEST = {"f": 8, "c": 16}


def encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return zarr encodings: a codec and chunks that suit the values.

    A checksum (crc32c) follows each chunk.

    Numbers take lz4 with byte shuffle, which costs next to nothing. Counts of detectors
    are mostly zero bits: zstd (level 3) with bit shuffle stores measured frames 1.3
    (ptychography) to 1.7 times (Bragg CDI) smaller than lz4 with bit shuffle, and still
    reads faster than a disk delivers; higher levels gain 4 to 10 % and write 2 to 20
    times slower. ``benchmarks/storage.py`` measures them side by side.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

    text = ZstdCodec(level=0)
    plain = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
    counts = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    chosen: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        number = variable.dtype.kind in "biufcmM"
        codec: Any = text
        if number:
            codec = counts if _is_frames(variable) else plain
        entry: dict[str, Any] = {"compressors": (codec, Crc32cCodec())}
        if number and variable.chunks is None and variable.ndim:
            entry["chunks"] = _default_chunks(variable)
        chosen[str(name)] = entry
    return chosen


def _is_frames(variable: xr.Variable) -> bool:
    """Return whether a variable holds counts of a detector, frame by frame."""
    frames = {"detector_y", "detector_x"} < set(variable.dims)
    return frames and variable.dtype.kind in "iuf"


def _default_chunks(variable: xr.Variable) -> tuple[int, ...]:
    if variable.ndim == 1:
        return (min(variable.size, ROWS) or 1,)
    if _is_frames(variable):
        sizes = _frame_chunks(variable)
        return tuple(sizes[str(dim)] or 1 for dim in variable.dims)
    image = {"y", "x"} <= set(variable.dims)
    return tuple(
        max(1, min(n, STACK.get(str(dim), n) if image else n))
        for dim, n in zip(variable.dims, variable.shape, strict=True)
    )


def _frame_chunks(variable: xr.Variable) -> dict[str, int]:
    """Return the chunk of each dimension: whole frames, many along the last scan."""
    *scans, along = (str(d) for d in variable.dims if "detector" not in str(d))
    sizes = {str(d): variable.sizes[d] for d in variable.dims} | dict.fromkeys(scans, 1)
    frame = variable.dtype.itemsize * sizes["detector_y"] * sizes["detector_x"]
    group = max(32, min(FRAMES, FRAME_CHUNK // max(frame, 1)))
    return sizes | {along: min(sizes[along], group)}


def frames_together(dataset: xr.Dataset) -> xr.Dataset:
    """Return lazy frames in chunks of at least 32 whole frames."""
    together = {}
    for name, variable in dataset.variables.items():
        if variable.chunks is None or not _is_frames(variable):
            continue
        wanted = _frame_chunks(variable)
        few = any(
            variable.chunksizes[d][0] < min(wanted[str(d)], 32)
            or ("detector" in str(d) and len(variable.chunksizes[d]) > 1)
            for d in variable.dims
            if wanted[str(d)] > 1
        )
        if few:
            together[name] = variable.chunk(wanted)
    return dataset.assign(together) if together else dataset


def uniform(dataset: xr.Dataset) -> xr.Dataset:
    """Return lazy variables in chunks of one size, as zarr stores them.

    Chunks of a selection, or of joined data, differ in size: the largest decides.

    Raises
    ------
    DataError
        If the sizes are unknown before the data are computed.
    """
    alike = {}
    for name, variable in dataset.variables.items():
        sizes = {d: n for d, n in variable.chunksizes.items() if not _is_uniform(n)}
        if any(math.isnan(n) for held in sizes.values() for n in held):
            raise DataError(
                f"{name!r}",
                "the sizes of its chunks are not known",
                "Compute it first.",
            )
        if sizes:
            alike[name] = variable.chunk({d: max(n) for d, n in sizes.items()})
    return dataset.assign(alike) if alike else dataset


def _is_uniform(sizes: tuple[int, ...]) -> bool:
    return len(set(sizes[:-1])) <= 1 and sizes[-1] <= sizes[0]


def storable(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset as zarr takes it best.

    Encodings remembered from another file would fight with ours. Text of fixed length
    has no place in zarr's specification; text of variable length has.

    Raises
    ------
    DataError
        If a name, a value or an attribute has no place in a store.
    """
    _require_storable(dataset)
    bare = dataset.drop_encoding()
    texts = {
        name: v.copy(data=_text(v.data, name))
        for name, v in bare.variables.items()
        if v.dtype.kind in "UTO"
    }
    coords = {name: v for name, v in texts.items() if name in bare.coords}
    return bare.assign(
        {name: v for name, v in texts.items() if name not in coords}
    ).assign_coords(coords)


def with_text(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose text is numpy's, which all operations know."""
    texts = {
        name: v.copy(data=np.array(v.values.tolist(), dtype=str))
        for name, v in dataset.variables.items()
        if v.dtype.kind == "T"
    }
    if not texts:
        return dataset
    coords = {name: v for name, v in texts.items() if name in dataset.coords}
    data = {name: v for name, v in texts.items() if name not in coords}
    return dataset.assign(data).assign_coords(coords)


def _text(values: Any, name: Any) -> Any:
    """Return text of variable length, row by row in memory; raise if some is missing.

    zarr writes text in the order of memory, and reads it as rows.
    """
    if not isinstance(values, np.ndarray):
        return values.map_blocks(_text, name, dtype=np.dtypes.StringDType())
    if values.dtype.kind == "O" or hasattr(values.dtype, "na_object"):
        gaps = [v for v in values.flat if not isinstance(v, str)]
        if gaps:
            problem = f"text with gaps ({gaps[0]!r}) would come back as other text"
            mend = "Fill them first, as with `.fillna`."
            raise DataError(f"{name!r}", problem, mend)
    try:
        return values.astype(np.dtypes.StringDType(), order="C")
    except TypeError as error:  # half a character, as of names that are not in UTF-8
        broken = next(repr(v) for v in values.flat if not is_text(v))
        problem = f"{broken} holds what is no character"
        raise DataError(f"{name!r}", problem, "Replace it.") from error


def _require_storable(dataset: xr.Dataset) -> None:
    """Raise where a name, a value or an attribute has no place in a store."""
    _require_attributes("the dataset", dataset.attrs)
    for name, variable in dataset.variables.items():
        what = f"{name!r}"
        odd = not isinstance(name, str) or name in ("", ".", "..")
        if odd or {"/", "\\", "\0"} & set(str(name)) or not is_text(name):
            raise DataError(what, "this name has no place in a store", "Rename it.")
        if odd_dims := [d for d in variable.dims if not is_text(d)]:
            what = f"dimension {odd_dims[0]!r}"
            raise DataError(what, "this name has no place in a store", "Rename it.")
        if (
            variable.dtype.kind in "fc"
            and variable.dtype.itemsize > _WIDEST[variable.dtype.kind]
        ):
            kind, mend = variable.dtype, 'Call `.astype("float64")`.'
            raise DataError(what, f"zarr has no numbers of type {kind}", mend)
        _require_attributes(what, variable.attrs)


def _require_attributes(what: str, attrs: dict[Any, Any]) -> None:
    for key, value in attrs.items():
        if key in _CODING:
            problem = f"attribute {key!r} would change the values when they are read"
            raise DataError(what, problem, "Apply it first, then delete it.")
        bare = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        try:
            json.dumps(bare, default=_plain)
        except (TypeError, ValueError) as error:
            problem = f"attribute {key!r} is of type {type(value).__name__}"
            mend = "Make it text or numbers, or delete it."
            raise DataError(what, problem, mend) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(type(value).__name__)
