from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.cdi import (
    DM,
    EPIE,
    LSQML,
    RAAR,
    Mirrors,
    Resources,
    Schedule,
    ZonePlate,
    frc,
    ptycho,
    ptycho_fit,
    ptycho_plan,
    ptycho_probe,
    ptycho_scan,
)
from batteryxr.core.errors import (
    ArgumentError,
    ConvergenceError,
    DataError,
    DataQualityWarning,
    DimensionError,
    UnitsError,
    VariableError,
)
from batteryxr.core.replay import replay
from batteryxr.simulate import ptychography


@pytest.fixture(scope="module")
def scan():
    whole, _ = ptychography(
        energy=np.array([5500.0]),
        positions=6,
        size=32,
        step=60.0,
        particle=(800.0, 200.0),
    )
    return whole.isel(energy=0)


def large(energies, positions, pixels):
    import dask.array as da

    shape = (energies, positions, pixels, pixels)
    side = int(np.sqrt(positions)) + 1
    y, x = np.divmod(np.arange(positions), side)
    return ptycho_scan(
        da.zeros(shape, dtype=np.uint16, chunks=(1, 64, pixels, pixels)),
        position_y=y * 150.0,
        position_x=x * 150.0,
        energy=np.linspace(5420, 5540, energies),
        distance=2000.0,
        pixel_pitch=75.0,
    )


def test_geometry_and_units(scan):
    found = ptycho(scan, iterations=2, progress=False)
    wavelength = 12398.4198 / 5500 / 10  # nm
    pixel = wavelength * float(scan.distance) * 1e3 / (32 * 75)
    assert float(found.y[1] - found.y[0]) == pytest.approx(pixel, rel=1e-6)
    # The middle of the scan is the middle of the object.
    light = found.illumination / found.illumination.sum()
    centre = float((light * found.y).sum())
    assert centre == pytest.approx(float(scan.position_y.mean()), abs=3 * pixel)
    for name, variable in found.variables.items():
        if name not in ("position",):
            assert {"units", "long_name"} <= variable.attrs.keys(), name


def test_positions_may_have_other_units(scan):
    other = scan.assign_coords(
        position_y=(scan.position_y * 1e-9).assign_attrs(units="m", long_name="y"),
        energy=(scan.energy / 1e3).assign_attrs(units="keV", long_name="E"),
    )
    a, b = (ptycho(s, iterations=2, progress=False) for s in (scan, other))
    np.testing.assert_allclose(b.transmission, a.transmission, atol=1e-4)


@pytest.mark.parametrize("engine", [LSQML(), EPIE(), RAAR()])
@pytest.mark.parametrize("chunks", [36, 7, (20, 16)])
def test_lazy_is_eager(scan, engine, chunks):
    a = ptycho(scan, engine=engine, iterations=3, progress=False)
    b = ptycho(scan.chunk(position=chunks), engine=engine, iterations=3, progress=False)
    xr.testing.assert_equal(a, b)


@pytest.mark.parametrize("engine", [LSQML(), EPIE()])
def test_streamed_is_in_memory_bit_for_bit(scan, engine, monkeypatch):
    from batteryxr.cdi.ptycho import estimate as ptycho_estimate
    from batteryxr.cdi.ptycho import frames as ptycho_frames

    # A scan whose frames weigh more than all that is shared.
    monkeypatch.setattr(ptycho_estimate, "_BASE", 0.0)
    lazy = scan.chunk(position=10)
    kw = {"engine": engine, "iterations": 3, "progress": False}
    whole = ptycho(lazy, resources=Resources(block=8), **kw)
    small = ptycho_plan(lazy, engine=engine, resources=Resources(block=8))
    loads = []
    plain = ptycho_frames.read

    def counted(part):
        loads.append(part.shape[0])
        return plain(part)

    monkeypatch.setattr(ptycho_frames, "read", counted)
    little = Resources(block=8, memory=small.shared + 0.8 * small.frames)
    with pytest.warns(DataQualityWarning, match="streamed=True: all frames need"):
        streamed = ptycho(lazy, resources=little, **kw)
    assert max(loads) == 8
    assert sum(loads) == 4 * 36  # three passes, and one to look
    np.testing.assert_array_equal(streamed.transmission, whole.transmission)
    np.testing.assert_array_equal(streamed.probe, whole.probe)
    np.testing.assert_array_equal(streamed.amp_residual, whole.amp_residual)


