"""Pictures of measured films and spines, as PNG bytes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spineseg.io.films import Film
from spineseg.labels import SACRUM
from spineseg.measure.cobb import LOWER, UPPER
from spineseg.measure.endplates import Endplate
from spineseg.measure.film import FilmMeasurement
from spineseg.measure.spine_angles import SpineAngles
from spineseg.methods.film_checks import DOUBTFUL
from spineseg.methods.film_result import FilmLevels, Mark
from spineseg.pictures import palette
from spineseg.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["film_png", "levels_png", "marks_png", "spine_png"]

Floats = NDArray[np.float64]
DPI = 100
_TALL_PX = 900  # height of a picture
_MARGIN_MM = 45.0  # beside a spine, for names and angles
_PLATE, _ENDS = "#ffd84d", "#ff5a36"
_MARKS = ("#59ccff", "#ffd84d", "#7be07b", "#ff9df0")
_EDGE = 0.09  # of a film's width: an angle is written no nearer to its edge
_BEYOND = 1.2  # of an endplate's width: how far the lines of an angle reach out to each side


def film_png(measured: FilmMeasurement, film: Film) -> bytes:
    """Draw a film with its endplates; those that an angle lies between reach out of the spine."""
    axes = _film_axes(film)
    if measured.corners_px is not None:
        _endplates(axes, measured, measured.corners_px)
        for first, last, hollow, angle in _angles(measured, measured.corners_px):
            _long(axes, *first)
            _long(axes, *last)
            middle = (first.mean(axis=0) + last.mean(axis=0)) / 2
            x = middle[0] + hollow * 2.2 * float(np.linalg.norm(first[1] - first[0]))
            x = float(np.clip(x, _EDGE * film.width_px, (1 - _EDGE) * film.width_px))
            _write(axes, x, float(middle[1]), f"{angle:.0f}°", big=True)
    return _film_png(axes, film)


def marks_png(marks: Sequence[Mark], film: Film) -> bytes:
    """Draw a film with what a method saw on it: points, lines, outlines, and maps laid over it."""
    axes = _film_axes(film)
    for mark, color in zip(marks, itertools.cycle(_MARKS), strict=False):
        if mark.values is not None:
            _overlay(axes, mark)
        elif mark.kind == "points":
            axes.plot(*mark.points_px.T, ".", markersize=4, color=color)
        for line in mark.lines() if mark.values is None else ():
            axes.plot(*line.T, color=color, linewidth=1.2)
    return _film_png(axes, film)


def _overlay(axes: Axes, mark: Mark) -> None:
    """Lay a map over a film, the clearer the higher it is."""
    values = mark.values
    assert values is not None
    (left, top), (right, bottom) = mark.points_px
    half = (mark.points_px[1] - mark.points_px[0]) / np.maximum(np.array(values.shape[::-1]) - 1, 1)
    left, right = left - half[0] / 2, right + half[0] / 2
    top, bottom = top - half[1] / 2, bottom + half[1] / 2
    axes.imshow(
        values, cmap="inferno", alpha=values / 255.0 * 0.6, extent=(left, right, bottom, top),
        aspect="auto", vmin=0, vmax=255, interpolation="bilinear",
    )  # fmt: skip


def levels_png(found: FilmLevels, film: Film) -> bytes:
    """Draw a film with the levels' names; those that are unsure in red, with a question mark."""
    axes = _film_axes(film)
    aside = 0.03 * film.width_px
    for level, (x, y), sure in zip(found.levels, found.centres_px, found.confidence, strict=True):
        doubtful = sure < DOUBTFUL
        axes.plot([x], [y], "o", markersize=3, color=_ENDS if doubtful else _PLATE)
        _write(axes, float(x) + aside, float(y), f"{level}?" if doubtful else level)
    return _film_png(axes, film)


