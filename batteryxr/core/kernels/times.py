"""Times as whole numbers of nanoseconds since 1970."""

from __future__ import annotations

import numpy as np

#: Number of NumPy's "not a time".
NAT = int(np.iinfo(np.int64).min)
