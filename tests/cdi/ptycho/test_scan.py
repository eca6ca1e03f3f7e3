from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from batteryxr.cdi import (
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
    DataQualityWarning,
    DimensionError,
    UnitsError,
    VariableError,
)
from batteryxr.core.provenance import replay
from batteryxr.simulate import ptychography


@pytest.fixture(scope="module")
def scan():
    whole, _ = ptychography(
        energy=np.array([5500.0]), positions=6, pixels=32, step=60.0, diameter=200.0
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


@pytest.mark.parametrize("engine", ["LSQML", "ePIE", "RAAR"])
@pytest.mark.parametrize("chunks", [36, 7, (20, 16)])
def test_lazy_is_eager(scan, engine, chunks):
    a = ptycho(scan, engine=engine, iterations=3, progress=False)
    b = ptycho(scan.chunk(position=chunks), engine=engine, iterations=3, progress=False)
    xr.testing.assert_equal(a, b)


@pytest.mark.parametrize("engine", ["LSQML", "ePIE"])
def test_streamed_is_in_memory_bit_for_bit(scan, engine, monkeypatch):
    from batteryxr.cdi.ptycho import frames as ptycho_frames
    from batteryxr.cdi.ptycho import planning as ptycho_planning

    # A scan whose frames weigh more than all that is shared.
    monkeypatch.setattr(ptycho_planning, "_BASE", 0.0)
    lazy = scan.chunk(position=10)
    kw = {"engine": engine, "iterations": 3, "block": 8, "progress": False}
    whole = ptycho(lazy, **kw)
    small = ptycho_plan(lazy, engine=engine, block=8)
    loads = []
    plain = ptycho_frames.load

    def counted(frames, start, stop):
        loads.append(stop - start)
        return plain(frames, start, stop)

    monkeypatch.setattr(ptycho_frames, "load", counted)
    with pytest.warns(DataQualityWarning, match="streamed=True: all frames need"):
        streamed = ptycho(lazy, memory=small.shared + 0.8 * small.frames, **kw)
    assert max(loads) == 8
    assert sum(loads) == 4 * 36  # three passes, and one to count
    np.testing.assert_array_equal(streamed.transmission, whole.transmission)
    np.testing.assert_array_equal(streamed.probe, whole.probe)
    np.testing.assert_array_equal(streamed.amp_residual, whole.amp_residual)


def test_preparing_reads_nothing(no_compute):
    with no_compute():
        scan = ptycho_probe(large(3, 100, 64), focus=300.0)
        str(ptycho_plan(scan))


def test_plan_of_a_large_stack():
    scan = large(40, 2000, 1024)
    plan = ptycho_plan(scan, engine="DM", memory=24e9, workers=1)
    assert plan.stack == pytest.approx(168e9, rel=0.01)
    assert plan.frames == pytest.approx(4.2e9, rel=0.01)
    assert plan.waves == pytest.approx(16.8e9, rel=0.01)
    assert (plan.engine, plan.streamed, plan.reason) == ("DM", False, "")
    tight = ptycho_plan(scan, engine="DM", memory=16e9, workers=1)
    assert tight.engine == "LSQML"
    assert "DM needs" in tight.reason
    assert "does not fit" in str(tight)
    assert tight.peak + tight.own < 16e9
    tighter = ptycho_plan(scan, memory=4e9)
    assert tighter.streamed
    assert tighter.block == 128
    with pytest.raises(ArgumentError, match="memory"):
        ptycho_plan(scan.isel(energy=[0]), memory=0.5e9)


def test_probe_of_mirrors_has_the_width_it_was_asked_for():
    scan = large(1, 4, 256).isel(energy=0)
    probe = ptycho_probe(scan, focus=(200.0, 300.0)).probe.values[0]
    pixel = 12398.42 / 5420 / 10 * 2000e3 / (256 * 75)
    for axis, width in ((0, 200.0), (1, 300.0)):
        line = np.sum(abs(probe) ** 2, axis=1 - axis)
        fine = np.linspace(0, 255, 25501)
        wide = fine[np.interp(fine, np.arange(256), line) > line.max() / 2]
        assert np.ptp(wide) * pixel == pytest.approx(width, rel=0.05)
    far = ptycho_probe(scan, focus=300.0, defocus=800.0).probe.values[0]
    np.testing.assert_allclose(np.sum(abs(far) ** 2), 1, rtol=1e-5)
    near = ptycho_probe(scan, focus=300.0).probe.values[0]
    assert abs(far).max() < 0.95 * abs(near).max()


def test_probe_of_a_zone_plate_is_a_ring_on_the_detector():
    scan = large(1, 4, 256).isel(energy=0)
    plate = ptycho_probe(
        scan, optics="zone_plate", diameter=200.0, outer_zone=70.0, central_stop=80.0
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
    same = frc(phase, phase)
    np.testing.assert_allclose(same.correlation, 1)
    assert float(same.half_period_one_bit) == 10.0
    with pytest.raises(DimensionError, match="one grid"):
        frc(phase, phase[:-1])


def test_result_can_be_stored_and_replayed(scan, tmp_path):
    import batteryxr

    found = ptycho(scan, iterations=2, seed=3, options={"batch": 9}, progress=False)
    batteryxr.save(found, tmp_path / "p.zarr")
    back = batteryxr.open_store(tmp_path / "p.zarr").load()
    xr.testing.assert_identical(back.drop_attrs(), found.drop_attrs())
    xr.testing.assert_equal(replay(back, scan), found)


def test_messages(scan):
    kw = {"position_y": [0, 1], "position_x": [0, 1], "energy": 5e3, "distance": 1e3}
    with pytest.raises(ArgumentError, match="position_y"):
        ptycho_scan(np.zeros((3, 8, 8)), pixel_pitch=75, **kw)
    with pytest.raises(ArgumentError, match="all above 0"):
        ptycho_scan(np.zeros((2, 8, 8)), pixel_pitch=0, **kw)
    with pytest.raises(ArgumentError, match="mask"):
        ptycho_scan(np.zeros((2, 8, 8)), pixel_pitch=75, mask=np.zeros((3, 3)), **kw)
    with pytest.raises(VariableError, match="ptycho_probe makes one"):
        ptycho(scan.drop_vars("probe"))
    with pytest.raises(ArgumentError, match="one of \\['ePIE'"):
        ptycho(scan, engine="Newton")
    with pytest.raises(ArgumentError, match="options of ePIE"):
        ptycho(scan, engine="ePIE", options={"batch": 3})
    with pytest.raises(ArgumentError, match="iterations"):
        ptycho(scan, iterations=0)
    with pytest.raises(UnitsError, match="distance"):
        ptycho(scan.assign_coords(distance=2.0))
    with pytest.raises(DimensionError, match="square"):
        ptycho(scan.isel(detector_y=slice(20)))
    with pytest.raises(ArgumentError, match="no counts"):
        ptycho(scan.assign(frames=scan.frames * 0))
    with pytest.raises(DimensionError, match="ptycho_energies"):
        ptycho(scan.expand_dims("energy"))
    with pytest.raises(ArgumentError, match="`focus` or `half_angle`"):
        ptycho_probe(scan)
    wild = {"object_step": 1e4, "probe_step": 1e4}
    with (
        np.errstate(all="ignore"),
        pytest.raises(ConvergenceError, match="diverged in pass"),
    ):
        ptycho(scan, engine="ePIE", iterations=30, options=wild, progress=False)
