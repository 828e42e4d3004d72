"""Results that were made from a segmentation, and whether it was edited since.

A result's node refers to its segmentation and keeps the fingerprint of the vertebrae it was made
from; both are saved with the scene. An edit marks it as out of date at once. Whether the vertebrae
really differ (an edit may have been undone) is looked up by `verify`, which reads all voxels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import slicer
import vtk
from spineseg.errors import InputError

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.segmentations import (
    SegmentationGrid,
    fingerprintOf,
    vertebraVolumeFromNode,
)

__all__ = [
    "EditWatch",
    "FreshLine",
    "dependents",
    "exportedModels",
    "isOutOfDate",
    "madeFrom",
    "modelsOutOfDate",
    "noteExport",
    "outOfDate",
    "stateOf",
    "undoably",
    "verify",
]

ROLE = "SpineSegMadeFrom"
"""Role of a result's reference to its segmentation."""
BY = "SpineSeg.MadeBy"
STATE = "SpineSeg.MadeFromState"
OUT_OF_DATE = "SpineSeg.OutOfDate"
MODELS = "SpineSeg.ExportedModels"
"""Attribute of a segmentation: JSON of its last export, which has no node of its own."""
MODELS_STALE = "SpineSeg.ModelsOutOfDate"
EVENTS = ("SourceRepresentationModified", "SegmentModified", "SegmentAdded", "SegmentRemoved")


def stateOf(segmentationNode: Any) -> str:
    """Return a short text that changes when a voxel or a name of a vertebra does."""
    try:
        grid = SegmentationGrid(segmentationNode)
    except InputError:
        return "empty"
    return fingerprintOf(vertebraVolumeFromNode(segmentationNode, grid))


def madeFrom(resultNode: Any, segmentationNode: Any, by: str, state: str | None = None) -> None:
    """Note that a result shows a segmentation as it is now.

    Parameters
    ----------
    resultNode : vtkMRMLNode
    segmentationNode : vtkMRMLSegmentationNode
    by : str
        Name of the module that makes it, and can make it again.
    state : str, optional
        What `stateOf` gave when it was made, if that is not now.
    """
    resultNode.SetNodeReferenceID(ROLE, segmentationNode.GetID())
    resultNode.SetAttribute(BY, by)
    resultNode.SetAttribute(STATE, stateOf(segmentationNode) if state is None else state)
    resultNode.RemoveAttribute(OUT_OF_DATE)


def undoably(
    also: Callable[[bool], None], resultNode: Any, segmentationNode: Any, by: str
) -> Callable[[bool], None]:
    """Call `madeFrom`, and return `also` with what takes that back (True) and does it again."""
    former = {name: resultNode.GetAttribute(name) for name in (STATE, OUT_OF_DATE)}
    madeFrom(resultNode, segmentationNode, by)
    new = {name: resultNode.GetAttribute(name) for name in (STATE, OUT_OF_DATE)}

    def both(undone: bool) -> None:
        also(undone)
        for name, value in (former if undone else new).items():
            if value is None:
                resultNode.RemoveAttribute(name)
            else:
                resultNode.SetAttribute(name, value)

    return both


def noteExport(segmentationNode: Any, by: str, state: str, **how: Any) -> None:
    """Note by which module, from which state and how models were exported: JSON values."""
    content = {**how, "by": by, "state": state}
    segmentationNode.SetAttribute(MODELS, json.dumps(content))
    _set(segmentationNode, MODELS_STALE, state != stateOf(segmentationNode))


def exportedModels(segmentationNode: Any) -> dict[str, Any] | None:
    """Return how a segmentation's models were exported last; None if they never were."""
    text = segmentationNode.GetAttribute(MODELS)
    return json.loads(text) if text else None


def dependents(segmentationNode: Any, by: str | None = None) -> list[Any]:
    """Return the nodes of results that were made from a segmentation, of one module or of all."""
    scene = segmentationNode.GetScene()
    if scene is None:
        return []
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return [
        node
        for node in nodes
        if node.GetNodeReferenceID(ROLE) == segmentationNode.GetID()
        and by in (None, node.GetAttribute(BY))
    ]


def isOutOfDate(node: Any) -> bool:
    """Whether a result was made from a segmentation that was edited since."""
    return node is not None and node.GetAttribute(OUT_OF_DATE) == "1"


def outOfDate(segmentationNode: Any, by: str | None = None) -> list[str]:
    """Return the names of a segmentation's results that are out of date."""
    if segmentationNode is None or segmentationNode.GetScene() is None:
        return []
    found = [node.GetName() for node in dependents(segmentationNode, by) if isOutOfDate(node)]
    if modelsOutOfDate(segmentationNode, by):
        found.append(_("exported models"))
    return found


def modelsOutOfDate(segmentationNode: Any, by: str | None = None) -> bool:
    """Whether the exported models of a segmentation, by one module or by any, are out of date."""
    models = exportedModels(segmentationNode)
    mine = models is not None and by in (None, models["by"])
    return mine and segmentationNode.GetAttribute(MODELS_STALE) == "1"


