"""Archives from elsewhere: what they may hold, and what is refused before anything is written."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest
from spineseg.errors import CancelledError, InputError
from spineseg.io import archives
from spineseg.progress import CancelToken, Progress


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return tmp_path / "scan.zip"


def write(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_a_folder_is_unpacked_as_it_is(packed: Path, tmp_path: Path) -> None:
    write(packed, {"study/1.dcm": b"one", "study/deep/2.dcm": b"two", "__MACOSX/._1": b"litter"})
    assert archives.is_archive(packed)
    out = archives.unpack(packed, tmp_path / "out")
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == {"study/1.dcm": b"one", "study/deep/2.dcm": b"two"}


def test_a_single_file_is_returned_itself(packed: Path, tmp_path: Path) -> None:
    write(packed, {"study/scan.nii.gz": b"voxels", "study/.DS_Store": b"litter"})
    out = archives.unpack(packed, tmp_path / "out")
    assert out.name == "scan.nii.gz"
    assert out.read_bytes() == b"voxels"


@pytest.mark.parametrize(
    "name",
    ["../outside", "a/../../outside", "/etc/outside", "..\\outside", "C:\\outside", "C:outside"],
)
def test_names_that_lead_outside_are_refused(packed: Path, tmp_path: Path, name: str) -> None:
    write(packed, {"good.nii": b"x", name: b"x"})
    with pytest.raises(InputError, match="leads outside"):
        archives.unpack(packed, tmp_path / "deep" / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["scan.zip"]


def test_links_and_devices_are_refused(packed: Path, tmp_path: Path) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFIFO):
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (kind | 0o777) << 16
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(entry, "/etc/passwd")
        with pytest.raises(InputError, match="is a link"):
            archives.unpack(packed, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_what_grows_out_of_all_proportion_is_refused(packed: Path, tmp_path: Path) -> None:
    write(packed, {"bomb.nii": bytes(20_000_000)})
    with pytest.raises(InputError, match="unpacks to too much"):
        archives.unpack(packed, tmp_path / "out")


def test_too_much_for_the_disk_or_too_many_files(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(packed, {"a.nii": b"1234", "b.nii": b"5678"})
    monkeypatch.setattr(archives, "MAX_BYTES", 7)
    with pytest.raises(InputError, match="too much here"):
        archives.unpack(packed, tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_FILES", 1)
    with pytest.raises(InputError, match="holds 2 files"):
        archives.unpack(packed, tmp_path / "out")


def test_empty_damaged_and_other_files_are_told_apart(packed: Path, tmp_path: Path) -> None:
    write(packed, {})
    with pytest.raises(InputError, match="is empty"):
        archives.unpack(packed, tmp_path / "out")
    write(packed, {"scan.nii": bytes(range(256)) * 40})
    content = bytearray(packed.read_bytes())
    content[40:60] = b"\0" * 20
    packed.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        archives.unpack(packed, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    packed.write_bytes(b"no archive at all")
    assert not archives.is_archive(packed)
    with pytest.raises(InputError, match="no zip archive"):
        archives.unpack(packed, tmp_path / "out")


def test_a_cancel_leaves_nothing(packed: Path, tmp_path: Path) -> None:
    write(packed, {"a.nii": b"1234", "b.nii": b"5678"})
    token = CancelToken()
    progress = Progress(lambda _stage, fraction, _text: token.cancel() if fraction else None, token)
    with pytest.raises(CancelledError):
        archives.unpack(packed, tmp_path / "out", progress)
    assert not (tmp_path / "out").exists()
