"""Warnings about predictions, in cases whose fault is known."""

from dataclasses import replace

import numpy as np
import pytest
from oracle import trained
from scipy.ndimage import gaussian_filter

from vertseg.anatomy.centroids import Centres, body_centres
from vertseg.anatomy.labels import IDS
from vertseg.predict.verdict import level_code, severity_of, verdict_of
from vertseg.predict.warnings import (
    PredictionWarning,
    body_warnings,
    hu_warnings,
    patient_extent_mm,
    warnings_about,
)
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening import SpineMeasures, SpineShape, VertebraMeasures, measure_vertebrae
from vertseg.screening.density import calibrate
from vertseg.screening.references import FoundTissue, Tissue
from vertseg.segmentation.pieces import Certainty, Change, Piece, Spine


def warnings_of(spine: Spine) -> list[PredictionWarning]:
    affine = np.eye(4)
    ct = Volume(np.zeros((100, 100, 200), np.int16), affine, Geometry((100, 100, 200), affine))
    centres: Centres = {
        label: np.array([50.0, 50.0, 100.0 - 32 * n]) for n, label in enumerate(spine.confidence)
    }
    return warnings_about(ct, spine, centres, {})


def warnings_of_changes(changes: tuple[Change, ...]) -> list[PredictionWarning]:
    return warnings_of(Spine({IDS["T12"]: 0.9}, changes=changes))


def test_the_field_of_view_is_the_patients() -> None:
    ct = Volume(
        np.full((300, 300, 400), -1000, np.int16), np.eye(4), Geometry((300, 300, 400), np.eye(4))
    )
    ct.array[50:250, 60:230] = 40
    ct.array[10, 10] = 1000
    np.testing.assert_allclose(patient_extent_mm(ct), [200, 170, 400], atol=5)


