from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import time
import weakref

import numpy as np
import pytest
import xarray as xr

import batteryxr
from batteryxr.cdi import (
    KramersKronig,
    Registration,
    Resources,
    Schedule,
    plot_ptycho,
    ptycho,
    ptycho_energies,
    ptycho_fit,
    ptycho_progress,
)
from batteryxr.cdi.ptycho import frames as ptycho_frames
from batteryxr.cdi.ptycho.frames import load_all
from batteryxr.cdi.ptycho.kernels.constraint import Constraint
from batteryxr.cdi.ptycho.kernels.metrics import scatter
from batteryxr.cdi.ptycho.settings import Settings
from batteryxr.cdi.ptycho.stack import tell_unfinished
from batteryxr.cdi.ptycho.states import ledger_of, passes_done
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DimensionError,
    StoreError,
)
from batteryxr.core.kernels.kramers_kronig import transform_matrix
from batteryxr.simulate import ptychography

ENERGY = np.array([5440.0, 5470.0, 5476.0, 5500.0])
KK = KramersKronig("VO2", start=4, every=2)
CALL = {
    "iterations": 8,
    "kramers_kronig": KK,
    "resources": Resources(checkpoint=2),
    "progress": False,
}


def simulated(**kw):
    return ptychography(
        energy=ENERGY, positions=8, size=32, step=45.0, particle=(800.0, 180.0), **kw
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stack") / "stack.zarr"
    scan, _ = simulated(chunks=32)
    batteryxr.save(scan, path)
    return path


@pytest.fixture(scope="module")
def scan(stored):
    return batteryxr.open_store(stored)


@pytest.fixture(scope="module")
def finished(scan, tmp_path_factory):
    """Return the store of an uninterrupted run."""
    path = tmp_path_factory.mktemp("whole") / "out.zarr"
    ptycho_energies(scan, store=path, **CALL)
    return path


@pytest.fixture(scope="module")
def whole(finished):
    return batteryxr.open_store(finished, "ptycho").load()


def same(a, b):
    xr.testing.assert_equal(a, b)


def test_result_is_what_xanes_takes(whole):
    assert whole.absorption.dims == whole.phase.dims == ("energy", "y", "x")
    np.testing.assert_array_equal(whole.energy, ENERGY)
    dark = whole.flag == 1
    assert bool(whole.absorption.isnull().any("energy").equals(dark))
    empty = whole.vacuum & ~dark
    assert float(abs(whole.phase.where(empty).mean(("y", "x"))).max()) < 0.02
    assert float(whole.kk_misfit.where(whole.flag == 0).min()) >= 0
    for name, variable in whole.variables.items():
        assert {"units", "long_name"} <= variable.attrs.keys(), name


def test_workers_and_chunks_change_nothing(scan, whole, tmp_path):
    eager = scan.compute().chunk(position=10)
    alone = CALL | {"resources": Resources(checkpoint=2, workers=1)}
    same(ptycho_energies(eager, store=tmp_path / "a.zarr", **alone), whole)


def test_a_rectangle_is_a_square_that_is_masked_beyond(scan, whole, tmp_path):
    scan, rows = scan.isel(energy=slice(2)), slice(5, 28)
    bad = np.ones((32, 32), bool)
    bad[rows] = False
    square = scan.assign(mask=(("detector_y", "detector_x"), bad))
    call = {
        "iterations": 2, "schedule": Schedule(lead=1), "halves": True,
        "registration": Registration(vacuum=whole.vacuum), "progress": False,
    }  # fmt: skip
    thin = scan.isel(detector_y=rows)
    found = [
        ptycho_energies(s, store=tmp_path / f"{k}.zarr", **call).load()
        for k, s in enumerate((square, thin))
    ]
    same(*found)


def test_energies_begin_from_one_that_is_ahead(scan, tmp_path):
    scan = scan.isel(energy=slice(2))
    call = {"progress": False, "iterations": 5, "resources": Resources(checkpoint=5)}
    alone, after = (
        call | {"schedule": Schedule(probe_from=0, lead=n)} for n in (0, 20)
    )
    own = ptycho_energies(scan, store=tmp_path / "own.zarr", **alone)
    path = tmp_path / "led.zarr"
    led = ptycho_energies(scan, store=path, **after).load()
    # After five passes each is about where twenty of its own would bring it.
    long = ptycho_energies(
        scan, store=tmp_path / "long.zarr", **alone | {"iterations": 20}
    )
    assert float((led.amp_residual / own.amp_residual).max()) < 0.9
    assert float(led.amp_residual.mean() / long.amp_residual.mean()) < 1.05
    # The states that were lost are made again from the one ahead, which is kept.
    import shutil

    for name in ("ptycho", "_journal/finished.0", "_journal/states/1.0"):
        shutil.rmtree(path / name)
    same(ptycho_energies(scan, store=path, **after), led)
    with pytest.raises(StoreError, match="lead"):
        ptycho_energies(scan, store=path, **alone)
    with pytest.raises(ArgumentError, match="lead"):
        Schedule(lead=-1)


def test_vacuum_can_be_told(scan, whole, tmp_path):
    given = Registration(vacuum=whole.vacuum, shifts=False)
    call = CALL | {"registration": given}
    told = ptycho_energies(scan, store=tmp_path / "told.zarr", **call).load()
    xr.testing.assert_equal(told.vacuum, whole.vacuum)
    assert not told.shift_y.any()
    moved = whole.vacuum.assign_coords(y=whole.y + 40.0)
    for other in (CALL, CALL | {"registration": Registration(vacuum=moved)}):
        with pytest.raises(StoreError, match="vacuum"):
            ptycho_energies(scan, store=tmp_path / "told.zarr", **other)
    nowhere = Registration(vacuum=xr.zeros_like(whole.vacuum))
    with pytest.raises(DataError, match="vacuum: no pixel in the field"):
        ptycho_energies(
            scan, store=tmp_path / "none.zarr", **CALL | {"registration": nowhere}
        )
    with pytest.raises(ArgumentError, match="vacuum=True"):
        Registration(vacuum=True)


def test_frames_are_let_go(scan, tmp_path, monkeypatch):
    alive, most = set(), []

    def watched(frames):
        counts = load_all(frames)
        alive.add(id(counts))
        weakref.finalize(counts, alive.discard, id(counts))
        most.append(len(alive))
        return counts

    many = scan.isel(energy=np.zeros(8, int)).assign_coords(
        energy=("energy", np.linspace(5440.0, 5500.0, 8), scan.energy.attrs)
    )
    monkeypatch.setattr(ptycho_frames, "load_all", watched)
    gc.collect()
    gc.disable()  # a cycle would keep the frames of energies that are done
    try:
        ptycho_energies(
            many,
            store=tmp_path / "out.zarr",
            iterations=1,
            resources=Resources(workers=2),
            progress=False,
        )
    finally:
        gc.enable()

    assert len(most) == 8
    assert max(most) <= 2


def test_store_refuses_other_arguments(scan, whole, finished):
    path = finished
    same(ptycho_energies(scan, store=path, **CALL), whole)
    with pytest.raises(StoreError, match="seed"):
        ptycho_energies(scan, store=path, **CALL | {"seed": 1})
    other = scan.assign_coords(energy=scan.energy + 1)
    with pytest.raises(StoreError, match="energy: stored"):
        ptycho_energies(other, store=path, **CALL)
    timed = scan.assign_coords(time=("position", np.arange(scan.sizes["position"])))
    with pytest.raises(StoreError, match="coordinates: time: stored"):
        ptycho_energies(timed, store=path, **CALL)


@pytest.mark.parametrize("finished", [True, False])
def test_a_change_in_any_frame_is_seen(scan, tmp_path, finished):
    path, loaded = tmp_path / "out.zarr", scan.load()
    few = CALL | {"iterations": 2, "kramers_kronig": None}
    ptycho_energies(loaded, store=path, **few)
    if not finished:
        shutil.rmtree(path / "ptycho")
    name = next(n for n, v in loaded.data_vars.items() if "detector_x" in v.dims)
    place = dict.fromkeys(loaded[name].dims, 5) | {"energy": 2}
    changed = loaded.copy(deep=True)
    changed[name][place] += 1
    with pytest.raises(StoreError, match=r"frames: 5476\.0 eV: stored"):
        ptycho_energies(changed, store=path, **few)
    shutil.rmtree(path / "_journal")
    if finished:
        with pytest.raises(StoreError, match="made from other data"):
            ptycho_energies(changed, store=path, **few)


def test_half_written_state_is_not_used(scan, whole, finished, tmp_path):
    path = str(tmp_path / "out.zarr")
    shutil.copytree(finished, path)
    import zarr

    # Killed while the result was written.
    shutil.rmtree(f"{path}/ptycho/phase")
    shutil.rmtree(f"{path}/_journal/finished.0")
    # And while a state was: what it holds already is not the end of it.
    slots = [zarr.open_group(path, path=f"_journal/states/1.{i}") for i in (0, 1)]
    newest = max(slots, key=lambda slot: slot.attrs["iteration"])
    assert newest.attrs["iteration"] == 8
    del newest.attrs["whole"]
    same(ptycho_energies(scan, store=path, **CALL), whole)


_CHILD = """
import batteryxr
from batteryxr.cdi import KramersKronig, Resources, ptycho_energies
scan = batteryxr.open_store(argv[0])
ptycho_energies(scan, store=argv[1], iterations=8, progress=False,
                resources=Resources(workers=1, checkpoint=2),
                kramers_kronig=KramersKronig("VO2", start=4, every=2))
"""


@pytest.mark.slow
def test_sigkill_loses_nothing(stored, scan, whole, tmp_path, fork):
    path = tmp_path / "out.zarr"
    # Killed in the first segment, and again after the energies were coupled.
    for name in ("states/1.0", "coupled/6.0"):
        child, _ = fork(_CHILD, stored, path)
        mark = path / "_journal" / name
        end = time.monotonic() + 600
        while not mark.exists() and child.is_alive() and time.monotonic() < end:
            time.sleep(0.002)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
    done = [passes_done(ledger_of(path), k) for k in range(ENERGY.size)]
    assert min(done) >= 4
    same(ptycho_energies(scan, store=path, **CALL), whole)


@pytest.mark.slow
def test_dead_worker_costs_its_energies_only(stored, whole, tmp_path, forked_workers):
    distributed = pytest.importorskip("distributed")
    path = tmp_path / "out.zarr"
    scan = batteryxr.open_store(stored)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        import threading

        def kill():
            while not (path / "_journal" / "states").exists():
                time.sleep(0.01)
            os.kill(pids[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        found = ptycho_energies(scan, store=path, **CALL).load()
        killer.join()
    same(found, whole)


def test_progress_can_be_seen(whole, finished, tmp_path):
    seen = ptycho_progress(finished, energy=2)
    np.testing.assert_array_equal(seen.iteration, 8)
    np.testing.assert_allclose(seen.amp_residual, whole.amp_residual)
    assert seen.residuals.size == 8
    assert len(plot_ptycho(seen)) == 4
    with pytest.raises(StoreError, match="no reconstruction"):
        ptycho_progress(tmp_path)


def test_command(stored, whole, tmp_path, capsys):
    from batteryxr.cli.main import main

    out = tmp_path / "out.zarr"
    call = [
        *("ptycho", str(stored), "--out", str(out), "--iterations", "8"),
        *("--kramers-kronig", "VO2", "--kk-start", "4", "--kk-every", "2"),
        *("--checkpoint", "2"),
    ]
    assert main([*call, "--plan"]) == 0
    assert not out.exists()
    assert main(call) == 0
    said = capsys.readouterr().out
    assert "4 energies x 64 frames" in said
    assert "5476.00 eV  pass    8 of 8" in said
    same(batteryxr.open_store(out, "ptycho").load(), whole)
    assert main(call) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*call, "--resume"]) == 0


def test_messages(scan, tmp_path):
    with pytest.raises(DimensionError, match="for one energy use ptycho"):
        ptycho_energies(scan.isel(energy=0), store=tmp_path / "a.zarr")
    with pytest.raises(DataError, match="rising"):
        ptycho_energies(scan.isel(energy=[1, 0]), store=tmp_path / "a.zarr")
    with pytest.raises(ArgumentError, match="relaxation"):
        KramersKronig("VO2", relaxation=2.0)
    with pytest.raises(ArgumentError, match="at most 1 with 3 energies"):
        ptycho_energies(
            scan.isel(energy=slice(3)), store=tmp_path / "a.zarr", kramers_kronig=KK
        )
    assert not list(tmp_path.iterdir())


def lorentzian(e, place=5480.0, width=2.0):
    u = (e - place) / width
    odd = (e + place) / width
    f2 = 1 / (1 + u**2) - 1 / (1 + odd**2)
    f1 = u / (1 + u**2) - odd / (1 + odd**2)
    return f1, f2


def test_transform_of_a_lorentzian():
    for step, bar in ((0.5, 0.02), (0.25, 0.005)):
        grid = np.arange(5000.0, 6000.0, step)
        out = np.arange(5460.0, 5500.0, step)
        f1, _ = lorentzian(out)
        found = transform_matrix(grid, out) @ lorentzian(grid)[1]
        assert np.max(abs(found - f1)) < bar * np.max(abs(f1)) + 0.002


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_constraint_leaves_true_spectra_alone(offset):
    energy = np.arange(5440.0, 5520.0, 0.5)
    table = np.unique(np.r_[np.geomspace(100, 2e5, 3000), energy])
    smooth = (5480.0 / table) ** 2.5 * np.where(table > 5480, 1.0, 0.2)
    constraint = Constraint(energy, table, smooth)
    grid = np.unique(np.r_[table, energy])
    f2 = np.interp(grid, table, smooth) + np.exp(-(((grid - 5485.0) / 4.0) ** 2))
    f2 = np.stack([f2, 2.0 * np.interp(grid, table, smooth)], axis=1)
    a = f2[np.searchsorted(grid, energy)]
    p = transform_matrix(grid, energy) @ f2 + offset
    found_a, found_p, misfit = constraint(a, p)
    np.testing.assert_allclose(found_a, a, atol=0.03)
    np.testing.assert_allclose(found_p, p, atol=0.03)
    assert misfit.max() < 0.03
    # Noise in the one is mended by the other; a wrong phase shows in the misfit.
    rng = np.random.default_rng(0)
    noisy = a + 0.1 * rng.standard_normal(a.shape)
    better, _, worse = constraint(noisy, p + 0.1 * rng.standard_normal(p.shape))
    assert np.std(better - a) < 0.85 * np.std(noisy - a)
    assert worse.min() > 2 * misfit.max()


@pytest.fixture(scope="module")
def halved(scan, tmp_path_factory):
    path = tmp_path_factory.mktemp("halves") / "out.zarr"
    return ptycho_energies(scan, store=path, **CALL, halves=True).load()


def test_halves_change_nothing_of_the_whole(halved, whole):
    own = [name for name in whole.variables if name in halved]
    assert len(own) == len(whole.variables)
    for name in own:
        xr.testing.assert_equal(halved[name], whole[name])


def test_common_errors_say_what_they_do_not_hold(halved):
    for name in ("absorption", "phase"):
        assert "unfinished" in halved[f"{name}_error_common"].attrs["comment"]
        assert "comment" not in halved[f"{name}_error"].attrs


def test_halves_tell_what_the_whole_has_beyond_both():
    rng, shape = np.random.default_rng(0), (6, 40, 40)
    noise = rng.normal(0, 0.01, (2, *shape))
    whole = Images(np.exp(1j * (noise.mean(0) + 0.02)))
    halves = [Images(np.exp(1j * n)) for n in noise]
    inside = np.ones(shape[1:], bool)
    alike, apart = (scatter(*halves, w, inside) for w in (halves[0], whole))
    np.testing.assert_array_equal(apart.maps, alike.maps)
    np.testing.assert_allclose(apart.common[1], 0.02, rtol=0.1)
    assert apart.common[0].max() < 0.002  # no modulus changed
    assert alike.common[1].max() < 0.006


class Images(list):
    read = list.__getitem__


def test_halves_that_are_unfinished_alike_are_told(recwarn):
    for lead in (500, 460, 10):
        tell_unfinished(Settings(iterations=30, schedule=Schedule(lead=lead)))
    few, fewer = (str(told.message) for told in recwarn)
    assert "490 iterations leave the level of a particle over vacuum" in few
    assert "40 iterations leave" in fewer


def test_common_errors_grow_with_what_no_halves_can_tell(halved):
    """The level of a particle may be off, in proportion to it, and vacuum is not."""
    told = halved["phase_error_common"].attrs["comment"]
    share = float(re.search(r"and ([\d.]+) of the value", told)[1])
    field = halved["transmission"].mean("energy")
    for name, value in (
        ("phase", abs(xr.apply_ufunc(np.angle, field))),
        ("absorption", abs(2 * np.log(abs(field)))),
    ):
        common = halved[f"{name}_error_common"]
        assert float((common - share * value).min()) >= -1e-6


def test_halves_tell_errors_and_resolution(scan, halved):
    """Errors are those of this noise: twice the photons, 1/√2 of it."""
    inside = halved.flag == 0
    for name in ("absorption", "phase"):
        error = halved[f"{name}_error"]
        assert error.attrs["units"] == halved[name].attrs["units"]
        assert bool(error.notnull().equals(inside.broadcast_like(error)))
        # In vacuum the truth is 0 at all energies, but for what they have in common.
        level = halved[name].where(halved.vacuum & inside)
        noise = (level - level.mean("energy")).std() * np.sqrt(4 / 3)
        stated = np.sqrt((error.where(halved.vacuum & inside) ** 2).mean())
        # After so few passes of faint frames some of it is alike in both halves.
        assert 0.5 < float(noise / stated) < 2.5
    assert halved.frc.dims == halved.prtf.dims == ("energy", "frequency")
    first = halved.frequency < 0.25 * halved.frequency.max()
    assert float(halved.frc.where(first).mean()) > 0.9
    pixel = float(halved.y[1] - halved.y[0])
    for name in ("half_bit", "prtf"):
        half = halved[f"half_period_{name}"]
        assert half.attrs["units"] == "nm"
        assert bool((half >= pixel * 0.999).all())
    assert bool((halved.half_period_prtf <= halved.half_period_half_bit * 1.01).all())


def test_damaged_frames_are_named_with_their_energies(scan, tmp_path, monkeypatch):
    damaged = scan.copy()
    values = scan.frames.data
    lazy = scan.frames.chunk(energy=1, position=32).data

    def spoil(block, block_info=None):
        if block_info[0]["chunk-location"][:2] in [(1, 0), (3, 1)]:
            raise RuntimeError("error during blosc decompression: -1")
        return block

    meta = np.empty((0, 0, 0, 0), values.dtype)
    damaged["frames"] = (scan.frames.dims, lazy.map_blocks(spoil, meta=meta))
    with pytest.raises(DataError, match=r"frames at 5470, 5500 eV.*blosc"):
        ptycho_energies(damaged, store=tmp_path / "a.zarr", **CALL)
    # In later passes the others go on, and keep what they have.
    from batteryxr.cdi.ptycho import passes

    right = passes.advance

    def stumble(energy, since, until):
        if energy.key == 0:
            raise OSError("no such chunk")
        return right(energy, since, until)

    monkeypatch.setattr(passes, "advance", stumble)
    call = {"iterations": 2, "progress": False}
    with pytest.raises(DataError, match=r"frames at 5440 eV.*no such chunk"):
        ptycho_energies(scan, store=tmp_path / "b.zarr", **call)
    ledger = ledger_of(tmp_path / "b.zarr")
    assert [passes_done(ledger, k) for k in range(4)] == [0, 2, 2, 2]


def test_one_energy_of_a_stack_is_judged_and_gone_on_with(scan, halved):
    one, own = halved.isel(energy=1), scan.isel(energy=1)
    fit = ptycho_fit(one, scan=own)
    assert float(fit.amp_residual) == pytest.approx(float(one.amp_residual), rel=0.15)
    with pytest.raises(DataError, match="result: object: pixels of"):
        ptycho_fit(one, scan=scan.isel(energy=3))
    on = ptycho(own.drop_vars("probe"), start=one, iterations=1, progress=False)
    anew = ptycho(own, iterations=1, progress=False)
    assert float(on.amp_residual[0]) < 0.4 * float(anew.amp_residual[0])
    with pytest.raises(DimensionError, match="several energies"):
        ptycho_fit(halved, scan=own)
