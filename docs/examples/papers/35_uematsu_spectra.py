"""
Absorption and phase of a particle
==================================

Uematsu et al. (2023), Figure 1: at each of 40 energies a complex image; its modulus is
the absorption, and its angle the phase. Mean spectra of the whole particle, and the
phase that the Kramers-Kronig relation expects from its absorption.
"""

# sphinx_gallery_thumbnail_path = "examples/thumbnails/35_uematsu_spectra.png"

import holoviews as hv

from batteryxr import simulate

study = simulate.particles(size=48, seed=0)
objects = study["objects"]["transmission"].sel(particle="P1")
vacuum = abs(objects).min("energy").rolling(y=5, x=5, center=True).min() > 0.99

stack = objects.xanes.reference_phase(vacuum=vacuum).xanes.from_transmission()
stack = stack.xanes.register(by="phase")
inside = study["truth"]["projected_density"].sel(particle="P1") > 0
mean = stack.where(inside).mean(("y", "x"), keep_attrs=True)
figure = hv.Layout([mean[name].hvplot.line(x="energy") for name in mean]).cols(1)
