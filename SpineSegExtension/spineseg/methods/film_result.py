"""What a method for radiographs returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import SpineSegError

__all__ = ["AP", "LATERAL", "FilmLevels", "FilmResult", "Mark"]

AP = "ap"
LATERAL = "lateral"


@dataclass(frozen=True, eq=False)
class Mark:
    """Something that a method saw on a film, to be drawn there.

    Attributes
    ----------
    name : str
        In words: "boxes", "centreline", "boundary", "saliency" …
    kind : {"points", "line", "outlines", "map"}
        Single points, one line through them, closed outlines, or a picture laid over the film.
    points_px : float64
        (n, 2) of points and a line; (n, m, 2) of outlines with m points each; of a map (2, 2), the
        middles of its first (upper left) and of its last pixel.
    values : (rows, columns) uint8 or None
        Of a map: 0 is nothing, 255 the most.
    """

    name: str
    kind: str
    points_px: NDArray[np.float64]
    values: NDArray[np.uint8] | None = None

    def lines(self) -> list[NDArray[np.float64]]:
        """Return what can be drawn as lines, each (n, 2) pixels: of a map, where it is half full.

        Single points are none. Outlines come closed.
        """
        from skimage.measure import find_contours

        if self.kind == "line":
            return [self.points_px]
        if self.kind == "outlines":
            return [np.concatenate([outline, outline[:1]]) for outline in self.points_px]
        if self.values is None:
            return []
        first, last = self.points_px
        size = np.maximum(np.array(self.values.shape[::-1]) - 1, 1)
        padded = np.pad(self.values, 1).astype(float)
        around = find_contours(padded, 127.5)  # type: ignore[no-untyped-call]
        return [(line[:, ::-1] - 1) / size * (last - first) + first for line in around]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; `from_json` reads it."""
        values = None if self.values is None else self.values.tolist()
        points = np.round(self.points_px, 2).tolist()
        return {"name": self.name, "kind": self.kind, "points_px": points, "values": values}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Mark:
        """Return what `to_json` gave."""
        values = content["values"]
        return cls(
            content["name"],
            content["kind"],
            np.array(content["points_px"], dtype=np.float64),
            None if values is None else np.array(values, dtype=np.uint8),
        )


@dataclass(frozen=True, eq=False)
class FilmResult:
    """What a method found on one film: corners, or a centreline, or only angles.

    Pixels are (x, y) of the film that was given (`spineseg.io.films`): x to the right, y down,
    (0, 0) the middle of the first pixel. Points may lie outside of the film.

    Attributes
    ----------
    levels : tuple of str
        Names of the vertebrae from the top ("T1" … "L5", "sacrum").
    corners_px : (n, 4, 2) float64 or None
        One row a level: upper left, upper right, lower left, lower right, as seen in the picture;
        on a lateral film upper back, upper front, lower back, lower front, whichever way the
        patient faces. NaN where an endplate is not there (the lower one of the sacrum, say).
    centreline_px : (m, 2) float64 or None
        Line through the vertebral bodies from the top, where there are no corners.
    angles_deg : mapping or None
        ``major``, ``upper`` and ``lower`` in the sense of the challenge, where that is all.
    confidence : tuple of float
        0–1, one a level.
    view : {"ap", "lateral"}
    warnings : tuple of str
        One sentence for everything that makes the result doubtful (implants, cut-off ends …).
    marks : tuple of Mark
        What the method saw.
    settings, timings, models
        As in `spineseg.result.SegmentationResult`.

    Raises
    ------
    SpineSegError
        The parts do not fit each other; a fault of the method.
    """

    levels: tuple[str, ...] = ()
    corners_px: NDArray[np.float64] | None = None
    centreline_px: NDArray[np.float64] | None = None
    angles_deg: Mapping[str, float] | None = None
    confidence: tuple[float, ...] = ()
    view: str = AP
    warnings: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.levels)
        corners, line = self.corners_px, self.centreline_px
        fits = (
            (corners is None or corners.shape == (count, 4, 2))
            and (line is None or (line.ndim == 2 and line.shape[1] == 2))
            and len(self.confidence) in (0, count)
            and self.view in (AP, LATERAL)
            and all(p is None or not np.isinf(p).any() for p in (corners, line))
        )
        if not fits:
            raise SpineSegError("The film's method returned parts that do not fit each other.")

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values, null for NaN; `from_json` reads it."""
        found = asdict(replace(self, marks=()))
        found["marks"] = [mark.to_json() for mark in self.marks]
        for name in ("corners_px", "centreline_px"):
            points = found[name]
            if points is not None:
                flat = [None if np.isnan(v) else float(v) for v in points.ravel()]
                found[name] = np.array(flat, dtype=object).reshape(points.shape).tolist()
        return found

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> FilmResult:
        """Return what `to_json` gave; a SpineSegError if the parts do not fit each other."""
        found = dict(content)
        for name in ("levels", "confidence", "warnings", "models"):
            found[name] = tuple(found[name])
        found["marks"] = tuple(Mark.from_json(mark) for mark in found.get("marks", ()))
        for name in ("corners_px", "centreline_px"):
            if found[name] is not None:
                found[name] = np.array(found[name], dtype=np.float64)  # which takes None for NaN
        return cls(**found)


@dataclass(frozen=True, eq=False)
class FilmLevels:
    """The levels on one film, and where their centres lie.

    Attributes
    ----------
    levels : tuple of str
        From the top.
    centres_px : (n, 2) float64
        (x, y) as in `FilmResult`: the middle of the body; of C2 and of the sacrum the middle of the
        lower and of the upper endplate.
    confidence : tuple of float
        0–1, one a level.
    view : {"ap", "lateral"}
    spacing_mm : (float, float) or None
        Of the film, between rows and between columns.
    warnings, settings, timings, models
        As in `FilmResult`.

    Raises
    ------
    SpineSegError
        The parts do not fit each other; a fault of the method.
    """

    levels: tuple[str, ...]
    centres_px: NDArray[np.float64]
    confidence: tuple[float, ...]
    view: str = AP
    spacing_mm: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.levels)
        fits = (
            self.centres_px.shape == (count, 2)
            and len(self.confidence) == count
            and self.view in (AP, LATERAL)
            and bool(np.isfinite(self.centres_px).all())
        )
        if not fits:
            raise SpineSegError("The film's method returned parts that do not fit each other.")

    @property
    def centres_mm(self) -> NDArray[np.float64] | None:
        """(n, 2) from the middle of the first pixel, to the right and down; None if unknown."""
        if self.spacing_mm is None:
            return None
        return np.asarray(self.centres_px * self.spacing_mm[::-1])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's types: one entry a level, and what holds for the film."""
        in_mm = self.centres_mm
        rows = []
        for n, level in enumerate(self.levels):
            row = {"level": level, "centre_px": [round(float(v), 2) for v in self.centres_px[n]]}
            if in_mm is not None:
                row["centre_mm"] = [round(float(v), 2) for v in in_mm[n]]
            rows.append({**row, "confidence": self.confidence[n]})
        return {
            "view": self.view,
            "levels": rows,
            "spacing_mm": list(self.spacing_mm) if self.spacing_mm else None,
            "warnings": list(self.warnings),
        }
