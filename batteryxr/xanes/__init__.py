"""XANES imaging: normalisation, edge fits, composition, combinations."""

from batteryxr.xanes.edge_model import fit_edge as fit_edge
from batteryxr.xanes.edge_model import fit_peaks as fit_peaks
from batteryxr.xanes.fitted_curve import model_curve as model_curve
from batteryxr.xanes.models import Edge as Edge
from batteryxr.xanes.models import Peak as Peak
from batteryxr.xanes.noise import noise_mask as noise_mask
