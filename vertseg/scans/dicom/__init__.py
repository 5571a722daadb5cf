"""CT series in DICOM: in from a folder or a zip archive, segmentations out."""
