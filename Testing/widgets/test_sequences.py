"""Whole sessions in any order, over all panels: no error unseen, and no edit lost.

20 sequences by default; ``SPINESEG_SEQUENCES=200`` for more, and ``SPINESEG_FIRST_SEQUENCE`` to
begin with another.
"""

from __future__ import annotations

import os
import random

import clickworker
import numpy as np
import pytest
import slicer
from FractureDetectLib import Points
from panelcases import FractureCase, FractureSteps, Steps, TranslateCase, bodiesAlone, updated
from sessionanswers import searched, segmented, translated
from spineseg import labels
from spineseg.measure.spine_angles import measure_spine
from SpineSegMRML import guide, segments, stale, volumes
from SpineSegMRML.cobbjobs import SpineFound
from SpineSegMRML.layers import fingerprint, masks

ACTIONS = 16
FIRST = int(os.environ.get("SPINESEG_FIRST_SEQUENCE", "0"))
COUNT = int(os.environ.get("SPINESEG_SEQUENCES", "20"))
HOME, SEGMENT, TRANSLATE, COBB, FRACTURE = MODULES = (
    "SpineSegExtension",
    "VertebraSegment",
    "CycleGANTranslate",
    "CobbAngle",
    "FractureDetect",
)
DURING = ["cancel", "cancel", "edit", "edit", "movePoint", "deleteNode", "closeScene", "visit",
          "reload"]  # fmt: skip
ALWAYS = [
    *["addScan", "run", "run", "run", "run", "run", "movePoint", "movePoint", "movePoint"],
    *["edit", "edit", "edit", "edit", "edit", "edit", "edit", "rename", "refresh", "refresh"],
    *["visit", "visit", "press", "press", "export", "home", "undo", "cancel", "save", "save"],
    *["load", "reload", "deleteNode", "closeScene"],
]
# What a user presses without knowing: not what asks for files or leaves the panel.
PRESSED = ("applyButton", "undoButton", "redoButton", "updateButton", "refreshButton",
           "savePairButton", "thresholdButton", "asFoundButton", "exportButton", "mapButton",
           "previewButton")  # fmt: skip


