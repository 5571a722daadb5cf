from pathlib import Path

import pytest

from vertseg.core.errors import UserError
from vertseg.scans.bids import (
    bids_stems,
    data_set_of,
    data_set_scans,
    is_data_set,
    participant_folder,
)


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    for file in (
        "dataset_description.json",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/ct/sub-02_acq-bone_ct.nii",
        "sub-01/ses-b/ct/sub-01_ses-b_ct.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_run-1_ct.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_run-1_ct.json",
        "derivatives/other/sub-01/sub-01_ct.nii.gz",
        "sourcedata/sub-01_ct.nii.gz",
    ):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("{}")
    return root


def test_the_cts_of_all_participants_and_sessions(data_set: Path) -> None:
    assert is_data_set(data_set) and not is_data_set(data_set / "sub-01")
    assert [path.name for path in data_set_scans(data_set)] == [
        "sub-01_ses-a_run-1_ct.nii.gz",
        "sub-01_ses-b_ct.nii.gz",
        "sub-02_acq-bone_ct.nii",
    ]
    assert data_set_of(data_set / "sub-02/ct/sub-02_acq-bone_ct.nii") == data_set
    assert data_set_of(data_set.parent / "scan.nii") is None
    assert not is_data_set("x" * 5000)


def test_a_data_set_without_cts(data_set: Path) -> None:
    for path in data_set.glob("sub-*/**/*_ct.*"):
        path.unlink()
    with pytest.raises(UserError, match=r"without CTs.*its 2 participants"):
        data_set_scans(data_set)


def test_names_are_made_of_entities() -> None:
    given = ["sub-01_ses-a_run-1", "sub-verse401_split-verse253", "p1_CT", "Ärztin-2"]
    assert bids_stems(given) == [*given[:2], "sub-p1CT", "sub-rztin2"]
    for bad in (["sub-01_bone"], ["x_sub-01"], ["sub-01", "sub-0_1"], ["--"]):
        with pytest.raises(UserError, match="not a name that BIDS knows"):
            bids_stems(bad)
    with pytest.raises(UserError, match="p-1: another scan would be sub-p1, too"):
        bids_stems(["sub-p1", "p-1"])


def test_participants_and_sessions_have_folders() -> None:
    assert participant_folder("sub-01_ses-a_acq-x") == Path("sub-01/ses-a/anat")
    assert participant_folder("sub-01_acq-x") == Path("sub-01/anat")
    with pytest.raises(ValueError, match="entities"):
        participant_folder("scan")
