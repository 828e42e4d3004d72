"""Compares digital patients with real spines: sizes, spacing, curves and Hounsfield units.

Run ``python -m spineseg.evaluation.phantom_realism DATA OUTPUT.md``, where DATA is the project's
folder of real data. The output is four Markdown tables; docs/phantom.md has them.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spineseg.atomic import atomic_path
from spineseg.evaluation.level_statistics import read_keypoints
from spineseg.evaluation.scan_texture import LOOKS, looks
from spineseg.evaluation.vertebra_shape import (
    MEASURES,
    STEP_MM,
    Piece,
    body_centre,
    cut_out,
    densities,
    sizes,
)
from spineseg.io.images import read_volume
from spineseg.labels import TOTALSEGMENTATOR_TO_VERSE, USUAL_VERTEBRAE, by_verse
from spineseg.methods.level_statistics import SPACING
from spineseg.phantom.chain import build_chain
from spineseg.phantom.generate import generate
from spineseg.phantom.settings import PhantomSettings
from spineseg.volume import Volume

__all__ = [
    "BENDS", "GROUPS", "bend", "curve_table", "density_table", "deviation", "look_table",
    "size_table",
]  # fmt: skip

Array = npt.NDArray[Any]
Sizes = dict[str, dict[str, float]]
NAMES = tuple(level.name for level in USUAL_VERTEBRAE)
VERSE = {level.verse: level.name for level in USUAL_VERTEBRAE}
GROUPS = {
    "C3–C7": NAMES[2:7], "T1–T6": NAMES[7:13], "T7–T12": NAMES[13:19], "L1–L5": NAMES[19:24],
}  # fmt: skip
#: Sagittal angle between two chords, each from one body's centre to another's; > 0 is kyphotic.
BENDS = {
    "neck, C2–C4 to C5–C7": ("C2", "C4", "C5", "C7"),
    "kyphosis, T2–T4 to T10–T12": ("T2", "T4", "T10", "T12"),
    "thoracolumbar, T8–T10 to T11–L1": ("T8", "T10", "T11", "L1"),
    "lordosis, T12–L2 to L3–L5": ("T12", "L2", "L3", "L5"),
    "lordosis, L1–L2 to L4–L5": ("L1", "L2", "L4", "L5"),
}
_MAPS = {
    # Numbering of each label map that shows whole vertebrae; 24 is C1 in the first two.
    "bdmap6_c1_l5_predicted": "c1-is-24",
    "bdmap31_scoliosis_c1_l5_predicted": "c1-is-24",
    "malekosh_t1_l5_vertebrae": "verse",
    "verse004_t9_l5_vertebrae": "verse",
    "patient13_t12_l5_vertebrae": "verse",
}
_MESHES = ("spl_head_neck", "scoliomorph", "visible_human")
"""Surfaces in millimetres of life. SPL's abdominal atlas is about half as tall as life and three
quarters as wide, so no one factor makes a person of it: it is left out."""


@dataclass(frozen=True)
class Spine:
    """Levels from the top, and their bodies' centres, (n, 3) RAS mm."""

    levels: tuple[str, ...]
    bodies: Array


def bend(spine: Spine, ends: tuple[str, str, str, str]) -> float | None:
    """Return the sagittal angle between two chords in degrees, or None where a level is missing."""
    if not set(ends) <= set(spine.levels):
        return None
    a, b, c, d = (spine.bodies[spine.levels.index(name)] for name in ends)
    upper, lower = (np.arctan2(v[1], v[2]) for v in (a - b, c - d))
    return float(np.degrees(upper - lower))


def deviation(spine: Spine, first: str, last: str) -> float | None:
    """Return how far (mm) the centres lie beside the line from the first to the last, at most."""
    if not {first, last} <= set(spine.levels):
        return None
    start, stop = (spine.levels.index(name) for name in (first, last))
    offsets = spine.bodies[start : stop + 1, [0, 2]] - spine.bodies[start, [0, 2]]
    way = offsets[-1] / np.linalg.norm(offsets[-1])
    return float(np.abs(offsets[:, 0] * way[1] - offsets[:, 1] * way[0]).max())


def digital_spines(count: int) -> list[Spine]:
    """Chains of ordinary digital patients; nothing is drawn."""
    spines = []
    for seed in range(count):
        chain = build_chain(PhantomSettings(), np.random.default_rng([seed, 1]))
        spines.append(
            Spine(tuple(b.name for b in chain.bodies), np.array([b.centre for b in chain.bodies]))
        )
    return spines


def _spread(values: Iterable[float | None]) -> tuple[str, float]:
    """Mean and SD as text, and the mean, of what could be measured."""
    known = np.array([v for v in values if v is not None])
    if not len(known):
        return "–", float("nan")
    return f"{known.mean():.1f} ± {known.std():.1f} ({len(known)})", float(known.mean())


