"""A small data set in VerSe's layout."""

import gzip
import json

import nibabel as nib
import numpy as np

SCANS = {
    "sub-gl003_dir-ax": "subreg",
    "sub-gl016_dir-ax": "subreg",
    "sub-verse401_split-verse201": "vb",
    "sub-verse401_split-verse253": "vb",
    "sub-verse506_dir-iso": "subreg",
    "sub-verse588": "subreg",
}


def nifti(array: np.ndarray) -> bytes:
    return nib.nifti1.Nifti1Image(array, np.diag([4.0, 4, 4, 1])).to_bytes()


def verse_files(scans: dict[str, str] = SCANS) -> dict[str, bytes]:
    """Files of a data set in VerSe's layout, without its top folder. Contents differ by scan."""
    files = {}
    for index, (scan, centroids) in enumerate(scans.items()):
        subject = scan.split("_")[0]
        generator = np.random.default_rng(index)
        label = np.zeros((12, 12, 12), np.uint8)
        label[3:9, 3:9, 2:6], label[3:9, 3:9, 7:11] = 20 + index % 3, 19 + index % 3
        image = generator.normal(300 * (label > 0), 200).astype(np.int16)
        point = {"label": 20 + index % 3, "X": 5.5, "Y": 5.5, "Z": 3.5}
        derivatives = f"derivatives/{subject}/{scan}_seg"
        files[f"rawdata/{subject}/{scan}_ct.nii.gz"] = gzip.compress(nifti(image), mtime=0)
        files[f"{derivatives}-vert_msk.nii.gz"] = gzip.compress(nifti(label), mtime=0)
        files[f"{derivatives}-{centroids}_ctd.json"] = json.dumps(
            [{"direction": ["R", "A", "S"]}, point]
        ).encode()
        files[f"{derivatives}-vert_snp.png"] = b"\x89PNG" + generator.bytes(200_000)
    return files
