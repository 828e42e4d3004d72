"""Tidies a label map of vertebrae: ragged borders between neighbours and stray pieces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["drop_strays", "follow_majority"]

Labels = NDArray[np.uint8]
Bools = NDArray[np.bool_]

_PIECE_ML = 0.3  # a piece of a vertebra that touches nothing needs this much to stay


def _boxes(labels: Labels, n: int, room: int) -> list[tuple[slice, ...] | None]:
    found = list(ndimage.find_objects(labels, max_label=n))
    return [
        None
        if box is None
        else tuple(
            slice(max(0, side.start - room), min(size, side.stop + room))
            for side, size in zip(box, labels.shape, strict=True)
        )
        for box in found
    ]


def follow_majority(labels: Labels, changeable: Bools, n: int) -> None:
    """Let each changeable voxel with a label (1 … n) follow the majority around it; in place."""
    best = np.zeros(labels.shape, dtype=np.float32)
    winner = labels.copy()
    for label, box in enumerate(_boxes(labels, n, 4), start=1):
        if box is None:
            continue
        here = (labels[box] == label).astype(np.float32)
        score = ndimage.gaussian_filter(here, 1.3, truncate=2.5)
        better = changeable[box] & (score > best[box]) & (labels[box] > 0)
        winner[box][better] = label
        best[box][better] = score[better]
    labels[...] = winner


def drop_strays(labels: Labels, n: int, voxel_ml: float) -> None:
    """Give small pieces to the neighbour that they touch most, or drop them; in place."""
    around = np.ones((3, 3, 3), dtype=bool)
    for label, box in enumerate(_boxes(labels, n, 1), start=1):
        if box is None:
            continue
        view = labels[box]
        parts, n_parts = ndimage.label(view == label, structure=around)
        if n_parts < 2:
            continue
        size = np.bincount(parts.ravel())
        size[0] = 0
        main = int(np.argmax(size))
        boxes = ndimage.find_objects(parts)
        for part in range(1, n_parts + 1):
            if part == main:
                continue
            inner = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in boxes[part - 1])
            piece = parts[inner] == part
            rim = ndimage.binary_dilation(piece, structure=around) & ~piece
            touched = view[inner][rim]
            touched = touched[touched > 0]
            if len(touched) and size[part] < 0.25 * size[main]:
                view[inner][piece] = np.bincount(touched).argmax()
            elif not len(touched) and size[part] * voxel_ml < _PIECE_ML:
                view[inner][piece] = 0
