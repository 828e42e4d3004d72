"""What makes corners found on a film doubtful: each in one sentence.

A film is given with the wrong end up, as a negative, or is another view altogether; ends are cut
off; metal hides endplates. Nothing here stops a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.io.films import Film
from spineseg.methods.film_chain import LEVELS_OF
from spineseg.methods.film_picture import Picture
from spineseg.methods.film_result import AP, LATERAL

__all__ = ["DOUBTFUL", "ROD", "Turn", "rod_score", "turns", "warnings_of"]

Floats = NDArray[np.float64]

DOUBTFUL = 0.3
"""A vertebra with a lower confidence is named in a warning."""
ROD = 0.205
"""`rod_score` from which a film may show implants."""
_STRANGE = 0.7  # mean probability below which the film may be of something else
# In a picture wider than this part of its height a spine is at most half as long on the canvas as
# those that the networks know: of 14 films at half size none scored more than 0.4, however it lay.
_WIDE = 1.0
_FLANK = 9  # columns of a straightened spine, of which 37 are the width of a vertebra
# Both hold for 76 of 77 films that were cut to the thorax, to their upper half or to the lower
# spine, and for 1 of 123 whole ones.
_ROOM = 0.41  # of a vertebra's width: from one's centre to the next one's
_UNSURE = 4  # doubtful vertebrae
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
    mirrored : bool
        Whether left and right have to change places, after the turn.
    """

    quarters: int = 0
    negative: bool = False
    mirrored: bool = False

    def apply(self, picture: Picture) -> Picture:
        """Return the picture turned."""
        turned = picture.turned(self.quarters) if self.quarters else picture
        turned = turned.mirrored() if self.mirrored else turned
        return turned.negative() if self.negative else turned

    def back(self, points: Floats, picture: Picture) -> Floats:
        """Move points (…, 2) of the turned picture to where they lie on `picture`."""
        rows, columns = picture.array.shape
        x, y = points[..., 0], points[..., 1]
        if self.mirrored:
            x = (rows if self.quarters % 2 else columns) - 1 - x
        moved = [(x, y), (columns - 1 - y, x), (columns - 1 - x, rows - 1 - y), (y, rows - 1 - x)]
        return np.stack(moved[self.quarters % 4], axis=-1)


def turns(mirrored: bool = False, picture: Picture | None = None) -> list[Turn]:
    """Return every other way in which a film may lie, the likelier ones first.

    Parameters
    ----------
    mirrored : bool
        Whether mirrored ones are asked for, too.
    picture : Picture or None
        The prepared film; ways that would make it lie on its side are left out, for a film of a
        whole spine is taller than wide.
    """
    facings = (False, True) if mirrored else (False,)
    ways = [Turn(q, n, m) for q in (0, 2, 1, 3) for n in (False, True) for m in facings if q or n]
    if picture is None:
        return ways
    rows, columns = picture.array.shape
    width = (columns / rows, rows / columns)  # as a part of the height; turned by a quarter
    return [way for way in ways if width[way.quarters % 2] <= _WIDE]


def turn_words(turn: Turn) -> list[str]:
    """Say what had to be done to make a film upright."""
    found = []
    if turn.quarters:
        found.append(
            f"The film {_LYING[turn.quarters]}; it was turned to be measured. Give it upright."
        )
    if turn.negative:
        found.append("The film is a negative, with bone dark; it was turned over to be measured.")
    return found


def warnings_of(
    film: Film,
    original: Picture,
    corners: Floats,
    confidence: Floats,
    turn: Turn,
    score: float,
    view: str = AP,
) -> tuple[str, ...]:
    """Say what makes a result doubtful.

    Parameters
    ----------
    film : Film
    original : Picture
        The film prepared, as it lies.
    corners : (n, 4, 2)
        On the prepared film once it is turned upright; NaN where an endplate is not looked for.
    confidence : (n,)
    turn : Turn
        What was done to make it upright.
    score : float
        Mean probability that the places are vertebrae.
    view : {"ap", "lateral"}
        As which it was measured.
    """
    levels = LEVELS_OF[view]
    picture = turn.apply(original)
    found = turn_words(turn)
    if score < _STRANGE:
        kind, other = ("lateral", "frontal") if view == LATERAL else ("frontal", "lateral")
        found.append(
            f"This hardly looks like a {kind} film of the whole spine (a {other} film, another "
            "part of the body or a photograph?); do not trust the angles."
        )
    doubtful = [level for level, c in zip(levels, confidence, strict=True) if c < DOUBTFUL]
    if doubtful:
        found.append(f"Unsure where the endplates are: {', '.join(doubtful)}. Check them.")
    cut = [levels[n] for n in (0, -1) if _cut_off(corners[n], picture)]
    if cut:
        found.append(f"The film ends at {' and '.join(cut)}; that end may be cut off.")
    if view == AP and len(doubtful) >= _UNSURE and _least_room(corners) < _ROOM:
        found.append(
            "More vertebrae are named than there is room for: the film may show only a part of T1 "
            "to L5. Do not trust the names and the angles."
        )
    on_film = original.to_film(turn.back(corners, original))
    if view == AP and rod_score(film, on_film, turn.negative) > ROD:
        found.append(
            "There may be implants in the spine; they can hide endplates. Check the lines."
        )
    return tuple(found)


def _cut_off(corners: Floats, picture: Picture) -> bool:
    size = np.array(picture.array.shape[::-1])
    return bool(((corners < 0) | (corners > size - 1)).any())


def _least_room(corners: Floats) -> float:
    """Return the least distance of neighbours' centres (n, 4, 2), in their widths."""
    steps = np.linalg.norm(np.diff(corners.mean(axis=1), axis=0), axis=1)
    across = (corners[:, [1, 3]] - corners[:, [0, 2]]).mean(axis=1)
    width = np.linalg.norm(across, axis=1)
    return float((2 * steps / np.maximum(width[1:] + width[:-1], 1e-6)).min())


def rod_score(film: Film, corners_px: Floats, negative: bool = False) -> float:
    """Return how bright a line is that runs on along the spine, as a part of the film's range.

    The spine is straightened; a pixel's height over the brighter of its two flanks, a quarter of
    a vertebra's width away, is high on a rod and not on a vertebra's edge. Counted is what 60 % of
    the pixels along some five vertebrae reach. On the 481 public films it is above `ROD` on
    eight that show rods, and on two that don't.
    """
    left, right = (corners_px[:, side].reshape(-1, 2) for side in ([0, 2], [1, 3]))
    at = np.linspace(0, len(left) - 1, 8 * len(corners_px))
    left, right = (
        np.stack([np.interp(at, np.arange(len(e)), e[:, a]) for a in (0, 1)], axis=1)
        for e in (left, right)
    )
    across = np.linspace(-0.3, 1.3, 60)[None, :, None]
    points = left[:, None] + (right - left)[:, None] * across
    values = film.array.astype(np.float32)
    low, high = np.percentile(values[::4, ::4], [1, 99.5])
    strip = ndimage.map_coordinates(
        values, [points[..., 1], points[..., 0]], order=1, mode="nearest"
    )
    strip = np.clip((strip - low) / max(float(high - low), 1e-6), 0, 1)
    strip = ndimage.gaussian_filter(1 - strip if negative else strip, (0.5, 1.0))
    ridge = strip[:, _FLANK:-_FLANK] - np.maximum(strip[:, : -2 * _FLANK], strip[:, 2 * _FLANK :])
    ridge = ndimage.maximum_filter(ridge, (1, 5))
    return float(ndimage.percentile_filter(ridge, 40, size=(40, 1))[20:-20].max())
