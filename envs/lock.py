"""Write the hashes of all packages that requirements*.txt pin, of every wheel and source archive.

    python envs/lock.py UV

UV is the program uv. requirements-dev.txt gives requirements-dev.lock, and so on. torch for CPUs is
not where pip finds all others: the hash of the build that pip takes here is added.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1]
LISTS = ("requirements.txt", "requirements-dev.txt", "requirements-docs.txt",
         "requirements-nnunet.txt")  # fmt: skip
HEADER = "# Made by make pins: pins of {} with the hashes of their files.\n"


def locked(uv: str, requirements: Path) -> str:
    """The pins of a list, and of lists that it includes, with hashes."""
    options = ("--quiet", "--no-deps", "--python", sys.executable, "--generate-hashes",
               "--no-annotate", "--no-header")  # fmt: skip
    return subprocess.run(
        [uv, "pip", "compile", *options, requirements],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def with_own_build(lock: str, package: str) -> str:
    """A lock with the hash of the build that pip takes here of a package, if it has the package."""
    pin = re.search(rf"^{package}==\S+", lock, re.MULTILINE)
    if not pin:
        return lock
    options = ("--quiet", "--dry-run", "--no-deps", "--ignore-installed", "--report", "-")
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, pin[0]],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    (one,) = json.loads(answer.stdout)["install"]
    own = one["download_info"]["archive_info"]["hashes"]["sha256"]
    if own in lock:
        return lock
    return lock.replace(pin[0], f"{pin[0]} \\\n    --hash=sha256:{own}", 1)


def main(uv: str) -> None:
    """Write the lock of every list."""
    for name in LISTS:
        lock = with_own_build(locked(uv, FOLDER / name), "torch")
        (FOLDER / name).with_suffix(".lock").write_text(HEADER.format(name) + lock)


if __name__ == "__main__":
    main(sys.argv[1])
