"""Draws docs/fracture.svg: six points, and the three kinds of fracture, on made-up vertebrae.

Run it from the root of the project: ``python docs/draw_fracture.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from spineseg.measure.genant import grade_of, kind_of, loss_of

GREY, BLUE, RED = "#9aa5b0", "#0072b2", "#d55e00"
DEEP, HIGH = 30.0, 24.0
SHOWN = ((0.0, 0.0, 0.0), (0.35, 0.18, 0.0), (0.15, 0.35, 0.0), (0.42, 0.44, 0.4))


def plates(loss: tuple[float, float, float]) -> tuple[Any, Any, Any]:
    """Return places along a body, and the heights of its upper and its lower endplate, mm."""
    u = np.linspace(-1, 1, 41)
    heights = HIGH * (1 - np.array(loss)) * np.array([0.97, 0.9, 1.0])
    front, middle, back = heights
    high = middle - u * (front - back) / 2 + u * u * ((front + back) / 2 - middle)
    return u * DEEP / 2, high / 2, -high / 2


def draw(axes: Any, loss: tuple[float, float, float], shift: float) -> None:
    x, top, bottom = plates(loss)
    ring = np.concatenate([np.stack([x, top], 1), np.stack([x, bottom], 1)[::-1]])
    ring = np.vstack([ring, ring[:1]])
    if any(loss):
        y, upper, lower = plates((0.0, 0.0, 0.0))
        for line in (upper, lower):
            axes.plot(y + shift, line, color=GREY, linewidth=0.8, linestyle=":")
    axes.plot(ring[:, 0] + shift, ring[:, 1], color=GREY, linewidth=1.2)
    for n, name in ((0, "a"), (20, "m"), (40, "p")):
        axes.plot([x[n] + shift] * 2, [bottom[n], top[n]], color=BLUE, linewidth=1.0)
        axes.plot([x[n] + shift] * 2, [bottom[n], top[n]], "o", color=RED, markersize=4)
        axes.text(x[n] + shift + 0.8, 0, name, color=BLUE, fontsize=8, va="center")
    grade = grade_of(loss_of(loss))
    lost = " ".join(f"{100 * v:.0f}" for v in loss)
    title = (
        f"{kind_of(loss)}, grade {grade}\nlost: {lost} %" if grade else "whole\nfront on the left"
    )
    axes.text(shift, -HIGH / 2 - 3, title, fontsize=8, ha="center", va="top")


def main() -> None:
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fracture"})
    figure = Figure(figsize=(8, 2.3))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_aspect("equal")
    for n, loss in enumerate(SHOWN):
        draw(axes, loss, n * 42.0)
    path = Path(__file__).with_name("fracture.svg")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
