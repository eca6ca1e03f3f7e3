"""Phase retrieval from end to end on a crystal whose phase is known."""

from __future__ import annotations

import os
import threading
import time
import warnings

import dask
import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.cdi import (
    Selection,
    ShrinkWrap,
    align,
    fourier,
    misfit,
    retrieve,
)
from batteryxr.cdi.bragg.kernels.answer import Start, combine
from batteryxr.cdi.bragg.kernels.metrics import MERITS
from batteryxr.cdi.bragg.kernels.pattern import prepare
from batteryxr.core import blocks
from batteryxr.core.errors import (
    ArgumentError,
    ConvergenceError,
    DataError,
    DataQualityWarning,
    DimensionError,
    StoreError,
    VariableError,
)

VOLUME = ("rocking", "detector_y", "detector_x")
AXES = ("along_rocking", "along_y", "along_x")
QUICK = {
    "schedule": "60 HIO + 30 RAAR + 30 ER",
    "n_starts": 2,
    "select": Selection(n_best=2),
}
BRIEF = {"schedule": "20 HIO + 10 ER", "n_starts": 2, "select": Selection(n_best=2)}


@pytest.fixture(scope="module")
def truth(crystal) -> xr.DataArray:
    return xr.DataArray(crystal, dims=AXES)


@pytest.fixture(scope="module")
def result(volume) -> xr.Dataset:
    return retrieve(volume, n_starts=4, schedule="200 HIO + 100 RAAR + 60 ER", seed=1)


def test_finds_the_object(result, truth):
    laid = align(result, reference=truth, ramp=True)
    assert float(laid["overlap"]) > 0.995
    assert float(laid["shift_along_x"]) == pytest.approx(0, abs=1.5)


@pytest.mark.parametrize("schedule", ["100 HIO + 60 RAAR + 40 ER", "120 RAAR + 40 ML"])
def test_few_photons_lose_no_start(crystal, schedule):
    """Noise outside the crystal is no part of its support."""
    small = crystal[4:-4, 4:-4, 4:-4]
    axes = {d: (d, np.arange(32), {"units": "1"}) for d in VOLUME}
    mean = abs(np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(small)))) ** 2
    drawn = np.random.default_rng(5).poisson(mean * 1e4 / mean.sum())
    few = xr.DataArray(drawn, dims=VOLUME, coords=axes)
    with pytest.warns(DataQualityWarning, match="too few photons"):
        found = retrieve(few, n_starts=3, schedule=schedule, seed=2, progress=False)
    assert (found["rank"] > 0).all()
    laid = align(found, reference=xr.DataArray(small, dims=AXES))
    assert float(laid["overlap"]) > 0.93
    assert abs(float(found["expected_overlap"] - laid["overlap"])) < 0.05


def test_says_how_good_it_is(result, volume):
    assert (result["amp_residual"] < 0.004).all()
    assert float(result["expected_overlap"]) > 0.99
    assert (result["llk_free"] > result["llk"]).all()
    assert sorted(result["rank"].values) == [1, 2, 3, 4]
    best = int(result["llk_free"].values.argmin())
    assert result["rank"].values[best] == 1
    assert float(result["overlap"][best]) == 1
    assert float(result["mode_weight"].sum()) == pytest.approx(1)
    assert float(result["mode_weight"][0]) > 0.99
    assert float(result["prtf"][0]) == pytest.approx(1, abs=0.05)
    assert (result["object_error"].where(~result["support"]).max() < 0.2).all()
    again = misfit(result, volume=volume)
    assert float(again["amp_residual"]) < 0.004


def test_modes_add_up_to_the_mean(result):
    """The first mode is the mean, nearly: of three starts, sqrt(3) times as large."""
    first = result["modes"].isel(mode=0) / np.sqrt(3)
    error = float(abs(first - result["object"]).max() / abs(result["object"]).max())
    assert error < 0.05


