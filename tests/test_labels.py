"""Every method that takes two arrays matches them by label, or refuses by name.

What is passed is altered in its labels alone. The result then has the size of the one
of exact labels, and its values where the method looks after labels, or an error names
the argument. The list of methods is made from the signatures.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from dataclasses import fields

import numpy as np
import pytest
import xarray as xr
from labelled import (
    FIT,
    SHORT,
    body,
    bragg,
    clusters,
    crystal,
    differences,
    errors,
    features,
    field,
    fitted,
    frames,
    image,
    maps,
    mask,
    numbers_of,
    on_detector,
    pattern,
    patterns,
    phase,
    ptycho,
    stack,
    states,
)

from batteryxr import cdi, nmf, xanes
from batteryxr.core.annotations import resolved
from batteryxr.core.crystals import Crystal, lattice
from batteryxr.core.errors import BatteryxrError

CHANGES = ("rounded", "single", "reversed", "permuted", "half a step", "cut")
#: Labels that tell nothing apart: nothing can be matched by them.
VOID = ("constant", "repeated", "missing")
#: By method and argument: the other arguments, what is passed, whether other labels
#: are other data (interpolated, or of a place of its own).
CASES: dict[str, tuple] = {}


def case(name, build, *, own=()):
    """Add a case; `own` are the changes after which numbers may differ."""
    CASES[name] = (build, CHANGES if own is True else own)


def iron():
    """Return a candidate for a pattern."""
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    return Crystal("Fe", lattice(2.866), ("Fe", "Fe"), sites, np.ones(2))


def _nmf():
    def constrained(**given):
        return nmf.Constraints(**given)

    for name in ("fit", "model_order", "metropolis"):
        function = getattr(nmf, name)
        how = {
            "fit": {"n_components": 2, **FIT},
            "model_order": {"n_components": [1, 2], "n_starts": 2, "folds": 2},
            "metropolis": {"n_components": 2, "sampling": SHORT},
        }[name]
        case(
            f"nmf.{name}.errors",
            lambda f=function, h=how: (f, patterns(), {**h}, "errors", errors()),
        )
    for field_, value in {
        "mask": lambda: patterns() > 0.99,
        "pattern_scale": lambda: patterns().mean("r") + 1,
        "shift": lambda: -0.01 * patterns().mean("scan"),
    }.items():

        def build(field=field_, value=value):
            def called(data, *, other):
                return nmf.fit(
                    data, 2, constraints=nmf.Constraints(**{field: other}), **FIT
                )

            return called, patterns(), {}, "other", value()

        case(f"nmf.fit.constraints.{field_}", build)

    for name, options in {
        "model_order": {"n_components": [1, 2], "n_starts": 2, "folds": 2},
        "metropolis": {"n_components": 2, "sampling": SHORT},
        "fit_stretched": {"n_components": 2, "max_iter": 10},
    }.items():

        def weighted(name=name, options=options):
            def called(data, *, other):
                within = nmf.Constraints(pattern_scale=other)
                return getattr(nmf, name)(data, constraints=within, **options)

            return called, patterns(), {}, "other", patterns().mean("r") + 1

        case(f"nmf.{name}.constraints", weighted)
    for name in ("bands", "advise"):
        case(
            f"nmf.{name}.shift",
            lambda n=name: (
                getattr(nmf, n),
                fitted(),
                {"noise": 0.01, "steps": 400},
                "shift",
                -0.01 * patterns().mean("scan"),
            ),
        )

    def known(data, *, pattern):
        return nmf.fit(data, 2, fixed={"first": pattern}, **FIT)

    case(
        "nmf.fit.fixed",
        lambda: (known, patterns(), {}, "pattern", patterns()[0].drop_vars("scan")),
    )

    def stretched(data, *, pattern):
        return nmf.fit_stretched(data, 2, fixed={"first": pattern}, max_iter=20)

    case(
        "nmf.fit_stretched.fixed",
        lambda: (stretched, patterns(), {}, "pattern", patterns()[0].drop_vars("scan")),
    )
    case(
        "nmf.raise_n.result", lambda: (nmf.raise_n, patterns(), {}, "result", fitted())
    )
    case(
        "nmf.compare_steps.other",
        lambda: (nmf.compare_steps, fitted(), {}, "other", fitted(3)),
    )


_nmf()

case(
    "nmf.identify.errors",
    lambda: (
        nmf.identify,
        pattern(),
        {"candidates": [iron()]},
        "errors",
        0.01 + 0 * pattern(),
    ),
)


WINDOWS = {"pre": (5440, 5460), "post": (5495, 5520)}
for name, argument, value in (
    ("optical_density", "i0", lambda: 2 * image()),
    ("optical_density", "dark", lambda: 0.01 * image()),
):
    case(
        f"xanes.{name}.{argument}",
        lambda n=name, a=argument, v=value: (
            getattr(xanes, n),
            stack().rename("intensity"),
            {} if a == "i0" else {"i0": 3.0},
            a,
            v(),
        ),
    )
case(
    "xanes.optical_density.i0 spectrum",
    lambda: (xanes.optical_density, stack(), {}, "i0", stack().mean(("y", "x")) + 1),
    own=True,
)
case(
    "xanes.optical_density.i0 mask",
    lambda: (xanes.optical_density, stack(), {}, "i0", mask()),
)
case(
    "xanes.reference_phase.vacuum",
    lambda: (xanes.reference_phase, field(), {}, "vacuum", mask()),
)
case(
    "xanes.register.reference",
    lambda: (xanes.register, stack(), {}, "reference", stack()[-1].drop_vars("energy")),
)
case(
    "xanes.register.shifts",
    lambda: (xanes.register, stack(), {}, "shifts", xanes.register(stack())),
    own=True,
)
for argument in ("reference", "expected"):
    case(
        f"xanes.calibrate_energy.{argument}",
        lambda a=argument: (
            xanes.calibrate_energy,
            stack(),
            {"reference": stack()[:, 3, 3], "expected": stack()[:, 3, 3]},
            a,
            stack()[:, 3, 3],
        ),
        own=True,
    )
case(
    "xanes.normalise.e0",
    lambda: (xanes.normalise, stack(), {}, "e0", image(5479.0).clip(5475, 5483)),
)
case(
    "xanes.valence.errors",
    lambda: (
        xanes.valence,
        maps()["edge_energy"],
        {"standards": {"a": (5478, 3), "b": (5482, 4)}},
        "errors",
        image(0.1),
    ),
)
case(
    "xanes.noise_mask.jump",
    lambda: (xanes.noise_mask, stack(), WINDOWS, "jump", image(0.5)),
)
for function, ranges in (
    (xanes.fit_edge, {"edge": (5470, 5488)}),
    (xanes.fit_peaks, {"peaks": [(5470, 5490)], "dim": "energy"}),
):
    n = function.__name__
    case(
        f"xanes.{n}.mask", lambda f=function, r=ranges: (f, stack(), r, "mask", mask())
    )
    case(
        f"xanes.{n}.errors",
        lambda f=function, r=ranges: (
            f,
            stack(),
            {**r, "mask": None},
            "errors",
            image(0.01),
        ),
    )
    case(
        f"xanes.{n}.start",
        lambda f=function, r=ranges: (
            f,
            stack(),
            {**r, "mask": None},
            "start",
            f(stack(), mask=None, **r),
        ),
    )
case(
    "xanes.lcf.standards",
    lambda: (
        xanes.lcf,
        stack(),
        {},
        "standards",
        stack()
        .stack(standard=("y", "x"))[:, [0, 99]]
        .drop_vars(["standard", "y", "x"])
        .assign_coords(standard=["a", "b"]),
    ),
    own=True,
)
case(
    "xanes.align.reference",
    lambda: (
        xanes.align,
        stack()[:, 0, 2:5].drop_vars("y").rename(x="scan"),
        {},
        "reference",
        stack()[:, 0, 2].drop_vars(["y", "x"]),
    ),
    own=("half a step", "cut", "reversed", "permuted"),
)
case(
    "xanes.target_transform.standards",
    lambda: (
        xanes.target_transform,
        xanes.pca(stack(), 2),
        {},
        "standards",
        stack()[:, 2, 2].drop_vars(["y", "x"]),
    ),
    own=True,
)
case(
    "xanes.projected_density.errors",
    lambda: (
        xanes.projected_density,
        maps()["edge_jump"],
        {"element": "V"},
        "errors",
        image(0.01),
    ),
)
case(
    "xanes.effective_electrons.errors",
    lambda: (xanes.effective_electrons, phase(), {}, "errors", image(0.01)),
)
case(
    "xanes.kramers_kronig_misfit.phase",
    lambda: (
        xanes.kramers_kronig_misfit,
        stack(),
        {"element": "V", **WINDOWS},
        "phase",
        phase(),
    ),
)
case(
    "xanes.electron_ratio.density",
    lambda: (
        xanes.electron_ratio,
        xanes.effective_electrons(phase()),
        {},
        "density",
        xanes.projected_density(maps(), element="V"),
    ),
)
case(
    "xanes.cluster_shares.weights",
    lambda: (xanes.cluster_shares, clusters(), {}, "weights", image()),
)
case(
    "xanes.cluster_spectra.labels",
    lambda: (xanes.cluster_spectra, stack(), {}, "labels", clusters()),
    own=("cut",),
)
case(
    "xanes.cluster_spectra.weights",
    lambda: (
        xanes.cluster_spectra,
        stack(),
        {"labels": clusters()},
        "weights",
        image(),
    ),
)
for argument, value in (("mask", mask), ("weights", image)):
    case(
        f"xanes.cluster.{argument}",
        lambda a=argument, v=value: (
            xanes.cluster,
            features(),
            {"n_clusters": 2, "n_starts": 1},
            a,
            v(),
        ),
    )
    case(
        f"xanes.cluster_orders.{argument}",
        lambda a=argument, v=value: (
            xanes.cluster_orders,
            features(),
            {"n_clusters": 2, "n_starts": 1, "n_references": 2},
            a,
            v(),
        ),
    )
case(
    "xanes.cluster_density.clusters",
    lambda: (xanes.cluster_density, features(), {}, "clusters", clusters()),
)
case(
    "xanes.cluster_density.weights",
    lambda: (
        xanes.cluster_density,
        features(),
        {"clusters": clusters()},
        "weights",
        image(),
    ),
)
for argument, value in (
    ("dark", lambda: on_detector(2.0)),
    ("flat", on_detector),
    ("hot", lambda: on_detector() > 1.1),
    ("mask", lambda: on_detector() < 0.9),
):
    case(
        f"cdi.correct.{argument}",
        lambda a=argument, v=value: (cdi.correct, frames(), {}, a, v()),
    )
case(
    "cdi.correct.monitor",
    lambda: (
        cdi.correct,
        frames(),
        {},
        "monitor",
        1 + 0.1 * frames()["rocking"].copy(data=np.arange(frames().sizes["rocking"])),
    ),
)
case("cdi.misfit.volume", lambda: (cdi.misfit, bragg()[1], {}, "volume", bragg()[0]))
case(
    "cdi.prtf.volume",
    lambda: (
        cdi.prtf,
        bragg()[1].expand_dims(start=2),
        {},
        "volume",
        bragg()[0],
    ),
)
case(
    "cdi.retrieve.start",
    lambda: (
        cdi.retrieve,
        bragg()[0],
        {"n_starts": 1, "schedule": "4 HIO + 2 ER"},
        "start",
        bragg()[1],
    ),
)
case(
    "cdi.replicas.volume",
    lambda: (
        cdi.replicas,
        cdi.retrieve(bragg()[0], n_starts=1, schedule="4 HIO + 2 ER"),
        {"n_starts": 3, "schedule": "2 ER"},
        "volume",
        bragg()[0],
    ),
)
case(
    "cdi.fsc.other",
    lambda: (cdi.fsc, crystal(), {}, "other", crystal() * (1 + 0.004 * crystal().z)),
)
case(
    "cdi.align.reference",
    lambda: (cdi.align, states(), {}, "reference", states() * 1j),
    own=("permuted", "half a step"),
)
case("cdi.unwrap.support", lambda: (cdi.unwrap, crystal(), {}, "support", body()))
case(
    "cdi.fill_missing.support",
    lambda: (cdi.fill_missing, states(), {}, "support", body()),
)
case(
    "cdi.phase_differences.support",
    lambda: (cdi.phase_differences, states(), {}, "support", body()),
)
case(
    "cdi.inverse_pca.order",
    lambda: (
        cdi.inverse_pca,
        differences(),
        {},
        "order",
        cdi.order_parameter(differences()),
    ),
)
case(
    "cdi.frc.other",
    lambda: (cdi.frc, phase()[0], {}, "other", phase()[1].drop_vars("energy")),
)
case(
    "cdi.ptycho_fit.scan",
    lambda: (cdi.ptycho_fit, ptycho()[1], {}, "scan", ptycho()[0]),
)

#: Methods whose second array lies elsewhere by its nature, and why.
ELSEWHERE = {
    "xanes.lcf_subsets.standards": "goes to xanes.lcf",
    "xanes.normalise.like": "a project's spectrum; tests/io/test_write_athena",
    "xanes.sparse_energies.axis": "makes an axis of its own; tests/xanes/preparing",
    "cdi.ptycho.start": "a former result of the same scan; tests/cdi/ptycho",
    "xanes.crystallite_size.reference": "of another sample; tests/xanes/diffraction",
    "echem.attach.scans": "told by name or order; tests/echem/operando",
    "echem.attach.voltage": "as of scans",
    "echem.attach.direction": "as of scans",
    "nmf.raise_n.fixed": "goes to nmf.fit",
    "nmf.metropolis.fixed": "as nmf.fit",
    "nmf.refine_along.errors": "tests/nmf/test_identification.py",
    "nmf.fit_structures.errors": "as identify, tests/nmf/test_identification.py",
    "nmf.compare_patterns.errors": "as identify, tests/nmf/test_identification.py",
    "nmf.compare_patterns.reference": "has an axis of its own",
    "nmf.write_gr.errors": "as identify, tests/nmf/test_identification.py",
    "xanes.model_curve.axis": "any axis of energies",
    "cdi.displacement.geometry": "has no dimension of the object",
    "cdi.phase_differences.geometry": "has no dimension of the object",
    "cdi.strain.geometry": "has no dimension of the object",
    "cdi.to_laboratory.geometry": "has no dimension of the object",
    "cdi.correct_refraction.support": "as of unwrap",
    "cdi.correct_refraction.geometry": "has no dimension of the object",
    "cdi.lattice_spacing.geometry": "has no dimension of the object",
    "cdi.peak_spacings.geometry": "has no dimension of the volume",
    "cdi.resolution.geometry": "has no dimension of the object",
    "cdi.resolution.volume": "as of replicas",
    "cdi.domains.geometry": "has no dimension of the object",
    "echem.degradation_modes.standards": "contents of half cells of their own",
    "echem.fit_clock.channel": "a clock of its own",
    "echem.join.scans": "matched by time",
    "echem.equilibrium_hysteresis.other": "pulses of its own",
    "echem.pulse_fit.result": "pulses of the record",
    "nmf.raise_n.constraints": "go to nmf.fit",
    "cdi.ptycho_energies.registration": "vacuum of images made by it; tests/cdi/ptycho",
    "xanes.theoretical_ratio.energy": "an axis of its own",
    "xanes.plot_contour.record": "a drawing beside it, by time",
    "echem.plot_operando.scans": "a drawing beside it, by time",
    "echem.plot_with_voltage.record": "a drawing beside it, by time",
    "xanes.plot_spectra.edges": "lines at energies",
    "cdi.plot_isosurface.geometry": "has no dimension of the object",
    "xanes.plot_fit.result": "drawings: tested below",
    "xanes.plot_maps.mask": "drawings: tested below",
    "xanes.plot_features.clusters": "drawings: tested below",
    "cdi.plot_isosurface.quantity": "drawings: tested below",
    "cdi.plot_isosurface.outline": "drawings: tested below",
}


def moved(value, dim, change):
    """Return an array whose labels along one dimension are altered."""
    labels = value[dim].values
    numbers = labels.dtype.kind in "iuf"
    attrs = value[dim].attrs
    if change == "reversed":
        return value.isel({dim: slice(None, None, -1)})
    if change == "permuted":
        order = np.random.default_rng(4).permutation(labels.size)
        return value.isel({dim: order})
    if change == "cut":
        return value.isel({dim: slice(0, -1)})
    if not numbers or labels.size < 2:
        return None
    if change in VOID:
        labels = labels.astype(float)
        at = slice(None) if change == "constant" else 1 if change == "repeated" else 0
        labels[at] = np.nan if change == "missing" else labels[0]
    elif change == "rounded":
        labels = labels * (1 + 1e-9)
    elif change == "single":
        labels = labels.astype(np.float32)
    else:
        labels = labels + 0.5 * np.diff(labels.astype(float)).mean()
    return value.assign_coords({dim: (dim, labels, attrs)})


def outcome(function, data, options):
    """Return the numbers of a result and None, or nothing and what an error says."""
    try:
        return numbers_of(function(data, **options)), None
    except BatteryxrError as error:
        return {}, str(error)


@pytest.mark.filterwarnings("ignore::batteryxr.core.errors.DataQualityWarning")
@pytest.mark.parametrize("name", CASES)
def test_labels_are_matched_or_refused_by_name(name):
    build, own = CASES[name]
    function, data, options, argument, value = build()
    exact = numbers_of(function(data, **options | {argument: value}))
    shared = [d for d in value.dims if d in value.indexes and d in data.indexes]
    shared = [d for d in shared if d != "component"]  # numbers of results
    assert shared or own
    for dim in shared:
        for change in CHANGES:
            other = moved(value, dim, change)
            if other is None:
                continue
            found, refusal = outcome(function, data, options | {argument: other})
            if refusal is not None:
                words = (argument, name.rpartition(".")[2].split()[0], dim)
                assert any(word in refusal for word in words), (dim, change)
                assert change in (*own, "half a step", "cut"), (dim, change, refusal)
                continue
            for key, values in exact.items():
                assert found[key].shape == values.shape, (dim, change, key)
                if change not in own:
                    np.testing.assert_allclose(
                        found[key],
                        values,
                        rtol=1e-5,
                        atol=1e-9,
                        err_msg=f"{dim} {change} {key}",
                    )


@pytest.mark.filterwarnings("ignore::batteryxr.core.errors.DataQualityWarning")
@pytest.mark.parametrize(
    "name", sorted(CASES.keys() - {"xanes.register.shifts", "cdi.replicas.volume"})
)
def test_labels_that_tell_nothing_apart_are_refused(name):
    """Two arrays are not matched by place, if labels of either are void."""
    function, data, options, argument, value = CASES[name][0]()
    for dim in (d for d in value.dims if d in value.indexes and d in data.indexes):
        for change in VOID if dim != "component" else ():
            other, first = moved(value, dim, change), moved(data, dim, change)
            if other is not None:
                with pytest.raises(BatteryxrError):
                    function(data, **options | {argument: other})
            if first is not None:
                with pytest.raises(BatteryxrError):
                    function(first, **options | {argument: value})


def holds_arrays(kind):
    """Tell whether an argument of a kind can have labels, alone or in an object."""
    if kind in (xr.DataArray, xr.Dataset, xr.DataTree):
        return True
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return any(w in str(f.type) for f in fields(kind) for w in ("xr.", "Image"))
    return any(map(holds_arrays, typing.get_args(kind)))


def test_every_method_of_two_arrays_is_tested():
    names = {name.split(" ")[0] for name in CASES} | set(ELSEWHERE)
    names |= {name.rpartition(".")[0] for name in names}  # fields of constraints
    missing = []
    for home in ("nmf", "xanes", "cdi", "echem"):
        module = importlib.import_module(f"batteryxr.{home}")
        for method, function in vars(module).items():
            if not inspect.isfunction(function) or method.startswith("_"):
                continue
            kinds = resolved(function)
            missing += [
                name
                for p in [*inspect.signature(function).parameters][1:]
                if p in kinds
                and holds_arrays(kinds[p])
                and (name := f"{home}.{method}.{p}") not in names
            ]
    assert not missing


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("plot", "data", "argument", "value", "options"),
    [
        (xanes.plot_maps, maps, "mask", mask, {}),
        (xanes.plot_features, features, "clusters", clusters, {}),
        (xanes.plot_fit, stack, "result", maps, {}),
        (cdi.plot_isosurface, crystal, "outline", body, {}),
        (cdi.plot_isosurface, crystal, "quantity", lambda: crystal().real, {}),
    ],
)
def test_drawings_match_their_labels_too(plot, data, argument, value, options):
    other = value().isel(x=slice(0, -1))
    with pytest.raises(BatteryxrError, match=argument):
        plot(data(), **options | {argument: other})


@pytest.mark.parametrize("named", [True, False])
def test_a_dark_belongs_to_its_pixels_in_any_order_of_axes(named):
    """A square detector whose axes come in another order has the same answer."""
    data = frames().isel(detector_y=slice(0, 12), detector_x=slice(0, 12))
    dark = data.isel(rocking=0).copy(data=0.01 * np.arange(144.0).reshape(12, 12))
    dark = dark if named else dark.drop_vars(dark.coords)
    exact = cdi.correct(data, dark=dark)
    turned = cdi.correct(data.transpose(*data.dims[::-1]), dark=dark.T)
    np.testing.assert_allclose(turned.transpose(*exact.dims), exact, rtol=1e-6)
