"""Analyse XANES images: normalisation, edge fits, composition, combinations."""

from batteryxr.xanes.composition.combination import lcf as lcf
from batteryxr.xanes.composition.components import pca as pca
from batteryxr.xanes.composition.components import target_transform as target_transform
from batteryxr.xanes.composition.composition import (
    effective_electrons as effective_electrons,
)
from batteryxr.xanes.composition.composition import electron_ratio as electron_ratio
from batteryxr.xanes.composition.composition import (
    projected_density as projected_density,
)
from batteryxr.xanes.composition.composition import (
    theoretical_ratio as theoretical_ratio,
)
from batteryxr.xanes.composition.kramers_kronig import (
    kramers_kronig_misfit as kramers_kronig_misfit,
)
from batteryxr.xanes.composition.kramers_kronig import (
    scattering_factors as scattering_factors,
)
from batteryxr.xanes.composition.subsets import lcf_subsets as lcf_subsets
from batteryxr.xanes.diffraction.cells import Cell as Cell
from batteryxr.xanes.diffraction.instrument import Diffractometer as Diffractometer
from batteryxr.xanes.diffraction.instrument import convert_axis as convert_axis
from batteryxr.xanes.diffraction.intensities import powder_lines as powder_lines
from batteryxr.xanes.diffraction.lattices import fit_lattice as fit_lattice
from batteryxr.xanes.diffraction.pawley import fit_pattern as fit_pattern
from batteryxr.xanes.diffraction.sizes import crystallite_size as crystallite_size
from batteryxr.xanes.domains.clusters import cluster as cluster
from batteryxr.xanes.domains.clusters import cluster_orders as cluster_orders
from batteryxr.xanes.domains.statistics import cluster_density as cluster_density
from batteryxr.xanes.domains.statistics import cluster_shares as cluster_shares
from batteryxr.xanes.domains.statistics import cluster_spectra as cluster_spectra
from batteryxr.xanes.domains.statistics import rim_distance as rim_distance
from batteryxr.xanes.edges.calibration import valence as valence
from batteryxr.xanes.edges.detectors import sum_elements as sum_elements
from batteryxr.xanes.edges.energy import edge_energy as edge_energy
from batteryxr.xanes.edges.normalisation import normalise as normalise
from batteryxr.xanes.edges.over_absorption import over_absorption as over_absorption
from batteryxr.xanes.edges.tabulated import mback as mback
from batteryxr.xanes.fit.bands import band_centroid as band_centroid
from batteryxr.xanes.fit.bands import band_ratio as band_ratio
from batteryxr.xanes.fit.curve import model_curve as model_curve
from batteryxr.xanes.fit.edge import fit_edge as fit_edge
from batteryxr.xanes.fit.noise import noise_mask as noise_mask
from batteryxr.xanes.fit.peaks import fit_peaks as fit_peaks
from batteryxr.xanes.fit.shared import fit_edge_shared as fit_edge_shared
from batteryxr.xanes.fit.sparse import sparse_energies as sparse_energies
from batteryxr.xanes.fit.terms import Edge as Edge
from batteryxr.xanes.fit.terms import Multistart as Multistart
from batteryxr.xanes.fit.terms import Peak as Peak
from batteryxr.xanes.plot.contours import plot_contour as plot_contour
from batteryxr.xanes.plot.domains import plot_cluster_orders as plot_cluster_orders
from batteryxr.xanes.plot.domains import plot_cluster_spectra as plot_cluster_spectra
from batteryxr.xanes.plot.domains import plot_clusters as plot_clusters
from batteryxr.xanes.plot.domains import plot_densities as plot_densities
from batteryxr.xanes.plot.domains import plot_features as plot_features
from batteryxr.xanes.plot.domains import plot_shares as plot_shares
from batteryxr.xanes.plot.maps import plot_combination as plot_combination
from batteryxr.xanes.plot.maps import plot_maps as plot_maps
from batteryxr.xanes.plot.series import plot_components as plot_components
from batteryxr.xanes.plot.series import plot_series as plot_series
from batteryxr.xanes.plot.spectra import plot_fit as plot_fit
from batteryxr.xanes.plot.spectra import plot_spectra as plot_spectra
from batteryxr.xanes.plot.stacks import plot_drift as plot_drift
from batteryxr.xanes.plot.stacks import plot_stack as plot_stack
from batteryxr.xanes.preparing.baselines import subtract_baseline as subtract_baseline
from batteryxr.xanes.preparing.despiking import despike as despike
from batteryxr.xanes.preparing.smoothing import rescale as rescale
from batteryxr.xanes.preparing.smoothing import smooth as smooth
from batteryxr.xanes.series.alignment import align as align
from batteryxr.xanes.series.alignment import calibrate_energy as calibrate_energy
from batteryxr.xanes.series.glitches import deglitch as deglitch
from batteryxr.xanes.series.merging import merge as merge
from batteryxr.xanes.series.merging import rebin_energy as rebin_energy
from batteryxr.xanes.stacks.images import optical_density as optical_density
from batteryxr.xanes.stacks.images import rebin as rebin
from batteryxr.xanes.stacks.ptychography import from_transmission as from_transmission
from batteryxr.xanes.stacks.ptychography import reference_phase as reference_phase
from batteryxr.xanes.stacks.registration import register as register
