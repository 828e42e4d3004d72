"""The extension's home module: is everything there to work with, and where to begin."""

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from spineseg.errors import SpineSegError
from SpineSegMRML import dependencies


class SpineSegExtension(ScriptedLoadableModule):
    """What the application shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Spine")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["The SpineSegExtension contributors"]
        self.parent.helpText = _(
            "The home of the spine modules: checks that all they need is installed, and opens "
            "them. Not a medical device."
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


class SpineSegExtensionWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpineSegExtension.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.ui.installButton.clicked.connect(self.onInstallButton)
        self.ui.segmentButton.clicked.connect(self.onSegmentButton)
        self.ui.translateButton.clicked.connect(self.onTranslateButton)
        self.ui.cobbButton.clicked.connect(self.onCobbButton)
        self.ui.fractureButton.clicked.connect(self.onFractureButton)
        self.update()

    def enter(self):
        self.update()

    def update(self):
        """Show what is installed and whether the weights are sound."""
        lines = []
        for name, version in dependencies.versions().items():
            lines.append(f"{name}: {version or _('not installed')}")
        for name, sound, text in dependencies.weightsReport():
            state = _("sound") if sound else text
            lines.append(_("Weights {name}: {state}").format(name=name, state=state))
        self.ui.statusLabel.text = "\n".join(lines)
        missing = dependencies.missing()
        self.ui.installButton.enabled = bool(missing)
        self.ui.installButton.toolTip = (
            dependencies.question(missing) if missing else _("Everything is installed.")
        )

    def onInstallButton(self):
        ensureDependencies()
        self.update()

    def onSegmentButton(self):
        slicer.util.selectModule("VertebraSegment")

    def onTranslateButton(self):
        slicer.util.selectModule("CycleGANTranslate")

    def onCobbButton(self):
        slicer.util.selectModule("CobbAngle")

    def onFractureButton(self):
        slicer.util.selectModule("FractureDetect")


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
