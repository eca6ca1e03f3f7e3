"""The main job, from files to a report, through the command line."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.cli.main import main
from batteryxr.core.errors import StoreError
from batteryxr.core.store import save
from batteryxr.operando import operando


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operando")
    out, page = folder / "cell.zarr", folder / "cell.html"
    small = functools.partial(batteryxr.simulate.cell_experiment, n_scans=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batteryxr.simulate, "cell_experiment", small)
        assert main(["operando", "--out", str(out), "--report", str(page)]) == 0
    return out, page


def test_the_store_holds_a_labelled_experiment(simulated):
    tree = batteryxr.open_store(simulated[0])
    assert {
        "/echem/record",
        "/echem/half_cycles",
        "/echem/cycles",
        "/echem/dqdv",
        "/xanes/scans",
        "/xanes/pca",
        "/xanes/nmf",
        "/truth",
    } <= set(tree.groups)
    for node in tree.subtree:
        for name, variable in node.dataset.variables.items():
            is_time = np.issubdtype(variable.dtype, np.datetime64)
            assert is_time or "units" in variable.attrs, (node.path, name)


def test_every_scan_is_joined_and_the_truth_is_found(simulated):
    tree = batteryxr.open_store(simulated[0])
    scans, truth = tree["xanes/scans"], tree["truth"]
    assert np.isfinite(scans["voltage"]).all()
    np.testing.assert_allclose(
        scans["li_content"], truth["li_content"], atol=2e-3, err_msg="clock or charge"
    )
    found = tree["xanes/nmf"]["weights"].values
    true = truth["ratios"].transpose("scan", ...).values
    error = np.sqrt(((found[:, None, :] - true[:, :, None]) ** 2).mean(0))
    assert error.min(axis=1).max() < 0.07


def test_results_can_be_made_again_from_the_store(simulated):
    tree = batteryxr.open_store(simulated[0])
    record = tree["echem/record"].to_dataset()
    cycles = tree["echem/cycles"].to_dataset()
    xr.testing.assert_equal(batteryxr.replay(cycles, record), cycles.compute())


class _References(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href") and v]


def test_the_report_needs_no_internet(simulated):
    text = simulated[1].read_text()
    parser = _References()
    parser.feed(text)
    assert [r for r in parser.found if r.startswith(("http", "//"))] == []
    assert "Joined</th><td>80 of 80" in text
    assert text.count("data-root-id") >= 6  # figures
    assert "simulated" in text
    assert "differ from its truth by" in text
    assert "[1] The batteryxr developers" in text
    assert "mA h g⁻¹" in text


def test_the_report_can_be_made_again_from_the_store(simulated, tmp_path):
    page = tmp_path / "again.html"
    assert main(["report", str(simulated[0]), "--out", str(page)]) == 0
    first, again = simulated[1].read_text(), page.read_text()
    assert re.findall("<p>.*?</p>", again) == re.findall("<p>.*?</p>", first)
    assert re.findall("class='note'>.*?</p>", again) == (
        re.findall("class='note'>.*?</p>", first)
    )
    assert again.count("data-root-id") == first.count("data-root-id")


def test_info_names_groups_units_and_calls(simulated, capsys):
    assert main(["info", str(simulated[0])]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^/echem/cycles  \(cycle 2", shown, re.MULTILINE)
    assert re.search(r"coulombic_efficiency +1 +float64", shown)
    assert '.echem.cycles(electrode="cathode", first="charge"' in shown


def test_nothing_is_replaced_unasked(simulated, capsys):
    assert main(["operando", "--out", str(simulated[0])]) == 2
    assert "--overwrite" in capsys.readouterr().err
    with pytest.raises(StoreError, match="overwrite=True"):
        operando(cycler=None, scans=None, store=simulated[0])


def test_a_failed_run_leaves_nothing(tmp_path, capsys):
    cycler = tmp_path / "cell.mpt"
    cycler.write_text("EC-Lab ASCII FILE\nNb header lines : 3\n\ntime/s\tEcell/V\n")
    out = tmp_path / "out.zarr"
    status = main(
        [
            "operando",
            "--cycler",
            str(cycler),
            "--scans",
            str(tmp_path),
            "--out",
            str(out),
        ]
    )
    assert status == 2
    assert "cell.mpt" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["cell.mpt"]


REFUSED = ["operando", "--cycler", "none.mpt", "--scans", "none"]


def _refused(folder, *arguments):
    """Refuse a run at once, whose input is not there either; nothing changes."""
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main([*REFUSED, *map(str, arguments)]) == 2
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_what_is_not_ours_is_never_emptied(simulated, tmp_path, capsys):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("mine")
    (tmp_path / "cell.zarr.partial").mkdir()
    (tmp_path / "cell.zarr.partial" / "keep.txt").write_text("mine")
    (tmp_path / "link.zarr").symlink_to(thesis)
    (tmp_path / "file.zarr").write_text("mine")
    (tmp_path / "precious.html").write_text("mine")
    for out, told in (
        (thesis, "not a zarr store and holds chapter.tex"),
        (tmp_path / "link.zarr", "not a zarr store"),
        (tmp_path / "file.zarr", "is a file"),
    ):
        _refused(tmp_path, "--out", out, "--overwrite")
        assert told in capsys.readouterr().err
    out = tmp_path / "cell.zarr"
    _refused(tmp_path, "--out", out)
    _refused(tmp_path, "--out", out, "--report", tmp_path / "precious.html")
    assert "precious.html is no report" in capsys.readouterr().err
    page = ["--report", tmp_path / "precious.html", "--overwrite"]
    _refused(tmp_path, "--out", out, *page)
    assert "no report of batteryxr" in capsys.readouterr().err
    _refused(tmp_path, "--out", out, "--report", tmp_path / "no" / "page.html")
    assert "in a folder that is there" in capsys.readouterr().err
    _refused(tmp_path, "--out", out, "--report", out)
    assert "ends in .html" in capsys.readouterr().err
    both = tmp_path / "both.html"
    _refused(tmp_path, "--out", both, "--report", both)
    assert "beside the store" in capsys.readouterr().err
    assert not out.exists()
    copy = tmp_path / "copy.zarr"
    shutil.copytree(simulated[0], copy)
    (copy / "echem" / "notes.txt").write_text("mine")
    _refused(tmp_path, "--out", copy, "--overwrite")
    assert "echem/notes.txt, which batteryxr did not write" in capsys.readouterr().err


def test_a_store_of_ours_is_replaced_whole(simulated, tmp_path, monkeypatch, capsys):
    small = functools.partial(batteryxr.simulate.cell_experiment, n_scans=40)
    monkeypatch.setattr(batteryxr.simulate, "cell_experiment", small)
    real, link = tmp_path / "real.zarr", tmp_path / "link.zarr"
    save(xr.Dataset({"old": ("y", [1.0])}), real, group="truth/old")
    link.symlink_to(real)
    page = tmp_path / "page.html"
    shutil.copy(simulated[1], page)
    bad = ["--cycler", str(tmp_path), "--scans", str(tmp_path)]
    assert main(["operando", *bad, "--out", str(link), "--overwrite"]) == 2
    assert batteryxr.open_store(real, "truth/old")["old"].values.tolist() == [1.0]
    asked = ["--out", str(link), "--report", str(page), "--overwrite"]
    assert main(["operando", *asked]) == 0
    assert link.is_symlink()
    tree = batteryxr.open_store(real)
    assert "/truth/old" not in tree.groups
    assert tree["xanes/scans"].sizes["scan"] == 40
    assert page.read_text().count("Joined</th><td>40 of 40") == 1
    cycles = tree["echem/cycles"].to_dataset()
    again = batteryxr.replay(cycles, tree["echem/record"].to_dataset())
    xr.testing.assert_equal(again, cycles.compute())
    assert main(["check", str(link)]) == 0


def test_what_the_system_says_is_one_sentence(tmp_path, capsys):
    assert main(["operando", "--out", str(tmp_path / ("x" * 300))]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "File name too long" in told[0]
    assert main(["info", str(tmp_path / ("x" * 300))]) == 2


def test_half_of_the_input_is_refused(tmp_path, capsys):
    status = main(["operando", "--cycler", "a.mpt", "--out", str(tmp_path / "a.zarr")])
    assert status == 2
    assert "--scans is missing" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["--help"], ["operando", "--help"]])
def test_help_and_module_entry(command):
    run = subprocess.run(
        [sys.executable, "-m", "batteryxr", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "operando" in run.stdout


def test_the_measured_cell(measured, tmp_path):
    """Two EC-Lab files and five of the spectra."""
    data, five = measured("lno-operando"), tmp_path / "xas"
    five.mkdir()
    for path in sorted((data / "xas").glob("norm_op6_cell4_pos1_close_000[1-5]_*")):
        (five / path.name).symlink_to(path)
    out = tmp_path / "lno.zarr"
    arguments = ["--timezone", "Europe/Paris", "--electrode", "cathode"]
    arguments += ["--first", "charge", "--range", "8320", "8420", "--components", "2"]
    files = ["--cycler", str(data / "cycler"), "--scans", str(five)]
    assert main(["operando", *files, *arguments, "--out", str(out)]) == 0
    cycles = batteryxr.open_store(out, "echem/cycles")
    np.testing.assert_allclose(
        cycles["coulombic_efficiency"][:3], [0.8183, 0.9042, 0.8868], atol=5e-5
    )
    assert cycles["charge_capacity"][2] == pytest.approx(1.40562, abs=2e-5)
    assert np.isfinite(batteryxr.open_store(out, "xanes/scans")["voltage"]).all()
