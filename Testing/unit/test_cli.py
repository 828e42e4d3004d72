"""The command line: what it prints, its exit codes, and that it leaves nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import spineseg.phantom
import tinymethod
import tinyspine
from spineseg import __version__, cli, cli_common, registry
from spineseg.errors import ExitCode, InputError
from spineseg.io.images import write_volume
from spineseg.phantom.settings import Fracture, Lesion, Mimic, PhantomSettings
from spineseg.progress import Progress
from spineseg.volume import Volume
from typer.testing import CliRunner, Result

CHILD = [sys.executable, str(Path(__file__).with_name("tinychild.py")), "cli"]
PACKAGE = Path(spineseg.__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "METHODS", registry.METHODS)
    monkeypatch.setenv("SPINESEG_NO_GL", "1")  # the 3D picture has tests of its own
    tinymethod.register()


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    write_volume(tinyspine.make(spacing=(2.0, 2.0, 2.0)).scan, path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def segment(scan: Path, folder: Path, *more: object) -> Result:
    return run("segment", scan, "-o", folder, "--method", "tiny", *more)


def environment(**options: object) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PACKAGE), **{k: str(v) for k, v in options.items()}}


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_scan_becomes_a_folder_and_the_last_line_is_the_report(
    scan: Path, tmp_path: Path
) -> None:
    result = segment(scan, tmp_path / "out")
    assert result.exit_code == ExitCode.OK, result.output
    report = Path(result.stdout.splitlines()[-1])
    assert report == tmp_path / "out" / "report.html"
    assert report.is_file()
    assert "3 vertebrae: L1, L2, L3" in result.stderr
    run_json = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert run_json["inputs"][0]["path"] == str(scan)
    assert len(run_json["inputs"][0]["sha256"]) == 64


def test_warnings_are_told_and_go_into_the_report(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_MODE", "chatty")
    result = segment(scan, tmp_path / "out")
    assert "Note: This is a <test>." in result.stderr
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "This is a &lt;test&gt;." in html


def test_an_edited_result_is_not_replaced(scan: Path, tmp_path: Path) -> None:
    assert segment(scan, tmp_path).exit_code == ExitCode.OK
    assert segment(scan, tmp_path).exit_code == ExitCode.OK
    (tmp_path / "segmentation.seg.nrrd").write_bytes(b"corrected")
    before = listing(tmp_path)
    result = segment(scan, tmp_path)
    assert result.exit_code == ExitCode.INPUT
    assert "--overwrite" in result.stderr
    assert listing(tmp_path) == before
    assert segment(scan, tmp_path, "--overwrite").exit_code == ExitCode.OK
    assert (tmp_path / "segmentation.seg.nrrd").read_bytes() != b"corrected"


def empty(folder: Path) -> Path:
    (folder / "in.nii.gz").write_bytes(b"")
    return folder / "in.nii.gz"


def missing(folder: Path) -> Path:
    return folder / "in.nii.gz"


def truncated(folder: Path) -> Path:
    path = folder / "in.nii.gz"
    write_volume(tinyspine.make(count=1).scan, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def four_dimensional(folder: Path) -> Path:
    image = sitk.JoinSeries([sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16))] * 3)
    sitk.WriteImage(image, str(folder / "in.nii.gz"))
    return folder / "in.nii.gz"


def one_slice(folder: Path) -> Path:
    write_volume(Volume(np.zeros((1, 9, 9), np.int16), np.eye(4)), folder / "in.nii.gz")
    return folder / "in.nii.gz"


def nan_affine(folder: Path) -> Path:
    path = folder / "in.nii"
    write_volume(Volume(np.zeros((4, 9, 9), np.int16), np.eye(4)), path)
    data = bytearray(path.read_bytes())
    data[252:256] = (1).to_bytes(2, "little") * 2  # use both the quaternion and the sform
    data[256:328] = np.full(18, np.nan, "<f4").tobytes()
    path.write_bytes(data)
    return path


def photograph(folder: Path) -> Path:
    from matplotlib.image import imsave

    imsave(folder / "in.png", np.zeros((8, 8, 3), np.uint8))
    return folder / "in.png"


def empty_folder(folder: Path) -> Path:
    (folder / "in").mkdir()
    return folder / "in"


@pytest.mark.parametrize(
    "make",
    [empty, missing, truncated, four_dimensional, one_slice, nan_affine, photograph, empty_folder],
)
def test_bad_input_gives_one_sentence_and_no_folder(make: Any, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    result = segment(make(given), tmp_path / "out")
    assert result.exit_code == ExitCode.INPUT
    lines = [line for line in result.stderr.splitlines() if " % " not in line]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert result.stdout == ""
    assert {p.name for p in tmp_path.iterdir()} == {"given"}


@pytest.mark.parametrize(
    ("mode", "code"), [("memory", ExitCode.MEMORY), ("bug", ExitCode.UNEXPECTED)]
)
def test_failures_have_their_code_and_no_traceback(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, code: ExitCode
) -> None:
    monkeypatch.setenv("TINY_MODE", mode)
    result = segment(scan, tmp_path / "out")
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert ("--debug" in result.stderr) == (mode == "bug")
    assert not (tmp_path / "out").exists()
    if mode == "bug":
        assert "Traceback" in segment(scan, tmp_path / "out", "--debug").stderr


def test_a_full_disk_has_its_sentence(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("spineseg.io.meshes.write_models", full)
    result = segment(scan, tmp_path / "out")
    assert result.exit_code == ExitCode.INPUT
    assert "free disk space" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_model_has_its_code(scan: Path, tmp_path: Path) -> None:
    os.environ["SPINESEG_MODELS"] = str(tmp_path)
    try:
        result = run("segment", scan, "-o", tmp_path / "out")
    finally:
        del os.environ["SPINESEG_MODELS"]
    assert result.exit_code == ExitCode.WEIGHTS
    assert not (tmp_path / "out").exists()


def test_wrong_names_are_input_errors(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("segment", scan, "-o", out, "--method", "magic").exit_code == ExitCode.INPUT
    assert run("train", "magic", "-o", out).exit_code == ExitCode.INPUT
    assert run("segment", scan).exit_code == ExitCode.INPUT
    assert run("fly").exit_code == ExitCode.INPUT
    assert segment(scan, out, "--mesh-format", "dxf").exit_code == ExitCode.INPUT
    assert not out.exists()


@pytest.mark.parametrize("start", [["-m", "spineseg"], ["-m", "spineseg.cli"]])
def test_version_of_a_fresh_process(start: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *start, "--version"], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.strip() == f"spineseg {__version__}"
    assert done.returncode == 0


def start_slow(scan: Path, tmp_path: Path, mode: str = "slow") -> subprocess.Popen[str]:
    """Start a segmentation in a process of its own and wait until its network runs."""
    started = tmp_path / "started"
    child = subprocess.Popen(
        [*CHILD, "segment", str(scan), "-o", str(tmp_path / "new" / "out"), "--method", "tiny"],
        env=environment(TINY_MODE=mode, TINY_STARTED=started),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not started.exists():
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.02)
    return child


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_ctrl_c_in_the_middle_leaves_nothing(scan: Path, tmp_path: Path, name: str) -> None:
    if os.name != "posix":
        pytest.skip("posix: signals can't be sent to one child here")
    child = start_slow(scan, tmp_path)
    child.send_signal(getattr(signal, name))
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == ExitCode.CANCELLED
    assert stdout == ""
    assert "cancelled" in stderr
    assert "Traceback" not in stderr
    assert {p.name for p in tmp_path.iterdir()} == {"started"}


def test_a_second_ctrl_c_ends_what_does_not_listen(scan: Path, tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("posix: signals can't be sent to one child here")
    child = start_slow(scan, tmp_path, "stuck")
    child.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == ExitCode.CANCELLED
    assert "Traceback" not in stderr
    assert {p.name for p in tmp_path.iterdir()} == {"started"}


def test_lines_are_few_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = cli_common.Lines()
    for step in range(1001):
        lines("network", step / 1000, f"patch {step}")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 11
    assert told[0].startswith("  0 %")
    assert told[-1].startswith("100 %")


def test_phantom_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def write(
        folder: Path,
        settings: PhantomSettings,
        seed: int,
        progress: Progress,
        mr: str | None,
        film: str | None,
    ) -> None:
        asked.append((folder, settings, seed, mr, film))

    monkeypatch.setattr(spineseg.phantom, "write_phantom", write, raising=False)
    result = run(
        "phantom", "-o", tmp_path, "--seed", 4, "--cobb", 30, "--levels", "t10-L5",
        "--spacing", 1.5, "--slice", 3, "--fracture", "L1:wedge:0.4", "--fracture", "T12",
        "--mimic", "T11:schmorl:4", "--lesion", "L2:blastic", "--metal", "L4", "--l6",
        "--mr", "t2", "--film", "ap",
    )  # fmt: skip
    assert result.exit_code == ExitCode.OK, result.output
    assert result.stdout.splitlines()[-1] == str(tmp_path)
    assert asked == [
        (
            tmp_path,
            PhantomSettings(
                spacing_mm=1.5, slice_mm=3.0, levels=("T10", "L5"), cobb_deg=30.0, l6=True,
                fractures=(Fracture("L1", "wedge", 0.4), Fracture("T12")),
                mimics=(Mimic("T11", "schmorl", 4.0),), lesions=(Lesion("L2", "blastic"),),
                metal=("L4",),
            ),
            4,
            "t2",
            "ap",
        )
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["Q1", "L1-L2-L3", "", "L1-"])
def test_wrong_levels(text: str) -> None:
    with pytest.raises(InputError):
        cli.level_range(text)


@pytest.mark.parametrize("text", ["Q1", "L1:wedge:much", "L1:wedge:0.3:4"])
def test_wrong_fractures(text: str) -> None:
    with pytest.raises(InputError):
        cli.at_level(text)


def test_models_of_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPINESEG_MODELS", str(tmp_path))
    assert run("models", "list").exit_code == ExitCode.OK
    assert run("models", "verify").exit_code == ExitCode.WEIGHTS
    (tmp_path / "x.json").write_text("{}")
    result = run("models", "verify")
    assert result.exit_code == ExitCode.WEIGHTS
    assert "x" in result.stdout
    assert run("models", "list").exit_code == ExitCode.WEIGHTS
