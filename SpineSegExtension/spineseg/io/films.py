"""Reading radiographs: DICOM (CR, DX, DR and the like), PNG, JPEG, TIFF and bitmaps.

The kind of a file is told from its first bytes, not from its name. A film keeps the values that
are stored, in one channel, with bone bright: DICOM's MONOCHROME1 is turned over on reading.

Positions on a film are (x, y) in pixels: x to the right and y down the picture, (0, 0) the middle
of the first pixel. "Left" and "right" without a further word are those of the picture. Which side
of the patient that is, only DICOM's Patient Orientation tells: in the usual display the patient's
right is on the left of the picture (as if facing the reader); many spine surgeons hang films the
other way round, as seen from behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from spineseg.errors import InputError
from spineseg.io.quiet import quiet_stderr

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["ENDINGS", "Film", "film_from_array", "find_films", "is_film", "read_film"]

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom")
"""Endings of what `find_films` takes from a folder; DICOM files without an ending too."""

_READABLE = "Use a DICOM radiograph, a PNG or a JPEG."
_PICTURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"BM": "bitmap",
             b"II*\x00": "TIFF", b"MM\x00*": "TIFF"}  # fmt: skip
_NO_FILM = {"CT": "a CT", "MR": "an MR", "PT": "a PET scan", "NM": "a scintigram",
            "US": "an ultrasound picture", "MG": "a mammogram"}  # fmt: skip
_VIEWS = {"AP": "ap", "PA": "ap", "LL": "lateral", "RL": "lateral", "LATERAL": "lateral"}
_SMALLEST = 64  # pixels; a thumbnail or an icon shows no endplates
_COLOURED = 0.12  # of the range between channels: more than a scanner's tint or JPEG's noise
_MOSTLY = 0.02  # share of coloured pixels that is more than arrows and writing


@dataclass(frozen=True, eq=False)
class Film:
    """A radiograph.

    Attributes
    ----------
    array : (rows, columns) ndarray
        Grey values as stored (uint8, uint16, int32 or float32), bone bright.
    spacing_mm : (float, float) or None
        Between rows and between columns (as DICOM's Pixel Spacing), mm; None where unknown.
    magnified : bool
        Whether the spacing is that at the detector, so that lengths on the patient are smaller
        (usually by 5–20 %). Angles do not depend on it.
    pixel_aspect : float
        Height of a pixel divided by its width; angles need it even where no spacing is known.
    view : {"ap", "lateral"} or None
        From the file's header: "ap" for AP and PA; None where it does not say.
    left_is : {"R", "L", "A", "P"} or None
        The patient's side at the left edge of the picture, where the file says so.
    name : str
        File name.
    notes : tuple of str
        A sentence for each thing that was chosen, assumed or changed on reading.
    """

    array: NDArray[Any]
    spacing_mm: tuple[float, float] | None = None
    magnified: bool = False
    pixel_aspect: float = 1.0
    view: str | None = None
    left_is: str | None = None
    name: str = "film"
    notes: tuple[str, ...] = ()

    @property
    def height_px(self) -> int:
        """Number of rows."""
        return int(self.array.shape[0])

    @property
    def width_px(self) -> int:
        """Number of columns."""
        return int(self.array.shape[1])


def is_film(path: Path) -> bool:
    """Whether a file's first bytes are those of a picture or of a DICOM file."""
    from spineseg.io.dicom import is_dicom

    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return False
    return any(head.startswith(start) for start in _PICTURES) or is_dicom(path)


def find_films(folder: Path) -> list[Path]:
    """Return the files of a folder that may be films, by name; folders below are not searched.

    A file with the ending of a film counts whatever is in it, so that a damaged one is reported.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return [p for p in files if p.suffix.lower() in ENDINGS or (not p.suffix and is_film(p))]


def read_film(path: Path | str) -> Film:
    """Read one radiograph.

    Raises
    ------
    InputError
        There is no file, or it is empty, damaged, no picture, a colour photograph, tiny, or a
        scan (CT, MR …) and no film; each in one sentence with a remedy.
    DependencyError
        A package that the file's compression needs is not installed.
    """
    from spineseg.io.dicom import is_dicom

    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file {path}.", "Check the path.")
    if not path.is_file():
        raise InputError(f"{path.name} is a folder, not a film.", "Name one file.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(
            f"{path.name} can't be read.", "Check that you may read it.", str(error)
        ) from error
    if not head:
        raise InputError(f"{path.name} is empty.", "Copy or download it again.")
    if is_dicom(path):
        film = _read_dicom(path)
    elif any(head.startswith(start) for start in _PICTURES):
        film = _read_picture(path)
    elif _is_volume(path, head):
        raise InputError(f"{path.name} is a 3-D scan or label map, not a film.", _READABLE)
    else:
        raise InputError(f"{path.name} is not a picture that can be read here.", _READABLE)
    _check(film)
    return film


def film_from_array(
    values: NDArray[Any],
    name: str = "film",
    *,
    spacing_mm: tuple[float, float] | None = None,
    pixel_aspect: float = 1.0,
    modality: str = "",
    dark_bone: bool = False,
    notes: Sequence[str] = (),
) -> Film:
    """Return the film of pixels that are in memory already.

    Parameters
    ----------
    values : (rows, columns) or (rows, columns, channels) ndarray
    name, spacing_mm, pixel_aspect, notes
        As in `Film`.
    modality : str
        DICOM's, where it is known.
    dark_bone : bool
        Whether the values have to be turned over.

    Raises
    ------
    InputError
        The pixels are a photograph in colour, a thumbnail, all alike, or of another modality.
    """
    said = list(notes)
    _refuse_modality(modality, name)
    grey = _grey(values, name, said)
    if dark_bone:
        top, bottom = (np.float64(v) for v in (grey.max(), grey.min()))
        grey = (top + bottom - grey).astype(grey.dtype)
        said.append("The film is stored with bone dark; it was turned over.")
    if grey.dtype.kind in "iu" and grey.dtype != np.uint8:
        fits = grey.min() >= 0 and grey.max() < 2**16
        grey = grey.astype(np.uint16 if fits else np.int32)
    elif grey.dtype.kind == "f":
        grey = grey.astype(np.float32)
    film = Film(grey, spacing_mm, pixel_aspect=pixel_aspect, name=name, notes=tuple(said))
    _check(film)
    return film


def _is_volume(path: Path, head: bytes) -> bool:
    from spineseg.io.nifti import is_nifti

    ending = path.name.lower().endswith((".nii", ".nii.gz", ".mha", ".mhd"))
    return ending or is_nifti(head) or head.startswith(b"NRRD")


def _check(film: Film) -> None:
    values = film.array
    if min(values.shape) < _SMALLEST:
        raise InputError(
            f"{film.name} has only {film.width_px} × {film.height_px} pixels.",
            "Use the film in its own size, not a thumbnail.",
        )
    if not np.isfinite(values).all() or values.min() == values.max():
        raise InputError(
            f"{film.name} shows nothing: all its pixels are alike, or not finite.",
            "Export the film again.",
        )


def _read_picture(path: Path) -> Film:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_stderr():
            image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"{path.name} is damaged or cut off.", "Copy or download it again.", str(error)
        ) from error
    array = sitk.GetArrayFromImage(image)
    if image.GetDimension() == 3:
        if array.shape[0] > 1:
            raise InputError(
                f"{path.name} holds {array.shape[0]} pictures.", "Export the film as one picture."
            )
        array = array[0]
    notes = ["The file does not say how large a pixel is, so lengths stay in pixels."]
    grey = _grey(array, path.name, notes)
    return Film(grey, name=path.name, notes=tuple(notes))


def _grey(array: NDArray[Any], name: str, notes: list[str]) -> NDArray[Any]:
    """Return one channel of a picture; refuse a photograph in colour."""
    if array.ndim == 2:
        return np.ascontiguousarray(array)
    if array.shape[2] in (2, 4):  # the last one is how opaque a pixel is
        array = array[..., :-1]
    if array.shape[2] == 1:
        return np.ascontiguousarray(array[..., 0])
    full = max(float(array.max()), 1.0)  # not the type's: DICOM's rescaling widens it
    spread = (array.max(axis=2).astype(np.float32) - array.min(axis=2)) / full
    if (spread > _COLOURED).mean() > _MOSTLY:
        raise InputError(
            f"{name} is a picture in colour, not a radiograph.",
            "Choose the film itself; a tinted scan of a film has to be saved in grey first.",
        )
    if (spread > _COLOURED).any():
        notes.append("The picture has coloured marks; it was turned into grey.")
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
    return np.ascontiguousarray(np.rint(array[..., :3] @ weights).astype(array.dtype))


def _read_dicom(path: Path) -> Film:
    import pydicom

    from spineseg.io.dicom_pixels import decoded

    try:
        with pydicom.config.disable_value_validation():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        _refuse_others(header, path.name)
    except InputError:
        raise
    except Exception as error:  # pydicom raises nearly anything on a damaged file
        raise InputError(
            f"The DICOM file {path.name} is damaged or cut off.", "Export it again.", str(error)
        ) from error
    frames = decoded(path, str(header.get("Modality", "")))
    notes: list[str] = []
    if frames.ndim == 4 or (frames.ndim == 3 and frames.shape[-1] in (3, 4)):
        values = _grey(frames[0] if frames.ndim == 4 else frames, path.name, notes)
    else:
        values = frames[0] if frames.ndim == 3 else frames
    if values.dtype.kind == "i" and values.min() >= 0 and values.max() < 2**16:
        values = values.astype(np.uint16)
    if str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1":
        notes.append("The film is stored with bone dark; it was turned over.")
    spacing, magnified = _spacing(header, notes)
    aspect = spacing[0] / spacing[1] if spacing else _aspect(header)
    view = _VIEWS.get(str(header.get("ViewPosition", "")).strip().upper())
    return Film(
        array=values,
        spacing_mm=spacing,
        magnified=magnified,
        pixel_aspect=aspect,
        view=view,
        left_is=_left_is(header),
        name=path.name,
        notes=tuple(notes),
    )


def _refuse_others(header: Dataset, name: str) -> None:
    """Raise InputError for a DICOM file that is no film."""
    _refuse_modality(str(header.get("Modality", "")), name)
    if not header.get("Rows") or not header.get("Columns"):
        raise InputError(f"{name} is a DICOM file without a picture.", _READABLE)
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise InputError(
            f"{name} holds {header.NumberOfFrames} pictures, so it is no single film.",
            "Export the one that shows the spine.",
        )


def _refuse_modality(modality: str, name: str) -> None:
    kind = _NO_FILM.get(modality.strip().upper())
    if kind is not None:
        raise InputError(
            f"{name} is {kind}, not a radiograph.",
            "Choose a film (CR, DX); of a CT, segment the vertebrae first and give that result.",
        )


def _pair(header: Dataset, keyword: str) -> tuple[float, float] | None:
    values = header.get(keyword)
    try:
        row, column = float(values[0]), float(values[1])
    except (TypeError, ValueError, IndexError):
        return None
    good = np.isfinite([row, column]).all() and min(row, column) > 0
    return (row, column) if good else None


def _spacing(header: Dataset, notes: list[str]) -> tuple[tuple[float, float] | None, bool]:
    """Return the spacing (between rows, between columns), and whether it is the detector's.

    DICOM PS3.3, 10.7.1: Imager Pixel Spacing is at the detector. Pixel Spacing that equals it is
    so too; one that differs, or that names its calibration, is corrected for the patient's place.
    """
    pixel, imager = _pair(header, "PixelSpacing"), _pair(header, "ImagerPixelSpacing")
    calibrated = str(header.get("PixelSpacingCalibrationType", "")).strip()
    if pixel and (calibrated or (imager and not np.allclose(pixel, imager, rtol=1e-3))):
        notes.append("Pixel Spacing is calibrated: lengths are those on the patient.")
        return pixel, False
    found = imager or pixel or _pair(header, "NominalScannedPixelSpacing")
    if found is None:
        notes.append("The file does not say how large a pixel is, so lengths stay in pixels.")
        return None, False
    factor = _number(header, "EstimatedRadiographicMagnificationFactor")
    if imager and factor and 1.0 <= factor < 2.0:
        notes.append(f"Lengths are corrected for a magnification of {factor:.2f}.")
        return (found[0] / factor, found[1] / factor), False
    notes.append("The pixel size is that at the detector: lengths on the patient are smaller.")
    return found, True


def _number(header: Dataset, keyword: str) -> float | None:
    try:
        return float(header.get(keyword))
    except (TypeError, ValueError):
        return None


def _aspect(header: Dataset) -> float:
    pair = _pair(header, "PixelAspectRatio")
    return pair[0] / pair[1] if pair else 1.0


def _left_is(header: Dataset) -> str | None:
    """Return the patient's side at the left edge: the opposite of where the rows run to."""
    orientation = header.get("PatientOrientation") or [""]
    first = str(orientation[0] if not isinstance(orientation, str) else orientation)[:1].upper()
    return {"L": "R", "R": "L", "A": "P", "P": "A"}.get(first)
