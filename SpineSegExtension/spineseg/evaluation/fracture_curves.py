"""Whether probabilities mean what they say, as a picture: reliability, and the operating point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..measure.fracture_probability import calibration

__all__ = ["curves_path", "draw_curves", "sensitivity_specificity"]

Floats = NDArray[np.float64]

_COLOURS = ("#0072b2", "#d55e00")
_LINES = ("-", "--")


def sensitivity_specificity(
    score: Floats, ill: NDArray[np.bool_], thresholds: Floats
) -> tuple[Floats, Floats]:
    """Return the shares of ill and of sound ones that are told, by threshold.

    Parameters
    ----------
    score : (N,) float64
    ill : (N,) bool
    thresholds : (M,) float64
        A score that reaches it is told as ill.

    Returns
    -------
    (M,) float64, (M,) float64
        NaN where there are none of the kind.
    """
    said = score[None, :] >= thresholds[:, None]
    with np.errstate(invalid="ignore"):
        sensitivity = said[:, ill].sum(axis=1) / ill.sum()
        specificity = (~said[:, ~ill]).sum(axis=1) / (~ill).sum()
    return sensitivity, specificity


def draw_curves(
    rows: Sequence[Mapping[str, str]], bins: Mapping[str, Sequence[Mapping[str, Any]]], path: Path
) -> None:
    """Draw the reliability curve and, by threshold, sensitivity and specificity, as SVG.

    Parameters
    ----------
    rows : sequence of mapping
        Of `evaluate_fractures`.
    bins : mapping
        By kind of masks, what `reliability` returned.
    path : Path
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for (masks, own), colour, line in zip(bins.items(), _COLOURS, _LINES, strict=False):
        said, true, n = ([one[key] for one in own] for key in ("said", "true", "n"))
        left.plot(said, true, line, color=colour, linewidth=1.2, label=f"{masks} masks")
        left.scatter(said, true, s=6 + 3 * np.sqrt(n), color=colour, zorder=3)
        bones = [r for r in rows if r["masks"] == masks and r["kind"] == "vertebra"]
        score = np.array([float(row["probability"] or 0) for row in bones])
        ill = np.array([float(row["grade_true"]) >= 1 for row in bones])
        at = np.linspace(0.005, 0.995, 199)
        for share, width in zip(sensitivity_specificity(score, ill, at), (1.8, 0.9), strict=True):
            right.plot(at, share, line, color=colour, linewidth=width)
    point = _operating_point(rows)
    if point is not None:
        right.axvline(point, color="#555555", linewidth=1, linestyle=":")
        right.text(point, 0.02, " operating point", color="#333333", fontsize=8)
    left.set(
        xlabel="probability that was said", ylabel="share truly fractured", xlim=(0, 1), ylim=(0, 1)
    )
    right.set(
        xlabel="threshold on the probability",
        ylabel="sensitivity (thick), specificity (thin)",
        xlim=(0, 1),
        ylim=(0, 1.01),
    )
    if bins:
        left.legend(frameon=False)
    with (
        atomic_path(path) as part,
        rc_context({"svg.hashsalt": "spineseg", "svg.fonttype": "none"}),
    ):
        figure.savefig(part, format="svg", metadata={"Date": None})


def _operating_point(rows: Sequence[Mapping[str, str]]) -> float | None:
    """Return the threshold that rows go by; None where no vertebra has a probability."""
    model = calibration()
    bones = [row for row in rows if row["kind"] == "vertebra" and row["probability"]]
    if not bones:
        return None
    combined = any(row["by_rules"] != row["probability"] for row in bones)
    return (model.combination if combined and model.combination else model).operating_point


def curves_path(path: Path, ending: str) -> Path:
    """Return where the curves are written beside a table: as figures (csv), or drawn (svg)."""
    return path.with_name(f"{path.name.removesuffix('.csv')}.reliability.{ending}")
