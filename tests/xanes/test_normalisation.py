"""Normalisation and edge energies: Larch's numbers on measured standards."""

import json
import re
import warnings

import numpy as np
import pytest
import xarray as xr

from batteryxr import xanes
from batteryxr.core.errors import (
    ArgumentError,
    DataQualityWarning,
    DimensionError,
    VariableError,
)


@pytest.fixture(scope="module")
def known(answers):
    path = answers / "xas_standards_larch.json"
    return json.loads(path.read_text())["spectra"]


def test_automatic_ranges_equal_larch(known, standard):
    """All 51 files: E0 to the bit, edge steps to 1e-10."""
    for name, answer in known.items():
        result = xanes.normalise(standard(name.removesuffix(".xdi")))
        assert float(result.e0) == answer["default"]["e0"], name
        assert int(result.flag) == 0, name
        step = answer["default"]["edge_step"]
        assert float(result.edge_step) == pytest.approx(step, rel=1e-10), name


def test_given_ranges_equal_larch(known, standard):
    for name, answer in known.items():
        fixed = answer["fixed"]
        result = xanes.normalise(
            standard(name.removesuffix(".xdi")),
            e0=fixed["e0"],
            pre=(fixed["pre1"], fixed["pre2"]),
            post=(fixed["norm1"], fixed["norm2"]),
            degree=fixed["nnorm"],
        )
        got = {
            "edge_step": result.edge_step,
            "norm_sum": result.normalised.sum(),
            "flat_last": result.flattened[-1],
            "half_jump_energy": _edge(result).edge_energy,
        }
        for key, value in got.items():
            assert float(value) == pytest.approx(fixed[key], rel=1e-10), (name, key)


def _edge(result, **kwargs):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        return xanes.edge_energy(result, **kwargs)


@pytest.mark.parametrize(
    "name, half, derivative",
    [("VO", 0, 0), ("V2O3", 0, 0), ("VO2", 0, 1), ("V2O5", 1, 1)],
)
def test_warns_on_the_pre_edge(standard, recwarn, name, half, derivative):
    normal = xanes.normalise(standard(f"V/{name}"))
    for method, expected in (("half_jump", half), ("derivative", derivative)):
        recwarn.clear()
        edge = xanes.edge_energy(normal, method=method)
        assert bool(int(edge.flag) & 2) is bool(expected)
        assert len(recwarn) == expected
        if expected:
            assert "pre-edge peak" in str(recwarn[0].message)
            assert recwarn[0].filename == __file__
        above = xanes.edge_energy(normal, method=method, window=(5474, 5500))
        assert int(above.flag) == 0
        assert float(above.edge_energy) > 5473.9


def test_half_jump_by_hand(spectrum):
    y = [0, 0, 0.2, 0.6, 1.0, 1.1, 1.0]
    y = spectrum(np.arange(7.0) + 5000, y, "normalised")
    edge = xanes.edge_energy(y)
    assert float(edge.edge_energy) == pytest.approx(5002.75)
    at_02 = xanes.edge_energy(
        spectrum(np.arange(7.0) + 5000, y, "normalised"), fraction=0.8
    )
    assert float(at_02.edge_energy) == pytest.approx(5003.5)


def test_white_line_is_a_parabola(spectrum):
    e = np.array([5000.0, 5001, 5002.5, 5003, 5005, 5006])
    line = xanes.edge_energy(
        spectrum(e, 2 - 0.1 * (e - 5002.8) ** 2, "normalised"), method="white_line"
    )
    assert float(line.edge_energy) == pytest.approx(5002.8)
    assert float(line.white_line_height) == pytest.approx(2.0)


def test_fitted_edge(standard):
    normal = xanes.normalise(standard("V/VO2"), e0=5480.0)
    edge = xanes.edge_energy(
        normal,
        method="fit",
        window=(5420, 5540),
        edge=(5470, 5488),
        peaks=[(5463, 5474), (5482, 5505)],
    )
    assert float(edge.edge_energy) == pytest.approx(5481.7, abs=0.5)
    # Another place of the edge misfits as little: told, and the error reaches there.
    assert int(edge.flag) == 16
    assert 0 < float(edge.edge_energy_error) < 10


def test_victoreen_and_curves(standard):
    mu = standard("V/V2O3")
    result = xanes.normalise(mu, e0=5480.0, victoreen=3, curves=True)
    rebuilt = result.pre_edge + result.normalised * result.edge_step
    np.testing.assert_allclose(rebuilt, mu, atol=1e-12)
    gap = (result.post_edge - result.pre_edge).sel(energy=5480, method="nearest")
    assert float(gap) == pytest.approx(float(result.edge_step))
    # The line times E³ is straight.
    line = (result.pre_edge * result.energy**3).values
    x = mu.energy.values - 5480
    np.testing.assert_allclose(line, np.polyval(np.polyfit(x, line, 1), x), rtol=1e-9)


