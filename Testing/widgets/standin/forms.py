"""Loading of .ui files: strict, where Qt's own loader only warns."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from standin import ctkwidgets, editorwidgets, interfaces, mrmlwidgets
from standin.formcheck import FormError, checkForm

OWN = {
    name: getattr(module, name)
    for module in (ctkwidgets, mrmlwidgets, editorwidgets)
    for name in vars(module)
    if name.startswith(("ctk", "qMRML", "qSlicer"))
}


class Loader(QtUiTools.QUiLoader):
    """Qt's loader with the stand-in's widgets; a class that it does not know is an error."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._made: list[Any] = []

    def createWidget(self, className: str, parent: Any = None, name: str = "") -> Any:
        """Make a widget of a form."""
        if className in OWN:
            widget = OWN[className](parent)
        elif className in interfaces.classes() and hasattr(QtWidgets, className):
            widget = getattr(QtWidgets, className)(parent)
        else:
            raise FormError(f"there is no widget class {className}")
        widget.setObjectName(name)
        self._made.append(widget)
        return widget

    def load(self, file: QtCore.QFile) -> Any:
        """Load a form, after all that it asks for was found on the list of interfaces."""
        root = ElementTree.fromstring(bytes(file.readAll().data()).decode("utf-8"))
        problems = checkForm(root)
        if problems:
            raise FormError("; ".join(problems))
        connections = root.find("connections")
        rows = [] if connections is None else list(connections)
        if connections is not None:
            root.remove(connections)
        later = _takeEnums(root)
        data = QtCore.QBuffer()
        data.setData(ElementTree.tostring(root, "utf-8"))
        data.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(data)
        if widget is None:
            raise FormError(self.errorString())
        for name, prop, value in later:
            _child(widget, name).setProperty(prop, value)
        for row in rows:
            _connect(widget, {part.tag: part.text or "" for part in row})
        widget.__dict__["_made"] = self._made
        return widget


def _takeEnums(root: ElementTree.Element) -> list[tuple[str, str, int]]:
    """Take enum values of the stand-in's own classes out of a form: Qt can't read them."""
    taken = []
    for widget in root.iter("widget"):
        kind = widget.get("class", "")
        for prop in widget.findall("property"):
            value = prop.find("enum") if prop.find("enum") is not None else prop.find("set")
            if value is None or kind not in OWN:
                continue
            key = prop.get("name", "")
            known = interfaces.enums(kind, key)
            places = [known.index(word) for word in (value.text or "").split("|")]
            number = sum(1 << p for p in places) if value.tag == "set" else places[0]
            taken.append((widget.get("name", ""), key, number))
            widget.remove(prop)
    return taken


def _child(root: Any, name: str) -> Any:
    return root if root.objectName() == name else root.findChild(QtCore.QObject, name)


def _connect(root: Any, part: dict[str, str]) -> None:
    signal = getattr(_child(root, part["sender"]), part["signal"].partition("(")[0])
    signal.connect(getattr(_child(root, part["receiver"]), part["slot"].partition("(")[0]))
