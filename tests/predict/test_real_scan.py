"""The public VerSe sample on the paper's grid and through the demo's network."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT

from vertseg.anatomy.centroids import body_centres
from vertseg.scans.nifti import load_ct, load_mask, save_mask
from vertseg.segmentation.decode import decode_logits
from vertseg.segmentation.grid import GridTransform
from vertseg.segmentation.model import load_model
from vertseg.segmentation.segment import segment_ct

LUMBAR = {20, 21, 22, 23, 24}
DEMO_WEIGHTS = ROOT / "results/demo/models/mobilenet_aspp/fold0/weights.safetensors"


def test_the_reference_survives_the_papers_grid(verse014: Path) -> None:
    ct = load_ct(f"{verse014}_ct.nii.gz")
    mask = load_mask(f"{verse014}_seg-vert_msk.nii.gz", ct.native).array
    transform = GridTransform((128, 128, 128), ct.native)
    on_grid = transform.encode_labels(mask)
    one_hot = np.arange(29)[:, None, None, None] == on_grid
    decoded = decode_logits(one_hot.astype(np.float32), on_grid, transform)
    assert set(np.unique(decoded)) == LUMBAR | {0}
    for label in LUMBAR:
        both = np.sum((decoded == label) & (mask == label))
        dice = 2 * both / (np.sum(decoded == label) + np.sum(mask == label))
        assert dice > 0.9, (label, dice)


@pytest.mark.skipif(not DEMO_WEIGHTS.is_file(), reason="make demo has not been run")
def test_the_demos_network_segments_the_real_scan(verse014: Path, tmp_path: Path) -> None:
    ct = load_ct(f"{verse014}_ct.nii.gz")
    mask = segment_ct(load_model(DEMO_WEIGHTS), ct, "argmax").mask
    save_mask(tmp_path / "mask.nii.gz", mask, ct.native)
    saved = nib.load(tmp_path / "mask.nii.gz")
    assert saved.shape == ct.native.shape
    np.testing.assert_allclose(saved.affine, ct.native.affine, atol=1e-4)
    reference = load_mask(f"{verse014}_seg-vert_msk.nii.gz", ct.native).array
    covered = np.sum((mask > 0) & (reference > 0)) / np.sum(reference > 0)
    assert covered > 0.1
    assert body_centres(mask, ct.affine)
