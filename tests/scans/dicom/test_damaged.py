"""Damaged DICOM files end in a UserError or, if the damage is harmless, in a volume."""

import random
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_series import ct_slices, save_slices
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from vertseg.core.errors import UserError
from vertseg.scans.dicom.segmentation import write_segmentation
from vertseg.scans.dicom.series import read_series

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ATTEMPTS = 40
SPACING_MM = (0.8, 0.8, 2.0)
PIXEL_DATA = bytes.fromhex("e07f1000")


def small_ct() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, (6, 5, 4)).astype(np.int16)


def write_kind(folder: Path, kind: str) -> None:
    slices = ct_slices(small_ct(), np.diag([*SPACING_MM, 1]))
    for index, dataset in enumerate(slices):
        dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.1{index}"
        for number, keyword in enumerate(("Study", "Series")):
            setattr(dataset, f"{keyword}InstanceUID", f"1.2.826.0.1.3680043.8.498.2{number}")
        dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.3"
        if kind == "implicit":
            del dataset.file_meta
            path = folder / f"{index}"
            dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        elif kind == "deflated":
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            dataset["PixelData"].VR = "OW"
            dataset.save_as(folder / f"{index}.dcm", enforce_file_format=True)
        elif kind == "run lengths":
            dataset.compress(RLELossless, generate_instance_uid=False)
    if kind == "single file":
        hd.legacy.LegacyConvertedEnhancedCTImage(
            slices, "1.2.3.4", 1, "1.2.3.5", 1, transfer_syntax_uid="1.2.840.10008.1.2.1"
        ).save_as(folder / "all.dcm")
    elif kind in ("explicit", "run lengths"):
        save_slices(folder, slices, shuffled=False)


def damage(content: bytes, draw: random.Random) -> bytes:
    """Flipped bits, a cut, or random bytes in the header of a file."""
    end = content.rfind(PIXEL_DATA)
    end = len(content) if end < 0 else end
    start = 128 if content[128:132] == b"DICM" else 0
    kind = draw.random()
    if kind < 0.1:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    if kind < 0.2:
        place = draw.randrange(start, end - 8)
        changed[place : place + 8] = draw.randbytes(8)
    else:
        for _ in range(draw.choice((1, 1, 1, 2, 8))):
            changed[draw.randrange(start, end)] ^= 1 << draw.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["explicit", "implicit", "run lengths", "deflated", "single file"])
def test_damaged_headers_end_in_a_user_error_or_a_volume(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    write_kind(folder, kind)
    files = sorted(folder.iterdir())
    draw = random.Random(kind)
    refused = 0
    for _ in range(ATTEMPTS):
        file = draw.choice(files)
        whole = file.read_bytes()
        file.write_bytes(damage(whole, draw))
        try:
            volume, series = read_series(folder)
            if volume.array.shape != small_ct().shape:
                assert volume.remarks or len(series.frames) == 3
            write_segmentation(
                tmp_path / "seg.dcm",
                np.full(volume.array.shape, 20, np.uint8),
                volume.native,
                series,
            )
        except UserError as error:
            assert len(str(error)) < 2000
            refused += 1
        file.write_bytes(whole)
    assert 0 < refused < ATTEMPTS
    np.testing.assert_array_equal(read_series(folder)[0].array, small_ct())


def test_voxels_of_an_unknown_representation_are_damage(tmp_path: Path) -> None:
    write_kind(tmp_path, "explicit")
    path = sorted(tmp_path.iterdir())[1]
    whole = path.read_bytes()
    place = whole.rfind(PIXEL_DATA) + 4
    assert whole[place : place + 2] == b"OW"
    for kind in (b"O\xf1", b"Oz", b"SQ"):
        path.write_bytes(whole[:place] + kind + whole[place + 2 :])
        with pytest.raises(UserError, match=path.name):
            read_series(tmp_path)
