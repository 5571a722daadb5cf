"""From VerSe's archives on a server to both tables, offline after the download."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import REAL_DATA, ROOT, copy_workflow, snakemake
from verse_server import running_server, zipped

from vertseg.anatomy.boxes import Box
from vertseg.phantom import generate_phantom, preset, write_verse_scan
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.segmentation.cache import read_cache
from vertseg.segmentation.decode import decode_logits
from vertseg.segmentation.model import load_models
from vertseg.segmentation.segment import predict_box

pytestmark = pytest.mark.workflow

TRAINING = {
    "sub-gl003_dir-ax": ("seg-subreg", "RAS"),
    "sub-gl016_dir-ax": ("seg-subreg", "LPS"),
    "sub-verse401_split-verse201": ("seg-vb", "PIR"),
    "sub-verse401_split-verse253": ("seg-vb", "PIR"),
    "sub-verse506_dir-iso": ("seg-subreg", "LAS"),
    "sub-verse521_dir-ax": ("seg-subreg", "ASL"),
    "sub-verse588": ("", "RSA"),
}
# One method is as good as five for what is tested here.
SKIPPED = ["resnet18_aspp", "mobilenet", "mobilenet_aspp", "mobilenet_aspp_flips"]
VALIDATION = {"sub-verse701_dir-sag": ("seg-subreg", "PIR")}
REAL_SCAN = "sub-verse014"


def archived(scans: dict[str, tuple[str, str]], first_seed: int, folder: Path) -> dict[str, bytes]:
    """Phantoms under VerSe's names, with what else lies in VerSe's archives."""
    files = {}
    for seed, (scan, (centroids, orientation)) in enumerate(scans.items(), first_seed):
        subject = scan.split("_")[0]
        paths = write_verse_scan(generate_phantom(seed, preset("demo")), folder, scan, orientation)
        derivatives = f"derivatives/{subject}/{scan}"
        files[f"rawdata/{subject}/{scan}_ct.nii.gz"] = paths.ct.read_bytes()
        files[f"rawdata/{subject}/._{scan}_ct.nii.gz"] = b"\0\5\x16\7"
        files[f"{derivatives}_seg-vert_msk.nii.gz"] = paths.mask.read_bytes()
        files[f"{derivatives}_seg-vert_snp.png"] = b"\x89PNG"
        if centroids:
            files[f"{derivatives}_{centroids}_ctd.json"] = paths.centroids.read_bytes()
    return files


def real_files() -> dict[str, bytes]:
    """The public VerSe sample, where it is at hand."""
    kinds = {"_ct.nii.gz": "rawdata", "_seg-vert_msk.nii.gz": "derivatives",
             "_seg-vb_ctd.json": "derivatives", "_seg-vert_snp.png": "derivatives"}  # fmt: skip
    folder = REAL_DATA / "verse014"
    return {
        f"{kind}/{REAL_SCAN}/{REAL_SCAN}{end}": (folder / f"{REAL_SCAN}{end}").read_bytes()
        for end, kind in kinds.items()
        if folder.is_dir()
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished run and the external scans; the server is gone once the archives are there."""
    folder = copy_workflow(tmp_path_factory.mktemp("verse") / "workflow")
    training = archived(TRAINING, 0, folder.parent / "training")
    validation = archived(VALIDATION, 50, folder.parent / "validation") | real_files()
    external = sorted(re.findall(r"^rawdata/.+/([^.].*)_ct\.nii\.gz$", "\n".join(validation), re.M))
    rows = [(scan, "training") for scan in TRAINING] + [(scan, "validation") for scan in external]
    sheet = "".join(f"{scan}\t{scan.split('_')[0]}\t{split}\n" for scan, split in rows)
    (folder / "resources/verse20.tsv").write_text("scan\tsubject\tsplit\n" + sheet)
    config = yaml.safe_load((ROOT / "tests/workflow/miniature.yaml").read_text())
    arguments = ["--configfile", "config/verse.yaml", "--"]
    with running_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        for split, top, files in (
            ("training", "dataset-01training", training),
            ("validation", "02_validation", validation),
        ):
            server.files[split] = zipped({f"{top}/{name}": data for name, data in files.items()})
        config |= {
            "results": "results",
            "data": {"urls": {split: [server.url(split)] for split in server.files}},
            "folds": {"number": 3, "run": [0, 1]},
            "skip_methods": config["skip_methods"] + SKIPPED,
            "evaluation": {"external": ["validation"]},
        }
        (folder / "config/verse.yaml").write_text(yaml.safe_dump(config))
        snakemake(folder, *arguments, *(f"data/verse20/{split}.zip" for split in server.files))
    snakemake(folder, *arguments, "all")
    assert "Nothing to be done" in snakemake(folder, *arguments, "all")
    return folder, external


