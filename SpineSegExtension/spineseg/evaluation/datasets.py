"""Finds the cases of published data sets, each in its makers' own layout.

`docs/datasets.md` shows every layout, where the data are to be had and under which terms. A reader
only lists files; `spineseg.evaluation.truth` opens them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

__all__ = ["AUTO", "LAYOUTS", "Case", "CaseList", "find_cases"]

AUTO = "auto"
ENDINGS = (".nii.gz", ".nii", ".mhd", ".mha", ".nrrd")
PICTURES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
_VERSE_MASK, _VERSE_SCAN = "_seg-vert_msk.nii.gz", "_ct.nii.gz"
_MICCAI_CENTROIDS = ("_ctd.json", "_iso-ctd.json", "-iso-ctd.json", "_ctd-iso.json")


@dataclass(frozen=True)
class Case:
    """One labelled scan.

    Attributes
    ----------
    name : str
        Unique within its data set.
    layout : str
        One of `LAYOUTS`.
    scan : Path
        The CT: a file, or a folder of DICOM slices.
    labels : Path or None
        Label map (for "bodies": folder of 2-D masks); None where there are centroids only.
    centroids : Path or None
        File with the centroids of the vertebrae.
    parts : Path or None
        Map of sub-regions (`spineseg.labels.SubRegion`), which tells bodies from arches.
    """

    name: str
    layout: str
    scan: Path
    labels: Path | None = None
    centroids: Path | None = None
    parts: Path | None = None


@dataclass(frozen=True)
class CaseList:
    """What a folder holds: its layout, the cases, and a sentence for each file without a pair."""

    layout: str
    cases: list[Case]
    notes: list[str]


Found = tuple[list[Case], list[str]]


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def _split(path: Path) -> tuple[str, str] | None:
    """Return an image's name without its ending, and the ending."""
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)], ending
    return None


def _images(files: list[Path]) -> Iterator[tuple[str, Path]]:
    for path in files:
        parts = _split(path)
        if parts:
            yield parts[0], path


def _verse(folder: Path) -> Found:
    """VerSe 2019 and 2020, both published structures."""
    files = _files(folder)
    names = {path.name: path for path in files}
    cases, notes = [], []
    for path in files:
        name = path.name
        if name.endswith(_VERSE_SCAN):
            # Subject-based: rawdata/sub-X/sub-X_ct.nii.gz, derivatives/sub-X/sub-X_seg-….
            stem = name.removesuffix(_VERSE_SCAN)
            mask = names.get(stem + _VERSE_MASK)
            points = [p for n, p in names.items() if re.fullmatch(
                re.escape(stem) + r"_seg-\w+_ctd\.json", n)]  # fmt: skip
            if mask is None:
                notes.append(f"{name} has no {stem}{_VERSE_MASK} and is left out.")
            else:
                cases.append(Case(stem, "verse", path, mask, points[0] if points else None))
        elif name.endswith("_seg.nii.gz"):
            # The challenge's own: verse014.nii.gz, verse014_seg.nii.gz, verse014_ctd.json.
            stem = name.removesuffix("_seg.nii.gz")
            scan = names.get(f"{stem}.nii.gz")
            points = [names[stem + e] for e in _MICCAI_CENTROIDS if stem + e in names]
            if scan is None:
                notes.append(f"{name} has no {stem}.nii.gz and is left out.")
            else:
                cases.append(Case(stem, "verse", scan, path, points[0] if points else None))
    return cases, notes


def _csi2014(folder: Path) -> Found:
    """MICCAI CSI 2014 (SpineWeb data sets 2 and 15): case1.mhd and case1_label.mhd."""
    images = dict(_images(_files(folder)))
    cases, notes = [], []
    for stem, path in images.items():
        if stem.endswith("_label"):
            scan = images.get(stem.removesuffix("_label"))
            if scan is None:
                notes.append(f"{path.name} has no scan beside it and is left out.")
            else:
                cases.append(Case(stem.removesuffix("_label"), "csi2014", scan, path))
    return cases, notes


