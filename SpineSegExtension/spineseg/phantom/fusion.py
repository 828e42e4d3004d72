"""Lets two neighbouring vertebrae grow together into a block vertebra.

The bodies are joined by bone a little narrower than they are (radiologists' wasp waist), the
arches by bars at the joints and between the spinous processes. Each keeps its own label: the bone
between them goes to the nearer one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..labels import SubRegion, by_name
from .canvas import DEPTH_UNIT, Box, Canvas, strut
from .chain import Body
from .codes import Tissue
from .vertebra import CORTEX_MM, MASK_GROW_MM, canal_centre_y

Array = npt.NDArray[Any]
_WAIST = 0.88
_BODY = (int(SubRegion.BODY_BORDER), int(SubRegion.BODY))


def fuse(canvas: Canvas, upper: Body, lower: Body, arches: bool) -> None:
    """Join two vertebrae that are drawn already, before discs and canal are.

    Parameters
    ----------
    canvas : Canvas
    upper, lower : Body
        Neighbours.
    arches : bool
        Whether their arches are one, too.
    """
    above, normal = upper.endplate(upper=False)
    below, other = lower.endplate(upper=True)
    z = (normal + other) / np.linalg.norm(normal + other)
    x = upper.rotation[:, 0] - z * float(z @ upper.rotation[:, 0])
    x /= np.linalg.norm(x)
    frame = np.stack([x, np.cross(z, x), z], axis=1)
    centre = (above + below) / 2
    size = upper.size
    side = size.canal[0] / 2 + 20
    tall = max(upper.size.height, lower.size.height) + 8
    low = np.array([-max(side, size.width), -size.depth - size.canal[1] - 30, -tall])
    high = np.array([max(side, size.width), size.depth / 2 + 8, tall])
    box = canvas.box(centre, frame, low, high)
    if box is None:
        return
    pair = (by_name(upper.name).verse, by_name(lower.name).verse)
    _join(canvas, box, _between_bodies(box, upper, lower), pair, _BODY)
    if arches:
        code = int(SubRegion.ARCH)
        _join(canvas, box, _between_arches(box, upper, lower, centre, frame), pair, (code, code))


def _between_bodies(box: Box, upper: Body, lower: Body) -> Array:
    half_w = _WAIST * min(upper.size.width, lower.size.width) / 2
    half_d = _WAIST * min(upper.size.depth, lower.size.depth) / 2
    # From the middle of one body to the middle of the other: the endplates between go.
    half = (upper.disc + (min(upper.heights) + min(lower.heights)) / 2) / 2
    rho = np.sqrt((box.x / half_w) ** 2 + (box.y / half_d) ** 2)
    return np.asarray(np.maximum((rho - 1.0) * min(half_w, half_d), np.abs(box.z) - half))


def _between_arches(box: Box, upper: Body, lower: Body, centre: Array, frame: Array) -> Array:
    """Bars from the joint and the spinous process of one vertebra to those of the other."""
    ends = []
    for body in (upper, lower):
        back, (cw, cd) = -body.size.depth / 2 * 0.93, body.size.canal
        points = [(s * (cw / 2 + 4.0), back - cd * 0.7, 0.0) for s in (-1.0, 1.0)]
        points.append((0.0, back - cd - 7.0, -body.size.height * 0.25))
        ends.append((np.array(points) @ body.rotation.T + body.centre - centre) @ frame)
    out = np.full(box.x.shape, np.float32(127.0))
    for a, b, radii in zip(*ends, ((4.5, 4.5), (4.5, 4.5), (3.5, 6.0)), strict=True):
        start, end = ((float(p[0]), float(p[1]), float(p[2])) for p in (a, b))
        out = np.minimum(out, strut(box, start, end, radii, radii, across=(0.0, 1.0, 0.0)))
    cw, cd = np.minimum(upper.size.canal, lower.size.canal)
    yc = (canal_centre_y(upper) + canal_centre_y(lower)) / 2
    rho = np.sqrt((box.x / (cw / 2)) ** 2 + ((box.y - yc) / (cd / 2)) ** 2)
    return np.asarray(np.maximum(out, (1.0 - rho) * cd / 2))


def _join(
    canvas: Canvas, box: Box, distance: Array, labels: tuple[int, int], codes: tuple[int, int]
) -> None:
    """Fill a bridge (mm, negative inside) with bone; ``codes`` are its border's and its core's."""
    ids, tissue = canvas.ids[box.slices], canvas.tissue[box.slices]
    code = np.where(distance > -CORTEX_MM, codes[0], codes[1]).astype(np.uint8)
    empty = (ids == 0) & (tissue == Tissue.AIR) & (distance < MASK_GROW_MM)
    ids[empty] = np.where(box.z > 0, labels[0], labels[1])[empty]
    tissue[empty] = code[empty]
    # What was the border of either body is the inside of the block.
    inner = np.isin(ids, labels) & (tissue == codes[0]) & (distance <= -CORTEX_MM)
    tissue[inner] = codes[1]
    near = np.isin(ids, labels) | (ids == 0)
    depth = canvas.depth[box.slices]
    steps = np.clip(np.rint(distance / DEPTH_UNIT), -127, 127).astype(np.int8)
    depth[near] = np.minimum(depth, steps)[near]
