"""DICOM series of a few slices, written by pydicom."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

AXIAL = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])  # columns i, j, k in LPS
SHAPE = (12, 10, 8)
SPACING = (0.7, 0.8, 2.5)
ORIGIN = np.array([-30.0, -40.0, -500.0])


def turned(*angles):
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


def values(shape=SHAPE):
    """HU that differ in every voxel."""
    return (np.arange(np.prod(shape)) % 3000 - 1000).reshape(shape).astype(np.int16)


class Maker:
    """Writes series into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def series(
        self, hu=None, axes=AXIAL, places=None, uid=None, patient="p1", folder=".", skip=(), **tags
    ):
        """Write one file a slice, named at random, and return the series' uid."""
        hu = values() if hu is None else hu
        uid = uid or generate_uid()
        if places is None:
            places = [ORIGIN + axes[:, 2] * SPACING[2] * k for k in range(len(hu))]
        where = self.folder / folder
        where.mkdir(parents=True, exist_ok=True)
        for k in np.random.default_rng(self.count).permutation(len(hu)):
            if k in skip:
                continue
            dataset = self.dataset(hu[k], axes, places[k], uid, patient, int(k))
            for name, value in tags.items():
                setattr(dataset, name, value)
            self.save(dataset, where)
        return uid

    def save(self, dataset, where):
        self.count += 1
        path = where / f"IM{self.count:04d}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.save_as(path, enforce_file_format=True)
        return path

    def dataset(self, hu, axes, place, series, patient, number):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.SeriesInstanceUID = series
        ds.PatientID, ds.PatientName = patient, f"Secret^{patient}"
        ds.Modality, ds.SeriesNumber, ds.SeriesDescription = "CT", 3, "Bone 1.0"
        ds.InstanceNumber = 99 - number  # misleads whoever sorts by it
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient = [float(f"{v:.6f}") for v in place]
        ds.ImageOrientationPatient = [float(f"{v:.9f}") for v in (*axes[:, 0], *axes[:, 1])]
        ds.PixelSpacing = [SPACING[1], SPACING[0]]
        ds.Rows, ds.Columns = hu.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
        return ds


def expected_affine(axes=AXIAL, origin=ORIGIN, spacing=SPACING):
    lps = np.eye(4)
    lps[:3, :3] = axes * spacing
    lps[:3, 3] = origin
    return np.diag([-1, -1, 1, 1]) @ lps
