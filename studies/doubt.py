"""Does a scan's own doubt tell good predictions from bad ones, and are its probabilities right?

    python -m studies.doubt MODEL FOLDER [--scans 60] [--real REAL] [--fit]

Predicts phantoms that the model has not learned from, of four kinds, each whole and with its ends
cut off at a random height, and keeps what was found in FOLDER, so that a call goes on where another
one ended. Prints tables: calibration, worst-first order, verdicts and codes of warnings. `--fit`
prints weights for `vertseg.segmentation.trust` that are learned from all of them and from each
half, and judges each half by those of the other. With REAL, as for `studies.real_scans`, tables are
printed of real scans as well, by the shipped weights, with one of every scan.

A scan is right if each whole body has its level as the most frequent label around its centre and no
vertebra is named in the sacrum; one without a spine, if nothing is named. Phantoms count by how
common their enumeration is.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.optimize import minimize

from studies.cut_scans import part_of
from studies.numbering_on_detections import calibration_error, worst_first_auc
from studies.real_scans import with_spine, without_spine
from vertseg.anatomy.centroids import body_centres
from vertseg.anatomy.labels import BACKGROUND, IDS, NAMES, SACRUM
from vertseg.core.files import write_json
from vertseg.core.progress import progress
from vertseg.phantom import PhantomSettings, generate_phantom, preset
from vertseg.predict.verdict import level_code, severity_of, verdict_of
from vertseg.predict.warnings import outline_warnings, warnings_about
from vertseg.scans.read import read_scan
from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation.model import Model, load_model
from vertseg.segmentation.pieces import Certainty, Reading
from vertseg.segmentation.segment import segment_ct
from vertseg.segmentation.settings import OWN_SCANS_DECODING
from vertseg.segmentation.spine_model import STEP_MM, VARIANTS, levels_of_spine
from vertseg.segmentation.trust import (
    OF_ALL,
    OF_EACH,
    Weights,
    summary,
    terms_of,
    trusted,
)

SEEDS = {"first": 7_000_000, "second": 8_000_000}
"""First seeds of the two halves of the phantoms."""

MOST_CUT = 0.45
"""Largest part of a phantom's height that is cut off at one end."""

LEAST_MM, LEAST_BODIES = 60.0, 2
"""Smallest height and number of whole bodies of a part."""

BALL_MM, NECK_BALL_MM = 6.0, 4.0
"""Radius around a body's centre, elsewhere and in the neck, in which the most frequent label is its
level, if at least half of the ball has one."""

ATLAS_MM = 10.0
"""Distance from C1's centre, amid its ring and so without a label, within which its label has its
own."""

BEYOND_STEPS = 0.62
"""Distance from the outermost known body, in usual ones, from which a centre is the next one's."""

CUTS = ((0.15, 0), (0.3, 0), (0.45, 0), (0, 0.15), (0, 0.3), (0, 0.45), (0.2, 0.2))
"""Shares of a real scan's height that are cut off below and above."""

LEVEL_CODES = ("uncertain_levels", "doubtful_levels")
RIDGE = 1.0
"""Weight of the squared weights in the fit, per standard deviation of what they multiply."""


def kinds() -> dict[str, PhantomSettings]:
    """Settings of phantoms: of the model's own kind, easier ones, and two stranger kinds.

    "strained" has more noise, thicker slices and more worn spines than the model has learned from;
    "thorax" is the same without the ends of the spine.
    """
    randomised = replace(preset("randomised"), limb_share=0.0)
    strained = replace(
        randomised,
        noise_sd_hu=(60.0, 160.0),
        slice_spacing_mm=(2.5, 5.0),
        narrow_disc_share=0.5,
        degenerated_share=0.9,
        curvature_spread=2.2,
        slip_share=0.4,
        kernel=(1.0, 3.0),
        marrow_sd_hu=(40.0, 140.0),
        tissue_sd_hu=(10.0, 45.0),
    )
    views = {"thoracic": 0.7, "thoracolumbar": 0.3}
    return {
        "full": preset("full"),
        "randomised": randomised,
        "strained": strained,
        "thorax": replace(strained, field_of_view=views, length_mm=(120.0, 260.0)),
    }


@dataclass(frozen=True)
class Body:
    """A vertebral body whose level is known; None if it is not.

    Attributes:
        level: VerSe's value.
        centre_mm: (3,) in world mm.
        whole: it is in the field of view with all of its height.
    """

    level: int | None
    centre_mm: np.ndarray
    whole: bool