@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_mask_and_geometry_are_read_once(scan, block, device, monkeypatch):
    if device == "torch":
        pytest.importorskip("torch")
    import dask
    import dask.array as da

    from batteryxr.cdi.ptycho import estimate, experiment
    from batteryxr.cdi.ptycho import scan as ptycho_scans

    reads = dict.fromkeys(("mask", "position_y", "position_x", "geometry"), 0)

    def lazy(name, variable):
        def read():
            reads[name] += 1
            return np.asarray(variable.values)

        shape, dtype = variable.shape, variable.dtype
        values = da.from_delayed(dask.delayed(read, pure=False)(), shape, dtype)
        return variable.variable.copy(data=values)

    mask = xr.zeros_like(scan.frames[0].drop_vars("position", errors="ignore"), "i1")
    whole = scan.assign(mask=lazy("mask", mask)).assign_coords(
        {n: lazy(n, scan[n]) for n in ("position_y", "position_x")}
    )
    plain = ptycho_scans.geometry_of

    def counted(*args, **kw):
        reads["geometry"] += 1
        return plain(*args, **kw)

    for module in (estimate, experiment):
        monkeypatch.setattr(module, "geometry_of", counted)
    few = {"iterations": 3, "resources": Resources(block=block), "progress": False}
    found = ptycho(whole, device=device, **few)
    assert reads == dict.fromkeys(reads, 1)
    again = ptycho(scan, device=device, **few)
    np.testing.assert_array_equal(found.transmission, again.transmission)


def test_an_experiment_travels_as_it_is(scan):
    import pickle

    from batteryxr.cdi.ptycho.examine import examined
    from batteryxr.cdi.ptycho.experiment import experiment_of
    from batteryxr.cdi.ptycho.passes import first_state, reconstruct
    from batteryxr.cdi.ptycho.settings import Settings

    settings = Settings(iterations=4)
    whole = examined(experiment_of(scan, caller="a test"))
    state = reconstruct(whole, settings, first_state(whole, settings))
    there, chosen = pickle.loads(pickle.dumps((whole, settings)))
    half = reconstruct(there, chosen, first_state(there, chosen), until=2)
    assert half.iteration == 2
    half = pickle.loads(pickle.dumps(half))
    again = reconstruct(there, chosen, half)
    np.testing.assert_array_equal(again.obj, state.obj)
    assert again.misfits == state.misfits
    result = ptycho(scan, iterations=4, progress=False)
    np.testing.assert_array_equal(result.transmission, state.obj)
    np.testing.assert_array_equal(result.amp_residual, state.residuals())


def test_preparing_reads_nothing(no_compute):
    with no_compute():
        scan = ptycho_probe(large(3, 100, 64), optics=Mirrors(focus=300.0))
        text = str(ptycho_plan(scan))
    assert "a pass of one energy: about" in text


def test_a_pass_takes_as_long_as_its_frames(scan):
    few = ptycho_plan(scan.isel(position=slice(0, 18)))
    whole = ptycho_plan(scan)
    assert whole.pass_seconds == pytest.approx(2 * few.pass_seconds)
    assert ptycho_plan(scan, engine=DM()).pass_seconds != whole.pass_seconds


def test_plan_of_a_large_stack():
    scan = large(40, 2000, 1024)
    plan = ptycho_plan(scan, engine=DM(), resources=Resources(memory=24e9, workers=1))
    assert plan.stack == pytest.approx(168e9, rel=0.01)
    assert plan.frames == pytest.approx(4.2e9, rel=0.01)
    assert plan.waves == pytest.approx(16.8e9, rel=0.01)
    assert (plan.engine, plan.streamed, plan.reason) == (DM(), False, "")
    tight = ptycho_plan(
        scan, engine=DM(poisson=True), resources=Resources(memory=16e9, workers=1)
    )
    assert tight.engine == LSQML(poisson=True)
    assert "DM needs" in tight.reason
    assert "does not fit" in str(tight)
    assert tight.peak + tight.own < 16e9
    tighter = ptycho_plan(scan, resources=Resources(memory=4e9))
    assert tighter.streamed
    assert tighter.block == 128
    with pytest.raises(ArgumentError, match="memory"):
        ptycho_plan(scan.isel(energy=[0]), resources=Resources(memory=0.5e9))


