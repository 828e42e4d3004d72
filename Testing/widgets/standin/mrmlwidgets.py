"""Slicer's widgets over real MRML nodes, as far as the panels use them, on PySide6."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from standin.ctkwidgets import stored

_CALLS: list[Callable[..., None]] = []


def requireType(value: Any, kind: Any, call: str) -> None:
    """Raise as PythonQt does where an argument is of another class; None is a null pointer."""
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"Could not find matching overload for given arguments: {call}({value!r})")


def observe(widget: Any, subject: Any, event: Any, method: Callable[..., None]) -> None:
    """Call a method of a widget at a VTK event for as long as the widget exists."""
    ref = weakref.WeakMethod(method)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def call(caller: Any, name: str, data: Any = None) -> None:
        bound = ref()
        # VTK's observers outlive the widget that asked for them.
        if bound is not None and shiboken6.isValid(bound.__self__):
            bound(data)

    # Held for good: with a scene that nobody needs, Python empties the function that the scene,
    # on its way out, still calls.
    _CALLS.append(call)
    tag = subject.AddObserver(event, call)
    widget.__dict__.setdefault("_observed", []).append((subject, tag))


def observeNoMore(widget: Any) -> None:
    """Take all observations of a widget back."""
    for subject, tag in widget.__dict__.pop("_observed", []):
        subject.RemoveObserver(tag)


class qMRMLWidget(QtWidgets.QWidget):
    """A widget with a scene, which it passes on by its signal."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene."""
        requireType(scene, slicer.vtkMRMLScene, "setMRMLScene")
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    """The base of the modules' widgets."""


