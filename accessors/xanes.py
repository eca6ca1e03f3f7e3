"""The ``.xanes`` accessor, on spectra and on maps."""

from __future__ import annotations

from typing import ClassVar

import xarray as xr

from batteryxr.accessors.base import Accessor, group, method, opens
from batteryxr.xanes.composition import (
    combination,
    components,
    composition,
    kramers_kronig,
    subsets,
)
from batteryxr.xanes.diffraction import instrument, lattices, pawley, sizes
from batteryxr.xanes.domains import clusters as domains
from batteryxr.xanes.domains import statistics as domain_statistics
from batteryxr.xanes.edges import (
    calibration,
    detectors,
    normalisation,
    over_absorption,
    tabulated,
)
from batteryxr.xanes.edges import energy as edges
from batteryxr.xanes.fit import bands, noise, sparse
from batteryxr.xanes.fit import curve as fitted_curve
from batteryxr.xanes.fit import edge as edge_model
from batteryxr.xanes.fit import peaks as peak_model
from batteryxr.xanes.fit import shared as global_fit
from batteryxr.xanes.plot import contours
from batteryxr.xanes.plot import domains as domain_plots
from batteryxr.xanes.plot import maps as map_plots
from batteryxr.xanes.plot import series as series_plots
from batteryxr.xanes.plot import spectra as spectrum_plots
from batteryxr.xanes.plot import stacks as stack_plots
from batteryxr.xanes.preparing import baselines, despiking, smoothing
from batteryxr.xanes.series import alignment, glitches, merging
from batteryxr.xanes.spectra import AXES
from batteryxr.xanes.stacks import images, ptychography, registration

_IMAGE = ("y", "x")
#: Dimensions of a series; one is enough.
_SERIES = ("scan", "state", "particle", "cluster")
_MANY = (*_SERIES, "y", "x")


class XanesPlot(Accessor):
    """Plot stacks and spectra."""

    _understands = ("energy", "shift", "y", "x", "particle", "cluster")
    _called = "xanes.plot"

    # stacks and spectra
    stack = method(stack_plots.plot_stack, *_IMAGE)
    drift = method(stack_plots.plot_drift, "energy", "shift_y", "shift_x")
    spectra = method(spectrum_plots.plot_spectra, AXES)
    contour = method(contours.plot_contour, ("scan", "state"), AXES)
    fit = method(spectrum_plots.plot_fit, ("energy", "shift"))
    shares = method(domain_plots.plot_shares, "cluster")


class XanesMapsPlot(XanesPlot):
    """Plot stacks and spectra, and the results found in them."""

    # maps and series
    maps = method(map_plots.plot_maps, *_IMAGE)
    series = method(series_plots.plot_series, _SERIES)
    combination = method(map_plots.plot_combination, "standard", "weight")
    components = method(series_plots.plot_components, "component", "eigenvalue_number")

    # domains
    cluster_orders = method(domain_plots.plot_cluster_orders, "n_clusters")
    clusters = method(domain_plots.plot_clusters, "cluster", "label")
    features = method(domain_plots.plot_features, *_IMAGE)
    cluster_spectra = method(domain_plots.plot_cluster_spectra, "cluster", "energy")
    densities = method(domain_plots.plot_densities, "cluster")


