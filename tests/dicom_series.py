"""Writes DICOM series of small volumes, as scanners do, for tests."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PLANES = {"axial": "LPS", "sagittal": "PIR", "coronal": "LIP"}
"""Directions of columns, rows and slices; slices follow the plane's normal."""

Edit = Callable[[Dataset, int], None]


def ct_slices(
    array: np.ndarray, affine: np.ndarray, plane: str = "axial", edit: Edit | None = None
) -> list[Dataset]:
    """A CT series.

    Args:
        array: HU (x, y, z), integers.
        affine: (4, 4) voxel to RAS+ mm.
        plane: a key of `PLANES`.
        edit: changes a slice's data set, given with its number from 0.
    """
    to_plane = ornt_transform(io_orientation(affine), axcodes2ornt(PLANES[plane]))
    image = nib.Nifti1Image(array, affine).as_reoriented(to_plane)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    axes = lps[:3, :3] / spacing
    study, series, frame_of_reference = (generate_uid() for _ in range(3))
    slices = []
    for index in range(array.shape[int(to_plane[:, 0].tolist().index(2))]):
        slices.append(
            _slice(
                np.asarray(image.dataobj)[:, :, index].T,
                position=lps[:3] @ [0, 0, index, 1],
                axes=axes[:, :2].T,
                spacing=spacing,
                number=index + 1,
                uids=(study, series, frame_of_reference),
            )
        )
        if edit is not None:
            edit(slices[-1], index)
    return slices


def save_slices(folder: Path, slices: list[Dataset], shuffled: bool = True) -> Path:
    """Write slices below a folder, under names that do not tell their order."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0).permutation(len(slices)) if shuffled else range(len(slices))
    for number, dataset in zip(numbers, slices, strict=True):
        dataset.save_as(folder / f"IM{number:04d}.dcm", enforce_file_format=True)
    return folder


def _slice(
    hu: np.ndarray,
    position: np.ndarray,
    axes: np.ndarray,
    spacing: np.ndarray,
    number: int,
    uids: tuple[str, str, str],
) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = uids
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName = "Phantom^Test"
    dataset.PatientID = "phantom"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyDate, dataset.StudyTime = "20200101", "120000"
    dataset.StudyID = dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.Manufacturer = "none"
    dataset.SeriesNumber, dataset.InstanceNumber = 3, number
    dataset.SeriesDescription = "spine"
    dataset.PositionReferenceIndicator = ""
    dataset.ImagePositionPatient = [round(float(value), 6) for value in position]
    dataset.ImageOrientationPatient = [round(float(value), 8) for value in axes.ravel()]
    dataset.PixelSpacing = [round(float(spacing[1]), 6), round(float(spacing[0]), 6)]
    dataset.SliceThickness = round(float(spacing[2]), 6)
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.RescaleType = "HU"
    dataset.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    return dataset


def compress_with_itk(slices: list[Dataset], compressor: str, folder: Path) -> None:
    """Compress slices without loss as ITK does: "JPEG" (lossless, process 14) or "JPEG2000"."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.SetFileName(str(folder / "compressed.dcm"))
    for dataset in slices:
        hu = dataset.pixel_array.astype(np.int16) + np.int16(dataset.RescaleIntercept)
        writer.Execute(sitk.GetImageFromArray(hu[None]))
        written = dcmread(folder / "compressed.dcm")
        dataset.file_meta.TransferSyntaxUID = written.file_meta.TransferSyntaxUID
        for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
            dataset[keyword] = written[keyword]
        dataset.RescaleSlope, dataset.RescaleIntercept = (
            written.RescaleSlope,
            written.RescaleIntercept,
        )
        dataset.PixelData = written.PixelData
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    (folder / "compressed.dcm").unlink()
