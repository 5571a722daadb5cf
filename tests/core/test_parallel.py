import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from vertseg.core.errors import UserError
from vertseg.core.parallel import KilledError, run_apart


def add(one: int, other: int) -> tuple[int, int]:
    return one + other, os.getpid()


def refuse(path: str) -> None:
    raise UserError(f"{path}: no")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_another_process_gives_the_result_or_the_error() -> None:
    total, pid = run_apart(add, 1, 2)
    assert total == 3 and pid != os.getpid() and not psutil.pid_exists(pid)
    with pytest.raises(UserError, match="a: no"):
        run_apart(refuse, "a")


def test_a_killed_process_is_an_error() -> None:
    with pytest.raises(KilledError):
        run_apart(die)


def test_the_process_ends_with_its_parent() -> None:
    program = (
        "import os, time\n"
        "from vertseg.core.parallel import run_apart\n"
        "def work():\n    print(os.getpid(), flush=True)\n    time.sleep(600)\n"
        "run_apart(work)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        for _ in range(300):
            if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
                return
            time.sleep(0.1)
    pytest.fail("the process still runs")
