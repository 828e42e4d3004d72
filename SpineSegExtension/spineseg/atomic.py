"""Results that are there whole or not at all.

Files and folders are made under a name with ``.part`` in it, beside their target, and renamed
when they are complete. Whatever ends the work before that (an error, Ctrl-C, a full disk), the
target is as it was and the part is removed.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spineseg.errors import InputError

__all__ = ["atomic_folder", "atomic_path"]

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; it becomes `path` when the block ends well.

    Parameters
    ----------
    path : path
        The file to write. Its folder is made if it is missing. An existing file is replaced
        only at the end.

    Yields
    ------
    Path
        ``.part-….name.ext``: all suffixes are kept, so that a writer which goes by the name
        recognises the format.

    Raises
    ------
    InputError
        `path` is a folder, the disk is full, or the folder can't be written to.
    """
    target = Path(os.path.abspath(path))
    if target.is_dir():
        raise InputError(f"{target} is a folder, not a file.", "Choose another file name.")
    with _readable_errors(target), _new_parents(target):
        part = _part_name(target)
        try:
            yield part
            os.replace(part, target)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()


@contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside `folder`; its contents move into it when the block ends well.

    Files already in `folder` under other names stay; those of the same name are replaced, and a
    subfolder of the same name is replaced whole. If moving fails half-way, what was replaced is
    put back.

    Parameters
    ----------
    folder : path
        Where the results shall be; made if it is missing.

    Yields
    ------
    Path
        The folder to write into.

    Raises
    ------
    InputError
        `folder` is a file, the disk is full, or the place can't be written to.
    """
    # Absolute, so that "." too has a name and a parent.
    target = Path(os.path.abspath(folder))
    if target.exists() and not target.is_dir():
        raise InputError(
            f"The output folder {target} is a file.", "Choose another name for the output folder."
        )
    with _readable_errors(target), _new_parents(target):
        part = _part_name(target)
        try:
            part.mkdir()
            yield part
            _move_in(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _part_name(target: Path) -> Path:
    return target.with_name(f".part-{uuid.uuid4().hex[:8]}.{target.name}")


@contextmanager
def _new_parents(target: Path) -> Iterator[None]:
    """Make the folders above `target`, and take away again those it made if the block fails."""
    made = []
    folder = target.parent
    while not folder.exists():
        made.append(folder)
        folder = folder.parent
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:  # the innermost first; one that others fill meanwhile stays
            with suppress(OSError):
                folder.rmdir()
        raise


def _move_in(part: Path, target: Path) -> None:
    """Move what is in `part` into `target`, undoing all of it if one move fails."""
    if not target.exists():
        os.replace(part, target)
        return
    kept = _part_name(target)
    kept.mkdir()
    moved: list[str] = []
    try:
        for name in sorted(os.listdir(part)):
            if os.path.lexists(target / name):
                os.replace(target / name, kept / name)
            moved.append(name)
            os.replace(part / name, target / name)
    except BaseException:
        for name in reversed(moved):
            if os.path.lexists(target / name):
                os.replace(target / name, part / name)
            if os.path.lexists(kept / name):
                os.replace(kept / name, target / name)
        raise
    finally:
        shutil.rmtree(kept, ignore_errors=True)


@contextmanager
def _readable_errors(target: Path) -> Iterator[None]:
    """Turn what the disk refuses into an `InputError` with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise InputError(
                f"There is not enough free disk space to write {target.name}.",
                "Free some space or choose a folder on another disk; nothing was left behind.",
                str(error),
            ) from error
        if error.errno in _NO_RIGHT:
            raise InputError(
                f"{target.name} can't be written to {target.parent}.",
                "Choose a folder that you may write to.",
                str(error),
            ) from error
        raise
