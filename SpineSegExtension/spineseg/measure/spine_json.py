"""Reading back what was measured in a label map: the inverse of `SpineAngles.to_json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spineseg.errors import InputError
from spineseg.measure.cobb_clinical import CobbCurve
from spineseg.measure.endplates import BodyFrame, Endplate
from spineseg.measure.spine_angles import MaximumCurvature, SpineAngles

__all__ = ["spine_from_json"]

Row = Mapping[str, Any]


def spine_from_json(content: Row) -> SpineAngles:
    """Return the angles and the vertebrae that ``result.json`` of a label map holds.

    They are rounded as there: angles to 0.01°, lengths to 0.01 mm.

    Raises
    ------
    InputError
        The content is something else, or was written by a version without the vertebrae's axes.
    """
    if content.get("format") != "spineseg-cobb" or content.get("kind") != "segmentation":
        raise InputError(
            "This is no measurement of a label map.", "Give the result.json of spineseg cobb."
        )
    try:
        return _spine(content)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            "The measurement of a label map is damaged, or of another version.",
            "Measure it again.",
            repr(error),
        ) from error


def _spine(content: Row) -> SpineAngles:
    frames = tuple(_frame(row) for row in content["vertebrae"])
    measured = tuple(
        n for n, frame in enumerate(frames) if frame.upper is not None and frame.lower is not None
    )
    names = [frames[n].name for n in measured]
    plane, maximum = content["cobb_3d_plane"], None
    if plane is not None:
        x, y, z = (float(v) for v in plane["normal_ras"])
        maximum = MaximumCurvature(
            float(content["cobb_3d_deg"]), float(plane["from_coronal_deg"]), (x, y, z)
        )
    coronal, spread = content["coronal_curve"], content["cobb_3d_range_deg"]
    return SpineAngles(
        vertebrae=frames,
        measured=measured,
        coronal=None if coronal is None else _curve(coronal, names),
        curves=tuple(_curve(row, names) for row in content["curves"]),
        maximum=maximum,
        maximum_range_deg=None if spread is None else (float(spread[0]), float(spread[1])),
        kyphosis_deg=content["kyphosis_deg"],
        lordosis_deg=content["lordosis_deg"],
        lordosis_l1_l5_deg=content["lordosis_l1_l5_deg"],
        axial_rotation_deg=dict(content["axial_rotation_deg"]),
        warnings=tuple(content["warnings"]),
    )


def _frame(row: Row) -> BodyFrame:
    axes, half = row["axes_ras"], row["half_size_mm"]
    return BodyFrame(
        label=int(row["label"]),
        name=str(row["level"]),
        centre=np.array(row["centre"], dtype=np.float64),
        upper=_plate(row["upper_endplate"]),
        lower=_plate(row["lower_endplate"]),
        axes=None if axes is None else np.array(axes, dtype=np.float64).T,
        half_mm=None if half is None else np.array(half, dtype=np.float64),
        complete=bool(row["complete"]),
    )


def _plate(row: Row | None) -> Endplate | None:
    if row is None:
        return None
    centre, normal = (np.array(row[name], dtype=np.float64) for name in ("centre", "normal"))
    return Endplate(centre, normal, float(row["rms_mm"]))


def _curve(row: Row, names: Sequence[str]) -> CobbCurve:
    upper, lower, apex = (names.index(row[name]) for name in ("upper_end", "lower_end", "apex"))
    return CobbCurve(float(row["angle_deg"]), upper, lower, apex, str(row["convex"]))