@dataclass(frozen=True)
class Named:
    """A vertebra that was named.

    Attributes:
        name: its name.
        right: that is its level.
        order: probability of its level by the order of labels alone.
        probability: probability of its level as the result states it.
        votes: as in `Reading`, like the next two.
        bone: of any vertebra.
        classes: of one class.
    """

    name: str
    right: bool
    order: float
    probability: float
    votes: float
    bone: float
    classes: float

    @property
    def reading(self) -> Reading:
        """What the network says of it."""
        return Reading(self.votes, self.bone, self.classes)


@dataclass(frozen=True)
class Record:
    """What a prediction said of itself, and what was right.

    Attributes:
        scan: its name.
        kind: of phantom; "real", "cut" (a part of a real scan) or "no spine".
        variant: enumeration variants.
        bodies: number of whole bodies with a known level.
        right_bodies: number of those with the right label.
        right: whether all are right and nothing else is named; None where no level is known.
        in_order: probability that all levels are right by the order of labels alone.
        all_right: the same as the result states it.
        codes: of the warnings.
        named: the vertebrae named, cranial first.
    """

    scan: str
    kind: str
    variant: str
    bodies: int
    right_bodies: int
    right: bool | None
    in_order: float | None
    all_right: float | None
    codes: list[str]
    named: list[Named]

    @property
    def weight(self) -> float:
        """How much more common the enumeration is in people than among phantoms."""
        if self.kind not in kinds():
            return 1.0
        drawn = preset("full").variant
        if self.variant:
            return VARIANTS[self.variant] / drawn[self.variant]
        return (1 - sum(VARIANTS.values())) / (1 - sum(drawn.values()))

    @property
    def verdict(self) -> str:
        """Verdict by its warnings."""
        return verdict_of(map(severity_of, self.codes))

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Record":
        """The record of a file's content, with probabilities by the shipped weights."""
        named = [Named(**one) for one in content["named"]]
        return cls(**{**content, "named": named}).judged(OF_ALL, OF_EACH)

    def judged(self, of_scan: Weights, of_each: Weights) -> "Record":
        """The same prediction with probabilities by some weights."""
        if self.in_order is None:
            return self
        readings = {IDS[one.name]: one.reading for one in self.named}
        of_order = {IDS[one.name]: one.order for one in self.named}
        by_order = Certainty(of_order, self.in_order, {}, {})
        certainty = trusted(by_order, readings, of_scan, of_each)
        code = level_code(certainty.all_right)
        return replace(
            self,
            all_right=certainty.all_right,
            codes=sorted({one for one in self.codes if one not in LEVEL_CODES} | ({code} - {""})),
            named=[replace(one, probability=certainty.right[IDS[one.name]]) for one in self.named],
        )


def record(
    model: Model, scan: str, kind: str, variant: str, ct: Volume, bodies: Sequence[Body]
) -> Record:
    """Predict a scan, as `vertseg predict` does, and compare it with what is known of it."""
    found = segment_ct(model, ct, OWN_SCANS_DECODING, "ct")
    spine = found.spine
    centres = body_centres(found.mask, ct.affine)
    warnings = [
        *warnings_about(ct, spine, centres, model.trained),
        *outline_warnings(found.kept_outlines),
    ]
    whole = [one for one in bodies if one.whole and one.level is not None]
    labels = {one.level: label_of(one, found.mask, ct, centres) for one in whole}
    truths = true_levels(centres, bodies, variant)
    named = []
    for label, reading in spine.readings.items():
        truth = truths.get(label)
        is_right = truth == label and labels.get(truth, label) == label
        of_order = 0.0 if spine.by_order is None else spine.by_order.right.get(label, 0.0)
        probability = 0.0 if spine.certainty is None else spine.certainty.right.get(label, 0.0)
        named.append(Named(NAMES[label], is_right, of_order, probability, **asdict(reading)))
    right_bodies = sum(level == label for level, label in labels.items())
    known = kind == "no spine" or bool(whole)
    is_right = (
        not centres
        if kind == "no spine"
        else (right_bodies == len(whole) and SACRUM not in truths.values())
    )
    return Record(
        scan,
        kind,
        variant,
        len(whole),
        right_bodies,
        is_right if known else None,
        spine.by_order.all_right if spine.by_order else None,
        spine.certainty.all_right if spine.certainty else None,
        sorted({one.code for one in warnings}),
        named,
    )


def label_of(body: Body, mask: np.ndarray, ct: Volume, centres: Mapping[int, np.ndarray]) -> int:
    """The label of a body in a mask (x, y, z) with these centres; background if it has none."""
    atlas = centres.get(IDS["C1"])
    if body.level == IDS["C1"] and atlas is not None:
        away_mm = float(np.linalg.norm(atlas - body.centre_mm))
        return IDS["C1"] if away_mm <= ATLAS_MM else BACKGROUND
    return label_around(mask, ct, body)


