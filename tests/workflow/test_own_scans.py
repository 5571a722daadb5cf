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
    series = scans / "two"
    save_slices(series, ct_slices(phantom.ct, phantom.affine))
    # Logs and results in a scan's own folder are no part of the scan.
    results = series / "results"
    model = shutil.copy(SHIPPED_FILES["onnx"], tmp_path / "own.onnx")
    own = {"results": str(results), "predict": {"scans": str(scans), "model": str(model)}}
    (folder / "config/own.yaml").write_text(yaml.safe_dump(own))
    arguments = ["--configfile", "config/predict.yaml", "config/own.yaml"]
    snakemake(folder, *arguments)
    page = (results / "report.html").read_text()
    for name in ("one", "two"):
        result = json.loads((results / f"{name}_result.json").read_text())
        assert result["status"] == "done" and result["model"]["runtime"] == "openvino"
        assert name in page
    assert "Nothing to be done" in snakemake(folder, *arguments)
    replaced = min(series.glob("*.dcm"))
    dates = series.stat(), replaced.stat()
    replaced.write_bytes(replaced.read_bytes())
    # The date of a folder does not change with that of its files.
    os.utime(series, (dates[0].st_atime, dates[0].st_mtime))
    planned = snakemake(folder, "-n", *arguments)
    assert "scan=two" in planned and "scan=one" not in planned
    os.utime(replaced, ns=(dates[1].st_atime_ns, dates[1].st_mtime_ns))
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
