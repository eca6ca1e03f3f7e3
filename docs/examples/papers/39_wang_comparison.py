"""
Energy and utilisation of materials
===================================

Wang et al. (2023), Figure 8: stable rock salts and those milled with lithia, by the
numbers of the paper. Utilisation is the share of all lithium that a discharge moves.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/39_wang_comparison.png"

import pandas as pd

from batteryxr import echem

lithia = {"LTMOF": 0, "MS10": 10, "MS20": 20}
formula = "Li1.2Ti0.2Mn0.6O1.8F0.2"
for name, percent in lithia.items():
    mixed = echem.add_lithia(formula, percent) if percent else formula
    print(name, round(echem.theoretical_capacity(mixed)), "mA h/g for all lithium")

table = pd.DataFrame(
    {
        "material": list(lithia),
        "formula": [
            formula,
            "Li1.33Ti0.19Mn0.57O1.81F0.19",
            "Li1.45Ti0.18Mn0.55O1.82F0.18",
        ],
        "class": ["stable", "metastable", "metastable"],
        "capacity": [195.0, 326.0, 349.0],
        "energy": [600.0, 1011.0, 1055.0],
    }
)
figure = echem.plot_comparison(echem.compare(table, tolerance=0.2))