def _row(name: str, real: Iterable[float | None], digital: Iterable[float | None]) -> str:
    left, a = _spread(real)
    right, b = _spread(digital)
    ratio = f"{100 * (b / a - 1):+.0f} %" if abs(a) > 1e-9 and np.isfinite(a * b) else "–"
    return f"| {name} | {left} | {right} | {ratio} |\n"


_HEAD = "| {} | real | digital | difference |\n|---|---|---|---|\n"


def curve_table(real: Sequence[Spine], digital: Sequence[Spine]) -> str:
    """Return a Markdown table of distances between bodies, chord angles and lateral deviation."""
    text = [_HEAD.format("mean ± SD (number)")]
    for pair in SPACING:
        if set(pair) <= set(NAMES) and pair != ("T11", "L1"):
            gaps = [[_gap(s, pair) for s in spines] for spines in (real, digital)]
            text.append(_row(f"{pair[0]} to {pair[1]}, mm", *gaps))
    for name, ends in BENDS.items():
        text.append(_row(f"{name}, °", *([bend(s, ends) for s in g] for g in (real, digital))))
    for first, last in (("T1", "L5"), ("T10", "L5"), ("L1", "L5")):
        away = ([deviation(s, first, last) for s in g] for g in (real, digital))
        text.append(_row(f"beside the line {first}–{last}, mm", *away))
    return "".join(text)


def _gap(spine: Spine, pair: tuple[str, str]) -> float | None:
    if not set(pair) <= set(spine.levels):
        return None
    a, b = (spine.bodies[spine.levels.index(name)] for name in pair)
    return float(np.linalg.norm(a - b))


def mesh_mask(path: Path) -> Volume:
    """Return a closed surface (`.vtp`) as a mask in its own coordinates."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    low, high = np.array(reader.GetOutput().GetBounds()).reshape(3, 2).T
    shape = np.ceil((high - low) / STEP_MM).astype(int) + 3
    stencil = vtkPolyDataToImageStencil()
    stencil.SetInputConnection(reader.GetOutputPort())
    stencil.SetOutputOrigin(*(low - STEP_MM))
    stencil.SetOutputSpacing(STEP_MM, STEP_MM, STEP_MM)
    stencil.SetOutputWholeExtent(0, shape[0] - 1, 0, shape[1] - 1, 0, shape[2] - 1)
    image = vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutsideValue(0)
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    values = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
    affine = np.diag([STEP_MM] * 3 + [1.0])
    affine[:3, 3] = low - STEP_MM
    return Volume(values.reshape(shape[::-1]) > 0, affine)


def real_sizes(data: Path) -> Iterator[Sizes]:
    """Sizes of one real spine after the other: label maps, then surfaces."""
    for name, numbering in _MAPS.items():
        labels = read_volume(data / "vertebra_label_maps" / f"{name}.nii.gz")
        count = len(NAMES)
        own = {count - n: level for n, level in enumerate(NAMES)}
        yield sizes(cut_out(labels, own if numbering == "c1-is-24" else VERSE))
    for person in _MESHES:
        pieces = []
        for level in NAMES:
            path = data / "vertebra_meshes" / f"{person}_{level.lower()}.vtp"
            if path.exists():
                mask = mesh_mask(path)
                pieces.append(Piece(level, mask, body_centre(mask)))
        yield sizes(pieces)


def digital_sizes(count: int) -> Iterator[Sizes]:
    """Sizes of digital patients, without a body round the spine."""
    settings = PhantomSettings(spacing_mm=STEP_MM, torso=False, cobb_deg=5.0)
    for seed in range(count):
        yield sizes(cut_out(generate(settings, seed).vertebrae, VERSE))


def size_table(real: Iterable[Sizes], digital: Iterable[Sizes]) -> str:
    """Return a Markdown table of mean sizes, by region and measure."""
    pools: list[dict[tuple[str, str], list[float]]] = []
    for spines in (real, digital):
        pool: dict[tuple[str, str], list[float]] = defaultdict(list)
        for spine in spines:
            for group, levels in GROUPS.items():
                for measure in MEASURES:
                    found = [spine[n][measure] for n in levels if measure in spine.get(n, {})]
                    pool[group, measure] += found
        pools.append(pool)
    text = [_HEAD.format("mean ± SD (vertebrae)")]
    for group in GROUPS:
        for measure in MEASURES:
            unit = "mL" if measure == "volume" else "mm"
            key = (group, measure)
            text.append(_row(f"{group}: {measure}, {unit}", *(pool[key] for pool in pools)))
    return "".join(text)


def labelled_scans(data: Path) -> Iterator[tuple[str, Volume, Volume, dict[int, str]]]:
    """Name, scan, label map and the map's levels of each labelled real scan."""
    total = {k: by_verse(v).name for k, v in TOTALSEGMENTATOR_TO_VERSE.items()}
    total = {k: name for k, name in total.items() if name in NAMES}
    scans = {
        "verse014": ("verse014_ct", "verse014_vertebrae", VERSE),
        "tptbox_l3": ("tptbox_l3_ct", "tptbox_l3_vertebrae", VERSE),
        "totalsegmentator": (
            "totalsegmentator_lumbar_3mm_ct", "totalsegmentator_lumbar_3mm_pseudolabels", total,
        ),
    }  # fmt: skip
    for name, (scan, truth, levels) in scans.items():
        ct, labels = (read_volume(data / "ct" / f"{n}.nii.gz") for n in (scan, truth))
        yield name, ct, labels, levels