def test_the_run_ends_in_table1(run: tuple[Path, list[str]]) -> None:
    folder, _ = run
    table = pd.read_csv(folder / "results/table1.csv").set_index("key")
    methods = yaml.safe_load((ROOT / "config.yaml").read_text())["methods"]
    skipped = yaml.safe_load((folder / "config/verse.yaml").read_text())["skip_methods"]
    assert list(table.index) == [key for key in methods if key not in skipped]
    folds = pd.read_csv(folder / "results/folds.tsv", sep="\t").set_index("scan")["fold"]
    held_out = folds.isin([0, 1])
    assert table["n_scans"].tolist() == [held_out.sum()] * len(table)
    assert np.isfinite(table["multi_label_dice"]).all()
    assert folds["sub-verse401_split-verse201"] == folds["sub-verse401_split-verse253"]
    samples = pd.read_csv(folder / "results/samples.tsv", sep="\t").set_index("scan")
    for scan, (centroids, _) in TRAINING.items():
        named = samples.loc[scan, "centroids"]
        assert named.endswith(f"{scan}_{centroids}_ctd.json") if centroids else pd.isna(named)


def test_the_external_scans_have_a_table_of_their_own(run: tuple[Path, list[str]]) -> None:
    folder, external = run
    table = pd.read_csv(folder / "results/external.csv")
    assert table["n_scans"].tolist() == [len(external)] * len(table)
    folds = pd.read_csv(folder / "results/folds.tsv", sep="\t").set_index("scan")["fold"]
    assert not set(external) & set(folds.index)
    scans = pd.read_csv(folder / "results/evaluation/unet/external_scans.csv")
    assert scans["scan"].tolist() == external
    evaluated = (folder / "results/evaluation/unet/fold0_scans.csv").read_text()
    assert not any(scan in evaluated for scan in external)
    assert "none of them trained on" in (folder / "results/external.md").read_text()


def test_the_public_scan_keeps_its_geometry_voxels_and_centres(
    run: tuple[Path, list[str]], verse014: Path
) -> None:
    results = run[0] / "results"
    ct = nib.load(f"{verse014}_ct.nii.gz")
    mask = nib.load(results / f"predictions/unet/external/{REAL_SCAN}_seg-vert_msk.nii.gz")
    assert mask.shape == ct.shape
    np.testing.assert_allclose(mask.affine, ct.affine, atol=1e-4)
    table = pd.read_csv(results / "evaluation/unet/external_labels.csv")
    table = table[(table["scan"] == REAL_SCAN) & (table["reference_voxels"] > 0)]
    reference = table.set_index("label")
    voxels = np.bincount(np.asarray(nib.load(f"{verse014}_seg-vert_msk.nii.gz").dataobj).ravel())
    lumbar = {label: voxels[label] for label in range(20, 25)}
    assert reference["reference_voxels"].to_dict() == lumbar
    for point in json.loads(Path(f"{verse014}_seg-vb_ctd.json").read_text())[1:]:
        expected = ct.affine @ [point["X"], point["Y"], point["Z"], 1]
        row = reference.loc[point["label"], [f"reference_{axis}_mm" for axis in "xyz"]]
        np.testing.assert_allclose(row.to_numpy(dtype=float), expected[:3], atol=1e-3)


def test_external_scans_are_predicted_by_the_mean_probability(run: tuple[Path, list[str]]) -> None:
    folder, external = run
    results = folder / "results"
    scan = read_cache(results / f"cache/16x16x32/{external[-1]}.safetensors")
    probabilities = []
    for fold in (0, 1):
        model = load_models([results / f"models/unet/fold{fold}/weights.safetensors"])
        logits, _ = predict_box(model, scan.image, Box.whole(scan.image.shape))
        probabilities.append(np.maximum(np.exp(logits, dtype=np.float64), 1e-30))
    # No network is normalised anew for the labels that it may not predict.
    mean, geometric_mean = (
        decode_logits(scores.astype(np.float32), scores.argmax(0).astype(np.uint8), scan.transform)
        for scores in (np.log(np.mean(probabilities, axis=0)), np.log(probabilities).mean(axis=0))
    )
    ct = load_ct(next((folder / "data").rglob(f"{external[-1]}_ct.nii.gz")))
    path = results / f"predictions/unet/external/{external[-1]}_seg-vert_msk.nii.gz"
    saved = load_mask(path, ct.native).array
    assert (saved != mean).mean() < 1e-4
    assert (saved != geometric_mean).mean() > 0.1


def test_a_later_external_test_trains_nothing(run: tuple[Path, list[str]]) -> None:
    folder, _ = run
    config = yaml.safe_load((folder / "config/verse.yaml").read_text())
    del config["evaluation"]
    (folder / "config/without.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake(folder, "--configfile", "config/without.yaml", "-n", "--", "all")
    assert "rule audit:" in plan and "rule folds:" not in plan
    assert "rule train:" not in plan and "rule predict:" not in plan
