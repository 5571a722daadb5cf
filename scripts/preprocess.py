"""Bring one labelled scan onto a network's grid.

Reads a CT, its mask (NIfTI) and the mask's label scheme (TSV) if that is not VerSe's; writes
cache/{grid}/{scan}.safetensors: normalised image, label map and the way back to native space.
"""

from pathlib import Path

from vertseg.anatomy.schemes import read_scheme
from vertseg.core.logs import logger, step_log
from vertseg.scans.hounsfield import check_ct
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.segmentation.cache import CachedScan, write_cache
from vertseg.segmentation.grid import GridSpec, GridTransform


def main(ct_path: str, mask_path: str, labels: str, grid: GridSpec, target: str) -> None:
    """Cache one scan."""
    ct = load_ct(ct_path)
    check_ct(ct, Path(ct_path))
    mask = load_mask(mask_path, ct.native, read_scheme(labels), sacrum=True)
    transform = GridTransform.onto(grid, ct.native)
    image, label = transform.encode_image(ct.array), transform.encode_labels(mask.array)
    write_cache(target, CachedScan(Path(target).stem, image, label, transform))
    logger.info("%s: %s voxels at %s mm -> %s", ct_path, ct.array.shape, ct.spacing_mm, image.shape)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.params.ct,
            snakemake.params.mask,
            snakemake.params.labels,
            snakemake.params.grid,
            snakemake.output[0],
        )
