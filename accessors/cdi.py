"""The ``.cdi`` accessor."""

from __future__ import annotations

import xarray as xr

from batteryxr.accessors.base import Accessor, group, method, opens
from batteryxr.cdi.bragg import (
    assembly,
    comparison,
    diffractometer,
    frames,
    laboratory,
    lattice,
    order,
    peak,
    quality,
    retrieval,
    states,
    superposition,
)
from batteryxr.cdi.bragg import domains as phase_domains
from batteryxr.cdi.bragg.learned import retrieval as learned_retrieval
from batteryxr.cdi.bragg.physics import detector, refraction, spacing
from batteryxr.cdi.bragg.physics import resolution as resolving
from batteryxr.cdi.bragg.physics import strain as strains
from batteryxr.cdi.bragg.plot import retrieval as retrieval_plots
from batteryxr.cdi.bragg.plot import states as state_plots
from batteryxr.cdi.bragg.several import alignment, series, summary, tracking
from batteryxr.cdi.bragg.several import replicas as photon_replicas
from batteryxr.cdi.ptycho import estimate as ptycho_estimate
from batteryxr.cdi.ptycho import examine as ptycho_examine
from batteryxr.cdi.ptycho import orientation as ptycho_orientation
from batteryxr.cdi.ptycho import probe as ptycho_optics
from batteryxr.cdi.ptycho import quality as ptycho_quality
from batteryxr.cdi.ptycho import reconstruct as ptycho_reconstruct
from batteryxr.cdi.ptycho import stack as ptycho_stack
from batteryxr.cdi.ptycho import watch as ptycho_watch

_DIMENSIONS = (
    *("state", "replica", "rocking", "position", "energy"),
    *("detector_y", "detector_x"),
    *("along_rocking", "along_y", "along_x", "z", "y", "x"),
)
_ROCKING = ("rocking", "detector_y", "detector_x")
_DETECTED = ("along_rocking", "along_y", "along_x")
#: Three axes of a crystal: as they were measured, or right-angled.
_SPACE = (("along_rocking", "z"), ("along_y", "y"), ("along_x", "x"))
_STATES = ("state", *_SPACE)


class CdiPlots(Accessor):
    """Plot coherent diffraction: objects, their quality, fields and states."""

    _understands = _DIMENSIONS
    _called = "cdi.plot"

    # phase retrieval
    slices = method(retrieval_plots.plot_slices, *_SPACE)
    prtf = method(retrieval_plots.plot_prtf, "prtf")
    fsc = method(retrieval_plots.plot_fsc, "fsc", "threshold_1bit")
    starts = method(retrieval_plots.plot_starts, "residual", "rank")

    # strain and states
    field = method(state_plots.plot_field, *_SPACE)
    hysteresis = method(state_plots.plot_hysteresis, "state", "voltage", "direction")
    isosurface = method(state_plots.plot_isosurface, *_SPACE)

    # ptychography
    ptycho = method(ptycho_watch.plot_ptycho, "transmission")


@xr.register_dataarray_accessor("cdi")
@xr.register_dataset_accessor("cdi")
class Cdi(Accessor):
    """Analyse coherent diffraction counts on `rocking`, `detector_y`, `detector_x`.

    1. ``volume = frames.cdi.correct(flat=white).cdi.crop(shape=(128, 160, 160))``
    2. ``result = volumes.cdi.retrieve(n_starts=6, store="starts.zarr")``
    3. ``whole = result.cdi.align_states().cdi.fill_missing()``
    4. ``e = whole.cdi.unwrap().cdi.displacement(geometry=g).cdi.strain(geometry=g)``
    5. ``omega = whole.cdi.phase_differences().cdi.order_parameter()``
    """

    _understands = _DIMENSIONS

    # looking at it
    view = opens("StackViewer")
    panel = opens("CrystalPanel", *_STATES)
    plot = group(CdiPlots)

    # frames into volumes
    hot_pixels = method(frames.hot_pixels, *_ROCKING)
    correct = method(frames.correct, "detector_y", "detector_x")
    locate_peak = method(peak.locate_peak, *_ROCKING)
    crop = method(peak.crop, *_ROCKING)
    sum_repeats = method(assembly.sum_repeats, "repeat", *_ROCKING)
    calibrate_detector = method(detector.calibrate_detector, *_ROCKING)
    geometry = method(diffractometer.geometry, *_ROCKING)
    peak_spacings = method(spacing.peak_spacings, *_ROCKING)

    # phase retrieval
    retrieve = method(retrieval.retrieve, *_ROCKING)
    retrieve_states = method(series.retrieve_states, "state", *_ROCKING)
    retrieve_learned = method(learned_retrieval.retrieve_learned, *_ROCKING)
    replicas = method(photon_replicas.replicas, *_DETECTED)
    misfit = method(quality.misfit, *_DETECTED)
    prtf = method(quality.prtf, *_DETECTED)
    fsc = method(quality.fsc, *_SPACE)
    resolution = method(resolving.resolution, *_DETECTED)
    align = method(superposition.align, *_SPACE)
    decompose = method(superposition.decompose, *_SPACE)

    # ptychography
    check_ptycho = method(ptycho_examine.check_ptycho, "frames")
    orientation = method(ptycho_orientation.orientation, "frames")
    ptycho_probe = method(ptycho_optics.ptycho_probe, "frames")
    ptycho_plan = method(ptycho_estimate.ptycho_plan, "frames")
    ptycho = method(ptycho_reconstruct.ptycho, "frames")
    ptycho_energies = method(ptycho_stack.ptycho_energies, "frames")
    ptycho_fit = method(ptycho_quality.ptycho_fit, "transmission")
    frc = method(ptycho_quality.frc, "y", "x")

    # displacement and strain
    correct_refraction = method(refraction.correct_refraction, *_SPACE)
    analysis_support = method(laboratory.analysis_support, *_SPACE)
    unwrap = method(lattice.unwrap, *_SPACE)
    displacement = method(lattice.displacement, "phase", *_SPACE)
    strain = method(strains.strain, "displacement", *_SPACE)
    lattice_spacing = method(spacing.lattice_spacing, "strain", *_SPACE)
    crop_to_support = method(laboratory.crop_to_support, *_SPACE)
    to_laboratory = method(laboratory.to_laboratory, *_DETECTED)
    summarise_states = method(
        summary.summarise_states, ("phase", "displacement", "strain"), *_SPACE
    )

    # states
    align_states = method(alignment.align_states, *_STATES)
    common_support = method(states.common_support, *_STATES)
    fill_missing = method(states.fill_missing, *_STATES)
    phase_differences = method(comparison.phase_differences, *_STATES)
    order_parameter = method(order.order_parameter, *_STATES)
    inverse_pca = method(order.inverse_pca, *_STATES)
    domains = method(phase_domains.domains, *_SPACE)
    track_domains = method(tracking.track_domains, "state", "domain")
