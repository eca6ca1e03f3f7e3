"""Impedance as potentiostats write it, binary and as text, and its place in a run."""

from __future__ import annotations

import warnings
from datetime import timedelta

import eclab_files as lab
import numpy as np
import pytest
import xarray as xr

from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    FileFormatError,
)
from batteryxr.echem import join
from batteryxr.io import read_cycler, read_impedance, read_run

GCPL = "Galvanostatic Cycling with Potential Limitation"
PEIS = "Potentio Electrochemical Impedance Spectroscopy"
LABELS = ["freq/Hz", "Re(Z)/Ohm", "-Im(Z)/Ohm", "time/s", "<Ewe>/V", "<I>/mA"]


def quiet(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return function(*args, **kwargs)


def cell(frequency, r0=2.0, r=8.0, c=1e-3):
    """Return a resistor before another with a capacitor beside it, by hand."""
    omega = 2 * np.pi * frequency
    down = 1 + (omega * r * c) ** 2
    return r0 + r / down, omega * r**2 * c / down  # Re, -Im


def eis_rows(begin, frequency, current=0.0, **values):
    real, minus = cell(frequency, **values)
    time = begin + 5.0 * np.arange(1, frequency.size + 1)
    flat = np.ones(frequency.size)
    return [frequency, real, minus, time, 3.7 * flat, current * flat]


@pytest.mark.parametrize("name", ["peis", "geis", "zir"])
@pytest.mark.parametrize("ending", ["mpt", "mpr"])
def test_files_of_eclab_say_what_their_text_says(name, ending, measured):
    folder = measured("cyclers/eclab-pairs")
    text = (folder / f"{name}.mpt").read_bytes().decode("latin-1").splitlines()
    head = int(text[1].split(":")[1])
    labels = text[head - 1].split("\t")
    place = [labels.index(label) for label in LABELS]
    rows = [[float(line.split("\t")[k]) for k in place] for line in text[head:]]
    table = np.array([row for row in rows if row[0] > 0])
    found = quiet(read_impedance, folder / f"{name}.{ending}", timezone="UTC")
    assert found["impedance"].attrs["units"] == "ohm"
    # By point, in order of time: spectrum after spectrum, from high to low frequency.
    inside = np.isfinite(found["impedance"].values)
    assert inside.sum() == len(table)
    frequency = np.broadcast_to(found["frequency"].values, inside.shape)
    flat = [v[:, ::-1][inside[:, ::-1]] for v in (frequency, found["impedance"].values)]
    np.testing.assert_allclose(flat[0], table[:, 0], rtol=1e-6)
    expected = table[:, 1] - 1j * table[:, 2]
    np.testing.assert_allclose(flat[1], expected, rtol=1e-6)
    spectra = np.cumsum(np.diff(table[:, 0], prepend=0) > 0)
    assert found.sizes["spectrum"] == spectra[-1]
    for k, (volts, current) in enumerate(
        zip(found["voltage"].values, found["current"].values, strict=True), 1
    ):
        mine = table[spectra == k]
        assert volts == pytest.approx(mine[:, 4].mean(), rel=1e-5)
        assert current == pytest.approx(mine[:, 5].mean(), rel=1e-5, abs=1e-12)
    lasting = [np.ptp(table[spectra == k, 3]) for k in range(1, spectra[-1] + 1)]
    np.testing.assert_allclose(found["exposure"].values, lasting, atol=1e-3)


def test_modulus_and_phase_alone_of_eclab_are_its_impedance(measured):
    folder = measured("cyclers/eclab-pairs")
    text = (folder / "mb.mpt").read_bytes().decode("latin-1").splitlines()
    labels = text[int(text[1].split(":")[1]) - 1].split("\t")
    place = [labels.index(label) for label in LABELS[:3]]
    cells = [line.split("\t") for line in text[int(text[1].split(":")[1]) :]]
    table = np.array([[float(row[k]) for k in place] for row in cells])
    table = table[table[:, 0] > 0]
    found = quiet(read_impedance, folder / "mb.mpr", timezone="UTC")
    z = found["impedance"].values[:, ::-1].ravel()
    np.testing.assert_allclose(z, table[:, 1] - 1j * table[:, 2], rtol=1e-6)


def loop(tmp_path, *, current=0.0, eis=(3600.0, 9000.0)):
    """Write a program that charges and takes a spectrum by turns, a file for each."""
    frequencies = [10.0 ** np.arange(5, -2, -0.25), 10.0 ** np.arange(4, -1, -0.5)]
    pieces = [(0.0, 3600.0), (4000.0, 9000.0), (9300.0, 12000.0)]
    time = np.concatenate([np.arange(a, b + 1, 100.0) for a, b in pieces])
    charge = np.full(time.size, 1.5)
    lab.mpt(
        tmp_path / "run_01_GCPL.mpt",
        ["time/s", "Ewe/V", "<I>/mA"],
        [time, 3.5 + time * 1e-5, charge],
        GCPL,
    )
    parts = [
        eis_rows(begin, f, current, r=8.0 + k)
        for k, (begin, f) in enumerate(zip(eis, frequencies, strict=True))
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    lab.mpt(tmp_path / "run_02_PEIS.mpt", LABELS, columns, PEIS)
    return str(tmp_path / "*.mpt"), frequencies


def test_spectra_of_a_run_stand_where_the_record_was_interrupted(tmp_path):
    path, frequencies = loop(tmp_path)
    record = quiet(read_cycler, path, timezone="UTC")
    spectra = read_impedance(path, timezone="UTC")
    assert spectra.sizes["spectrum"] == 2
    axis = np.unique(np.concatenate(frequencies).round(9))
    np.testing.assert_allclose(spectra["frequency"], axis, rtol=1e-6)
    for k, f in enumerate(frequencies):
        mine = spectra["impedance"].isel(spectrum=k).dropna("frequency")
        real, minus = cell(np.sort(f), r=8.0 + k)
        np.testing.assert_allclose(mine.values, real - 1j * minus, rtol=1e-6)
    begun = np.datetime64(lab.BEGUN, "ns")
    seconds = (spectra["time"].values - begun) / np.timedelta64(1, "s")
    np.testing.assert_allclose(seconds, [3605.0, 9005.0], atol=1e-3)

    joined = join(record, spectra, mass=30.0, formula="LiNiO2")
    capacity = [1.5 * 3600 / 3600, 1.5 * (3600 + 5000) / 3600]
    np.testing.assert_allclose(joined["capacity"], capacity, rtol=1e-6)
    specific = [c / 30e-3 for c in capacity]
    np.testing.assert_allclose(joined["specific_capacity"], specific, rtol=1e-6)
    # LiNiO2 holds 274.5 mA h for each gram and lithium.
    np.testing.assert_allclose(
        joined["li_content"], [1 - c / 274.5 for c in specific], atol=1e-4
    )
    assert (joined["branch"] == "charge").all()
    assert (joined["join_flag"] == 0).all()
    np.testing.assert_allclose(joined["voltage"], 3.7)  # its own
    assert joined["impedance"].identical(
        spectra["impedance"].assign_coords(joined.coords)
    )


def test_a_current_in_a_spectrum_is_told(tmp_path):
    path, _ = loop(tmp_path, current=1.5)
    record = quiet(read_cycler, path, timezone="UTC")
    with pytest.warns(DataQualityWarning, match="2 of 2 spectra were taken under"):
        joined = join(record, read_impedance(path, timezone="UTC"))
    assert (joined["join_flag"] == 32).all()


def test_spectra_that_follow_one_row_have_its_labels(tmp_path):
    path, _ = loop(tmp_path, eis=(3600.0, 3800.0))
    record = quiet(read_cycler, path, timezone="UTC")
    spectra = read_impedance(path, timezone="UTC")
    joined = join(record, spectra)
    np.testing.assert_allclose(joined["capacity"], 1.5, rtol=1e-6)
    assert joined["cycle"].values.tolist() == [1, 1]


def test_data_with_the_name_of_a_label_are_never_replaced(tmp_path):
    path, _ = loop(tmp_path)
    record = quiet(read_cycler, path, timezone="UTC")
    spectra = read_impedance(path, timezone="UTC")
    with pytest.raises(DataError, match="names of labels"):
        join(record, spectra.reset_coords("voltage"))
    never = np.full(2, np.datetime64("NaT", "ns"))
    with pytest.raises(DataError, match="read_impedance"):
        join(record, spectra.assign_coords(time=("spectrum", never)))


def test_a_current_that_the_spectrum_does_not_know_is_not_that_of_the_row(tmp_path):
    path, _ = loop(tmp_path)
    record = quiet(read_cycler, path, timezone="UTC")
    spectra = read_impedance(path, timezone="UTC")
    unknown = ("spectrum", np.full(2, np.nan), spectra["current"].attrs)
    joined = join(record, spectra.assign_coords(current=unknown))
    assert (joined["join_flag"] == 0).all()


def test_a_spectrum_far_from_the_record_has_no_labels(tmp_path):
    path, _ = loop(tmp_path)
    record = quiet(read_cycler, path, timezone="UTC")
    spectra = read_impedance(path, timezone="UTC")
    late = spectra.assign_coords(time=spectra["time"] + np.timedelta64(2, "D"))
    with pytest.warns(DataQualityWarning, match="2 of 2 spectra are not covered"):
        joined = join(record, late)
    assert joined["capacity"].isnull().all()


def test_spectra_in_another_zone_are_told_by_how_much(tmp_path):
    path, _ = loop(tmp_path)
    record = quiet(read_cycler, path, timezone="UTC")
    spectra = read_impedance(path, timezone="UTC")
    moved = spectra.assign_coords(time=spectra["time"] + np.timedelta64(2, "h"))
    with pytest.warns(DataQualityWarning, match="offset_s=-7200"):
        join(record, moved)


def table(path, labels, frequency, columns=None, *, head="", comma=False, sep="\t"):
    real, minus = cell(frequency)
    columns = [frequency, real, minus] if columns is None else columns
    rows = [sep.join(f"{x:.9e}" for x in row) for row in zip(*columns, strict=True)]
    body = "\r\n".join([*rows, ""])
    body = body.replace(".", ",") if comma else body
    path.write_bytes((head + sep.join(labels) + "\r\n" + body).encode("latin-1"))
    return path


F = 10.0 ** np.arange(5, -2, -0.5)


@pytest.mark.parametrize(
    ("labels", "sign"),
    [
        (["Frequency (Hz)", "Z' (Ohm)", "-Z'' (Ohm)"], 1),
        (["freq/Hz", "Re(Z)/Ohm", "-Im(Z)/Ohm"], 1),
        (["freq. / Hz", "Zreal / Ohm", "Zimag / Ohm"], -1),
        (["f_is_no_label", "Freq [Hz]", "Re(Z) [Ω]", "Im(Z) [Ω]"], -1),
    ],
)
@pytest.mark.parametrize("comma", [False, True])
def test_the_sign_is_what_the_label_says(tmp_path, labels, sign, comma):
    real, minus = cell(F)
    columns = [F, real, sign * minus]
    if len(labels) == 4:
        columns.insert(0, np.arange(F.size) * 1.0)
    if "Ω" in labels[-1]:
        labels = [label.replace("Ω", "ohm") for label in labels]
    found = read_impedance(table(tmp_path / "a.txt", labels, F, columns, comma=comma))
    np.testing.assert_allclose(
        found["impedance"].values[0], (real - 1j * minus)[::-1], rtol=1e-8
    )


@pytest.mark.parametrize("label", ["Z''/ohm", 'Z"/ohm', "Z2 /ohm"])
def test_a_label_without_a_sign_is_refused(tmp_path, label):
    path = table(tmp_path / "chi.txt", ["Freq/Hz", "Z'/ohm", label], F)
    with pytest.raises(FileFormatError, match=r"others.* Say which"):
        read_impedance(path)
    found = read_impedance(path, columns={label: "minus_imaginary"})
    np.testing.assert_allclose(found["impedance"].values[0].imag, -cell(F)[1][::-1])


def test_lines_above_the_labels_need_not_hold_the_columns_that_are_named(tmp_path):
    labels = ["Freq/Hz", "Z'/ohm", "Z2 /ohm"]
    head = "a cell of three words\r\nits\tnumber\tis 7\r\n"
    path = table(tmp_path / "chi.txt", labels, F, head=head)
    found = read_impedance(path, columns={"Z2": "minus_imaginary"})
    np.testing.assert_allclose(found["impedance"].values[0].imag, -cell(F)[1][::-1])
    with pytest.raises(ArgumentError, match="columns"):
        read_impedance(path, columns={"Z3": "minus_imaginary"})


def test_a_column_that_is_named_goes_before_one_that_was_found(tmp_path):
    real, minus = cell(F)
    labels = ["Freq/Hz", "Re(Z)/ohm", "-Im(Z)/ohm", "smoothed (ohm)"]
    path = table(tmp_path / "a.txt", labels, F, [F, real, 2 * minus, -minus])
    found = read_impedance(path, columns={"smoothed": "imaginary"})
    np.testing.assert_allclose(found["impedance"].values[0].imag, -minus[::-1])
    labels = ["Freq/Hz", "Re(Z)/ohm", "Im(Z)/ohm", "|Z|/ohm", "angle (deg)"]
    z = real - 1j * minus
    columns = [F, 2 * real, -minus, abs(z), -np.angle(z, deg=True)]
    path = table(tmp_path / "b.txt", labels, F, columns)
    found = read_impedance(path, columns={"angle": "minus_phase"})
    np.testing.assert_allclose(found["impedance"].values[0], z[::-1], rtol=1e-8)


def test_one_part_alone_of_a_counter_electrode_is_passed_over(tmp_path):
    rows = [*eis_rows(0.0, F), np.ones(F.size)]
    path = lab.mpt(tmp_path / "b.mpt", [*LABELS, "Re(Zce)/Ohm"], rows, PEIS)
    found = read_impedance(path, timezone="UTC")
    assert "impedance_counter" not in found
    assert found["impedance"].notnull().all()


def test_the_wrong_sign_is_flagged(tmp_path):
    path = table(tmp_path / "a.txt", ["Freq/Hz", "Zre/ohm", "Zim/ohm"], F)
    with pytest.warns(DataQualityWarning, match="reactance_sign"):
        assert read_impedance(path).attrs["flags"] == ["reactance_sign"]


def test_units_are_read_and_never_guessed(tmp_path):
    real, minus = cell(F)
    small = [F * 1e-3, real * 1e3, minus * 1e-6]
    labels = ["Freq (kHz)", "Re(Z) (mOhm)", "-Im(Z) (MOhm)"]
    found = read_impedance(table(tmp_path / "a.txt", labels, F, small))
    np.testing.assert_allclose(found["frequency"], F[::-1])
    np.testing.assert_allclose(
        found["impedance"].values[0], (real - 1j * minus)[::-1], rtol=1e-8
    )
    path = table(tmp_path / "b.txt", ["Freq (Hz)", "Re(Z)", "-Im(Z)"], F)
    with pytest.raises(FileFormatError, match="no units"):
        read_impedance(path)
    named = {"Re(Z)": "real (ohm)", "-Im(Z)": "minus_imaginary (ohm)"}
    assert read_impedance(path, columns=named)["impedance"].notnull().all()
    with pytest.raises(ArgumentError, match="columns"):
        read_impedance(path, columns={"Re(Z)": "resistance"})
    twice = {"Re(Z)": "real (ohm)", "-Im(Z)": "real (ohm)"}
    with pytest.raises(ArgumentError, match="one column for each"):
        read_impedance(path, columns=twice)
    labels = ["Freq (Hz)", "Z (ohm)", "Z [ohm]"]
    path = table(tmp_path / "c.txt", labels, F)
    with pytest.raises(ArgumentError, match="one column for each"):
        read_impedance(path, columns={"Z": "real"})
    said = {"Z (ohm)": "real (mohm)", "Z [ohm]": "minus_imaginary"}
    found = read_impedance(path, columns=said)["impedance"].values[0]
    np.testing.assert_allclose(found, (real * 1e-3 - 1j * minus)[::-1], rtol=1e-8)


def test_zahner_writes_modulus_and_phase(tmp_path):
    real, minus = cell(F)
    modulus, phase = np.hypot(real, minus), -np.degrees(np.arctan2(minus, real))
    number = np.arange(F.size) * 1.0
    columns = [number, F, modulus, phase, np.ones(F.size), number * 3]
    labels = "Number,Frequency/Hz,Impedance/Ohm,Phase/deg,Significance,Time/s"
    path = table(
        tmp_path / "spectrum.txt",
        labels.split(","),
        F,
        columns,
        head="Zahner Analysis\r\nDate: 2024-03-05 10:11:12\r\n\r\n",
    )
    found = read_impedance(path, timezone="Europe/Berlin")
    np.testing.assert_allclose(
        found["impedance"].values[0], (real - 1j * minus)[::-1], rtol=1e-7
    )
    assert found.attrs["instrument"] == "Zahner"
    assert found["time"].values[0] == np.datetime64("2024-03-05T09:11:12")
    assert found["exposure"].values[0] == pytest.approx(3 * (F.size - 1))


def test_gamry_writes_a_table_for_each_spectrum(tmp_path):
    lines = ["EXPLAIN", "TAG\tEISPOT", "DATE\tLABEL\t2024-03-05\tDate",
             "TIME\tLABEL\t10:11:12\tTime", "ZCURVE\tTABLE"]  # fmt: skip
    labels = "Pt\tTime\tFreq\tZreal\tZimag\tZsig\tZmod\tZphz\tIdc\tVdc"
    units = "#\ts\tHz\tohm\tohm\tV\tohm\t°\tA\tV"
    for k in range(2):
        real, minus = cell(F, r=8.0 + k)
        if k:
            lines.append("ZCURVE1\tTABLE")
        lines += [f"\t{labels}", f"\t{units}"]
        for row, (f, a, b) in enumerate(zip(F, real, minus, strict=True)):
            t = 1000.0 * k + row
            size, angle = np.hypot(a, b), -np.degrees(np.arctan2(b, a))
            cells = [row, t, f, a, -b, 1, size, angle, 1e-5, 3.6]
            lines.append("\t" + "\t".join(f"{x:.8g}" for x in cells))
    path = tmp_path / "a.DTA"
    path.write_bytes("\r\n".join([*lines, ""]).encode("latin-1"))
    found = read_impedance(path, timezone="UTC")
    for k in range(2):
        real, minus = cell(F, r=8.0 + k)
        np.testing.assert_allclose(
            found["impedance"].values[k], (real - 1j * minus)[::-1], rtol=1e-6
        )
    assert found["time"].values[1] == np.datetime64("2024-03-05T10:27:52")
    np.testing.assert_allclose(found["current"], 0.01)
    assert found.attrs["technique"] == "EISPOT"


@pytest.mark.parametrize("other", ["ZCURVE1", "ZCURVEDRIFT"])
def test_a_second_table_of_gamry_with_another_name_is_told(tmp_path, other):
    units = "\tPt\tFreq\tZreal\tZimag\n\t#\tHz\tohm\tohm\n"
    rows = "".join(f"\t{k}\t{f:.6g}\t2\t-1\n" for k, f in enumerate(F))
    path = tmp_path / "a.DTA"
    path.write_text(
        "EXPLAIN\nTAG\tEISPOT\n"
        + "".join(f"{name}\tTABLE\n{units}{rows}" for name in ("ZCURVE", other))
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert read_impedance(path).sizes["spectrum"] == 2
    told = any(f"other_tables: a.DTA: the tables ['{other}']" in str(w) for w in said)
    assert told == (other == "ZCURVEDRIFT")


def test_a_sweep_up_and_down_is_two_spectra(tmp_path):
    both = np.concatenate([F, F[::-1]])
    path = table(
        tmp_path / "a.csv", ["Freq (Hz)", "Re(Z)/ohm", "-Im(Z)/ohm"], both, sep=";"
    )
    found = read_impedance(path)
    assert found.sizes["spectrum"] == 2
    np.testing.assert_allclose(found["impedance"][0], found["impedance"][1])


def test_what_has_no_spectrum_is_refused_and_beside_others_passed_over(tmp_path):
    rows = [np.arange(9.0), np.full(9, 3.5), np.ones(9)]
    plain = lab.mpt(tmp_path / "a.mpt", ["time/s", "Ewe/V", "I/mA"], rows, GCPL)
    with pytest.raises(FileFormatError, match=r"no impedance in it.*Galvanostatic"):
        read_impedance(plain)
    begun = lab.BEGUN + timedelta(hours=1)
    lab.mpt(tmp_path / "b.mpt", LABELS, eis_rows(0.0, F), PEIS, begun)
    assert read_impedance(tmp_path, timezone="UTC").sizes["spectrum"] == 1


def test_a_time_without_a_zone_is_no_time(tmp_path):
    lab.mpt(tmp_path / "b.mpt", LABELS, eis_rows(0.0, F), PEIS)
    with pytest.warns(DataQualityWarning, match="undeclared zone"):
        found = read_impedance(tmp_path / "b.mpt")
    assert found["time"].isnull().all()


def test_a_spectrum_that_is_there_twice_is_flagged(tmp_path):
    lab.mpt(tmp_path / "a.mpt", LABELS, eis_rows(0.0, F), PEIS)
    lab.mpt(tmp_path / "b.mpt", LABELS, eis_rows(0.0, F), PEIS)
    with pytest.warns(DataQualityWarning, match="same_spectra"):
        found = read_impedance(tmp_path, timezone="UTC")
    assert found.attrs["flags"] == ["same_spectra"]
    assert read_impedance(tmp_path / "a.mpt", timezone="UTC").attrs["flags"] == []


def test_a_folder_of_one_format_by_name(tmp_path):
    table(tmp_path / "a.txt", ["f/Hz", "Re(Z)/ohm", "-Im(Z)/ohm"], F)
    lab.mpt(tmp_path / "b.mpt", LABELS, eis_rows(0.0, F), PEIS)
    with pytest.raises(ArgumentError, match="one format"):
        read_impedance(tmp_path)
    assert read_impedance(tmp_path, format="text").attrs["source_files"] == ["a.txt"]
    with pytest.raises(ArgumentError, match="format"):
        read_impedance(tmp_path, format="nonsense")


def test_frequencies_that_are_measured_several_times_make_several_spectra(tmp_path):
    twice = np.repeat(F, 2)
    real, minus = cell(twice)
    real[1::2] += 1.0
    labels = ["Freq/Hz", "Re(Z)/ohm", "-Im(Z)/ohm"]
    path = table(tmp_path / "a.txt", labels, F, [twice, real, minus])
    with pytest.warns(DataQualityWarning, match="repeated_frequencies"):
        found = read_impedance(path)
    assert found["impedance"].shape == (2, F.size)
    np.testing.assert_allclose(found["impedance"][0].real, cell(F)[0][::-1], rtol=1e-8)
    np.testing.assert_allclose(
        found["impedance"][1].real, cell(F)[0][::-1] + 1, rtol=1e-8
    )
    # Down and up again, twice each: four spectra, the point of return in all.
    both = np.concatenate([twice, twice[::-1]])
    real, minus = cell(both)
    path = table(tmp_path / "b.txt", labels, F, [both, real, minus])
    assert quiet(read_impedance, path)["impedance"].notnull().all()
    assert quiet(read_impedance, path).sizes["spectrum"] == 4
    once = np.concatenate([F, F[::-1]])
    real, minus = cell(once)
    path = table(tmp_path / "c.txt", labels, F, [once, real, minus])
    found = read_impedance(path)
    assert found["impedance"].notnull().all()
    assert found.sizes["spectrum"] == 2
    assert found.attrs["flags"] == []


def test_frequencies_in_no_order_are_one_spectrum_and_told(tmp_path):
    mixed = np.random.default_rng(0).permutation(F)
    labels = ["Freq/Hz", "Re(Z)/ohm", "-Im(Z)/ohm"]
    columns = [np.tile(c, 2) for c in (mixed, *cell(mixed))]
    columns[1] += np.repeat([0.0, 1.0], F.size)
    path = table(tmp_path / "a.txt", labels, F, columns)
    with pytest.warns(DataQualityWarning, match="frequency_order"):
        found = read_impedance(path)
    assert found.sizes["spectrum"] == 2
    real, minus = cell(F)
    for k, one in enumerate(found["impedance"].values):
        np.testing.assert_allclose(one, (k + real - 1j * minus)[::-1], rtol=1e-8)


def test_points_at_nearly_one_frequency_never_replace_each_other(tmp_path):
    f = np.sort(np.concatenate([F, F[4:5] * (1 - 4e-6), F[7:8] * (1 + 2e-5)]))[::-1]
    labels = ["Freq/Hz", "Re(Z)/ohm", "-Im(Z)/ohm"]
    path = table(tmp_path / "a.txt", labels, f)
    with pytest.warns(DataQualityWarning, match="repeated_frequencies"):
        found = read_impedance(path)
    assert int(found["impedance"].notnull().sum()) == f.size


def test_an_empty_cell_in_the_number_of_a_spectrum_begins_none(tmp_path):
    number = np.repeat([1.0, 2.0], F.size)
    number[[1, 5, F.size + 3]] = np.nan
    columns = [*(np.tile(c, 2) for c in (F, *cell(F))), number]
    columns[1] += np.repeat([0.0, 1.0], F.size)
    labels = ["Freq/Hz", "Re(Z)/ohm", "-Im(Z)/ohm", "spectrum"]
    found = read_impedance(table(tmp_path / "a.txt", labels, F, columns))
    assert found.sizes["spectrum"] == 2
    assert found["impedance"].notnull().all()


def test_a_flag_of_two_files_tells_of_both(tmp_path):
    for name, f in (("a.txt", F), ("b.txt", F[1:])):
        table(tmp_path / name, ["Freq/Hz", "Zre/ohm", "Zim/ohm"], f)
    found = quiet(read_impedance, tmp_path)
    assert found.attrs["flags"] == ["reactance_sign"]
    assert "a.txt" in found.attrs["flag_notes"][0]
    assert "b.txt" in found.attrs["flag_notes"][0]


def test_columns_of_a_file_of_eclab_are_the_ones_that_the_user_names(tmp_path):
    rows = eis_rows(0.0, F)
    other = [*rows, 3.0 * rows[1]]
    path = lab.mpt(tmp_path / "b.mpt", [*LABELS, "Rfit/Ohm"], other, PEIS)
    found = read_impedance(path, timezone="UTC", columns={"Rfit/Ohm": "real (ohm)"})
    np.testing.assert_allclose(
        found["impedance"][0].real, 3 * cell(F)[0][::-1], rtol=1e-6
    )
    with pytest.raises(ArgumentError, match="columns"):
        read_impedance(path, timezone="UTC", columns={"none": "real (ohm)"})


def test_the_zone_of_a_file_without_a_spectrum_is_not_asked_for(tmp_path):
    loop(tmp_path)
    (tmp_path / "run_02_PEIS.mpt").unlink()
    table(tmp_path / "a.txt", ["Freq/Hz", "Re(Z)/ohm", "-Im(Z)/ohm"], F)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_impedance([tmp_path / "run_01_GCPL.mpt", tmp_path / "a.txt"])


def test_a_spectrum_at_rest_has_the_direction_of_rest_and_the_branch_of_the_record(
    tmp_path,
):
    path, _ = loop(tmp_path)
    record = quiet(read_cycler, path, timezone="UTC")
    joined = join(record, read_impedance(path, timezone="UTC"))
    np.testing.assert_allclose(joined["current"], 0.0)
    assert joined["direction"].values.tolist() == ["rest", "rest"]
    assert joined["branch"].values.tolist() == ["charge", "charge"]


def test_the_moment_and_the_length_of_a_spectrum_are_those_that_join_is_told(tmp_path):
    path, _ = loop(tmp_path)
    record = quiet(read_cycler, path, timezone="UTC")
    spectra = read_impedance(path, timezone="UTC")
    late = spectra.assign_coords(time=spectra["time"] + np.timedelta64(500, "s"))
    # 500 s after its beginning the first one's clock is in the charge that follows.
    assert not np.allclose(join(record, late)["capacity"], [1.5, 3.5833], rtol=1e-3)
    moved = join(record, late, exposure=1000.0, time_reference="middle")
    np.testing.assert_allclose(
        moved["capacity"], join(record, spectra)["capacity"], rtol=1e-9
    )
    lazy = join(record.chunk(record=17), spectra)
    np.testing.assert_allclose(lazy["capacity"], join(record, spectra)["capacity"])
    with pytest.raises(ArgumentError, match="exposure"):
        join(record, spectra.drop_vars("exposure"), time_reference="end")


def test_noise_of_the_current_is_none_in_spectra_of_a_fresh_cell(tmp_path):
    path, _ = loop(tmp_path, current=1e-5, eis=(0.0, 100.0))
    record = quiet(read_cycler, path, timezone="UTC")
    spectra = read_impedance(path, timezone="UTC").isel(spectrum=[0])
    joined = join(record, spectra)
    assert (joined["join_flag"] == 0).all()


def test_a_run_has_its_record_and_its_impedance_in_groups(tmp_path):
    path, _ = loop(tmp_path)
    run = quiet(read_run, path, timezone="UTC")
    record = quiet(read_cycler, path, timezone="UTC")
    spectra = read_impedance(path, timezone="UTC")
    assert set(run.children) == {"echem", "impedance"}
    for name, alone in (("echem", record), ("impedance", spectra)):
        group = run[name].to_dataset()
        xr.testing.assert_equal(group, alone)
        assert group.attrs["flags"] == alone.attrs["flags"]
    joined = join(run["echem"].to_dataset(), run["impedance"].to_dataset())
    np.testing.assert_allclose(joined["capacity"], join(record, spectra)["capacity"])

    alone = quiet(read_run, tmp_path / "run_01_GCPL.mpt", timezone="UTC")
    assert set(alone.children) == {"echem"}
    alone = quiet(read_run, tmp_path / "run_02_PEIS.mpt", timezone="UTC")
    assert set(alone.children) == {"impedance"}


def test_a_run_of_nothing_and_a_damaged_one_are_refused(tmp_path):
    path = lab.mpt(
        tmp_path / "a.mpt", ["time/s", "Ewe/V", "<I>/mA"], [[], [], []], GCPL
    )
    with pytest.raises(FileFormatError, match="no impedance"):
        quiet(read_run, path)
    loop(tmp_path)
    whole = (tmp_path / "run_02_PEIS.mpt").read_bytes()
    (tmp_path / "run_02_PEIS.mpt").write_bytes(whole.replace(b"E+05", b"E#05", 1))
    with pytest.raises(FileFormatError, match="run_02"):
        quiet(read_run, str(tmp_path / "run_*.mpt"))


def test_a_run_of_a_workbook_and_a_table_of_impedance(tmp_path):
    """Neither reader knows the file of the other."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("openpyxl")
    t = np.arange(0.0, 3600.0, 60.0)
    rows = {
        "Test Time (s)": t,
        "Voltage (V)": 3.5 + t / 7200,
        "Current (mA)": 1 + 0 * t,
    }
    pd.DataFrame(rows).to_excel(tmp_path / "cycling.xlsx", index=False)
    f = np.logspace(4, 0, 21)
    real, minus = cell(f)
    columns = {"Frequency (Hz)": f, "Zreal (ohm)": real, "Zimag (ohm)": -minus}
    pd.DataFrame(columns).to_csv(tmp_path / "eis.csv", index=False)
    paths = [tmp_path / "cycling.xlsx", tmp_path / "eis.csv"]
    run = quiet(read_run, paths)
    np.testing.assert_allclose(run["echem"].voltage, rows["Voltage (V)"])
    np.testing.assert_allclose(run["impedance"].impedance[0], (real - 1j * minus)[::-1])
    assert set(quiet(read_run, paths[0]).children) == {"echem"}
    assert set(quiet(read_run, paths[1]).children) == {"impedance"}


@pytest.mark.parametrize(("current", "flag"), [(2e-5, 0), (1.0, 32)])
def test_the_zero_of_an_ammeter_is_no_current_of_a_cell_at_rest(current, flag):
    begin = np.datetime64("2026-01-01T00:00:00", "ns")
    t = np.arange(0.0, 3600.0, 10.0)
    record = xr.Dataset(
        {
            "voltage": ("record", 3.7 + 0 * t, {"units": "V"}),
            "current": ("record", 0 * t, {"units": "mA"}),
        },
        coords={
            "test_time": ("record", t, {"units": "s"}),
            "time": ("record", begin + (t * 1e9).astype("m8[ns]")),
        },
    )
    spectra = xr.Dataset(
        {"impedance": (("spectrum", "frequency"), np.ones((2, 3), complex))},
        coords={
            "time": ("spectrum", begin + np.array([600, 1800], "m8[s]")),
            "exposure": ("spectrum", [60.0, 60.0], {"units": "s"}),
            "current": ("spectrum", [current] * 2, {"units": "mA"}),
        },
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        joined = join(record, spectra)
    assert joined["join_flag"].values.tolist() == [flag, flag]
    assert any("under a current" in str(w.message) for w in said) == (flag > 0)


def test_spectra_side_by_side_are_no_single_spectrum(tmp_path):
    path = tmp_path / "two.csv"
    rows = "\n".join(f"{f},2,1,{f},4,3" for f in (1000, 100, 10, 1))
    path.write_text(f"{','.join(['f (Hz),Re(Z) (Ohm),-Im(Z) (Ohm)'] * 2)}\n{rows}\n")
    with pytest.raises(FileFormatError, match="side by side"):
        read_impedance(path)
    labels = "f (Hz),Re(Z) (Ohm),-Im(Z) (Ohm),f2 (Hz),R2 (Ohm),I2 (Ohm)"
    path.write_text(f"{labels}\n{rows}\n")
    said = {"R2": "real", "I2": "minus_imaginary", "f2": "frequency"}
    found = read_impedance(path, columns=said)
    np.testing.assert_array_equal(found["impedance"].values[0], 4 - 3j)


def test_degrees_of_a_german_file_are_no_radians(tmp_path):
    path = tmp_path / "a.txt"
    rows = "\n".join(f"{f};10,0;-30,0" for f in (1000, 100, 10, 1))
    path.write_text(f"Frequenz/Hz;Impedanz/Ohm;Phase/Grad\n{rows}\n")
    z = read_impedance(path)["impedance"].values
    np.testing.assert_allclose(z, 10 * np.exp(-1j * np.pi / 6))


def test_every_label_without_units_is_named_with_what_it_looks_like(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("freq,Zreal,Zimag\n100,2,-1\n10,3,-1\n1,4,-1\n")
    said = r"\{'freq': 'frequency \(Hz\)', 'Zreal': 'real \(ohm\)', 'Zimag'"
    with pytest.raises(FileFormatError, match=said):
        read_impedance(path)


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_file_of_zplot_needs_no_columns(tmp_path, quote):
    path = tmp_path / "one.z"
    labels = ", ".join(
        f"{quote}{one}{quote}" for one in ("Freq(Hz)", "Ampl", "Z'(a)", "Z''(b)", "Err")
    )
    rows = "\n".join(f"{f}, 0.01, 2, -1, 0" for f in (1000, 100, 10, 1))
    path.write_text(f"ZPLOT2 ASCII\n{labels}\nEnd Comments\n{rows}\n")
    np.testing.assert_array_equal(read_impedance(path)["impedance"].values[0], 2 - 1j)


def test_rows_below_the_end_of_comments(tmp_path):
    path = tmp_path / "one.z"
    top = (
        "ZPLOT2 ASCII\nversion,2.5\nFreq(Hz)  Time(Sec)  Z'(a)  Z''(b)\nEnd Comments\n"
    )
    path.write_text(top + "\n".join(f"{f}, 1, 2, -1" for f in (1000, 100, 10, 1)))
    said = {"Z'(a)": "real (ohm)", "Z''(b)": "imaginary (ohm)"}
    found = read_impedance(path, columns=said)
    np.testing.assert_array_equal(found["impedance"].values[0], 2 - 1j)


@pytest.mark.parametrize(
    ("head", "sep", "sign"),
    [
        ("Frequency,Zreal,Zimag\nHz,Ohm,Ohm\n", ",", 1),
        ("Freq\tZ'\t-Z''\n(Hz)\t(Ω)\t(Ω)\n", "\t", -1),
        ("# of one cell\n# freq_Hz,Re_Z_ohm,Im_Z_ohm\n", ",", 1),
        ('Frequency (Hz),"Z\' (Ohms)","-Z" (Ohms)"\n', ",", -1),
        ("Frequenz [Hz];Realteil [Ohm];Imaginärteil [Ohm]\n", ";", 1),
    ],
)
def test_units_below_the_labels_and_other_dresses(tmp_path, head, sep, sign):
    z = 3 - 2j * F / F[0]
    rows = "".join(
        f"{f:.9e}{sep}{one.real:.9e}{sep}{sign * one.imag:.9e}\n"
        for f, one in zip(F, z, strict=True)
    )
    (tmp_path / "a.csv").write_text(head + rows, encoding="utf-8")
    found = read_impedance(tmp_path / "a.csv")
    order = np.argsort(F)
    np.testing.assert_allclose(found["frequency"], F[order], rtol=1e-8)
    np.testing.assert_allclose(found["impedance"].values[0], z[order], rtol=1e-8)
    assert found.attrs["flags"] == []


def test_a_file_of_zahner_says_how_to_read_it(tmp_path):
    (tmp_path / "a.ism").write_bytes(bytes(range(256)))
    with pytest.raises(ArgumentError, match="export it as text"):
        read_impedance(tmp_path / "a.ism")


def test_labels_in_another_language_are_told(tmp_path):
    labels = ["Fréquence [Hz]", "Partie réelle [Ohm]", "Partie imaginaire [Ohm]"]
    path = table(tmp_path / "a.csv", labels, F, sep=";")
    with pytest.raises(FileFormatError, match=r"Fréquence.*réelle.*imaginaire"):
        read_impedance(path)
    good = table(
        tmp_path / "b.csv", ["Freq (Hz)", "Re(Z)/ohm", "-Im(Z)/ohm"], F, sep=";"
    )
    with pytest.raises(FileFormatError, match="réelle"):  # it is not passed over
        read_impedance([path, good])
    path = table(tmp_path / "a.csv", ["Frekvenssi", *labels[1:]], F, sep=";")
    assert read_impedance([path, good]).sizes["spectrum"] == 1


OMEGA = 2 * np.pi
TURNED = {
    "units above": ("[Hz]\t[kOhm]\t[kOhm]\nFrequency\tZ'\t-Z''", (1, 1e-3, 1e-3)),
    "rad/s": ("omega (rad/s)\tRe(Z) (ohm)\t-Im(Z) (ohm)", (OMEGA, 1, 1)),
    "greek": ("ω / rad s-1\tRe(Z) / Ω\t-Im(Z) / Ω", (OMEGA, 1, 1)),
    "decades": ("log10(f/Hz)\tRe(Z)/ohm\t-Im(Z)/ohm", None),
}


@pytest.mark.parametrize("name", TURNED)
def test_frequencies_in_other_units_and_units_above_the_labels(tmp_path, name):
    frequency = np.geomspace(1e4, 0.1, 16)
    head, factors = TURNED[name]
    columns = np.array([frequency, *cell(frequency)])
    if factors is None:
        columns[0] = np.log10(frequency)
    else:
        columns *= np.array(factors)[:, None]
    path = tmp_path / "spectrum.txt"
    rows = ["\t".join(f"{x:.9e}" for x in row) for row in columns.T]
    path.write_text("\n".join([head, *rows, ""]), encoding="utf-8")
    found = quiet(read_impedance, path)
    np.testing.assert_allclose(found["frequency"], frequency[::-1], rtol=1e-7)
    real, minus = cell(found["frequency"].values)
    np.testing.assert_allclose(found["impedance"][0], real - 1j * minus, rtol=1e-6)


def test_an_admittance_is_turned_round_or_named(tmp_path):
    frequency = np.geomspace(1e4, 0.1, 16)
    real, minus = cell(frequency)
    y = 1e3 / (real - 1j * minus)
    rows = [f"{f},{a},{b}" for f, a, b in zip(frequency, y.real, y.imag, strict=True)]
    path = tmp_path / "y.csv"
    path.write_text("\n".join(["f (Hz),Re(Y) (mS),Im(Y) (mS)", *rows, ""]))
    found = quiet(read_impedance, path)["impedance"].values[0, ::-1]
    np.testing.assert_allclose(found, real - 1j * minus, rtol=1e-9)
    path.write_text("\n".join(["f (Hz),Y' (mS),Y'' (mS)", *rows, ""]))
    with pytest.raises(FileFormatError, match="susceptance"):
        read_impedance(path)
    path.write_text("\n".join(["f (Hz),|Y| (mS),Phase (deg)", *rows, ""]))
    with pytest.raises(FileFormatError, match="admittance"):
        read_impedance(path)


@pytest.mark.parametrize(
    ("labels", "sign"),
    [
        ("Fréquence (Hz);Impedance Real (Ohm);Impedance Imaginary (Ohm)", 1),
        ("Frequency, Hz;Real part, Ohm;neg. Imaginary part, Ohm", -1),
        ("frecuencia/Hz;Zre/Ohm;minus Zim/Ohm", -1),
        ("f/Hz;Re(Z)/Ohm;(-)Im(Z)/Ohm", -1),
    ],
)
def test_signs_and_parts_in_words(tmp_path, labels, sign):
    real, minus = cell(F)
    path = table(
        tmp_path / "a.csv", labels.split(";"), F, [F, real, -sign * minus], sep=";"
    )
    found = quiet(read_impedance, path)["impedance"][0].sortby("frequency")
    order = np.argsort(F)
    np.testing.assert_allclose(found, (real - 1j * minus)[order], rtol=1e-5)


@pytest.mark.parametrize("odd", ["", "sign", "units"])
def test_parts_and_phase_that_contradict_each_other_are_flagged(tmp_path, odd):
    real, minus = cell(F)
    z = real - 1j * minus
    flip, scale = -1 if odd == "sign" else 1, 1e3 if odd == "units" else 1
    columns = [F, abs(z) * scale, flip * np.angle(z, deg=True), real, minus]
    labels = ["f/Hz", "|Z|/Ohm", "Phase(Z)/deg", "Re(Z)/Ohm", "-Im(Z)/Ohm"]
    path = table(tmp_path / "a.csv", labels, F, columns, sep=",")
    found = quiet(read_impedance, path)
    assert ("contradiction" in found.attrs["flags"]) == bool(odd)
    np.testing.assert_allclose(found["impedance"][0].real.max(), real.max(), rtol=1e-5)


def test_an_angle_in_other_units_than_its_label_says_is_flagged(tmp_path):
    frequency = np.geomspace(1e4, 0.1, 16)
    real, minus = cell(frequency)
    z = real - 1j * minus
    path = tmp_path / "polar.csv"
    for factor, odd in ((np.degrees(1.0), False), (1.0, True)):
        angle = np.angle(z) * factor
        rows = zip(frequency, abs(z), angle, strict=True)
        lines = [",".join(map(str, row)) for row in rows]
        path.write_text("\n".join(["f (Hz),|Z| (ohm),Phase (deg)", *lines, ""]))
        found = quiet(read_impedance, path)
        assert ("phase_scale" in found.attrs["flags"]) == odd


@pytest.mark.parametrize(
    "labels", ["f (Hz),Z (ohm),theta (\u00b0)", "Freq(Hz),Zmod(Ohm),Zphase(deg)"]
)
def test_labels_again_begin_another_spectrum(tmp_path, labels):
    frequency = np.logspace(4, 0, 9)
    z = 5 + 20 / (1 + 2j * np.pi * frequency * 1e-2)
    rows = [
        f"{f:.6g},{abs(one):.6g},{np.angle(one, deg=True):.6g}"
        for f, one in zip(frequency, z, strict=True)
    ]
    path = tmp_path / "two.csv"
    lines = [labels, *rows, "", "Second spectrum", labels, *rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    found = quiet(read_impedance, path)
    assert "titles" in found.attrs["flags"]
    found = found["impedance"]
    assert found.shape == (2, 9)
    np.testing.assert_allclose(
        found.sel(frequency=frequency, method="nearest"), [z, z], rtol=1e-4
    )


@pytest.mark.parametrize(
    "ranges",
    [
        [(1e5, 1, 30), (1e3, 1e-2, 30)],  # no frequency is on the other's grid
        [(1e5, 1, 31), (1, 1e-2, 13)],
        [(1e5, 1, 31), (1.2, 1e-2, 13)],
        [(1e5, 1, 31), (1e3, 1e-2, 31)] * 2,
    ],
)
def test_sweeps_of_several_ranges_are_no_moved_rows(tmp_path, ranges):
    every = np.concatenate([np.geomspace(*one) for one in ranges])
    noise = np.random.default_rng(0).normal(0, 1e-3, every.size)
    real, minus = cell(every)
    labels = ["Freq/Hz", "Re(Z)/ohm", "-Im(Z)/ohm"]
    path = table(tmp_path / "ranges.txt", labels, every, [every, real + noise, minus])
    flags = quiet(read_impedance, path).attrs["flags"]
    assert not set(flags) & {"row_order", "missing_rows", "repeated_rows"}


def test_phases_in_deg_that_are_called_rad_are_refused(tmp_path):
    every = np.geomspace(1e4, 1e-1, 30)
    real, minus = cell(every)
    z = real - 1j * minus
    for label, angle in (("rad", np.angle(z)), ("deg", np.angle(z, deg=True))):
        path = table(
            tmp_path / f"{label}.txt", ["F", "M", "A"], every, [every, abs(z), angle]
        )
        columns = {"F": "frequency (Hz)", "M": "modulus (ohm)", "A": "phase (rad)"}
        if label == "rad":
            found = quiet(read_impedance, path, columns=columns)["impedance"][0]
            np.testing.assert_allclose(found.values[::-1], z, rtol=1e-4)
            continue
        with pytest.raises(FileFormatError, match="in deg, and not in rad"):
            read_impedance(path, columns=columns)


@pytest.mark.parametrize(
    ("rows", "flag"),
    [
        ([*range(30), *range(20, 60)], "repeated_rows"),
        ([*range(20), 30, *range(21, 30), 20, *range(31, 60)], "row_order"),
        ([*range(20), 21, 20, *range(22, 60)], "row_order"),
        ([*range(20), *range(26, 60)], "missing_rows"),
    ],
)
def test_rows_of_a_spectrum_that_were_moved_are_told(tmp_path, rows, flag):
    every = np.geomspace(1e5, 1e-2, 60)
    noise = np.random.default_rng(0).normal(0, 1e-3, 60)
    real, minus = cell(every)
    labels = ["Freq/Hz", "Re(Z)/ohm", "-Im(Z)/ohm"]
    for chosen, wanted in ((rows, True), (range(60), False)):
        columns = [v[list(chosen)] for v in (every, real + noise, minus)]
        path = table(tmp_path / f"{wanted}.txt", labels, every, columns)
        assert (flag in quiet(read_impedance, path).attrs["flags"]) == wanted


@pytest.mark.parametrize("other", ["Z / Ohm", "Impedanz / Ohm"])
def test_the_modulus_is_the_column_that_says_so(tmp_path, other):
    frequency = 10.0 ** np.arange(4, -1, -0.5)
    real, minus = cell(frequency)
    phase = np.degrees(np.arctan2(minus, real))
    labels = ["freq / Hz", other, "|Z| / Ohm", "-Phase / deg"]
    rows = zip(frequency, real, np.hypot(real, minus), phase, strict=True)
    text = "".join("\t".join(f"{x:.9g}" for x in row) + "\n" for row in rows)
    (tmp_path / "a.txt").write_text("\t".join(labels) + "\n" + text)
    found = read_impedance(tmp_path / "a.txt")["impedance"][0, ::-1]
    np.testing.assert_allclose(found, real - 1j * minus, rtol=1e-6)


def test_tables_of_versastudio_end_with_their_tags(tmp_path):
    def part(number, shift):
        rows = "".join(
            f"0,{k},{10.0 ** (4 - k):g},{20 + k + shift},{-1 - k}\n" for k in range(6)
        )
        labels = "Definition=Segment #, Point #, Frequency(Hz), Z Real, Z Imag"
        tag = f"Segment{number}"
        return f"<{tag}>\nType=2\nVersion=3\n{labels}\n{rows}</{tag}>\n"

    path = tmp_path / "a.par"
    path.write_text(
        "<Application>\nName=VersaStudio\n</Application>\n" + part(1, 0) + part(2, 0.5)
    )
    columns = {"Z Real": "real (ohm)", "Z Imag": "imaginary (ohm)"}
    with pytest.warns(DataQualityWarning, match="4 lines of words above labels"):
        found = read_impedance(path, columns=columns)
    assert dict(found.sizes) == {"spectrum": 2, "frequency": 6}
    real = found["impedance"].values.real
    np.testing.assert_allclose(np.sort(real[1] - real[0]), 0.5)
