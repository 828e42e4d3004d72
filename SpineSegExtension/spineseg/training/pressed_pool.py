"""Real scans with pressed vertebrae, beside the digital patients that fracture networks learn from.

Digital bone is not real bone: a network that saw nothing else takes sound real vertebrae for
fractured ones and the other way round. So each labelled scan without fractures is shown many
times, each time with other vertebrae pressed together (`spineseg.evaluation.pressed`), and half of
the others a little, so that the traces of bending say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..evaluation.fracture_cases import cut_labels
from ..evaluation.pressed import PressedScene, pressed_cases
from ..labels import display_name, is_vertebra
from ..measure.endplates import BodyFrame, fit_bodies
from ..phantom.morphometry import SIZES
from ..volume import Volume
from .fracture_pool import MARGIN_MM, SPACING_MM, PoolItem, PoolVertebra, save_item

__all__ = ["PRESSED", "TIMES", "fill_pressed", "pressed_item"]

TIMES = 16
"""How often each scan is shown."""
PRESSED = "patient-"
"""How the names of a pool's pressed scans begin; digital patients have a number."""
_MILD = 0.5  # of the sound vertebrae
_LARGER = 1.08  # than the half sizes that were measured: what of a vertebra is its body


def fill_pressed(
    folder: Path, data: Path | str, times: int = TIMES, first: int = 0, step: int = 1
) -> Iterator[str]:
    """Put labelled scans into a pool, each ``times`` times, and yield the names of those there.

    Those that are there are kept; with ``first`` and ``step`` several processes share the work.

    Raises
    ------
    InputError
        There is no labelled scan in the folder ``data``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for scene, read in pressed_cases(data, times, _MILD)[first::step]:
        path = folder / f"{PRESSED}{scene.name}"
        if not path.with_suffix(".json").exists():
            save_item(pressed_item(scene, *read()), path)
        yield scene.name


def pressed_item(scene: PressedScene, scan: Volume, labels: Volume) -> PoolItem:
    """Return a scan and its label map (k, j, i) as a pool's patient: at 1 mm, round the spine."""
    labels = labels.reoriented("RAS").resampled([SPACING_MM] * 3, order=0)
    scan = scan.reoriented("RAS").resampled([SPACING_MM] * 3, order=1)
    spine = np.argwhere(labels.array > 0)
    margin = np.rint(np.array(MARGIN_MM[::-1]) / SPACING_MM).astype(int)
    start = np.maximum(spine.min(axis=0) - margin, 0).tolist()
    stop = np.minimum(spine.max(axis=0) + margin + 1, labels.shape).tolist()
    scan, labels = scan.crop(start, stop), labels.crop(start, stop)
    frames = [f for f in fit_bodies(labels) if f.half_mm is not None and f.upper is not None]
    bodies = np.zeros(labels.shape, dtype=np.uint8)
    for frame in frames:
        bodies[_body_of(labels, frame)] = 1
    edge = cut_labels(labels)
    vertebrae = []
    for frame in frames:
        if not is_vertebra(frame.label) or frame.name not in SIZES or frame.name[0] == "C":
            continue
        i, j, k = (float(v) for v in labels.ras_to_ijk(frame.centre[None])[0])
        grade, kind = scene.truth(frame.name) or (0, "")
        vertebrae.append(
            PoolVertebra(
                display_name(frame.label), frame.label, (i, j, k), grade, kind, "",
                frame.label not in edge,
            )
        )  # fmt: skip
    return PoolItem(
        scan.array.astype(np.int16), labels.array.astype(np.uint8), bodies, tuple(vertebrae),
        scan.affine,
    )  # fmt: skip


def _body_of(labels: Volume, frame: BodyFrame) -> tuple[np.ndarray, ...]:
    """Return the voxels (k, j, i) of a vertebra's body: what lies in its measured box."""
    assert frame.half_mm is not None
    own = np.argwhere(labels.array == frame.label)
    away = (labels.ijk_to_ras(own[:, ::-1]) - frame.centre) @ frame.standing
    inside = (np.abs(away[:, :2]) <= _LARGER * frame.half_mm[:2]).all(axis=1)
    return tuple(own[inside].T)
