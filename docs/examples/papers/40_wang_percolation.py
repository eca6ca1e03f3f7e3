"""
Paths for lithium in a disordered rock salt
===========================================

Wang et al. (2023), Figure 3: the share of lithium that is connected by channels without
a transition metal. It sets in at about 1.09 lithium per formula unit (Lee et al.,
2014); lithium on tetrahedral sites opens further paths.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/40_wang_percolation.png"

import numpy as np

from batteryxr import echem

found = echem.percolation(np.linspace(0.9, 1.5, 13), size=10, repeats=4)
print("onset", float(found.onset.round(2)), "±", float(found.onset_error.round(2)))
figure = echem.plot_percolation(found)
