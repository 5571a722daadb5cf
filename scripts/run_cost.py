"""Time, memory and disk of the run's long steps in one table.

Reads all files below benchmarks/; writes run_cost.tsv (rule, job, time, memory, disk).
"""

from pathlib import Path

from vertseg.core.files import atomic_path
from vertseg.core.logs import step_log
from vertseg.evaluation.run_cost import collect_benchmarks


def main(folder: Path, target: str) -> None:
    """Write the table."""
    table = collect_benchmarks(folder)
    with atomic_path(target) as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.6g")


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(Path(snakemake.params.folder), snakemake.output[0])
