"""DICOM films for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

GREY = (np.add.outer(np.arange(90), np.arange(80)) * 20).astype(np.uint16)


def write_dicom(path: Path, pixels: np.ndarray = GREY, **tags: object) -> Path:
    """Write a film as DICOM with tags by their names; an uncalibrated DX unless they say more."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    storage = CTImageStorage if tags.get("Modality") == "CT" else ComputedRadiographyImageStorage
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = storage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality, data.PhotometricInterpretation, data.SamplesPerPixel = "DX", "MONOCHROME2", 1
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = pixels.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path
