"""The stand-in is as strict as PythonQt: what the application would refuse, it refuses."""

from __future__ import annotations

import enum
import pathlib
from types import SimpleNamespace
from typing import Annotated

import pytest
import slicer

FORM = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Form</class>
 <widget class="qMRMLWidget" name="Form"><layout class="QVBoxLayout" name="column">
  <item><widget class="{kind}" name="first">{properties}</widget></item>
  <item><widget class="QPushButton" name="button"/></item>
 </layout></widget>
 <connections>{connections}</connections></ui>"""


def form(tmp_path, kind="QLabel", properties="", connections=""):
    path = tmp_path / "form.ui"
    path.write_text(FORM.format(kind=kind, properties=properties, connections=connections))
    return slicer.util.loadUI(str(path))


def textOf(name, value):
    return f'<property name="{name}"><string>{value}</string></property>'


def connection(sender, signal, receiver, slot):
    tags = {"sender": sender, "signal": signal, "receiver": receiver, "slot": slot}
    return f"<connection>{''.join(f'<{k}>{v}</{k}>' for k, v in tags.items())}</connection>"


@pytest.fixture
def ui(slicerApp, tmp_path):
    """A form with a label and a button, as a panel sees it."""
    widget = form(tmp_path, properties=textOf("text", "hello"))
    result = slicer.util.childWidgetVariables(widget)
    result.whole = widget
    return result


def test_a_property_is_a_value_and_no_call(ui):
    assert ui.first.text == "hello"
    ui.first.text = "bye"
    assert ui.first.text == "bye"
    ui.first.setText("again")
    assert ui.first.text == "again"
    with pytest.raises(TypeError, match="not callable"):
        ui.first.text()
    assert ui.whole.first is not None  # a child by its name


def test_what_a_class_does_not_have_is_refused(ui):
    with pytest.raises(AttributeError, match="no attribute named 'txt'"):
        _ = ui.first.txt
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects"):
        ui.first.colour = "red"
    with pytest.raises(AttributeError, match="method 'setText' can not be overwritten"):
        ui.first.setText = "red"
    with pytest.raises(AttributeError, match="signal 'clicked' can not be overwritten"):
        ui.button.clicked = print
    with pytest.raises(AttributeError, match="not writable"):
        ui.first.width = 3
    with pytest.raises(AttributeError, match="does not accept an object of type float"):
        ui.first.text = 3.0


def test_what_the_stand_in_lacks_raises(slicerApp):
    import ctk

    line = ctk.ctkPathLineEdit()
    with pytest.raises(NotImplementedError, match="no ctkPathLineEdit.browse"):
        line.browse()
    with pytest.raises(NotImplementedError, match="no qMRMLSegmentEditorWidget.effectColumnCount"):
        slicer.qMRMLSegmentEditorWidget().effectColumnCount = 3
    with pytest.raises(NotImplementedError, match="effects"):
        slicer.qMRMLSegmentEditorWidget().setActiveEffect("Paint")


def test_signals_give_as_many_arguments_as_a_slot_takes(ui, errors):
    got = []
    ui.button.checkable = True
    ui.button.clicked.connect(lambda: got.append("none"))
    ui.button.connect("toggled(bool)", lambda on: got.append(on))
    ui.button.connect("clicked()", lambda *all_: got.append(all_))
    ui.button.click()
    assert got == [True, "none", ()]
    for signature in ("toggled(int)", "pushed()"):
        with pytest.raises(ValueError, match="no signal"):
            ui.button.connect(signature, print)
    ui.button.connect("toggled(bool)", ui.button.click)  # which takes no argument
    ui.button.checked = False
    assert [type(e) for e in errors] == [TypeError]
    errors.clear()


def test_a_connection_can_be_taken_back(ui):
    got = []
    handle = got.append
    ui.button.clicked.connect(handle)
    assert ui.button.clicked.disconnect(handle)
    assert not ui.button.clicked.disconnect(handle)
    ui.button.click()
    assert got == []


def test_errors_in_slots_and_observers_are_seen(ui, errors, application):
    ui.button.clicked.connect(lambda: 1 / 0)
    ui.button.click()
    application.scene.AddObserver(application.scene.NodeAddedEvent, lambda *_: {}["no such key"])
    application.scene.AddNewNodeByClass("vtkMRMLTextNode")
    assert [type(e) for e in errors] == [ZeroDivisionError, KeyError]
    errors.clear()


def test_a_destroyed_widget_is_not_touched(ui, slicerApp):
    from PySide6 import QtCore

    assert ui.first
    ui.whole.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    assert not ui.first
    with pytest.raises(ValueError, match="destroyed"):
        ui.first.text = "too late"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "qMRMLMagicWidget"}, "no class qMRMLMagicWidget"),
        ({"properties": textOf("colour", "red")}, "QLabel has no property colour"),
        ({"connections": connection("Form", "sceneChanged()", "first", "clear()")}, "no signal"),
        ({"connections": connection("button", "clicked(bool)", "first", "burn()")}, "no slot"),
        (
            {
                "kind": "qSlicerMarkupsPlaceWidget",
                "properties": '<property name="placeMultipleMarkups">'
                "<enum>qSlicerMarkupsPlaceWidget::Many</enum></property>",
            },
            "can't be qSlicerMarkupsPlaceWidget::Many",
        ),
    ],
)
def test_a_form_that_asks_for_what_is_not_there_is_refused(
    slicerApp, errors, tmp_path, change, problem
):
    from standin.formcheck import FormError

    with pytest.raises(FormError, match=problem):
        form(tmp_path, **change)


def test_a_scene_goes_down_the_connections_of_a_form(slicerApp, application, tmp_path):
    mrml = "mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)"
    row = connection("Form", mrml[0], "first", mrml[1])
    widget = form(tmp_path, kind="qMRMLNodeComboBox", connections=row)
    widget.setMRMLScene(application.scene)
    assert widget.first.mrmlScene() is application.scene
    with pytest.raises(ValueError, match="matching overload"):
        widget.setMRMLScene("scene")


@pytest.fixture
def chooser(slicerApp, application):
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.noneEnabled = True
    combo.setMRMLScene(application.scene)
    return combo


def test_a_chooser_follows_the_scene(chooser, application):
    told = []
    chooser.currentNodeChanged.connect(told.append)
    one = application.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "one")
    two = application.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "two")
    application.scene.AddNewNodeByClass("vtkMRMLTableNode")
    assert chooser.nodeCount() == 2
    assert chooser.currentNode() is None
    chooser.setCurrentNode(one)
    application.scene.RemoveNode(one)
    assert chooser.currentNode() is two  # as in Slicer: the row that takes its place
    application.scene.RemoveNode(two)
    assert told == [one, two, None]


class Speed(enum.Enum):
    SLOW = 1
    FAST = 2

    def label(self):
        return self.name.capitalize()


@pytest.fixture
def described(slicerApp):
    from slicer.parameterNodeWrapper import (
        Default,
        FloatRange,
        RangeBounds,
        WithinRange,
        parameterNodeWrapper,
    )

    class Described:
        volume: slicer.vtkMRMLScalarVolumeNode
        speed: Speed = Speed.FAST
        part: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
        span: Annotated[FloatRange, RangeBounds(-5.0, 5.0), Default(FloatRange(1.0, 2.0))]
        folder: pathlib.Path
        on: bool = True

    # The annotations of a local class are evaluated where it is.
    Described.__annotations__ = {
        "volume": slicer.vtkMRMLScalarVolumeNode,
        "speed": Speed,
        "part": Annotated[float, WithinRange(0.0, 1.0)],
        "span": Annotated[FloatRange, RangeBounds(-5.0, 5.0), Default(FloatRange(1.0, 2.0))],
        "folder": pathlib.Path,
        "on": bool,
    }
    return parameterNodeWrapper(Described)


def test_parameters_are_kept_in_the_node(described, application):
    from slicer.parameterNodeWrapper import FloatRange

    node = application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    one, other = described(node), described(node)
    assert (one.speed, one.part, one.on, one.volume) == (Speed.FAST, 0.5, True, None)
    assert one.folder == pathlib.Path()
    assert one.span == FloatRange(1.0, 2.0)
    one.speed, one.span, one.on = Speed.SLOW, FloatRange(0.0, 5.0), False
    assert (other.speed, other.span, other.on) == (Speed.SLOW, FloatRange(0.0, 5.0), False)
    assert node.GetParameter("speed") == "SLOW"
    one.volume = application.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    application.scene.RemoveNode(one.volume)
    assert other.volume is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("part", 1.5), ("speed", None), ("on", 1), ("folder", "text"), ("part", "0.5")],
)
def test_parameters_refuse_what_slicer_refuses(described, application, name, value):
    wrapped = described(application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    with pytest.raises((TypeError, ValueError)):
        setattr(wrapped, name, value)


def test_connect_gui_gives_no_number_as_in_slicer(described, application):
    import qt

    check = qt.QCheckBox()
    check.setProperty("SlicerParameterName", "on")
    wrapped = described(application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    assert wrapped.connectGui(SimpleNamespace(check=check)) is None
    check.checked = False
    assert not wrapped.on
    wrapped.on = True
    assert check.checked
    wrapped.disconnectGui(None)
    check.checked = False
    assert not wrapped.on  # still bound: github.com/Slicer/Slicer/issues/7547
    tag = wrapped.connectParametersToGui({"on": check})
    wrapped.disconnectGui(tag)


def test_a_slider_needs_a_range_and_a_pair_that_slicer_lacks_raises(described, application):
    import ctk
    import qt

    wrapped = described(application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    slider = ctk.ctkSliderWidget()
    slider.decimals = 1
    wrapped.connectParametersToGui({"part": slider})
    assert (slider.minimum, slider.maximum, slider.value) == (0.0, 1.0, 0.5)
    slider.value = 7.0
    assert wrapped.part == 1.0
    slider.maximum = 2.0
    assert slider.__dict__["_qt"]._slider.value() == 500  # of 1000: 1 lies halfway to 2
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        wrapped.connectParametersToGui({"folder": qt.QLabel()})


def test_a_question_without_an_answer_fails_and_nothing_is_installed(slicerApp, messages):
    from standin.ctkwidgets import ctkMessageBox

    with pytest.raises(AssertionError, match="did not expect"):
        slicer.util.confirmOkCancelDisplay("Really?")
    import qt

    ctkMessageBox.answers.append(qt.QMessageBox.Cancel)
    assert not slicer.util.confirmOkCancelDisplay("Really?")
    slicer.util.errorDisplay("It broke.", detailedText="at night")
    assert messages[-1]["text"] == "It broke."
    assert messages[-1]["detailedText"] == "at night"
    with pytest.raises(RuntimeError, match="PythonSlicer"):
        slicer.util.pip_install("nothing")


def test_a_folded_section_keeps_what_its_children_show(slicerApp, tmp_path):
    import ctk
    import qt

    box = ctk.ctkCollapsibleButton()
    column = qt.QVBoxLayout()
    box.setLayout(column)
    one, two = qt.QLabel(), qt.QLabel()
    column.addWidget(one)
    column.addWidget(two)
    two.visible = False
    box.show()
    slicerApp.processEvents()
    assert one.visible
    box.collapsed = True
    assert not one.visible
    two.visible = True
    assert not two.visible
    box.collapsed = False
    assert one.visible
    assert two.visible
