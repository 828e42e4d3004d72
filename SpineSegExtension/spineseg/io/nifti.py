"""NIfTI-1 and NIfTI-2 in one file: reading both, writing the first.

SimpleITK's reader takes a cut-off file for a whole one, replaces a damaged orientation by another
and refuses sheared ones. A segmentation laid over such a guess would be wrong without a word, so
the header is read here, as the standard says (nifti.nimh.nih.gov/nifti-1, nifti1.h). SimpleITK's
writer reports success on a full disk, so writing is here too.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from spineseg.errors import InputError
from spineseg.resampling import itk_type
from spineseg.volume import Volume

__all__ = ["is_nifti", "read_nifti", "write_nifti"]

_DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8",
    1280: "u8",
}  # fmt: skip
_CODES = {np.dtype(name): code for code, name in _DTYPES.items()}
_LARGEST_SIZE = 32767  # NIfTI-1 counts voxels in 16 bits
_SCANNER = 1  # the code of "scanner coordinates"
_MM = 2
_COMPRESSION = 4  # zlib's level; higher ones take much longer for a few per cent
_COLOURS = {128, 2304, 32, 1792}  # RGB, RGBA and complex numbers
_HEADER_SIZES = {348: 1, 540: 2}
_UNIT_MM = {1: 1000.0, 3: 0.001}  # metres and micrometres; all else is taken for mm
_MORE_MEMORY_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class _Header:
    """What a NIfTI header says, in the words of the standard."""

    dim: tuple[int, ...]
    datatype: int
    order: str
    pixdim: tuple[float, ...]
    vox_offset: int
    scl_slope: float
    scl_inter: float
    xyzt_units: int
    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[float, ...]


def _header_kind(head: bytes) -> tuple[int, str] | None:
    """Return the version (1 or 2) and the byte order, or None if this is no NIfTI header."""
    if len(head) < 4:
        return None
    for order in "<>":
        size = struct.unpack_from(order + "i", head)[0]
        if size in _HEADER_SIZES:
            return _HEADER_SIZES[size], order
    return None


def is_nifti(head: bytes) -> bool:
    """Whether a file that starts with these (unpacked) bytes is NIfTI."""
    kind = _header_kind(head)
    if kind is None:
        return False
    place = 344 if kind[0] == 1 else 4
    return head[place : place + 2] in (b"n+", b"ni")


def _parse(head: bytes) -> _Header:
    kind = _header_kind(head)
    if kind is None or len(head) < (348 if kind[0] == 1 else 540):
        raise _cut_off("its header is incomplete")

    def take(form: str, place: int) -> tuple[Any, ...]:
        return struct.unpack_from(order + form, head, place)

    version, order = kind
    if version == 1:
        if head[344:346] == b"ni":
            raise InputError(
                "This NIfTI file has its voxels in a second file (.hdr and .img).",
                "Convert it to a single .nii.gz file.",
            )
        return _Header(
            take("8h", 40), take("h", 70)[0], order, take("8f", 76), int(take("f", 108)[0]),
            take("f", 112)[0], take("f", 116)[0], head[123] & 7, take("h", 252)[0],
            take("h", 254)[0], take("3f", 256), take("3f", 268), take("12f", 280),
        )  # fmt: skip
    return _Header(
        take("8q", 16), take("h", 12)[0], order, take("8d", 104), take("q", 168)[0],
        take("d", 176)[0], take("d", 184)[0], take("i", 500)[0] & 7, take("i", 344)[0],
        take("i", 348)[0], take("3d", 352), take("3d", 376), take("12d", 400),
    )  # fmt: skip


def _affine(header: _Header, notes: list[str]) -> NDArray[np.float64]:
    """Return the 4×4 matrix from (i, j, k) to RAS mm; may hold NaN if the header does."""
    affine = np.eye(4)
    size = np.array(header.pixdim[1:4], dtype=float)
    if header.sform_code > 0:
        affine[:3] = np.reshape(header.srow, (3, 4))
    elif header.qform_code > 0:
        # The third axis is turned round when pixdim[0], "qfac", is negative.
        size[2] *= -1.0 if header.pixdim[0] < 0 else 1.0
        affine[:3, :3] = _rotation(np.array(header.quatern)) * size
        affine[:3, 3] = header.qoffset
    else:
        affine[:3, :3] = np.diag(size * (-1.0, -1.0, 1.0))
        notes.append(
            "The file states no orientation; its axes are taken to run left, back and up, as 3D"
            " Slicer takes them."
        )
    affine[:3] *= _UNIT_MM.get(header.xyzt_units, 1.0)
    return affine


def _rotation(quatern: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation of a unit quaternion given by its last three numbers."""
    b, c, d = quatern
    square = 1.0 - float(quatern @ quatern)
    if square < 1e-7:  # rounded to a little over a half turn, or damaged: NaN stays NaN
        b, c, d = quatern / np.sqrt(quatern @ quatern)
        a = 0.0
    else:
        a = float(np.sqrt(square))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _shape(header: _Header) -> tuple[int, int, int]:
    """Return the size along (i, j, k)."""
    count = header.dim[0]
    if not 1 <= count <= 7 or any(size < 0 for size in header.dim[1 : count + 1]):
        raise _cut_off("its sizes are impossible")
    sizes = list(header.dim[1 : count + 1])
    while len(sizes) > 3 and sizes[-1] <= 1:
        sizes.pop()
    if len(sizes) > 3:
        raise InputError(
            f"The image has {len(sizes)} dimensions ({' × '.join(map(str, sizes))}), but one 3-D"
            " volume is needed.",
            "Export a single time point or channel as a 3-D image.",
        )
    i, j, k = [*sizes, 1, 1][:3]
    if 0 in (i, j, k):
        raise InputError("The image has no voxels.", "Export it again from its source.")
    return i, j, k


