"""The work behind ``spineseg click``: read a scan, segment at a point, write one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spineseg.clicking import ClickResult, ClickSession, check_click
from spineseg.errors import InputError
from spineseg.progress import Progress

__all__ = ["ClickJob", "parse_point", "run_click"]


@dataclass(frozen=True)
class ClickJob:
    """What `run_click` needs.

    Attributes
    ----------
    scan : Path
        File or DICOM folder.
    point : tuple of float
        RAS mm.
    output : Path
        The file to write: .nii.gz, .nii, .nrrd or .mha.
    target : str
        "vertebra", "body" or "centrum".
    level : str or None
        The vertebra's name, if it is known.
    segmentation : Path or None
        Label map of the vertebrae that are segmented already.
    series : str or None
        Series Instance UID, where a DICOM folder holds several.
    overwrite : bool
        Whether a file that is there may be replaced.
    """

    scan: Path
    point: tuple[float, float, float]
    output: Path
    target: str = "vertebra"
    level: str | None = None
    segmentation: Path | None = None
    series: str | None = None
    overwrite: bool = False


def parse_point(words: Sequence[str]) -> tuple[float, float, float]:
    """Return a point that was typed as three numbers.

    Raises
    ------
    InputError
        It is not three finite numbers.
    """
    try:
        r, a, s = (float(word) for word in words)
    except ValueError:
        r = a = s = float("nan")
    if not np.isfinite((r, a, s)).all():
        raise InputError(
            f"The point “{' '.join(words)}” is not three numbers.",
            "Write it as --point R A S, in millimetres, as in --point -12.5 40 310.",
        )
    return r, a, s


def run_click(job: ClickJob, progress: Progress) -> ClickResult:
    """Segment the vertebra at a point and write it on the scan's grid.

    The file holds one value: the VerSe id, or 101 … where the level is unsure.

    Raises
    ------
    SpineSegError
        As `spineseg.clicking.ClickSession` says; InputError also where a file can't be read or
        written, or is there already.
    """
    from spineseg.io.images import WRITABLE, read_volume, write_volume
    from spineseg.io.labelmaps import read_labels

    output = job.output
    if output.is_dir():
        raise InputError(f"{output} is a folder, not a file.", "Name a file, as vertebra.nii.gz.")
    if not output.name.lower().endswith(WRITABLE):
        raise InputError(
            f"{output.name} is of no format that can be written.",
            f"Use one of {', '.join(WRITABLE)}.",
        )
    if output.exists() and not job.overwrite:
        raise InputError(
            f"{output} is there already.", "Name another file, or allow it with --overwrite."
        )
    notes: list[str] = []
    progress("read", 0.0, job.scan.name)
    scan = read_volume(job.scan, notes, job.series, progress.part(0.0, 0.4), ct_only=True)
    check_click(scan.grid, job.point, job.target, job.level)  # before the network is loaded
    known = None if job.segmentation is None else read_labels(job.segmentation, scan.grid)
    progress("load", 0.5, "trained network")
    session = ClickSession(scan)
    result = session.click(job.point, job.target, known, job.level, progress.part(0.6, 0.9))
    progress("write", 0.9, output.name)
    whole = scan.like(np.zeros(scan.shape, dtype=np.uint8)).paste(result.mask)
    write_volume(whole.like(whole.array * np.uint8(result.label)), output)
    progress("write", 1.0)
    return replace(result, warnings=[*notes, *session.warnings, *result.warnings])
