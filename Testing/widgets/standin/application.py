"""`slicer.app`, `slicer.modules`, `qt` and `ctk`: what is there while a test runs."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from standin import ctkwidgets, forms, interfaces, mrmlwidgets, parameternode, pythonqt, scripted


class _PanelParent(mrmlwidgets.qSlicerWidget):
    """What Slicer puts a scripted module's panel into."""

    def __init__(self) -> None:
        super().__init__()
        self.setLayout(QtWidgets.QVBoxLayout())
        self.layout().setContentsMargins(0, 0, 0, 0)  # as the application's panel of modules sets
        self.module: Any = None
        self.panel: Any = None
        self._entered = False

    def enter(self) -> None:
        """The module is shown."""
        self._entered = True
        getattr(self.panel, "enter", lambda: None)()

    def exit(self) -> None:
        """Another module is shown."""
        self._entered = False
        getattr(self.panel, "exit", lambda: None)()

    def self(self) -> Any:
        """Return the panel's Python object."""
        return self.panel

    def reload(self) -> None:
        """Make the panel anew."""
        self.module.makePanel()

    isEntered = QtCore.Property(bool, lambda s: s._entered)


class qSlicerScriptedLoadableModuleWidget(_PanelParent):
    """Named so for Qt's meta-object."""


class Module:
    """A scripted module, as `slicer.modules.<name in lower case>`."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, str(path)
        self._load()
        self._parent: Any = None
        getattr(sys.modules[name], name)(self)

    def _load(self) -> None:
        spec = importlib.util.spec_from_file_location(self.name, self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.name] = module
        spec.loader.exec_module(module)

    def widgetRepresentation(self) -> Any:
        """Return the widget around the panel; the panel is made at the first call."""
        if self._parent is None:
            self._parent = qSlicerScriptedLoadableModuleWidget()
            self._parent.module = self
            self._parent.setMRMLScene(slicer.mrmlScene)
            self.makePanel()
        return pythonqt.wrap(self._parent)

    def makePanel(self) -> None:
        """Make the panel from the class that is loaded now."""
        kind = getattr(sys.modules[self.name], f"{self.name}Widget")
        panel = kind(pythonqt.wrap(self._parent))
        self._parent.panel = panel
        setattr(slicer.modules, f"{self.name}Widget", panel)
        panel.setup()

    def close(self) -> None:
        """Unload the module, as at the end of the application."""
        if self._parent is not None:
            slicer.app.moduleManager().moduleAboutToBeUnloaded(self.name)
            self._parent.deleteLater()


class _ModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)

    def module(self, name: str) -> Any:
        """Return a module by its name."""
        return getattr(slicer.modules, name.lower(), None)


class qSlicerModuleManager(_ModuleManager):
    """Named so for Qt's meta-object."""


class Application:
    """`slicer.app`; what it does not have raises AttributeError.

    Parameters
    ----------
    headless : HeadlessApplication
        The scene and the logics.
    """

    applicationName = "Slicer"

    def __init__(self, headless: Any) -> None:
        self._headless = headless
        self._manager = qSlicerModuleManager()
        self._mainWindow = QtWidgets.QMainWindow()
        self._mainWindow.setObjectName("qSlicerMainWindow")

    def processEvents(self) -> None:
        """Handle what waits."""
        QtWidgets.QApplication.processEvents()

    def testingEnabled(self) -> bool:
        """Return False: message boxes are kept in `ctkMessageBox.shown`."""
        return False

    def topLevelWidgets(self) -> list[Any]:
        """Return the main window alone."""
        return [pythonqt.wrap(self._mainWindow)]

    def moduleManager(self) -> Any:
        """Return what knows the modules."""
        return pythonqt.wrap(self._manager)

    def layoutManager(self) -> Any:
        """Return a layout without views."""
        return types.SimpleNamespace(
            sliceViewNames=lambda: (), mrmlSliceLogics=lambda: vtk.vtkCollection()
        )

    def applicationLogic(self) -> Any:
        """Return the real application logic."""
        return self._headless.applicationLogic

    def moduleDocumentationUrl(self, name: str) -> str:
        """Return an address."""
        return f"https://slicer.readthedocs.io/{name}"


def _module(name: str, **content: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(content)
    return module


def _qt() -> types.ModuleType:
    """Return the module `qt`: classes on the list, and the few plain values the panels use."""
    content: dict[str, Any] = {}
    for name in interfaces.classes():
        real = getattr(QtWidgets, name, None) or getattr(QtCore, name, None)
        if name.startswith("Q"):
            content[name] = pythonqt.classNamed(name, real)
    content["QUiLoader"] = pythonqt.classNamed("QUiLoader", forms.Loader)
    content["QTimer"].singleShot = staticmethod(pythonqt.later)
    content["QFile"].ReadOnly = QtCore.QIODevice.ReadOnly
    content |= {"QMessageBox": QtWidgets.QMessageBox, "Qt": QtCore.Qt, "QSize": QtCore.QSize}
    content["QApplication"] = QtWidgets.QApplication
    content["QPixmap"] = QtGui.QPixmap
    return _module("qt", **content)


def _ctk() -> types.ModuleType:
    names = [name for name in interfaces.classes() if name.startswith("ctk")]
    return _module("ctk", **{n: pythonqt.classNamed(n, getattr(ctkwidgets, n)) for n in names})


def _slicerClasses() -> dict[str, Any]:
    result = {}
    for name in interfaces.classes():
        if name.startswith(("qMRML", "qSlicer")):
            result[name] = pythonqt.classNamed(name, forms.OWN.get(name))
    return result


def qtApplication() -> Any:
    """Return the one QApplication of this process, without a screen."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication(["stand-in"])


def install(headless: Any, setItem: Callable[..., None], setAttr: Callable[..., None]) -> Any:
    """Put the stand-in in place, by pytest's `setitem` and `setattr`, which take it out again.

    Returns
    -------
    Application
    """
    qtApplication()
    app = Application(headless)
    ctkwidgets.ctkMessageBox.shown.clear()
    ctkwidgets.ctkMessageBox.answers.clear()
    new = {
        "qt": _qt(),
        "ctk": _ctk(),
        "slicer.i18n": _module(
            "slicer.i18n", tr=lambda text: text, translate=lambda context, text: text
        ),
        "slicer.ScriptedLoadableModule": scripted,
        "slicer.parameterNodeWrapper": parameternode,
    }
    for name, module in new.items():
        setItem(sys.modules, name, module)
    own = {
        "app": app,
        "mrmlScene": headless.scene,
        "modules": types.SimpleNamespace(),
        **_slicerClasses(),
    }
    for name, value in own.items():
        setAttr(slicer, name, value, raising=False)
    return app


def openModule(root: Path, name: str) -> Any:
    """Load a module and return it; its panel is made when it is first asked for."""
    module = Module(name, root / name / f"{name}.py")
    setattr(slicer.modules, name.lower(), module)
    return module
