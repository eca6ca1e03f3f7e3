"""Scattering vectors, voxels, and the way into the laboratory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from batteryxr import cdi
from batteryxr.cdi.bragg.kernels.voxels import (
    Setup,
    carried,
    rotation,
    scattering_vector,
    steps,
    voxels,
)
from batteryxr.core.errors import ArgumentError, DataError, FileFormatError

VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")
K9 = 2 * np.pi * 9000 / 12398.419843320026
#: 34-ID-C at scan 54: q in the crystal's frame (1/Angstrom) by xrayutilities 1.8
#: (HXRD, Ang2Q.area; sample y+ z- y+, detector y+ x-, beam along z, rows y-,
#: columns x+, centre (127, 128), 55 um at 0.5 m, 9 keV): theta, row, column, q.
REFERENCE = [
    (-0.28, 0, 0, (-1.1238497372658303, 2.303830652233407, -0.6881706477554864)),
    (-0.28, 255, 255, (-1.0034370204551641, 2.4267773714620158, -0.7439081276586684)),
    (0.215, 127, 128, (-1.0622499163451118, 2.3728261345005, -0.6950531673390061)),
    (0.72, 0, 255, (-1.1261533706337516, 2.4262719873575653, -0.7144825490010094)),
    (0.72, 255, 0, (-0.9939165713110328, 2.331749569590919, -0.6351054361065538)),
]
SCAN54 = Setup(
    (("y+", 0.215), ("z-", 90.0), ("y+", -5.0)),
    (("y+", 32.174), ("x-", 12.6346)),
    0,
    "y-",
    "x+",
    K9,
    (55e-6 / 0.5, 55e-6 / 0.5),
)


def volume(shape, step=0.005, centre=0.0, **coords):
    axes = {d: np.arange(n) - n // 2 for d, n in zip(VOLUME, shape, strict=True)}
    axes["rocking"] = axes["rocking"] * step + centre
    return xr.DataArray(np.zeros(shape, np.float32), dims=VOLUME, coords=axes | coords)


def published():
    """Return the geometry of Serban et al., Commun. Chem. (2024)."""
    return cdi.geometry(
        volume((160, 64, 64), centre=14.4),
        beamline="theta",
        rocking="theta",
        motors={"two_theta": 28.8, "phi": 0.0},
        energy=13500,
        distance=2800,
        pixel_size=55,
    )


def scan54():
    motors = {"Delta": 32.174, "Gamma": 12.6346, "Chi": 90.0, "Phi": -5.0}
    return cdi.geometry(
        volume((128, 160, 160), centre=0.215),
        beamline="34-id-c",
        rocking="Theta",
        motors=motors,
        energy=9000,
        distance=500,
        pixel_size=55,
    )


@pytest.mark.parametrize(("theta", "row", "column", "q"), REFERENCE)
def test_q_is_that_of_xrayutilities(theta, row, column, q):
    lab = scattering_vector(
        SCAN54, np.array(theta - 0.215), np.array(row - 127), np.array(column - 128)
    )
    np.testing.assert_allclose(carried(SCAN54.sample).T @ lab, q, rtol=1e-6)


def test_the_published_scattering_vector():
    found = published()
    assert float(found["q_length"]) == pytest.approx(3.403, abs=2e-3)
    unit = (found["q"] / found["q_length"]).values
    np.testing.assert_allclose(unit, (0.969, 0, -0.249), atol=1e-3)
    # A step of theta moves the pattern by y x Q.
    expected = np.deg2rad(0.005) * np.cross([0, 1, 0], found["q"])
    np.testing.assert_allclose(found["reciprocal_step"][0], expected, rtol=1e-6)


def test_the_measured_gold_crystal():
    found = scan54()
    assert float(found["q_length"]) == pytest.approx(2.6911, abs=1e-4)
    assert float(found["voxel_volume"]) == pytest.approx(1454, rel=1e-3)
    unit = (found["q"] / found["q_length"]).values
    np.testing.assert_allclose(unit, (0.8806, 0.3707, -0.2950), atol=1e-4)
    lengths = np.linalg.norm(found["voxel"], axis=1)
    np.testing.assert_allclose(lengths, (23.74, 8.02, 8.07), atol=0.005)
    assert float(found["d_spacing"]) == pytest.approx(2.335, abs=1e-3)


def test_geometry_from_what_the_reader_gives(gold_scan):
    frames, _ = gold_scan
    box = cdi.crop(frames, shape=(128, 160, 160), centre=(99, 127, 128))
    found = cdi.geometry(box, beamline="34-ID-C")
    assert float(found["q_length"]) == pytest.approx(2.6911, abs=1e-4)
    assert float(found["voxel_volume"]) == pytest.approx(1454, rel=1e-3)
    # The whole frames, with the same pixel at the detector's angles: the same Q.
    moved = cdi.geometry(
        cdi.crop(frames, shape=(128, 160, 160), centre=(99, 127, 100)),
        beamline="34-ID-C",
        centre=(127, 128),
    )
    exact = scattering_vector(SCAN54, np.array(0.0), np.array(0.0), np.array(-28.0))
    np.testing.assert_allclose(moved["q"], exact, atol=2e-4)


@given(
    angles=st.lists(st.floats(-120, 120), min_size=3, max_size=3),
    detector=st.lists(st.floats(5, 60), min_size=2, max_size=2),
    rocking=st.integers(0, 2),
)
@settings(max_examples=40, deadline=None)
def test_steps_turn_with_the_circles_outside(angles, detector, rocking):
    axes = ("y+", "z-", "x-")
    setup = Setup(
        tuple(zip(axes, angles, strict=True)),
        tuple(zip(("y+", "x-"), detector, strict=True)),
        rocking,
        "y-",
        "x+",
        5.0,
        (1e-4, 1e-4),
    )
    b = steps(setup, (0, 0, 0), (0.01, 1, 1))
    q = scattering_vector(setup, *map(np.array, (0.0, 0.0, 0.0)))
    # The crystal's frame turned by the motor itself, straight from its definition.
    turned = list(setup.sample)
    turned[rocking] = (axes[rocking], angles[rocking] + 0.01)
    now, later = carried(setup.sample), carried(tuple(turned))
    np.testing.assert_allclose(b[0], now @ later.T @ q - q, atol=2e-4 * 0.02 * 5)


def test_voxels_are_reciprocal_to_the_pattern():
    b = steps(SCAN54, (0, 0, 0), (0.005, 1, 1))
    d = voxels(b, (32, 48, 64))
    spanned = b * np.array([[32], [48], [64]])
    np.testing.assert_allclose(spanned @ d.T, 2 * np.pi * np.eye(3), atol=1e-9)


def test_a_rocking_axis_that_opens_no_third_direction_is_refused():
    tilting = cdi.Beamline(
        "tilting", (cdi.Circle("tilt", "x+"),), (cdi.Circle("two_theta", "y+"),)
    )
    with pytest.raises(DataError, match="third direction"):
        cdi.geometry(
            volume((16, 16, 16)),
            beamline=tilting,
            rocking="tilt",
            motors={"two_theta": 28.8},
            energy=13500,
            distance=2800,
            pixel_size=55,
        )


def test_a_rotation_is_right_handed():
    np.testing.assert_allclose(rotation("z+", 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation("y-", 90) @ [0, 0, 1], [-1, 0, 0], atol=1e-12)


def test_every_beamline_that_comes_along_works():
    known = "34-ID-C 4S+2D CRISTAL I16 ID01 ID27 NanoMAX P10 SIXS2019 SIXS2022"
    assert cdi.beamlines() == [*known.split(), "general", "theta"]
    for name in cdi.beamlines():
        one = cdi.beamline(name)
        circles = (*one.sample, *one.detector)
        angles = {c.motor: 8.0 + 5 * k for k, c in enumerate(circles)}
        arm = {c.motor for c in one.detector}
        for circle in [c for c in one.sample if c.motor not in arm]:
            found = cdi.geometry(
                volume((32, 32, 32)),
                beamline=name,
                centre=None if arm else (3000, 300),
                rocking=circle.motor,
                motors={m: a for m, a in angles.items() if m != circle.motor},
                energy=9000,
                distance=1000,
                pixel_size=55,
            )
            assert np.isfinite(found["voxel"]).all()


def turned(vector, *circles):
    """Return a vector after circles (axis, sense, deg), the innermost first."""
    for axis, sense, angle in circles:
        a = np.deg2rad(sense * angle)
        i, j = [k for k in range(3) if k != axis]
        i, j = (i, j) if axis != 1 else (j, i)
        out = np.array(vector, float)
        out[i] = np.cos(a) * vector[i] - np.sin(a) * vector[j]
        out[j] = np.sin(a) * vector[i] + np.cos(a) * vector[j]
        vector = out
    return np.asarray(vector)


#: Beamline: rocking motor, its axis and sense in the laboratory at zero of the others,
#: and the arm (axis, sense, motor), innermost first, by public descriptions.
PUBLISHED = {
    "CRISTAL": ("mgomega", (0, -1), [(0, -1, "delta"), (1, 1, "gamma")]),
    "I16": ("eta", (0, -1), [(0, -1, "delta"), (1, 1, "gam")]),
    "ID01": ("eta", (0, -1), [(0, -1, "delta"), (1, -1, "nu")]),
    "P10": ("om", (0, -1), [(0, -1, "del"), (1, 1, "gam")]),
    "34-ID-C": ("Theta", (1, 1), [(0, -1, "Gamma"), (1, 1, "Delta")]),
    "SIXS2019": ("mu", (1, 1), [(0, -1, "delta"), (1, 1, "gamma"), (0, -1, "beta")]),
    "SIXS2022": ("mu", (0, -1), [(0, -1, "delta"), (1, 1, "gamma")]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_rays_and_rocking_of_published_beamlines(name):
    motor, (axis, sense), arm = PUBLISHED[name]
    angles = dict.fromkeys([c.motor for c in cdi.beamline(name).sample], 0.0)
    angles |= {m: 31.0 - 12 * k for k, (_, _, m) in enumerate(arm)}
    angles.pop(motor)
    found = cdi.geometry(
        volume((32, 32, 32), step=1e-4),
        beamline=name,
        rocking=motor,
        motors=angles,
        energy=9000,
        distance=1000,
        pixel_size=55,
    )
    ray = turned([0, 0, 1.0], *[(a, s, angles[m]) for a, s, m in arm])
    np.testing.assert_allclose(found["q"], K9 * (ray - [0, 0, 1]), atol=1e-9)
    # A crystal that turns by 1e-4 deg: the pattern goes the other way in its frame.
    about = np.eye(3)[axis] * sense
    if "beta" in angles:  # it carries mu
        about = turned(about, (0, -1, angles["beta"]))
    step = -np.cross(about, found["q"]) * np.deg2rad(1e-4)
    np.testing.assert_allclose(found["reciprocal_step"][0], step, atol=1e-11)


def test_a_detector_without_an_arm_needs_the_direct_beam():
    told = {"beamline": "ID27", "rocking": "nath", "energy": 33_000}
    told |= {"distance": 1800, "pixel_size": 75}
    with pytest.raises(ArgumentError, match="direct beam"):
        cdi.geometry(volume((16, 16, 16)), **told)
    found = cdi.geometry(volume((16, 16, 16)), centre=(-4000, 2500), **told)
    ray = np.array([-0.075 * -2500, -0.075 * 4000, 1800.0])
    wave = K9 * 33 / 9
    expected = wave * (ray / np.linalg.norm(ray) - [0, 0, 1])
    np.testing.assert_allclose(found["q"], expected, rtol=1e-9)


def test_a_circle_that_turns_the_detector_too_does_not_rock():
    angles = {"mu": 4.0, "gamma": 20.0, "delta": 10.0, "beta": 1.0}
    told = {"energy": 9000, "distance": 1000, "pixel_size": 55}
    with pytest.raises(ArgumentError, match="turns the detector"):
        cdi.geometry(
            volume((16, 16, 16)),
            beamline="SIXS2019",
            rocking="beta",
            motors=angles,
            **told,
        )


def test_six_circles_are_those_of_you():
    """The scattered ray of You (1999), who counts x up, y along the beam, z = x x y."""
    angles = {"mu": 2.0, "chi": 80.0, "phi": 4.0, "nu": 7.0, "delta": 31.0}
    told = {"energy": 9000, "distance": 1000, "pixel_size": 55}
    found = cdi.geometry(
        volume((32, 32, 32), centre=15.0),
        beamline="4S+2D",
        rocking="eta",
        motors=angles,
        **told,
    )
    nu, delta = np.deg2rad([7.0, 31.0])
    up, along, beside = (
        np.sin(delta),
        np.cos(delta) * np.cos(nu),
        np.cos(delta) * np.sin(nu),
    )
    expected = K9 * np.array([beside, up, along - 1])
    np.testing.assert_allclose(found["q"], expected, rtol=1e-9)
    # Eta turns about -z of his, carried by mu about his x.
    mu = np.deg2rad(2.0)
    axis = -np.array([np.cos(mu), 0, -np.sin(mu)])
    moved = -np.deg2rad(0.005) * np.cross(axis, found["q"])
    np.testing.assert_allclose(found["reciprocal_step"][0], moved, rtol=1e-4)


def test_a_beamline_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nsample = [{motor = "om", axis = "x-"}]\n'
        'detector = [{motor = "tt", axis = "x-", zero = 1.0}]\n'
    )
    found = cdi.geometry(
        volume((16, 16, 16)),
        beamline=path,
        rocking="om",
        motors={"tt": 31.0},
        energy=10000,
        distance=1000,
        pixel_size=(55, 75),
    )
    k = 2 * np.pi * 10000 / 12398.419843320026
    assert float(found["q_length"]) == pytest.approx(2 * k * np.sin(np.deg2rad(15)))
    path.write_text('name = "mine"\n')
    with pytest.raises(FileFormatError, match="describes no beamline"):
        cdi.beamline(path)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"beamline": "ESRF"}, ArgumentError, "34-ID-C"),
        ({"rocking": "tilt"}, ArgumentError, "a sample circle of theta"),
        ({"motors": {"phi": 0.0}}, DataError, "two_theta"),
        ({"rocking": None}, DataError, "Pass rocking="),
        ({"energy": None}, DataError, "Pass energy=... in eV"),
        ({"pixel_size": None}, DataError, "Pass pixel_size=... in um"),
        ({"distance": -1}, ArgumentError, "> 0 in mm"),
    ],
)
def test_what_is_missing_is_asked_for(change, error, says):
    options = {
        "beamline": "theta",
        "rocking": "theta",
        "motors": {"two_theta": 28.8, "phi": 0.0},
        "energy": 13500,
        "distance": 2800,
        "pixel_size": 55,
    }
    with pytest.raises(error, match=says):
        cdi.geometry(volume((16, 16, 16)), **(options | change))


def test_a_call_with_ones_own_beamline_can_be_made_again():
    import batteryxr

    mine = dataclasses.replace(cdi.beamline("theta"), name="mine", rows="y-")
    box = volume((16, 16, 16))
    motors = {"two_theta": 28.8, "phi": 0.0}
    first = cdi.geometry(
        box,
        beamline=mine,
        rocking="theta",
        motors=motors,
        energy=13500,
        distance=2800,
        pixel_size=55,
    )
    xr.testing.assert_equal(first, batteryxr.replay(first, box))


def test_states_with_other_centres_have_their_own_q():
    parts = [
        volume(
            (16, 16, 16),
            centre=14.4,
            energy=((), 13500.0, {"units": "eV"}),
            two_theta=28.8,
            phi=0.0,
        ).assign_coords(detector_x=np.arange(16) - 8 + shift)
        for shift in (100, 110)
    ]
    stacked = cdi.stack_states(parts, labels=[("charge", 3.0), ("charge", 4.0)])
    found = cdi.geometry(
        stacked,
        beamline="theta",
        rocking="theta",
        distance=2800,
        pixel_size=55,
    )
    assert found["q"].dims == ("state", "vector")
    k = 2 * np.pi * 13500 / 12398.419843320026
    theta = (np.deg2rad(28.8) + np.arctan([0, 10 * 55e-3 / 2800])) / 2
    np.testing.assert_allclose(found["q_length"], 2 * k * np.sin(theta), rtol=1e-9)
    assert found["voltage"].values.tolist() == [3, 4]


def sphere(geometry, shape, radius):
    """Return a ball in the skewed frame, and where its voxels lie."""
    index = np.indices(shape) - np.array([n // 2 for n in shape])[:, None, None, None]
    r = np.einsum("a...,ab->b...", index, geometry["voxel"].values)
    inside = np.sqrt((r**2).sum(axis=0))
    soft = 1 / (1 + np.exp((inside - radius) / 4))
    axes = {
        d: (d, np.arange(n) - n // 2, {"points": int(whole)})
        for d, n, whole in zip(OBJECT, shape, geometry["n_points"].values, strict=True)
    }
    return xr.DataArray(soft.astype(np.complex64), dims=OBJECT, coords=axes), r


def axes_of(amplitude):
    coords = [amplitude[d].values for d in amplitude.dims]
    grid = np.array(np.meshgrid(*coords, indexing="ij")).reshape(3, -1)
    weight = amplitude.values.ravel() ** 2
    second = (grid * weight) @ grid.T / weight.sum()
    return np.sqrt(np.linalg.eigvalsh(second))


@pytest.mark.parametrize("frame", ["lab", "sample", "crystal"])
def test_a_sphere_is_a_sphere_in_the_laboratory(frame):
    geometry = scan54()
    ball, _ = sphere(geometry, (40, 64, 64), 110.0)
    lab = cdi.to_laboratory(ball, geometry=geometry, voxel_size=8.0, frame=frame)
    assert lab.dims == ("z", "y", "x")
    spread = axes_of(abs(lab))
    assert spread[2] / spread[0] == pytest.approx(1, abs=0.02)
    volumes = float(abs(lab).sum()) * 8.0**3, float(abs(ball).sum())
    skewed = volumes[1] * float(geometry["voxel_volume"])
    assert volumes[0] == pytest.approx(skewed, rel=0.01)


def test_a_place_keeps_its_place(no_compute):
    geometry = scan54()
    ball, r = sphere(geometry, (40, 64, 64), 110.0)
    field = abs(ball).copy(data=r[2].astype(np.float32)).chunk()
    with no_compute():
        lab = cdi.to_laboratory(field, geometry=geometry, shape=(9, 9, 9), order=1)
    np.testing.assert_allclose(lab.isel(y=4, x=4), lab["z"], atol=1e-3)
    assert float(lab["q_z"]) == pytest.approx(float(geometry["q"][2]))


def test_along_q_is_z_of_the_scattering_frame():
    geometry = scan54()
    ball, _ = sphere(geometry, (16, 16, 16), 30.0)
    lab = cdi.to_laboratory(ball, geometry=geometry, frame="crystal")
    length = float(geometry["q_length"])
    q = [float(lab[name]) for name in ("q_x", "q_y", "q_z")]
    np.testing.assert_allclose(q, (0, 0, length), atol=1e-9)


def test_nothing_of_the_outside_enters_a_field():
    geometry = scan54()
    ball, r = sphere(geometry, (40, 64, 64), 110.0)
    inside = abs(ball) > 0.5
    field = inside.copy(data=3 + 0.01 * r[0]).where(inside)
    fields = xr.Dataset({"phase": field, "support": inside})
    lab = cdi.to_laboratory(fields, geometry=geometry)
    same = (np.isfinite(lab["phase"]) == lab["support"]).mean()
    assert float(same) > 0.999
    expected = 3 + 0.01 * lab["x"] + 0 * lab["phase"]
    assert float(abs(lab["phase"] - expected).max()) < 0.15


def test_options_of_the_laboratory_are_checked():
    geometry = scan54()
    ball, _ = sphere(geometry, (16, 16, 16), 30.0)
    for option in (
        {"frame": "detector"},
        {"order": 7},
        {"voxel_size": 0},
        {"shape": (4, 4)},
        {"voxel_size": 1e-4},
    ):
        with pytest.raises(ArgumentError, match=next(iter(option)) + "|shape"):
            cdi.to_laboratory(ball, geometry=geometry, **option)


def test_a_box_round_the_support_keeps_its_place():
    geometry = scan54()
    ball, _ = sphere(geometry, (40, 64, 64), 60.0)
    away = ball.roll(along_y=9, along_rocking=-4)
    box = cdi.crop_to_support(away, margin=3)
    assert box.size < away.size / 4
    whole = cdi.to_laboratory(away, geometry=geometry, shape=(41, 41, 41), order=1)
    part = cdi.to_laboratory(box, geometry=geometry, shape=(41, 41, 41), order=1)
    np.testing.assert_allclose(abs(part), abs(whole), atol=0.02)
    shift = -4 * geometry["voxel"][0] + 9 * geometry["voxel"][1]
    weight = abs(cdi.to_laboratory(box, geometry=geometry)) ** 2
    for axis, dim in enumerate("xyz"):
        centre = float((weight * weight[dim]).sum() / weight.sum())
        assert centre == pytest.approx(float(shift[axis]), abs=1.0)
    with pytest.raises(DataError, match="empty"):
        cdi.crop_to_support(ball * 0)


def test_an_object_of_another_box_is_refused():
    """Another crop has other voxels: lengths and strain would be wrong by its ratio."""
    counts = volume((24, 30, 28))
    counts = counts.assign_coords(rocking=counts["rocking"] + 10.0)
    options = {
        "beamline": "34-id-c",
        "rocking": "Theta",
        "motors": {"Delta": 32.174, "Gamma": 12.6346, "Chi": 90.0, "Phi": -5.0},
        "energy": 9000,
        "distance": 500,
        "pixel_size": 55,
    }
    mine = cdi.geometry(counts, **options)
    axes = {
        d: (d, np.arange(n) - n // 2) for d, n in zip(OBJECT, counts.shape, strict=True)
    }
    values = np.ones(counts.shape, np.complex64)
    crystal = xr.DataArray(values, dims=OBJECT, coords=axes)
    cdi.to_laboratory(crystal, geometry=mine)
    # A part of it keeps its voxels.
    part = cdi.crop_to_support(crystal.where(abs(crystal.along_x) < 4, 0), margin=1)
    assert part.sizes["along_x"] == 9
    cdi.to_laboratory(part, geometry=mine)
    for cut in ({"rocking": slice(0, 20)}, {"detector_y": slice(4, 28)}):
        other = cdi.geometry(counts.isel(cut), **options)
        for one in (crystal, part):
            with pytest.raises(ArgumentError, match="points of the crystal"):
                cdi.to_laboratory(one, geometry=other)
    with pytest.raises(ArgumentError, match="points"):
        cdi.to_laboratory(
            crystal.isel(along_y=slice(2, 26)).drop_vars("along_y"), geometry=mine
        )
    # Of the same shape, but elsewhere.
    noted = crystal.copy()
    noted["along_y"].attrs = {"points": 30, "box_centre": 200.0}
    with pytest.raises(ArgumentError, match="box round"):
        cdi.to_laboratory(noted, geometry=mine)
