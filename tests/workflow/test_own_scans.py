"""A folder of the user's scans through Snakemake."""

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import pytest
import SimpleITK as sitk  # noqa: N813
import yaml
from conftest import copy_workflow, failing_snakemake, snakemake
from dicom_series import ct_slices, save_slices

from vertseg.core.errors import UserError
from vertseg.phantom import generate_phantom, preset
from vertseg.scans.find import find_scans
from vertseg.segmentation.settings import SHIPPED_FILES


def test_scans_are_found_below_a_folder(tmp_path: Path) -> None:
    for name in ("b/x_ct.nii.gz", "a.mha", "c/d/1.dcm", "c/d/2.dcm", "e.zip", ".hidden.nii",
                 "f/.DS_Store", "b/notes.txt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_scans(tmp_path)]
    assert found == ["a.mha", "b/x_ct.nii.gz", "c/d", "e.zip"]
    with pytest.raises(UserError, match="holds no scan"):
        find_scans(tmp_path / "f")
    with pytest.raises(UserError, match="no such folder"):
        find_scans(tmp_path / "absent")


@pytest.mark.workflow
def test_a_folder_of_scans_ends_in_one_report(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path / "workflow")
    scans = tmp_path / "scans"
    scans.mkdir()
    phantom = generate_phantom(5, preset("demo"))
    nib.save(nib.Nifti1Image(phantom.ct, phantom.affine), scans / "one_ct.nii.gz")
    sitk.WriteImage(sitk.ReadImage(scans / "one_ct.nii.gz"), scans / "two.mha")
    model = shutil.copy(SHIPPED_FILES["onnx"], tmp_path / "own.onnx")
    own = {"predict": {"scans": str(scans), "model": str(model)}}
    (folder / "config/own.yaml").write_text(yaml.safe_dump(own))
    arguments = ["--configfile", "config/predict.yaml", "config/own.yaml"]
    snakemake(folder, *arguments)
    results = folder / "results/predict"
    page = (results / "report.html").read_text()
    for name in ("one", "two"):
        result = json.loads((results / f"{name}_result.json").read_text())
        assert result["status"] == "done" and result["model"]["runtime"] == "openvino"
        assert name in page
    assert "Nothing to be done" in snakemake(folder, *arguments)
    (scans / "flat.nii").write_bytes(b"no image")
    for _ in range(2):  # The second run tries the failed scan again.
        output = failing_snakemake(folder, *arguments)
        assert "1 of 3 scans failed" in output and "flat.nii" in output
        assert "Traceback" not in output
        assert output.count("predict_own_scan (scan ") == 1
        page = (results / "report.html").read_text()
        assert page.count("This scan failed.") == 1 and "one" in page and "two" in page
        failure = json.loads((results / "flat_failed.json").read_text())
        assert failure["status"] == "failed" and "flat.nii" in failure["error"]
        assert not (results / "flat_result.json").exists()
    sitk.WriteImage(sitk.ReadImage(scans / "one_ct.nii.gz"), scans / "flat.nii")
    snakemake(folder, *arguments)
    assert not (results / "flat_failed.json").exists()
    assert "This scan failed." not in (results / "report.html").read_text()


@pytest.mark.workflow
def test_a_replaced_slice_of_a_series_is_predicted(tmp_path: Path) -> None:
    """The date of a folder does not change with that of its files."""
    folder = copy_workflow(tmp_path / "workflow")
    series = tmp_path / "scans/series"
    phantom = generate_phantom(5, preset("demo"))
    save_slices(series, ct_slices(phantom.ct, phantom.affine))
    # Logs in the scan's own folder are no part of the scan.
    own = {"results": str(series / "results"), "predict": {"scans": str(series.parent)}}
    (folder / "config/own.yaml").write_text(yaml.safe_dump(own))
    arguments = ["--configfile", "config/predict.yaml", "config/own.yaml"]
    snakemake(folder, *arguments)
    assert "Nothing to be done" in snakemake(folder, *arguments)
    dates = series.stat().st_atime, series.stat().st_mtime
    one = min(series.glob("*.dcm"))
    one.write_bytes(one.read_bytes())
    os.utime(series, dates)
    assert "predict_own_scan" in snakemake(folder, "-n", *arguments)