def mark(segmentationNode: Any) -> bool:
    """Mark what was made from a segmentation as out of date; return whether anything changed."""
    changed = False
    for node in dependents(segmentationNode):
        changed |= not isOutOfDate(node)
        node.SetAttribute(OUT_OF_DATE, "1")
    if segmentationNode.GetAttribute(MODELS) and not segmentationNode.GetAttribute(MODELS_STALE):
        segmentationNode.SetAttribute(MODELS_STALE, "1")
        changed = True
    return changed


def verify(segmentationNode: Any) -> None:
    """Mark each result of a segmentation as what it is: made from other vertebrae, or not."""
    nodes = dependents(segmentationNode)
    models = exportedModels(segmentationNode)
    if not nodes and models is None:
        return
    state = stateOf(segmentationNode)
    for node in nodes:
        _set(node, OUT_OF_DATE, node.GetAttribute(STATE) != state)
    if models is not None:
        _set(segmentationNode, MODELS_STALE, models["state"] != state)


def _set(node: Any, name: str, value: bool) -> None:
    if value:
        node.SetAttribute(name, "1")
    else:
        node.RemoveAttribute(name)


class EditWatch:
    """Marks results as out of date when a segmentation of a scene is edited, until `stop`.

    Parameters
    ----------
    scene : vtkMRMLScene
    onEdit : callable
        Called after something was marked.
    """

    def __init__(self, scene: Any, onEdit: Callable[[], None] = lambda: None) -> None:
        self._scene = scene
        self._onEdit = onEdit
        self._tags: list[tuple[Any, int]] = []
        self._watched: set[str] = set()
        for event, handle in (
            (scene.NodeAddedEvent, self._onNode),
            (scene.NodeRemovedEvent, self._onRemoved),
        ):
            self._tags.append((scene, scene.AddObserver(event, handle)))
        kind = "vtkMRMLSegmentationNode"
        for index in range(scene.GetNumberOfNodesByClass(kind)):
            self._watch(scene.GetNthNodeByClass(index, kind))

    def stop(self) -> None:
        """Watch nothing any more."""
        for caller, tag in self._tags:
            caller.RemoveObserver(tag)
        self._tags.clear()
        self._watched.clear()

    def _watch(self, node: Any) -> None:
        for name in EVENTS:
            event = getattr(slicer.vtkSegmentation, name)
            self._tags.append((node, node.AddObserver(event, self._onChange)))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNode(self, scene: Any, event: str, node: Any) -> None:
        if node.IsA("vtkMRMLSegmentationNode"):
            self._watch(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onRemoved(self, scene: Any, event: str, node: Any) -> None:
        gone = [pair for pair in self._tags if pair[0] is node]
        for _node, tag in gone:
            node.RemoveObserver(tag)
        self._tags = [pair for pair in self._tags if pair[0] is not node]

    def _onChange(self, node: Any, event: str) -> None:
        # A scene that is read tells of segments, too; what it holds is as it was saved.
        scene = node.GetScene()
        if scene is None or scene.IsImporting() or scene.IsClosing():
            return
        if mark(node):
            self._onEdit()


class FreshLine:
    """A panel's line “Out of date” with its button “Update”.

    Parameters
    ----------
    ui : object
        Has `staleLabel` and `refreshButton`.
    scene : vtkMRMLScene
    by : str
        The module: what others have made, they make again.
    current : callable
        Returns the segmentation that the panel works on, or None.
    refresh : callable
        Makes the results of that segmentation again.
    also : callable, optional
        Called after the line was brought up to date, to do so with more of the panel.
    """

    def __init__(
        self,
        ui: Any,
        scene: Any,
        by: str,
        current: Callable[[], Any],
        refresh: Callable[[], None],
        also: Callable[[], None] = lambda: None,
    ) -> None:
        self._ui = ui
        self._by = by
        self._current = current
        self._refresh = refresh
        self._also = also
        self._watch = EditWatch(scene, self.update)
        ui.refreshButton.clicked.connect(self._onButton)
        self.update()

    def _onButton(self) -> None:
        # What was shown may be about another segmentation than the one chosen meanwhile.
        if outOfDate(self._current(), self._by):
            self._refresh()
        self.update()

    def close(self) -> None:
        """Watch nothing, and touch the widgets no more."""
        self._watch.stop()
        self._ui = None

    def verify(self) -> None:
        """Look whether the vertebrae really differ, and show it."""
        node = self._current()
        if node is not None and outOfDate(node):
            verify(node)
        self.update()

    def update(self) -> None:
        """Show what is out of date; nothing if nothing is."""
        if self._ui is None:
            return
        names = outOfDate(self._current(), self._by)
        text = _("Edited since; out of date: {names}.").format(names=", ".join(names))
        self._ui.staleLabel.text = text if names else ""
        self._ui.staleLabel.visible = bool(names)
        self._ui.refreshButton.visible = bool(names)
        self._also()