def _glocker(folder: Path) -> Found:
    """302 pathological CTs (SpineWeb data set 3): 4542094.nii.gz and 4542094.lml."""
    files = _files(folder)
    cases, notes = [], []
    images = {(path.parent, stem): path for stem, path in _images(files)}
    for path in files:
        if path.suffix.lower() == ".lml":
            scan = images.get((path.parent, path.stem))
            if scan is None:
                notes.append(f"{path.name} has no scan beside it and is left out.")
            else:
                cases.append(Case(path.stem, "glocker", scan, None, path))
    return cases, notes


def _bodies(folder: Path) -> Found:
    """Vertebral bodies (SpineWeb data set 4): CASE/ct with slices, CASE/masks with 2-D masks."""
    cases, notes = [], []
    for masks in sorted(p for p in folder.rglob("masks") if p.is_dir()):
        pictures = [p for p in masks.iterdir() if p.suffix.lower() in PICTURES]
        scan = masks.parent / "ct"
        if pictures and scan.is_dir():
            cases.append(Case(masks.parent.name, "bodies", scan, masks))
        elif pictures:
            notes.append(f"{masks.parent.name} has masks but no folder ct and is left out.")
    return cases, notes


def _plain(folder: Path) -> Found:
    """Pairs: NAME_ct + NAME_vertebrae, NAME + NAME_seg, or images/NAME + labels/NAME."""
    cases, notes = [], []
    images = {(path.parent, stem): path for stem, path in _images(_files(folder))}
    for (place, stem), path in images.items():
        parts = None
        if stem.endswith("_ct"):
            name = stem.removesuffix("_ct")
            labels = images.get((place, f"{name}_vertebrae"))
            parts = images.get((place, f"{name}_subregions"))
        elif place.name == "images":
            name = stem.removesuffix("_0000")  # nnU-Net's number of the channel
            labels = images.get((place.parent / "labels", name))
        else:
            name, labels = stem, images.get((place, f"{stem}_seg"))
        if labels is not None:
            cases.append(Case(name, "plain", path, labels, None, parts))
        elif stem.endswith("_ct") or place.name == "images":
            notes.append(f"{path.name} has no label map and is left out.")
    return cases, notes


LAYOUTS: dict[str, Callable[[Path], Found]] = {
    "verse": _verse,
    "csi2014": _csi2014,
    "glocker": _glocker,
    "bodies": _bodies,
    "plain": _plain,
}
"""The readers by name, in the order in which they are tried."""


def _recognised(folder: Path) -> str:
    """Return the layout that a folder's file names show."""
    names = [path.name for path in _files(folder)]
    if any(n.endswith(_VERSE_MASK) or n.endswith("ctd.json") for n in names):
        return "verse"
    if any(n.lower().endswith(".lml") for n in names):
        return "glocker"
    if any(re.match(r"case\d+_label\.", n) for n in names):
        return "csi2014"
    return "bodies" if _bodies(folder)[0] else "plain"


def find_cases(folder: Path | str, layout: str = AUTO) -> CaseList:
    """List the labelled scans of a folder, by name.

    Parameters
    ----------
    folder : Path or str
        Searched to the bottom.
    layout : str
        One of `LAYOUTS`, or "auto": recognised by the names of the files.

    Raises
    ------
    InputError
        There is no such folder or layout, or no case in it.
    """
    folder = Path(folder)
    if layout not in (AUTO, *LAYOUTS):
        raise InputError(
            f"There is no layout called “{layout}”.",
            f"Choose one of: {', '.join((AUTO, *LAYOUTS))}.",
        )
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", "Check the path.")
    chosen = _recognised(folder) if layout == AUTO else layout
    cases, notes = LAYOUTS[chosen](folder)
    if not cases:
        raise InputError(
            f"{folder} holds no labelled case.",
            "Name scan and labels NAME_ct.nii.gz and NAME_vertebrae.nii.gz, or as docs/datasets.md"
            " shows for each data set.",
            "\n".join(notes),
        )
    return CaseList(chosen, _distinct(sorted(cases, key=lambda case: case.name)), notes)


def _distinct(cases: list[Case]) -> list[Case]:
    """Return the cases with their folders' names added where two have one name."""
    names = [case.name for case in cases]
    return [
        case
        if names.count(case.name) == 1
        else Case(
            f"{case.scan.parent.name}/{case.name}",
            case.layout, case.scan, case.labels, case.centroids, case.parts,
        )
        for case in cases
    ]  # fmt: skip
