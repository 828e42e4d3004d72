"""The panels that the tests drive: what each works on, and a run that acts as a user meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fracturecases
import numpy as np
import slicer
import tinytranslate
import tinyworker
from nodecases import obliqueAffine
from spineseg import labels
from spineseg.errors import InputError
from spineseg.result import Vertebra
from spineseg.volume import Volume
from SpineSegMRML import volumes
from SpineSegMRML.jobs import JobOutcome, TranslationOutcome, progressTo

STEPS = 6
BONE = 300


class Steps:
    """Stands in for the child process: some steps of progress, then an answer.

    Parameters
    ----------
    answer : callable
        Returns the outcome for a volume, or raises.
    during : callable, optional
        What a user does at the third step, from the event loop.

    Attributes
    ----------
    seen : list
        What `look` returned at each step.
    """

    def __init__(
        self,
        answer: Callable[[Volume], Any],
        during: Callable[[], Any] | None = None,
        look: Callable[[], Any] = lambda: None,
    ) -> None:
        self._answer, self._during, self._look = answer, during, look
        self.seen: list[Any] = []
        self.settings: dict[str, Any] = {}

    def __call__(
        self, volume: Volume, *more: Any, onProgress: Any = None, token: Any = None, **settings: Any
    ) -> Any:
        import qt

        self.settings = dict(settings)
        progress = progressTo(onProgress, token)
        for step in range(STEPS):
            if step == 2 and self._during is not None:
                qt.QTimer.singleShot(0, self._during)
            progress("patches", step / STEPS, f"patch {step}")
            self.seen.append(self._look())
        return self._answer(volume)


def updated(volume: Volume, segmentation: Volume, start: int, **_: Any) -> JobOutcome:
    """Answer an update with its first vertebra alone."""
    array = np.where(segmentation.array == start, start, 0).astype(np.uint8)
    center = volume.ijk_to_ras(np.argwhere(array)[:, ::-1]).mean(axis=0)
    name = labels.display_name(start)
    return JobOutcome(volume.like(array), [Vertebra(start, name, tuple(center.tolist()))])


def bodiesAlone(volume: Volume, bodies: Volume, **_: Any) -> JobOutcome:
    """Answer as if nothing but the bodies were above the threshold."""
    found = np.unique(bodies.array[bodies.array > 0])
    return JobOutcome(bodies, [Vertebra(int(n), None, (0.0, 0.0, 0.0), 1.5) for n in found])


def nothingSeen(*_: Any, **__: Any) -> Any:
    """Answer for networks that are missing."""
    raise InputError("The networks are missing.", "Install them.")


class NothingThere:
    """A resident worker that finds nothing at any click."""

    warnings: list[str] = []

    def open(self, volume: Volume, progress: Any = None) -> None:
        """Take a scan."""

    def close(self) -> None:
        """Let it go."""

    def click(self, *arguments: Any) -> None:
        """Find nothing."""
        raise InputError("There is no vertebra.", "Click on one.")


class SegmentCase:
    """VertebraSegment on a block of bone."""

    name = "VertebraSegment"
    apply = "Apply"
    noInput = "Choose a CT volume."
    input = "inputVolume"
    results = ("segmentation", "resultTable")

    @staticmethod
    def addInput(scene: Any, name: str = "ct") -> Any:
        """Add a CT node."""
        array = np.full((20, 24, 28), -50, np.int16)
        array[4:16, 6:18, 8:20] = 700
        return volumes.addVolumeNode(scene, Volume(array, obliqueAffine()), name)

    @staticmethod
    def answer(volume: Volume) -> JobOutcome:
        """Call all bone L1."""
        label = labels.by_name("L1").verse
        array = np.where(volume.array > BONE, label, 0).astype(np.uint8)
        center = volume.ijk_to_ras(np.argwhere(array)[:, ::-1]).mean(axis=0)
        return JobOutcome(volume.like(array), [Vertebra(label, "L1", tuple(center.tolist()))])

    @staticmethod
    def setRunner(panel: Any, runner: Any) -> None:
        """Let the panel run something else than the shipped child."""
        panel.logic._runner = runner

    @staticmethod
    def stayHere(panel: Any) -> None:
        """Let nothing but runs, which are set by `setRunner`, start a child process."""
        panel.logic._updater = updated
        panel.logic.clicks._worker, panel.logic.clicks._isOwn = NothingThere(), False

    @staticmethod
    def chooseTiny(panel: Any) -> str:
        """Choose a tiny method; return the worker script that knows it."""
        parameters = panel._parameterNode
        parameters.method = type(parameters.method)(tinyworker.WORKS)
        return tinyworker.__file__


class TranslateCase(SegmentCase):
    """CycleGANTranslate on a made-up MR."""

    name = "CycleGANTranslate"
    noInput = "Choose an MR volume."
    results = ("syntheticCt", "confidence", "segmentation", "bodies", "resultTable")

    @staticmethod
    def addInput(scene: Any, name: str = "mr") -> Any:
        """Add an MR node."""
        return volumes.addVolumeNode(scene, tinytranslate.mr(), name)

    @staticmethod
    def answer(volume: Volume) -> TranslationOutcome:
        """Return the made-up truth."""
        vertebrae = []
        for label, level in zip(tinytranslate.LABELS, tinytranslate.LEVELS):
            ijk = np.argwhere(tinytranslate.truth() == label)[:, ::-1]
            center = tuple(volume.ijk_to_ras(ijk).mean(axis=0).tolist())
            vertebrae.append(Vertebra(label, level, center))
        return TranslationOutcome(
            volume.like(tinytranslate.truth()),
            vertebrae,
            syntheticCt=volume.like(tinytranslate.hounsfield()),
            bodies=volume.like(tinytranslate.bodies()),
            confidence=volume.like(np.full(volume.shape, 90, np.uint8)),
        )

    @staticmethod
    def stayHere(panel: Any) -> None:
        """Let nothing but runs, which are set by `setRunner`, start a child process."""
        panel.logic.threshold._thresholder = bodiesAlone

    @staticmethod
    def chooseTiny(panel: Any) -> str:
        """Return the worker script; the registry's rows are its own already."""
        return tinytranslate.__file__


