"""Every widget bound to a parameter in a .ui file names a field of the parameter node."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from project_tree import module_folders, name_of, parse

FORMS = [ui for folder in module_folders() for ui in sorted(folder.glob("Resources/UI/*.ui"))]
forms = pytest.mark.parametrize("ui", FORMS, ids=name_of)


def bound_names(ui: Path) -> list[str]:
    """Return the values of the dynamic property SlicerParameterName in a form."""
    root = ElementTree.parse(ui).getroot()
    return [
        (prop.findtext("string") or "").strip()
        for prop in root.iter("property")
        if prop.get("name") == "SlicerParameterName"
    ]


def parameter_fields(folder: Path) -> set[str]:
    """Return the fields of a module's parameter node, with those of its packs after a dot.

    Empty where the module keeps no parameters.
    """
    path = folder / f"{folder.name}Lib" / "Parameters.py"
    if not path.exists():
        return set()
    classes = {node.name: node for node in parse(path).body if isinstance(node, ast.ClassDef)}

    def fields(node: ast.ClassDef) -> set[str]:
        found = set()
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                found.add(line.target.id)
                inner = classes.get(ast.unparse(line.annotation))
                found |= {f"{line.target.id}.{name}" for name in fields(inner)} if inner else set()
        return found

    wrapped = [
        node
        for node in classes.values()
        if any("parameterNodeWrapper" in ast.unparse(d) for d in node.decorator_list)
    ]
    assert len(wrapped) == 1, "one parameter node a module"
    return fields(wrapped[0])


def test_the_segmentation_module_has_a_form() -> None:
    assert "VertebraSegment.ui" in {ui.name for ui in FORMS}


@forms
def test_bound_widgets_name_parameters(ui: Path) -> None:
    names, fields = bound_names(ui), parameter_fields(ui.parents[2])
    assert len(names) == len(set(names))
    assert set(names) <= fields
    assert names or not fields, "a parameter node that no widget shows"


@forms
def test_widgets_have_names_of_their_own(ui: Path) -> None:
    widgets = [w.get("name") for w in ElementTree.parse(ui).getroot().iter("widget")]
    assert len(widgets) == len(set(widgets))
