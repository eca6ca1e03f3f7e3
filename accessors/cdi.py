"""The ``.cdi`` accessor."""

from __future__ import annotations

import xarray as xr

from batteryxr.accessors.base import Accessor, method, opens
from batteryxr.cdi.bragg import (
    assembly,
    comparison,
    diffractometer,
    frames,
    laboratory,
    lattice,
    quality,
    retrieval,
    states,
    superposition,
)
from batteryxr.cdi.bragg import domains as phase_domains
from batteryxr.cdi.bragg.learned import retrieval as learned_retrieval
from batteryxr.cdi.bragg.plot import retrieval as retrieval_plots
from batteryxr.cdi.bragg.plot import states as state_plots
from batteryxr.cdi.ptycho import planning as ptycho_planning
from batteryxr.cdi.ptycho import probe as ptycho_optics
from batteryxr.cdi.ptycho import quality as ptycho_quality
from batteryxr.cdi.ptycho import reconstruction as ptycho_reconstruction
from batteryxr.cdi.ptycho import stack as ptycho_stack
from batteryxr.cdi.ptycho import watch as ptycho_watch


@xr.register_dataarray_accessor("cdi")
@xr.register_dataset_accessor("cdi")
class Cdi(Accessor):
    """Coherent diffraction, from counts on `rocking`, `detector_y`, `detector_x`.

    1. ``volume = frames.cdi.correct(flat=white).cdi.crop(shape=(128, 160, 160))``
    2. ``result = volumes.cdi.retrieve(n_starts=6, store="starts.zarr")``
    3. ``whole = result.cdi.align_states().cdi.fill_missing()``
    4. ``e = whole.cdi.unwrap().cdi.displacement(geometry=g).cdi.strain(geometry=g)``
    5. ``omega = whole.cdi.phase_differences().cdi.order_parameter()``
    """

    _understands = (
        "state",
        "rocking",
        "position",
        "energy",
        "detector_y",
        "detector_x",
        "along_rocking",
        "along_y",
        "along_x",
        "z",
        "y",
        "x",
    )

    # looking at it
    view = opens("StackViewer")

    # frames into volumes
    hot_pixels = method(frames.hot_pixels)
    correct = method(frames.correct)
    locate_peak = method(frames.locate_peak)
    crop = method(frames.crop)
    sum_repeats = method(assembly.sum_repeats)
    geometry = method(diffractometer.geometry)

    # phase retrieval
    retrieve = method(retrieval.retrieve)
    retrieve_learned = method(learned_retrieval.retrieve_learned)
    misfit = method(quality.misfit)
    prtf = method(quality.prtf)
    fsc = method(quality.fsc)
    overlay = method(superposition.overlay)
    decompose = method(superposition.decompose)

    # ptychography
    ptycho_probe = method(ptycho_optics.ptycho_probe)
    ptycho_plan = method(ptycho_planning.ptycho_plan)
    ptycho = method(ptycho_reconstruction.ptycho)
    ptycho_energies = method(ptycho_stack.ptycho_energies)
    ptycho_fit = method(ptycho_quality.ptycho_fit)
    frc = method(ptycho_quality.frc)
    plot_ptycho = method(ptycho_watch.plot_ptycho)

    # displacement and strain
    unwrap = method(lattice.unwrap)
    displacement = method(lattice.displacement)
    strain = method(lattice.strain)
    crop_to_support = method(laboratory.crop_to_support)
    to_laboratory = method(laboratory.to_laboratory)
    summarise_states = method(comparison.summarise_states)

    # states
    align_states = method(states.align_states)
    common_support = method(states.common_support)
    fill_missing = method(states.fill_missing)
    phase_differences = method(comparison.phase_differences)
    order_parameter = method(comparison.order_parameter)
    inverse_pca = method(comparison.inverse_pca)
    domains = method(phase_domains.domains)
    track_domains = method(phase_domains.track_domains)

    # looking at it
    plot_slices = method(retrieval_plots.plot_slices)
    plot_prtf = method(retrieval_plots.plot_prtf)
    plot_fsc = method(retrieval_plots.plot_fsc)
    plot_starts = method(retrieval_plots.plot_starts)
    plot_field = method(state_plots.plot_field)
    plot_hysteresis = method(state_plots.plot_hysteresis)
    plot_isosurface = method(state_plots.plot_isosurface)