class _ElidedComboBox(QtWidgets.QComboBox):
    """Shortens what does not fit in its middle, as the application's chooser does."""

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """Draw the chooser."""
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        part = QtWidgets.QStyle.SC_ComboBoxEditField
        room = self.style().subControlRect(QtWidgets.QStyle.CC_ComboBox, option, part, self)
        option.currentText = option.fontMetrics.elidedText(
            option.currentText, QtCore.Qt.ElideMiddle, room.width()
        )
        painter = QtWidgets.QStylePainter(self)
        painter.drawComplexControl(QtWidgets.QStyle.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.CE_ComboBoxLabel, option)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A chooser of nodes, disabled until it has a scene."""

    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeAdded = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    nodeTypes = stored("QStringList", "nodeTypes", [], "_fill")
    noneEnabled = stored(bool, "noneEnabled", False, "_fill")
    noneDisplay = stored(str, "noneDisplay", "None", "_fill")
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, "_fill")
    showHidden = stored(bool, "showHidden", False, "_fill")
    addEnabled = stored(bool, "addEnabled", True)
    baseName = stored(str, "baseName", "")
    editEnabled = stored(bool, "editEnabled", False)
    removeEnabled = stored(bool, "removeEnabled", True)
    renameEnabled = stored(bool, "renameEnabled", False)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._current: Any = None
        self._nodes: list[Any] = []
        self._combo = _ElidedComboBox(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo)
        self._combo.setEnabled(False)
        self._combo.currentIndexChanged.connect(self._onIndex)

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene, and list its nodes."""
        requireType(scene, slicer.vtkMRMLScene, "setMRMLScene")
        observeNoMore(self)
        self._scene = scene
        self._combo.setEnabled(scene is not None)
        if scene is not None:
            observe(self, scene, scene.NodeAddedEvent, self._onAdded)
            observe(self, scene, scene.NodeRemovedEvent, self._onRemoved)
            observe(self, scene, scene.EndCloseEvent, self._onClosed)
        self._fill()

    def _fits(self, node: Any) -> bool:
        types = self.property("nodeTypes") or []
        exact = node.GetClassName() in types
        kin = self.property("showChildNodeTypes") and any(node.IsA(t) for t in types)
        return (exact or kin) and (self.property("showHidden") or not node.GetHideFromEditors())

    def _first(self) -> int:
        return 1 if self.property("noneEnabled") else 0

    def _fill(self) -> None:
        if self._scene is None:
            return
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        self._nodes = [node for node in nodes if self._fits(node)]
        self._combo.blockSignals(True)
        self._combo.clear()
        if self._first():
            self._combo.addItem(self.property("noneDisplay"))
        for node in self._nodes:
            self._combo.addItem(node.GetName() or "")
        self._combo.blockSignals(False)
        keep = self._current if self._current in self._nodes else None
        if keep is None and not self._first() and self._nodes:
            keep = self._nodes[0]
        self._show(keep)

    def _onAdded(self, node: Any) -> None:
        if node is None or self._scene.IsClosing() or not self._fits(node):
            return
        self._fill()
        self.nodeAdded.emit(node)

    def _onClosed(self, data: Any) -> None:
        self._fill()

    def _onRemoved(self, node: Any) -> None:
        if node not in self._nodes:
            return
        # As QComboBox does: what takes the removed row's place becomes the current one. That is the
        # next node, or, after the last one, an action ("Rename …"): no node.
        wasCurrent = node is self._current
        row = self._nodes.index(node) + self._first()
        rest = [other for other in self._nodes if other is not node]
        actions = any(self.property(f"{a}Enabled") for a in ("add", "edit", "remove", "rename"))
        place = row if actions else min(row, len(rest) + self._first() - 1)
        place = place - self._first() if row else -1
        successor = rest[place] if 0 <= place < len(rest) and not self._scene.IsClosing() else None
        self._current = None if wasCurrent else self._current
        self._blockedFill()
        if wasCurrent:
            self._current = node  # so that the change is told
            self._show(successor)

    def _blockedFill(self) -> None:
        kept = self._current
        self.blockSignals(True)
        self._fill()
        self.blockSignals(False)
        self._current = kept

    def _show(self, node: Any) -> None:
        index = self._nodes.index(node) + self._first() if node in self._nodes else -1
        self._combo.blockSignals(True)
        self._combo.setCurrentIndex(0 if index < 0 and self._first() else index)
        self._combo.blockSignals(False)
        if node is not self._current:
            self._current = node
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _onIndex(self, index: int) -> None:
        index -= self._first()
        self._show(self._nodes[index] if 0 <= index < len(self._nodes) else None)

    def currentNode(self) -> Any:
        """Return the chosen node."""
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node; one that is not listed is None."""
        requireType(node, slicer.vtkMRMLNode, "setCurrentNode")
        self._show(node if node in self._nodes else None)

    def setCurrentNodeID(self, nodeID: str) -> None:
        """Choose a node by its ID."""
        self._show(next((n for n in self._nodes if n.GetID() == nodeID), None))

    def nodeCount(self) -> int:
        """Return how many nodes are listed."""
        return len(self._nodes)

    def nodeFromIndex(self, index: int) -> Any:
        """Return a listed node."""
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    currentNodeID = QtCore.Property(
        str, lambda s: s._current.GetID() if s._current is not None else "", setCurrentNodeID
    )


class _TableModel(QtCore.QAbstractTableModel):
    def __init__(self, table: Any, parent: Any) -> None:
        super().__init__(parent)
        self.table = table
        self._size = (self.rowCount(), self.columnCount())

    def keepsSize(self) -> bool:
        """Tell the view of new cells; False where the table has another size now."""
        if self._size != (self.rowCount(), self.columnCount()):
            return False
        rows, columns = self._size
        if rows and columns:
            self.dataChanged.emit(self.index(0, 0), self.index(rows - 1, columns - 1))
            self.headerDataChanged.emit(QtCore.Qt.Horizontal, 0, columns - 1)
        return True

    def rowCount(self, parent: Any = None) -> int:
        return self.table.GetNumberOfRows()

    def columnCount(self, parent: Any = None) -> int:
        return self.table.GetNumberOfColumns()

    def data(self, index: Any, role: int = QtCore.Qt.DisplayRole) -> Any:
        wanted = role == QtCore.Qt.DisplayRole
        return self.table.GetCellText(index.row(), index.column()) if wanted else None

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        if role != QtCore.Qt.DisplayRole:
            return None
        if orientation != QtCore.Qt.Horizontal:
            return str(section + 1)
        name = self.table.GetColumnName(section)
        titled = self.table.GetUseColumnTitleAsColumnHeader()
        return (self.table.GetColumnTitle(name) if titled else "") or name


class qMRMLTableView(QtWidgets.QTableView):
    """A view of a table node, brought up to date when the node changes.

    What is selected stays so while the table keeps its size, as the application's model does.
    """

    mrmlSceneChanged = QtCore.Signal(object)
    selectionChanged = QtCore.Signal()
    firstColumnLocked = stored(bool, "firstColumnLocked", False)
    firstRowLocked = stored(bool, "firstRowLocked", False)
    transposed = stored(bool, "transposed", False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene."""
        requireType(scene, slicer.vtkMRMLScene, "setMRMLScene")
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlTableNode(self) -> Any:
        """Return the node."""
        return self._node

    def setMRMLTableNode(self, node: Any) -> None:
        """Show a node, or none."""
        requireType(node, slicer.vtkMRMLTableNode, "setMRMLTableNode")
        if node is self._node:
            return
        observeNoMore(self)
        self._node = node
        if node is not None:
            observe(self, node, vtk.vtkCommand.ModifiedEvent, self._onModified)
        self._onModified()

    def _onModified(self, data: Any = None) -> None:
        model = self.model()
        if model is not None and model.table is self._node and model.keepsSize():
            return
        self.setModel(None if self._node is None else _TableModel(self._node, self))
        if self._node is not None:
            self.selectionModel().selectionChanged.connect(lambda *_: self.selectionChanged.emit())
