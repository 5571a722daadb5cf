"""The training loop: resume, train, record, save."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from vertseg.anatomy.labels import SACRUM
from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.networks.registry import count_parameters
from vertseg.networks.weights import described_initial_weights, save_weights
from vertseg.training.checkpoint import (
    fingerprint,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from vertseg.training.data import load_scans
from vertseg.training.record import Record, write_log
from vertseg.training.settings import TrainingSettings
from vertseg.training.trainer import Trainer

WEIGHTS = "weights.safetensors"
LOG = "log.csv"


def train(
    settings: TrainingSettings,
    training_caches: Sequence[Path],
    validation_caches: Sequence[Path],
    folder: Path,
    code: str = "",
) -> None:
    """Train a network on cached scans, or continue a killed run.

    Adam on random mini-batches, affine augmentation, edge- and class-weighted NLL (Hempe &
    Heinrich, MIDL 2021), from random or given initial weights. On a CPU, two runs give the same
    bytes, killed or not.

    Args:
        settings: the recipe.
        training_caches: labelled cached scans, at least `batch_size`.
        validation_caches: labelled cached scans. The network is validated on the first few of
            them, for the record only.
        folder: target of weights.safetensors and log.csv (losses, rewritten at every checkpoint),
            of TensorBoard's files, and of the checkpoint, which is removed at the end.
        code: fingerprint of the training code; a checkpoint of other code is not used.

    Raises:
        UserError: scans are too few, unlabelled or of different grids, initial weights belong to
            another network, or the loss is not finite.
    """
    if len(training_caches) < settings.batch_size:
        raise UserError(
            f"{len(training_caches)} training scans are too few for a batch of "
            f"{settings.batch_size}: lower training.batch_size or add scans."
        )
    validated = validation_caches[: settings.validation_scans] if settings.validate_every else []
    caches = [*training_caches, *validated]
    scans = load_scans(
        caches,
        settings.num_classes,
        one_shape=not settings.crop,
        with_centres=bool(settings.auxiliary),
    )
    training, validation = scans.split(len(training_caches))
    trainer = Trainer(settings, training, validation)
    folder.mkdir(parents=True, exist_ok=True)
    run = fingerprint(settings, trainer.precision, code, caches)
    history = trainer.restore(load_checkpoint(folder, run))
    logger.info(
        "%s, %d parameters, %d training scans on grid %s, %s on %s",
        settings.network,
        count_parameters(trainer.network),
        len(training),
        settings.grid,
        trainer.precision,
        trainer.device,
    )
    if history:
        logger.info("Continuing after iteration %d.", len(history))
    with Record(history, settings.iterations, folder) as record:
        for iteration in range(len(history) + 1, settings.iterations + 1):
            start = time.perf_counter()
            loss = trainer.step(iteration)
            seconds = time.perf_counter() - start
            held_out = trainer.validate() if settings.validates_after(iteration) else (None, None)
            record.add(
                loss=loss,
                learning_rate=settings.learning_rate_at(iteration),
                seconds_per_iteration=seconds,
                validation_loss=held_out[0],
                validation_multi_label_dice=held_out[1],
            )
            if iteration % settings.checkpoint_every == 0 and iteration < settings.iterations:
                save_checkpoint(folder, run, trainer.state(record.history))
                write_log(folder / LOG, record.history)
    trainer.check_weights()
    write_log(folder / LOG, history)
    save_weights(
        folder / WEIGHTS,
        trainer.network,
        {
            "network": settings.network,
            "options": settings.network_options,
            "num_classes": settings.num_classes,
            "auxiliary": list(settings.auxiliary),
            "sacrum": training.show(SACRUM),
            "iterations": settings.iterations,
            "initial_weights": described_initial_weights(settings.initial_weights),
            "training_scans": len(training),
            "training_range": training.acquisition_range(),
            "settings": dataclasses.asdict(settings),
        },
    )
    remove_checkpoint(folder)
