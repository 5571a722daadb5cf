"""Sample sheets of a configured run: what of them is refused before anything is planned."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT, random_ct

from vertseg.core.errors import UserError
from vertseg.dataset.config import complete_config
from vertseg.dataset.samples import Sample, write_samples
from vertseg.dataset.sources import check_training, configured_samples, own_scans


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


def test_initial_weights_of_another_network_are_refused_before_a_training() -> None:
    weights = str(ROOT / "vertseg/models/vertseg-phantom.safetensors")
    ours = {"aspp_rates": [1, 2, 4, 8]}
    stated = {
        "results": "results",
        "training": {"initial_weights": weights, "auxiliary": ["centres", "offsets"]},
        "data": {"source": "phantom", "phantom": {"scans": 9, "preset": "demo"}},
        "methods": {
            "fit": {"label": "A", "network": "mobilenet_aspp", "network_options": ours},
            "rates": {"label": "B", "network": "mobilenet_aspp"},
            "unet": {"label": "C", "network": "unet"},
            "bare": {"label": "D", "network": "mobilenet_aspp", "network_options": ours,
                     "training": {"auxiliary": []}},
            "absent": {"label": "E", "network": "unet",
                       "training": {"initial_weights": "made.later.safetensors"}},
        },
    }  # fmt: skip
    config = complete_config(stated, ROOT / "schemas/config.schema.yaml")
    subject_of = {str(number): str(number) for number in range(9)}
    for method in ("fit", "absent"):
        check_training(config, method, subject_of)
    for method, message in {
        "rates": "their network_options is", "unet": "their network is mobilenet_aspp",
        "bare": "training.auxiliary must begin",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"vertseg-phantom.safetensors: .*{message}"):
            check_training(config, method, subject_of)
    with pytest.raises(UserError, match="a batch of fit holds 4 different scans, but of 3 scans"):
        check_training(config, "fit", {str(number): str(number) for number in range(3)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1}, "aspp's network mobilenet_aspp needs at least 2 scans in a batch"),
        ({"crop": [8, 12, 16]}, "training.crop: unet's network unet needs at least 16 .* not 8"),
        ({"crop": None}, "grid: unet's network unet needs at least 16 .* not 12"),
    ],
)
def test_what_a_network_cannot_learn_from_is_refused_before_a_training(changes, message) -> None:
    stated = {
        "results": "results",
        "grid": [16, 12, 16],
        "training": {"crop": [16, 16, 16]} | changes,
        "data": {"source": "phantom", "phantom": {"scans": 9, "preset": "demo"}},
        "methods": {
            name: {"label": name, "network": network}
            for name, network in (("unet", "unet"), ("aspp", "mobilenet_aspp"))
        },
    }
    config = complete_config(stated, ROOT / "schemas/config.schema.yaml")
    subject_of = {str(number): str(number) for number in range(9)}
    with pytest.raises(UserError, match=message):
        check_training(config, message.split("'")[0].split()[-1], subject_of)
    check_training(config, "aspp" if "unet" in message else "unet", subject_of)
