"""Reading a scan from DICOM files.

Patient names and numbers are used to tell patients apart and are kept nowhere: not in a `Series`,
a note or an error.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spineseg.errors import DependencyError, InputError
from spineseg.io.dicom_geometry import arrange
from spineseg.progress import Progress
from spineseg.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Series", "Slice", "choose_series", "find_series", "is_dicom", "read_series"]

FEW_SLICES = 10
"""Fewer slices than this are taken for a localizer or a sample when a fuller series is there."""

_NEVER_HU = ("MR", "PT", "NM", "US")
"""Modalities whose values can't be Hounsfield units; others (cone-beam CT, say) may hold them."""

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription",
    "Modality", "ImageType", "PatientID", "IssuerOfPatientID", "PatientName", "Rows", "Columns",
    "SamplesPerPixel", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """One plane of a scan: a file, or one frame of it.

    Attributes
    ----------
    path : Path
        The file.
    frame : int
        Index of the frame in the file; 0 for a file of one image.
    uid : str
        SOP Instance UID.
    position, orientation, pixel_spacing : tuple of float
        Image Position and Orientation (Patient), LPS in mm, and Pixel Spacing (between rows,
        between columns), as in DICOM.
    """

    path: Path
    frame: int
    uid: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]


@dataclass(frozen=True)
class Series:
    """Slices of one series that have their size and orientation in common.

    Attributes
    ----------
    uid : str
        Series Instance UID.
    number, description, modality : str
        As the scanner wrote them; may be empty.
    slices : tuple of Slice
        In no order.
    localizer : bool
        Whether the scanner calls them a localizer (scout, topogram).
    patient : str
        A fingerprint that differs between patients and does not tell who they are.
    """

    uid: str
    number: str
    description: str
    modality: str
    slices: tuple[Slice, ...]
    localizer: bool
    patient: str = field(repr=False)

    @property
    def title(self) -> str:
        """What a user reads in a list of series."""
        name = f" “{self.description}”" if self.description else ""
        return (
            f"series {self.number or '?'}{name} ({self.modality or 'unknown kind'},"
            f" {len(self.slices)} slices, uid {self.uid})"
        )


def is_dicom(path: Path) -> bool:
    """Whether the file's first bytes are those of DICOM; also of old files without a preamble."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    # Without a preamble a file starts with group 0008 (or 0002), element 00xx, little endian.
    return head[128:] == b"DICM" or (
        len(head) == 132 and head[:2] in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\x00"
    )


def find_series(folder: Path | str, recursive: bool = True) -> list[Series]:
    """Return the image series in a folder, the fullest first.

    Files that are not DICOM, DICOM objects without planes in space (reports, screenshots,
    radiographs) and damaged headers are passed over.

    Raises
    ------
    DependencyError
        If pydicom is not installed.
    """
    folder = Path(folder)
    files = sorted(folder.rglob("*") if recursive else folder.glob("*"))
    return _group(file for file in files if file.is_file() and is_dicom(file))


def _group(files: Iterable[Path]) -> list[Series]:
    groups: dict[tuple[Any, ...], list[Slice]] = defaultdict(list)
    about: dict[tuple[Any, ...], Dataset] = {}
    for file in files:
        header = _header(file)
        if header is None:
            continue
        for plane in _planes(header, file):
            key = (
                _fingerprint(header), str(header.get("SeriesInstanceUID", "")),
                int(header.Rows), int(header.Columns), _is_localizer(header),
                tuple(round(value, 3) for value in plane.orientation),
                tuple(round(value, 4) for value in plane.pixel_spacing),
            )  # fmt: skip
            groups[key].append(plane)
            about.setdefault(key, header)
    found = [
        Series(
            uid=key[1],
            number=str(about[key].get("SeriesNumber", "") or ""),
            description=str(about[key].get("SeriesDescription", "") or "").strip(),
            modality=str(about[key].get("Modality", "") or ""),
            slices=tuple(planes),
            localizer=key[4],
            patient=key[0],
        )
        for key, planes in groups.items()
    ]
    return sorted(found, key=lambda series: (-len(series.slices), series.number, series.uid))


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise DependencyError(
            "Reading DICOM needs the package pydicom.", "Install it with: pip install pydicom"
        ) from error
    return pydicom


def _header(file: Path) -> Dataset | None:
    pydicom = _pydicom()
    try:
        # Values are not validated: pydicom's warnings would go to the user's terminal.
        with pydicom.config.disable_value_validation():
            header: Dataset = pydicom.dcmread(
                file, force=True, stop_before_pixels=True, specific_tags=_TAGS
            )
            usable = (
                "SeriesInstanceUID" in header
                and int(header.get("Rows") or 0) > 0
                and int(header.get("Columns") or 0) > 0
                and int(header.get("SamplesPerPixel") or 1) == 1
            )
    except Exception:  # noqa: BLE001  # pydicom raises nearly anything on a damaged header
        return None
    return header if usable else None


def _fingerprint(header: Dataset) -> str:
    who = str(header.get("PatientID", "") or "").strip()
    who = (
        f"{who}|{header.get('IssuerOfPatientID', '') or ''}"
        if who
        else str(header.get("PatientName", "") or "")
    )
    return hashlib.sha256(who.encode("utf-8", "replace")).hexdigest()[:12]


def _is_localizer(header: Dataset) -> bool:
    kind = header.get("ImageType") or ()
    return any(str(part).upper() in ("LOCALIZER", "SCOUT") for part in kind)


def _planes(header: Dataset, file: Path) -> Iterator[Slice]:
    """Yield the planes of a file, or nothing where it doesn't say where they are."""
    uid = str(header.get("SOPInstanceUID", file))
    try:
        frames = header.get("PerFrameFunctionalGroupsSequence")
        if not frames:
            if int(header.get("NumberOfFrames") or 1) == 1:
                yield _plane(file, 0, uid, header, header, header)
            return
        shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
        for index, frame in enumerate(frames):
            parts = [
                (frame.get(name) or shared[name])[0]
                for name in (
                    "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"
                )
            ]  # fmt: skip
            yield _plane(file, index, uid, *parts)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return


