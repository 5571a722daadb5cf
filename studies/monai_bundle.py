"""Does MONAI, given the model's bundle, give a phantom the labels that `vertseg` gives it?

    python -m studies.monai_bundle BUNDLE.zip FOLDER

Runs the bundle by `python -m monai.bundle run` in the environment that runs this, which needs
vertseg with a runtime for its model, MONAI, pytorch-ignite and fire; and the decoding `argmax` with
the shipped model, whose bundle it must be. Prints the overlap of the two on the scan's own voxels.
Both differ in how they resample and in how much of a scan the network sees at a time.
"""

import argparse
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np

from vertseg.evaluation.metrics import binary_dice, confusion, multi_label_dice
from vertseg.phantom import generate_phantom, preset
from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation.model import load_model
from vertseg.segmentation.segment import segment_ct

SEED = 2_000_001


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="ZIP file made by the rule export_shipped_bundle")
    parser.add_argument("folder", type=Path, help="folder to write the phantom and its labels to")
    arguments = parser.parse_args()
    if not find_spec("monai"):
        parser.error("MONAI is not installed here: pip install monai pytorch-ignite fire")
    scans, labels = (arguments.folder.resolve() / name for name in ("scans", "labels"))
    scans.mkdir(parents=True, exist_ok=True)
    phantom = generate_phantom(SEED, preset("full"))
    nib.save(nib.Nifti1Image(phantom.ct, phantom.affine), scans / "phantom.nii.gz")
    with zipfile.ZipFile(arguments.bundle) as archive:
        archive.extractall(arguments.folder)
    command = "run --config_file configs/inference.json --meta_file configs/metadata.json"
    subprocess.run(
        [
            sys.executable, "-m", "monai.bundle", *command.split(), "--bundle_root", ".",
            "--dataset_dir", scans, "--output_dir", labels,
        ],
        cwd=arguments.folder / arguments.bundle.stem, check=True,
    )  # fmt: skip
    theirs = np.asarray(nib.load(labels / "phantom_msk.nii.gz").dataobj).astype(np.uint8)
    ct = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    counts = confusion(segment_ct(load_model(), ct, "argmax").mask, theirs)
    print(f"binary Dice {binary_dice(counts):.3f}, multi-label {multi_label_dice(counts):.3f}")


if __name__ == "__main__":
    main()
