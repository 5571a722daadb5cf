#!/usr/bin/env bash
# TorchIO 1.2.1: patches of a network with a smaller output are put together with stripes of zeros between them.
#
# GridAggregator has downsampling_factor for networks whose output is smaller than their input. Expected:
# overlapping patches give one gapless volume, as with a factor of 1. Seen: patches' places are divided by
# the factor, their overlap is not, so that too much is cropped from each one in the overlap mode "crop",
# which is the default: with patches of 16 voxels, an overlap of 4 and a factor of 2, a third of the
# output is 0, and with an overlap of 8 seven eighths. Without overlap it is right. Nothing warns.
#
# torch==2.13.0 may be its CPU build (pip must know an index that has it); the result is the same.
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torchio==1.2.1 torch==2.13.0 numpy==2.4.6

venv/bin/python - 2> log <<'END' || { cat log >&2; exit 1; }
import sys

import torch
import torchio
from torch.nn.functional import avg_pool3d
from torch.utils.data import DataLoader

SIDE, PATCH = 32, 16
scan = torchio.Subject(ct=torchio.ScalarImage(tensor=1 + torch.rand(1, SIDE, SIDE, SIDE)))


def empty(overlap: int, factor: int) -> float:
    """Share of the output that is 0; the rest is checked."""
    sampler = torchio.GridSampler(scan, patch_size=PATCH, patch_overlap=overlap)
    aggregator = torchio.GridAggregator(sampler, downsampling_factor=factor)
    for batch in DataLoader(sampler, batch_size=4):
        aggregator.add_batch(avg_pool3d(batch["ct"][torchio.DATA], factor), batch[torchio.LOCATION])
    output, whole = aggregator.get_output_tensor(), avg_pool3d(scan.ct.data, factor)
    assert torch.allclose(output[output > 0], whole[output > 0])
    return float((output == 0).float().mean())


shares = {(overlap, factor): empty(overlap, factor) for overlap in (0, 4, 8) for factor in (1, 2)}
for (overlap, factor), share in shares.items():
    print(f"overlap {overlap}, factor {factor}: {share:.0%} of the output is 0")
gaps = {key for key, share in shares.items() if share > 0.3}
sys.exit(not (gaps == {(4, 2), (8, 2)} and sum(shares.values()) == sum(shares[key] for key in gaps)))
END
