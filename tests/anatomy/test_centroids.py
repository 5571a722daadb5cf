"""Body centres and VerSe's centroid files."""

import json

import nibabel as nib
import numpy as np
import pytest
from conftest import REAL_DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from vertseg.anatomy.centroids import body_centres, read_centroids, write_centroids
from vertseg.core.errors import UserError

PIR = np.array([[0, 0, 2.0, -30], [-1, 0, 0, 40], [0, -1, 0, 170], [0, 0, 0, 1]])


def write(folder, content):
    path = folder / "ctd.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def vertebra(shape=(40, 60, 30), label=20):
    """A thick body (centre 20, 40, 15) with a long thin process behind it."""
    mask = np.zeros(shape, np.uint8)
    mask[10:31, 30:51, 5:26] = label
    mask[19:22, 2:30, 14:17] = label
    return mask


class TestBodyCentres:
    def test_finds_the_body_not_the_centre_of_mass(self):
        mask = vertebra()
        affine = np.diag([0.5, 0.5, 1.0, 1.0])
        affine[:3, 3] = [-7, 3, 100]
        centres = body_centres(mask, affine)
        expected = np.array([20 * 0.5 - 7, 40 * 0.5 + 3, 15 + 100])
        assert np.linalg.norm(centres[20] - expected) < 0.5
        centre_of_mass = np.argwhere(mask).mean(axis=0) * [0.5, 0.5, 1.0] + affine[:3, 3]
        assert np.linalg.norm(centres[20] - expected) < np.linalg.norm(centre_of_mass - expected)

    def test_touching_labels_and_the_border_of_the_volume(self):
        mask = np.zeros((7, 7, 14), np.uint8)
        mask[..., :7], mask[..., 7:] = 8, 7
        centres = body_centres(mask, np.eye(4))
        assert list(centres) == [7, 8]
        np.testing.assert_allclose(centres[8], [3, 3, 3])
        np.testing.assert_allclose(centres[7], [3, 3, 10])

    def test_single_voxels_empty_masks_and_labels_without_a_name(self):
        mask = np.zeros((3, 3, 3), np.uint8)
        assert body_centres(mask, np.eye(4)) == {}
        mask[1, 2, 0], mask[0, 0, 0] = 28, 26
        centres = body_centres(mask, np.eye(4))
        assert list(centres) == [28]
        np.testing.assert_allclose(centres[28], [1, 2, 0])

    def test_axes_order_does_not_matter(self):
        image = nib.Nifti1Image(vertebra(), np.diag([0.5, 0.5, 1.0, 1.0]))
        turned = image.as_reoriented(nib.orientations.axcodes2ornt(("P", "I", "R")))
        one = body_centres(np.asarray(image.dataobj), image.affine)
        other = body_centres(np.asarray(turned.dataobj), turned.affine)
        np.testing.assert_allclose(one[20], other[20], atol=1e-9)

    @pytest.mark.parametrize(
        "folder_and_stem", ["verse014/sub-verse014", "verse_masks/sub-verse004"]
    )
    def test_lie_near_verse_points(self, folder_and_stem):
        stem = REAL_DATA / folder_and_stem
        if not stem.parent.is_dir():
            pytest.skip(f"no real VerSe scan at {stem.parent}")
        (points,) = stem.parent.glob(f"{stem.name}_seg-*_ctd.json")
        image = nib.load(f"{stem}_seg-vert_msk.nii.gz")
        annotated = read_centroids(points, image.affine)
        computed = body_centres(np.asarray(image.dataobj), image.affine)
        assert computed.keys() == annotated.keys()
        distances = [np.linalg.norm(computed[i] - annotated[i]) for i in annotated]
        assert np.mean(distances) < 4


