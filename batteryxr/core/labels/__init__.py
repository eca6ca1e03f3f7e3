"""Labels: matching of arrays, and checks of axes."""

from batteryxr.core.labels.axes import MOTOR as MOTOR
from batteryxr.core.labels.axes import even_step as even_step
from batteryxr.core.labels.axes import require_even as require_even
from batteryxr.core.labels.axes import require_monotonic as require_monotonic
from batteryxr.core.labels.axes import require_once as require_once
from batteryxr.core.labels.boundary import OwnLabels as OwnLabels
from batteryxr.core.labels.boundary import exact_joins as exact_joins
from batteryxr.core.labels.boundary import explained as explained
from batteryxr.core.labels.boundary import on_labels as on_labels
from batteryxr.core.labels.matching import matched as matched
