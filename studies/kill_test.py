"""Does a workflow that was killed again and again end with the files of an undisturbed run?

    python -m studies.kill_test [--kills 15] [--seed 0] [--cores 2]

Runs the miniature workflow (tests/workflow/miniature.yaml) in a temporary folder, undisturbed. Then
runs it in another, kills Snakemake with all its jobs (SIGKILL) after a random time and starts it
again, until so many runs were killed; a run that ends before its kill is compared and followed by
one from the beginning. Compares table1.csv, per_label.csv, weights and predictions byte for byte
and looks for temporary files. Prints a line for each kill; fails if anything differs.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = "results/miniature"
COMPARED = (
    "table1.csv",
    "per_label.csv",
    "models/*/fold*/weights.safetensors",
    "predictions/*/fold*/*",
)


def command(folder: Path, cores: int, *options: str) -> list[str]:
    """Command line of Snakemake for the miniature workflow in a folder."""
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--configfile", str(ROOT / "tests/workflow/miniature.yaml")),
        *("--directory", str(folder), "--cores", str(cores), *options),
    ]


def run(folder: Path, cores: int, kill_after_s: float | None = None) -> bool:
    """Run the workflow; False if it was killed.

    Raises:
        SystemExit: the workflow failed.
    """
    log = folder / "kill_test.log"
    with log.open("a") as shown:
        # A session of its own, to be killed with all jobs.
        started = subprocess.Popen(
            command(folder, cores), stdout=shown, stderr=shown, start_new_session=True
        )
        try:
            status = started.wait(kill_after_s)
        except subprocess.TimeoutExpired:
            _kill(started)
            return False
        except BaseException:
            _kill(started)
            raise
    if status:
        sys.exit(f"The workflow failed:\n{log.read_text()[-5000:]}")
    return True


def _kill(leader: subprocess.Popen) -> None:
    """Kill a process with its group, and wait until all are gone."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
        while True:
            os.killpg(leader.pid, 0)
            time.sleep(0.05)


def unlock(folder: Path, cores: int) -> bool:
    """Remove the lock that a killed Snakemake left; False if there is none."""
    if not any((folder / ".snakemake/locks").glob("*")):
        return False
    subprocess.run(command(folder, cores, "--unlock"), check=True, capture_output=True)
    return True


def differences(reference: Path, folder: Path) -> list[str]:
    """Files that differ from those of the undisturbed run, lack or remain."""
    expected = _compared_files(reference)
    found = _compared_files(folder)
    flaws = [f"{name}: missing" for name in sorted(expected.keys() - found.keys())]
    flaws += [f"{name}: not in the undisturbed run" for name in sorted(found.keys() - expected)]
    flaws += [
        f"{name}: other bytes"
        for name in sorted(expected.keys() & found.keys())
        if expected[name].read_bytes() != found[name].read_bytes()
    ]
    left = _hidden_files(folder) - _hidden_files(reference)
    return flaws + [f"{name}: left over" for name in sorted(left)]


def _hidden_files(folder: Path) -> set[str]:
    """Temporary files; Snakemake marks folders by hidden files of its own in every run."""
    results = folder / RESULTS
    return {str(path.relative_to(results)) for path in results.rglob(".*")}


def _compared_files(folder: Path) -> dict[str, Path]:
    results = folder / RESULTS
    files = (path for pattern in COMPARED for path in results.glob(pattern) if path.is_file())
    return {str(path.relative_to(results)): path for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    settings = parser.parse_args()
    chance = random.Random(settings.seed)
    with tempfile.TemporaryDirectory(prefix="kill_test-") as temporary:
        reference, folder = Path(temporary, "reference"), Path(temporary, "killed")
        reference.mkdir()
        folder.mkdir()
        start = time.monotonic()
        run(reference, settings.cores)
        duration_s = time.monotonic() - start
        number = len(_compared_files(reference))
        print(f"undisturbed: {duration_s:.0f} s, {number} files to compare", flush=True)
        kills = unlocked = runs = 0
        while True:
            # A fifth of a run at most: kills hit runs that work, and fifteen take one or two runs.
            left = settings.kills - kills
            delay_s = chance.uniform(0, duration_s / 5) if left else None
            if run(folder, settings.cores, delay_s):
                runs += 1
                flaws = differences(reference, folder)
                if flaws:
                    sys.exit("\n".join(["A run that was killed differs:", *flaws]))
                print(f"run {runs} is complete and equal after {kills} kills", flush=True)
                if not left:
                    break
                shutil.rmtree(folder)
                folder.mkdir()
                continue
            kills += 1
            locked = unlock(folder, settings.cores)
            unlocked += locked
            print(f"kill {kills} after {delay_s:.1f} s{', unlocked' * locked}", flush=True)
    print(f"{kills} kills, of which {unlocked} left a lock; {runs} runs, all equal")


if __name__ == "__main__":
    main()