def read_nifti(path: Path, notes: list[str]) -> Volume:
    """Read a NIfTI file, gzipped or not, whatever its name.

    Parameters
    ----------
    path : Path
        The file.
    notes : list of str
        Receives a sentence if the file states no orientation.

    Returns
    -------
    Volume
        The stored type, or float32 if values had to be scaled or were float64. RAS, mm; the
        sform is used where it is set, else the qform.

    Raises
    ------
    InputError
        If the file is damaged, cut off, 4-D or in colour.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw
        try:
            header = _parse(file.read(540))
            shape = _shape(header)
            dtype = _dtype(header)
            if header.vox_offset < 0:
                raise _cut_off("its sizes are impossible")
            file.seek(header.vox_offset)
            data = _read_exactly(file, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _cut_off(str(error)) from error
    # In the file i varies fastest, so (k, j, i) is its natural order.
    stored = np.frombuffer(data, dtype).reshape(shape[::-1])
    return Volume(_scaled(stored, header), _affine(header, notes))


def _dtype(header: _Header) -> np.dtype[Any]:
    if header.datatype in _COLOURS:
        raise InputError(
            "The image is in colour or of complex numbers, not a CT.",
            "Choose the CT volume itself.",
        )
    if header.datatype not in _DTYPES:
        raise InputError(
            f"The image's voxels are of an unknown type ({header.datatype}).",
            "Convert it to 16-bit integers.",
        )
    return np.dtype(header.order + _DTYPES[header.datatype])


def _read_exactly(file: IO[bytes], size: int) -> bytearray:
    """Read `size` bytes in pieces, so that a false size in a header takes no memory."""
    data = bytearray()
    while len(data) < size:
        piece = file.read(min(size - len(data), _MORE_MEMORY_AT_ONCE))
        if not piece:
            raise _cut_off(f"{len(data)} of {size} bytes are there")
        data += piece
    return data


def _scaled(stored: NDArray[Any], header: _Header) -> NDArray[Any]:
    slope, intercept = header.scl_slope, header.scl_inter
    # A slope of 0 means "not scaled"; NaN is written by some tools to say the same.
    if not (np.isfinite(slope) and np.isfinite(intercept)) or slope == 0:
        slope, intercept = 1.0, 0.0
    if stored.dtype.kind == "f" or (slope, intercept) != (1.0, 0.0):
        values = stored.astype(np.float32, copy=stored.dtype != np.dtype(np.float32))
        if (slope, intercept) != (1.0, 0.0):
            values = values * np.float32(slope)
            values += np.float32(intercept)
        return values
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _cut_off(details: str) -> InputError:
    return InputError(
        "The NIfTI file is damaged or cut off.", "Copy or download it again.", details
    )


def write_nifti(volume: Volume, file: IO[bytes], packed: bool) -> None:
    """Write a NIfTI-1 file with the same place in its sform and qform.

    Parameters
    ----------
    volume : Volume
        With perpendicular axes. Booleans become uint8 and half floats float32.
    file : binary file
        Open for writing.
    packed : bool
        Whether to compress with gzip.

    Raises
    ------
    InputError
        If an axis has more voxels than NIfTI-1 can count.
    OSError
        If the disk refuses.
    """
    array = itk_type(volume.array[:1, :1, :1])
    dtype = array.dtype.newbyteorder("<")
    if max(volume.shape) > _LARGEST_SIZE:
        raise InputError(
            f"NIfTI holds at most {_LARGEST_SIZE} voxels along an axis.", "Write .nrrd instead."
        )
    header = _written_header(volume, _CODES[array.dtype], dtype.itemsize)
    # Without a time or a name in it, the same voxels give the same bytes.
    target = gzip.GzipFile("", "wb", _COMPRESSION, cast("Any", file), mtime=0) if packed else file
    target.write(header)
    for plane in volume.array:  # a slice at a time: no second copy of the volume
        target.write(np.ascontiguousarray(itk_type(plane), dtype).tobytes())
    if packed:
        target.close()


def _written_header(volume: Volume, code: int, item_bytes: int) -> bytes:
    """Return the 352 bytes before the voxels."""
    directions, qfac = volume.grid.directions, 1.0
    if np.linalg.det(directions) < 0:  # a quaternion can't mirror; "qfac" turns the third axis
        directions, qfac = directions * (1, 1, -1), -1.0
    quaternion = Rotation.from_matrix(directions).as_quat()
    quaternion *= -1.0 if quaternion[3] < 0 else 1.0  # NIfTI leaves out the last, as positive
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *volume.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, 8 * item_bytes)
    struct.pack_into("<8f", header, 76, qfac, *volume.spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[123] = _MM
    struct.pack_into("<2h", header, 252, _SCANNER, _SCANNER)
    struct.pack_into("<6f", header, 256, *quaternion[:3], *volume.affine[:3, 3])
    struct.pack_into("<12f", header, 280, *volume.affine[:3].ravel())
    header[344:348] = b"n+1\x00"
    return bytes(header)
