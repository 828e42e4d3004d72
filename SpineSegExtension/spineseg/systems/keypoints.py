"""(a) Key points of patches: Chen et al. 2021, AASCE 2019 (challenge figure 22.17 %).

A first network sketches all 68 corners on the whole film. Patches of one to three vertebrae are
cut along the sketch, again and again; a second network finds the corners in each, four kinds of
them and as many as there are. Clustering makes 17 × 4 corners of the many that were found: the
paper's second method. Its first, corners in the boxes of a detector, is in
`spineseg.systems.boxes`. Three results, of boxes, of all patches, and of all patches without
squeezed vertebrae, vote on the end vertebrae. docs/cobb-keypoints.md says what of the paper was
kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn

from spineseg.measure.cobb import challenge_angles
from spineseg.methods.film_chain import Frames, best_chain, frames_of, smoothed
from spineseg.methods.film_heat import expectation, mass_near
from spineseg.methods.film_result import Mark
from spineseg.systems.boxes import (
    Detector,
    Found,
    HighResolution,
    boxes_of,
    corners_in,
    detected,
    detector_loss,
    frames_on,
    in_line,
    look,
    seventeen,
)
from spineseg.systems.clusters import clustered, density_clusters, end_clusters
from spineseg.systems.patches import (
    CELLS,
    WITHIN,
    Close,
    Head,
    across,
    close_loss,
    frames_at,
    jittered,
    landmarks_state,
    local_mean,
    output_layer,
    taught,
    tops,
    windows,
)
from spineseg.systems.system import Answer, Sample, Sight, System
from spineseg.systems.system import Settings as Common
from spineseg.systems.trunk import CHANNELS, Trunk
from spineseg.training.film_data import centres_of
from spineseg.training.film_losses import gaussians, place_loss

__all__ = ["SYSTEM", "KeyPoints", "KeyPointsSystem", "Settings", "fit", "predict"]

Floats = NDArray[np.float64]

_REACHES = (0.7, 0.9, 1.2)  # widths that a patch reaches: it holds 1, 2 or 3 vertebrae
_IN_TRAINING, _BOXES_IN_TRAINING = 4, 5  # patches and boxes of a film that are looked into
_ROUND = [0, 1, 3, 2]  # corners, in the order of an outline
_SKETCH_SPREAD = 1.2  # cells, of the Gaussians
_BESIDE = (9, 15)  # cells within which a corner is sketched beside its vertebra's middle
_SEEN = 0.2  # of the highest peak: less is no key point
_NEAR = 0.16  # distances between neighbours: DBSCAN's
_MANY = 2  # patches that must agree: DBSCAN's
_SKEWED = 1.25  # ratio of the diagonals from which a vertebra is squeezed
_UNLIKE = 1.6  # mean ratio of opposite sides from which a result has no vote
_HALF = 0.28  # of a vertebra's height, in its widths
_ABOUT = 0.22  # widths: how far a corner may lie from where another kind says it is
_STIFF = 0.3  # of the sketch, in `smoothed`


@dataclass(frozen=True)
class Settings(Common):
    """How to use it.

    Attributes
    ----------
    boxes : bool
        Whether the first result is that of the paper's first method, corners in detected boxes;
        else it is that of patches of a single vertebra.
    squeezed : bool
        Whether a third result, without the key points of squeezed vertebrae, has a vote.
    vote : bool
        Whether the results vote on the end vertebrae; else the angles are those of the mean
        corners.
    """

    boxes: bool = True
    squeezed: bool = True
    vote: bool = True


class KeyPoints(nn.Module):
    """The networks of both methods.

    Attributes
    ----------
    middle, beside, sketch : the trunk's finest map → (N, 68, y/4, x/4), which begins as the
        vertebrae's middles, moved to where their corners usually are
    patch : windows (M, 2, 96, 96) → logits (M, 4, 48, 48) of upper left, upper right, lower left
        and lower right corners, each with a peak for every one that the window holds
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.middle = nn.Conv2d(CHANNELS[0], 17, 1)
        self.beside = nn.Conv2d(
            17, 68, _BESIDE, padding="same", padding_mode="replicate", groups=17
        )
        self.sketch = Head(68)
        self.patch = Close(4)
        self.detect = Detector()
        self.look = HighResolution()

    def forward(self, image: Tensor) -> tuple[Tensor, Found]:
        """Sketch, and detect."""
        maps = self.trunk(image)
        sketch: Tensor = self.beside(self.middle(maps[0])) + self.sketch(maps[0])
        return sketch, self.detect(maps, image)


