"""What the two networks see: a map over the CT, and a vertebra from cured to more fractured.

Both are worked out in a child process, for a segmentation that was searched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from spineseg import fracture_look
from spineseg.errors import CancelledError, InputError
from spineseg.fracture_networks import VAE, VOXELS
from spineseg.volume import Volume
from spineseg.weights import card_path
from SpineSegMRML import overlays, segmentations, stale, volumes
from SpineSegMRML.choices import AUTOMATIC, deviceSettings
from SpineSegMRML.fracturelookjobs import PreviewDrawn, mapInChild, previewInChild
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import Report
from SpineSegMRML.results import Results
from SpineSegMRML.runs import Runs

from FractureDetectLib import Views
from FractureDetectLib.Record import FOUND, SCAN_ROLE, Record

__all__ = ["MAP_ROLE", "Looked", "Networks"]

MAP_ROLE = "SpineSegFractureMap"
"""Role of a segmentation's reference to the map over its CT."""


@dataclass(frozen=True)
class Looked:
    """What a look has made, and what there is to say of it."""

    text: str
    mapNode: Any = None
    preview: PreviewDrawn | None = None
    warnings: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return a sentence for a user."""
        return self.text


class Networks:
    """Maps and previews of segmentations that were searched.

    Parameters
    ----------
    runs : Runs
        Shared with the search: there is one run at a time.
    recordOf : callable
        Returns the `Record` of a segmentation, or None.
    module : str
        Name of the module that makes them.
    mapper, previewer : callable
        Called as `mapInChild` and `previewInChild` are; by default these.
    """

    def __init__(
        self,
        runs: Runs,
        recordOf: Callable[[Any], Record | None],
        module: str,
        mapper: Callable[..., Volume] = mapInChild,
        previewer: Callable[..., PreviewDrawn] = previewInChild,
    ) -> None:
        self._runs = runs
        self._recordOf = recordOf
        self._module = module
        self.mapper = mapper
        self.previewer = previewer
        self._previews: dict[tuple[str, str], PreviewDrawn] = {}

    def clear(self) -> None:
        """Let go of all previews."""
        self._previews.clear()

    # The map

    def validateMap(self, segmentationNode: Any) -> str:
        """Return why no map can be made, in one sentence; "" if it can."""
        reason = self._unfit(segmentationNode, VOXELS)
        if reason:
            return reason
        record = self._recordOf(segmentationNode)
        if record is None or not fracture_look.evaluable(record.state.bodies):
            return _("No vertebra of the thorax or the loins is evaluable.")
        return ""

    def mapOf(self, segmentationNode: Any) -> Any:
        """Return the map of a segmentation's CT; None where there is none."""
        return None if segmentationNode is None else segmentationNode.GetNodeReference(MAP_ROLE)

    def isFresh(self, segmentationNode: Any) -> bool:
        """Whether there is a map of the CT and the vertebrae that were searched last."""
        node = self.mapOf(segmentationNode)
        if node is None or stale.isOutOfDate(node):
            return False
        scanId = segmentationNode.GetNodeReferenceID(SCAN_ROLE)
        return bool(scanId) and node.GetNodeReferenceID(SCAN_ROLE) == scanId

    def isShown(self, segmentationNode: Any) -> bool:
        """Whether the map lies over the CT in any slice view."""
        node = self.mapOf(segmentationNode)
        return node is not None and Views.isLaidOver(node.GetScene(), node)

    def setShown(self, segmentationNode: Any, shown: bool) -> None:
        """Lay the map over the CT in all slice views, or take it off; nothing if there is none."""
        node = self.mapOf(segmentationNode)
        scanNode = None if node is None else node.GetNodeReference(SCAN_ROLE)
        if shown and scanNode is not None:
            Views.layOver(node.GetScene(), scanNode, node)
        elif node is not None:
            Views.takeOff(node.GetScene(), node)

    def makeMap(
        self,
        segmentationNode: Any,
        device: str = AUTOMATIC,
        onProgress: Callable[[Report], None] | None = None,
    ) -> Looked:
        """Map where the CT looks fractured, and lay that over it; a former map is replaced.

        The scene is touched only when the map is there.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
            That was searched.
        device : str
            "auto", "cpu" or "cuda".
        onProgress : callable, optional
            Called in this thread about every 50 ms with a `Report`; may call `cancel`.

        Raises
        ------
        SpineSegError
            One sentence, with its remedy; `CancelledError` after a cancel.
        """
        reason = self.validateMap(segmentationNode)
        if reason:
            raise InputError(reason)
        record, scanNode, scan = self._searched(segmentationNode)
        with self._runs.on(scanNode) as token:
            percent = self.mapper(
                scan,
                fracture_look.evaluable(record.state.bodies),
                settings=deviceSettings(device),
                onProgress=onProgress,
                token=token,
            )
        self._requireSame(segmentationNode, scanNode, record)
        node = self._show(segmentationNode, scanNode, percent, record)
        most = int(percent.array.max())
        text = _("Yellow to red is what the voxel classifier takes for fractured, {likely} % and"
                 " more (most: {most} %). It is often wrong and no part of the grade.")  # fmt: skip
        return Looked(text.format(likely=overlays.LIKELY, most=most), mapNode=node)

    def _show(self, segmentationNode: Any, scanNode: Any, percent: Volume, record: Record) -> Any:
        """Put a map under the CT's own transform, whichever that is by now."""
        own = Volume(percent.array, np.linalg.inv(record.frame) @ percent.affine)
        former = self.mapOf(segmentationNode)
        name = _("{volume} fracture probability").format(volume=scanNode.GetName())
        with Results(scanNode) as results:
            node = volumes.addVolumeNode(scanNode.GetScene(), own, name)
            results.onFailure(segmentations.removeNode, node)
            node.SetAndObserveTransformNodeID(scanNode.GetTransformNodeID())
            node.SetNodeReferenceID(SCAN_ROLE, scanNode.GetID())
            segmentations.placeBeside(node, scanNode)
            overlays.showProbability(node)
            stale.madeFrom(node, segmentationNode, self._module)
        if former is not None:
            node.SetName(former.GetName())
            segmentations.removeNode(former)
        segmentationNode.SetNodeReferenceID(MAP_ROLE, node.GetID())
        Views.layOver(node.GetScene(), scanNode, node)
        return node

    def dropOld(self, segmentationNode: Any) -> None:
        """Remove a map of other vertebrae, or of another CT, than were searched just now."""
        node = self.mapOf(segmentationNode)
        if node is not None and not self.isFresh(segmentationNode):
            Views.takeOff(node.GetScene(), node)
            segmentations.removeNode(node)

    # The preview

    def validatePreview(self, segmentationNode: Any, level: str) -> str:
        """Return why a vertebra can't be drawn, in one sentence; "" if it can.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode or None
        level : str
            As in the table; "" while none is chosen.
        """
        reason = self._unfit(segmentationNode, VAE)
        if reason:
            return reason
        record = self._recordOf(segmentationNode)
        bodies = [] if record is None else [b for b in record.state.bodies if b.name == level]
        if not bodies:
            return _("Choose a vertebra in the table.")
        problem = fracture_look.preview_problem(bodies[0].label)
        if not problem and bodies[0].problem:
            problem = _("{level} is not evaluable: {problem}.").format(
                level=level, problem=bodies[0].problem
            )
        return problem

    def previewOf(self, segmentationNode: Any, level: str) -> PreviewDrawn | None:
        """Return what was drawn of a vertebra since its last search; None if nothing was.

        Nothing is left of it once the segmentation was edited.
        """
        if segmentationNode is None or not level or self._isEdited(segmentationNode):
            return None
        return self._previews.get((segmentationNode.GetAttribute(FOUND) or "", level))

    def makePreview(
        self,
        segmentationNode: Any,
        level: str,
        device: str = AUTOMATIC,
        onProgress: Callable[[Report], None] | None = None,
    ) -> Looked:
        """Draw a vertebra from cured to more fractured; the scene stays as it is.

        Parameters and errors as in `makeMap`; `level` as in the table.
        """
        reason = self.validatePreview(segmentationNode, level)
        if reason:
            raise InputError(reason)
        record, scanNode, scan = self._searched(segmentationNode)
        mask = self._requireSame(segmentationNode, scanNode, record)
        with self._runs.on(scanNode) as token:
            drawn = self.previewer(
                scan,
                scan.like(mask.array),
                [(body.label, body.centre) for body in record.state.bodies],
                next(b.label for b in record.state.bodies if b.name == level),
                settings=deviceSettings(device),
                onProgress=onProgress,
                token=token,
            )
        self._requireSame(segmentationNode, scanNode, record)
        self._previews[(segmentationNode.GetAttribute(FOUND), level)] = drawn
        text = _("{level} from cured to more fractured: what the network imagines.")
        return Looked(text.format(level=level), preview=drawn)

    # What both need

    def _unfit(self, segmentationNode: Any, network: str) -> str:
        if segmentationNode is None or not segmentationNode.GetAttribute(FOUND):
            return _("Search for fractures first.")
        if segmentationNode.GetNodeReference(SCAN_ROLE) is None:
            return _("The CT that was searched is not in the scene any more.")
        if self._isEdited(segmentationNode):
            return _("The segmentation was edited since it was searched: search again.")
        if not card_path(network).exists():
            return _("The weights of “{name}” are missing: install SpineSeg again.").format(
                name=network
            )
        return ""

    def _isEdited(self, segmentationNode: Any) -> bool:
        return any(stale.isOutOfDate(n) for n in stale.dependents(segmentationNode, self._module))

    def _searched(self, segmentationNode: Any) -> tuple[Record, Any, Volume]:
        """Return the record, the CT's node, and the CT where it lay when it was searched."""
        self._runs.requireNone()
        record = self._recordOf(segmentationNode)
        assert record is not None
        scanNode = segmentationNode.GetNodeReference(SCAN_ROLE)
        own = volumes.volumeFromNode(scanNode, world=False)
        return record, scanNode, Volume(own.array, record.frame @ own.affine)

    def _requireSame(self, segmentationNode: Any, scanNode: Any, record: Record) -> Volume:
        """Return the vertebrae on the CT's grid, which must be those that were searched."""
        if segmentationNode.GetScene() is None:
            raise CancelledError(_("The segmentation was closed meanwhile."))
        now = segmentations.vertebraVolumeFromNode(segmentationNode, scanNode)
        if segmentations.fingerprintOf(now) != record.fingerprint:
            raise InputError(
                _("The segmentation was edited or moved since it was searched."),
                _("Search again."),
            )
        return now
