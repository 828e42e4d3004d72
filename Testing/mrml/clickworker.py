"""A resident worker that knows the truth, and the scan that it knows: for tests of the nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from nodecases import obliqueAffine
from scipy import ndimage
from spineseg import labels
from spineseg.clicking import ClickResult
from spineseg.errors import InputError
from spineseg.volume import Volume

LEVELS = ("T12", "L1", "L2", "L3")
"""The blocks of the scan, from the top to the bottom (k goes up)."""
SHAPE = (44, 26, 24)
BONE = 300
_FAR_MM = 20.0


def label(name: str) -> int:
    return labels.by_name(name).verse


def truthArray() -> np.ndarray:
    """Return the label map (k, j, i): a block of 8 slices for each level, 2 between them."""
    array = np.zeros(SHAPE, np.uint8)
    for index, name in enumerate(reversed(LEVELS)):
        array[2 + 10 * index : 10 + 10 * index, 4:20, 5:19] = label(name)
    return array


def scan(affine: np.ndarray | None = None) -> Volume:
    """Return a CT (HU) of the blocks, on an oblique grid by default."""
    array = np.where(truthArray() > 0, 700, -50).astype(np.int16)
    return Volume(array, obliqueAffine() if affine is None else affine)


def truth(name: str, part: str = "vertebra") -> np.ndarray:
    """Return where (k, j, i) a level is, or a part of it."""
    whole = truthArray() == label(name)
    if part == "vertebra":
        return whole
    body = whole.copy()
    body[:, 13:] = False
    return body if part == "body" else ndimage.binary_erosion(body)


class FakeWorker:
    """Answers as `spineseg.residentclient.ResidentWorker` does, for `scan`'s blocks alone.

    Attributes
    ----------
    opened : list of Volume
    asked : list of dict
        What each click was given.
    grown : int
        Voxels by which the next masks are larger along j, to tell one click from another.
    """

    def __init__(self) -> None:
        self.opened: list[Volume] = []
        self.asked: list[dict[str, Any]] = []
        self.closed = 0
        self.grown = 0
        self.warnings: list[str] = []
        self.unsure = False

    def open(self, volume: Volume, progress: Any = None) -> None:
        if not self.opened or self.opened[-1] is not volume:
            self.opened.append(volume)

    def close(self) -> None:
        self.closed += 1

    def click(
        self, point: Any, target: str = "vertebra", known: Any = None, level: Any = None,
        progress: Any = None,
    ) -> ClickResult:  # fmt: skip
        volume = self.opened[-1]
        self.asked.append({"point": point, "target": target, "known": known, "level": level})
        progress("look", 0.5, "looking")
        name = self._meant(volume, point)
        mask = truth(name, target)
        if self.grown:
            mask = mask | np.roll(mask, self.grown, axis=1)
        count = np.bincount(known.array[truth(name)], minlength=256)
        count[0] = 0
        owner = int(count.argmax()) if count.max() > 100 else None
        number, called = self._named(name, owner, known, level)
        box = ndimage.find_objects(mask.astype(np.uint8))[0]
        crop = volume.like(mask.astype(np.uint8)).crop(
            [s.start for s in box], [s.stop for s in box]
        )
        center = tuple(crop.ijk_to_ras(np.argwhere(crop.array)[:, ::-1]).mean(axis=0).tolist())
        return ClickResult(crop, number, called, owner, center, 0.9)

    def _meant(self, volume: Volume, point: Any) -> str:
        nearest = {}
        for name in LEVELS:
            points = volume.ijk_to_ras(np.argwhere(truth(name))[:, ::-1])
            nearest[name] = float(np.linalg.norm(points - point, axis=1).min())
        name = min(nearest, key=nearest.__getitem__)
        if nearest[name] > _FAR_MM:
            raise InputError("There is no vertebra within 20 mm of the point.", "Click on one.")
        return name

    def _named(
        self, name: str, owner: int | None, known: Volume, level: str | None
    ) -> tuple[int, str | None]:
        if level is not None:
            return label(level), level
        if owner is not None and owner < labels.FIRST_UNSURE:
            return owner, labels.display_name(owner)
        neighbours = {label(name) - 1, label(name) + 1}
        if not self.unsure and neighbours & set(np.unique(known.array).tolist()):
            return label(name), name
        free = labels.FIRST_UNSURE
        while (known.array == free).any():
            free += 1
        return (owner or free), None
