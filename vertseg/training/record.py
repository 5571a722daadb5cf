"""The course of a training run: a table, TensorBoard, a progress bar or lines in the log."""

import csv
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from vertseg.core.files import atomic_path
from vertseg.core.logs import logger

COLUMNS = (
    "iteration",
    "loss",
    "learning_rate",
    "seconds_per_iteration",
    "validation_loss",
    "validation_multi_label_dice",
)
History = list[list[float | None]]
"""Rows of measurements in the order of `COLUMNS`, None where nothing was measured."""

LINES = 20
"""Number of a run's progress lines in the log."""


class Record:
    """Keeps one row per iteration, and shows it at once.

    Args:
        history: rows of earlier iterations; new ones are appended.
        iterations: number of iterations in the whole run.
        folder: target of TensorBoard's files, in `folder/tensorboard`.
    """

    def __init__(self, history: History, iterations: int, folder: Path) -> None:
        self.history = history
        self._iterations = iterations
        self._first = len(history)
        self._every = max(1, iterations // LINES)
        events = folder / "tensorboard"
        if not history:
            shutil.rmtree(events, ignore_errors=True)
        self._events = SummaryWriter(str(events), purge_step=len(history) + 1)
        self._bar = tqdm(
            desc="training", initial=len(history), total=iterations, disable=None, leave=False
        )
        self._start = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._events.close()
        self._bar.close()

    def add(self, **values: float | None) -> None:
        """Add the row of the next iteration; values are named as in `COLUMNS`."""
        iteration = len(self.history) + 1
        values["iteration"] = iteration
        self.history.append([values.get(name) for name in COLUMNS])
        for name in COLUMNS[1:]:
            if (value := values.get(name)) is not None:
                self._events.add_scalar(name, value, iteration)
        self._bar.update()
        self._bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)
        if iteration % self._every == 0 or iteration == self._iterations:
            self._log(values)

    def _log(self, values: dict[str, float | None]) -> None:
        iteration = len(self.history)
        elapsed = time.perf_counter() - self._start
        left = elapsed / (iteration - self._first) * (self._iterations - iteration)
        dice = values.get("validation_multi_label_dice")
        logger.info(
            "iteration %d of %d: loss %.3f%s, %s left",
            iteration,
            self._iterations,
            values["loss"],
            "" if dice is None else f", validation Dice {dice:.3f}",
            tqdm.format_interval(left),
        )


def write_log(path: Path, history: History) -> None:
    """Write a run's table (CSV) atomically, with blanks for missing measurements."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(history)
