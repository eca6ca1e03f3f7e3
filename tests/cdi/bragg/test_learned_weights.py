"""Weights in files: the shipped ones are whole, damaged ones are refused."""

from __future__ import annotations

import json
import os
from importlib.resources import files

import numpy as np
import pytest

from batteryxr import cdi, nmf
from batteryxr.cdi.bragg.learned.network_weights import read_weights, write_weights
from batteryxr.core.errors import ArgumentError, BatteryxrError, FileFormatError


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {"a.weight": rng.standard_normal((3, 2, 1)), "a.bias": np.zeros(3)}


def test_round_trip(arrays, tmp_path):
    write_weights(tmp_path / "w.npz", arrays, {"seed": 3})
    back = read_weights(tmp_path / "w.npz")
    assert back.about["seed"] == 3
    assert back.arrays["a.weight"].dtype == np.float32
    np.testing.assert_allclose(back.arrays["a.weight"], arrays["a.weight"], rtol=1e-3)


def test_shipped_weights_are_whole():
    shipped = read_weights()
    assert shipped.about["crystals"] > 10_000
    assert {"seed", "script", "trained_on", "held_out_loss"} <= set(shipped.about)
    assert all(np.isfinite(a).all() for a in shipped.arrays.values())
    size = len(
        (files("batteryxr.cdi.bragg.learned") / "weights" / "bragg.npz").read_bytes()
    )
    assert size < 2e6


def test_shipped_weights_are_those_of_the_network():
    pytest.importorskip("torch")
    from batteryxr.cdi.bragg.learned.kernels.network import new_weights

    expected = {name: tuple(w.shape) for name, w in new_weights(0).items()}
    assert {n: a.shape for n, a in read_weights().arrays.items()} == expected


def test_a_changed_number_is_noticed(arrays, tmp_path):
    path = tmp_path / "w.npz"
    write_weights(path, arrays, {})
    with np.load(path) as stored:
        content = dict(stored)
    content["a.bias"] = content["a.bias"] + 1
    np.savez(path, **content)
    with pytest.raises(FileFormatError, match="checksum does not match"):
        read_weights(path)


def test_what_is_no_weights_is_refused(arrays, tmp_path):
    with pytest.raises(ArgumentError, match="an existing file"):
        read_weights(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("nothing of the kind")
    with pytest.raises(FileFormatError, match="write_weights"):
        read_weights(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(FileFormatError, match="write_weights"):
        read_weights(tmp_path / "other.npz")
    np.savez(tmp_path / "new.npz", about=np.array(json.dumps({"format": "99"})))
    with pytest.raises(FileFormatError, match="the format"):
        read_weights(tmp_path / "new.npz")


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "p.npz", about=np.array([{"format": 1}], object))
    with pytest.raises(FileFormatError, match="allow_pickle=False"):
        read_weights(tmp_path / "p.npz")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nothing"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    for name, read in (
        ("weights.npz", read_weights),
        ("beamline.toml", cdi.beamline),
        ("crystal.cif", nmf.read_crystal),
    ):
        path = tmp_path / name
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        with pytest.raises(BatteryxrError, match=name):
            read(path)
