"""Preprocess all scans as nnU-Net planned.

Reads nnUNet_raw's data set and the plan; writes the scans (.b2nd, .pkl) and gt_segmentations/ to
nnUNet_preprocessed. Usage: LOG --processes N.
"""

import argparse

from vertseg.nnunet.process import nnunet_log


def main(processes: int) -> None:
    """Preprocess so many scans at a time."""
    # nnU-Net is imported where its absence is explained.
    from vertseg.nnunet.planning import preprocess

    preprocess(processes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--processes", type=int, required=True)
    given = parser.parse_args()
    with nnunet_log(given.log):
        main(given.processes)
