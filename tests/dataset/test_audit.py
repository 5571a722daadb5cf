"""The audit of scans: what it reports, and that it refuses all unusable scans at once."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import copy_workflow, failing_snakemake, snakemake

from vertseg.anatomy.centroids import body_centres, write_centroids
from vertseg.anatomy.labels import IDS
from vertseg.core.errors import UserError
from vertseg.dataset.audit import COLUMNS, audit, audit_scan, check_audit
from vertseg.dataset.samples import Sample, write_samples

AFFINE = np.array([[0, 0, -2.0, 60], [-1, 0, 0, 40], [0, -3, 0, 90], [0, 0, 0, 1]])
"""Stored front to back, head to foot, right to left: PIL codes, 1 mm, 3 mm and 2 mm steps."""

T12, L1 = IDS["T12"], IDS["L1"]


class Scans:
    """Writes scans of 20 x 24 x 16 stored voxels with T12, cut by the border, above L1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ct = np.random.default_rng(0).integers(-200, 900, (20, 24, 16)).astype(np.int16)
        self.mask = np.zeros(self.ct.shape, np.uint8)
        self.mask[5:12, 0:8, 4:11] = T12
        self.mask[5:12, 11:19, 4:11] = L1

    def write(
        self, name: str, ct: np.ndarray | None = None, mask: np.ndarray | None = None,
        mask_affine: np.ndarray = AFFINE,
    ) -> Sample:  # fmt: skip
        paths = [self.folder / f"{name}_{kind}.nii.gz" for kind in ("ct", "mask")]
        nib.save(nib.Nifti1Image(self.ct if ct is None else ct, AFFINE), paths[0])
        nib.save(nib.Nifti1Image(self.mask if mask is None else mask, mask_affine), paths[1])
        return Sample(name, f"sub-{name}", *map(str, paths))

    def unusable(self) -> dict[str, tuple[Sample, str]]:
        """Scans by name, and what the audit must say of each."""
        far = AFFINE.copy()
        far[0, 3] += 900
        truncated, missing = self.write("truncated"), self.write("missing")
        path = Path(truncated.ct)
        path.write_bytes(path.read_bytes()[:200])
        Path(missing.mask).unlink()
        return {
            "truncated": (truncated, "truncated_ct.nii.gz: cannot be read"),
            "missing": (missing, "missing_mask.nii.gz: no such file"),
            "flat": (self.write("flat", ct=self.ct[0]), "flat_ct.nii.gz: shape (24, 16)"),
            "grey": (self.write("grey", ct=self.ct * 0), "grey_ct.nii.gz: all voxels"),
            "blank": (self.write("blank", mask=self.mask * 0), "blank_mask.nii.gz: no vertebra"),
            "sacrum": (self.write("sacrum", mask=np.where(self.mask, 26, 0).astype(np.uint8)),
                       "outside VerSe's scheme: 26"),
            "stranger": (self.write("stranger", mask_affine=far), "outside its CT"),
        }  # fmt: skip


@pytest.fixture
def scans(tmp_path: Path) -> Scans:
    return Scans(tmp_path)


def test_a_rows_facts_are_the_files(scans: Scans) -> None:
    row = audit_scan(scans.write("good"))
    assert row["orientation"] == "PIL"
    assert row["shape"] == "16 x 20 x 24"
    assert row["spacing_mm"] == "2 x 1 x 3"
    assert row["field_of_view_mm"] == "32 x 20 x 72"
    assert (row["ct_type"], row["mask_type"]) == ("int16", "uint8")
    assert (row["hu_min"], row["hu_max"]) == (scans.ct.min(), scans.ct.max())
    assert (row["labels"], row["cut_by_border"]) == ("T12 L1", "T12")
    assert row["problem"] == row["warnings"] == ""


def test_points_and_masks_that_disagree_are_warnings(scans: Scans, tmp_path: Path) -> None:
    centres = body_centres(scans.mask, AFFINE)
    path = tmp_path / "ctd.json"
    sample = replace(scans.write("good"), centroids=str(path))
    write_centroids(path, centres, AFFINE)
    row = audit_scan(sample)
    assert (row["annotated"], row["warnings"]) == ("T12 L1", "")
    write_centroids(path, {T12: centres[T12] + np.array([0, 0, 25.0]), 21: centres[L1]}, AFFINE)
    row = audit_scan(sample)
    assert row["problem"] == ""
    assert row["warnings"].count("; ") == 2
    for warning in ("no mask for L2", "no point for L1", "from the mask's body: T12"):
        assert warning in row["warnings"]


def test_a_mask_on_another_grid_is_a_warning(scans: Scans) -> None:
    row = audit_scan(scans.write("moved", mask_affine=AFFINE + 1e-4 * np.eye(4)))
    assert row["warnings"] == ""
    shifted = AFFINE.copy()
    shifted[0, 3] += 2
    row = audit_scan(scans.write("shifted", mask_affine=shifted))
    assert "resampled onto the CT" in row["warnings"]
    assert row["problem"] == ""


def test_an_empty_mask_is_right_where_the_annotation_is_empty_too(scans: Scans) -> None:
    path = scans.folder / "ctd.json"
    blank = replace(scans.write("blank", mask=scans.mask * 0), centroids=str(path))
    write_centroids(path, {}, AFFINE)
    assert audit_scan(blank)["problem"] == ""
    write_centroids(path, {L1: np.array([30.0, 10.0, 50.0])}, AFFINE)
    assert "no vertebra is labelled" in audit_scan(blank)["problem"]


def test_unusable_scans_are_named_all_at_once(scans: Scans) -> None:
    unusable = scans.unusable()
    samples = [scans.write("good"), *(sample for sample, _ in unusable.values())]
    table = audit(samples, processes=2)
    assert list(table.columns) == COLUMNS
    assert table["scan"].tolist() == ["good", *unusable]
    with pytest.raises(UserError, match="7 of 8 scans cannot be used") as caught:
        check_audit(table)
    for name, (_, problem) in unusable.items():
        assert f"\n  {name}: " in str(caught.value)
        assert problem in str(caught.value)
    assert "good" not in str(caught.value)
    check_audit(table.head(1))


@pytest.mark.workflow
def test_the_workflow_stops_before_it_computes(scans: Scans, tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "workflow")
    bad = scans.unusable()
    samples = [scans.write("good"), scans.write("fine"), bad["truncated"][0], bad["blank"][0]]
    config = folder / "config/own.yaml"
    config.write_text(
        "results: results/own\ngrid: [16, 16, 16]\ndata: {source: sheet, sheet: samples.tsv}\n"
    )
    cache = "results/own/cache/16x16x16/good.safetensors"
    arguments = [cache, "--configfile", str(config)]
    write_samples(folder / "samples.tsv", samples)
    output = failing_snakemake(folder, *arguments)
    log = (folder / "results/own/logs/audit.log").read_text()
    for text in (output, log):
        assert "2 of 4 scans cannot be used" in text
        assert "truncated_ct.nii.gz" in text and "blank_mask.nii.gz" in text
    assert not (folder / "results/own/cache").exists()
    samples[2] = replace(samples[0], scan="third", subject="sub-third")
    write_samples(folder / "samples.tsv", samples)
    config.write_text(config.read_text().replace("tsv}", "tsv, exclude: [blank]}"))
    snakemake(folder, *arguments)
    assert (folder / cache).is_file()
    table = pd.read_csv(folder / "results/own/audit.tsv", sep="\t")
    assert table["scan"].tolist() == ["good", "fine", "third"]
