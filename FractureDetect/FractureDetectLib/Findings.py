"""What a search has found, for people: rows of a table, and a sentence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from spineseg.cobb_tables import Column
from spineseg.fracture import VertebraFinding
from spineseg.measure.vertebra_body import PLACES
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.names import counted

__all__ = ["COLUMNS", "FractureOutcome", "rowsOf"]

COLUMNS = (
    Column("level", "Level"),
    Column("suspect", "Suspect"),
    Column("grade", "Grade"),
    Column("type", "Type"),
    Column("probability", "Probability", "%"),
    Column("anterior_mm", "Front", "mm"),
    Column("middle_mm", "Middle", "mm"),
    Column("posterior_mm", "Back", "mm"),
    Column("loss", "Lost", "%"),
    Column("hu_mean", "Density", "HU"),
    Column("moved", "Points"),
    Column("evidence", "Why"),
)


def rowsOf(findings: Sequence[VertebraFinding], moved: Collection[int]) -> list[dict[str, Any]]:
    """Return a row of `COLUMNS` for each vertebra, those that are not evaluable, too.

    Parameters
    ----------
    findings : sequence of VertebraFinding
        From the top.
    moved : collection of int
        Labels of vertebrae whose points are a user's.
    """
    return [_row(finding, finding.graded.body.label in moved) for finding in findings]


def _row(finding: VertebraFinding, moved: bool) -> dict[str, Any]:
    found, loss = finding.to_json(), finding.graded.loss
    heights = found["heights_mm"] or {}
    told = found["evidence"]
    grades = (_("0"), _("1 mild"), _("2 moderate"), _("3 severe"))
    return {
        "level": found["level"],
        "grade": grades[found["genant_grade"]] if found["evaluable"] else _("not evaluable"),
        "type": found["type"],
        "probability": None if finding.probability is None else round(100 * finding.probability, 1),
        **{f"{place}_mm": heights.get(place) for place in PLACES},
        "loss": None if loss is None else round(100 * float(max(loss[:2]))),
        "hu_mean": found["hu_mean"],
        "suspect": _("yes") if found["suspect"] else "",
        "moved": _("moved") if moved else "",
        "evidence": "; ".join(told if found["evaluable"] else [found["reason"], *told]),
    }


@dataclass(frozen=True)
class FractureOutcome:
    """What a search, or a user's points, have put into the scene.

    Attributes
    ----------
    findings : list of VertebraFinding
        From the top.
    probability : float or None
        That the patient has any fracture; None where no vertebra is evaluable.
    segmentationNode : vtkMRMLSegmentationNode
    tableNode : vtkMRMLTableNode
        A row for each vertebra.
    moved : frozenset of int
        Labels of vertebrae whose points are a user's.
    warnings : list of str
        One sentence for everything that makes the result doubtful.
    seconds : float
        What the search took.
    """

    findings: list[VertebraFinding]
    probability: float | None
    segmentationNode: Any
    tableNode: Any
    moved: frozenset[int]
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def summary(self) -> str:
        """Return one or two sentences for a user."""
        seen = sum(f.graded.loss is not None for f in self.findings)
        if not seen or self.probability is None:
            return _("No vertebra is evaluable; the table says why.")
        suspects = [f for f in self.findings if f.suspect]
        names = ", ".join(_suspect(f) for f in suspects) or _("none")
        text = _("Suspects among {vertebrae} that can be graded: {names}. Probability that the"
                 " patient has any fracture: {percent:.0f} %.")  # fmt: skip
        percent = 100 * self.probability
        return text.format(vertebrae=counted(seen), names=names, percent=percent)


def _suspect(finding: VertebraFinding) -> str:
    graded = finding.graded
    if not graded.grade:
        percent = 100 * (finding.probability or 0.0)
        return _("{level} (no grade, {percent:.0f} %)").format(level=finding.level, percent=percent)
    text = _("{level} (grade {grade}, {kind})")
    return text.format(level=finding.level, grade=graded.grade, kind=graded.kind)
