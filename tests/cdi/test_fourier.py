"""Transforms in many threads: FFTW's planner serves one at a time."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import numpy as np
import pytest

from batteryxr.cdi.fourier import Fourier, empty, planned

MANY = """
import threading
import numpy as np
from batteryxr.cdi.fourier import Fourier, empty

def work(seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        n = int(rng.integers(20, 34))
        field = empty((3, n, n), np.zeros(1))
        field[...] = 1.0
        fourier = Fourier(field, axes=(-2, -1), repeatable=True)
        fourier.backward(fourier.forward(field))

threads = [threading.Thread(target=work, args=(s,)) for s in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_there_and_back():
    rng = np.random.default_rng(0)
    field = empty((2, 12, 10), np.zeros(1))
    field[...] = rng.standard_normal(field.shape) + 1j * rng.standard_normal(
        field.shape
    )
    before = field.copy()
    fourier = Fourier(field, axes=(-2, -1))
    expected = np.fft.fft2(before)
    far = fourier.forward(field)
    np.testing.assert_allclose(far, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fourier.backward(far) / 120, before, atol=1e-5)


def test_plans_of_many_threads():
    pytest.importorskip("pyfftw", reason="the extra 'fast' is not installed")
    # In a process of its own: what fails here takes the interpreter with it.
    done = subprocess.run([sys.executable, "-c", MANY], check=False, timeout=300)
    assert done.returncode == 0


ONE = """
import os
os.environ["XDG_CACHE_HOME"] = argv[0]
import numpy as np
from batteryxr.cdi.fourier import Fourier, empty
rng = np.random.default_rng(0)
field = empty((40, 36, 30), np.zeros(1))
field[...] = rng.standard_normal(field.shape) + 1j * rng.standard_normal(field.shape)
Fourier(field).forward(field)
say(field.tobytes())
"""


def test_every_process_has_the_same_bits(tmp_path, fork):
    """What was measured first is taken by all that follow.

    A damaged file is measured anew, also one that can be read and tells of something
    else: it would be measured anew for ever.
    """
    pytest.importorskip("pyfftw", reason="the extra 'fast' is not installed")

    def run() -> bytes:
        child, heard = fork(ONE, str(tmp_path))
        assert heard.poll(300)
        sent = heard.recv()
        child.join()
        return sent

    first = run()
    (kept,) = tmp_path.rglob("*.wisdom")
    wisdom = kept.read_bytes()
    assert run() == first
    assert kept.read_bytes() == wisdom
    kept.write_bytes(wisdom[: len(wisdom) // 2])
    run()
    assert kept.read_bytes().count(b"(") == kept.read_bytes().count(b")") > 1
    kept.write_bytes(wisdom.split(b"\n")[0] + b"\n)\n")  # it knows nothing
    run()
    known = kept.read_bytes()
    assert known.count(b"(") > 1
    run()
    assert kept.read_bytes() == known


def _lines(wisdom: tuple[bytes, ...]) -> list[list[bytes]]:
    """Return what FFTW knows, whose order is none."""
    return [sorted(part.splitlines()) for part in wisdom]


def test_what_the_user_measured_stays():
    pyfftw = pytest.importorskip("pyfftw", reason="the extra 'fast' is not installed")
    own = pyfftw.empty_aligned((30, 34), "complex64")
    pyfftw.FFTW(own, own, axes=(0, 1), flags=("FFTW_MEASURE",))
    before = _lines(pyfftw.export_wisdom())
    for shape in ((3, 46, 52), (3, 20, 22)):
        Fourier(empty(shape, np.zeros(1)), axes=(-2, -1), repeatable=True)
    assert _lines(pyfftw.export_wisdom()) == before


def test_without_a_folder_the_bits_are_those_of_scipy(tmp_path, monkeypatch):
    pytest.importorskip("pyfftw", reason="the extra 'fast' is not installed")
    import scipy.fft

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    rng = np.random.default_rng(0)
    field = rng.standard_normal((2, 54, 62)).astype(np.complex64)
    fourier = Fourier(field, axes=(-2, -1), repeatable=True)
    expected = scipy.fft.fft2(field)
    np.testing.assert_array_equal(fourier.forward(field.copy()), expected)


class Told:
    """FFTW of some machine: it reads what its like wrote, and nothing else."""

    def __init__(self, machine: bytes) -> None:
        self.machine, self.known = machine, b""

    def export_wisdom(self):
        return b"", self.machine + self.known, b""

    def forget_wisdom(self) -> None:
        self.known = b""

    def import_wisdom(self, wisdom):
        good = wisdom[1].startswith(self.machine)
        if good:
            self.known = wisdom[1].removeprefix(self.machine)
        return True, good, True


def test_machines_that_share_a_folder_keep_their_own_plans(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured = []

    def plan_of(fftw):
        fftw.forget_wisdom()

        def plan():
            if not fftw.known:
                fftw.known = b"plan %d" % len(measured)
                measured.append(fftw.machine)
            return [fftw.known]

        return planned(fftw, "(8, 8)(0, 1)1", plan)

    one, two = Told(b"old"), Told(b"new")
    first = plan_of(one), plan_of(two)
    assert (plan_of(one), plan_of(two)) == first
    assert measured == [b"old", b"new"]
    assert len(list(tmp_path.rglob("*.wisdom"))) == 2


def test_without_a_folder_plans_hold_for_a_process(tmp_path, monkeypatch):
    def nowhere():
        raise FileNotFoundError("no usable temporary directory")

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert planned(Told(b"one"), "(8, 8)(0, 1)1", lambda: ["plan"]) == ["plan"]
