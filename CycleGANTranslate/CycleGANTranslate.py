"""The CycleGANTranslate module: the panel over its Lib's Logic. It computes nothing."""

import tempfile
from pathlib import Path

import qt
import slicer
import vtk
from CycleGANTranslateLib.LandmarkSection import LandmarkSection
from CycleGANTranslateLib.Logic import TranslateLogic, TranslateTargets
from CycleGANTranslateLib.Parameters import CycleGANTranslateParameterNode, Overlay
from CycleGANTranslateLib.PreviewSection import PreviewSection
from CycleGANTranslateLib.Threshold import BoneSettings
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
from SpineSegMRML.segmentations import segmentEditorNode
from SpineSegMRML.stale import FreshLine

from SpineSegExtension import ensureDependencies

SEGMENT_EDITOR_TAG = "CycleGANTranslateEditor"
SECTIONS = ("inputs", "translate", "threshold", "edit", "landmarks", "export", "advanced")


class CycleGANTranslate(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MR to CT (CycleGAN)")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = [
            "SpineSegExtension",
            "Markups",
            "Segmentations",
            "SubjectHierarchy",
        ]
        self.parent.contributors = ["The SpineSegExtension contributors"]
        self.parent.helpText = _(
            "Translates an MR of the spine to a synthetic CT, thresholds its bone and separates "
            "the vertebrae. Correct them with the brush, check them by landmarks, and export a "
            "surface model of each. Not a medical device: the density of a synthetic CT is a "
            "guess, so look at every result, most of all at strong curves and at both ends."
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "After the 3D CycleGAN for scoliotic patients; the networks' model cards say on what "
            "they were trained and how well they do."
        )


