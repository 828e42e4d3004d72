"""The FractureDetect module: the panel over `FractureDetectLib.Logic`. It computes nothing."""

import tempfile
from pathlib import Path

import qt
import slicer
import vtk
from FractureDetectLib.Logic import MODULE, FractureLogic
from FractureDetectLib.NetworkSection import NetworkSection
from FractureDetectLib.Parameters import FractureDetectParameterNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from SpineSegMRML.panel import Application, Binding, Panel, forgetNode
from SpineSegMRML.stale import FreshLine

from SpineSegExtension import ensureDependencies

SECTIONS = ("inputs", "points", "networks", "export", "advanced")
LEVEL_COLUMN = 0  # the last one says why


class FractureDetect(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Fracture Detect")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        needed = ["SpineSegExtension", "Markups", "Segmentations", "SubjectHierarchy"]
        self.parent.dependencies = needed
        self.parent.contributors = ["The SpineSegExtension contributors"]
        self.parent.helpText = _(
            "Measures the heights of the vertebrae of a CT, says which are compressed, in what way "
            "and how much (Genant's grades), and why it thinks so. Move the six points of a "
            "vertebra, and its grade follows. Not a medical device: look at every vertebra, also "
            "at those that it does not suspect."
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "Six-point morphometry and grades as in Genant et al. 1993; docs/fracture.md has all "
            "rules with their sources. Probabilities were fitted on digital patients."
        )


class FractureDetectLogic(FractureLogic, ScriptedLoadableModuleLogic):
    """The Logic with a parameter node in the application's scene."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        FractureLogic.__init__(self)

    def getParameterNode(self):
        return FractureDetectParameterNode(super().getParameterNode())


class FractureDetectWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self.panel = None
        self.networks = None
        self.fresh = None
        self._parameterNode = None
        self._binding = None
        self._shown = None
        self._filling = False

    # Life of the panel

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/FractureDetect.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = FractureDetectLogic()
        self.panel = Panel(
            self.ui,
            self.logic,
            Application(
                ensureDependencies,
                lambda error: slicer.util.errorDisplay(str(error), detailedText=error.details),
                slicer.app.processEvents,
            ),
            SECTIONS,
            _("Search"),
            self._update,
        )
        self.networks = NetworkSection(
            self.panel, self.logic, lambda: self._parameterNode, self._sayWhy, qt.QPixmap
        )
        self.fresh = FreshLine(
            self.ui,
            slicer.mrmlScene,
            MODULE,
            self._segmentation,
            self.onRefreshButton,
            self.networks.update,
        )
        self.ui.applyButton.clicked.connect(self.onApplyButton)
        self.ui.tableView.connect("selectionChanged()", self.onSelectionChanged)
        self.ui.asFoundButton.clicked.connect(
            lambda: self._tell(lambda: self.logic.asFound(self._parameterNode.segmentation))
        )
        self.ui.undoButton.clicked.connect(lambda: self._tell(self.logic.undo))
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
        if self.panel:
            self.fresh.close()
            self.panel.close()
        self.setParameterNode(None)
        self.removeObservers()
        self.ui = None

    def enter(self):
        self.initializeParameterNode()
        self.fresh.verify()

    def exit(self):
        # A run goes on while another module is open, and needs its parameters.
        if not self.logic.running:
            self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.logic.close()
        self.setParameterNode(None)

    def onSceneReplaced(self, caller, event):
        # Loading a scene changes the parameter node without an event of its own.
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node):
        if self._parameterNode:
            if node is self._parameterNode.segmentation:
                self.logic.networks.setShown(node, False)  # nothing would be left to hide it with
            elif node is self.logic.networks.mapOf(self._parameterNode.segmentation):
                qt.QTimer.singleShot(0, self._update)
            forgetNode(self._parameterNode, node)

    # Parameters

    def initializeParameterNode(self):
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
        self._shown = None  # what happened meanwhile is not shown yet
        if self._parameterNode:
            self._binding = Binding(self._parameterNode, self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            self._update()

    def _update(self, caller=None, event=None):
        """Bring the buttons, the table, the points and the colours up to date."""
        parameters = self._parameterNode
        if parameters is None or self.logic.running or not self.ui:
            return
        node = parameters.segmentation
        reason = self.logic.validate(parameters.inputVolume, node, parameters.method.value)
        toolTip = _("Measure and grade the vertebrae of this CT.")
        if node is None:
            toolTip = _("Segment the vertebrae of this CT, then measure and grade them.")
        self.panel.offer(self.ui.applyButton, reason, toolTip)
        self._updateButtons()
        self._updateShown()
        self.fresh.update()

    def _updateButtons(self):
        """Bring what concerns points and files up to date."""
        parameters, node = self._parameterNode, self._parameterNode.segmentation
        toolTip = _("Put all points back to where they were found.")
        self.panel.offer(self.ui.asFoundButton, self.logic.validateAsFound(node), toolTip)
        reason = "" if self.logic.canUndo else _("There is nothing to undo.")
        toolTip = _("Take the last move of a point back, or the last search again or “As found”.")
        self.panel.offer(self.ui.undoButton, reason, toolTip)
        reason = self.logic.validateExport(node, parameters.exportFolder)
        toolTip = _("Write report.html, fractures.csv and fractures.json as the grades are now.")
        self.panel.offer(self.ui.exportButton, reason, toolTip)

    def _updateShown(self):
        """Show the table, the points and the colours of the segmentation as they were chosen."""
        parameters, logic = self._parameterNode, self.logic
        node = parameters.segmentation
        logic.follow(node, self.onPoints, lambda handle: qt.QTimer.singleShot(0, handle))
        chosen = (node, parameters.showPoints, parameters.showSides, parameters.colorSuspects)
        if chosen != self._shown:
            other = self._shown is None or self._shown[0] is not node
            self._shown = chosen
            logic.showPoints, logic.showSides = parameters.showPoints, parameters.showSides
            logic.colorSuspects = parameters.colorSuspects
            if logic.isSearched(node):
                outcome = self._filled(lambda: logic.refresh(node))
                if other:
                    self.panel.say("\n".join([outcome.summary(), *outcome.warnings]))
        table = logic.tableOf(node)
        self._filled(lambda: self.ui.tableView.setMRMLTableNode(table))
        self.ui.tableView.visible = table is not None
        self._sayWhy()

    def _filled(self, action):
        """Do what fills the table; the view must not take it for a user's choice of a row."""
        before, self._filling = self._filling, True
        try:
            return action()
        finally:
            self._filling = before

    # Running

    def onApplyButton(self):
        """Start a search, or cancel what is under way: the button says which."""
        if self.logic.running:
            self.panel.cancel()
            return
        # The panel may be left, and its parameter node with it, while the work goes on.
        parameters = self._parameterNode
        keep = self._keeps(parameters.segmentation)

        def take(outcome):
            slicer.util.setSliceViewerLayers(background=parameters.inputVolume)
            parameters.segmentation = outcome.segmentationNode

        self.panel.run(
            lambda: self._filled(
                lambda: self.logic.search(
                    parameters.inputVolume,
                    parameters.segmentation,
                    parameters.method.value,
                    keep,
                    device=parameters.device.value,
                    onProgress=self.panel.onProgress,
                )
            ),
            take,
        )

    def _segmentation(self):
        return self._parameterNode.segmentation if self._parameterNode else None

    def onRefreshButton(self):
        """Search an edited segmentation again."""
        if not self.logic.running:
            self.ui.applyButton.click()  # nothing where it can't be pressed

    def _keeps(self, segmentationNode):
        """Ask whether points that a user has moved stay, if there are any."""
        names = self.logic.edited(segmentationNode)
        text = _("You have moved points of {names}. Keep them?").format(names=", ".join(names))
        return not names or slicer.util.confirmYesNoDisplay(text)

    # Points and vertebrae

    def onPoints(self):
        """Bring grades and table up to date with the points that were moved."""
        parameters = self._parameterNode
        if not self.ui or parameters is None or self.logic.running:
            return
        node = parameters.segmentation
        if node is None or node.GetScene() is None or not self.logic.isSearched(node):
            self._update()
            return
        outcome = self._filled(lambda: self.logic.refresh(node))
        self.panel.say("\n".join([outcome.summary(), *outcome.warnings]))
        self._updateButtons()
        self._sayWhy()

    def _tell(self, action):
        """Do something short that grades again, and show what it gave."""

        def lines():
            outcome = self._filled(action)
            return [outcome.summary(), *outcome.warnings]

        self.panel.attempt(lines)

    def onSelectionChanged(self):
        """Bring the views to the vertebra of the row that was clicked, or gone to by its keys."""
        parameters = self._parameterNode
        if self._filling or not self.ui or parameters is None:
            return
        level = self._sayWhy()
        self.networks.update()
        if level:
            node = parameters.segmentation
            self.logic.jump(slicer.mrmlScene, node, level, parameters.ownPlane)

    def _sayWhy(self):
        """Show the evidence of the chosen row below the table; return its level, "" if none is."""
        cells = []
        if self.ui.tableView.mrmlTableNode():
            cells = self.ui.tableView.selectionModel().selectedIndexes()
        # The text, not the row's number: a view may have sorted its rows.
        level = cells[0].sibling(cells[0].row(), LEVEL_COLUMN).data() if cells else ""
        why = cells[-1].data() if cells else ""
        self.ui.whyLabel.text = _("{level}: {why}.").format(level=level, why=why) if why else ""
        return level

    # Files

    def onExportButton(self):
        with slicer.util.WaitCursor():
            self.panel.attempt(self._export)

    def _export(self):
        parameters = self._parameterNode
        folder = self.logic.export(parameters.segmentation, parameters.exportFolder)
        return [_("Written to {folder}.").format(folder=folder)]


class FractureDetectTest(ScriptedLoadableModuleTest):
    """The application's own test of this module; the rest is under Testing."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_logic()
        self.setUp()
        self.test_panel()

    def test_logic(self):
        from FractureDetectLib.SelfTest import runSelfTest

        with tempfile.TemporaryDirectory() as folder:
            runSelfTest(slicer.mrmlScene, Path(folder))
        self.delayDisplay(_("The logic works"))

    def test_panel(self):
        widget = slicer.util.getModuleWidget("FractureDetect")
        widget.initializeParameterNode()
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertEqual(widget.ui.applyButton.toolTip, widget.logic.validate(None))
        for button in ("asFoundButton", "undoButton", "exportButton"):
            self.assertFalse(getattr(widget.ui, button).enabled)
        self.delayDisplay(_("The panel says why it can't run"))
