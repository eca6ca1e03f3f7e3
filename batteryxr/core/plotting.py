"""Loading hvplot: offline, and only when a plot is asked for."""

from __future__ import annotations

from typing import Any

from batteryxr.core.optional import unchanged_process


def load_hvplot() -> Any:
    """Import hvplot with its script served from this machine; return holoviews.

    Panel before 1.10 takes BokehJS from the internet unless it is embedded before
    hvplot is imported; later versions are served by Jupyter itself.
    """
    import warnings
    from importlib.metadata import version

    with unchanged_process(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import holoviews as hv

        panel = tuple(int(p) for p in version("panel").split(".")[:2])
        if panel < (1, 10) and not getattr(hv.extension, "_loaded", False):
            hv.extension("bokeh", inline=True)
        import hvplot.xarray  # noqa: F401
    return hv
