"""The VertebraSegment module: the panel over `VertebraSegmentLib.Logic`. It computes nothing."""

import tempfile
from pathlib import Path

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
from spineseg.errors import CancelledError
from spineseg.jobs import readable
from SpineSegMRML.jobs import describe
from VertebraSegmentLib.Logic import SegmentLogic
from VertebraSegmentLib.Parameters import VertebraSegmentParameterNode

from SpineSegExtension import ensureDependencies

SEGMENT_EDITOR_TAG = "VertebraSegmentEditor"


class VertebraSegment(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Vertebra Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["SpineSegExtension", "Segmentations", "SubjectHierarchy"]
        self.parent.contributors = ["The SpineSegExtension contributors"]
        self.parent.helpText = _(
            "Finds, outlines and names the vertebrae of a CT scan. Correct the result with the "
            "brush, read the table, and export a surface model of each vertebra. Not a medical "
            "device: look at every result."
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "The network was trained on digital spines; its model card says on what and how well "
            "it does."
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
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    # Life of the panel

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/VertebraSegment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = VertebraSegmentLogic()
        self.ui.segmentEditorWidget.setSegmentationNodeSelectorVisible(False)
        self.ui.segmentEditorWidget.setSourceVolumeNodeSelectorVisible(False)
        self.ui.applyButton.clicked.connect(self.onApplyButton)
        self.ui.exportButton.clicked.connect(self.onExportButton)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self._setRunning(False)
        self.initializeParameterNode()

    def cleanup(self):
        if self.logic:
            self.logic.cancel()
        self.setParameterNode(None)
        self.removeObservers()
        self.ui = None

    def enter(self):
        self.initializeParameterNode()
        self.ui.segmentEditorWidget.installKeyboardShortcuts()

    def exit(self):
        self.ui.segmentEditorWidget.setActiveEffect(None)
        self.ui.segmentEditorWidget.uninstallKeyboardShortcuts()
        # A run goes on while another module is open, and needs its parameters.
        if not self.logic.running:
            self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.logic.cancel()
        self.setParameterNode(None)
        self.ui.segmentEditorWidget.setSegmentationNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    # Parameters

    def initializeParameterNode(self):
        self._initializeSegmentEditor()
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            self._update()

    def _initializeSegmentEditor(self):
        node = slicer.mrmlScene.GetSingletonNode(SEGMENT_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(SEGMENT_EDITOR_TAG)
            node = slicer.mrmlScene.AddNode(node)
        self.ui.segmentEditorWidget.setMRMLSegmentEditorNode(node)

    def _update(self, caller=None, event=None):
        """Bring the buttons, the table and the brush up to date with the parameters."""
        parameters = self._parameterNode
        if parameters is None or self.logic.running:
            return
        reason = self.logic.validate(parameters.inputVolume, parameters.method.value)
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or _("Find, outline and name the vertebrae.")
        reason = self.logic.validateExport(
            parameters.segmentation, parameters.inputVolume, parameters.exportFolder
        )
        self.ui.exportButton.enabled = not reason
        self.ui.exportButton.toolTip = reason or _("Write a model file for each segment.")
        self.ui.tableView.setMRMLTableNode(parameters.resultTable)
        self.ui.tableView.visible = parameters.resultTable is not None
        editor = self.ui.segmentEditorWidget
        if editor.segmentationNode() is not parameters.segmentation:
            editor.setSegmentationNode(parameters.segmentation)
        if parameters.segmentation and parameters.inputVolume:
            editor.setSourceVolumeNode(parameters.inputVolume)

    # Running

    def onApplyButton(self):
        """Start a run, or cancel the one that is under way: the button says which."""
        if self.logic.running:
            self.ui.applyButton.enabled = False
            self.ui.statusLabel.text = _("Cancelling…")
            self.logic.cancel()
            return
        if not ensureDependencies():
            return
        parameters = self._parameterNode
        self._setRunning(True)
        try:
            outcome = self.logic.segment(
                parameters.inputVolume,
                parameters.segmentation,
                parameters.resultTable,
                parameters.method.value,
                parameters.device.value,
                self._onProgress,
            )
        except CancelledError as error:
            self._finish(str(error))
        # Whatever goes wrong must free the panel and reach the user as a sentence.
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        else:
            parameters.segmentation = outcome.segmentationNode
            parameters.resultTable = outcome.tableNode
            self._finish("\n".join([outcome.summary(), *outcome.warnings]))

    def _onProgress(self, report):
        if self.ui:
            self.ui.progressBar.value = int(100 * report.fraction)
            if self.ui.applyButton.enabled:
                self.ui.statusLabel.text = describe(report)
        slicer.app.processEvents()

    def _setRunning(self, running):
        self.ui.applyButton.text = _("Cancel") if running else _("Apply")
        if running:
            self.ui.applyButton.enabled = True
            self.ui.applyButton.toolTip = _("Stop; the scene stays as it is.")
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = running
        for part in ("inputs", "edit", "export", "advanced"):
            getattr(self.ui, f"{part}CollapsibleButton").enabled = not running

    def _finish(self, text):
        # The panel may have been closed, or the module reloaded, during the run.
        if not self.ui:
            return
        self._setRunning(False)
        self.ui.statusLabel.text = text
        self._update()

    def _fail(self, error):
        known = readable(error)
        self._finish(str(known))
        slicer.util.errorDisplay(str(known), detailedText=known.details)

    def onExportButton(self):
        parameters = self._parameterNode
        try:
            with slicer.util.WaitCursor():
                files = self.logic.exportModels(
                    parameters.segmentation,
                    parameters.inputVolume,
                    parameters.exportFolder,
                    parameters.exportFormat.value,
                )
        # As above.
        except Exception as error:  # noqa: BLE001
            self._fail(error)
        else:
            self.ui.statusLabel.text = _("{n} models written to {folder}.").format(
                n=len(files), folder=parameters.exportFolder
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
        self.delayDisplay(_("The panel says why it can't run"))
