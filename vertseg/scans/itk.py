"""NRRD and MetaImage files, read by SimpleITK."""

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from vertseg.core.errors import UserError
from vertseg.core.logs import logger
from vertseg.scans.volumes import (
    Geometry,
    Volume,
    canonical_volume,
    checked_affine,
    checked_shape,
    finite_hu,
)

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def load_itk_ct(path: Path) -> Volume:
    """Read a CT with its numbers as stored; voxels that are not finite become air.

    Raises:
        UserError: the file is unreadable, truncated, not a 3-D grey-value image, or has no usable
            geometry.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetNumberOfComponents() != 1:
            raise UserError(
                f"{path}: {reader.GetNumberOfComponents()} numbers a voxel (a colour image or "
                "vectors), not a CT. Convert the original series."
            )
        shape = checked_shape(reader.GetSize(), path)
        if path.suffix in (".nrrd", ".nhdr") and "NRRD_space" not in reader.GetMetaDataKeys():
            logger.warning("%s: the header states no space; left-posterior-superior assumed.", path)
        if reader.GetPixelID() == sitk.sitkFloat64:
            reader.SetOutputPixelType(sitk.sitkFloat32)
        image = reader.Execute()
    except RuntimeError as error:
        raise UserError(
            f"{path}: cannot be read ({_reason(error)}). It may be truncated, or its data file "
            "missing: copy or download it again."
        ) from error
    if image.GetDimension() > 3:
        image = image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image).transpose()
    geometry = Geometry(shape, checked_affine(_LPS_TO_RAS @ affine, path))
    return canonical_volume(finite_hu(array, path), geometry)


def _reason(error: RuntimeError) -> str:
    """The most specific line of ITK's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    nrrd = [line for line in lines if line.startswith("[nrrd]")]
    general = [line for line in lines if "ERROR:" in line]
    line = [*lines[-1:], *general[:1], *nrrd[-1:]][-1]
    return re.sub(r"^.*ERROR: (\w+\(0x\w+\): )?", "", line)