def test_stack_equals_spectra_and_chunks_change_nothing(phantom, no_compute):
    stack, _ = phantom(n=24)
    stack = stack.where(~((stack.energy == 5440) & (stack.x > 200)))
    for e0 in (5478.0, None):
        eager = xanes.normalise(stack, e0=e0)
        with no_compute():
            lazy = xanes.normalise(stack.chunk(y=5, x=9), e0=e0)
            edge = xanes.edge_energy(lazy)
        xr.testing.assert_allclose(
            eager.drop_attrs(), lazy.drop_attrs().compute(), rtol=1e-9
        )
        assert edge.edge_energy.chunks
        for y, x in ((12, 12), (10, 20)):
            one = xanes.normalise(stack.isel(y=y, x=x), e0=e0)
            np.testing.assert_allclose(
                one.flattened, eager.flattened[:, y, x], rtol=1e-9
            )
    assert eager.flattened.dims == ("energy", "y", "x")
    assert eager.y.attrs["units"] == "nm"


def test_bad_spectra_are_flagged(phantom):
    stack, _ = phantom(n=16)
    stack[:, 0, 0] = np.nan
    stack[:, 0, 1] = 0.0
    stack[:, 0, 2] = -stack[:, 8, 8]
    result = xanes.normalise(stack, e0=5478.0)
    assert result.flag.values[0, :3].tolist() == [1, 2, 4]
    assert result.normalised[:, 0, :2].isnull().all()
    assert float(result.edge_step[0, 2]) > 0


def test_messages(spectrum, phantom):
    stack, _ = phantom(n=8)
    with pytest.raises(ArgumentError, match=r"e0=6000\.0"):
        xanes.normalise(stack, e0=6000.0)
    with pytest.raises(ArgumentError, match="degree=7"):
        xanes.normalise(stack, degree=7)
    with pytest.raises(ArgumentError, match="method='erf'"):
        xanes.edge_energy(stack, method="erf")
    with pytest.raises(ArgumentError, match="window"):
        xanes.edge_energy(stack.rename("normalised"), window=(1, 2))
    with pytest.raises(ArgumentError, match="edge="):
        xanes.edge_energy(stack.rename("normalised"), method="fit")
    with pytest.raises(VariableError, match="normalise"):
        xanes.edge_energy(stack)
    twice = spectrum(np.array([1.0, 2, 2, 3, 4]) + 5000, np.zeros(5))
    with pytest.raises(DimensionError, match="at index 2"):
        xanes.normalise(twice)
    with pytest.raises(DimensionError, match="assign_coords"):
        xanes.normalise(stack.drop_vars("energy"))


@pytest.fixture(scope="module")
def operando(measured):
    """All 458 measured spectra of LiNiO2, by file name."""
    rows = {
        path.name: np.loadtxt(path, usecols=(0, 1), encoding="latin-1")
        for path in measured("lno-operando/xas").glob("norm_*.txt")
    }
    names = sorted(rows)
    energy = rows[names[0]][:, 0]
    return xr.DataArray(
        np.array([rows[name][:, 1] for name in names]),
        dims=("scan", "energy"),
        coords={
            "energy": ("energy", energy, {"units": "eV", "long_name": "E"}),
            "scan": names,
        },
        attrs={"units": "1", "long_name": "Normalised absorption"},
    )


def test_operando_half_jump(operando):
    """At one place of the cell, the Ni edge rises on charge and returns."""
    here = [bool(re.match("norm_op[23]_cell4_pos1", n)) for n in operando.scan.values]
    edge = xanes.edge_energy(operando[here])
    assert (edge.flag == 0).all()
    path = edge.edge_energy.values
    for value, expected in (
        (path[0], 8344.76),
        (path.max(), 8346.20),
        (path[-1], 8345.07),
    ):
        assert value == pytest.approx(expected, abs=0.02)


def test_operando_components(operando):
    assert operando.sizes["scan"] == 458
    found = xanes.pca(operando, n_components=2, window=(8320, 8420))
    shares = found.explained_variance_ratio.values[:2]
    np.testing.assert_allclose(shares, [0.976, 0.022], atol=0.001)
    edge = xanes.edge_energy(operando).edge_energy
    assert abs(float(xr.corr(found.scores[0], edge))) > 0.99


