"""A series is phased together, and its domains are found in every state alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from batteryxr import cdi
from batteryxr.core.errors import (
    ArgumentError,
    ConvergenceError,
    DataError,
    DataQualityWarning,
    DimensionError,
)

N, STEP, Q = 32, 10.0, 3.0
VOLUME = ("rocking", "detector_y", "detector_x")
OBJECT = ("along_rocking", "along_y", "along_x")
PROGRESS = (0.0, 0.4, 1.0, 0.6)
DARK = 2  # the state in which a corner does not diffract
Z, Y, X = np.mgrid[:N, :N, :N] - N // 2
BODY = (abs(Z) < 8) & (abs(Y) < 7.5) & (abs(X) < 7) & (Y + Z < 11) & (X - Z < 12)
PATCHES = {  # sign of the displacement, centre, half axes
    1: (1.0, (-2.0, 1.0, 2.5), (5.0, 3.2, 2.6)),
    2: (-1.0, (3.0, -2.5, -3.0), (2.6, 3.0, 2.6)),
}


def patch(number):
    _, centre, axes = PATCHES[number]
    parts = zip((Z, Y, X), centre, axes, strict=True)
    return BODY & (sum(((a - c) / h) ** 2 for a, c, h in parts) < 1)


def moved(state):
    """Return the displacement (Angstrom) of a state: a wave, and the patches."""
    u = 0.05 * np.sin(Z / 6.0) * np.cos(Y / 7.0) + 1e-4 * STEP * state * X / 10
    for number, (sign, *_) in PATCHES.items():
        soft = ndimage.gaussian_filter(patch(number).astype(float), 0.6)
        u = u + 0.25 * sign * PROGRESS[state] * soft
    return u


def crystal(state, dark=DARK):
    body = BODY & ~((Z + Y + X > 11) & (state == dark))
    modulus = ndimage.gaussian_filter(body.astype(float), 0.5)
    return (modulus * np.exp(-1j * Q * moved(state))).astype(np.complex64)


def measured(photons=2e6):
    rng, states = np.random.default_rng(4), []
    for k in range(len(PROGRESS)):
        field = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(crystal(k))))
        mean = abs(field) ** 2
        states.append(rng.poisson(mean * photons / mean.sum()))
    axes = {d: (d, np.arange(N) - N // 2, {"units": "1"}) for d in VOLUME}
    voltage = ("state", [3.0, 3.4, 4.0, 3.6], {"units": "V"})
    return xr.DataArray(
        np.array(states, np.float32),
        dims=("state", *VOLUME),
        coords=axes | {"voltage": voltage},
    )


def frame():
    return xr.Dataset(
        {
            "voxel": (("axis", "vector"), STEP * np.eye(3)),
            "q": ("vector", [0.0, 0.0, Q]),
            "q_length": ((), Q),
        }
    )


@pytest.fixture(scope="module")
def series():
    return cdi.retrieve_states(
        measured(),
        schedule="80 HIO + 60 RAAR + 40 ER",
        n_starts=3,
        select=cdi.Selection(n_best=2),
        seed=1,
        progress=False,
    )


def test_every_state_is_near_its_truth(series):
    assert series["came_from"].values[1:].tolist() == [0, 1, 2]
    assert int(series["came_from"][0]) in (-1, 1)
    first = cdi.align(
        xr.DataArray(crystal(0), dims=OBJECT), reference=series["object"][0]
    )
    assert float(first["overlap"]) > 0.985
    for k in range(4):
        truth = xr.DataArray(crystal(k), dims=OBJECT)
        # All lie as the first does: no state is a twin, or stands elsewhere.
        laid = cdi.align(truth, reference=series["object"][k])
        assert float(laid["overlap"]) > 0.985
        assert bool(laid["twin"]) == bool(first["twin"])
        for dim in OBJECT:
            name = f"shift_{dim}"
            assert float(laid[name]) == pytest.approx(float(first[name]), abs=0.4)
    assert series["voltage"].values.tolist() == [3.0, 3.4, 4.0, 3.6]
    assert series["support"].dims == ("state", *OBJECT)
    dense = abs(series["object"].values)
    dense = dense > 0.2 * dense.max()
    assert (series["support"].values & dense).sum() > 0.95 * dense.sum()


def test_the_table_of_its_states(series):
    """Mean strain by the ramp that each state was given, within 2e-5."""
    table = cdi.phase_differences(series.drop_vars("support"), geometry=frame())
    twin = bool(
        cdi.align(xr.DataArray(crystal(0), dims=OBJECT), reference=series["object"][0])[
            "twin"
        ]
    )
    u = np.array([moved(k) - moved(0) for k in range(4)])
    places = np.c_[Z[BODY], Y[BODY], X[BODY], np.ones(BODY.sum())]
    slopes = [np.linalg.lstsq(places, one[BODY], rcond=None)[0][2] for one in u]
    exact = np.array(slopes) / (10 * STEP)
    # The twin has the same strain: mirrored and turned round.
    np.testing.assert_allclose(table["mean_strain"], exact, atol=2e-5)
    assert twin in (True, False)


def test_no_state_hides_the_domains_of_another(series):
    for states in (series.drop_vars("support"), cdi.fill_missing(series)):
        found = cdi.domains(
            cdi.phase_differences(states),
            edges="signed",
            geometry=frame(),
            n_domains=5,
            minimum=20,
        )
        assert found["n_found"].values.tolist() == [0, 2, 2, 2]
        assert (np.sort(found["level"].values[1:, :2], axis=1) == (0, 2)).all()
    tracked = cdi.track_domains(found)
    chain = tracked["chain"].values[1:, :2]
    level = found["level"].values[1:, :2]
    for number in (1, 2):
        assert len(set(level[chain == number])) == 1
    assert (tracked["event"].values[1, :2] == 1).all()  # both form
    assert not tracked["vanished"].values.any()


def test_what_is_asked_wrongly_is_refused():
    volume = measured()
    with pytest.raises(ArgumentError, match="reference"):
        cdi.retrieve_states(volume, reference=9)
    with pytest.raises(DimensionError, match="state"):
        cdi.retrieve_states(volume[0])


def test_another_crystal_among_the_states_is_told():
    volume = measured().isel(state=slice(0, 3))
    plate = (abs(Z) < 1.5) & (abs(Y) < 7) & (abs(X) < 7)
    mean = abs(np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(plate)))) ** 2
    volume[2] = np.round(mean * 2e6 / mean.sum())
    with pytest.warns(
        DataQualityWarning, match=r"has little in common .*\[2\] of \[3\]"
    ):
        cdi.retrieve_states(
            volume,
            schedule="30 HIO + 20 ER",
            n_starts=1,
            select=cdi.Selection(n_best=1),
            progress=False,
        )


def block(*patches, noise=0.02, seed=0):
    """Return a field on the block with patches (value, centre, half axes) in it."""
    rng = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(rng.standard_normal(BODY.shape), 0.8)
    values = 0.3 + noise * rough / rough.std()
    for value, centre, axes in patches:
        parts = zip((Z, Y, X), centre, axes, strict=True)
        values[sum(((a - c) / h) ** 2 for a, c, h in parts) < 1] += value
    axis = {d: (d, STEP * (np.arange(N) - N // 2), {"units": "nm"}) for d in "zyx"}
    field = xr.DataArray(np.where(BODY, values, np.nan), dims=tuple("zyx"), coords=axis)
    q = {"q_x": 0.0, "q_y": 0.0, "q_z": Q}
    return field.assign_coords(q).assign_attrs(units="rad", long_name="Phase")


LONG = (0.8, (0.0, 0.0, 0.0), (6.0, 2.4, 2.4))


def test_depth_and_tilt_have_errors():
    """Over ten draws of noise: the truth within three errors, near one on average."""
    pulls = []
    for seed in range(10):
        found = cdi.domains(block(LONG, seed=seed), edges="signed", n_domains=2)
        assert int(found["n_found"]) == 1
        one = found.isel(domain_number=0)
        assert float(one["level"]) == 2
        # From the middle to the nearest facet, x = 7.
        depth = (float(one["depth"]) - 6.5 * STEP) / float(one["depth_error"])
        tilt = float(one["tilt"]) / float(one["tilt_error"])
        size = float(one["size"]) - 4 / 3 * np.pi * 6 * 2.4**2 * STEP**3
        pulls += [depth, tilt, size / float(one["size_error"])]
    assert np.abs(pulls).max() < 3
    turned = block((0.8, (0.0, 0.0, 0.0), (2.4, 6.0, 2.4)))
    found = cdi.domains(turned, edges="signed", n_domains=2)
    assert float(found["tilt"][0]) == pytest.approx(90, abs=10)


def test_noise_alone_has_no_domains():
    for seed in range(10):
        found = cdi.domains(block(noise=0.1, seed=seed), edges="signed")
        assert int(found["n_found"]) == 0


def test_chains_go_over_a_state_without_and_tell_what_happens():
    two = [(0.8, (-4.0, 0, 0), (2.8, 2.6, 2.6)), (0.8, (4.0, 0, 0), (2.8, 2.6, 2.6))]
    grown = (0.8, (0.0, 0.0, 0.0), (7.5, 4.0, 4.0))
    low = (-0.8, (0.0, 5.0, 0.0), (3.0, 2.0, 3.0))
    states = [block(LONG), block(), block(grown), block(*two), block(low)]
    series = xr.concat(states, "state").assign_coords(state=np.arange(5))
    found = cdi.domains(series, edges="signed", n_domains=3)
    assert found["n_found"].values.tolist() == [1, 0, 1, 2, 1]
    steps = cdi.track_domains(found)
    assert steps["chain"].values[:, :2].tolist() == [
        [1, 0],
        [0, 0],
        [1, 0],
        [1, 2],
        [3, 0],
    ]
    assert steps["event"].values[[0, 2, 4], 0].tolist() == [1, 3, 1]
    assert steps["event"].values[3, :2].tolist() == [4, 5]
    assert steps["vanished"].values.tolist() == [0, 0, 0, 0, 2]
    assert "event" in cdi.track_domains(cdi.domains(series, edges=[0.7]))


def test_a_state_without_counts_is_named_before_the_others_are_phased():
    volume = measured()
    volume[2] = 0.0
    with pytest.raises(DataError, match="state 2 holds no counts"):
        cdi.retrieve_states(volume, schedule="9 ER", n_starts=1, progress=False)


def test_a_state_that_loses_its_support_starts_anew(monkeypatch):
    from batteryxr.cdi.bragg.several import series as module

    phased = module.retrieve_phases

    def failing(state, settings, *, start, progress):
        if start is not None and float(state["voltage"]) == 4.0:
            raise ConvergenceError("retrieve: all starts lost their support.")
        return phased(state, settings, start=start, progress=progress)

    monkeypatch.setattr(module, "retrieve_phases", failing)
    options = {"schedule": "20 HIO + 20 ER", "n_starts": 1, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        found = cdi.retrieve_states(measured(), **options)
    assert found["came_from"].values[2] == -1


def test_a_support_with_nan_outside_is_the_same_support():
    axes = {d: (d, np.arange(N) - N // 2, {"units": "1"}) for d in OBJECT}
    states = xr.DataArray(
        np.array([crystal(0), crystal(1)]), dims=("state", *OBJECT), coords=axes
    )
    body = xr.DataArray(BODY, dims=OBJECT, coords=axes)
    marked = body.where(body)
    for method in (cdi.phase_differences, cdi.fill_missing, cdi.unwrap):
        one, two = method(states, support=body), method(states, support=marked)
        xr.testing.assert_equal(one, two)


def two_states(labels=None):
    axes = {d: (d, np.arange(N) - N // 2, {"units": "1"}) for d in OBJECT}
    axes |= {"fourier_sign": -1} | ({} if labels is None else {"state": labels})
    fields = np.array([crystal(0), crystal(1)])
    return xr.DataArray(fields, dims=("state", *OBJECT), coords=axes)


def test_a_geometry_without_labels_goes_by_position():
    both = frame().assign(
        q=(("state", "vector"), [[0, 0, Q], [0, 0, 1.01 * Q]]),
        q_length=("state", [Q, 1.01 * Q]),
    )
    plain = cdi.phase_differences(two_states(), geometry=both)
    named = cdi.phase_differences(two_states([1, 0]), geometry=both)
    np.testing.assert_array_equal(named["mean_strain"], plain["mean_strain"])
    labelled = both.assign_coords(state=[0, 1])
    turned = cdi.phase_differences(two_states([1, 0]), geometry=labelled)
    assert float(turned["mean_strain"][1]) > 0 > float(plain["mean_strain"][1])


def test_a_state_of_nothing_has_no_strain_and_is_no_reference():
    states = two_states()
    states[1] = 0
    one = states.isel(state=[0, 0, 1])
    found = cdi.phase_differences(one, geometry=frame())
    assert np.isnan(found["mean_strain"][2])
    assert np.isfinite(found["mean_strain"][:2]).all()
    with pytest.raises(DataError, match="the reference, has no density"):
        cdi.phase_differences(one, reference=2, geometry=frame())
