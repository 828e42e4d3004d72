"""Panels use of Qt, CTK and Slicer what their real classes have: `Testing/widgets/interfaces.json`.

What a loop or a variable hides from here, the widgets tier refuses while it runs.
"""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from project_tree import MRML, front_files, module_folders, name_of, parse
from standin import interfaces
from standin.formcheck import checkForm

FORMS = [ui for folder in module_folders() for ui in sorted(folder.glob("Resources/UI/*.ui"))]
KINDS = {"string", "strings", "bool", "int", "double", "enum", "size"}


def widgetClasses(front: Path) -> dict[str, str]:
    """Return the class of each widget in a module's forms, by the widget's name."""
    forms = sorted(front.parent.glob("Resources/UI/*.ui"))
    found = (w for ui in forms for w in ElementTree.parse(ui).getroot().iter("widget"))
    return {w.get("name", ""): w.get("class", "") for w in found}


def used(path: Path) -> list[tuple[str, str, int]]:
    """Return widget, attribute and line of each ``….ui.<widget>.<attribute>``."""
    rows = []
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            ui = node.value.value
            if ast.unparse(ui) in ("self.ui", "widget.ui"):
                rows.append((node.value.attr, node.attr, node.lineno))
    return rows


@pytest.mark.parametrize("ui", FORMS, ids=name_of)
def test_forms_ask_for_what_the_classes_have(ui: Path) -> None:
    assert checkForm(ElementTree.parse(ui).getroot()) == []


@pytest.mark.parametrize("path", front_files(), ids=name_of)
def test_panels_use_what_the_classes_have(path: Path) -> None:
    classes, rows = widgetClasses(path), used(path)
    assert rows
    unknown = [f"line {line}: no widget {name}" for name, _, line in rows if name not in classes]
    wrong = [
        f"line {line}: {classes[name]} has no {attribute}"
        for name, attribute, line in rows
        if name in classes and not interfaces.kindOf(classes[name], attribute)
    ]
    assert not unknown + wrong


def test_what_panels_share_is_used_as_the_classes_have_it() -> None:
    classes = {
        "applyButton": "QPushButton",
        "progressBar": "QProgressBar",
        "statusLabel": "QLabel",
    }
    rows = used(MRML / "panel.py")
    assert {name for name, _, _ in rows} == set(classes)
    assert all(interfaces.kindOf(classes[name], attribute) for name, attribute, _ in rows)


def test_the_list_is_sound() -> None:
    for name, row in interfaces.classes().items():
        assert row["source"], name
        assert set(row) <= {"source", "extends", "properties", "signals", "methods", "enums"}
        assert interfaces.lineage(name)[-1] == "QObject"
        kinds = {kind.partition(":")[0] for kind in interfaces.properties(name).values()}
        assert kinds <= KINDS, name
        assert all(s.endswith(")") for s in row.get("signals", [])), name
        assert set(row.get("enums", {})) <= set(interfaces.properties(name)), name


def test_a_name_that_no_class_has_is_found() -> None:
    assert interfaces.kindOf("QPushButton", "setText") == "method"
    assert interfaces.kindOf("QPushButton", "toolTip") == "property"
    assert interfaces.kindOf("ctkCollapsibleButton", "clicked") == "signal"
    assert interfaces.kindOf("QPushButton", "isEnabled") == ""
    assert interfaces.kindOf("QLabel", "clicked") == ""