def two_bodies(share: float, bone_hu: int = 300) -> list[PredictionWarning]:
    """Warnings of a body of 200 mm with a column of bone, and beside it one of a share of that."""
    array = np.full((500, 220, 200), -1000, np.int16)
    array[10:210, 10:210], array[100:130, 100:130] = 40, 300
    width = round(200 * share)
    array[220 : 220 + width, 10:210] = 40
    array[225 : 225 + width // 4, 100:130] = bone_hu
    ct = Volume(array, np.eye(4), Geometry(array.shape, np.eye(4)))
    labels = [IDS[name] for name in ("L1", "L2", "L3", "L4")]
    centres = {label: np.array([110.0, 110.0, 180 - 33 * n]) for n, label in enumerate(labels)}
    return warnings_about(ct, Spine(dict.fromkeys(labels, 0.9)), centres, {})


def test_a_second_patient_in_the_scan_is_to_be_checked() -> None:
    assert [one.code for one in warnings_of(Spine({20: 0.9}, beside_ml=400.0))].count(
        "second_spine"
    ) == 1
    [doubt] = [one for one in two_bodies(1.0) if one.code == "second_spine"]
    assert doubt.severity == "check" and "A second body with bones, 100 % as large" in doubt.message
    for harmless in (two_bodies(1.0, bone_hu=60), two_bodies(0.2), two_bodies(0.0)):
        assert "second_spine" not in [one.code for one in harmless]


def test_what_was_unlike_a_spine_is_named() -> None:
    spine = Spine({}, dismissed={20: 0.7}, unlike_spine="a single vertebra was seen")
    assert warnings_of(spine)[0] == PredictionWarning(
        "no_vertebra", (), "No vertebra was found in this scan: a single vertebra was seen."
    )


def test_doubts_about_the_header_are_warnings() -> None:
    geometry = Geometry((100, 100, 200), np.eye(4))
    remarks = ("The header states a voxel size of 0, which was read as 1 mm.",)
    ct = Volume(np.zeros((100, 100, 200), np.int16), np.eye(4), geometry, remarks)
    found = warnings_about(ct, Spine({}), {}, {})
    assert PredictionWarning("header", (), remarks[0]) in found


def measured(found: dict[Tissue, float], trabecular_hu: float | None = 150.0) -> SpineMeasures:
    """A spine of one body in a scan whose tissues have these HU."""
    tissues = [FoundTissue(tissue, "somewhere", hu, 100.0) for tissue, hu in found.items()]
    vertebra = replace(body("L1", 30.0), trabecular_hu=trabecular_hu)
    return SpineMeasures([vertebra], SpineShape(), calibrate(tissues))


def test_hu_of_tissues_that_no_scanner_explains() -> None:
    usual: dict[Tissue, float] = {"air": -998, "fat": -98, "muscle": 55}
    with_contrast: dict[Tissue, float] = {**usual, "muscle": 68, "blood": 160}
    for found in (usual, with_contrast, {"fat": -98}, {}):
        assert hu_warnings(measured(found)) == []
    doubled: dict[Tissue, float] = {"fat": -164, "muscle": 106}
    [doubt] = hu_warnings(measured(doubled))
    assert doubt.code == "unlike_hu" and doubt.severity == "note"
    assert "(fat -164 HU, not -103; muscle 106 HU, not 44)" in doubt.message
    assert hu_warnings(measured({"muscle": 105}))[0].code == "unlike_hu", "shifted, no fat found"
    assert hu_warnings(measured(doubled, None)) == [], "no HU that could be wrong"


def body(name: str, volume_ml: float | None) -> VertebraMeasures:
    return VertebraMeasures(
        IDS[name], name, complete=True, body_complete=True, body_volume_ml=volume_ml
    )


def test_the_worst_warning_decides() -> None:
    codes = ("gap", "low_confidence", "doubtful_levels", "of another version", "spacing")
    severities = [severity_of(code) for code in codes]
    assert severities == ["check", "note", "bad", "check", "note"]
    assert verdict_of(severities) == "doubtful"
    assert verdict_of(severities[3:]) == "check"
    assert verdict_of(["note", "note"]) == verdict_of([]) == "done"


def test_a_result_states_how_bad_a_warning_is() -> None:
    stated = PredictionWarning("gap", (8, 9), "Too far.").stated()
    assert stated == {"code": "gap", "labels": (8, 9), "message": "Too far.", "severity": "check"}


class TestWarnings:
    def codes(
        self,
        heights_mm: dict[str, float],
        confidence: float = 0.9,
        pieces: tuple[Piece, ...] = (),
        spacing_mm: float = 1.0,
        shape: tuple[int, int, int] = (200, 200, 400),
        resolved: float | None = None,
    ) -> list[tuple[str, tuple[str, ...]]]:
        # A spine that leans backwards.
        centres: Centres = {
            IDS[name]: np.array([3.0, -0.3 * z, z]) for name, z in heights_mm.items()
        }
        affine = np.diag([spacing_mm] * 3 + [1.0])
        ct = Volume(np.broadcast_to(np.int16(0), shape), affine, Geometry(shape, affine))
        spine = Spine(dict.fromkeys(centres, confidence), pieces, resolved=resolved)
        names = {label: name for name, label in IDS.items()}
        return [
            (warning.code, tuple(names[label] for label in warning.labels))
            for warning in warnings_about(ct, spine, centres, trained())
        ]

    GOOD = {"T11": 120, "T12": 90, "L1": 60, "L2": 30, "L3": 0}  # noqa: RUF012

    def test_a_good_spine_raises_none(self) -> None:
        assert self.codes(self.GOOD) == []
        assert self.codes({"T12": 90, "T13": 62, "L1": 31, "L5": -100, "L6": -130}) == [
            ("gap", ("L1", "L5"))
        ]

    def test_swapped_labels(self) -> None:
        swapped = self.GOOD | {"T12": 60, "L1": 90}
        assert ("out_of_order", ("T12", "L1")) in self.codes(swapped)

    def test_a_missing_level_and_a_missed_vertebra(self) -> None:
        missing = {name: z for name, z in self.GOOD.items() if name != "L1"}
        assert self.codes(missing) == [("gap", ("T12", "L2"))]
        missed = self.GOOD | {"T11": 150, "T12": 120}
        assert self.codes(missed) == [("gap", ("T12", "L1"))]
        doubled = self.GOOD | {"T11": 90 + 14}
        assert self.codes(doubled) == [("gap", ("T11", "T12"))]

    def test_second_pieces(self) -> None:
        near_crumb = Piece(20, 0.4, 0.02, 25.0)
        second = Piece(20, 12.0, 0.5, 30.0)
        far = Piece(21, 4.0, 0.15, 90.0)
        assert self.codes(self.GOOD, pieces=(near_crumb,)) == []
        assert self.codes(self.GOOD, pieces=(second, near_crumb, far)) == [
            ("duplicate", ("L1",)),
            ("duplicate", ("L2",)),
        ]

    def test_renamed_vertebrae(self) -> None:
        changes = (Change(20, 19, 30.0), Change(25, 0, 12.0), Change(28, 0, 2.0))
        found = warnings_of_changes(changes)
        renamed, left_out = (one for one in found if one.code == "renamed")
        assert renamed.labels == (19,) and "L1 (30.0 ml) is named T12" in renamed.message
        assert left_out.labels == (25,) and "L6 (12.0 ml) was left out" in left_out.message
        assert found[-1].code == "unknown_range", "without metadata of the training"

    def test_uncertain_levels(self) -> None:
        certainty = Certainty({19: 0.97, 20: 0.78}, 0.7, {-1: 0.004, 1: 0.12}, {"T13": 0.17})
        sure = Certainty({19: 0.97, 20: 0.96}, 0.95, {-1: 0.0, 1: 0.01}, {"T13": 0.02})
        first, *_ = warnings_of(Spine({19: 0.9, 20: 0.9}, certainty=certainty))
        assert (first.code, first.labels) == ("uncertain_levels", (20,))
        assert first.message == (
            "The levels are uncertain (all levels right: 70 %; shifted by one, in truth one level "
            "lower: 12 %; T13: 17 %). Least sure: L1 (78 %)."
        )
        codes = {one.code for one in warnings_of(Spine({19: 0.9, 20: 0.9}, certainty=sure))}
        assert not codes & {"uncertain_levels", "doubtful_levels"}
        seen = Spine({19: 0.9, 20: 0.9}, certainty=certainty, by_order=sure)
        assert "Their order fits, but not each of them is surely" in warnings_of(seen)[0].message

    def test_levels_are_doubtful_where_a_wrong_one_is_more_probable_than_none(self) -> None:
        assert [level_code(value) for value in (0.95, 0.949, 0.5, 0.499, 0.0)] == [
            "", "uncertain_levels", "uncertain_levels", "doubtful_levels", "doubtful_levels",
        ]  # fmt: skip
        right = dict(zip(range(8, 14), (0.4, 0.3, 0.2, 0.35, 0.1, 0.6), strict=True))
        certainty = Certainty(right, 0.08, {-1: 0.0, 1: 0.0}, {})
        first, *_ = warnings_of(Spine(dict.fromkeys(right, 0.9), certainty=certainty))
        assert first.code == "doubtful_levels" and first.labels == tuple(right)
        assert first.message == (
            "The levels are doubtful (all levels right: 8 %). "
            "Least sure: T2 (30 %), T3 (20 %), T5 (10 %) and 3 more."
        )

    def test_no_body_in_any_vertebra(self) -> None:
        codes = [
            [one.code for one in body_warnings(measures)]
            for measures in (
                [body("L1", None), body("L2", None)],
                [body("L1", None), body("L2", 30.0)],
                [body("C1", None), body("C2", None)],
                [],
            )
        ]
        assert codes == [["no_bodies"], [], [], []]

    def test_a_single_vertebra_in_a_long_scan(self) -> None:
        assert self.codes({"L3": 0}) == [("few_vertebrae", ("L3",))]
        assert self.codes({"L3": 0, "L4": -35}) == [("few_vertebrae", ("L3", "L4"))]
        assert ("few_vertebrae", ("L3",)) not in self.codes({"L3": 0}, shape=(200, 200, 50))

    @pytest.mark.parametrize(
        ("resolved", "found"), [(None, False), (0.95, False), (0.7, True), (0.0, True)]
    )
    def test_vertebrae_that_were_not_told_apart(self, resolved: float | None, found: bool) -> None:
        assert (("not_told_apart", ()) in self.codes(self.GOOD, resolved=resolved)) == found

    def test_low_confidence(self) -> None:
        assert self.codes(self.GOOD, confidence=0.4) == [("low_confidence", tuple(self.GOOD))]

    def test_scans_unlike_those_of_training(self) -> None:
        assert self.codes(self.GOOD, spacing_mm=5.0, shape=(40, 40, 60)) == [("spacing", ())]
        assert self.codes(self.GOOD, shape=(200, 200, 100)) == [("field_of_view", ())]
        assert self.codes(self.GOOD, shape=(600, 200, 400)) == [("field_of_view", ())]
        assert self.codes(self.GOOD, spacing_mm=0.4, shape=(500, 500, 1000)) == []

    def test_labels_that_no_voxel_has(self) -> None:
        ct = Volume(np.zeros((9, 9, 9), np.int16), np.eye(4), Geometry((9, 9, 9), np.eye(4)))
        found = warnings_about(ct, Spine({IDS["L1"]: 0.4}), {}, {})
        assert found[0].code == "no_vertebra"

    def test_nothing_found(self) -> None:
        assert self.codes({}) == [("no_vertebra", ())]


@pytest.mark.parametrize("seed", range(6))
def test_any_label_map_can_be_measured_and_warned_of(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (48, 56, 64)
    smooth = gaussian_filter(rng.normal(size=(12, *shape)), (0, *rng.uniform(1, 7, 3)))
    mask = (smooth.argmax(axis=0) + 14).astype(np.uint8)
    mask[smooth.max(axis=0) < np.quantile(smooth.max(axis=0), rng.uniform(0.2, 0.9))] = 0
    affine = np.diag([*rng.uniform(0.7, 3, 3), 1])
    ct = Volume(rng.normal(150, 300, shape).astype(np.int16), affine, Geometry(shape, affine))
    measures = measure_vertebrae(ct, mask)
    assert {one.label for one in measures} == set(np.unique(mask)) - {0}
    for one in measures:
        heights = (one.height_anterior_mm, one.height_middle_mm, one.height_posterior_mm)
        assert all(height is None or 0 < height < 200 for height in heights)
    confidence = {one.label: 0.5 for one in measures}
    centres = body_centres(mask, affine)
    warnings_about(ct, Spine(confidence), centres, trained())
