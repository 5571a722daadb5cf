"""Training of one fold by nnU-Net: resume, train, record, export."""

import dataclasses
import hashlib
import json
import pickle
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from vertseg.core.errors import UserError
from vertseg.core.files import atomic_path, file_sha256, write_json
from vertseg.core.logs import logger
from vertseg.networks.registry import count_parameters
from vertseg.networks.weights import save_weights
from vertseg.nnunet.planning import preprocessed_folder, read_plans
from vertseg.nnunet.settings import PLANS, RAW_AXES, NnunetSettings
from vertseg.nnunet.trainer import Trainer, make_trainer

FORMAT = "vertseg-nnunet-weights-1"
FINAL = "checkpoint_final.pth"
RESUMABLE = ("checkpoint_latest.pth", "checkpoint_best.pth")
RUN = "run.json"

LOG_COLUMNS = {
    "train_losses": "loss",
    "lrs": "learning_rate",
    "val_losses": "validation_loss",
    "mean_fg_dice": "validation_pseudo_dice",
}
"""Columns of log.csv, by nnU-Net's names of the same values."""


def train_fold(settings: NnunetSettings, fold: int, folder: Path, terminal: TextIO) -> None:
    """Train a fold, or continue a killed run; a finished run is only exported.

    nnU-Net's own files (checkpoints, log, progress.png) stay in its results folder.

    Args:
        settings: settings of the training.
        fold: index in splits_final.json.
        folder: target of weights.safetensors, log.csv, settings.json and a copy of progress.png.
        terminal: target of the progress bar, which is shown on terminals only.

    Raises:
        UserError: an unknown fold, or an unreadable checkpoint.
    """
    plans = read_plans()
    dataset = json.loads((preprocessed_folder() / "dataset.json").read_text())
    trainer = make_trainer(settings, fold, plans, dataset, terminal)
    scans, _ = trainer.do_split()
    own = Path(trainer.output_folder)
    _keep_only_this_run(own, fingerprint(settings, fold))
    _resume(trainer, own)
    if not (own / FINAL).exists():
        trainer.run_training()
    else:
        # Loading the data, which a finished training skips, would set the axes to mirror.
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    _write_log(folder / "log.csv", trainer)
    shutil.copyfile(own / "progress.png", folder / "progress.png")
    recorded = record(trainer, scans)
    write_json(folder / "settings.json", recorded)
    save_weights(
        folder / "weights.safetensors",
        trainer.plain_network,
        {**recorded, "plans": plans, "dataset_json": dataset},
        FORMAT,
    )


def fingerprint(settings: NnunetSettings, fold: int) -> str:
    """SHA-256 of everything that decides the weights: settings, fold, plan, splits and scans."""
    decisive = dataclasses.asdict(settings) | {"checkpoint_every": 0, "workers": 0, "fold": fold}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    top = preprocessed_folder()
    names = ("dataset.json", f"{PLANS}.json", "splits_final.json")
    for path in (*(top / name for name in names), *sorted(top.glob(f"{PLANS}_*/*.b2nd"))):
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


def record(trainer: Trainer, scans: Sequence[str]) -> dict[str, Any]:
    """Actual settings of a training, read from its trainer, to be written beside its weights."""
    settings, configuration = trainer.settings, trainer.configuration_manager
    forward = trainer.plans_manager.transpose_forward
    network = trainer.plain_network
    return {
        "engine": f"nnU-Net {version('nnunetv2')}",
        "trainer": type(trainer).__name__,
        "plans": trainer.plans_manager.plans_name,
        "configuration": trainer.configuration_name,
        "network": type(network).__name__,
        "parameters": count_parameters(network),
        "deep_supervision": trainer.enable_deep_supervision,
        "epochs": trainer.num_epochs,
        "iterations": trainer.num_epochs * trainer.num_iterations_per_epoch,
        "batch_size": configuration.batch_size,
        "patch_size": [int(size) for size in configuration.patch_size],
        "spacing_mm": [float(mm) for mm in configuration.spacing],
        "axes": [RAW_AXES[axis] for axis in forward],
        "mirror_axes_training": [int(axis) for axis in trainer.mirror_axes],
        "mirror_axes_test_time": [
            int(axis) for axis in trainer.inference_allowed_mirroring_axes or ()
        ],
        "fold": trainer.fold,
        "training_scans": list(scans),
        "settings": dataclasses.asdict(settings),
    }


def _keep_only_this_run(own: Path, run: str) -> None:
    """Remove checkpoints of a run with other settings or scans from nnU-Net's folder."""
    state = own / RUN
    left = [own / name for name in (FINAL, *RESUMABLE) if (own / name).exists()]
    known = json.loads(state.read_text())["fingerprint"] if state.exists() else None
    if left and known != run:
        logger.warning(
            "%s belongs to other settings or scans: training starts from the beginning.", left[0]
        )
        for path in left:
            path.unlink()
    write_json(state, {"fingerprint": run})


def _resume(trainer: Trainer, own: Path) -> None:
    paths = [own / name for name in RESUMABLE if (own / name).exists()]
    path = own / FINAL
    if not path.exists():
        if not paths:
            return
        path = max(paths, key=lambda path: path.stat().st_mtime)
    try:
        trainer.load_checkpoint(str(path))
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Delete it to continue without it."
        ) from error
    if path.name == FINAL:
        logger.info("%s: training is already finished.", path)
    else:
        logger.info("Continuing after epoch %d.", trainer.current_epoch)


def _write_log(path: Path, trainer: Trainer) -> None:
    """Write losses, learning rate and pseudo Dice of every epoch."""
    values = trainer.logger.get_checkpoint()
    table = pd.DataFrame({ours: values[theirs] for theirs, ours in LOG_COLUMNS.items()})
    table.insert(0, "epoch", range(1, len(table) + 1))
    table.insert(1, "iteration", table["epoch"] * trainer.num_iterations_per_epoch)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
