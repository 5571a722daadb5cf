#!/usr/bin/env python3
"""Stands for the commands of Grid Engine and LSF: it starts each job at once, on this machine.

Put on the path under the commands' names. Folder $QUEUE_FOLDER keeps a JSON file a job: the
command's arguments, and the exit status once there is one. Jobs whose first submission is listed
in $QUEUE_KILLS, by a part of their name, are killed before they start.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ["QUEUE_FOLDER"])


def jobs() -> dict[int, dict]:
    return {int(path.stem): json.loads(path.read_text()) for path in FOLDER.glob("*.json")}


def status(number: int) -> int | None:
    path = FOLDER / f"{number}.exit"
    return int(path.read_text()) if path.exists() and path.read_text() else None


def submit(name: str, arguments: list[str], command: list[str]) -> int:
    earlier = jobs()
    number = len(earlier) + 1
    first = not any(job["name"] == name for job in earlier.values())
    (FOLDER / f"{number}.json").write_text(json.dumps({"name": name, "arguments": arguments}))
    done = FOLDER / f"{number}.exit"
    if first and name in os.environ.get("QUEUE_KILLS", "").split():
        done.write_text("137")
        return number
    runner = ["sh", "-c", 'done=$1; shift; "$@"; echo $? > "$done"', "job", str(done), *command]
    with (FOLDER / f"{number}.log").open("w") as log:
        subprocess.Popen(runner, stdout=log, stderr=log, start_new_session=True)
    return number


def qsub(arguments: list[str]) -> None:
    name = arguments[arguments.index("-N") + 1]
    print(submit(name, arguments, ["bash", arguments[-1]]))


def qstat(arguments: list[str]) -> None:
    print("job-ID  prior   name  user  state submit/start at  queue\n" + "-" * 60)
    for number, job in jobs().items():
        if status(number) is None:
            print(f"{number:7} 0.50000 {job['name'][:10]} root  r  11/25/2026 12:00:00 all.q@host")


def qacct(arguments: list[str]) -> None:
    ended = status(int(arguments[1]))
    if ended is None:
        sys.exit(f"error: job id {arguments[1]} not found")
    failed = "100 : assumedly after job" if ended > 128 else "0"
    print(f"{'=' * 62}\njobnumber    {arguments[1]}\nfailed       {failed}\nexit_status  {ended}")


def bsub(arguments: list[str]) -> None:
    name = arguments[arguments.index("-J") + 1]
    short = name.partition("rule_")[2].partition(":")[0]
    number = submit(short, arguments, ["sh", "-c", arguments[-1]])
    print(f"Job <{number}> is submitted to queue <normal>.")


def bjobs(arguments: list[str]) -> None:
    for number in jobs():
        ended = status(number)
        print(number, "RUN" if ended is None else "EXIT" if ended else "DONE")


def badmin(arguments: list[str]) -> None:
    print(f"MBD configuration at now\n LSB_SHAREDIR = {FOLDER}\n LSF_CONFDIR = {FOLDER}")
    print(" LSF_UNIT_FOR_LIMITS = MB")


def lsclusters(arguments: list[str]) -> None:
    print("CLUSTER_NAME STATUS\ntest ok")


def bhist(arguments: list[str]) -> None:
    print("Job <1>, User <root>, Project <spine>, Command <true>")


if __name__ == "__main__":
    {
        command.__name__: command
        for command in (qsub, qstat, qacct, bsub, bjobs, badmin, lsclusters, bhist)
    }[Path(sys.argv[0]).name](sys.argv[1:])
