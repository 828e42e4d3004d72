"""What follows from a user's corrections: results that are made again, and training pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spineseg.errors import InputError
from spineseg.labels import SACRUM
from spineseg.planning import Exported
from spineseg.progress import Progress

from SpineSegMRML import models, segmentations, segments, stale, tables, volumes
from SpineSegMRML.i18n import tr as _

__all__ = ["CorrectionLogic"]


class CorrectionLogic:
    """Brings results up to date with a corrected segmentation, and saves it to learn from.

    Parameters
    ----------
    module : str
        Whose results: the name in `stale.madeFrom`.
    """

    def __init__(self, module: str) -> None:
        self.module = module

    def corrected(self, segmentationNode: Any, inputNode: Any) -> list[str]:
        """Return the names of the segments that a user has painted, renamed or made."""
        if segmentationNode is None or segmentationNode.GetSegmentation() is None:
            return []
        if inputNode is None or inputNode.GetImageData() is None:
            return []
        ids = segments.edited(segmentationNode, inputNode)
        return [segments.nameIn(segmentationNode, segmentId) for segmentId in ids]

    def refresh(self, segmentationNode: Any, inputNode: Any) -> list[str]:
        """Measure a segmentation as it is now, and export its models again if they are old.

        Returns
        -------
        list of str
            A sentence for each thing that was done.

        Raises
        ------
        SpineSegError
            One sentence; what could not be made again stays marked as out of date.
        """
        reason = self._problem(segmentationNode, inputNode)
        if reason:
            raise InputError(reason)
        stale.verify(segmentationNode)
        done = []
        old = [n for n in stale.dependents(segmentationNode, self.module) if stale.isOutOfDate(n)]
        if old:
            self._measure(segmentationNode, inputNode, old)
            done.append(_("Heights and volumes are those of the corrected vertebrae now."))
        how = stale.exportedModels(segmentationNode)
        if how is not None and stale.modelsOutOfDate(segmentationNode, self.module):
            told = (how[key] for key in ("folder", "format", "space", "which"))
            done += models.told(self.export(segmentationNode, inputNode, *told))
        return done or [_("Everything is up to date.")]

    def _measure(self, segmentationNode: Any, inputNode: Any, nodes: list[Any]) -> None:
        from spineseg.measure.remeasure import remeasured

        volume = segmentations.vertebraVolumeFromNode(segmentationNode, inputNode)
        for node in nodes:
            sure = tables.confidencesIn(node)
            vertebrae = remeasured(volume, sure, SACRUM.name in sure)
            tables.setVertebraTable(node, vertebrae)
            stale.madeFrom(node, segmentationNode, self.module)

    def export(
        self,
        segmentationNode: Any,
        inputNode: Any,
        folder: str | Path,
        fileFormat: str,
        space: str,
        which: str,
        progress: Progress | None = None,
    ) -> Exported:
        """Export models as `models.exportModels` does, and remember how."""
        # The user may go on painting meanwhile.
        state = stale.stateOf(segmentationNode)
        done = models.exportModels(
            segmentationNode, inputNode, folder, fileFormat, progress, space, which
        )
        how = {"folder": str(folder), "format": fileFormat, "space": space, "which": which}
        stale.noteExport(segmentationNode, self.module, state, **how)
        return done

    def validatePair(self, segmentationNode: Any, inputNode: Any, folder: Path | None) -> str:
        """Return why no training pair can be saved now, in one sentence; "" if one can."""
        reason = self._problem(segmentationNode, inputNode)
        if reason:
            return reason
        # An empty path widget gives the current folder, which nobody has chosen.
        if folder is None or Path(folder) == Path():
            return _("Choose a folder for training pairs.")
        if Path(folder).is_file():
            return _("{name} is a file; choose a folder.").format(name=Path(folder).name)
        return ""

    def savePair(self, segmentationNode: Any, inputNode: Any, folder: str | Path) -> Path:
        """Save scan and segmentation for ``spineseg train vertebra-unet --from-corrections``.

        Raises
        ------
        InputError
            One sentence: a vertebra has no level yet, for example. Nothing was written.
        """
        from spineseg.training.corrections import write_pair

        reason = self.validatePair(segmentationNode, inputNode, Path(folder))
        if reason:
            raise InputError(reason)
        return write_pair(
            folder,
            volumes.volumeFromNode(inputNode),
            segmentations.vertebraVolumeFromNode(segmentationNode, inputNode),
            self.corrected(segmentationNode, inputNode),
        )

    @staticmethod
    def _problem(segmentationNode: Any, inputNode: Any) -> str:
        if inputNode is None or inputNode.GetImageData() is None:
            return _("Choose the volume that was segmented.")
        if segmentationNode is None or segmentationNode.GetSegmentation() is None:
            return _("Segment a volume first.")
        try:
            segments.requireSource(segmentationNode, inputNode)
        except InputError as error:
            return str(error)
        return ""
