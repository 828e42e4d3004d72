"""The Segment Editor and the placing of points, without the views that they work in."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from standin.ctkwidgets import stored
from standin.mrmlwidgets import observe, observeNoMore, qMRMLWidget, qSlicerWidget, requireType


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The Segment Editor without effects: what is edited, and which segment is selected."""

    currentSegmentIDChanged = QtCore.Signal(str)
    segmentationNodeChanged = QtCore.Signal(object)
    sourceVolumeNodeChanged = QtCore.Signal(object)
    addRemoveSegmentButtonsVisible = stored(bool, "addRemoveSegmentButtonsVisible", True)
    autoShowSourceVolumeNode = stored(bool, "autoShowSourceVolumeNode", True)
    maskingSectionVisible = stored(bool, "maskingSectionVisible", True)
    maximumNumberOfUndoStates = stored(int, "maximumNumberOfUndoStates", 10)
    readOnly = stored(bool, "readOnly", False)
    segmentationNodeSelectorVisible = stored(bool, "segmentationNodeSelectorVisible", True)
    sourceVolumeNodeSelectorVisible = stored(bool, "sourceVolumeNodeSelectorVisible", True)
    undoEnabled = stored(bool, "undoEnabled", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._shortcuts = False
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(QtWidgets.QLabel("Segment Editor (the application's own)", self))

    def mrmlSegmentEditorNode(self) -> Any:
        """Return the node of settings."""
        return self._node

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Set the node of settings; everything else is kept in it."""
        requireType(node, slicer.vtkMRMLSegmentEditorNode, "setMRMLSegmentEditorNode")
        self._node = node

    def segmentationNode(self) -> Any:
        """Return what is edited."""
        return None if self._node is None else self._node.GetSegmentationNode()

    def setSegmentationNode(self, node: Any) -> None:
        """Edit a node, and select its first segment."""
        requireType(node, slicer.vtkMRMLNode, "setSegmentationNode")
        if self._node is None:
            # Slicer logs this as an error and does nothing.
            raise AssertionError("setSegmentationNode before setMRMLSegmentEditorNode")
        if node is self.segmentationNode():
            return
        self._node.SetAndObserveSegmentationNode(node)
        segmentation = node.GetSegmentation() if node is not None else None
        ids = segmentation.GetSegmentIDs() if segmentation is not None else ()
        self._node.SetSelectedSegmentID(ids[0] if ids else None)
        self.segmentationNodeChanged.emit(node)

    def sourceVolumeNode(self) -> Any:
        """Return the volume that the brush looks at."""
        return None if self._node is None else self._node.GetSourceVolumeNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        """Set the volume that the brush looks at; there must be a segmentation."""
        requireType(node, slicer.vtkMRMLNode, "setSourceVolumeNode")
        if self._node is None or self.segmentationNode() is None:
            raise AssertionError("setSourceVolumeNode needs a segmentation first")
        self._node.SetAndObserveSourceVolumeNode(node)

    def currentSegmentID(self) -> str:
        """Return the selected segment."""
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def setCurrentSegmentID(self, segmentID: str) -> None:
        """Select a segment."""
        self._node.SetSelectedSegmentID(segmentID)

    def activeEffect(self) -> None:
        """Return None: there are no effects here."""
        return

    def setActiveEffect(self, effect: Any) -> None:
        """Take None alone."""
        if effect is not None:
            raise NotImplementedError("the stand-in has no Segment Editor effects")

    def setSegmentationNodeSelectorVisible(self, visible: bool) -> None:
        """Show or hide the chooser."""
        self.setProperty("segmentationNodeSelectorVisible", visible)

    def setSourceVolumeNodeSelectorVisible(self, visible: bool) -> None:
        """Show or hide the chooser."""
        self.setProperty("sourceVolumeNodeSelectorVisible", visible)

    def installKeyboardShortcuts(self, parent: Any = None) -> None:
        """Remember that they are on."""
        self._shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        """Remember that they are off."""
        self._shortcuts = False

    def setupViewObservations(self) -> None:
        """Do nothing: there are no views."""

    def removeViewObservations(self) -> None:
        """Do nothing: there are no views."""


class qSlicerMarkupsPlaceWidget(qSlicerWidget):
    """Turns placing of points on and off, through the scene's interaction node."""

    activeMarkupsPlaceModeChanged = QtCore.Signal(bool)
    buttonsVisible = stored(bool, "buttonsVisible", True)
    placeMultipleMarkups = stored(int, "placeMultipleMarkups", 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._told = False

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene, and watch its interaction node."""
        super().setMRMLScene(scene)
        observeNoMore(self)
        for node in (self.interactionNode(), self.selectionNode()):
            if node is not None:
                observe(self, node, vtk.vtkCommand.ModifiedEvent, self._tell)

    def interactionNode(self) -> Any:
        """Return the scene's interaction node."""
        return self._single("vtkMRMLInteractionNode")

    def selectionNode(self) -> Any:
        """Return the scene's selection node."""
        return self._single("vtkMRMLSelectionNode")

    def _single(self, className: str) -> Any:
        scene = self.mrmlScene()
        return None if scene is None else scene.GetSingletonNode("Singleton", className)

    def currentNode(self) -> Any:
        """Return the list of points."""
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        """Set the list that takes the points."""
        requireType(node, slicer.vtkMRMLNode, "setCurrentNode")
        if node is self._node:
            return
        self._node = node
        self._tell()

    def _isActive(self) -> bool:
        selection = self.selectionNode()
        same = selection is not None and self._node is not None
        return bool(same and selection.GetActivePlaceNodeID() == self._node.GetID())

    def _isPlacing(self) -> bool:
        mode = self.interactionNode()
        return self._isActive() and mode.GetCurrentInteractionMode() == mode.Place

    def setPlaceModeEnabled(self, enabled: bool) -> None:
        """Let the mouse place points, or not."""
        mode, selection = self.interactionNode(), self.selectionNode()
        if enabled and self._node is not None and mode is not None:
            selection.SetReferenceActivePlaceNodeClassName(self._node.GetClassName())
            selection.SetReferenceActivePlaceNodeID(self._node.GetID())
            mode.SwitchToPersistentPlaceMode()
        elif not enabled and self._isPlacing():
            mode.SwitchToViewTransformMode()
        self._tell()

    def _tell(self, data: Any = None) -> None:
        placing = self._isPlacing()
        if placing != self._told:
            self._told = placing
            self.activeMarkupsPlaceModeChanged.emit(placing)

    placeModeEnabled = QtCore.Property(bool, lambda s: s._isPlacing(), setPlaceModeEnabled)
    currentNodeActive = QtCore.Property(bool, lambda s: s._isActive())
