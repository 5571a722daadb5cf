"""The report: results read and checked, the viewer's volumes, and the page in a real browser."""

import base64
import copy
import gzip
import io
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from itertools import combinations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT
from matplotlib.colors import to_rgb
from nibabel.affines import apply_affine
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

from vertseg.anatomy.centroids import body_centres
from vertseg.anatomy.labels import NAMES, VERTEBRAE
from vertseg.anatomy.palette import label_colour
from vertseg.core.errors import UserError
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.figures.preview import draw_preview
from vertseg.predict.correction import read_correction
from vertseg.predict.result import Result, read_result
from vertseg.predict.viewer_volumes import read_viewer_volumes, write_viewer_volumes
from vertseg.report.overview import most_urgent_first, verdict
from vertseg.report.page import write_report
from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation.settings import DECODINGS, OUTLINES

LUMBAR = (20, 21, 22)
HOSTILE = (
    """</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'"&"""
)

VERTEBRA: dict[str, Any] = {
    "label": 20,
    "name": "L1",
    "confidence": 0.934,
    "complete": True,
    "body_complete": True,
    "foreign_material": False,
    "volume_ml": 41.26,
    "body_volume_ml": 22.94,
    "trabecular_hu": 143.6,
    "height_anterior_mm": 19.98,
    "height_middle_mm": 22.04,
    "height_posterior_mm": 26.66,
    "height_loss": 0.253,
    "height_reference": "neighbours",
    "genant_grade": 2,
    "fracture_shape": "wedge",
    "suppressed": [],
}
CUT = dict.fromkeys(VERTEBRA) | {
    "label": 22,
    "name": "L3",
    "confidence": 0.41,
    "complete": False,
    "suppressed": ["all measures (cut by the field of view)"],
}
RESULT: dict[str, Any] = {
    "format": "vertseg-result-1",
    "notice": RESEARCH_USE_ONLY,
    "scan": "sub-lumbar",
    "source": "/data/sub-lumbar_ct.nii.gz",
    "status": "done",
    "mask_sha256": "cd" * 32,
    "model": {"name": "mobilenet_aspp", "sha256": "ab" * 32, "runtime": "onnx"},
    "decoding": "order",
    "geometry": {
        "shape": [60, 70, 90],
        "spacing_mm": [1.5, 1.5, 2.0],
        "orientation": "RAS",
        "field_of_view_mm": [90, 105, 180],
    },
    "seconds": {"read": 0.4},
    "warnings": [
        {"code": "out_of_order", "labels": [20, 22], "message": "L1 lies below L3."},
        {"code": "gap", "labels": [], "message": "L2 & L3 are far apart."},
    ],
    "vertebrae": [CUT, VERTEBRA, VERTEBRA | {"label": 21, "name": "L2", "genant_grade": 0}],
    "summary": {
        "t12_l3_hu": 150.2,
        "t12_l3_levels": ["L1", "L2"],
        "hu_category": "above 135 to 160 HU",
        "l1_hu": 143.6,
        "highest_genant_grade": 2,
        "highest_genant_levels": ["L1"],
        "suppressed": [],
    },
    "files": {"mask": "sub-lumbar_seg-vert_msk.nii.gz", "preview": None, "dicom_seg": None},
}
FAILED = {
    "format": "vertseg-result-1",
    "scan": HOSTILE,
    "source": "/data/knee.nii.gz",
    "status": "failed",
    "error": f"/data/knee.nii.gz: not a CT {HOSTILE}",
}


def blocks(labels: tuple[int, ...] = LUMBAR) -> tuple[Volume, np.ndarray]:
    """Blocks of 300 HU from the top down in soft tissue of 40 HU, on an oblique affine."""
    mask = np.zeros((30, 35, 45), np.uint8)
    for index, label in enumerate(labels):
        z = 36 - 12 * index
        mask[10:20, 12:22, z - 7 : z] = label
    turn = np.deg2rad(8)
    affine = np.diag([3.0, 3.0, 4.0, 1.0])
    affine[:2, :2] = 3 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    affine[:3, 3] = (-40, 12, -90)
    array = np.where(mask > 0, 300, 40).astype(np.int16)
    return Volume(array, affine, Geometry(array.shape, affine)), mask


def write_scan(folder: Path, content: dict[str, Any], ct: Volume, mask: np.ndarray) -> Path:
    """A result with its preview and its viewer's volumes."""
    stem = f"scan{len(list(folder.glob('*_result.json')))}"
    names = {"preview": f"{stem}_preview.png", "viewer": f"{stem} 100%_viewer.js"}
    draw_preview(ct, mask, folder / names["preview"], content["scan"])
    write_viewer_volumes(ct, mask, body_centres(mask, ct.affine), folder / names["viewer"])
    return write_result(folder / f"{stem}_result.json", content | {"files": names})


def write_result(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def viewer_volumes(
    ct: Volume, mask: np.ndarray, folder: Path
) -> tuple[nib.Nifti1Image, nib.Nifti1Image, dict[str, Any]]:
    """CT, label map and all content of the script that is written for a scan."""
    path = folder / "viewer.js"
    write_viewer_volumes(ct, mask, body_centres(mask, ct.affine), path)
    content = json.loads(read_viewer_volumes(path))
    images = [
        nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(content[kind])))
        for kind in ("ct", "mask")
    ]
    return images[0], images[1], content


