"""
X-rays and neutrons of a rock salt with vacancies
=================================================

Wang et al. (2023), Figure 2: relative intensities of a disordered rock salt for X-rays
and neutrons, with all cation sites filled and with 10 % of them empty. The two
radiations together tell what is on a site. Refining a structure is left to programs
made for it.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/45_wang_structure.png"

from itertools import product
from pathlib import Path
from tempfile import mkdtemp

import xarray as xr
from diffpy.structure import Atom, Lattice, Structure

import batteryxr
from batteryxr.xanes import Diffractometer, powder_lines

batteryxr.load_hvplot()
centres = [c for c in product((0, 0.5), repeat=3) if sum(c) in (0, 1)]
metals = {"Li": 0.6, "Ti": 0.1, "Mn": 0.3}


def salt(filled):
    """Write a salt of which a share of the cation sites is filled."""
    atoms = [
        Atom(name, site, occupancy=share * filled)
        for site in centres
        for name, share in metals.items()
    ]
    atoms += [Atom("O", [(x + 0.5) % 1 for x in site]) for site in centres]
    path = Path(mkdtemp()) / "salt.cif"
    Structure(atoms, Lattice(4.15, 4.15, 4.15, 90, 90, 90)).write(str(path), "cif")
    return path


lines = {
    f"{kind}, {share:.0%} filled": powder_lines(
        salt(share), instrument=Diffractometer(radiation=kind, wavelength=1.54)
    )["intensity"]
    for kind in ("xray", "neutron")
    for share in (1.0, 0.9)
}
table = xr.concat(lines.values(), xr.Variable("pattern", list(lines)))
print(table.to_series().unstack("pattern").round(1).to_string())
table = table.assign_coords(order=("reflection", range(table.sizes["reflection"])))
figure = table.hvplot.scatter(x="order", by="pattern", width=600).opts(
    xticks=list(enumerate(table.reflection.values)), xlabel="Reflection"
)
