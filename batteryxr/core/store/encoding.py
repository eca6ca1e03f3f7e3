"""How variables are written: codecs, checksums and chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

#: Rows of a table per chunk, about 8 MB of float64.
ROWS = 1_000_000
#: Chunk of a (energy, y, x) stack: a frame and a spectrum are both quick.
STACK = {"energy": 8, "y": 256, "x": 256}
#: Whole detector frames per chunk, and the bytes that a chunk stays below; at least 32.
FRAMES, FRAME_CHUNK = 64, 150_000_000


def encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return zarr encodings: the codec that suits the values, chunks that serve well.

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
    """Tell whether a variable holds counts of a detector, frame by frame."""
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
    """Return lazy frames in chunks of at least 32 whole ones."""
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


def storable(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset as zarr takes it best.

    Encodings remembered from another file would fight with ours. Text of fixed length
    has no place in zarr's specification; text of variable length has.
    """
    bare = dataset.drop_encoding()
    texts = {
        name: v.astype(np.dtypes.StringDType())
        for name, v in bare.variables.items()
        if v.dtype.kind == "U"
    }
    coords = {name: v for name, v in texts.items() if name in bare.coords}
    return bare.assign(
        {name: v for name, v in texts.items() if name not in coords}
    ).assign_coords(coords)
