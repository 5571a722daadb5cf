"""What do outlines from the CT bring to a model's masks?

    python -m studies.outlines [MODEL] [--scans 72] [--real FOLDER] [--slices 3 4 5 6 8]

Generates phantoms, segments each once, and compares outlines of the network with those of the CT:
overlap, surfaces, screening measures and grades, and outlines drawn anew from the reference masks
themselves. With `--slices`, phantoms are averaged to thicker slices first. FOLDER may hold
`verse014/`, a scan of VerSe with its mask, which is left out if absent. Prints Markdown tables.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from vertseg.anatomy.centroids import Centres, body_centres
from vertseg.anatomy.labels import NAMES, RANK, region
from vertseg.core.parallel import run_jobs
from vertseg.evaluation import metrics
from vertseg.evaluation.screening import agreement, beside_truth, found_labels
from vertseg.phantom import Phantom, generate_phantom, preset, scan_seed
from vertseg.predict.warnings import unsure_labels
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening.fractures import grade_heights
from vertseg.screening.heights import Heights
from vertseg.screening.measures import measure_vertebrae
from vertseg.segmentation.model import load_model
from vertseg.segmentation.segment import Segmentation, outlined, segment_ct
from vertseg.segmentation.settings import (
    OUTLINES,
    OWN_SCANS_DECODING,
    SHIPPED_FILES,
    Outlines,
)


@dataclass(frozen=True)
class Case:
    """A scan with its reference.

    Attributes:
        name: of the scan.
        ct: HU.
        reference: label map.
        centres: of the vertebrae's bodies.
        truth: description of a phantom; empty for other scans.
    """

    name: str
    ct: Volume
    reference: np.ndarray
    centres: Centres
    truth: dict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED_FILES["onnx"])
    parser.add_argument("--scans", type=int, default=72)
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--real", type=Path, help="folder of real scans")
    parser.add_argument("--slices", type=float, nargs="*", default=[], metavar="MM")
    options = parser.parse_args()
    print(
        "| scans | n | outlines | multi-label Dice | binary Dice | mean surface distance, mm "
        "| CPU time, s |"
    )
    print("|---|---:|---|---:|---:|---:|---:|")
    numbers = range(1, options.scans + 1)
    jobs = [(options.model, options.seed, number, None) for number in numbers]
    results = run_jobs(of_phantom, jobs, options.processes, "phantoms")
    print_overlap("phantoms", [overlap for overlap, _ in results])
    for slice_mm in options.slices:
        jobs = [(options.model, options.seed, number, slice_mm) for number in numbers]
        thick = run_jobs(of_phantom, jobs, options.processes, f"slices of {slice_mm:g} mm")
        print_overlap(
            f"phantoms, slices of {slice_mm:g} mm", [overlap for overlap, _ in thick if overlap]
        )
    if options.real and (options.real / "verse014").is_dir():
        print_overlap("sub-verse014", [compare_overlap(options.model, verse(options.real))[0]])
    rows = pd.DataFrame([row for _, of_scan in results for row in of_scan])
    for way in OUTLINES:
        print_screening(way, rows[rows["outlines"] == way])


def of_phantom(
    model: Path, seed: int, number: int, slice_mm: float | None
) -> tuple[dict[str, list[float]], list[dict]]:
    """Overlap by kind of outlines and, with its own slices, measures of one phantom."""
    name = f"phantom{number}"
    phantom = generate_phantom(scan_seed(seed, name), preset("full"))
    case = case_of(name, phantom)
    if slice_mm is not None:
        case = thicker(case, slice_mm)
        return compare_overlap(model, case)[0], []
    overlap, segmented = compare_overlap(model, case)
    grades = true_grades(case)
    rows = []
    for way in OUTLINES:
        one = segmented[way]
        centres = body_centres(one.mask, case.ct.affine)
        kept = one.kept_outlines
        measured = measure_vertebrae(
            case.ct,
            one.mask,
            unsure_labels(one.spine.outline_confidence),
            one.spine.cell_mm,
            () if kept is None else centres.keys() - kept.keys(),
        )
        found = found_labels(case.centres, centres)
        measured = [vertebra for vertebra in measured if vertebra.label in found]
        for row in beside_truth(name, case.ct, case.truth, measured, case.centres):
            rows.append({**row, "outlines": way, "true_grade": grades.get(row["label"])})
    return overlap, rows


def case_of(name: str, phantom: Phantom) -> Case:
    ct = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    return Case(name, ct, phantom.mask, phantom.centroids_mm, phantom.truth)


def true_grades(case: Case) -> dict[int, int]:
    """Genant grades of thoracic and lumbar vertebrae by their true heights, by label."""
    labels = [
        label
        for label in sorted(case.centres, key=RANK.__getitem__)
        if region(label) != "cervical" and NAMES[label] in case.truth["body_heights_mm"]
    ]
    heights = [Heights(**case.truth["body_heights_mm"][NAMES[label]]) for label in labels]
    graded = grade_heights(
        [(case.centres[label], one) for label, one in zip(labels, heights, strict=True)]
    )
    return {label: one.grade for label, one in zip(labels, graded, strict=True) if one is not None}


def verse(folder: Path) -> Case:
    """The scan of VerSe."""
    ct = load_ct(next((folder / "verse014").glob("*_ct.nii.gz")))
    reference = load_mask(next((folder / "verse014").glob("*_msk.nii.gz")), ct.native).array
    return Case("verse014", ct, reference, {}, {})


def thicker(case: Case, slice_mm: float) -> Case:
    """A scan with axial slices averaged to about a thickness, if they are thinner."""
    count = round(slice_mm / case.ct.spacing_mm[2])
    if count < 2:
        return case
    size = case.ct.array.shape[2] // count
    blocks = case.ct.array[:, :, : size * count].reshape(*case.ct.array.shape[:2], size, count)
    array = np.rint(blocks.mean(axis=3)).astype(np.int16)
    affine = case.ct.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (count - 1) / 2
    affine[:3, 2] *= count
    reference = np.ascontiguousarray(case.reference[:, :, count // 2 : size * count : count])
    ct = Volume(array, affine, Geometry(array.shape, affine))
    return replace(case, ct=ct, reference=reference)


def compare_overlap(
    model: Path, case: Case
) -> tuple[dict[str, list[float]], dict[Outlines, Segmentation]]:
    """Overlap with the reference by kind of outlines, and the segmentations.

    Returns:
        Multi-label and binary Dice, mean surface distance in mm and seconds of refinement, by
        kind of outlines; and the segmentations of the network's and the CT's.
    """
    by_network = segment_ct(load_model(model, 1), case.ct, OWN_SCANS_DECODING)
    start = time.process_time()
    by_ct = outlined(replace(by_network, mask=by_network.mask.copy()), case.ct)
    seconds = time.process_time() - start
    again = outlined(replace(by_network, mask=case.reference.copy()), case.ct).mask
    overlap = {
        "network": [*scores(case, by_network.mask), np.nan],
        "ct": [*scores(case, by_ct.mask), seconds],
        "ct, of the reference mask": [*scores(case, again), np.nan],
    }
    return overlap, {"network": by_network, "ct": by_ct}


def scores(case: Case, mask: np.ndarray) -> list[float]:
    """Multi-label and binary Dice, and mean surface distance in mm over labels in both maps."""
    confusion = metrics.confusion(case.reference, mask)
    distances = metrics.surface_distances(case.reference, mask, case.ct.affine)
    return [
        metrics.multi_label_dice(confusion),
        metrics.binary_dice(confusion),
        float(np.mean([one.mean_mm for one in distances.values()])) if distances else np.nan,
    ]


def print_overlap(title: str, overlaps: list[dict[str, list[float]]]) -> None:
    for way in overlaps[0]:
        multi, binary, surface, seconds = np.nanmean([one[way] for one in overlaps], axis=0)
        print(
            f"| {title} | {len(overlaps)} | {way} | {multi:.3f} | {binary:.3f} | {surface:.2f} "
            f"| {seconds:.2f} |"
        )


def print_screening(way: str, table: pd.DataFrame) -> None:
    print(f"\n## Outlines of the {way}\n")
    print(f"{table['found'].sum()} of {len(table)} vertebrae found.\n")
    print("| quantity | region | vertebrae | scans | bias | limits of agreement |")
    print("|---|---|---:|---:|---:|---|")
    for row in agreement(table).itertuples():
        print(
            f"| {row.quantity} | {row.region} | {row.vertebrae} | {row.scans} | {row.bias:+.2f} "
            f"| {row.lower_limit:+.1f} to {row.upper_limit:+.1f} |"
        )
    graded = table.dropna(subset=["genant_grade", "true_grade"])
    for name in ("thoracic", "lumbar"):
        part = graded[graded["region"] == name]
        ill, called = part["true_grade"] >= 2, part["genant_grade"].astype(int) >= 2
        print(
            f"\n{name}: grade 2 or more was given to {(ill & called).sum()} of {ill.sum()} "
            "vertebrae that have it by their true heights, and to "
            f"{(~ill & called).sum()} of {(~ill).sum()} others."
        )


if __name__ == "__main__":
    main()