@xr.register_dataarray_accessor("xanes")
class Xanes(Accessor):
    """Find chemical states from spectra, series and stacks along `energy`.

    1. ``normal = mu.xanes.normalise(e0=5480)``
    2. ``edge = normal.xanes.edge_energy()``
    3. ``maps = stack.xanes.fit_edge(edge=(5470, 5486), peaks=[(5463, 5470)])``
    4. ``shares = normal.xanes.lcf(standards={"III": v2o3, "V": v2o5})``
    5. The maps have a ``.xanes`` of their own.
    """

    _understands: ClassVar[tuple[str, ...]] = (
        *("energy", "shift", "y", "x"),
        *("two_theta", "q", "d"),
        *("particle", "scan", "state"),
    )

    # looking at it
    view = opens("StackViewer", *_IMAGE)
    plot = group(XanesPlot)

    # from frames to absorption and phase
    optical_density = method(images.optical_density, "energy")
    reference_phase = method(ptychography.reference_phase, *_IMAGE)
    from_transmission = method(ptychography.from_transmission, ("energy", "y"))
    register = method(registration.register, "energy", *_IMAGE)
    rebin = method(images.rebin, ("energy", "y"))

    # scans of a series
    calibrate_energy = method(alignment.calibrate_energy, "energy")
    align = method(alignment.align, "energy", _MANY)
    deglitch = method(glitches.deglitch, "energy")
    merge = method(merging.merge, "energy", _MANY)
    rebin_energy = method(merging.rebin_energy, "energy")

    # without rays and backgrounds, smooth, on one scale
    despike = method(despiking.despike, AXES)
    subtract_baseline = method(baselines.subtract_baseline, AXES)
    smooth = method(smoothing.smooth, AXES)
    rescale = method(smoothing.rescale, AXES)

    # normalisation and edge energies
    normalise = method(normalisation.normalise, "energy")
    mback = method(tabulated.mback, "energy")
    over_absorption = method(over_absorption.over_absorption, "energy")
    edge_energy = method(edges.edge_energy, "energy")
    valence = method(calibration.valence, _MANY)

    # the edge model at every pixel
    noise_mask = method(noise.noise_mask, "energy")
    fit_edge = method(edge_model.fit_edge, "energy")
    fit_edge_shared = method(global_fit.fit_edge_shared, "energy", _MANY)
    fit_peaks = method(peak_model.fit_peaks, AXES)

    # diffraction of powders
    convert_axis = method(instrument.convert_axis, instrument.PATTERN_AXES)
    fit_lattice = method(lattices.fit_lattice, instrument.PATTERN_AXES)
    fit_pattern = method(pawley.fit_pattern, instrument.PATTERN_AXES)

    # combinations
    lcf = method(combination.lcf, "energy")
    lcf_subsets = method(subsets.lcf_subsets, "energy")
    pca = method(components.pca, "energy", _MANY)

    # composition
    projected_density = method(composition.projected_density, _MANY)
    effective_electrons = method(composition.effective_electrons, ("energy", *_MANY))
    scattering_factors = method(kramers_kronig.scattering_factors, "energy")
    kramers_kronig_misfit = method(kramers_kronig.kramers_kronig_misfit, "energy")

    # domains
    rim_distance = method(domain_statistics.rim_distance, *_IMAGE)
    cluster_shares = method(domain_statistics.cluster_shares, _MANY)
    cluster_spectra = method(domain_statistics.cluster_spectra, "energy", _MANY)


@xr.register_dataset_accessor("xanes")
class XanesMaps(Xanes):
    """Work on results from spectra: maps or series, compositions and domains.

    1. ``density = maps.xanes.projected_density(element="V")``
    2. ``ratio = electrons.xanes.electron_ratio(density=density)``
    3. ``maps.xanes.cluster_orders()`` shows how many domains there may be.
    4. ``domains = maps.xanes.cluster(n_clusters=4)``
    5. A Dataset with `absorption` and `phase` has all methods of a single array.
    """

    _understands = (*Xanes._understands, "peak", "standard", "component", "cluster")
    _called = "xanes"

    # looking at it
    plot = group(XanesMapsPlot)

    # from frames to absorption and phase
    optical_density = method(images.optical_density, "energy", "intensity")
    reference_phase = method(
        ptychography.reference_phase, *_IMAGE, ("transmission", "phase")
    )
    from_transmission = method(ptychography.from_transmission, "transmission")

    # normalisation and edge energies
    sum_elements = method(detectors.sum_elements, "energy")
    valence = method(calibration.valence, "edge_energy")

    # the edge model at every pixel
    band_ratio = method(bands.band_ratio, ("peak_area", "peak_height"))
    band_centroid = method(bands.band_centroid, "peak_position_error")
    model_curve = method(fitted_curve.model_curve, ("edge_jump", "peak_height"))
    sparse_energies = method(
        sparse.sparse_energies, ("edge_energy_error", "peak_area_error")
    )

    # diffraction of powders
    crystallite_size = method(sizes.crystallite_size, "reflection", "peak_fwhm")

    # combinations
    target_transform = method(components.target_transform, "component", "energy")

    # composition
    projected_density = method(composition.projected_density, "edge_jump")
    effective_electrons = method(composition.effective_electrons, "phase")
    electron_ratio = method(composition.electron_ratio, "effective_electrons")
    kramers_kronig_misfit = method(
        kramers_kronig.kramers_kronig_misfit, "energy", "phase"
    )

    # domains
    rim_distance = method(domain_statistics.rim_distance, "flag", *_IMAGE)
    cluster_orders = method(domains.cluster_orders, *_IMAGE)
    panel = opens("ClusterPanel", *_IMAGE)
    cluster = method(domains.cluster, *_IMAGE)
    cluster_shares = method(domain_statistics.cluster_shares, "cluster", "label")
    cluster_density = method(domain_statistics.cluster_density, *_IMAGE)
