"""A process that decodes compressed DICOM files with GDCM, for `gdcm.Decoder`.

Damaged compressed data can make GDCM and its codecs take minutes or gigabytes, or crash. Here they
take those of this process, which ends itself at a limit. It is run as a file, and so imports
nothing of vertseg. For each line of standard input, which states a limit in seconds of processor
time, one in bytes of memory, and a path, it writes to standard output either a line "refused", or
a line "decoded", with the array's type and its sides, and the array.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import SimpleITK as sitk  # noqa: N813


def main() -> None:
    """Decode the files that standard input names until it ends."""
    # What the codecs print must not get between the arrays.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin:
        seconds, memory_bytes, path = line.rstrip("\n").split(" ", 2)
        _limit_memory(int(memory_bytes))
        if hasattr(signal, "setitimer"):  # absent on Windows
            signal.setitimer(signal.ITIMER_PROF, float(seconds))
        _answer(path, answers)


def _answer(path: str, answers: IO[bytes]) -> None:
    try:
        array = sitk.GetArrayFromImage(sitk.ReadImage(path))
    except (RuntimeError, MemoryError):
        answers.write(b"refused\n")
    else:
        sides = " ".join(map(str, array.shape))
        answers.write(f"decoded {array.dtype.str} {sides}\n".encode())
        answers.write(np.ascontiguousarray(array).data)
    answers.flush()


def _limit_memory(more_bytes: int) -> None:
    """Let this process have only so many bytes more than now, where the system can do that."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
