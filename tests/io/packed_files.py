"""Writes more traps: packed files whose headers say less than they unpack to."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import h5py
import numpy as np
from trap_files import TRAPS, hdf5, packed_zeros, tiff_of, trap

if TYPE_CHECKING:
    from pathlib import Path


def varint(number: int, length: int = 0) -> bytes:
    """Return a number as Thrift writes it, in at least `length` bytes."""
    parts = []
    number <<= 1  # zigzag
    while number or not parts or len(parts) < length:
        parts.append(number & 127 | 128)
        number >>= 7
    parts[-1] &= 127
    return bytes(parts)


def told_less(path: Path, pairs: dict[int, int]) -> None:
    """Replace numbers in the end of a parquet file."""
    raw = path.read_bytes()
    (footer,) = struct.unpack("<I", raw[-8:-4])
    place = len(raw) - 8 - footer
    end = raw[place:]
    for true, said in pairs.items():
        end = end.replace(varint(true), varint(said, len(varint(true))))
    path.write_bytes(raw[:place] + end)


@trap("page.bdf.parquet")
def _page(path: Path) -> None:
    """A page of millions of values in a table that tells of three rows."""
    import pyarrow as pa
    from pyarrow import parquet

    n = 2_000_000
    table = {k: np.zeros(n) for k in ("Test Time / s", "Voltage / V", "Current / A")}
    sizes = {"data_page_size": 1 << 30, "write_batch_size": n, "row_group_size": n}
    parquet.write_table(pa.table(table), path, use_dictionary=False, **sizes)
    group = parquet.read_metadata(path).row_group(0)
    size = group.column(0).total_uncompressed_size
    told_less(path, {n: 3, size: 200, group.total_byte_size: 600})


@trap("prefixes.bdf.parquet")
def _prefixes(path: Path) -> None:
    """Words of a million letters, each stored as: the same once more."""
    import pyarrow as pa
    from pyarrow import parquet

    table = {"Voltage / V": ["9" * 1_000_000] * 300, "Current / A": np.ones(300)}
    table["Test Time / s"] = np.arange(300.0)
    encoding = {"Voltage / V": "DELTA_BYTE_ARRAY"}
    parquet.write_table(
        pa.table(table), path, use_dictionary=False, column_encoding=encoding
    )


def archive(name: str, raw: bytes, times: int = 1):
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name, raw * times, compresslevel=1)
            noise = np.random.default_rng(1).bytes(600_000)
            file.writestr("noise.bin", noise)  # so that the whole is no bomb

    return write


def npy_head(shape: tuple[int, ...]) -> bytes:
    raw = io.BytesIO()
    about = {"descr": "<u2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(raw, about)
    return raw.getvalue()


trap("vast.npz")(archive("a.npy", npy_head((5000, 4000, 4000)) + b"1" * 1000))
trap("rows.rasx")(archive("Data0/Profile0.txt", b"1 2 1\n", 8_000_000))
trap("bomb.edf.gz")(
    lambda path: path.write_bytes(
        gzip.compress(
            b"{\nHeaderID = 1;\nDim_1 = 9000;\nDim_2 = 9000;\n"
            b"DataType = UnsignedShort;\nByteOrder = LowByteFirst;\n}\n"
            + bytes(162_000_000),
            1,
        )
    )
)
trap("picture.tif")(
    tiff_of(8, 8, b"\xff\xd8\xff\xc0\0\x0b\x08" + b"\xff" * 4 + b"\1\1\x11\0", 7)
)


def piece(raw: bytes, **how: object):
    """Write frames of 640 kB, each stored as the same piece."""

    @hdf5
    def write(file: h5py.File, path: Path) -> None:
        file["entry/data/energy"] = np.arange(700.0, 705)
        data = file.create_dataset(
            "entry/data/data", (5, 400, 400), "f4", chunks=(1, 400, 400), **how
        )
        for k in range(5):
            data.id.write_direct_chunk((k, 0, 0), raw)

    return write


trap("inside.h5")(piece(packed_zeros(400), compression="gzip"))
for _name, _filter in {"bitshuffle": 32008, "lz4": 32004}.items():
    _raw = struct.pack(">QI", 3_000_000_000, 8192) + bytes(4000)
    trap(f"{_name}.h5")(piece(_raw, compression=_filter, allow_unknown_filter=True))
for _name, _filter in {"sz3": 32024, "sperr": 32028}.items():
    trap(f"{_name}.h5")(
        piece(b"\xff" * 4000, compression=_filter, allow_unknown_filter=True)
    )


@trap("twice.h5")
@hdf5
def _twice(file: h5py.File, path: Path) -> None:
    file["entry/data/energy"] = np.arange(700.0, 705)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((5, 400, 400))
    plan.set_deflate(9)
    plan.set_deflate(9)
    space = h5py.h5s.create_simple((5, 400, 400))
    number = h5py.h5t.NATIVE_FLOAT
    data = h5py.h5d.create(file["entry/data"].id, b"data", number, space, plan)
    data.write_direct_chunk((0, 0, 0), zlib.compress(packed_zeros(600), 9))


@trap("one_piece.h5")
@hdf5
def _one_piece(file: h5py.File, path: Path) -> None:
    """Small frames in a single piece, all of which one frame unpacks."""
    shape = (4000, 250, 250)
    file["entry/data/energy"] = np.arange(700.0, 4700)
    data = file.create_dataset(
        "entry/data/data", shape, "u2", chunks=shape, compression="gzip"
    )
    data.id.write_direct_chunk((0, 0, 0), packed_zeros(476))


__all__ = ["TRAPS"]


@trap("hole.mpr")
def _hole(path: Path) -> None:
    """A right first word, and a gigabyte that the disk never stored."""
    with path.open("wb") as file:
        file.write(b"BIO-LOGIC MODULAR FILE\x1a")
        file.truncate(900_000_000)
