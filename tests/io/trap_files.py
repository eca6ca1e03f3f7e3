"""Writes small files made to hang a reader, fill its memory, or mislead it."""

from __future__ import annotations

import gzip
import os
import socket
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import h5py
import numpy as np
import stack_files
import tifffile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Name of the trap -> writer; the reader is told by the suffix.
TRAPS: dict[str, Callable[[Path], object]] = {}


def trap(name: str):
    def keep(write: Callable[[Path], object]):
        TRAPS[name] = write
        return write

    return keep


for _suffix in ("csv", "mpt", "xlsx", "ndax", "nda", "res", "bdf.parquet", "gr", "prj",
                "xdi", "h5", "cxi", "tif", "npy", "txrm", "hdr"):  # fmt: skip
    trap(f"pipe.{_suffix}")(lambda path: os.mkfifo(path))
    trap(f"circle.{_suffix}")(lambda path: path.symlink_to(path))
    trap(f"device.{_suffix}")(lambda path: path.symlink_to("/dev/zero"))


@trap("socket.csv")
def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def hole(start: bytes, size: int):
    def write(path: Path) -> None:
        path.write_bytes(start)
        os.truncate(path, size)

    return write


trap("blank.csv")(
    lambda path: path.write_bytes(b"time,voltage,current\n" + b"\n" * 9_000_000)
)
trap("quote.csv")(
    lambda p: p.write_bytes(
        b'Time (s),Voltage (V),Current (mA)\n1,2,"' + b"1,2,3\n" * 7_000_000
    )
)
trap("deep.prj")(lambda p: p.write_bytes(b"{" + b'"a":{\n' * 7_000_000))
trap("deep.xrdml")(
    lambda p: p.write_bytes(b"<?xml ?>\n<xrdMeasurements>\n" + b"<a>\n" * 9_000_000)
)
trap("lists.prj")(
    lambda p: p.write_bytes(b"# Athena project file\n" + b"@a=(1);\n" * 300_000)
)
trap("scans.xdi")(lambda p: p.write_bytes(b"#S 1\n1 2\n2 3\n" * 20_000))
trap("lines.jdx")(lambda p: p.write_text(jcamp("0 12\n" * 600_000)))
trap("bank.gr")(
    lambda p: p.write_text(
        "a\nBANK 1 99999999999 1 CONST 1 1 0 0 STD\n" + "   1  20" * 9
    )
)
trap("numbers.xdi")(lambda p: p.write_bytes(b"# energy mu\n" + b"1 22 3\n" * 2_200_000))
trap("dates.csv")(
    lambda p: p.write_text(
        "Date,Voltage (V),Current (mA)\n"
        + "".join(f"x{k} y,3,1\n" for k in range(600_000))
    )
)
trap("columns.csv")(
    lambda p: p.write_text(f"{','.join(f'{k} (V)' for k in range(150_000))}\n" * 2)
)
trap("below.csv")(
    lambda p: p.write_bytes(
        b"Time (s),Voltage (V),Current (mA)\n1,2,3\n" + b"note\n" * 1_000_000
    )
)
trap("header.mpt")(
    lambda p: p.write_bytes(
        b"EC-Lab ASCII FILE\nNb header lines : 900000\n" + b"a : bcdef\n" * 900_000
    )
)
trap("hole.csv")(hole(b"time,voltage,current\n1,2,3\n", 900_000_000))
trap("hole.gr")(hole(b"1 2\n3 4\n", 900_000_000))
trap("endless.csv")(hole(b"time,voltage,current\n1,2,3\n", 10**13))
trap("endless.mpr")(hole(b"BIO-LOGIC MODULAR FILE", 10**13))
trap("endless.npy")(hole(b"\x93NUMPY\x01\0", 10**13))


trap("line.csv")(
    lambda p: p.write_bytes(b"Time (s),Voltage (V),Current (mA)\n" + b"1," * 20_000_000)
)
trap("line.xdi")(lambda p: p.write_bytes(b"# energy mu\n" + b"1 " * 20_000_000))


def jcamp(lines: str) -> str:
    return (
        "##TITLE=a\n##JCAMP-DX=4.24\n##XUNITS=1/CM\n##YUNITS=ABSORBANCE\n##FIRSTX=0\n"
        "##LASTX=9\n##NPOINTS=99999999999\n##XYDATA=(X++(Y..Y))\n" + lines + "##END=\n"
    )


trap("repeat.jdx")(lambda p: p.write_text(jcamp("0 A5s999999999\n")))
trap("repeats.jdx")(lambda p: p.write_text(jcamp("0 A5Y99999\n" * 2000)))
trap("header.xdi")(lambda p: p.write_text("# a.b: 1\n" * 400_000 + "1 2\n2 3\n"))


