"""Read files into labelled data: one function for each family of formats."""

from batteryxr.io.cycler.bdf_writer import write_bdf as write_bdf
from batteryxr.io.cycler.reader import read_cycler as read_cycler
from batteryxr.io.door.limits import Limits as Limits
from batteryxr.io.frames.crystals import write_object as write_object
from batteryxr.io.frames.cxi import read_cxi as read_cxi
from batteryxr.io.frames.cxi import write_cxi as write_cxi
from batteryxr.io.frames.image import read_image as read_image
from batteryxr.io.frames.objects import read_object as read_object
from batteryxr.io.frames.ptychography import read_ptychography as read_ptychography
from batteryxr.io.frames.reader import read_frames as read_frames
from batteryxr.io.impedance.reader import read_impedance as read_impedance
from batteryxr.io.run import read_run as read_run
from batteryxr.io.series.athena.reader import read_athena as read_athena
from batteryxr.io.series.athena.writer import write_athena as write_athena
from batteryxr.io.series.reader import read_series as read_series
from batteryxr.io.stacks.reader import read_stack as read_stack
