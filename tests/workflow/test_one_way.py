"""The workflow's script and the command line: one way from a CT to a label map."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT

from vertseg import cli
from vertseg.core.tsv import write_tsv
from vertseg.dataset.folds import FOLD_COLUMNS
from vertseg.dataset.layout import centroids_path, ct_path, mask_path
from vertseg.phantom import generate_phantom, preset, write_verse_scan
from vertseg.scans.nifti import load_ct
from vertseg.segmentation.cache import CachedScan, write_cache
from vertseg.segmentation.grid import GridTransform
from vertseg.segmentation.settings import SHIPPED_FILES, Decoding, own_scans_outlines

WIDE = "sub-wide"
NARROW = "sub-narrow"
FOLDS = "folds.tsv"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans, one of them wider than what the network sees first, with their caches."""
    folder = tmp_path_factory.mktemp("data")
    wide = replace(
        preset("randomised"),
        whole_section_share=1.0,
        sagittal_share=0.0,
        length_mm=(150.0, 150.0),
        field_of_view={"lumbar": 1.0},
        limb_share=0.0,
    )
    for name, seed, settings in ((WIDE, 5, wide), (NARROW, 3, preset("demo"))):
        write_verse_scan(generate_phantom(seed, settings), folder, name, "PIR")
        ct = load_ct(ct_path(folder, name, name))
        transform = GridTransform.onto({"spacing_mm": 2.5}, ct.native)
        image = transform.encode_image(ct.array)
        write_cache(folder / f"{name}.safetensors", CachedScan(name, image, None, transform))
    write_tsv(folder / FOLDS, FOLD_COLUMNS, [(name, name, 0) for name in (WIDE, NARROW)])
    return folder


def by_workflow(data: Path, target: Path, scan: str, weights: Path, decoding: Decoding) -> None:
    """Predict a scan by the script of the rule `predict`."""
    job = SimpleNamespace(
        input=SimpleNamespace(
            weights=[str(weights)],
            folds=str(data / FOLDS),
            caches=[str(data / f"{scan}.safetensors")],
        ),
        output=[str(target)],
        params=SimpleNamespace(
            fold="0",
            device="cpu",
            decoding=decoding,
            cts={scan: ct_path(data, scan, scan)} if own_scans_outlines(decoding) == "ct" else None,
            keep_grid=False,
        ),
        resources=SimpleNamespace(gpu=0),
        threads=2,
        log=[str(target.with_suffix(".log"))],
    )
    runpy.run_path(
        str(ROOT / "scripts/predict.py"), init_globals={"snakemake": job}, run_name="__main__"
    )


def by_command(data: Path, target: Path, scan: str, weights: Path, decoding: Decoding) -> None:
    """Predict a scan as its user does."""
    arguments = ["--output", str(target), "--model", str(weights), "--decoding", decoding]
    path = ct_path(data, scan, scan)
    assert cli.main(["predict", path, *arguments, "--threads", "2", "--no-report"]) == 0


@pytest.mark.parametrize(
    ("scan", "decoding", "runtimes"),
    [
        (WIDE, "instances", ("onnx", "torch")),
        (NARROW, "order", ("onnx", "torch")),
        (NARROW, "spine", ("onnx",)),
        (NARROW, "argmax", ("torch",)),
    ],
)
def test_script_and_command_line_give_the_same(
    data: Path, tmp_path: Path, scan: str, decoding: Decoding, runtimes: tuple[str, ...]
) -> None:
    by_workflow(data, tmp_path / "workflow", scan, SHIPPED_FILES["torch"], decoding)
    expected = nib.load(mask_path(tmp_path / "workflow", scan))
    assert len(np.unique(expected.dataobj)) > 3
    for runtime in runtimes:
        weights = SHIPPED_FILES[runtime]
        by_command(data, tmp_path / runtime, scan, weights, decoding)
        mask = nib.load(mask_path(tmp_path / runtime, scan))
        np.testing.assert_array_equal(mask.dataobj, expected.dataobj)
        np.testing.assert_array_equal(mask.affine, expected.affine)
        assert points(tmp_path / runtime, scan) == points(tmp_path / "workflow", scan)


def points(folder: Path, scan: str) -> list[dict]:
    """The entries of a file of centroids, without the notice to readers."""
    content = json.loads(centroids_path(folder, scan).read_text())
    return [{key: value for key, value in one.items() if key != "notice"} for one in content]
