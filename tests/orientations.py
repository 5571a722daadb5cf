"""Images in every orientation."""

import itertools

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

ALL_ORIENTATIONS = [
    "".join(code)
    for axes in itertools.permutations(["LR", "PA", "IS"])
    for code in itertools.product(*axes)
]


def oblique_affine(degrees: float = 12, spacing: tuple[float, ...] = (0.8, 1.1, 2.5)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xz", [degrees, degrees / 2], degrees=True).as_matrix()
    affine[:3, :3] *= spacing
    affine[:3, 3] = (-30, 12, 700)
    return affine


def reoriented(array: np.ndarray, affine: np.ndarray, code: str) -> nib.Nifti1Image:
    """The same image stored with axes along `code`."""
    transform = ornt_transform(io_orientation(affine), axcodes2ornt(code))
    return nib.Nifti1Image(array, affine).as_reoriented(transform)
