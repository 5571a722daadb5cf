"""Samples: labelled scans as rows of a sheet, and lists of them from each kind of source."""

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from vertseg.core.errors import UserError
from vertseg.core.files import walk_files
from vertseg.core.tsv import read_tsv, write_tsv
from vertseg.dataset import layout


@dataclass(frozen=True)
class Sample:
    """One labelled scan.

    Attributes:
        scan: unique name, for VerSe the BIDS stem (`sub-verse401_split-verse201`).
        subject: patient; folds never separate scans of one subject.
        ct: path of the CT.
        mask: path of the reference label map.
        centroids: path of VerSe's centroid JSON, or "" to compute them from the mask.
        labels: path of the mask's label scheme (`vertseg.anatomy.schemes`), or "" for VerSe's own.
    """

    scan: str
    subject: str
    ct: str
    mask: str
    centroids: str = ""
    labels: str = ""


COLUMNS = [field.name for field in fields(Sample)]

_OPTIONAL = ("centroids", "labels")
"""Columns of a sheet that may be absent."""
_ALIKE = 0.8
"""Similarity, by difflib, from which a column's name counts as misspelt."""


def phantom_samples(root: str, number: int) -> list[Sample]:
    """The scans that the phantom generator writes below `root` in VerSe's layout."""
    names = (f"sub-phantom{index:04d}" for index in range(1, number + 1))
    return [
        replace(
            _verse_sample(root, name, name),
            centroids=layout.phantom_centroids_path(root, name, name),
        )
        for name in names
    ]


def listed_verse_samples(
    sheet: str | os.PathLike[str], root: str, splits: Iterable[str]
) -> list[Sample]:
    """The scans that a committed sheet lists, where unpacking VerSe's archives puts them.

    The files need not exist yet, so that a run can be planned before the download. Centroids are
    left empty: their names vary (`seg-subreg_ctd`, `seg-vb_ctd`), see `with_centroids`.

    Args:
        sheet: table (TSV) with the columns scan, subject, split.
        root: folder of the release; a split is `{root}/{split}/`.
        splits: names of the splits to take.

    Raises:
        UserError: the sheet does not list a split.
    """
    rows = read_verse_sheet(sheet)
    samples = []
    for split in splits:
        listed = [row for row in rows if row["split"] == split]
        if not listed:
            raise UserError(
                f"{sheet}: no scan of the split {split!r} is listed. Its archive must be listed "
                f"once: `snakemake --cores 1 {root}/{split}_sheet.tsv`, with data.release and "
                "data.splits left as in config.yaml, downloads it and writes the list; "
                "docs/verse.md says how to go on."
            )
        samples += [_verse_sample(f"{root}/{split}", row["subject"], row["scan"]) for row in listed]
    return samples


