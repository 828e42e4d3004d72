"""Derives `spineseg.methods.level_statistics` from keypoints of real spines.

Run ``python -m spineseg.evaluation.level_statistics KEYPOINTS.jsonl.gz OUTPUT.py``.

The keypoints are those of ImFusion's vertebra identification data (VID, CC BY-SA 4.0): 1,945 CTs,
one JSON object a line with ``truth`` and ``detections``. Three scans of four are used here; the
fourth (by a checksum of the scan's name) is left for measuring (`level_identification`).
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.atomic import atomic_path
from spineseg.errors import InputError
from spineseg.labels import USUAL_VERTEBRAE

__all__ = ["Scan", "is_held_out", "read_keypoints", "statistics"]

Floats = NDArray[np.float64]

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_HEADER = '''"""How far apart neighbouring vertebrae are, and how often their number is unusual.

Derived by ``python -m spineseg.evaluation.level_statistics`` from the {n} of {total} real CTs that
are not held out, of ImFusion's vertebra identification data set (VID), CC BY-SA 4.0
(https://creativecommons.org/licenses/by-sa/4.0/). These numbers are an adaptation of that data,
under the same licence. Do not edit by hand.
"""

from __future__ import annotations

'''


@dataclass(frozen=True)
class Scan:
    """One CT's keypoints; points in RAS, mm, from the top.

    Attributes
    ----------
    name : str
    levels : tuple of str
        Level of each annotated body.
    bodies : (n, 3) float64
    detected : (m, 3) float64
        A detector's bodies.
    regions : (m, 3) float64
        The detector's probabilities of cervical, thoracic and lumbar (each 0–1, sum about 1).
    """

    name: str
    levels: tuple[str, ...]
    bodies: Floats
    detected: Floats
    regions: Floats


def is_held_out(name: str) -> bool:
    """Whether the scan is for measuring only."""
    return zlib.crc32(name.encode()) % 4 == 0


def read_keypoints(path: Path) -> list[Scan]:
    """Read the data set's JSON lines.

    Raises
    ------
    InputError
        The axes are not LPS, as the points of bodies and pedicles tell.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    _check_lps(rows)
    return [_scan(row) for row in rows]


def _points(row: dict[str, Any], kind: str) -> Floats:
    found = [point[2:] for point in row["truth"] if point[1] == kind]
    return np.array(found, dtype=np.float64).reshape(-1, 3)


def _check_lps(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        body, left, right = (_points(row, kind) for kind in ("body", "left", "right"))
        if min(len(body), len(left), len(right)) == 0:
            continue
        to_left = left[:, 0].mean() > right[:, 0].mean()
        # Pedicles lie behind their body. A cut scan may show more of one than of the other.
        to_back = np.concatenate([left, right])[:, 1].mean() > body[:, 1].mean()
        to_head = bool(np.all(np.diff(body[:, 2]) < 0))
        if not (to_left and to_back and to_head):
            raise InputError(f"The keypoints of {row['scan']} are not in LPS order.")


def _scan(row: dict[str, Any]) -> Scan:
    levels = tuple(str(point[0]) for point in row["truth"] if point[1] == "body")
    found = [d for d in row["detections"] if d["type"]["keypoint_type"] == "body"]
    world = [d["coordinates"]["world_space"] for d in found]
    regions = [d["type"]["spine_segment_probabilities"] for d in found]
    detected = np.array(world, dtype=np.float64).reshape(-1, 3) * _LPS_TO_RAS
    order = np.argsort(-detected[:, 2])
    return Scan(
        str(row["scan"]),
        levels,
        _points(row, "body") * _LPS_TO_RAS,
        detected[order],
        np.array(regions, dtype=np.float64).reshape(-1, 3)[order],
    )


def statistics(scans: list[Scan]) -> dict[str, Any]:
    """Compute the table.

    Returns
    -------
    dict
        SPACING: (upper, lower) level → (mean mm between body centres, SD of the log ratio after
        the patient's size is taken out, number of pairs); SIZE_SD: SD of the log of a patient's
        size; LUMBAR_6, THORACIC_11, THORACIC_13: (scans with it, scans that could show it).
    """
    gaps: dict[tuple[str, str], list[float]] = defaultdict(list)
    for scan in scans:
        for pair, gap in _gaps(scan):
            gaps[pair].append(gap)
    mean = {pair: float(np.mean(values)) for pair, values in gaps.items()}
    sizes: list[float] = []
    rest: dict[tuple[str, str], list[float]] = defaultdict(list)
    for scan in scans:
        ratios = [(pair, float(np.log(gap / mean[pair]))) for pair, gap in _gaps(scan)]
        if len(ratios) < 4:
            continue
        sizes.append(float(np.median([ratio for _, ratio in ratios])))
        for pair, ratio in ratios:
            rest[pair].append(ratio - sizes[-1])
    order = [level.name for level in USUAL_VERTEBRAE] + ["L6"]
    pairs = sorted(gaps, key=lambda pair: order.index(pair[0]))
    spacing = {
        pair: (round(mean[pair], 1), round(float(np.std(rest[pair])), 3), len(gaps[pair]))
        for pair in pairs
    }
    through = [scan.levels for scan in scans if {"T11", "L1"} <= set(scan.levels)]
    down_to_l5 = [scan.levels for scan in scans if "L5" in scan.levels]
    return {
        "SPACING": spacing,
        "SIZE_SD": round(float(np.std(sizes)), 3),
        "LUMBAR_6": (sum("L6" in levels for levels in down_to_l5), len(down_to_l5)),
        "THORACIC_11": (sum("T12" not in levels for levels in through), len(through)),
        "THORACIC_13": (sum("T13" in levels for levels in through), len(through)),
    }


def _gaps(scan: Scan) -> list[tuple[tuple[str, str], float]]:
    lengths = np.linalg.norm(np.diff(scan.bodies, axis=0), axis=1)
    pairs = zip(scan.levels[:-1], scan.levels[1:], strict=True)
    return [(pair, float(gap)) for pair, gap in zip(pairs, lengths, strict=True)]


def source(table: dict[str, Any], n: int, total: int) -> str:
    """Write the table as the text of a Python module."""
    lines = [_HEADER.format(n=n, total=total)]
    lines.append("SPACING: dict[tuple[str, str], tuple[float, float, int]] = {\n")
    for (upper, lower), (mm, sd, count) in table["SPACING"].items():
        lines.append(f'    ("{upper}", "{lower}"): ({mm}, {sd}, {count}),\n')
    lines.append("}\n")
    lines.append(
        '"""Mean mm between body centres, SD of the log beside the patient\'s size, pairs.'
    )
    lines.append('"""\n')
    lines.append(f'\nSIZE_SD = {table["SIZE_SD"]}\n"""SD of the log of a patient\'s size."""\n')
    for key in ("LUMBAR_6", "THORACIC_11", "THORACIC_13"):
        lines.append(f"\n{key} = {table[key]}\n")
        lines.append('"""Scans with it, of those that could show it."""\n')
    return "".join(lines)


def main(arguments: list[str]) -> None:
    """Read the keypoints (first argument) and write the module (second)."""
    scans = read_keypoints(Path(arguments[0]))
    used = [scan for scan in scans if not is_held_out(scan.name)]
    text = source(statistics(used), len(used), len(scans))
    with atomic_path(Path(arguments[1])) as part:
        Path(part).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