class Session:
    """Does what a user may do, and remembers every edit until the user gives it up.

    Attributes
    ----------
    edits : dict of (str, str) to (str, str)
        Node and segment → fingerprint of its voxels, and its name.
    renamed : set of (str, str)
        Those that the user has named.
    points : dict of (str, int) to (int, array)
        Node and label → which of a vertebra's six points was moved last, and where to (RAS mm).
    """

    def __init__(self, openPanel, scene, app, folder, seed):
        self.openPanel, self.scene, self.app, self.folder = openPanel, scene, app, folder
        self.random = random.Random(seed)
        self.opened = []
        self.module = HOME
        self.done = []
        self.edits = {}
        self.renamed = set()
        self.points = {}
        self.givenUp = None  # the node whose points the search under way replaces
        self.saved = None
        self.visit(HOME)
        self.run()

    # What a user sees

    def panel(self, name=None):
        panel = slicer.util.getModuleWidget(name or self.module)
        steps = Steps(lambda volume: None, self.meanwhile)
        if panel.__class__.__name__.startswith(SEGMENT):
            steps._answer = segmented
            panel.logic._runner, panel.logic._updater = steps, updated
        elif panel.__class__.__name__.startswith(TRANSLATE):
            steps._answer = translated
            panel.logic._runner, panel.logic.threshold._thresholder = steps, bodiesAlone
        elif panel.__class__.__name__.startswith(COBB):
            steps._answer = lambda volume: SpineFound(measure_spine(volume))
            panel.logic.spines._runner = steps
        elif panel.__class__.__name__.startswith(FRACTURE):
            steps = FractureSteps(None, self.meanwhile)
            steps._answer = lambda volume: searched(volume, steps.segmentation)
            panel.logic._runner = steps
            FractureCase.stayHere(panel)
        return panel

    def segmentation(self):
        """Return what the open panel works on, or any segmentation of the scene."""
        parameters = getattr(self.panel(), "_parameterNode", None)
        node = getattr(parameters, "segmentation", None)
        kind = "vtkMRMLSegmentationNode"
        count = self.scene.GetNumberOfNodesByClass(kind)
        return node or (
            self.scene.GetNthNodeByClass(self.random.randrange(count), kind) if count else None
        )

    # Actions

    def act(self, names):
        name = self.random.choice(names)
        self.done.append(name)
        getattr(self, name)()
        self.app.processEvents()

    def meanwhile(self):
        if self.random.random() < 0.4:
            self.act(DURING)

    def visit(self, name=None):
        name = name or self.random.choice(MODULES)
        if self.opened:
            self.panel().parent.exit()
        self.module = name
        if name in self.opened:
            self.panel().parent.enter()
        else:
            self.openPanel(name)
            self.opened.append(name)

    def home(self):
        self.visit(HOME)
        combo = self.panel().ui.scanSelector
        if combo.nodeCount():
            combo.setCurrentNode(combo.nodeFromIndex(self.random.randrange(combo.nodeCount())))
        scan = combo.currentNode()
        assert len(guide.steps(scan)) == len(guide.STEPS)

    def addScan(self, name=None):
        if (name or self.random.choice(("ct", "mr"))) == "mr":
            return TranslateCase.addInput(self.scene)
        return volumes.addVolumeNode(self.scene, clickworker.scan(), "ct")

    def run(self):
        places = (SEGMENT, SEGMENT, COBB, TRANSLATE, FRACTURE, FRACTURE)
        self.visit(self.random.choice(places if self.segmentation() else (SEGMENT,)))
        panel = self.panel()
        parameters = panel._parameterNode
        if self.module == COBB:
            parameters.source = type(parameters.source)("segmentation")
            parameters.segmentation = self.segmentation()
        elif self.module == FRACTURE and self.random.random() < 0.8:
            parameters.segmentation = self.segmentation()
            parameters.inputVolume = self.sourceOf(parameters.segmentation)
        else:
            self.chooseScan(panel)
        panel.ui.applyButton.click()
        self.givenUp = None

    def keeps(self, text):
        """Answer whether corrections are kept; they are given up in one of five cases."""
        keep = self.random.random() < 0.8
        if not keep and text.startswith(FractureCase.question):
            self.givenUp = slicer.util.getModuleWidget(FRACTURE)._parameterNode.segmentation
            self.forgetPoints(self.givenUp.GetID())
        elif not keep:
            chosen = slicer.util.getModuleWidget(SEGMENT)._parameterNode.segmentation.GetID()
            self.edits = {key: value for key, value in self.edits.items() if key[0] != chosen}
        return keep

    def chooseScan(self, panel):
        """Choose a scan that the module is for; add one if there is none."""
        kind = "vtkMRMLScalarVolumeNode"
        count = self.scene.GetNumberOfNodesByClass(kind)
        nodes = [self.scene.GetNthNodeByClass(index, kind) for index in range(count)]
        name = "mr" if self.module == TRANSLATE else "ct"
        fitting = [n for n in nodes if n.GetName() == name and n.GetImageData() is not None]
        if not fitting:
            fitting = [self.addScan(name)]
        panel._parameterNode.inputVolume = self.random.choice(fitting)

    def cancel(self):
        panel = self.panel()
        if self.module != HOME and panel.logic.running:
            panel.ui.applyButton.click()

    def edit(self):
        """Erase a slab of a segment, or fill it up."""
        node = self.segmentation()
        ids = node.GetSegmentation().GetSegmentIDs() if node is not None else ()
        source = self.sourceOf(node)
        if not ids or source is None:
            return
        segmentId = self.random.choice(ids)
        mask = masks(node, source).get(segmentId)
        if mask is None or len(mask.array) < 3:
            return
        array = mask.array.copy()
        slab = self.random.randrange(len(array))
        array[slab] = self.random.random() < 0.3
        if np.array_equal(array, mask.array):
            array[slab] = False
        if np.array_equal(array, mask.array):
            return  # a stroke that changes nothing is none
        image = segments._imageOf(array.astype(np.uint8), mask.low, node, source)
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, segmentId)
        self.remember(node, segmentId)

    def movePoint(self):
        """Move one of a vertebra's six points."""
        kind = "vtkMRMLSegmentationNode"
        count = self.scene.GetNumberOfNodesByClass(kind)
        nodes = [self.scene.GetNthNodeByClass(index, kind) for index in range(count)]
        nodes = [n for n in nodes if n is not self.givenUp and Points.listsOf(n)]
        if not nodes:
            return
        node = self.random.choice(nodes)
        lists = Points.listsOf(node)
        label = self.random.choice(list(lists))
        place = self.random.randrange(lists[label].GetNumberOfControlPoints())
        to = np.array(lists[label].GetNthControlPointPositionWorld(place))
        to += [self.random.uniform(-3, 3) for _ in range(3)]
        lists[label].SetNthControlPointPositionWorld(place, *to)
        self.points[node.GetID(), label] = (place, to)

    def forgetPoints(self, nodeId):
        self.points = {key: value for key, value in self.points.items() if key[0] != nodeId}

    def rename(self):
        node = self.segmentation()
        ids = node.GetSegmentation().GetSegmentIDs() if node is not None else ()
        if not ids or self.sourceOf(node) is None:
            return
        segmentId = self.random.choice(ids)
        name = self.random.choice(("T7", "T8", "C5"))
        node.GetSegmentation().GetSegment(segmentId).SetName(name)
        self.renamed.add((node.GetID(), segmentId))
        self.remember(node, segmentId)

    def remember(self, node, segmentId):
        self.edits[node.GetID(), segmentId] = self.now(node, segmentId)

    def now(self, node, segmentId):
        mask = masks(node, self.sourceOf(node)).get(segmentId)
        return fingerprint(mask), segments.nameIn(node, segmentId)

    @staticmethod
    def sourceOf(node):
        if node is None:
            return None
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        source = node.GetNodeReference(role)
        return source if source is not None and source.GetImageData() is not None else None

    def refresh(self):
        button = getattr(self.panel().ui, "refreshButton", None)
        if button is not None and button.visible:
            button.click()
            parameters = self.panel()._parameterNode
            node = getattr(parameters, "segmentation", None)
            scan = self.sourceOf(node)
            if self.module == SEGMENT and scan and scan is parameters.inputVolume:
                assert stale.outOfDate(node, SEGMENT) == [], self.panel().ui.statusLabel.text

    def undo(self):
        self.visit(SEGMENT)
        self.panel().ui.undoButton.click()

    def export(self):
        name = self.random.choice((HOME, SEGMENT))
        self.visit(name)
        ui = self.panel().ui
        line = ui.folderPathLineEdit if name == HOME else ui.exportFolderPathLineEdit
        line.currentPath = str(self.folder / f"models{len(self.done)}")
        ui.exportButton.click()

    def press(self):
        buttons = {n: w for n, w in vars(self.panel().ui).items() if n in PRESSED}
        name = self.random.choice(list(buttons))
        if self.module == FRACTURE and name in ("undoButton", "asFoundButton"):
            self.points = {}  # the user wants points back where they were
        buttons[name].click()

    def deleteNode(self):
        nodes = [self.scene.GetNthNode(i) for i in range(self.scene.GetNumberOfNodes())]
        kinds = ("ScalarVolume", "Segmentation", "Table")
        nodes = [n for n in nodes if n.GetClassName().removeprefix("vtkMRML").startswith(kinds)]
        nodes = [n for n in nodes if not n.IsA("vtkMRMLDisplayNode")]
        nodes = [n for n in nodes if not n.IsA("vtkMRMLStorageNode")]
        if nodes:
            node = self.random.choice(nodes)
            gone = node.GetID()
            # Without its scan a segmentation's voxels can't be compared here.
            lost = {key for key in self.edits if key[0] == gone or self.sourceIs(key[0], node)}
            self.edits = {k: v for k, v in self.edits.items() if k not in lost}
            self.forgetPoints(gone)
            self.scene.RemoveNode(node)

    def sourceIs(self, nodeId, scan):
        return self.sourceOf(self.scene.GetNodeByID(nodeId)) is scan

    def closeScene(self):
        self.edits, self.renamed, self.points = {}, set(), {}
        self.scene.Clear(False)

    def save(self):
        file = self.folder / f"{len(self.done)}.mrb"
        assert self.scene.WriteToMRB(str(file), None)
        self.saved = (file, dict(self.edits), set(self.renamed), dict(self.points))

    def load(self):
        if self.saved is None:
            return
        file, edits, renamed, points = self.saved
        self.scene.Clear(False)
        assert self.scene.ReadFromMRB(str(file), True, None)
        self.edits, self.renamed, self.points = dict(edits), set(renamed), dict(points)

    def reload(self):
        slicer.util.reloadScriptedModule(self.module)
        self.panel().parent.enter()

    # What must be so

    def check(self):
        for (nodeId, segmentId), expected in self.edits.items():
            node = self.scene.GetNodeByID(nodeId)
            assert node is not None, "the segmentation with an edit is gone"
            assert segmentId in node.GetSegmentation().GetSegmentIDs(), "an edited segment is gone"
            found = self.now(node, segmentId)
            assert found[0] == expected[0], f"strokes on {expected[1]} are lost"
            if (nodeId, segmentId) in self.renamed:
                assert found[1] == expected[1], f"the name {expected[1]} is lost"
        for (nodeId, label), (place, expected) in self.points.items():
            node = self.scene.GetNodeByID(nodeId)
            assert node is not None, "the segmentation with a moved point is gone"
            there, name = Points.listsOf(node), labels.display_name(label)
            if label not in there and name not in self.namesIn(node):
                continue  # searched again after it was renamed or removed
            assert label in there, f"the points of {name} are gone"
            found = there[label].GetNthControlPointPositionWorld(place)
            assert np.allclose(found, expected, atol=0.01), f"a point of {name} is back"

    @staticmethod
    def namesIn(node):
        ids = node.GetSegmentation().GetSegmentIDs()
        return [segments.nameIn(node, segmentId) for segmentId in ids]


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_no_session_ends_in_an_error_or_loses_an_edit(
    openPanel, application, slicerApp, tmp_path, messages, errors, monkeypatch, seed
):
    session = Session(openPanel, application.scene, slicerApp, tmp_path, seed)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", session.keeps)
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda **_: None)
    for _ in range(ACTIONS):
        session.act(ALWAYS)
        assert errors == [], session.done
        # What is refused with a sentence is well; what nobody thought of is not.
        assert not [m for m in messages if "unexpected" in m["text"]], session.done
        try:
            session.check()
        except AssertionError as error:
            raise AssertionError(f"{error}: {session.done}") from error
        if session.module != HOME:
            assert not session.panel().logic.running, session.done
