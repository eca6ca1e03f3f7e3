"""Physical bounds of quantities, and suggestions for numbers that exceed them."""

from batteryxr.core.bounds.judgement import RESULTS as RESULTS
from batteryxr.core.bounds.judgement import Physical as Physical
from batteryxr.core.bounds.judgement import check as check
from batteryxr.core.bounds.judgement import told as told
from batteryxr.core.bounds.judgement import within_span as within_span
from batteryxr.core.bounds.table import BOUNDS as BOUNDS
from batteryxr.core.bounds.table import Bound as Bound
