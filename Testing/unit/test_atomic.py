"""Results are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from spineseg import atomic
from spineseg.atomic import atomic_folder, atomic_path
from spineseg.errors import CancelledError, InputError

# A device that is always full; only Linux has it.
DEV_FULL = Path("/dev/full")


def tree(folder: Path) -> dict[str, str]:
    """Every file below `folder` with its text."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_file(path: Path, text: str, error: BaseException | None = None) -> None:
    with atomic_path(path) as part:
        part.write_text(text)
        if error is not None:
            raise error


def write_folder(
    folder: Path, names: list[str], text: str, error: BaseException | None = None
) -> None:
    with atomic_folder(folder) as part:
        for name in names:
            (part / name).write_text(text)
        if error is not None:
            raise error


def test_a_file_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "scan.nii.gz"
    with atomic_path(target) as part:
        assert part.parent == target.parent
        assert part.name.endswith(".scan.nii.gz")
        assert ".part" in part.name
        part.write_text("voxels")
        assert not target.exists()
    assert tree(tmp_path) == {"new/scan.nii.gz": "voxels"}


@pytest.mark.parametrize("error", [CancelledError(), KeyboardInterrupt(), ValueError("x")])
def test_a_failed_file_leaves_everything_as_it_was(tmp_path: Path, error: BaseException) -> None:
    old = tmp_path / "old.json"
    old.write_text("old")
    for target in (old, tmp_path / "deep" / "er" / "new.json"):
        with pytest.raises(type(error)):
            write_file(target, "half", error)
    assert tree(tmp_path) == {"old.json": "old"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.json"]


def test_a_file_never_replaces_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"), atomic_path(tmp_path):
        pytest.fail("the block must not run")


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "case" / "results"
    with atomic_folder(target) as part:
        (part / "models").mkdir()
        (part / "models" / "L1.stl").write_text("mesh")
        assert not target.exists()
    assert tree(tmp_path) == {"case/results/models/L1.stl": "mesh"}


def test_a_second_run_replaces_its_own_files_only(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "models").mkdir(parents=True)
    (target / "models" / "L9.stl").write_text("stale")
    (target / "run.json").write_text("old")
    (target / "notes.txt").write_text("the user's")
    with atomic_folder(target) as part:
        (part / "models").mkdir()
        (part / "models" / "L1.stl").write_text("mesh")
        (part / "run.json").write_text("new")
    assert tree(tmp_path) == {
        "out/models/L1.stl": "mesh",
        "out/notes.txt": "the user's",
        "out/run.json": "new",
    }


@pytest.mark.parametrize("error", [CancelledError(), KeyboardInterrupt()])
def test_a_failed_folder_leaves_everything_as_it_was(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "run.json").write_text("old")
    for folder in (target, tmp_path / "deep" / "er"):
        with pytest.raises(type(error)):
            write_folder(folder, ["run.json"], "half", error)
    assert tree(tmp_path) == {"out/run.json": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failed_move_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    target.mkdir()
    for name in ("a.txt", "b.txt"):
        (target / name).write_text("old")
    real = os.replace

    def fails_on_b(source: Path, destination: Path) -> None:
        if Path(destination) == target / "b.txt" and Path(source).read_text() == "new":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, destination)

    monkeypatch.setattr(atomic.os, "replace", fails_on_b)
    with pytest.raises(InputError, match="disk space"):
        write_folder(target, ["a.txt", "b.txt", "c.txt"], "new")
    assert tree(tmp_path) == {"out/a.txt": "old", "out/b.txt": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "disk space"), (errno.EACCES, "can't be written")]
)
def test_what_the_disk_refuses_becomes_a_sentence(tmp_path: Path, code: int, words: str) -> None:
    for writer in (atomic_path, atomic_folder):
        with pytest.raises(InputError, match=words) as caught, writer(tmp_path / "x"):
            raise OSError(code, os.strerror(code))
        assert caught.value.remedy
        assert caught.value.exit_code == 2
    if code == errno.ENOSPC and DEV_FULL.exists():
        with pytest.raises(InputError, match=words), atomic_path(tmp_path / "x"):
            DEV_FULL.write_text("x" * 100_000)
    with pytest.raises(OSError, match="not mine"), atomic_path(tmp_path / "x"):
        raise OSError(errno.EIO, "not mine")
    assert not list(tmp_path.iterdir())


def test_the_current_folder_and_a_file_as_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with atomic_folder(".") as part:
        (part / "a.txt").write_text("a")
    assert tree(tmp_path) == {"here/a.txt": "a"}
    with pytest.raises(InputError, match="is a file"), atomic_folder(here / "a.txt"):
        pytest.fail("the block must not run")
