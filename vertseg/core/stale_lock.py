"""Removal of the lock that a killed Snakemake left, before `make demo` goes on.

python -m vertseg.core.stale_lock RESULTS CONFIGFILE

The lock stays if it may be that of a run: if a Snakemake or one of its jobs lives in this folder,
or if the lock is one for other results.
"""

import os
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]

LOCKS = Path(".snakemake/locks")


def is_stale(results: str) -> bool:
    """Whether there is a lock in the current folder, of `results` alone and of no living process.

    Args:
        results: folder of the results.
    """
    locks = list(LOCKS.glob("*"))
    outputs = [
        line
        for path in locks
        if "output" in path.name
        for line in path.read_text("utf-8").splitlines()
    ]
    ours = all(Path(output).is_relative_to(results) for output in outputs)
    return bool(locks) and ours and not snakemake_lives()


def snakemake_lives() -> bool:
    """Whether a Snakemake or a job of one has the current folder, as far as can be seen."""
    here = Path.cwd()
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or "snakemake" not in str(process.cmdline()):
                continue
        except psutil.Error:  # Gone, or of another user whose processes cannot be seen.
            continue
        try:
            if Path(process.cwd()) == here:
                return True
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            return True
    return False


def main() -> None:
    """Remove a stale lock, and say so."""
    results, configfile = sys.argv[1:]
    if is_stale(results):
        command = [sys.executable, "-m", "snakemake", "--unlock", "--configfile", configfile]
        subprocess.run(command, check=True, capture_output=True)
        print("An earlier run was killed: its lock is removed, and this one goes on.")


if __name__ == "__main__":
    main()