def gzipped(line: bytes, size: int):
    def write(path: Path) -> None:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        piece, times = line * ((1 << 20) // len(line)), size >> 20
        packed = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
        check = 0
        for _ in range(times):  # all pieces are alike, also when packed
            check = zlib.crc32(piece, check)
        end = struct.pack("<II", check, len(piece) * times % (1 << 32))
        head = b"\x1f\x8b\x08" + bytes(7)
        path.write_bytes(head + packed * times + packer.flush() + end)

    return write


trap("bomb.gr.gz")(gzipped(b"0 0\n", 400 << 20))
trap("bomb.prj")(gzipped(b"# Athena project file\n", 400 << 20))
trap("parts.gr.gz")(lambda p: p.write_bytes(gzip.compress(b"", 1) * 100_000))
trap("nested.gr.gz")(lambda p: p.write_bytes(gzip.compress(gzip.compress(b"1 2\n"))))


def zipped(members: dict[str, bytes], patch: Callable[[bytearray], None] | None = None):
    made: list[bytes] = []

    def write(path: Path) -> None:
        if not made:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, raw in members.items():
                    archive.writestr(name, raw)
            packed = bytearray(path.read_bytes())
            if patch:
                patch(packed)
            made.append(bytes(packed))
        path.write_bytes(made[0])

    return write


def lie(raw: bytearray) -> None:
    """Let the first member say that it is small."""
    struct.pack_into("<I", raw, raw.find(b"PK\1\2") + 24, 200_000)


def encrypt(raw: bytearray) -> None:
    raw[raw.find(b"PK\1\2") + 8] |= 1


def overlap(raw: bytearray) -> None:
    struct.pack_into("<I", raw, raw.rfind(b"PK\1\2") + 42, 0)


NOISE = np.random.default_rng(0).bytes(100_000)
TYPES = {"[Content_Types].xml": b"<Types/>"}
for _name, _write in {
    "bomb": zipped(TYPES | {"data.ndc": bytes(200_000_000)}),
    "lie": zipped({"data.ndc": NOISE + bytes(90_000_000)} | TYPES, lie),
    "secret": zipped(TYPES, encrypt),
    "overlap": zipped(TYPES | {"data.ndc": NOISE[:9]}, overlap),
    "many": zipped({f"m{k}": b"" for k in range(8_000)}),
    "outside": zipped(TYPES | {"../../data.ndc": b"1"}),
    "other": zipped({"x.npy": b"1"}),
}.items():
    for _suffix in ("xlsx", "ndax"):
        trap(f"{_name}.{_suffix}")(_write)


def workbook(sheet: str, strings: str = ""):
    """Write a workbook of one sheet, in the words of its XML."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    types = (
        f'<Types xmlns="{package}/content-types">'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/s.xml" ContentType="{kind}.worksheet+xml"/>'
        f'<Override PartName="/xl/sharedStrings.xml" '
        f'ContentType="{kind}.sharedStrings+xml"/></Types>'
    )
    rels = f'<Relationships xmlns="{package}/relationships"><Relationship Id="a" '
    return zipped(
        {
            "[Content_Types].xml": types.encode(),
            "_rels/.rels": f'{rels}Type="{rel}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>'.encode(),
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{rel}"><sheets>'
            '<sheet name="s" sheetId="1" r:id="a"/></sheets></workbook>'.encode(),
            "xl/_rels/workbook.xml.rels": f'{rels}Type="{rel}/worksheet" '
            'Target="s.xml"/></Relationships>'.encode(),
            "xl/s.xml": f'<worksheet xmlns="{main}">{sheet}</worksheet>'.encode(),
            "xl/sharedStrings.xml": strings.encode()
            or f'<sst xmlns="{main}"/>'.encode(),
        }
    )


CELL = '<c r="{}"><v>1</v></c>'
trap("far.xlsx")(
    workbook(
        '<dimension ref="A1:XFD99999999999"/><sheetData><row r="1">'
        f'{CELL.format("A1")}</row><row r="99999999999">'
        f"{CELL.format('A99999999999')}</row></sheetData>"
    )
)
trap("wide.xlsx")(
    workbook(
        "<sheetData>"
        + "".join(
            f'<row r="{k}">{CELL.format(f"XFD{k}")}</row>' for k in range(1, 30_000)
        )
        + "</sheetData>"
    )
)
LAUGHS = "".join(
    '<!ENTITY a{} "{}">'.format(k, f"&a{k - 1};" * 10) for k in range(1, 11)
)
trap("laughs.xlsx")(
    workbook(
        "<sheetData/>",
        f'<!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]><sst>&a10;</sst>',
    )
)
trap("depth.xlsx")(workbook("<a>" * 560_000 + "</a>" * 560_000))
trap("empty.xlsx")(workbook("<row>" + "<c/>" * 990_000 + "</row>"))
trap("cells.xlsx")(
    workbook("<sheetData><row>" + "<c/>" * 10_000_000 + "</row></sheetData>")
)


trap("attributes.xlsx")(
    workbook(
        "<sheetData><row " + " ".join(f'a{k}="1"' for k in range(600_000)) + "/>"
        "</sheetData>"
    )
)
WORDS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
trap("one_word.xlsx")(
    workbook(
        "<sheetData><row>" + '<c t="s"><v>0</v></c>' * 20_000 + "</row></sheetData>",
        f'<sst xmlns="{WORDS}"><si><t>{"y" * 3_000_000}</t></si></sst>',
    )
)


@trap("rows.bdf.parquet")
def _parquet(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"Voltage / V": pa.array(np.zeros(20_000_000))})
    parquet.write_table(table, path, compression="zstd")


@trap("words.bdf.parquet")
def _long_words(path: Path) -> None:
    """One word of a million letters, told once, in each of thousands of rows."""
    import pyarrow as pa
    from pyarrow import parquet

    each = pa.array(np.zeros(3_000, "i4"))
    word = pa.DictionaryArray.from_arrays(each, pa.array(["9" * 1_000_000]))
    table = {"Voltage / V": word, "Current / A": np.ones(3_000)}
    table["Test Time / s"] = np.arange(3_000.0)
    parquet.write_table(pa.table(table), path, compression="zstd")


@trap("few_rows.bdf.parquet")
def _few_rows(path: Path) -> None:
    """A table of 300 rows whose end tells of 200."""
    import pyarrow as pa
    from pyarrow import parquet

    names = ("Test Time / s", "Voltage / V", "Current / A")
    parquet.write_table(pa.table({n: np.arange(300.0) for n in names}), path)
    start, end, raw = b"\x16\xd8\x04", b"\x16\x90\x03", path.read_bytes()
    (footer,) = struct.unpack("<I", raw[-8:-4])
    place = len(raw) - 8 - footer
    path.write_bytes(raw[:place] + raw[place:].replace(start, end, 1))


@trap("lists.bdf.parquet")
def _lists(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = {"Voltage / V": [[3.0], [3.1]], "Current / A": [1.0, 1.0]}
    parquet.write_table(pa.table(table | {"Test Time / s": [0.0, 1.0]}), path)


def hdf5(write: Callable[[h5py.File, Path], object]):
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            write(file, path)

    return make


@trap("links.h5")
@hdf5
def _links(file: h5py.File, path: Path) -> None:
    """Every group holds every other, hard and soft, and itself."""
    groups = [file.create_group(f"g{k}") for k in range(30)]
    for group in groups:
        for k, other in enumerate(groups):
            group[f"hard{k}"] = other
            group[f"soft{k}"] = h5py.SoftLink(f"/g{k}")
        group["self"] = h5py.SoftLink(".")
    file["loop"] = h5py.SoftLink("/loop")
    file["outer"] = h5py.ExternalLink(path.name, "/outer")


@trap("deep.h5")
@hdf5
def _deep(file: h5py.File, path: Path) -> None:
    group = file
    for _ in range(20_000):
        group = group.create_group("g")


@trap("wide.h5")
def _wide(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("group")
        for k in range(12_000):
            file[f"g{k}"] = group


@trap("leads.h5")
@hdf5
def _leads(file: h5py.File, path: Path) -> None:
    for k in range(12_000):
        file[f"g{k}"] = h5py.ExternalLink(f"none{k}.h5", "/")


@trap("outside.h5")
@hdf5
def _outside(file: h5py.File, path: Path) -> None:
    file["data"] = h5py.ExternalLink("/etc/passwd", "/")


@trap("pipelink.h5")
@hdf5
def _pipe_link(file: h5py.File, path: Path) -> None:
    os.mkfifo(path.with_name("pipelink.fifo"))
    file["data"] = h5py.ExternalLink("pipelink.fifo", "/")


@trap("virtual.h5")
@hdf5
def _virtual(file: h5py.File, path: Path) -> None:
    layout = h5py.VirtualLayout((5, 40, 40), "f4")
    layout[:] = h5py.VirtualSource("nowhere.h5", "data", (5, 40, 40))
    file.create_virtual_dataset("entry/data/data", layout)
    file["entry/data/energy"] = np.arange(700.0, 705)


@trap("short_source.h5")
@hdf5
def _short_source(file: h5py.File, path: Path) -> None:
    """A source that stopped early: HDF5 would make up the rest."""
    with h5py.File(path.with_name("frames.h5"), "w") as other:
        other["data"] = np.ones((3, 40, 40), "f4")
    layout = h5py.VirtualLayout((5, 40, 40), "f4")
    layout[:] = h5py.VirtualSource("frames.h5", "data", (5, 40, 40))
    file.create_virtual_dataset("entry/data/data", layout)
    file["entry/data/energy"] = np.arange(700.0, 705)


@trap("unwritten_source.h5")
@hdf5
def _unwritten_source(file: h5py.File, path: Path) -> None:
    """A source of which no frame was written, as of a scan that never began."""
    with h5py.File(path.with_name("frames.h5"), "w") as other:
        other.create_dataset("data", (5, 40, 40), "f4", chunks=(1, 40, 40))
    layout = h5py.VirtualLayout((5, 40, 40), "f4")
    layout[:] = h5py.VirtualSource("frames.h5", "data", (5, 40, 40))
    file.create_virtual_dataset("entry/data/data", layout)
    file["entry/data/energy"] = np.arange(700.0, 705)


@trap("ouroboros.h5")
@hdf5
def _own_tail(file: h5py.File, path: Path) -> None:
    layout = h5py.VirtualLayout((5, 40, 40), "f4")
    layout[:] = h5py.VirtualSource(".", "entry/data/data", (5, 40, 40))
    file.create_virtual_dataset("entry/data/data", layout)
    file["entry/data/energy"] = np.arange(700.0, 705)


@trap("external.h5")
@hdf5
def _external(file: h5py.File, path: Path) -> None:
    file.create_dataset(
        "entry/data/data", (5, 4, 4), "f4", external=[("/etc/passwd", 0, 320)]
    )
    file["entry/data/energy"] = np.arange(700.0, 705)


@trap("unwritten.h5")
@hdf5
def _unwritten(file: h5py.File, path: Path) -> None:
    file.create_dataset("entry/data/data", (5, 400, 400), "f4", chunks=(1, 400, 400))
    file["entry/data/energy"] = np.arange(700.0, 705)


@trap("vast.h5")
@hdf5
def _vast(file: h5py.File, path: Path) -> None:
    whole = file.create_dataset(
        "entry/data/data", (5, 60_000, 60_000), "u2", chunks=(1, 500, 500),
        compression="gzip",
    )  # fmt: skip
    whole[0, :10, :10] = 1
    file["entry/data/energy"] = np.arange(700.0, 705)


@trap("energies.h5")
@hdf5
def _energies(file: h5py.File, path: Path) -> None:
    file.create_dataset("entry/data/data", (5, 4, 4), "f4", data=np.ones((5, 4, 4)))
    energy = file.create_dataset(
        "entry/data/energy", (10**9,), "f8", chunks=(10**6,), compression="gzip"
    )
    energy[:5] = 1


@trap("crumbs.h5")
@hdf5
def _crumbs(file: h5py.File, path: Path) -> None:
    """Millions of pieces, each with an entry in the directory."""
    file["entry/data/energy"] = np.arange(700.0, 705)
    shape, piece = (5, 3_000, 3_000), (1, 1, 1)
    file.create_dataset("entry/data/data", shape, "u1", chunks=piece)[0, 0, 0] = 1


@trap("stuffed.h5")
@hdf5
def _stuffed(file: h5py.File, path: Path) -> None:
    """A piece of 320 bytes that unpacks to hundreds of millions."""
    file["entry/data/energy"] = np.arange(700.0, 705)
    data = file.create_dataset(
        "entry/data/data", (5, 4, 4), "f4", chunks=(5, 4, 4), compression="gzip"
    )
    data.id.write_direct_chunk((0, 0, 0), packed_zeros(400))


def heap(change: str, *, deep: bool = False, virtual: bool = False):
    """Write a file whose heap of text the library follows for ever.

    A collection of a global heap holds numbered objects and ends with free space, as
    object 0, in the length of which its own head counts. `deep` ones lie between
    arrays, `virtual` ones hold where the values of a dataset are.
    """

    @hdf5
    def write(file: h5py.File, path: Path) -> None:
        if deep:
            file["before"] = np.random.default_rng(0).integers(0, 255, 3 << 20, "u1")
        file["entry/data/data"] = np.ones((5, 4, 4), "f4")
        file["entry/data/energy"] = np.arange(700.0, 705)
        file["entry/data"].attrs["signal"] = "data"
        file["entry/data"].attrs["axes"] = "energy:y:x"
        if virtual:
            layout = h5py.VirtualLayout((5, 4, 4), "f4")
            layout[:] = h5py.VirtualSource(".", "entry/data/data", (5, 4, 4))
            file.create_virtual_dataset("entry/again", layout)
        file.flush()
        if deep:
            file["after"] = np.random.default_rng(1).integers(0, 255, 3 << 20, "u1")

    def make(path: Path) -> None:
        write(path)
        raw = bytearray(path.read_bytes())
        place = raw.find(b"GCOL\1") + 16
        number, length = 1, 0
        while number:
            before = place, length
            place += (16 + -(-length // 8) * 8) if length else 0
            number, length = struct.unpack_from("<H6xQ", raw, place)
        at, value = {
            "free": (place, 0),
            "little": (place, 8),
            "object": (before[0], 2**64 - 16),
        }[change]
        struct.pack_into("<Q", raw, at + 8, value)
        path.write_bytes(raw)

    return make


for _change in ("free", "little", "object"):
    trap(f"heap_{_change}.h5")(heap(_change))
trap("heap_deep.h5")(heap("free", deep=True))
trap("heap_virtual.h5")(heap("free", deep=True, virtual=True))


@trap("vast.tif")
def _vast_tiff(path: Path) -> None:
    tifffile.imwrite(path, np.ones((4, 4), "u2"))
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["ImageWidth"].overwrite(40_000)
        file.pages[0].tags["ImageLength"].overwrite(40_000)


@trap("packed.tif")
def _packed_tiff(path: Path) -> None:
    # Level 1: five times as fast as the usual one.
    how = {"compression": "zlib", "compressionargs": {"level": 1}}
    tifffile.imwrite(path, np.ones((9_000, 9_000), "u2"), **how)


def tiff_of(width: int, height: int, packed: bytes, method: int):
    """Write an image of 16 bits whose one strip is packed."""

    def write(path: Path) -> None:
        packed_even = packed + bytes(len(packed) % 2)
        tags = {256: width, 257: height, 258: 16, 259: method, 262: 1, 273: 8,
                277: 1, 278: height, 279: len(packed)}  # fmt: skip
        page = b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in tags.items())
        start = struct.pack("<2sHI", b"II", 42, 8 + len(packed_even))
        count = struct.pack("<H", len(tags))
        path.write_bytes(start + packed_even + count + page + bytes(4))

    return write


def packed_zeros(megabytes: int) -> bytes:
    """Return zeros as zlib packs them, told in little time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * megabytes + b"\3\0" + bytes(4)


trap("unpacks.tif")(tiff_of(8, 8, packed_zeros(900), 8))
trap("runs.tif")(tiff_of(8, 8, b"\x81\0" * 2_000_000, 32773))
trap("no_rows.tif")(tiff_of(8, 0, b"12", 1))


@trap("circle_of_pages.tif")
def _tiff_circle(path: Path) -> None:
    tifffile.imwrite(path, np.ones((4, 4), "u2"))
    raw = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", raw, 4)
    (tags,) = struct.unpack_from("<H", raw, first)
    struct.pack_into("<I", raw, first + 2 + 12 * tags, first)
    path.write_bytes(raw)


@trap("long_circle_of_pages.tif")
def _tiff_long_circle(path: Path) -> None:
    """More pages than are looked at for one that was there before."""
    tifffile.imwrite(path, np.ones((300, 4, 4), "u2"), metadata=None)
    raw = bytearray(path.read_bytes())
    (first,) = place = struct.unpack_from("<I", raw, 4)
    while place[0]:
        (tags,) = struct.unpack_from("<H", raw, place[0])
        end = place[0] + 2 + 12 * tags
        place = struct.unpack_from("<I", raw, end)
    struct.pack_into("<I", raw, end, first)
    path.write_bytes(raw)


@trap("vast.npy")
def _vast_npy(path: Path) -> None:
    np.save(path, np.ones((4, 4)))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"(4, 4), }        ", b"(40000, 40000), }"))


@trap("objects.npy")
def _objects_npy(path: Path) -> None:
    np.save(path, np.array([[{}]]), allow_pickle=True)


@trap("vast.txrm")
def _vast_txrm(path: Path) -> None:
    stack_files.write_xradia(path, np.ones((1, 4, 4), "u2"), np.array([700.0]))
    four, many = (struct.pack("<i", n).ljust(4096, b"\0") for n in (4, 20_000))
    path.write_bytes(path.read_bytes().replace(four, many))


@trap("deep.hdr")
def _deep_hdr(path: Path) -> None:
    path.write_text("ScanDefinition = " + "{ a = " * 100_000)
