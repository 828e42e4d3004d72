"""How much of a body's area and volume is lost, against its neighbours and the usual sizes.

Genant et al. (J Bone Miner Res 1993;8:1137–1148) put a share of the area beside each grade: 10–20 %
beside grade 1, 20–40 % beside grade 2, 40 % beside grade 3. Here this is evidence that is told; the
grade rests on heights alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spineseg.measure.deformity import GRADE_RULES
from spineseg.measure.vertebra_body import VertebraBody
from spineseg.phantom.morphometry import SIZES

__all__ = ["EXTENTS", "extent_words", "extents_of", "usual_extent"]

Floats = NDArray[np.float64]

EXTENTS = ("area", "volume")
"""The body's area in the middle plane, and its volume without arch and processes."""


def extents_of(body: VertebraBody) -> Floats:
    """Return area (mm²) and volume (ml) of a body (2,), NaN where not measured."""
    return np.array([body.area_mm2, body.volume_ml], dtype=float)


def usual_extent(name: str, height: float) -> Floats:
    """Return area and volume (2,) of an average adult's body, up to the same factor for all.

    Parameters
    ----------
    name : str
        Level; one without a known size gets 1 for both.
    height : float
        Its usual mean height, mm.
    """
    size = SIZES.get(name)
    if size is None:
        return np.ones(2)
    # Only shares of neighbours are looked at, so an ellipse's π and the units fall out.
    return np.array([size.depth * height, size.depth * size.width * height / 1000.0])


def extent_words(lost: Mapping[str, float], grade: int) -> str:
    """Return evidence on a graded vertebra, with what Genant puts beside its grade.

    Parameters
    ----------
    lost : mapping of str to float
        Shares by `EXTENTS`, those that are known.
    grade : int
        1 to 3.
    """
    parts = [f"{name} lost: {100 * lost[name]:.0f} %" for name in EXTENTS if name in lost]
    if not parts:
        return ""
    text = ", ".join(parts)
    if "area" not in lost:
        return text
    least = GRADE_RULES[grade - 1].area
    fits = "as goes with" if lost["area"] >= least else "less than goes with"
    return f"{text} ({fits} grade {grade}: {100 * least:.0f} % of the area)"
