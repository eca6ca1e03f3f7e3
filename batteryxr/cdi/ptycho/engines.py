"""Engines by name, and the arrays that they run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batteryxr.core.errors import ArgumentError

if TYPE_CHECKING:
    from batteryxr.cdi.ptycho.kernels.loop import Options

#: What can be asked for, with the arguments of its options. The steps of ePIE are those
#: that come nearest to known objects: a probe that moves as fast takes noise with it.
#: Those of rPIE stay stable on bright measured frames with several modes.
ENGINES: dict[str, dict[str, Any]] = {
    "ePIE": {"object_step": 1.0, "probe_step": 0.5},
    "rPIE": {
        "object_step": 0.5,
        "probe_step": 0.5,
        "object_alpha": 0.2,
        "momentum": 0.3,
    },
    "LSQML": {},
    "DM": {"algorithm": "DM", "beta": 1.0},
    "RAAR": {"algorithm": "RAAR", "beta": 0.8},
}


def options(engine: str, given: dict[str, Any] | None) -> Options:
    """Return the options of a named engine, with those given instead of its own.

    Raises
    ------
    ArgumentError
        If there is no such engine, or it has no such option.
    """
    from batteryxr.cdi.ptycho.kernels.lsq import LsqOptions
    from batteryxr.cdi.ptycho.kernels.pie import PieOptions
    from batteryxr.cdi.ptycho.kernels.projections import ProjectionOptions

    names = {name.lower(): name for name in ENGINES}
    name = names.get(engine.lower())
    if name is None:
        raise ArgumentError("engine", engine, f"one of {list(ENGINES)}")
    kind: Any = {
        "ePIE": PieOptions,
        "rPIE": PieOptions,
        "LSQML": LsqOptions,
    }.get(name, ProjectionOptions)
    chosen = ENGINES[name] | (given or {})
    known = {*kind.__dataclass_fields__} - {"algorithm"}
    for key, value in (given or {}).items():
        if key not in known:
            raise ArgumentError("options", key, f"options of {name}: {sorted(known)}")
        if not isinstance(value, bool) and not value >= 0:
            raise ArgumentError(f"options[{key!r}]", value, "a number >= 0")
    made: Options = kind(**chosen)
    return made


def needs_all(engine: str) -> bool:
    """Tell whether an engine holds the exit waves of all frames at once."""
    return engine.lower() in ("dm", "raar")
