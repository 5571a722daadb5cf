"""Predictions as a BIDS derivative data set.

Label maps have BIDS' names, sidecars and tables of labels. Files that BIDS has no name for lie
beside them and are listed in `.bidsignore`. Source: BIDS 1.10, "Derivatives".
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vertseg import __version__
from vertseg.anatomy.labels import CRANIOCAUDAL, NAMES
from vertseg.anatomy.palette import label_colour
from vertseg.core.errors import UserError
from vertseg.core.files import write_json, write_text
from vertseg.core.notice import RESEARCH_USE_ONLY
from vertseg.core.tsv import write_tsv
from vertseg.predict.earlier import ORIGINALS
from vertseg.scans.bids import DESCRIPTION, data_set_of, is_data_set, read_description
from vertseg.scans.find import absolute_path

BIDS_VERSION = "1.10.0"
_PROGRAM = "vertseg"

CORRECTED = "Labels corrected by a reader."

_IGNORED = (
    "*.html",
    "*.dcm",
    "*_ctd.*",
    "*_measures.csv",
    "*_preview.png",
    "*_result.json",
    "*_failed.json",
    "*_straight_ct.nii.gz",
    "*_spine.csv",
    "*_viewer.js",
    "*_correction.json",
    f"{ORIGINALS}/",
    "*_split-*",  # entities of VerSe's names that BIDS has not for images of structure
    "*_dir-*",
)

_README = f"""# Vertebrae in CT, predicted by vertseg

{RESEARCH_USE_ONLY}

`*_desc-vertseg_dseg.nii.gz` are label maps, `*_dseg.tsv` their values. The other files of a scan
have no name in BIDS and are listed in `.bidsignore`.
"""


def start_data_set(output: Path, scans: Iterable[str | os.PathLike[str]]) -> None:
    """Write the files at the root of a derivative data set, but for a README that is there.

    Args:
        output: the root.
        scans: the scans whose predictions it will hold; their data sets become its sources.

    Raises:
        UserError: the folder is another data set.
    """
    earlier = read_description(output)
    if (output / DESCRIPTION).exists() and not _is_ours(earlier):
        raise UserError(
            f"{output / DESCRIPTION}: describes a data set that vertseg did not write. Choose "
            "another --output, such as derivatives/vertseg below it."
        )
    links = dict(earlier.get("DatasetLinks") or {})
    for root in sorted({root for scan in scans if (root := data_set_of(absolute_path(scan)))}):
        link = _relative(root, output)
        if link not in links.values():
            links[f"raw{len(links) + 1 if links else ''}"] = link
    write_json(
        output / DESCRIPTION,
        {
            "Name": "Vertebrae in CT",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [
                {"Name": _PROGRAM, "Version": __version__, "Description": RESEARCH_USE_ONLY}
            ],
            "SourceDatasets": [{"URL": link} for link in links.values()],
            "DatasetLinks": links,
        },
    )
    write_text(output / ".bidsignore", "\n".join(_IGNORED) + "\n")
    if not (output / "README.md").exists():
        write_text(output / "README.md", _README)


def write_sidecar(
    path: Path,
    scan: str | os.PathLike[str],
    output: Path,
    model: Mapping[str, Any],
    decoding: str,
    outlines: str,
) -> None:
    """Write a label map's sidecar.

    Args:
        path: the .json file.
        scan: the scan.
        output: the data set's root, with its description.
        model: name and sha256 of the network.
        decoding: rule by which the network's logits became labels.
        outlines: where outlines come from.
    """
    sources = _sources(absolute_path(scan), output)
    write_json(
        path,
        {
            "Description": f"Vertebrae labelled and segmented in CT. {RESEARCH_USE_ONLY}",
            "Manual": False,
            "SpatialReference": sources[0] if sources else "orig",
            **({"Sources": sources} if sources else {}),
            "Model": dict(model),
            "Decoding": decoding,
            "Outlines": outlines,
        },
    )


def state_correction(sidecar: Path, target: Path) -> None:
    """Write a label map's sidecar with the word that its labels have been corrected.

    Args:
        sidecar: the sidecar of the label map before, corrected or not.
        target: the new sidecar.

    Raises:
        UserError: the sidecar is missing or unreadable.
    """
    try:
        content = dict(json.loads(sidecar.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{sidecar}: cannot be read ({error}). Bring it back, or predict the scan again "
            "(--force)."
        ) from error
    description = str(content.get("Description", "")).removesuffix(CORRECTED).strip()
    write_json(target, content | {"Description": f"{description} {CORRECTED}".strip()})


def write_label_table(path: Path) -> None:
    """Write the values of label maps as BIDS' table, from C1 downwards."""
    rows = [(label, NAMES[label], NAMES[label], label_colour(label)) for label in CRANIOCAUDAL]
    write_tsv(path, ["index", "name", "abbreviation", "color"], rows)


def results_root(folder: Path) -> Path:
    """The folder of all results to which those in a folder belong: the root of our data set."""
    root = folder if is_data_set(folder) else data_set_of(folder)
    return root if root is not None and _is_ours(read_description(root)) else folder


def _sources(scan: Path, output: Path) -> list[str]:
    """The scan as a BIDS URI; none if it lies in no data set."""
    root = data_set_of(scan)
    if root is None:
        return []
    links = read_description(output).get("DatasetLinks") or {}
    link = next(name for name, place in links.items() if place == _relative(root, output))
    return [f"bids:{link}:{scan.relative_to(root).as_posix()}"]


def _relative(root: Path, output: Path) -> str:
    return Path(os.path.relpath(root, absolute_path(output))).as_posix()


def _is_ours(description: Mapping[str, Any]) -> bool:
    generators = description.get("GeneratedBy")
    return isinstance(generators, list) and any(
        isinstance(one, dict) and one.get("Name") == _PROGRAM for one in generators
    )
