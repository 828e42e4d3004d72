"""The tutorials show and name what the panels have, and their commands are real."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from project_tree import ROOT, module_folders
from test_readme import COMMANDS

FOLDER = ROOT / "docs" / "tutorials"
STEMS = {
    "SpineSegExtension": "home",
    "VertebraSegment": "vertebra-segment",
    "CycleGANTranslate": "cyclegan-translate",
    "CobbAngle": "cobb-angle",
    "FractureDetect": "fracture-detect",
}
"""For each module the name of its tutorial and of its pictures."""
LARGEST_BYTES = 150_000
OF_THE_APPLICATION = {"DICOM", "Quantification", "Segmentation", "PyTorch"}
tutorials = pytest.mark.parametrize("stem", STEMS.values())


def prose(stem: str) -> str:
    """Return a tutorial without its blocks of code, its lines joined."""
    text = (FOLDER / f"{stem}.md").read_text(encoding="utf-8")
    return " ".join(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split())


def shown() -> str:
    """Return all that panels and their layers can say, in one text."""
    files: list[Path] = []
    for folder in module_folders():
        files += [
            *folder.glob("Resources/UI/*.ui"),
            *folder.glob("*.py"),
            *folder.glob("*Lib/*.py"),
        ]
    library = ROOT / "SpineSegExtension"
    files += [*(library / "SpineSegMRML").glob("*.py"), *(library / "spineseg").glob("*tables.py")]
    return " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in files)


SHOWN = shown()


def test_every_module_has_a_tutorial() -> None:
    assert {folder.name for folder in module_folders()} == set(STEMS)
    assert {path.stem for path in FOLDER.glob("*.md")} == set(STEMS.values())


@tutorials
def test_the_pictures_are_there(stem: str) -> None:
    named = set(re.findall(r'(?:src|srcset)="([^"]+)"', prose(stem)))
    assert named == {f"{stem}.png", f"{stem}-dark.png"}
    assert all(0 < (FOLDER / name).stat().st_size < LARGEST_BYTES for name in named)


@tutorials
def test_what_it_names_is_on_a_panel(stem: str) -> None:
    text = prose(stem).replace("**", "")
    named = {name.strip("…") for name in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text)}
    assert len(named) > 10
    unknown = {name for name in named - OF_THE_APPLICATION if name not in SHOWN}
    assert unknown == set()


@tutorials
def test_its_commands_are_real(stem: str) -> None:
    text = (FOLDER / f"{stem}.md").read_text(encoding="utf-8")
    for line in re.findall(r"^spineseg .+$", text, re.MULTILINE):
        name = next((n for n in COMMANDS if line.startswith(n)), None)
        assert name is not None, line
        known = {option for p in COMMANDS[name].params for option in p.opts}  # type: ignore[attr-defined]
        assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", line)) <= known, line
