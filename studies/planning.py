"""How long does Snakemake take to plan the full study, and how many jobs does it plan?

    python -m studies.planning

Lists 374 empty scans of 300 subjects (as many as VerSe'19 and VerSe'20 hold together) in a sheet,
adds three methods to the paper's, and dry-runs all three folds in a temporary folder. Prints the
seconds that this took, and the number of jobs of each rule.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from vertseg.dataset.samples import Sample, write_samples

ROOT = Path(__file__).parents[1]
SCANS, SUBJECTS = 374, 300
MORE_METHODS = ("recipe_a", "recipe_b", "recipe_c")


def write_study(folder: Path) -> Path:
    """Write scans, sheet and configuration, whose path is returned."""
    samples = []
    for index in range(SCANS):
        ct, mask = folder / f"{index}_ct.nii.gz", folder / f"{index}_seg.nii.gz"
        ct.touch()
        mask.touch()
        subject = f"sub-{index % SUBJECTS:03d}"
        samples.append(Sample(f"scan-{index:03d}", subject, str(ct), str(mask)))
    write_samples(folder / "samples.tsv", samples)
    study = {
        "results": str(folder / "results"),
        "data": {"source": "sheet", "sheet": str(folder / "samples.tsv")},
        "methods": {name: {"label": name, "network": "mobilenet_aspp"} for name in MORE_METHODS},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = write_study(Path(folder))
        command = [sys.executable, "-m", "snakemake", "-n", "--cores", "8", "--configfile"]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, str(config)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    jobs = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    print(f"{seconds:.1f} s;", ", ".join(f"{rule} {count}" for rule, count in dict(jobs).items()))


if __name__ == "__main__":
    main()