def label_around(mask: np.ndarray, ct: Volume, body: Body) -> int:
    """The most frequent label around a body's centre; background if most of it has none."""
    radius = NECK_BALL_MM if NAMES[body.level or SACRUM - 1].startswith("C") else BALL_MM
    steps = np.arange(-radius, radius + 1e-6, 0.75)
    around = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    around = around[np.linalg.norm(around, axis=1) <= radius]
    places = nib.affines.apply_affine(np.linalg.inv(ct.affine), body.centre_mm + around)
    voxels = np.rint(places).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < mask.shape)).all(axis=1)]
    labels = mask[tuple(voxels.T)]
    labelled = labels[labels != BACKGROUND]
    if len(labelled) < len(labels) / 2 or not len(labelled):
        return BACKGROUND
    return int(np.bincount(labelled).argmax())


def levels_downwards(variant: str) -> list[int]:
    """Labels of all levels of a spine with some variant, the sacrum last."""
    return [*(IDS[name] for name in levels_of_spine({variant})), SACRUM]


def true_levels(
    centres: Mapping[int, np.ndarray], bodies: Sequence[Body], variant: str
) -> dict[int, int | None]:
    """The true level at each centre, by its label: that of the nearest body, or of one beyond.

    Centres above or below all bodies are those of levels further on; None where no level is known.
    """
    known = sorted(bodies, key=lambda one: -one.centre_mm[2])
    if not known or any(one.level is None for one in known):
        return dict.fromkeys(centres)
    chain = levels_downwards(variant)
    truths: dict[int, int | None] = {}
    for label, centre in centres.items():
        distances = [float(np.linalg.norm(one.centre_mm - centre)) for one in known]
        nearest = int(np.argmin(distances))
        level = known[nearest].level
        assert level is not None
        rank = chain.index(level)
        outwards = 1 if nearest == len(known) - 1 else -1
        other = chain[min(max(rank + outwards, 0), len(chain) - 1)]
        pair = sorted((level, other), key=chain.index)
        upper, lower = (NAMES.get(one, "S1") for one in pair)
        step = math.inf if level == other else STEP_MM[upper, lower]
        is_outside = nearest in (0, len(known) - 1) and (
            (centre - known[nearest].centre_mm)[2] * outwards < 0
        )
        if is_outside and distances[nearest] > BEYOND_STEPS * step:
            rank += outwards * round(distances[nearest] / step)
            level = chain[min(rank, len(chain) - 1)] if rank >= 0 else None
        truths[label] = level
    return truths


def in_view(bodies: Sequence[Body], ct: Volume) -> list[Body]:
    """The bodies whose centres lie in a scan; whole are those that its ends do not reach."""
    ends = [nib.affines.apply_affine(ct.affine, (0, 0, z - 0.5))[2] for z in (0, ct.array.shape[2])]
    inside = []
    for body in bodies:
        others = [one for one in bodies if one is not body]
        nearest = min(
            (float(np.linalg.norm(one.centre_mm - body.centre_mm)) for one in others), default=25.0
        )
        margin = min(body.centre_mm[2] - ends[0], ends[1] - body.centre_mm[2])
        if margin >= 0:
            inside.append(replace(body, whole=body.whole and margin >= nearest / 2))
    return inside


def without_shares(ct: Volume, below: float, above: float) -> Volume:
    """A scan without some shares of its height at its lower and upper end."""
    slices = ct.array.shape[2]
    return part_of(ct, round(below * slices), slices - round(above * slices))


def phantoms(half: str, scans: int, folder: Path, model: Model) -> Iterator[Record]:
    """Records of the phantoms of one half, whole and cut; files in the folder are read."""
    jobs = [(kind, number) for number in range(scans) for kind in kinds()]
    for kind, number in progress(jobs, f"predicting the {half} half"):
        rng = np.random.default_rng((SEEDS[half], number))
        below, above = (
            rng.uniform(0.1, MOST_CUT, 2) * np.array([(1, 0), (0, 1), (1, 1)])[number % 3]
        )
        stem = f"{half}_{kind}_{number}"
        paths = [folder / f"{stem}{suffix}.json" for suffix in ("", "_cut")]
        if not all(path.is_file() for path in paths):
            phantom = generate_phantom(SEEDS[half] + number, kinds()[kind])
            variant = phantom.truth["variant"] or ""
            ct = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
            bodies = in_view(
                [Body(label, np.array(at), True) for label, at in phantom.centroids_mm.items()], ct
            )
            for path, scan in zip(paths, (ct, without_shares(ct, below, above)), strict=True):
                shown = in_view(bodies, scan)
                long = scan.array.shape[2] * scan.spacing_mm[2] >= LEAST_MM
                if scan is not ct and (not long or sum(one.whole for one in shown) < LEAST_BODIES):
                    write_json(path, None)
                else:
                    found = record(model, path.stem, kind, variant, scan, shown)
                    write_json(path, asdict(found))
        for path in paths:
            if content := json.loads(path.read_text()):
                yield Record.of(content)