def test_a_start_of_another_minimum_is_not_averaged(crystal, volume):
    """The mean of two solutions is none."""
    pattern = prepare(volume.values, np.random.default_rng(0))
    phase = 3 * np.sin(np.arange(40) / 3.0)

    def start(rho, merit):
        merits = {str(name): merit for name in MERITS}
        none = np.zeros(1, np.float32)
        return Start(rho, abs(rho) > 0, (0, 0, 0), rho.shape, none, merits)

    near = (crystal * (1 + 0.02j * phase)).astype(np.complex64)
    far = (crystal * np.exp(1j * phase)).astype(np.complex64)
    one, two, other = start(crystal, 1.0), start(near, 2.0), start(far, 1.5)
    with_other = combine(pattern, [one, two, other], 3, "llk_free")
    without = combine(pattern, [one, two], 2, "llk_free")
    assert with_other["overlap"][2] < 0.9 < with_other["overlap"][1]
    for name in ("object", "object_error"):
        np.testing.assert_array_equal(with_other[name], without[name])
    assert np.isfinite(with_other["mode_weight"]).tolist() == [True, True, False]
    assert with_other["expected_overlap"] < without["expected_overlap"]


def test_starts_that_fit_alike_tell_how_far_off_they_are(crystal, volume):
    """Each is the crystal with an error of its own; one that fits worse is left out."""
    pattern = prepare(volume.values, np.random.default_rng(0))
    rng, none = np.random.default_rng(1), np.zeros(1, np.float32)
    inside = abs(crystal) > 0.1 * abs(crystal).max()

    def start(error, merit):
        noise = (rng.standard_normal((2, *crystal.shape)) * inside)[0]
        power = (abs(crystal) ** 2).sum() / (noise**2).sum()
        rho = crystal + 1j * noise * np.sqrt(error * power)
        merits = {str(name): merit for name in MERITS}
        rho = rho.astype(np.complex64)
        return Start(rho, inside, (0, 0, 0), rho.shape, none, merits)

    for error in (0.02, 0.2):
        starts = [start(error, 1.0 + 0.02 * k) for k in range(4)]
        found = combine(pattern, [*starts, start(3.0, 2.0)], 3, "llk_free")
        best = starts[0].box
        true = abs(np.vdot(best, crystal)) / np.linalg.norm(best)
        true /= np.linalg.norm(crystal)
        assert true - 0.05 < found["expected_overlap"] < true + 0.005


def test_starts_that_all_end_in_one_wrong_minimum_are_told(crystal, volume):
    """They agree, and miss bright amplitudes by more than photons explain."""
    pattern = prepare(volume.values, np.random.default_rng(0))
    inside, none = abs(crystal) > 0.1 * abs(crystal).max(), np.zeros(1, np.float32)
    bend = np.exp(0.5j * np.sin(np.arange(40) / 2.0))
    merits = {str(name): 1.0 for name in MERITS}
    for rho, right in ((crystal, True), (crystal * bend, False)):
        box = rho.astype(np.complex64)
        start = Start(box, inside, (0, 0, 0), rho.shape, none, merits)
        found = combine(pattern, [start] * 3, 3, "llk_free")
        true = abs(np.vdot(rho, crystal)) / np.sum(abs(crystal) ** 2)
        assert (true > 0.95) == (found["expected_overlap"] > 0.95) == right


def test_is_labelled(result):
    for name, variable in result.variables.items():
        assert {"units", "long_name"} <= set(variable.attrs), name
    assert float(result["voltage"]) == 3.5
    assert result["rocking"].attrs["units"] == "deg"
    assert result["along_x"].values[20] == 0
    assert int(result["object"]["fourier_sign"]) == -1


def test_oversampling_is_told_and_warned_of(crystal, volume, result):
    """Every second frame of a rocking curve of a crystal that fills 14 of 40 points."""
    extent = [int((abs(crystal) > 0.3).any(a).sum()) for a in ((1, 2), (0, 2), (0, 1))]
    expected = 40 / np.array(extent)
    np.testing.assert_allclose(result["oversampling"], expected, rtol=0.25)
    coarse = volume.isel(rocking=slice(0, None, 2))
    options = QUICK | {"n_starts": 1, "select": Selection(n_best=1)}
    with pytest.warns(DataQualityWarning, match="oversampling below 2 .rocking 1"):
        retrieve(coarse, **options)