def real_densities(data: Path) -> dict[str, list[dict[str, float]]]:
    """HU of each labelled real scan's vertebrae."""
    return {
        name: densities(ct, labels, cut_out(labels, levels, whole=False))
        for name, ct, labels, levels in labelled_scans(data)
    }


def real_looks(data: Path) -> dict[str, list[dict[str, float]]]:
    """What each labelled real scan looks like near its vertebrae."""
    out = {}
    for name, ct, labels, levels in labelled_scans(data):
        out[name] = looks(ct, labels.like(np.where(np.isin(labels.array, list(levels)),
                                                   labels.array, 0)))  # fmt: skip
    return out


def digital_densities(count: int) -> list[dict[str, float]]:
    """HU of lumbar digital patients at 2 mm, one list for all."""
    rows = []
    settings = PhantomSettings(spacing_mm=2.0, levels=("T12", "L5"), margin_mm=(60.0, 70.0, 20.0))
    for seed in range(count):
        phantom = generate(settings, seed)
        rows += densities(phantom.ct, phantom.vertebrae, cut_out(phantom.vertebrae, VERSE, False))
    return rows


def density_table(real: dict[str, list[dict[str, float]]], digital: list[dict[str, float]]) -> str:
    """Return a Markdown table: each real scan's means, and the digital patients' distribution."""
    text = ["| HU | " + " | ".join(real) + " | digital: mean (5 %–95 %) |\n"]
    text.append("|---" * (len(real) + 2) + "|\n")
    for what in ("cancellous", "cortex", "disc"):
        cells = [_spread(row.get(what) for row in rows)[0] for rows in real.values()]
        values = np.array([row[what] for row in digital if what in row])
        low, high = np.percentile(values, (5, 95))
        cells.append(f"{values.mean():.0f} ({low:.0f}–{high:.0f})")
        text.append(f"| {what} | " + " | ".join(cells) + " |\n")
    return "".join(text)


def digital_looks(count: int) -> list[dict[str, float]]:
    """What lumbar digital patients look like at 1.5 mm, one list for all."""
    rows = []
    settings = PhantomSettings(spacing_mm=1.5, levels=("L1", "L5"), margin_mm=(60.0, 70.0, 20.0))
    for seed in range(count):
        phantom = generate(settings, seed)
        rows += looks(phantom.ct, phantom.vertebrae)
    return rows


def look_table(real: dict[str, list[dict[str, float]]], digital: list[dict[str, float]]) -> str:
    """Return a Markdown table: each real scan's means, and the digital patients' distribution."""
    text = ["| at 1.5 mm | " + " | ".join(real) + " | digital: 5 % / median / 95 % |\n"]
    text.append("|---" * (len(real) + 2) + "|\n")
    for what in LOOKS:
        digits = 2 if what.startswith("lag") else 0
        cells = []
        for rows in real.values():
            known = [row[what] for row in rows if what in row]
            cells.append(f"{np.mean(known):.{digits}f}" if known else "–")
        values = np.percentile([row[what] for row in digital if what in row], (5, 50, 95))
        cells.append(" / ".join(f"{v:.{digits}f}" for v in values))
        text.append(f"| {what} | " + " | ".join(cells) + " |\n")
    return "".join(text)


def main(arguments: list[str]) -> None:
    """Compare with the data in the folder (first argument) and write the tables (second)."""
    data, target = Path(arguments[0]), Path(arguments[1])
    scans = read_keypoints(data / "ct_keypoints" / "vertebra_keypoints.jsonl.gz")
    real = [Spine(scan.levels, scan.bodies) for scan in scans]
    tables = [
        "### Spacing and curves\n",
        curve_table(real, digital_spines(300)),
        "### Sizes\n",
        size_table(real_sizes(data), digital_sizes(6)),
        "### Hounsfield units\n",
        density_table(real_densities(data), digital_densities(24)),
        "### Noise, edges and arches\n",
        look_table(real_looks(data), digital_looks(40)),
    ]
    with atomic_path(target) as part:
        Path(part).write_text("\n".join(tables), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
