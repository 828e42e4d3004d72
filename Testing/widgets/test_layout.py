"""What all panels need for the keyboard and for small docks, on nothing but an empty scene."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "SpineSegExtension", "VertebraSegment", "CycleGANTranslate", "CobbAngle", "FractureDetect"
)  # fmt: skip
BOUND = MODULES[1:]
CONTROLS = (
    "QPushButton", "QToolButton", "QComboBox", "QCheckBox", "QLineEdit", "QAbstractSpinBox",
    "QSlider", "QTableView",
)  # fmt: skip


@pytest.fixture(params=MODULES)
def panel(request, openPanel):
    return openPanel(request.param)


@pytest.fixture
def unfolded(panel):
    """The panel as Qt knows it, with every section open."""
    from panelpictures import laidOut, unfold

    unfold(panel)
    return laidOut(panel)


def isControl(widget):
    return any(widget.inherits(name) for name in (*CONTROLS, "ctkCollapsibleButton"))


def isOwn(widget):
    """Whether a widget is no part of another, as the line of a spin box is."""
    return not widget.objectName().startswith("qt_") and widget.focusProxy() is None


def chain(qt):
    """Return what the tab key goes through, from the first control to the last."""
    from PySide6.QtCore import Qt

    found, widget = [], qt.nextInFocusChain()
    while widget is not qt:
        isThere = qt.isAncestorOf(widget) and widget.isVisibleTo(qt) and isOwn(widget)
        if isThere and isControl(widget) and widget.focusPolicy() & Qt.TabFocus:
            found.append(widget)
        widget = widget.nextInFocusChain()
    return found


def test_the_tab_key_follows_what_the_eye_sees(unfolded):
    from panelpictures import placeOf

    order = chain(unfolded)
    assert len(order) > 8
    for one, next_ in zip(order, order[1:]):
        first, second = placeOf(unfolded, one), placeOf(unfolded, next_)
        isBelow = second.top() > first.center().y()
        isBeside = second.left() > first.left() and second.bottom() > first.center().y()
        assert isBelow or isBeside, f"{next_} at {second} after {one} at {first}"


def test_every_control_is_reached_with_the_tab_key(unfolded):
    from PySide6.QtWidgets import QWidget

    shown = [w for w in unfolded.findChildren(QWidget) if w.isVisibleTo(unfolded) and isControl(w)]
    whole = [w for w in shown if isOwn(w) and not any(isControl(p) for p in around(w, unfolded))]
    reached = chain(unfolded)
    assert [w.objectName() or type(w).__name__ for w in whole if w not in reached] == []


def around(widget, top):
    """Return the widgets around a widget, but for sections and what is outside of the panel."""
    found = []
    while (widget := widget.parentWidget()) is not top:
        if not widget.inherits("ctkCollapsibleButton"):
            found.append(widget)
    return found


def test_a_control_that_can_not_be_used_says_why(panel):
    name = type(panel).__name__.removesuffix("Widget")
    form = (ROOT / name / "Resources" / "UI" / f"{name}.ui").read_text(encoding="utf-8")
    classes = ("QPushButton", "QComboBox", "QCheckBox", "ctkSliderWidget", "qMRMLNodeComboBox")
    closed = [w for w in vars(panel.ui).values() if w.className() in classes and not w.enabled]
    assert closed
    for control in closed:
        assert control.toolTip.endswith("."), control.name
        # What a form says is what the control does.
        assert control.toolTip not in form, control.name


def test_sections_fold_and_unfold_with_the_space_bar(panel, slicerApp):
    from panelpictures import qtOf
    from PySide6 import QtCore, QtGui, QtWidgets

    sections = [w for w in vars(panel.ui).values() if w.className() == "ctkCollapsibleButton"]
    for section in sections:
        before = section.collapsed
        for kind in (QtCore.QEvent.KeyPress, QtCore.QEvent.KeyRelease):
            key = QtGui.QKeyEvent(kind, QtCore.Qt.Key_Space, QtCore.Qt.NoModifier)
            QtWidgets.QApplication.sendEvent(qtOf(section), key)
        assert section.collapsed is not before, section.name


def test_a_long_name_of_a_node_does_not_make_the_panel_wide(panel, application):
    from panelpictures import laidOut, unfold

    unfold(panel)
    before = laidOut(panel).minimumSizeHint().width()
    name = "3: Thorax abdomen venous 1.0 B60s sharp axial reconstruction of the whole spine"
    choosers = [w for w in vars(panel.ui).values() if w.className() == "qMRMLNodeComboBox"]
    assert choosers
    for chooser in choosers:
        node = application.scene.AddNewNodeByClass(chooser.nodeTypes[0], name)
        chooser.setCurrentNode(node)
        assert chooser.currentNode() is node, chooser.name
    assert laidOut(panel).minimumSizeHint().width() == before


@pytest.mark.parametrize("name", BOUND)
def test_a_path_that_nobody_chose_leaves_its_line_empty(name, openPanel):
    panel = openPanel(name)
    named = ((w.property("SlicerParameterName"), w) for w in vars(panel.ui).values())
    lines = {n: w for n, w in named if n and w.className() == "ctkPathLineEdit"}
    assert lines
    for field, line in lines.items():
        assert line.currentPath == "", field
        line.currentPath = "a"
        line.currentPath = ""  # emptied by hand
        panel.ui.deviceComboBox.currentIndex = 1 - panel.ui.deviceComboBox.currentIndex
        assert line.currentPath == "", field
        line.currentPath = "."  # the beginning of ./models, or of ../models
        panel.ui.deviceComboBox.currentIndex = 1 - panel.ui.deviceComboBox.currentIndex
        assert line.currentPath == ".", field
        line.currentPath = "../models"
        assert panel._parameterNode.getValue(field) == Path("../models")
        panel._parameterNode.setValue(field, Path())
        assert line.currentPath == "", field
        panel.parent.exit()
        panel.parent.enter()
        assert line.currentPath == "", field
