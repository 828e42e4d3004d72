"""A generated patient as MR, and its vertebral bodies, on the CT's grid."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..labels import by_name
from ..volume import Volume
from .generate import Phantom
from .render import BODY_CODE, VERTEBRA_CODES
from .render_mr import render_mr
from .sequence import KINDS, Sequence, random_sequence

__all__ = ["as_mr", "bodies_of"]

_LEAST_VOXELS = 30


def as_mr(phantom: Phantom, kind: str = "t2", sequence: Sequence | None = None) -> Volume:
    """Render a patient as MR: float32 brightness from 0 on, on the grid of its CT.

    Parameters
    ----------
    phantom : Phantom
        With cubic voxels.
    kind : a key of ``KINDS``; the patient's seed draws the rest of the protocol
    sequence : a protocol to take instead

    Raises
    ------
    InputError : there is no such kind, or the slices are thicker than the voxels are wide.
    """
    if kind not in KINDS:
        raise InputError(f"There is no MR “{kind}”.", f"Choose one of: {', '.join(KINDS)}.")
    spacing = phantom.ct.spacing
    if max(spacing) - min(spacing) > 1e-3:
        raise InputError("An MR needs cubic voxels.", "Leave out the slice distance.")
    rng = np.random.default_rng([phantom.seed, 3])
    sequence = sequence or random_sequence(rng, kind)
    depth = phantom.depth.array.view(np.int8)
    tissue, overlay = phantom.tissue.array, phantom.overlay.array
    return phantom.ct.like(render_mr(tissue, depth, overlay, spacing[0], sequence, rng))


def bodies_of(phantom: Phantom) -> Volume:
    """Return the vertebral bodies, uint8, 1 … n from the top; C1, which has none, is left out."""
    front = (phantom.tissue.array >= BODY_CODE) & (phantom.tissue.array <= VERTEBRA_CODES[1])
    labels = np.where(front, phantom.vertebrae.array, 0)
    bodies = np.zeros(labels.shape, dtype=np.uint8)
    number = 0
    for body in phantom.chain.bodies:
        own = labels == by_name(body.name).verse
        if own.sum() >= _LEAST_VOXELS:
            number += 1
            bodies[own] = number
    return phantom.ct.like(bodies)
