"""What CMake ships is what the tree has."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from project_tree import ROOT, module_folders, name_of, project_files

UNSHIPPED = {"CMakeLists.txt", "README.md", ".gitkeep"}


def listed(folder: Path) -> list[str]:
    """Return the files in the two lists of a module's CMakeLists.txt."""
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    blocks = re.findall(r"# \w+: begin\n(.*?)  # \w+: end", text, re.DOTALL)
    assert len(blocks) == 2
    return [line.strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("folder", module_folders(), ids=name_of)
def test_lists_are_the_tree(folder: Path) -> None:
    tree = {
        path.relative_to(folder).as_posix()
        for path in project_files()
        if folder in path.parents and path.name not in UNSHIPPED
    }
    assert set(listed(folder)) == tree, "run: python3 dev.py cmake"
    assert len(listed(folder)) == len(set(listed(folder)))


def test_modules_are_built() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    added = re.findall(r"^add_subdirectory\((\w+)\)", text, re.MULTILINE)
    assert sorted(added) == [folder.name for folder in module_folders()]
    assert added[0] == "SpineSegExtension", "it hosts the library that the others import"
    assert re.search(r"^project\(SpineSeg\)$", text, re.MULTILINE)
    assert 'set(EXTENSION_DEPENDS "PyTorch")' in text


def test_installed_modules_do_not_overwrite_each_other() -> None:
    # Slicer installs all modules of an extension into one folder.
    names = Counter(name for folder in module_folders() for name in listed(folder))
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("folder", module_folders(), ids=name_of)
def test_module_folder_holds_one_module(folder: Path) -> None:
    # Slicer takes every Python file directly in a module folder for a module.
    assert [path.name for path in folder.glob("*.py")] == [f"{folder.name}.py"]
