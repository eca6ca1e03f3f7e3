"""XANES imaging: normalisation, edge fits, composition, combinations."""

from batteryxr.xanes.bands import band_ratio as band_ratio
from batteryxr.xanes.calibration import valence as valence
from batteryxr.xanes.combination import lcf as lcf
from batteryxr.xanes.components import pca as pca
from batteryxr.xanes.components import target_transform as target_transform
from batteryxr.xanes.composition import effective_electrons as effective_electrons
from batteryxr.xanes.composition import electron_ratio as electron_ratio
from batteryxr.xanes.composition import projected_density as projected_density
from batteryxr.xanes.composition import theoretical_ratio as theoretical_ratio
from batteryxr.xanes.domain_plots import plot_cluster_orders as plot_cluster_orders
from batteryxr.xanes.domain_plots import plot_cluster_spectra as plot_cluster_spectra
from batteryxr.xanes.domain_plots import plot_clusters as plot_clusters
from batteryxr.xanes.domain_plots import plot_densities as plot_densities
from batteryxr.xanes.domain_plots import plot_features as plot_features
from batteryxr.xanes.domain_plots import plot_shares as plot_shares
from batteryxr.xanes.domain_statistics import cluster_density as cluster_density
from batteryxr.xanes.domain_statistics import cluster_shares as cluster_shares
from batteryxr.xanes.domain_statistics import cluster_spectra as cluster_spectra
from batteryxr.xanes.domain_statistics import rim_distance as rim_distance
from batteryxr.xanes.domains import cluster as cluster
from batteryxr.xanes.domains import cluster_orders as cluster_orders
from batteryxr.xanes.edge_model import fit_edge as fit_edge
from batteryxr.xanes.edge_model import fit_peaks as fit_peaks
from batteryxr.xanes.edges import edge_energy as edge_energy
from batteryxr.xanes.fitted_curve import model_curve as model_curve
from batteryxr.xanes.global_fit import fit_edge_shared as fit_edge_shared
from batteryxr.xanes.kramers_kronig import (
    kramers_kronig_misfit as kramers_kronig_misfit,
)
from batteryxr.xanes.kramers_kronig import scattering_factors as scattering_factors
from batteryxr.xanes.models import Edge as Edge
from batteryxr.xanes.models import Peak as Peak
from batteryxr.xanes.noise import noise_mask as noise_mask
from batteryxr.xanes.normalisation import normalise as normalise
from batteryxr.xanes.plots import plot_combination as plot_combination
from batteryxr.xanes.plots import plot_drift as plot_drift
from batteryxr.xanes.plots import plot_fit as plot_fit
from batteryxr.xanes.plots import plot_maps as plot_maps
from batteryxr.xanes.plots import plot_spectra as plot_spectra
from batteryxr.xanes.plots import plot_stack as plot_stack
from batteryxr.xanes.ptychography import from_transmission as from_transmission
from batteryxr.xanes.ptychography import reference_phase as reference_phase
from batteryxr.xanes.registration import register as register
from batteryxr.xanes.series_plots import plot_components as plot_components
from batteryxr.xanes.series_plots import plot_series as plot_series
from batteryxr.xanes.stacks import calibrate_energy as calibrate_energy
from batteryxr.xanes.stacks import optical_density as optical_density
from batteryxr.xanes.stacks import rebin as rebin
