"""The command line: `vertseg predict SCAN [SCAN ...] --output DIR`."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from vertseg import __version__
from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.segmentation.settings import DECODINGS, OWN_SCANS_DECODING


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those after the program's name; those of the process by default.

    Returns:
        Exit status: 0 if all scans were predicted, 1 if some failed, 2 if none could begin.
    """
    options = _parser().parse_args(arguments)
    to_terminal = logging.StreamHandler()
    to_terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.handlers[:] = [to_terminal]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with logging_redirect_tqdm([logger]):
        try:
            return _predict(options)
        except UserError as error:
            logger.error("%s", error)
            return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vertseg", description=RESEARCH_USE_ONLY)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True)
    predict = commands.add_parser(
        "predict",
        help="label, segment and measure the vertebrae of CT scans",
        description=f"Label, segment and measure the vertebrae of CT scans. {RESEARCH_USE_ONLY}",
    )
    predict.add_argument(
        "scans",
        nargs="+",
        metavar="SCAN",
        help="NIfTI, NRRD or MetaImage file, DICOM folder or zip archive",
    )
    predict.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder of all outputs"
    )
    predict.add_argument(
        "--model",
        metavar="FILE",
        type=Path,
        help=".safetensors or .onnx file (default: the shipped model)",
    )
    predict.add_argument(
        "--threads",
        metavar="N",
        type=int,
        help="number of threads of the network (default: all cores)",
    )
    predict.add_argument(
        "--force", action="store_true", help="replace the outputs of an earlier call"
    )
    predict.add_argument(
        "--decoding",
        choices=DECODINGS,
        default=OWN_SCANS_DECODING,
        help="rule by which the network's output becomes labels; argmax: each cell gets its most "
        "probable label; spine: besides, vertebrae are single pieces of one spine; order: "
        "besides, they get the labels that are most probable together (default: %(default)s)",
    )
    predict.add_argument(
        "--dicom-seg", action="store_true", help="also write a DICOM SEG for each DICOM series"
    )
    predict.add_argument(
        "--no-report",
        action="store_true",
        help="leave out the HTML page and the volumes for its viewer",
    )
    return parser


def _predict(arguments: argparse.Namespace) -> int:
    from vertseg.predict.pipeline import Options, predict_scan, write_failure
    from vertseg.scans.find import one_path_each, scan_names
    from vertseg.segmentation.model import load_model

    scans = one_path_each(arguments.scans)
    if repeated := len(arguments.scans) - len(scans):
        logger.info("%d of the given paths lead to DICOM series named before.", repeated)
    names = scan_names(scans)
    output: Path = arguments.output
    _require_writable(output)
    model = load_model(arguments.model, arguments.threads)
    options = Options(
        output,
        arguments.force,
        arguments.dicom_seg,
        viewer=not arguments.no_report,
        decoding=arguments.decoding,
    )
    results, failures = [], 0
    pairs = list(zip(scans, names, strict=True))
    with tqdm(pairs, desc="predicting", unit="scan", disable=None, leave=False) as bar:
        for scan, name in bar:
            bar.set_postfix_str(name)
            try:
                results.append(predict_scan(scan, name, model, options))
                logger.info("%s: %s", name, results[-1])
            except UserError as error:
                logger.error("%s", error)
                failures += 1
                results.append(write_failure(output, name, scan, str(error)))
    if not arguments.no_report:
        from vertseg.report.page import write_report

        write_report(results, output / "report.html")
        logger.info("Report: %s", output / "report.html")
    return 1 if failures else 0


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror}). Choose another --output."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