class TestViewerVolumes:
    def test_blocks_are_averaged_and_stay_where_they_were(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        affine = np.diag([0.7, 0.7, 1.5, 1.0])
        affine[:3, 3] = (5, -7, 11)
        array = rng.integers(-1000, 1000, (100, 110, 60)).astype(np.int16)
        mask = np.zeros(array.shape, np.uint8)
        mask[45:57, 50:62, 25:33] = 20
        ct = Volume(array, affine, Geometry(array.shape, affine))
        small, labels, _ = viewer_volumes(ct, mask, tmp_path)
        assert small.get_data_dtype() == np.int16 and labels.get_data_dtype() == np.uint8
        np.testing.assert_allclose(small.header.get_zooms(), (1.4, 1.4, 1.5), rtol=1e-6)
        np.testing.assert_array_equal(small.affine, labels.affine)
        # A voxel's centre, in the scan's voxels, lies in the middle of the 2 x 2 x 1 it averages.
        for index in [(0, 0, 0), (10, 20, 30), (40, 3, 7)]:
            centre = apply_affine(np.linalg.inv(affine) @ small.affine, index)
            x, y, z = (round(float(value), 3) for value in centre)
            block = array[int(x - 0.5) : int(x + 1.5), int(y - 0.5) : int(y + 1.5), round(z)]
            assert block.shape == (2, 2)
            assert small.dataobj[index] == pytest.approx(block.mean(), abs=0.51)
        found = np.argwhere(np.asarray(labels.dataobj) == 20)
        centre = apply_affine(labels.affine, found.mean(axis=0))
        np.testing.assert_allclose(
            centre, apply_affine(affine, np.argwhere(mask == 20).mean(axis=0)), atol=0.8
        )
        assert len(found) * np.prod(labels.header.get_zooms()) == pytest.approx(
            np.count_nonzero(mask) * 0.7 * 0.7 * 1.5, rel=0.05
        )

    def test_the_spine_is_shown_with_a_margin(self, tmp_path: Path) -> None:
        ct, mask = blocks(LUMBAR[:1])
        _, labels, _ = viewer_volumes(ct, mask, tmp_path)
        inside = np.argwhere(np.asarray(labels.dataobj))
        below = inside.min(axis=0) * labels.header.get_zooms()
        above = (labels.shape - inside.max(axis=0) - 1) * labels.header.get_zooms()
        assert np.all(below >= 28) and np.all(above[[0, 1]] >= 28)
        assert labels.shape[2] < mask.shape[2]

    def test_the_sform_counts_whatever_the_scan_has(self, tmp_path: Path) -> None:
        """By a qform alone, NiiVue's reader can place a turned, leaning scan at NaN."""
        lean = np.radians(12)
        affine = np.diag([-0.8, -0.8, 2.5, 1.0])
        affine[1:3, 1:3] = np.diag([-0.8, 2.5]) @ np.array(
            [[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]]
        )
        array = np.zeros((40, 40, 20), np.float32)
        geometry = Geometry(array.shape, affine, sform_code=0, qform_code=1)
        ct = Volume(array, affine, geometry)
        for image in viewer_volumes(ct, np.zeros(array.shape, np.uint8), tmp_path)[:2]:
            assert image.header["sform_code"] >= image.header["qform_code"] > 0
            assert np.isfinite(image.affine).all()

    def test_without_a_vertebra_the_whole_scan_is_shown_in_few_voxels(self, tmp_path: Path) -> None:
        array = np.zeros((400, 400, 200), np.float32)
        array[200:, :, :] = 5000
        affine = np.diag([0.8, 0.8, 1.0, 1.0])
        ct = Volume(array, affine, Geometry(array.shape, affine))
        empty = np.zeros(array.shape, np.uint8)
        small, labels, _ = viewer_volumes(ct, empty, tmp_path)
        assert 1e6 < np.prod(small.shape) <= 2.5e6
        extent = np.array(small.shape) * small.header.get_zooms()
        np.testing.assert_allclose(extent, (320, 320, 200), atol=4)
        assert small.dataobj[-1, 0, 0] == 3071, "values beyond the CT scale are clipped"
        assert not np.asarray(labels.dataobj).any()

    def test_positions_are_those_of_the_centres(self, tmp_path: Path) -> None:
        ct, mask = blocks()
        small, labels, content = viewer_volumes(ct, mask, tmp_path)
        assert content["shape"] == list(small.shape)
        np.testing.assert_allclose(content["affine"], small.affine[:3], atol=1e-4)
        for label, centre in body_centres(mask, ct.affine).items():
            voxel = np.array(content["positions"][str(label)]) * small.shape - 0.5
            np.testing.assert_allclose(apply_affine(small.affine, voxel), centre, atol=0.05)
            assert labels.dataobj[tuple(np.rint(voxel).astype(int))] == label

    def test_the_same_scan_gives_the_same_bytes(self, tmp_path: Path) -> None:
        for name in "ab":
            write_viewer_volumes(*blocks(), {}, tmp_path / f"{name}.js")
        assert (tmp_path / "a.js").read_bytes() == (tmp_path / "b.js").read_bytes()


def changed(path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(RESULT)
    *parents, last = path.split(".")
    place: Any = content
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    place[last] = value
    return content


class TestResults:
    def test_vertebrae_come_in_anatomical_order(self, tmp_path: Path) -> None:
        labels = [20, 28, 1, 19]
        content = RESULT | {"vertebrae": [{"label": i, "name": NAMES[i]} for i in labels]}
        result = read_result(write_result(tmp_path / "r.json", content))
        assert [one["name"] for one in result.vertebrae] == ["C1", "T12", "T13", "L1"]

    def test_nesting_too_deep_is_a_damaged_file(self, tmp_path: Path) -> None:
        path = tmp_path / "x_result.json"
        path.write_text("[" * 100_000 + "]" * 100_000)
        with pytest.raises(UserError, match=r"x_result\.json: not JSON"):
            read_result(path)

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ([], "not a result of vertseg"),
            ({}, "its format is None"),
            (RESULT | {"format": "vertseg-result-9"}, "'vertseg-result-9'"),
            (RESULT | {"status": "running"}, "status"),
            (RESULT | {"scan": 5}, "scan"),
            (RESULT | {"warnings": "many"}, "warnings"),
            ({"format": "vertseg-result-1", "scan": "x", "status": "failed"}, "'error'"),
            ({"format": "vertseg-result-1", "scan": "x", "status": "done"}, "required"),
            (changed("vertebrae.0.label", 26), "vertebrae"),
            (changed("vertebrae.0.genant_grade", 4), "genant_grade"),
            (changed("vertebrae.1.confidence", "high"), "confidence"),
            (changed("decoding", "best"), "decoding"),
            (changed("files.preview", "lost.png"), "lost.png"),
        ],
    )
    def test_other_formats_are_refused_by_name(
        self, tmp_path: Path, content: Any, complaint: str
    ) -> None:
        path = write_result(tmp_path / "x_result.json", content)
        with pytest.raises(UserError, match=r"x_result\.json") as caught:
            write_report([path], tmp_path / "report.html")
        assert complaint in str(caught.value)
        assert list(tmp_path.iterdir()) == [path], "no page and no partial file"

    @pytest.mark.parametrize("text", ["", "{", '{"format": "vertseg-re', "\x00\x01"])
    def test_a_broken_file_is_refused_by_name(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x_result.json").write_text(text)
        with pytest.raises(UserError, match=r"x_result\.json: not JSON"):
            read_result(tmp_path / "x_result.json")

    @pytest.mark.parametrize("kind", ["preview", "viewer"])
    def test_a_broken_picture_or_volume_is_refused_by_name(self, tmp_path: Path, kind: str) -> None:
        path = write_scan(tmp_path, RESULT, *blocks())
        broken = tmp_path / json.loads(path.read_text())["files"][kind]
        broken.write_bytes(broken.read_bytes()[:100])
        with pytest.raises(UserError, match=re.escape(f"{broken}: cannot be read")):
            write_report([path], tmp_path / "report.html", single_file=True)
        assert not (tmp_path / "report.html").exists()

    @pytest.mark.parametrize(
        "text", ["", "alert(1)", "vertsegScan({});\n", 'vertsegScan({"ct": "</script>"});\n']
    )
    def test_a_foreign_script_never_reaches_the_page(self, tmp_path: Path, text: str) -> None:
        path = write_scan(tmp_path, RESULT, *blocks())
        script = tmp_path / json.loads(path.read_text())["files"]["viewer"]
        script.write_text(text)
        with pytest.raises(UserError, match="cannot be read"):
            write_report([path], tmp_path / "report.html", single_file=True)

    def test_a_missing_file_and_an_empty_list_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no such result"):
            read_result(tmp_path / "x_result.json")
        with pytest.raises(UserError, match="no result"):
            write_report([], tmp_path / "report.html")

    def test_the_format_names_verses_labels_and_all_decodings(self) -> None:
        schema = files("vertseg.predict").joinpath("result.schema.json").read_text("utf-8")
        properties = json.loads(schema)["properties"]
        one = properties["vertebrae"]["items"]["properties"]
        assert tuple(one["label"]["enum"]) == VERTEBRAE
        assert properties["decoding"]["enum"] == [*DECODINGS, None]
        assert properties["outlines"]["enum"] == [*OUTLINES, None]


def asset(name: str) -> str:
    return files("vertseg.report").joinpath("assets", name).read_text("utf-8")


class Tables(HTMLParser):
    """Texts of all table cells, a list for each row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())


class TestPage:
    def test_tables_repeat_the_results(self, tmp_path: Path) -> None:
        results = [
            write_result(tmp_path / f"{name}.json", content)
            for name, content in (("a", RESULT), ("b", FAILED))
        ]
        write_report(results, tmp_path / "report.html")
        rows = Tables((tmp_path / "report.html").read_text("utf-8")).rows
        assert rows[1] == [HOSTILE, f"failed {FAILED['error']}", "–", "–", "–"]
        reasons = "doubtful L1 lies below L3. and 1 other reason"
        genant = "2 moderate L1; 2 of 3 graded"
        assert rows[2] == ["sub-lumbar", reasons, "3 L1 to L3", "150", genant]
        heights = ["20.0", "22.0", "26.7"]
        loss = ["25", "2 moderate wedge", ""]
        assert rows[4] == ["L1", "0.93", "144", "41.3", "22.9", *heights, *loss]
        assert rows[5][0] == "L2" and rows[5][9] == "0 none wedge"
        assert rows[6] == (["L3", "0.41"] + ["–"] * 8 + ["all measures (cut by the field of view)"])

    @pytest.mark.parametrize("decoding", [*DECODINGS, None])
    def test_the_decoding_stands_beside_the_model(
        self, tmp_path: Path, decoding: str | None
    ) -> None:
        path = write_result(tmp_path / "r.json", RESULT | {"decoding": decoding})
        write_report([path], tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text("utf-8")
        used = f", decoding: {decoding}" if decoding else ""
        assert f"<dt>Model</dt><dd>mobilenet_aspp, onnx{used} <code" in page

    def test_values_that_are_missing_or_not_finite_are_dashes(self, tmp_path: Path) -> None:
        bare = {"label": 20, "name": "L1", "trabecular_hu": float("nan")}
        path = write_result(
            tmp_path / "r.json",
            RESULT | {"vertebrae": [bare], "summary": None, "model": None, "geometry": None},
        )
        write_report([path], tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text("utf-8")
        rows = Tables(page).rows
        assert rows[0] == ["Scan", "Status", "Vertebrae"] and rows[3] == ["L1", ""]
        assert "None" not in re.sub("(?s)<script.*?</script>", "", page)
        assert page.count("not measured") == 1

    def test_the_spine_as_a_whole_is_shown_with_what_was_left_out(self, tmp_path: Path) -> None:
        segment = {"upper": "L4", "lower": "L5", "slip_mm": -4.2, "slip_percent": -12.0,
                   "meyerding_grade": 1, "disc_height_anterior_mm": None,
                   "disc_height_middle_mm": None, "disc_height_posterior_mm": None}  # fmt: skip
        reference = {"tissue": "fat", "place": "under the skin", "hu": -101.0, "fitted_hu": -100.0}
        summary = RESULT["summary"] | {
            "t12_l3_bmd_mg_cc": 118.4, "outliers": ["L1: 234 HU, 141 HU above the median"],
        }  # fmt: skip
        shape = {
            "cobb_deg": 21.6, "cobb_levels": ["T5", "T9"], "cobb_convex_to": "right",
            "thoracic_kyphosis_deg": None, "lumbar_lordosis_deg": 44.2, "segments": [segment],
            "suppressed": ["thoracic kyphosis (no T4)"],
        }  # fmt: skip
        calibration = {"references": [reference], "residual_hu": 1.04, "contrast_agent": True}
        content = {"summary": summary, "shape": shape, "calibration": calibration}
        path = write_result(tmp_path / "r.json", RESULT | content)
        write_report([path], tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text("utf-8")
        assert "118 mg/cc" in page and "fat under the skin; these fit within 1.0 HU" in page
        assert "contrast agent makes it read high" in page
        assert "<dd>L1: 234 HU, 141 HU above the median</dd>" in page
        assert "22° <span" in page and "T5 to T9, convex to the right" in page
        assert "<dd>44°</dd>" in page and "thoracic kyphosis (no T4)" in page
        assert ["L4–L5", "−4.2", "−12", "1"] in Tables(page).rows

    def test_negative_attenuation_has_a_minus_sign_and_no_negative_zero(
        self, tmp_path: Path
    ) -> None:
        for hu, text in ((-12.3, "−12"), (-0.2, "0")):
            path = write_result(tmp_path / "r.json", changed("vertebrae.1.trabecular_hu", hu))
            write_report([path], tmp_path / "report.html")
            assert Tables((tmp_path / "report.html").read_text("utf-8")).rows[3][2] == text

    def test_many_scans_make_a_page_each_with_its_section(self, tmp_path: Path) -> None:
        paths = [
            write_result(tmp_path / f"{i}.json", RESULT | {"scan": f"sub-{i}"}) for i in range(40)
        ]
        write_report(paths, tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text("utf-8")
        assert re.findall(r'<section class="scan" id="scan-(\d+)"', page) == [
            str(number) for number in range(1, 41)
        ]
        assert page.count(RESEARCH_USE_ONLY) >= 2

    @pytest.mark.parametrize("single_file", [True, False])
    def test_nothing_is_fetched_but_files_beside_the_page(
        self, tmp_path: Path, single_file: bool
    ) -> None:
        path = write_scan(tmp_path / "results", RESULT, *blocks())
        write_report([path], tmp_path / "report.html", single_file)
        page = (tmp_path / "report.html").read_text("utf-8")
        sources = re.findall(r'\b(?:src|href|srcset|action|data-volumes)="([^"]*)"', page)
        beside = {one for one in sources if one and not re.match("data:|#", one)}
        assert "default-src 'none'" in page
        if single_file:
            assert beside == set() and "file:" not in page.split("<style>")[0]
            assert read_viewer_volumes(path.parent / "scan0 100%_viewer.js") in page
        else:
            assert beside == {"results/scan0_preview.png", "results/scan0%20100%25_viewer.js"}
            assert len(page) < 2e6

    def test_columns_without_any_value_are_not_shown(self, tmp_path: Path) -> None:
        bare = [{"label": i, "name": NAMES[i], "volume_ml": 30.0} for i in (20, 21, 22)]
        content = RESULT | {"vertebrae": bare, "summary": {"l1_hu": None}}
        write_report([write_result(tmp_path / "r.json", content)], tmp_path / "report.html")
        rows = Tables((tmp_path / "report.html").read_text("utf-8")).rows
        assert rows[0] == ["Scan", "Status", "Vertebrae"]
        assert rows[2] == ["Vertebra", "Volume (ml)", "Left out"]

    def test_a_title_stands_before_the_name(self, tmp_path: Path) -> None:
        path = write_result(tmp_path / "r.json", RESULT | {"title": "case7: Thorax 5 mm"})
        write_report([path], tmp_path / "report.html")
        rows = Tables((tmp_path / "report.html").read_text("utf-8")).rows
        assert rows[1][0] == "case7: Thorax 5 mm sub-lumbar"

    def test_the_bundled_viewer_is_the_locked_version_and_can_stand_in_a_page(self) -> None:
        lock = json.loads((ROOT / "viewer/package-lock.json").read_text())
        version = lock["packages"]["node_modules/@niivue/niivue"]["version"]
        script, licences = asset("niivue.min.js"), asset("niivue.licences.txt")
        assert script.startswith(f"/*! NiiVue {version},")
        assert f"@niivue/niivue {version}, BSD-2-Clause" in licences
        locked = {
            name.rpartition("node_modules/")[2]: one for name, one in lock["packages"].items()
        }
        bundled = re.findall(r"^-{80}\n(\S+) ([\d.]+), (.+)$", licences, re.MULTILINE)
        assert len(bundled) > 5
        for name, number, licence in bundled:
            assert (number, licence) == (locked[name]["version"], locked[name]["license"])
        stated = tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"][1]
        named = set(stated["SPDX-License-Identifier"].split(" AND ")) - {"Apache-2.0"}
        assert named == {licence for *_, licence in bundled}
        assert "</script" not in script.lower()


def test_the_overview_names_results_that_were_not_made_alike(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    scans = [result(scan=name, version="0.3.0") for name in "ab"]
    write_report(scans, page)
    assert "made alike" not in page.read_text()
    write_report([*scans, result(scan="old", version="0.2.0")], page)
    assert "1 of 3 scans were predicted by vertseg 0.2.0, not by vertseg 0.3.0: old." in (
        page.read_text()
    )


def result(**changes: Any) -> Result:
    """A result of three vertebrae without warnings, with some fields changed."""
    vertebrae = [{"label": label, "name": NAMES[label]} for label in LUMBAR]
    return Result(**{"scan": "a", "source": None, "vertebrae": vertebrae} | changes)


class TestVerdict:
    def test_done_only_where_nothing_speaks_against_it(self) -> None:
        assert verdict(result()).status == "done"
        assert verdict(result(error="no CT")).reasons == ("no CT",)
        for doubtful in (
            result(warnings=[{"code": "header", "message": "No orientation."}]),
            result(vertebrae=()),
        ):
            assert verdict(doubtful).status == "check" and verdict(doubtful).reasons

    def test_notes_change_no_status(self) -> None:
        notes = [{"code": code, "message": code} for code in ("spacing", "low_confidence")]
        found = verdict(result(warnings=notes))
        assert (found.status, found.reasons) == ("done", ())
        assert found.notes == ("spacing", "low_confidence")

    def test_the_worst_reason_comes_first_and_decides(self) -> None:
        codes = ["no_dicom_seg", "uncertain_levels", "of another version", "few_vertebrae"]
        warnings = [{"code": code, "message": code} for code in codes]
        found = verdict(result(warnings=warnings))
        assert found.reasons == ("few_vertebrae", "uncertain_levels", "of another version")
        assert (found.status, found.notes) == ("doubtful", ("no_dicom_seg",))

    def test_a_stated_severity_counts_before_that_of_the_code(self) -> None:
        warnings = [{"code": "gap", "message": "m", "severity": "note"}]
        assert verdict(result(warnings=warnings)).status == "done"

    def test_probabilities_of_levels_are_shown_where_there_are_any(self, tmp_path: Path) -> None:
        sure = [VERTEBRA | {"probability": 0.83}]
        content = RESULT | {"levels": {"all_right": 0.76}, "vertebrae": sure}
        write_report([write_result(tmp_path / "r.json", content)], tmp_path / "report.html")
        rows = Tables((tmp_path / "report.html").read_text("utf-8")).rows
        assert rows[0][3] == "All levels right" and rows[1][3] == "76 %"
        assert rows[2][2] == "Level right (%)" and rows[3][2] == "83"

    def test_bad_scans_come_first(self) -> None:
        scans = [
            result(),
            result(corrections=[{}], vertebrae=[{"label": 22, "name": "L3"}]),
            result(warnings=[{"message": "m"}]),
            result(error="e"),
            result(),
            result(warnings=[{"code": "few_vertebrae", "message": "m"}]),
        ]
        assert [verdict(one).status for one in scans] == [
            "done", "corrected", "check", "failed", "done", "doubtful",
        ]  # fmt: skip
        assert most_urgent_first(scans) == [3, 5, 2, 1, 0, 4]

    def test_among_scans_of_a_status_the_least_sure_levels_come_first(self) -> None:
        def uncertain(all_right: float, code: str = "uncertain_levels") -> Result:
            warnings = [{"code": code, "message": code}]
            return result(warnings=warnings, levels={"all_right": all_right})

        empty = result(vertebrae=(), warnings=[{"code": "no_vertebra", "message": "m"}])
        unknown = [result(warnings=[{"code": code, "message": code}]) for code in ("gap", "apart")]
        scans = [
            *reversed(unknown),
            uncertain(0.77),
            uncertain(0.06, "doubtful_levels"),
            uncertain(0.71, "gap"),
            empty,
        ]
        assert most_urgent_first(scans) == [3, 5, 4, 2, 1, 0]


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
GRAPHICS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not run as root, as which CI does.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *GRAPHICS]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans with vertebrae, a failed one and one without any."""
    folder = tmp_path_factory.mktemp("report")
    ct, empty = blocks(())
    hostile = RESULT | {"scan": HOSTILE, "source": HOSTILE, "warnings": [{"message": HOSTILE}]}
    results = [
        write_scan(folder, RESULT, *blocks()),
        write_scan(folder, hostile, *blocks((12, 13))),
        write_result(folder / "failed.json", FAILED),
        write_scan(folder, RESULT | {"scan": "sub-limb", "vertebrae": []}, ct, empty),
    ]
    write_report(results, folder / "report.html")
    return folder / "report.html"


class Visit:
    """The page in a browser, with all it asked for and all it complained about."""

    def __init__(self, page: Page, report: Path) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.report = report
        page.set_default_timeout(120_000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(report.as_uri())

    def open_viewer(self, scan: int, name: str) -> None:
        self.page.locator(f"#scan-{scan} button.open").click()
        self.page.locator(f"#scan-{scan} .panel").wait_for()
        if name:
            self.page.locator(f"#scan-{scan} .legend button", has_text=name).wait_for()

    def choose(self, control: str, value: str) -> None:
        self.page.locator(f'.panel [data-control="{control}"]').fill(value)

    def readout(self) -> str:
        return self.page.locator(".readout").inner_text()

    def picture(self) -> np.ndarray:
        """The viewer's canvas (rows, columns, 3), 0 to 1."""
        shot = self.page.locator(".panel canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")) / 255

    def canvas_box(self) -> FloatRect:
        """Place of the viewer's canvas, all of it in sight."""
        canvas = self.page.locator(".panel canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box
        return box

    def coloured(self) -> dict[int, int]:
        """How many pixels of the canvas have each label's very colour."""
        picture = self.picture()
        return {
            label: int((np.abs(picture - to_rgb(label_colour(label))).max(axis=-1) < 0.03).sum())
            for label in (12, 13, *LUMBAR)
        }


@pytest.fixture
def visit(browser: Browser, report: Path) -> Iterator[Visit]:
    context = browser.new_context(
        viewport={"width": 900, "height": 600}, reduced_motion="reduce", offline=True
    )
    visit = Visit(context.new_page(), report)
    yield visit
    context.close()
    assert visit.complaints == []
    assert visit.requests and all(
        re.match("file:|data:|blob:", request) for request in visit.requests
    )
    beside = {one for one in visit.requests if one.startswith("file:")}
    assert beside <= {one.as_uri() for one in report.parent.iterdir()}


class TestBrowser:
    def test_hostile_names_are_only_text(self, visit: Visit) -> None:
        # Sections out of sight are not rendered and have no inner text.
        texts = [
            visit.page.locator(place).text_content() or ""
            for place in ("#scan-2 h2", "#scan-2 .warnings li", "#scan-3 .error")
        ]
        assert all(HOSTILE in text for text in texts)
        visit.open_viewer(2, "T5")
        assert visit.page.locator(".panel").get_attribute("aria-label") == f"Viewer of {HOSTILE}"
        assert visit.page.evaluate("window.hacked") is None

    def test_the_page_shows_what_the_results_say(self, visit: Visit) -> None:
        row = visit.page.locator("#scan-1 .measures tbody tr").nth(0)
        row.scroll_into_view_if_needed()  # what is out of sight is not laid out
        cells = row.locator("th, td")
        assert [text.strip() for text in cells.all_inner_texts()][:4] == [
            "L1", "0.93", "144", "41.3",
        ]  # fmt: skip
        widths = visit.page.evaluate(
            "[...document.querySelectorAll('#scan-1 .bar')].map(bar =>"
            " bar.firstElementChild.offsetWidth / bar.offsetWidth)"
        )
        np.testing.assert_allclose(widths, [0.934, 0.934, 0.41], atol=0.02)
        pictures = visit.page.locator("img").all()
        assert len(pictures) == 6, "three thumbnails and three previews"
        for picture in pictures:
            picture.scroll_into_view_if_needed()  # previews load when they come into sight
            picture.evaluate("one => one.decode()")
            assert picture.evaluate("one => one.naturalWidth") > 50

    def test_the_viewer_shows_labels_in_their_colours(self, visit: Visit) -> None:
        visit.open_viewer(1, "L1")
        visit.choose("opacity", "100")
        opaque = visit.coloured()
        assert all(opaque[label] > 300 for label in LUMBAR)
        visit.choose("opacity", "0")
        clear = visit.coloured()
        assert all(clear[label] < 50 for label in LUMBAR)
        assert visit.picture().std() > 0.05, "the CT is there without its labels"
        assert visit.page.locator(".legend button").all_inner_texts() == ["L1", "L2", "L3"]

    def test_vertebrae_are_found_and_named(self, visit: Visit) -> None:
        visit.page.locator("#scan-1 button.level", has_text="L3").click()
        visit.page.locator(".legend button", has_text="L3").wait_for()
        assert visit.readout() == "L3, 300 HU"
        visit.page.locator(".legend button", has_text="L1").click()
        assert visit.readout() == "L1, 300 HU"
        visit.page.locator(".panel canvas").focus()
        for _ in range(7):
            visit.page.keyboard.press("PageDown")
        assert visit.readout() == "no vertebra, 40 HU"
        visit.page.keyboard.press("Home")
        assert visit.readout() == "L2, 300 HU"

    def test_the_pointer_names_what_it_is_over(self, visit: Visit) -> None:
        visit.open_viewer(1, "L1")
        visit.page.locator('[data-control="view"]').select_option("CORONAL")
        box = visit.canvas_box()
        heard = []
        for share in np.linspace(0.05, 0.95, 19):
            visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * share)
            heard.append(visit.readout().split(",")[0])
        assert list(dict.fromkeys(name for name in heard if name != "no vertebra")) == [
            "L1", "L2", "L3",
        ]  # fmt: skip

    def test_window_presets_sliders_and_drag_change_the_picture(self, visit: Visit) -> None:
        visit.open_viewer(1, "L1")
        visit.choose("opacity", "0")
        bone = visit.picture().mean()
        presets = visit.page.locator(".presets button")
        presets.filter(has_text="Soft").click()
        soft = visit.picture().mean()
        assert soft > bone + 0.05
        assert presets.filter(has_text="Soft").get_attribute("aria-pressed") == "true"
        visit.choose("level", "1500")
        assert visit.picture().mean() < bone
        presets.filter(has_text="Bone").click()
        level = visit.page.locator('[data-control="level"]')
        before = level.input_value()
        box = visit.canvas_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        visit.page.mouse.move(x, y)
        visit.page.mouse.down(button="right")
        visit.page.mouse.move(x, y - 60, steps=6)
        visit.page.mouse.up(button="right")
        assert level.input_value() != before
        assert abs(visit.picture().mean() - bone) > 0.01

    def test_the_wheel_scrolls_slices_not_the_page(self, visit: Visit) -> None:
        visit.open_viewer(1, "L1")
        visit.page.locator('[data-control="view"]').select_option("AXIAL")
        visit.choose("opacity", "100")
        first = visit.coloured()
        visit.page.locator(".panel canvas").hover()
        position = visit.page.evaluate("scrollY")
        for _ in range(8):
            visit.page.mouse.wheel(0, 100)
        visit.page.wait_for_timeout(300)
        assert visit.page.evaluate("scrollY") == position
        assert first[21] > 300 and visit.coloured()[21] < 50

    def test_one_viewer_serves_all_scans(self, visit: Visit) -> None:
        visit.open_viewer(1, "L1")
        visit.choose("opacity", "100")
        visit.open_viewer(2, "T5")
        assert visit.page.locator(".panel").count() == 1
        assert visit.page.locator("#scan-1 button.open").is_visible()
        assert visit.page.locator(".legend button").all_inner_texts() == ["T5", "T6"]
        coloured = visit.coloured()
        assert coloured[12] > 300 and coloured[13] > 300
        visit.open_viewer(4, "")
        visit.page.locator(".legend button").first.wait_for(state="detached")
        assert visit.readout() == "no vertebra, 40 HU"
        assert max(visit.coloured().values()) < 50
        visit.page.locator('[data-control="close"]').click()
        assert not visit.page.locator(".panel").is_visible()
        assert visit.page.locator("#scan-4 button.open").evaluate(
            "it => it === document.activeElement"
        )

    def test_volumes_are_loaded_when_they_are_opened(self, visit: Visit) -> None:
        assert not [one for one in visit.requests if one.endswith("_viewer.js")]
        visit.open_viewer(1, "L1")
        assert [one for one in visit.requests if one.endswith("_viewer.js")] == [
            (visit.report.parent / "scan0 100%_viewer.js").as_uri()
        ]

    def test_a_page_without_its_files_says_so(
        self, browser: Browser, report: Path, tmp_path: Path
    ) -> None:
        shutil.copy(report, tmp_path / "moved.html")
        context = browser.new_context(offline=True)
        page = Visit(context.new_page(), tmp_path / "moved.html").page
        page.locator("#scan-1 button.open").click()
        error = page.locator("#scan-1 .viewer .error")
        error.wait_for()
        assert "scan0 100%_viewer.js is not beside this page" in error.inner_text()
        context.close()

    def test_a_single_file_can_be_moved(
        self, browser: Browser, report: Path, tmp_path: Path
    ) -> None:
        alone = tmp_path / "alone.html"
        write_report([report.parent / "scan0_result.json"], alone, single_file=True)
        context = browser.new_context(offline=True)
        visit = Visit(context.new_page(), alone)
        visit.open_viewer(1, "L1")
        assert visit.readout() == "L2, 300 HU"
        visit.page.locator("img.preview").evaluate("one => one.decode()")
        context.close()
        assert visit.complaints == []
        assert [one for one in visit.requests if one.startswith("file:")] == [alone.as_uri()]

    @pytest.mark.parametrize(("width", "height"), [(1400, 900), (900, 600), (420, 800)])
    def test_the_viewer_uses_its_canvas(self, visit: Visit, width: int, height: int) -> None:
        visit.page.set_viewport_size({"width": width, "height": height})
        visit.open_viewer(1, "L1")
        visit.choose("opacity", "0")
        visit.page.locator(".presets button", has_text="Soft").click()
        visit.page.locator('[data-control="crosshair"]').uncheck()
        picture = visit.picture()
        assert np.mean(picture.max(axis=-1) > 0.05) > 0.9, "soft tissue fills the phantom's volume"

    def test_all_three_slices_have_room(self, visit: Visit) -> None:
        script = (ROOT / "vertseg/report/assets/page.js").read_text("utf-8")
        gap = re.search(r"const GAP = (\d+);", script)
        function = re.search(r"^  function arrange\(.*?^  }$", script, re.DOTALL | re.MULTILINE)
        assert gap and function
        # The second is VerSe's sample 014, whose axial slice was 14 pixels wide.
        volumes = [(170, 150, 300), (80, 186, 186), (90, 100, 900), (300, 300, 40), (60, 60, 60)]
        rooms = [(1160, 765), (1160, 1200), (870, 510), (374, 680)]
        for size_mm, room in product(volumes, rooms):
            arranged = visit.page.evaluate(
                f"([size, room]) => {{ {gap[0]} {function[0]} return arrange(size, ...room); }}",
                [size_mm, room],
            )
            places = np.array(arranged["places"])
            x, y, z = size_mm
            scales = places[:, 2:] / np.array([[y, z], [x, z], [x, y]])
            np.testing.assert_allclose(scales, np.repeat(scales[:, :1], 2, axis=1), rtol=1e-6)
            assert scales[0, 0] == pytest.approx(scales[1, 0])
            assert scales[2, 0] >= scales[0, 0] / 2, "the axial slice can be read, too"
            ends = places[:, :2] + places[:, 2:]
            assert (ends <= np.minimum(np.array(room) + 0.5, arranged["all"]) + 1e-6).all()
            for one, other in combinations(range(3), 2):
                apart = [places[one, :2] - ends[other], places[other, :2] - ends[one]]
                assert np.max(apart) >= int(gap[1]) - 1e-6, "panes do not touch"

    def test_the_crosshair_can_be_hidden(self, visit: Visit) -> None:
        visit.open_viewer(1, "L1")
        visit.choose("opacity", "0")
        with_it = visit.picture()
        visit.page.locator('[data-control="crosshair"]').uncheck()
        without = visit.picture()
        assert np.mean(np.abs(with_it - without).max(axis=-1) > 0.1) > 0.001
        lines = without.mean(axis=-1)
        assert np.mean(lines > 0.55) < 0.5 * np.mean(with_it.mean(axis=-1) > 0.55)

    def test_the_overview_shows_one_status_on_demand(self, visit: Visit) -> None:
        rows = visit.page.locator(".overview tbody tr")
        assert rows.locator("visible=true").count() == 4
        visit.page.locator(".filter button", has_text="failed").click()
        assert rows.locator("visible=true").count() == 1
        assert [visit.page.locator(f"#scan-{i}").is_visible() for i in (1, 2, 3, 4)] == [
            False, False, True, False,
        ]  # fmt: skip

    def test_a_browser_without_webgl_is_told_so(self, visit: Visit) -> None:
        visit.page.evaluate("HTMLCanvasElement.prototype.getContext = () => null")
        visit.page.locator("#scan-1 button.open").click()
        error = visit.page.locator("#scan-1 .viewer .error")
        error.wait_for()
        assert "WebGL 2" in error.inner_text()
        assert len(visit.complaints) == 1
        visit.complaints.clear()

    @pytest.mark.parametrize("width", [360, 420, 1100, 1400])
    def test_nothing_is_cut_at_any_width(self, visit: Visit, width: int) -> None:
        visit.page.set_viewport_size({"width": width, "height": 800})
        visit.open_viewer(1, "L1")
        visit.page.locator("#scan-1 button.correct").click()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        if width != 1100:  # where a table scrolls
            hidden = visit.page.locator(".scroll").evaluate_all(
                "all => Math.max(...all.map(it => it.scrollWidth - it.clientWidth))"
            )
            assert hidden <= 0


class TestEditor:
    """A reader's correction, from the click to the file."""

    @staticmethod
    def edit(visit: Visit, scan: int) -> Any:
        visit.page.locator(f"#scan-{scan} button.correct").click()
        editor = visit.page.locator(f"#scan-{scan} .editor")
        editor.wait_for()
        return editor

    @staticmethod
    def row(editor: Any, name: str) -> Any:
        return editor.locator("tbody tr").filter(has=editor.page.locator("th", has_text=name))

    @staticmethod
    def names(editor: Any) -> list[str]:
        chosen = "it => it.selectedOptions[0].textContent"
        return [one.evaluate(chosen) for one in editor.locator("tbody select").all()]

    @staticmethod
    def save(visit: Visit, editor: Any, folder: Path) -> Path:
        visit.page.evaluate("window.showSaveFilePicker = undefined")
        with visit.page.expect_download() as download:
            editor.locator("button.save").click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def test_shift_rename_delete_and_move(self, visit: Visit, tmp_path: Path) -> None:
        visit.open_viewer(1, "L1")
        editor = self.edit(visit, 1)
        assert self.names(editor) == ["L1", "L2", "L3"]
        assert editor.locator("button.save").is_disabled()
        self.row(editor, "L1").get_by_role("button", name="down one level down").click()
        assert self.names(editor) == ["L2", "L3", "L4"]
        self.row(editor, "L2").get_by_role("button", name="down one level up").click()
        assert "L2 would be there twice" in editor.locator(".state").inner_text()
        assert editor.locator("button.save").is_disabled()
        self.row(editor, "L1").locator("select").select_option("T12")
        self.row(editor, "L3").locator("select").select_option("")
        assert visit.page.locator(".legend button").all_inner_texts() == ["T12", "L2"]
        visit.page.locator(".legend button", has_text="L2").click()
        visit.page.locator(".panel canvas").focus()
        for _ in range(2):
            visit.page.keyboard.press("ArrowUp")
        self.row(editor, "L2").get_by_role("button", name="to the crosshair").click()
        path = self.save(visit, editor, tmp_path)
        assert path.name == "sub-lumbar_correction.json"
        assert f"vertseg apply {path.name}" in editor.locator(".saved").inner_text()
        correction = read_correction(path)
        assert (correction.scan, correction.mask_sha256) == ("sub-lumbar", "cd" * 32)
        assert correction.renamed == {20: 19, 21: 21, 22: None}
        ct, mask = blocks()
        moved = correction.centres[21] - body_centres(mask, ct.affine)[21]
        # Two steps of the viewer's voxels, which are the scan's here, from the nearest of them.
        np.testing.assert_allclose(moved, (0, 0, 8), atol=3)
        assert list(correction.centres) == [21]

    def test_names_reach_no_further_than_the_spine(self, visit: Visit) -> None:
        editor = self.edit(visit, 1)
        self.row(editor, "L3").locator("select").select_option("25")
        self.row(editor, "L1").get_by_role("button", name="down one level down").click()
        assert "no level below L6" in editor.locator(".state").inner_text()
        editor.locator("button[type=reset]").click()
        assert self.names(editor) == ["L1", "L2", "L3"]

    def test_without_the_viewer_names_can_be_corrected(self, visit: Visit, tmp_path: Path) -> None:
        editor = self.edit(visit, 1)
        assert self.row(editor, "L1").get_by_role("button", name="crosshair").is_disabled()
        for name in ("L1", "L1"):
            self.row(editor, name).get_by_role("button", name="down one level up").click()
        correction = read_correction(self.save(visit, editor, tmp_path))
        assert correction.renamed == {20: 18, 21: 19, 22: 20} and not correction.centres

    def test_the_reader_chooses_the_place_where_the_browser_can_ask(self, visit: Visit) -> None:
        visit.page.evaluate(
            "window.showSaveFilePicker = async (options) => ({createWritable: async () => ({"
            " write: async (text) => { window.written = [options.suggestedName, text]; },"
            " close: async () => {}})})"
        )
        editor = self.edit(visit, 1)
        self.row(editor, "L3").locator("select").select_option("")
        editor.locator("button.save").click()
        editor.locator(".saved").wait_for()
        name, text = visit.page.evaluate("window.written")
        assert name == "sub-lumbar_correction.json"
        assert json.loads(text)["vertebrae"] == [{"label": 22, "becomes": None}]

    def test_scans_without_vertebrae_have_no_editor(self, visit: Visit) -> None:
        assert visit.page.locator("button.correct").count() == 2