@pytest.mark.parametrize(
    ("limits", "mend"),
    [
        ({"pre": (-0.1, -0.03)}, r"keV.*-100\.0, -30\.0"),
        ({"post": (0.05, 0.2)}, r"keV.*50\.0, 200\.0"),
        ({"post": (0.05, None)}, r"keV.*50\.0, None"),
        ({"pre": (8200.0, 8300.0)}, r"absolute.*-133\.0, -33\.0"),
    ],
)
def test_ranges_in_other_units_are_refused(limits, mend):
    energy = np.arange(8180.0, 8700.0, 0.5)
    values = np.arctan(energy - 8333.0)
    coords = {"energy": ("energy", energy, {"units": "eV"})}
    spectrum = xr.DataArray(values, dims="energy", coords=coords)
    with pytest.raises(ArgumentError, match=mend):
        spectrum.xanes.normalise(e0=8333.0, **limits)
    spectrum.xanes.normalise(e0=8333.0, pre=(-150, -30), post=(0.5, 900))


E8300 = np.arange(8200.0, 8800.0, 1.0)


def _edge_at_8345(energy=E8300, width=3.0):
    from scipy.special import erf

    return 0.3 - 2e-4 * (energy - 8345) + 0.5 * (1 + erf((energy - 8345) / width))


@pytest.mark.parametrize(
    "flag, options",
    [
        (8, {"pre": (-300, -200)}),
        (8, {"post": (600, 900)}),
        (8, {"post": (100, 100.5)}),
        (16, {"pre": (-30, 30)}),
        (16, {"pre": (-60, -1)}),
        (16, {"post": (-20, 300)}),
    ],
)
def test_ranges_that_cannot_be_meant_are_flagged(spectrum, recwarn, flag, options):
    mu = spectrum(E8300, _edge_at_8345())
    result = xanes.normalise(mu, e0=8345.0, **options)
    assert int(result.flag) & 56 == flag
    assert "DataQualityWarning" in [w.category.__name__ for w in recwarn]
    assert recwarn[0].filename == __file__


def test_exchanged_ends_are_told(spectrum):
    mu = spectrum(E8300, _edge_at_8345())
    with pytest.warns(DataQualityWarning, match="higher end first"):
        result = xanes.normalise(mu, e0=8345.0, pre=(-30, -100))
    right = xanes.normalise(mu, e0=8345.0, pre=(-100, -30))
    assert float(result.edge_step) == float(right.edge_step)


@pytest.mark.parametrize("height, points", [(3.0, 1), (-2.0, 1), (-2.0, 2), (3.0, 2)])
def test_an_edge_that_is_a_glitch_is_flagged(spectrum, height, points):
    rows = np.tile(_edge_at_8345(), (29, 1))
    for row, place in enumerate(range(60, 580, 18)):
        rows[row, place : place + points] += height
    noise = 0.003 * np.random.default_rng(0).standard_normal(rows.shape)
    data = spectrum(E8300, rows[0]).expand_dims(scan=29).copy(data=rows + noise)
    with pytest.warns(DataQualityWarning, match="stands out"):
        result = xanes.normalise(data)
    off, flagged = np.abs(result.e0 - 8345), (result.flag & 32) > 0
    assert int((off > 8).sum()) >= 18
    assert flagged.where(off > 8, True).all()
    assert not flagged.where(off < 3, False).any()


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.3])
def test_white_lines_in_noise_flag_themselves(spectrum, noise):
    energy = np.arange(6500, 6640, 0.5)
    from scipy.special import erf

    line = 0.5 / (1 + ((energy - 6552) / 2.5) ** 2)
    clean = 0.5 * (1 + erf((energy - 6546) / 2.5)) + line
    rng = np.random.default_rng(0)
    rows = clean + noise * rng.standard_normal((1000, energy.size))
    data = spectrum(energy, clean, "normalised").expand_dims(scan=1000)
    with pytest.warns(DataQualityWarning, match="white line within noise"):
        found = xanes.edge_energy(data.copy(data=rows), method="white_line")
    off = np.abs(found.edge_energy - energy[clean.argmax()]) > 2
    assert int((off & (found.flag == 0)).sum()) <= 10
    quiet = xanes.edge_energy(data[0].copy(data=clean), method="white_line")
    assert int(quiet.flag) == 0


