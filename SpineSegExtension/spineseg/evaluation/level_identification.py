"""Measures how often vertebrae of real spines get their right names, by simulated crops.

Run ``python -m spineseg.evaluation.level_identification KEYPOINTS.jsonl.gz [FIRST [LAST]]``.

Only held-out scans are used: all, or those from number FIRST on, up to but without LAST. From
each, windows of neighbouring vertebrae are cut and named from different evidence. Regions, ribs
and sacrum are taken from the annotated levels (as a faultless network would see them);
``detections`` takes the places and the cervical, thoracic and lumbar probabilities of a real
detector, with its misses and false alarms, and no ribs or sacrum.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spineseg.evaluation.level_statistics import Scan, is_held_out, read_keypoints
from spineseg.methods.levels import SURE, Evidence, name_levels

__all__ = ["KINDS", "Score", "evidence_of", "measure"]

Floats = NDArray[np.float64]

KINDS = ("all", "regions+sacrum", "regions", "ribs", "sacrum", "distances", "detections")
"""What evidence is given; ``all`` is regions, ribs, sacrum and the missing body of C1."""

_MATCH_MM = 12.0
_TO_SACRUM_MM = 22.0


@dataclass
class Score:
    """Counts over windows.

    Attributes
    ----------
    windows, named, right_if_named, right_if_forced : int
        Windows; those named at all; those of them with every name right; and windows that would be
        right if the likeliest naming were always taken.
    """

    windows: int = 0
    named: int = 0
    right_if_named: int = 0
    right_if_forced: int = 0

    def row(self) -> str:
        """Return the counts as percentages: named, right of the named, right if forced."""
        named = f"{100 * self.named / self.windows:.0f} %" if self.windows else "–"
        right = f"{100 * self.right_if_named / self.named:.1f} %" if self.named else "–"
        forced = f"{100 * self.right_if_forced / self.windows:.0f} %" if self.windows else "–"
        return f"{self.windows} | {named} | {right} | {forced}"


def evidence_of(scan: Scan, kind: str) -> tuple[list[Evidence], list[str | None]]:
    """Return evidence and true level (None: a false alarm) of each vertebra of a scan."""
    if kind == "detections":
        return _detected(scan)
    evidence = []
    for level, center in zip(scan.levels, scan.bodies, strict=True):
        all_kinds = kind == "all"
        region = _region(level) if all_kinds or "regions" in kind else None
        ribs = (0.95 if level[0] == "T" else 0.05) if all_kinds or kind == "ribs" else None
        # The data does not say where the sacrum is; whole lumbar spines end at L5 or L6.
        last = level == scan.levels[-1] and level in ("L5", "L6")
        sacrum = _TO_SACRUM_MM if last and (all_kinds or "sacrum" in kind) else None
        evidence.append(Evidence(center, region, ribs, sacrum, not (all_kinds and level == "C1")))
    return evidence, list(scan.levels)


def _region(level: str) -> Floats:
    share = np.full(4, 0.02)
    index = 0 if level in ("C1", "C2") else {"C": 1, "T": 2, "L": 3}[level[0]]
    share[index] = 0.94
    return share


def _detected(scan: Scan) -> tuple[list[Evidence], list[str | None]]:
    evidence: list[Evidence] = []
    truth: list[str | None] = []
    for center, (cervical, thoracic, lumbar) in zip(scan.detected, scan.regions, strict=True):
        share = np.array([cervical * 2 / 7, cervical * 5 / 7, thoracic, lumbar])
        evidence.append(Evidence(center, share / max(float(share.sum()), 1.0)))
        away = np.linalg.norm(scan.bodies - center, axis=1)
        nearest = int(np.argmin(away))
        truth.append(scan.levels[nearest] if away[nearest] < _MATCH_MM else None)
    return evidence, truth


def measure(scans: Sequence[Scan], kind: str, size: int, seed: int = 0) -> Score:
    """Name one random window of `size` vertebrae of each scan (0: all that it has)."""
    score = Score()
    for evidence, truth in _windows(scans, kind, size, seed):
        result = name_levels(evidence)
        best = result.alternatives[0][0] if result.alternatives else []
        right = all(a == b for a, b in zip(best, truth, strict=True) if b is not None)
        named = None not in result.levels
        score.windows += 1
        score.named += named
        score.right_if_named += named and right
        score.right_if_forced += right
    return score


def _windows(
    scans: Sequence[Scan], kind: str, size: int, seed: int
) -> Iterator[tuple[list[Evidence], list[str | None]]]:
    rng = np.random.default_rng(seed)
    for scan in scans:
        evidence, truth = evidence_of(scan, kind)
        n = size or len(evidence)
        if len(evidence) < max(n, 2):
            continue
        start = int(rng.integers(0, len(evidence) - n + 1))
        if any(truth[start : start + n]):
            yield evidence[start : start + n], truth[start : start + n]


def main(arguments: list[str]) -> None:
    """Write a Markdown table: KEYPOINTS TABLE.md [FIRST [LAST]], of the held-out scans."""
    scans = [scan for scan in read_keypoints(Path(arguments[0])) if is_held_out(scan.name)]
    numbers = [int(text) for text in arguments[2:4]]
    scans = scans[slice(*numbers)] if len(numbers) == 2 else scans[numbers[0] if numbers else 0 :]
    lines = [
        f"Held-out scans: {len(scans)}; named from a probability of {SURE:g}.",
        "",
        "| evidence | vertebrae | windows | named | right, of named | right if forced |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for size in (3, 5, 8, 0):
            score = measure(scans, kind, size)
            lines.append(f"| {kind} | {size or 'all'} | {score.row()} |")
    Path(arguments[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