def test_the_crystal_is_found_from_its_amplitude(result, crystal, no_compute):
    """Its edge is blurred, so that half the amplitude lies on the surface."""
    true = int((abs(crystal) > 0.5).sum())
    assert int(result["support"].sum()) > 1.1 * true
    body = batteryxr.cdi.analysis_support(result)
    assert int(body.sum()) == pytest.approx(true, rel=0.05)
    # Without a support, and lazily, alike.
    alone = batteryxr.cdi.analysis_support(result["object"])
    assert float((alone != body).mean()) < 1e-3
    with no_compute():
        lazy = batteryxr.cdi.analysis_support(result.chunk())
    assert (lazy == body).all()
    fields = batteryxr.cdi.unwrap(result, support=body)
    assert int(fields["phase"].notnull().sum()) == int(body.sum())
    nothing = batteryxr.cdi.analysis_support(0 * result["object"])
    assert not nothing.any()


def test_survives_files(result, tmp_path):
    batteryxr.save(result, tmp_path / "a.zarr", group="cdi")
    xr.testing.assert_identical(
        batteryxr.open_store(tmp_path / "a.zarr", "cdi").load(), result
    )


def test_same_seed_same_object(volume, monkeypatch):
    """Bit by bit, and whatever the number of starts around it."""
    monkeypatch.setattr(fourier, "_pyfftw", lambda: None)
    fourier._fftw.cache_clear()
    a = retrieve(volume, seed=5, **BRIEF)
    b = retrieve(volume, seed=5, **(BRIEF | {"n_starts": 3}))
    other = retrieve(volume, seed=6, **BRIEF)
    fourier._fftw.cache_clear()
    for name in ("amp_residual", "llk_free", "support_voxels"):
        np.testing.assert_array_equal(a[name], b[name][:2])
    assert not np.array_equal(a["residual"], other["residual"])


def test_can_be_replayed(volume):
    result = retrieve(volume, support=ShrinkWrap(threshold=(0.2, 0.3)), seed=2, **BRIEF)
    again = batteryxr.replay(result, volume)
    np.testing.assert_allclose(again["residual"], result["residual"], rtol=1e-6)


def test_free_voxels_are_never_seen(volume, truth):
    """Their values change the figure that they are for, and nothing else."""
    from batteryxr.cdi.bragg.kernels.pattern import prepare

    problem = prepare(
        volume.values, batteryxr.core.seeds.generators(0, 1)[0], free=0.05
    )
    free = np.fft.fftshift(problem.free)
    assert 0.03 < free.mean() < 0.07
    options = BRIEF | {"select": Selection(n_best=2, by="llk")}
    spoilt = volume.where(~free, 1e6)
    a = retrieve(volume, **options)
    with pytest.warns(DataQualityWarning, match="from the centre"):
        b = retrieve(spoilt, **options)
    for name in ("object", "support", "amp_residual", "llk", "residual"):
        np.testing.assert_array_equal(a[name], b[name])
    assert (b["llk_free"] > 10 * a["llk_free"]).all()


def test_what_was_not_measured_is_filled_by_the_object(volume, truth):
    rng = np.random.default_rng(0)
    gaps = volume.where(rng.random(volume.shape) > 0.05)
    gaps[:, :, 30:32] = np.nan
    result = retrieve(gaps, support=ShrinkWrap(twin_break=10), **QUICK)
    assert float(align(result, reference=truth, ramp=True)["overlap"]) > 0.98
    mask = gaps.isnull().astype(np.uint8)
    full = xr.Dataset({"intensity": volume, "mask": mask})
    same = retrieve(full, support=ShrinkWrap(twin_break=10), **QUICK)
    np.testing.assert_array_equal(same["object"], result["object"])


@pytest.fixture(scope="module")
def states(volume) -> xr.DataArray:
    series = xr.concat([volume, 2 * volume], "state")
    direction = ("state", ["charge", "discharge"], {"units": "1", "long_name": "-"})
    return series.assign_coords(direction=direction)


@pytest.mark.parametrize("chunked", [False, True])
def test_gaps_of_zeros_are_told_in_the_result(volume, chunked):
    holed = volume.copy()
    holed[:, 22:24, :] = 0
    given = holed.chunk() if chunked else holed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = retrieve(given, schedule="9 ER", n_starts=1, progress=False)
        assert int(result["left_out"]) == 2 * volume.sizes["detector_x"]
        clean = retrieve(volume, schedule="9 ER", n_starts=1, progress=False)
        assert int(clean["left_out"]) == 0


