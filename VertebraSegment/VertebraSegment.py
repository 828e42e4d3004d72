"""The VertebraSegment module: the panel over `VertebraSegmentLib.Logic`. It computes nothing."""

import tempfile
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from spineseg.errors import CancelledError, InputError
from SpineSegMRML import dependencies, models
from SpineSegMRML.panel import Application, Binding, Panel, forgetNode
from SpineSegMRML.points import addPointsNode
from SpineSegMRML.segmentations import segmentEditorNode
from VertebraSegmentLib.CorrectSection import CorrectSection
from VertebraSegmentLib.Logic import SegmentLogic
from VertebraSegmentLib.Parameters import VertebraSegmentParameterNode

from SpineSegExtension import ensureDependencies

SEGMENT_EDITOR_TAG = "VertebraSegmentEditor"
SECTIONS = ("inputs", "all", "click", "edit", "export", "advanced")


class VertebraSegment(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Vertebra Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = [
            "SpineSegExtension",
            "Markups",
            "Segmentations",
            "SubjectHierarchy",
        ]
        self.parent.contributors = ["The SpineSegExtension contributors"]
        self.parent.helpText = _(
            "Finds, outlines and names the vertebrae of a CT scan, or the one that is clicked. "
            "Correct the result with the brush, go on from there, read the table, and export a "
            "surface model of each vertebra. Not a medical device: look at every result."
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "The networks were trained on digital spines; their model cards say on what and how "
            "well they do."
        )


class VertebraSegmentLogic(SegmentLogic, ScriptedLoadableModuleLogic):
    """The Logic with a parameter node in the application's scene."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        SegmentLogic.__init__(self)

    def getParameterNode(self):
        return VertebraSegmentParameterNode(super().getParameterNode())


class VertebraSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self.panel = None
        self.correct = None
        self._parameterNode = None
        self._binding = None
        self._editorNode = None

    # Life of the panel

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/VertebraSegment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = VertebraSegmentLogic()
        self.panel = Panel(
            self.ui,
            self.logic,
            Application(
                ensureDependencies,
                lambda error: slicer.util.errorDisplay(str(error), detailedText=error.details),
                slicer.app.processEvents,
            ),
            SECTIONS,
            _("Apply"),
            self._update,
        )
        self.correct = CorrectSection(
            self.panel,
            self.logic,
            slicer.mrmlScene,
            lambda: self._parameterNode,
            lambda: qt.QApplication.mouseButtons() != qt.Qt.NoButton,
            slicer.util.WaitCursor,
        )
        self.ui.segmentEditorWidget.setSegmentationNodeSelectorVisible(False)
        self.ui.segmentEditorWidget.setSourceVolumeNodeSelectorVisible(False)
        self.ui.applyButton.clicked.connect(self.onApplyButton)
        self.ui.exportButton.clicked.connect(self.onExportButton)
        self.ui.placeButton.toggled.connect(self.onPlaceButton)
        self.ui.placeWidget.activeMarkupsPlaceModeChanged.connect(self.ui.placeButton.setChecked)
        self.ui.undoButton.clicked.connect(lambda: self.panel.attempt(self.logic.undo))
        self.ui.redoButton.clicked.connect(lambda: self.panel.attempt(self.logic.redo))
        self.ui.updateButton.clicked.connect(self.onUpdateButton)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneReplaced)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneReplaced)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.initializeParameterNode()

    def cleanup(self):
        if self.logic:
            self.logic.cancel()
            self.logic.clicks.close()
        self.setParameterNode(None)
        self.removeObservers()
        if self.ui:
            # The widgets outlive a reload: they would answer beside the new ones.
            self._leaveEditor()
            self.correct.close()
            self.ui.placeWidget.setPlaceModeEnabled(False)
            self.ui.placeWidget.setCurrentNode(None)
            self.panel.close()
        self.ui = None

    def enter(self):
        self.initializeParameterNode()
        self.correct.enter()
        self.ui.segmentEditorWidget.installKeyboardShortcuts()

    def _leaveEditor(self):
        self.correct.leave()
        self.ui.segmentEditorWidget.setActiveEffect(None)
        self.ui.segmentEditorWidget.uninstallKeyboardShortcuts()

    def exit(self):
        self._leaveEditor()
        self.ui.placeWidget.setPlaceModeEnabled(False)
        # A run goes on while another module is open, and needs its parameters.
        if not self.logic.running:
            self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.logic.cancel()
        self.logic.clicks.close()
        self.setParameterNode(None)
        self.ui.segmentEditorWidget.setSegmentationNode(None)

    def onSceneReplaced(self, caller, event):
        # Loading a scene changes the parameter node without an event of its own.
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node):
        if self._parameterNode:
            forgetNode(self._parameterNode, node)

    # Parameters

    def initializeParameterNode(self):
        self._initializeSegmentEditor()
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            # The chooser's first, for the scene's may be a label map or hidden.
            first = self.ui.inputVolumeSelector.nodeFromIndex(0)
            if first:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._binding.end()
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            self.logic.clicks.follow(None, self.onPoint)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._binding = Binding(self._parameterNode, self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            self._update()

    def _initializeSegmentEditor(self):
        node = segmentEditorNode(slicer.mrmlScene, SEGMENT_EDITOR_TAG)
        if not self.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self._updateSelected):
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._updateSelected)
        self._editorNode = node
        self.ui.segmentEditorWidget.setMRMLSegmentEditorNode(node)
        self.correct.setEditor(node)

    def _update(self, caller=None, event=None):
        """Bring the buttons, the table and the brush up to date with the parameters."""
        parameters = self._parameterNode
        if parameters is None or self.logic.running:
            return
        reason = self.logic.validate(parameters.inputVolume, parameters.method.value)
        self.panel.offer(self.ui.applyButton, reason, _("Find, outline and name the vertebrae."))
        reason = self.logic.validateExport(
            parameters.segmentation, parameters.inputVolume, parameters.exportFolder
        )
        self.panel.offer(self.ui.exportButton, reason, _("Write models for planning."))
        reason = self.logic.validate(parameters.inputVolume)
        self.panel.offer(
            self.ui.placeButton,
            reason,
            _("Click on vertebrae in a view; press again, or the right mouse button, to end."),
        )
        self.ui.placeWidget.setCurrentNode(parameters.points)
        # Later, for a view still handles the mouse when it tells of a point.
        self.logic.clicks.follow(
            parameters.points, self.onPoint, lambda handle: qt.QTimer.singleShot(0, handle)
        )
        self.ui.tableView.setMRMLTableNode(parameters.resultTable)
        self.ui.tableView.visible = parameters.resultTable is not None
        editor = self.ui.segmentEditorWidget
        if editor.segmentationNode() is not parameters.segmentation:
            editor.setSegmentationNode(parameters.segmentation)
        if parameters.segmentation and parameters.inputVolume:
            editor.setSourceVolumeNode(parameters.inputVolume)
        self.correct.update()
        self._updateSelected()

    def _updateSelected(self, caller=None, event=None):
        """Bring what concerns the selected segment, undo and redo up to date."""
        parameters = self._parameterNode
        if parameters is None or self.logic.running:
            return
        level = self.logic.clicks.levelOf(parameters.segmentation, self._selected())
        self.correct.showLevel(level)
        reason = self.logic.validateUpdate(
            parameters.segmentation, parameters.inputVolume, self._selected()
        )
        self.panel.offer(
            self.ui.updateButton,
            reason,
            _(
                "Go on from the selected vertebra: find the others again and renumber them. What "
                "you have painted, named or clicked stays as it is."
            ),
        )
        history = self.logic.clicks.history
        reason = "" if history.canUndo else _("There is nothing to undo.")
        toolTip = _("Take the last click, name or update back. The brush has an undo of its own.")
        self.panel.offer(self.ui.undoButton, reason, toolTip)
        reason = "" if history.canRedo else _("Nothing was undone.")
        self.panel.offer(self.ui.redoButton, reason, _("Do again what was undone last."))

    def _selected(self):
        return self._editorNode.GetSelectedSegmentID() or ""

    # Running

    def onApplyButton(self):
        """Start a run, or cancel what is under way: the button says which."""
        if self.logic.running:
            self.panel.cancel()
            return
        parameters = self._parameterNode
        names = self.logic.corrections.corrected(parameters.segmentation, parameters.inputVolume)
        text = _("You have corrected {names}. Keep that, and put the result beside it?")
        keep = not names or slicer.util.confirmYesNoDisplay(text.format(names=", ".join(names)))
        outcome = self._run(
            lambda: self.logic.segment(
                parameters.inputVolume,
                parameters.segmentation,
                parameters.resultTable,
                parameters.method.value,
                parameters.device.value,
                self.panel.onProgress,
                overwriteEdits=not keep,
            )
        )
        if outcome:
            parameters.resultTable = outcome.tableNode

    def onUpdateButton(self):
        """Go on from the selected vertebra."""
        parameters = self._parameterNode
        self._run(
            lambda: self.logic.updateFrom(
                parameters.segmentation,
                parameters.inputVolume,
                self._selected(),
                tableNode=parameters.resultTable,
                device=parameters.device.value,
                onProgress=self.panel.onProgress,
            )
        )

    def onPoint(self, points, point):
        """Segment at a point that was placed or moved; take it back if that can't be done."""
        parameters = self._parameterNode
        outcome = None
        if self.ui and parameters is not None and not self.logic.running:
            outcome = self._run(
                lambda: self.logic.clicks.clickPoint(
                    points,
                    point,
                    parameters.inputVolume,
                    parameters.segmentation,
                    parameters.target.value,
                    device=parameters.device.value,
                    onProgress=self.panel.onProgress,
                ),
                closed={part for part in SECTIONS if part != "click"},  # where placing goes on
                expected=(CancelledError, InputError),
            )
        if outcome is None:
            points.settle(point, point.state)
            return
        self._editorNode.SetSelectedSegmentID(outcome.segmentId)
        if outcome.level is None and self.ui:
            self.ui.clickLevelComboBox.setFocus()

    def _run(self, work, **options):
        """Do long work, choose the segmentation that it gives, and return its outcome."""
        # The panel may be left, and its parameter node with it, while the work goes on.
        parameters = self._parameterNode

        def take(outcome):
            parameters.segmentation = outcome.segmentationNode

        return self.panel.run(work, take, **options)

    # Small things

    def onPlaceButton(self, place):
        """Let the user click on vertebrae, or end that."""
        parameters = self._parameterNode
        if place and parameters is not None and parameters.points is None:
            parameters.points = addPointsNode(slicer.mrmlScene, _("Clicked vertebrae"))
            self._update()
        self.ui.placeWidget.setPlaceModeEnabled(place)

    def onExportButton(self):
        """Write models; the primary button cancels meanwhile."""
        parameters = self._parameterNode
        fileFormat = parameters.exportFormat.value
        self.panel.run(
            lambda: models.ExportOutcome(
                self.logic.exportModels(
                    parameters.segmentation,
                    parameters.inputVolume,
                    parameters.exportFolder,
                    fileFormat,
                    self.panel.onProgress,
                    parameters.exportSpace.value,
                    parameters.exportScope.value,
                )
            ),
            expected=(CancelledError, InputError),
            ensure=lambda: ensureDependencies(dependencies.EXPORT_PACKAGES.get(fileFormat, ())),
        )


class VertebraSegmentTest(ScriptedLoadableModuleTest):
    """The application's own test of this module; the rest is under Testing."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_logic()
        self.setUp()
        self.test_panel()

    def test_logic(self):
        from VertebraSegmentLib.SelfTest import runSelfTest

        with tempfile.TemporaryDirectory() as folder:
            runSelfTest(slicer.mrmlScene, Path(folder) / "models")
        self.delayDisplay(_("The logic works"))

    def test_panel(self):
        widget = slicer.util.getModuleWidget("VertebraSegment")
        widget.initializeParameterNode()
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertEqual(widget.ui.applyButton.toolTip, widget.logic.validate(None))
        for button in ("placeButton", "undoButton", "redoButton", "updateButton"):
            self.assertFalse(getattr(widget.ui, button).enabled)
        self.delayDisplay(_("The panel says why it can't run"))
