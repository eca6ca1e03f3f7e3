"""
Percolation of a disordered rock salt
=====================================

The share of lithium that paths through tetrahedra without transition metal connect,
against the lithium content.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/17_percolation.png"

from batteryxr import echem

result = echem.percolation([1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4], size=12, repeats=4)
figure = echem.plot_percolation(result)
