"""Cobb angles of a frontal film by the rule of the AASCE 2019 challenge.

The rule is that of the program which made the challenge's reference angles (Wu et al., "Automatic
landmark estimation for adolescent idiopathic scoliosis assessment using BoostNet", MICCAI 2017).
With v_i the vector from the middle of a vertebra's left corners to that of its right ones,
vertebra 0 on top and n − 1 at the bottom:

- major: the largest angle between two vectors, of the vertebrae hi < lo.
- The spine is S-shaped if the middles of its endplates lie on both sides of the chord from the
  first to the last of them. The program leaves the last one but one out of this test.
- Not S-shaped: upper = ∠(v_0, v_hi), lower = ∠(v_(n−1), v_lo).
- S-shaped and the middles of the lower endplates of hi and lo lie, on average, in the upper half
  of the picture: upper = max over i ≤ hi of ∠(v_i, v_hi), lower = max over i ≥ lo of ∠(v_i, v_lo).
- S-shaped otherwise: j = the i ≤ hi that maximises ∠(v_i, v_hi), upper = that angle, and lower =
  max over i ≤ j of ∠(v_i, v_j): the third curve then lies above the second.

So "upper" and "lower" are names of a program's variables and no places, and the angles depend on
how much of the patient the picture shows. `spineseg.measure.cobb_clinical` measures as a clinician
does.

Positions are (x, y) in pixels, x to the right and y down. Left and right are the picture's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.errors import InputError

__all__ = ["LOWER", "UPPER", "ChallengeAngles", "challenge_angles", "checked_corners", "middles"]

Floats = NDArray[np.float64]
UPPER = (0, 1)
"""Columns of the upper endplate's left and right corner."""
LOWER = (2, 3)
"""Columns of the lower endplate's."""


@dataclass(frozen=True)
class ChallengeAngles:
    """The challenge's three angles, degrees, and the vertebrae that they lie between.

    Attributes
    ----------
    major_deg, upper_deg, lower_deg : float
        0 where no second or third curve was found.
    major_pair, upper_pair, lower_pair : (int, int)
        Vertebrae, 0 on top, the higher one first.
    s_shaped : bool
    """

    major_deg: float
    upper_deg: float
    lower_deg: float
    major_pair: tuple[int, int]
    upper_pair: tuple[int, int]
    lower_pair: tuple[int, int]
    s_shaped: bool


def checked_corners(corners_px: ArrayLike, least: int = 2) -> Floats:
    """Return corners as (n, 4, 2) float64.

    Raises
    ------
    InputError
        They are no such array, not finite, or fewer than `least` vertebrae.
    """
    corners = np.asarray(corners_px, dtype=np.float64)
    if corners.ndim != 3 or corners.shape[1:] != (4, 2):
        raise InputError(
            "The corners are not four (x, y) positions a vertebra.",
            "Give upper left, upper right, lower left and lower right of each, from the top.",
        )
    if len(corners) < least:
        raise InputError(
            f"An angle needs at least {least} vertebrae, but there are {len(corners)}.",
            "Use a film that shows more of the spine.",
        )
    if not np.isfinite(corners).all():
        raise InputError("A corner is not a finite position.", "Leave that vertebra out.")
    return corners


def middles(corners: Floats) -> Floats:
    """Return the middles of all endplates (2n, 2) of corners (n, 4, 2), from the top."""
    plates = np.stack([corners[:, UPPER].mean(axis=1), corners[:, LOWER].mean(axis=1)], axis=1)
    return plates.reshape(-1, 2)


def challenge_angles(corners_px: ArrayLike, image_height_px: float) -> ChallengeAngles:
    """Measure by the challenge's rule (see above).

    Parameters
    ----------
    corners_px : (n, 4, 2) array_like
        Upper left, upper right, lower left, lower right of each vertebra from the top, (x, y).
        The challenge has n = 17, T1 to L5; with fewer, the rule takes what there is.
    image_height_px : float
        Rows of the picture, in the pixels of the corners.

    Raises
    ------
    InputError
        As `checked_corners`; a vertebra has no width.
    """
    corners = checked_corners(corners_px)
    across = corners[:, [1, 3]].mean(axis=1) - corners[:, [0, 2]].mean(axis=1)
    between = _angles_between(across)
    i, j = np.unravel_index(int(between.argmax()), between.shape)
    hi, lo = int(min(i, j)), int(max(i, j))
    plates = middles(corners)
    s_shaped = _is_s_shaped(plates)
    bottom = len(corners) - 1
    if not s_shaped:
        upper, lower = (0, hi), (lo, bottom)
    elif plates[2 * hi + 1, 1] + plates[2 * lo + 1, 1] < image_height_px:
        upper = int(between[: hi + 1, hi].argmax()), hi
        lower = lo, lo + int(between[lo:, lo].argmax())
    else:
        second = int(between[: hi + 1, hi].argmax())
        upper = second, hi
        lower = int(between[: second + 1, second].argmax()), second
    return ChallengeAngles(
        major_deg=float(between[hi, lo]),
        upper_deg=float(between[upper]),
        lower_deg=float(between[lower]),
        major_pair=(hi, lo),
        upper_pair=upper,
        lower_pair=lower,
        s_shaped=s_shaped,
    )


def _angles_between(vectors: Floats) -> Floats:
    """Return the angles (n, n), degrees, between vectors (n, 2); exactly 0 on the diagonal."""
    if (np.linalg.norm(vectors, axis=1) < 1e-6).any():
        raise InputError(
            "The left and right corners of a vertebra coincide.", "Correct or leave out that one."
        )
    x, y = vectors.T
    cross = np.outer(x, y) - np.outer(y, x)
    # Better conditioned near 0 than the arccos of the program; the same angle.
    angles: Floats = np.degrees(np.arctan2(np.abs(cross), vectors @ vectors.T))
    np.fill_diagonal(angles, 0.0)
    return angles


def _is_s_shaped(plates: Floats) -> bool:
    chord = plates[-1] - plates[0]
    # The first is on the chord by definition; the program stops two before the end.
    inner = plates[1:-2] - plates[0]
    side = chord[0] * inner[:, 1] - chord[1] * inner[:, 0]
    return bool((side > 0).any() and (side < 0).any())
