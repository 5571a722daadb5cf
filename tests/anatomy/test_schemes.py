"""Masks with other tools' label values."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SaveNifti, copy_workflow, snakemake
from safetensors.numpy import load_file

from vertseg.anatomy.labels import BACKGROUND, IDS, VERTEBRAE
from vertseg.anatomy.schemes import VERSE, read_scheme
from vertseg.core.errors import UserError
from vertseg.dataset.samples import Sample, write_samples
from vertseg.scans.nifti import load_mask
from vertseg.scans.volumes import Geometry

TOTALSEGMENTATOR = ROOT / "resources/labels/totalsegmentator.tsv"


def write(folder: Path, *rows: str) -> Path:
    path = folder / "scheme.tsv"
    path.write_text("\n".join(["value\tname", *rows]) + "\n")
    return path


def test_verse_is_the_default() -> None:
    assert read_scheme("") is VERSE
    assert all(VERSE[value] == value for value in (BACKGROUND, *VERTEBRAE))
    assert not {26, 27} & VERSE.keys()


def test_totalsegmentators_values() -> None:
    scheme = read_scheme(TOTALSEGMENTATOR)
    assert sorted(scheme) == list(range(118))
    names = {27: "L5", 31: "L1", 32: "T12", 43: "T1", 44: "C7", 50: "C1"}
    assert {value: scheme[value] for value in names} == {v: IDS[n] for v, n in names.items()}
    assert scheme[26] == scheme[25] == scheme[51] == BACKGROUND
    assert set(scheme.values()) == {BACKGROUND, *VERTEBRAE} - {IDS["L6"], IDS["T13"]}


def test_a_mask_is_read_by_its_scheme(save_nifti: SaveNifti) -> None:
    mask = np.zeros((4, 4, 4), np.float64)
    mask[0], mask[1], mask[2] = 27, 32, 5
    ct = Geometry((4, 4, 4), np.eye(4))
    read = load_mask(save_nifti("mask.nii.gz", mask), ct, read_scheme(TOTALSEGMENTATOR)).array
    assert read.dtype == np.uint8
    assert [int(read[x, 0, 0]) for x in range(4)] == [IDS["L5"], IDS["T12"], 0, 0]


def test_values_that_a_scheme_does_not_list_are_refused(
    save_nifti: SaveNifti, tmp_path: Path
) -> None:
    mask = np.arange(-1, 7, dtype=np.int16).reshape(2, 2, 2)
    scheme = read_scheme(write(tmp_path, "1-3\tbackground", "5\tL1"))
    with pytest.raises(UserError, match=r"mask\.nii\.gz.*: -1, 4, 6\."):
        load_mask(save_nifti("mask.nii.gz", mask), Geometry((2, 2, 2), np.eye(4)), scheme)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1\tL1", "1\tL2"], "line 3: value 1 is given twice"),
        (["1\tL1", "2\tL1"], "line 3: vertebra L1 is given twice"),
        (["1-3\tbackground", "3\tL1"], "line 3: value 3 is given twice"),
        (["1-2\tL1"], "line 2: a vertebra has one value"),
        (["3-2\tbackground"], "ranges go upwards"),
        (["1\tL7"], "line 2: needs a value"),
        (["one\tL1"], "line 2: needs a value"),
        (["1 L1"], "line 2: needs a value"),
        (["1\tbackground"], "names no vertebra"),
        ([], "names no vertebra"),
    ],
)
def test_malformed_schemes_are_named(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_scheme(write(tmp_path, *rows))


def test_a_missing_scheme_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.tsv"):
        read_scheme(tmp_path / "none.tsv")


@pytest.mark.workflow
def test_the_workflow_reads_masks_by_the_configured_scheme(
    tmp_path: Path, save_nifti: SaveNifti
) -> None:
    folder = copy_workflow(tmp_path / "workflow")
    rng = np.random.default_rng(0)
    samples = []
    for index in range(3):
        mask = np.zeros((20, 20, 20), np.int16)
        mask[5:9, 5:9, 4:8], mask[5:9, 5:9, 12:16], mask[15:, :, :] = 28, 27 + 4, 1
        ct = rng.normal(300 * (mask > 1), 200).astype(np.float32)
        paths = (
            save_nifti(f"{index}_{kind}.nii.gz", array, np.diag([4.0, 4, 4, 1]))
            for kind, array in (("ct", ct), ("m", mask))
        )
        samples.append(Sample(f"scan{index}", f"subject{index}", *map(str, paths)))
    write_samples(folder / "samples.tsv", samples)
    (folder / "config/own.yaml").write_text(
        "results: results/own\ngrid: [20, 20, 20]\n"
        "data: {source: sheet, sheet: samples.tsv, "
        "labels: resources/labels/totalsegmentator.tsv}\n"
    )
    cache = "results/own/cache/20x20x20/scan1.safetensors"
    snakemake(folder, cache, "results/own/samples.tsv", "--configfile", "config/own.yaml")
    label = load_file(folder / cache)["label"]
    assert np.unique(label).tolist() == [0, IDS["L1"], IDS["L4"]]
    assert (label == IDS["L4"]).sum() == 64
    assert "totalsegmentator.tsv" in (folder / "results/own/samples.tsv").read_text()
