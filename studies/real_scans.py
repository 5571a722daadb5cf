"""How well does a model name the vertebrae of real scans, and does it find none in limbs?

    python -m studies.real_scans MODEL FOLDER OUTPUTS [--ways order instances centres offsets]
        [--outlines network]

FOLDER holds `bodies/` (scans with centres read by eye, `score.py` and `NAME.json`), `verse014/`
(a scan of VerSe with its mask), `dicom_crlm_ct_1004/`, `limbs/` and `no_spine/`; what is absent is
left out. Label maps, centres and pictures go to OUTPUTS/WAY/. A way is a decoding, or the auxiliary
output that is left to the decoding `instances`. Each network runs once a scan. With `--cuts`, scans
with a spine are also predicted without parts of their top and bottom, and changed names counted.
"""

import argparse
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from studies.cut_scans import part_of
from vertseg.anatomy.centroids import body_centres, write_centroids
from vertseg.anatomy.labels import NAMES
from vertseg.core.progress import progress
from vertseg.evaluation import metrics
from vertseg.figures.preview import draw_preview
from vertseg.networks.metadata import AUXILIARY, auxiliary_slices
from vertseg.predict.warnings import warnings_about
from vertseg.scans.nifti import load_mask, save_mask
from vertseg.scans.read import read_scan
from vertseg.scans.volumes import Volume
from vertseg.segmentation.model import Model, load_model
from vertseg.segmentation.segment import segment_ct
from vertseg.segmentation.settings import DECODINGS, OUTLINES, Decoding, Outlines

SUFFIX = "_ct.nii.gz"

CUTS = (-0.4, -0.2, 0.2, 0.4)
"""Parts of a scan's height that are cut off: below 0 from the bottom, above from the top."""

CUT_MARGIN_MM = 25.0
"""Distance from the cut within which names are not compared."""


@dataclass(frozen=True)
class Outcome:
    """What a model finds in a scan: a line of names and confidence, and the mask."""

    names: dict[str, float]
    warnings: tuple[str, ...]
    resolved: float | None
    mask: np.ndarray

    def line(self) -> str:
        """The outcome in words."""
        names = " ".join(f"{name} {value:.2f}" for name, value in self.names.items())
        resolved = "" if self.resolved is None else f"; resolved {self.resolved:.2f}"
        return f"{names or 'no vertebra'}{resolved}; warnings: {' '.join(self.warnings) or 'none'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("outputs", type=Path)
    parser.add_argument(
        "--ways", nargs="+", choices=[*DECODINGS, *AUXILIARY], default=["instances"]
    )
    parser.add_argument(
        "--outlines", choices=OUTLINES, default="ct", help="where outlines come from"
    )
    parser.add_argument("--cuts", action="store_true", help="count names that cuts change")
    parser.add_argument("--scans", nargs="+", help="names of scans; all without it")
    options = parser.parse_args()
    model = load_model(options.model)
    spines = [one for one in with_spine(options.folder) if wanted(one[0], options.scans)]
    limbs = [one for one in without_spine(options.folder) if wanted(one[0], options.scans)]
    outcomes: dict[str, dict[str, Outcome]] = {way: {} for way in options.ways}
    changed: dict[str, list[tuple[str, int, int]]] = {way: [] for way in options.ways}
    for name, path in progress([*spines, *limbs], "predicting"):
        volume = read_scan(str(path), name).volume
        once = remembering(model)
        for way in options.ways:
            outcomes[way][name] = predict(
                once, way, volume, name, options.outputs / way, options.outlines
            )
        for share in CUTS if options.cuts and (name, path) in spines else ():
            part = cut(volume, share)
            once = remembering(model)
            for way in options.ways:
                target = options.outputs / way / f"cut{share:+g}"
                found = predict(once, way, part, name, target, options.outlines)
                count = changed_names(outcomes[way][name], volume, found, part)
                changed[way].append((f"{name} {share:+g}", *count))
    for way in options.ways:
        print(f"\n## {way}\n")
        report(options.folder, options.outputs / way, outcomes[way], [name for name, _ in limbs])
        for name, wrong, compared in changed[way]:
            print(f"cut {name}: {wrong} of {compared} names changed")
        if changed[way]:
            sums = [sum(values) for values in zip(*(row[1:] for row in changed[way]), strict=True)]
            print(f"all cuts: {sums[0]} of {sums[1]} names changed")


def wanted(name: str, names: Sequence[str] | None) -> bool:
    return names is None or name in names


