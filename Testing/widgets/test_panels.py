"""What every panel does alike: binding, running, cancelling, errors, and what a user breaks."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest
import slicer
from panelcases import CASES, STEPS, Steps, nodesOf, visibleState
from spineseg.errors import MemoryLimitError
from SpineSegMRML import dependencies, jobs

MODULES = (*CASES, "CobbAngle", "FractureDetect")


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request):
    return CASES[request.param]


@pytest.fixture
def panel(openPanel, case):
    return openPanel(case.name)


@pytest.fixture
def node(panel, case, scene):
    """The input, chosen."""
    added = case.addInput(scene)
    setattr(panel._parameterNode, case.input, added)
    return added


@pytest.fixture
def scene(application):
    return application.scene


def values(panel):
    parameters = panel._parameterNode
    return {name: parameters.getValue(name) for name in parameters.allParameters}


def bound(panel):
    """Return the bound widgets by the name of their parameter."""
    named = ((w.property("SlicerParameterName"), w) for w in vars(panel.ui).values())
    return {name: widget for name, widget in named if name}


@pytest.mark.parametrize("module", MODULES)
def test_every_parameter_has_a_widget_and_is_bound_both_ways(openPanel, module, scene, tmp_path):
    panel, changed = openPanel(module), []
    for name, widget in bound(panel).items():
        before = panel._parameterNode.getValue(name)
        kind = widget.className()
        if kind == "qMRMLNodeComboBox":
            node = scene.AddNewNodeByClass(widget.nodeTypes[0])
            widget.setCurrentNode(node)
            assert panel._parameterNode.getValue(name) is node, name
            setattr(panel._parameterNode, name, before)
            assert widget.currentNode() is before, name
        elif kind == "QComboBox":
            last = widget.count - 1
            assert last > 0, f"{name} leaves no choice"
            index = widget.currentIndex
            widget.currentIndex = last if index != last else 0
            assert panel._parameterNode.getValue(name) is not before, name
            setattr(panel._parameterNode, name, before)
            assert widget.currentIndex == index, name
        elif kind == "QCheckBox":
            widget.checked = not before
            assert panel._parameterNode.getValue(name) is not before, name
            setattr(panel._parameterNode, name, before)
            assert widget.checked is before, name
        elif kind == "ctkPathLineEdit":
            widget.currentPath = str(tmp_path)
            assert panel._parameterNode.getValue(name) == tmp_path, name
            setattr(panel._parameterNode, name, before)
            assert before == Path(), name
            assert widget.currentPath == "", name
        elif kind == "ctkSliderWidget":
            widget.value = widget.minimum
            assert panel._parameterNode.getValue(name) == widget.minimum, name
            setattr(panel._parameterNode, name, before)
            assert widget.value == pytest.approx(before), name
        else:
            assert kind == "ctkRangeWidget", f"{name}: a widget that this test does not know"
            widget.setValues(widget.minimum, widget.maximum)
            assert panel._parameterNode.getValue(name).minimum == widget.minimum, name
            setattr(panel._parameterNode, name, before)
            assert widget.minimumValue == before.minimum, name
        changed.append(name)
    assert set(changed) == set(panel._parameterNode.allParameters)


@pytest.mark.parametrize("module", MODULES)
def test_every_control_explains_itself(openPanel, module):
    controls = ("QPushButton", "QCheckBox", "QComboBox", "QSlider", "qMRMLNodeComboBox")
    silent = [
        w.name
        for w in vars(openPanel(module).ui).values()
        if w.className() in controls or w.className().startswith("ctk")
        if w.className() != "ctkCollapsibleButton"
        if not w.toolTip
    ]
    assert silent == []


def test_the_button_says_why_it_can_not_be_used(panel, case, scene):
    button = panel.ui.applyButton
    assert (button.text, button.enabled, button.toolTip) == (case.apply, False, case.noInput)
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    setattr(panel._parameterNode, case.input, empty)
    assert not button.enabled
    assert button.toolTip == "“empty” has no voxels."
    setattr(panel._parameterNode, case.input, case.addInput(scene))
    assert button.enabled
    assert button.toolTip not in ("", case.noInput)


def test_only_a_volume_that_can_be_chosen_is_chosen_at_first(openPanel, case, scene):
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    hidden = case.addInput(scene, "hidden")
    hidden.SetHideFromEditors(True)
    panel = openPanel(case.name)
    assert panel._parameterNode.getValue(case.input) is None
    node = case.addInput(scene)
    panel.parent.exit()
    panel.parent.enter()
    assert panel._parameterNode.getValue(case.input) is node


def test_a_run_in_a_child_process_shows_its_progress_and_its_result(panel, case, node, messages):
    worker = [sys.executable, case.chooseTiny(panel)]
    child = {"VertebraSegment": jobs.segmentInChild, "CycleGANTranslate": jobs.translateInChild}
    case.setRunner(panel, functools.partial(child[case.name], command=worker))
    seen = []
    shown = panel.panel.onProgress

    def onProgress(report):
        shown(report)
        seen.append(visibleState(panel))

    panel.panel.onProgress = onProgress
    panel.ui.applyButton.click()
    assert messages == []
    assert {state[:3] for state in seen} == {("Cancel", True, True)}
    assert {state[4] for state in seen} == {False}
    percent = [state[3] for state in seen]
    assert percent == sorted(percent)
    assert percent[-1] == 100
    text, enabled, bar, _, inputs, status = visibleState(panel)
    assert (text, enabled, bar, inputs) == (case.apply, True, False, True)
    assert "the level of 1 of them is unsure." in status
    for name in case.results:
        assert panel._parameterNode.getValue(name) is not None
        assert bound(panel)[name].currentNode() is panel._parameterNode.getValue(name)
    assert panel.ui.tableView.visible
    assert panel.ui.tableView.mrmlTableNode() is panel._parameterNode.resultTable
    assert panel.ui.segmentEditorWidget.segmentationNode() is panel._parameterNode.segmentation


def test_what_is_missing_is_asked_for_once_and_nothing_runs_without_it(
    panel, case, node, messages, monkeypatch
):
    import qt
    from standin.ctkwidgets import ctkMessageBox

    absent = dependencies.Package("no_such_package", "no-such-package>=1", 30)
    monkeypatch.setattr(dependencies, "missing", lambda packages=(): [absent])
    steps = Steps(case.answer)
    case.setRunner(panel, steps)
    ctkMessageBox.answers.append(qt.QMessageBox.Cancel)
    panel.ui.applyButton.click()
    assert "30 MB" in messages[0]["text"]
    assert len(messages) == 1
    ctkMessageBox.answers.append(qt.QMessageBox.Ok)
    panel.ui.applyButton.click()  # the stand-in installs nothing
    assert messages[-1]["text"].startswith("no-such-package>=1 could not be installed.")
    assert steps.seen == []
    assert visibleState(panel)[:3] == (case.apply, True, False)


def test_cancel_cancels(panel, case, node, scene, messages):
    before = nodesOf(scene)
    steps = Steps(case.answer, panel.ui.applyButton.click, lambda: visibleState(panel))
    case.setRunner(panel, steps)
    panel.ui.applyButton.click()
    assert len(steps.seen) < STEPS
    assert nodesOf(scene) == before
    text, enabled, bar, _, inputs, status = visibleState(panel)
    assert (text, enabled, bar, inputs) == (case.apply, True, False, True)
    assert "cancel" in status.lower()
    assert messages == []
    case.setRunner(panel, Steps(case.answer))
    panel.ui.applyButton.click()
    assert panel._parameterNode.segmentation is not None


def test_while_it_cancels_the_button_can_not_be_pressed_again(panel, case, node):
    states = []

    def user():
        panel.ui.applyButton.click()
        states.append(visibleState(panel))

    case.setRunner(panel, Steps(case.answer, user))
    panel.ui.applyButton.click()
    assert [(s[0], s[1], s[5]) for s in states] == [("Cancel", False, "Cancelling…")]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            MemoryLimitError("There is not enough memory.", "Close other programs.", "4 GB"),
            "There is not enough memory. Close other programs.",
        ),
        (ZeroDivisionError("division by zero"), None),
    ],
    ids=["known", "unexpected"],
)
def test_an_error_is_one_sentence_with_its_details_folded(
    panel, case, node, scene, messages, error, sentence
):
    def fail(volume):
        raise error

    before = nodesOf(scene)
    case.setRunner(panel, Steps(fail))
    panel.ui.applyButton.click()
    assert nodesOf(scene) == before
    (box,) = messages
    text, enabled, bar, _, inputs, status = visibleState(panel)
    assert (text, enabled, bar, inputs) == (case.apply, True, False, True)
    assert box["text"] == status
    assert "\n" not in status
    assert "Traceback" not in status
    assert box["detailedText"]
    assert sentence is None or status == sentence


def test_the_scene_is_closed_in_the_middle_of_a_run(panel, case, node, scene, messages):
    case.setRunner(panel, Steps(case.answer, lambda: scene.Clear(False)))
    panel.ui.applyButton.click()
    assert messages == []
    assert nodesOf(scene) == []
    text, enabled, bar, _, inputs, _ = visibleState(panel)
    assert (text, enabled, bar, inputs) == (case.apply, False, False, True)
    assert panel.ui.applyButton.toolTip == case.noInput
    setattr(panel._parameterNode, case.input, case.addInput(scene))
    case.setRunner(panel, Steps(case.answer))
    panel.ui.applyButton.click()
    assert panel._parameterNode.segmentation is not None


@pytest.mark.parametrize("another", [False, True], ids=["alone", "with-another"])
def test_the_volume_is_deleted_in_the_middle_of_a_run(panel, case, node, scene, messages, another):
    rest = [case.addInput(scene, "another")] if another else []
    case.setRunner(panel, Steps(case.answer, lambda: scene.RemoveNode(node)))
    panel.ui.applyButton.click()
    assert messages == []
    assert "closed" in panel.ui.statusLabel.text
    assert [name for _, name in nodesOf(scene)] == [n.GetName() for n in rest]
    assert panel.ui.applyButton.text == case.apply
    assert panel.ui.applyButton.toolTip == case.noInput


def test_what_takes_the_result_is_deleted_in_the_middle_of_a_run(panel, case, node, scene):
    case.setRunner(panel, Steps(case.answer))
    panel.ui.applyButton.click()
    old = [panel._parameterNode.getValue(name) for name in case.results]

    def user():
        for result in old:
            scene.RemoveNode(result)

    case.setRunner(panel, Steps(case.answer, user))
    panel.ui.applyButton.click()
    for name, before in zip(case.results, old):
        now = panel._parameterNode.getValue(name)
        assert now is not None, name
        assert now is not before, name
        assert now.GetScene() is scene, name


def test_nodes_are_deleted_while_nothing_runs(panel, case, node, scene):
    case.setRunner(panel, Steps(case.answer))
    panel.ui.applyButton.click()
    for name in case.results:
        scene.RemoveNode(panel._parameterNode.getValue(name))
        assert panel._parameterNode.getValue(name) is None, name
    assert not panel.ui.tableView.visible
    assert panel.ui.segmentEditorWidget.segmentationNode() is None
    assert not panel.ui.exportButton.enabled
    scene.RemoveNode(node)
    assert panel.ui.applyButton.toolTip == case.noInput


def test_a_chooser_does_not_go_on_to_a_node_that_nobody_chose(panel, case, node, scene):
    case.setRunner(panel, Steps(case.answer))
    panel.ui.applyButton.click()
    for name in (case.input, *case.results):
        gone = panel._parameterNode.getValue(name)
        scene.AddNewNodeByClass(gone.GetClassName(), "of another patient")
        scene.RemoveNode(gone)
        assert panel._parameterNode.getValue(name) is None, name
        assert bound(panel)[name].currentNode() is None, name


def test_the_scene_is_closed_and_another_is_opened(panel, case, node, scene):
    case.setRunner(panel, Steps(case.answer))
    panel.ui.applyButton.click()
    scene.Clear(False)
    assert not panel.ui.applyButton.enabled
    assert not panel.ui.tableView.visible
    assert [v for name, v in values(panel).items() if name in case.results] == [None] * len(
        case.results
    )
    setattr(panel._parameterNode, case.input, case.addInput(scene))
    panel.ui.applyButton.click()
    assert panel._parameterNode.resultTable.GetNumberOfRows() > 0


def test_a_saved_scene_brings_its_choices_back(panel, case, node, scene, tmp_path):
    panel.ui.deviceComboBox.currentIndex = 1
    panel.ui.exportFolderPathLineEdit.currentPath = str(tmp_path)
    before = values(panel)
    path = tmp_path / "scene.mrml"
    scene.SetURL(str(path))
    assert scene.Commit()
    scene.Clear(False)
    assert values(panel) != before
    assert scene.Connect()
    after = values(panel)
    assert after.pop(case.input).GetName() == before.pop(case.input).GetName()
    assert after == before
    assert panel.ui.deviceComboBox.currentIndex == 1
    assert bound(panel)[case.input].currentNode() is panel._parameterNode.getValue(case.input)


def test_a_closed_module_leaves_the_parameters_alone(panel, case, node):
    panel.parent.exit()
    parameters = panel.logic.getParameterNode()
    bound(panel)[case.input].setCurrentNode(None)
    assert parameters.getValue(case.input) is node
    panel.parent.enter()
    assert bound(panel)[case.input].currentNode() is node


def test_a_run_goes_on_while_another_module_is_open(panel, case, node, slicerApp):
    case.setRunner(panel, Steps(case.answer, panel.parent.exit))
    panel.ui.applyButton.click()
    assert panel.logic.getParameterNode().segmentation is not None
    panel.parent.enter()
    assert panel.ui.applyButton.text == case.apply
    assert panel.ui.segmentEditorWidget.segmentationNode() is panel._parameterNode.segmentation


def test_leaving_in_a_run_and_coming_back_after_it_shows_how_it_ended(panel, case, node, scene):
    case.setRunner(panel, Steps(case.answer, panel.parent.exit))
    panel.ui.applyButton.click()
    status = panel.ui.statusLabel.text
    panel.parent.enter()
    assert panel.ui.statusLabel.text == status != ""


def test_reloading_leaves_nothing_behind(panel, case, node, slicerApp, scene):
    for _ in range(2):
        old = slicer.util.getModuleWidget(case.name)
        editor = old.ui.segmentEditorWidget.__dict__["_qt"]
        old.parent.enter()
        slicer.util.reloadScriptedModule(case.name)
        new = slicer.util.getModuleWidget(case.name)
        assert new is not old
        assert old.Observations == []
        assert not editor._shortcuts
    new.parent.enter()
    assert new._parameterNode.getValue(case.input) is node
    other = case.addInput(scene, "other")
    bound(new)[case.input].setCurrentNode(other)
    assert new._parameterNode.getValue(case.input) is other
    scene.RemoveNode(other)
    scene.Clear(False)
    slicerApp.processEvents()


def test_a_module_is_reloaded_in_the_middle_of_a_run(panel, case, node, slicerApp, messages):
    case.setRunner(panel, Steps(case.answer, lambda: slicer.util.reloadScriptedModule(case.name)))
    panel.ui.applyButton.click()
    assert messages == []
    new = slicer.util.getModuleWidget(case.name)
    assert new is not panel
    assert (new.ui.applyButton.text, new.ui.applyButton.enabled) == (case.apply, True)


def test_the_modules_own_test_passes(panel, case, slicerApp):
    getattr(sys.modules[case.name], f"{case.name}Test")("runTest").test_panel()
