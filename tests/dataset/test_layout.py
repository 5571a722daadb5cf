from pathlib import Path

import pytest

from vertseg.dataset import layout


def test_a_data_set_in_verses_layout() -> None:
    scan = ("data", "sub-verse401", "sub-verse401_split-verse253")
    stem = "sub-verse401/sub-verse401_split-verse253"
    assert layout.ct_path(*scan) == f"data/rawdata/{stem}_ct.nii.gz"
    assert layout.reference_path(*scan) == f"data/derivatives/{stem}_seg-vert_msk.nii.gz"
    assert layout.phantom_centroids_path(*scan) == f"data/derivatives/{stem}_seg-vert_ctd.json"
    truth = layout.phantom_truth_path(layout.reference_path(*scan))
    assert truth == Path(f"data/derivatives/{stem}_phantom.json")


def test_predictions_are_named_after_verse() -> None:
    folder = Path("predictions")
    assert layout.mask_path(folder, "a") == folder / "a_seg-vert_msk.nii.gz"
    assert layout.centroids_path(folder, "a") == folder / "a_seg-vert_ctd.json"
    assert layout.grid_mask_path(folder, "a") == folder / "a_grid.safetensors"


def test_a_ct_names_subject_and_scan() -> None:
    path = layout.ct_path("", "sub-gl003", "sub-gl003_dir-ax").removeprefix("/")
    assert layout.subject_and_scan(path) == ("sub-gl003", "sub-gl003_dir-ax")


@pytest.mark.parametrize(
    "path",
    [
        "rawdata/sub-a/sub-a_ct.json",
        "rawdata/sub-a/sub-a_ctxnii.gz",
        "rawdata/sub-a_ct.nii.gz",
        "rawdata/sub-a/_ct.nii.gz",
        "rawdata/sub-a/inner/sub-a_ct.nii.gz",
        "derivatives/sub-a/sub-a_ct.nii.gz",
        "top/rawdata/sub-a/sub-a_ct.nii.gz",
    ],
)
def test_other_files_are_not_cts(path: str) -> None:
    assert layout.subject_and_scan(path) is None


@pytest.mark.parametrize("kind", ["vert", "subreg", "vb"])
def test_centroids_are_found_by_any_of_their_names(kind: str) -> None:
    files = [
        f"derivatives/sub-a/sub-a_seg-{kind}_ctd.json",
        "derivatives/sub-a/sub-a_seg-vert_msk.nii.gz",
        "derivatives/sub-a/sub-a_dir-ax_seg-vb_ctd.json",
        "derivatives/sub-a/._sub-a_seg-vb_ctd.json",
        "derivatives/sub-a/sub-a_seg-vb_ctd.json.bak",
    ]
    assert layout.find_centroids("sub-a", files) == files[0]
    assert layout.find_centroids("sub-a", files[1:]) == ""
    assert layout.find_centroids("sub-a", [Path(files[0]).name]) == Path(files[0]).name


def test_the_first_of_several_centroid_files_counts() -> None:
    files = [f"sub-a_seg-{kind}_ctd.json" for kind in ("vert", "vb", "subreg")]
    assert layout.find_centroids("sub-a", files) == "sub-a_seg-subreg_ctd.json"


def test_names_are_not_patterns() -> None:
    assert layout.find_centroids("sub.a", ["subxa_seg-vb_ctd.json"]) == ""


def test_no_two_files_of_a_scan_have_one_name() -> None:
    ends = [*layout.OWN_SCAN_SUFFIXES.values(), layout.RESULT_SUFFIX, layout.FAILURE_SUFFIX]
    assert len(set(ends)) == len(ends)
