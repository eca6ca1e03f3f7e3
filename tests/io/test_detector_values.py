"""What is no count is NaN in every reader of frames and images, and is told."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scan_files
import stack_files
import xarray as xr
from trap_files import tiff_of

from batteryxr.core.errors import ArgumentError, DataQualityWarning, FileFormatError
from batteryxr.io import (
    read_athena,
    read_cxi,
    read_cycler,
    read_frames,
    read_image,
    read_ptychography,
    read_series,
    read_stack,
)
from batteryxr.io.door.counts import only_counts

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")
SHAPE = (4, 6, 8)
#: Type in the file -> what is no count in it.
WRONG = {
    "u1": (255,),
    "u2": (65535,),
    "u4": (2**32 - 1, 2**32 - 2),
    "i2": (-1, -2),
    "i4": (-1, -(2**31)),
}


def frames(kind):
    """Return counts with a gap in every frame, and where it is."""
    counts = np.random.default_rng(0).poisson(20.0, SHAPE).astype(kind)
    gap = np.zeros(SHAPE, bool)
    gap[:, 2:4] = gap[1, 5, 5] = True
    counts[gap] = np.resize(np.array(WRONG[kind], kind), int(gap.sum()))
    return counts, gap


def tiffs(path, counts):
    path.mkdir()
    for k, frame in enumerate(counts):
        tifffile.imwrite(path / f"{700 + k}eV.tif", frame)
    return path


def hdf5(path, counts):
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = counts
        file["entry/data/energy"] = np.arange(700.0, 700 + len(counts))
        n = len(counts)
        for name, values, units in (
            ("entry/data/y", np.arange(n) * 1e-6, "m"),
            ("entry/data/x", np.arange(n) * 1e-6, "m"),
            ("entry/instrument/beam/incident_energy", 5480.0, "eV"),
            ("entry/instrument/detector/distance", 0.3, "m"),
            ("entry/instrument/detector/x_pixel_size", 75e-6, "m"),
        ):
            file.create_dataset(name, data=values).attrs["units"] = units
    return path


def cxi(path, counts):
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"] = counts
        detector["distance"] = 0.3
        detector["x_pixel_size"] = detector["y_pixel_size"] = 75e-6
        detector["translation"] = np.zeros((len(counts), 3))
        file["entry_1/instrument_1/beam_1/energy"] = 5480.0
        file["entry_1/instrument_1/beam_1/energy"].attrs["units"] = "eV"
    return path


def xradia(path, counts):
    stack_files.write_xradia(path, counts, np.arange(700.0, 700 + len(counts)))
    return path


def angles(path):
    return read_frames(path, rocking=np.arange(SHAPE[0]))


EDF = {"u1": "UnsignedByte", "u2": "UnsignedShort", "u4": "UnsignedInteger",
       "i2": "SignedShort", "i4": "SignedInteger", "f4": "FloatValue",
       "f8": "DoubleValue"}  # fmt: skip


def edfs(path, counts):
    path.mkdir(exist_ok=True)
    for k, frame in enumerate(counts):
        fields = {"ByteOrder": "LowByteFirst", "DataType": EDF[frame.dtype.str[1:]],
                  "Dim_1": frame.shape[1], "Dim_2": frame.shape[0],
                  "Size": frame.nbytes}  # fmt: skip
        head = "{\n" + "".join(f"{n} = {v} ;\n" for n, v in fields.items())
        head = head.ljust(1022).encode() + b"}\n"
        (path / f"scan_{k:04d}.edf").write_bytes(head + frame.tobytes())
    return path


def npy(path, counts):
    np.save(path, counts)
    return path


READERS = {
    "frames of edf": lambda p, c: angles(edfs(p / "e", c)),
    "frames of npy": lambda p, c: angles(npy(p / "a.npy", c)),
    "frames of tiffs": lambda p, c: angles(tiffs(p / "t", c)),
    "frames of hdf5": lambda p, c: angles(hdf5(p / "a.h5", c)),
    "stack of tiffs": lambda p, c: read_stack(tiffs(p / "t", c)),
    "stack of hdf5": lambda p, c: read_stack(hdf5(p / "a.h5", c)),
    "stack of xradia": lambda p, c: read_stack(xradia(p / "a.txrm", c)),
    "ptychography": lambda p, c: read_ptychography(hdf5(p / "a.h5", c)).frames,
    "cxi": lambda p, c: read_cxi(cxi(p / "a.cxi", c)).frames,
}


@pytest.mark.parametrize(
    ("reader", "kind"),
    [(r, k) for r in READERS for k in WRONG if "xradia" not in r or k == "u2"],
)
def test_what_is_no_count_is_missing(tmp_path, reader, kind):
    counts, gap = frames(kind)
    with pytest.warns(DataQualityWarning, match="no counts but gaps"):
        read = READERS[reader](tmp_path, counts).compute()
    expected = np.where(gap, np.nan, counts.astype(float))
    np.testing.assert_array_equal(read, expected)
    assert "NaN" in read.attrs["flag"]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("kind", "marks"),
    [
        ("f4", (np.inf, 2.0**32, -1.0)),
        ("f8", (np.inf, 2.0**32 - 1, -np.inf)),
        ("f4", (-1.0, -2.0, -(2.0**31))),
    ],
)
def test_what_is_no_count_among_floats_is_missing(tmp_path, reader, kind, marks):
    if "xradia" in reader and kind != "f4":
        pytest.skip("its floats have 32 bits")
    counts = np.random.default_rng(0).poisson(20.0, SHAPE).astype(kind)
    gap = np.zeros(SHAPE, bool)
    gap[:, 2:4] = gap[1, 5, 5] = True
    counts[gap] = np.resize(np.array(marks, kind), int(gap.sum()))
    with pytest.warns(DataQualityWarning, match="no counts but gaps"):
        read = READERS[reader](tmp_path, counts).compute()
    np.testing.assert_array_equal(read, np.where(gap, np.nan, counts))
    (tmp_path / "second").mkdir()
    less = np.where(gap, -3.0, counts).astype(kind)  # a dark was subtracted
    kept = READERS[reader](tmp_path / "second", less).compute()
    np.testing.assert_array_equal(kept, less)


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize("kind", WRONG)
def test_images(tmp_path, kind, suffix):
    counts, gap = frames(kind)
    path = tmp_path / f"dark{suffix}"
    tifffile.imwrite(path, counts[1]) if suffix == ".tif" else np.save(path, counts[1])
    with pytest.warns(DataQualityWarning, match="no counts but gaps"):
        image = read_image(path)
    np.testing.assert_array_equal(image, np.where(gap[1], np.nan, counts[1] * 1.0))


def test_a_mask_is_no_image_of_counts(tmp_path):
    mask = np.where(np.eye(6, dtype=bool), 255, 0).astype("u1")
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    np.testing.assert_array_equal(read_image(tmp_path / "mask.tif"), mask)


def test_floating_numbers_stay(tmp_path):
    values = np.random.default_rng(0).normal(0, 1, SHAPE).astype("f4")
    for name, read in READERS.items():
        folder = tmp_path / name
        folder.mkdir()
        np.testing.assert_array_equal(read(folder, values).compute(), values)


def test_gaps_go_into_the_mask_of_ptychography(tmp_path):
    counts, gap = frames("u4")
    with pytest.warns(DataQualityWarning, match="no counts"):
        scan = read_ptychography(hdf5(tmp_path / "a.h5", counts))
    np.testing.assert_array_equal(scan.mask, gap[0])
    with pytest.warns(DataQualityWarning, match="no counts"):
        scan = read_cxi(cxi(tmp_path / "a.cxi", counts))
    np.testing.assert_array_equal(scan.mask, gap[0])


def test_differences_of_counts_do_not_wrap():
    def image(value):
        coords = {"energy": ("energy", [700.0, 701.0], {"units": "eV"})}
        counts = np.full((2, 3, 3), value, np.uint16)
        return xr.DataArray(counts, dims=("energy", "y", "x"), coords=coords)

    dark = image(200)[0].drop_vars("energy")
    below = image(150).xanes.optical_density(i0=image(1000), dark=dark)
    assert np.isnan(below).all()
    below = image(500).xanes.optical_density(i0=image(150), dark=200)
    assert np.isnan(below).all()
    known = image(600).xanes.optical_density(i0=image(1000), dark=dark)
    np.testing.assert_allclose(known, -np.log(400 / 800))


def test_what_is_said_to_be_no_counts_stays(tmp_path):
    counts, _ = frames("u2")
    for source in (tiffs(tmp_path / "t", counts), hdf5(tmp_path / "a.h5", counts)):
        stack = read_stack(source, quantity="absorption")
        np.testing.assert_array_equal(stack, counts)


# Short and doubled files


def test_a_spectrum_that_is_there_twice_is_refused(tmp_path):
    columns = [scan_files.ENERGY, scan_files.spectrum(0)]
    path = tmp_path / "a.xdi"
    text = "# energy mu\n" + scan_files.table(columns)
    for times in (2, 3):
        path.write_text(text * times)
        with pytest.raises(FileFormatError, match=rf"a\.xdi.* points {times} times"):
            read_series(path, axis="energy")
    path.write_text(text)
    assert read_series(path, axis="energy").sizes["energy"] == len(columns[0])


def test_a_file_that_was_written_twice_is_refused_or_told(tmp_path):
    (path,) = scan_files.gr(tmp_path, 1, zipped=False)
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(FileFormatError, match="there twice with the same numbers"):
        read_series(path, timezone="UTC")
    energy = np.arange(7000.0, 7040)
    project = stack_files.athena_project({"one": (energy, energy / 7000, 0.5)})
    (tmp_path / "a.prj").write_bytes(2 * project)
    with pytest.warns(DataQualityWarning, match="'one' is there twice"):
        assert len(read_athena(tmp_path / "a.prj").children) == 2


def test_names_of_more_columns_than_there_are_are_told(tmp_path):
    columns = [scan_files.ENERGY, scan_files.spectrum(0)]
    for head in ("# energy i0 mu\n", "# energy mu\n"):
        (tmp_path / "a.dat").write_text(head + scan_files.table(columns))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            read_series(tmp_path / "a.dat", axis="energy")
        said = "names 3 columns (energy, i0, mu) and has 2" in str(told and told[0])
        assert said == ("i0" in head)


def test_two_columns_of_one_name_are_told_or_refused(tmp_path):
    rows = "".join(f"{k},1,{3 + k / 99},2\n" for k in range(30))
    path = tmp_path / "a.csv"
    path.write_text("Time (s),Current (mA),Voltage (V),Voltage (V)\n" + rows)
    with pytest.raises(ArgumentError, match="is the voltage of the cell"):
        read_cycler(path, timezone="UTC")
    path = tmp_path / "a.bdf.csv"
    path.write_text("Test Time / s,Current / A,Voltage / V,Voltage / V\n" + rows)
    with pytest.raises(FileFormatError, match="2 columns called 'Voltage / V'"):
        read_cycler(path)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_spectrum_cut_within_its_last_number_is_told(tmp_path, lazy):
    (path,) = scan_files.gr(tmp_path, 1, zipped=False)
    energy = np.arange(7000.0, 7050)
    rows = "".join(f"{e:.2f} {e / 3:.4f}\n" for e in energy)
    path.write_text(rows[:-3])
    with pytest.warns(DataQualityWarning, match="cut within that number"):
        read_series(path, axis="energy", lazy=lazy)
    path.write_text(rows[:-1])  # many programs write no end of the last line
    read_series(path, axis="energy", lazy=lazy)


def test_a_cycler_file_cut_within_its_last_number_is_flagged(tmp_path):
    path = tmp_path / "a.csv"
    rows = "".join(f"{k},{3 + k / 100:.4f},{k / 7:.4f}\n" for k in range(30))
    path.write_text("Time (s),Current (mA),Voltage (V)\n" + rows[:-3])
    with pytest.warns(DataQualityWarning, match="cut within that number"):
        record = read_cycler(path, timezone="UTC")
    assert "cut" in record.attrs["flags"]


def test_cut_binary_files_are_refused_or_told(tmp_path):
    counts = np.arange(np.prod(SHAPE), dtype="u2").reshape(SHAPE)
    xradia(tmp_path / "a.txrm", counts)
    np.save(tmp_path / "a.npy", counts[0])
    tifffile.imwrite(tmp_path / "a.tif", counts, photometric="minisblack")
    hdf5(tmp_path / "a.h5", counts)
    for path in tmp_path.iterdir():
        raw = path.read_bytes()
        for part in (0.2, 0.5, 0.9):
            path.write_bytes(raw[: int(part * len(raw))])
            with pytest.raises((FileFormatError, DataQualityWarning)) as told:  # noqa: PT012
                warnings.simplefilter("error", DataQualityWarning)
                read = read_image if path.suffix == ".npy" else read_stack
                options = (
                    {} if path.suffix == ".npy" else {"energy": [700, 701, 702, 703]}
                )
                read(path, **options).compute()
            assert path.name in str(told.value)


def test_bytes_behind_an_array_are_told(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4)))
    with (tmp_path / "a.npy").open("ab") as file:
        np.save(file, np.zeros((3, 4)))
    with pytest.warns(DataQualityWarning, match="bytes follow the array"):
        image = read_image(tmp_path / "a.npy")
    np.testing.assert_array_equal(image, np.ones((3, 4)))


# Saturation, monitors, dark images, whole numbers in text


def test_saturated_pixels_are_told(tmp_path):
    counts = np.random.default_rng(0).poisson(900.0, SHAPE).astype("u2")
    counts[:, 2, 2:7] = 4095
    with pytest.warns(DataQualityWarning, match="pile up at 4095, the most of 12 bits"):
        read = read_stack(tiffs(tmp_path / "t", counts)).compute()
    np.testing.assert_array_equal(read, counts)
    high = np.full(SHAPE, 5, "i2")
    high[1, 2, 3] = 32767
    with pytest.warns(DataQualityWarning, match="32767"):
        read = read_stack(tiffs(tmp_path / "s", high)).compute()
    assert np.isnan(read[1, 2, 3])
    assert int(np.isnan(read).sum()) == 1


@pytest.mark.parametrize(
    ("kind", "gap"), [("i4", -1), ("u4", 2**32 - 1), ("u2", 65535)]
)
def test_a_dark_of_zeros_and_gaps_is_no_mask(tmp_path, kind, gap):
    dark = np.zeros((6, 8), kind)
    dark[3] = gap
    np.save(tmp_path / "dark.npy", dark)
    with pytest.warns(DataQualityWarning, match="no counts"):
        image = read_image(tmp_path / "dark.npy")
    np.testing.assert_array_equal(np.isnan(image), dark == gap)


def test_a_monitor_has_counts_too(tmp_path):
    path = hdf5(tmp_path / "a.h5", np.full(SHAPE, 7, "u2"))
    with h5py.File(path, "a") as file:
        file["entry/control/data"] = np.array([10**9 + 1, 2**32 - 1, 7, 8], "u4")
    with pytest.warns(DataQualityWarning, match="no counts"):
        stack = read_stack(path)
    np.testing.assert_array_equal(stack.i0, [10**9 + 1, np.nan, 7, 8])


def test_whole_numbers_in_text_are_counts(tmp_path):
    header, *_ = stack_files.write_stxm(tmp_path)
    image = sorted(tmp_path.glob("*.xim"))[1]
    rows = [line.split() for line in image.read_text().splitlines()]
    for row in rows:
        row[:] = [cell.partition(".")[0] for cell in row]
    rows[1][2] = "-3"
    image.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    with pytest.warns(DataQualityWarning, match="hold -3"):
        stack = read_stack(header).compute()
    assert int(np.isnan(stack).sum()) == 1
    kept = read_stack(header, quantity="absorption").compute()
    assert int((kept == -3).sum()) == 1


def test_an_image_of_text_cut_within_its_last_number_is_told(tmp_path):
    header, *_ = stack_files.write_stxm(tmp_path)
    image = sorted(tmp_path.glob("*.xim"))[1]
    image.write_text(image.read_text()[:-3])
    with pytest.warns(DataQualityWarning, match="cut within that number"):
        read_stack(header).compute()
    header.write_text(header.read_text().rstrip()[:-1])
    with pytest.raises(FileFormatError, match="ends within an entry"):
        read_stack(header)


def test_what_a_subtraction_leaves_is_kept():
    """Few counts less a dark of few counts: whole, and -1 and -2 are all below zero."""
    rng = np.random.default_rng(4)
    dark = rng.poisson(0.05, (5, 40, 40)).clip(0, 2)
    less = (rng.poisson(0.5, dark.shape) - dark).astype(np.float32)
    assert set(np.unique(less[less < 0])) <= {-1.0, -2.0}
    for frames in (less, less[:1], less[0]):
        np.testing.assert_array_equal(only_counts(frames.copy(), "file"), frames)
    less[:, 10] = -1  # and a gap between modules, in frames that were not subtracted
    gap = np.where(less < 0, 0, less)
    gap[:, 10] = -1
    with pytest.warns(DataQualityWarning, match="no counts but gaps"):
        found = only_counts(gap[0].copy(), "file")
    assert np.isnan(found[10]).all()
    assert np.isfinite(np.delete(found, 10, axis=0)).all()


@pytest.mark.parametrize(
    "options", [{"imagej": True}, {"ome": True}, {}, {"metadata": None}]
)
def test_images_that_a_header_tells_of_and_that_have_no_page_are_told(
    tmp_path, options
):
    counts = np.random.default_rng(0).poisson(5.0, (6, 20, 30)).astype("u2")
    path = tmp_path / "a.tif"
    options = {"photometric": "minisblack"} | options
    tifffile.imwrite(path, counts, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*tells of")
        assert read_frames(path).shape == counts.shape
    if "metadata" not in options and "ome" not in options:
        tifffile.imwrite(path, counts, **options, truncate=True)
        with pytest.warns(DataQualityWarning, match="tells of 6 images, and 1"):
            read_frames(path)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib", "rowsperstrip": 7},
        {"compression": "zlib", "tile": (16, 32)},
        {"compression": "lzma"},
        {"compression": "zlib", "rowsperstrip": 5, "predictor": 2},
    ],
)
def test_packed_images_are_what_was_packed(tmp_path, kind, order, options):
    if kind == "f4" and "predictor" in options:
        pytest.skip("a difference of whole numbers")
    counts = np.random.default_rng(0).poisson(5.0, (50, 61)).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", counts, byteorder=order, **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), counts)


def test_bytes_packed_in_runs(tmp_path):
    """A literal of three bytes, a run of four, one that says nothing."""
    raw = b"\x02\x01\x00\x02\xfd\x00\x80\x00\x05"
    path = tmp_path / "a.tif"
    tiff_of(2, 2, raw, 32773)(path)
    expected = np.frombuffer(bytes([1, 0, 2, 0, 0, 0, 0, 5]), "<u2").reshape(2, 2)
    np.testing.assert_array_equal(read_image(path), expected)


def test_a_pixel_that_is_far_above_all_others_is_told(tmp_path):
    frames = np.random.default_rng(0).poisson(300, (4, 24, 32)).astype("u2")
    np.save(tmp_path / "sound.npy", frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_frames(tmp_path / "sound.npy", rocking=np.arange(4)).compute()
    frames[2, 7, 9] ^= 1 << 14
    np.save(tmp_path / "flipped.npy", frames)
    lazy = read_frames(tmp_path / "flipped.npy", rocking=np.arange(4))
    with pytest.warns(DataQualityWarning, match="one pixel holds 16"):
        lazy.compute()
