"""The command line: `vertseg predict` for scans, `vertseg apply` and `summarise` for results."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from vertseg import __version__
from vertseg.core.errors import UserError
from vertseg.core.imports import left_out
from vertseg.core.interruption import exit_status, sigterm_as_exception
from vertseg.core.logs import logger
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.core.parallel import usable_cores
from vertseg.dataset.layout import DICOM_KINDS, REPORT_NAME
from vertseg.segmentation.settings import DECODINGS, OUTLINES, OWN_SCANS_DECODING

if TYPE_CHECKING:
    from vertseg.predict.batch import Batch
    from vertseg.predict.result import Result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: those after the program's name; those of the process by default.

    Returns:
        Exit status: 0 if all went well, 1 if some scans failed or the report could not be
        written, 2 if nothing could begin, 130 after Ctrl-C, 143 after SIGTERM.
    """
    options = _parser().parse_args(arguments)
    to_terminal = logging.StreamHandler()
    to_terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.handlers[:] = [to_terminal]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with logging_redirect_tqdm([logger]), sigterm_as_exception():
        try:
            command: Callable[[argparse.Namespace], int] = options.command
            return command(options)
        except UserError as error:
            logger.error("%s", error)
            return 2
        except KeyboardInterrupt as interrupt:
            logger.error("Stopped.")
            return exit_status(interrupt)


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
        help="NIfTI, NRRD or MetaImage file, DICOM folder or zip archive; or the folder of a BIDS "
        "data set: all its CTs, with --bids",
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
        type=_count,
        help="number of threads (default: all cores)",
    )
    predict.add_argument(
        "--force", action="store_true", help="predict scans again that have a result already"
    )
    predict.add_argument(
        "--decoding",
        choices=DECODINGS,
        default=OWN_SCANS_DECODING,
        help="rule by which the network's output becomes labels; argmax: each cell gets its most "
        "probable label; spine: vertebrae are also single pieces of one spine; order: they also "
        "get the labels that are most probable together; instances: vertebrae are told apart "
        "first and then named together, if the network can, else as order (default: %(default)s)",
    )
    predict.add_argument(
        "--outlines",
        choices=OUTLINES,
        help="where outlines come from; network: its output; ct: the same, moved to where the CT "
        "shows the vertebrae's surface (default: ct with the decodings order and instances)",
    )
    predict.add_argument(
        "--dicom",
        action="append",
        choices=DICOM_KINDS,
        default=[],
        help="also write a DICOM object for each DICOM series: a segmentation, one of the form "
        "LABELMAP, a structure set, or a report of the measures with the segmentation that it "
        "refers to; may be given several times",
    )
    predict.add_argument("--dicom-seg", action="store_true", help="the same as --dicom seg")
    predict.add_argument(
        "--bids",
        action="store_true",
        help="write a BIDS derivative data set, a folder for each participant and session",
    )
    predict.add_argument(
        "--no-report",
        action="store_true",
        help="leave out the HTML page and the volumes for its viewer",
    )
    _add_single_file(predict)
    predict.set_defaults(command=_predict)
    summarise = commands.add_parser(
        "summarise",
        help="gather the results of many scans in one table, with figures",
        description=f"Gather the results of many scans in one table. {RESEARCH_USE_ONLY}",
    )
    summarise.add_argument(
        "results", nargs="+", metavar="RESULTS", type=Path,
        help="folder of vertseg predict, searched below, or *_result.json file",
    )  # fmt: skip
    summarise.add_argument(
        "--participants", metavar="FILE", type=Path,
        help="TSV (or .csv) with a column scan or participant_id; its columns age, sex and date "
        "are used in figures",
    )  # fmt: skip
    summarise.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder of table and figures"
    )
    summarise.add_argument(
        "--parquet", action="store_true", help="also write Parquet (needs vertseg[parquet])"
    )
    summarise.set_defaults(command=_summarise)
    apply = commands.add_parser(
        "apply",
        help="rewrite results by corrections that the report saved",
        description=f"Rewrite results by corrections that the report saved. {RESEARCH_USE_ONLY}",
    )
    apply.add_argument(
        "corrections", nargs="+", metavar="CORRECTION", type=Path, help="*_correction.json file"
    )
    apply.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder of the results (default: each correction's own, or the root of its data set)",
    )
    apply.add_argument(
        "--undo", action="store_true", help="bring back the network's results of these scans"
    )
    _add_single_file(apply)
    apply.set_defaults(command=_apply)
    return parser


