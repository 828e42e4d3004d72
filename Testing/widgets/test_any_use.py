"""Sequences of what users do, in any order: no error unseen, no panel that stays locked."""

from __future__ import annotations

import random

import pytest
import slicer
from panelcases import CASES, FractureCase, Steps, visibleState
from SpineSegMRML.landmarks import addLandmarksNode

ACTIONS = 25
DURING = ["press", "deleteNode", "closeScene", "leave", "enter", "reload", "chooseOthers"]
ALWAYS = [
    *DURING, "addInput", "chooseInput", "run", "run", "run", "press", "addPoint", "saveAndLoad"
]  # fmt: skip


class User:
    """Does what a user may do with a panel; `during` holds while a run is under way."""

    def __init__(self, case, scene, app, folder, seed):
        self.case, self.scene, self.app, self.folder = case, scene, app, folder
        self.random = random.Random(seed)
        self.done: list[str] = []

    @property
    def panel(self):
        panel = slicer.util.getModuleWidget(self.case.name)
        self.case.stayHere(panel)
        self.case.setRunner(panel, Steps(self.case.answer, lambda: self.maybe(DURING)))
        return panel

    def act(self, names):
        name = self.random.choice(names)
        self.done.append(name)
        if name in ("chooseInput", "chooseOthers", "run", "press"):
            self.enter()  # the panel of a module that was left is not to be seen
        getattr(self, name)()
        self.app.processEvents()

    def addInput(self):
        self.case.addInput(self.scene)

    def chooseInput(self):
        combo = self.panel.ui.inputVolumeSelector
        count = combo.nodeCount()
        combo.setCurrentNode(combo.nodeFromIndex(self.random.randrange(count)) if count else None)

    def chooseOthers(self):
        for widget in vars(self.panel.ui).values():
            if widget.className() == "qMRMLNodeComboBox" and widget.nodeCount():
                index = self.random.randrange(-1, widget.nodeCount())
                widget.setCurrentNode(widget.nodeFromIndex(index) if index >= 0 else None)

    def run(self):
        self.panel.ui.applyButton.click()

    def maybe(self, names):
        if self.random.random() < 0.6:
            self.act(names)

    def press(self):
        buttons = [w for w in vars(self.panel.ui).values() if w.className() == "QPushButton"]
        self.random.choice(buttons).click()

    def deleteNode(self):
        nodes = [self.scene.GetNthNode(i) for i in range(self.scene.GetNumberOfNodes())]
        kinds = ("Volume", "Segmentation", "Table", "Markups")
        nodes = [n for n in nodes if n.GetClassName().removeprefix("vtkMRML").startswith(kinds)
                 or n.IsA("vtkMRMLScalarVolumeNode")]  # fmt: skip
        nodes = [n for n in nodes if not n.IsA("vtkMRMLDisplayNode")]
        if nodes:
            self.scene.RemoveNode(self.random.choice(nodes))

    def addPoint(self):
        kind = "vtkMRMLMarkupsFiducialNode"
        count = self.scene.GetNumberOfNodesByClass(kind)
        points = [self.scene.GetNthNodeByClass(i, kind) for i in range(count)]
        node = self.random.choice(points) if points else addLandmarksNode(self.scene, [], "points")
        node.AddControlPointWorld(*(self.random.uniform(-50, 50) for _ in range(3)))

    def movePoint(self):
        kind = "vtkMRMLMarkupsFiducialNode"
        count = self.scene.GetNumberOfNodesByClass(kind)
        points = [self.scene.GetNthNodeByClass(i, kind) for i in range(count)]
        points = [node for node in points if node.GetNumberOfControlPoints()]
        if points:
            node = self.random.choice(points)
            index = self.random.randrange(node.GetNumberOfControlPoints())
            position = (self.random.uniform(-50, 50) for _ in range(3))
            node.SetNthControlPointPosition(index, *position)

    def selectRow(self):
        views = [w for w in vars(self.panel.ui).values() if w.className() == "qMRMLTableView"]
        self.random.choice(views).selectRow(self.random.randrange(6))

    def closeScene(self):
        self.scene.Clear(False)

    def leave(self):
        self.panel.parent.exit()

    def enter(self):
        self.panel.parent.enter()

    def reload(self):
        # As the application does it: from the panel that is open.
        slicer.util.reloadScriptedModule(self.case.name)
        self.panel.parent.enter()

    def saveAndLoad(self):
        self.scene.SetURL(str(self.folder / f"{len(self.done)}.mrml"))
        self.scene.Commit()
        self.scene.Connect()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_no_order_of_actions_breaks_a_panel(
    openPanel, case, seed, application, slicerApp, tmp_path, messages, errors
):
    openPanel(case.name)
    user = User(case, application.scene, slicerApp, tmp_path, seed)
    for _ in range(ACTIONS):
        user.act(ALWAYS)
        assert errors == [], user.done
        assert messages == [], user.done
        panel = user.panel
        if panel._parameterNode is not None:
            text, _, bar, _, inputs, _ = visibleState(panel)
            assert (text, bar, inputs) == (case.apply, False, True), user.done


@pytest.mark.parametrize("seed", range(4))
def test_no_order_of_actions_breaks_the_search_for_fractures(
    openPanel, seed, application, slicerApp, tmp_path, messages, errors
):
    import qt
    from standin.ctkwidgets import ctkMessageBox

    openPanel(FractureCase.name)
    user = User(FractureCase, application.scene, slicerApp, tmp_path, seed)
    # A run asks for points that were moved: any answer is as good as another.
    answers = [user.random.choice((qt.QMessageBox.Yes, qt.QMessageBox.No)) for _ in range(99)]
    ctkMessageBox.answers.extend(answers)
    for _ in range(ACTIONS):
        user.act([*ALWAYS, "movePoint", "movePoint", "selectRow"])
        assert errors == [], user.done
        others = [m for m in messages if not m["text"].startswith(FractureCase.question)]
        assert others == [], user.done
        if user.panel._parameterNode is not None:
            text, _, bar, _, inputs, _ = visibleState(user.panel)
            assert (text, bar, inputs) == (FractureCase.apply, False, True), user.done
