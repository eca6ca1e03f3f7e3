"""Displacement and strain of known fields."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from batteryxr import cdi
from batteryxr.core.errors import (
    ArgumentError,
    ChunkingError,
    DataError,
    VariableError,
)

VOLUME = ("rocking", "detector_y", "detector_x")
DETECTED = ("along_rocking", "along_y", "along_x")
N, STEP = 40, 5.0  # voxels, nm
Q = np.array([0.6, 0.3, 2.6])
QLEN = float(np.linalg.norm(Q))
AXIS = (np.arange(N) - N // 2) * STEP
Z, Y, X = np.meshgrid(AXIS, AXIS, AXIS, indexing="ij")
ALONG = (Q[0] * X + Q[1] * Y + Q[2] * Z) / QLEN  # nm along Q
BODY = (abs(Z) < 80) & (abs(Y) < 75) & (abs(X) < 70)


def lab(phase, body=BODY, dtype=np.complex128, **coords):
    """Return an object of this phase on (z, y, x) in nm."""
    values = (body * np.exp(1j * phase)).astype(dtype)
    axes = {d: (d, AXIS, {"units": "nm"}) for d in "zyx"}
    q = {f"q_{a}": c for a, c in zip("xyz", Q, strict=True)}
    sign = {"units": "1", "long_name": "Sign"}
    q["fourier_sign"] = ((), 1, sign)
    return xr.DataArray(values, dims=("z", "y", "x"), coords=axes | q | coords)


def fields(obj, **options):
    return cdi.strain(cdi.displacement(cdi.unwrap(obj), **options))


def inner(body=BODY, n=2):
    return ndimage.binary_erosion(body, iterations=n)


def test_a_sine_comes_back():
    period = N * STEP
    u = 0.1 * np.sin(2 * np.pi * ALONG / period)
    strain = 0.1 / 10 * 2 * np.pi / period * np.cos(2 * np.pi * ALONG / period)
    found = fields(lab(QLEN * u))
    ok = BODY & (abs(u) > 0.01)
    error = abs(found["displacement"].values[ok] / u[ok] - 1)
    assert error.max() < 1e-6
    rms = np.sqrt(np.mean((found["strain"].values - strain)[inner()] ** 2))
    assert rms < 0.02 * strain.max()
    assert found["displacement"].attrs["units"] == "Angstrom"


def test_phases_beyond_a_turn_are_followed():
    u = 3.0 * np.sin(ALONG / 60)  # +-8 rad
    found = fields(lab(QLEN * u))
    difference = found["phase"].values[BODY] - QLEN * u[BODY]
    turns = difference / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns[0]), atol=1e-6)


@pytest.mark.parametrize("ramp", ["keep", "remove"])
def test_a_uniform_dilation_is_a_ramp(ramp):
    found = fields(lab(QLEN * 1e-3 * 10 * ALONG), ramp=ramp)
    assert float(found["mean_strain"]) == pytest.approx(1e-3, abs=1e-8)
    expected = 1e-3 if ramp == "keep" else 0.0
    np.testing.assert_allclose(found["strain"].values[BODY], expected, atol=1e-5)
    assert found.attrs["ramp"] == {"keep": "kept", "remove": "removed"}[ramp]


def test_a_dislocation_leaves_no_spike():
    core = np.hypot(Z - 2.5, X - 2.5)
    vortex = np.arctan2(Z - 2.5, X - 2.5)
    found = fields(lab(vortex))
    # The gradient of an angle is 1 / r across it.
    across = (Q[2] * (X - 2.5) - Q[0] * (Z - 2.5)) / core**2 / QLEN
    exact = across / (QLEN * 10)
    limit = 2 / (core * QLEN * 10)
    off = inner() & (core > 2 * STEP)
    values = found["strain"].values
    assert (abs(values[off]) <= limit[off]).all()
    far = inner() & (core > 5 * STEP)
    np.testing.assert_allclose(
        values[far], exact[far], atol=0.1 * abs(exact[far]).max()
    )


def test_the_sign_is_that_of_the_transform():
    u = 0.05 * np.sin(ALONG / 40)
    unknown = lab(-QLEN * u).drop_vars("fourier_sign")
    plus = fields(unknown, sign=-1)
    with pytest.raises(DataError, match="does not tell the sign"):
        fields(unknown)
    np.testing.assert_allclose(plus["displacement"].values[BODY], u[BODY], atol=1e-9)
    noted = lab(-QLEN * u)
    noted = noted.assign_coords(fourier_sign=-1)
    alike = fields(noted)
    alike_too = alike["strain"].drop_vars("fourier_sign")
    xr.testing.assert_allclose(plus["strain"], alike_too)
    assert alike.attrs["sign"] == -1
    with pytest.raises(ArgumentError, match="sign"):
        fields(noted, sign=1)
    with pytest.raises(DataError, match="fourier_sign"):
        fields(xr.concat([noted, noted.assign_coords(fourier_sign=1)], "state"))


def test_the_sign_goes_wherever_the_object_goes():
    """Taken out, computed with, selected, aligned, decomposed: never the other sign."""
    body, u = BODY, 0.05 * np.sin(ALONG / 40)
    one = lab(-QLEN * u, body).assign_coords(fourier_sign=-1).rename("object")
    series = xr.concat([one, one * np.exp(0.1j)], "state")
    plain = series.copy()
    plain.attrs = {}
    aligned = cdi.align_states(series)
    modes = cdi.decompose(series.rename(state="start"))["modes"]
    whole = cdi.fill_missing(aligned)
    ways = {
        "aligned": aligned["object"].isel(state=1, drop=True),
        "of an array": cdi.align_states(series.drop_attrs(deep=False))["object"].isel(
            state=0
        ),
        "aligned to one": cdi.align(series.isel(state=1), reference=one),
        "mode": modes.isel(mode=0),
        "filled": whole["object"].isel(state=1),
        "scaled": 2 * one,
        "in other numbers": one.astype(np.complex64),
        "a part of a Dataset": one.to_dataset().isel(z=slice(2, -2))["object"],
    }
    for name, way in ways.items():
        found = fields(way)
        assert found["displacement"].attrs["sign"] == -1, name
        inside = np.isfinite(found["strain"].values)
        expected = np.cos(ALONG / 40)[: inside.shape[0]]
        if "part" in name:
            expected = np.cos(ALONG / 40)[2:-2]
        mine = found["strain"].values[inside]
        assert np.corrcoef(mine, expected[inside])[0, 1] > 0.98, name
    turned = np.conj(one).assign_coords(fourier_sign=1)
    with pytest.raises(DataError, match="Conjugate"):
        cdi.align(one, reference=turned)
    with pytest.raises(DataError, match="Conjugate"):
        cdi.fsc(one, other=turned)


def test_the_published_table_is_not_phase_over_q():
    # Serban et al., Commun. Chem. (2024), table 1: phase (deg), displacement (Angstrom)
    # and strain (permille) as printed, with |Q| = 3.398 1/Angstrom and 49.5 nm.
    table = [
        (13.8, 0.142, 0.57, 0.0709),
        (45.5, 0.467, 1.87, 0.2337),
        (22.0, 0.226, 0.90, 0.1130),
        (21.1, 0.217, 0.87, 0.1084),
    ]
    axes = {d: (d, np.arange(4.0) * 10, {"units": "nm"}) for d in "zyx"}
    q = {"q_x": 3.398, "q_y": 0.0, "q_z": 0.0}
    for degrees, printed, strain, ours in table:
        obj = np.full((4, 4, 4), np.exp(1j * np.deg2rad(degrees)))
        found = cdi.displacement(
            cdi.unwrap(xr.DataArray(obj, dims=("z", "y", "x"), coords=axes | q)),
            sign=1,
        )
        u = float(found["displacement"].mean())
        assert u == pytest.approx(ours, abs=6e-5)
        assert printed / u == pytest.approx(2.00, abs=0.02)
        assert strain / (1000 * u / 495) == pytest.approx(3.97, abs=0.03)


def test_skewed_and_right_angled_frames_agree():
    voxel = np.array([[12.3, 5.2, 19.6], [0, -8.0, 0], [7.6, 0.4, -2.6]])
    index = np.indices((24, 40, 40)) - np.array([12, 20, 20])[:, None, None, None]
    r = np.einsum("a...,ab->b...", index, voxel)
    body = np.sqrt((r**2).sum(axis=0)) < 110
    u = 0.08 * np.sin(np.tensordot(Q / QLEN, r, axes=1) / 90)
    exact = 0.008 / 90 * np.cos(np.tensordot(Q / QLEN, r, axes=1) / 90)
    geometry = xr.Dataset(
        {
            "voxel": (("axis", "vector"), voxel),
            "q": ("vector", Q),
            "q_length": ((), QLEN),
            "voxel_volume": ((), abs(np.linalg.det(voxel))),
        }
    )
    dims = ("along_rocking", "along_y", "along_x")
    obj = xr.DataArray(body * np.exp(1j * QLEN * u), dims=dims)
    skewed = cdi.strain(
        cdi.displacement(cdi.unwrap(obj), geometry=geometry, sign=1),
        geometry=geometry,
    )
    ok = inner(body)
    assert (
        np.sqrt(np.mean((skewed["strain"].values - exact)[ok] ** 2))
        < 0.03 * exact.max()
    )
    moved = cdi.to_laboratory(skewed, geometry=geometry, voxel_size=6.0)
    again = cdi.strain(moved.drop_vars("strain"))
    ok = ndimage.binary_erosion(moved["support"].values, iterations=3)
    difference = (again["strain"] - moved["strain"]).values[ok]
    assert np.sqrt(np.mean(difference**2)) < 0.1 * exact.max()


def test_lazy_is_eager(no_compute):
    states = xr.concat(
        [lab(QLEN * k * 0.05 * np.sin(ALONG / 40), dtype=np.complex64) for k in (1, 2)],
        "state",
    )
    eager = fields(states, ramp="remove")
    with no_compute():
        lazy = fields(states.chunk(state=1), ramp="remove")
    xr.testing.assert_allclose(eager, lazy.compute())
    assert lazy["strain"].chunksizes["state"] == (1, 1)
    with pytest.raises(ChunkingError, match="chunk"):
        fields(states.chunk(z=7))


def test_parts_that_do_not_touch_lie_within_half_a_turn():
    body = (abs(Z - 50) < 30) | (abs(Z + 50) < 30)
    body &= (abs(X) < 50) & (abs(Y) < 50)
    phase = 0.05 * Z + np.where(Z > 0, 2.0, -9.0)
    found = cdi.unwrap(lab(phase, body))["phase"].values
    upper, lower = found[body & (Z > 0)].mean(), found[body & (Z < 0)].mean()
    assert abs(upper - lower) <= np.pi


def test_what_is_missing_is_named():
    obj = lab(0 * X)
    with pytest.raises(VariableError, match="displacement first"):
        cdi.strain(cdi.unwrap(obj))
    with pytest.raises(DataError, match="complex"):
        cdi.unwrap(abs(obj))
    with pytest.raises(DataError, match="geometry"):
        cdi.displacement(cdi.unwrap(obj.drop_vars(["q_x", "q_y", "q_z"])))
    for option in ({"ramp": "both"}, {"sign": 2}):
        with pytest.raises(ArgumentError, match=next(iter(option))):
            cdi.displacement(cdi.unwrap(obj), **option)


def test_later_steps_need_no_geometry_and_refuse_another(crystal, volume):
    counts = volume.assign_attrs(rocking_motor="theta").assign_coords(
        energy=9000.0,
        distance=1000.0,
        pixel_size_y=55.0,
        pixel_size_x=55.0,
        two_theta=24.0,
        phi=0.0,
    )
    one, other = (
        cdi.geometry(c, beamline="theta")
        for c in (counts, counts.assign_coords(energy=9001.0))
    )
    axes = {d: np.arange(40) - 20 for d in DETECTED}
    rho = xr.DataArray(crystal, dims=DETECTED, coords=axes).assign_coords(
        fourier_sign=-1
    )
    moved = cdi.displacement(cdi.unwrap(rho), geometry=one)
    told = cdi.strain(moved, geometry=one)
    xr.testing.assert_equal(cdi.strain(moved), told)
    part = cdi.crop_to_support(moved)
    xr.testing.assert_equal(
        cdi.lattice_spacing(cdi.strain(part))["d_spacing"],
        cdi.lattice_spacing(cdi.strain(part, geometry=one), geometry=one)["d_spacing"],
    )
    for call in (cdi.strain, cdi.lattice_spacing, cdi.to_laboratory, cdi.displacement):
        with pytest.raises(ArgumentError, match="earlier steps"):
            call(told, geometry=other)
    lab_fields = cdi.to_laboratory(told, geometry=one)
    assert "voxel" not in lab_fields.coords  # it was that of the skewed axes
    with pytest.raises(ArgumentError, match="earlier steps"):
        cdi.strain(lab_fields, geometry=other)


def test_axes_in_space_have_their_units():
    obj = lab(QLEN * 0.05 * np.sin(ALONG / 40))
    finer = {d: (d, obj[d].values * 10, {"units": "Angstrom"}) for d in "zyx"}
    expected = fields(obj)["strain"].values
    np.testing.assert_allclose(fields(obj.assign_coords(finer))["strain"], expected)
    mute = {d: (d, obj[d].values) for d in "zyx"}
    with pytest.raises(DataError, match="no units"):
        fields(obj.assign_coords(mute))
    with pytest.raises(DataError, match="no labels"):
        fields(obj.drop_vars(["z", "y", "x"]))


def test_results_go_through_a_store(tmp_path):
    import batteryxr

    found = fields(lab(QLEN * 0.05 * np.sin(ALONG / 40)), ramp="remove")
    for name, variable in found.variables.items():
        if name not in "zyx" and not name.startswith("q_"):
            assert {"units", "long_name"} <= set(variable.attrs), name
    batteryxr.save(found, tmp_path / "s.zarr", group="fields")
    back = batteryxr.open_store(tmp_path / "s.zarr", "fields")
    xr.testing.assert_equal(back.compute(), found)
    assert back.attrs["batteryxr_call"] == found.attrs["batteryxr_call"]


def test_the_measured_gold_crystal(answers):
    held = np.load(answers / "gold_crystal_reconstruction.npz")
    dims = ("along_rocking", "along_y", "along_x")
    # The file holds the part round the crystal: of how many points is noted.
    box_of = {
        d: (d, np.arange(n) - n // 2, {"points": whole})
        for d, n, whole in zip(dims, held["rho"].shape, (128, 160, 160), strict=True)
    }
    crystal = xr.DataArray(held["rho"], dims=dims, coords=box_of)
    support = xr.DataArray(held["support"], dims=dims)
    axes = {
        d: np.arange(n) - n // 2 for d, n in zip(VOLUME, (128, 160, 160), strict=True)
    }
    box = xr.DataArray(np.zeros((128, 160, 160), np.float32), dims=VOLUME, coords=axes)
    geometry = cdi.geometry(
        box.assign_coords(rocking=0.005 * axes["rocking"]),
        beamline="34-ID-C",
        rocking="Theta",
        motors={"Delta": 32.174, "Gamma": 12.6346, "Chi": 90.0, "Phi": -5.0},
        energy=9000,
        distance=500,
        pixel_size=55,
    )
    found = cdi.strain(
        cdi.displacement(
            cdi.unwrap(crystal, support=support),
            geometry=geometry,
            ramp="remove",
            sign=1,
        ),
        geometry=geometry,
    )
    volume = float(support.sum() * geometry["voxel_volume"]) * 1e-9
    assert volume == pytest.approx(0.0186, rel=0.01)
    assert float(found["phase"].std()) == pytest.approx(0.33, abs=0.005)
    assert 100 * float(found["displacement"].std()) == pytest.approx(12.3, abs=0.1)
    inside = found["strain"].values[inner(held["support"], 1)]
    assert inside.std() == pytest.approx(1.9e-4, abs=1e-5)
    np.testing.assert_allclose(
        np.percentile(inside, (1, 99)), (-4.5e-4, 4.4e-4), atol=1e-5
    )


@pytest.mark.parametrize("sign", [np.nan, 2, "minus"])
def test_a_sign_that_is_none_is_refused(sign):
    crystal = lab(0 * ALONG).assign_coords(fourier_sign=sign)
    with pytest.raises(DataError, match="tells the fourier_sign"):
        cdi.displacement(cdi.unwrap(crystal))
