"""Reading a scan from any of the usual files, and writing volumes.

The kind of a file is told from its first bytes, not from its name.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.errors import InputError, MemoryLimitError
from spineseg.io.nifti import is_nifti, read_nifti, write_nifti
from spineseg.io.quiet import quiet_stderr
from spineseg.progress import Progress
from spineseg.volume import Grid, Volume

__all__ = ["WRITABLE", "read_volume", "write_itk", "write_volume"]

_READABLE = "Use NIfTI (.nii.gz), NRRD, MetaImage (.mha) or a folder of DICOM files."
_PICTURES = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "bitmap",
    b"II*\x00": "TIFF", b"MM\x00*": "TIFF", b"%PDF": "PDF",
}  # fmt: skip
WRITABLE = (".nii", ".nii.gz", ".nrrd", ".mha")
"""Endings of the files that `write_volume` writes."""
_SQUARE = 1e-3
"""Cosine between axes up to which they count as perpendicular (0.06 degrees)."""


def read_volume(
    path: Path | str,
    notes: list[str] | None = None,
    series: str | None = None,
    progress: Progress | None = None,
    *,
    ct_only: bool = False,
) -> Volume:
    """Read a scan.

    Parameters
    ----------
    path : Path or str
        A NIfTI, NRRD or MetaImage file, a folder with DICOM files (searched to the bottom), or
        one DICOM file: then its whole series is read from the file's folder.
    notes : list of str, optional
        Receives a sentence for each thing that was chosen, repaired or resampled on reading.
    series : str, optional
        Series Instance UID to take from a DICOM folder.
    progress : Progress, optional
        Called while DICOM slices are read.
    ct_only : bool
        Whether a DICOM series that calls itself MR, PET or the like is refused; else it is noted.

    Returns
    -------
    Volume
        Axes (k, j, i), RAS mm, native byte order, integers as stored or float32; no NaN.

    Raises
    ------
    InputError
        If there is no file, or it is empty, damaged, 4-D, of one slice, without a valid place in
        space, or no scan at all; each in one sentence with a remedy.
    DependencyError
        If a package that the file needs is not installed.
    MemoryLimitError
        If the scan does not fit into memory.
    """
    path = Path(path)
    notes = [] if notes is None else notes
    progress = Progress() if progress is None else progress
    try:
        if not path.exists():
            raise InputError(f"There is no file or folder {path}.", "Check the path.")
        volume = _read_any(path, notes, series, progress, ct_only)
    except OSError as error:
        raise InputError(
            f"{path.name} can't be read ({error.strerror or 'input or output failed'}).",
            "Check that the disk is there and that you may read it.",
            str(error),
        ) from error
    except MemoryError as error:
        raise MemoryLimitError(
            f"{path.name} needs more memory than there is.", "Crop it to the spine first."
        ) from error
    if min(volume.shape) < 2:
        raise InputError(f"{path.name} is a single slice.", "Choose a volume of many slices.")
    return _straight(_without_nan(volume, path, notes), notes)


def _read_any(
    path: Path, notes: list[str], series: str | None, progress: Progress, ct_only: bool
) -> Volume:
    # Imported here: a NIfTI file needs no pydicom.
    from spineseg.io.dicom import choose_series, find_series, is_dicom, read_series

    if path.is_dir():
        chosen = choose_series(find_series(path), series, notes)
        return read_series(chosen, notes, progress, ct_only=ct_only)
    if not path.is_file():
        raise InputError(f"{path.name} is neither a file nor a folder.", _READABLE)
    head = _head(path)
    if not head:
        raise InputError(f"{path.name} is empty.", "Copy or download it again.")
    if is_nifti(head):
        return read_nifti(path, notes)
    if is_dicom(path):
        return _read_series_of(path, notes, progress, ct_only)
    if head.startswith(b"NRRD") or _is_metaimage(head):
        if _is_metaimage(head) and _NOT_FINITE.search(head):
            raise InputError(
                f"The position and voxel size in {path.name} are not all finite numbers.",
                "The file's header is damaged; export the image again from its source.",
            )
        return _read_itk(path)
    for start, kind in _PICTURES.items():
        if head.startswith(start):
            raise InputError(
                f"{path.name} is a {kind} picture, not a CT scan, which is a stack of slices with"
                " Hounsfield units.",
                _READABLE,
            )
    if path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(
            f"{path.name} is damaged or cut off, or not NIfTI at all.",
            "Copy or download it again.",
        )
    raise InputError(f"{path.name} is not an image that can be read here.", _READABLE)


def _head(path: Path) -> bytes:
    """Return the first bytes, unpacked if the file is gzipped; empty if nothing is in it."""
    with path.open("rb") as file:
        head = file.read(1024)
    if head[:2] != b"\x1f\x8b":
        return head
    try:
        with gzip.open(path) as unpacked:
            return unpacked.read(1024)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path.name} is damaged or cut off.", "Copy or download it again.", str(error)
        ) from error


# ITK reads "nan" in a MetaImage's header as 0.
_NOT_FINITE = re.compile(
    rb"^(Offset|Position|Origin|TransformMatrix|Rotation|Orientation|ElementSpacing)\s*="
    rb".*\b(nan|inf)",
    re.IGNORECASE | re.MULTILINE,
)


def _is_metaimage(head: bytes) -> bool:
    return head.split(b"=")[0].strip() in (b"ObjectType", b"NDims", b"Comment")


def _read_series_of(path: Path, notes: list[str], progress: Progress, ct_only: bool) -> Volume:
    """Read the series that a DICOM file belongs to, from the file's own folder."""
    from spineseg.io.dicom import choose_series, find_series, read_series

    found = find_series(path.parent, recursive=False)
    mine = [s for s in found if any(plane.path == path for plane in s.slices)]
    if not mine:
        raise InputError(
            f"{path.name} is a DICOM file, but not a slice of a scan (a radiograph, a screenshot"
            " or a report), or it is damaged.",
            "Choose the folder with the slices of a CT series.",
        )
    chosen = choose_series(mine, None, notes)
    if len(chosen.slices) > 1:
        notes.append(f"All {len(chosen.slices)} slices of the series of {path.name} were read.")
    return read_series(chosen, notes, progress, ct_only=ct_only)


