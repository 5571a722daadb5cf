"""File names of data sets in VerSe's layout, and of predictions, which are named after it.

A data set has two folders, `rawdata/{subject}/` for CTs and `derivatives/{subject}/` for masks and
centroids; a scan's files share its BIDS stem (https://github.com/anjany/verse).
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePath

from vertseg.scans.find import STRAIGHT_CT_SUFFIX

DATA_FOLDERS = ("rawdata", "derivatives")
"""Folders of a data set: of CTs, and of masks and centroids."""

CT_SUFFIX = "_ct.nii.gz"
MASK_SUFFIX = "_seg-vert_msk.nii.gz"
CENTROIDS_SUFFIX = "_seg-vert_ctd.json"
TRUTH_SUFFIX = "_phantom.json"
"""End of the name of a phantom's ground truth."""
GRID_SUFFIX = "_grid.safetensors"
"""End of the name of a predicted label map on the network's grid."""

OWN_SCAN_SUFFIXES = {
    "mask": MASK_SUFFIX,
    "bids_mask": "_desc-vertseg_dseg.nii.gz",
    "bids_sidecar": "_desc-vertseg_dseg.json",
    "bids_labels": "_desc-vertseg_dseg.tsv",
    "centroids": CENTROIDS_SUFFIX,
    "markups": "_seg-vert_ctd.mrk.json",
    "points": "_seg-vert_ctd.csv",
    "preview": "_preview.png",
    "measures": "_measures.csv",
    "spine": "_spine.csv",
    "viewer": "_viewer.js",
    "straight_ct": STRAIGHT_CT_SUFFIX,
    "dicom_seg": "_seg.dcm",
    "dicom_labelmap": "_labelmap.dcm",
    "dicom_rtstruct": "_rtstruct.dcm",
    "dicom_sr": "_sr.dcm",
}
"""Ends of the names of the files that `vertseg predict` writes for a scan, by kind. In a BIDS data
set the first three of BIDS take the mask's place."""

DICOM_KINDS = ("seg", "labelmap", "rtstruct", "sr")
"""DICOM objects of a prediction: a segmentation, the same in the form LABELMAP, a structure set of
contours, and a structured report of the measures."""

RESULT_SUFFIX = "_result.json"
"""End of the name of a scan's result, which is written last."""

FAILURE_SUFFIX = "_failed.json"
"""End of the name of the file with the reason for which a scan has no result."""

REPORT_NAME = "report.html"
"""Name of the report of all own scans."""

_CT_BELOW_ROOT = re.compile(rf"rawdata/(?P<subject>[^/]+)/(?P<scan>[^/]+){re.escape(CT_SUFFIX)}")


def ct_path(root: str | os.PathLike[str], subject: str, scan: str) -> str:
    """Path of a scan's CT in a data set."""
    return f"{root}/rawdata/{subject}/{scan}{CT_SUFFIX}"


def reference_path(root: str | os.PathLike[str], subject: str, scan: str) -> str:
    """Path of a scan's reference mask in a data set."""
    return f"{root}/derivatives/{subject}/{scan}{MASK_SUFFIX}"


def phantom_centroids_path(root: str | os.PathLike[str], subject: str, scan: str) -> str:
    """Path of a phantom's centroids; VerSe's own have varying names, see `find_centroids`."""
    return f"{root}/derivatives/{subject}/{scan}{CENTROIDS_SUFFIX}"


def phantom_truth_path(mask: str | PurePath) -> Path:
    """Path of a phantom's ground truth, which lies beside its mask."""
    return Path(str(mask).removesuffix(MASK_SUFFIX) + TRUTH_SUFFIX)


def find_centroids(scan: str, files: Iterable[str]) -> str:
    """The first of some files that holds a scan's centroids, or "".

    Its name contains the annotated part: `seg-vert_ctd`, `seg-subreg_ctd` (VerSe'19 and '20) or
    `seg-vb_ctd`.
    """
    pattern = re.compile(rf"(?:.*/)?{re.escape(scan)}_seg-[^/]*_ctd\.json")
    return next((file for file in sorted(files) if pattern.fullmatch(file)), "")


def subject_and_scan(ct: str) -> tuple[str, str] | None:
    """Subject and BIDS stem of a CT's path below a data set's root; None for other files."""
    found = _CT_BELOW_ROOT.fullmatch(ct)
    return (found["subject"], found["scan"]) if found else None


def mask_path(predictions: Path, scan: str) -> Path:
    """Path of a scan's predicted label map."""
    return predictions / f"{scan}{MASK_SUFFIX}"


def centroids_path(predictions: Path, scan: str) -> Path:
    """Path of a scan's predicted centres."""
    return predictions / f"{scan}{CENTROIDS_SUFFIX}"


def grid_mask_path(predictions: Path, scan: str) -> Path:
    """Path of a scan's predicted label map on the network's grid."""
    return predictions / f"{scan}{GRID_SUFFIX}"
