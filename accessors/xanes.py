"""The ``.xanes`` accessor."""

from __future__ import annotations

import xarray as xr

from batteryxr.accessors.base import Accessor, method, opens
from batteryxr.xanes.composition import (
    combination,
    components,
    composition,
    kramers_kronig,
)
from batteryxr.xanes.domains import clusters as domains
from batteryxr.xanes.domains import statistics as domain_statistics
from batteryxr.xanes.edges import calibration, normalisation
from batteryxr.xanes.edges import energy as edges
from batteryxr.xanes.fit import bands, noise
from batteryxr.xanes.fit import curve as fitted_curve
from batteryxr.xanes.fit import edge as edge_model
from batteryxr.xanes.fit import shared as global_fit
from batteryxr.xanes.plot import domains as domain_plots
from batteryxr.xanes.plot import maps as plots
from batteryxr.xanes.plot import series as series_plots
from batteryxr.xanes.stacks import images as stacks
from batteryxr.xanes.stacks import ptychography, registration


@xr.register_dataarray_accessor("xanes")
@xr.register_dataset_accessor("xanes")
class Xanes(Accessor):
    """Chemical states from spectra, series and stacks along `energy`.

    1. ``normal = mu.xanes.normalise(e0=5480)``
    2. ``edge = normal.xanes.edge_energy()``
    3. ``maps = stack.xanes.fit_edge(edge=(5470, 5486), peaks=[(5463, 5470)])``
    4. ``shares = normal.xanes.lcf(standards={"III": v2o3, "V": v2o5})``
    5. ``ratio = phase.xanes.effective_electrons().xanes.electron_ratio(density=atoms)``
    """

    _understands = ("energy", "shift", "y", "x", "particle", "scan", "state")

    # looking at it
    view = opens("StackViewer")

    # from frames to absorption and phase
    optical_density = method(stacks.optical_density)
    reference_phase = method(ptychography.reference_phase)
    from_transmission = method(ptychography.from_transmission)
    register = method(registration.register)
    rebin = method(stacks.rebin)
    calibrate_energy = method(stacks.calibrate_energy)
    plot_stack = method(plots.plot_stack)
    plot_drift = method(plots.plot_drift)

    # normalisation and edge energies
    normalise = method(normalisation.normalise)
    edge_energy = method(edges.edge_energy)
    valence = method(calibration.valence)
    plot_spectra = method(plots.plot_spectra)

    # the edge model at every pixel
    noise_mask = method(noise.noise_mask)
    fit_edge = method(edge_model.fit_edge)
    fit_edge_shared = method(global_fit.fit_edge_shared)
    fit_peaks = method(edge_model.fit_peaks)
    band_ratio = method(bands.band_ratio)
    model_curve = method(fitted_curve.model_curve)
    plot_fit = method(plots.plot_fit)
    plot_maps = method(plots.plot_maps)
    plot_series = method(series_plots.plot_series)

    # combinations
    lcf = method(combination.lcf)
    plot_combination = method(plots.plot_combination)
    pca = method(components.pca)
    plot_components = method(series_plots.plot_components)
    target_transform = method(components.target_transform)

    # composition
    projected_density = method(composition.projected_density)
    effective_electrons = method(composition.effective_electrons)
    electron_ratio = method(composition.electron_ratio)
    scattering_factors = method(kramers_kronig.scattering_factors)
    kramers_kronig_misfit = method(kramers_kronig.kramers_kronig_misfit)

    # domains
    rim_distance = method(domain_statistics.rim_distance)
    cluster_orders = method(domains.cluster_orders)
    plot_cluster_orders = method(domain_plots.plot_cluster_orders)
    panel = opens("ClusterPanel")
    cluster = method(domains.cluster)
    plot_clusters = method(domain_plots.plot_clusters)
    plot_features = method(domain_plots.plot_features)
    cluster_shares = method(domain_statistics.cluster_shares)
    plot_shares = method(domain_plots.plot_shares)
    cluster_spectra = method(domain_statistics.cluster_spectra)
    plot_cluster_spectra = method(domain_plots.plot_cluster_spectra)
    cluster_density = method(domain_statistics.cluster_density)
    plot_densities = method(domain_plots.plot_densities)
