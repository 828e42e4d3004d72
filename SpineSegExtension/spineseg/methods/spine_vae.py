"""Describes a masked vertebra by 64 numbers, and tells from these whether it is fractured.

Husseini et al., *Conditioned variational auto-encoder for detecting osteoporotic vertebral
fractures*, CSI 2019 (paper 004, p. 29). The decoder draws a vertebra from its numbers, so that
moving them along the fractures' direction "induces" or "cures" a fracture, and the gradient shows
where it looks. docs/spine-vae.md says what is as in the paper, and when it fails.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg import labels
from spineseg.errors import InputError
from spineseg.grid import Grid
from spineseg.inference import finite_scan
from spineseg.methods.loading import build
from spineseg.progress import Progress
from spineseg.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = [
    "GROUPS", "MODEL", "Imagined", "Settings", "VaeFinding", "VaeFractures", "box_grids", "cure",
    "fit", "group_of", "imagine", "induce", "masked_box", "predict", "saliency", "spine_vae",
    "to_hu",
]  # fmt: skip

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

MODEL = "spine-vae"
SPACING_MM, SIZE = 1.5, 64
GROUPS = (("T1", "T5"), ("T6", "T9"), ("T10", "T12"), ("L1", "L4"), ("L5", "L5"))
"""First and last level of each group (paper p. 33)."""
WINDOW_HU = (-200.0, 1000.0)
BONE = 0.25
MAPPING = "0 outside of the vertebra; inside 0.25 + 0.75 · (clip(HU, -200, 1000) + 200) / 1200"
"""The paper multiplies mask and scan, so that bone of 0 HU can't be told from what is outside."""
_BEHIND_MM = 17.0  # the box's middle lies so far behind the body's: the spinous process fits


@dataclass(frozen=True)
class Settings:
    """How to look.

    Attributes
    ----------
    device : str or None
        "cpu", "cuda"; None takes CUDA where it is present.
    models : str or None
        Folder of the trained network, if not the package's own.
    """

    device: str | None = None
    models: str | None = None


@dataclass(frozen=True, eq=False)
class VaeFinding:
    """One vertebra.

    Attributes
    ----------
    label : int
    probability : float or None
        Of a fracture, as the network says; None where it is not evaluable.
    numbers : (64,) float64 or None
        Its description.
    problem : str
        Why it is not evaluable.
    """

    label: int
    probability: float | None
    numbers: Floats | None = None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class VaeFractures:
    """What the network says of each vertebra of a label map, from the top."""

    findings: list[VaeFinding]
    settings: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    models: tuple[str, ...] = (MODEL,)


def group_of(label: int) -> int | None:
    """Return which of `GROUPS` a vertebra is in: −1 where its level is unsure, None in the neck."""
    try:
        name = labels.by_verse(label).name
    except KeyError:
        return -1
    name = {"T13": "T12", "L6": "L5"}.get(name, name)
    order = [level.name for level in labels.USUAL_VERTEBRAE]
    for number, (first, last) in enumerate(GROUPS):
        if order.index(first) <= order.index(name) <= order.index(last):
            return number
    return None


def box_grids(centres: ArrayLike) -> list[Grid]:
    """Return the box (64³ of 1.5 mm) of each vertebra.

    Parameters
    ----------
    centres : (N, 3) array_like
        Of the bodies, RAS mm, from the top. A box stands along the line through its neighbours'
        centres, so that tilt is no feature; the paper takes the scan's axes.
    """
    points = np.asarray(centres, dtype=float).reshape(-1, 3)
    grids = []
    for n, point in enumerate(points):
        up = points[max(n - 1, 0)] - points[min(n + 1, len(points) - 1)]
        length = float(np.linalg.norm(up))
        up = up / length if length > 1 else np.array([0.0, 0.0, 1.0])
        right = np.array([1.0, 0.0, 0.0]) - up[0] * up
        right /= np.linalg.norm(right)
        front = np.cross(up, right)
        affine = np.eye(4)
        affine[:3, :3] = SPACING_MM * np.stack([right, front, up], axis=1)
        middle = point - _BEHIND_MM * front
        affine[:3, 3] = middle - affine[:3, :3] @ np.full(3, (SIZE - 1) / 2)
        grids.append(Grid((SIZE, SIZE, SIZE), affine))
    return grids