def real_scans(real: Path, folder: Path, model: Model) -> Iterator[Record]:
    """Records of the real scans in a folder, and of parts of those with known levels."""
    scans = [("real", *one) for one in with_spine(real)]
    scans += [("no spine", *one) for one in without_spine(real)]
    for kind, name, path in progress(scans, "predicting real scans"):
        kept = [*folder.glob(f"{kind}_{name}.json"), *folder.glob(f"cut_{name}_*.json")]
        if not kept:
            ct = read_scan(str(path), name).volume
            bodies = read_bodies(real / "bodies" / f"{name}.json")
            found = record(model, name, kind, "", ct, bodies)
            for below, above in CUTS if found.bodies else ():
                part = without_shares(ct, below, above)
                shown = in_view(bodies, part)
                if (
                    part.array.shape[2] * ct.spacing_mm[2] < LEAST_MM
                    or sum(one.whole for one in shown) < LEAST_BODIES
                ):
                    continue
                target = folder / f"cut_{name}_{below:g}_{above:g}.json"
                write_json(target, asdict(record(model, target.stem, "cut", "", part, shown)))
                kept.append(target)
            kept.append(folder / f"{kind}_{name}.json")
            write_json(kept[-1], asdict(found))
        for file in sorted(kept):
            yield Record.of(json.loads(file.read_text()))


def read_bodies(path: Path) -> list[Body]:
    """Bodies read by eye; those that are not scored count as cut."""
    if not path.is_file():
        return []
    return [
        Body(one["label"], np.array(one["ras_mm"]), not one["cut"] and one.get("score", True))
        for one in json.loads(path.read_text())["bodies"]
    ]


def fit_weights(terms: np.ndarray, right: np.ndarray, weight: np.ndarray) -> Weights:
    """Weights that make what was right most probable, slightly drawn to 0.

    Args:
        terms: (n, 4) log-odds by the order, votes, bone and classes.
        right: (n,) whether it was right.
        weight: (n,) of each case.
    """
    mean, spread = terms.mean(axis=0), terms.std(axis=0)
    scaled = np.column_stack([np.ones(len(terms)), (terms - mean) / spread])
    sign = np.where(right, 1, -1)

    def loss(weights: np.ndarray) -> float:
        surprise = np.logaddexp(0, -sign * (scaled @ weights))
        return float(weight @ surprise + RIDGE * weights[1:] @ weights[1:] / 2)

    found = minimize(loss, np.zeros(scaled.shape[1]), method="BFGS").x
    slopes = found[1:] / spread
    return Weights(*(round(float(one), 2) for one in (found[0] - slopes @ mean, *slopes)))


def learned(records: Sequence[Record]) -> tuple[Weights, Weights]:
    """Weights for all levels of a scan together, and for each."""
    scans = [one for one in records if one.in_order is not None]
    of_scan = fit_weights(
        np.array(
            [
                terms_of(one.in_order or 0, summary(dict(enumerate(v.reading for v in one.named))))
                for one in scans
            ]
        ),
        np.array([one.right for one in scans]),
        np.array([one.weight for one in scans]),
    )
    pairs = [(scan, vertebra) for scan in scans for vertebra in scan.named]
    of_each = fit_weights(
        np.array([terms_of(one.order, one.reading) for _, one in pairs]),
        np.array([one.right for _, one in pairs]),
        np.array([scan.weight for scan, _ in pairs]),
    )
    print(f"From {len(scans)} scans and {len(pairs)} vertebrae:")
    print(f"OF_ALL = {tuple(of_scan)}\nOF_EACH = {tuple(of_each)}\n")
    return of_scan, of_each


def share(records: Sequence[Record], good: Callable[[Record], bool]) -> str:
    """How many of some records are good: "12 of 14"."""
    return f"{sum(map(good, records))} of {len(records)}"


