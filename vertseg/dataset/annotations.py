"""Annotated centres of labelled scans."""

import nibabel as nib
import numpy as np

from vertseg.anatomy.centroids import Centres, read_centroids
from vertseg.core.errors import UserError
from vertseg.dataset.samples import Sample
from vertseg.scans.mask_folders import mask_file


def annotated_centres(sample: Sample, ct_affine: np.ndarray) -> Centres:
    """Annotated centres of a scan in mm, by label.

    A few masks are stored in another orientation than their CT; the file's axis codes decide which
    of the two its voxels belong to.

    Args:
        sample: a scan with a centroid file.
        ct_affine: (4, 4) voxel indices of the CT as stored to mm.

    Raises:
        UserError: the file is missing or malformed, or fits neither image.
    """
    try:
        return read_centroids(sample.centroids, ct_affine)
    except UserError:
        mask_affine = nib.Nifti1Image.from_filename(mask_file(sample.mask)).affine
        if nib.aff2axcodes(mask_affine) == nib.aff2axcodes(ct_affine):
            raise
        return read_centroids(sample.centroids, mask_affine)
