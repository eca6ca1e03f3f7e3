"""Panels: models of a user's choices, and the views that show them in a notebook."""

from batteryxr.widgets.cluster_panel import ClusterPanel
from batteryxr.widgets.component_panel import ComponentPanel
from batteryxr.widgets.crystal_panel import CrystalPanel
from batteryxr.widgets.impedance_panel import ImpedancePanel
from batteryxr.widgets.ptycho_panel import PtychoPanel
from batteryxr.widgets.stack_viewer import StackViewer
from batteryxr.widgets.state_panel import VoltageStatePanel

__all__ = [
    "ClusterPanel",
    "ComponentPanel",
    "CrystalPanel",
    "ImpedancePanel",
    "PtychoPanel",
    "StackViewer",
    "VoltageStatePanel",
]