def _count(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 up")
    return int(text)


def _add_single_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--single-file",
        action="store_true",
        help="put all pictures and volumes into the HTML page, to send it alone",
    )


def _summarise(arguments: argparse.Namespace) -> int:
    from vertseg.figures.cohort import SPINE_MEASURES, draw_by_age, draw_by_level, draw_changes
    from vertseg.figures.style import save_figure
    from vertseg.predict.cohort import (
        changes,
        joined,
        read_cohort,
        read_participants,
        write_table,
    )

    output: Path = arguments.output
    table, failed = read_cohort(arguments.results)
    if failed:
        logger.warning("Scans without a result: %s.", ", ".join(failed))
    if table.empty:
        raise UserError(f"{arguments.results[0]}: no scan has a result.")
    if arguments.participants:
        participants = read_participants(arguments.participants)
        table = joined(table, participants, arguments.participants)
    _require_writable(output)
    # What this call does not write would be of other results.
    for measure in SPINE_MEASURES:
        (output / f"cohort_change_{measure}.csv").unlink(missing_ok=True)
    for name in ("by_level", "by_age", "change"):
        for suffix in (".pdf", ".png"):
            (output / f"cohort_{name}{suffix}").unlink(missing_ok=True)
    (output / "cohort.parquet").unlink(missing_ok=True)
    write_table(table, output / "cohort.csv")
    if arguments.parquet:
        write_table(table, output / "cohort.parquet")
    paired = {measure: changes(table, measure) for measure in SPINE_MEASURES}
    figures = {
        "by_level": draw_by_level(table),
        "by_age": draw_by_age(table),
        "change": draw_changes(paired),
    }
    for name, figure in figures.items():
        if figure is not None:
            save_figure(figure, [output / f"cohort_{name}.pdf", output / f"cohort_{name}.png"])
    for measure, part in paired.items():
        if not part.empty:
            write_table(part, output / f"cohort_change_{measure}.csv")
    logger.info("%d scans: %s", table["scan"].nunique(), output / "cohort.csv")
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    # Threads of matrix products, beside those of `in_threads`, would wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Nibabel would load pydicom for headers within NIfTI files, which nothing here reads.
    with left_out("pydicom"):
        import nibabel  # noqa: F401
    from vertseg.predict.batch import Batch, locked_output, tidy
    from vertseg.predict.bids import start_data_set
    from vertseg.predict.pipeline import Options
    from vertseg.scans.bids import bids_stems, data_set_scans, is_data_set
    from vertseg.scans.find import one_path_each, scan_names
    from vertseg.segmentation.model import load_model

    given = [
        scan
        for path in arguments.scans
        for scan in (data_set_scans(path) if is_data_set(path) else [path])
    ]
    scans = one_path_each(given)
    if repeated := len(given) - len(scans):
        logger.info("%d of the given paths lead to DICOM series named before.", repeated)
    names = scan_names(scans)
    bids = arguments.bids or any(map(is_data_set, arguments.scans))
    if bids:
        names = bids_stems(names)
    pairs = list(zip(scans, names, strict=True))
    output: Path = arguments.output
    _require_writable(output)
    options = Options(
        output,
        arguments.force,
        frozenset(arguments.dicom) | ({"seg"} if arguments.dicom_seg else set()),
        viewer=not arguments.no_report,
        decoding=arguments.decoding,
        outlines=arguments.outlines,
        bids=bids,
        threads=arguments.threads or usable_cores(),
    )
    with locked_output(output):
        tidy(output, {name: options.folder_of(name) for name in names})
        if bids:
            start_data_set(output, scans)
        model = load_model(arguments.model, arguments.threads)
        batch = Batch(pairs, model, options, arguments.model)
        stopped = _predict_all(batch)
        status = 1 if batch.failed else 0
        if stopped:
            status = exit_status(stopped)
            logger.error(
                "Stopped with %d of %d scans finished. The same command goes on with the others.",
                len(batch.done),
                len(pairs),
            )
        elif batch.failed or batch.kept:
            _log_counts(batch)
        if batch.kept:
            _log_origins(batch.done)
        if batch.done and not arguments.no_report:
            written = _report(batch.done, output, arguments.single_file)
            status = status or int(not written)
        elif (
            len(batch.done) > len(batch.kept) + len(batch.failed)
            and (output / REPORT_NAME).exists()
        ):
            logger.warning(
                "%s: shows earlier results beside the new pictures. Call without --no-report to "
                "renew it, or remove it.",
                output / REPORT_NAME,
            )
    return status