def test_probe_of_mirrors_has_the_width_it_was_asked_for():
    scan = large(1, 4, 256).isel(energy=0)
    probe = ptycho_probe(scan, optics=Mirrors(focus=(200.0, 300.0))).probe.values[0]
    pixel = 12398.42 / 5420 / 10 * 2000e3 / (256 * 75)
    for axis, width in ((0, 200.0), (1, 300.0)):
        line = np.sum(abs(probe) ** 2, axis=1 - axis)
        fine = np.linspace(0, 255, 25501)
        wide = fine[np.interp(fine, np.arange(256), line) > line.max() / 2]
        assert np.ptp(wide) * pixel == pytest.approx(width, rel=0.05)
    far = ptycho_probe(scan, optics=Mirrors(focus=300.0), defocus=800.0).probe.values[0]
    np.testing.assert_allclose(np.sum(abs(far) ** 2), 1, rtol=1e-5)
    near = ptycho_probe(scan, optics=Mirrors(focus=300.0)).probe.values[0]
    assert abs(far).max() < 0.95 * abs(near).max()


def test_probe_of_a_zone_plate_is_a_ring_on_the_detector():
    scan = large(1, 4, 256).isel(energy=0)
    plate = ptycho_probe(
        scan, optics=ZonePlate(diameter=200.0, outer_zone=70.0, central_stop=80.0)
    ).probe.values[0]
    far = abs(np.fft.fftshift(np.fft.fft2(plate)))
    assert far[128, 128] < 1e-3 * far.max()
    # The cone reaches λ / 2Δr at the detector.
    radius = 12398.42 / 5420 / 10 / (2 * 70.0) * 2000e3 / 75
    lit = np.flatnonzero(far[128] > 0.5 * far.max())
    assert (lit[-1] - lit[0]) / 2 == pytest.approx(radius, abs=1.5)


def test_fit_tells_noise_and_bad_frames(scan):
    result = ptycho(scan, iterations=60, progress=False)
    fit = ptycho_fit(result, scan=scan)
    assert float(fit.amp_residual) == pytest.approx(
        float(result.amp_residual[-1]), rel=0.1
    )
    assert 0.1 < float(fit.poisson_llk) < 0.7
    assert float(fit.transfer[3]) == pytest.approx(1, abs=0.02)
    spoilt = scan.copy(deep=True)
    spoilt.frames[7] = spoilt.frames[7].values[::-1, ::-1].T
    worse = ptycho_fit(result, scan=spoilt)
    assert int(worse.frame_residual.values.argmax()) == 7


def test_correlation_of_an_object_with_itself(scan):
    phase = np.cos(scan.frames[0] / 5.0).rename(detector_y="y", detector_x="x")
    phase = phase.assign_coords(y=np.arange(32) * 10.0, x=np.arange(32) * 10.0)
    same = frc(phase, other=phase)
    np.testing.assert_allclose(same.correlation[1:], 1)
    assert float(same.half_period_one_bit) == 10.0
    with pytest.raises(DimensionError, match="one grid"):
        frc(phase, other=phase[:-1])


def test_result_can_be_stored_and_replayed(scan, tmp_path):
    import batteryxr

    found = ptycho(scan, iterations=2, seed=3, engine=LSQML(batch=9), progress=False)
    batteryxr.save(found, tmp_path / "p.zarr")
    back = batteryxr.open_store(tmp_path / "p.zarr").load()
    xr.testing.assert_identical(back.drop_attrs(), found.drop_attrs())
    xr.testing.assert_equal(replay(back, scan), found)
    assert "engine=LSQML(batch=9, " in back.attrs["history"]


