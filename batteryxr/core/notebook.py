"""The notebook or IPython session that the library runs in, if it runs in one."""

from __future__ import annotations

import sys
from typing import Any


def shell() -> Any:
    """Return IPython's running shell, or None; only a notebook's has a kernel.

    Does not import IPython: where nobody has, there is no shell.
    """
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None