def with_spine(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and paths of the scans with a spine that are there."""
    series = folder / "dicom_crlm_ct_1004"
    if series.is_dir():
        yield "crlm1004", series
    for path in sorted((folder / "verse014").glob(f"*{SUFFIX}")):
        yield "verse014", path
    for path in sorted((folder / "bodies").glob(f"*{SUFFIX}")):
        yield path.name.removesuffix(SUFFIX), path


def without_spine(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and paths of the scans without a spine that are there."""
    for kind in ("limbs", "no_spine"):
        for path in sorted((folder / kind).glob("*.nii.gz")):
            yield path.name.removesuffix(".nii.gz"), path


def remembering(model: Model) -> Model:
    """The same model, which computes the outputs of an image once."""
    known: dict[tuple[Any, ...], np.ndarray] = {}

    def forward(images: np.ndarray) -> np.ndarray:
        key = (images.shape, hash(images.tobytes()))
        if key not in known:
            known[key] = model.forward(images)
        return known[key].copy()

    return replace(model, forward=forward)


def limited(model: Model, output: str) -> Model:
    """The same model with one of its auxiliary outputs alone."""
    classes = model.trained["num_classes"]
    slices = auxiliary_slices(classes, model.trained.get("auxiliary", []))
    channels = np.r_[0:classes, slices[output]]
    return replace(
        model,
        trained={**model.trained, "auxiliary": [output]},
        forward=lambda images: np.ascontiguousarray(model.forward(images)[channels]),
    )


def predict(
    model: Model, way: str, ct: Volume, name: str, folder: Path, outlines: Outlines
) -> Outcome:
    """Predict a scan in one way, and write its label map, centres and picture."""
    decoding: Decoding = "instances"
    if way in AUXILIARY:
        model = limited(model, way)
    else:
        decoding = next(one for one in DECODINGS if one == way)
    found = segment_ct(model, ct, decoding, outlines)
    centres = body_centres(found.mask, ct.affine)
    folder.mkdir(parents=True, exist_ok=True)
    save_mask(folder / f"{name}_seg-vert_msk.nii.gz", found.mask, ct.native)
    write_centroids(folder / f"{name}_seg-vert_ctd.json", centres, ct.native.affine)
    draw_preview(ct, found.mask, folder / f"{name}.png", f"{name}, {way}")
    return Outcome(
        {NAMES[label]: value for label, value in found.spine.confidence.items()},
        tuple(
            sorted({one.code for one in warnings_about(ct, found.spine, centres, model.trained)})
        ),
        found.spine.resolved,
        found.mask,
    )


def cut(ct: Volume, share: float) -> Volume:
    """A scan without a part of its bottom (below 0) or its top."""
    size = ct.array.shape[2]
    start, stop = (round(-share * size), size) if share < 0 else (0, size - round(share * size))
    return part_of(ct, start, stop)


def changed_names(whole: Outcome, ct: Volume, found: Outcome, part: Volume) -> tuple[int, int]:
    """Bodies of the whole scan's prediction with another name, or none, in a part of it.

    Returns:
        Their number, and that of all bodies away from the cut.
    """
    heights = [
        nib.affines.apply_affine(part.affine, (0, 0, z))[2] for z in (0, found.mask.shape[2])
    ]
    ends = [nib.affines.apply_affine(ct.affine, (0, 0, z))[2] for z in (0, whole.mask.shape[2])]
    wrong = compared = 0
    for label, centre in body_centres(whole.mask, ct.affine).items():
        margins = [CUT_MARGIN_MM * (abs(a - b) > 1) for a, b in zip(heights, ends, strict=True)]
        if not heights[0] + margins[0] <= centre[2] <= heights[1] - margins[1]:
            continue
        voxel = np.rint(nib.affines.apply_affine(np.linalg.inv(part.affine), centre)).astype(int)
        around = found.mask[tuple(slice(max(v - 2, 0), v + 3) for v in voxel)]
        labels = np.bincount(around[around > 0], minlength=1)
        compared += 1
        wrong += not labels.any() or int(labels.argmax()) != label
    return wrong, compared


def report(folder: Path, outputs: Path, outcomes: dict[str, Outcome], limbs: list[str]) -> None:
    """Print what was found, its scores, and how many limbs have vertebrae."""
    for name, outcome in outcomes.items():
        if name not in limbs:
            print(f"{name}: {outcome.line()}")
    scores = folder / "bodies/score.py"
    if scores.is_file():
        print_scores(scores, outputs, set(outcomes))
    for mask in (folder / "verse014").glob("*_msk.nii.gz"):
        if "verse014" in outcomes:
            ct = next(path for name, path in with_spine(folder) if name == "verse014")
            native = read_scan(str(ct), "verse014").volume.native
            reference = load_mask(mask, native).array
            confusion = metrics.confusion(reference, outcomes["verse014"].mask)
            print(
                f"verse014: multi-label Dice {metrics.multi_label_dice(confusion):.3f}, "
                f"binary Dice {metrics.binary_dice(confusion):.3f}"
            )
    seen = [name for name in limbs if name in outcomes]
    named = [name for name in seen if outcomes[name].names]
    if seen:
        print(f"without a spine: {len(named)} of {len(seen)} get vertebrae")
    for name in named:
        print(f"  {name}: {outcomes[name].line()}")


def print_scores(program: Path, outputs: Path, scans: set[str]) -> None:
    """Scores by the folder's own program, a line a scan and their sums."""
    spec = importlib.util.spec_from_file_location("score", program)
    assert spec is not None and spec.loader is not None
    scoring = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scoring)
    rows = []
    for file in sorted(program.parent.glob("*.json")):
        reference = json.loads(file.read_text())
        if not isinstance(reference, dict) or reference.get("scan") not in scans:
            continue
        mask = scoring.find(str(outputs), reference["scan"])
        if mask and (row := scoring.score(reference, mask)):
            rows.append(row)
    columns = ("bodies", "right", "caudal1", "cranial1", "other", "unlab", "pure", "dup", "id20",
               "id8")  # fmt: skip
    print("| scan |", " | ".join(columns), "| invented | |")
    print("|---|" + "---:|" * (len(columns) + 1) + "---|")
    for row in rows:
        values = ["–" if row[key] is None else str(row[key]) for key in columns]
        print(
            f"| {row['scan']} |", " | ".join(values), f"| {len(row['invent'])} | {row['detail']} |"
        )
    totals = [str(sum(row[key] or 0 for row in rows)) for key in columns]
    print("| sum |", " | ".join(totals), f"| {sum(len(row['invent']) for row in rows)} | |")


if __name__ == "__main__":
    main()
