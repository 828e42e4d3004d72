"""The narrowest place of each pedicle: where a screw has the least room.

A pedicle is the bar of bone between a vertebral body and its arch, one on each side of the canal.
The rule is geometric and the same for all levels: behind the body's back wall, the vertebra is cut
by planes square to its own front-back axis, 0.5 mm apart. On each side of a cut, at the height of
the body, the piece that borders the canal is the pedicle's section. Of the planes between the back
wall and the middle of the canal, the one with the smallest section is the isthmus; its centre of
area is the pedicle point. The planes farthest in front still cut the body, those farthest behind
the lamina and the articular processes, whose sections are larger.

All positions are RAS mm. C1 has no pedicles; no vertebra gets one whose frame can't be told (see
`spineseg.measure.endplates`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg import labels
from spineseg.measure.endplates import BodyFrame, MaskField, fit_bodies
from spineseg.volume import Volume

__all__ = ["LEFT", "RIGHT", "Pedicle", "find_pedicles"]

Floats = NDArray[np.float64]

RIGHT, LEFT = "right", "left"
"""The patient's."""
_STEP_MM = 0.5
_IN_FRONT_MM = 2.0  # of the back wall, which is hollow: a section there may be the narrowest
_DEEPEST_MM = 6.0  # behind the wall; the middle of a wide canal
_WIDEST = 1.3  # of the body's half width: farther out are transverse processes
_MIDLINE_MM = 3.0  # so wide is the canal at least; what crosses the midline is body or lamina
_SECTION_MM2 = (8.0, 500.0)  # plausible; the thinnest thoracic pedicles are 3 mm by 8 mm
_PLANES = 3  # smoothing along the axis


@dataclass(frozen=True, eq=False)
class Pedicle:
    """One pedicle at its isthmus.

    Attributes
    ----------
    label : int
        Of the vertebra, in the label map.
    name : str
        Of the vertebra: "L1", or "unsure 1".
    side : {"right", "left"}
        The patient's.
    centre : (3,) float64
        RAS mm.
    width_mm, height_mm : float
        Of the section, along the vertebra's sideways and upward axes.
    """

    label: int
    name: str
    side: str
    centre: Floats
    width_mm: float
    height_mm: float


def find_pedicles(segmentation: Volume, frames: Sequence[BodyFrame] | None = None) -> list[Pedicle]:
    """Find the pedicles of the vertebrae of a label map, from the top, right before left.

    Parameters
    ----------
    segmentation : Volume
        Whole numbers (k, j, i): VerSe ids, or 101, 102 … where levels are unsure.
    frames : sequence of BodyFrame, optional
        What `fit_bodies` gives for it, where that is known already.

    Returns
    -------
    list of Pedicle
        Those that could be told; a vertebra may have both, one or none.
    """
    frames = fit_bodies(segmentation) if frames is None else frames
    array = segmentation.array.astype(np.uint8, copy=False)
    boxes = ndimage.find_objects(array)
    found = []
    for frame in frames:
        if frame.axes is None or frame.half_mm is None or frame.label == labels.SACRUM.verse:
            continue
        box = boxes[frame.label - 1]
        crop = segmentation.crop([s.start for s in box], [s.stop for s in box])
        mask = crop.like((crop.array == frame.label).astype(np.float32))
        field = MaskField(mask.pad((3, 3, 3), (3, 3, 3), 0))
        for side, sign in ((RIGHT, 1.0), (LEFT, -1.0)):
            pedicle = _pedicle(field, frame, side, sign)
            if pedicle is not None:
                found.append(pedicle)
    return found


def _pedicle(field: MaskField, frame: BodyFrame, side: str, sign: float) -> Pedicle | None:
    """Return one side's pedicle; None where there is no bar of bone."""
    assert frame.axes is not None
    assert frame.half_mm is not None
    width, depth, height = frame.half_mm
    out = np.arange(_STEP_MM / 2, _WIDEST * width, _STEP_MM)
    up = np.arange(-height, height + _STEP_MM / 2, _STEP_MM)
    forward = np.arange(_IN_FRONT_MM, -_DEEPEST_MM - _STEP_MM / 2, -_STEP_MM) - depth
    place = np.stack(np.meshgrid(forward, out * sign, up, indexing="ij"), axis=-1)
    points = frame.centre + place[..., [1, 0, 2]] @ frame.axes.T
    inside = field.at(points) >= 0.5
    sections = [_section(plane, out) for plane in inside]
    areas = np.array([np.nan if s is None else s.sum() * _STEP_MM**2 for s in sections])
    areas[(areas < _SECTION_MM2[0]) | (areas > _SECTION_MM2[1])] = np.nan
    smooth = np.convolve(areas, np.ones(_PLANES) / _PLANES, mode="same")
    smooth[[0, -1]] = np.nan
    if np.isnan(smooth).all():
        return None
    thinnest = int(np.nanargmin(smooth))
    section = sections[thinnest]
    assert section is not None
    x, z = out[np.nonzero(section)[0]], up[np.nonzero(section)[1]]
    at = np.array([sign * x.mean(), forward[thinnest], z.mean()])
    return Pedicle(
        frame.label,
        frame.name,
        side,
        frame.centre + frame.axes @ at,
        float(np.count_nonzero(section.any(axis=1)) * _STEP_MM),
        float(np.count_nonzero(section.any(axis=0)) * _STEP_MM),
    )


def _section(plane: NDArray[np.bool_], out: Floats) -> NDArray[np.bool_] | None:
    """Return the piece of a cut (out, up) that borders the canal; None if there is none."""
    pieces, count = ndimage.label(plane)
    if not count:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    best: NDArray[np.bool_] = pieces == int(sizes.argmax()) + 1
    # What reaches the midline is the body, or the lamina.
    return None if out[best.any(axis=1)].min() < _MIDLINE_MM else best
