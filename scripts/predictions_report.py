"""Write the report of all predicted scans.

Reads the scans' outcomes, the {scan}_result.json or {scan}_failed.json that these name, and the
pictures and volumes of the results; writes report.html.
"""

from pathlib import Path

from vertseg.core.logs import step_log
from vertseg.report.page import write_report

with step_log(snakemake.log[0]):
    folder = Path(snakemake.params.results)
    names = [Path(outcome).read_text().strip() for outcome in snakemake.input]
    write_report([folder / name for name in names], snakemake.output[0])
