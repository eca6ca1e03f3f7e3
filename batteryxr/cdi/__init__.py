"""Coherent diffraction: Bragg CDI and ptychography, then strain and its change."""

from batteryxr.cdi.quality import decompose as decompose
from batteryxr.cdi.quality import fsc as fsc
from batteryxr.cdi.quality import misfit as misfit
from batteryxr.cdi.quality import overlay as overlay
from batteryxr.cdi.quality import prtf as prtf
from batteryxr.cdi.retrieval import retrieve as retrieve
from batteryxr.cdi.retrieval_plots import plot_fsc as plot_fsc
from batteryxr.cdi.retrieval_plots import plot_prtf as plot_prtf
from batteryxr.cdi.retrieval_plots import plot_slices as plot_slices
from batteryxr.cdi.retrieval_plots import plot_starts as plot_starts