def test_lazy_is_eager(states, no_compute, monkeypatch):
    monkeypatch.setattr(fourier, "_pyfftw", lambda: None)
    fourier._fftw.cache_clear()
    eager = retrieve(states, **BRIEF)
    for chunks in ({"state": 1}, {"state": 2, "rocking": 7, "detector_x": 13}):
        with no_compute():
            lazy = retrieve(states.chunk(chunks), **BRIEF)
        assert lazy["object"].chunks[0] == (1, 1)
        assert lazy.sizes == eager.sizes
    xr.testing.assert_equal(lazy.compute(), eager)
    fourier._fftw.cache_clear()
    assert list(eager["direction"].values) == ["charge", "discharge"]
    # Twice the counts: the same object, sqrt(2) as large.
    ratio = abs(eager["object"]).max(AXES)
    assert float(ratio[1] / ratio[0]) == pytest.approx(np.sqrt(2), rel=0.02)


def test_one_state_of_a_lazy_series_goes_to_a_store(states, tmp_path):
    lazy = retrieve(states.chunk(state=1), **BRIEF)
    written = batteryxr.write_resumable(
        lazy, tmp_path / "s.zarr", group="cdi", dim="state"
    )
    assert np.isfinite(written["object"]).all()
    assert written["amp_residual"].shape == (2, 2)


def test_goes_on_where_it_stopped(volume, tmp_path, monkeypatch):
    from batteryxr.cdi.bragg.kernels import answer

    store = tmp_path / "starts.zarr"
    ran = []
    run = answer.run

    def counted(pattern, settings, rng, **kwargs):
        ran.append(1)
        if len(ran) == 2:
            raise RuntimeError("the machine fell over")
        return run(pattern, settings, rng, **kwargs)

    monkeypatch.setattr(answer, "run", counted)
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(RuntimeError, match="fell over"):
            retrieve(volume, store=store, **BRIEF)
        resumed = retrieve(volume, store=store, **BRIEF)
        assert len(ran) == 3
        retrieve(volume, store=store, **BRIEF)
        more = retrieve(volume, store=store, **(BRIEF | {"n_starts": 3}))
        assert len(ran) == 4
        whole = retrieve(volume, **BRIEF)
    np.testing.assert_array_equal(resumed["object"], whole["object"])
    np.testing.assert_array_equal(more["llk"][:2], whole["llk"])
    with pytest.raises(StoreError, match="other data or with other arguments"):
        retrieve(volume, store=store, **(BRIEF | {"seed": 9}))


