"""How far apart neighbouring vertebrae are, and how often their number is unusual.

Derived by ``python -m spineseg.evaluation.level_statistics`` from the 1461 of 1945 real CTs that
are not held out, of ImFusion's vertebra identification data set (VID), CC BY-SA 4.0
(https://creativecommons.org/licenses/by-sa/4.0/). These numbers are an adaptation of that data,
under the same licence. Do not edit by hand.
"""

from __future__ import annotations

SPACING: dict[tuple[str, str], tuple[float, float, int]] = {
    ("C1", "C2"): (17.7, 0.129, 44),
    ("C2", "C3"): (24.5, 0.066, 45),
    ("C3", "C4"): (17.8, 0.069, 47),
    ("C4", "C5"): (17.3, 0.055, 48),
    ("C5", "C6"): (17.1, 0.079, 54),
    ("C6", "C7"): (18.1, 0.134, 59),
    ("C7", "T1"): (20.1, 0.084, 83),
    ("T1", "T2"): (21.1, 0.073, 116),
    ("T2", "T3"): (21.3, 0.071, 133),
    ("T3", "T4"): (21.2, 0.033, 129),
    ("T4", "T5"): (21.8, 0.039, 121),
    ("T5", "T6"): (22.3, 0.037, 120),
    ("T6", "T7"): (22.8, 0.046, 143),
    ("T7", "T8"): (23.4, 0.046, 204),
    ("T8", "T9"): (24.0, 0.058, 412),
    ("T9", "T10"): (25.4, 0.051, 778),
    ("T10", "T11"): (27.3, 0.047, 1132),
    ("T11", "T12"): (29.7, 0.046, 1329),
    ("T11", "L1"): (30.1, 0.032, 6),
    ("T12", "L1"): (32.4, 0.062, 1395),
    ("L1", "L2"): (34.6, 0.047, 1416),
    ("L2", "L3"): (35.8, 0.049, 1390),
    ("L3", "L4"): (36.6, 0.046, 1358),
    ("L4", "L5"): (36.3, 0.063, 1302),
    ("L5", "L6"): (36.8, 0.064, 38),
}
"""Mean mm between body centres, SD of the log beside the patient's size, pairs."""

SIZE_SD = 0.066
"""SD of the log of a patient's size."""

LUMBAR_6 = (38, 1302)
"""Scans with it, of those that could show it."""

THORACIC_11 = (6, 1334)
"""Scans with it, of those that could show it."""

THORACIC_13 = (0, 1334)
"""Scans with it, of those that could show it."""
