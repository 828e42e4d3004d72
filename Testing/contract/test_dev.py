"""dev.py: one environment, made once, completed when it must be, and exit codes that pass."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from project_tree import ROOT, imports, requirements
from spineseg.errors import ExitCode


@pytest.fixture
def root(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what dev.py reads, with an environment that stands in for `.venv`."""
    place = tmp_path / "a folder with 'quotes' and spaces"
    place.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (place / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(dev, "ROOT", place)
    monkeypatch.setattr(dev, "VENV", place / ".venv")
    monkeypatch.setattr(dev, "STAMP", place / ".venv" / "stamp.json")
    monkeypatch.setattr(dev, "UNFINISHED", place / ".venv" / "unfinished")
    return place


def make_small_venv(dev: ModuleType) -> None:
    """Make an environment without pip, which takes a tenth of the time."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(dev.VENV)], check=True)


@pytest.fixture
def pip_calls(dev: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip would have been asked to install; nothing is."""
    calls: list[list[str]] = []
    real = dev.quiet
    make_small_venv(dev)
    monkeypatch.setattr(dev, "pip", lambda: ["pip"])

    def quiet(command: list[str], timeout: float | None = None) -> tuple[bool, str]:
        if "install" in command:
            calls.append(command)
            return True, ""
        return real(command, timeout)

    def run(command: list[str], cwd: Path | None = None, stdout: object = None) -> int:
        calls.append(command)
        return 0

    monkeypatch.setattr(dev, "quiet", quiet)
    monkeypatch.setattr(dev, "run", run)
    return calls


def test_it_needs_the_standard_library_alone() -> None:
    assert {i.top for i in imports(ROOT / "dev.py")} <= set(sys.stdlib_module_names)


def test_old_pythons_can_read_it() -> None:
    # It must parse where it only tells that this Python is too old.
    ast.parse((ROOT / "dev.py").read_text(encoding="utf-8"), feature_version=(3, 7))


@pytest.mark.parametrize("version", [(3, 9), (3, 14), (2, 7)])
def test_other_pythons_get_a_sentence(dev: ModuleType, version: tuple[int, int]) -> None:
    sentence = dev.python_problem(version)
    assert "3.10 to 3.13" in sentence
    assert ".".join(map(str, version)) in sentence


def test_supported_pythons_are_those_of_the_package(dev: ModuleType) -> None:
    assert all(dev.python_problem((3, minor)) is None for minor in (10, 11, 12, 13))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.10,<3.14"' in text


def test_the_environment_is_made_once(dev: ModuleType, root: Path, pip_calls: list) -> None:
    python = dev.ensure_environment({"test"})
    assert python.is_file()
    assert any("torch==" in part for call in pip_calls for part in call)
    assert pip_calls[-1][-2:] == ["-e", ".[test]"]
    assert not dev.UNFINISHED.exists()
    pip_calls.clear()
    assert dev.ensure_environment({"test"}) == dev.ensure_environment(set()) == python
    assert pip_calls == []


def test_it_is_completed_when_the_needs_change(
    dev: ModuleType, root: Path, pip_calls: list
) -> None:
    dev.ensure_environment(set())
    pip_calls.clear()
    dev.ensure_environment({"test"})
    assert pip_calls[-1][-1] == ".[test]"
    pip_calls.clear()
    (root / "constraints.txt").write_bytes((root / "constraints.txt").read_bytes() + b"# new\n")
    dev.ensure_environment(set())
    assert pip_calls


def test_a_failed_install_is_taken_up_again(
    dev: ModuleType, root: Path, pip_calls: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = dev.run
    monkeypatch.setattr(dev, "run", lambda command, **_: 1)
    with pytest.raises(dev.Stop, match="goes on from here") as stop:
        dev.ensure_environment(set())
    assert stop.value.code == ExitCode.DEPENDENCY
    assert dev.UNFINISHED.exists()
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(dev.quiet([str(dev.venv_python()), "-c", ask])[1].strip())
    half, whole = packages / "half-1.0.dist-info", packages / "whole-1.0.dist-info"
    half.mkdir(parents=True)
    whole.mkdir()
    (whole / "RECORD").touch()
    (half / "METADATA").write_text("Name: half\n", encoding="utf-8")
    monkeypatch.setattr(dev, "run", good)
    dev.ensure_environment(set())
    assert not half.exists()
    assert whole.exists()


def test_a_broken_environment_is_made_anew(dev: ModuleType, root: Path) -> None:
    make_small_venv(dev)
    dev.venv_python().unlink()
    dev.make_venv()
    assert dev.pip()[0] == str(dev.venv_python())


def test_a_folder_that_is_no_environment_is_left_alone(dev: ModuleType, root: Path) -> None:
    (root / ".venv").mkdir()
    (root / ".venv" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(dev.Stop, match="not a Python environment"):
        dev.ensure_environment(set())
    assert (root / ".venv" / "thesis.txt").exists()


def test_exit_codes_pass_through(dev: ModuleType) -> None:
    for code in ExitCode:
        assert dev.run([sys.executable, "-c", f"raise SystemExit({int(code)})"]) == code
    assert ExitCode.DEPENDENCY == dev.DEPENDENCY
    assert ExitCode.CANCELLED == dev.CANCELLED


def test_the_app_gets_its_arguments_and_ctrl_c_is_its_end(
    dev: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[set[str]] = []
    commands: list[list[str]] = []

    def prepared(extras: set[str]) -> Path:
        asked.append(extras)
        dev.say("preparing")
        dev.install([sys.executable, "-c", "print('as pip talks')"], [])
        monkeypatch.setattr(dev, "run", lambda command, **_: (commands.append(command), 6)[1])
        return Path("python")

    monkeypatch.setattr(dev, "ensure_environment", prepared)
    monkeypatch.setattr(dev, "ensure_graphics", lambda: None)
    monkeypatch.setattr(sys, "argv", ["dev.py", "app", "--no-browser", "--port", "8123"])
    assert dev.main() == 0
    assert asked == [{"app"}]
    assert commands[0][1:] == ["-m", "spineseg", "app", "--no-browser", "--port", "8123"]
    told = capfd.readouterr()
    assert told.out == "", "the address alone goes there"
    assert "preparing" in told.err
    assert "as pip talks" in told.err


def test_missing_scan_is_an_input_error(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "dev.py"), "demo", "--input", str(tmp_path / "none.nii")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == ExitCode.INPUT
    assert "There is no file or folder" in done.stdout
    assert os.listdir(tmp_path) == []


def test_the_graphics_probe_itself_is_sound(dev: ModuleType) -> None:
    # It may find no OpenGL, or crash for want of it, but not fail by its own mistake.
    done = subprocess.run([sys.executable, "-c", dev.GL_PROBE], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_missing_graphics_never_stop_a_run(
    dev: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / ".venv").mkdir()
    asked: list[list[str]] = []
    monkeypatch.setattr(dev, "quiet", lambda c, timeout=None: (asked.append(c), (False, ""))[1])
    dev.write_stamp({"fingerprint": dev.fingerprint(), "extras": []})
    dev.ensure_graphics()
    dev.ensure_graphics()
    installs = [c for c in asked if "install" in c]
    assert len(installs) <= 1, "the system's package manager is asked once"
    assert "no OpenGL" in capsys.readouterr().out


def test_ci_runs_the_readmes_command_and_nothing_else() -> None:
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert text.splitlines()[-1] == "python3 dev.py test"
    assert "install" not in text


def test_constraints_pin_within_the_ranges(dev: ModuleType) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        pin.name: next(iter(pin.specifier)).version
        for pin in (Requirement(line) for line in lines if line and not line.startswith("#"))
    }
    named = [r for r in requirements("train", "app", "test") if r.name != "spineseg"]
    assert len(named) > 15
    # Every package that is asked for by name has a pin, in its range.
    assert not [str(r) for r in named if not r.specifier.contains(pins[r.name.lower()])]
    assert dev.pinned("torch") == pins["torch"]
