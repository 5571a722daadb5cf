"""Make a trained network the model that comes with the package.

Reads its files (safetensors, ONNX); replaces those in vertseg/models/ and, in the model card there,
the table that states them.
"""

import shutil
from pathlib import Path

from vertseg.core.files import atomic_path, file_sha256, write_text
from vertseg.core.logs import logger, step_log
from vertseg.segmentation.card import card_with_facts
from vertseg.segmentation.model import load_model
from vertseg.segmentation.settings import SHIPPED_CARD, SHIPPED_FILES, SUFFIXES

with step_log(snakemake.log[0]):
    # Each is tried on an image: the shipped files are not, when they are loaded.
    trained, *_ = (load_model(file).trained for file in snakemake.input)
    for file in snakemake.input:
        target = SHIPPED_FILES[SUFFIXES[Path(file).suffix]]
        with atomic_path(target) as temporary:
            shutil.copyfile(file, temporary)
        # A warning, so that it is also shown on the terminal.
        logger.warning("%s: SHA-256 %s", target, file_sha256(target))
    card = SHIPPED_CARD.read_text(encoding="utf-8")
    write_text(SHIPPED_CARD, card_with_facts(card, SHIPPED_FILES, trained))
