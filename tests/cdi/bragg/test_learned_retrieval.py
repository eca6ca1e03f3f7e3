"""Learned phase retrieval from end to end; most of it where PyTorch is installed."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.cdi import (
    Network,
    Selection,
    ShrinkWrap,
    align,
    misfit,
    retrieve,
    retrieve_learned,
)
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
    MissingDependencyError,
    StoreError,
)
from batteryxr.simulate import random_crystals

AXES = ("along_rocking", "along_y", "along_x")
BRIEF = {"network": Network(refine=1), "schedule": "10 HIO + 5 ER", "n_starts": 2}
ALONE = {"schedule": None, "n_starts": 1}


@pytest.fixture
def torch():
    library = pytest.importorskip("torch")
    library.set_num_threads(1)
    return library


@pytest.fixture(scope="module")
def truth(crystal) -> xr.DataArray:
    return xr.DataArray(crystal, dims=AXES)


def test_without_torch_it_says_what_to_install(volume, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"batteryxr\[ml\]"):
        retrieve_learned(volume)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"schedule": "20 HOI"}, "one of ER, HIO"),
        ({"n_starts": 49}, "from 1 to 48"),
        ({"support": ShrinkWrap(twin_break=5)}, "twin_break=0"),
    ],
)
def test_says_what_is_wrong_before_it_works(volume, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        retrieve_learned(volume, **arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"refine": -1}, "refine=-1"),
        ({"refine": 1.5}, "refine=1.5"),
        ({"rate": 0.0}, "rate=0.0"),
    ],
)
def test_the_network_says_what_is_wrong(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Network(**arguments)


def test_says_what_is_wrong_with_device_weights_and_volume(torch, volume, tmp_path):
    for arguments, message in (
        ({"device": "cupy"}, "a device of PyTorch"),
        ({"device": "cuda:99"}, "device"),
        ({"network": Network(weights=tmp_path / "none.npz")}, "an existing file"),
        ({"seed": 0.5}, "seed=0.5"),
    ):
        with pytest.raises(ArgumentError, match=message):
            retrieve_learned(volume, **arguments)
    with pytest.raises(DimensionError, match="rocking angle"):
        retrieve_learned(volume.isel(rocking=0))


def test_shapes_and_ranges_of_the_network(torch):
    from batteryxr.cdi.bragg.learned.kernels import network

    weights = network.new_weights(0)
    modulus = torch.rand(2, 32, 32, 32)
    density, phase = network.guess(weights, modulus)
    assert density.shape == phase.shape == (2, 16, 16, 16)
    assert 0 <= float(density.min()) <= float(density.max()) <= 1
    obj = network.as_object(density, phase)
    assert obj.shape == (2, 32, 32, 32)
    assert float(obj.abs()[:, :8].max()) == 0
    # One scaled copy of a pattern says the same.
    again, _ = network.guess(weights, modulus[:1] * 1000)
    torch.testing.assert_close(again, density[:1], rtol=1e-3, atol=1e-4)


def test_misfit_and_overlap_of_the_truth(torch):
    from batteryxr.cdi.bragg.learned.kernels import network

    rng = np.random.default_rng(0)
    obj = rng.standard_normal((1, 8, 8, 8)) + 1j * rng.standard_normal((1, 8, 8, 8))
    field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(obj[0])))[None]
    obj, modulus = torch.tensor(obj), torch.tensor(np.abs(field))
    assert float(network.misfit(obj, 7 * modulus)[0]) < 1e-6
    weight = torch.ones_like(modulus)
    weight[0, 0] = 0
    modulus[0, 0] += 5
    assert float(network.misfit(obj, modulus)[0]) > 0.01
    assert float(network.misfit(obj, modulus, weight)[0]) < 1e-6
    assert float(network.overlap(obj, 2j * obj)[0]) == pytest.approx(1)


@pytest.fixture(scope="module")
def held_out() -> xr.Dataset:
    """Crystals of a seed that training never drew."""
    one = random_crystals(n=1, size=48, phase=(1.0, 1.5), photons=(1e7, 1e7), seed=77)
    return one.isel(crystal=0, drop=True).load()


def test_refinement_fits_better_and_hand_over_arrives(torch, held_out):
    alone, refined = (
        retrieve_learned(held_out["intensity"], network=Network(refine=steps), **ALONE)
        for steps in (0, 12)
    )
    done = retrieve_learned(held_out["intensity"])
    overlaps = [
        float(align(r, reference=held_out["object"], ramp=True)["overlap"])
        for r in (alone, refined, done)
    ]
    assert float(refined["amp_residual"][0]) < 0.9 * float(alone["amp_residual"][0])
    assert overlaps[0] > 0.85
    assert overlaps[2] > 0.99
    assert alone.sizes["iteration"] == 0
    assert done["residual"].isel(iteration=-1).max() < done["residual"][0, 0]


def test_is_the_same_kind_of_result(torch, volume, tmp_path):
    found = retrieve_learned(volume, **BRIEF)
    classical = retrieve(
        volume, schedule="10 HIO + 5 ER", n_starts=2, select=Selection(n_best=2)
    )
    # A blur is a part of the result only where it was fitted.
    classical = classical.drop_dims([d for d in classical.sizes if "blur" in d])
    assert found.sizes == classical.sizes
    assert set(found.variables) == set(classical.variables)
    for name, variable in found.variables.items():
        assert variable.attrs == classical[name].variable.attrs
        assert variable.dtype == classical[name].dtype
    assert json.loads(found.attrs["network"])["trained_on"] == "CPU"
    again = misfit(found, volume=volume)
    assert float(again["amp_residual"]) < 0.1
    batteryxr.save(found, tmp_path / "a.zarr", group="cdi")
    xr.testing.assert_identical(
        batteryxr.open_store(tmp_path / "a.zarr", "cdi").load(), found
    )


def test_network_alone_survives_files(torch, volume, tmp_path):
    alone = retrieve_learned(volume, **ALONE)
    batteryxr.save(alone, tmp_path / "a.zarr", group="cdi")
    back = batteryxr.open_store(tmp_path / "a.zarr", "cdi").load()
    xr.testing.assert_identical(back, alone)
    alone.drop_vars(["object", "modes"]).to_netcdf(tmp_path / "a.nc")


def test_repeats_and_replays(torch, volume):
    found = retrieve_learned(volume, seed=3, **BRIEF)
    again = batteryxr.replay(found, volume)
    np.testing.assert_allclose(again["residual"], found["residual"], rtol=1e-3)
    other = retrieve_learned(volume, seed=4, **BRIEF)  # other voxels are hidden
    assert not np.allclose(other["residual"], found["residual"], rtol=1e-3)
    assert not np.allclose(found["residual"][0], found["residual"][1], rtol=1e-3)


def test_lazy_is_eager(torch, volume, no_compute):
    states = xr.concat([volume, 2 * volume], "state")
    eager = retrieve_learned(states, **BRIEF)
    for chunks in ({"state": 1}, {"state": 2, "rocking": 7}):
        with no_compute():
            lazy = retrieve_learned(states.chunk(chunks), **BRIEF)
        assert lazy.sizes == eager.sizes
    np.testing.assert_allclose(
        lazy["amp_residual"].compute(), eager["amp_residual"], rtol=1e-2
    )


def test_free_voxels_are_hidden_from_the_network(torch, volume):
    from batteryxr.cdi.bragg.kernels.pattern import prepare

    rng = batteryxr.core.seeds.generators(0, 1)[0]
    free = np.fft.fftshift(prepare(volume.values, rng, free=0.05).free)
    a = retrieve_learned(volume, **ALONE)
    with pytest.warns(DataQualityWarning, match="brightest voxel"):
        b = retrieve_learned(volume.where(~free, 1e6), **ALONE)
    np.testing.assert_allclose(a["object"], b["object"], atol=1e-4)
    assert (b["llk_free"] > 10 * a["llk_free"]).all()


def test_odd_shapes_gaps_and_missing_frames(torch, volume, truth):
    cut = volume[1:, 2:-1, 1:-4]  # 39 x 37 x 35: the peak is one voxel off
    gaps = cut.where(np.random.default_rng(0).random(cut.shape) > 0.03)
    gaps[:, 15:17] = np.nan
    found = retrieve_learned(gaps, n_starts=2)
    assert found["object"].shape == (39, 37, 35)
    assert float(found["amp_residual"].min()) < 0.01


def test_goes_on_where_it_stopped(torch, volume, tmp_path, monkeypatch):
    from batteryxr.cdi.bragg.learned.kernels import network as learned

    store, guessed = tmp_path / "starts.zarr", []
    with_guess = learned.with_guess

    def counted(*arguments, **options):
        guessed.append(arguments[2])
        return with_guess(*arguments, **options)

    monkeypatch.setattr(learned, "with_guess", counted)
    first = retrieve_learned(volume, store=store, **(BRIEF | {"n_starts": 1}))
    more = retrieve_learned(volume, store=store, **BRIEF)
    assert sorted(guessed) == [0, 1]
    np.testing.assert_array_equal(more["llk"][:1], first["llk"])
    with pytest.raises(StoreError, match="other data or with other arguments"):
        retrieve_learned(
            volume, store=store, **(BRIEF | {"network": Network(refine=2)})
        )


def test_weights_changed_under_a_lazy_result_are_refused(torch, volume, tmp_path):
    from batteryxr.cdi.bragg.learned.network_weights import read_weights, write_weights

    path, shipped = tmp_path / "w.npz", read_weights()
    write_weights(path, shipped.arrays, {})
    lazy = retrieve_learned(
        volume.chunk(), **(BRIEF | {"network": Network(weights=path, refine=1)})
    )
    write_weights(path, {k: 0 * a for k, a in shipped.arrays.items()}, {})
    with pytest.raises(DataError, match="was changed"):
        lazy["llk"].compute()


def test_interruption_ends_the_refinement(torch, volume, monkeypatch):
    monkeypatch.setattr("batteryxr.cdi.bragg.job.is_stopped", lambda token: True)
    with pytest.raises(InterruptedError, match="iteration 0"):
        retrieve_learned(volume, **(BRIEF | {"schedule": None}))


def test_a_state_without_counts_is_left_out(torch, volume):
    dark = xr.concat([volume, 0 * volume], "state").chunk(state=1)
    found = retrieve_learned(dark, **BRIEF).compute()
    assert (found["rank"].isel(state=1) == 0).all()
    assert np.isfinite(found["object"].isel(state=0)).all()


def test_is_a_method(torch, volume):
    found = volume.cdi.retrieve_learned(**(BRIEF | {"n_starts": 1}))
    call = json.loads(found.attrs["batteryxr_call"])
    assert (call["accessor"], call["method"]) == ("cdi", "retrieve_learned")


def test_training_learns(torch, tmp_path, monkeypatch, capsys):
    """A few steps of the repository's script; interrupted, it goes on."""
    import importlib.util
    from pathlib import Path

    script = Path(__file__).parents[3] / "benchmarks" / "truth" / "train_learned.py"
    spec = importlib.util.spec_from_file_location("train_learned", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    few = ["--batch", "4", "--held-out", "4", "--every", "2"]
    few += ["--folder", str(tmp_path), "--weights", str(tmp_path / "w.npz")]
    for steps in (4, 6):
        monkeypatch.setattr(sys, "argv", ["train", *few, "--steps", str(steps)])
        module.main()
    said = capsys.readouterr().out
    assert "going on from step 4" in said
    losses = [
        float(line.split("held_out_loss ")[1].split(",")[0])
        for line in said.splitlines()
        if "held_out_loss" in line
    ]
    assert losses[-1] < losses[0]
    volume = random_crystals(n=1, size=32, seed=5)["intensity"][0].load()
    trained = Network(weights=tmp_path / "w.npz", refine=1)
    assert retrieve_learned(volume, **(BRIEF | {"network": trained}))
