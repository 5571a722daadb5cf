"""Our scans as a raw data set of nnU-Net, and the way back from its label values to ours.

nnU-Net requires consecutive label values: background 0, then VerSe's 26 vertebrae in numerical
order, so that C1-L6 keep their values and T13 becomes 26. Files have RAS+ axes; nnU-Net reads them
as arrays (z, y, x).
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vertseg.anatomy.label_maps import labels_present
from vertseg.anatomy.labels import BACKGROUND, NAMES, VERTEBRAE
from vertseg.core.errors import UserError
from vertseg.dataset.folds import EXTERNAL
from vertseg.scans.nifti import write_nifti
from vertseg.scans.volumes import Geometry, Volume

LABELS: tuple[int, ...] = (BACKGROUND, *VERTEBRAE)
"""VerSe's value of each of nnU-Net's label values."""

Splits = list[dict[str, list[str]]]
"""For each fold the training scans ("train") and the held-out ones ("val")."""


def to_nnunet(label_map: np.ndarray) -> np.ndarray:
    """Consecutive uint8 label values of a label map of VerSe's values, of any shape.

    Raises:
        ValueError: a value is neither background nor a vertebra.
    """
    unknown = [value for value in labels_present(label_map) if value not in LABELS]
    if unknown:
        raise ValueError(f"unknown label values {unknown}")
    table = np.zeros(max(LABELS) + 1, np.uint8)
    table[list(LABELS)] = np.arange(len(LABELS))
    return table[label_map]


def from_nnunet(label_map: np.ndarray) -> np.ndarray:
    """VerSe's values (uint8) of a label map of nnU-Net's values, of any shape."""
    return np.array(LABELS, np.uint8)[label_map]


def dataset_json(scans: int) -> dict[str, Any]:
    """nnU-Net's description of a data set of so many training scans."""
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0}
        | {NAMES[label]: value for value, label in enumerate(LABELS) if label != BACKGROUND},
        "numTraining": scans,
        "file_ending": ".nii.gz",
        # SimpleITK's reader refuses directions that are not orthonormal.
        "overwrite_image_reader_writer": "NibabelIO",
    }


def splits(fold_of: Mapping[str, str], scans: Iterable[str], number: int) -> Splits:
    """nnU-Net's splits_final.json, from our folds.

    Args:
        fold_of: fold ("0", "1", ... or `EXTERNAL`) by scan name.
        scans: the data set's scans.
        number: number of folds.

    Raises:
        UserError: a scan has no fold, or a fold holds out no scan or all of them.
    """
    scans = sorted(scans)
    folds = [str(fold) for fold in range(number)]
    lost = [scan for scan in scans if fold_of.get(scan, EXTERNAL) not in folds]
    if lost:
        raise UserError(
            f"folds.tsv: has no fold for {', '.join(lost)}. Delete the file and run again."
        )
    result = [
        {
            "train": [scan for scan in scans if fold_of[scan] != fold],
            "val": [scan for scan in scans if fold_of[scan] == fold],
        }
        for fold in folds
    ]
    for fold, split in enumerate(result):
        if not (split["train"] and split["val"]):
            raise UserError(f"Fold {fold} holds out no scan or all of them: nnU-Net cannot train.")
    return result


def check_names(scans: Iterable[str]) -> None:
    """Check that no scan's name ends like those of nnU-Net's own label files.

    Raises:
        UserError: names end in _seg.
    """
    odd = sorted(scan for scan in scans if scan.endswith("_seg"))
    if odd:
        raise UserError(
            f"nnU-Net would mistake these scans for label maps: {', '.join(odd)}. Give them names "
            "that do not end in _seg, or leave out nnU-Net's methods (skip_methods)."
        )


def save_raw(path: str | os.PathLike[str], array: np.ndarray, volume: Volume) -> None:
    """Write an array (x, y, z) on a volume's canonical grid as NIfTI, atomically."""
    x, y, z = array.shape
    write_nifti(path, array, Geometry((x, y, z), volume.affine))


def stored_ct(array: np.ndarray) -> np.ndarray:
    """A CT's voxels in the type stored for nnU-Net: int16 if it holds all values, else float32."""
    limits = np.iinfo(np.int16)
    if np.issubdtype(array.dtype, np.integer) and limits.min <= array.min() <= array.max() <= (
        limits.max
    ):
        return array.astype(np.int16)
    return array.astype(np.float32)
