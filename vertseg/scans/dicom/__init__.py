"""CT series in DICOM: reading of folders and zip archives, writing of segmentations."""
