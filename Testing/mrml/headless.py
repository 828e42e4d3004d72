"""A Slicer application without windows: a real MRML scene with the real module logics.

`slicer-core` holds the scene, the nodes and the logics, but no application object to wire them
together. This does it in the order that Slicer does. It leaves ``slicer.app``, ``slicer.modules``
and ``slicer.mrmlScene`` unset on purpose: code under test that reaches for one of them fails here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

# Share directory first, then the application logic, then the scene: a logic loads its resources
# and registers its nodes when it gets the scene.
MODULE_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Models": "vtkSlicerModelsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
}


class HeadlessApplication:
    """The scene and the logics of an application that has no windows.

    Parameters
    ----------
    folder : Path
        An empty folder for temporary and shared files.
    """

    def __init__(self, folder: Path) -> None:
        self.temporaryPath = folder / "temporary"
        (folder / "share" / "ColorFiles").mkdir(parents=True)
        self.temporaryPath.mkdir()
        self.scene = slicer.vtkMRMLScene()
        self.applicationLogic = slicer.vtkSlicerApplicationLogic()
        self.applicationLogic.SetHomeDirectory(str(folder))
        self.applicationLogic.SetShareDirectory("share")
        self.applicationLogic.SetTemporaryPath(str(self.temporaryPath))
        self.applicationLogic.SetMRMLScene(self.scene)
        self._addDataIO()
        self.logics: dict[str, Any] = {}
        for name, className in MODULE_LOGICS.items():
            self._addLogic(name, className, folder / "share")
        self._observation = self.scene.AddObserver(
            slicer.vtkMRMLScene.NodeAddedEvent, self._onNodeAdded
        )

    def _addDataIO(self) -> None:
        """Give the scene what it needs to read and write files (and bundles)."""
        self._remoteIO = slicer.vtkMRMLRemoteIOLogic()
        self._dataIO = slicer.vtkDataIOManagerLogic()
        self._remoteIO.GetCacheManager().SetRemoteCacheDirectory(str(self.temporaryPath))
        self.applicationLogic.SetMRMLSceneDataIO(self.scene, self._remoteIO, self._dataIO)

    def _addLogic(self, name: str, className: str, share: Path) -> None:
        logic = getattr(slicer, className)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(str(share))
        logic.SetMRMLApplicationLogic(self.applicationLogic)
        logic.SetMRMLScene(self.scene)
        self.applicationLogic.SetModuleLogic(name, logic)
        self.logics[name] = logic

    # VTK's Python observers pass the node only when this is said.
    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, caller: Any, event: str, node: Any) -> None:
        """Put new data nodes into the subject hierarchy, as a Qt plugin does in Slicer."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        isData = node.IsA("vtkMRMLDisplayableNode") or node.IsA("vtkMRMLTableNode")
        if hierarchy is None or not isData or node.GetHideFromEditors():
            return
        if not self.scene.IsImporting() and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def subjectHierarchy(self) -> Any:
        """Return the scene's subject hierarchy node."""
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def close(self) -> None:
        """Empty the scene and let go of the logics, in the order opposite to their making."""
        self.scene.RemoveObserver(self._observation)
        self.scene.Clear(True)
        for name, logic in reversed(self.logics.items()):
            self.applicationLogic.SetModuleLogic(name, None)
            logic.SetMRMLScene(None)
            logic.SetMRMLApplicationLogic(None)
        self.logics.clear()
        self._remoteIO.RemoveDataIOFromScene()
        self.applicationLogic.SetMRMLScene(None)
