"""``python -m batteryxr``."""

from __future__ import annotations

import sys

from batteryxr.cli.main import main

sys.exit(main())
