"""
Ptychography
============

Object and probe from overlapping diffraction patterns of a simulated particle, after a
few passes.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/16_ptychography.png"

from batteryxr import simulate

scan, truth = simulate.ptychography(energy=[5540.0], positions=8, seed=0)

result = scan.isel(energy=0).cdi.ptycho(iterations=40, progress=False)
figure = result.cdi.plot.ptycho()
