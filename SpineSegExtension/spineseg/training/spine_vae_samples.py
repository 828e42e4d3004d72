"""Masked vertebrae of digital patients, with what of them counts in the reconstruction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..errors import InputError
from ..evaluation.fracture_scenes import disturbed
from ..methods.spine_vae import SPACING_MM, box_grids, group_of, masked_box
from ..volume import Volume
from .fracture_pool import PoolItem, load_item, paths

__all__ = ["Boxes", "VaeSampler", "boxes_of", "fill_boxes", "load_boxes", "reconstruction_weight"]

Array = npt.NDArray[Any]
Singles = npt.NDArray[np.float32]

_FULL = 255
_DISTURBED = 0.6  # share of the patients whose masks have faults, as networks' have
_NEAR_MM = 3.0  # so far beyond the body the weight is still whole: its wall is to be seen


def reconstruction_weight(body: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]) -> Singles:
    """Return what each voxel counts: 1 at the body, 0 at the end of the farthest process.

    Parameters
    ----------
    body, whole : bool (k, j, i)
        Of one vertebra, at `SPACING_MM`.

    Notes
    -----
    Paper 004, p. 33 and fig. 4: "decreases uniformly from 1 at the beginning of the body to 0 by
    the end of the vertebral process". Background counts by the same distance.
    """
    if not body.any():
        return np.ones(body.shape, dtype=np.float32)
    away = ndimage.distance_transform_edt(~body) * SPACING_MM - _NEAR_MM
    last = float(away[whole].max()) if whole.any() else 0.0
    if last <= 0:
        return np.ones(body.shape, dtype=np.float32)
    return np.asarray(1.0 - np.clip(away / last, 0.0, 1.0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Boxes:
    """Vertebrae of one patient.

    Attributes
    ----------
    pictures, weights : uint8 (N, 64, 64, 64), 0–255
    groups, grades : (N,) int64
    """

    pictures: Array
    weights: Array
    groups: Array
    grades: Array


def boxes_of(item: PoolItem, seed: int) -> Boxes:
    """Cut a patient's thoracic and lumbar vertebrae out, some with faults in their masks."""
    rng = np.random.default_rng([seed, 45])
    scan = Volume(np.asarray(item.scan), item.affine)
    labels = Volume(np.asarray(item.labels), item.affine)
    bodies = Volume(np.asarray(item.bodies), item.affine)
    mask = disturbed(labels, rng) if rng.random() < _DISTURBED else labels
    shown = [one for one in item.vertebrae if group_of(one.label) is not None]
    centres = scan.ijk_to_ras(np.array([one.centre for one in shown]).reshape(-1, 3))
    # As a body's centre is found in use: not quite where it is.
    grids = box_grids(centres + rng.normal(0, 1.0, centres.shape))
    pictures, weights = [], []
    for one, grid in zip(shown, grids, strict=True):
        picture = masked_box(scan, mask, one.label, grid)
        whole = labels.resampled_like(grid, order=0).array == one.label
        body = whole & (bodies.resampled_like(grid, order=0).array > 0)
        pictures.append(np.rint(picture * _FULL).astype(np.uint8))
        weights.append(np.rint(reconstruction_weight(body, whole) * _FULL).astype(np.uint8))
    keep = [n for n, one in enumerate(shown) if one.whole]
    return Boxes(
        np.stack(pictures)[keep],
        np.stack(weights)[keep],
        np.array([group_of(shown[n].label) for n in keep], dtype=np.int64),
        np.array([shown[n].grade for n in keep], dtype=np.int64),
    )


def fill_boxes(pool: Path, folder: Path, first: int = 0, step: int = 1) -> Iterator[int]:
    """Cut the vertebrae of a pool's patients out, and yield how many patients are done."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths(pool)[first::step]):
        target = folder / path.name
        if not target.with_suffix(".json").exists():
            found = boxes_of(load_item(path), first + number * step)
            np.save(target.with_suffix(".npy"), np.stack([found.pictures, found.weights], axis=1))
            text = json.dumps({"groups": found.groups.tolist(), "grades": found.grades.tolist()})
            part = target.with_suffix(".part")
            part.write_text(text, encoding="utf-8")
            part.replace(target.with_suffix(".json"))
        yield number + 1


def load_boxes(folder: Path, names: Sequence[Path] | None = None) -> Boxes:
    """Read the vertebrae of patients (all of a folder) into memory.

    Raises
    ------
    InputError
        There are none.
    """
    found = paths(folder) if names is None else list(names)
    arrays = [np.load(path.with_suffix(".npy")) for path in found]
    if not sum(len(a) for a in arrays):
        raise InputError(f"There are no vertebrae in {folder}.", "Draw patients first.")
    meta = [json.loads(p.with_suffix(".json").read_text(encoding="utf-8")) for p in found]
    both = np.concatenate(arrays)
    return Boxes(
        both[:, 0],
        both[:, 1],
        np.concatenate([np.array(one["groups"], dtype=np.int64) for one in meta]),
        np.concatenate([np.array(one["grades"], dtype=np.int64) for one in meta]),
    )


def class_weights(fractured: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the weights of normal and fractured by median frequency (Eigen and Fergus 2015).

    The median of the classes' frequencies over each one's own.
    """
    share = np.array([1.0 - fractured.mean(), fractured.mean()])
    weights = np.median(share) / np.maximum(share, 1e-6)
    return float(weights[0]), float(weights[1])


@dataclass
class VaeSampler:
    """Draws vertebrae; they are turned in the loss, on the network's device.

    Parameters
    ----------
    boxes : to learn from
    batch_size : vertebrae a step
    turn_deg : most that one is turned in the sagittal plane
    """

    boxes: Boxes
    batch_size: int
    turn_deg: float
    seed: int = 0
    rank: int = 0

    def batch(self, step: int) -> dict[str, Any]:
        """Tensors of a step: picture and weight (N, 1, k, j, i), group, ill, turn and step."""
        import torch

        rng = np.random.default_rng([self.seed, self.rank, step, 8])
        count = len(self.boxes.grades)
        chosen = np.sort(rng.choice(count, min(self.batch_size, count), replace=False))
        turn = np.radians(rng.uniform(-self.turn_deg, self.turn_deg, len(chosen)))
        # How bright bone is differs more between scanners than between fractured and whole ones.
        gain = rng.normal(1.0, 0.08, len(chosen))
        return {
            "picture": torch.from_numpy(self.boxes.pictures[chosen][:, None]),
            "weight": torch.from_numpy(self.boxes.weights[chosen][:, None]),
            "group": torch.from_numpy(self.boxes.groups[chosen]),
            "ill": torch.from_numpy((self.boxes.grades[chosen] > 0).astype(np.int64)),
            "turn": torch.from_numpy(turn.astype(np.float32)),
            "gain": torch.from_numpy(gain.astype(np.float32)),
            "step": torch.tensor(step),
        }