class TestFiles:
    def test_reads_verse_json(self, tmp_path):
        path = write(
            tmp_path,
            [
                {"direction": ["P", "I", "R"]},
                {"label": 20.0, "X": 75.0, "Y": 35.0, "Z": 22.5},
                {"label": 21, "X": float("nan"), "Y": float("nan"), "Z": float("nan")},
                {"label": 28, "X": "1", "Y": 2, "Z": 3},
            ],
        )
        centres = read_centroids(path, PIR)
        assert sorted(centres) == [20, 28]
        np.testing.assert_allclose(centres[20], [15, -35, 135])

    @settings(max_examples=25)
    @given(
        st.dictionaries(
            st.sampled_from([1, 7, 8, 19, 20, 25, 28]),
            st.tuples(*[st.floats(-500, 500)] * 3),
            min_size=0,
        )
    )
    def test_round_trip(self, tmp_path_factory, centres):
        path = tmp_path_factory.mktemp("round") / "ctd.json"
        write_centroids(path, {k: np.array(v) for k, v in centres.items()}, PIR)
        back = read_centroids(path, PIR)
        assert back.keys() == centres.keys()
        for label, point in centres.items():
            np.testing.assert_allclose(back[label], point, atol=2e-3)

    def test_writes_from_head_to_foot(self, tmp_path):
        path = tmp_path / "ctd.json"
        write_centroids(path, {label: np.zeros(3) for label in (20, 28, 19)}, PIR)
        content = json.loads(path.read_text())
        assert content[0] == {"direction": ["P", "I", "R"]}
        assert [entry["label"] for entry in content[1:]] == [19, 28, 20]

    def test_the_same_points_give_the_same_bytes(self, tmp_path):
        one, other = tmp_path / "one.json", tmp_path / "other.json"
        points = {20: np.array([1.23456, -2, 3]), 19: np.array([0.0, 0, 170])}
        write_centroids(one, points, PIR, "for tests", decimals=1)
        write_centroids(other, dict(reversed(points.items())), PIR, "for tests", decimals=1)
        assert one.read_bytes() == other.read_bytes()
        expected = [
            {"direction": ["P", "I", "R"], "notice": "for tests"},
            {"label": 19, "X": 40.0, "Y": 0.0, "Z": 15.0},
            {"label": 20, "X": 42.0, "Y": 167.0, "Z": 15.6},
        ]
        assert one.read_text() == json.dumps(expected, indent=2) + "\n"

    def test_sacrum_is_ignored(self, tmp_path):
        path = write(
            tmp_path, [{"direction": ["P", "I", "R"]}, {"label": 26, "X": 1, "Y": 2, "Z": 3}]
        )
        assert read_centroids(path, PIR) == {}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "not JSON"),
            ({"label": 20}, "list of objects"),
            ([], "list of objects.*without a spine"),
            ([{"direction": "PIR"}], "axis codes of the image"),
            ([{"label": 20, "X": 1, "Y": 2, "Z": 3}], "MICCAI.*would move them.*no centroids"),
            ("[" * 100_000, "nested too deep"),
            ([{"direction": ["P", "I", "R"]}, {"label": True, "X": 1, "Y": 2, "Z": 3}], "whole"),
            (
                [{"direction": ["P", "I", "R"]}, {"label": 10**400, "X": 1, "Y": 2, "Z": 3}],
                "whole",
            ),
            (
                [{"direction": ["P", "I", "R"]}, {"label": 20, "X": 1, "Y": 2, "Z": float("nan")}],
                "all three NaN",
            ),
            ([{"direction": ["P", "I", "R"]}, {"label": list(range(9999))}], "whole"),
            ([{"direction": ["R", "A", "S"]}], "image's axes are"),
            ([{"direction": ["P", "I", "R"]}, {"label": 20, "X": 1, "Y": 2}], "X, Y, Z"),
            ([{"direction": ["P", "I", "R"]}, {"label": "L1", "X": 1, "Y": 2, "Z": 3}], "whole"),
            ([{"direction": ["P", "I", "R"]}, {"label": 20.5, "X": 1, "Y": 2, "Z": 3}], "whole"),
            ([{"direction": ["P", "I", "R"]}, 20], "whole"),
            (
                [{"direction": ["P", "I", "R"]}, *[{"label": 20, "X": 1, "Y": 2, "Z": 3}] * 2],
                "twice",
            ),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path, content, message):
        path = write(tmp_path, content)
        with pytest.raises(UserError, match=message) as raised:
            read_centroids(path, PIR)
        assert str(path) in str(raised.value)
        assert len(str(raised.value)) < 700

    def test_a_folder_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_centroids(tmp_path, PIR)

    def test_missing_file(self, tmp_path):
        with pytest.raises(UserError, match="no such"):
            read_centroids(tmp_path / "absent.json", PIR)
