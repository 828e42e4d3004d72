"""Draws docs/cobb.svg: both definitions of the Cobb angles, on a spine that is made up.

Run it from the root of the project: ``python docs/draw_cobb.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from spineseg.measure.cobb import LOWER, UPPER, challenge_angles, middles
from spineseg.measure.cobb_clinical import clinical_angles
from spineseg.measure.film import CHALLENGE_LEVELS

GREY, BLUE, RED, GREEN = "#9aa5b0", "#0072b2", "#d55e00", "#009e73"
TILTS = ((0, 6), (3, -14), (9, 24), (14, -13), (16, -6))  # vertebra, degrees


def corners() -> np.ndarray[Any, Any]:
    """Return a chain of bodies that stand on each other, (17, 4, 2)."""
    at, degrees = zip(*TILTS, strict=True)
    tilt = np.radians(np.interp(np.arange(17), at, degrees))
    tall = np.linspace(30, 46, 17)[:, None]
    right = np.stack([np.cos(tilt), np.sin(tilt)], axis=1)
    down = np.stack([-np.sin(tilt), np.cos(tilt)], axis=1)
    step = (down[:-1] * tall[:-1] + down[1:] * tall[1:]) / 2 * 1.3
    centre = np.concatenate([[[200.0, 40.0]], [200.0, 40.0] + np.cumsum(step, axis=0)])
    sides = [(x, y) for y in (-0.5, 0.5) for x in (-0.8, 0.8)]
    return np.stack([centre + x * tall * right + y * tall * down for x, y in sides], axis=1)


def body(axes: Any, points: np.ndarray[Any, Any]) -> None:
    for row in points:
        ring = row[[0, 1, 3, 2, 0]]
        axes.plot(ring[:, 0], ring[:, 1], color=GREY, linewidth=0.8)


def line(axes: Any, a: Any, b: Any, color: str, reach: float = 0.0, **more: Any) -> None:
    a, b = np.asarray(a) - reach * (b - a), np.asarray(b) + reach * (b - a)
    axes.plot([a[0], b[0]], [a[1], b[1]], color=color, **more)


def challenge(axes: Any, points: np.ndarray[Any, Any]) -> None:
    found = challenge_angles(points, 2000.0)
    left, right = points[:, [0, 2]].mean(axis=1), points[:, [1, 3]].mean(axis=1)
    plates = middles(points)
    line(axes, plates[0], plates[-1], GREEN, linestyle="--", linewidth=0.8)
    axes.plot(plates[:, 0], plates[:, 1], ".", color=GREEN, markersize=2.5)
    for n in range(17):
        line(axes, left[n], right[n], BLUE, linewidth=0.8)
    names = {found.major_pair[0]: "v hi", found.major_pair[1]: "v lo",
             found.upper_pair[0]: "upper", found.lower_pair[1]: "lower"}  # fmt: skip
    for n, name in names.items():
        strong = n in found.major_pair
        line(axes, left[n], right[n], RED if strong else BLUE, 0.6, linewidth=1.6)
        axes.text(right[n, 0] + 75, right[n, 1], name, color=RED if strong else BLUE, va="center")
    axes.set_title(
        f"The challenge's rule\nmajor {found.major_deg:.0f}°, upper {found.upper_deg:.0f}°,"
        f" lower {found.lower_deg:.0f}°"
    )


def clinical(axes: Any, points: np.ndarray[Any, Any]) -> None:
    found = clinical_angles(points, CHALLENGE_LEVELS)
    names = {id(found.pt): "PT", id(found.mt): "MT", id(found.tl): "TL"}
    for curve, color in zip(found.curves, (BLUE, RED, GREEN, GREY), strict=False):
        for n, plate in ((curve.upper_end, UPPER), (curve.lower_end, LOWER)):
            ends = points[n, list(plate)]
            line(axes, ends[0], ends[1], color, 0.7, linewidth=1.4)
        apex = points[curve.apex].mean(axis=0)
        axes.plot(*apex, "o", color=color, markersize=4)
        side = -1 if curve.convex == "right" else 1
        text = f"{names.get(id(curve), '')} {curve.angle_deg:.0f}°".strip()
        axes.text(apex[0] + side * 120, apex[1], text, color=color, ha="center", va="center")
    axes.set_title("The clinician's\nends: lines, apices: dots")


def main() -> None:
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "cobb", "font.size": 9})
    figure = Figure(figsize=(7.0, 7.5), layout="constrained")
    points = corners()
    for axes, draw in zip(figure.subplots(1, 2), (challenge, clinical), strict=True):
        body(axes, points)
        draw(axes, points)
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.set_xlim(20, 460)
        axes.set_ylim(930, 0)
    figure.savefig(Path(__file__).with_name("cobb.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
