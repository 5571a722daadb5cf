"""Sample sheets of a configured run: what of them is refused before anything is planned."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT, random_ct

from vertseg.core.errors import UserError
from vertseg.dataset.config import complete_config
from vertseg.dataset.samples import Sample, write_samples
from vertseg.dataset.sources import configured_samples, own_scans


def configured(
    folder: Path, *samples: Sample, external: tuple[Sample, ...] = ()
) -> tuple[list[Sample], list[Sample]]:
    write_samples(folder / "samples.tsv", samples)
    write_samples(folder / "external.tsv", external)
    stated = {
        "results": "results",
        "methods": {"ours": {"label": "Ours", "network": "unet"}},
        "data": {"source": "sheet", "sheet": str(folder / "samples.tsv")},
        "evaluation": {"external": [str(folder / "external.tsv")] if external else []},
    }
    config = complete_config(stated, ROOT / "schemas/config.schema.yaml")
    return configured_samples(config, ROOT)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample("=a", "p", "ct.nii", "mask.nii"), "scan: '=a' is not as it should be: Unique name"),
        (Sample("a", "-p", "ct.nii", "mask.nii"), "subject: '-p'"),
        (Sample("a", "p", "=ct.nii", "mask.nii"), "ct: '=ct.nii'.*none of = . - @"),
        (Sample("a", "p", "ct.nrrd", "mask.nii"), "ct: 'ct.nrrd'.*NIfTI file"),
        (Sample("a", "p", "ct.nii", "@mask.nii"), "mask: '@mask.nii'"),
        (Sample("a", "p", "ct.nii", "segmentations"), "nor a folder of TotalSegmentator's"),
        (Sample("a", "p", "{x}/ct.nii", "mask.nii"), "{x}/ct.nii: Snakemake takes braces"),
    ],
)
def test_faulty_cells_are_named(tmp_path: Path, sample: Sample, message: str) -> None:
    with pytest.raises(UserError, match=f"(?s){message}"):
        configured(tmp_path, sample)


def test_a_folder_of_vertebrae_is_a_mask(tmp_path: Path) -> None:
    (tmp_path / "segmentations").mkdir()
    sample = Sample("a", "p", "ct.nii", str(tmp_path / "segmentations"))
    assert configured(tmp_path, sample) == ([sample], [])


def test_one_patient_is_either_learned_from_or_tested_on(tmp_path: Path) -> None:
    one, other = (Sample(n, s, f"{n}.nii", f"{n}_m.nii") for n, s in (("a", "p01"), ("b", "P01")))
    with pytest.raises(UserError, match=r"subject must be either learned from or tested on.*P01"):
        configured(tmp_path, one, external=(other,))
    with pytest.raises(UserError, match="differ by upper and lower case"):
        configured(tmp_path, one, other)
    copy = Sample("b", "p02", "a.nii", "b_m.nii")
    with pytest.raises(UserError, match="one ct of two subjects"):
        configured(tmp_path, one, external=(copy,))


def test_scans_of_one_name_in_two_data_sets_are_named(tmp_path: Path) -> None:
    for root in ("verse19", "verse20"):
        for path in ("rawdata/sub-a/sub-a_ct", "derivatives/sub-a/sub-a_seg-vert_msk"):
            (tmp_path / root / path).parent.mkdir(parents=True)
            (tmp_path / root / f"{path}.nii.gz").touch()
    stated = {
        "results": "results",
        "methods": {"ours": {"label": "Ours", "network": "unet"}},
        "data": {"source": "verse", "root": str(tmp_path)},
    }
    config = complete_config(stated, ROOT / "schemas/config.schema.yaml")
    with pytest.raises(UserError, match=r"(?s)one name.*verse19/rawdata.*verse20/rawdata/sub-a"):
        configured_samples(config, ROOT)


def test_own_scans_whose_paths_have_braces_are_named(tmp_path: Path) -> None:
    (tmp_path / "p{1}").mkdir()
    nib.save(nib.Nifti1Image(random_ct((4, 4, 4)), np.eye(4)), tmp_path / "p{1}/x_ct.nii.gz")
    with pytest.raises(UserError, match=r"p\{1\}/x_ct\.nii\.gz: Snakemake takes braces"):
        own_scans({"predict": {"scans": str(tmp_path)}, "results": str(tmp_path / "results")})