def print_probabilities(groups: Mapping[str, Sequence[Record]]) -> None:
    """Markdown: how well probabilities fit, and the order by them, for each group."""
    print("| scans | n | all levels right | said to be, % | AUC by the order alone | AUC | "
          "calibration error | of vertebrae |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for title, group in groups.items():
        part = [one for one in group if one.all_right is not None and one.right is not None]
        if not part:
            continue
        said, order = (np.array([getattr(one, key) for one in part], float)
                       for key in ("all_right", "in_order"))  # fmt: skip
        right = np.array([one.right for one in part])
        weight = np.array([one.weight for one in part])
        vertebrae = [(v.probability, v.right, one.weight) for one in part for v in one.named]
        of_each = np.array(vertebrae, float).T
        error = calibration_error(of_each[0], of_each[1], of_each[2]) if vertebrae else math.nan
        print(
            f"| {title} | {len(part)} | {right.sum()} "
            f"| {100 * np.average(said, weights=weight):.0f}"
            f" | {worst_first_auc(order, right, weight):.2f}"
            f" | {worst_first_auc(said, right, weight):.2f}"
            f" | {calibration_error(said, right, weight):.3f} | {error:.3f} |"
        )


def print_verdicts(groups: Mapping[str, Sequence[Record]]) -> None:
    """Markdown: scans with all levels right by verdict, and bodies of those that are done."""
    print("\n| scans | done, right | check, right | doubtful, right | bodies of done ones, right |")
    print("|---|---:|---:|---:|---:|")
    for title, group in groups.items():
        known = [one for one in group if one.right is not None]
        cells = [
            share([one for one in known if one.verdict == word], lambda one: bool(one.right))
            for word in ("done", "check", "doubtful")
        ]
        done = [one for one in known if one.verdict == "done"]
        bodies = [sum(getattr(one, key) for one in done) for key in ("right_bodies", "bodies")]
        print(f"| {title} | {' | '.join(cells)} | {bodies[0]} of {bodies[1]} |")


def raises(code: str, found: Record) -> bool:
    """Whether a scan has a warning."""
    return code in found.codes


def print_codes(groups: Mapping[str, Sequence[Record]]) -> None:
    """Markdown: how often each warning is raised where levels are right, and where not."""
    titles = [f"{title}, {which}" for title in groups for which in ("right", "wrong")]
    print(f"\n| code | severity | {' | '.join(titles)} |")
    print("|---|---|" + "---:|" * len(titles))
    codes = sorted({code for group in groups.values() for one in group for code in one.codes})
    for code in codes:
        cells = [
            share([one for one in group if one.right is wanted], partial(raises, code))
            for group in groups.values()
            for wanted in (True, False)
        ]
        print(f"| `{code}` | {severity_of(code)} | {' | '.join(cells)} |")


def print_scans(records: Sequence[Record]) -> None:
    """Markdown: a row for each scan, the worst first by its own doubt."""
    print("\n| scan | bodies right | all levels right | said by the order alone, % | said, % "
          "| verdict | warnings |")  # fmt: skip
    print("|---|---:|---|---:|---:|---|---|")
    for one in sorted(records, key=lambda one: -1.0 if one.all_right is None else one.all_right):
        order, said = ("–" if value is None else f"{100 * value:.0f}"
                       for value in (one.in_order, one.all_right))  # fmt: skip
        is_right = {None: "unknown", True: "yes", False: "no"}[one.right]
        print(
            f"| {one.scan} | {one.right_bodies} of {one.bodies} | {is_right} | {order} | {said} "
            f"| {one.verdict} | {', '.join(one.codes)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path, help="keeps what was found")
    parser.add_argument("--scans", type=int, default=60, help="phantoms of each kind and half")
    parser.add_argument("--real", type=Path, help="folder of real scans")
    parser.add_argument("--fit", action="store_true", help="print weights learned from phantoms")
    options = parser.parse_args()
    model = load_model(options.model)
    options.folder.mkdir(parents=True, exist_ok=True)
    halves = [list(phantoms(half, options.scans, options.folder, model)) for half in SEEDS]
    if options.fit:
        learned([*chain(*halves)])
        weights = [learned(half) for half in halves]
        halves = [
            [one.judged(*of_others) for one in half]
            for half, of_others in zip(halves, reversed(weights), strict=True)
        ]
    found = [*chain(*halves)]
    groups = {kind: [one for one in found if one.kind == kind] for kind in kinds()}
    groups["all phantoms"] = found
    if options.real:
        real = list(real_scans(options.real, options.folder, model))
        groups["real"] = [one for one in real if one.kind != "cut"]
        groups["parts of real ones"] = [one for one in real if one.kind == "cut"]
    print_probabilities(groups)
    print_verdicts(groups)
    print_codes({title: groups[title] for title in groups if title not in kinds()})
    if options.real:
        print_scans(groups["real"])


if __name__ == "__main__":
    main()
