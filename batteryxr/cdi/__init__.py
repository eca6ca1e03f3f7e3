"""Coherent diffraction: Bragg CDI, ptychography, and strain over states."""

from batteryxr.cdi.bragg.assembly import stack_states as stack_states
from batteryxr.cdi.bragg.assembly import sum_repeats as sum_repeats
from batteryxr.cdi.bragg.comparison import phase_differences as phase_differences
from batteryxr.cdi.bragg.diffractometer import geometry as geometry
from batteryxr.cdi.bragg.domains import domains as domains
from batteryxr.cdi.bragg.frames import correct as correct
from batteryxr.cdi.bragg.frames import hot_pixels as hot_pixels
from batteryxr.cdi.bragg.instrument import Beamline as Beamline
from batteryxr.cdi.bragg.instrument import Circle as Circle
from batteryxr.cdi.bragg.instrument import beamline as beamline
from batteryxr.cdi.bragg.instrument import beamlines as beamlines
from batteryxr.cdi.bragg.laboratory import analysis_support as analysis_support
from batteryxr.cdi.bragg.laboratory import crop_to_support as crop_to_support
from batteryxr.cdi.bragg.laboratory import to_laboratory as to_laboratory
from batteryxr.cdi.bragg.lattice import displacement as displacement
from batteryxr.cdi.bragg.lattice import unwrap as unwrap
from batteryxr.cdi.bragg.learned.network import Network as Network
from batteryxr.cdi.bragg.learned.retrieval import retrieve_learned as retrieve_learned
from batteryxr.cdi.bragg.order import inverse_pca as inverse_pca
from batteryxr.cdi.bragg.order import order_parameter as order_parameter
from batteryxr.cdi.bragg.peak import crop as crop
from batteryxr.cdi.bragg.peak import locate_peak as locate_peak
from batteryxr.cdi.bragg.physics.detector import (
    calibrate_detector as calibrate_detector,
)
from batteryxr.cdi.bragg.physics.refraction import (
    correct_refraction as correct_refraction,
)
from batteryxr.cdi.bragg.physics.resolution import resolution as resolution
from batteryxr.cdi.bragg.physics.spacing import lattice_spacing as lattice_spacing
from batteryxr.cdi.bragg.physics.spacing import peak_spacings as peak_spacings
from batteryxr.cdi.bragg.physics.strain import strain as strain
from batteryxr.cdi.bragg.plot.retrieval import plot_fsc as plot_fsc
from batteryxr.cdi.bragg.plot.retrieval import plot_prtf as plot_prtf
from batteryxr.cdi.bragg.plot.retrieval import plot_slices as plot_slices
from batteryxr.cdi.bragg.plot.retrieval import plot_starts as plot_starts
from batteryxr.cdi.bragg.plot.states import plot_field as plot_field
from batteryxr.cdi.bragg.plot.states import plot_hysteresis as plot_hysteresis
from batteryxr.cdi.bragg.plot.states import plot_isosurface as plot_isosurface
from batteryxr.cdi.bragg.quality import fsc as fsc
from batteryxr.cdi.bragg.quality import misfit as misfit
from batteryxr.cdi.bragg.quality import prtf as prtf
from batteryxr.cdi.bragg.retrieval import retrieve as retrieve
from batteryxr.cdi.bragg.settings import Selection as Selection
from batteryxr.cdi.bragg.settings import ShrinkWrap as ShrinkWrap
from batteryxr.cdi.bragg.several.alignment import align_states as align_states
from batteryxr.cdi.bragg.several.replicas import replicas as replicas
from batteryxr.cdi.bragg.several.series import retrieve_states as retrieve_states
from batteryxr.cdi.bragg.several.summary import summarise_states as summarise_states
from batteryxr.cdi.bragg.several.tracking import track_domains as track_domains
from batteryxr.cdi.bragg.states import common_support as common_support
from batteryxr.cdi.bragg.states import fill_missing as fill_missing
from batteryxr.cdi.bragg.superposition import align as align
from batteryxr.cdi.bragg.superposition import decompose as decompose
from batteryxr.cdi.ptycho.engines import DM as DM
from batteryxr.cdi.ptycho.engines import EPIE as EPIE
from batteryxr.cdi.ptycho.engines import LSQML as LSQML
from batteryxr.cdi.ptycho.engines import RAAR as RAAR
from batteryxr.cdi.ptycho.engines import RPIE as RPIE
from batteryxr.cdi.ptycho.estimate import ptycho_plan as ptycho_plan
from batteryxr.cdi.ptycho.examine import check_ptycho as check_ptycho
from batteryxr.cdi.ptycho.orientation import orientation as orientation
from batteryxr.cdi.ptycho.probe import Mirrors as Mirrors
from batteryxr.cdi.ptycho.probe import ZonePlate as ZonePlate
from batteryxr.cdi.ptycho.probe import ptycho_probe as ptycho_probe
from batteryxr.cdi.ptycho.quality import frc as frc
from batteryxr.cdi.ptycho.quality import ptycho_fit as ptycho_fit
from batteryxr.cdi.ptycho.reconstruct import ptycho as ptycho
from batteryxr.cdi.ptycho.scan import ptycho_scan as ptycho_scan
from batteryxr.cdi.ptycho.settings import KramersKronig as KramersKronig
from batteryxr.cdi.ptycho.settings import Recording as Recording
from batteryxr.cdi.ptycho.settings import Registration as Registration
from batteryxr.cdi.ptycho.settings import Resources as Resources
from batteryxr.cdi.ptycho.settings import Schedule as Schedule
from batteryxr.cdi.ptycho.stack import ptycho_energies as ptycho_energies
from batteryxr.cdi.ptycho.watch import plot_ptycho as plot_ptycho
from batteryxr.cdi.ptycho.watch import ptycho_progress as ptycho_progress
