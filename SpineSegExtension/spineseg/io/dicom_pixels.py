"""Reading and rescaling the pixels of DICOM slices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from spineseg.errors import DependencyError, InputError
from spineseg.progress import Progress

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from spineseg.io.dicom import Slice

__all__ = ["decoded", "read_pixels"]


def read_pixels(slices: list[Slice], modality: str, progress: Progress) -> NDArray[Any]:
    """Return the rescaled values of `slices` as one (k, j, i) array.

    The array is int16 where all values are whole numbers that fit, else int32 or float32.

    Raises
    ------
    InputError
        If a file is damaged.
    DependencyError
        If no installed package reads the compression.
    """
    result: NDArray[Any] | None = None
    path: Path | None = None
    for index, plane in enumerate(slices):
        if plane.path != path:
            path = plane.path
            dataset = _dataset(path)
            frames = _frames(dataset, path)
        try:
            values = _rescaled(frames[plane.frame], dataset, plane.frame, modality)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from error
        if result is None:
            result = np.zeros((len(slices), *values.shape), np.int16)
        result = _holding(result, values)
        result[index] = values
        progress("read", (index + 1) / len(slices), f"slice {index + 1} of {len(slices)}")
    assert result is not None, "a series has slices"
    return result


def decoded(path: Path, modality: str) -> NDArray[Any]:
    """Return the rescaled values of one file; axes (frame, row, column) or, with colour, as stored.

    Raises
    ------
    InputError, DependencyError
        As `read_pixels`.
    """
    dataset = _dataset(path)
    try:
        return _rescaled(_frames(dataset, path), dataset, 0, modality)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"The DICOM file {path.name} is damaged or cut off.",
        "Export the series again.",
        f"{path}: {type(error).__name__}: {error}",
    )


def _dataset(path: Path) -> Dataset:
    import pydicom

    try:
        with pydicom.config.disable_value_validation():
            return pydicom.dcmread(path, force=True)
    except Exception as error:  # pydicom raises nearly anything on a damaged file
        raise _damaged(path, error) from error


def _frames(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Return the stored pixels as (frame, row, column), or rescaled ones if GDCM read them."""
    import pydicom

    meta = getattr(dataset, "file_meta", {})
    if "TransferSyntaxUID" not in meta:
        # Files without a header are in DICOM's default encoding.
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    syntax = dataset.file_meta.TransferSyntaxUID
    if _pydicom_decodes(syntax):
        try:
            pixels = np.asarray(dataset.pixel_array)
        except Exception as error:  # decoders differ in what they raise
            raise _damaged(path, error) from error
        # Once decoded, the encoded copy only takes memory.
        del dataset.PixelData
    else:
        pixels = _through_gdcm(path, syntax.name)
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0  # GDCM has applied them
    return pixels[None] if pixels.ndim == 2 else pixels


def _pydicom_decodes(syntax: Any) -> bool:
    from pydicom.pixels.decoders.base import get_decoder

    if not syntax.is_compressed:
        return True
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _through_gdcm(path: Path, compression: str) -> NDArray[Any]:
    """Read JPEG, JPEG-LS and JPEG 2000 by SimpleITK's GDCM, which every installation has."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
    except RuntimeError as error:
        raise DependencyError(
            f"The images are compressed as “{compression}”, which no installed package reads.",
            'Install one with: pip install "pylibjpeg[all]"',
            str(error),
        ) from error


def _rescaled(stored: NDArray[Any], dataset: Dataset, frame: int, modality: str) -> NDArray[Any]:
    """Return what the stored numbers mean: HU for CT."""
    slope, intercept = _rescale(dataset, frame)
    inverted = str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1"
    if inverted and modality != "CT":
        # White is stored low. HU mean the same however they are shown, so CT stays as it is.
        bits = int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 16)
        top = -1 if int(dataset.get("PixelRepresentation") or 0) else 2**bits - 1
        stored = top - stored.astype(np.int32)
    if slope == int(slope) and intercept == int(intercept) and stored.dtype.kind in "iu":
        return stored.astype(np.int32) * int(slope) + int(intercept)
    return (stored * slope + intercept).astype(np.float32)


def _rescale(dataset: Dataset, frame: int) -> tuple[float, float]:
    """Return slope and intercept of the file, or of the frame in an enhanced file."""
    source: Any = dataset
    if "RescaleSlope" not in dataset:
        groups = [
            *(dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1],
            *(dataset.get("SharedFunctionalGroupsSequence") or [])[:1],
        ]
        for group in groups:
            if group.get("PixelValueTransformationSequence"):
                source = group.PixelValueTransformationSequence[0]
                break
    slope, intercept = source.get("RescaleSlope"), source.get("RescaleIntercept")
    return float(1 if slope is None else slope), float(0 if intercept is None else intercept)


def _holding(result: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Return `result` in a type that also holds `values`."""
    if values.dtype.kind == "f" or result.dtype.kind == "f":
        return result.astype(np.float32, copy=False)
    limits = np.iinfo(np.int16)
    if result.dtype == np.int16 and (values.min() < limits.min or values.max() > limits.max):
        return result.astype(np.int32)
    return result
