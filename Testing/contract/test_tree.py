"""Rules for every file: no machine's paths, no data, nothing unsafe, small, LF."""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

import pytest
from project_tree import ROOT, name_of, parse, project_files, texts

LIMIT_MB = 100
# Folders of somebody's machine; written so that this line does not match itself.
MACHINE = re.compile(r"(?<![\w.$}/])/(?:work|root|opt|home|Users|mnt|tmp)(?:/|\b)")
DATA_FOLDER = "shared" + "/data"
NAMES_DATA = {"Testing/conftest.py"}


def test_no_machine_path() -> None:
    me = name_of(Path(__file__))
    found = [
        f"{name_of(path)}:{number}: {line.strip()[:80]}"
        for path, text in texts()
        if name_of(path) != me
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_data_folder_is_named_in_one_place() -> None:
    naming = {name_of(path) for path, text in texts() if DATA_FOLDER in text}
    assert naming == NAMES_DATA


def test_no_file_of_the_data_folder_is_here(realdata: Path) -> None:
    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    theirs: dict[int, list[Path]] = {}
    for path in realdata.rglob("*"):
        if path.is_file():
            theirs.setdefault(path.stat().st_size, []).append(path)
    same = [
        (name_of(path), other.name)
        for path in project_files()
        if path.stat().st_size
        for other in theirs.get(path.stat().st_size, [])
        if digest(path) == digest(other)
    ]
    assert not same


def test_checkout_is_small() -> None:
    size = sum(path.stat().st_size for path in project_files()) / 1e6
    assert 0 < size < LIMIT_MB


def test_text_ends_its_lines_with_lf() -> None:
    wrong = [name_of(path) for path, text in texts() if "\r" in text]
    assert not wrong


def unsafe_calls(path: Path) -> list[str]:
    """Return the calls and imports of a file that could run what a file holds."""
    found = []
    for node in ast.walk(parse(path)):
        line = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        found += [f"{line} imports {n}" for n in names if n in {"pickle", "dill", "shelve"}]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called == "torch.load" and given.get("weights_only") != "True":
            found.append(f"{line} torch.load without weights_only=True")
        if given.get("shell", "False") != "False" or called in {"os.system", "os.popen"}:
            found.append(f"{line} runs a shell")
        if given.get("allow_pickle", "False") != "False":
            found.append(f"{line} allow_pickle")
        if called in {"eval", "exec"}:
            found.append(f"{line} {called}")
        if called.endswith(".extractall") and "filter" not in given:
            found.append(f"{line} unpacks without a check")
    return found


SOURCES = [p for p in project_files() if p.suffix == ".py" and ROOT / "Testing" not in p.parents]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_unsafe(path: Path) -> None:
    assert not unsafe_calls(path)


def test_the_check_for_unsafe_calls_finds_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("project_tree.ROOT", tmp_path)
    bad = tmp_path / "bad.py"
    bad.write_text("import pickle\ntorch.load('x')\nrun('ls', shell=True)\neval('1')\n")
    assert len(unsafe_calls(bad)) == 4


def test_files_of_every_project_are_here() -> None:
    wanted = ("LICENSE.txt", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
    assert not [name for name in (*wanted, "README.md", ".ci/run") if not (ROOT / name).is_file()]
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
