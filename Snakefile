"""Vertebra labelling and segmentation in CT: from data to Table 1 and Figure 1."""

from snakemake.logging import logger
from snakemake.utils import min_version

min_version("9.0")


include: "rules/settings.smk"


if "container" in config:

    containerized: config["container"]


report: "captions/workflow.rst"


include: "rules/common.smk"
include: "rules/functions.smk"
include: "rules/download.smk"
include: "rules/data.smk"
include: "rules/preprocess.smk"
include: "rules/train.smk"
include: "rules/predict.smk"
include: "rules/nnunet_common.smk"
include: "rules/nnunet_data.smk"
include: "rules/nnunet.smk"
include: "rules/evaluate.smk"
include: "rules/tables_and_figures.smk"
include: "rules/external.smk"
include: "rules/own_scans.smk"
include: "rules/screening.smk"
include: "rules/summary.smk"
include: "rules/ship.smk"
include: "rules/run_crate.smk"


from vertseg.core.workflow_log import shorten_log


onstart:
    shorten_log()
    logger.info(f"Results: {RESULTS}/, logs of the steps: {RESULTS}/logs/")


onsuccess:
    logger.info(f"Results: {RESULTS}/")


onerror:
    logger.info(
        f"Logs of the steps: {RESULTS}/logs/. The same command goes on where this run ended."
    )


STUDY = [
    *multiext(f"{RESULTS}/dataset", ".pdf", ".png"),
    *multiext(f"{RESULTS}/table1", ".csv", ".md", ".tex", ".html"),
    *multiext(f"{RESULTS}/figure1", ".pdf", ".png", ".svg"),
    *(multiext(f"{RESULTS}/learning_curves", ".pdf", ".png") if OWN_METHODS else []),
    *(multiext(f"{RESULTS}/external", ".csv", ".md", ".tex") if EXTERNAL_SCANS else []),
    *expand(f"{RESULTS}/{{page}}.html", page=PAGES),
]


rule all:
    default_target: True
    input:
        [f"{RESULTS}/{REPORT_NAME}", f"{OUTCOMES}/all_predicted"]
        if OWN_SCANS
        else STUDY,
