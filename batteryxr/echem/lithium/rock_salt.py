"""Simulate the percolation of lithium in cation-disordered rock salts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from batteryxr.core.checks import Bounds
from batteryxr.core.errors import ArgumentError, warn_quality
from batteryxr.core.progress import track
from batteryxr.core.provenance import recorded
from batteryxr.core.seeds import generators
from batteryxr.echem.lithium.composition import Composition, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batteryxr.core.checks import Seed

Several = Annotated[int, Bounds(low=2)]

_LONG_NAMES = {
    "li_li_pairs": "Nearest-neighbour Li-Li pairs per cell",
    "zero_tm_paths": "0-TM paths per cell",
    "tetrahedral_contacts": "Tetrahedral-octahedral Li contacts per cell",
    "largest_cluster": "Li in the largest 0-TM cluster",
    "percolating_share": "Li in percolating 0-TM clusters",
    "percolates": "Share of lattices that percolate",
    "joined_cluster": "Li in the largest cluster, tetrahedral Li joining",
}


@dataclass(frozen=True)
class _Filling:
    """Hold the lithium per two anions on each kind of site."""

    octahedral: float
    tetrahedral: float


@recorded
def percolation(
    formula: str | Composition | float | Sequence[str | float] | xr.DataArray,
    *,
    size: Several = 20,
    repeats: Several = 10,
    seed: Seed = 0,
    tetrahedral: Annotated[float, Bounds(low=0.0, high=4.0)] | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Count lithium paths in a disordered rock salt, and the lithium they connect.

    Cations are placed at random on the octahedral sites of a periodic lattice. Lithium
    hops octahedron - tetrahedron - octahedron if the tetrahedron's four octahedral
    neighbours are all lithium (a 0-TM channel).

    Parameters
    ----------
    formula
        Formula, or the Li per two cations as a number. A sequence or one-dimensional
        array of either is a sweep. Cations of a formula beyond its anions count as
        lithium on tetrahedral sites.
    size
        Unit cells along each edge; 4 cations and 8 tetrahedra per cell.
    repeats
        Random lattices per composition, at least two for the errors.
    seed
        Random seed. All compositions fill the same lattices, so a sweep is smooth and
        a composition's result does not depend on the others.
    tetrahedral
        Lithium on tetrahedral sites per two anions, at random. For a formula it is
        moved there and leaves octahedral vacancies, which do not count as lithium: a
        channel needs four. Cations that the formula lacks are vacancies too. For a
        number it is additional lithium. Default: the excess of the formula, 0 for
        numbers.
    progress
        Show a progress bar; None: only in an interactive session.

    Returns
    -------
    xarray.Dataset
        Means over the repeats, each with ``<name>_error``, the standard error:
        ``li_li_pairs``, ``zero_tm_paths`` and ``tetrahedral_contacts`` per cubic
        cell (expected 24 p2, 48 p4 and 32 y p for a share p of octahedral and y of
        tetrahedral sites filled); ``largest_cluster`` and ``percolating_share`` of
        the octahedral lithium; ``percolates``; ``joined_cluster``, the largest share
        of all lithium if tetrahedral lithium joins its neighbours too; ``onset``, the
        Li per two cations at which percolation begins on lattices of this size. The
        dimension is ``li_content`` (numbers) or ``material`` (formulas); a single
        composition has none.

    Raises
    ------
    ArgumentError
        If a content is outside 0 to 2, the lattice is too small, repeats are below 2,
        or the formula has too little lithium to move.

    Notes
    -----
    Lee et al., Science 343, 519 (2014): 0-TM percolation of a random rock salt begins
    at 1.09 Li per two cations. Finite lattices blur it; the error of ``onset`` is
    statistical.

    Examples
    --------
    >>> found = batteryxr.echem.percolation("Li1.2Mn0.8O2", size=6, repeats=3)
    >>> list(found.data_vars)[:3]
    ['li_li_pairs', 'li_li_pairs_error', 'zero_tm_paths']
    """
    entries, dim = _entries(formula)
    fillings = [_filling(entry, tetrahedral) for entry in entries]
    from batteryxr.echem.kernels import lattice

    n = 2 * size
    sites = lattice.octahedral_sites(n)
    wanted = np.array([round(f.octahedral / 2 * sites.size) for f in fillings])
    # Two anions belong to two octahedral and four tetrahedral sites.
    extra = np.array([round(f.tetrahedral / 4 * n**3) for f in fillings])
    ascending = np.argsort(wanted, kind="stable")
    reports = np.empty((repeats, len(fillings), len(lattice.COLUMNS)))
    onsets = np.empty(repeats)
    streams = generators(seed, repeats)
    for number, rng in enumerate(track(streams, "Filling lattices", progress=progress)):
        report, onset = lattice.fill(
            rng.permutation(sites),
            rng.permutation(n**3),
            wanted[ascending],
            extra[ascending],
            n,
        )
        reports[number, ascending] = report
        onsets[number] = 2 * onset / sites.size
    result = xr.Dataset(attrs={"size": size, "repeats": repeats})
    for column, name in enumerate(lattice.COLUMNS):
        values = reports[:, :, column] if dim else reports[:, 0, column]
        _add(result, dim, name, values, long_name=_LONG_NAMES[name])
    words = "Onset of percolation, Li per two cations"
    _add(result, None, "onset", onsets, long_name=words)
    octahedral, inserted = np.array([(f.octahedral, f.tetrahedral) for f in fillings]).T
    coords = {
        "li_content": (octahedral, "Octahedral Li per two cations"),
        "tetrahedral": (inserted, "Tetrahedral Li per two anions"),
    }
    if dim == "material":
        coords["material"] = (np.array([str(e) for e in entries]), "Material")
    return result.assign_coords(
        {
            name: (
                (dim,) if dim else (),
                values if dim else values[0],
                {"units": "1", "long_name": long_name},
            )
            for name, (values, long_name) in coords.items()
        }
    )


