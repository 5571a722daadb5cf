"""Write one labelled scan as nnU-Net's raw data set wants it.

Reads a CT, its mask (NIfTI) and the mask's label scheme (TSV) if that is not VerSe's; writes
imagesTr/{scan}_0000.nii.gz and labelsTr/{scan}.nii.gz: axes in RAS+ order, consecutive labels.
"""

from pathlib import Path

from vertseg.anatomy.schemes import read_scheme
from vertseg.core.logs import logger, step_log
from vertseg.nnunet.dataset import save_raw, stored_ct, to_nnunet
from vertseg.scans.hounsfield import check_ct
from vertseg.scans.nifti import load_ct, load_mask


def main(ct_path: str, mask_path: str, labels: str, image: str, label_map: str) -> None:
    """Write image and label map."""
    ct = load_ct(ct_path)
    check_ct(ct, Path(ct_path))
    mask = load_mask(mask_path, ct.native, read_scheme(labels))
    save_raw(image, stored_ct(ct.array), ct)
    save_raw(label_map, to_nnunet(mask.array), ct)
    logger.info("%s: %s voxels", image, ct.array.shape)


if __name__ == "__main__":
    with step_log(snakemake.log[0]):
        main(
            snakemake.params.ct,
            snakemake.params.mask,
            snakemake.params.labels,
            snakemake.output.image,
            snakemake.output.label_map,
        )
