"""Corrected cases as training pairs: a scan and the label map that somebody corrected.

Each pair has a folder of its own: ``ct.nii.gz``, ``labels.nii.gz`` on the same grid, and
``pair.json``. Folders are called after the scan's voxels, so a case that is saved again replaces
its former pair, and no file name tells of a patient. The scan itself is the patient's, of course.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

import spineseg
from spineseg.errors import InputError
from spineseg.labels import BACKGROUND, FIRST_UNSURE, display_name, is_vertebra
from spineseg.volume import Volume

from .real import LabelSource

__all__ = ["correction_sources", "pair_name", "write_pair"]

SCAN, LABELS, ABOUT = "ct.nii.gz", "labels.nii.gz", "pair.json"
FORMAT = "spineseg-correction"


def pair_name(scan: Volume) -> str:
    """Return the name of a scan's folder: told by its voxels alone."""
    return f"case_{crc32(np.ascontiguousarray(scan.array).tobytes()):08x}"


def write_pair(
    folder: Path | str,
    scan: Volume,
    segmentation: Volume,
    corrected: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Save a corrected case; return its folder.

    Parameters
    ----------
    folder : Path or str
        Holds the pairs; made if it is missing.
    scan : Volume
        CT in HU.
    segmentation : Volume
        Label map on the same grid: VerSe ids. All vertebrae of the scan, for what is not in it is
        taken for background.
    corrected : sequence of str
        Names of the vertebrae that were corrected; the others are as a method left them.
    about : mapping, optional
        More to keep, as JSON values.

    Raises
    ------
    InputError
        The two lie on different grids, there is no vertebra or one of unsure level, or the disk
        refuses.
    """
    from spineseg.atomic import atomic_folder
    from spineseg.io.images import write_volume
    from spineseg.manifest import now

    if not segmentation.grid.same_as(scan.grid, 1e-2):
        raise InputError(
            "The segmentation does not lie on the scan's grid.", "Save it with its own scan."
        )
    present = [int(n) for n in np.unique(segmentation.array) if n != BACKGROUND]
    if not any(is_vertebra(label) for label in present):
        raise InputError("The segmentation holds no vertebra.", "Segment the scan first.")
    unsure = [label for label in present if label >= FIRST_UNSURE]
    if unsure:  # a training would take them for background
        raise InputError(
            f"The level of {display_name(unsure[0])} is unsure.",
            "Name every vertebra, then save the case.",
        )
    target = Path(folder) / pair_name(scan)
    with atomic_folder(target) as part:
        write_volume(scan, part / SCAN)
        write_volume(segmentation.astype(np.uint8), part / LABELS)
        content = {
            "format": FORMAT,
            "format_version": 1,
            "labels": present,
            "corrected": list(corrected),
            "created": now(),
            "version": spineseg.__version__,
            **(about or {}),
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (part / ABOUT).write_text(text, encoding="utf-8", newline="\n")
    return target


def correction_sources(folder: Path | str, leave_out: tuple[str, ...] = ()) -> list[LabelSource]:
    """Return the pairs of a folder as sources of training, sorted by name.

    Parameters
    ----------
    folder : Path or str
    leave_out : tuple of str
        Beginnings of the names of pairs to hold out.

    Raises
    ------
    InputError
        There is no pair, or one lacks its scan.
    """
    found = []
    for about in sorted(Path(folder).glob(f"*/{ABOUT}")):
        try:
            ours = json.loads(about.read_text(encoding="utf-8")).get("format") == FORMAT
        except (OSError, ValueError):
            ours = False
        if not ours or (leave_out and about.parent.name.startswith(leave_out)):
            continue
        labels, scan = about.with_name(LABELS), about.with_name(SCAN)
        for file in (labels, scan):
            if not file.is_file():
                raise InputError(
                    f"The corrected case {about.parent.name} has no {file.name}.",
                    "Save it again, or remove its folder.",
                )
        found.append(LabelSource(labels, image=scan, name=about.parent.name))
    if not found:
        raise InputError(
            f"There is no corrected case in {folder}.",
            "Save some in 3D Slicer: Vertebra Segment, Correct, “Save as training pair”.",
        )
    return found