def test_starts_of_lazy_calls_wait_for_one_another(volume, tmp_path, monkeypatch):
    """Two computed at once, with a third that saves into the store they write to."""
    from batteryxr.cdi.bragg import job
    from batteryxr.core.store import open_store, save, verify

    store, inside, most = tmp_path / "starts.zarr", [], []
    put = job.Ledger.put

    def watched(ledger, *args, **kwargs):
        inside.append(ledger.group)
        most.append(inside.count(ledger.group))
        time.sleep(0.05)
        put(ledger, *args, **kwargs)
        inside.remove(ledger.group)

    monkeypatch.setattr(job.Ledger, "put", watched)
    lazy = [retrieve(volume.chunk(), store=store, **BRIEF)["object"] for _ in range(2)]
    found = {}

    def compute(k):
        found[k] = lazy[k].compute(scheduler="synchronous")

    threads = [threading.Thread(target=compute, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found[0], found[1])
    assert max(most) == 1
    save(lazy[0].to_dataset(name="object"), store, group="result")
    np.testing.assert_array_equal(open_store(store, "result")["object"], found[0])
    assert verify(store) == []
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    with pytest.raises(StoreError, match="not a zarr store"):
        retrieve(volume.chunk(), store=tmp_path / "thesis", **BRIEF)


def test_a_second_call_on_a_store_is_refused(volume, tmp_path, monkeypatch):
    from batteryxr.cdi.bragg.kernels import answer
    from batteryxr.core.store import save

    store, told, run = tmp_path / "starts.zarr", [], answer.run

    def with_company(*args, **kwargs):
        for work in (
            lambda: retrieve(volume, store=store, **BRIEF),
            lambda: save(volume, store, group="volume"),
        ):
            with pytest.raises(
                StoreError, match=f"written to by process {os.getpid()}"
            ):
                work()
            told.append(1)
        return run(*args, **kwargs)

    monkeypatch.setattr(answer, "run", with_company)
    found = retrieve(volume, store=store, **BRIEF)
    monkeypatch.undo()
    assert len(told) == 2 * BRIEF["n_starts"]
    again = retrieve(volume, store=store, **BRIEF)
    np.testing.assert_array_equal(again["object"], found["object"])
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    with pytest.raises(StoreError, match="not a zarr store"):
        retrieve(volume, store=tmp_path / "thesis", **BRIEF)


def test_interruption_ends_running_starts(volume, monkeypatch):
    monkeypatch.setattr("batteryxr.cdi.bragg.job.is_stopped", lambda token: True)
    with pytest.raises(InterruptedError, match="iteration 0"):
        retrieve(volume, **BRIEF)


def test_keyboard_interrupt_tells_the_starts(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(dask, "compute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        blocks.gather([dask.delayed(int)(1)], "Counting", token="this call")
    assert blocks.is_stopped("this call")
    assert not blocks.is_stopped("another")


def test_on_a_cluster_of_processes_the_same(volume, forked_workers):
    """To rounding, if FFTW chooses its algorithm anew in each process."""
    from distributed import Client, LocalCluster

    here = retrieve(volume, **BRIEF)
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as hub,
        Client(hub),
    ):
        there = retrieve(volume, **BRIEF)
    for name in ("amp_residual", "llk_free"):
        np.testing.assert_allclose(here[name], there[name], rtol=1e-2)


def test_starts_from_what_is_known(volume, truth):
    """A good first guess is polished at once; a good support shortens the way."""
    support = abs(truth) > 0.1
    fixed = ShrinkWrap(every=0)
    known = xr.Dataset({"object": truth, "support": support})
    polished = retrieve(
        volume, start=known, support=fixed, n_starts=1, schedule="30 ER"
    )
    assert float(align(polished, reference=truth)["overlap"]) > 0.995
    assert np.isnan(polished["object_error"]).all()
    given = retrieve(
        volume,
        start=known[["support"]].roll(along_x=4),
        support=fixed,
        **QUICK,
    )
    assert (given["support_voxels"] == int(support.sum())).all()
    assert float(align(given, reference=truth, ramp=True)["overlap"]) > 0.99


def test_partial_coherence_is_part_of_the_result(volume):
    result = retrieve(volume, coherence_every=20, **BRIEF)
    assert dict(result["blur"].sizes) == {
        "blur_rocking": 13,
        "blur_y": 13,
        "blur_x": 13,
    }
    assert float(result["blur"].sum()) == pytest.approx(1, rel=1e-4)
    assert {int(i) for i in result["blur"].argmax(...).values()} == {6}


def test_iterations_of_torch_arrive_at_the_same(volume, truth):
    pytest.importorskip("torch")
    result = retrieve(volume, device="torch", **QUICK)
    assert float(align(result, reference=truth, ramp=True)["overlap"]) > 0.98


def test_some_starts_lost(volume, monkeypatch):
    from batteryxr.cdi.bragg.kernels.support import LostSupport, Shrinking

    shrink, calls = Shrinking.__call__, []

    def fragile(self, rho, support, progress):
        calls.append(1)
        if len(calls) == 1:
            raise LostSupport("the support fills 0 of the array")
        return shrink(self, rho, support, progress)

    monkeypatch.setattr(Shrinking, "__call__", fragile)
    with pytest.warns(DataQualityWarning, match="1 of 2 starts lost"):
        result = retrieve(volume, **BRIEF)
    assert sorted(result["rank"].values) == [0, 1]
    lost = result.isel(start=int(result["rank"].values.argmin()))
    assert np.isnan(lost["llk_free"])
    assert np.isfinite(result["object"]).all()
    assert np.isnan(result["mode_weight"][1])


def test_all_starts_lost(volume):
    with pytest.raises(ConvergenceError, match="every start lost its support"):
        retrieve(
            volume, support=ShrinkWrap(threshold=0.99, sigma=(30.0, 30.0)), **BRIEF
        )


def test_a_state_without_counts(states):
    """In memory it is refused; in a lazy series the other states are not lost."""
    dark = states.where(states["direction"] == "charge", 0)
    with pytest.raises(DataError, match="pattern 1 holds no counts"):
        retrieve(dark, **BRIEF)
    result = retrieve(dark.chunk(state=1), **BRIEF).compute()
    assert (result["rank"].isel(state=1) == 0).all()
    assert np.isnan(result["object"].isel(state=1)).all()
    assert np.isfinite(result["object"].isel(state=0)).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"schedule": "20 HOI"}, "one of ER, HIO"),
        ({"n_starts": 0}, "n_starts=0"),
        ({"n_starts": True}, "n_starts=True"),
        ({"coherence_every": -1}, "coherence_every=-1"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"device": "cuda:99"}, "device"),
        ({"start": xr.DataArray(0)}, "1 with an initial object"),
    ],
)
def test_says_what_is_wrong_before_it_works(volume, arguments, message):
    if "device" in arguments:
        pytest.importorskip("torch")
    with pytest.raises(ArgumentError, match=message):
        retrieve(volume, **arguments)


