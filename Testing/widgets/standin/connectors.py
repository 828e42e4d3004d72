"""Which widget can show which parameter, as in Slicer's `guiConnectors`; any other pair raises."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

import slicer

from standin.parameternode import Choice, FloatRange, RangeBounds, WithinRange


class Connector:
    """Reads and writes one widget."""

    signal = ""

    def __init__(self, widget: Any, parameter: Any) -> None:
        self.widget, self.parameter = widget, parameter
        self._callback: Callable[[], None] | None = None
        self.prepare()

    def prepare(self) -> None:
        """Give the widget what the parameter's type says: items, a range."""

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call back when the widget changes; None ends that."""
        self._callback = callback
        signal = getattr(self.widget, self.signal)
        if callback is None:
            signal.disconnect(self.changed)
        else:
            signal.connect(self.changed)

    def changed(self) -> None:
        """Pass a change on."""
        if self._callback is not None:
            self._callback()

    def read(self) -> Any:
        """Return what the widget shows."""
        raise NotImplementedError

    def write(self, value: Any) -> None:
        """Show a value."""
        raise NotImplementedError

    def note(self, kind: type) -> Any:
        """Return the parameter's annotation of a class."""
        return next((v for v in self.parameter.validators if isinstance(v, kind)), None)


class CheckBox(Connector):
    """Bool in a check box or a checkable button."""

    signal = "toggled"

    def read(self) -> bool:
        """Return whether it is checked."""
        return bool(self.widget.checked)

    def write(self, value: bool) -> None:
        """Check it or not."""
        self.widget.checked = value


class Number(Connector):
    """A number in a ctkSliderWidget, whose ends the parameter must name."""

    signal = "valueChanged"

    def prepare(self) -> None:
        """Set the ends."""
        within = self.note(WithinRange)
        if within is None:
            raise RuntimeError("Cannot have a connection to ctkSliderWidget without a range.")
        self.widget.minimum, self.widget.maximum = within.minimum, within.maximum

    def read(self) -> float:
        """Return the number."""
        return float(self.widget.value)

    def write(self, value: float) -> None:
        """Show the number."""
        self.widget.value = value


class Range(Connector):
    """Two numbers in a ctkRangeWidget, whose ends the parameter must name."""

    signal = "valuesChanged"

    def prepare(self) -> None:
        """Set the ends."""
        bounds = self.note(RangeBounds)
        if bounds is None:
            raise RuntimeError("Cannot have a connection to ctkRangeWidget without RangeBounds.")
        self.widget.minimum, self.widget.maximum = bounds.minimum, bounds.maximum

    def read(self) -> FloatRange:
        """Return both numbers."""
        return FloatRange(self.widget.minimumValue, self.widget.maximumValue)

    def write(self, value: FloatRange) -> None:
        """Show both numbers."""
        self.widget.setValues(value.minimum, value.maximum)


class Combo(Connector):
    """An enum, or one of a list of values, in a QComboBox."""

    signal = "currentIndexChanged"

    def prepare(self) -> None:
        """List the members by their labels."""
        if issubclass(self.parameter.kind, enum.Enum):
            self.members = list(self.parameter.kind)
            label = getattr(self.parameter.kind, "label", lambda member: member.name)
            texts = [label(member) for member in self.members]
        else:
            choice = self.note(Choice)
            if choice is None:
                raise RuntimeError("A combo box for plain values requires the Choice annotation.")
            self.members = choice.choices
            texts = [str(value) for value in self.members]
        self.widget.clear()
        for text in texts:
            self.widget.addItem(text)

    def read(self) -> Any:
        """Return the chosen one."""
        return self.members[self.widget.currentIndex]

    def write(self, value: Any) -> None:
        """Choose one."""
        self.widget.currentIndex = self.members.index(value)


class Text(Connector):
    """Text in a QLineEdit."""

    signal = "textChanged"

    def read(self) -> str:
        """Return the text."""
        return str(self.widget.text)

    def write(self, value: str) -> None:
        """Show the text."""
        self.widget.text = value


class PathLine(Connector):
    """A path in a ctkPathLineEdit; an empty line is the current folder, as pathlib has it."""

    signal = "currentPathChanged"

    def read(self) -> pathlib.Path:
        """Return the path."""
        return pathlib.Path(self.widget.currentPath)

    def write(self, value: pathlib.Path) -> None:
        """Show the path."""
        self.widget.currentPath = str(value)


class Node(Connector):
    """A node in a qMRMLNodeComboBox."""

    signal = "currentNodeChanged"

    def prepare(self) -> None:
        """Let the widget list nodes of the parameter's type."""
        self.widget.nodeTypes = [self.parameter.kind.__name__]

    def read(self) -> Any:
        """Return the node."""
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        """Choose the node."""
        self.widget.setCurrentNode(value)


def makeConnector(widget: Any, parameter: Any) -> Connector:
    """Return what shows a parameter in a widget.

    Raises
    ------
    RuntimeError
        Slicer has no connector for this pair, or the type says too little.
    """
    name, kind = widget.className(), parameter.kind
    isNode = isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)
    for widgets, fits, connector in (
        (("QCheckBox", "QPushButton"), kind is bool, CheckBox),
        (("ctkSliderWidget",), kind is float, Number),
        (("ctkRangeWidget",), kind is FloatRange, Range),
        (("QComboBox",), issubclass(kind, (enum.Enum, int, float, str)), Combo),
        (("QLineEdit",), kind is str, Text),
        (("ctkPathLineEdit",), kind is pathlib.Path, PathLine),
        (("qMRMLNodeComboBox",), isNode, Node),
    ):
        if name in widgets and fits:
            return connector(widget, parameter)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to '{name}'")
