"""What makes corners found on a film doubtful: each in one sentence.

A film is given with the wrong end up, as a negative, or is another view altogether; ends are cut
off; metal hides endplates. Nothing here stops a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spineseg.io.films import Film
from spineseg.methods.film_chain import LEVELS
from spineseg.methods.film_picture import GREY, Picture
from spineseg.methods.film_result import LATERAL

__all__ = ["DOUBTFUL", "TURNS", "Turn", "metal_share", "warnings_of"]

Floats = NDArray[np.float64]

DOUBTFUL = 0.3
"""A vertebra with a lower confidence is named in a warning."""
_STRANGE = 0.35  # mean probability below which the film may be of something else
_METAL = 0.035  # share of the spine's pixels that stand out as metal does
_BRIGHT = 110  # above grey on a prepared film: 2.6 standard deviations of the surroundings
_LYING = ("", "lies on its right side", "is upside down", "lies on its left side")


@dataclass(frozen=True)
class Turn:
    """How a film has to be turned before it can be measured.

    Attributes
    ----------
    quarters : int
        Anticlockwise.
    negative : bool
        Whether bright and dark have to change places.
    """

    quarters: int = 0
    negative: bool = False

    def apply(self, picture: Picture) -> Picture:
        """Return the picture turned."""
        turned = picture.turned(self.quarters) if self.quarters else picture
        return turned.negative() if self.negative else turned

    def back(self, points: Floats, picture: Picture) -> Floats:
        """Move points (…, 2) of the turned picture to where they lie on `picture`."""
        rows, columns = picture.array.shape
        x, y = points[..., 0], points[..., 1]
        moved = [(x, y), (columns - 1 - y, x), (columns - 1 - x, rows - 1 - y), (y, rows - 1 - x)]
        return np.stack(moved[self.quarters % 4], axis=-1)


TURNS = tuple(Turn(q, n) for n in (False, True) for q in range(4) if q or n)
"""Every other way in which a film may lie."""


def warnings_of(
    film: Film,
    picture: Picture,
    corners: Floats,
    confidence: Floats,
    turn: Turn,
    score: float,
) -> tuple[str, ...]:
    """Say what makes a result doubtful.

    Parameters
    ----------
    film : Film
    picture : Picture
        Prepared and upright.
    corners : (17, 4, 2)
        On `picture`.
    confidence : (17,)
    turn : Turn
        What was done to make it upright.
    score : float
        Mean probability that the places are vertebrae.
    """
    found = []
    if film.view == LATERAL:
        found.append("The file says that this is a lateral film; it was measured as a frontal one.")
    if turn.quarters:
        found.append(
            f"The film {_LYING[turn.quarters]}; it was turned to be measured. Give it upright."
        )
    if turn.negative:
        found.append("The film is a negative, with bone dark; it was turned over to be measured.")
    if score < _STRANGE:
        found.append(
            "This hardly looks like a frontal film of the whole spine (a lateral film, another "
            "part of the body or a photograph?); do not trust the angles."
        )
    doubtful = [level for level, c in zip(LEVELS, confidence, strict=True) if c < DOUBTFUL]
    if doubtful:
        found.append(f"Unsure where the endplates are: {', '.join(doubtful)}. Check them.")
    cut = [LEVELS[n] for n in (0, -1) if _cut_off(corners[n], picture)]
    if cut:
        found.append(f"The film ends at {' and '.join(cut)}; that end may be cut off.")
    if metal_share(picture, corners) > _METAL:
        found.append(
            "There may be implants in the spine; they can hide endplates. Check the lines."
        )
    return tuple(found)


def _cut_off(corners: Floats, picture: Picture) -> bool:
    size = np.array(picture.array.shape[::-1])
    return bool(((corners < 0) | (corners > size - 1)).any())


def metal_share(picture: Picture, corners: Floats) -> float:
    """Return the share of the pixels in the vertebrae that are far brighter than bone around."""
    steps = np.linspace(0.0, 1.0, 24)
    u, v = np.meshgrid(steps, steps)
    ul, ur, ll, lr = (corners[:, n, None, None, :] for n in range(4))
    u, v = u[None, ..., None], v[None, ..., None]
    points = (1 - v) * ((1 - u) * ul + u * ur) + v * ((1 - u) * ll + u * lr)
    size = np.array(picture.array.shape[::-1])
    at = np.clip(np.rint(points).astype(int), 0, size - 1)
    return float((picture.array[at[..., 1], at[..., 0]].astype(int) > GREY + _BRIGHT).mean())