@pytest.mark.parametrize(
    "settings, arguments, message",
    [
        (Selection, {"n_best": 1.5}, "n_best=1.5"),
        (Selection, {"by": "beauty"}, "by='beauty': expected 'amp_residual'"),
        (Selection, {"free": 0.6}, "free=0.6: expected a number from 0 to 0.3"),
        (Selection, {"free": 0}, "Or free=0.05"),
        (ShrinkWrap, {"threshold": 1.2}, "threshold=1.2: .* > 0 and < 1 or"),
        (ShrinkWrap, {"threshold": (0.1, 0.2, 0.3)}, "0.3.: .* or 2 numbers"),
        (ShrinkWrap, {"threshold": (0.3, 0.2)}, "in order"),
        (ShrinkWrap, {"sigma": (2.0, 0.0)}, "2 numbers > 0"),
        (ShrinkWrap, {"every": -1}, "every=-1"),
        (ShrinkWrap, {"twin_break": 0.5}, "twin_break=0.5"),
    ],
)
def test_settings_say_what_is_wrong(settings, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        settings(**arguments)


def test_says_what_the_volume_lacks(volume):
    with pytest.raises(DimensionError, match="rocking angle"):
        retrieve(volume.isel(rocking=0))
    with pytest.raises(VariableError, match="intensity"):
        retrieve(xr.Dataset({"counts": volume}))
    flat = xr.DataArray(np.ones((4, 4)), dims=("y", "x"))
    with pytest.raises(DataError, match="start support: lies on"):
        retrieve(volume, start=flat.to_dataset(name="support"))
    with pytest.raises(DataError, match="neither `object` nor `support`"):
        retrieve(volume, start=flat.to_dataset(name="field"))
    with pytest.raises(DataError, match="at least 8 voxels"):
        retrieve(volume[:4])
    with pytest.raises(DataError, match="real counts"):
        retrieve(volume.astype(complex))


def test_a_start_that_is_nowhere_is_refused(volume):
    where = xr.DataArray(np.zeros(volume.shape[-3:], bool), dims=AXES)
    with pytest.raises(DataError, match="start support: holds no voxel"):
        retrieve(volume, start=where.to_dataset(name="support"), **BRIEF)
    field = xr.DataArray(np.full(where.shape, np.nan, np.complex64), dims=AXES)
    with pytest.raises(DataError, match="start object: holds NaN"):
        retrieve(volume, start=field, **BRIEF | {"n_starts": 1, "select": Selection()})


def test_memory_is_planned_before_starts_run(volume, monkeypatch):
    """Starts run side by side as memory allows, none where it does not."""
    from batteryxr.cdi.bragg import job

    ran = []
    gather = job.gather
    monkeypatch.setattr(job, "allowed", lambda: 4)
    monkeypatch.setattr(
        job,
        "gather",
        lambda *a, **k: ran.append(job.workers_of_user()) or gather(*a, **k),
    )
    quick = {"schedule": "2 ER", "n_starts": 4, "progress": False}
    bytes_of = {"lots": 1e12, "two": 40**3 * (40 + 2.5 * 90) / 0.9, "none": 40**3 * 90}
    monkeypatch.setattr(job, "free_memory", lambda: bytes_of["lots"])
    whole = retrieve(volume, **quick)
    monkeypatch.setattr(job, "free_memory", lambda: bytes_of["two"])
    with pytest.warns(DataQualityWarning, match="2 of 4 starts run side by side"):
        less = retrieve(volume, **quick)
    assert ran == [4, 2]
    np.testing.assert_array_equal(whole["object"], less["object"])
    monkeypatch.setattr(job, "free_memory", lambda: bytes_of["none"])
    with pytest.raises(DataError, match="40x40x40 voxels needs 9"):
        retrieve(volume, **quick)
