"""The CobbAngle module: the panel over `CobbAngleLib.Logic`. It computes nothing."""

import tempfile
from pathlib import Path

import qt
import slicer
import vtk
from CobbAngleLib.Logic import CobbLogic
from CobbAngleLib.Parameters import CobbAngleParameterNode, Source
from CobbAngleLib.Spines import MODULE
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from SpineSegMRML.endplates import INFERIOR, SUPERIOR
from SpineSegMRML.names import levelNames
from SpineSegMRML.panel import Application, Binding, Panel, forgetNode
from SpineSegMRML.stale import FreshLine

from SpineSegExtension import ensureDependencies

SECTIONS = ("inputs", "edit", "view", "export", "advanced")
OF_FILM = ("filmLabel", "filmSelector", "filmFileLabel", "filmFilePathLineEdit", "loadFilmButton",
           "editCollapsibleButton")  # fmt: skip
OF_SEGMENTATION = ("segmentationLabel", "segmentationSelector")
FIRST_LEVEL = "T1"


class CobbAngle(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Cobb angle")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        needed = ["SpineSegExtension", "Markups", "Segmentations", "SubjectHierarchy"]
        self.parent.dependencies = needed
        self.parent.contributors = ["The SpineSegExtension contributors"]
        self.parent.helpText = _(
            "Measures the curvature of a spine on a radiograph, from the front or from the side, "
            "or from a segmentation of its vertebrae. On a film each endplate is a line: drag it, "
            "and the angles follow. Not a medical device: look at every endplate, most of all at "
            "implants and at both ends."
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "Angles by the rule of the AASCE 2019 challenge, and as clinicians measure them; "
            "docs/cobb.md has both in words and in a picture."
        )


class CobbAngleLogic(CobbLogic, ScriptedLoadableModuleLogic):
    """The Logic with a parameter node in the application's scene."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        CobbLogic.__init__(self)

    def getParameterNode(self):
        return CobbAngleParameterNode(super().getParameterNode())


class CobbAngleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self.panel = None
        self.fresh = None
        self._parameterNode = None
        self._binding = None
        self._shown = None

    # Life of the panel

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/CobbAngle.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = CobbAngleLogic()
        for level in levelNames():
            self.ui.levelComboBox.addItem(level, level)
        self.ui.levelComboBox.setCurrentIndex(self.ui.levelComboBox.findData(FIRST_LEVEL))
        for which, text in ((SUPERIOR, _("superior")), (INFERIOR, _("inferior"))):
            self.ui.whichComboBox.addItem(text, which)
        self.panel = Panel(
            self.ui,
            self.logic,
            Application(
                ensureDependencies,
                lambda error: slicer.util.errorDisplay(str(error), detailedText=error.details),
                slicer.app.processEvents,
            ),
            SECTIONS,
            _("Measure"),
            self._update,
        )
        self.fresh = FreshLine(
            self.ui, slicer.mrmlScene, MODULE, self._segmentation, self.onRefreshButton
        )
        self.ui.applyButton.clicked.connect(self.onApplyButton)
        self.ui.loadFilmButton.clicked.connect(lambda: self._busily(self._loadFilm))
        self.ui.loadLandmarksButton.clicked.connect(self.onLoadLandmarksButton)
        self.ui.placeButton.toggled.connect(self.onPlaceButton)
        self.ui.placeWidget.activeMarkupsPlaceModeChanged.connect(self.ui.placeButton.setChecked)
        self.ui.asFoundButton.clicked.connect(
            lambda: self._tell(lambda: self.logic.films.asFound(self._parameterNode.film))
        )
        self.ui.undoButton.clicked.connect(lambda: self._tell(self.logic.films.undo))
        self.ui.exportButton.clicked.connect(lambda: self._busily(self._export))
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
        if self.ui:
            # The widget outlives a reload: it would answer beside the new one.
            self.ui.placeWidget.setPlaceModeEnabled(False)
            self.ui.placeWidget.setCurrentNode(None)
        self.ui = None

    def enter(self):
        self.initializeParameterNode()
        self.fresh.verify()

    def exit(self):
        self.ui.placeWidget.setPlaceModeEnabled(False)
        # A run goes on while another module is open, and needs its parameters.
        if not self.logic.running:
            self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.logic.close()
        self._shown = None
        self.ui.placeWidget.setPlaceModeEnabled(False)
        self.setParameterNode(None)

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
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._binding.end()
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._binding = Binding(self._parameterNode, self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            self._update()

    @property
    def _onFilm(self):
        return self._parameterNode.source == Source.FILM

    def _update(self, caller=None, event=None):
        """Bring the buttons, the tables, the lines and the views up to date."""
        parameters = self._parameterNode
        if parameters is None or self.logic.running or not self.ui:
            return
        films = self.logic.films
        for name in OF_FILM:
            getattr(self.ui, name).visible = self._onFilm
        for name in OF_SEGMENTATION:
            getattr(self.ui, name).visible = not self._onFilm
        reason = films.validateFile(parameters.filmFile)
        self.panel.offer(self.ui.loadFilmButton, reason, _("Load the film and choose it."))
        if self._onFilm:
            reason = films.validate(parameters.film, parameters.method.value)
            toolTip = _("Find the endplates on the film and measure its angles.")
        else:
            reason = self.logic.spines.validate(parameters.segmentation)
            toolTip = _("Fit planes to the endplates of the vertebrae and measure their angles.")
        self.panel.offer(self.ui.applyButton, reason, toolTip)
        self.fresh.update()
        self._updateEditing()
        self._updateShown()

    def _updateEditing(self):
        """Bring what concerns the endplates of a film, and the files, up to date."""
        parameters, films = self._parameterNode, self.logic.films
        film = parameters.film
        problem = films.problem(film)
        toolTip = _("Click on both ends of this endplate in the view, in any order; on a film from "
                    "the side its back end first. Press again to end.")  # fmt: skip
        self.panel.offer(self.ui.placeButton, problem, toolTip)
        reason = films.validateAsFound(film)
        toolTip = _("Put the endplates back to where they were found.")
        self.panel.offer(self.ui.asFoundButton, reason, toolTip)
        reason = "" if films.canUndo else _("There is nothing to undo.")
        toolTip = _("Bring the endplates back to where they were before the last measurement, file "
                    "or “As found”.")  # fmt: skip
        self.panel.offer(self.ui.undoButton, reason, toolTip)
        reason = problem or films.validateCorners(parameters.landmarkFile)
        toolTip = _("Take the endplates of this film from the file.")
        self.panel.offer(self.ui.loadLandmarksButton, reason, toolTip)
        if self._onFilm:
            reason = films.validateExport(film, parameters.exportFolder)
        else:
            reason = self.logic.spines.validateExport(
                parameters.segmentation, parameters.exportFolder
            )
        toolTip = _("Write the results as files, all of them as they are now.")
        self.panel.offer(self.ui.exportButton, reason, toolTip)

    def _updateShown(self):
        """Show the film, what is drawn on it, the planes and the tables, as they were chosen."""
        parameters, films = self._parameterNode, self.logic.films
        node = parameters.film if self._onFilm else parameters.segmentation
        self.logic.follow(
            parameters.film if self._onFilm else None,
            self.onEndplates,
            lambda handle: qt.QTimer.singleShot(0, handle),
        )
        chosen = (node, parameters.showCurves, parameters.showNames, parameters.planes)
        if chosen != self._shown:
            other = self._shown is None or self._shown[0] is not node
            self._shown = chosen
            films.showCurves, films.showNames = parameters.showCurves, parameters.showNames
            if self._onFilm and node is not None and not films.problem(node):
                # Only when another film was chosen: a view that the user has zoomed stays so.
                if other:
                    slicer.util.setSliceViewerLayers(
                        background=node, fit=True, rotateToVolumePlane=True
                    )
                if films.isMeasured(node):
                    films.refresh(node)
            elif not self._onFilm and node is not None:
                self.logic.spines.showPlanes(node, parameters.planes.value)
        for view, table in zip(
            (self.ui.anglesTableView, self.ui.rowsTableView), self.logic.tablesOf(node)
        ):
            view.setMRMLTableNode(table)
            view.visible = table is not None

    # Running

    def onApplyButton(self):
        """Start a measurement, or cancel what is under way: the button says which."""
        if self.logic.running:
            self.panel.cancel()
            return
        parameters = self._parameterNode
        if not self._onFilm:
            self.panel.run(
                lambda: self.logic.spines.measure(
                    parameters.segmentation,
                    parameters.planes.value,
                    onProgress=self.panel.onProgress,
                )
            )
            return
        keep = self._keeps(parameters.film)
        self.panel.run(
            lambda: self.logic.films.measure(
                parameters.film,
                parameters.method.value,
                keep,
                view=parameters.view.value or None,
                device=parameters.device.value,
                onProgress=self.panel.onProgress,
            )
        )

    def _segmentation(self):
        parameters = self._parameterNode
        return None if parameters is None or self._onFilm else parameters.segmentation

    def onRefreshButton(self):
        """Measure an edited segmentation again."""
        if not self.logic.running:
            self.onApplyButton()

    def _keeps(self, film):
        """Ask whether a user's own endplates stay, if there are any."""
        count = len(self.logic.films.state(film).edited)
        text = _("Endplates that you have placed or moved: {n}. Keep them?").format(n=count)
        return not count or slicer.util.confirmYesNoDisplay(text)

    # Endplates

    def onEndplates(self):
        """Bring angles, tables and curves up to date with the endplates that were moved."""
        parameters = self._parameterNode
        if not self.ui or parameters is None or self.logic.running:
            return
        film = parameters.film
        if film is None or film.GetScene() is None:
            self._update()
            return
        outcome = self.logic.films.refresh(film)
        self.panel.say("\n".join([outcome.summary(), *outcome.warnings]))
        if bool(outcome.state.edited) != self.ui.asFoundButton.enabled:
            self._updateEditing()

    def onPlaceButton(self, place):
        """Let the user click on the ends of an endplate, or end that."""
        if place and self._parameterNode is not None:
            self.panel.attempt(self._place)
        self.ui.placeWidget.setPlaceModeEnabled(place)

    def _place(self):
        parameters = self._parameterNode
        level, which = (
            box.itemData(box.currentIndex) for box in (self.ui.levelComboBox, self.ui.whichComboBox)
        )
        line = self.logic.films.place(parameters.film, level, which, parameters.view.value or None)
        self.ui.placeWidget.setCurrentNode(line)
        return [_("Click on both ends of {name}.").format(name=line.GetName())]

    def onLoadLandmarksButton(self):
        parameters = self._parameterNode
        keep = self._keeps(parameters.film)
        self._tell(
            lambda: self.logic.films.loadCorners(parameters.film, parameters.landmarkFile, keep)
        )

    def _tell(self, action):
        """Do something short that measures, and show what it gave."""

        def lines():
            outcome = action()
            return [outcome.summary(), *outcome.warnings]

        self.panel.attempt(lines)

    # Files

    def _busily(self, action):
        with slicer.util.WaitCursor():
            self.panel.attempt(action)

    def _loadFilm(self):
        parameters = self._parameterNode
        parameters.film = self.logic.films.load(slicer.mrmlScene, parameters.filmFile)
        return self.logic.films.notes(parameters.film)

    def _export(self):
        parameters = self._parameterNode
        more = {"view.png": self._viewPicture()} if parameters.withView else {}
        if self._onFilm:
            folder = self.logic.films.export(parameters.film, parameters.exportFolder, more)
        else:
            spines = self.logic.spines
            folder = spines.export(parameters.segmentation, parameters.exportFolder, more)
        return [_("Written to {folder}.").format(folder=folder)]

    def _viewPicture(self):
        """Return what the film's view, or the 3D view, shows now, as the bytes of a PNG file."""
        import ScreenCapture

        first = slicer.mrmlScene.GetFirstNodeByClass
        node = first("vtkMRMLSliceNode" if self._onFilm else "vtkMRMLViewNode")
        capture = ScreenCapture.ScreenCaptureLogic()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "view.png"
            capture.captureImageFromView(capture.viewFromNode(node), str(path))
            return path.read_bytes()


class CobbAngleTest(ScriptedLoadableModuleTest):
    """The application's own test of this module; the rest is under Testing."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_logic()
        self.setUp()
        self.test_panel()

    def test_logic(self):
        from CobbAngleLib.SelfTest import runSelfTest

        with tempfile.TemporaryDirectory() as folder:
            runSelfTest(slicer.mrmlScene, Path(folder))
        self.delayDisplay(_("The logic works"))

    def test_panel(self):
        widget = slicer.util.getModuleWidget("CobbAngle")
        widget.initializeParameterNode()
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertEqual(widget.ui.applyButton.toolTip, widget.logic.films.validate(None))
        for button in ("placeButton", "asFoundButton", "undoButton", "exportButton"):
            self.assertFalse(getattr(widget.ui, button).enabled)
        self.delayDisplay(_("The panel says why it can't run"))
