"""The model that comes with the package."""

import hashlib
import re

import numpy as np
import pytest
from conftest import REAL_DATA, ROOT
from scipy.special import log_softmax

from studies.cut_scans import cuts
from vertseg.anatomy.centroids import body_centres, read_centroids
from vertseg.anatomy.labels import IDS
from vertseg.evaluation.metrics import binary_dice, confusion, identification
from vertseg.phantom import generate_phantom, preset
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.scans.volumes import Geometry, Volume
from vertseg.screening import VertebraMeasures, measure_vertebrae
from vertseg.segmentation.card import card_with_facts
from vertseg.segmentation.model import Model, load_model
from vertseg.segmentation.segment import outlined, segment_ct
from vertseg.segmentation.settings import OWN_SCANS_DECODING, SHIPPED_FILES

FOLDER = ROOT / "vertseg/models"


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model()


def test_both_files_are_one_network_and_the_one_of_the_card(model: Model) -> None:
    card = (FOLDER / "README.md").read_text()
    for path in SHIPPED_FILES.values():
        assert path.stat().st_size < 6e6
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card
        assert load_model(path).trained == model.trained
    assert card_with_facts(card, SHIPPED_FILES, model.trained) == card
    assert model.trained["parameters"] == 1_278_749 + 4 * 65
    assert model.trained["auxiliary"] == ["centres", "offsets"] and model.trained["sacrum"]
    assert re.search(r"no real CT", card)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 1, 40, 48, 72)).astype(np.float32)
    outputs = [load_model(SHIPPED_FILES[runtime]).forward(image) for runtime in ("onnx", "torch")]
    np.testing.assert_allclose(outputs[0][29:], outputs[1][29:], atol=1e-3)
    by_onnx, by_torch = (log_softmax(one[:29], axis=0) for one in outputs)
    np.testing.assert_allclose(by_onnx, by_torch, atol=1e-3)


def test_it_identifies_most_vertebrae_of_new_phantoms(model: Model) -> None:
    hits, vertebrae, overlap = 0, 0, []
    for seed in (2_000_001, 2_000_002):
        phantom = generate_phantom(seed, preset("full"))
        ct = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
        mask = segment_ct(model, ct, OWN_SCANS_DECODING).mask
        found = identification(phantom.centroids_mm, body_centres(mask, phantom.affine))
        hits += sum(found.hits.values())
        vertebrae += len(found.hits)
        overlap.append(binary_dice(confusion(phantom.mask, mask)))
    assert hits / vertebrae > 0.6
    assert np.mean(overlap) > 0.6


def test_names_do_not_depend_on_the_field_of_views_end(model: Model) -> None:
    # studies/cut_scans.py tries more heights, and real scans.
    phantom = generate_phantom(2_000_001, preset("demo"))
    ct = Volume(phantom.ct, phantom.affine, Geometry(phantom.ct.shape, phantom.affine))
    found = list(cuts(model, ct, "order", heights_mm=(40,)))
    assert [cut.end for cut in found] == ["upper", "lower"]
    assert sum(cut.vertebrae for cut in found) >= 4
    assert sum(cut.renamed for cut in found) == 0


@pytest.mark.skipif(not (REAL_DATA / "verse014").is_dir(), reason="the VerSe sample is not here")
def test_the_real_sample_is_as_the_card_says(model: Model) -> None:
    stem = REAL_DATA / "verse014/sub-verse014"
    ct = load_ct(f"{stem}_ct.nii.gz")
    reference = load_mask(f"{stem}_seg-vert_msk.nii.gz", ct.native).array
    segmented = segment_ct(model, ct, OWN_SCANS_DECODING)
    mask = segmented.mask
    found = identification(
        read_centroids(f"{stem}_seg-vb_ctd.json", ct.native.affine), body_centres(mask, ct.affine)
    )
    row = re.search(r"\| sub-verse014[^|]*\|(.*)\|", (FOLDER / "README.md").read_text())
    assert row
    _, _, dice, rate, *_ = (float(cell) for cell in row[1].split("|"))
    assert found.rate == pytest.approx(rate, abs=0.001)
    assert binary_dice(confusion(reference, mask)) == pytest.approx(dice, abs=0.005)
    by_ct = outlined(segmented, ct)
    assert by_ct.kept_outlines == {}
    heights = heights_by_name(measure_vertebrae(ct, by_ct.mask, from_ct=IDS.values()))
    expected = heights_by_name(measure_vertebrae(ct, reference))
    # Labels of L1, L2 and L5 cover parts of two vertebrae; their heights stay out.
    assert heights.keys() == {"L3", "L4"}
    for name, values in heights.items():
        np.testing.assert_allclose(values, expected[name], atol=2)


def heights_by_name(measured: list[VertebraMeasures]) -> dict[str, tuple[float, ...]]:
    """Anterior, middle and posterior height in mm of the vertebrae that have them."""
    return {
        one.name: (one.height_anterior_mm, one.height_middle_mm, one.height_posterior_mm)
        for one in measured
        if one.height_anterior_mm is not None
        and one.height_middle_mm is not None
        and one.height_posterior_mm is not None
    }
