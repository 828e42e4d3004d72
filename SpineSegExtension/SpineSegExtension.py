"""The extension's home module: is everything there to work with, and where to begin."""

import html
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from spineseg.errors import SpineSegError
from SpineSegMRML import casefolder, dependencies, guide, samples, stale

# Translated when they are shown.
STEP_TITLES = {
    guide.OPEN: lambda: _("Open"),
    guide.SEGMENT: lambda: _("Segment or translate"),
    guide.CORRECT: lambda: _("Correct"),
    guide.MEASURE: lambda: _("Measure"),
    guide.EXPORT: lambda: _("Export"),
}


class SpineSegExtension(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Spine")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["The SpineSegExtension contributors"]
        self.parent.helpText = _(
            "The home of the spine modules: leads one case from the scan to the exported folder, "
            "and checks that all they need is installed. Not a medical device."
        )
        self.parent.helpText += self.getDefaultModuleDocumentationLink()
        self.parent.acknowledgementText = _(
            "Built on PyTorch, SimpleITK and VTK. The model cards name the data that the "
            "networks were trained on."
        )


def torchInstaller():
    """Return a callable that installs torch in given versions; None without its extension."""
    try:
        import PyTorchUtils
    except ModuleNotFoundError:
        return None

    def install(versions):
        return PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=versions)

    return install


def ensureDependencies(packages=dependencies.PACKAGES):
    """Install what is missing after one question; return whether all is there now."""
    missing = dependencies.missing(packages)
    if not missing:
        return True
    if not slicer.util.confirmOkCancelDisplay(dependencies.question(missing)):
        return False
    try:
        with slicer.util.WaitCursor():
            dependencies.install(missing, slicer.util.pip_install, torchInstaller())
    except SpineSegError as error:
        slicer.util.errorDisplay(str(error), detailedText=error.details)
        return False
    return True


class SpineSegExtensionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.ui = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpineSegExtension.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui.installButton.clicked.connect(self.onInstallButton)
        self.ui.openButton.clicked.connect(self.onOpenButton)
        self.ui.sampleButton.clicked.connect(lambda: self._attempt(self._sample))
        self.ui.segmentButton.clicked.connect(lambda: self._go("VertebraSegment"))
        self.ui.translateButton.clicked.connect(lambda: self._go("CycleGANTranslate"))
        self.ui.correctButton.clicked.connect(self.onCorrectButton)
        self.ui.cobbButton.clicked.connect(lambda: self._go("CobbAngle"))
        self.ui.fractureButton.clicked.connect(lambda: self._go("FractureDetect"))
        self.ui.exportButton.clicked.connect(lambda: self._attempt(self._export))
        self.ui.folderPathLineEdit.currentPathChanged.connect(lambda path: self.updateCase())
        self.ui.scanSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", lambda node: self.updateCase()
        )
        scene = slicer.mrmlScene
        for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self.onSceneChanged)
        self.update()

    def cleanup(self):
        self.removeObservers()
        self.ui = None

    def enter(self):
        self.update()

    def onSceneChanged(self, caller, event):
        # A scene that closes tells of each node; the end of it is told, too.
        if self.ui and self.parent.isEntered and not caller.IsClosing():
            self.updateCase()

    def update(self):
        """Show where the case is, what is installed and whether the weights are sound."""
        node = guide.segmentationOf(self.ui.scanSelector.currentNode())
        if node is not None:
            stale.verify(node)
        self.updateCase()
        self.updateEnvironment()

    def updateCase(self):
        """Show the steps of the chosen scan, the one to do now in bold."""
        if not self.ui:
            return
        scan = self.ui.scanSelector.currentNode()
        way = guide.steps(scan)
        now = guide.current(way)
        for number, step in enumerate(way, start=1):
            sign = "✓" if step.done else "➜" if step is now else "○"
            title = f"{sign} {number}. {STEP_TITLES[step.name]()}"
            text = f"<b>{title}</b>" if step is now else title
            label = getattr(self.ui, f"{step.name}Label")
            label.text = f"{text}: {html.escape(step.text)}"
        reason = casefolder.exportProblem(scan, self._folder())
        self.ui.exportButton.enabled = not reason
        self.ui.exportButton.toolTip = reason or _(
            "Write label map, models, landmarks, tables and the scene (.mrb) into the folder."
        )
        # Films are measured, and scans graded, without a segmentation.
        isSegmented = guide.segmentationOf(scan) is not None
        self.ui.correctButton.enabled = isSegmented
        self.ui.correctButton.toolTip = (
            _("Open the brush in the Vertebra Segment module.")
            if isSegmented
            else _("Segment the scan first.")
        )

    def updateEnvironment(self):
        """Show packages, graphics card and weights."""
        lines = []
        for name, version in dependencies.versions().items():
            lines.append(f"{name}: {version or _('not installed')}")
        lines.append(_("Graphics card: {text}").format(text=dependencies.graphicsCard()))
        for name, sound, text in dependencies.weightsReport():
            state = _("sound") if sound else text
            lines.append(_("Weights {name}: {state}").format(name=name, state=state))
        self.ui.statusLabel.text = "\n".join(lines)
        self.ui.statusLabel.toolTip = "\n".join(dependencies.weightsFacts())
        missing = dependencies.missing()
        self.ui.installButton.enabled = bool(missing)
        self.ui.installButton.toolTip = (
            dependencies.question(missing) if missing else _("Everything is installed.")
        )

    def onInstallButton(self):
        ensureDependencies()
        self.update()

    def onOpenButton(self):
        slicer.util.openAddDataDialog()
        self.update()

    def onCorrectButton(self):
        scan = self.ui.scanSelector.currentNode()
        widget = self._go("VertebraSegment", guide.segmentationOf(scan))
        if widget is not None:
            widget.correct.show()

    def _go(self, name, segmentation=None):
        """Open a module on the case; return its panel."""
        scan = self.ui.scanSelector.currentNode()
        slicer.util.selectModule(name)
        widget = slicer.util.getModuleWidget(name)
        guide.choose(getattr(widget, "_parameterNode", None), scan, segmentation)
        return widget

    def _folder(self):
        return Path(self.ui.folderPathLineEdit.currentPath or "")

    def _attempt(self, action):
        """Do something of some seconds, and show what there is to say about it."""
        try:
            with slicer.util.WaitCursor():
                text = "\n".join(action())
        except SpineSegError as error:
            text = str(error)
        self.ui.messageLabel.text = text
        self.updateCase()

    def _sample(self):
        node = samples.addDigitalPatient(slicer.mrmlScene)
        self.ui.scanSelector.setCurrentNode(node)
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        return [_("“{name}” is there; it is no real patient.").format(name=node.GetName())]

    def _export(self):
        return casefolder.writeCase(self.ui.scanSelector.currentNode(), self._folder())


class SpineSegExtensionTest(ScriptedLoadableModuleTest):
    """The application's own test of this module; the rest is under Testing."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_panel()

    def test_panel(self):
        widget = slicer.util.getModuleWidget("SpineSegExtension")
        widget.update()
        for name in dependencies.versions():
            self.assertIn(name, widget.ui.statusLabel.text)
        self.delayDisplay(_("The panel names what is installed"))