def _plane(file: Path, frame: int, uid: str, place: Any, lie: Any, measures: Any) -> Slice:
    numbers = [
        tuple(float(value) for value in values)
        for values in (
            place.ImagePositionPatient, lie.ImageOrientationPatient, measures.PixelSpacing
        )
    ]  # fmt: skip
    flat = [value for values in numbers for value in values]
    if [len(values) for values in numbers] != [3, 6, 2] or not np.isfinite(flat).all():
        raise ValueError("the plane is not placed")
    if min(numbers[2]) <= 0:
        raise ValueError("the pixels have no size")
    return Slice(file, frame, uid, *numbers)


def choose_series(
    found: list[Series], uid: str | None = None, notes: list[str] | None = None
) -> Series:
    """Return the series that is meant.

    With `uid`, the fullest stack of slices of that series. Without, the only series, or the only
    one that is not a localizer and has at least `FEW_SLICES` slices.

    Raises
    ------
    InputError
        If there is none, the choice is not clear, or the folder holds several patients.
    """
    if not found:
        raise InputError(
            "There is no DICOM scan made of slices here.",
            "Choose the folder with the .dcm files of one CT series.",
        )
    if uid is not None:
        found = [series for series in found if series.uid == uid]
        if not found:
            raise InputError(
                f"There is no series with the uid {uid} in this folder.",
                "Leave the uid out to get a list of the series.",
            )
    patients = len({series.patient for series in found})
    if patients > 1:
        raise InputError(
            f"This folder holds scans of {patients} patients.",
            "Put the scan of one patient into a folder of its own.",
        )
    full = [s for s in found if not s.localizer and len(s.slices) >= FEW_SLICES]
    candidates = full or [s for s in found if not s.localizer] or found
    if len(candidates) > 1:
        raise InputError(
            f"This folder holds {len(candidates)} series: "
            + "; ".join(series.title for series in candidates) + ".",
            "Choose one by its uid, or put it into a folder of its own.",
        )  # fmt: skip
    if notes is not None and len(found) > 1:
        notes.append(
            f"Of {len(found)} series in the folder, {candidates[0].title} was read; the others"
            f" are localizers or have fewer than {FEW_SLICES} slices."
        )
    return candidates[0]


def read_series(
    series: Series,
    notes: list[str] | None = None,
    progress: Progress | None = None,
    *,
    ct_only: bool = False,
) -> Volume:
    """Read a series into a volume: slices sorted along their normal, values rescaled.

    Parameters
    ----------
    series : Series
        From `find_series`.
    notes : list of str, optional
        Receives a sentence for each thing that a user should know (gantry tilt, resampling,
        copies, a modality other than CT).
    progress : Progress, optional
        Called after each slice.
    ct_only : bool
        Whether a series that calls itself MR, PET or the like is refused.

    Returns
    -------
    Volume
        Axes (k, j, i), k along the normal of the slices; int16 where the rescaled values (HU)
        are whole and fit, else int32 or float32. RAS, mm.

    Raises
    ------
    InputError
        If it is no CT where one is needed, it is one slice, or slices are missing, doubled or
        damaged, or lie at no grid.
    DependencyError
        If the pixels are compressed in a way that no installed package reads.
    """
    from spineseg.io.dicom_geometry import straightened
    from spineseg.io.dicom_pixels import read_pixels

    notes = [] if notes is None else notes
    progress = Progress() if progress is None else progress
    slices = _without_copies(series.slices, notes)
    if len(slices) < 2:
        raise InputError(
            "This DICOM series is a single slice.",
            "Choose a series of many slices, not a localizer or a radiograph.",
        )
    if ct_only and series.modality in _NEVER_HU:
        raise InputError(
            f"The series is {series.modality}, not CT.", "Choose a CT series, in Hounsfield units."
        )
    if series.modality and series.modality != "CT":
        notes.append(f"The series is {series.modality}, not CT.")
    grid = arrange(
        np.array([plane.position for plane in slices]),
        np.array(slices[0].orientation),
        np.array(slices[0].pixel_spacing),
    )
    array = read_pixels([slices[index] for index in grid.order], series.modality, progress)
    # Air for CT; for other modalities the darkest value.
    fill = max(-1024.0, float(array.min())) if series.modality == "CT" else float(array.min())
    array, affine, told = straightened(array, grid, fill)
    notes.extend(told)
    return Volume(array, affine)


def _without_copies(slices: tuple[Slice, ...], notes: list[str]) -> list[Slice]:
    """Drop copies of the same image, as when a folder was exported twice."""
    unique = {(plane.uid, plane.frame): plane for plane in slices}
    if len(unique) < len(slices):
        notes.append(f"{len(slices) - len(unique)} files are copies of others and were ignored.")
    return list(unique.values())
