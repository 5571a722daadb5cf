"""How many vertebrae do the weights of the decoding `instances` name rightly?

    python -m studies.instance_weights MODEL FOLDER [--scans 24] [--set WORTH=4 STEEP=0.4 ...]

Keeps a network's outputs for phantoms of the four kinds of `studies.doubt` in FOLDER (some GB), so
that decoding them again takes seconds, and prints a Markdown table. A vertebra is named rightly if
its label is the most frequent one in its cells. `--set` tries other values of the constants in
`vertseg.segmentation.instances`, `dividing`, `evidence` and `borders`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studies.doubt import kinds
from vertseg.anatomy.labels import BACKGROUND, SACRUM
from vertseg.core.files import atomic_path
from vertseg.core.progress import progress
from vertseg.networks.metadata import auxiliary_slices
from vertseg.phantom import generate_phantom
from vertseg.scans.volumes import Geometry
from vertseg.segmentation import borders, dividing, evidence, instances
from vertseg.segmentation.grid import GridTransform
from vertseg.segmentation.model import Model, load_model
from vertseg.segmentation.naming import name_instances
from vertseg.segmentation.segment import boxes_to_see, predict_box

FIRST_SEED = 9_500_000
LEAST_ML = 2.0
"""Smallest volume of a vertebra that is looked for: less of it is in view at the scan's ends."""


@dataclass(frozen=True)
class Case:
    """A network's view of a phantom.

    Attributes:
        outputs: (channels, X, Y, Z).
        labels: labels (X, Y, Z) of the largest logits.
        reference: true labels (X, Y, Z), those of the sacrum left out.
        whole: labels of the vertebrae that the scan's ends do not cut.
        cell_mm: (3,) size of a cell.
    """

    outputs: np.ndarray
    labels: np.ndarray
    reference: np.ndarray
    whole: np.ndarray
    cell_mm: np.ndarray


def cases(model: Model, folder: Path, kind: str, scans: int) -> Iterator[Case]:
    """A model's views of phantoms; those in the folder are read."""
    for number in progress(range(scans), kind):
        path = folder / f"{kind}_{number}.npz"
        if not path.is_file():
            with atomic_path(path) as partial:
                np.savez(partial, **vars(view_of(model, kind, number)))
        with np.load(path) as stored:
            yield Case(**stored)


def view_of(model: Model, kind: str, number: int) -> Case:
    """What a network makes of a phantom, in the strip of the patient that it sees first."""
    phantom = generate_phantom(FIRST_SEED + number, kinds()[kind])
    native = Geometry(phantom.ct.shape, phantom.affine)
    transform = GridTransform.onto(model.trained["settings"]["grid"], native)
    image = transform.encode_image(phantom.ct)
    box = boxes_to_see(image, model.crop)[0]
    outputs, labels = predict_box(model, image, box)
    reference = transform.encode_labels(phantom.mask)[box.slices]
    reference[reference == SACRUM] = BACKGROUND
    whole = np.array(sorted(phantom.centroids_mm))
    return Case(outputs, labels, reference, whole, transform.cell_mm)


def names_right(model: Model, case: Case) -> np.ndarray:
    """Whether each whole vertebra (n,) in view has its own name."""
    classes = model.trained["num_classes"]
    slices = auxiliary_slices(classes, model.trained["auxiliary"])
    auxiliary = {name: case.outputs[part] for name, part in slices.items()}
    labels = case.labels.copy()
    logits = case.outputs[:classes]
    name_instances(logits, labels, auxiliary, case.cell_mm, bool(model.trained.get("sacrum")))
    return right_in(labels, case)


def right_in(labels: np.ndarray, case: Case) -> np.ndarray:
    """Whether each whole vertebra (n,) in view has its own name in a label map (X, Y, Z)."""
    right = []
    for label in case.whole.tolist():
        found = labels[case.reference == label]
        if len(found) * float(np.prod(case.cell_mm)) / 1000 >= LEAST_ML:
            named = found[found != BACKGROUND]
            right.append(len(named) > 0 and int(np.bincount(named).argmax()) == label)
    return np.array(right, bool)


def set_constants(settings: list[str]) -> None:
    """Give constants other values, each as NAME=NUMBER."""
    for setting in settings:
        name, _, value = setting.partition("=")
        modules = [one for one in (instances, dividing, evidence, borders) if name in vars(one)]
        if not modules or not isinstance(getattr(modules[0], name), float):
            raise SystemExit(f"--set {setting}: there is no such number.")
        for module in modules:
            setattr(module, name, float(value))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path, help="keeps the network's outputs")
    parser.add_argument("--scans", type=int, default=24, help="phantoms of each kind")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", dest="constants")
    options = parser.parse_args()
    set_constants(options.constants)
    model = load_model(options.model)
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| phantoms | n | vertebrae named rightly | all of a scan |")
    print("|---|---:|---:|---:|")
    for kind in kinds():
        found = [names_right(model, case) for case in cases(
            model, options.folder, kind, options.scans
        )]  # fmt: skip
        every = np.concatenate(found)
        whole = sum(bool(one.all()) for one in found)
        print(f"| {kind} | {len(found)} | {every.sum()} of {len(every)} | {whole} |")


if __name__ == "__main__":
    main()