def test_messages(scan):
    kw = {"position_y": [0, 1], "position_x": [0, 1], "energy": 5e3, "distance": 1e3}
    with pytest.raises(ArgumentError, match="position_y"):
        ptycho_scan(np.zeros((3, 8, 8)), pixel_pitch=75, **kw)
    with pytest.raises(ArgumentError, match="pixel_pitch=0: expected a number > 0"):
        ptycho_scan(np.zeros((2, 8, 8)), pixel_pitch=0, **kw)
    with pytest.raises(DataError, match=r"distance.*must be above 0"):
        ptycho_scan(np.zeros((2, 8, 8)), pixel_pitch=75, **kw | {"distance": -1.0})
    with pytest.raises(ArgumentError, match="mask"):
        ptycho_scan(np.zeros((2, 8, 8)), pixel_pitch=75, mask=np.zeros((3, 3)), **kw)
    with pytest.raises(ArgumentError, match=r"probe=\(1, 1, 8, 8\): expected"):
        ptycho_scan(
            np.zeros((2, 8, 8)), pixel_pitch=75, probe=np.ones((1, 1, 8, 8)), **kw
        )
    with pytest.raises(VariableError, match="ptycho_probe makes one, from the frames"):
        ptycho(scan.drop_vars("probe"))
    with pytest.raises(ArgumentError, match=r"engine='Newton': .*one of LSQML\(\)"):
        ptycho(scan, engine="Newton")
    with pytest.raises(ArgumentError, match=r"engine=EPIE\(\)"):
        ptycho(scan, engine="ePIE")
    with pytest.raises(ArgumentError, match=r"engine=RAAR\(\)"):
        ptycho(scan, engine=RAAR)
    with pytest.raises(ArgumentError, match="batch=0: expected a whole number >= 1"):
        LSQML(batch=0)
    with pytest.raises(ArgumentError, match="lead"):
        ptycho(scan, schedule=Schedule(lead=3))
    with pytest.raises(ArgumentError, match="iterations"):
        ptycho(scan, iterations=0)
    with pytest.raises(UnitsError, match="distance"):
        ptycho(scan.assign_coords(distance=2.0))
    with pytest.raises(DataError, match="no counts"):
        ptycho(scan.assign(frames=scan.frames * 0))
    with pytest.raises(DataError, match="probe: no power"):
        ptycho(scan.assign(probe=scan.probe * 0))
    with pytest.raises(DataError, match="mask: no pixel counts"):
        ptycho(
            scan.assign(
                mask=xr.ones_like(scan.frames[0].drop_vars("position", errors="ignore"))
            )
        )
    with pytest.raises(DimensionError, match="ptycho_energies"):
        ptycho(scan.expand_dims("energy"))
    with pytest.raises(ArgumentError, match="`focus` or `half_angle`"):
        Mirrors()
    with pytest.raises(ArgumentError, match=r"optics='kb': expected .*Mirrors"):
        ptycho_probe(scan, optics="kb")
    with pytest.raises(ArgumentError, match="outer_zone=-1"):
        ZonePlate(diameter=200.0, outer_zone=-1)
    wild = EPIE(object_step=1e4, probe_step=1e4)
    with (
        np.errstate(all="ignore"),
        pytest.raises(ConvergenceError, match="diverged in pass"),
    ):
        ptycho(scan, engine=wild, iterations=30, progress=False)


def test_a_scan_goes_by_the_names_and_units_of_its_arrays():
    rng = np.random.default_rng(0)
    frames = rng.poisson(5.0, (3, 8, 8))
    mask, probe = np.zeros((8, 8)), rng.standard_normal((2, 8, 8))
    mask[1, 6] = 1
    y = np.array([0.0, 100.0, 250.0])
    kw = {"position_x": y[::-1], "energy": 5e3, "distance": 1e3, "pixel_pitch": 75}
    dims = ("position", "detector_y", "detector_x")
    modes = ("probe_mode", "probe_y", "probe_x")
    plain = ptycho_scan(frames, position_y=y, mask=mask, probe=probe, **kw)
    named = ptycho_scan(
        xr.DataArray(frames, dims=dims).transpose(*dims[::-1]),
        position_y=xr.DataArray(y / 1e3, dims="position", attrs={"units": "um"}),
        mask=xr.DataArray(mask, dims=dims[1:]).T,
        probe=xr.DataArray(probe, dims=modes).T,
        **kw,
    )
    xr.testing.assert_allclose(named, plain)


def test_the_plan_counts_floats_where_each_frame_has_a_mask(scan):
    whole = scan.assign(frames=scan.frames.astype("u2"))
    each = whole.assign(mask=whole.frames == 65535)
    assert ptycho_plan(each).frames == 2 * ptycho_plan(whole).frames
