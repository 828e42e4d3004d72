"""Made-up data sets in each published layout: three balls on a line stand for vertebrae."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from spineseg.io.images import write_volume
from spineseg.labels import by_verse
from spineseg.volume import Grid, Volume

PITCH_MM, RADIUS_MM = 30.0, 11.0
BONE_HU = 700


def grid(
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.5), codes: str = "LPS", count: int = 3
) -> Grid:
    """A grid round `count` balls, its axes along `codes`; its origin is not at zero."""
    size = np.array([50.0, 54.0, count * PITCH_MM + 12.0])
    axis_of = [next(n for n, pair in enumerate(("LR", "PA", "IS")) if c in pair) for c in codes]
    sign = [1.0 if c in "RAS" else -1.0 for c in codes]
    shape = [int(np.ceil(size[world] / s)) for world, s in zip(axis_of, spacing, strict=True)]
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for n, (world, s) in enumerate(zip(axis_of, spacing, strict=True)):
        affine[world, n] = sign[n] * s
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] = np.array([12.0, -31.0, 240.0]) - middle
    return Grid((shape[2], shape[1], shape[0]), affine)


def centres(place: Grid, count: int = 3) -> np.ndarray:
    """RAS mm of the balls' centres, from the top."""
    down = (np.arange(count) - (count - 1) / 2) * PITCH_MM
    return place.center - np.stack([np.zeros(count), np.zeros(count), down], axis=1)


def balls(place: Grid, labels: tuple[int, ...], radius: float = RADIUS_MM) -> Volume:
    """A label map: balls from the top with these labels; 0 leaves one out."""
    k, j, i = np.indices(place.shape)
    points = place.ijk_to_ras(np.stack([i, j, k], axis=-1).reshape(-1, 3))
    array = np.zeros(len(points), dtype=np.uint16)
    for label, centre in zip(labels, centres(place, len(labels)), strict=True):
        array[np.linalg.norm(points - centre, axis=1) <= radius] = label
    return Volume(array.reshape(place.shape), place.affine)


def scan_of(labels: Volume) -> Volume:
    """A CT of the labels."""
    return labels.like(np.where(labels.array > 0, BONE_HU, 20).astype(np.int16))


def small(labels: Volume) -> Volume:
    return labels.like(labels.array.astype(np.uint8))


def verse_subjects(folder: Path, ids: tuple[int, ...] = (20, 21, 22)) -> Grid:
    """VerSe, subject-based: the centroids in voxels of an orientation of their own."""
    place = grid()
    truth = balls(place, ids)
    raw = folder / "dataset-01training" / "rawdata" / "sub-verse500"
    made = folder / "dataset-01training" / "derivatives" / "sub-verse500"
    write_volume(scan_of(truth), raw / "sub-verse500_dir-sag_ct.nii.gz")
    write_volume(small(truth), made / "sub-verse500_dir-sag_seg-vert_msk.nii.gz")
    turned = truth.reoriented("PIR")
    points = turned.ras_to_ijk(centres(place, len(ids)))
    entries = [{"direction": ["P", "I", "R"]}]
    entries += [
        {"label": n, "X": x, "Y": y, "Z": z} for n, (x, y, z) in zip(ids, points, strict=True)
    ]
    path = made / "sub-verse500_dir-sag_seg-subreg_ctd.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return place


def verse_challenge(folder: Path, year: int, ids: tuple[int, ...] = (20, 21, 22)) -> Grid:
    """VerSe, the challenges' own: millimetres from a corner, without a direction."""
    place = grid()
    truth = balls(place, ids)
    stem = "verse014" if year == 2019 else "verse512_CT-sag"
    write_volume(scan_of(truth), folder / f"{stem}.nii.gz")
    write_volume(small(truth), folder / f"{stem}_seg.nii.gz")
    size = np.array(place.shape[::-1]) * place.spacing
    from_centre = centres(place, len(ids)) - place.center
    left, back = -from_centre[:, 0], -from_centre[:, 1]
    down = -from_centre[:, 2]
    # The corner of the scan's box in each direction, then the middle of the first 1 mm voxel.
    away = {"left": left + size[0] / 2, "back": back + size[1] / 2, "down": down + size[2] / 2,
            "right": -left + size[0] / 2}  # fmt: skip
    order = ("down", "back", "left") if year == 2019 else ("back", "down", "right")
    rows = zip(ids, *(away[name] - 0.5 for name in order), strict=True)
    entries = [{"label": n, "X": x, "Y": y, "Z": z} for n, x, y, z in rows]
    ending = "_ctd.json" if year == 2019 else "_iso-ctd.json"
    (folder / f"{stem}{ending}").write_text(json.dumps(entries), encoding="utf-8")
    return place


def csi2014(folder: Path) -> Grid:
    """MICCAI CSI 2014: MetaImage, labels that are hundreds."""
    place = grid()
    truth = balls(place, (300, 200, 100))
    folder.mkdir(parents=True, exist_ok=True)
    for volume, name in ((scan_of(truth), "case1.mhd"), (truth, "case1_label.mhd")):
        sitk.WriteImage(volume.to_sitk(), str(folder / name))  # with case1.raw
    return place


def glocker(folder: Path, ids: tuple[int, ...] = (20, 21, 22)) -> Grid:
    """302 pathological CTs: centroids as mm along the image's axes."""
    place = grid()
    where = folder / "patient0013" / "4511471"
    write_volume(scan_of(balls(place, ids)), where / "4511471.nii.gz")
    points = place.ras_to_ijk(centres(place, len(ids))) * place.spacing
    lines = ["Landmark labels file"]
    for n, (label, (x, y, z)) in enumerate(zip(ids, points, strict=True)):
        lines.append(f"{n}\t{by_verse(label).name}_center\t{x:.4f}\t{y:.4f}\t{z:.4f}")
    lines.append("3\tS1_center\t1.0\t1.0\t1.0")
    (where / "4511471.lml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def plain(folder: Path, pattern: str, ids: tuple[int, ...] = (20, 21, 22)) -> Grid:
    """Pairs of files; `pattern` is ct, seg or folders."""
    place = grid()
    truth = balls(place, ids)
    scan, labels = {
        "ct": ("anna_ct.nii.gz", "anna_vertebrae.nii.gz"),
        "seg": ("anna.nii.gz", "anna_seg.nii.gz"),
        "folders": ("images/anna_0000.nii.gz", "labels/anna.nii.gz"),
    }[pattern]
    write_volume(scan_of(truth), folder / scan)
    write_volume(small(truth), folder / labels)
    return place


def dicom_slices(scan: Volume, folder: Path) -> None:
    """Write a scan (LPS) as DICOM files, numbered from the top."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True)
    image, series = scan.to_sitk(), generate_uid()
    lie = np.array(image.GetDirection()).reshape(3, 3)
    for k, plane in enumerate(scan.array):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.SeriesInstanceUID, ds.PatientID, ds.Modality = series, "p", "CT"
        place = image.TransformIndexToPhysicalPoint((0, 0, k))
        ds.ImagePositionPatient = [float(f"{v:.6f}") for v in place]
        ds.ImageOrientationPatient = [float(v) for v in (*lie[:, 0], *lie[:, 1])]
        ds.PixelSpacing = [scan.spacing[1], scan.spacing[0]]
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.PixelData = (plane.astype(np.int32) + 1024).astype("<u2").tobytes()
        ds.save_as(folder / f"slice{len(scan.array) - k}.dcm", enforce_file_format=True)
