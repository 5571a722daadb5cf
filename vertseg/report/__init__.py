"""The report of predicted scans: one HTML page that works without a network, with a 3-D viewer."""

from vertseg.report.page import write_report
from vertseg.report.viewer import write_viewer_volumes

__all__ = ["write_report", "write_viewer_volumes"]
