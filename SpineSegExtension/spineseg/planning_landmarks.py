"""Pedicle points and endplate planes of vertebrae, as markups beside their models."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spineseg import labels
from spineseg.io.markups import MarkedPlane, write_planes, write_points
from spineseg.measure.endplates import BodyFrame, axes_with_up, fit_bodies
from spineseg.measure.pedicles import LEFT, RIGHT, Pedicle, find_pedicles
from spineseg.volume import Volume

__all__ = ["write_landmarks"]

_PLANE_MM = 40.0  # a plane's side where the body's size is not known


def write_landmarks(
    segmentation: Volume, chosen: Collection[int], paths: Sequence[Path], space: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Write the pedicle points and the endplate planes of some vertebrae of a label map.

    Parameters
    ----------
    segmentation : Volume
        The whole label map.
    chosen : collection of int
        Labels of those that are written.
    paths : sequence of Path
        For the points and for the planes; a file without content is not written.
    space : {"LPS", "RAS"}
        Of the files' coordinates.

    Returns
    -------
    rows : list of dict
        For each vertebra its label and name, ``pedicles`` (by side: centre in RAS mm, width and
        height in mm) and ``endplates`` (by end: centre, upward normal, distance from the plane).
    missing : list of str
        A sentence for each vertebra that lacks one which it should have.
    """
    everything = fit_bodies(segmentation)
    frames = [frame for frame in everything if frame.label in chosen]
    pedicles = find_pedicles(segmentation, frames)
    if pedicles:
        write_points(
            [(f"{p.name} pedicle {p.side}", _size(p), p.centre) for p in pedicles], paths[0], space
        )
    planes = [plane for frame in frames for plane in _planes(frame)]
    if planes:
        write_planes(planes, paths[1], space)
    rows, missing = [], []
    for frame in frames:
        mine = {p.side: p for p in pedicles if p.label == frame.label}
        rows.append(_row(frame, mine))
        lacks = _lacks(frame, mine)
        if lacks:
            missing.append(f"{frame.name}: {', '.join(lacks)} could not be told.")
    return rows, missing


def _size(pedicle: Pedicle) -> str:
    return f"{pedicle.width_mm:.1f} mm wide, {pedicle.height_mm:.1f} mm high"


def _planes(frame: BodyFrame) -> list[MarkedPlane]:
    found: list[MarkedPlane] = []
    half = frame.half_mm
    size = (_PLANE_MM, _PLANE_MM) if half is None else (2 * float(half[0]), 2 * float(half[1]))
    for end, plate in (("upper", frame.upper), ("lower", frame.lower)):
        if plate is not None:
            front = np.array([0.0, 1.0, 0.0]) if frame.axes is None else frame.axes[:, 1]
            axes = axes_with_up(plate.normal, front)
            about = f"{plate.rms_mm:.1f} mm from the bone's surface (root mean square)"
            found.append((f"{frame.name} {end} endplate", about, plate.centre, axes, size))
    return found


def _lacks(frame: BodyFrame, pedicles: dict[str, Pedicle]) -> list[str]:
    """Return what a vertebra should have and has not."""
    if frame.name == labels.VERTEBRAE[0].name:
        return []  # the atlas has neither
    sacrum, axis = labels.SACRUM.name, labels.VERTEBRAE[1].name
    lacks = []
    if frame.upper is None and frame.name != axis:
        lacks.append("upper endplate")
    if frame.lower is None and frame.name != sacrum:
        lacks.append("lower endplate")
    # Of C2 one endplate is known, which is too little for its frame.
    if frame.name not in (sacrum, axis):
        lacks += [f"{side} pedicle" for side in (RIGHT, LEFT) if side not in pedicles]
    return lacks


def _row(frame: BodyFrame, pedicles: dict[str, Pedicle]) -> dict[str, Any]:
    def rounded(values: Any) -> list[float]:
        return [round(float(value), 3) for value in values]

    plates = {"upper": frame.upper, "lower": frame.lower}
    return {
        "label": frame.label,
        "name": frame.name,
        "complete": frame.complete,
        "pedicles": {
            side: {
                "centre_ras_mm": rounded(p.centre),
                "width_mm": p.width_mm,
                "height_mm": p.height_mm,
            }
            for side, p in pedicles.items()
        },
        "endplates": {
            end: {
                "centre_ras_mm": rounded(plate.centre),
                "normal_ras": rounded(plate.normal),
                "rms_mm": round(plate.rms_mm, 3),
            }
            for end, plate in plates.items()
            if plate is not None
        },
    }
