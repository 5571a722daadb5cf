"""The audit of scans: what it reports, and that it refuses all unusable scans at once."""

import shutil
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
from vertseg.phantom import generate_phantom, preset
from vertseg.phantom.dataset import write_verse_scan
from vertseg.scans.nifti import load_ct, load_mask

AFFINE = np.array([[0, 0, -2.0, 60], [-1, 0, 0, 40], [0, -3, 0, 90], [0, 0, 0, 1]])
"""Stored front to back, head to foot, right to left: PIL codes, 1 mm, 3 mm and 2 mm steps."""

T12, L1, L5 = IDS["T12"], IDS["L1"], IDS["L5"]


class Scans:
    """Writes scans of 20 x 24 x 16 stored voxels with T12, cut by the border, above L1.

    Air, fat, muscle and bone have the HU of a CT. Each scan has noise of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mask = np.zeros((20, 24, 16), np.uint8)
        self.mask[5:12, 0:8, 4:11] = T12
        self.mask[5:12, 11:19, 4:11] = L1
        self.tissue = np.full(self.mask.shape, 50)
        self.tissue[:2], self.tissue[2:4] = -1000, -100
        self.tissue[self.mask > 0] = 250
        self.ct = self.noisy("one")

    def noisy(self, name: str) -> np.ndarray:
        noise = np.random.default_rng(list(name.encode())).normal(0, 20, self.mask.shape)
        return np.rint(self.tissue + noise).astype(np.int16)

    def write(
        self, name: str, ct: np.ndarray | None = None, mask: np.ndarray | None = None,
        affine: np.ndarray = AFFINE, mask_affine: np.ndarray | None = None,
    ) -> Sample:  # fmt: skip
        mask_affine = affine if mask_affine is None else mask_affine
        paths = [self.folder / f"{name}_{kind}.nii.gz" for kind in ("ct", "mask")]
        nib.save(nib.Nifti1Image(self.noisy(name) if ct is None else ct, affine), paths[0])
        nib.save(nib.Nifti1Image(self.mask if mask is None else mask, mask_affine), paths[1])
        return Sample(name, f"sub-{name}", *map(str, paths))

    def unusable(self) -> dict[str, tuple[Sample, str]]:
        """Scans by name, and what the audit must say of each."""
        far = AFFINE.copy()
        far[0, 3] += 900
        ct, sheared = self.ct, AFFINE.copy()
        sheared[0, 1] = 0.6
        grey = (np.clip((ct + 200) / 1000, 0, 1) * 255).astype(np.uint8)
        padded = (ct + 1024).astype(np.int16)
        padded[:1] = -2000
        metres = np.diag([1e-3, 1e-3, 1e-3, 1]) @ AFFINE
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
            "coccyx": (self.write("coccyx", mask=np.where(self.mask, 27, 0).astype(np.uint8)),
                       "outside VerSe's scheme: 27"),
            "stranger": (self.write("stranger", mask=self.mask[1:], mask_affine=far),
                         "outside its CT"),
            "shifted": (self.write("shifted", mask_affine=far), "has the shape of its CT"),
            "lost": (self.write("lost", mask_affine=np.eye(4)),
                     r"The mask's is [1 0 0 0; 0 1 0 0; 0 0 1 0], the CT's [0 0 -2 60;"),
            "shift1024": (self.write("shift1024", ct=padded), "not a CT in Hounsfield units"),
            "grey8": (self.write("grey8", ct=grey), "not a CT in Hounsfield units"),
            "inverted": (self.write("inverted", ct=-ct), "inverted"),
            "tenth": (self.write("tenth", ct=(0.1 * ct).astype(np.float32)), "hardly any lies ab"),
            "mr": (self.write("mr", ct=np.abs(ct)), "not a CT in Hounsfield units"),
            "metres": (self.write("metres", affine=metres), "unit than mm"),
            "sheared": (self.write("sheared", affine=sheared), "degrees off perpendicular"),
            "beside": (self.write("beside", mask=np.roll(self.mask, -6, axis=2)),
                       "do not lie on bone"),
            "volume": (self.write("volume", mask=ct), "different values that name no vertebra"),
        }  # fmt: skip


@pytest.fixture
def scans(tmp_path: Path) -> Scans:
    return Scans(tmp_path)


def test_a_rows_facts_are_the_files(scans: Scans) -> None:
    row, ct = audit_scan(scans.write("good")), scans.noisy("good")
    assert row["orientation"] == "PIL"
    assert row["shape"] == "16 x 20 x 24"
    assert row["spacing_mm"] == "2 x 1 x 3"
    assert row["field_of_view_mm"] == "32 x 20 x 72"
    assert (row["ct_type"], row["mask_type"]) == ("int16", "uint8")
    assert (row["hu_min"], row["hu_max"]) == (ct.min(), ct.max())
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


def test_points_of_another_image_are_a_problem(scans: Scans, tmp_path: Path) -> None:
    path = tmp_path / "ctd.json"
    sample = replace(scans.write("good"), centroids=str(path))
    halved = {label: point / 2 for label, point in body_centres(scans.mask, AFFINE).items()}
    write_centroids(path, halved, AFFINE)
    assert "ctd.json: no point lies within 20 mm" in audit_scan(sample)["problem"]


def test_a_mask_on_another_grid_is_a_warning(scans: Scans) -> None:
    row = audit_scan(scans.write("moved", mask_affine=AFFINE + 1e-4 * np.eye(4)))
    assert row["warnings"] == row["problem"] == ""
    cropped = AFFINE.copy()
    cropped[:3, 3] += AFFINE[:3, 0]
    row = audit_scan(scans.write("cropped", mask=scans.mask[1:], mask_affine=cropped))
    assert "resampled onto the CT" in row["warnings"]
    assert row["problem"] == ""


@pytest.mark.parametrize("bone", [130, 250])
@pytest.mark.parametrize("around", [20, 90])
def test_labels_of_thin_bone_and_bright_tissue_lie_on_bone(
    scans: Scans, bone: int, around: int
) -> None:
    scans.tissue[scans.tissue == 50] = around
    scans.tissue[scans.mask > 0] = bone
    scans.tissue[7:10, 2:17, 6:9] = around
    assert audit_scan(scans.write("one"))["problem"] == ""


def test_phantoms_of_every_preset_pass_with_a_margin(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vertseg.dataset.audit.LEAST_BONE_GAIN", 0.35)
    for name in ("demo", "randomised"):
        phantom = generate_phantom(1001, preset(name))
        paths = write_verse_scan(phantom, tmp_path / name, "sub-x", "PIR")
        row = audit_scan(Sample("x", "x", str(paths.ct), str(paths.mask), str(paths.centroids)))
        assert row["problem"] == "", name


def test_the_real_scan_passes_with_a_margin(verse014: Path, monkeypatch) -> None:
    monkeypatch.setattr("vertseg.dataset.audit.LEAST_BONE_GAIN", 0.45)
    (points,) = verse014.parent.glob("*_ctd.json")
    sample = Sample(
        "x", "x", f"{verse014}_ct.nii.gz", f"{verse014}_seg-vert_msk.nii.gz", str(points)
    )
    assert audit_scan(sample)["problem"] == ""


def test_a_folder_of_vertebrae_is_a_mask(scans: Scans) -> None:
    folder = scans.folder / "segmentations"
    folder.mkdir()
    for name, label in (("T12", T12), ("L1", L1), ("L2", 99), ("S1", 98)):
        one = (scans.mask == label).astype(np.uint8)
        one[0, 0, 0] = name == "S1"
        nib.save(nib.Nifti1Image(one, AFFINE), folder / f"vertebrae_{name}.nii.gz")
    nib.save(nib.Nifti1Image(scans.ct, AFFINE), folder / "liver.nii.gz")
    sample = scans.write("one")
    row = audit_scan(replace(sample, mask=str(folder)))
    assert (row["labels"], row["problem"], row["warnings"]) == ("T12 L1", "", "")
    both = [load_mask(mask, load_ct(sample.ct).native).array for mask in (folder, sample.mask)]
    np.testing.assert_array_equal(*both)
    shutil.copy(folder / "vertebrae_L1.nii.gz", folder / "vertebrae_L3.nii.gz")
    assert "overlaps" in audit_scan(replace(sample, mask=str(folder)))["problem"]
    (folder / "vertebrae_L3.nii.gz").rename(folder / "vertebrae_L9.nii.gz")
    assert "'L9' is not a vertebra" in audit_scan(replace(sample, mask=str(folder)))["problem"]
    (folder / "none").mkdir()
    problem = audit_scan(replace(sample, mask=str(folder / "none")))["problem"]
    assert "vertebrae_*.nii.gz" in problem


def test_copies_are_known_by_their_voxels(scans: Scans) -> None:
    """However compressed, typed, turned or headed; a copy of one subject is a warning."""
    first, second, third = (scans.write(name) for name in ("first", "second", "third"))
    image = nib.load(first.ct)
    turned = image.as_reoriented(nib.orientations.axcodes2ornt(("L", "P", "S")))
    stored = np.asarray(turned.dataobj).astype(np.float32)
    copy = scans.folder / "copy.nii"
    nib.save(nib.Nifti1Image(stored, turned.affine), copy)
    samples = [first, replace(second, ct=str(copy)), third]
    table = audit(samples)
    assert table["problem"].str.contains("several subjects").tolist() == [True, True, False]
    assert "second" in table["problem"][0] and "sub-first, sub-second" in table["problem"][0]
    table = audit([replace(sample, subject="p") for sample in samples])
    assert (table["problem"] == "").all()
    assert table["warnings"].str.contains("same voxels").tolist() == [True, True, False]


def test_a_sacrum_that_only_some_scans_label_is_a_warning(scans: Scans) -> None:
    """A CT that ends below L5, or with T12 and L1 alone, shows no sacrum."""
    low = np.where(scans.mask == T12, L5, 0).astype(np.uint8)
    labelled = np.where(scans.mask == L1, 26, low).astype(np.uint8)
    ends = np.roll(low, 15, axis=1)
    samples = [
        scans.write("labelled", mask=labelled),
        scans.write("open", mask=low),
        scans.write("ends", ct=np.roll(scans.ct, 15, axis=1), mask=ends),
        scans.write("lumbar"),
    ]
    table = audit(samples)
    assert (table["problem"] == "").all()
    assert table["sacrum"].tolist() == ["labelled", "not labelled", "", ""]
    assert table["labels"].tolist() == ["L5", "L5", "L5", "T12 L1"]
    assert table["warnings"].str.contains("sacrum").tolist() == [False, True, False, False]
    assert not audit([samples[0], *samples[2:]])["warnings"].any()
    assert not audit(samples[1:])["warnings"].any()


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
    with pytest.raises(
        UserError, match=f"{len(unusable)} of {len(samples)} scans cannot be used"
    ) as caught:
        check_audit(table)
    for name, (_, problem) in unusable.items():
        assert f"\n  {name}: " in str(caught.value)
        assert problem in str(caught.value)
    assert "good" not in str(caught.value)
    assert table["problem"].str.len().max() < 700
    check_audit(table.head(1))


@pytest.mark.workflow
def test_the_workflow_stops_before_it_trains(scans: Scans, tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "workflow")
    bad = scans.unusable()
    samples = [scans.write("good"), scans.write("fine"), bad["truncated"][0], bad["blank"][0]]
    config = folder / "config/own.yaml"
    config.write_text(
        "results: results/own\ngrid: [16, 16, 16]\ntraining: {batch_size: 2}\n"
        "data: {source: sheet, sheet: samples.tsv}\n"
    )
    arguments = ["--configfile", str(config)]
    write_samples(folder / "samples.tsv", samples)
    output = failing_snakemake(folder, *arguments)
    log = (folder / "results/own/logs/audit.log").read_text()
    for text in (output, log):
        assert "2 of 4 scans cannot be used" in text
        assert "truncated_ct.nii.gz" in text and "blank_mask.nii.gz" in text
    assert not (folder / "results/own/folds.tsv").exists()
    assert not (folder / "results/own/weights").exists()
    samples[2] = scans.write("third")
    write_samples(folder / "samples.tsv", samples)
    config.write_text(config.read_text().replace("tsv}", "tsv, exclude: [blank]}"))
    snakemake(folder, "results/own/folds.tsv", *arguments)
    assert (folder / "results/own/folds.tsv").is_file()
    table = pd.read_csv(folder / "results/own/audit.tsv", sep="\t")
    assert table["scan"].tolist() == ["good", "fine", "third"]
