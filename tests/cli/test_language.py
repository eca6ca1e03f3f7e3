"""Wrong commands are answered in the words of the command line, before any work."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from batteryxr.cli.main import main

#: What shows that the library speaks to a programmer.
_PYTHON = re.compile(
    r"Traceback|\b\w+=(?:True|False|None|'| )|Error\b|\bfloat\b|\bint\b|\bself\b|`"
)
OPERANDO = ["operando", "--out", "new.zarr"]
FILES = ["--cycler", "cell.mpt", "--scans", "scans"]
WRONG = [
    (["opernado"], "did you mean operando"),
    (["--versoin"], "did you mean --version"),
    (["operando"], "--out is missing"),
    (["report", "cell.mpt", "--overwrite=yes"], "takes no value, not 'yes'"),
    (["operando", "--cyclr", "cell.mpt"], "did you mean --cycler"),
    ([*OPERANDO, "cell.mpt"], "cell.mpt is one word too many"),
    ([*OPERANDO, "--report", "page.pdf"], "a name that ends in .html"),
    ([*OPERANDO, "--cylcer", "cell.mpt"], "did you mean --cycler"),
    ([*OPERANDO, "--time", "Europe/Paris"], "--time is no option"),
    ([*OPERANDO, "--timezone", "Europe/Pariss"], "did you mean Europe/Paris"),
    ([*OPERANDO, "--timezone", "Paris"], "did you mean Europe/Paris"),
    ([*OPERANDO, "--timezone", "CEST+2"], "--timezone"),
    ([*OPERANDO, "--mass", "2,5"], "a decimal point, not a comma"),
    ([*OPERANDO, "--mass", "-2"], "--mass"),
    ([*OPERANDO, "--mass", "nan"], "--mass"),
    ([*OPERANDO, "--mass", "heavy"], "'heavy' is no number"),
    ([*OPERANDO, "--exposure", "-1"], "--exposure"),
    ([*OPERANDO, "--exposure", "0"], "the experiment is then simulated"),
    ([*OPERANDO, "--mass", "7"], "--mass 7.0: expected nothing without --cycler"),
    ([*OPERANDO, *FILES, "--columns", "U"], "LABEL=MEANING"),
    ([*OPERANDO, "--components", "2.5"], "--components"),
    ([*OPERANDO, "--components", "0"], "--components"),
    ([*OPERANDO, "--seed", "-1"], "--seed"),
    ([*OPERANDO, "--electrode", "cathod"], "did you mean cathode"),
    ([*OPERANDO, "--first", "charging"], "did you mean charge"),
    ([*OPERANDO, "--range", "8320"], "--range"),
    ([*OPERANDO, "--range", "8420", "8320"], "--range"),
    ([*OPERANDO, "--formula", "LiXyO2"], "--formula"),
    ([*OPERANDO, "--cycler", "cell.mpt"], "--scans is missing"),
    ([*OPERANDO, "--scans", "scans"], "--cycler is missing"),
    ([*OPERANDO, "--cycler", "gone.mpt", "--scans", "scans"], "--cycler gone.mpt"),
    ([*OPERANDO, "--cycler", "cell.mpt", "--scans", "gone"], "--scans gone"),
    ([*OPERANDO, *FILES, "--timezone", "UTC", "UTC", "UTC"], "--timezone"),
    ([*OPERANDO, "--report", "no/page.html"], "--report"),
    (["operando", "--out", "cell.mpt"], "is a file"),
    (["operando", "--out", "scans"], "scans"),
    ([*OPERANDO, "--timezone", "Pariss"], "did you mean Europe/Paris"),
    (["report"], "FILE"),
    (["report", "scans/thesis.txt"], "Write its labels with their units"),
    (["report", "gone.mpt"], "gone.mpt"),
    (["report", "bare.csv"], "--columns 'label=current (units)'"),
    (["report", "cell.mpt", "kept.zarr"], "kept.zarr: expected the only input"),
    (["convert", "stack.tif", "a.nxs", "--kind", "stack"], "--energy is missing"),
    (["convert", "cell.mpt", "a.csv", "--energy", "e.txt"], "nothing for cycler"),
    (["report", "cell.mpt", "--out", "no/page.html"], "--out"),
    (["report", "cell.mpt", "--mas", "2"], "did you mean --mass"),
    (["report", "scans", "--out", "page.html"], "scans"),
    (["convert", "cell.mpt"], "OUT"),
    (["convert", "gone.mpt", "cell.csv"], "FILE gone.mpt"),
    (["convert", "cell.mpt", "cell.doc"], "a name that ends in"),
    (["convert", "cell.mpt", "mine.csv"], "--overwrite"),
    (["convert", "scans", "s.parquet", "--kind", "series"], "a name that ends in"),
    (["convert", "cell.mpt", "a.csv", "--kind", "cyclers"], "did you mean cycler"),
    (["convert", "mixed", "a.csv"], "give a pattern, such as 'folder/*.csv'"),
    (["info"], "STORE"),
    (["info", "gone.zarr"], "gone.zarr"),
    (["check", "gone.zarr"], "gone.zarr"),
    (["ptycho", "gone.zarr"], "gone.zarr"),
    (["ptycho", "gone.zarr", "--engine", "LSQM"], "--engine"),
    (["ptycho", "gone.zarr", "--iterations", "many"], "--iterations"),
    (["ptycho", "gone.zarr", "--memory", "2GB"], "--memory"),
    (["completion", "fish"], "fish"),
    (["lab", "cell.mpt/in"], "cell.mpt"),
    (["lab", "--port", "8889"], "--port is no option of this command."),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cell.mpt").write_text("EC-Lab ASCII FILE\nNb header lines : 3\n\nx\n")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "thesis.txt").write_text("mine")
    (tmp_path / "mine.csv").write_text("mine")
    (tmp_path / "bare.csv").write_text("t,U,I\n0,3.5,1\n1,3.6,1\n")
    (tmp_path / "kept.zarr").mkdir()
    (tmp_path / "kept.zarr" / "zarr.json").write_text("{}")
    write = pytest.importorskip("tifffile").imwrite
    write(tmp_path / "stack.tif", np.zeros((3, 4, 5), "f4"), photometric="minisblack")
    (tmp_path / "mixed").mkdir()
    for name in ("a.csv", "b.mpr"):
        (tmp_path / "mixed" / name).write_text("mine")
    return tmp_path


@pytest.mark.parametrize(("command", "told"), WRONG, ids=lambda v: " ".join(v)[:50])
def test_a_wrong_command(folder, capsys, command, told):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    try:
        status = main(command)
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr().err
    assert status == 2
    assert told in said
    assert not _PYTHON.search(said), said
    assert len(said.strip().splitlines()) <= 2
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_no_abbreviation_is_guessed(folder, capsys):
    with pytest.raises(SystemExit):
        main([*OPERANDO, "--comp", "3"])
    assert "--comp is no option" in capsys.readouterr().err


def test_a_shell_completes_the_commands():
    pytest.importorskip("shtab")
    run = subprocess.run(
        [sys.executable, "-m", "batteryxr", "completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--clock-offset" in run.stdout
    assert "convert" in run.stdout


def test_warnings_are_notes_without_lines_of_python(monkeypatch, capsys):
    from batteryxr.cli import report
    from batteryxr.core.errors import DataQualityWarning

    usual = warnings.formatwarning
    said = DataQualityWarning("cell.mpt: no `start` (repair='spikes' mends it)")
    monkeypatch.setattr(
        report,
        "run",
        lambda _: print(warnings.formatwarning(said, type(said), "main.py", 8)),
    )
    assert main(["report", "cell.mpt"]) == 0
    assert capsys.readouterr().out.strip() == "Note: cell.mpt: no start"
    assert warnings.formatwarning is usual
