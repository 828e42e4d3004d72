"""What a search for fractures leaves behind so that vertebrae can be graded again.

``fractures.json`` is rounded and for people; this is to the last digit and for programs: a front
end keeps it beside the points that it shows, and grades again when a user has moved some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import InputError
from spineseg.fracture import Fractures, VertebraFinding, graded_findings, notes_on
from spineseg.fracture_networks import NetworkScore
from spineseg.measure.bone_density import BoneDensity
from spineseg.measure.vertebra_body import VertebraBody
from spineseg.volume import Volume

__all__ = ["FractureState"]

Floats = NDArray[np.float64]

LEAST_MM = 1.0
"""Moved points that leave less height are a slip of the hand, and nothing can be graded."""
_ARRAYS = ("centre", "axes", "half_mm", "points")
_PAIRS = ("concavity_mm", "node_mm")


@dataclass(frozen=True, eq=False)
class FractureState:
    """The measurements of one scan, before grading.

    Attributes
    ----------
    bodies : tuple of VertebraBody
        From the top.
    densities : tuple of BoneDensity
        One for each. They stay as measured when points are moved.
    aorta_hu : float or None
    made : bool
        Whether the label map was made on the way.
    notes : tuple of str
        Warnings that do not come from the grades: those of the segmentation.
    settings, timings, models
        As in `spineseg.fracture.Fractures`.
    moved : frozenset of int
        Labels of vertebrae whose points are a user's.
    scores : mapping of int to NetworkScore
        By label: what the networks say, which stays as it is when points are moved.
    """

    bodies: tuple[VertebraBody, ...]
    densities: tuple[BoneDensity, ...]
    aorta_hu: float | None = None
    made: bool = False
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    moved: frozenset[int] = frozenset()
    scores: Mapping[int, NetworkScore] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Fractures) -> FractureState:
        """Return what was measured for a result."""
        usual = notes_on(found.findings, found.aorta_hu)
        return cls(
            tuple(finding.graded.body for finding in found.findings),
            tuple(finding.density for finding in found.findings),
            found.aorta_hu,
            found.made,
            tuple(text for text in found.warnings if text not in usual),
            dict(found.settings),
            dict(found.timings),
            tuple(found.models),
            scores={f.graded.body.label: f.score for f in found.findings if f.score.known},
        )

    @classmethod
    def from_json(cls, content: Any) -> FractureState:
        """Return the state that `to_json` wrote.

        Raises
        ------
        InputError
            It is damaged, or of another version.
        """
        try:
            return cls(
                tuple(_body(row) for row in content["bodies"]),
                tuple(BoneDensity(**row) for row in content["densities"]),
                content["aorta_hu"],
                bool(content["made"]),
                tuple(content["notes"]),
                dict(content["settings"]),
                dict(content["timings"]),
                tuple(content["models"]),
                scores={int(k): NetworkScore(*v) for k, v in content.get("scores", {}).items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                "The measurements of the vertebrae are damaged, or of another version.",
                "Search for fractures again.",
                repr(error),
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return plain values: lengths in mm, positions RAS mm, not rounded.

        Which points were moved is left out: whoever keeps the points knows.
        """
        return {
            "bodies": [_row(body) for body in self.bodies],
            "densities": [asdict(density) for density in self.densities],
            "aorta_hu": self.aorta_hu,
            "made": self.made,
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "timings": dict(self.timings),
            "models": list(self.models),
            "scores": {str(label): [s.voxels, s.vae] for label, s in self.scores.items()},
        }

    def with_points(self, moved: Mapping[int, Floats]) -> FractureState:
        """Return the state with a user's points in the middle planes of some vertebrae.

        Parameters
        ----------
        moved : mapping of int to (2, 3, 3) float64
            By label: upper and lower endplate, from front to back, RAS mm. Points that lie on
            each other make a vertebra not evaluable.
        """
        has = frozenset(b.label for b in self.bodies if b.points is not None) & frozenset(moved)
        bodies = tuple(_moved(b, moved[b.label]) if b.label in has else b for b in self.bodies)
        return replace(self, bodies=bodies, moved=has)

    def findings(self) -> tuple[list[VertebraFinding], float | None]:
        """Return the graded vertebrae, and how probable it is that the patient has a fracture."""
        findings, probability = graded_findings(
            self.bodies, self.densities, self.scores, self.moved
        )
        return [self._told(finding) for finding in findings], probability

    def fractures(self, segmentation: Volume) -> Fractures:
        """Return the result as `spineseg.fracture.save_fractures` takes it."""
        findings, probability = self.findings()
        return Fractures(
            findings,
            probability,
            self.aorta_hu,
            segmentation,
            self.made,
            self.warnings(findings),
            self.settings,
            self.timings,
            self.models,
        )

    def warnings(self, findings: list[VertebraFinding]) -> list[str]:
        """Return a sentence for everything that makes `findings` doubtful."""
        told = [*self.notes, *notes_on(findings, self.aorta_hu)]
        names = [body.name for body in self.bodies if body.label in self.moved]
        return [*told, f"Points moved by hand: {', '.join(names)}."] if names else told

    def _told(self, finding: VertebraFinding) -> VertebraFinding:
        graded = finding.graded
        if graded.body.label not in self.moved:
            return finding
        evidence = (*graded.evidence, "its points were moved by hand")
        return replace(finding, graded=replace(graded, evidence=evidence))


def _moved(body: VertebraBody, six: Floats) -> VertebraBody:
    found = body.with_points(six)
    heights = found.heights
    if heights is None or not heights[1].min() >= LEAST_MM:
        return replace(body, points=None, problem="its points were moved onto each other")
    return found


def _row(body: VertebraBody) -> dict[str, Any]:
    row: dict[str, Any] = {one.name: getattr(body, one.name) for one in fields(body)}
    for name in _ARRAYS:
        row[name] = None if row[name] is None else np.asarray(row[name], dtype=float).tolist()
    for name in _PAIRS:
        row[name] = None if row[name] is None else [float(value) for value in row[name]]
    return row


def _body(row: Mapping[str, Any]) -> VertebraBody:
    values = dict(row)
    for name in _ARRAYS:
        values[name] = None if values[name] is None else np.array(values[name], dtype=float)
    for name in _PAIRS:
        values[name] = None if values[name] is None else tuple(values[name])
    return VertebraBody(**values)