def masked_box(scan: Volume, mask: Volume, label: int, grid: Grid) -> Singles:
    """Return the network's picture (64, 64, 64) of one vertebra; see `MAPPING`.

    Parameters
    ----------
    scan, mask : Volume
        CT in HU and label map, on one grid.
    """
    hu = _near(scan, grid).resampled_like(grid, order=1, fill=WINDOW_HU[0]).array
    near = _near(mask, grid)
    own = near.like((near.array == label).astype(np.float32)).resampled_like(grid, order=1).array
    low, high = WINDOW_HU
    inside = BONE + (1 - BONE) * (np.clip(hu, low, high).astype(np.float32) - low) / (high - low)
    return np.asarray(np.clip(own, 0, 1) * inside, dtype=np.float32)


def to_hu(picture: NDArray[Any]) -> Singles:
    """Return HU of a picture, for showing it; what lies outside of the vertebra is air."""
    low, high = WINDOW_HU
    hu = low + (high - low) * (np.asarray(picture, dtype=np.float32) - BONE) / (1 - BONE)
    return np.asarray(np.where(picture < BONE / 2, -1000.0, np.clip(hu, low, high)), np.float32)


def _near(volume: Volume, grid: Grid) -> Volume:
    """Return the part of a volume round a grid."""
    place = volume.ras_to_ijk(grid.corners())[:, ::-1]
    size = np.array(volume.shape)
    lo = np.clip(np.floor(place.min(axis=0)).astype(int) - 3, 0, size - 1)
    hi = np.clip(np.ceil(place.max(axis=0)).astype(int) + 4, lo + 1, size)
    return volume.crop(lo.tolist(), hi.tolist())


def fit(data: Any, settings: Any, progress: Progress) -> Any:
    """Train the network; see `spineseg.training.spine_vae.fit`."""
    from spineseg.training.spine_vae import fit as train

    return train(data, settings, progress)


@lru_cache(maxsize=1)
def load(models: str | None = None, device: str | None = None) -> tuple[Any, torch.device]:
    """Build the trained network, once for a run.

    Raises
    ------
    WeightsError
        Weights or card are missing, damaged, or do not fit each other.
    """
    from spineseg.device import choose_device
    from spineseg.networks.spine_vae import SpineVaeNetwork

    network = build(MODEL, SpineVaeNetwork, models)[1]
    chosen = choose_device(device)
    network.to(chosen)
    return network, chosen


def predict(scan: Volume, settings: Settings, progress: Progress) -> VaeFractures:
    """Segment a scan with the usual method, then judge its vertebrae; see `spine_vae`."""
    from spineseg.measure.vertebra_body import measure_bodies
    from spineseg.pipeline import segment

    made = segment(scan, progress=progress.part(0.0, 0.9))
    bodies = measure_bodies(made.segmentation)
    where = [(body.label, body.centre) for body in bodies]
    return spine_vae(scan, made.segmentation, where, settings, progress.part(0.9, 1.0))