def _predict_all(batch: "Batch") -> KeyboardInterrupt | None:
    """Predict all scans of a batch; the interruption that ended it early, if any."""
    try:
        batch.keep_finished()
        bar = tqdm(
            total=len(batch.scans),
            initial=len(batch.outcomes),
            desc="predicting",
            unit="scan",
            disable=None,
            leave=False,
        )
        with bar, closing(batch.predict_all()) as names:
            for name in names:
                bar.update()
                bar.set_postfix_str(name)
    except KeyboardInterrupt as interrupt:
        return interrupt
    return None


def _log_counts(batch: "Batch") -> None:
    predicted = len(batch.done) - len(batch.kept) - len(batch.failed)
    logger.info(
        "Scans predicted: %d; kept from earlier calls (--force predicts them again): %d; failed: "
        "%d%s.",
        predicted,
        len(batch.kept),
        len(batch.failed),
        f" ({', '.join(batch.failed)})" if batch.failed else "",
    )


def _log_origins(outcomes: Sequence["Path | Result"]) -> None:
    """Warn of results that were not made alike, some of which an earlier version may have made."""
    from vertseg.predict.origins import unlike_origins
    from vertseg.predict.result import read_result

    results = [read_result(one) if isinstance(one, Path) else one for one in outcomes]
    if unlike := unlike_origins(results):
        logger.warning("Not all results were made alike. %s", " ".join(unlike))


def _apply(arguments: argparse.Namespace) -> int:
    from vertseg.predict.apply import apply_correction, outcomes_in, undo_corrections
    from vertseg.predict.batch import locked_output
    from vertseg.predict.bids import results_root
    from vertseg.predict.correction import read_correction

    folders: dict[Path, list[Path]] = {}
    for path in arguments.corrections:
        folder: Path = arguments.output or results_root(path.absolute().parent)
        folders.setdefault(folder, []).append(path)
    status = 0
    for folder, paths in folders.items():
        _require_writable(folder)
        changed = False
        with locked_output(folder):
            for path in paths:
                try:
                    correction = read_correction(path)
                    if arguments.undo:
                        result = undo_corrections(folder, correction.scan)
                    else:
                        result = apply_correction(correction, folder)
                except UserError as error:
                    logger.error("%s", error)
                    status = 1
                else:
                    logger.info("%s: %s", correction.scan, result)
                    changed = True
            if changed and not _report(outcomes_in(folder), folder, arguments.single_file):
                status = 1
    return status


def _report(outcomes: Sequence["Path | Result"], output: Path, single_file: bool) -> bool:
    """Write the report; False, with the reason in the log, if it cannot be written."""
    from vertseg.report.page import write_report

    path = output / REPORT_NAME
    try:
        write_report(outcomes, path, single_file)
    except UserError as error:
        logger.error("%s", error)
    except Exception:
        logger.exception("%s: unforeseen error. The scans' own files are complete.", path)
    else:
        logger.info("Report: %s", path)
        return True
    return False


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror}). Choose another --output."
        ) from error
    if (folder / REPORT_NAME).is_dir():
        raise UserError(
            f"{folder / REPORT_NAME}: is a folder, where the report belongs. Rename it or choose "
            "another --output."
        )


if __name__ == "__main__":
    sys.exit(main())
