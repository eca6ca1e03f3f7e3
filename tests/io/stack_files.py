"""Writes small energy stacks as instruments do."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

ENERGY = np.array([700.0, 705.5, 708.25, 712.0, 730.125])
SHAPE = (6, 9)
JOULE = 1.602176634e-19


def frames(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(100, 400, (ENERGY.size, *SHAPE)).round(3)


def _axis(name: str, unit: str, values: np.ndarray) -> str:
    points = ", ".join(f"{v:.3f}" for v in values)
    return (
        f'{{ Name = "{name}"; Unit = "{unit}"; Min = {values[0]}; Max = {values[-1]}; '
        f"Dir = 1;\n\tPoints = ({values.size}, {points});\n}};\n"
    )


def write_stxm(folder: Path, *, name: str = "run7", missing: tuple[int, ...] = ()):
    """Write a header and one text image for each energy; return header and frames."""
    y, x = 0.05 * np.arange(SHAPE[0]) - 3, 0.05 * np.arange(SHAPE[1]) + 12
    text = (
        f'ScanDefinition = {{ Label = "{name}.hdr"; Type = "NEXAFS Image Scan"; '
        'Flags = "Image Stack"; Dwell = 1.5;\n\tRegions = (1,\n{\n'
        f"PAxis = {_axis('Sample X', 'um', x)}\nQAxis = {_axis('Sample Y', 'um', y)}"
        f"}});\n\nStackAxis = {_axis('Energy', 'eV', ENERGY)}\n"
        'Channels = (1,\n{ Name = "counter1"; Unit = "counts";});\n};\n'
        ' Time = "2026 March 14 10:00:00"; BeamFeedback = true;\n'
    )
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.hdr"
    path.write_text(text)
    images = frames()
    for k, image in enumerate(images):
        if k in missing:
            continue
        lines = ["\t".join(f"{v:.3f}" for v in row) for row in image]
        (folder / f"{name}_a{k:03d}.xim").write_text("\n".join(lines) + "\n")
    return path, images, 1000 * y, 1000 * x


def write_tiffs(folder: Path, *, named: bool = True) -> np.ndarray:
    import tifffile

    folder.mkdir(exist_ok=True)
    images = frames().astype(np.float32)
    for k, image in enumerate(images):
        text = f"{ENERGY[k]:.3f}eV" if named else f"{k:03d}"
        tifffile.imwrite(folder / f"cell_{text}.tif", image)
    return images


def write_nxstxm(path: Path) -> np.ndarray:
    import h5py

    images = frames()
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry1")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = "NXstxm"
        entry["title"] = "a particle"
        data = entry.create_group("counter0")
        data.attrs.update({"NX_class": "NXdata", "signal": "data"})
        data.attrs["axes"] = ["energy", "sample_y", "sample_x"]
        data["data"] = images
        data["energy"] = ENERGY / 1000
        data["energy"].attrs["units"] = "keV"
        for axis, n in zip("yx", SHAPE, strict=True):
            data[f"sample_{axis}"] = 0.04 * np.arange(n)
            data[f"sample_{axis}"].attrs["units"] = "um"
        control = entry.create_group("control")
        control.attrs["NX_class"] = "NXmonitor"
        control["data"] = 500.0 + np.arange(ENERGY.size)
    return images


def write_nxxas(path: Path) -> np.ndarray:
    import h5py

    mu = np.linspace(0, 1, ENERGY.size)
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry["definition"] = "NXxas_trans"
        data = entry.create_group("plot")
        data.attrs.update({"NX_class": "NXdata", "signal": "intensity"})
        data["intensity"] = mu
        data["energy"] = ENERGY
        data["energy"].attrs["units"] = "eV"
    return mu


def write_cxi(folder: Path) -> np.ndarray:
    """Write one reconstructed object for each energy."""
    import h5py

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    objects = np.exp(1j * rng.normal(0, 0.3, (ENERGY.size, *SHAPE))).astype("complex64")
    for k, one in enumerate(objects):
        with h5py.File(folder / f"object_{k}.cxi", "w") as file:
            file["cxi_version"] = 160
            image = file.create_group("entry_1/image_1")
            image["data"] = one
            image["image_size"] = np.array([SHAPE[1] * 15e-9, SHAPE[0] * 15e-9])
            source = file.create_group("entry_1/instrument_1/source_1")
            source["energy"] = ENERGY[k] * JOULE
    return objects


def write_xradia(
    path: Path,
    images: np.ndarray,
    energies: np.ndarray,
    tiles: tuple[int, int] = (1, 1),
) -> None:
    """Write a compound file with the streams of a .txrm."""
    n, height, width = images.shape
    code = {"u2": 5, "f4": 10}[images.dtype.str[1:]]
    info = {
        "ImageWidth": struct.pack("<i", width),
        "ImageHeight": struct.pack("<i", height),
        "DataType": struct.pack("<i", code),
        "ImagesTaken": struct.pack("<i", n),
        "NoOfImages": struct.pack("<i", n),
        "PixelSize": struct.pack("<f", 0.0312),
        "MosiacRows": struct.pack("<i", tiles[0]),
        "MosiacColumns": struct.pack("<i", tiles[1]),
        "Energy": np.asarray(energies, "<f4").tobytes(),
    }
    folders = {"ImageInfo": info}
    for k, image in enumerate(images):
        inner = folders.setdefault(f"ImageData{k // 100 + 1}", {})
        inner[f"Image{k + 1}"] = image.tobytes()
    path.write_bytes(compound_file(folders))


_FREE, _END, _FAT, _NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


def compound_file(folders: dict[str, dict[str, bytes]]) -> bytes:
    """Return an OLE compound file (MS-CFB, version 3) without a mini stream.

    Streams are padded to 4096 bytes, from which on they lie in ordinary sectors.
    """
    entries: list[tuple[str, int, bytes, int, int, int]] = []
    # Siblings are linked as a list to the right, which readers accept as a tree.
    order = lambda names: sorted(names, key=lambda s: (len(s), s.upper()))  # noqa: E731
    tops = order(folders)
    numbers = {name: 1 + k for k, name in enumerate(tops)}
    following = 1 + len(tops)
    entries.append(("Root Entry", 5, b"", _NONE, _NONE, numbers[tops[0]]))
    inner: list[tuple[str, int, bytes, int, int, int]] = []
    for k, top in enumerate(tops):
        names = order(folders[top])
        right = numbers[tops[k + 1]] if k + 1 < len(tops) else _NONE
        entries.append((top, 1, b"", _NONE, right, following))
        for j, name in enumerate(names):
            right = following + 1 if j + 1 < len(names) else _NONE
            raw = folders[top][name]
            inner.append((name, 2, raw.ljust(4096, b"\0"), _NONE, right, _NONE))
            following += 1
    entries += inner
    sectors: list[bytes] = []
    chain: list[int] = []

    def add(raw: bytes) -> int:
        first = len(sectors)
        parts = [raw[i : i + 512].ljust(512, b"\0") for i in range(0, len(raw), 512)]
        sectors.extend(parts)
        chain.extend([*range(first + 1, first + len(parts)), _END])
        return first

    table = b""
    for name, kind, raw, left, right, child in entries:
        start = add(raw) if raw else (_END if kind == 5 else 0)
        text = (name + "\0").encode("utf-16-le")
        table += text.ljust(64, b"\0") + struct.pack("<HBB", len(text), kind, 1)
        table += struct.pack("<III", left, right, child) + bytes(16 + 4 + 16)
        table += struct.pack("<IQ", start, len(raw))
    while len(table) % 512:
        table += bytes(64 + 4) + struct.pack("<III", *[_NONE] * 3) + bytes(48)
    directory = add(table)
    n_fat = 1
    while n_fat * 128 < len(sectors) + n_fat:
        n_fat += 1
    first_fat = len(sectors)
    chain += [_FAT] * n_fat
    chain += [_FREE] * (n_fat * 128 - len(chain))
    fat = struct.pack(f"<{len(chain)}I", *chain)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, n_fat, directory, 0, 4096, _END, 0, _END, 0)
    places = [first_fat + k if k < n_fat else _FREE for k in range(109)]
    header += struct.pack("<109I", *places)
    return header + b"".join(sectors) + fat


def athena_project(spectra: dict[str, tuple[np.ndarray, np.ndarray, float]]) -> bytes:
    """Return an Athena project: label -> energies, absorption, energy shift."""

    def perl(values: np.ndarray) -> str:
        return ",".join(f"'{v:.6f}'" for v in values)

    text = "# Athena project file -- Demeter version 0.9.26\n\n"
    for k, (label, (energy, mu, shift)) in enumerate(spectra.items()):
        quoted = label.replace("\\", "\\\\").replace("'", "\\'")
        text += (
            f"$old_group = 'g{k}';\n"
            f"@args = ('datatype','xmu','label','{quoted}','bkg_eshift','{shift}',"
            "'titles', ['made, twice', 'see [1]'], 'detectors', [], "
            f"'bkg_e0','5480.5','is_xmu',1);\n"
            f"@x = ({perl(energy)});\n@y = ({perl(mu)});\n"
            f"@i0 = ({perl(1000 + 0 * mu)});\n[record]   # \n\n"
        )
    text += "@journal = ('nothing, really');\n\n1;\n"
    return gzip.compress(text.encode())
