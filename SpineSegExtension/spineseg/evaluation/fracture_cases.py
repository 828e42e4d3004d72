"""The patients that fractures are counted on: drawn on the spot, or from a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import InputError
from ..labels import VERTEBRAE
from ..phantom.render import BODY_CODE, VERTEBRA_CODES
from ..phantom.settings import Fracture, Mimic, PhantomSettings
from ..volume import Volume
from .fracture_gradings import GradedCase, Grading, graded_cases
from .fracture_scenes import FractureScene, drawn_labels, drawn_scan, fracture_scene
from .pressed import pressed_cases

__all__ = ["GradedScene", "Patient", "Scene", "cut_labels", "find_patients", "whole_levels"]


class Scene(Protocol):
    """What is known of a patient."""

    @property
    def name(self) -> str:
        """Of the patient."""

    @property
    def seed(self) -> int:
        """For what is random about it."""

    def truth(self, level: str) -> tuple[int, str] | None:
        """Return grade and type of a level; None where nobody graded it."""

    def mimic(self, level: str) -> str:
        """Return which mimic a level is, or ""."""


@dataclass(frozen=True)
class GradedScene:
    """A published scan, with the grades that readers gave it."""

    name: str
    seed: int
    gradings: Mapping[str, Grading]

    def truth(self, level: str) -> tuple[int, str] | None:
        """Return grade and type of a level; None where nobody graded it."""
        found = self.gradings.get(level)
        return None if found is None else (found.grade, found.kind)

    def mimic(self, level: str) -> str:
        """Return "": mimics are not told."""
        return ""


@dataclass(frozen=True)
class Patient:
    """The true label map, and where it is wanted the CT and what of the map are bodies."""

    labels: Volume
    scan: Volume | None = None
    bodies: Volume | None = None


def find_patients(
    folder: Path | str | None, numbers: Sequence[int], seed: int, scans: bool, press: int = 0
) -> list[tuple[Scene, Callable[[], Patient]]]:
    """Return patients, each with a function that gives its true label map, and its CT if wanted.

    Parameters
    ----------
    folder : path, optional
        With folders that ``spineseg phantom`` wrote, or of VerSe or xVertSeg with its table of
        grades (`spineseg.evaluation.fracture_gradings`); or else
    numbers : sequence of int
        of the row of `fracture_scene` that begins with ``seed``.
    scans : bool
        Whether CTs are read or rendered, too.
    press : int
        The folder has scans without fractures and their label maps; show each so many times, with
        vertebrae pressed together (`spineseg.evaluation.pressed`) in all but the first.

    Raises
    ------
    InputError
        Neither or both are given, or there is no patient in the folder.
    """
    if (folder is None) == (not numbers):
        raise InputError(
            "Either a folder or a number of digital patients is needed.",
            "Give FOLDER, or --phantoms N.",
        )
    if press and folder is None:
        raise InputError(
            "Digital patients have fractures of their own and are not pressed.",
            "Give FOLDER with labelled scans to --press, or leave it out.",
        )
    if folder is None:
        drawn = [fracture_scene(n, seed) for n in numbers]
        return [(scene, partial(_drawn, scene, scans)) for scene in drawn]
    if press:
        both = pressed_cases(folder, press)
        return [(scene, partial(_pressed, read)) for scene, read in both]
    found = sorted(Path(folder).glob("**/answers.json"))
    if not found and any(Path(folder).rglob("*.csv")):
        cases = graded_cases(folder)
        scenes = [GradedScene(one.case.name, n, one.gradings) for n, one in enumerate(cases)]
        return [(s, partial(_published, one)) for s, one in zip(scenes, cases, strict=True)]
    if not found:
        raise InputError(
            f"There is no digital patient and no table of grades in {folder}.",
            "Make some with: spineseg phantom -o FOLDER/NAME --fracture L1:wedge:0.4.",
        )
    return [(_written(path), partial(_read, path, scans)) for path in found]


def _drawn(scene: FractureScene, scans: bool) -> Patient:
    if not scans:
        return Patient(drawn_labels(scene))
    scan, labels, bodies = drawn_scan(scene)
    return Patient(labels, scan, bodies)


def _published(case: GradedCase) -> Patient:
    scan, labels = case.read()
    return Patient(labels.astype(np.uint8), scan)


def _pressed(read: Callable[[], tuple[Volume, Volume]]) -> Patient:
    scan, labels = read()
    return Patient(labels, scan)


def _written(path: Path) -> FractureScene:
    content = json.loads(path.read_text(encoding="utf-8"))
    given = content["settings"]
    settings = PhantomSettings(
        fractures=tuple(Fracture(**one) for one in given["fractures"]),
        mimics=tuple(Mimic(**one) for one in given.get("mimics", ())),
        levels=tuple(given["levels"]),
    )
    return FractureScene(path.parent.name, settings, int(content["seed"]))


def _read(path: Path, scans: bool) -> Patient:
    from ..io.images import read_volume

    labels = read_volume(path.with_name("vertebrae.nii.gz")).astype(np.uint8)
    if not scans:
        return Patient(labels)
    parts = read_volume(path.with_name("subregions.nii.gz"))
    body = (parts.array >= BODY_CODE) & (parts.array <= VERTEBRA_CODES[1])
    scan = read_volume(path.with_name("ct.nii.gz"))
    return Patient(labels, scan, labels.like(body.astype(np.uint8)))


def cut_labels(labels: Volume) -> set[int]:
    """Return the labels that touch the top or the bottom of a label map, however its axes lie."""
    upright = labels.reoriented("RAS").array
    return {int(v) for end in (0, -1) for v in np.unique(upright[end])}


def whole_levels(truth: Volume) -> list[str]:
    """Return the thoracic and lumbar levels whose mask does not touch the top or the bottom."""
    present = {int(v) for v in np.unique(truth.array)} - cut_labels(truth)
    return [v.name for v in VERTEBRAE if v.verse in present and v.name[0] != "C"]
