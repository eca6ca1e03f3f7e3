"""Structures times ratios: what a solid solution and a metal are, all scans at once."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from batteryxr import nmf, simulate
from batteryxr.core.crystals import Crystal, lattice
from batteryxr.core.errors import (
    ArgumentError,
    DataError,
    DataQualityWarning,
    DimensionError,
    LabelsError,
)
from batteryxr.core.kernels.pair_distribution import PairDistribution

R = 1.5 + 0.05 * np.arange(211)
INSTRUMENT = nmf.PdfInstrument()
SCANS = 14
T = np.linspace(0.0, 1.0, SCANS)
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
#: The truth: lithium takes the place of iron in a rock salt, and iron leaves it.
LITHIUM = 0.1 + 0.4 * T
EDGE = 4.26 - 0.08 * T
SHARE = np.clip(1.1 - T, 0.0, 1.0)


def pair_sums(
    edge: float, sites: np.ndarray, b: np.ndarray, u: float, d: float, wider=None
):
    """G(r) of a cubic crystal by brute force: each pair a Gaussian, one by one.

    `wider` tells by how much the square of its width is more, at each distance.
    """
    n = int(np.ceil((R[-1] + 1.5) / edge)) + 1
    moves = np.array(list(itertools.product(range(-n, n + 1), repeat=3)))
    g = np.zeros(R.size)
    for i, j in itertools.product(range(len(sites)), repeat=2):
        far = edge * np.linalg.norm(moves + sites[j] - sites[i], axis=1)
        shells, count = np.unique(
            np.round(far[far < R[-1] + 1.5], 9), return_counts=True
        )
        for shell, many in zip(shells[shells > 0], count[shells > 0], strict=True):
            w = 4 * u * (1 if wider is None else wider(shell))
            g += b[i] * b[j] * many * np.exp(-((R - shell) ** 2) / w) / np.sqrt(w)
    g /= np.sqrt(np.pi)
    return g, R / d


def pattern(edge, sites, electrons, taken, u, d) -> np.ndarray:
    b = electrons * taken
    g, t = pair_sums(edge, sites, b, u, d)
    atoms = taken.sum()
    g = g / (R * atoms * (b.sum() / atoms) ** 2) - 4 * np.pi * R * atoms / edge**3
    return g * np.where(t < 1, 1 - 1.5 * t + 0.5 * t**3, 0.0)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    salt_sites = np.vstack([FCC, FCC + np.array([0.5, 0, 0])]) % 1
    bcc = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    iron = pattern(2.866, bcc, np.full(2, 26.0), np.ones(2), 0.005, 25.0)
    rows = []
    for x, a, share in zip(LITHIUM, EDGE, SHARE, strict=True):
        # Mean electrons of the shared site, which is full.
        cation = 3 * x + 26 * (1 - x)
        b = np.array([cation] * 4 + [8.0] * 4)
        salt = pattern(a, salt_sites, b, np.ones(8), 0.007, 40.0)
        rows.append(share * salt + (1 - share) * iron)
    return np.array(rows)


def series(clean: np.ndarray, noise: float, seed: int = 0) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    return xr.DataArray(
        1.7 * clean + rng.normal(0, noise * 1.7 * clean.std(), clean.shape),
        dims=("scan", "r"),
        coords={
            "r": ("r", R, {"units": "Angstrom"}),
            "li_content": ("scan", 3 * T[: len(clean)], {"units": "1"}),
        },
        attrs={"units": "1/Angstrom2"},
        name="pdf",
    )


def candidates() -> dict[str, Crystal]:
    """What a user has: the salt of another composition, and another lattice."""
    sites = np.vstack([FCC, FCC, FCC + np.array([0.5, 0, 0])]) % 1
    taken = np.repeat([0.5, 0.5, 1.0], 4)
    salt = Crystal(
        "salt", lattice(4.19), ("Li",) * 4 + ("Fe",) * 4 + ("O",) * 4, sites, taken
    )
    bcc = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    iron = Crystal("iron", lattice(2.88), ("Fe", "Fe"), bcc, np.ones(2))
    return {"salt": salt, "iron": iron}


def fitted(data: xr.DataArray, **options) -> xr.Dataset:
    return data.nmf.fit_structures(
        candidates=candidates(),
        occupancy={"salt": "Fe"},
        instrument=INSTRUMENT,
        **options,
    )


def test_ratios_lattice_size_and_composition_come_back(clean):
    found = fitted(series(clean, 0.02))
    salt, iron = (found.sel(component=name) for name in ("salt", "iron"))
    here = SHARE > 0.2
    assert np.abs(salt["weights"] - SHARE).mean() < 0.003
    assert np.abs(salt["lattice"] - EDGE)[here].max() < 0.003
    assert np.abs(salt["occupancy"] - (1 - LITHIUM))[here].mean() < 0.01
    assert float(abs(salt["u_iso"] - 0.007)) < 3 * float(salt["u_iso_error"])
    assert np.abs(iron["diameter"] - 25.0)[~here].max() < 2.0
    assert not found["at_bound"].any()
    np.testing.assert_allclose(found["weights"].sum("component"), 1.0)
    rest = series(clean, 0.02) - found["fitted"]
    np.testing.assert_allclose(found["residual"], np.sqrt((rest**2).mean("r")))


def test_errors_cover_the_truth(clean):
    far = []
    for seed in range(4):
        found = fitted(series(clean, 0.05, seed))
        salt = found.sel(component="salt")
        for name, truth in (
            ("weights", SHARE),
            ("lattice", EDGE),
            ("occupancy", 1 - LITHIUM),
        ):
            z = (salt[name] - truth) / salt[f"{name}_error"]
            far.append(z.values[1:-3])
    z = np.abs(np.array(far))
    assert (z < 2.0).mean() >= 0.85
    assert 0.5 <= (z < 1.0).mean() <= 0.9


def test_moles_follow_from_structures(clean):
    found = fitted(series(clean, 0.0), degree=1)
    scan = found.isel(scan=[0])
    x = float(1 - scan["occupancy"].sel(component="salt")[0])
    moles = scan.nmf.amounts(formula={"salt": f"Li{x:.4f}Fe{1 - x:.4f}O", "iron": "Fe"})
    assert float(moles["mole_fraction"].sel(component="salt")[0]) > 0.99


def test_a_total_that_varies_is_no_ratio(clean):
    level = 1 + 0.3 * np.cos(np.arange(SCANS))
    data = series(clean, 0.01) * level[:, None]
    found = fitted(data.assign_attrs(units="1/Angstrom2"), closure=False)
    total = found["weights"].sum("component")
    np.testing.assert_allclose(total, 1.7 * level, rtol=0.02)
    assert found.attrs["closure"] == 0


def test_what_cannot_be_is_named(clean):
    data = series(clean, 0.02)
    with pytest.raises(ArgumentError, match="names among"):
        nmf.fit_structures(
            data,
            candidates=candidates(),
            occupancy={"salz": "Fe"},
            instrument=INSTRUMENT,
        )
    with pytest.raises(DataError, match="1 patterns without gaps"):
        fitted(data[:1])
    iron = {"iron": candidates()["iron"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="the structures leave")
        with pytest.raises(DataQualityWarning, match="a phase is missing"):
            nmf.fit_structures(data[:6], candidates=iron, instrument=INSTRUMENT)


def test_a_phase_that_was_left_out_is_told(clean):
    """A twentieth of iron on average, and noise as strong."""
    some = np.linspace(0.0, 0.1, SCANS)[:, None]
    data = series(clean[0] + some * (clean[-1] - clean[0]), 0.05)
    salt = {"salt": candidates()["salt"]}
    with pytest.warns(DataQualityWarning, match="much of it one pattern"):
        nmf.fit_structures(
            data, candidates=salt, occupancy={"salt": "Fe"}, instrument=INSTRUMENT
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(data)


def test_noise_is_not_a_phase_that_is_missing_however_strong(clean):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fitted(series(clean, 0.2))
    assert float(found["r_w"].median()) > 0.15
    assert not found["flag"].any()
    some = np.linspace(0.0, 0.2, SCANS)[:, None]
    data = series(clean[0] + some * (clean[-1] - clean[0]), 0.2)
    salt = {"salt": candidates()["salt"]}
    with pytest.warns(DataQualityWarning, match="a phase is missing"):
        found = nmf.fit_structures(
            data, candidates=salt, occupancy={"salt": "Fe"}, instrument=INSTRUMENT
        )
    assert (found["flag"] == 6).any()


def test_a_scan_without_data_has_no_ratio(clean):
    data = series(clean, 0.02)
    data[3] = np.nan
    found = fitted(data)
    assert np.isnan(found["weights"][3]).all()
    assert np.abs(found["weights"].sel(component="salt") - SHARE).mean() < 0.005


def test_a_scan_without_beam_moves_no_other(clean):
    data = series(clean, 0.02)
    noise = np.random.default_rng(9).normal(0, 0.02 * float(data.std()), R.size)
    data[4] = noise
    with pytest.warns(DataQualityWarning, match="no beam.*: 4"):
        found = fitted(data)
    assert np.isnan(found["weights"][4]).all()
    far = np.abs(found["weights"].sel(component="salt") - SHARE)
    assert float(far.mean()) < 0.005
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(data, closure=False)


def test_an_axis_that_is_not_the_series_is_told(clean):
    data = series(clean, 0.02)
    with pytest.raises(DimensionError, match="found 'component'"):
        fitted(data.rename(scan="component"))
    gap = data["li_content"].where(np.arange(SCANS) != 3)
    with pytest.warns(DataQualityWarning, match="li_content is not known at 1 of 14"):
        fitted(data.assign_coords(li_content=gap))


@pytest.mark.parametrize("unit", [1e-24, 1e20])
def test_any_unit_of_the_data_gives_the_same_structures(clean, unit):
    data = series(clean, 0.02)
    wanted = fitted(data)
    found = fitted((unit * data).astype(np.float32).assign_attrs(data.attrs))
    for name in ("weights", "weights_error", "lattice", "occupancy", "r_w"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-2, atol=1e-5)
    np.testing.assert_allclose(found["residual"], unit * wanted["residual"], rtol=1e-3)


def test_two_rock_salts_are_not_taken_for_one_another():
    """Of a simulator with a calculation of its own; lattices as a table has them."""
    experiment = simulate.cell_experiment(kind="pdf", seed=3, n_cycles=1, n_scans=10)
    truth = experiment["truth"]["ratios"].values
    data = experiment["scans"]["pdf"].isel(r=slice(None, None, 2))
    salt = candidates()["salt"]
    oxide = Crystal(
        "FeO", lattice(4.31), ("Fe",) * 4 + ("O",) * 4, salt.sites[4:], np.ones(8)
    )
    found = nmf.fit_structures(
        data,
        candidates={"FeO": oxide} | candidates(),
        occupancy={"salt": "Fe"},
        degree=0,
        r_range=(1.5, 15.0),
        instrument=nmf.PdfInstrument(q_max=24.0, q_damp=0.02),
    )
    np.testing.assert_allclose(found["weights"], truth, atol=0.01)
    edges = found["lattice"].isel(scan=0).values
    np.testing.assert_allclose(edges, [4.30, 4.17, 2.866], atol=0.002)
    assert float(found["diameter"].isel(scan=0)[2]) == pytest.approx(22.0, abs=0.5)


def test_two_salts_of_one_kind_may_have_each_others_names():
    """Nothing tells them apart where candidates are the same but for their names."""
    sites = np.vstack([FCC, FCC + np.array([0.5, 0, 0])]) % 1
    shapes = [
        pattern(a, sites, np.repeat([26 - 23 * x, 8.0], 4), np.ones(8), 0.007, 40.0)
        for a, x in ((4.13, 0.5), (4.19, 0.25))
    ]
    data = series(np.array([(1 - t) * shapes[0] + t * shapes[1] for t in T]), 0.01)
    salt = candidates()["salt"]
    with pytest.warns(DataQualityWarning, match="these names may be exchanged"):
        found = data[::4, :130].nmf.fit_structures(
            candidates={"one": salt, "other": salt},
            occupancy={"one": "Fe", "other": "Fe"},
            degree=0,
            instrument=INSTRUMENT,
        )
    np.testing.assert_allclose(sorted(found["occupancy"][0]), [0.5, 0.75], atol=0.02)


BCC = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


def metals(edges: list[float], share: np.ndarray) -> xr.DataArray:
    """Return two metals, one of changing lattice beside iron, on few points."""
    iron = pattern(2.866, BCC, np.full(2, 26.0), np.ones(2), 0.005, 40.0)
    rows = [
        w * pattern(a, BCC, np.full(2, 26.0), np.ones(2), 0.007, 40.0) + (1 - w) * iron
        for a, w in zip(edges, share, strict=True)
    ]
    some = series(np.array(rows), 0.01)[:, :120:2]
    return some.drop_vars("li_content")


def of_metals(data: xr.DataArray, *lattices: float, **options) -> xr.Dataset:
    two = {
        name: Crystal(name, lattice(a), ("Fe", "Fe"), BCC, np.ones(2))
        for name, a in zip(("alloy", "iron"), lattices, strict=True)
    }
    return data.nmf.fit_structures(candidates=two, instrument=INSTRUMENT, **options)


def test_a_lattice_that_crosses_another_keeps_its_name_or_says_so():
    share = np.linspace(0.9, 0.1, 6)
    data = metals(list(np.linspace(2.82, 2.93, share.size)), share)
    with pytest.warns(DataQualityWarning, match="alloy and iron fit as well under one"):
        found = of_metals(data, 2.878, 2.866)
    np.testing.assert_allclose(
        found["weights"].sel(component="alloy"), share, atol=0.03
    )
    assert not found["undetermined"].any()
    assert not found["flag"].any()


def test_two_candidates_for_one_phase_have_no_ratio():
    data = metals([2.866] * 6, np.zeros(6))
    with pytest.warns(DataQualityWarning, match="the ratio between them is not determ"):
        found = of_metals(data, 2.866, 2.866, degree=0)
    assert found["undetermined"].all()
    assert (found["weights_error"] >= 0.49).all()


def test_misfit_beyond_the_noise_is_said_and_flagged():
    """The lattice goes by a bend that a straight line does not follow."""
    edges = 2.87 + 0.04 * np.abs(np.linspace(-1, 1, 12))
    data = metals(list(edges), np.ones(12))
    with pytest.warns(DataQualityWarning, match="times the noise of the series"):
        found = of_metals(data, 2.87, 2.80, strain=0.01)
    assert (found["flag"] == 6).mean() > 0.3
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the structures leave")
        of_metals(metals([2.87] * 6, np.ones(6)), 2.87, 2.80, degree=0, strain=0.01)


@pytest.mark.parametrize(
    ("delta1", "delta2", "q_broad"), [(0.9, 0, 0), (0, 2.5, 0), (0.3, 1.0, 0.04)]
)
def test_widths_change_with_distance_as_in_pdfgui(delta1, delta2, q_broad):
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    g, _ = pair_sums(
        2.866,
        sites,
        np.ones(2),
        0.006,
        np.inf,
        lambda r: 1 - delta1 / r - delta2 / r**2 + (q_broad * r) ** 2,
    )
    g = g / (2 * R) - 4 * np.pi * R * 2 / 2.866**3
    iron = Crystal("Fe", lattice(2.866), ("Fe", "Fe"), sites, np.ones(2))
    found = PairDistribution(
        replace(iron, delta1=delta1, delta2=delta2),
        R,
        instrument=nmf.PdfInstrument(q_broad=q_broad),
    )(u_iso=0.006)
    np.testing.assert_allclose(found, g, atol=3e-3 * np.abs(g).max())


def test_two_signals_of_the_same_scans_share_their_ratios():
    """Each alone leaves its ratios open at one end; together they are closed."""
    rng = np.random.default_rng(5)
    share = np.linspace(0.0, 1.0, 20)
    truth = np.stack([share, 1 - share], axis=1)
    energy, q = np.linspace(0, 10, 80), np.linspace(1, 4, 60)
    # In either signal one component has nothing where the other is alone.
    one = np.stack([np.exp(-((energy - 3) ** 2)), np.exp(-((energy - 3) ** 2))])
    one[1] += np.exp(-((energy - 7) ** 2))
    two = np.stack([np.exp(-((q - 2) ** 2) / 0.1), np.exp(-((q - 2) ** 2) / 0.1)])
    two[0] += np.exp(-((q - 3.3) ** 2) / 0.1)
    sets = {}
    for name, dim, axis, pure, size in (
        ("spectra", "energy", energy, one, 1.0),
        ("patterns", "q", q, two, 1e4),
    ):
        clean = size * (truth @ pure)
        sets[name] = xr.DataArray(
            clean + rng.normal(0, 1e-3 * size, clean.shape),
            dims=("scan", dim),
            coords={dim: axis, "scan": np.arange(20)},
            attrs={"units": "counts" if size > 1 else "1"},
        )

    def off(fit: xr.Dataset) -> float:
        found = fit["weights"].values
        return min(np.abs(found - w).mean() for w in (truth, truth[:, ::-1]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = [float(nmf.fit(data, 2)["range_width"]) for data in sets.values()]
        both = nmf.fit(sets, 2)
    assert off(both) < 0.01
    assert float(both["range_width"]) < 0.02 < 0.1 < min(alone)
    spectra = both["components"].where(both["run"] == "spectra", drop=True)
    assert spectra["energy"].values.tolist() == energy.tolist()
    level = float(both["level"][-1])
    assert level == pytest.approx(float(np.sqrt((sets["patterns"] ** 2).mean())))
    late = sets["patterns"].assign_coords(scan=np.arange(5, 25))
    with pytest.raises(LabelsError):
        nmf.join({"a": sets["spectra"], "b": late})


def test_one_infinite_value_leaves_its_signal_in_place():
    """The logarithm of no counts is a gap, as everywhere."""
    rng = np.random.default_rng(4)
    axes = {"energy": np.arange(40.0), "q": np.arange(30.0)}
    sets = {
        dim: xr.DataArray(rng.random((6, x.size)), dims=("scan", dim), coords={dim: x})
        for dim, x in axes.items()
    }
    whole = nmf.join(sets)
    sets["energy"][2, 3] = np.inf
    found = nmf.join(sets)
    level = found["level"].values
    assert np.isfinite(level).all()
    np.testing.assert_allclose(level, whole["level"], rtol=0.02)
    assert float(np.abs(found.where(np.isfinite(found))).min()) > 0.0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("cell", np.zeros((3, 3))),
        ("cell", np.eye(2)),
        ("sites", np.zeros((3, 3))),
        ("occupancy", np.array([1.0, -0.1])),
        ("u_iso", np.array([0.01, np.nan])),
    ],
)
def test_a_crystal_that_cannot_be_is_refused(name, wrong):
    sound = {"cell": 3.5 * np.eye(3), "sites": np.array([[0.0] * 3, [0.5] * 3])}
    sound |= {"occupancy": np.ones(2), "u_iso": None}
    Crystal("Li", elements=("Li", "Li"), **sound)
    with pytest.raises(ArgumentError, match=f"^{name}="):
        Crystal("Li", elements=("Li", "Li"), **(sound | {name: wrong}))