class CycleGANTranslateLogic(TranslateLogic, ScriptedLoadableModuleLogic):
    """The Logic with a parameter node in the application's scene."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        TranslateLogic.__init__(self)

    def getParameterNode(self):
        return CycleGANTranslateParameterNode(super().getParameterNode())


class CycleGANTranslateWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self.panel = None
        self.fresh = None
        self.preview = None
        self.landmarks = None
        self._parameterNode = None
        self._binding = None
        self._shown = None

    # Life of the panel

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/CycleGANTranslate.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = CycleGANTranslateLogic()
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
        self.fresh = FreshLine(
            self.ui,
            slicer.mrmlScene,
            self.logic.corrections.module,
            lambda: self._parameterNode.segmentation if self._parameterNode else None,
            self.onRefreshButton,
        )
        self.ui.segmentEditorWidget.setSegmentationNodeSelectorVisible(False)
        self.ui.segmentEditorWidget.setSourceVolumeNodeSelectorVisible(False)
        self.preview = PreviewSection(
            self.panel,
            self.logic,
            lambda: self._parameterNode,
            self._bone,
            qt.QTimer(),
            self._update,
        )
        self.landmarks = LandmarkSection(
            self.panel, self.logic, slicer.mrmlScene, lambda: self._parameterNode
        )
        self.ui.applyButton.clicked.connect(self.onApplyButton)
        self.ui.thresholdButton.clicked.connect(self.onThresholdButton)
        self.ui.undoButton.clicked.connect(lambda: self.panel.attempt(self.logic.undo))
        self.ui.exportButton.clicked.connect(self.onExportButton)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneReplaced)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneReplaced)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.initializeParameterNode()

    def cleanup(self):
        if self.logic:
            self.logic.close()
        if self.ui:
            self.preview.close()
        self.setParameterNode(None)
        self.removeObservers()
        if self.ui:
            # The widgets outlive a reload: they would answer beside the new ones.
            self._leaveEditor()
            self.fresh.close()
            self.panel.close()
        self.ui = None

    def enter(self):
        self.initializeParameterNode()
        self.fresh.verify()
        self.ui.segmentEditorWidget.installKeyboardShortcuts()

    def _leaveEditor(self):
        self.ui.segmentEditorWidget.setActiveEffect(None)
        self.ui.segmentEditorWidget.uninstallKeyboardShortcuts()

    def exit(self):
        self._leaveEditor()
        self.ui.previewButton.checked = False
        # A run goes on while another module is open, and needs its parameters.
        if not self.logic.running:
            self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.logic.close()
        self.preview.forget()
        self._shown = None
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
        node = segmentEditorNode(slicer.mrmlScene, SEGMENT_EDITOR_TAG)
        self.ui.segmentEditorWidget.setMRMLSegmentEditorNode(node)
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
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._binding = Binding(self._parameterNode, self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            self._update()

    def _bone(self):
        parameters = self._parameterNode
        chosen = parameters.boneRange
        return BoneSettings(
            chosen.minimum, chosen.maximum, parameters.perSlice, parameters.medianMm
        )

    def _targets(self):
        parameters = self._parameterNode
        return TranslateTargets(
            parameters.syntheticCt,
            parameters.confidence,
            parameters.segmentation,
            parameters.bodies,
            parameters.resultTable,
        )

    def _update(self, caller=None, event=None):
        """Bring the buttons, the tables, the views and the brush up to date."""
        parameters = self._parameterNode
        if parameters is None or self.logic.running:
            return
        bone, source = self._bone(), parameters.inputVolume
        reason = self.logic.validate(source, bone=bone, targets=self._targets())
        self.panel.offer(
            self.ui.applyButton, reason, _("Translate the MR to CT and segment its vertebrae.")
        )
        self.preview.update()
        reason = "" if self.logic.canUndo else _("There is no threshold to take back.")
        toolTip = _("Take the last threshold back. The brush has an undo of its own.")
        self.panel.offer(self.ui.undoButton, reason, toolTip)
        self.landmarks.update()
        reason = self.logic.validateExport(parameters.segmentation, source, parameters.exportFolder)
        self.panel.offer(self.ui.exportButton, reason, _("Write models for planning."))
        for view, table in (
            (self.ui.tableView, parameters.resultTable),
            (self.ui.validationTableView, parameters.validationTable),
        ):
            view.setMRMLTableNode(table)
            view.visible = table is not None
        self.fresh.update()
        editor = self.ui.segmentEditorWidget
        if editor.segmentationNode() is not parameters.segmentation:
            editor.setSegmentationNode(parameters.segmentation)
        if parameters.segmentation and source:
            # On the synthetic CT the editor's own thresholds mean bone.
            editor.setSourceVolumeNode(parameters.syntheticCt or source)
        self._updateViews()

    def _updateViews(self):
        """Lay what was chosen over the MR in all slice views, and link them."""
        parameters = self._parameterNode
        over = {
            Overlay.SYNTHETIC_CT: parameters.syntheticCt,
            Overlay.CONFIDENCE: parameters.confidence,
        }.get(parameters.overlay)
        wanted = (parameters.inputVolume, over, parameters.opacity)
        # Only when something was chosen: views that the user has changed stay so.
        if wanted == self._shown or parameters.syntheticCt is None:
            return
        self._shown = wanted
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            node.SetLinkedControl(True)
        slicer.util.setSliceViewerLayers(
            background=parameters.inputVolume,
            foreground=over,
            foregroundOpacity=parameters.opacity,
        )

    # Running

    def onApplyButton(self):
        """Start a run, or cancel what is under way: the button says which."""
        if self.logic.running:
            self.panel.cancel()
            return
        parameters = self._parameterNode
        self.panel.run(
            lambda: self.logic.translate(
                parameters.inputVolume,
                self._targets(),
                bone=self._bone(),
                separate=parameters.separate.value,
                confidence=parameters.withConfidence,
                device=parameters.device.value,
                onProgress=self.panel.onProgress,
            ),
            self._takeTranslation,
        )

    def _takeTranslation(self, outcome):
        parameters = self._parameterNode
        parameters.syntheticCt = outcome.syntheticCtNode
        if outcome.confidenceNode:
            parameters.confidence = outcome.confidenceNode
        parameters.segmentation = outcome.segmentationNode
        parameters.bodies = outcome.bodiesNode
        parameters.resultTable = outcome.tableNode
        self._shown = None

    def onThresholdButton(self):
        """Segment again at the threshold that is chosen."""
        parameters = self._parameterNode
        self.ui.previewButton.checked = False
        self.panel.run(
            lambda: self.logic.threshold.apply(
                parameters.syntheticCt,
                parameters.bodies,
                parameters.segmentation,
                self._bone(),
                parameters.resultTable,
                self.panel.onProgress,
            )
        )

    # Small things

    def onRefreshButton(self):
        parameters = self._parameterNode
        if parameters is None or self.logic.running:
            return
        with slicer.util.WaitCursor():
            self.panel.attempt(
                lambda: self.logic.corrections.refresh(
                    parameters.segmentation, parameters.inputVolume
                )
            )

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


class CycleGANTranslateTest(ScriptedLoadableModuleTest):
    """The application's own test of this module; the rest is under Testing."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_logic()
        self.setUp()
        self.test_panel()

    def test_logic(self):
        from CycleGANTranslateLib.SelfTest import runSelfTest

        with tempfile.TemporaryDirectory() as folder:
            runSelfTest(slicer.mrmlScene, Path(folder) / "models")
        self.delayDisplay(_("The logic works"))

    def test_panel(self):
        widget = slicer.util.getModuleWidget("CycleGANTranslate")
        widget.initializeParameterNode()
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertEqual(widget.ui.applyButton.toolTip, widget.logic.validate(None))
        for button in ("previewButton", "thresholdButton", "undoButton", "measureButton"):
            self.assertFalse(getattr(widget.ui, button).enabled)
        self.delayDisplay(_("The panel says why it can't run"))
