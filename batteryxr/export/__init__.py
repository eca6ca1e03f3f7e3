"""Export of results: tables, workbooks, NeXus, other programs, and citations."""

from batteryxr.export.citation import Citation as Citation
from batteryxr.export.citation import cite as cite
from batteryxr.export.figures import save_figure as save_figure
from batteryxr.export.images import view_napari as view_napari
from batteryxr.export.nexus import write_nexus as write_nexus
from batteryxr.export.quantities import quantify as quantify
from batteryxr.export.text import write_csv as write_csv
from batteryxr.export.versions import show_versions as show_versions
from batteryxr.export.workbook import write_xlsx as write_xlsx