def _read_itk(path: Path) -> Volume:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_stderr():
            reader.ReadImageInformation()
            sizes = list(reader.GetSize())
            while len(sizes) > 3 and sizes[-1] == 1:
                sizes.pop()
            if len(sizes) > 3:
                raise InputError(
                    f"The image has {len(sizes)} dimensions ({' × '.join(map(str, sizes))}), but"
                    " one 3-D volume is needed.",
                    "Export a single time point or channel as a 3-D image.",
                )
            if len(sizes) == 3 and reader.GetDimension() > 3:
                reader.SetExtractSize([*sizes, *[0] * (reader.GetDimension() - 3)])
            image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"{path.name} is damaged or cut off.", "Copy or download it again.", str(error)
        ) from error
    volume = Volume.from_sitk(image)
    if volume.dtype.itemsize == 8 and volume.dtype.kind == "f":
        return volume.astype(np.float32)
    return volume


def _without_nan(volume: Volume, path: Path, notes: list[str]) -> Volume:
    """Return the volume with voxels that are no numbers set to its lowest value."""
    if volume.dtype.kind != "f":
        return volume
    finite = np.isfinite(volume.array)
    if finite.all():
        return volume
    if not finite.any():
        raise InputError(
            f"{path.name} holds no numbers, only NaN.", "Export it again from its source."
        )
    lowest = volume.array.min(where=finite, initial=np.inf)
    notes.append(f"{int((~finite).sum())} voxels were NaN or infinite and were set to {lowest:g}.")
    return volume.like(np.where(finite, volume.array, lowest).astype(volume.dtype))


def _straight(volume: Volume, notes: list[str]) -> Volume:
    """Resample a sheared volume onto perpendicular axes; most formats and Slicer need them."""
    if _skew(volume) <= _SQUARE:
        return volume
    notes.append(
        "The file's axes are not perpendicular; the image was resampled onto perpendicular ones."
    )
    # The nearest rotation to the directions (polar decomposition), and a box around it all.
    left, _, right = np.linalg.svd(volume.grid.directions)
    axes = left @ right * np.array(volume.spacing)
    # Voxel corners lie half a voxel out; centres from -0.5 + 0.5 on.
    corners = np.linalg.solve(axes, volume.grid.corners().T).T
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.ceil(high - low - 1e-6).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = axes @ (low + 0.5)
    grid = Grid((int(size[2]), int(size[1]), int(size[0])), affine)
    return volume.resampled_like(grid, order=1, fill=float(volume.array.min()))


def write_volume(volume: Volume, path: Path | str) -> None:
    """Write a volume as .nii.gz, .nii, .nrrd or .mha; all but .nii compressed.

    The file appears whole or not at all.

    Raises
    ------
    InputError
        If the format is unknown, the axes are not perpendicular (no such file would be read
        alike everywhere), the disk is full or the folder can't be written.
    """
    from spineseg.atomic import atomic_path

    path = Path(path)
    if not path.name.lower().endswith(WRITABLE):
        raise InputError(
            f"{path.name} is of no format that can be written.",
            f"Use one of {', '.join(WRITABLE)}.",
        )
    if _skew(volume) > _SQUARE:
        raise InputError(
            "An image whose axes are not perpendicular can't be written.",
            "Resample it onto a straight grid first.",
        )
    with atomic_path(path) as part:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            with part.open("wb") as file:
                write_nifti(volume, file, packed=path.suffix.lower() == ".gz")
        else:
            write_itk(volume.to_sitk(), part, path.name)


def _skew(volume: Volume) -> float:
    """Return the largest cosine between two of the axes."""
    directions = volume.grid.directions
    return float(np.abs(directions.T @ directions - np.eye(3)).max())


def write_itk(image: sitk.Image, part: Path, name: str) -> None:
    """Write a compressed NRRD or MetaImage to `part`; errors call it `name`.

    Raises
    ------
    InputError
        If the disk refuses.
    """
    try:
        with quiet_stderr():
            sitk.WriteImage(image, str(part), True)
    except RuntimeError as error:
        raise InputError(
            f"{name} could not be written to its folder.",
            "Free some space on the disk or choose another folder.",
            str(error),
        ) from error
