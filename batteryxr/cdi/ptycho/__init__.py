"""Ptychography: from scans to objects at many energies."""

from batteryxr.cdi.ptycho.engines import DM as DM
from batteryxr.cdi.ptycho.engines import EPIE as EPIE
from batteryxr.cdi.ptycho.engines import LSQML as LSQML
from batteryxr.cdi.ptycho.engines import RAAR as RAAR
from batteryxr.cdi.ptycho.engines import RPIE as RPIE
from batteryxr.cdi.ptycho.settings import KramersKronig as KramersKronig
from batteryxr.cdi.ptycho.settings import Recording as Recording
from batteryxr.cdi.ptycho.settings import Registration as Registration
from batteryxr.cdi.ptycho.settings import Resources as Resources
from batteryxr.cdi.ptycho.settings import Schedule as Schedule
