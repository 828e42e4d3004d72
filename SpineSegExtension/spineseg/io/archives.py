"""Zip archives from elsewhere: unpacked only after a check of what they hold.

An archive can name files outside of its folder, hold links, or unpack to a thousand times its
size. So each entry's name and size are judged before anything is written, and while a file is
written no more is taken than its entry promised.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from spineseg.errors import InputError
from spineseg.progress import Progress

__all__ = ["is_archive", "unpack"]

MAX_FILES = 20_000
MAX_BYTES = 16 * 2**30
MAX_RATIO = 200
"""Times that a file may grow; scans grow two- to fivefold, and air at their edge far more."""
ROOM = 256 * 2**20  # of the disk that is left free
_CHUNK = 2**20


def is_archive(path: Path | str) -> bool:
    """Whether a file is a zip archive, whatever its name."""
    return zipfile.is_zipfile(path)


def unpack(path: Path | str, folder: Path | str, progress: Progress | None = None) -> Path:
    """Unpack a zip archive of a scan.

    Parameters
    ----------
    path : Path or str
    folder : Path or str
        Made if it is missing; it should be empty.
    progress : Progress, optional
        Called at each file.

    Returns
    -------
    Path
        The folder; or the file, if the archive holds just one.

    Raises
    ------
    InputError
        It is no zip archive, is damaged or encrypted, or holds something that a scan does not:
        names outside of the folder, links, far too many or too large files. Then nothing of it
        stays.
    """
    path, folder = Path(path), Path(folder)
    progress = progress or Progress()
    made = not folder.exists()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked(archive, path.name)
            _check_room(entries, folder, path.name)
            folder.mkdir(parents=True, exist_ok=True)
            for index, entry in enumerate(entries):
                progress("unpack", index / len(entries), entry.filename)
                _write(archive, entry, folder, path.name)
    except BaseException as error:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, (zipfile.BadZipFile, NotImplementedError, EOFError, OSError)):
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(
                f"{path.name} is damaged, or no zip archive.", "Pack it again.", str(error)
            ) from error
        raise
    files = [file for file in folder.rglob("*") if file.is_file()]
    return files[0] if len(files) == 1 else folder


def _checked(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """Return the entries to write, in the archive's order, or refuse all of them."""
    entries = [e for e in archive.infolist() if not e.is_dir() and not _is_litter(e.filename)]
    if not entries:
        raise InputError(f"{name} is empty.", "Pack the scan's files or its DICOM folder.")
    if len(entries) > MAX_FILES:
        raise InputError(f"{name} holds {len(entries)} files.", "Pack one scan by itself.")
    for entry in entries:
        # Backslashes and drive letters lead elsewhere on Windows.
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        mode = entry.external_attr >> 16
        outside = not parts or parts[0] == "/" or ".." in parts or ":" in entry.filename
        link = stat.S_IFMT(mode) not in (0, stat.S_IFREG)
        bomb = entry.file_size > MAX_RATIO * max(entry.compress_size, 1024)
        if outside or link or bomb:
            what = "leads outside" if outside else "is a link" if link else "unpacks to too much"
            raise InputError(
                f"{name} was refused: something in it {what}.",
                "Pack only the scan's own files.",
                entry.filename,
            )
        if entry.flag_bits & 1:
            raise InputError(f"{name} is encrypted.", "Pack it without a password.")
    return entries


def _is_litter(filename: str) -> bool:
    parts = PurePosixPath(filename).parts
    return bool(parts) and (parts[0] == "__MACOSX" or parts[-1] in (".DS_Store", "Thumbs.db"))


def _check_room(entries: list[zipfile.ZipInfo], folder: Path, name: str) -> None:
    total = sum(entry.file_size for entry in entries)
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if total > min(MAX_BYTES, shutil.disk_usage(there).free - ROOM):
        raise InputError(
            f"{name} unpacks to {total / 1e9:.1f} GB, which is too much here.",
            "Pack one scan by itself, or free some space on the disk.",
        )


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, name: str) -> None:
    target = folder.joinpath(*PurePosixPath(entry.filename.replace("\\", "/")).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with archive.open(entry) as source, target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise InputError(f"{name} is damaged: a file is longer than it says.")
            file.write(chunk)
