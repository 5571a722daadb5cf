"""Do the names of vertebrae depend on where the field of view ends?

    python -m studies.cut_scans MODEL SCAN [SCAN ...] [--decoding order]

Cuts slices off the upper and the lower end of each scan, names what is left, and prints a Markdown
table: of the vertebrae that the whole scan showed and the cut one still shows whole, how many lost
their label or got another one.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vertseg.anatomy.centroids import Centres, body_centres
from vertseg.core.progress import progress
from vertseg.scans.read import read_scan
from vertseg.scans.volumes import Geometry, Volume
from vertseg.segmentation.model import Model, load_model
from vertseg.segmentation.segment import segment_ct
from vertseg.segmentation.settings import DECODINGS, OWN_SCANS_DECODING, Decoding

CUTS_MM = (20, 40, 66, 100)
SHORTEST_MM = 80.0
"""Least height that a cut leaves."""

INSIDE_MM = 25.0
"""Distance of a body's centre from the cut from which its vertebra counts as whole."""

SAME_MM = 12.0
"""Distance within which two centres are those of one vertebra."""


@dataclass(frozen=True)
class Cut:
    """What a cut changed.

    Attributes:
        end: "upper" or "lower".
        mm: height that was cut off.
        vertebrae: number of vertebrae named in the whole scan and whole in the cut one.
        renamed: number of those with another label.
        lost: number of those without a label.
    """

    end: str
    mm: float
    vertebrae: int
    renamed: int
    lost: int


def without_end(ct: Volume, end: str, mm: float) -> Volume:
    """A scan without some height of its upper or lower end."""
    slices = round(mm / ct.spacing_mm[2])
    start = slices if end == "lower" else 0
    return part_of(ct, start, ct.array.shape[2] - (slices if end == "upper" else 0))


def part_of(ct: Volume, start: int, stop: int) -> Volume:
    """Some slices of a scan, from the first one kept to the one behind the last."""
    array = np.ascontiguousarray(ct.array[:, :, start:stop])
    affine = ct.affine.copy()
    affine[:3, 3] += affine[:3, 2] * start
    return Volume(array, affine, Geometry(array.shape, affine))


def named(model: Model, ct: Volume, decoding: Decoding) -> Centres:
    """Centres of a scan's vertebrae in world mm by label."""
    return body_centres(segment_ct(model, ct, decoding).mask, ct.affine)


def cuts(
    model: Model, ct: Volume, decoding: Decoding, heights_mm: tuple[float, ...] = CUTS_MM
) -> Iterator[Cut]:
    """What cuts at both ends of a scan change."""
    whole = named(model, ct, decoding)
    height_mm = ct.array.shape[2] * ct.spacing_mm[2]
    bottom_mm = float(ct.affine[2, 3])
    for end in ("upper", "lower"):
        for mm in heights_mm:
            if height_mm - mm < SHORTEST_MM:
                continue
            left = named(model, without_end(ct, end, mm), decoding)
            edge_mm = bottom_mm + (height_mm - mm if end == "upper" else mm)
            inside = {
                label: centre
                for label, centre in whole.items()
                if (edge_mm - centre[2]) * (1 if end == "upper" else -1) >= INSIDE_MM
            }
            now = {
                label: next(
                    (
                        other
                        for other, point in left.items()
                        if np.linalg.norm(point - centre) < SAME_MM
                    ),
                    None,
                )
                for label, centre in inside.items()
            }
            yield Cut(
                end,
                mm,
                len(inside),
                sum(other not in (None, label) for label, other in now.items()),
                sum(other is None for other in now.values()),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("scans", nargs="+")
    parser.add_argument("--decoding", choices=DECODINGS, default=OWN_SCANS_DECODING)
    options = parser.parse_args()
    model = load_model(options.model)
    print("| scan | end | cut off, mm | vertebrae left whole | renamed | lost |")
    print("|---|---|---:|---:|---:|---:|")
    for path in progress(options.scans, "cutting"):
        ct = read_scan(path, Path(path).stem).volume
        for cut in cuts(model, ct, options.decoding):
            print(
                f"| {Path(path).name} | {cut.end} | {cut.mm:g} | {cut.vertebrae} | {cut.renamed} "
                f"| {cut.lost} |"
            )


if __name__ == "__main__":
    main()