def _film_axes(film: Film) -> Axes:
    """Show a film; points are its pixels."""
    axes = _axes(film.width_px, film.height_px * film.pixel_aspect)
    # A tall film is shown smaller than it is: every other pixel is enough.
    step = max(1, film.height_px // (2 * _TALL_PX))
    shown = film.array[::step, ::step].astype(np.float32)
    low, high = np.percentile(shown, (0.5, 99.5))
    grey = np.clip((shown - low) / max(float(high - low), 1e-6), 0, 1)
    extent = (-0.5, film.width_px - 0.5, film.height_px - 0.5, -0.5)
    axes.imshow(grey, cmap="gray", extent=extent, aspect="auto", vmin=0, vmax=1)
    return axes


def _film_png(axes: Axes, film: Film) -> bytes:
    axes.set_xlim(-0.5, film.width_px - 0.5)
    axes.set_ylim(film.height_px - 0.5, -0.5)
    return _png(axes)


def _endplates(axes: Axes, measured: FilmMeasurement, corners: Floats) -> None:
    for level, row in zip(measured.levels, corners, strict=True):
        for plate in (UPPER, LOWER):
            line = row[list(plate)]
            axes.plot(line[:, 0], line[:, 1], color=_PLATE, linewidth=1.0)
        side, width = (
            float(np.nanmax(row[:, 0])),
            float(np.nanmax(row[:, 0]) - np.nanmin(row[:, 0])),
        )
        _write(axes, side + 0.15 * width, float(np.nanmean(row[:, 1])), level)


def _angles(
    measured: FilmMeasurement, corners: Floats
) -> Iterator[tuple[Floats, Floats, float, float]]:
    """Give each angle's two endplates (2, 2), its hollow side in the picture, −1 or 1, and size."""
    for curve in measured.clinical.curves if measured.clinical else ():
        # On the hollow side, where the two lines come together.
        hollow = -1.0 if curve.convex == "right" else 1.0
        first, last = corners[curve.upper_end, list(UPPER)], corners[curve.lower_end, list(LOWER)]
        yield first, last, hollow, curve.angle_deg
    side = measured.sagittal
    if side is None:
        return
    front = 1.0 if side.faces == "right" else -1.0
    rows = dict(zip(measured.levels, corners, strict=True))
    for angle, upper, lower, plate, hollow in (
        (side.kyphosis_deg, "T4", "T12", LOWER, front),
        (side.lordosis_deg, "L1", SACRUM.name, UPPER, -front),
    ):
        if angle is not None:
            yield rows[upper][list(UPPER)], rows[lower][list(plate)], hollow, angle


def spine_png(angles: SpineAngles, segmentation: Volume, view: str) -> bytes:
    """Draw a label map from behind ("coronal") or from the left ("sagittal"), with endplates."""
    across = 0 if view == "coronal" else 1
    picture, left, top, pixel = _projected(segmentation, view)
    rows, columns = picture.shape[:2]
    axes = _axes(columns * pixel + 2 * _MARGIN_MM, rows * pixel)
    extent = (left, left + columns * pixel, top - rows * pixel, top)
    axes.imshow(picture, extent=extent, aspect="auto", interpolation="nearest")
    ends = _ends(angles) if view == "coronal" else set()
    for number, frame in enumerate(angles.vertebrae):
        half = frame.half_mm[across] if frame.half_mm is not None else 18.0
        for which, plate in (("upper", frame.upper), ("lower", frame.lower)):
            if plate is not None:
                line = _line(plate, across, half)
                axes.plot(line[:, 0], line[:, 1], color=_PLATE, linewidth=1.2)
                if (number, which) in ends:
                    _long(axes, line[0], line[1])
        side = extent[0] - 0.8 * _MARGIN_MM if view == "coronal" else extent[1] + 0.8 * _MARGIN_MM
        _write(axes, side, float(frame.centre[2]), frame.name)
    if view == "coronal":
        for curve in angles.curves:
            frames = [angles.vertebrae[angles.measured[n]] for n in (curve.apex, curve.upper_end)]
            width = 2 * (frames[1].half_mm[0] if frames[1].half_mm is not None else 18.0)
            x = frames[0].centre[0] + (-1 if curve.convex == "right" else 1) * 2.0 * width
            _write(axes, float(x), float(frames[0].centre[2]), f"{curve.angle_deg:.0f}°", big=True)
    shown = extent[0] - _MARGIN_MM, extent[1] + _MARGIN_MM
    # From the left, the patient looks to the left.
    axes.set_xlim(shown if view == "coronal" else shown[::-1])
    axes.set_ylim(extent[2:])
    return _png(axes)


def _ends(angles: SpineAngles) -> set[tuple[int, str]]:
    """Return the endplates that curves lie between, by vertebra and name."""
    found = set()
    for curve in angles.curves:
        found.add((angles.measured[curve.upper_end], "upper"))
        found.add((angles.measured[curve.lower_end], "lower"))
    return found


def _line(plate: Endplate, across: int, half: float) -> Floats:
    """Return the two ends (2, 2) of an endplate in a view: place across, and height."""
    slope = -plate.normal[across] / plate.normal[2]
    step = half / np.hypot(1.0, slope) * np.array([1.0, slope])
    middle = plate.centre[[across, 2]]
    return np.stack([middle - step, middle + step])


def _projected(segmentation: Volume, view: str) -> tuple[Floats, float, float, float]:
    """Return the labels (rows, columns, 3) as seen, the left and top edge and a pixel's size, mm.

    Each pixel takes the label of the voxel nearest the eye, darker the farther away.
    """
    inside = np.argwhere(segmentation.array != 0)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    pixel = max(0.8, float(np.ptp(segmentation.grid.corners()[:, 2])) / _TALL_PX)
    upright = segmentation.crop(low.tolist(), high.tolist()).reoriented("RAS")
    even = upright.resampled((pixel,) * 3, order=0)
    array = even.array.astype(np.uint8)
    # Towards the eye first: from behind P to A, from the left L to R; then rows from the top.
    array = array.transpose(1, 0, 2) if view == "coronal" else array.transpose(2, 0, 1)
    array = array[:, ::-1]
    seen = array != 0
    first = seen.argmax(axis=0)
    labels = np.take_along_axis(array, first[None], axis=0)[0]
    dark = 1.0 - 0.6 * first / max(len(array), 1)
    picture = palette()[labels] * dark[..., None]
    picture[~seen.any(axis=0)] = 1.0
    corner = even.ijk_to_ras(np.zeros((1, 3)))[0] - pixel / 2
    left = float(corner[0] if view == "coronal" else corner[1])
    return picture, left, float(corner[2] + array.shape[1] * pixel), pixel


def _axes(width: float, height: float) -> Axes:
    from matplotlib.figure import Figure

    scale = _TALL_PX / height / DPI
    figure = Figure(figsize=(max(width * scale, 2.0), height * scale), dpi=DPI)
    axes: Any = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    return axes  # type: ignore[no-any-return]


def _long(axes: Axes, first: Floats, last: Floats) -> None:
    """Draw the line of an endplate that an angle is measured from."""
    reach = _BEYOND * (last - first)
    line = np.stack([first - reach, last + reach])
    axes.plot(line[:, 0], line[:, 1], color=_ENDS, linewidth=1.4)


def _write(axes: Axes, x: float, y: float, text: str, big: bool = False) -> None:
    from matplotlib import patheffects

    axes.text(
        x,
        y,
        text,
        color=_ENDS if big else "white",
        fontsize=13 if big else 7,
        ha="center" if big else "left",
        va="center",
        clip_on=True,
        path_effects=[patheffects.withStroke(linewidth=2, foreground="black")],
    )


def _png(axes: Axes) -> bytes:
    buffer = io.BytesIO()
    figure: Any = axes.figure
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
