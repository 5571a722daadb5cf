"""The public VerSe sample through every stage. Skipped where the sample is absent."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_workflow, snakemake

from vertseg.anatomy.centroids import body_centres
from vertseg.dataset.samples import Sample, verse_samples, write_samples
from vertseg.phantom import generate_phantom, preset, write_verse_scan
from vertseg.scans.nifti import load_ct, load_mask, save_mask
from vertseg.segmentation.decode import decode_logits
from vertseg.segmentation.grid import GridTransform
from vertseg.segmentation.model import load_model
from vertseg.segmentation.segment import segment_ct

SCAN = "sub-verse014"
LUMBAR = {20, 21, 22, 23, 24}
# One method is as good as five for what is tested here.
SKIPPED = ["resnet18_aspp", "unet", "mobilenet", "mobilenet_aspp_flips"]
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


@pytest.mark.workflow
def test_the_real_scan_passes_through_the_workflow(verse014: Path, tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path)
    for seed in range(8):
        phantom = generate_phantom(seed, preset("demo"))
        write_verse_scan(phantom, tmp_path / "phantoms", f"sub-phantom{seed}", "LPS")
    real = Sample(
        SCAN,
        SCAN,
        f"{verse014}_ct.nii.gz",
        f"{verse014}_seg-vert_msk.nii.gz",
        f"{verse014}_seg-vb_ctd.json",
    )
    write_samples(tmp_path / "samples.tsv", verse_samples(tmp_path / "phantoms"))
    write_samples(tmp_path / "real.tsv", [real])
    config = yaml.safe_load((ROOT / "tests/workflow/miniature.yaml").read_text())
    config |= {
        "results": "results/real",
        "data": {"source": "sheet", "sheet": "samples.tsv"},
        "folds": {"number": 2, "run": [0]},
        "skip_methods": config["skip_methods"] + SKIPPED,
        "evaluation": {"external": ["real.tsv"]},
    }
    (tmp_path / "config/real.yaml").write_text(yaml.safe_dump(config))

    snakemake(folder, "--configfile", "config/real.yaml")

    results = tmp_path / "results/real"
    ct = nib.load(real.ct)
    (stem,) = results.glob(f"predictions/mobilenet_aspp/external/{SCAN}_seg-vert_msk.nii.gz")
    mask = nib.load(stem)
    assert mask.shape == ct.shape
    np.testing.assert_allclose(mask.affine, ct.affine, atol=1e-4)
    (labels,) = results.glob("evaluation/mobilenet_aspp/external_labels.csv")
    table = pd.read_csv(labels)
    reference = table[(table["scan"] == SCAN) & (table["reference_voxels"] > 0)]
    assert set(reference["label"]) == LUMBAR
    voxels = pd.Series(np.asarray(nib.load(real.mask).dataobj).ravel()).value_counts()
    assert reference.set_index("label")["reference_voxels"].to_dict() == voxels.drop(0).to_dict()
    for point in json.loads(Path(real.centroids).read_text())[1:]:
        expected = ct.affine @ [point["X"], point["Y"], point["Z"], 1]
        row = reference.set_index("label").loc[point["label"]]
        found = row[[f"reference_{axis}_mm" for axis in "xyz"]].to_numpy(dtype=float)
        np.testing.assert_allclose(found, expected[:3], atol=1e-3)
    external = pd.read_csv(results / "external.csv")
    assert external["n_scans"].tolist() == [1] * len(external)
    assert SCAN not in (results / "evaluation/mobilenet_aspp/fold0_scans.csv").read_text()


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