def read_verse_sheet(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The rows (scan, subject, split) of a release's committed sheet; none if there is no sheet.

    Raises:
        UserError: a row lacks one of the three.
    """
    rows = read_tsv(path, "sample sheet") if Path(path).exists() else []
    if not all(row.get("scan") and row.get("subject") and row.get("split") for row in rows):
        raise UserError(f"{path}: every row needs scan, subject and split, separated by tabs.")
    return rows


def listed_samples(rows: Iterable[Mapping[str, str]], searched: Sequence[str]) -> list[Sample]:
    """Samples from their rows.

    Args:
        rows: the fields of each `Sample`.
        searched: folders of unpacked archives, whose files of centroids lie beside the masks; other
            samples have those that are stated, or none.
    """
    folders = tuple(f"{folder}/" for folder in searched)
    samples = [Sample(**row) for row in rows]
    return [with_centroids(one) if one.mask.startswith(folders) else one for one in samples]


def with_centroids(sample: Sample) -> Sample:
    """A sample of VerSe with the centroid file that lies beside its mask, if there is one."""
    beside = map(str, Path(sample.mask).parent.iterdir())
    return replace(sample, centroids=layout.find_centroids(sample.scan, beside))


def verse_samples(root: str | os.PathLike[str]) -> list[Sample]:
    """Find the labelled scans of a folder in VerSe's layout, sorted by name.

    Every `*_ct.nii.gz` below a `rawdata` folder is paired with the mask and the centroids of its
    BIDS stem below `derivatives`. Links are followed; hidden files, such as macOS's `._*`, are
    passed over.

    Raises:
        UserError: no scan is found, scans lack their mask (all are named), or a link leads
            nowhere.
    """
    root = Path(root)
    scans = sorted(
        folder / name
        for folder, names in (walk_files(root) if root.is_dir() else ())
        for name in names
        if name.endswith(layout.CT_SUFFIX)
    )
    if not scans:
        raise UserError(
            f"{root}: no VerSe scan (rawdata/sub-*/*_ct.nii.gz) found. Unpack VerSe's archive "
            "there or set data.root to the folder that holds it."
        )
    samples, without_mask = [], []
    for ct in scans:
        stem, subject = ct.name.removesuffix(layout.CT_SUFFIX), ct.parent.name
        sample = replace(_verse_sample(ct.parents[2], subject, stem), ct=str(ct))
        if Path(sample.mask).is_file():
            samples.append(with_centroids(sample))
        else:
            without_mask.append(sample.mask)
    if without_mask:
        raise UserError("Scans without their mask; missing are:\n  " + "\n  ".join(without_mask))
    return samples


def without(samples: Iterable[Sample], excluded: Iterable[str]) -> list[Sample]:
    """All samples but those whose scans are named.

    Raises:
        UserError: a name is unknown, or no scan is left.
    """
    samples, names = list(samples), set(excluded)
    unknown = sorted(names - {sample.scan for sample in samples})
    if unknown:
        raise UserError(f"data.exclude names unknown scans: {', '.join(unknown)}.")
    kept = [sample for sample in samples if sample.scan not in names]
    if not kept:
        raise UserError("data.exclude leaves no scan.")
    return kept


def read_samples(path: str | os.PathLike[str]) -> list[Sample]:
    """Read a sample sheet (TSV). Paths are taken as written, relative to the working directory.

    Raises:
        UserError: the sheet is missing, lacks a column, is empty or names a scan twice, or a
            column that may be absent is misspelt.
    """
    table = read_tsv(path, "sample sheet")
    rows = [
        {column: (cell or "").strip() for column, cell in row.items() if column in COLUMNS}
        for row in table
    ]
    if not rows:
        raise UserError(f"{path}: the sheet has no rows.")
    _refuse_misspelt(table[0].keys(), path)
    required = [column for column in COLUMNS if column not in _OPTIONAL]
    missing = [column for column in required if column not in rows[0]]
    if missing:
        raise UserError(f"{path}: the columns {', '.join(missing)} are missing.")
    blank = [str(line) for line, row in enumerate(rows, 2) if not all(row[c] for c in required)]
    if blank:
        raise UserError(f"{path}: empty cells in line {', '.join(blank)}.")
    repeated = repeated_names(row["scan"] for row in rows)
    if repeated:
        raise UserError(f"{path}: scans named more than once: {', '.join(repeated)}.")
    return [Sample(**row) for row in rows]


def _refuse_misspelt(columns: Iterable[str], path: str | os.PathLike[str]) -> None:
    """Refuse columns that would be passed over, though they are meant for one that may be absent.

    Raises:
        UserError: there is one.
    """
    columns = list(columns)
    for known in (one for one in _OPTIONAL if one not in columns):
        for column in (one for one in columns if one not in COLUMNS):
            if difflib.get_close_matches(column.strip().casefold(), [known], 1, _ALIKE):
                raise UserError(f"{path}: the column {column!r} should be named {known!r}.")


def check_subjects(samples: Iterable[Sample]) -> None:
    """Refuse one patient under two subjects, whose scans folds would separate.

    Raises:
        UserError: names differ by upper and lower case alone, or one file belongs to two subjects.
    """
    samples = list(samples)
    for kind in ("subject", "scan"):
        spelling: dict[str, str] = {}
        for name in (getattr(sample, kind) for sample in samples):
            spelt = spelling.setdefault(name.casefold(), name)
            if spelt != name:
                raise UserError(
                    f"The {kind}s {spelt} and {name} differ by upper and lower case alone. Spell "
                    "one alike everywhere, or give different names to different ones."
                )
    for kind in ("ct", "mask"):
        owner: dict[str, Sample] = {}
        for sample in samples:
            path = getattr(sample, kind)
            other = owner.setdefault(os.path.realpath(path), sample)
            if other.subject != sample.subject:
                raise UserError(
                    f"{path}: one {kind} of two subjects, {other.subject} (scan {other.scan}) and "
                    f"{sample.subject} (scan {sample.scan}). Folds would separate one patient's "
                    "scans: correct the file or the subject."
                )


def repeated_names(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def write_samples(path: str | os.PathLike[str], samples: Iterable[Sample]) -> None:
    """Write a sample sheet atomically."""
    write_tsv(path, COLUMNS, (astuple(sample) for sample in samples))


def _verse_sample(root: str | os.PathLike[str], subject: str, scan: str) -> Sample:
    """A scan of a data set in VerSe's layout below `root`, without its centroids."""
    return Sample(
        scan=scan,
        subject=subject,
        ct=layout.ct_path(root, subject, scan),
        mask=layout.reference_path(root, subject, scan),
    )