class FractureSteps(Steps):
    """A search in some steps; the segmentation reaches the answer, too."""

    def __call__(self, volume: Volume, segmentation: Any = None, *more: Any, **options: Any) -> Any:
        """Keep the segmentation for the answer, which is given the volume alone."""
        self.segmentation = segmentation
        return super().__call__(volume, *more, **options)


class FractureCase:
    """FractureDetect on a digital patient."""

    name = "FractureDetect"
    apply = "Search"
    question = "You have moved points of"

    @staticmethod
    def addInput(scene: Any, name: str = "ct") -> Any:
        """Add a CT node."""
        return volumes.addVolumeNode(scene, fracturecases.patient().ct, name)

    @staticmethod
    def answer(volume: Volume) -> Any:
        """Return the made-up truth."""
        return fracturecases.atOnce(volume)

    @staticmethod
    def setRunner(panel: Any, runner: Any) -> None:
        """Let the panel run something else than the shipped child."""
        steps = FractureSteps(runner._answer, runner._during, runner._look)
        steps._answer = lambda volume: fracturecases.atOnce(volume, steps.segmentation)
        panel.logic._runner = steps

    @staticmethod
    def stayHere(panel: Any) -> None:
        """Let nothing but runs, which are set by `setRunner`, start a child process."""
        panel.logic.networks.mapper = panel.logic.networks.previewer = nothingSeen


CASES = {case.name: case for case in (SegmentCase, TranslateCase)}


def visibleState(panel: Any) -> tuple[Any, ...]:
    """Return what a user sees of a run."""
    ui = panel.ui
    return (
        ui.applyButton.text,
        ui.applyButton.enabled,
        ui.progressBar.visible,
        ui.progressBar.value,
        ui.inputsCollapsibleButton.enabled,
        ui.statusLabel.text,
    )


def entered(name: str, slicerApp: Any) -> Any:
    """Return a module's panel, a new one after a reload, once a user has opened it."""
    panel = slicer.util.getModuleWidget(name)
    panel.parent.enter()
    slicerApp.processEvents()
    return panel


def nodesOf(scene: Any) -> list[tuple[str, str]]:
    """Return the nodes of a scene that a user can see, by class and name."""
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    shown = [n for n in nodes if not n.GetHideFromEditors()]
    rows = sorted((n.GetClassName(), n.GetName()) for n in shown)
    return [row for row in rows if row[0] != "vtkMRMLSubjectHierarchyNode"]
