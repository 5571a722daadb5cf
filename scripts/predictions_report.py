"""Write the report of all predicted scans.

Reads the scans' outcomes, the {scan}_result.json or {scan}_failed.json that these name, and the
pictures and volumes of the results; writes report.html. Removes what killed jobs left.
"""

from pathlib import Path

from vertseg.core.logs import step_log
from vertseg.predict.batch import locked_output, tidy
from vertseg.report.page import write_report

folder = Path(snakemake.params.results)
with step_log(snakemake.log[0]), locked_output(folder):
    tidy(folder, {Path(outcome).stem: folder for outcome in snakemake.input})
    names = [Path(outcome).read_text().strip() for outcome in snakemake.input]
    write_report([folder / name for name in names], snakemake.output[0])