class KeyPointsSystem(System):
    """Both of the paper's methods, and their vote."""

    name = "cobb-keypoints"
    kind = KeyPoints
    outputs = (
        "68 corners at 1/4",
        "four kinds of corners in patches",
        "boxes at 1/8 and 1/16",
        "four corners in a box",
    )
    paper = "22.17 % (challenge)"
    _ratio = np.full(17, 1.27)  # of a vertebra's width to the distance to the next

    def begin(self, network: KeyPoints, models: Any) -> None:
        """Sketch from the centres, and look at patches as `cobb-landmarks` does."""
        state = landmarks_state(models)
        network.sketch.begin(state, [])
        with torch.no_grad():
            for name, value in output_layer(state, list(range(17))).items():
                getattr(network.middle, name).copy_(value)
            weight, bias = network.beside.weight, network.beside.bias
            weight.zero_()
            bias.zero_()  # type: ignore[union-attr]
            for n, kind in product(range(17), range(4)):
                share = n / 16
                # Pixels from the middle to the corners of T1 and of L5, usually.
                x, y = 16 + 7 * share, 7 + 6 * share
                column = _BESIDE[1] // 2 - round(x / 4) * (1 if kind % 2 else -1)
                row = _BESIDE[0] // 2 - round(y / 4) * (1 if kind > 1 else -1)
                weight[4 * n + kind, 0, row, column] = 1.0
        network.patch.begin(state)
        self._ratio = network.patch.width.numpy().astype(np.float64)

    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """All corners, and patches that lie as far off as the sketch may be."""
        corners = sample.item.corners
        at = rng.uniform(-0.3, len(corners) - 0.7, _IN_TRAINING).clip(0, len(corners) - 1)
        reach = rng.uniform(min(_REACHES), max(_REACHES), _IN_TRAINING)
        frames = jittered(frames_at(centres_of(corners), self._ratio, at, reach), rng)
        every = np.broadcast_to(corners, (_IN_TRAINING, *corners.shape))
        seen, local = taught(sample.item.picture, frames, at, every, rng)
        which = rng.choice(len(corners), _BOXES_IN_TRAINING, replace=False)
        on = frames_on(boxes_of(corners))
        on = Frames(*(a[which] for a in (on.center, on.right, on.down, on.width)))
        on = jittered(on, rng)
        level = which + rng.normal(0, 0.7, len(which))  # the sketch may be one off
        boxed, inside = taught(sample.item.picture, on, level, corners[which, None], rng)
        return {
            "corners": torch.as_tensor(sample.corners, dtype=torch.float32)[None],
            "seen": seen,
            "local": torch.as_tensor(local, dtype=torch.float32),
            "boxed": boxed,
            "inside": torch.as_tensor(inside, dtype=torch.float32),
        }

    def loss(
        self, network: KeyPoints, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """All networks' losses; patches and boxes looked into lie about the true corners."""
        image, corners = batch["image"], batch["corners"]
        maps, found = network(image)
        flat = corners.flatten(1, 2)
        size = flat.new_tensor([image.shape[3], image.shape[2]])
        heat = gaussians((flat + 0.5) / 4 - 0.5, maps.shape[2], maps.shape[3], _SKETCH_SPREAD)
        far = (expectation(maps) - ((flat + 0.5) / size * 2 - 1)) * size / 2
        sketch = place_loss(maps, heat).mean() + F.smooth_l1_loss(far / 4, torch.zeros_like(far))
        close, parts = close_loss(network.patch(batch["seen"]), batch["local"])
        score, box = detector_loss(found, boxes_of(corners))
        near, more = close_loss(look(network.look, network.patch, batch["boxed"]), batch["inside"])
        loss = sketch + close + score + box + near
        parts |= {f"box_{name}": value for name, value in more.items()}
        parts["sketch_px"] = float(far.detach().norm(dim=-1).median())
        whole = {"loss": loss, "sketch": sketch, "score": score, "box": box}
        return loss, {name: float(value.detach()) for name, value in whole.items()} | parts

    def answer(self, network: KeyPoints, sight: Sight) -> Answer | None:
        """Sketch, look at patches and into boxes, cluster, vote."""
        options = sight.settings if isinstance(sight.settings, Settings) else Settings()
        heat, boxes = network(sight.image.to(network.patch.width.device))
        ratio = network.patch.width.cpu().numpy().astype(np.float64)
        sketch = sketched(heat[0].float().cpu(), ratio)
        pitch = float(np.median(np.linalg.norm(np.diff(sketch.mean(axis=1), axis=0), axis=1)))
        if pitch < 4:  # all on one heap: there is no spine
            return None
        frames, at, reach = all_patches(ratio, sight.to_prepared(sketch))
        points, patch = key_points(network.patch, windows(sight.picture, frames, at), frames)
        points[:, 1:] = sight.to_canvas(points[:, 1:])
        marks = [Mark("sketch", "outlines", sketch[:, _ROUND])]
        patches = gather(points, sketch, pitch, False)
        if options.boxes:
            one, seen = by_boxes(network, boxes, sight, sketch)
            if len(seen):
                marks.append(Mark("boxes", "outlines", seen))
        else:
            single = points[reach[patch] == min(_REACHES)]
            one = gather(single, sketch, pitch, False, 1)[0]
        found = [one, patches[0]]
        if options.squeezed:
            found.append(gather(points, sketch, pitch, True)[0])
        voting = [corners for corners in found if fair(corners)] or [patches[0]]
        angles = voted(voting, sight.image.shape[2]) if options.vote else None
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
        looks = frames.to_picture(np.broadcast_to(square, (len(at), 4, 2)))
        marks += [
            Mark("patches", "outlines", sight.to_canvas(looks[reach == min(_REACHES)])),
            Mark("key points", "points", points[:, 1:]),
        ]
        trust = patches[1].mean(axis=1)
        return Answer(np.mean(voting, axis=0), angles=angles, confidence=trust, marks=tuple(marks))


def by_boxes(
    network: KeyPoints, found: Found, sight: Sight, sketch: Floats
) -> tuple[Floats, Floats]:
    """Method 1: corners (17, 4, 2) in boxes, and the boxes' own corners (n, 4, 2).

    Vertebrae without a box are looked at where the sketch has them.
    """
    every, _ = detected(found)
    boxes, seen = seventeen(every[in_line(every)], sketch)
    left, top, right, bottom = boxes[seen].T
    outlines = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    corners = corners_in(network.look, network.patch, sight, boxes)
    return corners, outlines.transpose(2, 0, 1)


def sketched(maps: Tensor, ratio: Floats) -> Floats:
    """Corners (17, 4, 2) on the canvas from the sketch's maps (68, y, x), in order.

    The kind of corner that makes the best chain says about where the others are, so that no kind
    is a vertebra off by itself.
    """
    shape = maps.shape[1:]
    logs = maps.flatten(1).log_softmax(1).view(17, 4, *shape).numpy()
    chains = [best_chain(logs[:, kind], np.ones(16)) for kind in range(4)]
    kind = int(np.argmin([cost for _, cost in chains]))
    frames = frames_of(chains[kind][0], ratio)
    local = np.array([[-0.5, -_HALF], [0.5, -_HALF], [-0.5, _HALF], [0.5, _HALF]])
    about = frames.to_picture(np.broadcast_to(local - local[kind], (17, 4, 2)))
    near = _ABOUT * float(np.median(frames.width))
    place = torch.as_tensor(about.reshape(1, 68, 2), dtype=torch.float32)
    prior = torch.log(gaussians(place, shape[0], shape[1], near) + 1e-9)
    found = expectation(maps[None] + prior)
    sure = mass_near(maps[None] + prior, found, 0.08)[0].numpy().reshape(17, 4).mean(axis=1)
    size = np.array([shape[1], shape[0]]) * 4
    corners = (found[0].numpy().astype(np.float64) + 1) / 2 * size - 0.5
    return smoothed(corners.reshape(17, 8), sure + 0.02, _STIFF).reshape(17, 4, 2)


def all_patches(ratio: Floats, sketch: Floats) -> tuple[Frames, Floats, Floats]:
    """Return windows of all sizes along a sketch (17, 4, 2), where they are, and their reach.

    Those of the middle size lie between vertebrae, the others on them.
    """
    on, between = np.arange(17.0), np.arange(0.5, 16.0)
    chosen = [on, between, on]
    at, reach = np.concatenate(chosen), np.repeat(_REACHES, [len(one) for one in chosen])
    return frames_at(centres_of(sketch), ratio, at, reach), at, reach


def key_points(network: Close, seen: Tensor, frames: Frames) -> tuple[Floats, NDArray[np.int64]]:
    """Find key points in windows: rows (k, 3) of kind, x and y on the film, and their windows."""
    device = network.width.device
    layout = torch.channels_last
    maps = network(seen.to(device, memory_format=layout)).float()
    which = tops(maps, _SEEN)
    patch, kind = which[:, 0], which[:, 1]
    cells = which[:, [3, 2]].float()[:, None, None]
    local = (local_mean(maps[patch, kind][:, None], cells)[:, 0, 0] + 0.5) / (CELLS / 2) - 1
    good = (local.abs() < WITHIN).all(-1)
    windows_of, kinds, places = (a[good].cpu().numpy() for a in (patch, kind, local))
    mine = Frames(
        *(a[windows_of] for a in (frames.center, frames.right, frames.down, frames.width))
    )
    places = mine.to_picture(places[:, None].astype(np.float64))[:, 0]
    return np.concatenate([kinds[:, None], places], axis=1), windows_of


def gather(
    points: Floats, sketch: Floats, pitch: float, squeezed: bool, many: int = _MANY
) -> tuple[Floats, Floats]:
    """Cluster key points (k, 3), rows (kind, x, y), into corners (17, 4, 2).

    `many` of them make a cluster; without `squeezed` vertebrae, if that is set.

    Returns
    -------
    (corners, near) : near (17, 4) is the share of ten points that each corner was made of
    """
    kinds = []
    for kind in range(4):
        mine = points[points[:, 0] == kind, 1:]
        label = density_clusters(mine, _NEAR * pitch, many)
        mine, label = mine[label >= 0], label[label >= 0]
        kinds.append(mine[np.isin(label, end_clusters(mine, label))])
    corners, counts = clustered(kinds, sketch, pitch)
    near = np.minimum(counts / 10.0, 1.0)
    return (without_squeezed(corners), near) if squeezed else (corners, near)


def without_squeezed(corners: Floats) -> Floats:
    """Put those of squeezed vertebrae, whose diagonals differ, between their neighbours'."""
    one = np.linalg.norm(corners[:, 0] - corners[:, 3], axis=1)
    other = np.linalg.norm(corners[:, 1] - corners[:, 2], axis=1)
    bad = np.maximum(one, other) > _SKEWED * np.maximum(np.minimum(one, other), 1e-6)
    good = np.flatnonzero(~bad)
    if not bad.any() or len(good) < 5:
        return corners
    index, mended = np.arange(len(corners)), corners.copy()
    for kind, axis in product(range(4), range(2)):
        mended[bad, kind, axis] = np.interp(index[bad], good, corners[good, kind, axis])
    return mended


def fair(corners: Floats) -> bool:
    """Whether opposite sides of the vertebrae are alike: the paper's gate before the vote."""
    for a, b, c, d in ((0, 1, 2, 3), (0, 2, 1, 3)):
        one = np.linalg.norm(corners[:, a] - corners[:, b], axis=1)
        other = np.linalg.norm(corners[:, c] - corners[:, d], axis=1)
        ratio = np.maximum(one, other) / np.maximum(np.minimum(one, other), 1e-6)
        if ratio.mean() > _UNLIKE:
            return False
    return True


def voted(results: list[Floats], rows: int) -> Floats:
    """Angles (3,): each result's between the end vertebrae of most results, then their mean."""
    found = [challenge_angles(corners, rows) for corners in results]
    angles = []
    for name in ("major_pair", "upper_pair", "lower_pair"):
        pairs = [getattr(one, name) for one in found]
        # Where none agree, that of all patches (the second result, if it stands).
        (pair, votes), *_ = Counter(pairs).most_common(1)
        pair = pair if votes > 1 else pairs[min(1, len(pairs) - 1)]
        vectors = [across(r)[list(pair)] for r in results]
        turns = [np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b) for a, b in vectors]
        angles.append(float(np.degrees(np.abs(turns)).mean()))
    return np.array(angles)


SYSTEM = KeyPointsSystem()
predict, fit = SYSTEM.predict, SYSTEM.fit
