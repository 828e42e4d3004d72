"""What clicks are measured on: labelled scans, and digital patients with metastases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from ..labels import USUAL_VERTEBRAE, SubRegion, by_name, is_vertebra
from ..methods.one_vertebra import CENTRUM_DEPTH_MM
from ..volume import Volume
from .datasets import Case
from .truth import read_scan, read_truth

__all__ = ["FIRST_SEED", "Scene", "phantom_scene", "scene_of"]

Bools = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
FIRST_SEED = 3_000_000
"""Of the digital patients: no training draws from here on."""
LESIONS = ("lytic", "blastic", "mixed")
_BODY = (int(SubRegion.BODY_BORDER), int(SubRegion.BODY), int(SubRegion.DENS))
_WITHOUT_BODY = by_name("C1").verse
_SHOWN = 3  # levels of a digital patient
_UPPERMOST = "T4"  # the paper's scans are of T4–L5


@dataclass(frozen=True)
class Scene:
    """A scan and the truth about its vertebrae.

    Attributes
    ----------
    name : str
    scan, labels : Volume
        HU, and VerSe ids (101 for a vertebra of unknown level), on one grid.
    bodies, centra : Volume or None
        bool on that grid: all vertebral bodies, and their trabecular centra, where known.
    centroids : dict of int to tuple
        The vertebrae's centres as the data set's makers give them, RAS mm; may be empty.
    lesions : dict of int to str
        Kind of the metastasis in a vertebra.
    """

    name: str
    scan: Volume
    labels: Volume
    bodies: Volume | None = None
    centra: Volume | None = None
    centroids: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    lesions: dict[int, str] = field(default_factory=dict)

    def whole(self) -> dict[int, Box]:
        """Return the boxes of the vertebrae that touch neither end of the scan, by label.

        A reconstruction round the spine often cuts the tips of transverse processes at its sides:
        that is no reason to leave a vertebra out.
        """
        boxes = enumerate(ndimage.find_objects(self.labels.array), start=1)
        along = 2 - next(n for n, code in enumerate(self.labels.orientation) if code in "SI")
        size = self.labels.shape[along]
        return {
            label: box
            for label, box in boxes
            if box is not None
            and is_vertebra(label)
            and box[along].start > 0
            and box[along].stop < size
        }

    def mask(self, label: int, box: Box, target: str) -> Bools:
        """Return the truth of a vertebra's target ("vertebra", "body", "centrum") in a box.

        Empty for the body of C1, which has none.

        Raises
        ------
        InputError
            This data set does not tell bodies from arches.
        """
        own: Bools = self.labels.array[box] == label
        if target == "vertebra":
            return own
        part = self.bodies if target == "body" else self.centra
        if part is None:
            raise InputError(
                f"The {target} of the vertebrae is not known in {self.name}.",
                "Measure --target vertebra, or give a map of sub-regions beside the labels.",
            )
        return own & part.array[box] & (label != _WITHOUT_BODY)


def scene_of(case: Case) -> Scene:
    """Open a labelled scan.

    Raises
    ------
    InputError
        As in `spineseg.evaluation.truth`; or the case has centroids only.
    """
    scan = read_scan(case)
    truth = read_truth(case, scan)
    if truth.labels is None:
        raise InputError(
            f"{case.name} has centroids only, so no outline can be compared.",
            "Use it with: spineseg evaluate vertebrae.",
        )
    centra = None
    if truth.bodies is not None:
        centra = scan.like(_deep(truth.labels, truth.bodies))
    return Scene(case.name, scan, truth.labels, truth.bodies, centra, truth.centroids)


def _deep(labels: Volume, bodies: Volume) -> Bools:
    """Return what of the bodies lies deep enough below the surface of its vertebra."""
    result = np.zeros(labels.shape, dtype=bool)
    for label, box in enumerate(ndimage.find_objects(labels.array), start=1):
        if box is None:
            continue
        own = np.pad(labels.array[box] == label, 1)
        sampling = np.array(labels.spacing[::-1])
        # The surface lies about half a voxel before the nearest voxel outside.
        depth = ndimage.distance_transform_edt(own, sampling)[1:-1, 1:-1, 1:-1]
        deep = depth - sampling.mean() / 2 >= CENTRUM_DEPTH_MM
        result[box] |= deep & own[1:-1, 1:-1, 1:-1] & bodies.array[box]
    return result


def phantom_scene(number: int, lesions: bool = True, seed: int = FIRST_SEED) -> Scene:
    """Draw a digital patient: about three levels between T4 and L5 at 1 to 1.5 mm.

    Parameters
    ----------
    number : int
        Its place in the row of patients; the patient's seed is ``seed + number``.
    lesions : bool
        With a metastasis of 4 to 12 mm in each body, of the three kinds in turn.
    seed : int
        Of the first patient; no less than `FIRST_SEED`, or trainings may have drawn it.
    """
    from ..phantom import generate
    from ..phantom.canvas import DEPTH_UNIT
    from ..phantom.settings import Lesion, PhantomSettings

    rng = np.random.default_rng([seed + number, 21])
    names = [level.name for level in USUAL_VERTEBRAE]
    first = int(rng.integers(names.index(_UPPERMOST), len(names) - _SHOWN + 1))
    shown = names[first : first + _SHOWN]
    drawn: list[Any] = []
    for n, name in enumerate(names[first - 2 : first + _SHOWN + 2]):  # neighbours may be in view
        kind = LESIONS[(number + n) % len(LESIONS)]
        drawn.append(Lesion(name, kind, float(rng.uniform(4.0, 12.0))))
    settings = PhantomSettings(
        spacing_mm=float(rng.uniform(1.0, 1.5)),
        levels=(shown[0], shown[-1]),
        lesions=tuple(drawn) if lesions else (),
        margin_mm=(60.0, 75.0, 32.0),
    )
    phantom = generate(settings, seed + number)
    bodies = np.isin(phantom.tissue.array, _BODY) & (phantom.vertebrae.array > 0)
    deep = phantom.depth.array <= -CENTRUM_DEPTH_MM / DEPTH_UNIT
    return Scene(
        name=f"patient{seed + number}",
        scan=phantom.ct,
        labels=phantom.vertebrae,
        bodies=phantom.ct.like(bodies),
        centra=phantom.ct.like(bodies & deep),
        lesions={by_name(lesion.level).verse: lesion.kind for lesion in settings.lesions},
    )
