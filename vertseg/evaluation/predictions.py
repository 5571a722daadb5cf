"""Predictions of a fold or of the external test, written the same way by all methods.

For each scan: the label map on the CT's own grid, VerSe's centroid JSON and, where the network
worked on the grid of the evaluation, the label map there (`vertseg.dataset.layout`).
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from vertseg.anatomy.centroids import Centres, body_centres, write_centroids
from vertseg.core.files import atomic_path
from vertseg.dataset.layout import centroids_path, grid_mask_path, mask_path
from vertseg.scans.nifti import save_mask
from vertseg.scans.volumes import Geometry


def write_prediction(
    folder: Path, scan: str, mask: np.ndarray, native: Geometry, on_grid: np.ndarray | None
) -> Centres:
    """Write a scan's prediction.

    Args:
        folder: folder of all predictions; it is made.
        scan: name of the scan.
        mask: label map (x, y, z) in canonical axes.
        native: the CT's geometry.
        on_grid: label map (X, Y, Z) uint8 on the evaluation's grid, or None to leave it out.

    Returns:
        The predicted centres in mm, by label.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if on_grid is not None:
        with atomic_path(grid_mask_path(folder, scan)) as temporary:
            save_file({"label": on_grid}, temporary)
    save_mask(mask_path(folder, scan), mask, native)
    centres = body_centres(mask, native.canonical_affine)
    write_centroids(centroids_path(folder, scan), centres, native.affine)
    return centres
