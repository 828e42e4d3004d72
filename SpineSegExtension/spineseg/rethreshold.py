"""Bone of a synthetic CT at another threshold, with the vertebral bodies that are known already.

What a user does who has looked at the first threshold: no network runs again. The bodies stay as
they are, and what is bone around them is found anew and given to the nearest one.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from scipy import ndimage

from spineseg.errors import InputError
from spineseg.geometry.thresholding import ThresholdSettings, bone_mask
from spineseg.labels import FIRST_UNSURE, LAST_UNSURE, OTHER_BONE, display_name, is_vertebra
from spineseg.progress import Progress
from spineseg.result import SegmentationResult, Vertebra
from spineseg.volume import Volume

__all__ = ["named_bodies", "segment_bone"]


def segment_bone(
    synthetic_ct: Volume,
    bodies: Volume,
    settings: ThresholdSettings | None = None,
    progress: Progress | None = None,
) -> SegmentationResult:
    """Segment the vertebrae of a synthetic CT around bodies that are known.

    Parameters
    ----------
    synthetic_ct : Volume
        HU (k, j, i), any orientation.
    bodies : Volume
        uint8 on its grid: at each vertebral body the label of its vertebra (VerSe id or 101 …).
    settings : ThresholdSettings, optional
    progress : Progress, optional
        Told of each step; its token cancels.

    Returns
    -------
    SegmentationResult
        The labels of `bodies`, and 100 where spine bone belongs to none of them. How sure a
        vertebra is can't be told here: its confidence is NaN.

    Raises
    ------
    InputError
        There is no body, the two grids differ, or no voxel lies in the range.
    """
    from spineseg.measure.heights import measure_vertebrae
    from spineseg.methods.spine_bone import assign_bone, keep_spine

    settings, progress = settings or ThresholdSettings(), progress or Progress()
    if not bodies.grid.same_as(synthetic_ct.grid):
        raise InputError("The bodies do not lie on the grid of the synthetic CT.")
    vertebrae = _vertebrae(bodies)
    if not vertebrae:
        raise InputError("There is no vertebral body.", "Translate the MR again.")
    progress("bone", 0.0, "Otsu's threshold")
    found = bone_mask(synthetic_ct, settings)
    warnings = list(found.warnings)
    progress("bone", 0.2, "what is spine")
    # The bodies show where the column is, also where this threshold leaves them hollow.
    spine = keep_spine(found.mask.like(found.mask.array | (bodies.array > 0)))
    if not (spine.array[bodies.array == 0] > 0).any():
        warnings.append(
            "Around the bodies no bone is above this threshold: lower the range of intensities."
        )
    progress("bone", 0.6, "what belongs to which vertebra")
    order = np.zeros(256, dtype=np.uint8)
    back = np.zeros(256, dtype=np.uint8)
    back[OTHER_BONE] = OTHER_BONE
    for number, vertebra in enumerate(vertebrae, start=1):
        order[vertebra.label] = number
        back[FIRST_UNSURE + number - 1] = vertebra.label
    numbered = bodies.like(order[bodies.array])
    assigned = assign_bone(spine, numbered)
    labels = synthetic_ct.like(back[assigned.array])
    progress("measure", 0.9, "volumes and heights")
    measured = measure_vertebrae(labels, vertebrae, bodies)
    progress("measure", 1.0)
    return SegmentationResult(labels, measured, warnings, asdict(settings), bodies=bodies)


def named_bodies(bodies: Volume, segmentation: Volume) -> Volume:
    """Give each body the label of the vertebra that it lies in, each label once.

    Parameters
    ----------
    bodies : Volume
        uint8: a number of its own for each body.
    segmentation : Volume
        uint8 label map on the same grid.

    Returns
    -------
    Volume
        uint8; a body that lies in no vertebra, or in one that has a body, is an unsure one.
    """
    table = np.zeros(256, dtype=np.uint8)
    for number, box in enumerate(ndimage.find_objects(bodies.array), start=1):
        if box is None:
            continue
        inside = segmentation.array[box][bodies.array[box] == number]
        count = np.bincount(inside, minlength=256)
        count[[n for n in range(256) if not is_vertebra(n) or n in table]] = 0
        free = (n for n in range(FIRST_UNSURE, LAST_UNSURE) if n not in table)
        table[number] = int(count.argmax()) if count.any() else next(free)
    return bodies.like(table[bodies.array])


def _vertebrae(bodies: Volume) -> list[Vertebra]:
    """Return a vertebra for each body, from the top; one is cut if its body touches the border."""
    found = []
    last = np.array(bodies.shape) - 1
    for label, box in enumerate(ndimage.find_objects(bodies.array), start=1):
        if box is None or not is_vertebra(label):
            continue
        low = np.array([s.start for s in box])
        kji = np.argwhere(bodies.array[box] == label) + low
        x, y, z = (float(v) for v in bodies.ijk_to_ras(kji[:, ::-1]).mean(axis=0))
        level = None if label >= FIRST_UNSURE else display_name(label)
        inner = bool((kji > 0).all() and (kji < last).all())
        found.append(Vertebra(label, level, (x, y, z), complete=inner, confidence=float("nan")))
    return sorted(found, key=lambda vertebra: -vertebra.centroid[2])
