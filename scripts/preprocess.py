"""Bring labelled scans onto a network's grid.

Reads CTs, their masks (NIfTI) and the masks' label schemes (TSV) if those are not VerSe's; writes
for each scan cache/{grid}/{scan}.safetensors: normalised image, label map and the way back to
native space.
"""

from pathlib import Path

from vertseg.anatomy.schemes import read_scheme
from vertseg.core.logs import logger, step_log
from vertseg.core.parallel import run_jobs
from vertseg.scans.hounsfield import check_ct
from vertseg.scans.nifti import load_ct, load_mask
from vertseg.segmentation.cache import CachedScan, write_cache
from vertseg.segmentation.grid import GridSpec, GridTransform


def cache_scan(ct_path: str, mask_path: str, labels: str, grid: GridSpec, target: str) -> None:
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
        jobs = [
            (*scan, snakemake.params.grid, target)
            for scan, target in zip(snakemake.params.scans, snakemake.output, strict=True)
        ]
        run_jobs(cache_scan, jobs, snakemake.threads, "scans on the grid")