def spine_vae(
    scan: Volume,
    mask: Volume,
    vertebrae: Sequence[tuple[int, ArrayLike]],
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> VaeFractures:
    """Judge the vertebrae of a label map.

    Parameters
    ----------
    scan, mask : Volume
        CT in HU and label map, on one grid (k, j, i).
    vertebrae : sequence of (int, (3,))
        Label and centre of the body, RAS mm, from the top.
    settings : Settings, optional
    progress : Progress, optional
        Its token cancels.

    Raises
    ------
    InputError
        There is no vertebra, or the label map lies on another grid.
    WeightsError
        The trained network is missing or damaged.
    """
    import torch

    began = time.perf_counter()
    settings, progress = settings or Settings(), progress or Progress()
    if not vertebrae:
        raise InputError("There is no vertebra to judge.", "Segment the scan first.")
    if not mask.grid.same_as(scan.grid, 0.05):
        raise InputError(
            "The segmentation does not lie on the scan's grid.", "Resample it onto that grid."
        )
    network, device = load(settings.models, settings.device)
    scan = finite_scan(scan)
    grids = box_grids(np.array([centre for _, centre in vertebrae], dtype=float))
    findings = []
    for n, ((label, _), grid) in enumerate(zip(vertebrae, grids, strict=True)):
        progress("vae", n / len(vertebrae), f"vertebra {n + 1} of {len(vertebrae)}")
        if group_of(label) is None:
            findings.append(VaeFinding(label, None, problem="it learned no cervical vertebra"))
            continue
        picture = torch.from_numpy(masked_box(scan, mask, label, grid)[None, None]).to(device)
        with torch.inference_mode():
            found = network.encode(picture)
            sure = float(torch.softmax(found.logits, dim=1)[0, 1])
        numbers = found.mean[0].cpu().double().numpy()
        findings.append(VaeFinding(label, sure, numbers))
    progress("vae", 1.0)
    took = round(time.perf_counter() - began, 3)
    return VaeFractures(findings, settings=asdict(settings), timings={"vae": took})


# -- what it looks at, and what it would look like ------------------------------------------------


def saliency(picture: Singles, settings: Settings | None = None) -> Singles:
    """Return how much each voxel of a picture (64³) sways the answer, 0 to 1 (paper fig. 5).

    The absolute gradient of the difference of the logits, back to the masked vertebra.
    """
    import torch

    settings = settings or Settings()
    network, device = load(settings.models, settings.device)
    image = torch.from_numpy(np.asarray(picture, dtype=np.float32)[None, None]).to(device)
    image.requires_grad_(True)
    logits = network(image)[0]
    (gradient,) = torch.autograd.grad(logits[1] - logits[0], image)
    found = np.abs(gradient[0, 0].cpu().numpy())
    return np.asarray(found / max(float(found.max()), 1e-12), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Imagined:
    """A vertebra as the decoder draws it from numbers that were moved.

    Attributes
    ----------
    amount : float
        How far, as in `imagine`.
    probability : float
        Of a fracture, as the classifier says of these numbers; at 0 that of the vertebra itself.
    picture : (64, 64, 64) float32
        As from `masked_box`.
    """

    amount: float
    probability: float
    picture: Singles


def imagine(
    picture: Singles,
    label: int,
    amounts: Sequence[float],
    settings: Settings | None = None,
    digits: int | None = None,
) -> list[Imagined]:
    """Draw a vertebra as it would look cured and fractured, step by step.

    Parameters
    ----------
    picture : (64, 64, 64) float32
        From `masked_box`.
    label : int
        In the label map: it tells the level's group.
    amounts : sequence of float
        1 moves the numbers as far as fractured ones lie from normal ones on average, −1 back; 0
        only draws the vertebra from its numbers.
    settings : Settings, optional
    digits : int or None
        How many numbers are moved: those that differ most between normal and fractured ones (the
        paper's two); None moves all.

    Raises
    ------
    InputError
        The vertebra is cervical.
    """
    import torch

    settings = settings or Settings()
    network, device = load(settings.models, settings.device)
    group = group_of(label)
    if group is None:
        raise InputError(
            "Spine-VAE learned no cervical vertebra.", "Choose one of the thorax or the loins."
        )
    image = torch.from_numpy(np.asarray(picture, dtype=np.float32)[None, None]).to(device)
    far = torch.tensor(list(amounts), dtype=torch.float32, device=device)
    with torch.inference_mode():
        move = network.fractured - network.normal
        if digits is not None:
            apart = (move / network.spread.clamp(min=1e-6)).abs()
            keep = torch.zeros_like(move)
            keep[torch.topk(apart, min(digits, len(apart))).indices] = 1.0
            move = move * keep
        numbers = network.encode(image).mean + far[:, None] * move
        told = torch.full((len(far),), group, dtype=torch.int64, device=device)
        drawn = network.decode(numbers, told)[:, 0].clamp(0, 1).cpu().numpy()
        sure = torch.softmax(network.classifier(numbers), dim=1)[:, 1].tolist()
    return [
        Imagined(float(amount), float(s), np.asarray(one, dtype=np.float32))
        for amount, s, one in zip(amounts, sure, drawn, strict=True)
    ]


def induce(
    picture: Singles,
    label: int,
    amount: float = 1.0,
    settings: Settings | None = None,
    digits: int | None = 2,
) -> Singles:
    """Draw a vertebra (64, 64, 64) as it would look more fractured; see `imagine`.

    `to_hu` makes HU of it.
    """
    return imagine(picture, label, [amount], settings, digits)[0].picture


def cure(
    picture: Singles,
    label: int,
    amount: float = 1.0,
    settings: Settings | None = None,
    digits: int | None = 2,
) -> Singles:
    """Draw a vertebra as it would look less fractured; arguments as of `induce`."""
    return induce(picture, label, -amount, settings, digits)
