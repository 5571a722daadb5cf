"""Write the report of all predicted scans.

Reads their {scan}_result.json and the pictures and volumes that these name; writes report.html.
"""

from vertseg.core.logs import step_log
from vertseg.report.page import write_report

with step_log(snakemake.log[0]):
    write_report(snakemake.input, snakemake.output[0])
