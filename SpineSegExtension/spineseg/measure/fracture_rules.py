"""All rules that a vertebra's grade, kind and density go by, each with its source, for people."""

from __future__ import annotations

from dataclasses import dataclass

from spineseg.measure.bone_density import CONTRAST, CONTRAST_HU, THRESHOLDS
from spineseg.measure.deformity import GRADE_RULES, KINDS
from spineseg.measure.genant import REFERENCES
from spineseg.measure.mimics import MIMICS

__all__ = ["StatedRule", "stated_rules"]


@dataclass(frozen=True)
class StatedRule:
    """One rule: what it is about, its name, what it says, and where it is from."""

    about: str
    name: str
    text: str
    source: str


def stated_rules() -> list[StatedRule]:
    """Return every rule in the order in which they are applied."""
    compared = [
        StatedRule("compared with", r.name, f"heights are compared with {r.text}", r.source)
        for r in REFERENCES
    ]
    grades = [
        StatedRule(
            "grade",
            f"{r.grade}, {r.name}",
            f"at least {100 * r.least:.0f} % of the height lost in front or in the middle, by the"
            " median of what it is compared with",
            r.source,
        )
        for r in GRADE_RULES
    ]
    kinds = [StatedRule("type", r.name, r.text, r.source) for r in KINDS]
    mimics = [
        StatedRule(
            "looks like a fracture",
            r.name,
            f"lowers the grade by one where less than {100 * r.below:.0f} % is lost",
            r.source,
        )
        for r in MIMICS
    ]
    densities = [
        StatedRule("density", r.name, f"at most {r.at_most:.0f} HU in L1", r.source)
        for r in THRESHOLDS
    ]
    contrast = StatedRule(
        "density",
        "contrast",
        f"blood above {CONTRAST_HU:.0f} HU; then {CONTRAST.least:.0f} to {CONTRAST.most:.0f} HU"
        " are taken off before comparing",
        CONTRAST.source,
    )
    return [*compared, *grades, *kinds, *mimics, *densities, contrast]
