"""Results that come into the scene all together: if one fails, it is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from spineseg.result import Vertebra
from spineseg.volume import Volume

from SpineSegMRML import segmentations, segments, tables, volumes
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.names import VERTEBRA

__all__ = ["Results"]


class Results:
    """Puts results beside the volume that they were made from, within a ``with`` block.

    A node that is given takes the result in place of what it holds; one that was deleted
    meanwhile, or None, is replaced by a new one. If the block fails, new nodes are removed and
    the others hold again what they held.

    Parameters
    ----------
    sourceNode : vtkMRMLScalarVolumeNode
        Gives grid, parent transform, place in the subject hierarchy, and scene.
    overwriteEdits : bool
        Whether a segmentation that a user has corrected may take a result. If not, it stays as it
        is, and a new node takes the result.

    Attributes
    ----------
    warnings : list of str
        A sentence for each segmentation that was left as it is.
    """

    def __init__(self, sourceNode: Any, overwriteEdits: bool = False) -> None:
        self._source = sourceNode
        self._overwriteEdits = overwriteEdits
        self.warnings: list[str] = []
        self._scene = sourceNode.GetScene()
        self._undo = ExitStack()

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._undo.pop_all()
        else:
            self._undo.close()

    def volume(self, volume: Volume, name: str, node: Any = None) -> Any:
        """Show a volume on the source's grid as a vtkMRMLScalarVolumeNode, exactly in its place.

        Raises
        ------
        InputError
            It has another shape than the source.
        """
        affine = volumes.volumeFromNode(self._source, world=False).affine
        volumes.requireShape(volume, self._source)
        placed = Volume(volume.array, affine)
        if self._isHere(node):
            image, matrix = node.GetImageData(), volumes.affineFromNode(node, world=False)
            self._undo.callback(volumes.putBack, node, image, matrix, node.GetTransformNodeID())
            volumes.setVolume(node, placed)
        else:
            node = volumes.addVolumeNode(self._scene, placed, name)
            self._undo.callback(segmentations.removeNode, node)
        node.SetAndObserveTransformNodeID(self._source.GetTransformNodeID())
        segmentations.placeBeside(node, self._source)
        return node

    def segmentation(
        self, labelVolume: Volume, name: str, node: Any = None, part: str = VERTEBRA
    ) -> Any:
        """Show a label map on the source's grid as a vtkMRMLSegmentationNode.

        Errors as `segmentations.setSegmentation`, where the parameters are explained.
        """
        spared = self._isHere(node) and not self._overwriteEdits and self._isEdited(node)
        if spared or not self._isHere(node):
            new = segmentations.addSegmentationNode(labelVolume, self._source, name, part)
            self._undo.callback(segmentations.removeNode, new)
            if spared:
                text = _("Your corrections are in “{old}”, as they were; the result is in “{new}”.")
                self.warnings.append(text.format(old=node.GetName(), new=new.GetName()))
            return new
        self._undo.callback(segmentations.restore, node, segmentations.remember(node))
        segmentations.setSegmentation(node, labelVolume, self._source, part)
        segmentations.placeBeside(node, self._source)
        return node

    def table(self, vertebrae: Sequence[Vertebra], name: str, node: Any = None) -> Any:
        """Show a table of vertebrae as a vtkMRMLTableNode."""
        if self._isHere(node):
            self._undo.callback(tables.replaced(node, vertebrae), True)
        else:
            node = tables.addVertebraTable(self._scene, vertebrae, name)
            self._undo.callback(segmentations.removeNode, node)
        segmentations.placeBeside(node, self._source)
        return node

    def onFailure(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Call something, to take back what was done besides, if the block fails."""
        self._undo.callback(call, *arguments)

    def _isEdited(self, node: Any) -> bool:
        return node.GetSegmentation() is not None and bool(segments.edited(node, self._source))

    def _isHere(self, node: Any) -> bool:
        return node is not None and node.GetScene() is self._scene