@pytest.mark.parametrize("method", ["half_jump", "derivative"])
def test_an_edge_energy_in_a_gap_is_flagged(method):
    whole = _edge_at_8345(width=8.0)
    gap = np.where(abs(E8300 - 8345) < 5, np.nan, whole)
    some = np.where(abs(E8300 - 8400) < 5, np.nan, whole)
    rows = xr.DataArray(
        [whole, gap, some],
        dims=("scan", "energy"),
        coords={"energy": ("energy", E8300, {"units": "eV"})},
        name="normalised",
        attrs={"units": "1"},
    )
    with pytest.warns(DataQualityWarning, match=r"1 of 3 .* are missing"):
        found = xanes.edge_energy(rows, method=method, window=(8330, 8360))
    np.testing.assert_array_equal(found.flag.values & 8, [0, 8, 0])
    with pytest.warns(DataQualityWarning, match="rise in 1 of 3 spectra lies where"):
        normal = xanes.normalise(rows.rename("absorption"))
    np.testing.assert_array_equal(normal.flag.values, [0, 128, 0])


def test_spectra_that_fall_at_the_edge_are_told(spectrum):
    fallen = spectrum(E8300, 1 - _edge_at_8345())
    with pytest.warns(DataQualityWarning, match=r"fall at the edge.*optical_density"):
        assert int(xanes.normalise(fallen).flag) & 4


@pytest.mark.filterwarnings("ignore:normalise")
def test_what_normalise_flagged_stays_flagged(spectrum):
    y = _edge_at_8345()
    y[40] += 3
    broken = xanes.normalise(spectrum(E8300, y))
    assert int(broken.xanes.edge_energy().flag) & 16
    sound = xanes.normalise(spectrum(E8300, _edge_at_8345()))
    assert int(sound.xanes.edge_energy().flag) == 0


@pytest.mark.filterwarnings("ignore:normalise")
def test_noise_of_few_points_below_the_edge_is_no_unevenness(spectrum):
    """A map has a handful of energies there; 2 % of its pixels were flagged."""
    x = np.r_[8260:8320:8, 8320:8380:2, 8380:8500:12].astype(float)
    y = 0.5 + np.arctan((x - 8340) / 1.5) / np.pi
    noisy = y + 0.1 * np.random.default_rng(0).standard_normal((2000, x.size))
    pixels = spectrum(x, y).expand_dims(pixel=2000).copy(data=noisy)
    flag = xanes.normalise(pixels, e0=8340.0)["flag"]
    assert float(((flag & (16 | 64)) > 0).mean()) < 4e-3


@pytest.mark.parametrize(
    ("where", "by"), [(E8300 < 8230, 2.0), (E8300 > 8500, 1.5), (E8300 > 8600, -1.5)]
)
def test_a_jump_in_a_range_is_flagged(spectrum, where, by):
    rng = np.random.default_rng(0)
    sound = _edge_at_8345()
    assert int(xanes.normalise(spectrum(E8300, sound)).flag) == 0
    noisy = sound + 0.1 * rng.standard_normal(sound.size)
    assert not int(xanes.normalise(spectrum(E8300, noisy), e0=8345).flag) & 64
    with pytest.warns(DataQualityWarning, match="range_uneven"):
        found = xanes.normalise(spectrum(E8300, sound + by * where))
    assert int(found.flag) & 64


@pytest.mark.parametrize("e0", [None, 8345.0])
@pytest.mark.parametrize(
    "options",
    [{}, {"victoreen": 2, "degree": 3}, {"pre": (-30, 2), "post": (20, 90)}],
)
def test_spectra_with_gaps_are_as_if_the_energies_were_not_measured(e0, options):
    rng = np.random.default_rng(0)
    centre = 8345 + rng.uniform(-2, 2, (30, 1))
    values = 0.1 + 1e-4 * (E8300 - 8300) + 1 / (1 + np.exp(-(E8300 - centre) / 2))
    values += rng.choice([0.002, 0.05], (30, 1)) * rng.normal(size=values.shape)
    values[rng.random(values.shape) < 0.03] = np.nan
    spectra = xr.DataArray(
        values, {"energy": ("energy", E8300, {"units": "eV"})}, ("scan", "energy")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = xanes.normalise(spectra, e0=e0, **options)
        for one, row in zip(spectra, together.groupby("scan"), strict=True):
            measured = one[np.isfinite(one.values)]
            alone = xanes.normalise(measured, e0=e0, **options)
            own = row[1].squeeze("scan").sel(energy=measured.energy)
            assert float(own.e0) == float(alone.e0)
            # Whether a value is missing at the edge is seen on all energies alone.
            assert int(own.flag) & ~128 == int(alone.flag)
            for name in ("edge_step", "normalised", "flattened"):
                np.testing.assert_allclose(own[name], alone[name], atol=1e-9)