def _add(
    result: xr.Dataset,
    dim: str | None,
    name: str,
    values: np.ndarray,
    *,
    long_name: str,
) -> None:
    """Add the mean over the first axis, and its standard error."""
    dims = (dim,) if dim else ()
    error = values.std(axis=0, ddof=1) / np.sqrt(values.shape[0])
    about = {"units": "1", "long_name": long_name}
    result[name] = (dims, values.mean(axis=0), about)
    about = about | {"long_name": f"Standard error: {long_name}"}
    result[f"{name}_error"] = (dims, error, about)


def _entries(
    formula: str | Composition | float | Sequence[str | float] | xr.DataArray,
) -> tuple[list[str | Composition | float], str | None]:
    """Return the compositions as a list, and the dimension of the result."""
    if isinstance(formula, str | Composition):
        return [formula], None
    values = np.asarray(formula)
    if values.ndim == 0:
        return [values.item()], None
    if values.ndim > 1 or values.size == 0:
        raise ArgumentError(
            "formula", formula, "one formula or number, or a list of them"
        )
    numbers = values.dtype.kind in "biuf"
    return values.tolist(), "li_content" if numbers else "material"


def _filling(entry: str | Composition | float, tetrahedral: float | None) -> _Filling:
    if not isinstance(entry, str | Composition):
        filling = _Filling(float(entry), float(tetrahedral or 0.0))
    elif tetrahedral is None:
        filling = _of_formula(parse(entry))
    else:
        filling = _moved(parse(entry), float(tetrahedral))
    if not 0 <= filling.octahedral <= 2:
        raise ArgumentError("formula", entry, "0 to 2 Li per two cations")
    if not 0 <= filling.tetrahedral <= 4:
        expected = "0 to 4 tetrahedral Li per two anions"
        raise ArgumentError("formula", entry, expected)
    return filling


def _moved(composition: Composition, tetrahedral: float) -> _Filling:
    """Return the filling of a formula with this much lithium on tetrahedra."""
    lithium = composition["Li"] * 2 / composition.anions
    beyond = max(composition.cations_per_anions(2) - 2, 0.0)
    low, high = min(beyond, lithium), min(lithium, 4.0)
    if not low - 1e-9 <= tetrahedral <= high:
        raise ArgumentError(
            "tetrahedral",
            tetrahedral,
            f"{low:.3g} to {high:.3g} of the lithium of {composition}",
            "Its octahedral sites hold no more, and it has no more.",
        )
    return _Filling(lithium - tetrahedral, tetrahedral)


def _of_formula(composition: Composition) -> _Filling:
    cations = composition.cations_per_anions(2)
    lithium = composition["Li"] * 2 / composition.anions
    if cations > 2:
        return _Filling(lithium - (cations - 2), cations - 2)
    if cations < 1.99:
        warn_quality(
            f"{composition} has {cations:.3g} cations per two anions. Vacancies are "
            "not modelled: its cations are spread over all octahedral sites."
        )
    return _Filling(lithium * 2 / cations, 0.0)
