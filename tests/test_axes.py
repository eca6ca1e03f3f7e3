"""Every method looks at the labels it relies on: shuffled, repeated, missing, uneven.

What is passed is altered along one axis alone. The result is then the same, point by
point or label by label, or an error or warning names the axis; or the axis is one that
the method takes as it comes, of which `TAKEN` says why.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import warnings
from functools import cache

import numpy as np
import pytest
import xarray as xr
from labelled import (
    bragg,
    clusters,
    crystal,
    differences,
    features,
    field,
    fitted,
    frames,
    maps,
    numbers_of,
    pattern,
    patterns,
    phase,
    ptycho,
    stack,
    states,
)

from batteryxr import cdi, echem, nmf, simulate, xanes
from batteryxr.core.crystals import Crystal, lattice
from batteryxr.core.errors import BatteryxrError, DataQualityWarning

CHANGES = ("shuffled", "repeated", "missing", "uneven")
WINDOWS = {"pre": (5440, 5460), "post": (5495, 5520)}
CASES: dict[str, tuple] = {}


def case(name, data, *axes, **options):
    """Add a call of a public method, and the axes of its data that are altered."""
    CASES[name] = (data, axes, options)


def spectra():
    """Return a few pixels."""
    return stack()[:, 3:5, 3:6]


@cache
def record():
    """Return two cycles between 3 and 4.2 V at 1.5 mA."""
    t = np.arange(0.0, 14400.0, 20.0)
    up = (t // 3600) % 2 == 0
    part = (t % 3600) / 3600
    values = np.where(up, 3 + 1.2 * part**0.8, 4.2 - 1.2 * part**0.9)
    start = np.datetime64("2026-01-01", "ns")
    return xr.Dataset(
        {
            "voltage": ("record", values, {"units": "V"}),
            "current": ("record", np.where(up, 1.5, -1.5), {"units": "mA"}),
        },
        coords={
            "test_time": ("record", t, {"units": "s"}),
            "time": ("record", start + (t * 1e9).astype("m8[ns]")),
        },
        attrs={"timezone": "UTC"},
    )


@cache
def scans():
    """Return twelve scans over the record, with the hour of each."""
    start = np.datetime64("2026-01-01T00:10", "ns")
    time = start + np.arange(12) * np.timedelta64(1000, "s")
    coords = {"scan": np.arange(12), "time": ("scan", time)}
    return patterns().drop_vars("scan").assign_coords(coords)


def metal():
    """Return iron."""
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    return Crystal("Fe", lattice(2.866), ("Fe", "Fe"), sites, np.ones(2))


@cache
def titration():
    protocol = simulate.Titration(n_pulses=4, interval=10.0, rest_rows=60)
    return simulate.gitt(protocol=protocol)[0]


@cache
def pulses():
    return echem.gitt(titration(), radius=5000.0)


@cache
def joined():
    return echem.join(record(), scans().to_dataset(name="pdf"), exposure=0)


@cache
def differential():
    return echem.dqdv(record())


@cache
def strained():
    return cdi.displacement(cdi.unwrap(crystal()))


def rocked():
    return frames().rename("intensity")


def labelled_frames():
    """Return a scan whose pixels have numbers."""
    scan = ptycho()[0]
    pixels = np.arange(scan.sizes["detector_y"])
    return scan.assign_coords(detector_y=pixels, detector_x=pixels)


@cache
def volume():
    """Return a pattern on labelled axes."""
    data = bragg()[0].isel(state=0, drop=True)
    return data.assign_coords(
        rocking=("rocking", 0.01 * np.arange(16), {"units": "deg"}),
        detector_y=np.arange(10, 26),
        detector_x=np.arange(30, 46),
    )


def repeats():
    return xr.concat([rocked()] * 3, "repeat").assign_coords(repeat=[0, 1, 2])


FEW = {"n_starts": 1, "max_iter": 60}
PDF = ("r", "scan")
case("nmf.fit", patterns, *PDF, n_components=2, **FEW)
case("nmf.fit_stretched", patterns, *PDF, n_components=2, max_iter=10)
case("nmf.model_order", patterns, *PDF, n_components=[1, 2], n_starts=2, folds=2)
case(
    "nmf.metropolis",
    patterns,
    *PDF,
    n_components=2,
    sampling=nmf.Sampling(n_chains=2, sweeps=100, draws=20, rotations=2000),
)
case("nmf.pca", patterns, *PDF, n_components=2)
case("nmf.lower_envelope", patterns, *PDF)
case("nmf.join", lambda: {"a": patterns(), "b": patterns()}, "r")
case("nmf.compare_steps", fitted, *PDF, other=lambda: fitted(3))
case("nmf.reconstruct", fitted, *PDF)
case(
    "nmf.purify",
    lambda: nmf.pca(patterns(), n_components=2),
    *PDF,
    fixed={"first": 0, "last": -1},
)
case("nmf.raise_n", patterns, *PDF, result=fitted)
case("nmf.identify", pattern, "r", candidates=lambda: [metal()])

ENERGY, IMAGE = ("energy",), ("y", "x")
EDGE = {"edge": (5470, 5488)}
case(
    "xanes.optical_density",
    lambda: stack().rename("intensity"),
    *ENERGY,
    *IMAGE,
    i0=3.0,
)
case(
    "xanes.reference_phase",
    field,
    *ENERGY,
    *IMAGE,
    vacuum=lambda: stack()[0] > 0.2,
    ramp=True,
)
case("xanes.from_transmission", field, *ENERGY, *IMAGE)
case("xanes.register", stack, *ENERGY, *IMAGE)
case("xanes.rebin", stack, *ENERGY, *IMAGE)
case(
    "xanes.calibrate_energy",
    stack,
    *ENERGY,
    *IMAGE,
    reference=lambda: stack()[:, 3, 3],
    expected=5479.0,
)
case("xanes.normalise", spectra, *ENERGY, *IMAGE)
case("xanes.edge_energy", lambda: xanes.normalise(spectra()), *ENERGY, *IMAGE)
case("xanes.noise_mask", spectra, *ENERGY, *IMAGE, **WINDOWS)
case("xanes.fit_edge", spectra, *ENERGY, *IMAGE, mask=None, **EDGE)
case(
    "xanes.fit_edge_shared",
    lambda: spectra().stack(pixel=("y", "x")).drop_vars(["pixel", "y", "x"]),
    *ENERGY,
    shared=("edge_width",),
    **EDGE,
)
case(
    "xanes.fit_peaks",
    spectra,
    *ENERGY,
    *IMAGE,
    mask=None,
    peaks=[(5470, 5490)],
    dim="energy",
)
case(
    "xanes.lcf",
    spectra,
    *ENERGY,
    *IMAGE,
    standards=lambda: {"a": stack()[:, 0, 0], "b": stack()[:, 9, 9]},
)
case("xanes.pca", spectra, *ENERGY, *IMAGE, n_components=2)
case(
    "xanes.target_transform",
    lambda: xanes.pca(stack(), 2),
    *ENERGY,
    standards=lambda: stack()[:, 2, 2],
)
case("xanes.scattering_factors", spectra, *ENERGY, *IMAGE, element="V", **WINDOWS)
case(
    "xanes.kramers_kronig_misfit",
    spectra,
    *ENERGY,
    *IMAGE,
    element="V",
    phase=lambda: phase()[:, 3:5, 3:6],
    **WINDOWS,
)
case("xanes.effective_electrons", phase, *ENERGY, *IMAGE)
case("xanes.projected_density", maps, *IMAGE, element="V")
case(
    "xanes.electron_ratio",
    lambda: xanes.effective_electrons(phase()),
    *ENERGY,
    *IMAGE,
    density=lambda: xanes.projected_density(maps(), element="V"),
)
case(
    "xanes.valence",
    lambda: maps()["edge_energy"],
    *IMAGE,
    standards={"a": (5478, 3), "b": (5482, 4)},
)
case("xanes.model_curve", lambda: maps().isel(y=slice(3), x=slice(3)), *IMAGE)
case(
    "xanes.band_ratio",
    lambda: xanes.fit_peaks(
        spectra(), peaks=[(5470, 5480), (5482, 5490)], mask=None, dim="energy"
    ),
    *IMAGE,
    bands=(1, 2),
)
case(
    "xanes.band_centroid",
    lambda: xanes.fit_peaks(
        spectra(), peaks=[(5470, 5480), (5482, 5490)], mask=None, dim="energy"
    ),
    *IMAGE,
)
MANY = {"n_clusters": 2, "n_starts": 1}
case("xanes.cluster", features, *IMAGE, **MANY)
case("xanes.cluster_orders", features, *IMAGE, n_references=2, **MANY)
case("xanes.cluster_density", features, *IMAGE, clusters=clusters)
case("xanes.cluster_shares", clusters, *IMAGE)
case("xanes.cluster_spectra", stack, *ENERGY, *IMAGE, labels=clusters)
case("xanes.rim_distance", maps, *IMAGE)

GENERAL = {
    "beamline": "theta",
    "rocking": "theta",
    "motors": {"two_theta": 28.8, "phi": 0.0},
    "energy": 9000.0,
    "distance": 800.0,
    "pixel_size": 55.0,
}
case("xanes.deglitch", spectra, *ENERGY, *IMAGE)
case("xanes.smooth", spectra, *ENERGY, *IMAGE, width=4.0)
case("xanes.despike", lambda: spectra()[5:], *ENERGY, *IMAGE, dim="energy")
case("xanes.subtract_baseline", spectra, *ENERGY, *IMAGE, dim="energy")
case("xanes.rescale", spectra, *ENERGY, *IMAGE, dim="energy")

DETECTOR = ("detector_y", "detector_x")
ROCKING = ("rocking", *DETECTOR)
SPACE = ("z", "y", "x")
case("cdi.hot_pixels", rocked, *ROCKING)
case("cdi.correct", rocked, *ROCKING)
case("cdi.locate_peak", rocked, *ROCKING)
case("cdi.crop", rocked, *ROCKING, shape=(4, 8, 8))
case("cdi.sum_repeats", repeats, "repeat", *ROCKING)
case("cdi.geometry", rocked, *ROCKING, **GENERAL)
case("cdi.retrieve", volume, *ROCKING, n_starts=1, schedule="2 ER")
case("cdi.fsc", crystal, *SPACE, other=lambda: crystal() + crystal() ** 2)
case("cdi.misfit", lambda: bragg()[1], "state", volume=lambda: bragg()[0])
case(
    "cdi.prtf",
    lambda: bragg()[1].expand_dims(start=2),
    "state",
    volume=lambda: bragg()[0],
)
case("cdi.align", states, "state", *SPACE, reference=lambda: states() * 1j)
case(
    "cdi.decompose",
    lambda: xr.concat([crystal(), crystal() * 1j], "start").assign_coords(start=[0, 1]),
    "start",
    *SPACE,
)
case("cdi.unwrap", crystal, *SPACE)
case("cdi.displacement", lambda: cdi.unwrap(crystal()), *SPACE)
case("cdi.strain", strained, *SPACE)
case("cdi.crop_to_support", crystal, *SPACE)
case(
    "cdi.summarise_states",
    lambda: cdi.strain(cdi.displacement(cdi.unwrap(states()))),
    "state",
    *SPACE,
)
case("cdi.align_states", states, "state", *SPACE)
case("cdi.common_support", states, "state", *SPACE)
case("cdi.fill_missing", states, "state", *SPACE)
case("cdi.phase_differences", states, "state", *SPACE)
case("cdi.order_parameter", differences, "state", *SPACE)
case(
    "cdi.inverse_pca",
    differences,
    "state",
    *SPACE,
    order=lambda: cdi.order_parameter(differences()),
)
case("cdi.domains", lambda: cdi.unwrap(crystal())["phase"], *SPACE)
case(
    "cdi.ptycho_probe",
    lambda: ptycho()[0],
    "position",
    *DETECTOR,
    optics=cdi.ZonePlate(diameter=200, outer_zone=50),
)
case("cdi.ptycho", labelled_frames, "position", *DETECTOR, iterations=2)
case("cdi.ptycho_fit", lambda: ptycho()[1], *IMAGE, scan=lambda: ptycho()[0])
case("cdi.frc", lambda: phase()[0], *IMAGE, other=lambda: phase()[1])

TIMES = ("test_time", "time")
case("echem.half_cycles", record, *TIMES)
case("echem.cycles", record, *TIMES, electrode="cathode", first="charge")
case("echem.steps", record, *TIMES)
case("echem.dqdv", record, *TIMES)
case("echem.dvdq", record, *TIMES)
case("echem.li_content", record, *TIMES, formula="LiNiO2", mass=7.0)
case("echem.utilisation", record, *TIMES, formula="LiNiO2", mass=7.0)
case("echem.extra_capacity", record, *TIMES, formula="LiNiO2", mass=7.0)
case("echem.gitt", titration, "test_time", radius=5000.0)
case("echem.pulse_fit", titration, "test_time", result=pulses, pulse=1)
case(
    "echem.join",
    record,
    *TIMES,
    scans=lambda: scans().to_dataset(name="pdf"),
    exposure=0,
)
case("echem.fit_clock", record, *TIMES, channel=lambda: record()["voltage"])
case("echem.states", joined, "scan", choose=[("charge", 3.6)], by="voltage")
case(
    "echem.rate",
    lambda: echem.cycles(record(), electrode="cathode", first="charge"),
    "cycle",
)
case("echem.peaks", differential, "half_cycle", "voltage")
case("echem.fit_peaks", differential, "half_cycle", "voltage")
case("echem.turning_point", differential, "half_cycle", "voltage", window=(3.2, 4.0))


#: Changes of an axis that give another result without a word, and why they may.
TAKEN = {
    ("energy", "uneven"): "spectra are looked at on their own energies",
    ("r", "uneven"): "values belong to their own r",
    ("test_time", "uneven"): "a cell may rest, and a cycler record slowly",
    ("test_time", "repeated"): "cyclers write two rows where a step changes",
    ("time", "uneven"): "as test time",
    ("time", "repeated"): "as test time",
    ("voltage", "uneven"): "a curve is looked at on its own voltages",
}
#: The same of single methods.
OWN_WAY = {
    ("cdi.locate_peak", "detector_y"): "tells the place of the peak by its label",
    ("cdi.locate_peak", "detector_x"): "tells the place of the peak by its label",
    ("nmf.fit", "scan"): "starts are drawn scan by scan",
    ("nmf.fit_stretched", "scan"): "as fit",
    ("nmf.model_order", "scan"): "folds are drawn scan by scan",
    ("nmf.metropolis", "scan"): "as fit",
    ("nmf.raise_n", "scan"): "as fit",
    ("nmf.purify", "scan"): "pure scans are told by their place",
    ("nmf.pca", "scan"): "signs follow the first scan",
    ("xanes.pca", "y"): "signs follow the first pixel",
    ("xanes.pca", "x"): "signs follow the first pixel",
    ("xanes.cluster", "y"): "starts are drawn pixel by pixel",
    ("xanes.cluster", "x"): "starts are drawn pixel by pixel",
    ("xanes.cluster_orders", "y"): "as cluster",
    ("xanes.cluster_orders", "x"): "as cluster",
    ("xanes.effective_electrons", "energy"): "each image has its own energy",
    ("cdi.decompose", "start"): "starts are told apart by their place",
    ("cdi.phase_differences", "state"): "the reference is told by its place",
    ("cdi.align_states", "state"): "the reference is told by its place",
    ("cdi.ptycho", "position"): "positions are visited in a drawn order",
}
#: Methods without a case, and why.
ELSEWHERE = {
    "cdi.analysis_support": "crystals as of retrieve; tests/cdi/bragg",
    "xanes.convert_axis": "each value keeps its point; tests/xanes/diffraction",
    "xanes.fit_lattice": "axes as of fit_peaks; tests/xanes/diffraction",
    "xanes.fit_pattern": "axes as of fit_peaks; tests/xanes/diffraction",
    "xanes.crystallite_size": "has no axis; tests/xanes/diffraction",
    "echem.attach": "rows as of join; tests/echem/operando",
    "nmf.refine_along": "as identify, which it calls; tests/nmf",
    "nmf.compare_patterns": "as identify; tests/nmf/test_exchange.py",
    "nmf.write_gr": "as identify; tests/nmf/test_exchange.py",
    "nmf.fit_structures": "as identify; tests/nmf/test_structures.py",
    "nmf.bands": "as fit, whose result it turns; tests/nmf",
    "echem.equilibrium_hysteresis": "pulses by their capacity; tests/echem",
    "echem.percolation": "takes a formula",
    "nmf.advise": "as bands",
    "nmf.amounts": "takes weights, which it scales",
    "xanes.lcf_subsets": "as lcf",
    "xanes.over_absorption": "each value by itself; tests/xanes/preparing",
    "xanes.mback": "ranges as of normalise; tests/xanes/preparing",
    "xanes.sum_elements": "each value by itself; tests/xanes/preparing",
    "xanes.sparse_energies": "makes an axis of its own",
    "xanes.align": "as calibrate_energy",
    "xanes.merge": "tests/xanes, of scans",
    "xanes.rebin_energy": "makes an axis of its own",
    "cdi.replicas": "as retrieve, whose pattern it takes; tests/cdi/bragg",
    "cdi.retrieve_states": "as retrieve, state by state; tests/cdi/bragg",
    "cdi.check_ptycho": "frames as of ptycho",
    "cdi.orientation": "frames as of ptycho",
    "echem.degradation_modes": "tests/echem",
    "echem.correct_drift": "tests/echem, of impedance",
    "echem.drt": "tests/echem, of impedance",
    "echem.drt_peaks": "tests/echem, of impedance",
    "echem.fit_circuit": "tests/echem, of impedance",
    "echem.kramers_kronig": "tests/echem, of impedance",
    "echem.as_patterns": "tests/echem, of impedance",
    "echem.pulses": "record as of gitt",
    "echem.interruptions": "record as of gitt",
    "echem.resistance": "record as of gitt",
    "nmf.read_crystal": "reads a file",
    "cdi.calibrate_detector": "each frame by its angles; tests/cdi/bragg/physics",
    "cdi.correct_refraction": "axes as of displacement; tests/cdi/bragg/physics",
    "cdi.lattice_spacing": "axes as of strain; tests/cdi/bragg/physics",
    "cdi.peak_spacings": "the box of geometry, which it compares",
    "cdi.resolution": "as replicas; tests/cdi/bragg/physics",
    "cdi.stack_states": "takes states one by one",
    "cdi.track_domains": "takes numbers of domains",
    "cdi.to_laboratory": "axes as of displacement",
    "cdi.retrieve_learned": "as retrieve; needs weights",
    "cdi.ptycho_scan": "takes arrays without labels",
    "cdi.ptycho_plan": "looks at sizes alone",
    "cdi.ptycho_energies": "writes a store; frames as of ptycho",
    "cdi.ptycho_progress": "looks at a store",
    "echem.compare": "takes tables of cells",
}


def altered(data, name, change):
    """Return data with one axis altered, and the place of each of its points."""
    if isinstance(data, dict):
        first, *rest = data
        return {first: altered(data[first], name, change)[0]} | {
            k: data[k] for k in rest
        }, None
    (dim,) = data[name].dims
    n = data.sizes[dim]
    if change == "shuffled":
        order = np.random.default_rng(5).permutation(n)
        return data.isel({dim: order}), np.argsort(order)
    axis = data[name]
    values = axis.values.copy()
    k = n // 2
    if change == "repeated":
        values[k] = values[k - 1]
    elif change == "missing":
        if values.dtype.kind == "M":
            values[k] = "NaT"
        else:
            values = values.astype(float)
            values[k] = np.nan
    else:
        step = values[k] - values[k - 1]
        values = values.copy() if values.dtype.kind == "M" else values.astype(float)
        values[k:] = values[k:] + 3 * step
    return data.assign_coords({name: (dim, values, axis.attrs)}), np.arange(n)


def numbers(result):
    """Return everything that is a number, by name."""
    if isinstance(result, xr.Dataset | xr.DataArray):
        return numbers_of(result)
    about = dataclasses.asdict(result) if dataclasses.is_dataclass(result) else {}
    values = {name: np.asarray(value) for name, value in about.items()}
    return {name: v for name, v in values.items() if v.dtype.kind in "iufcb"}


def called(name, options):
    """Return a public method and its other arguments."""
    home, _, method = name.partition(".")
    options = {
        k: v() if callable(v) and not isinstance(v, type) else v
        for k, v in options.items()
    }
    return getattr(importlib.import_module(f"batteryxr.{home}"), method), options


def same(found, exact, dim, places):
    """Tell whether a result is the exact one, its points put back in their order."""
    if isinstance(found, xr.Dataset | xr.DataArray) and dim in found.dims:
        if found.sizes[dim] != len(places):
            return False
        found = found.drop_vars(dim, errors="ignore").isel({dim: places})
    mine, theirs = numbers(found), numbers(exact)
    return mine.keys() == theirs.keys() and all(
        mine[k].shape == theirs[k].shape
        and np.allclose(mine[k], theirs[k], rtol=1e-4, atol=1e-7, equal_nan=True)
        for k in mine
    )


@cache
def exact(name):
    """Return the result on sound labels, and what is warned of then."""
    data, _, options = CASES[name]
    function, options = called(name, options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return function(data(), **options), {str(w.message) for w in caught}


def answer(name, axis, change):
    """Return how a method takes an altered axis: "same", or what it says, or ""."""
    data, _, options = CASES[name]
    function, options = called(name, options)
    wanted, usual = exact(name)
    given = data()
    other, places = altered(given, axis, change)
    dim = axis if isinstance(given, dict) else given[axis].dims[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = function(other, **options)
        except BatteryxrError as error:
            return str(error)
    if places is None:  # of several arrays the first was altered: the rest tells
        found, dim, places = found.sortby(axis), axis, np.arange(found.sizes[axis])
    if same(found, wanted, dim, places):
        return "same"
    told = {
        str(w.message) for w in caught if issubclass(w.category, DataQualityWarning)
    }
    return " | ".join(sorted(told - usual))


AXES = [(name, axis) for name, (_, axes, _) in CASES.items() for axis in axes]


def _some(pairs):
    """Mark all but each sixth pair long: all of them take minutes."""
    long = pytest.mark.long
    return [
        pytest.param(*pair, marks=() if k % 6 == 0 else long)
        for k, pair in enumerate(pairs)
    ]


@pytest.mark.parametrize(("name", "axis"), _some(AXES))
def test_an_axis_that_cannot_be_relied_on_is_never_taken_in_silence(name, axis):
    for change in CHANGES:
        told = answer(name, axis, change)
        known = (axis, change) in TAKEN or (name, axis) in OWN_WAY
        assert told or known, change
        if told not in ("", "same") and not known:
            words = (axis, axis.rpartition("_")[2], axis[:3])
            assert any(word in told for word in words), (change, told)


def test_every_method_on_an_axis_is_tested():
    missing = []
    for home in ("nmf", "xanes", "cdi", "echem"):
        module = importlib.import_module(f"batteryxr.{home}")
        for method, function in vars(module).items():
            if not inspect.isfunction(function) or method.startswith(("_", "plot_")):
                continue
            first = next(iter(inspect.signature(function).parameters.values()), None)
            name = f"{home}.{method}"
            arrays = first is not None and "xr." in str(first.annotation)
            if arrays and name not in CASES and name not in ELSEWHERE:
                missing.append(name)
    assert not missing
