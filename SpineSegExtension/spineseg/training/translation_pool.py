"""Real MR and CT as arrays at one voxel size, from which training takes windows.

A volume is read once, brought to the RAS axes and the network's spacing, mapped to the network's
units and kept as ``NAME.npy`` (float16), with ``NAME.bodies.npy`` (uint8) where its vertebral
bodies were outlined by hand. There, ``SACRUM`` marks a place in the sacrum, where one is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..intensity import ct_to_unit, mr_range, mr_to_unit
from ..io.images import read_volume
from ..volume import Volume

Array = npt.NDArray[Any]
SPACING_MM = 1.5
DOMAINS = ("mr", "ct")
SACRUM = 255  # label of a place in the sacrum
#: S1 lies so much further back than the step from L4 to L5 goes, and about as far away.
_TURN_DEG, _STEP = 22.0, 0.98
_PLACE_MM, _PLACE_WIDE_MM = 8.0, 14.0  # half the place's height and depth, and half its width
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")


@dataclass(frozen=True)
class Source:
    """A volume of one domain: its name, its file, and a label map of its bodies, if any.

    ``on_sacrum`` says that the lowest outlined body is the last one above the sacrum.
    """

    name: str
    image: Path
    bodies: Path | None = None
    on_sacrum: bool = False


@dataclass(frozen=True)
class Real:
    """A volume of the pool: image in the network's units, bodies 1 … n or None, both (k, j, i)."""

    name: str
    image: Array
    bodies: Array | None


def folder_sources(folder: Path, hold_out: Sequence[str] = ()) -> list[Source]:
    """Volumes of a plain folder; ``X_image.*`` may have ``X_bodies.*`` beside it.

    ``hold_out`` names beginnings of file names to leave out.

    Raises
    ------
    InputError : there is no volume in it.
    """
    found = []
    for path in sorted(folder.iterdir() if folder.is_dir() else []):
        ending = next((e for e in _ENDINGS if path.name.endswith(e)), None)
        stem = path.name[: -len(ending)] if ending else ""
        is_label = stem.endswith(("_bodies", "_vertebrae", "_subregions", "_pseudolabels"))
        if not ending or is_label or path.name.startswith(tuple(hold_out)):
            continue
        name = stem.removesuffix("_image")
        labels = path.with_name(f"{name}_bodies{ending}")
        found.append(Source(name, path, labels if labels.exists() else None))
    if not found:
        raise InputError(
            f"{folder} holds no volume to train on.", f"Put files of {', '.join(_ENDINGS)} there."
        )
    return found


def _ras(volume: Volume, order: int, fill: float) -> Array:
    turned = volume.reoriented("RAS")
    return np.asarray(turned.resampled((SPACING_MM,) * 3, order=order, fill=fill).array)


def place_in_sacrum(bodies: Array) -> npt.NDArray[np.bool_]:
    """A place in S1, guessed from the two lowest lumbar bodies' centres.

    Nobody outlined the sacrum in these MR. The guess was looked at in mid-sagittal slices of the 28
    MR of the project's data folder that are trained on: in all of them its centre lies in S1.

    Parameters
    ----------
    bodies : uint8 (k, j, i) on ``SPACING_MM`` along the RAS axes, 1 … n in any order

    Returns
    -------
    bool (k, j, i); nothing where there are less than two bodies.
    """
    centres = sorted(tuple(np.argwhere(bodies == n).mean(axis=0)) for n in np.unique(bodies) if n)
    if len(centres) < 2:
        return np.zeros(bodies.shape, dtype=bool)
    lowest, above = np.array(centres[0]), np.array(centres[1])
    step = lowest - above
    angle = np.arctan2(-step[1], -step[0]) + np.radians(_TURN_DEG)
    away = _STEP * np.linalg.norm(step) * np.array([-np.cos(angle), -np.sin(angle), 0.0])
    k, j, i = (
        (np.arange(n) - c) * SPACING_MM for n, c in zip(bodies.shape, lowest + away, strict=True)
    )
    round_it = k[:, None, None] ** 2 + j[None, :, None] ** 2 < _PLACE_MM**2
    return np.asarray(round_it & (np.abs(i) < _PLACE_WIDE_MM)[None, None, :] & (bodies == 0))


def add_sources(pool: Path, domain: str, sources: Sequence[Source]) -> Iterator[str]:
    """Write volumes into ``pool/domain``, yielding their names; those there are kept."""
    folder = pool / domain
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        target = folder / f"{source.name}.npy"
        if target.exists():
            continue
        volume = read_volume(source.image)
        volume = volume.astype(np.float32)
        lowest = float(volume.array.min())
        image = _ras(volume, 1, lowest if domain == "mr" else -1024.0)
        unit = ct_to_unit(image) if domain == "ct" else mr_to_unit(image, mr_range(image))
        if source.bodies is not None:
            labels = read_volume(source.bodies)
            bodies = _ras(labels, 0, 0).astype(np.uint8)
            if source.on_sacrum:
                bodies[place_in_sacrum(bodies)] = SACRUM
            np.save(folder / f"{source.name}.bodies.npy", bodies)
        part = folder / f"{source.name}.part.npy"
        np.save(part, unit.astype(np.float16))
        part.replace(target)
        yield source.name


def load_pool(pool: Path, domain: str) -> list[Real]:
    """Open the volumes of a domain; their arrays stay on disk until they are used."""
    found = []
    for path in sorted((pool / domain).glob("*.npy")):
        if path.name.endswith((".bodies.npy", ".part.npy")):
            continue
        bodies = path.with_name(f"{path.stem}.bodies.npy")
        found.append(
            Real(
                path.stem,
                np.load(path, mmap_mode="r"),
                np.load(bodies, mmap_mode="r") if bodies.exists() else None,
            )
        )
    return found
