"""Hold conventions, settings and results of an operando experiment."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from batteryxr.core.checks import (
    Count,
    Finite,
    NonNegative,
    Positive,
    Seed,
    check_fields,
)
from batteryxr.core.errors import ArgumentError, BatteryxrWarning, pass_on
from batteryxr.core.store import open_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray as xr

    from batteryxr.core.store import Revision


@dataclass(frozen=True)
class Conventions:
    """State facts about the cell and its files that only the user knows.

    Parameters
    ----------
    timezone
        Zone of local times in the files, such as ``"Europe/Paris"``; a pair if the
        clocks of the cycler and of the scans have different zones. It is never guessed.
    clock_offset
        Seconds to add to the scans' clock to get the cycler's.
    exposure
        Exposure of each scan in s, if the files do not give it; 0 for instants.
    electrode, first
        Electrode that is cycled, and direction that begins a cycle; see `echem.cycles`.
        Without them, half cycles are reported and no efficiency.
    mass
        Active mass in mg, for specific capacities.
    formula
        Composition as loaded; with `mass` it gives the Li content.
    columns
        Meaning of labels in the cycler's files that do not tell it; see `read_cycler`.
    """

    timezone: str | Sequence[str] | None = None
    clock_offset: Finite = 0.0
    exposure: NonNegative | None = None
    electrode: Literal["cathode", "anode", "full"] | None = None
    first: Literal["charge", "discharge"] | None = None
    mass: Positive | None = None
    formula: str | None = None
    columns: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def zones(self) -> tuple[str | None, str | None]:
        """Return the zones of the cycler and of the scans.

        Raises
        ------
        ArgumentError
            If `timezone` is neither one zone nor a pair.
        """
        if self.timezone is None or isinstance(self.timezone, str):
            return self.timezone, self.timezone
        if len(self.timezone) not in (1, 2):
            raise ArgumentError(
                "timezone", self.timezone, "one zone, or the cycler's and the scans'"
            )
        return self.timezone[0], self.timezone[-1]


def cycling_results(
    record: xr.Dataset, known: Conventions
) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the results of a record alone, each with its group.

    ``echem/cycles`` is left out if electrode or first direction are unknown.
    """
    yield "echem/half_cycles", record.echem.half_cycles()
    if known.electrode is not None and known.first is not None:
        cycles = record.echem.cycles(
            electrode=known.electrode, first=known.first, mass=known.mass
        )
        yield "echem/cycles", cycles
    yield "echem/dqdv", record.echem.dqdv(mass=known.mass)


@dataclass(frozen=True)
class Unmixing:
    """Set how a series of scans is unmixed.

    Parameters
    ----------
    n_components
        Number of components. Default 3, which the report then states.
    signal_range
        Part of the scan axis to unmix, in its units.
    seed
        Seed of the factorisation, and of the experiment if it is simulated.
    """

    n_components: Count | None = None
    signal_range: Sequence[float] | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass
class Findings:
    """Hold results of the analysis of an experiment so far.

    Parameters
    ----------
    change
        Change of the store; it takes effect when all groups are written.
    kind
        Group of the scans in the store.
    notes
        Notes for the user: warnings, and what was left out and why.
    """

    change: Revision
    kind: str = "series"
    notes: list[str] = field(default_factory=list)

    def write(self, data: Any, group: str) -> None:
        """Store a group."""
        self.change.write(
            data if hasattr(data, "data_vars") else data.to_dataset(), group
        )

    def read(self, group: str) -> xr.Dataset:
        """Open a group lazily."""
        place = self.change.place(group)
        assert place is not None, group
        return open_place(self.change.location, place, group)

    def has(self, group: str) -> bool:
        """Tell whether a group was written."""
        return self.change.place(group) is not None

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Turn batteryxr's warnings into notes."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", BatteryxrWarning)
            yield
        for warning in pass_on(caught):
            text = str(warning.message)
            if text not in self.notes:
                self.notes.append(text)
