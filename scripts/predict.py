"""Segment and label the scans that a fold holds out, or those of the external test.

Reads the folds, cached scans and weights, of one network or of several that predict together;
writes, for each scan, the label map on the CT's own
grid ({scan}_seg-vert_msk.nii.gz), VerSe's centroid JSON ({scan}_seg-vert_ctd.json) and, for methods
on the evaluation's grid, the label map there ({scan}_grid.safetensors).
"""

from pathlib import Path

import torch
from safetensors.numpy import save_file

from vertseg.cache import read_cache
from vertseg.centroids import body_centres, write_centroids
from vertseg.devices import choose_device
from vertseg.folds import divide_caches
from vertseg.gpus import claimed_gpus
from vertseg.inference import predict_logits
from vertseg.logs import logger, progress, step_log
from vertseg.order import put_in_order
from vertseg.spine import one_spine
from vertseg.volumes import save_mask
from vertseg.weights import load_network


def main(
    weights: list[str],
    caches: list[Path],
    device_name: str,
    spine_only: bool,
    in_order: bool,
    keep_grid: bool,
    folder: Path,
) -> None:
    """Predict all scans."""
    device = choose_device(device_name)
    networks, trained = zip(*(load_network(path, device) for path in weights), strict=True)
    crop = trained[0]["settings"]["crop"]
    folder.mkdir(parents=True, exist_ok=True)
    for path in progress(caches, "predicting"):
        scan = read_cache(path)
        logits = predict_logits(networks, scan.image, crop)
        label_map = logits.argmax(axis=0).astype("uint8")
        if spine_only:
            one_spine(logits, label_map, scan.transform.cell_mm)
        if in_order:
            put_in_order(logits, label_map, scan.transform.cell_mm)
        if keep_grid:
            save_file({"label": label_map}, folder / f"{scan.name}_grid.safetensors")
        native = scan.transform.native
        mask = scan.transform.decode_logits(logits, label_map)
        save_mask(folder / f"{scan.name}_seg-vert_msk.nii.gz", mask, native)
        centres = body_centres(mask, native.canonical_affine)
        write_centroids(folder / f"{scan.name}_seg-vert_ctd.json", centres, native.affine)
        logger.info("%s: %d vertebrae", scan.name, len(centres))


if __name__ == "__main__":
    torch.set_num_threads(snakemake.threads)
    with step_log(snakemake.log[0]):
        _, caches = divide_caches(
            snakemake.input.folds, snakemake.input.caches, snakemake.params.fold
        )
        with claimed_gpus(snakemake.resources.gpu, snakemake.params.device):
            main(
                snakemake.input.weights,
                caches,
                snakemake.params.device,
                snakemake.params.one_spine,
                snakemake.params.in_order,
                snakemake.params.keep_grid,
                Path(snakemake.output[0]),
            )
